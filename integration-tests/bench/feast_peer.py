"""Feast's Python feature server as a peer of lookups: HTTP and JSON, with Redis as its online store.

`Feast` writes a repository with the same values, lets `feast apply` and `feast materialize` bring them to Redis, and runs
`feast serve` with one worker; server and Redis share the server's core. It answers some hundred requests a second at best, so
that threads here are load enough: a closed loop of a few connections for the capacity, of a single one for latencies.
Feast is not installed here: `find` says whether it is there.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from online_contenders import RedisServer
from online_load import LOAD_CORE, SERVER_CORE, Figures, cpu_seconds, free_port, pinned, resident_mb
from online_shapes import ENTITIES_ALL, NOW, VIEWS, Ids, Shape, batches, expected, rows_of, sample, service, view_name

VARIABLE = "TIDEGATE_BENCH_FEAST"
SIZES = ((1, 5), (100, 5), (100, 25))
CONNECTIONS = 4
# Latencies are those of this many requests, or of as many as are answered in the time.
REQUESTS, SECONDS_MAX = 200, 20.0
# A quantile of fewer requests than this says nothing.
P99_REQUESTS, P999_REQUESTS = 100, 1_000
START_SECONDS = 60.0
CONFIGURATION = """\
project: bench
registry: registry.db
provider: local
online_store:
  type: redis
  connection_string: "127.0.0.1:{port}"
offline_store:
  type: file
entity_key_serialization_version: 3
"""


def find(given: str | None) -> Path | None:
    """Feast's executable: the one given, that of TIDEGATE_BENCH_FEAST, or the one on PATH."""
    named = given or os.environ.get(VARIABLE)
    found = shutil.which(named or "feast")
    if named and not found:
        raise SystemExit(f"{named} is no executable; name Feast's by --feast or {VARIABLE}")
    return Path(found) if found else None


def takes_part(shape: Shape) -> bool:
    plain = shape.cached and not shape.mixed and shape.entities <= ENTITIES_ALL
    return plain and (shape.rows, shape.views) in SIZES


