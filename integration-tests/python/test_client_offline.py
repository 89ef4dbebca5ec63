"""What the Python client does before and after the wire: inputs, definitions, errors, replies. Needs no server."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent import futures
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as pq
import pytest
import tidegate
import yaml
from google.protobuf.any_pb2 import Any as AnyMessage
from tidegate import (
    Aggregate,
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    KafkaTopic,
    Query,
    Source,
    ViewUse,
    inputs,
    online,
    to_document,
    to_yaml,
)
from tidegate._proto.error.v1 import error_pb2
from tidegate._proto.flight.v1 import flight_pb2
from tidegate._proto.online.v1 import online_pb2
from tidegate._proto.registry.v1 import registry_pb2

NOON = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
ROWS = [{"id": 1, "at": NOON}, {"id": 2, "at": None}]


class Stream:
    """Something foreign that only speaks Arrow's C stream."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


class Array:
    """Something foreign that only speaks Arrow's C array."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    def __arrow_c_array__(self, requested_schema: object = None) -> object:
        return self._batch.__arrow_c_array__(requested_schema)


# Rows


def forms(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "rows.parquet")
    with pa.ipc.new_file(tmp_path / "rows.arrow", table.schema) as writer:
        writer.write_table(table)
    yield "list of dicts", ROWS
    yield "dict of columns", {"id": [1, 2], "at": [NOON, None]}
    yield "table", table
    yield "batch", table.to_batches()[0]
    yield "reader", table.to_reader()
    yield "pandas", pd.DataFrame(ROWS, index=["a", "b"])
    yield "polars", pl.DataFrame(ROWS)
    yield "lazy polars", pl.LazyFrame(ROWS)
    yield "C stream", Stream(table)
    yield "C array", Array(table.to_batches()[0])
    yield "Parquet file", tmp_path / "rows.parquet"
    yield "Arrow file", str(tmp_path / "rows.arrow")


def test_rows_come_in_many_forms(tmp_path: Path) -> None:
    for name, form in forms(tmp_path):
        table = inputs.checked(inputs.reader(form), set()).read_all()
        assert table.column_names == ["id", "at"], name
        assert table["id"].to_pylist() == [1, 2], name
        assert table.schema.field("at").type.tz == "UTC", name
        first = table["at"].cast(pa.timestamp("us", "UTC")).to_pylist()
        assert first == [NOON, None], name


def test_no_rows_columns_are_lost() -> None:
    table = inputs.reader([{"a": 1}, {"b": 2}]).read_all()
    assert table.to_pydict() == {"a": [1, None], "b": [None, 2]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (7, "rows of type int are not understood"),
        ([1, 2], "row 0 is a int"),
        ("no/such.parquet", "there is no file"),
        (__file__, "neither .parquet nor .arrow"),
        ([{"a": 1}, {"a": "x"}], "can't be turned into Arrow columns"),
        (pd.DataFrame({"a": [1, "x"]}), "can't be turned into Arrow columns"),
    ],
    ids=str,
)
def test_other_rows_are_refused(data: Any, message: str) -> None:
    with pytest.raises(tidegate.InvalidError, match=message):
        inputs.reader(data)


def test_naive_times_are_read_as_utc_with_one_warning_per_column() -> None:
    naive = pd.DataFrame({"a": [datetime(2024, 1, 1)], "b": [datetime(2024, 1, 2)], "c": [NOON]})
    warned: set[str] = set()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tables = [inputs.checked(inputs.reader(naive), warned).read_all() for _ in range(2)]
    assert [str(w.message) for w in caught] == [
        "the times of column `a` have no zone; they are read as UTC",
        "the times of column `b` have no zone; they are read as UTC",
    ]
    for table in tables:
        assert table["a"].to_pylist() == [datetime(2024, 1, 1, tzinfo=timezone.utc)]


def test_nanoseconds_are_left_to_the_server() -> None:
    table = pa.table({"at": pa.array([1_700_000_000_000_000_999], pa.timestamp("ns", "UTC"))})
    assert inputs.checked(inputs.reader(table), set()).schema.field("at").type == pa.timestamp("ns", "UTC")


def test_batches_are_cut_to_a_size_that_travels() -> None:
    table = pa.table({"text": ["x" * 1000] * 10_000})
    batches = list(inputs.checked(inputs.reader(table), set()))
    assert sum(batch.num_rows for batch in batches) == 10_000
    assert max(batch.nbytes for batch in batches) <= inputs.MESSAGE_BYTES + 2000


# Definitions


def everything() -> list[Any]:
    route = Entity(
        "route", keys={"origin": "string", "dest": "string"}, description="A pair: of airports", owner="a@b.c"
    )
    reports = Source(
        "reports", event_time="at", created_time="seen", columns={"raw": "string"}, tags={"tier": "1", "on": "yes"}
    )
    outside = Source("outside", event_time="at", table={"delta": "/data/outside"})
    weather = FeatureView(
        "weather",
        entities=[route],
        source=reports,
        features=[
            Feature("temp", "float64", default=0.5),
            Feature("text", "string", column="raw", default="no: # text"),
        ],
        key_columns={"origin": "from"},
        ttl=timedelta(hours=36),
        serve_ttl="90m",
        availability=timedelta(minutes=90),
        exclusive=True,
        online=False,
    )
    world = FeatureView("world", entities=[], source="outside", features=[Feature("n", "int64")], availability="event")
    small = FeatureService("small", views=[weather["temp"], world])
    large = FeatureService(
        "large", includes=[small], full_names=True, views=[weather.use(alias="back", keys={"origin": "dest"}), "world"]
    )
    return [route, reports, outside, weather, world, small, large]


def test_python_definitions_are_version_1_documents() -> None:
    document = to_document(everything(), "p")
    assert document["entities"] == [
        {
            "name": "route",
            "keys": [{"name": "origin", "type": "string"}, {"name": "dest", "type": "string"}],
            "description": "A pair: of airports",
            "owner": "a@b.c",
        }
    ]
    assert document["sources"][1] == {"name": "outside", "table": {"delta": "/data/outside"}, "event_time": "at"}
    assert document["feature_views"][0] == {
        "name": "weather",
        "entities": ["route"],
        "source": "reports",
        "key_columns": {"origin": "from"},
        "ttl": "36h",
        "serve_ttl": "90m",
        "availability": {"delay": "90m"},
        "bounds": {"upper": "exclusive"},
        "online": False,
        "features": [
            {"name": "temp", "type": "float64", "default": 0.5},
            {"name": "text", "type": "string", "column": "raw", "default": "no: # text"},
        ],
    }
    assert document["feature_views"][1]["entities"] == []
    assert document["feature_services"][1] == {
        "name": "large",
        "includes": ["small"],
        "full_names": True,
        "views": [{"view": "weather", "alias": "back", "keys": {"origin": "dest"}}, {"view": "world"}],
    }


def test_rows_that_hold_for_a_time_and_skipped_nulls() -> None:
    tiers = Source("tiers", valid_from="since", valid_to="until", created_time="seen")
    assert tiers.document() == {
        "name": "tiers",
        "table": "managed",
        "valid_from": "since",
        "valid_to": "until",
        "created_time": "seen",
    }
    view = FeatureView("tier", ["route"], tiers, [Feature("name", "string")], nulls="skip", online=False)
    assert view.document()["nulls"] == "skip"
    assert "nulls" not in FeatureView("tier", ["route"], tiers, [Feature("name", "string")]).document()


def fed() -> list[Any]:
    """What feeds sources, windows over them, and what keeps served rows."""
    orders = Source(
        "orders",
        event_time="at",
        event_id="id",
        columns={"id": "string", "amount": "float64", "city": "string"},
        on_rewrite="refuse",
        kafka=KafkaTopic("main", "orders.v1", {"avro": {"schemas": "/schemas"}}, start="latest"),
    )
    recent = FeatureView(
        "recent",
        entities=["user"],
        source=orders,
        features=[
            Feature("orders_1h", "int64", aggregate=Aggregate("count", window="1h", hop=timedelta(minutes=1))),
            Feature("cities", "list<string>", aggregate=Aggregate("top_k", "city", window="all", n=3)),
            Feature("p95", "float64", aggregate=Aggregate("percentile", "amount", window=timedelta(days=7), p=0.95)),
        ],
        schedule=timedelta(minutes=5),
        freshness="10m",
    )
    last = FeatureView(
        "last",
        entities=["user"],
        source=orders,
        features=[Feature("spent", "float64", column="amount", renamed_from="amount")],
        schedule="on_commit",
        retention=timedelta(days=30),
    )
    big = Source("big", event_time="at", table=Query("SELECT *\nFROM orders", [orders, last, "users"]))
    bigs = FeatureView("bigs", ["user"], big, [Feature("amount", "float64")], schedule="0 4 * * *")
    return [Entity("user", {"user_id": "int64"}), Source("users", "at"), orders, big, recent, last, bigs]


def test_windows_and_feeds_are_version_1_documents() -> None:
    document = to_document(fed(), "p")
    users, orders, big = document["sources"]
    assert users == {"name": "users", "table": "managed", "event_time": "at"}
    assert orders["event_id"] == "id" and orders["on_rewrite"] == "refuse"
    assert orders["kafka"] == {
        "cluster": "main",
        "topic": "orders.v1",
        "format": {"avro": {"schemas": "/schemas"}},
        "start": "latest",
    }
    assert big["table"] == {"query": {"sql": "SELECT *\nFROM orders", "from": ["sources.orders", "views.last", "users"]}}
    recent, last, bigs = document["feature_views"]
    assert [feature["aggregate"] for feature in recent["features"]] == [
        {"fn": "count", "window": "1h", "hop": "1m"},
        {"fn": "top_k", "column": "city", "window": "all", "n": 3},
        {"fn": "percentile", "column": "amount", "window": "7d", "p": 0.95},
    ]
    assert (recent["schedule"], recent["freshness"]) == ({"every": "5m"}, "10m")
    assert (last["schedule"], last["retention"]) == ("on_commit", "30d")
    assert last["features"][0]["renamed_from"] == "amount"
    assert bigs["schedule"] == {"cron": "0 4 * * *"}
    assert yaml.safe_load(to_yaml(fed(), "p")) == document


def test_the_text_of_definitions_reads_back() -> None:
    document = to_document(everything(), "p")
    assert yaml.safe_load(to_yaml(everything(), "p")) == document
    awkward = {
        "version": 1,
        "a": ["null", "1", "1e3", "- x", "", "a\nb", 'ü\t"', [], {}, [1, [2]], {"k": {"l": None}}, "0x1", "~"],
    }
    assert yaml.safe_load(to_yaml(awkward)) == awkward


def test_spans_keep_their_length() -> None:
    for span, text in [
        (timedelta(days=2), "2d"),
        (timedelta(hours=25), "25h"),
        (timedelta(milliseconds=1500), "1500ms"),
        (timedelta(microseconds=7), "7us"),
    ]:
        view = FeatureView("v", entities=[], source="s", features=[Feature("f", "int64")], ttl=span)
        assert view.document()["ttl"] == text


def test_a_view_knows_its_features() -> None:
    weather = everything()[3]
    assert weather["temp", "text"] == ViewUse("weather", ("temp", "text"))
    with pytest.raises(tidegate.InvalidError, match="no feature tmp; it has temp, text"):
        weather["tmp"]


def test_definition_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.yaml", "a.yml", "sub/c.yaml", "note.txt"):
        (tmp_path / name).write_text(name)
    files = tidegate.definitions.files([tmp_path, tmp_path / "note.txt"], None)
    assert [Path(file.path).name for file in files] == ["a.yml", "b.yaml", "c.yaml", "note.txt"]
    with pytest.raises(tidegate.InvalidError, match="no file or folder"):
        tidegate.definitions.files(tmp_path / "gone", None)
    with pytest.raises(tidegate.InvalidError, match="need a project"):
        tidegate.definitions.files(everything(), None)
    with pytest.raises(tidegate.InvalidError, match="int is no definition"):
        tidegate.definitions.files([7], "p")  # type: ignore[list-item]


# Lookups


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["a", "b"], "strings", ["a", "b"]),
        ([1, 2], "int64s", [1, 2]),
        ([True, False], "bools", [True, False]),
        ([b"a"], "bytes", [b"a"]),
        ([date(1970, 1, 3)], "int64s", [2]),
        ([datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc)], "int64s", [1_000_000]),
        (pa.array(["a", "a"]).dictionary_encode(), "strings", ["a", "a"]),
        (pa.array([7], pa.uint8()), "int64s", [7]),
    ],
    ids=str,
)
def test_keys_are_columns(values: Any, kind: str, expected: list[Any]) -> None:
    (column,) = online.encode_keys(online.key_table({"k": values}))
    assert column.name == "k" and column.WhichOneof("values") == kind
    assert list(getattr(column, kind).values) == expected


def test_bad_keys_are_named() -> None:
    with pytest.raises(tidegate.InvalidError, match="key `k` is null in row 1"):
        online.encode_keys(online.key_table({"k": ["a", None]}))
    with pytest.raises(tidegate.InvalidError, match="key `k` is of type double"):
        online.encode_keys(online.key_table({"k": [1.5]}))
    with pytest.raises(tidegate.InvalidError, match="at least one key"):
        online.encode_keys(online.key_table([]))
    for features, service in ((None, None), (["a:b"], "s"), ([], None), (["a:b:c"], None)):
        with pytest.raises(tidegate.InvalidError):
            online.references(features, service)


def reply() -> online_pb2.GetOnlineFeaturesResponse:
    pb = online_pb2
    columns = {
        "d": pa.array([1.5, None, -0.0]),
        "f": pa.array([0.5, float("inf"), 2], pa.float32()),
        "i": pa.array([1 << 62, 2, 3]),
        "n": pa.array([-1, 2, 3], pa.int32()),
        "t": pa.array([1_000_000, None, None], pa.timestamp("us", "UTC")),
        "b": pa.array([True, False, None]),
        "s": pa.array(["x", "", "y"]),
        "tags": pa.array([["x"], None, []], pa.list_(pa.string())),
    }
    marks: dict[str, Any] = {
        "d": {"statuses": [1, 3, 1]},
        "t": {"statuses": [1, 4, 2]},
        "b": {"statuses": [1, 1, 2]},
        "s": {"statuses": [1, 5, 1], "reasons": [0, 3, 0]},
    }
    sink = pa.BufferOutputStream()
    batch = pa.record_batch(columns)
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return pb.GetOnlineFeaturesResponse(
        rows=3,
        catalog_version=4,
        features=[pb.FeatureColumn(name=name, data_type=name, **marks.get(name, {})) for name in columns],
        views=[pb.ViewTimes(view="v", event_times=[1_000_000, -(1 << 63), 0], ages=[5, -1, 6])],
        arrow_ipc=sink.getvalue().to_pybytes(),
    )


def test_replies_become_values() -> None:
    result = tidegate.OnlineResult(pa.table({"k": ["a", "b", "c"]}), reply())
    assert len(result) == 3 and result.catalog_version == 4
    assert result.to_dict() == {
        "k": ["a", "b", "c"],
        "d": [1.5, None, -0.0],
        "f": [0.5, float("inf"), 2.0],
        "i": [1 << 62, 2, 3],
        "n": [-1, 2, 3],
        "t": [datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc), None, None],
        "b": [True, False, None],
        "s": ["x", "", "y"],
        "tags": [["x"], None, []],
    }
    assert result.to_arrow(include_keys=False).schema.field("t").type == pa.timestamp("us", "UTC")
    assert [str(status) for status in result.statuses["d"]] == ["PRESENT", "NOT_FOUND", "PRESENT"]
    assert result.statuses["f"] == [tidegate.Status.PRESENT] * 3
    assert result.reasons["s"] == [None, tidegate.Status.NOT_FOUND, None]
    assert result.reasons["d"] == [None] * 3
    assert result.event_times["v"][:2] == [datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc), None]
    assert result.ages["v"] == [timedelta(microseconds=5), None, timedelta(microseconds=6)]
    assert result.to_pandas().shape == (3, 9)


def test_numbers_become_a_matrix() -> None:
    import numpy

    columns = {"a": pa.array([1.5, None]), "b": pa.array([7, 8]), "c": pa.array([True, None]), "d": pa.array([1, None])}
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.table(columns).schema) as writer:
        writer.write_table(pa.table(columns))
    reply = online_pb2.GetOnlineFeaturesResponse(rows=2, arrow_ipc=sink.getvalue().to_pybytes())
    matrix = tidegate.OnlineResult(pa.table({"k": [1, 2]}), reply).to_numpy()
    nan = float("nan")
    numpy.testing.assert_array_equal(matrix, [[1.5, 7, 1, 1], [nan, 8, nan, nan]])
    with pytest.raises(tidegate.InvalidError, match="`t` is timestamp"):
        tidegate.OnlineResult(pa.table({"k": ["a", "b", "c"]}), reply_without("tags", "s")).to_numpy()


def reply_without(*names: str) -> online_pb2.GetOnlineFeaturesResponse:
    found = reply()
    table = pa.ipc.open_stream(found.arrow_ipc).read_all().drop_columns(list(names))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    found.arrow_ipc = sink.getvalue().to_pybytes()
    return found


# Errors


CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: tidegate.InvalidError,
    grpc.StatusCode.NOT_FOUND: tidegate.NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: tidegate.AlreadyExistsError,
    grpc.StatusCode.ABORTED: tidegate.ConflictError,
    grpc.StatusCode.FAILED_PRECONDITION: tidegate.PreconditionError,
    grpc.StatusCode.UNAUTHENTICATED: tidegate.UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: tidegate.ForbiddenError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: tidegate.ExhaustedError,
    grpc.StatusCode.UNAVAILABLE: tidegate.UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: tidegate.DeadlineError,
    grpc.StatusCode.CANCELLED: tidegate.CancelledError,
    grpc.StatusCode.UNIMPLEMENTED: tidegate.UnsupportedError,
    grpc.StatusCode.DATA_LOSS: tidegate.CorruptError,
    grpc.StatusCode.INTERNAL: tidegate.InternalError,
}


class Refusing(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Refuses every call with the code it was last told."""

    code = grpc.StatusCode.INTERNAL
    details = b""

    def service(self, call: Any) -> Any:
        def refuse(request: Any, context: Any) -> Iterator[bytes]:
            if self.details:
                context.set_trailing_metadata((("grpc-status-details-bin", self.details),))
            context.abort(self.code, "column `x` is text. Half; cast it")
            yield b""

        def once(request: Any, context: Any) -> bytes:
            return next(refuse(request, context))

        method = call.method.rpartition("/")[2]
        if method in ("DoExchange", "DoPut"):
            return grpc.stream_stream_rpc_method_handler(refuse)
        if method in ("DoGet", "Materialize"):
            return grpc.unary_stream_rpc_method_handler(refuse)
        return grpc.unary_unary_rpc_method_handler(once)


