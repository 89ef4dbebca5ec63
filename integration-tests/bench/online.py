"""`make bench-online`: lookups under load beside an empty gRPC call with the same bytes, Redis, and Feast's server.

The shape is Feast's own benchmark: views of ten int64 features on one entity. Server on one core, load on another. Answers are
compared with what was stored before anything is timed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tidegate
from tidegate import Entity, Feature, FeatureService, FeatureView, Source, online
from tidegate._proto.online.v1 import online_pb2
from tidegate.local import LocalServer

Figures = dict[str, Any]

PROJECT = "bench"
FEATURES = 10
# Requests made beforehand and sent in turn; enough that no two in flight are alike.
REQUESTS = 2_000
EVENT_TIME = "event_timestamp"
# The server merges its files once no refresh has come for a while.
SETTLE_SECONDS = 8
NOW = 1_760_000_000_000_000
SERVER_CORE, LOAD_CORE = 0, 1
# The shape that is overloaded: rows, views, cached.
OVERLOADED = (100, 25, True)
OVERLOAD_SECONDS, CALM_SECONDS = 20, 4
MIXED = ("float64", "float32", "int64", "int32", "bool", "string", "timestamp", "date", "float64", "string")


@dataclass(frozen=True)
class Shape:
    """Entity rows in a request, views asked for, entities there are, and whether features have all sorts of types."""

    rows: int
    views: int
    entities: int
    mixed: bool = False
    cached: bool = True

    @property
    def name(self) -> str:
        kind = " mixed" if self.mixed else ""
        where = "cached" if self.cached else "block cache"
        return f"{self.rows} x {self.views * FEATURES}{kind}, {thousands(self.entities)} entities, {where}"


def thousands(number: int) -> str:
    return f"{number // 1_000_000} M" if number >= 1_000_000 else f"{number // 1_000} k"


def shapes(entities: int) -> list[Shape]:
    sizes = [(1, 5), (1, 25), (10, 5), (100, 5), (100, 25)]
    warm = [Shape(rows, views, entities) for rows, views in sizes]
    cold = [Shape(rows, views, entities, cached=False) for rows, views in sizes if rows != 10]
    return [*warm, *cold, Shape(1, 5, entities, mixed=True), Shape(100, 5, entities, mixed=True)]


# Data


def column(view: int, feature: int, entities: int, mixed: bool) -> pa.Array:
    """Values that say where they belong."""
    numbers = (np.arange(entities, dtype=np.int64) * 2_654_435_761 + view * 1_000 + feature) % 1_000_003
    of = MIXED[feature] if mixed else "int64"
    if of == "string":
        return pa.array([f"text {number}" for number in numbers])
    if of == "bool":
        return pa.array(numbers % 2 == 0)
    if of == "timestamp":
        return pa.array(numbers).cast(pa.timestamp("us", "UTC"))
    if of == "date":
        return pa.array((numbers % 30_000).astype(np.int32)).cast(pa.date32())
    return pa.array(numbers).cast({"float64": pa.float64(), "float32": pa.float32(), "int32": pa.int32()}.get(of, pa.int64()))


def view_name(view: int, mixed: bool) -> str:
    return f"{'mixed' if mixed else 'fv'}_{view}"


def feature_names(view: int, mixed: bool) -> list[str]:
    return [f"{'m' if mixed else 'f'}_{view}_{feature}" for feature in range(FEATURES)]


def rows_of(view: int, entities: int, mixed: bool) -> pa.Table:
    columns = {name: column(view, at, entities, mixed) for at, name in enumerate(feature_names(view, mixed))}
    times = pa.array(np.full(entities, NOW)).cast(pa.timestamp("us", "UTC"))
    return pa.table({"entity_id": pa.array(np.arange(entities)), EVENT_TIME: times, **columns})


def fill(server: LocalServer, binary: Path, entities: int) -> None:
    """Defines the views, ingests their rows and materializes them."""
    entity = Entity("entity", {"entity_id": "int64"})
    definitions: list[Any] = [entity]
    views = [(view, False) for view in range(25)] + [(view, True) for view in range(5)]
    for view, mixed in views:
        types = MIXED if mixed else ["int64"] * FEATURES
        names = feature_names(view, mixed)
        source = Source(f"{view_name(view, mixed)}_rows", EVENT_TIME, columns=dict(zip(names, types, strict=True)))
        features = [Feature(name, of) for name, of in zip(names, types, strict=True)]
        definitions += [source, FeatureView(view_name(view, mixed), [entity], source, features)]
    by_name = {view.name: view for view in definitions if isinstance(view, FeatureView)}
    for count, mixed in ((5, False), (25, False), (5, True)):
        uses = [by_name[view_name(view, mixed)].use() for view in range(count)]
        definitions.append(FeatureService(service(count, mixed), uses))
    with tidegate.Client(server.address, PROJECT) as client:
        client.apply(definitions)
        for view, mixed in views:
            client.ingest(f"{view_name(view, mixed)}_rows", rows_of(view, entities, mixed), batch_id="all")
    environment = {**os.environ, "TIDEGATE_ADDRESS": server.address, "TIDEGATE_PROJECT": PROJECT}
    subprocess.run([binary, "materialize"], env=environment, check=True, stdout=subprocess.DEVNULL)


def service(views: int, mixed: bool) -> str:
    return f"{'mixed' if mixed else 'svc'}{views * FEATURES}"


# Contenders


class Tidegate:
    """The server, pinned to its core."""

    name = "Tidegate"

    def __init__(self, binary: Path, data: Path, cached: bool) -> None:
        environment = {"TIDEGATE__ONLINE__BLOCK_CACHE": "4GiB", "TIDEGATE__ONLINE__DURABILITY": "fast"}
        environment["TIDEGATE__ONLINE__ENTITY_CACHE"] = "4GiB" if cached else "0"
        with pinned(SERVER_CORE):
            self._server = LocalServer(binary, data, environment=environment)

    @property
    def pid(self) -> int:
        return self._server.pid

    @property
    def server(self) -> LocalServer:
        return self._server

    def address(self) -> str:
        return self._server.address.removeprefix("http://")

    def stop(self) -> None:
        self._server.stop()

    def check(self, shape: Shape) -> None:
        """Looks all entities' answers of some requests up and holds them against what was stored."""
        ids = np.random.default_rng(7).integers(0, shape.entities + 3, 500)
        with tidegate.Client(self._server.address, PROJECT) as client:
            got = client.get_online_features({"entity_id": ids}, service=service(shape.views, shape.mixed)).to_arrow()
        inside = ids < shape.entities
        for view in range(shape.views):
            for at, name in enumerate(feature_names(view, shape.mixed)):
                stored = column(view, at, shape.entities, shape.mixed).take(pa.array(np.where(inside, ids, 0)))
                expected = [value if there else None for value, there in zip(stored.to_pylist(), inside, strict=True)]
                if got[name].to_pylist() != expected:
                    raise SystemExit(f"{name} is not what was stored")

    def requests(self, shape: Shape) -> Iterator[bytes]:
        for ids in batches(shape):
            yield online_pb2.GetOnlineFeaturesRequest(
                project=PROJECT,
                feature_service=service(shape.views, shape.mixed),
                keys=online.encode_keys(pa.table({"entity_id": ids})),
            ).SerializeToString()


