"""`make bench-windows`: windowed aggregates of events for labels, ours beside DuckDB's range join and window query.

    make bench-windows BENCH_ARGS="--scale 1"
    python integration-tests/bench/windows.py --check-only --scale 0.001

At scale 1: 1 M labels over 10 M events of 200 k accounts, spread over 90 days; sum, count, mean and max of an amount over windows
of an hour, a day, 7, 30 and 90 days. A window's start is rounded down to its hop, for everyone. Results are compared first, row
by row, floats to a relative 1e-9; who differs is not timed, and the bench fails. Then the contenders take turns, a process of its
own each time, on the same files and cores, the files in the page cache. DuckDB is asked in both of the ways that its SQL has: a
join of labels and events by key and range of time, grouped by label with a filter for each window, and window functions over
labels and events together. Raw figures go to bench-data/windows-results.json.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pit_gen
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from contenders import files_of, peak_mb
from pit import BENCH_DATA, BUSY, DOCS, MEMORY_BYTES, ROOT, in_order, limits, pin, row_order, warm
from processes import Failed, within
from shapes import DAY, EVENT_TIME, HOUR, ROW, Dataset, Key, Spine, Table

Figures = dict[str, Any]
Question = dict[str, Any]

OURS, RANGE_JOIN, WINDOW_QUERY = "in-process", "range-join", "window-query"
CONTENDERS = {
    OURS: "Tidegate, in process",
    RANGE_JOIN: "DuckDB, range join",
    WINDOW_QUERY: "DuckDB, window functions",
}
RESULTS = "windows-results.json"
TOLERANCE = 1e-9
MEASURED = ("seconds", "cpu_seconds", "peak_mb")
COLUMNS = ("wall s", "CPU s", "peak MB", "× ours")

ACCOUNT = Key("account_id", 200_000)
DRAWS = {"even": ACCOUNT, "skewed": Key("account_id", 200_000, "pareto")}
FUNCTIONS = ("count", "sum", "mean", "max")
MINUTE = HOUR // 60
# Lengths and hops, as a definition has them by default.
WINDOWS = {
    "1h": (HOUR, 5 * MINUTE),
    "1d": (DAY, HOUR),
    "7d": (7 * DAY, HOUR),
    "30d": (30 * DAY, DAY),
    "90d": (90 * DAY, DAY),
}


def dataset(key: Key) -> Dataset:
    name = "windows" if key is ACCOUNT else f"windows-{key.draw}"
    return Dataset(name, (Table("events", 10_000_000, (key,), 1, "evnt"),))


# The question


def question(spine: Path, table: Path, threads: int) -> Question:
    """One question for all; the join in process reads it as any other spec."""
    amount = Table("events", 0, (), 1, "evnt").feature_names[0]
    aggregates = [
        {"output": f"{function}_{name}", "fn": function, "column": amount, "window_us": window, "hop_us": hop}
        for name, (window, hop) in WINDOWS.items()
        for function in FUNCTIONS
    ]
    view = {
        "name": "events",
        "table": str(table),
        "files": files_of(table),
        "keys": {ACCOUNT.column: ACCOUNT.column},
        "event_time": EVENT_TIME,
        "aggregates": aggregates,
    }
    asked = {"spine": str(spine), "spine_time": EVENT_TIME, "threads": threads, "memory_bytes": MEMORY_BYTES}
    return {**asked, "views": [view]}


def tail(aggregate: Figures, at: str) -> str:
    """The microsecond that a window begins after."""
    return f"((({at}) - {aggregate['window_us']}) // {aggregate['hop_us']} * {aggregate['hop_us']})"


def sql_function(aggregate: Figures) -> str:
    name = {"mean": "avg"}.get(aggregate["fn"], aggregate["fn"])
    return f"{name}({aggregate['column']})"


def range_join(asked: Question) -> str:
    """Every pair of a label and an event that its longest window may hold, then a filter for each window."""
    (view,) = asked["views"]
    (key,), aggregates = view["keys"], view["aggregates"]
    longest = max(aggregates, key=lambda aggregate: aggregate["window_us"])
    tails = {aggregate["window_us"]: tail(aggregate, f"epoch_us({asked['spine_time']})") for aggregate in aggregates}
    columns = ", ".join(f"{sql} AS tail_{window}" for window, sql in tails.items())
    made = [
        f"{sql_function(aggregate)} FILTER (WHERE e.micros > s.tail_{aggregate['window_us']}) AS {aggregate['output']}"
        for aggregate in aggregates
    ]
    counts = {aggregate["output"] for aggregate in aggregates if aggregate["fn"] == "count"}
    outputs = [aggregate["output"] for aggregate in aggregates]
    shown = [f"coalesce({name}, 0) AS {name}" if name in counts else name for name in outputs]
    return f"""
        WITH s AS (SELECT *, epoch_us({asked["spine_time"]}) AS micros, {columns} FROM read_parquet('{asked["spine"]}')),
        e AS (SELECT *, epoch_us({view["event_time"]}) AS micros FROM read_parquet({view["files"]})),
        made AS (
            SELECT s.{ROW}, {", ".join(made)} FROM s JOIN e
            ON s.{key} = e.{key} AND e.micros <= s.micros AND e.micros > s.tail_{longest["window_us"]}
            GROUP BY s.{ROW}
        )
        SELECT p.*, {", ".join(shown)} FROM read_parquet('{asked["spine"]}') p LEFT JOIN made USING ({ROW})
    """


def window_query(asked: Question) -> str:
    """Labels among the events of their keys, each window a frame of its own."""
    (view,) = asked["views"]
    (key,), aggregates = view["keys"], view["aggregates"]
    column = aggregates[0]["column"]
    windows = {aggregate["window_us"]: f"(micros - {tail(aggregate, 'micros')} - 1)" for aggregate in aggregates}
    frames = [
        f"w_{window} AS (PARTITION BY {key} ORDER BY micros RANGE BETWEEN {reach} PRECEDING AND CURRENT ROW)"
        for window, reach in windows.items()
    ]
    made = [
        f"{sql_function(aggregate)} OVER w_{aggregate['window_us']} AS {aggregate['output']}" for aggregate in aggregates
    ]
    outputs = ", ".join(aggregate["output"] for aggregate in aggregates)
    return f"""
        WITH together AS (
            SELECT {key}, epoch_us({view["event_time"]}) AS micros, {column}, NULL::BIGINT AS {ROW}
            FROM read_parquet({view["files"]})
            UNION ALL
            SELECT {key}, epoch_us({asked["spine_time"]}), NULL, {ROW} FROM read_parquet('{asked["spine"]}')
        ),
        made AS (SELECT {ROW}, {", ".join(made)} FROM together WINDOW {", ".join(frames)})
        SELECT p.*, {outputs} FROM read_parquet('{asked["spine"]}') p JOIN made USING ({ROW})
    """


QUERIES = {RANGE_JOIN: range_join, WINDOW_QUERY: window_query}


# One run


def run_query(who: str, spec: Path, out: Path | None) -> None:
    """Runs a query of DuckDB in this process and prints its figures, as the join in process does."""
    import duckdb

    asked = json.loads(spec.read_text())
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET threads = {asked['threads']}")
    query = QUERIES[who](asked)
    cpu, start = time.process_time(), time.perf_counter()
    table = connection.sql(query).to_arrow_table()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    if out:
        pq.write_table(table, out, compression="none", use_dictionary=False, write_statistics=False)
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "rows": table.num_rows, "peak_mb": peak_mb()}))


def run(who: str, options: argparse.Namespace, spec: Path, out: Path | None = None) -> Figures:
    written = ["--out", str(out)] if out else []
    if who == OURS:
        command = [str(options.program), str(spec), "--threads", str(options.threads), *written]
    else:
        command = [sys.executable, __file__, "--query", who, "--spec", str(spec), *written]
    return within(command, dict(os.environ), limits(options), None)[0]


# Equality


def compare(left: Path, right: Path) -> str | None:
    """How two results differ, rows matched by number, floats to a relative tolerance."""
    ours, theirs = pq.ParquetFile(left), pq.ParquetFile(right)
    if ours.metadata.num_rows != theirs.metadata.num_rows:
        return f"{ours.metadata.num_rows:,} rows against {theirs.metadata.num_rows:,}"
    names = ours.schema_arrow.names
    if other := set(names) ^ set(theirs.schema_arrow.names):
        return f"columns {', '.join(sorted(other))}"
    orders = row_order(ours), row_order(theirs)
    for name in names:
        if count := differing(in_order(ours, name, orders[0]), in_order(theirs, name, orders[1])):
            return f"{count:,} rows of column {name}"
    return None


def differing(left: pa.ChunkedArray, right: pa.ChunkedArray) -> int:
    right = right.cast(left.type)
    near = pc.equal(left, right)
    if pa.types.is_floating(left.type):
        largest = pc.max_element_wise(pc.abs(left), pc.abs(right))
        near = pc.less_equal(pc.abs(pc.subtract(left, right)), pc.multiply(largest, TOLERANCE))
    same = pc.or_(pc.fill_null(near, False), pc.and_(pc.is_null(left), pc.is_null(right)))
    return len(left) - int(pc.sum(same).as_py() or 0)


def check(options: argparse.Namespace, spec: Path, scratch: Path) -> dict[str, str]:
    """Why contenders are out of the race: others' results are held against ours."""
    failed: dict[str, str] = {}
    ours = scratch / f"{OURS}.parquet"
    for who in CONTENDERS:
        out = scratch / f"{who}.parquet"
        try:
            run(who, options, spec, out)
            if who != OURS and (difference := compare(ours, out)):
                failed[who] = f"differs: {difference}"
        except Failed as failure:
            failed[who] = str(failure)
        print(f"  {who}: {failed.get(who, 'equal' if who != OURS else 'made')}", flush=True)
    return failed


