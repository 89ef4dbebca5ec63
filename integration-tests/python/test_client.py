"""The Python client's whole surface against a real server: a small shop, every call, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import warnings
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tidegate
from tidegate import Computed, Entity, Feature, FeatureService, FeatureView, Source, Status
from tidegate.local import LocalServer

UTC = timezone.utc
DAY = timedelta(days=1)
T0 = datetime(2024, 1, 1, tzinfo=UTC)
NAMES = itertools.count()


def shop() -> list[Any]:
    user = Entity("user", keys={"user_id": "int64"})
    pair = Entity("pair", keys={"user_id": "int64", "shop": "string"})
    orders = Source("orders", event_time="at", created_time="seen", columns={"note": "string"})
    visits = Source("visits", event_time="at")
    stats = FeatureView(
        "user_stats",
        entities=[user],
        source=orders,
        ttl=10 * DAY,
        serve_ttl=timedelta(days=36_500),
        features=[Feature("total", "float64", default=-1.0), Feature("city", "string"), Feature("n", "int32")],
        description="What a user ordered.",
        owner="shop@example.com",
        tags={"tier": "gold"},
    )
    visited = FeatureView(
        "visited",
        entities=[pair],
        source=visits,
        serve_ttl=DAY,
        features=[Feature("minutes", "int64"), Feature("n", "int64")],
    )
    both = FeatureService("both", views=[stats["total", "city"], visited["minutes"]])
    return [user, pair, orders, visits, stats, visited, both]


ORDERS = [
    {"user_id": 1, "at": T0, "seen": T0, "total": 1.5, "city": "Kiel", "n": 1},
    {"user_id": 1, "at": T0 + DAY, "seen": T0 + 3 * DAY, "total": 2.5, "city": None, "n": 2},
    {"user_id": 2, "at": T0, "seen": T0, "total": float("nan"), "city": "Ulm", "n": None},
]
VISITS = [
    {"user_id": 1, "shop": "a", "at": T0, "minutes": 7, "n": 1},
    {"user_id": 1, "shop": "b", "at": T0, "minutes": 8, "n": 1},
]


@pytest.fixture
def client(server: LocalServer) -> Iterator[tidegate.Client]:
    """A client of a project of its own, with the shop's definitions and history."""
    with server.client(f"shop_{next(NAMES)}") as client:
        client.apply(shop())
        client.ingest("orders", ORDERS)
        client.ingest("visits", VISITS)
        yield client


# Definitions


def test_plan_and_apply_what_was_planned(server: LocalServer) -> None:
    with server.client("planned") as client:
        plan = client.plan(shop())
        assert plan.project == "planned" and plan.base_version == 0 and not plan.breaking
        assert {(change.action, change.kind) for change in plan.changes} == {
            ("create", kind) for kind in ("entity", "source", "feature_view", "feature_service")
        }
        assert "+ feature_view user_stats" in str(plan)
        assert client.apply(plan).version == 1
        with pytest.raises(tidegate.ConflictError):
            client.apply(plan)
        assert client.plan(shop()).changes == []
        assert "planned" in client.projects()