@pytest.fixture(scope="module")
def refusing() -> Iterator[tuple[Refusing, tidegate.Client]]:
    handler = Refusing()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with tidegate.Client(f"127.0.0.1:{port}", "p") as client:
        yield handler, client
    server.stop(None)


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_every_door_tells_the_kind(refusing: tuple[Refusing, tidegate.Client], code: grpc.StatusCode) -> None:
    handler, client = refusing
    handler.code, handler.details = code, b""
    calls = [
        lambda: client.history(),
        lambda: client.materialize(progress=False),
        lambda: client.get_online_features({"k": ["a"]}, ["v"]),
        lambda: client.sql("SELECT 1").to_arrow(),
        lambda: client.sql("SELECT 1").schema,
        lambda: client.get_historical_features(ROWS, ["v"]).to_arrow(),
        lambda: client.ingest("s", ROWS),
    ]
    for call in calls:
        with pytest.raises(tidegate.TidegateError) as caught:
            call()
        assert type(caught.value) is CODES[code]
        assert caught.value.message == "column `x` is text. Half; cast it"
        assert caught.value.remedy == "cast it"


def test_problems_travel_in_the_details(refusing: tuple[Refusing, tidegate.Client]) -> None:
    handler, client = refusing
    found = registry_pb2.Problem(
        file="a.yaml", line=3, column=5, message="no field `tll`", snippet="tll: 1d", suggestion="ttl"
    )
    packed = AnyMessage()
    packed.Pack(error_pb2.ErrorDetail(problems=[found], causes=["it was so"]))
    encoded = packed.SerializeToString()
    handler.code = grpc.StatusCode.INVALID_ARGUMENT
    handler.details = b"\x08\x03\x12\x02hi\x1a" + varint(len(encoded)) + encoded
    with pytest.raises(tidegate.DefinitionError) as caught:
        client.apply({"version": 1, "project": "p"})
    assert str(caught.value.problems[0]).splitlines() == ["a.yaml:3:5: no field `tll`", "    tll: 1d", "    help: ttl"]
    assert caught.value.causes == ["it was so"]
    handler.details = b"\x1a\xff\xff\xff"
    with pytest.raises(tidegate.InvalidError, match="cast it"):
        client.history()


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with tidegate.Client("127.0.0.1:1", "p") as client:
        for call in (client.history, lambda: client.sql("SELECT 1").to_arrow()):
            with pytest.raises(tidegate.UnavailableError) as caught:
                call()
            assert "tidegate serve" in caught.value.remedy
    with pytest.raises(tidegate.InvalidError, match="is not an address"):
        tidegate.Client("ftp://x")


