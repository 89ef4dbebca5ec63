"""The demo's training set against DuckDB, on all 336,776 flights.

ASOF JOIN applies our rule where availability is `event` and no ttl is set: the newest observation at or before the spine's time.
The inputs have one row for a key and a time, so it has one right answer. The windows are differences of running totals, their
start rounded down to the hour. With reports that arrive three hours late, a row may only see an older report, or none; never a
newer one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import prepare
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import tidegate
from tidegate import Entity, Feature, FeatureView, Source
from tidegate.local import LocalServer

FLIGHTS = 336_776
WEATHER = ["temp", "wind_speed", "precip", "visib"]

ASOF = """
    WITH running AS (
        SELECT DISTINCT carrier, arrived_at, count(*) OVER w AS flights, sum(arr_delay) OVER w AS delay, sum(late) OVER w AS late
        FROM read_parquet('{arrivals}') WINDOW w AS (PARTITION BY carrier ORDER BY arrived_at)
    ), carrier_today AS (
        SELECT s.flight_id, c.arrived_at AS newest, c.flights - coalesce(b.flights, 0) AS flights,
               c.delay - coalesce(b.delay, 0) AS delay, c.late - coalesce(b.late, 0) AS late
        FROM read_parquet('{flights}') s
        ASOF JOIN running c ON s.carrier = c.carrier AND s.event_timestamp >= c.arrived_at
        ASOF LEFT JOIN running b
          ON s.carrier = b.carrier AND date_trunc('hour', s.event_timestamp - INTERVAL 24 HOUR) >= b.arrived_at
    )
    SELECT s.*,
           w.temp, w.wind_speed, w.precip, w.visib,
           p.arr_delay AS last_arr_delay, p.dep_delay AS last_dep_delay, p.air_time AS last_air_time, p.dest AS last_dest,
           coalesce(c.flights, 0) AS arrivals_24h, c.delay / c.flights AS mean_delay_24h, c.late / c.flights AS late_share_24h,
           w.time_hour AS origin_weather__event_time,
           p.arrived_at AS plane_last_flight__event_time,
           c.newest AS carrier_today__event_time
    FROM read_parquet('{flights}') s
    ASOF LEFT JOIN read_parquet('{weather_reports}') w ON s.origin = w.origin AND s.event_timestamp >= w.time_hour
    ASOF LEFT JOIN read_parquet('{arrivals}') p ON s.tailnum = p.tailnum AND s.event_timestamp >= p.arrived_at
    LEFT JOIN carrier_today c ON s.flight_id = c.flight_id AND c.flights > 0
    ORDER BY s.flight_id