class Redis:
    """The same values in hashes, one for each view and entity, as Feast keeps them; read by one HMGET for each."""

    name = "Redis HMGET"

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        command = ["redis-server", "--port", str(self._port), "--save", "", "--dir", str(folder), "--bind", "127.0.0.1"]
        with pinned(SERVER_CORE):
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._filled: set[tuple[int, bool]] = set()
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                return
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        return self._process.pid

    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def check(self, shape: Shape) -> None:
        """Fills what is missing, then compares an entity of each view."""
        with socket.create_connection(("127.0.0.1", self._port)) as connection, connection.makefile("rb") as answers:
            for view in range(shape.views):
                if (view, shape.mixed) not in self._filled:
                    self._fill(connection, answers, view, shape)
                    self._filled.add((view, shape.mixed))
            connection.sendall(self._read(0, shape.entities - 1, shape.mixed))
            count = int(answers.readline()[1:])
            got = [answers.read(int(answers.readline()[1:]) + 2)[:-2] for _ in range(count)]
        stored = [column(0, at, shape.entities, shape.mixed)[-1].as_py() for at in range(FEATURES)]
        if got != [str(value).encode() for value in stored]:
            raise SystemExit("Redis does not hold what was stored")

    def _fill(self, connection: socket.socket, answers: Any, view: int, shape: Shape) -> None:
        names = feature_names(view, shape.mixed)
        columns = [column(view, at, shape.entities, shape.mixed).to_pylist() for at in range(FEATURES)]
        for start in range(0, shape.entities, 500):
            ids = range(start, min(start + 500, shape.entities))
            commands = []
            for entity in ids:
                fields = [text for name, values in zip(names, columns, strict=True) for text in (name, str(values[entity]))]
                commands.append(command("HSET", self._key(view, entity, shape.mixed), *fields))
            connection.sendall(b"".join(commands))
            for _ in ids:
                answers.readline()

    def _key(self, view: int, entity: int, mixed: bool) -> str:
        return f"{view_name(view, mixed)}:{entity}"

    def _read(self, view: int, entity: int, mixed: bool) -> bytes:
        return command("HMGET", self._key(view, entity, mixed), *feature_names(view, mixed))

    def requests(self, shape: Shape) -> Iterator[bytes]:
        for ids in batches(shape):
            reads = (self._read(view, entity, shape.mixed) for entity in ids.tolist() for view in range(shape.views))
            yield b"".join(reads)