# Exchange


class Echo(flight.FlightServerBase):  # type: ignore[misc]
    """Answers a spine with itself once it has all of it, as the server does; keeps the last command."""

    command: Any = None
    fail_after: int | None = None

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        packed = AnyMessage.FromString(descriptor.command)
        self.command = flight_pb2.TrainingSet()
        packed.Unpack(self.command)
        spine = reader.read_all()
        writer.begin(spine.schema)
        rows = 0
        for batch in spine.to_batches(max_chunksize=100_000):
            writer.write_batch(batch)
            rows += batch.num_rows
            if self.fail_after is not None and rows > self.fail_after:
                raise flight.FlightServerError("went wrong; try less")


@pytest.fixture(scope="module")
def echo() -> Iterator[tuple[Echo, tidegate.Client]]:
    with Echo("grpc://127.0.0.1:0") as server, tidegate.Client(f"127.0.0.1:{server.port}", "p") as client:
        yield server, client


def test_large_spines_go_and_come_back(echo: tuple[Echo, tidegate.Client]) -> None:
    server, client = echo
    server.fail_after = None
    # Far more than fits in the connection's windows.
    spine = pa.table({"id": range(3_000_000), "at": pa.array([0] * 3_000_000, pa.timestamp("us", "UTC"))})
    result = client.get_historical_features(
        spine, ["v:f", "w"], event_time_column="at", as_of="2024-03-01", full_names=True
    )
    assert result.schema == spine.schema
    assert result.to_arrow().equals(spine)
    assert sum(batch.num_rows for batch in result.to_reader()) == spine.num_rows
    assert list(server.command.features.references) == ["v:f", "w"]
    assert server.command.event_time_column == "at" and server.command.full_feature_names
    assert server.command.as_of == 1_709_251_200_000_000
    assert not server.command.WhichOneof("spine")


