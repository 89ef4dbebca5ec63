"""The life of what a server keeps: receipts of erasures, backups, rebuilds, and what ended views had."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any

from tidegate._proto.lifecycle.v1 import lifecycle_pb2
from tidegate.errors import InvalidError, UnavailableError
from tidegate.registry import moment

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

Told = Callable[[str], None]


@dataclass(frozen=True)
class ErasedTable:
    """What was done to a managed table. `versions_lost` are ranges of versions that can be read no more."""

    source: str
    version: int
    rows: int
    files_rewritten: int
    files_deleted: int
    commits_scrubbed: int
    versions_lost: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Receipt:
    """What an erasure removed where. `digest` is of the entity's key, which is nowhere in it."""

    id: str
    project: str
    entity: str
    digest: str
    erased_at: datetime
    """Nothing of the entity with an earlier event time is taken any more."""
    principal: str
    views: dict[str, int]
    """Rows deleted online, by view; the empty name is of views that have no definition any more."""
    tables: tuple[ErasedTable, ...]
    refreshed: tuple[str, ...]
    """Views of other entities that were computed anew, because rows of their tables went."""
    spines: int
    sealed: dict[str, str]
    """Sealed training sets that no longer verify, and why."""
    left: tuple[str, ...]
    """What may still hold the entity and is not the server's to erase, in words."""


@dataclass(frozen=True)
class Backup:
    """A backup: its folder on the server, and how far views and tables in it are."""

    path: str
    files: int
    bytes: int
    views: dict[str, int]
    """Versions materialized, by `project/view`."""
    tables: dict[str, int]
    """Newest versions, by `project/source`."""
    outside: tuple[str, ...]
    """Tables that are read from elsewhere, and are not in it."""


@dataclass(frozen=True)
class Rebuilt:
    """A view that was rebuilt from its table."""

    project: str
    view: str
    version: int
    rows_read: int
    rows_written: int


@dataclass(frozen=True)
class Dropped:
    """What a dropped view had online; `version` is that of the definitions without it, None where they had none."""

    version: int | None
    rows: int
    bytes: int


@dataclass(frozen=True)
class Retained:
    """What was deleted of a view that retains its rows for a limited time: those with event times before `cut`."""

    view: str
    cut: datetime
    rows: int
    bytes: int


def keys(given: Mapping[str, Any]) -> list[lifecycle_pb2.Key]:
    """An entity's keys as the wire carries them."""
    return [_key(name, value) for name, value in given.items()]


def _key(name: str, value: Any) -> lifecycle_pb2.Key:
    if isinstance(value, bool):
        return lifecycle_pb2.Key(name=name, bool_value=value)
    if isinstance(value, int):
        return lifecycle_pb2.Key(name=name, int64_value=value)
    if isinstance(value, str):
        return lifecycle_pb2.Key(name=name, string_value=value)
    if isinstance(value, bytes):
        return lifecycle_pb2.Key(name=name, bytes_value=value)
    if isinstance(value, datetime):
        zoned = value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
        return lifecycle_pb2.Key(name=name, int64_value=(zoned - _EPOCH) // timedelta(microseconds=1))
    if isinstance(value, date):
        return lifecycle_pb2.Key(name=name, int64_value=(value - _EPOCH.date()).days)
    raise InvalidError(f"key {name}={value!r} is a {type(value).__name__}; a key is one value, not a list or a float")


def receipt(message: lifecycle_pb2.Receipt) -> Receipt:
    """A receipt as the client's type."""
    return Receipt(
        message.id,
        message.project,
        message.entity,
        message.digest,
        moment(message.erased_at),
        message.principal,
        {view.view: view.rows for view in message.views},
        tuple(_erased_table(table) for table in message.tables),
        tuple(message.refreshed),
        message.spines,
        {loss.name: loss.why for loss in message.sealed},
        tuple(message.left),
    )


def _erased_table(message: lifecycle_pb2.ErasedTable) -> ErasedTable:
    return ErasedTable(
        message.source,
        message.version,
        message.rows,
        message.files_rewritten,
        message.files_deleted,
        message.commits_scrubbed,
        tuple((versions.first, versions.last) for versions in message.versions_lost),
    )


def erased(steps: Iterable[lifecycle_pb2.EraseProgress], progress: Told | None) -> Receipt:
    """Reads reports to the receipt."""
    found = None
    for step in steps:
        if step.HasField("receipt"):
            found = receipt(step.receipt)
        elif progress is not None:
            progress(step.step)
    if found is None:
        raise UnavailableError("the server ended the call without a receipt; look at client.erasures(), and erase again")
    return found


def backed_up(steps: Iterable[lifecycle_pb2.BackupProgress], progress: Told | None) -> Backup:
    """Reads reports to the one that says where the backup is."""
    found = None
    for step in steps:
        if step.done:
            views = {f"{view.project}/{view.view}": view.version for view in step.views}
            tables = {f"{table.project}/{table.source}": table.version for table in step.tables}
            found = Backup(step.path, step.files, step.bytes, views, tables, tuple(step.outside))
        elif progress is not None:
            progress(f"{step.files:,} files, {step.bytes:,} bytes")
    if found is None:
        raise UnavailableError("the server ended the call before the backup was whole; repeat it")
    return found


def rebuilt(steps: Iterable[lifecycle_pb2.RebuildProgress], progress: Told | None) -> list[Rebuilt]:
    """Reads reports to their end; one result for each view."""
    done = []
    for step in steps:
        if progress is not None:
            said = step.failed or f"{step.rows_read:,} rows read"
            progress(f"{step.nth}/{step.views} {step.project}/{step.view}: {said}")
        if step.done:
            done.append(Rebuilt(step.project, step.view, step.version, step.rows_read, step.rows_written))
    return done


def dropped(reply: lifecycle_pb2.DropViewResponse) -> Dropped:
    """A reply as the client's type."""
    return Dropped(reply.version if reply.HasField("version") else None, reply.rows, reply.bytes)


def retained(reply: lifecycle_pb2.RetainResponse) -> list[Retained]:
    """A reply as the client's type."""
    return [Retained(view.view, moment(view.cut), view.rows, view.bytes) for view in reply.views]
