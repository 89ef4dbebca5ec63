"""Who takes part in the point-in-time benchmark, and one run of one of them in a process of its own.

    python integration-tests/bench/contenders.py duckdb SPEC.json [--out FILE.parquet]

A spec is one question, the same file for all; `spec` makes it. What is prepared once and then used many times is not timed:
importing, connecting, knowing the list of files. What is timed begins with the first byte read and ends with the whole
result as Arrow in memory. Figures are printed as one line of JSON, as Tidegate's own program does
(server/offline/examples/pit.rs, which reads the same spec).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from shapes import EVENT_TIME, Shape

Spec = dict[str, Any]
Read = Callable[[], pa.Table]

# The name of the feature service that is a shape's question.
SERVICE = "training"
IN_PROCESS, FLIGHT, DUCKDB, POLARS = "in-process", "flight", "duckdb", "polars"
# In the order of the printed table. The first is what the others are compared with.
CONTENDERS = {
    IN_PROCESS: "Tidegate, in process",
    FLIGHT: "Tidegate, Flight to Python",
    DUCKDB: "DuckDB `ASOF JOIN`",
    POLARS: "Polars `join_asof`",
}
PEERS = (DUCKDB, POLARS)


# The question


def spec(shape: Shape, folders: dict[str, Path], spine: Path, threads: int, memory_bytes: int) -> Spec:
    """The shape's question as data; `folders` are those of the tables."""
    tables = {table.name: table for table in shape.dataset.tables}
    files = {name: files_of(folders[name]) for name in {view.table for view in shape.views}}
    views = []
    for view in shape.views:
        table = tables[view.table]
        keys = {view.spine_columns.get(key.column, key.column): key.column for key in table.keys}
        features = list(view.features or table.feature_names)
        views.append(
            {
                "name": view.name,
                "table": str(folders[view.table]),
                "files": files[view.table],
                "keys": keys,
                "event_time": EVENT_TIME,
                "features": features,
                "ttl_us": shape.ttl_us,
            }
        )
    return {
        "project": project(shape),
        "spine": str(spine),
        "spine_time": EVENT_TIME,
        "sorted_inputs": shape.sorted_inputs,
        "full_names": shape.full_names,
        "threads": threads,
        "memory_bytes": memory_bytes,
        "views": views,
    }


def project(shape: Shape) -> str:
    """The shape's project: a letter first, no dashes."""
    return "compacted" if shape.layout == "compacted" else shape.name.replace("-", "_").lower()


def files_of(table: Path) -> list[str]:
    """The table's data files in the order of event time, as far as the log knows it."""
    delta = DeltaTable(str(table))
    adds = pa.table(delta.get_add_actions(flatten=True))
    paths = adds.column("path").to_pylist()
    first = f"min.{EVENT_TIME}"
    times = adds.column(first).cast(pa.int64()).to_pylist() if first in adds.column_names else [0] * len(paths)
    return [str(table / path) for _, path in sorted(zip(times, paths, strict=True))]


def output(question: Spec, view: dict[str, Any], feature: str) -> str:
    """The name of a feature's column in the result."""
    return f"{view['name']}__{feature}" if question["full_names"] else feature


# Contenders: each prepares what is done once, and returns what is timed.


def duckdb(question: Spec) -> Read:
    import duckdb

    select, joins = ["s.*"], ""
    for view in question["views"]:
        name, time_column = view["name"], f"{view['name']}.{view['event_time']}"
        for feature in view["features"]:
            value = f"{name}.{feature}"
            if view["ttl_us"] is not None:
                age = f"epoch_us(s.{question['spine_time']}) - epoch_us({time_column})"
                value = f"CASE WHEN {age} <= {view['ttl_us']} THEN {value} END"
            select.append(f"{value} AS {output(question, view, feature)}")
        same = " AND ".join(f"s.{ours} = {name}.{theirs}" for ours, theirs in view["keys"].items())
        joins += f" ASOF LEFT JOIN read_parquet({view['files']}) {name}"
        joins += f" ON {same} AND s.{question['spine_time']} >= {time_column}"
    query = f"SELECT {', '.join(select)} FROM read_parquet('{question['spine']}') s{joins}"
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET threads = {question['threads']}")
    return lambda: connection.sql(query).to_arrow_table()


def polars(question: Spec) -> Read:
    """POLARS_MAX_THREADS must be set before the process starts."""
    from datetime import timedelta

    import polars as pl

    def by_time(frame: pl.LazyFrame, column: str) -> pl.LazyFrame:
        return frame if question["sorted_inputs"] else frame.sort(column)

    def read() -> pa.Table:
        frame = by_time(pl.scan_parquet(question["spine"]), question["spine_time"])
        for view in question["views"]:
            columns = [pl.col(theirs).alias(ours) for ours, theirs in view["keys"].items()]
            columns.append(pl.col(view["event_time"]).alias(question["spine_time"]))
            columns += [pl.col(feature).alias(output(question, view, feature)) for feature in view["features"]]
            history = by_time(pl.scan_parquet(view["files"]).select(columns), question["spine_time"])
            frame = frame.join_asof(
                history,
                on=question["spine_time"],
                by=list(view["keys"]),
                strategy="backward",
                tolerance=None if view["ttl_us"] is None else timedelta(microseconds=view["ttl_us"]),
                check_sortedness=False,
            )
        return frame.collect().to_arrow()

    return read


def flight(question: Spec) -> Read:
    """TIDEGATE_ADDRESS names the server, which has the shape's project."""
    import tidegate

    client = tidegate.Client(os.environ["TIDEGATE_ADDRESS"], question["project"])
    # Opens the connection.
    client.projects()
    return lambda: client.get_historical_features(Path(question["spine"]), service=SERVICE).to_arrow()


PREPARE = {FLIGHT: flight, DUCKDB: duckdb, POLARS: polars}


# One run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("who", choices=list(PREPARE))
    parser.add_argument("spec", type=Path)
    parser.add_argument("--out", type=Path, help="also write the result here, after the clock has stopped")
    asked = parser.parse_args()
    read = PREPARE[asked.who](json.loads(asked.spec.read_text()))
    cpu, start = time.process_time(), time.perf_counter()
    table = read()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    figures = {"seconds": seconds, "cpu_seconds": cpu, "rows": table.num_rows, "peak_mb": peak_mb()}
    if asked.out:
        pq.write_table(table, asked.out, compression="none", use_dictionary=False, write_statistics=False)
    print(json.dumps(figures))


def peak_mb(pid: int | str = "self") -> float:
    """The process's largest resident size so far. `ru_maxrss` would count the parent's, before this program began."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
