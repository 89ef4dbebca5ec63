"""`make bench-online`: lookups under load beside an empty gRPC call with the same bytes, Redis, and Feast's server.

The shape is Feast's own benchmark: views of ten int64 features on one entity. Server on one core, load on another. Answers are
compared with what was stored before anything is timed. Parts: `online_shapes` (what is asked), `online_contenders` and
`feast_peer` (who is asked), `online_load` (how), `client_time` (what the Python client adds); here they take turns, and a
table is made.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import client_time
import feast_peer
from online_contenders import Echo, Redis, Tidegate, fill
from online_load import (
    CALM_SECONDS,
    LOAD_CORE,
    OVERLOAD_SECONDS,
    Figures,
    measure,
    overload,
    pinned,
    settle,
    warm,
    write_requests,
)
from online_shapes import ENTITIES_ALL, FEATURES, Shape, batches, shapes, thousands
from tidegate.local import LocalServer

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
CLIENT_MARK = "client"
# The server begins to merge its files once no refresh has come for a while; files of fewer entities are not worth the wait.
SETTLE_SECONDS, SETTLE_ENTITIES = 8, 10_000
# The shapes that are overloaded, and looked up by the Python client: rows, views, cached.
OVERLOADED = (100, 25, True)
CLIENT = (100, 5, True)


@dataclass
class Results:
    """Figures of each shape and contender in the order of the table, what else is told below it, and the client's time."""

    entities: int
    lines: list[tuple[Shape, str, Figures]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    raw: Figures = field(default_factory=dict)
    client: tuple[Shape, Figures] | None = None

    def note(self, text: str) -> None:
        print(text, flush=True)
        self.notes.append(text)


@dataclass(frozen=True)
class Peers:
    """Who is there beside the empty call."""

    redis: Redis | None
    feast: feast_peer.Feast | None


def run(options: argparse.Namespace, entities: int, folder: Path) -> Results:
    results = Results(entities)
    chosen = [shape for shape in shapes(entities) if options.only in shape.name]
    data = filled(options, entities, folder)
    with contextlib.ExitStack() as stack:
        peers = started(options, chosen, folder, stack, results)
        for cached in (True, False):
            these = [shape for shape in chosen if shape.cached == cached]
            if not these:
                continue
            with contextlib.closing(Tidegate(options.binary, data / "data", cached)) as ours:
                for shape in these:
                    print(shape.name, flush=True)
                    compare(options, shape, ours, peers, folder, results)
    return results


def filled(options: argparse.Namespace, entities: int, folder: Path) -> Path:
    """The folder of a server that holds everything."""
    data: Path = (options.bench_data or folder) / f"online-{entities}"
    if (data / "filled").exists():
        return data
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    print(f"filling {thousands(entities)} entities", flush=True)
    with LocalServer(options.binary, data / "data") as server:
        rows, seconds = fill(server, options.binary, entities, mixed_views=entities <= ENTITIES_ALL)
        print(f"materialized {rows:,} rows in {seconds:.1f} s: {rows / seconds:,.0f} rows/s", flush=True)
        if entities >= SETTLE_ENTITIES:
            time.sleep(SETTLE_SECONDS)
            settle(server.pid)
    (data / "filled").touch()
    return data


def started(
    options: argparse.Namespace, chosen: list[Shape], folder: Path, stack: contextlib.ExitStack, results: Results
) -> Peers:
    """The peers that are installed, wanted, and have a shape to take part in."""
    has_redis = shutil.which("redis-server") is not None
    redis = feast = None
    if has_redis and not options.no_redis and any(redis_takes_part(shape) for shape in chosen):
        redis = stack.enter_context(contextlib.closing(Redis(folder)))
    if options.no_feast or not any(feast_peer.takes_part(shape) for shape in chosen):
        return Peers(redis, None)
    program = feast_peer.find(options.feast)
    if program and has_redis:
        print("filling Feast", flush=True)
        feast = stack.enter_context(contextlib.closing(feast_peer.Feast(program, folder, results.entities)))
        results.note(feast.told())
    else:
        missing = "redis-server" if program else f"`feast`; put it on PATH, or name it by --feast or {feast_peer.VARIABLE}"
        print(f"without Feast: there is no {missing}", flush=True)
    return Peers(redis, feast)


def redis_takes_part(shape: Shape) -> bool:
    return shape.cached and shape.entities <= ENTITIES_ALL


def compare(
    options: argparse.Namespace, shape: Shape, ours: Tidegate, peers: Peers, folder: Path, results: Results
) -> None:
    """Everyone's figures of one shape."""
    ours.check(shape)
    path = write_requests(folder, ours.requests(shape))
    warm(options.program, ours, path, sum(1 for _ in batches(shape)), options.seconds)
    found = measure(options.program, ours, path, shape, options.seconds)
    results.lines.append((shape, ours.name, found))
    place = (shape.rows, shape.views, shape.cached)
    # Where entities are many, an overload would mostly fill the cache.
    few = shape.entities <= ENTITIES_ALL
    if few and place == OVERLOADED and not options.no_overload:
        results.raw["overload"] = flood = overload(options.program, ours, path, found["per_second"])
        results.note(told(flood))
    if few and place == CLIENT and not shape.mixed:
        results.client = shape, time_client(ours, shape, options.calls)
    with contextlib.closing(Echo(options.program, round(found["bytes"]))) as echo:
        found = measure(options.program, echo, path, shape, options.seconds)
        results.lines.append((shape, echo.name, found))
    if peers.redis and redis_takes_part(shape):
        peers.redis.check(shape)
        path = write_requests(folder, peers.redis.requests(shape))
        found = measure(options.program, peers.redis, path, shape, options.seconds)
        results.lines.append((shape, peers.redis.name, found))
    if peers.feast and feast_peer.takes_part(shape):
        peers.feast.check(shape)
        results.lines.append((shape, peers.feast.name, peers.feast.measure(shape, options.seconds)))


def time_client(ours: Tidegate, shape: Shape, calls: int) -> Figures:
    """In a process of its own, on the load's core."""
    command = [sys.executable, str(HERE / "client_time.py"), "--address", ours.address(), "--rows", str(shape.rows)]
    command += ["--views", str(shape.views), "--entities", str(shape.entities), "--calls", str(calls)]
    with pinned(LOAD_CORE):
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"client_time: {done.stderr.strip()}")
    found: Figures = json.loads(done.stdout)
    return found


