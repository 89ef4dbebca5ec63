"""Why one row of a spine gets what it gets, as the server tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from tidegate._proto.flight.v1 import flight_pb2
from tidegate.registry import EPOCH

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Candidate:
    """An observation with the row's keys.

    `outcome` is `WON`, `EXPIRED` (it won, and is older than the ttl), or why it lost: `AFTER_ROW_TIME`, `NEVER_KNOWN`,
    `NOT_YET_KNOWN`, `CUT_BY_AS_OF`, `NO_LONGER_VALID`, `LATER_EVENT_TIME_WON`, `LATER_CREATED_TIME_WON`, `LATER_ADDRESS_WON`.
    Where features are aggregates nothing wins: an event is `COUNTED` by a window at least, or from `BEFORE_WINDOW`, and `values`
    are those of the columns that are aggregated.
    `version` is the table version that added its `file`, `row` its zero-based number there.
    """

    outcome: str
    event_time: datetime
    created_time: datetime | None
    known_at: datetime | None
    valid_to: datetime | None
    version: int
    file: str
    row: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Window:
    """What an aggregate was computed over: events `after` this time (None: from the beginning) up to the row's, so many `counted`."""

    after: datetime | None
    counted: int


@dataclass(frozen=True)
class ViewExplained:
    """What one view gives a row, and why.

    `candidates` are the winner, if there is one, and the others nearest to the row's time; `outcomes` counts all. `sources` says
    for each feature whose value the row gets: None where it gets a null for want of one, and for aggregates, which have `windows`
    and a `result` instead.
    """

    view: str
    table: str
    table_version: int
    at: datetime | None
    null_column: str | None
    status: str
    observations: int
    without_event_time: int
    outcomes: Mapping[str, int]
    candidates: list[Candidate]
    sources: Mapping[str, Candidate | None]
    windows: Mapping[str, Window] = field(default_factory=dict)
    result: Mapping[str, Any] | None = None

    @property
    def winner(self) -> Candidate | None:
        """The observation that won, also where it has expired."""
        return next((found for found in self.candidates if found.outcome in ("WON", "EXPIRED")), None)

    @property
    def values(self) -> dict[str, Any]:
        """The features as a training set would hold them."""
        if self.result is not None:
            return dict(self.result)
        return {name: None if found is None else found.values[name] for name, found in self.sources.items()}

    def to_pandas(self) -> pandas.DataFrame:
        """The candidates, one row for each, with their values."""
        import pandas

        rows = [{**vars(found), **found.values} for found in self.candidates]
        frame = pandas.DataFrame(rows, columns=[*Candidate.__dataclass_fields__, *self.sources])
        return frame.drop(columns="values")

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.items())
        found = f"{self.observations} observations with these keys" + (f": {counts}" if counts else "")
        if self.null_column is not None:
            found = f"`{self.null_column}` of the row is null, and matches nothing"
        return f"{self.view}: {self.status} at {self.at}, from version {self.table_version} of {self.table}; {found}"


def explained(message: flight_pb2.ViewExplained) -> ViewExplained:
    """A view's message as the caller sees it."""
    rows = pa.ipc.open_stream(message.values).read_all().to_pylist()
    candidates = [_candidate(found, values) for found, values in zip(message.candidates, rows, strict=True)]
    return ViewExplained(
        view=message.view,
        table=message.table,
        table_version=message.table_version,
        at=_time(message.at) if message.HasField("at") else None,
        null_column=message.null_column if message.HasField("null_column") else None,
        status=message.status,
        observations=message.observations,
        without_event_time=message.without_event_time,
        outcomes={found.outcome: found.count for found in message.outcomes},
        candidates=candidates,
        sources={
            found.output: candidates[found.candidate] if found.HasField("candidate") else None
            for found in message.features
        },
        windows={found.output: _window(found.window) for found in message.features if found.HasField("window")},
        result=pa.ipc.open_stream(message.result).read_all().to_pylist()[0] if message.result else None,
    )


def _window(message: flight_pb2.WindowSource) -> Window:
    after = _time(message.after) if message.HasField("after") else None
    return Window(after, message.counted)


def _candidate(message: flight_pb2.Candidate, values: Mapping[str, Any]) -> Candidate:
    return Candidate(
        outcome=message.outcome,
        event_time=_time(message.event_time),
        created_time=_time(message.created_time) if message.HasField("created_time") else None,
        known_at=_time(message.known_at) if message.HasField("known_at") else None,
        valid_to=_time(message.valid_to) if message.HasField("valid_to") else None,
        version=message.version,
        file=message.file,
        row=message.row,
        values=values,
    )


def _time(micros: int) -> datetime:
    """The time, or the nearest one that Python holds."""
    try:
        return EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        edge = datetime.max if micros > 0 else datetime.min
        return edge.replace(tzinfo=EPOCH.tzinfo)
