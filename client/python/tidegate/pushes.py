"""Pushes: rows that are served as soon as they are acknowledged, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from tidegate import inputs
from tidegate._proto.online.v1 import online_pb2
from tidegate._proto.push.v1 import push_pb2
from tidegate.errors import InvalidError, translated

_TO = {
    "online": push_pb2.PUSH_TO_ONLINE,
    "offline": push_pb2.PUSH_TO_OFFLINE,
    "both": push_pb2.PUSH_TO_BOTH,
}

# Bytes of one request, about: half of what a server takes unless told otherwise.
REQUEST_BYTES = 32 << 20


@dataclass(frozen=True)
class Quarantined:
    """Rows that could not be taken for one reason, and what is wrong with the first of them."""

    reason: str
    rows: int
    example: str


@dataclass(frozen=True)
class Pushed:
    """What became of pushed rows.

    `accepted` rows were taken; of these, `kept` are seen by no lookup because a newer observation is there, and `waiting` happen
    later than now and are served when they are due. `duplicates` had come before under their event id. What could not be taken is
    in the table `sources._quarantine`, with the reason. `write_token` is for the `after_write` of lookups.
    """

    accepted: int
    duplicates: int
    kept: int
    waiting: int
    quarantined: tuple[Quarantined, ...]
    write_token: str

    def __add__(self, later: Pushed) -> Pushed:
        return Pushed(
            self.accepted + later.accepted,
            self.duplicates + later.duplicates,
            self.kept + later.kept,
            self.waiting + later.waiting,
            self.quarantined + later.quarantined,
            later.write_token,
        )


@dataclass(frozen=True)
class Flushed:
    """A version of a source's table that has all that was pushed before, and how many rows came to it now."""

    source: str
    version: int
    rows: int


NOTHING = Pushed(0, 0, 0, 0, (), "")


def destination(to: str) -> push_pb2.PushTo:
    """Where rows go, as the wire says it."""
    found = _TO.get(to)
    if found is None:
        raise InvalidError(f"to={to!r} is none of {', '.join(_TO)}")
    return found


def requests(
    project: str, target: str, rows: pa.RecordBatchReader, to: str, event_ids: Any
) -> Iterator[push_pb2.PushRequest]:
    """The rows as requests that are each one atomic write."""
    table = rows.read_all().combine_chunks()
    ids = _ids(event_ids, table.num_rows)
    step = max(1, table.num_rows * REQUEST_BYTES // max(table.nbytes, 1))
    for start in range(0, max(table.num_rows, 1), step):
        part = table.slice(start, step)
        yield push_pb2.PushRequest(
            project=project,
            target=target,
            to=destination(to),
            arrow_ipc=ipc(part),
            event_ids=None if ids is None else _column(ids.slice(start, step)),
        )


def ipc(table: pa.Table) -> bytes:
    """Rows as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with translated(), pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded


def _ids(event_ids: Any, rows: int) -> pa.Array | None:
    if event_ids is None:
        return None
    try:
        ids = event_ids if isinstance(event_ids, pa.Array) else pa.array(event_ids)
    except (pa.ArrowException, OverflowError) as error:
        raise InvalidError(f"the event ids are no column of one type: {error}") from error
    if len(ids) != rows:
        raise InvalidError(f"{len(ids)} event ids were given for {rows} rows; give one for each")
    return ids


def _column(ids: pa.Array) -> online_pb2.RequestColumn:
    return online_pb2.RequestColumn(name="event_ids", arrow_ipc=ipc(pa.table({"event_ids": ids})))


def pushed(reply: push_pb2.PushResponse) -> Pushed:
    """A reply as the client's type."""
    reasons = tuple(Quarantined(bad.reason, bad.rows, bad.example) for bad in reply.reasons)
    return Pushed(reply.accepted, reply.duplicates, reply.kept, reply.waiting, reasons, reply.write_token)


def reader(data: Any, warned: set[str]) -> pa.RecordBatchReader:
    """The rows of `data`, with a zone on every time."""
    return inputs.checked(inputs.reader(data), warned)