# The bench


def measure(options: argparse.Namespace, draw: str) -> Figures:
    made = dataset(DRAWS[draw])
    folder = options.bench_data / pit_gen.folder_name(made, options.scale)
    pit_gen.generate(folder, made, options.scale)
    spine = pit_gen.generate_spine(folder, made, Spine("spine", 1_000_000, (DRAWS[draw],)), options.scale)
    asked = question(spine, folder / "events", options.threads)
    warm([spine, *(Path(file) for file in asked["views"][0]["files"])])
    result: Figures = {"load": os.getloadavg()[0], "runs": {}}
    with tempfile.TemporaryDirectory(prefix="check-", dir=options.bench_data) as scratch:
        spec = Path(scratch) / "spec.json"
        spec.write_text(json.dumps(asked))
        print(f"{draw} keys, scale {options.scale:g}", flush=True)
        result["failed"] = check(options, spec, Path(scratch))
        for _ in range(0 if options.check_only else options.runs):
            for who in CONTENDERS:
                if who not in result["failed"]:
                    result["runs"].setdefault(who, []).append(run(who, options, spec))
    return result


def rows(results: dict[str, Figures]) -> list[list[str]]:
    """Keys, contender, and the medians; how many times as long as ours it took."""
    table = []
    for draw, result in results.items():
        for who, runs in result["runs"].items():
            wall, cpu, peak = (statistics.median(run[what] for run in runs) for what in MEASURED)
            ours = statistics.median(run["seconds"] for run in result["runs"][OURS])
            table.append([draw, CONTENDERS[who], f"{wall:.3f}", f"{cpu:.2f}", f"{peak:.0f}", f"{wall / ours:.2f}"])
    return table