class Feast:
    """The server and its Redis, filled."""

    name = "Feast, HTTP"

    def __init__(self, program: Path, folder: Path, entities: int) -> None:
        self._folder = folder / "feast"
        self._folder.mkdir()
        # What Feast and its web server keep for a user goes there too; its Python packages are its own.
        self._environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._environment |= {"HOME": str(self._folder), "FEAST_USAGE": "False"}
        self._program, self._port = program, free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self._redis = RedisServer(self._folder)
        try:
            self._define(entities)
            self.rows, self.materialize_seconds = VIEWS * entities, self._materialize()
            self._server = self._serve()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._server:
            self._server.terminate()
            self._server.wait(30)
        self._redis.close()

    def told(self) -> str:
        return (
            f"`feast materialize` brought {self.rows:,} rows to Redis in {self.materialize_seconds:.1f} s, its start included: "
            f"{self.rows / self.materialize_seconds:,.0f} rows/s"
        )

    def check(self, shape: Shape) -> None:
        """Holds the answers for some entities against what was stored."""
        ids = sample(shape.entities)
        answer = json.loads(Connection(self._port).ask(lookup(shape, ids)))
        names = answer["metadata"]["feature_names"]
        got = {name: result["values"] for name, result in zip(names, answer["results"], strict=True)}
        for name, values in expected(shape, ids):
            if got[name] != values:
                raise SystemExit(f"Feast's {name} is not what was stored")

    def measure(self, shape: Shape, seconds: float) -> Figures:
        """The capacity, then latencies of one connection, which are those of a server with nothing else to do."""
        bodies = list(self._bodies(shape))
        full = self._loop(bodies, CONNECTIONS, seconds, 0)
        before = self._cpu_seconds()
        alone = self._loop(bodies, 1, seconds, REQUESTS)
        used, calls = self._cpu_seconds() - before, len(alone.latencies)
        return {
            "per_second": len(full.latencies) / full.seconds,
            "p50_us": alone.quantile_us(0.5),
            "p99_us": alone.quantile_us(0.99) if calls >= P99_REQUESTS else None,
            "p999_us": alone.quantile_us(0.999) if calls >= P999_REQUESTS else None,
            "cpu_us": used / calls * 1e6,
            "bytes": alone.bytes / calls,
            "mb": sum(resident_mb(pid) for pid in self._pids()),
        }

    def _define(self, entities: int) -> None:
        (self._folder / "feature_store.yaml").write_text(CONFIGURATION.format(port=self._redis.port))
        shutil.copy(Path(__file__).with_name("feast_definitions.py"), self._folder / "definitions.py")
        for view in range(VIEWS):
            pq.write_table(rows_of(view, entities, False), self._folder / f"{view_name(view, False)}.parquet")
        self._run("apply")

    def _materialize(self) -> float:
        """How long it takes; Redis has the other core."""
        at = datetime.fromtimestamp(NOW / 1e6, timezone.utc)
        day = timedelta(days=1)
        begun = time.monotonic()
        self._run("materialize", *((at + by).strftime("%Y-%m-%dT%H:%M:%S") for by in (-day, day)))
        return time.monotonic() - begun

    def _run(self, *arguments: str) -> None:
        command = [str(self._program), *arguments]
        with pinned(LOAD_CORE):
            done = subprocess.run(command, cwd=self._folder, env=self._environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"feast {arguments[0]}: {(done.stderr or done.stdout).strip()[-2_000:]}")

    def _serve(self) -> subprocess.Popen[bytes]:
        command = [str(self._program), "serve", "--port", str(self._port), "--workers", "1", "--no-access-log"]
        # Neither a worker's restart nor the registry's refresh falls into what is timed.
        command += ["--max-requests", "0", "--max-requests-jitter", "0", "--registry_ttl_sec", "86400"]
        log = self._folder / "serve.log"
        with log.open("wb") as said, pinned(SERVER_CORE):
            server = subprocess.Popen(command, cwd=self._folder, env=self._environment, stdout=said, stderr=said)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and server.poll() is None:
            if is_ready(self._port):
                return server
            time.sleep(0.2)
        server.kill()
        server.wait()
        raise SystemExit(f"feast serve does not answer: {log.read_text(errors='replace')[-2_000:]}")

    def _pids(self) -> list[int]:
        """The server, its worker, and Redis."""
        assert self._server is not None
        pid = self._server.pid
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, workers), self._redis.pid]

    def _cpu_seconds(self) -> float:
        return sum(cpu_seconds(pid) for pid in self._pids())

    def _bodies(self, shape: Shape) -> Iterator[bytes]:
        return (lookup(shape, ids) for ids in batches(shape))

    def _loop(self, bodies: Sequence[bytes], connections: int, seconds: float, wanted: int) -> Loop:
        loop = Loop(self._port, bodies, seconds, wanted)
        with pinned(LOAD_CORE):
            threads = [threading.Thread(target=loop.run, args=(at, connections)) for at in range(connections)]
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join()
        loop.end()
        return loop


class Loop:
    """Connections that each send a request once the last one is answered, for some seconds and until enough are answered."""

    def __init__(self, port: int, bodies: Sequence[bytes], seconds: float, wanted: int) -> None:
        self._port, self._bodies, self._wanted = port, bodies, wanted
        self._begun = time.monotonic()
        self._until, self._deadline = self._begun + seconds, self._begun + max(seconds, SECONDS_MAX)
        self._failed: list[BaseException] = []
        self.latencies: list[float] = []
        self.bytes = 0
        self.seconds = 0.0

    def run(self, first: int, step: int) -> None:
        try:
            connection, at = Connection(self._port), first
            while self._goes_on():
                begun = time.perf_counter()
                answer = connection.ask(self._bodies[at % len(self._bodies)])
                self.latencies.append(time.perf_counter() - begun)
                self.bytes += len(answer)
                at += step
        except (OSError, http.client.HTTPException, SystemExit) as error:
            self._failed.append(error)

    def end(self) -> None:
        self.seconds = time.monotonic() - self._begun
        if self._failed or not self.latencies:
            raise SystemExit(f"Feast: {self._failed}")

    def quantile_us(self, quantile: float) -> int:
        return round(float(np.quantile(self.latencies, quantile)) * 1e6)

    def _goes_on(self) -> bool:
        now = time.monotonic()
        return now < self._until or (len(self.latencies) < self._wanted and now < self._deadline)


class Connection:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, body: bytes) -> bytes:
        self._http.request("POST", "/get-online-features", body, {"content-type": "application/json"})
        answer = self._http.getresponse()
        found = answer.read()
        if answer.status != 200:
            raise SystemExit(f"Feast answers {answer.status}: {found[:500]!r}")
        return found


def lookup(shape: Shape, ids: Ids) -> bytes:
    asked: dict[str, Any] = {"feature_service": service(shape.views, shape.mixed), "entities": {"entity_id": ids.tolist()}}
    return json.dumps(asked).encode()


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
