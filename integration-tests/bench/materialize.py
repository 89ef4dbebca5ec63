"""`make bench-materialize`: features moved from Delta tables to the online tier, beside Feast, and pushed ones.

The server has all cores and its default durability. Figures are those of runs whose result was checked: the counts of the
report, and all features of a sample of keys, against what was ingested; after the last run of a part every key is looked up.
Parts: `materialize_rows` (what is moved), `feast_peer` (the peer); here they are timed, and a table is made.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import feast_peer
import pyarrow as pa
import tidegate
from contenders import peak_mb
from materialize_rows import Table, define, shuffled
from online import around, write_between
from online_contenders import PROJECT, definitions
from online_load import Figures, cpu_seconds, settle
from online_shapes import VIEWS, Shape, expected, rows_of, sample, service, thousands, view_name
from tidegate.local import LocalServer

MARK = "materialize"
OURS, FEAST = "Tidegate", "Feast, Redis"
HISTORY = 10
PUSH_ROWS = 1_000
# Runs of fewer rows leave nothing behind that is worth waiting for.
SETTLE_ROWS = 100_000


@dataclass(frozen=True)
class Line:
    """The runs of one shape; the table has their medians."""

    shape: str
    who: str
    runs: list[Figures]

    def median(self, name: str) -> float | None:
        found = [run[name] for run in self.runs if run[name] is not None]
        return median(found) if found else None


@dataclass
class Results:
    """Lines in the order of the table, what is told below it, and what only the raw figures have."""

    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    raw: Figures = field(default_factory=dict)

    def add(self, shape: str, who: str, runs: list[Figures]) -> None:
        self.lines.append(Line(shape, who, runs))
        told = ", ".join(f"{run['seconds']:.2f}" for run in runs)
        print(f"{shape}, {who}: {told} s", flush=True)

    def note(self, text: str) -> None:
        print(text, flush=True)
        self.notes.append(text)


@dataclass(frozen=True)
class Bench:
    """A new server, and a client of it, for one part."""

    options: argparse.Namespace
    server: LocalServer
    client: tidegate.Client
    results: Results

    def timed(self, work: Callable[[], int]) -> Figures:
        """`work` gives the number of rows it moved; what the server used for it."""
        pid = self.server.pid
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        before, begun = cpu_seconds(pid), time.monotonic()
        rows = work()
        seconds = time.monotonic() - begun
        used = cpu_seconds(pid) - before
        return {"rows": rows, "seconds": seconds, "per_second": rows / seconds, "cpu_s": used, "peak_mb": peak_mb(pid)}

    def materialize(self, table: Table, rows: int, keys: int, full: bool) -> Figures:
        """One checked run that has these many rows to read, of so many keys."""
        found = self.timed(lambda: moved(self.client, table, rows, keys, full))
        table.check(self.client)
        return found

    def refresh(self, table: Table) -> Figures:
        self.settle(table.rows)
        return self.materialize(table, table.rows, table.keys, full=True)

    def settle(self, rows: int) -> None:
        """What the last run left to do is not a part of the next."""
        if rows >= SETTLE_ROWS:
            settle(self.server.pid)


def moved(client: tidegate.Client, table: Table, rows: int, keys: int, full: bool) -> int:
    """Materializes, and compares the report's counts. Older observations may be written or left out."""
    [report] = client.materialize(table.name, full=full, progress=False)
    if report.rows_read != rows or report.rows_skipped or not keys <= report.rows_written <= rows:
        raise SystemExit(f"{rows:,} rows of {keys:,} keys were ingested; the report says: {report}")
    return report.rows_read


# Parts


def full(bench: Bench) -> None:
    """One observation for each key, refreshed; then what is new."""
    [table] = define(bench.client, ["once"])
    table.ingest(bench.client, shuffled(bench.options.rows))
    refreshes(bench, table)
    incremental(bench, table)
    table.check_count(bench.client)


