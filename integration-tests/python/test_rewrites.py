"""Tables that another writer changes: rows deleted, updated, merged, overwritten, files compacted and vacuumed, by delta-rs.

After each step and a materialization, what lookups see is held against the table, key by key (`parity`), with and without a change
data feed. TIDEGATE_SEED repeats a history, TIDEGATE_CASES sets how many there are.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest
import tidegate
from tidegate import Entity, Feature, FeatureService, FeatureView, Source
from tidegate.local import LocalServer

T0 = datetime(2024, 1, 1, tzinfo=timezone.utc)
USERS = 40
SCHEMA = pa.schema([("user", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("total", pa.float64())])


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lake")


@pytest.fixture(scope="module")
def lake_server(lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    data = tmp_path_factory.mktemp("rewrites") / "data"
    settings = {"TIDEGATE__TABLES__ROOTS": json.dumps([str(lake)]), "TIDEGATE__MATERIALIZE__BATCH_ROWS": "7"}
    with LocalServer(os.environ["TIDEGATE_BIN"], data, environment=settings) as running:
        yield running


# Each row has a time of its own: which of two with equal times wins hangs on where they lie, which other writers change.
TICKS = itertools.count()


def rows(rng: random.Random, count: int) -> pa.Table:
    """Observations of random users, in no order of time."""
    return pa.table(
        {
            "user": [rng.randrange(USERS) for _ in range(count)],
            "at": [T0 + timedelta(hours=rng.randrange(30), microseconds=next(TICKS) + 1) for _ in range(count)],
            "total": [float(rng.randrange(1000)) for _ in range(count)],
        },
        SCHEMA,
    )


class History:
    """One table and the steps that change it."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path, self.rng = str(path), random.Random(seed)
        self.feed = self.rng.random() < 0.5
        configuration = {"delta.enableChangeDataFeed": "true"} if self.feed else {}
        deltalake.write_deltalake(self.path, rows(self.rng, 200), configuration=configuration)

    def step(self) -> str:
        steps = [self.append, self.append, self.delete, self.update, self.merge, self.compact, self.overwrite]
        step = self.rng.choices(steps, [3, 3, 3, 2, 2, 2, 1])[0]
        step()
        return step.__name__

    @property
    def table(self) -> deltalake.DeltaTable:
        return deltalake.DeltaTable(self.path)

    def append(self) -> None:
        deltalake.write_deltalake(self.path, rows(self.rng, self.rng.randrange(1, 60)), mode="append")

    def delete(self) -> None:
        low = self.rng.randrange(USERS)
        self.table.delete(f"\"user\" >= {low} AND \"user\" < {low + self.rng.randrange(1, 6)} AND total > {self.rng.randrange(900)}")

    def update(self) -> None:
        self.table.update(predicate=f"\"user\" = {self.rng.randrange(USERS)}", updates={"total": f"{self.rng.randrange(1000)}.5"})

    def merge(self) -> None:
        user = self.rng.randrange(USERS)
        source = pa.table({"user": [user], "at": [T0 + timedelta(hours=self.rng.randrange(40))], "total": [-1.0]}, SCHEMA)
        merge = self.table.merge(source, "s.\"user\" = t.\"user\" AND s.at = t.at", source_alias="s", target_alias="t")
        merge.when_matched_update_all().when_not_matched_insert_all().execute()

    def compact(self) -> None:
        self.table.optimize.compact()
        if self.rng.random() < 0.3:
            self.table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)

    def overwrite(self) -> None:
        deltalake.write_deltalake(self.path, rows(self.rng, self.rng.randrange(1, 150)), mode="overwrite")


def define(client: tidegate.Client, path: Path, on_rewrite: str | None = None) -> None:
    user = Entity("user", {"user": "int64"})
    source = Source("orders", table={"delta": str(path)}, event_time="at", **({"on_rewrite": on_rewrite} if on_rewrite else {}))
    stats = FeatureView("stats", [user], source, [Feature("total", "float64")])
    client.apply([user, source, stats, FeatureService("all", [stats])])


def check(client: tidegate.Client, told: str) -> None:
    (parity,) = client.parity("stats")
    assert parity.holds, f"{told}: {parity}"


def test_what_is_served_follows_the_table(lake: Path, lake_server: LocalServer) -> None:
    chosen = os.environ.get("TIDEGATE_SEED")
    seeds = [int(chosen)] if chosen else range(int(os.environ.get("TIDEGATE_CASES", "4")))
    for seed in seeds:
        history = History(lake / f"h{seed}", seed)
        with lake_server.client(f"h{seed}") as client:
            define(client, lake / f"h{seed}")
            done = []
            for _ in range(15):
                for _ in range(history.rng.randrange(1, 4)):
                    done.append(history.step())
                (report,) = client.materialize("stats", progress=False)
                check(client, f"TIDEGATE_SEED={seed}, feed {history.feed}, {done}, {report}")
            (full,) = client.materialize("stats", full=True, progress=False)
            assert full.full
            check(client, f"TIDEGATE_SEED={seed}, rebuilt")


def test_small_deletes_are_followed_and_large_ones_rebuild(lake: Path, lake_server: LocalServer) -> None:
    path = lake / "large"
    count = 60_000
    table = pa.table(
        {"user": list(range(count)), "at": [T0] * count, "total": [1.0] * count},
        SCHEMA,
    )
    deltalake.write_deltalake(str(path), table, configuration={"delta.enableChangeDataFeed": "true"})
    with lake_server.client("large") as client:
        define(client, path)
        client.materialize("stats", progress=False)
        deltalake.DeltaTable(str(path)).delete('"user" < 3')
        (report,) = client.materialize("stats", progress=False)
        assert not report.full and report.rows_corrected == 3 and report.rows_read == 0, report
        deltalake.write_deltalake(str(path), table.slice(0, 10), mode="overwrite")
        (report,) = client.materialize("stats", progress=False)
        assert report.full, report
        check(client, "overwritten")


def test_a_source_that_refuses_says_why(lake: Path, lake_server: LocalServer) -> None:
    path = lake / "refused"
    history = History(path, 7)
    deltalake.write_deltalake(str(path), rows(history.rng, 30_000), mode="append")
    with lake_server.client("refused") as client:
        define(client, path, "refuse")
        client.materialize("stats", progress=False)
        history.overwrite()
        with pytest.raises(tidegate.PreconditionError, match="on_rewrite: refuse"):
            client.materialize("stats", progress=False)
        job = client.jobs("stats", limit=1)[0]
        assert job.state == "failed" and "on_rewrite" in job.problem and job.attempts == 1
        client.materialize("stats", full=True, progress=False)
        check(client, "rebuilt because somebody said so")
