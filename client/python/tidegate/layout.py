"""How a table lies on disk: what reading it costs, and what was done to make that less."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate._proto.table.v1 import table_pb2


@dataclass(frozen=True)
class Compacted:
    """What a compaction did; `files_before` is 0 where nothing was to be done."""

    source: str
    version: int
    files_before: int
    files_after: int
    rows: int
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True)
class Vacuumed:
    """What a vacuum deleted, or with `dry_run` would have, and the versions that sealed training sets kept."""

    source: str
    version: int
    files: int
    bytes: int
    sealed_versions: tuple[int, ...]


@dataclass(frozen=True)
class ColumnOverlap:
    """How many files a value of a column falls into, on average; files without statistics are always read."""

    column: str
    files: float
    files_unknown: int


@dataclass(frozen=True)
class TableStats:
    """How a table lies, from its log alone. `runs` are groups of files written together."""

    source: str
    version: int
    files: int
    files_compacted: int
    runs: int
    rows: int
    bytes: int
    rows_deleted: int
    overlaps: tuple[ColumnOverlap, ...]


def compacted(reply: table_pb2.CompactResponse) -> Compacted:
    """A reply as the client's type."""
    return Compacted(
        reply.source,
        reply.version,
        reply.files_before,
        reply.files_after,
        reply.rows,
        reply.bytes_before,
        reply.bytes_after,
    )


def vacuumed(reply: table_pb2.VacuumResponse) -> Vacuumed:
    """A reply as the client's type."""
    return Vacuumed(reply.source, reply.version, reply.files, reply.bytes, tuple(reply.sealed_versions))


def stats(reply: table_pb2.StatsResponse) -> TableStats:
    """A reply as the client's type."""
    return TableStats(
        reply.source,
        reply.version,
        reply.files,
        reply.files_compacted,
        reply.runs,
        reply.rows,
        reply.bytes,
        reply.rows_deleted,
        tuple(ColumnOverlap(it.column, it.files, it.files_unknown) for it in reply.overlaps),
    )
