"""The unmodified Flight SQL driver of ADBC, and the schemas that Flight promises before it sends rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pyarrow.flight as flight
import pytest
import tidegate
from adbc_driver_flightsql import dbapi
from google.protobuf.any_pb2 import Any as AnyMessage
from tidegate._proto.flight.v1 import flight_pb2
from tidegate.local import LocalServer

PROJECT_HEADER = "adbc.flight.sql.rpc.call_header.tidegate-project"
TRAINING = (
    "SELECT * FROM training_set('late_arrival', "
    "'SELECT flight, tailnum, carrier, origin, arrived_at AS event_timestamp FROM arrivals LIMIT 100')"
)


@pytest.fixture(scope="module")
def connection(server: LocalServer, flights: tidegate.Client) -> Iterator[Any]:
    address = server.address.replace("http://", "grpc://")
    with dbapi.connect(address, db_kwargs={PROJECT_HEADER: "flights"}, autocommit=True) as connection:
        yield connection


def test_lists_tables_and_columns(connection: Any) -> None:
    catalogs = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    tables = {
        (schema["db_schema_name"], table["table_name"]): [column["column_name"] for column in table["table_columns"]]
        for catalog in catalogs
        if catalog["catalog_name"] == "flights"
        for schema in catalog["catalog_db_schemas"]
        for table in schema["db_schema_tables"]
    }
    for source in ("weather_reports", "arrivals"):
        assert ("sources", source) in tables
    for view in ("origin_weather", "plane_last_flight", "carrier_today"):
        assert ("views", view) in tables
    assert {"origin", "time_hour", "temp", "dewp"} <= set(tables["sources", "weather_reports"])
    assert len(connection.adbc_get_table_types()) > 0


def test_filters_what_it_lists(connection: Any) -> None:
    catalogs = (
        connection.adbc_get_objects(depth="tables", catalog_filter="flights", table_name_filter="origin%")
        .read_all()
        .to_pylist()
    )
    names = [
        table["table_name"]
        for catalog in catalogs
        for schema in catalog["catalog_db_schemas"]
        for table in schema["db_schema_tables"]
    ]
    assert names == ["origin_weather"]


def test_gives_a_tables_schema(connection: Any) -> None:
    schema = connection.adbc_get_table_schema("weather_reports", db_schema_filter="sources")
    assert schema.field("time_hour").type == pa.timestamp("us", "UTC")
    assert schema.field("temp").type == pa.float64()


def test_runs_a_query(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT origin, count(*) AS n FROM weather_reports GROUP BY origin ORDER BY origin")
        assert cursor.fetchall() == [("EWR", 8703), ("JFK", 8706), ("LGA", 8706)]


def test_binds_parameters(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM weather_reports WHERE origin = $1 AND temp > $2 AND time_hour < $3",
            parameters=("JFK", 80.0, datetime(2013, 7, 1, tzinfo=timezone.utc)),
        )
        (found,) = cursor.fetchone()
    weather = [
        row
        for row in connection_rows(connection, "SELECT origin, temp, time_hour FROM weather_reports")
        if row[0] == "JFK" and row[1] is not None and row[1] > 80.0
        and row[2] < datetime(2013, 7, 1, tzinfo=timezone.utc)
    ]  # fmt: skip
    assert found == len(weather) > 0


def test_calls_training_set(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(TRAINING)
        table = cursor.fetch_arrow_table()
    assert table.num_rows == 100
    assert {"flight", "event_timestamp", "temp", "last_arr_delay", "late_share_24h"} <= set(table.column_names)
    # A plane's own arrival at the very moment is visible: both bounds are inclusive.
    assert table["last_arr_delay"].null_count == 0


def test_refuses_statements_and_names_unknown_tables(connection: Any) -> None:
    for statement, word in (
        ("CREATE TABLE x AS SELECT 1", "quer"),
        ("INSERT INTO weather_reports SELECT * FROM weather_reports", "quer"),
        ("SELECT * FROM no_such_table", "no_such_table"),
        ("SELECT * FROM '/etc/passwd'", "passwd"),
    ):
        with connection.cursor() as cursor, pytest.raises(dbapi.Error, match=word):
            cursor.execute(statement)
            cursor.fetchall()


@pytest.mark.parametrize(
    "command",
    [
        flight_pb2.SqlStatement(project="flights", query="SELECT * FROM origin_weather"),
        flight_pb2.SqlStatement(
            project="flights", query="SELECT origin, count(*), max(temp) FROM weather_reports GROUP BY 1"
        ),
        flight_pb2.SqlStatement(project="flights", query=TRAINING),
        flight_pb2.TrainingSet(
            project="flights",
            feature_service="late_arrival",
            sql="SELECT flight, tailnum, carrier, origin, arrived_at AS event_timestamp FROM arrivals LIMIT 10",
            include_event_times=True,
            include_statuses=True,
        ),
        flight_pb2.TrainingSet(
            project="flights",
            features=flight_pb2.FeatureReferences(references=["plane_last_flight"]),
            table="arrivals",
            event_time_column="arrived_at",
            full_feature_names=True,
        ),
    ],
    ids=["view", "aggregate", "training set in SQL", "training set of a query", "training set of a table"],
)
def test_the_promised_schema_is_the_one_sent(server: LocalServer, flights: tidegate.Client, command: Any) -> None:
    packed = AnyMessage()
    packed.Pack(command)
    assert_schemas_agree(server, packed)


def test_the_promised_schema_of_a_flight_sql_query_is_the_one_sent(
    server: LocalServer, flights: tidegate.Client
) -> None:
    for name, body in (
        ("CommandStatementQuery", field(1, b"SELECT * FROM weather_reports LIMIT 3")),
        ("CommandGetTables", b"\x28\x01"),
        ("CommandGetTables", b""),
        ("CommandGetDbSchemas", b""),
        ("CommandGetCatalogs", b""),
        ("CommandGetTableTypes", b""),
        ("CommandGetSqlInfo", b""),
    ):
        assert_schemas_agree(
            server, AnyMessage(type_url=f"type.googleapis.com/arrow.flight.protocol.sql.{name}", value=body)
        )


def assert_schemas_agree(server: LocalServer, command: AnyMessage) -> None:
    options = flight.FlightCallOptions(headers=[(b"tidegate-project", b"flights")])
    with flight.FlightClient(server.address.replace("http://", "grpc://")) as client:
        descriptor = flight.FlightDescriptor.for_command(command.SerializeToString())
        info = client.get_flight_info(descriptor, options)
        promised = info.schema
        reader = client.do_get(info.endpoints[0].ticket, options)
        assert reader.schema.equals(promised), f"{command.type_url}: {promised}\nis not\n{reader.schema}"
        assert reader.read_all().schema.equals(promised)
        assert client.get_schema(descriptor, options).schema.equals(promised)


def connection_rows(connection: Any, query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def field(number: int, data: bytes) -> bytes:
    """A length-delimited protobuf field."""
    assert len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data
