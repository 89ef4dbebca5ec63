"""Times the point-in-time join on many shapes of data: ours beside DuckDB's ASOF JOIN and Polars' join_asof.

    make bench-pit BENCH_ARGS="--scale 1"
    python integration-tests/bench/pit.py --list
    python integration-tests/bench/pit.py --shapes standard-1M,tiny --runs 3
    python integration-tests/bench/pit.py --check-only --scale 0.001

shapes.py says which shapes there are, contenders.py who answers them and what is timed. For each shape all results are
compared first, value by value; a contender that differs is not timed, and the bench fails at its end. Then the contenders
take turns, a process of its own each time, on the same files and cores, the files in the page cache. The server starts once
and is warm, as servers are; its share is added to its client's. A contender that runs out of time or memory is shown so, and
the rest goes on. The medians are printed. Raw figures go to bench-data/pit-results.json, where shapes measured by an earlier
run of the same build with the same settings on the same machine stay: a long bench may be run in parts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import figures
import managed
import pit_gen
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from contenders import CONTENDERS, FLIGHT, IN_PROCESS, spec
from processes import Failed, Limits, Programs, Server, run
from shapes import ROW, SHAPES, STANDARD, Shape

ROOT = Path(__file__).resolve().parent.parent.parent
BENCH_DATA = ROOT / "bench-data"
RESULTS = "pit-results.json"
DOCS = ROOT / "docs" / "benchmarks.md"
# The server's default for `plans.memory`; the join in process gets the same.
MEMORY_BYTES = 2 << 30
# A load from which the figures are not ours alone.
BUSY = 0.5


def main() -> None:
    options = arguments()
    if options.list:
        print("\n".join(f"{shape.name:14} {shape.about}" for shape in SHAPES))
        return
    if options.report:
        results = json.loads((options.bench_data / RESULTS).read_text())
    else:
        if (load := os.getloadavg()[0]) > BUSY and not options.check_only:
            print(f"the machine is busy (load {load:.1f}): figures will be noisy")
        pin(options.threads)
        results = Bench(options).run()
    if not options.check_only:
        figures.show(results)
        print(f"\nraw figures: {options.bench_data / RESULTS}")
    if options.write_docs:
        figures.write_docs(DOCS, results)
    if wrong := [name for name, result in results["shapes"].items() if result["differ"]]:
        sys.exit(f"results differ: {', '.join(wrong)}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "debug" / "tidegate")
    parser.add_argument("--program", type=Path, help="the built example `pit`; else that beside the binary")
    parser.add_argument("--scale", type=float, default=0.1, help="of the sizes the shapes are named for (0.1)")
    parser.add_argument("--shapes", type=names([shape.name for shape in SHAPES]), help="only these")
    parser.add_argument("--without", type=names(list(CONTENDERS)), default=[], help="contenders to leave out")
    parser.add_argument("--runs", type=int, default=5, help="turns of which the median is taken (5)")
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))), help="cores for each (2)")
    parser.add_argument("--timeout", type=float, default=120, help="seconds one run may take (120)")
    parser.add_argument("--memory", type=float, help="GiB one run may hold; by default three quarters of the machine's")
    parser.add_argument("--data", type=Path, help="a folder with the standard tables, instead of making them")
    parser.add_argument("--bench-data", type=Path, default=BENCH_DATA, help="where files are made, and kept")
    parser.add_argument("--recompact", action="store_true", help="make the compacted tables anew")
    parser.add_argument("--check-only", action="store_true", help="compare the results and measure nothing")
    parser.add_argument("--report", action="store_true", help="print the results there are and measure nothing")
    parser.add_argument("--write-docs", action="store_true", help="put the results into docs/benchmarks.md")
    parser.add_argument("--list", action="store_true", help="list the shapes")
    options = parser.parse_args()
    if options.check_only and options.write_docs:
        parser.error("--check-only measures nothing that --write-docs could write")
    options.program = options.program or options.binary.parent / "examples" / "pit"
    for program in () if options.list or options.report else (options.binary, options.program):
        if not program.exists():
            parser.error(f"there is no {program}; `make build` makes it")
    return options


def names(known: list[str]) -> object:
    """Parses a list of known names."""

    def parse(text: str) -> list[str]:
        given = text.split(",")
        if unknown := [name for name in given if name not in known]:
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(known)}")
        return given

    return parse


def pin(threads: int) -> None:
    """Keeps this process and all it starts on the same cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def limits(options: argparse.Namespace) -> Limits:
    machine_mb = int(Path("/proc/meminfo").read_text().split()[1]) / 1024
    return Limits(options.timeout, options.memory * 1024 if options.memory else machine_mb * 0.75)