class Echo:
    """An empty gRPC call that answers as many bytes as Tidegate does."""

    name = "empty gRPC call"

    def __init__(self, program: Path, length: int) -> None:
        with pinned(SERVER_CORE):
            self._process = subprocess.Popen(
                [program, "echo", "--address", "127.0.0.1:0", "--bytes", str(length)], stdout=subprocess.PIPE, text=True
            )
        assert self._process.stdout is not None
        self._address = self._process.stdout.readline().strip()

    @property
    def pid(self) -> int:
        return self._process.pid

    def address(self) -> str:
        return self._address

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(20)


def command(*words: str) -> bytes:
    """A command as Redis reads it."""
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)


def batches(shape: Shape) -> Iterator[np.ndarray[Any, Any]]:
    """Random entities of each request: the same for everybody."""
    random = np.random.default_rng(1)
    for _ in range(REQUESTS):
        yield random.integers(0, shape.entities, shape.rows)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """What is started in here stays on a core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core} & before or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# Load


def load(program: Path, kind: str, address: str, requests: Path, seconds: float, options: Sequence[object]) -> Figures:
    command = [str(program), kind, "--address", address, "--requests", str(requests), "--seconds", str(seconds)]
    with pinned(LOAD_CORE):
        done = subprocess.run([*command, *map(str, options)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    found: Figures = json.loads(done.stdout)
    return found


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def measure(program: Path, kind: str, who: Any, requests: Path, shape: Shape, seconds: float) -> Figures:
    """The capacity, then latencies at half of it."""
    in_flight = 16 if shape.rows < 100 else 2
    flow = ["--connections", 4, "--in-flight", in_flight]
    full = load(program, kind, who.address(), requests, seconds, flow)
    rate = max(full["per_second"] / 2, 1.0)
    before, begun = cpu_seconds(who.pid), time.monotonic()
    half = load(program, kind, who.address(), requests, seconds, ["--connections", 4, "--rate", rate])
    used, took = cpu_seconds(who.pid) - before, time.monotonic() - begun
    if full["refused"] or half["refused"] or half["unanswered"]:
        raise SystemExit(f"{who.name}: {full['codes']} {half['codes']}, {half['unanswered']} unanswered")
    calls = rate * took
    return {
        "per_second": full["per_second"],
        "p50_us": half["p50_us"],
        "p99_us": half["p99_us"],
        "p999_us": half["p999_us"],
        "cpu_us": used / calls * 1e6,
        "bytes": full["bytes_each"],
        "mb": resident_mb(who.pid),
    }


def overload(program: Path, who: Any, requests: Path, capacity: float) -> Figures:
    """Five times as many requests as can be answered, for a while: who is answered in time, and what it costs."""
    flow = ["--connections", 4, "--rate"]
    calm = load(program, "grpc", who.address(), requests, 8, [*flow, capacity * 0.8])
    before = resident_mb(who.pid)
    flood = load(program, "grpc", who.address(), requests, OVERLOAD_SECONDS, [*flow, capacity * 5])
    after = resident_mb(who.pid)
    time.sleep(CALM_SECONDS)
    again = load(program, "grpc", who.address(), requests, 3, [*flow, capacity * 0.8, "--warm", 0])
    return {
        "calm_p99_us": calm["p99_us"],
        "goodput": flood["per_second"] / capacity,
        "p99_us": flood["p99_us"],
        "refused_p99_us": flood["refused_p99_us"],
        "grown_mb": after - before,
        "again_p99_us": again["p99_us"],
        "again_refused": again["refused"],
    }


def write_requests(folder: Path, requests: Iterator[bytes]) -> Path:
    path = folder / "requests.bin"
    with path.open("wb") as file:
        for request in requests:
            file.write(struct.pack("<I", len(request)) + request)
    return path


def run(options: argparse.Namespace, folder: Path) -> tuple[list[tuple[Shape, str, Figures]], Figures]:
    flood: Figures = {}
    results: list[tuple[Shape, str, Figures]] = []
    data = (options.bench_data or folder) / f"online-{options.entities}"
    if not (data / "filled").exists():
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True)
        print(f"filling {thousands(options.entities)} entities", flush=True)
        with LocalServer(options.binary, data / "data") as server:
            fill(server, options.binary, options.entities)
            time.sleep(SETTLE_SECONDS)
        (data / "filled").touch()
    redis = Redis(folder) if shutil.which("redis-server") and not options.no_redis else None
    try:
        for cached in (True, False):
            chosen = [it for it in shapes(options.entities) if it.cached == cached and options.only in it.name]
            if not chosen:
                continue
            ours = Tidegate(options.binary, data / "data", cached)
            try:
                for shape in chosen:
                    print(shape.name, flush=True)
                    ours.check(shape)
                    path = write_requests(folder, ours.requests(shape))
                    # Everything is read once before anything is timed.
                    load(options.program, "grpc", ours.address(), path, 1, ["--connections", 4, "--in-flight", 4])
                    found = measure(options.program, "grpc", ours, path, shape, options.seconds)
                    results.append((shape, ours.name, found))
                    if (shape.rows, shape.views, cached) == OVERLOADED and not options.no_overload:
                        flood = overload(options.program, ours, path, found["per_second"])
                    with contextlib.closing(stopped(Echo(options.program, round(found["bytes"])))) as echo:
                        found = measure(options.program, "grpc", echo.it, path, shape, options.seconds)
                        results.append((shape, echo.it.name, found))
                    if redis and shape.cached:
                        redis.check(shape)
                        path = write_requests(folder, redis.requests(shape))
                        found = measure(options.program, "redis", redis, path, shape, options.seconds)
                        results.append((shape, redis.name, found))
            finally:
                ours.stop()
    finally:
        if redis:
            redis.stop()
    return results, flood


class stopped:
    """Closing it stops what it holds."""

    def __init__(self, it: Any) -> None:
        self.it = it

    def close(self) -> None:
        self.it.stop()


# Report

COLUMNS: dict[str, Callable[[Figures], str]] = {
    "requests/s": lambda it: f"{it['per_second']:,.0f}",
    "p50 µs": lambda it: f"{it['p50_us']:,}",
    "p99 µs": lambda it: f"{it['p99_us']:,}",
    "p99.9 µs": lambda it: f"{it['p999_us']:,}",
    "CPU µs": lambda it: f"{it['cpu_us']:.1f}",
    "bytes": lambda it: f"{it['bytes']:,.0f}",
    "MB": lambda it: f"{it['mb']:,.0f}",
}


def table(results: list[tuple[Shape, str, Figures]]) -> str:
    lines = [f"{'shape':46} {'':16}" + "".join(f"{name:>12}" for name in COLUMNS)]
    before = None
    for shape, who, found in results:
        name = "" if shape == before else shape.name
        before = shape
        lines.append(f"{name:46} {who:16}" + "".join(f"{show(found):>12}" for show in COLUMNS.values()))
    return "\n".join(lines)


def told(flood: Figures) -> str:
    return (
        f"five times the capacity of {OVERLOADED[0]} x {OVERLOADED[1] * FEATURES} for {OVERLOAD_SECONDS} s: goodput "
        f"{flood['goodput']:.0%} of the capacity, p99 of those answered {flood['p99_us']:,} µs ({flood['calm_p99_us']:,} at "
        f"0.8 times), p99 of refusals {flood['refused_p99_us']:,} µs, {flood['grown_mb']:+.0f} MB; {CALM_SECONDS} s after it "
        f"p99 {flood['again_p99_us']:,} µs, {flood['again_refused']:,} refused"
    )


def write_docs(options: argparse.Namespace, results: list[tuple[Shape, str, Figures]], flood: Figures) -> None:
    """Puts the table into docs/benchmarks.md, between its marks for this many entities."""
    page = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
    lines = ["| shape | | " + " | ".join(COLUMNS) + " |", "| --- | --- |" + " ---: |" * len(COLUMNS)]
    for shape, who, found in results:
        lines.append(f"| {shape.name} | {who} | " + " | ".join(show(found) for show in COLUMNS.values()) + " |")
    if flood:
        lines += ["", told(flood)[0].upper() + told(flood)[1:] + "."]
    begin, end = (f"<!-- online {options.entities}: {edge} -->" for edge in ("begin", "end"))
    text = page.read_text()
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    page.write_text(head + begin + "\n\n" + "\n".join(lines) + "\n\n" + end + tail)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=Path("target/debug/tidegate"), help="the server's binary")
    parser.add_argument("--program", type=Path, help="the load program; default: beside the binary")
    parser.add_argument("--entities", type=int, default=10_000, help="entities of each view")
    parser.add_argument("--seconds", type=float, default=4, help="how long each load is measured")
    parser.add_argument("--only", default="", help="shapes whose name holds this")
    parser.add_argument("--no-redis", action="store_true", help="leave Redis out")
    parser.add_argument("--bench-data", type=Path, help="keep the filled server here and use it again")
    parser.add_argument("--no-overload", action="store_true", help="leave the overload out")
    parser.add_argument("--write-docs", action="store_true", help="put the results into docs/benchmarks.md")
    parser.add_argument("--raw", type=Path, help="write the raw figures to this file")
    options = parser.parse_args()
    options.program = options.program or options.binary.parent / "examples" / "online_load"
    for program in (options.binary, options.program):
        if not program.exists():
            parser.error(f"there is no {program}; `make build` makes it")
    return options


def main() -> int:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        results, flood = run(options, Path(folder))
    print()
    print(table(results))
    if flood:
        print(told(flood))
    if options.raw:
        raw = [{"shape": shape.name, "who": who, **found} for shape, who, found in results]
        options.raw.write_text(json.dumps({"shapes": raw, "overload": flood}, indent=1))
    if options.write_docs:
        write_docs(options, results, flood)
    return 0


if __name__ == "__main__":
    sys.exit(main())
