"""One real server for all tests, on free ports and a temporary folder; TIDEGATE_BIN names the binary."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import tidegate
from tidegate.local import LocalServer

ROOT = Path(__file__).resolve().parent.parent.parent
FLIGHTS = ROOT / "examples" / "flights"
sys.path.insert(0, str(FLIGHTS))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    binary = os.environ.get("TIDEGATE_BIN")
    if not binary:
        pytest.fail("TIDEGATE_BIN must name the tidegate binary, such as target/debug/tidegate", pytrace=False)
    with LocalServer(binary, tmp_path_factory.mktemp("server") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo's Parquet inputs by name."""
    import prepare

    return prepare.prepare(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def flights(server: LocalServer, inputs: dict[str, Path]) -> Iterator[tidegate.Client]:
    """A client of the project `flights`: the demo's definitions, its history ingested and materialized."""
    import prepare

    with server.client("flights") as client:
        client.apply(FLIGHTS / "definitions")
        for source in prepare.HISTORIES:
            client.ingest(source, inputs[source], batch_id="all")
        client.materialize(progress=False)
        yield client


class Stock(NamedTuple):
    """What grpcio-tools make of online.proto: its messages, and its stubs."""

    pb: ModuleType
    services: ModuleType


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    out, protos = tmp_path_factory.mktemp("stock"), ROOT / "proto" / "protos"
    made = [f"--python_out={out}", f"--grpc_python_out={out}", "tidegate/online/v1/online.proto"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", *made], check=True)
    for folder in ("tidegate", "tidegate/online", "tidegate/online/v1"):
        (out / folder / "__init__.py").touch()
    # The generated package is called `tidegate`, as is the Python client, which steps aside while this one is imported.
    client = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "tidegate"}
    sys.path.insert(0, str(out))
    try:
        package = "tidegate.online.v1.online_pb2"
        return Stock(importlib.import_module(package), importlib.import_module(f"{package}_grpc"))
    finally:
        sys.path.remove(str(out))
        for name in [name for name in sys.modules if name.partition(".")[0] == "tidegate"]:
            del sys.modules[name]
        sys.modules.update(client)