class Bench:
    """One bench: its servers, started when first needed, and its results."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.limits = limits(options)
        self.programs = Programs(options.binary.resolve(), options.program.resolve())
        self.contenders = [who for who in CONTENDERS if who not in options.without]
        self.servers: dict[str, Server] = {}
        self.not_compacted: Failed | None = None
        self.open = ExitStack()

    def run(self) -> figures.Result:
        path = self.options.bench_data / RESULTS
        results = figures.load(path, self.header())
        if self.options.check_only:
            results["shapes"] = {}
        chosen = [shape for shape in SHAPES if self.options.shapes is None or shape.name in self.options.shapes]
        with self.open:
            for shape in chosen:
                if shape.layout == "compacted" and not managed.can_compact(self.programs.server):
                    print(f"{shape.name}: left out, this tidegate has no `table compact`", flush=True)
                    continue
                try:
                    results["shapes"][shape.name] = self.measure(shape)
                except Failed as failure:
                    print(f"{shape.name}: left out, {failure}", flush=True)
                if not self.options.check_only:
                    figures.save(path, results)
        return results

    def header(self) -> figures.Result:
        """What results must have in common to stand in one table."""
        options = self.options
        settings = {"scale": options.scale, "threads": options.threads, "runs": options.runs}
        settings |= {"timeout": self.limits.seconds, "memory_mb": round(self.limits.memory_mb)}
        return {"machine": figures.machine(self.programs), "settings": settings}

    def measure(self, shape: Shape) -> figures.Result:
        """Checks, then times one shape."""
        print(f"{shape.name}: {shape.about}", flush=True)
        folders, spine = self.files(shape)
        question = spec(shape, folders, spine, self.options.threads, MEMORY_BYTES)
        files = {Path(file) for view in question["views"] for file in view["files"]}
        warm([spine, *files])
        server = self.server(shape, folders) if FLIGHT in self.contenders else None
        result: figures.Result = {"measured": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        result |= {"files": len(files), "mb": sum(file.stat().st_size for file in files) >> 20}
        result |= {"load": os.getloadavg()[0], "runs": {}, "failed": {}, "differ": []}
        with tempfile.TemporaryDirectory(prefix="check-", dir=self.options.bench_data) as scratch:
            path = Path(scratch) / "spec.json"
            path.write_text(json.dumps(question))
            self.check(result, path, server, Path(scratch))
            if not self.options.check_only:
                self.take_turns(result, path, server)
                self.floor(result, path)
        return result

    # Files

    def files(self, shape: Shape) -> tuple[dict[str, Path], Path]:
        """The shape's table folders and its spine, made where they are missing."""
        options, dataset = self.options, shape.dataset
        made = options.bench_data / pit_gen.folder_name(dataset, options.scale)
        taken = options.data if dataset is STANDARD else None
        if taken is None:
            pit_gen.generate(made, dataset, options.scale)
        given = {table.name: (taken or made) / table.name for table in dataset.tables}
        if taken and (taken / f"{shape.spine.name}.parquet").exists():
            spine = taken / f"{shape.spine.name}.parquet"
        else:
            spine = pit_gen.generate_spine(made, dataset, shape.spine, options.scale)
        if shape.layout == "compacted":
            return self.compacted(shape, given, made / "compacted"), spine
        return given, spine

    def compacted(self, shape: Shape, given: dict[str, Path], folder: Path) -> dict[str, Path]:
        """The folders of the compacted tables, ingested and compacted where they are missing, once."""
        if self.not_compacted:
            raise self.not_compacted
        if "compacted" not in self.servers:
            ready = managed.prepare_folder(folder, given, self.options.recompact)
            server = self.start("compacted", folder / "data")
            try:
                if not ready:
                    managed.compact(folder, server, self.programs.server, shape, given)
            except Failed as failure:
                self.not_compacted = failure
                raise
        return managed.managed_folders(folder / "data", shape)

    def server(self, shape: Shape, folders: dict[str, Path]) -> Server:
        """The server with the shape's views; started anew, so that its memory is not that of an earlier shape."""
        server = self.servers.get(shape.layout)
        if server:
            server.restart()
        else:
            server = self.start(shape.layout, None)
        managed.define(server, shape, None if shape.layout == "compacted" else folders)
        return server

    def start(self, layout: str, data: Path | None) -> Server:
        roots = [self.options.bench_data, *([self.options.data] if self.options.data else [])]
        server = Server(self.programs.server, data, roots, self.options.threads)
        self.servers[layout] = self.open.enter_context(server)
        return server

    # Equality

    def check(self, result: figures.Result, path: Path, server: Server | None, scratch: Path) -> None:
        """Compares every contender's result with that of the first that has one."""
        first: Path | None = None
        equal = []
        # Writing the result down takes time too.
        limits = replace(self.limits, seconds=self.limits.seconds * 2)
        for who in self.contenders:
            out = scratch / f"{who}.parquet"
            with self.noting(result, who):
                run(who, path, self.options.threads, limits, self.programs, server, out)
                if first is None:
                    first = out
                elif difference := compare(first, out):
                    result["differ"].append(who)
                    raise Failed(f"differs from {first.stem}: {difference}")
                equal.append(who)
            if out != first:
                out.unlink(missing_ok=True)
        if first:
            of = pq.read_metadata(first)
            result |= {"rows": of.num_rows, "columns": of.num_columns}
            print(f"  equal on {of.num_rows:,} rows x {of.num_columns} columns: {', '.join(equal)}", flush=True)

    @contextmanager
    def noting(self, result: figures.Result, who: str) -> Iterator[None]:
        """A contender that fails is out of this shape, and the rest goes on."""
        try:
            yield
        except Failed as failure:
            print(f"  {who}: {failure}", flush=True)
            result["failed"][who] = str(failure)
            result["runs"].pop(who, None)

    # Time

    def take_turns(self, result: figures.Result, path: Path, server: Server | None) -> None:
        for turn in range(self.options.runs):
            at = turn % len(self.contenders)
            for who in self.contenders[at:] + self.contenders[:at]:
                if who in result["failed"]:
                    continue
                with self.noting(result, who):
                    done = run(who, path, self.options.threads, self.limits, self.programs, server)
                    result["runs"].setdefault(who, []).append(done[0])

    def floor(self, result: figures.Result, path: Path) -> None:
        """Decoding keys and times alone, beside the join's own first phase."""
        if IN_PROCESS not in result["runs"]:
            return
        runs, options = self.options.runs, ("--floor", "--runs", str(self.options.runs))
        limits = replace(self.limits, seconds=self.limits.seconds * runs)
        try:
            lines = run(IN_PROCESS, path, self.options.threads, limits, self.programs, None, None, *options)
        except Failed as failure:
            print(f"  floor: {failure}", flush=True)
            return
        result["floor"] = [line for line in lines if "floor_seconds" in line]