def history(bench: Bench) -> None:
    """As many rows, several observations for each key."""
    [table] = define(bench.client, ["history"])
    for _ in range(HISTORY):
        table.ingest(bench.client, shuffled(max(bench.options.rows // HISTORY, 1)))
    refreshes(bench, table)
    table.check_count(bench.client)


def refreshes(bench: Bench, table: Table) -> None:
    """The first one, into an empty store, only shows that the result is right."""
    bench.refresh(table)
    runs = [bench.refresh(table) for _ in range(bench.options.runs)]
    bench.results.add(f"full, {thousands(table.rows)} rows of {thousands(table.keys)} keys", OURS, runs)


def incremental(bench: Bench, table: Table) -> None:
    runs = []
    for _ in range(bench.options.runs):
        new = table.ingest(bench.client, table.changed(bench.options.new_rows))
        bench.settle(new)
        runs.append(bench.materialize(table, new, new, full=False))
    bench.results.add(f"incremental, {thousands(new)} rows, half new keys", OURS, runs)


def views(bench: Bench) -> None:
    """Views on one entity, one after the other: the last should take no longer than the first."""
    rows, count = bench.options.view_rows, bench.options.views
    # Otherwise the first would have a cold server to itself.
    with bench.server.client("warm") as client:
        [table] = define(client, ["warm"])
        new = table.ingest(client, shuffled(rows))
        moved(client, table, new, new, full=False)
    tables = define(bench.client, [f"view_{view}" for view in range(count)])
    for table in tables:
        table.ingest(bench.client, shuffled(rows))
    bench.settle(rows)
    runs = [bench.materialize(table, rows, rows, full=False) for table in tables]
    # The later ones left the earlier ones as they were.
    for table in tables:
        table.check(bench.client)
        table.check_count(bench.client)
    for at, run in ((1, runs[0]), (count, runs[-1])):
        bench.results.add(f"view {at} of {count} on one entity, {thousands(rows)} rows each", OURS, [run])
    bench.results.raw["views"] = runs
    took, used = (", ".join(f"{run[name]:.2f}" for run in runs) for name in ("seconds", "cpu_s"))
    bench.results.note(f"Views on one entity, one after the other: {took} s; CPU {used} s")


def push(bench: Bench) -> None:
    """Durable batches from one client, each sent once the last one is acknowledged; half new keys."""
    if not hasattr(tidegate.Client, "push"):
        print("without pushes: the client has no `push`", flush=True)
        return
    [table] = define(bench.client, ["pushed"])
    pushed(bench.client, table, [table.next(shuffled(PUSH_ROWS))])
    table.check(bench.client)
    runs = [push_run(bench, table) for _ in range(bench.options.runs)]
    table.check_count(bench.client)
    bench.results.add(f"push, batches of {PUSH_ROWS:,} rows, one client", OURS, runs)


def push_run(bench: Bench, table: Table) -> Figures:
    batches = [table.next(table.changed(PUSH_ROWS)) for _ in range(bench.options.pushes)]
    bench.settle(PUSH_ROWS * len(batches))
    found = bench.timed(lambda: pushed(bench.client, table, batches))
    table.check(bench.client)
    return found


def pushed(client: Any, table: Table, batches: list[pa.Table]) -> int:
    for batch in batches:
        client.push(table.name, batch)
    return sum(batch.num_rows for batch in batches)


def peers(bench: Bench) -> None:
    """The data of Feast's own benchmark, through each one's command line, its start included."""
    shape = Shape(1, VIEWS, bench.options.peer_entities)
    name = f"{VIEWS} views x {thousands(shape.entities)} rows, by command line"
    made = [(view, False) for view in range(VIEWS)]
    bench.client.apply(definitions(made))
    for view, mixed in made:
        bench.client.ingest(f"{view_name(view, mixed)}_rows", rows_of(view, shape.entities, mixed))
    bench.settle(VIEWS * shape.entities)
    ours = bench.timed(lambda: by_command_line(bench, VIEWS * shape.entities))
    check_service(bench.client, shape)
    bench.results.add(name, OURS, [ours])
    theirs = of_feast(bench.options.feast_program, shape)
    if theirs:
        bench.results.add(name, FEAST, [theirs])


def by_command_line(bench: Bench, rows: int) -> int:
    environment = {**os.environ, "TIDEGATE_ADDRESS": bench.server.address, "TIDEGATE_PROJECT": PROJECT}
    command = [bench.options.binary, "materialize", "--json"]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    found: int = sum(report["rows_written"] for report in json.loads(done.stdout))
    if found != rows:
        raise SystemExit(f"{rows:,} rows were ingested, and {found:,} materialized")
    return found


def check_service(client: tidegate.Client, shape: Shape) -> None:
    ids = sample(shape.entities)
    got = client.get_online_features({"entity_id": ids}, service=service(shape.views, shape.mixed)).to_arrow()
    for name, stored in expected(shape, ids):
        if got[name].to_pylist() != stored:
            raise SystemExit(f"{name} is not what was ingested")


def of_feast(program: Path | None, shape: Shape) -> Figures | None:
    """Its figures, where it is installed; what it used is spread over processes that have ended."""
    if program is None:
        return None
    print("filling Feast", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder,
        contextlib.closing(feast_peer.Feast(program, Path(folder), shape.entities)) as feast,
    ):
        feast.check(shape)
        rows, seconds = feast.rows, feast.materialize_seconds
    return {"rows": rows, "seconds": seconds, "per_second": rows / seconds, "cpu_s": None, "peak_mb": None}


PARTS = {"full": full, "history": history, "views": views, "push": push, "feast": peers}


def run(options: argparse.Namespace) -> Results:
    results = Results()
    for name in options.only or PARTS:
        with started(options, results) as bench:
            PARTS[name](bench)
    return results


@contextlib.contextmanager
def started(options: argparse.Namespace, results: Results) -> Iterator[Bench]:
    with (
        tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder,
        LocalServer(options.binary, Path(folder) / "data") as server,
        server.client(PROJECT) as client,
    ):
        yield Bench(options, server, client, results)


# Report


FORMS = {"rows": ",.0f", "seconds": ".2f", "per_second": ",.0f", "cpu_s": ".2f", "peak_mb": ",.0f"}
COLUMNS = ("rows", "seconds", "rows/s", "CPU s", "peak MB", "× ours")


def cells(line: Line, results: Results) -> list[str]:
    found = {name: line.median(name) for name in FORMS}
    shown = ["–" if value is None else format(value, FORMS[name]) for name, value in found.items()]
    return [*shown, times_ours(line, results)]


def times_ours(line: Line, results: Results) -> str:
    """How many times our seconds a line took; where there is nobody to compare with, a dash."""
    same = {other.who: other.median("seconds") for other in results.lines if other.shape == line.shape}
    ours, its = same.get(OURS), same[line.who]
    return f"{its / ours:.2f}" if len(same) > 1 and ours and its else "–"


def table_of(results: Results) -> str:
    lines = [f"{'shape':50} {'':13}" + "".join(f"{name:>11}" for name in COLUMNS)]
    for line in results.lines:
        lines.append(f"{line.shape:50} {line.who:13}" + "".join(f"{cell:>11}" for cell in cells(line, results)))
    return "\n".join(lines)


def markdown(results: Results) -> list[str]:
    lines = ["| shape | | " + " | ".join(COLUMNS) + " |", "| --- | --- |" + " ---: |" * len(COLUMNS)]
    for line in results.lines:
        lines.append(f"| {line.shape} | {line.who} | " + " | ".join(cells(line, results)) + " |")
    for note in results.notes:
        lines += ["", f"{note}."]
    return lines


def report(options: argparse.Namespace, results: Results) -> None:
    print()
    print(table_of(results))
    for note in results.notes:
        print(note)
    if options.write_docs:
        write_between(MARK, markdown(results))
    if options.raw:
        lines = [{"shape": line.shape, "who": line.who, "runs": line.runs} for line in results.lines]
        options.raw.write_text(json.dumps({"shapes": lines, "notes": results.notes, **results.raw}, indent=1))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=Path("target/debug/tidegate"), help="the server's binary")
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of a full refresh")
    parser.add_argument("--new-rows", type=int, default=300_000, help="rows of an incremental run")
    parser.add_argument("--views", type=int, default=10, help="views on one entity")
    parser.add_argument("--view-rows", type=int, default=300_000, help="rows of each of these")
    parser.add_argument("--pushes", type=int, default=300, help=f"batches of {PUSH_ROWS:,} rows that a run pushes")
    parser.add_argument("--peer-entities", type=int, default=10_000, help=f"rows of each of the {VIEWS} views beside Feast")
    parser.add_argument("--runs", type=int, default=3, help="runs of which the median is taken")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="some parts")
    parser.add_argument("--feast", help=f"Feast's executable; default: {feast_peer.VARIABLE}, or `feast` on PATH")
    parser.add_argument("--no-feast", action="store_true", help="leave Feast out")
    parser.add_argument("--write-docs", action="store_true", help="put the results into docs/benchmarks.md")
    parser.add_argument("--raw", type=Path, help="write the raw figures to this file")
    options = parser.parse_args()
    if not options.binary.exists():
        parser.error(f"there is no {options.binary}; `make build` makes it")
    options.feast_program = feast_program(options)
    return options


def feast_program(options: argparse.Namespace) -> Path | None:
    if options.no_feast:
        return None
    found = feast_peer.find(options.feast)
    if found and shutil.which("redis-server"):
        return found
    missing = "redis-server" if found else f"`feast`; put it on PATH, or name it by --feast or {feast_peer.VARIABLE}"
    print(f"without Feast: there is no {missing}", flush=True)
    return None


def main() -> int:
    options = parse()
    if options.write_docs:
        # Known before the long run, not after it.
        around(MARK)
    report(options, run(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