def test_files_documents_and_objects_are_the_same(server: LocalServer, tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(tidegate.to_yaml(shop(), "same"))
    with server.client("same") as client:
        client.apply(tmp_path)
        assert client.plan(tidegate.to_document(shop(), "same")).changes == []
        assert client.plan([tmp_path / "shop.yaml"]).changes == []


def test_every_problem_is_told_at_its_place(server: LocalServer, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "version: 1\nproject: bad\nentities:\n  - name: user\n    keys: [{name: id, typ: int64}]\n"
        "sources:\n  - name: s\n    event_tme: at\n"
    )
    with server.client("bad") as client:
        for call in (client.plan, client.apply):
            with pytest.raises(tidegate.DefinitionError) as caught:
                call(tmp_path)  # type: ignore[operator]
            text = str(caught.value)
            assert {problem.line for problem in caught.value.problems} >= {5, 8}
            assert "bad.yaml:5:" in text and "event_time" in text
        assert "bad" not in client.projects()


def test_a_breaking_change_is_told_and_refused_unless_allowed(client: tidegate.Client) -> None:
    definitions = shop()
    stats = definitions[4]
    narrower = FeatureView(
        "user_stats", entities=["user"], source="orders", ttl=10 * DAY, features=[stats.features[1], stats.features[2]]
    )
    service = FeatureService("both", views=[narrower["city"], "visited"])
    plan = client.plan([narrower, service])
    assert plan.breaking
    (change,) = [change for change in plan.changes if change.kind == "feature_view"]
    assert change.action == "update" and change.breaking and "feature_service/both" in change.dependents
    with pytest.raises(tidegate.PreconditionError):
        client.apply(plan)
    assert client.apply([narrower, service], allow_breaking=True).version == 2


def test_definitions_are_listed_described_deleted_and_brought_back(client: tidegate.Client) -> None:
    assert {described.name for described in client.get("feature_view")} == {"user_stats", "visited"}
    assert len(client.get()) == 7
    described = client.describe("user_stats")
    assert described.kind == "feature_view" and described.owner == "shop@example.com"
    assert "ttl: 10d" in described.yaml and described.dependents == ["feature_service/both"]
    with pytest.raises(tidegate.NotFoundError, match="user_stats"):
        client.describe("user_stat", kind="feature_view")
    with pytest.raises(tidegate.PreconditionError, match="both"):
        client.delete("feature_view", "visited")
    assert client.delete("feature_service", "both").version == 2
    assert client.get("feature_service") == []
    history = client.history()
    assert [version.version for version in history] == [2, 1]
    assert history[0].cause.startswith("delete") and "both" in history[0].cause and history[0].created_at > T0
    assert client.rollback(1).version == 3
    assert [described.name for described in client.get("feature_service")] == ["both"]
    assert client.get("feature_service", version=2) == []


# Ingest


def test_a_batch_id_is_taken_once(client: tidegate.Client) -> None:
    rows = [{**ORDERS[0], "user_id": 9}]
    first = client.ingest("orders", rows, batch_id="b1")
    again = client.ingest("orders", rows, batch_id="b1")
    assert (first.rows, first.already_ingested, first.batch_id) == (1, False, "b1")
    assert (again.rows, again.already_ingested, again.version) == (1, True, first.version)
    assert client.sql("SELECT count(*) AS n FROM sources.orders WHERE user_id = 9").to_arrow()["n"].to_pylist() == [1]


def test_a_view_stands_for_its_source(client: tidegate.Client) -> None:
    done = client.ingest("user_stats", ORDERS[:1])
    assert done.source == "orders" and done.rows == 1 and done.batch_id


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"total": "much"}, ["total"]),
        ({"user_id": None}, ["user_id", "null"]),
        ({"at": None}, ["at", "null"]),
        ({"extra": 1}, ["extra"]),
        ({"user_id": 1.5}, ["user_id"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_rows_that_do_not_fit_are_refused_whole(
    client: tidegate.Client, change: dict[str, Any], words: list[str]
) -> None:
    rows = [ORDERS[0], {**ORDERS[0], **change}]
    if "total" in change or change.get("user_id") == 1.5:
        rows = rows[1:]  # One Arrow column has one type.
    with pytest.raises(tidegate.InvalidError) as caught:
        client.ingest("orders", rows)
    for word in words:
        assert word in caught.value.message
    assert count(client, "sources.orders") == len(ORDERS)


def test_extra_columns_can_be_ignored(client: tidegate.Client) -> None:
    done = client.ingest("orders", [{**ORDERS[0], "extra": 1}], ignore_extra_columns=True)
    assert done.ignored_columns == ["extra"] and done.rows == 1


def test_rows_that_break_off_leave_nothing(client: tidegate.Client) -> None:
    batch = pa.RecordBatch.from_pylist(ORDERS)

    def batches() -> Iterator[pa.RecordBatch]:
        for _ in range(50):
            yield batch
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        client.ingest("orders", pa.RecordBatchReader.from_batches(batch.schema, batches()))
    assert count(client, "sources.orders") == len(ORDERS)


def test_large_uploads_are_refused_with_the_reason(client: tidegate.Client) -> None:
    good = pa.Table.from_pylist([ORDERS[0]]).combine_chunks()
    bad = good.set_column(0, good.schema.field("user_id"), pa.nulls(1, pa.int64()))
    table = pa.concat_tables([*[good] * 1000, bad, *[good] * 1000]).combine_chunks()
    table = pa.concat_tables([table] * 100)
    with pytest.raises(tidegate.InvalidError, match="user_id"):
        client.ingest("orders", table)
    with pytest.raises(tidegate.InvalidError, match="totl"):
        client.ingest("orders", table.rename_columns(["user_id", "at", "seen", "totl", "city", "n"]))
    with pytest.raises(tidegate.NotFoundError, match="ordrs"):
        client.ingest("ordrs", table)
    assert count(client, "sources.orders") == len(ORDERS)


def test_large_ingests_stream(client: tidegate.Client) -> None:
    rows = 300_000
    table = pa.table(
        {
            "user_id": pa.array(range(rows), pa.int64()),
            "at": pa.array([T0] * rows, pa.timestamp("us", "UTC")),
            "seen": pa.array([T0] * rows, pa.timestamp("ns", "Europe/Berlin")),
            "total": pa.array([1.0] * rows, pa.float32()),
            "city": pa.array(["Kiel"] * rows).dictionary_encode(),
            "n": pa.array([1] * rows, pa.int8()),
            "note": pa.array(["x" * 50] * rows, pa.large_string()),
        }
    )
    assert client.ingest("orders", table, batch_id="large").rows == rows
    # The answer to a repeat is known before the first row; it must not come before the last.
    again = client.ingest("orders", table, batch_id="large")
    assert again.already_ingested and again.rows == rows
    assert count(client, "sources.orders") == rows + len(ORDERS)


# Training sets


SPINE = [
    {"user_id": 1, "shop": "b", "event_timestamp": T0 + 2 * DAY, "label": True, "row": 0},
    {"user_id": 1, "shop": "a", "event_timestamp": T0 + 3 * DAY, "label": None, "row": 1},
    {"user_id": 1, "shop": "a", "event_timestamp": T0 + 3 * DAY, "label": None, "row": 2},
    {"user_id": 3, "shop": "a", "event_timestamp": T0 + 3 * DAY, "label": False, "row": 3},
    {"user_id": 1, "shop": "b", "event_timestamp": T0 - DAY, "label": False, "row": 4},
    {"user_id": None, "shop": "b", "event_timestamp": T0 + DAY, "label": False, "row": 5},
    {"user_id": 1, "shop": "b", "event_timestamp": T0 + 12 * DAY, "label": False, "row": 6},
]
# The order of day 1 was seen on day 3; the ttl of ten days has passed for it on day 12.
TOTALS = [1.5, 2.5, 2.5, None, None, None, None]
MINUTES = [8, 7, 7, None, None, None, 8]


def spines() -> dict[str, Any]:
    return {
        "list": SPINE,
        "pandas": pd.DataFrame(SPINE).astype({"user_id": "Int64"}),
        "polars": pl.DataFrame(SPINE),
        "arrow": pa.Table.from_pylist(SPINE),
        "reader": pa.Table.from_pylist(SPINE).to_reader(),
    }


@pytest.mark.parametrize("form", spines())
def test_a_training_set_knows_what_was_known(client: tidegate.Client, form: str) -> None:
    table = client.get_historical_features(spines()[form], service="both").to_arrow()
    assert table.column_names == ["user_id", "shop", "event_timestamp", "label", "row", "total", "city", "minutes"]
    assert table["row"].to_pylist() == list(range(len(SPINE)))
    assert table["total"].to_pylist() == TOTALS
    assert table["city"].to_pylist() == ["Kiel", None, None, None, None, None, None]
    assert table["minutes"].to_pylist() == MINUTES


def test_results_are_lazy_and_come_in_every_form(client: tidegate.Client) -> None:
    result = client.get_historical_features(SPINE, service="both")
    schema = result.schema
    assert schema.field("total").type == pa.float64() and schema.field("minutes").type == pa.int64()
    assert schema.field("total").nullable
    assert result.to_arrow().schema == schema
    assert result.to_reader().read_all().schema == schema
    assert pa.table(result).num_rows == len(SPINE)
    pandas, polars = result.to_pandas(), result.to_polars()
    assert pandas.shape == polars.shape == (len(SPINE), 8)
    assert polars["minutes"].to_list() == MINUTES
    assert pandas["total"].dropna().tolist() == [1.5, 2.5, 2.5]


def test_a_training_set_tells_what_was_counted(client: tidegate.Client) -> None:
    client.ingest("orders", ORDERS[:1])
    for send in (SPINE, pl.DataFrame(SPINE)):
        result = client.get_historical_features(send, service="both")
        assert result.counts == {}, "nothing is read yet"
        result.to_arrow()
        stats, visited = result.counts["user_stats"], result.counts["visited"]
        assert (stats["matched"], stats["expired"]) == (3, 1)
        assert (stats["conflicts"], stats["null_keys"], stats["files"]) == (1, 0, 2)
        assert (visited["matched"], visited["conflicts"], visited["null_keys"]) == (4, 0, 0)
        assert result.to_reader().read_all().num_rows == len(SPINE) and result.counts["visited"] == visited
    nothing = client.get_historical_features(pl.DataFrame(SPINE).head(0), service="both")
    assert nothing.to_arrow().num_rows == 0 and nothing.counts == {}


def test_times_statuses_full_names_and_references(client: tidegate.Client) -> None:
    table = client.get_historical_features(
        SPINE,
        ["user_stats:total", "visited"],
        full_names=True,
        include_event_times=True,
        include_statuses=True,
    ).to_arrow()
    assert set(table.column_names) == {
        *SPINE[0],
        *("user_stats__total", "user_stats__event_time", "user_stats__status"),
        *("visited__minutes", "visited__n", "visited__event_time", "visited__status"),
    }
    assert table["user_stats__total"].to_pylist() == TOTALS
    assert table["user_stats__status"].to_pylist() == [
        "PRESENT", "PRESENT", "PRESENT", "NOT_FOUND", "NOT_FOUND", "NOT_FOUND", "EXPIRED",
    ]  # fmt: skip
    assert table["user_stats__event_time"].to_pylist()[:4] == [T0, T0 + DAY, T0 + DAY, None]


def test_a_clash_of_names_is_told(client: tidegate.Client) -> None:
    with pytest.raises(tidegate.InvalidError, match="user_stats:n.*visited:n"):
        client.get_historical_features(SPINE, ["user_stats", "visited"]).to_arrow()


def test_as_of_cuts_what_became_known_later(client: tidegate.Client) -> None:
    for as_of in (T0 + 2 * DAY, "2024-01-03", date(2024, 1, 3), "2024-01-03T00:00:00Z", 1_704_240_000_000_000):
        table = client.get_historical_features(SPINE, ["user_stats:total"], as_of=as_of).to_arrow()
        assert table["total"].to_pylist()[:3] == [1.5, 1.5, 1.5]


def test_a_row_is_explained(client: tidegate.Client) -> None:
    keys = {"user_id": 1, "shop": "b"}
    stats, visited = client.explain_row(keys, service="both", at=T0 + 2 * DAY)
    assert stats.view == "user_stats" and stats.status == "PRESENT" and stats.observations == 2
    assert stats.values == {"total": 1.5, "city": "Kiel"} and visited.values == {"minutes": 8}
    assert stats.winner is not None and stats.winner.event_time == T0 and stats.winner.file.endswith(".parquet")
    late = stats.candidates[1]
    assert (late.outcome, late.event_time, late.known_at) == ("NOT_YET_KNOWN", T0 + DAY, T0 + 3 * DAY)
    assert late.values == {"total": 2.5, "city": None}
    assert list(stats.to_pandas()["outcome"]) == ["WON", "NOT_YET_KNOWN"]
    assert "PRESENT" in str(stats) and "1 NOT_YET_KNOWN" in str(stats)
    [cut] = client.explain_row({**SPINE[1]}, ["user_stats:total"], as_of="2024-01-03")
    assert [found.outcome for found in cut.candidates] == ["WON", "CUT_BY_AS_OF"]
    [expired] = client.explain_row(SPINE[6], service="both", outputs=["total"], runners_up=0)
    assert expired.status == "EXPIRED" and expired.values == {"total": None} and len(expired.candidates) == 1
    [nobody] = client.explain_row({"user_id": 99}, ["user_stats:total"], at=T0)
    assert nobody.status == "NOT_FOUND" and nobody.winner is None and nobody.to_pandas().empty
    with pytest.raises(tidegate.InvalidError, match="user_id"):
        client.explain_row({}, ["user_stats"], at=T0)
    with pytest.raises(tidegate.NotFoundError, match="total"):
        client.explain_row(keys, service="both", at=T0, outputs=["totl"])


def test_the_command_line_explains_a_row(client: tidegate.Client, tmp_path: Path) -> None:
    command = [os.environ["TIDEGATE_BIN"], "--address", client.address, "--project", client.project, "explain-row"]

    def run(*arguments: str) -> str:
        return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True, timeout=60).stdout

    shown = run("user_stats", "--key", "user_id=1", "--at", "2024-01-03T00:00:00Z")
    assert "user_stats: PRESENT at 2024-01-03T00:00:00Z" in shown
    assert "total = 1.5, from #0" in shown and "1 won, " in shown.replace("1 not yet known, 1 won", "1 won, ")
    assert "not yet known" in shown and "2024-01-04T00:00:00Z" in shown
    pq.write_table(pa.Table.from_pylist(SPINE), tmp_path / "spine.parquet")
    of_file = ["both", "--spine", str(tmp_path / "spine.parquet"), "--row", "1", "--feature", "total", "--json"]
    [view] = json.loads(run(*of_file))
    assert view["status"] == "PRESENT" and view["candidates"][view["features"]["total"]]["values"]["total"] == 2.5
    assert view["candidates"][1]["outcome"] == "LATER_EVENT_TIME_WON"
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run("both", "--spine", str(tmp_path / "spine.parquet"), "--row", "7")
    assert "has 7 rows, and row 7 is asked for" in failed.value.stderr


def test_rows_that_hold_for_a_time_and_skipped_nulls_are_not_served(server: LocalServer) -> None:
    with server.client("held_back") as client:
        user = Entity("user", keys={"user_id": "int64"})
        tiers = Source("tiers", valid_from="since", valid_to="until")
        served = FeatureView("tier", entities=[user], source=tiers, features=[Feature("name", "string")], nulls="skip")
        with pytest.raises(tidegate.DefinitionError) as refused:
            client.apply([user, tiers, served])
        assert str(refused.value).count("online: false") == 2
        client.apply([user, tiers, dataclasses.replace(served, online=False)])
        client.ingest(
            "tiers",
            [
                {"user_id": 1, "since": T0, "until": T0 + DAY, "name": "gold"},
                {"user_id": 1, "since": T0 + 2 * DAY, "until": None, "name": None},
            ],
        )
        for days, status, outcomes in [
            (0, "PRESENT", ["WON", "AFTER_ROW_TIME"]),
            (1, "NOT_FOUND", ["NO_LONGER_VALID", "AFTER_ROW_TIME"]),
            (5, "PRESENT", ["WON", "NO_LONGER_VALID"]),
        ]:
            [told] = client.explain_row({"user_id": 1}, ["tier"], at=T0 + days * DAY)
            assert told.status == status and [found.outcome for found in told.candidates] == outcomes


def test_spines_that_the_server_reaches(client: tidegate.Client) -> None:
    by_sql = client.get_historical_features(
        sql="SELECT user_id, seen AS event_timestamp FROM orders ORDER BY user_id, seen", features=["user_stats:total"]
    )
    assert by_sql.schema == by_sql.to_arrow().schema
    assert by_sql.to_arrow()["total"].to_pylist()[:2] == [1.5, 2.5]
    by_table = client.get_historical_features(table="visits", event_time_column="at", features=["user_stats:total"])
    assert by_table.to_arrow()["total"].to_pylist() == [1.5, 1.5]
    in_sql = client.sql(
        "SELECT total FROM training_set('both', 'SELECT user_id, shop, at AS event_timestamp FROM visits')"
    )
    assert in_sql.to_arrow()["total"].to_pylist() == [1.5, 1.5]


def test_naive_and_fine_times(client: tidegate.Client) -> None:
    naive = [{"user_id": 1, "event_timestamp": datetime(2024, 1, 1)}]
    with pytest.warns(tidegate.NaiveTimeWarning, match="event_timestamp"):
        table = client.get_historical_features(naive, ["user_stats:total"]).to_arrow()
    assert table["total"].to_pylist() == [1.5]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client.get_historical_features(naive, ["user_stats:total"]).to_arrow()
    # A spine's time rounds down: one nanosecond before the order is before it, one after is at it.
    micros = 1_704_067_200_000_000
    fine = pa.table(
        {
            "user_id": pa.array([1, 1], pa.int32()),
            "event_timestamp": pa.array([micros * 1000 - 1, micros * 1000 + 1], pa.timestamp("ns", "UTC")),
        }
    )
    table = client.get_historical_features(fine, ["user_stats:total"]).to_arrow()
    assert table["total"].to_pylist() == [None, 1.5]
    assert table.schema.field("event_timestamp").type == pa.timestamp("ns", "UTC")
    assert table.schema.field("user_id").type == pa.int32()


def test_an_empty_spine_is_an_empty_training_set(client: tidegate.Client) -> None:
    table = client.get_historical_features(pa.Table.from_pylist(SPINE).slice(0, 0), service="both").to_arrow()
    assert table.num_rows == 0 and "total" in table.column_names


@pytest.mark.parametrize(
    ("spine", "asked", "words", "kind"),
    [
        ([{"event_timestamp": T0}], {"service": "both"}, ["user_id"], tidegate.InvalidError),
        ([{"user_id": 1}], {"features": ["user_stats"]}, ["event_timestamp"], tidegate.InvalidError),
        ([{"user_id": "1", "event_timestamp": T0}], {"features": ["user_stats"]}, ["user_id"], tidegate.InvalidError),
        (
            [{"user_id": 1, "event_timestamp": "now"}],
            {"features": ["user_stats"]},
            ["event_timestamp"],
            tidegate.InvalidError,
        ),
        (SPINE, {"service": "bth"}, ["bth", "both"], tidegate.NotFoundError),
        (SPINE, {"features": ["user_stats:totl"]}, ["totl", "total"], tidegate.NotFoundError),
        (
            [{"user_id": 1, "event_timestamp": T0, "total": 1}],
            {"features": ["user_stats"]},
            ["total"],
            tidegate.InvalidError,
        ),
    ],
    ids=[
        "no key",
        "no time",
        "key of another type",
        "time as text",
        "unknown service",
        "unknown feature",
        "taken name",
    ],
)
def test_spines_that_do_not_fit_are_told(
    client: tidegate.Client, spine: Any, asked: dict[str, Any], words: list[str], kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught:
        client.get_historical_features(spine, **asked).to_arrow()
    for word in words:
        assert word in str(caught.value)


# Serving


def test_lookups_after_materialization(client: tidegate.Client) -> None:
    before = {status.view: status for status in client.status()}
    assert before["user_stats"].cursor == -1 and before["user_stats"].materialized_at is None
    reports: list[tidegate.Progress] = []
    final = client.materialize(progress=reports.append)
    assert {report.view for report in final} == {"user_stats", "visited"}
    assert all(report.done for report in final) and len(reports) >= len(final)
    assert {status.view: status.current for status in client.status()} == {"user_stats": True, "visited": True}

    keys = {"user_id": [1, 2, 3, 1], "shop": ["a", "a", "a", "b"]}
    result = client.get_online_features(keys, service="both", include_times=True)
    values = result.to_dict()
    assert values["user_id"] == keys["user_id"]
    assert values["total"][0] == 2.5 and values["total"][1] != values["total"][1] and values["total"][2:] == [-1.0, 2.5]
    assert values["city"] == [None, "Ulm", None, None]
    assert values["minutes"] == [None] * 4
    assert result.statuses["total"] == [Status.PRESENT, Status.PRESENT, Status.DEFAULTED, Status.PRESENT]
    assert result.reasons["total"] == [None, None, Status.NOT_FOUND, None]
    assert result.statuses["city"] == [Status.NULL, Status.PRESENT, Status.NOT_FOUND, Status.NULL]
    assert result.statuses["minutes"] == [Status.EXPIRED, Status.NOT_FOUND, Status.NOT_FOUND, Status.EXPIRED]
    assert result.event_times["user_stats"] == [T0 + DAY, T0, None, T0 + DAY]
    assert result.ages["user_stats"][2] is None and result.ages["visited"][0] > 100 * DAY  # type: ignore[operator]
    assert result.catalog_version == 1

    expired = client.get_online_features(keys, ["visited:minutes"], return_expired=True, full_names=True)
    assert expired.to_dict(include_keys=False) == {"visited__minutes": [7, None, None, 8]}
    assert expired.statuses["visited__minutes"][0] == Status.EXPIRED
    assert expired.event_times == {}


def test_materialization_catches_up_and_rebuilds(client: tidegate.Client) -> None:
    client.materialize(progress=False)
    client.ingest("orders", [{**ORDERS[0], "user_id": 7, "at": T0 + 5 * DAY, "total": 7.0}])
    behind = {status.view: status for status in client.status(["user_stats"])}["user_stats"]
    assert not behind.current and behind.table_version == behind.cursor + 1
    (report,) = client.materialize("user_stats", progress=False)
    assert report.rows_read == 1 and report.rows_written == 1 and not report.full
    (report,) = client.materialize(["user_stats"], full=True, progress=False)
    assert report.full and report.rows_read == len(ORDERS) + 1
    assert client.get_online_features({"user_id": 7}, ["user_stats:total"]).to_dict()["total"] == [7.0]
    (report,) = client.materialize("user_stats", progress=False)
    assert report.rows_written == 0
    (parity,) = client.parity("user_stats")
    assert parity.holds and parity.equal > 0 and parity.ahead == 0 and not parity.examples
    assert parity.version == report.to_version
    with pytest.raises(tidegate.NotFoundError, match="user_stats"):
        client.parity("user_stat")


def test_history_answers_as_of_a_time(client: tidegate.Client) -> None:
    client.materialize(progress=False)
    keys, asked = {"user_id": [row["user_id"] for row in ORDERS]}, ["user_stats"]
    served = client.get_online_features(keys, asked, include_times=True, return_expired=True)
    now = client.get_online_features(keys, asked, include_times=True, return_expired=True, as_of=datetime.now(UTC))
    assert served.as_of is None and now.as_of is not None
    # As text: NaN is not equal to itself.
    assert str(now.to_dict()) == str(served.to_dict()) and now.statuses == served.statuses
    assert now.event_times == served.event_times
    before = client.get_online_features(keys, asked, as_of=T0 - 365 * DAY)
    found = {status for statuses in before.statuses.values() for status in statuses}
    assert found <= {Status.NOT_FOUND, Status.DEFAULTED}
    with pytest.raises(tidegate.InvalidError, match="as_of"):
        client.get_online_features(keys, asked, as_of="soon")


def test_a_lookup_sees_a_write_it_knows_of(client: tidegate.Client) -> None:
    (report,) = client.materialize("user_stats", progress=False)
    keys = {"user_id": [1]}
    assert len(client.get_online_features(keys, ["user_stats"], after_write=report.write_token)) == 1
    other = report.write_token[::-1].replace(":", "", 1) + ":1"
    with pytest.raises(tidegate.PreconditionError, match="another server"):
        client.get_online_features(keys, ["user_stats"], after_write=other)
    with pytest.raises(tidegate.InvalidError, match="token"):
        client.get_online_features(keys, ["user_stats"], after_write="yesterday")


def test_partial_answers_are_whole_where_there_is_time(client: tidegate.Client) -> None:
    keys = {"user_id": [1, 2]}
    whole = client.get_online_features(keys, ["user_stats"])
    part = client.get_online_features(keys, ["user_stats"], timeout=30, allow_partial=True)
    assert str(part.to_dict()) == str(whole.to_dict()) and part.statuses == whole.statuses


@pytest.mark.parametrize(
    ("keys", "asked", "words", "kind"),
    [
        ({"shop": ["a"]}, {"service": "both"}, ["user_id"], tidegate.InvalidError),
        ({"user_id": ["1"]}, {"features": ["user_stats"]}, ["user_id"], tidegate.InvalidError),
        ({"user_id": [1]}, {"service": "bth"}, ["bth", "both"], tidegate.NotFoundError),
        ({"user_id": [1]}, {"features": ["user_stat"]}, ["user_stat", "user_stats"], tidegate.NotFoundError),
        ({"user_id": [None, 1]}, {"features": ["user_stats"]}, ["user_id", "row 0"], tidegate.InvalidError),
        ({"user_id": [1 << 63]}, {"features": ["user_stats"]}, ["too large"], tidegate.InvalidError),
    ],
    ids=["missing key", "wrong type", "unknown service", "unknown view", "null key", "too large a key"],
)
def test_lookups_that_do_not_fit_are_told(
    client: tidegate.Client, keys: Any, asked: dict[str, Any], words: list[str], kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught:
        client.get_online_features(keys, **asked)
    for word in words:
        assert word in str(caught.value)


def test_every_type_survives_both_tiers(server: LocalServer) -> None:
    types: dict[str, tuple[str, Any, pa.DataType]] = {
        "b": ("bool", True, pa.bool_()),
        "i": ("int32", -(1 << 31), pa.int32()),
        "l": ("int64", (1 << 63) - 1, pa.int64()),
        "f": ("float32", 0.5, pa.float32()),
        "d": ("float64", float("-inf"), pa.float64()),
        "s": ("string", "Zürich 🌊", pa.string()),
        "y": ("bytes", b"\x00\xff", pa.binary()),
        "t": ("timestamp", T0 + timedelta(microseconds=1), pa.timestamp("us", "UTC")),
        "day": ("date", date(1969, 12, 31), pa.date32()),
        "dec": ("decimal(10,2)", Decimal("-12345678.90"), pa.decimal128(10, 2)),
        "li": ("list<int64>", [1, None, 3], pa.list_(pa.int64())),
        "v": ("vector<float32,2>", [0.5, 1.5], pa.list_(pa.float32(), 2)),
        "st": ("struct<a:int64,b:string>", {"a": 1, "b": "x"}, pa.struct({"a": pa.int64(), "b": pa.string()})),
        "m": ("map<string,int64>", [("a", 1), ("b", None)], pa.map_(pa.string(), pa.int64())),
        "j": ("json", '{"a": 1}', pa.string()),
    }
    row = Entity("row", keys={"k": "string", "on": "date"})
    source = Source("rows", event_time="at")
    view = FeatureView(
        "wide", entities=[row], source=source, features=[Feature(name, of) for name, (of, _, _) in types.items()]
    )
    columns = {name: pa.array([value, None], of) for name, (_, value, of) in types.items()}
    keys = {"k": ["x", "y"], "on": [date(2024, 1, 1)] * 2}
    with server.client("types") as client:
        client.apply([row, source, view])
        client.ingest("rows", {**{n: pa.array(v) for n, v in keys.items()}, "at": pa.array([T0, T0]), **columns})
        client.materialize(progress=False)
        spine = pa.table({**keys, "event_timestamp": [T0, T0]})
        offline = client.get_historical_features(spine, ["wide"]).to_arrow().to_pydict()
        online = client.get_online_features(keys, ["wide"])
        for name, (_, value, _) in types.items():
            assert offline[name] == [value, None], name
            assert online.to_dict()[name] == [value, None], name
            assert online.statuses[name] == [Status.PRESENT, Status.NULL], name


# SQL


def test_sql_with_parameters(client: tidegate.Client) -> None:
    result = client.sql(
        "SELECT user_id, total FROM user_stats WHERE city = $1 AND at >= $2 AND user_id < $3", ["Kiel", T0, 5]
    )
    assert result.schema == result.to_arrow().schema
    assert result.to_pandas().values.tolist() == [[1.0, 1.5]]
    assert client.sql("SELECT 1 AS one").to_polars()["one"].to_list() == [1]


def test_a_failing_query_tells_why(client: tidegate.Client) -> None:
    with pytest.raises(tidegate.InvalidError, match="(?i)divide by zero"):
        client.sql("SELECT n / (n - n) FROM user_stats").to_arrow()


def test_tables_are_listed(client: tidegate.Client) -> None:
    found = {(row["schema"], row["name"]): row["columns"] for row in client.tables().to_pylist()}
    assert {("sources", "orders"), ("sources", "visits"), ("views", "user_stats"), ("views", "visited")} <= set(found)
    assert any(column.startswith("total double") for column in found["sources", "orders"])


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE orders",
        "DELETE FROM orders",
        "SET x = 1",
        "COPY orders TO '/tmp/x.parquet'",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM planned.sources.orders",
        "SELEC 1",
    ],
)
def test_sql_only_reads_the_project(client: tidegate.Client, query: str) -> None:
    with pytest.raises(tidegate.TidegateError) as caught:
        client.sql(query).to_arrow()
    assert not isinstance(caught.value, (tidegate.InternalError, tidegate.UnavailableError))


# The client itself


def test_the_project_is_found(server: LocalServer, client: tidegate.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_ADDRESS", server.address)
    monkeypatch.setenv("TIDEGATE_PROJECT", client.project)
    with tidegate.Client() as found:
        assert found.project == client.project and found.sql("SELECT count(*) FROM orders").to_arrow().num_rows == 1
    monkeypatch.delenv("TIDEGATE_PROJECT")
    with tidegate.Client() as unnamed:
        if len(unnamed.projects()) > 1:
            with pytest.raises(tidegate.InvalidError, match="say Client"):
                unnamed.status()


def test_parquet_files_are_read_in_place(client: tidegate.Client, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(SPINE), tmp_path / "spine.parquet")
    table = client.get_historical_features(tmp_path / "spine.parquet", service="both").to_arrow()
    assert table["total"].to_pylist() == TOTALS


def count(client: tidegate.Client, table: str) -> int:
    value: int = client.sql(f"SELECT count(*) AS n FROM {table}").to_arrow()["n"][0].as_py()
    return value


def test_computed_features_agree_between_the_tiers(server: LocalServer) -> None:
    user = Entity("rider", {"rider_id": "int64"})
    rides = Source("rides_of_riders", "at")
    view = FeatureView("riding", [user], rides, [Feature("mean", "float64"), Feature("city", "string")])
    service = FeatureService(
        "fares",
        [view],
        request={"amount": "float64", "seats": "int64"},
        computed=[
            Computed("ratio", "float64", "amount / riding.mean"),
            Computed("each", "int64", "100 / seats"),
            Computed("city_index", "int64", "vocabulary_index(city, ['JFK', 'LGA'])"),
        ],
    )
    now = datetime.now(timezone.utc)
    with server.client("fares_project") as client:
        client.apply([user, rides, view, service])
        rows = {"rider_id": [1, 2], "at": [now - timedelta(hours=1)] * 2, "mean": [4.0, None], "city": ["LGA", "EWR"]}
        client.ingest("rides_of_riders", pa.table(rows), batch_id="a")
        client.materialize()
        asked = {"amount": [10.0, 20.0, 30.0], "seats": [3, 0, None]}
        result = client.get_online_features({"rider_id": [1, 2, 3]}, service="fares", request=asked)
        looked_up = result.to_dict(include_keys=False)
        assert looked_up["ratio"] == [2.5, None, None]
        assert looked_up["each"] == [33, None, None]
        assert looked_up["city_index"] == [1, 2, None]
        assert [str(status) for status in result.statuses["each"]] == ["PRESENT", "FAILED", "NULL"]
        spine = pa.table({"rider_id": [1, 2, 3], "event_timestamp": [now] * 3, **asked})
        trained = client.get_historical_features(spine, service="fares").to_arrow()
        for name in ("mean", "city", "ratio", "each", "city_index"):
            assert trained[name].to_pylist() == looked_up[name], name
        with pytest.raises(tidegate.InvalidError, match="request column `amount`"):
            client.get_online_features({"rider_id": 1}, service="fares")
        with pytest.raises(tidegate.DefinitionError, match="maen"):
            broken = FeatureService("fares", [view], computed=[Computed("bad", "float64", "riding.maen")])
            client.apply([user, rides, view, broken])
