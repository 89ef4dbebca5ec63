"""Sealed training sets, splits, samples and audits from Python and the command line, against a real server.

The rows that a sample keeps are computed here once more, from the rules in docs/semantics.md and nothing of ours.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import struct
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tidegate
from tidegate import Entity, Feature, FeatureService, FeatureView, Sample, Source, Split
from tidegate.local import LocalServer

T0 = datetime(2024, 1, 1, tzinfo=timezone.utc)
NAMES = itertools.count()


def day(at: float) -> datetime:
    return T0 + timedelta(days=at)


def spine(rows: int = 200) -> pa.Table:
    return pa.table(
        {
            "user_id": pa.array([at % 7 for at in range(rows)], pa.int64()),
            "event_timestamp": pa.array([day(at / 10) for at in range(rows)], pa.timestamp("us", "UTC")),
            "bought": pa.array([at % 4 == 0 for at in range(rows)]),
        }
    )


@pytest.fixture
def client(server: LocalServer) -> Iterator[tidegate.Client]:
    """A client of a project of its own, with orders that were recorded an hour after they happened."""
    user = Entity("user", keys={"user_id": "int64"})
    orders = Source("orders", event_time="at", created_time="recorded_at")
    stats = FeatureView("user_stats", entities=[user], source=orders, features=[Feature("amount", "float64")])
    service = FeatureService("buys", views=[stats])
    with server.client(f"sealed_{next(NAMES)}") as client:
        client.apply([user, orders, stats, service])
        client.ingest("orders", [order(user_id, 1, user_id * 1.5) for user_id in range(7)])
        yield client


def order(user_id: int, at: float, amount: float, recorded: float | None = None) -> dict[str, Any]:
    recorded_at = day(at) + timedelta(hours=1) if recorded is None else day(recorded)
    return {"user_id": user_id, "at": day(at), "recorded_at": recorded_at, "amount": amount}


def kept(row: dict[str, Any], fraction: float, seed: int) -> bool:
    """Whether a row of `spine()` is kept, by docs/semantics.md."""

    def name(text: str) -> bytes:
        return struct.pack("<Q", len(text)) + text.encode()

    nanos = (row["event_timestamp"] - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1) * 1000
    content = struct.pack("<q", seed)
    content += name("bought") + bytes([1, row["bought"]])
    content += name("event_timestamp") + b"\x08" + nanos.to_bytes(16, "little", signed=True)
    content += name("user_id") + b"\x02" + struct.pack("<q", row["user_id"])
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") < int(fraction * 2**64)


def test_a_sample_is_what_the_rules_say(client: tidegate.Client) -> None:
    sample = Sample("bought", keep={False: 0.3}, seed=-7)
    rows = client.get_historical_features(spine(), service="buys", sample=sample).to_arrow()
    expected = [row for row in spine().to_pylist() if row["bought"] or kept(row, 0.3, -7)]
    assert rows.select(["user_id", "event_timestamp", "bought"]).to_pylist() == expected
    assert rows["sample_weight"].to_pylist() == [1.0 if row["bought"] else 1 / 0.3 for row in expected]
    # Neither batches, nor encodings, nor the order of rows and columns make a difference.
    pieces = pa.Table.from_batches(spine().to_batches(max_chunksize=7))
    encoded = pieces.set_column(0, "user_id", pieces["user_id"].cast(pa.int32()))
    shuffled = encoded.select(["bought", "event_timestamp", "user_id"])[::-1]
    again = client.get_historical_features(shuffled, service="buys", sample=sample).to_arrow()
    assert again.select(["user_id", "event_timestamp", "bought"]).to_pylist() == expected[::-1]


def test_a_split_cuts_time_and_leaves_out_what_is_near(client: tidegate.Client) -> None:
    split = Split(at=[day(5), "2024-01-11T00:00:00Z"], embargo="1d")
    rows = client.get_historical_features(spine(), service="buys", split=split).to_pandas()
    days = (rows["event_timestamp"] - T0).dt.total_seconds() / 86_400
    assert len(rows) == 180
    parts = {part: (days[rows["split"] == part].min(), days[rows["split"] == part].max()) for part in set(rows["split"])}
    assert parts == {"train": (0.0, 3.9), "validation": (5.0, 8.9), "test": (10.0, 19.9)}


@pytest.mark.parametrize(
    ("options", "expect"),
    [
        ({"split": Split(at=[])}, "one cut"),
        ({"split": Split(at=[day(2), day(1)])}, "ascend"),
        ({"split": Split(at=[day(2)], embargo="-1d")}, "length of time"),
        ({"split": Split(at=[day(2)], embargo=timedelta(days=-1))}, "negative"),
        ({"sample": Sample("bought", keep={})}, "fraction"),
        ({"sample": Sample("bought", keep={False: 0.0})}, "above 0"),
        ({"sample": Sample("bought", keep={False: 1.5})}, "at most 1"),
        ({"sample": Sample("bougth", keep={False: 0.5})}, "did you mean `bought`"),
        ({"sample": Sample("bought", keep={0: 0.5})}, "`0` is no bool"),
        ({"sample": Sample("user_id", keep={"x": 0.5})}, "`x` is no int64"),
    ],
)
def test_choices_that_can_not_be_are_told(client: tidegate.Client, options: dict[str, Any], expect: str) -> None:
    with pytest.raises(tidegate.InvalidError, match=expect):
        client.get_historical_features(spine(), service="buys", **options).to_arrow()


def test_a_seal_verifies_after_new_data_and_diffs_after_a_correction(client: tidegate.Client) -> None:
    seen: list[int] = []
    sealed = client.seal("first", spine(), service="buys", split=Split(at=[day(5)]), progress=seen.append)
    assert (sealed.rows, sealed.spine_rows, sealed.service, sealed.tables) == (200, 200, "buys", sealed.tables)
    assert seen[-1] == 200 and sealed.columns.keys() == {*spine().column_names, "split", "amount"}
    before = client.read_sealed("first").to_arrow()
    assert before == client.get_historical_features(spine(), service="buys", split=Split(at=[day(5)])).to_arrow()

    client.ingest("orders", [order(3, 1, 100.0), order(99, 1, 1.0)])  # not known any earlier than what it repeats
    client.ingest("orders", [order(5, 6, 7.0, recorded=12)])  # late
    verdict = client.verify("first")
    assert verdict and verdict.same and verdict.digest == sealed.digest and verdict.differences == []
    assert client.read_sealed("first").to_arrow() == before

    diff = client.diff("first").to_arrow().to_pylist()
    corrected = [at for at in range(200) if at % 7 == 3 and at / 10 >= 1 + 1 / 24]
    late = [at for at in range(200) if at % 7 == 5 and at / 10 >= 12]
    assert [row["row"] for row in diff] == sorted(corrected + late)
    for row in diff:
        assert row["feature"] == "amount" and row["spine"]["user_id"] == row["row"] % 7
        assert row["reason"] == ("correction" if row["row"] in corrected else "late arrival")
        assert (row["before"], row["after"]) == (("4.5", "100.0") if row["row"] in corrected else ("7.5", "7.0"))

    again = client.get_historical_features(spine(), service="buys", split=Split(at=[day(5)]), seal="second")
    assert again.to_arrow() == client.read_sealed("second").to_arrow() != before
    assert client.diff("first", against="second").to_arrow().num_rows == len(diff)
    assert client.diff("second").to_arrow().num_rows == 0
    assert [known.name for known in client.sealed()] == ["first", "second"]
    assert client.sealed()[0] == sealed == client.sealed_set("first")
    with pytest.raises(tidegate.AlreadyExistsError, match="first"):
        client.seal("first", spine(), service="buys")
    client.delete_sealed("first")
    with pytest.raises(tidegate.NotFoundError, match="secnd"):
        client.verify("secnd")
    with pytest.raises(tidegate.InvalidError, match="name"):
        client.seal("not/a name", spine(), service="buys")
    assert [known.name for known in client.sealed()] == ["second"]


def test_an_audit_counts_leaks_and_near_values(client: tidegate.Client) -> None:
    client.ingest("orders", [order(5, 6, 7.0, recorded=12)])
    expected = sum(at % 7 == 5 and 6 <= at / 10 < 12 for at in range(200))
    expected += sum(1 <= at / 10 < 1 + 1 / 24 for at in range(200))
    audit = client.audit(spine(), service="buys", margin="2h")
    row = audit.to_dict()["amount"]
    assert (row["rows"], row["leaked"], row["availability"], row["knowledge_known"]) == (200, expected, "created", True)
    assert row["near"] == 0 and str(expected) in row["note"]
    assert client.audit(spine(), service="buys", margin=timedelta(hours=3)).to_dict()["amount"]["near"] == 1
    assert audit.schema == audit.to_arrow().schema
    by_query = client.audit(sql="SELECT user_id, at AS event_timestamp FROM sources.orders", service="buys")
    assert by_query.to_dict()["amount"]["leaked"] == 8
    assert list(audit.to_pandas()["feature"]) == ["amount"]


def run_cli(client: tidegate.Client, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [os.environ["TIDEGATE_BIN"], "--address", client.address, "--project", client.project, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_seal_verifies_after_compaction(client: tidegate.Client) -> None:
    for at in range(2, 6):
        client.ingest("orders", [order(user_id, at, user_id * at) for user_id in range(at)])
    now = client.get_historical_features(spine(), service="buys", seal="before").to_arrow()
    done = json.loads(run_cli(client, "table", "compact", "user_stats", "--json").stdout)
    assert (done["source"], done["files_before"], done["files_after"], done["rows"]) == ("orders", 5, 1, 21)
    stats = json.loads(run_cli(client, "table", "stats", "orders", "--json").stdout)
    assert (stats["files"], stats["files_compacted"], stats["runs"], stats["rows"]) == (1, 1, 1, 21)
    assert client.verify("before").same
    assert client.diff("before").to_arrow().num_rows == 0
    assert client.get_historical_features(spine(), service="buys").to_arrow() == now
    client.ingest("orders", [order(3, 1, 100.0)])
    assert client.verify("before").same and client.diff("before").to_arrow().num_rows > 0
    again = run_cli(client, "table", "compact", "orders")
    assert again.returncode == 0 and "2 files into 1" in again.stdout
    assert "nothing to compact" in run_cli(client, "table", "compact", "orders").stdout
    assert "files sharing values" in run_cli(client, "table", "stats", "orders").stdout
    unknown = run_cli(client, "table", "compact", "ordres")
    assert unknown.returncode == 1 and "orders" in unknown.stderr
    assert client.verify("before").same


def test_the_command_line_tells_sameness_by_its_exit_code(client: tidegate.Client, tmp_path: Path) -> None:
    def tidegate_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_cli(client, *arguments)

    def parsed(*arguments: str) -> tuple[int, Any]:
        done = tidegate_cli(*arguments, "--json")
        return done.returncode, json.loads(done.stdout)

    pq.write_table(spine(), tmp_path / "spine.parquet")
    made = tidegate_cli(
        "training-set", "buys", "--spine", str(tmp_path / "spine.parquet"), "--seal", "first",
        "--split-at", "2024-01-06", "--embargo", "1d", "--sample", "bought", "--keep", "false=0.5", "--seed", "7",
        "--out", str(tmp_path / "set.parquet"),
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    rows = pq.read_metadata(tmp_path / "set.parquet").num_rows
    assert parsed("sealed", "verify", "first") == (0, parsed("sealed", "verify", "first")[1])
    _, listed = parsed("sealed", "list")
    assert [(known["name"], known["rows"]) for known in listed] == [("first", rows)]
    code, shown = parsed("sealed", "show", "first")
    assert code == 0 and shown["options"]["sample"] == {"column": "bought", "keep": {"false": 0.5}, "seed": 7}
    assert parsed("sealed", "diff", "first") == (0, [])
    client.ingest("orders", [order(3, 1, 100.0)])
    code, changed = parsed("sealed", "diff", "first")
    assert code == 1 and {row["reason"] for row in changed} == {"correction"}
    assert parsed("sealed", "verify", "first")[0] == 0
    table = tidegate_cli("sealed", "diff", "first")
    assert table.returncode == 1 and "correction" in table.stdout
    unknown = tidegate_cli("sealed", "verify", "frist")
    assert unknown.returncode == 2 and "did you mean `first`" in unknown.stderr
    audit = tidegate_cli("audit", "buys", "--spine", str(tmp_path / "spine.parquet"), "--margin", "1d")
    assert audit.returncode == 0 and "user_stats" in audit.stdout, audit.stderr
    assert "tables" in tidegate_cli("sealed", "show", "first").stdout
    assert tidegate_cli("sealed", "delete", "first").returncode == 0
    assert parsed("sealed", "list") == (0, [])


def test_a_vacuum_leaves_what_seals_need(client: tidegate.Client) -> None:
    def vacuum(*arguments: str) -> dict[str, Any]:
        done = run_cli(client, "table", "vacuum", "user_stats", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    client.ingest("orders", [order(3, 2, 100.0)])
    sealed = client.get_historical_features(spine(), service="buys", seal="first").to_arrow()
    client.ingest("orders", [order(4, 2, 100.0)])
    assert "3 files into 1" in run_cli(client, "table", "compact", "orders").stdout
    assert vacuum()["files"] == 0, "seven days are kept"
    kept = vacuum("--older-than", "0s", "--dry-run")
    assert (kept["source"], kept["files"], kept["dry_run"], len(kept["sealed_versions"])) == ("orders", 1, True, 1)
    assert vacuum("--older-than", "0s")["files"] == 1
    assert client.verify("first").same and client.read_sealed("first").to_arrow() == sealed
    client.delete_sealed("first")
    would = client.vacuum_table("user_stats", timedelta(0), dry_run=True)
    assert (would.source, would.files, would.sealed_versions) == ("orders", 2, ()) and would.bytes > 0
    assert client.table_stats("user_stats").files == 1 and client.compact_table("orders").files_before == 0
    assert client.vacuum_table("orders").files == 0
    said = run_cli(client, "table", "vacuum", "orders", "--older-than", "0s").stdout
    assert "orders: 2 files of" in said and "deleted" in said
    assert client.get_historical_features(spine(), service="buys").to_arrow().num_rows == 200
    refused = run_cli(client, "table", "vacuum", "orders", "--older-than", "soon")
    assert refused.returncode == 2 and "soon" in refused.stderr


def test_a_compaction_keeps_the_ties_of_every_view(server: LocalServer) -> None:
    """Two views tell rows of one source apart by other keys: what ties in one must not change places for the other."""
    user = Entity("user", keys={"user_id": "int64"})
    shop = Entity("shop", keys={"shop_id": "int64"})
    sales = Source("sales", event_time="at")
    amount = [Feature("amount", "float64")]
    by_user = FeatureView("by_user", entities=[user], source=sales, features=amount, availability="event")
    by_shop = FeatureView("by_shop", entities=[shop], source=sales, features=amount, availability="event")
    rows = [{"user_id": at % 3, "shop_id": at % 2, "event_timestamp": day(3)} for at in range(6)]
    with server.client(f"sealed_{next(NAMES)}") as client:
        client.apply([user, shop, sales, by_user, by_shop])
        for user_id, value in [(2, 20.0), (0, 0.0), (1, 10.0)]:
            client.ingest("sales", [{"user_id": user_id, "shop_id": user_id % 2, "at": day(1), "amount": value}])
        features = ["by_user:amount", "by_shop:amount"]
        before = client.get_historical_features(rows, features, full_names=True).to_arrow()
        assert set(before.column("by_shop__amount").to_pylist()) == {0.0, 10.0}
        compacted = run_cli(client, "table", "compact", "by_user")
        assert compacted.returncode == 0 and "3 files into 1" in compacted.stdout, compacted.stderr
        assert client.get_historical_features(rows, features, full_names=True).to_arrow() == before