def test_a_stream_can_be_left_early(echo: tuple[Echo, tidegate.Client]) -> None:
    server, client = echo
    server.fail_after = None
    spine = pa.table({"id": range(1_000_000)})
    reader = client.get_historical_features(spine, service="s").to_reader()
    assert reader.read_next_batch().num_rows > 0
    del reader
    assert client.get_historical_features(spine, service="s").to_arrow().num_rows == 1_000_000


def test_an_error_in_the_middle_is_not_an_end(echo: tuple[Echo, tidegate.Client]) -> None:
    server, client = echo
    server.fail_after = 500_000
    spine = pa.table({"id": range(1_000_000)})
    with pytest.raises(tidegate.TidegateError, match="went wrong; try less"):
        client.get_historical_features(spine, service="s").to_arrow()


def test_a_spine_that_breaks_is_not_an_end(echo: tuple[Echo, tidegate.Client]) -> None:
    server, client = echo
    server.fail_after = None

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"id": [1]})
        raise RuntimeError("the disk is gone")

    schema = pa.schema({"id": pa.int64()})
    spine = pa.RecordBatchReader.from_batches(schema, batches())
    with pytest.raises(RuntimeError, match="the disk is gone"):
        client.get_historical_features(spine, service="s").to_arrow()


def test_the_spine_is_said_once() -> None:
    with tidegate.Client("127.0.0.1:1", "p") as client:
        for spine in ({}, {"spine": ROWS, "sql": "SELECT 1"}, {"sql": "SELECT 1", "table": "t"}):
            with pytest.raises(tidegate.InvalidError, match="exactly one spine"):
                client.get_historical_features(**spine, service="s")
        with pytest.raises(tidegate.InvalidError, match="as_of"):
            client.get_historical_features(ROWS, service="s", as_of="yesterday")
        with pytest.raises(tidegate.InvalidError, match="params"):
            client.sql("SELECT $1", "JFK")