"""


@pytest.fixture(scope="module")
def training(flights: tidegate.Client, inputs: dict[str, Path]) -> pa.Table:
    return flights.get_historical_features(
        inputs["flights"], service="late_arrival", include_event_times=True
    ).to_arrow()


def test_the_inputs_are_the_whole_year(inputs: dict[str, Path]) -> None:
    rows = {name: pq.read_metadata(path).num_rows for name, path in inputs.items()}
    assert rows["flights"] == FLIGHTS
    assert rows["weather_reports"] == 26_115
    # 327,346 flights arrived; two rows of one plane share a minute, and the later in file order stands for both.
    assert rows["arrivals"] == 327_345


def test_arrivals_come_after_departures_by_at_least_the_time_in_the_air() -> None:
    flights = prepare.load_flights()
    arrived = flights[flights["arrived_at"].notna()]
    ground = (arrived["arrived_at"] - arrived["departed"]).dt.total_seconds() / 60 - arrived["air_time"]
    assert len(arrived) == int(flights["arr_delay"].notna().sum())
    assert ground.min() > 0 and ground.max() < 4 * 60


def test_equals_duckdb_on_every_flight(training: pa.Table, inputs: dict[str, Path]) -> None:
    expected = asof(inputs)
    assert training.num_rows == expected.num_rows == FLIGHTS
    assert set(expected.column_names) == set(training.column_names)
    wrong = {name: differing(training[name], expected[name]) for name in expected.column_names}
    assert {name: count for name, count in wrong.items() if count} == {}


def test_what_is_served_is_in_the_tables(flights: tidegate.Client) -> None:
    reports = flights.parity()
    assert reports and all(report.equal > 0 for report in reports)
    assert [(report.view, report.examples) for report in reports if not report.holds] == []


def test_keeps_the_spine(training: pa.Table, inputs: dict[str, Path]) -> None:
    spine = pq.read_table(inputs["flights"]).replace_schema_metadata(None)
    assert training.column_names[: spine.num_columns] == spine.column_names
    for name in spine.column_names:
        assert training.schema.field(name).type == spine.schema.field(name).type
        assert differing(training[name], spine[name]) == 0, name


def test_nothing_flows_back_while_a_naive_join_leaks(training: pa.Table) -> None:
    for name in training.column_names:
        if name.endswith("__event_time"):
            later = pc.sum(pc.greater(training[name], training["event_timestamp"])).as_py()
            assert later == 0, name
    leaks = {leak.join: leak for leak in prepare.naive_leaks(prepare.load_flights())}
    assert leaks["by departure"].leaked > 0 and leaks["by departure"].own == 0
    assert leaks["by date"].leaked > leaks["by date"].own > FLIGHTS // 2


@pytest.fixture(scope="module")
def late(server: LocalServer, inputs: dict[str, Path]) -> Iterator[tidegate.Client]:
    """A project where reports of the weather become known three hours after they were made."""
    airport = Entity("airport", keys={"origin": "string"})
    reports = Source("weather_reports", event_time="time_hour")
    view = FeatureView(
        "origin_weather",
        entities=[airport],
        source=reports,
        availability=timedelta(hours=3),
        features=[Feature(name, "float64") for name in WEATHER],
    )
    with server.client("flights_late") as client:
        client.apply([airport, reports, view])
        client.ingest("weather_reports", inputs["weather_reports"], ignore_extra_columns=True)
        yield client


def test_late_reports_are_never_newer(late: tidegate.Client, inputs: dict[str, Path], training: pa.Table) -> None:
    delayed = late.get_historical_features(
        inputs["flights"], features=["origin_weather"], include_event_times=True
    ).to_arrow()

    column = "origin_weather__event_time"
    assert differing(delayed["flight_id"], training["flight_id"]) == 0
    assert differing(delayed[column], training[column]) > FLIGHTS * 9 // 10
    now, then = training[column], delayed[column]
    # A report of the hour before can't be known yet; what is known is older, or there is nothing.
    assert pc.sum(pc.greater(then, now)).as_py() == 0
    assert pc.sum(pc.and_(pc.is_null(now), pc.is_valid(then))).as_py() == 0
    shifted = asof(inputs, delay="INTERVAL 3 HOUR")
    for name in [*WEATHER, column]:
        assert differing(delayed[name], shifted[name]) == 0, name


def test_the_audit_counts_what_a_naive_join_leaks(late: tidegate.Client, inputs: dict[str, Path]) -> None:
    audit = late.audit(inputs["flights"], features=["origin_weather"], margin="3h").to_dict()
    naive, known = asof(inputs), asof(inputs, delay="INTERVAL 3 HOUR")
    times = (known["event_timestamp"], known["origin_weather__event_time"])
    ages = pc.subtract(times[0].cast(pa.int64()), times[1].cast(pa.timestamp("us", "UTC")).cast(pa.int64()))
    for name in WEATHER:
        counts = audit[name]
        leaked = differing(naive[name], known[name])
        assert counts["rows"] == FLIGHTS and counts["leaked"] == leaked > 0, name
        near = pc.sum(pc.and_(pc.is_valid(known[name]), pc.less_equal(ages, 3 * 3_600_000_000))).as_py()
        assert counts["near"] == near, name
        assert counts["knowledge_known"] and str(leaked) in counts["note"], name


def asof(inputs: dict[str, Path], delay: str | None = None) -> pa.Table:
    """DuckDB's answer; with `delay`, reports of the weather count that long after they were made."""
    query = ASOF.format(**inputs)
    if delay:
        query = query.replace("s.event_timestamp >= w.time_hour", f"s.event_timestamp - {delay} >= w.time_hour")
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection.sql(query).to_arrow_table()


def differing(left: pa.ChunkedArray, right: pa.ChunkedArray) -> int:
    """How many rows differ; two nulls are the same."""
    right = right.cast(left.type)
    if left.equals(right):
        return 0
    same = pc.or_(pc.fill_null(pc.equal(left, right), False), pc.and_(pc.is_null(left), pc.is_null(right)))
    return len(left) - pc.sum(same).as_py()