def warm(files: list[Path]) -> None:
    """Reads all files once, so that nobody pays for the disk."""
    for file in files:
        with file.open("rb") as opened:
            while opened.read(1 << 24):
                pass


def compare(left: Path, right: Path) -> str | None:
    """How two results differ, rows matched by number; memory holds a few columns at a time."""
    ours, theirs = pq.ParquetFile(left), pq.ParquetFile(right)
    if ours.metadata.num_rows != theirs.metadata.num_rows:
        return f"{ours.metadata.num_rows:,} rows against {theirs.metadata.num_rows:,}"
    columns = ours.schema_arrow.names
    if other := set(columns) ^ set(theirs.schema_arrow.names):
        return f"columns {', '.join(sorted(other))}"
    orders = row_order(ours), row_order(theirs)
    for name in columns:
        if count := differing(in_order(ours, name, orders[0]), in_order(theirs, name, orders[1])):
            return f"{count:,} rows of column {name}"
    return None


def row_order(file: pq.ParquetFile) -> pa.Array | None:
    """Where the rows are in the order of their numbers; None where they lie so."""
    numbers = file.read([ROW]).column(0).combine_chunks()
    if len(numbers) < 2 or pc.all(pc.less(numbers[:-1], numbers[1:])).as_py():
        return None
    return pc.sort_indices(numbers)


def in_order(file: pq.ParquetFile, name: str, order: pa.Array | None) -> pa.ChunkedArray:
    column = file.read([name]).column(0)
    return column if order is None else column.take(order)


def differing(left: pa.ChunkedArray, right: pa.ChunkedArray) -> int:
    right = right.cast(left.type)
    same = pc.or_(pc.fill_null(pc.equal(left, right), False), pc.and_(pc.is_null(left), pc.is_null(right)))
    return len(left) - int(pc.sum(same).as_py() or 0)


if __name__ == "__main__":
    main()
