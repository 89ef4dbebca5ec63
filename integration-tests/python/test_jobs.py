"""Jobs as orchestrators and people meet them: exit codes, JSON, detaching, stopping by signal, schedules, a server that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import tidegate
from tidegate import Entity, Feature, FeatureView, Source
from tidegate.local import LocalServer

T0 = datetime(2024, 1, 1, tzinfo=timezone.utc)
BINARY = os.environ.get("TIDEGATE_BIN", "")
# Small steps, so that there are many moments to stop at.
SMALL = {"TIDEGATE__MATERIALIZE__BATCH_ROWS": "1", "TIDEGATE__JOBS__POLL": "100ms"}


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[LocalServer]:
    with LocalServer(BINARY, tmp_path / "data", environment=SMALL) as running:
        yield running


def define(client: tidegate.Client, schedule: str | timedelta | None = None) -> None:
    user = Entity("user", {"user": "int64"})
    source = Source("orders", event_time="at")
    stats = FeatureView("stats", [user], source, [Feature("total", "float64")], schedule=schedule, freshness="1h")
    client.apply([user, source, stats])


def rows(count: int, hour: int = 0) -> pa.Table:
    at = pa.array([T0 + timedelta(hours=hour)] * count, pa.timestamp("us", "UTC"))
    return pa.table({"user": list(range(count)), "at": at, "total": [float(hour)] * count})


def cli(server: LocalServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [BINARY, *arguments, "--address", server.address, "--project", "shop"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def wait(until: Callable[[], Any], seconds: float = 30.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := until()):
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.05)
    return found


def test_exit_codes_and_json(slow: LocalServer) -> None:
    with slow.client("shop") as client:
        define(client)
        client.ingest("orders", rows(5))
        first = cli(slow, "materialize", "--output", "json")
        assert first.returncode == 0, first.stderr
        (report,) = json.loads(first.stdout)
        assert report["view"] == "stats" and report["changed"] and report["rows_read"] == 5
        again = cli(slow, "materialize", "stats", "--output", "json")
        assert again.returncode == 99 and not json.loads(again.stdout)[0]["changed"]
        assert "up to date" in cli(slow, "materialize").stdout
        unknown = cli(slow, "materialize", "stat")
        assert unknown.returncode == 1 and "did you mean `stats`" in unknown.stderr
        (status,) = json.loads(cli(slow, "status", "--output", "json").stdout)
        assert status["versions_behind"] == 0 and status["fresh"] and status["freshness_seconds"] == 3600
        jobs = json.loads(cli(slow, "jobs", "list", "--output", "json").stdout)
        assert [job["state"] for job in jobs] == ["done"] * 3 and jobs[-1]["id"] == report["job"]
        shown = cli(slow, "jobs", "show", str(report["job"]))
        assert shown.returncode == 0 and "done" in shown.stdout
        assert cli(slow, "jobs", "show", "99").returncode == 1
        assert cli(slow, "jobs", "retry", str(report["job"])).returncode == 1, "it is done"


def test_a_detached_job_is_followed_cancelled_and_resumed(slow: LocalServer) -> None:
    with slow.client("shop") as client:
        define(client)
        client.ingest("orders", rows(1))
        client.materialize(progress=False)
        client.ingest("orders", rows(20_000, 1))
        begun = cli(slow, "materialize", "--detach", "--output", "json")
        assert begun.returncode == 0, begun.stderr
        (started,) = json.loads(begun.stdout)
        assert started["started"]
        (joined,) = client.materialize(progress=False, detach=True)
        assert joined.job == started["job"] and not joined.started and not joined.done
        wait(lambda: client.job(joined.job).state == "running")
        assert client.cancel_job(joined.job).stopping
        *_, last = client.watch_job(joined.job)
        assert last.state == "cancelled" and not last.active
        resumed = cli(slow, "jobs", "resume", str(joined.job))
        assert resumed.returncode == 0, resumed.stderr
        *_, last = client.watch_job(joined.job)
        assert last.state == "done"
        # What was written is not read again; the report of the last batch may have been lost.
        assert 19_990 <= last.rows_read <= 20_000
        (parity,) = client.parity("stats")
        assert parity.holds


@pytest.mark.parametrize(("told", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_at_a_batch(slow: LocalServer, told: signal.Signals, code: int) -> None:
    with slow.client("shop") as client:
        define(client)
        client.ingest("orders", rows(1))
        client.materialize(progress=False)
        client.ingest("orders", rows(30_000, 1))
        command = [BINARY, "materialize", "--address", slow.address, "--project", "shop"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            (job,) = wait(lambda: [job for job in client.jobs(active=True) if job.rows_read > 0])
            process.send_signal(told)
            _, said = process.communicate(timeout=60)
        assert process.returncode == code and "goes on where" in said, said
        assert client.job(job.id).state == "cancelled"
        assert cli(slow, "materialize").returncode == 0
        (parity,) = client.parity("stats")
        assert parity.holds


def test_a_commit_is_materialized_by_itself(slow: LocalServer) -> None:
    with slow.client("shop") as client:
        define(client, "on_commit")
        for hour in range(3):
            client.ingest("orders", rows(10, hour))
            wait(lambda: client.status("stats")[0].current)
            assert client.get_online_features({"user": [3]}, ["stats:total"]).to_dict()["total"] == [float(hour)]
        assert {job.cause for job in client.jobs()} == {"commit"}
        assert client.status("stats")[0].schedule == "on commit"


def test_a_job_outlives_a_server_that_is_killed(tmp_path: Path) -> None:
    with LocalServer(BINARY, tmp_path / "data", environment=SMALL) as first, first.client("shop") as client:
        define(client)
        client.ingest("orders", rows(1))
        client.materialize(progress=False)
        client.ingest("orders", rows(20_000, 1))
        (started,) = client.materialize(progress=False, detach=True)
        wait(lambda: client.job(started.job).rows_read > 100)
        first.kill()
    with LocalServer(BINARY, tmp_path / "data", environment=SMALL) as second, second.client("shop") as client:
        *_, last = client.watch_job(started.job)
        assert last.state == "done" and last.attempts == 2
        (parity,) = client.parity("stats")
        assert parity.holds and client.status("stats")[0].current