# Report


def cell(name: str, form: str) -> Callable[[Figures], str]:
    """A figure as text, and a dash where there were too few requests for one."""
    return lambda found: "–" if found[name] is None else format(found[name], form)


COLUMNS: dict[str, Callable[[Figures], str]] = {
    "requests/s": lambda it: f"{it['per_second']:,.0f}" if it["per_second"] >= 20 else f"{it['per_second']:.1f}",
    "p50 µs": cell("p50_us", ","),
    "p99 µs": cell("p99_us", ","),
    "p99.9 µs": cell("p999_us", ","),
    "CPU µs": cell("cpu_us", ".1f"),
    "bytes": cell("bytes", ",.0f"),
    "MB": cell("mb", ",.0f"),
}


def table(results: Results) -> str:
    lines = [f"{'shape':46} {'':16}" + "".join(f"{name:>12}" for name in COLUMNS)]
    before = None
    for shape, who, found in results.lines:
        name = "" if shape == before else shape.name
        before = shape
        lines.append(f"{name:46} {who:16}" + "".join(f"{show(found):>12}" for show in COLUMNS.values()))
    return "\n".join(lines)


def told(flood: Figures) -> str:
    return (
        f"Five times the capacity of {OVERLOADED[0]} x {OVERLOADED[1] * FEATURES} for {OVERLOAD_SECONDS} s: goodput "
        f"{flood['goodput']:.0%} of the capacity, p99 of those answered {flood['p99_us']:,} µs ({flood['calm_p99_us']:,} at "
        f"0.8 times), p99 of refusals {flood['refused_p99_us']:,} µs, {flood['grown_mb']:+.0f} MB; {CALM_SECONDS} s after it "
        f"p99 {flood['again_p99_us']:,} µs, {flood['again_refused']:,} refused"
    )


def write_docs(results: Results) -> None:
    """Puts the table into docs/benchmarks.md between the marks of this many entities, and the client's time between its own."""
    lines = ["| shape | | " + " | ".join(COLUMNS) + " |", "| --- | --- |" + " ---: |" * len(COLUMNS)]
    for shape, who, found in results.lines:
        lines.append(f"| {shape.name} | {who} | " + " | ".join(show(found) for show in COLUMNS.values()) + " |")
    for note in results.notes:
        lines += ["", f"{note}."]
    write_between(mark(results.entities), lines)
    if results.client:
        write_between(CLIENT_MARK, client_time.markdown(*results.client))


def mark(entities: int) -> str:
    return f"online {entities}"


def write_between(name: str, lines: list[str]) -> None:
    head, tail = around(name)
    PAGE.write_text(head + "\n\n" + "\n".join(lines) + "\n\n" + tail)


def around(name: str) -> tuple[str, str]:
    """The page up to the first of these marks, and from the second on."""
    begin, end = (f"<!-- {name}: {edge} -->" for edge in ("begin", "end"))
    text = PAGE.read_text()
    if begin not in text or end not in text:
        raise SystemExit(f"docs/benchmarks.md has no marks {begin} and {end}; put them where the figures belong")
    return text[: text.index(begin) + len(begin)], text[text.index(end) :]


def report(options: argparse.Namespace, results: Results) -> None:
    print()
    print(table(results))
    for note in results.notes:
        print(note)
    if results.client:
        print(client_time.told(*results.client))
    if options.write_docs:
        write_docs(results)


def raw(results: Results) -> Figures:
    lines = [{"shape": shape.name, "who": who, **found} for shape, who, found in results.lines]
    return {"shapes": lines, "notes": results.notes, "client": results.client and results.client[1], **results.raw}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=Path("target/debug/tidegate"), help="the server's binary")
    parser.add_argument("--program", type=Path, help="the load program; default: beside the binary")
    help_entities = f"entities of each view, one run after the other; of more than {thousands(ENTITIES_ALL)}, some shapes"
    parser.add_argument("--entities", type=int, nargs="+", default=[10_000], help=help_entities)
    parser.add_argument("--seconds", type=float, default=4, help="how long each load is measured")
    parser.add_argument("--calls", type=int, default=3_000, help="lookups by the Python client")
    parser.add_argument("--only", default="", help="shapes whose name holds this")
    parser.add_argument("--no-redis", action="store_true", help="leave Redis out")
    parser.add_argument("--feast", help=f"Feast's executable; default: {feast_peer.VARIABLE}, or `feast` on PATH")
    parser.add_argument("--no-feast", action="store_true", help="leave Feast out")
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
    if options.write_docs:
        # Known before the long run, not after it.
        for name in (CLIENT_MARK, *map(mark, options.entities)):
            around(name)
    found = {}
    for entities in options.entities:
        with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
            results = run(options, entities, Path(folder))
        report(options, results)
        found[str(entities)] = raw(results)
        if options.raw:
            options.raw.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