def show(results: dict[str, Figures]) -> None:
    print(f"\n{'keys':8} {'':26} " + " ".join(f"{column:>9}" for column in COLUMNS))
    for draw, who, *values in rows(results):
        print(f"{draw:8} {who:26} " + " ".join(f"{value:>9}" for value in values))


def write_docs(path: Path, results: dict[str, Figures], options: argparse.Namespace) -> None:
    """Puts the table between the document's markers."""
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    versions = f"DuckDB {importlib.metadata.version('duckdb')}"
    said = [cpu.partition(":")[2].strip(), f"{options.threads} cores", versions, f"scale {options.scale:g}"]
    lines = [" · ".join([*said, f"medians of {options.runs}"]), "", "| keys | | " + " | ".join(COLUMNS) + " |"]
    lines += ["| --- | --- |" + " ---: |" * len(COLUMNS)]
    lines += ["| " + " | ".join(row) + " |" for row in rows(results)]
    begin, end = "<!-- windows: begin -->", "<!-- windows: end -->"
    head, found, rest = path.read_text().partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{path} lacks the markers {begin} and {end}")
    path.write_text("\n".join([head + begin, "", *lines, "", end + tail]))


def main() -> None:
    options = arguments()
    if options.query:
        run_query(options.query, options.spec, options.out)
        return
    if (load := os.getloadavg()[0]) > BUSY and not options.check_only:
        print(f"the machine is busy (load {load:.1f}): figures will be noisy")
    pin(options.threads)
    options.bench_data.mkdir(parents=True, exist_ok=True)
    results = {draw: measure(options, draw) for draw in options.keys}
    if not options.check_only:
        show(results)
        path = options.bench_data / RESULTS
        path.write_text(json.dumps({"scale": options.scale, "threads": options.threads, "keys": results}, indent=1))
        print(f"\nraw figures: {path}")
        if options.write_docs:
            write_docs(DOCS, results, options)
    if wrong := [f"{draw}: {who} {why}" for draw, result in results.items() for who, why in result["failed"].items()]:
        sys.exit("; ".join(wrong))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "debug" / "tidegate")
    parser.add_argument("--program", type=Path, help="the built example `pit`; else that beside the binary")
    parser.add_argument("--scale", type=float, default=0.1, help="of 1 M labels and 10 M events (0.1)")
    parser.add_argument("--keys", nargs="+", choices=list(DRAWS), default=list(DRAWS), help="how events fall on accounts")
    parser.add_argument("--runs", type=int, default=5, help="turns of which the median is taken (5)")
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))), help="cores for each (2)")
    parser.add_argument("--timeout", type=float, default=300, help="seconds one run may take (300)")
    parser.add_argument("--memory", type=float, help="GiB one run may hold; by default three quarters of the machine's")
    parser.add_argument("--bench-data", type=Path, default=BENCH_DATA, help="where files are made, and kept")
    parser.add_argument("--check-only", action="store_true", help="compare the results and measure nothing")
    parser.add_argument("--write-docs", action="store_true", help="put the results into docs/benchmarks.md")
    parser.add_argument("--query", choices=list(QUERIES), help=argparse.SUPPRESS)
    parser.add_argument("--spec", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.program = options.program or options.binary.parent / "examples" / "pit"
    if not options.query and not options.program.exists():
        parser.error(f"there is no {options.program}; `make build` makes it")
    return options


if __name__ == "__main__":
    main()
