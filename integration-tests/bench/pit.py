"""Times the three-view training set of pit_gen.py's files: ours beside DuckDB's ASOF JOIN and Polars' join_asof.

    python integration-tests/bench/pit.py --binary target/debug/tidegate [--scale 0.1] [--spine 1000000] [--runs 5]

Every contender gets the same files and ends with the whole result as Arrow in memory. First all results are compared row by
row; a difference ends the run. Then they take turns, a process of its own each time, and the medians are printed: wall and CPU
seconds and peak memory, for Tidegate those of server and client together. The server starts once and is warm, as servers are;
the files are in the page cache for all. Raw figures go to pit-results.json in the data folder.

Neither peer applies a ttl, breaks ties or knows when a row was created, so the views here have no ttl and `availability: event`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pit_gen
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

KEYS = {
    "customer_stats": ["customer_id"],
    "merchant_stats": ["merchant_id"],
    "pair_stats": ["customer_id", "merchant_id"],
}
PROJECT = "pit"
ROOT = Path(__file__).resolve().parent.parent.parent


# Contenders: each gives the whole result as an Arrow table.


def files(data: Path, view: str) -> list[str]:
    return [path.removeprefix("file://") for path in DeltaTable(str(data / view)).file_uris()]


def duckdb(data: Path, views: list[str], spine: Path) -> pa.Table:
    import duckdb

    select, joins = ["s.*"], ""
    for view in views:
        hidden = ", ".join([*KEYS[view], "event_timestamp", "created_timestamp"])
        same = " AND ".join(f"s.{key} = {view}.{key}" for key in KEYS[view])
        select.append(f"{view}.* EXCLUDE ({hidden})")
        joins += f" ASOF LEFT JOIN read_parquet({files(data, view)}) {view}"
        joins += f" ON {same} AND s.event_timestamp >= {view}.event_timestamp"
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection.sql(f"SELECT {', '.join(select)} FROM read_parquet('{spine}') s{joins}").to_arrow_table()


def polars(data: Path, views: list[str], spine: Path) -> pa.Table:
    import polars as pl

    frame = pl.scan_parquet(spine).sort("event_timestamp")
    for view in views:
        history = pl.scan_parquet(files(data, view)).drop("created_timestamp").sort("event_timestamp")
        frame = frame.join_asof(
            history, on="event_timestamp", by=KEYS[view], strategy="backward", check_sortedness=False
        )
    return frame.collect().to_arrow()


def tidegate(data: Path, views: list[str], spine: Path) -> pa.Table:
    import tidegate

    with tidegate.Client(os.environ["TIDEGATE_ADDRESS"], PROJECT) as client:
        return client.get_historical_features(spine, views).to_arrow()


CONTENDERS = {"tidegate": tidegate, "duckdb": duckdb, "polars": polars}


def work(who: str, data: Path, views: list[str], spine: Path, out: Path | None) -> None:
    """One run, in this process; prints its figures as JSON."""
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    table = CONTENDERS[who](data, views, spine)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    if out:
        pq.write_table(table.sort_by("row"), out)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    figures = {"rows": table.num_rows, "seconds": seconds, "cpu": cpu, "mb": after.ru_maxrss / 1024}
    print(json.dumps(figures))


# The parent


def main() -> None:
    options = arguments()
    data = options.data or ROOT / "bench-data" / f"pit-{options.scale:g}-{options.spine}"
    if options.worker:
        work(options.worker, data, options.views, options.spine_file, options.out)
        return
    if not (data / "spine.parquet").exists():
        print(f"writing the workload into {data}", flush=True)
        pit_gen.generate(data, options.scale, options.spine)
    spine = data / "spine.parquet"
    warm(data, options.views)
    with Server(options.binary, data) as server:
        define(server.address, data)
        contenders = [who for who in CONTENDERS if who not in options.without]
        check(contenders, data, options.views, spine, server)
        results = take_turns(contenders, data, options, spine, server)
    show(results, options)
    (data / "pit-results.json").write_text(json.dumps(results, indent=1))
    print(f"\nraw figures: {data / 'pit-results.json'}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "debug" / "tidegate")
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--spine", type=int, default=1_000_000, help="rows to label")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--data", type=Path, help="a folder of pit_gen.py; by default one under bench-data/, made if missing"
    )
    parser.add_argument("--views", type=lambda text: text.split(","), default=list(KEYS))
    parser.add_argument("--without", type=lambda text: text.split(","), default=[], help="contenders to leave out")
    parser.add_argument(
        "--in-process",
        type=Path,
        help="also time the join without a server: the built example target/debug/examples/pit",
    )
    parser.add_argument("--worker", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--spine-file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


class Server:
    """A warm server that may read the workload's folder, with its own share of each run's figures."""

    def __init__(self, binary: Path, data: Path) -> None:
        import tempfile

        from tidegate.local import LocalServer

        self._folder = tempfile.TemporaryDirectory(prefix="tidegate-bench-")
        config = Path(self._folder.name) / "tidegate.toml"
        config.write_text(f"[tables]\nroots = [{json.dumps(str(data.resolve()))}]\n")
        self._server = LocalServer(binary, Path(self._folder.name) / "data", ("--config", str(config)))
        self.address = self._server.address

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stop()
        self._folder.cleanup()

    def reset_peak(self) -> None:
        Path(f"/proc/{self._server.pid}/clear_refs").write_text("5")

    def peak_mb(self) -> float:
        status = Path(f"/proc/{self._server.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self._server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def define(address: str, data: Path) -> None:
    """The views over the tables as they are; feature types are those of the files."""
    import tidegate
    from tidegate import Entity, Feature, FeatureView, Source

    names = {pa.float64(): "float64", pa.int64(): "int64", pa.bool_(): "bool", pa.string(): "string"}
    definitions: list[Any] = [
        Entity("customer", {"customer_id": "int64"}),
        Entity("merchant", {"merchant_id": "int64"}),
    ]
    for view, keys in KEYS.items():
        schema = pq.read_schema(files(data, view)[0])
        of = {field.name: pa.string() if pa.types.is_large_string(field.type) else field.type for field in schema}
        features = [Feature(name, names[of[name]]) for name in of if name[4:6] == "_f"]
        source = Source(f"{view}_rows", event_time="event_timestamp", table={"delta": str((data / view).resolve())})
        entities = [key.removesuffix("_id") for key in keys]
        definitions += [
            source,
            FeatureView(view, entities, source, features, availability="event", online=False),
        ]
    with tidegate.Client(address, PROJECT) as client:
        client.apply(definitions)


def warm(data: Path, views: list[str]) -> None:
    """Reads all files once, so that nobody pays for the disk."""
    for path in [*(Path(file) for view in views for file in files(data, view)), data / "spine.parquet"]:
        path.read_bytes()


def run(
    who: str, data: Path, options_views: list[str], spine: Path, server: Server, out: Path | None = None
) -> dict[str, float]:
    command = [sys.executable, __file__, "--worker", who, "--data", str(data), "--spine-file", str(spine)]
    command += ["--views", ",".join(options_views), *(["--out", str(out)] if out else [])]
    server.reset_peak()
    cpu = server.cpu_seconds()
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "TIDEGATE_ADDRESS": server.address}
    )
    if done.returncode:
        sys.exit(f"{who} failed:\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if who == "tidegate":
        figures["cpu"] += server.cpu_seconds() - cpu
        figures["server_mb"] = server.peak_mb()
        figures["mb"] += figures["server_mb"]
    return figures


def run_in_process(program: Path, data: Path, views: list[str]) -> dict[str, float]:
    """server/offline's example `pit`, which ends with `tidegate S s, N rows, … peak M MB`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    short = ",".join(view.removesuffix("_stats") for view in views)
    done = subprocess.run([program, data, "--views", short], capture_output=True, text=True)
    found = re.search(r"tidegate ([\d.]+) s, (\d+) rows.* peak (\d+) MB", done.stdout)
    if done.returncode or found is None:
        sys.exit(f"{program} failed:\n{done.stdout}{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"rows": float(found[2]), "seconds": float(found[1]), "cpu": cpu, "mb": float(found[3])}


def check(contenders: list[str], data: Path, views: list[str], spine: Path, server: Server) -> None:
    """Every contender's result against the first one's, column by column; memory holds two columns at a time."""
    outs = {who: data / f"result-{who}.parquet" for who in contenders}
    for who, out in outs.items():
        run(who, data, views, spine, server, out)
    first, *others = contenders
    ours = pq.ParquetFile(outs[first])
    for who in others:
        theirs = pq.ParquetFile(outs[who])
        if ours.metadata.num_rows != theirs.metadata.num_rows:
            sys.exit(f"{first} has {ours.metadata.num_rows} rows, {who} {theirs.metadata.num_rows}")
        for name in ours.schema_arrow.names:
            left, right = ours.read([name]).column(0), theirs.read([name]).column(0)
            if count := differing(left, right):
                sys.exit(f"{first} and {who} differ in {count:,} rows of column {name}")
    print(
        f"equal on {ours.metadata.num_rows:,} rows × {ours.metadata.num_columns} columns: {', '.join(contenders)}",
        flush=True,
    )
    for out in outs.values():
        out.unlink()


def differing(left: pa.ChunkedArray, right: pa.ChunkedArray) -> int:
    right = right.cast(left.type)
    same = pc.or_(pc.fill_null(pc.equal(left, right), False), pc.and_(pc.is_null(left), pc.is_null(right)))
    return len(left) - int(pc.sum(same).as_py() or 0)


def take_turns(
    contenders: list[str], data: Path, options: argparse.Namespace, spine: Path, server: Server
) -> dict[str, list[dict[str, float]]]:
    results: dict[str, list[dict[str, float]]] = {who: [] for who in contenders}
    for turn in range(options.runs):
        for who in contenders:
            results[who].append(run(who, data, options.views, spine, server))
        if options.in_process:
            figures = run_in_process(options.in_process, data, options.views)
            results.setdefault("in process", []).append(figures)
        print(f"run {turn + 1} of {options.runs} done", file=sys.stderr)
    return results


def show(results: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    def median(who: str, what: str) -> float:
        return statistics.median(figures.get(what, float("nan")) for figures in results[who])

    print(
        f"\nscale {options.scale:g}, {options.spine:,} labels, views {', '.join(options.views)}; medians of {options.runs}\n"
    )
    print(f"{'':12} {'wall s':>8} {'CPU s':>8} {'peak MB':>9} {'wall, ours = 1':>15}")
    base = median("tidegate", "seconds") if "tidegate" in results else float("nan")
    for who in results:
        seconds = median(who, "seconds")
        print(f"{who:12} {seconds:8.2f} {median(who, 'cpu'):8.2f} {median(who, 'mb'):9.0f} {seconds / base:15.2f}")
    if "tidegate" in results:
        print(f"\nof tidegate's peak, the server's: {median('tidegate', 'server_mb'):.0f} MB")


if __name__ == "__main__":
    main()
