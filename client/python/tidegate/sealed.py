"""Training sets that can be made again: how rows are chosen, what a seal says, and what comparing one brings out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any, TypeAlias

from tidegate._proto.flight.v1 import flight_pb2
from tidegate._proto.sealed.v1 import sealed_pb2
from tidegate.errors import InvalidError, UnavailableError
from tidegate.registry import EPOCH, moment
from tidegate.results import LazyTable

Time: TypeAlias = datetime | date | str | int
Span: TypeAlias = timedelta | str

_UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
    "us": timedelta(microseconds=1),
}
_PART = re.compile(r"(\d+)(ms|us|[wdhms])")
_SPAN = re.compile(rf"(?:{_PART.pattern})+")


@dataclass(frozen=True)
class Split:
    """Labels rows by time in a column `split`: `train` and `test` around one cut, `train`, `validation` and `test` around two.

    Rows within `embargo` before a cut are left out. Cuts are times, ISO text or UTC microseconds.

        Split(at=["2013-09-01", "2013-11-01"], embargo="1d")
    """

    at: Sequence[Time]
    embargo: Span = timedelta(0)

    def message(self) -> flight_pb2.Split:
        """The split as the wire carries it."""
        return flight_pb2.Split(at=[micros(cut, "at") for cut in self.at], embargo=span_micros(self.embargo, "embargo"))


@dataclass(frozen=True)
class Sample:
    """Keeps a fraction of the rows that have a value in `column`, and all others; adds `sample_weight`, one over the fraction.

    Which rows stay is decided by a hash of each row's content and `seed`: not by their order.

        Sample("late", keep={False: 0.1}, seed=7)
    """

    column: str
    keep: Mapping[Any, float]
    seed: int = 0

    def message(self) -> flight_pb2.Sample:
        """The sample as the wire carries it."""
        keep = [
            flight_pb2.Sample.Fraction(value=_text(value), fraction=fraction) for value, fraction in self.keep.items()
        ]
        return flight_pb2.Sample(column=self.column, keep=keep, seed=self.seed)


@dataclass(frozen=True)
class SealedSet:
    """A sealed training set: what it was made of, and the digests of what came out."""

    name: str
    sealed_at: datetime
    principal: str
    engine: str
    definitions_version: int
    definitions_digest: str
    service: str | None
    features: list[str]
    tables: dict[str, int]
    spine_rows: int
    spine_digest: str
    rows: int
    digest: str
    columns: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class Difference:
    """One thing about a set that is not as it was: `what` is `rows`, `column missing`, `column added`, `type` or `values`."""

    what: str
    column: str
    sealed: str
    found: str


@dataclass(frozen=True)
class Verdict:
    """Whether a sealed set, made again, is what it was. It is true when it is the same, bit for bit."""

    name: str
    same: bool
    rows: int
    digest: str
    differences: list[Difference]
    engine: str

    def __bool__(self) -> bool:
        return self.same


class Diff(LazyTable):
    """The values of a sealed set that are others now, one row for each.

    `row` is the place in the set, `spine` its keys and time, then `feature`, `before`, `after` (as text), the `reason` (`late
    arrival`, `correction`, `new observation`, `removed`), both event times, and the source's table versions.
    """


class Audit(LazyTable):
    """What a training set would leak without knowledge times, one row for each feature.

    `leaked` counts the rows that a join on event time alone would give another value, `near` the values from within the margin
    before their row's time; `knowledge_known` says whether it is recorded when values became known.
    """

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The counts by feature."""
        return {row.pop("feature"): row for row in self.to_arrow().to_pylist()}


def sealed_set(message: sealed_pb2.SealedSet) -> SealedSet:
    """A sealed set as the wire carries it."""
    asked = message.training_set
    return SealedSet(
        message.name,
        moment(message.created_at),
        message.principal,
        message.engine,
        message.definitions_version,
        message.definitions_digest,
        asked.feature_service if asked.HasField("feature_service") else None,
        list(asked.features.references),
        {table.source: table.version for table in message.tables},
        message.spine.rows,
        message.spine.digest,
        message.rows,
        message.digest,
        {column.name: column.digest for column in message.columns},
    )


def verdict(name: str, message: sealed_pb2.Verdict) -> Verdict:
    """A verdict as the wire carries it."""
    differences = [Difference(of.what, of.column, of.sealed, of.found) for of in message.differences]
    return Verdict(name, message.same, message.rows, message.digest, differences, message.engine)


def last(steps: Iterable[Any], outcome: str, progress: Callable[[int], None] | None) -> Any:
    """Reads reports to their end, telling of rows; the outcome is a field of the last one."""
    found = None
    for step in steps:
        if step.HasField(outcome):
            found = getattr(step, outcome)
        if progress is not None:
            progress(step.rows)
    if found is None:
        raise UnavailableError("the server ended the call without an outcome; look at client.sealed(), and repeat it")
    return found


def micros(time: Time, name: str) -> int:
    """UTC microseconds; a naive time is read as UTC."""
    if isinstance(time, int):
        return time
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time.replace("Z", "+00:00"))
        except ValueError as error:
            raise InvalidError(f"{name}={time!r} is not a time; write it as 2013-03-01T00:00:00Z") from error
    if not isinstance(time, datetime):
        time = datetime(time.year, time.month, time.day)
    zoned = time if time.tzinfo is not None else time.replace(tzinfo=timezone.utc)
    return (zoned - EPOCH) // timedelta(microseconds=1)


def span_micros(span: Span, name: str) -> int:
    """A length of time in microseconds.

    >>> span_micros("1d12h", "embargo") // 3_600_000_000
    36
    """
    if isinstance(span, str):
        if not _SPAN.fullmatch(span):
            raise InvalidError(f"{name}={span!r} is not a length of time; write it as 90s, 15m, 6h, 7d or 1d12h")
        span = sum((int(count) * _UNITS[unit] for count, unit in _PART.findall(span)), timedelta(0))
    if span < timedelta(0):
        raise InvalidError(f"{name}={span!r} is negative; a length of time can't be")
    return span // timedelta(microseconds=1)


def _text(value: Any) -> str:
    """A value as the server reads it for its column's type."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return str(value)
