"""A gRPC client made of proto/protos by stock grpcio-tools, and the standard services beside ours."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import tidegate
from conftest import ROOT
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tidegate.local import LocalServer

SERVICES = [
    "tidegate.online.v1.OnlineService",
    "tidegate.registry.v1.RegistryService",
    "tidegate.materialize.v1.MaterializeService",
    "tidegate.jobs.v1.JobsService",
]
FLIGHT = "arrow.flight.protocol.FlightService"

# Runs in a process of its own: the generated package is called `tidegate`, as is the Python client.
LOOKUP = """
import json, sys
import grpc
from tidegate.online.v1 import online_pb2 as pb, online_pb2_grpc

stub = online_pb2_grpc.OnlineServiceStub(grpc.insecure_channel(sys.argv[1]))
reply = stub.GetOnlineFeatures(pb.GetOnlineFeaturesRequest(
    project="flights",
    features=pb.FeatureReferences(references=["plane_last_flight:last_arr_delay", "plane_last_flight:last_dest"]),
    keys=[pb.KeyColumn(name="tailnum", strings=pb.StringValues(values=["N14228", "nobody", "N14228"]))],
    include_times=True,
), timeout=10)
delay, dest = reply.features
print(json.dumps({
    "rows": reply.rows,
    "names": [delay.name, dest.name],
    "types": [delay.data_type, dest.data_type],
    "delays": list(delay.doubles.values),
    "dests": list(dest.strings.values),
    "presence": list(delay.presence),
    "statuses": list(delay.statuses),
    "event_times": list(reply.views[0].event_times),
    "ages": list(reply.views[0].ages),
    "catalog_version": reply.catalog_version,
}))
"""


@pytest.fixture(scope="module")
def channel(server: LocalServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address.removeprefix("http://")) as channel:
        yield channel


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generated")
    protos = ROOT / "proto" / "protos"
    files = [str(path.relative_to(protos)) for path in protos.rglob("*.proto")]
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"-I{protos}",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
    ]
    subprocess.run([*command, *files], check=True)
    # Else the installed client, a regular package of the same name, goes before these folders.
    for folder in [out / "tidegate", *(path for path in (out / "tidegate").rglob("*") if path.is_dir())]:
        (folder / "__init__.py").touch()
    return out


def test_a_generated_client_looks_features_up(server: LocalServer, flights: tidegate.Client, generated: Path) -> None:
    address = server.address.removeprefix("http://")
    done = subprocess.run(
        [sys.executable, "-c", LOOKUP, address],
        cwd=generated,
        env={"PYTHONPATH": str(generated)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout)
    newest = flights.sql(
        "SELECT arr_delay, dest, arrived_at FROM arrivals WHERE tailnum = 'N14228' ORDER BY arrived_at DESC LIMIT 1"
    ).to_arrow()
    (delay,), (dest,), (arrived,) = (column.to_pylist() for column in newest.columns)
    assert reply["rows"] == 3
    assert reply["names"] == ["last_arr_delay", "last_dest"]
    assert reply["types"] == ["float64", "string"]
    assert reply["delays"] == [delay, 0.0, delay]
    assert reply["dests"] == [dest, "", dest]
    assert reply["presence"] == [True, False, True]
    assert reply["statuses"] == [1, 3, 1]
    micros = int(arrived.timestamp() * 1_000_000)
    assert reply["event_times"] == [micros, -(1 << 63), micros]
    assert reply["ages"][0] > 0 and reply["ages"][1] == -1
    assert reply["catalog_version"] >= 1


def test_the_committed_python_messages_are_current() -> None:
    script = ROOT / "client" / "python" / "generate_protos.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_health_answers(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ["", *SERVICES, FLIGHT]:
        reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING, service or "the whole server"
    with pytest.raises(grpc.RpcError) as error:
        stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=10)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection_describes_our_services(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(SERVICES) | {"grpc.health.v1.Health"} <= set(database.get_services())
    pool = DescriptorPool(database)
    lookup = pool.FindServiceByName("tidegate.online.v1.OnlineService").FindMethodByName("GetOnlineFeatures")
    assert lookup.input_type.fields_by_name["keys"].message_type.full_name == "tidegate.online.v1.KeyColumn"
