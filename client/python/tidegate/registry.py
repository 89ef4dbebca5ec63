"""What the registry answers: plans, changes, versions and descriptions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from tidegate._proto.materialize.v1 import materialize_pb2
from tidegate._proto.registry.v1 import registry_pb2

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_ACTIONS = {
    registry_pb2.Change.ACTION_CREATE: "create",
    registry_pb2.Change.ACTION_UPDATE: "update",
    registry_pb2.Change.ACTION_DELETE: "delete",
}
_PHASES = {
    materialize_pb2.MaterializeProgress.PHASE_QUEUED: "queued",
    materialize_pb2.MaterializeProgress.PHASE_RETRYING: "retrying",
    materialize_pb2.MaterializeProgress.PHASE_DONE: "done",
}
_OBJECTIVES = {materialize_pb2.ViewStatus.OBJECTIVE_MET: True, materialize_pb2.ViewStatus.OBJECTIVE_MISSED: False}
_SIGNS = {"create": "+", "update": "~", "delete": "-"}


@dataclass(frozen=True)
class Change:
    """What applying does to one definition; `breaking` says why readers of what exists would break."""

    action: str
    kind: str
    name: str
    details: list[str]
    breaking: list[str]
    dependents: list[str]

    def __str__(self) -> str:
        lines = [f"{_SIGNS.get(self.action, '?')} {self.kind} {self.name}"]
        lines += [f"    {detail}" for detail in self.details]
        lines += [f"    breaking: {reason}" for reason in self.breaking]
        if self.breaking and self.dependents:
            lines.append(f"    used by: {', '.join(self.dependents)}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Plan:
    """What applying some definitions would do. `Client.apply(plan)` does exactly that, or says that it no longer can."""

    project: str
    base_version: int
    changes: list[Change]
    target_digest: str
    prune: bool
    files: list[registry_pb2.DefinitionFile] = field(repr=False)
    warnings: list[str] = field(default_factory=list)

    @property
    def breaking(self) -> bool:
        """Whether readers of what exists would break."""
        return any(change.breaking for change in self.changes)

    def __str__(self) -> str:
        lines = [*map(str, self.changes), *(f"warning: {warning}" for warning in self.warnings)]
        return "\n".join(lines) or "no changes"


@dataclass(frozen=True)
class Applied:
    """The registry version that now holds, and what it changed."""

    project: str
    version: int
    changes: list[Change]


@dataclass(frozen=True)
class Described:
    """One definition, as text, with what depends on it and what is known beside it."""

    kind: str
    name: str
    yaml: str
    description: str
    owner: str
    dependents: list[str]
    facts: dict[str, str]


@dataclass(frozen=True)
class Version:
    """One version of a project's definitions."""

    version: int
    created_at: datetime
    principal: str
    cause: str
    changes: list[str]


@dataclass(frozen=True)
class Ingested:
    """Where ingested rows are. With `already_ingested`, an earlier call with the same batch id had written them."""

    source: str
    version: int
    rows: int
    already_ingested: bool
    batch_id: str
    ignored_columns: list[str]


@dataclass(frozen=True)
class Progress:
    """How far one view's materialization has come. `rows_total` is an estimate, and 0 where unknown."""

    view: str
    done: bool
    from_version: int
    to_version: int
    rows_read: int
    rows_total: int
    rows_written: int
    rows_skipped: int
    full: bool
    write_token: str = ""
    """In a final report: what `after_write` of a lookup takes, to see everything written so far."""
    phase: str = "running"
    """queued, running, retrying or done."""
    job: int = 0
    started: bool = False
    """Whether this call started the job, and did not join one."""
    rows_corrected: int = 0
    """Rows of keys that were put right because rows were removed from the table or changed in it."""
    bytes_read: int = 0
    bytes_total: int = 0
    problem: str = ""
    """While the job waits for another attempt: what failed."""

    def __str__(self) -> str:
        if self.phase == "queued":
            return f"{self.view}: job {self.job} waits"
        if self.phase == "retrying":
            return f"{self.view}: job {self.job} is tried again: {self.problem}"
        of = f" of {self.rows_total:,}" if self.rows_total and not self.done else ""
        skipped = f", {self.rows_skipped:,} skipped" if self.rows_skipped else ""
        return f"{self.view}: {self.rows_read:,}{of} rows read, {self.rows_written:,} written{skipped}"


@dataclass(frozen=True)
class ViewStatus:
    """How far an online view is materialized; versions are the table's, and -1 where there is none."""

    view: str
    cursor: int
    table_version: int
    materialized_at: datetime | None
    epoch: int
    in_progress: bool
    versions_behind: int = -1
    """Versions of the table that changed rows and are not served yet; -1 where the table has no history."""
    behind: timedelta | None = None
    """How long the oldest of them has been there; None where that is not known."""
    freshness: timedelta | None = None
    """How far behind the view may be, where its definition says."""
    fresh: bool | None = None
    """Whether it is within that."""
    schedule: str = ""
    """When it is materialized by itself; empty when never."""
    job: int = 0
    """The job that waits or runs; 0 when there is none."""

    @property
    def current(self) -> bool:
        """Whether every row of the table is reflected online."""
        if self.in_progress or self.cursor < 0:
            return False
        return self.versions_behind == 0 if self.versions_behind >= 0 else self.cursor == self.table_version


@dataclass(frozen=True)
class ViewParity:
    """How one view compares with version `version` of its table, in keys. `ahead` are those with a push that the table lacks."""

    view: str
    version: int
    equal: int
    different: int
    missing: int
    extra: int
    ahead: int
    examples: list[tuple[str, str]]
    """Some of the differences: a key, and what is wrong with it."""

    @property
    def holds(self) -> bool:
        """Whether every key that no push is ahead of is as in the table."""
        return self.different + self.missing + self.extra == 0


def changes(messages: Iterable[registry_pb2.Change]) -> list[Change]:
    """Changes as the wire carries them."""
    return [
        Change(
            _ACTIONS.get(change.action, "unknown"),
            change.kind,
            change.name,
            list(change.details),
            list(change.breaking),
            list(change.dependents),
        )
        for change in messages
    ]


def described(message: registry_pb2.Definition) -> Described:
    """A definition as the wire carries it."""
    facts = {fact.name: fact.value for fact in message.facts}
    return Described(
        message.kind, message.name, message.yaml, message.description, message.owner, list(message.dependents), facts
    )


def version(message: registry_pb2.Version) -> Version:
    """A version as the wire carries it."""
    return Version(message.version, moment(message.created_at), message.principal, message.cause, list(message.changes))


def progress(message: materialize_pb2.MaterializeProgress) -> Progress:
    """A progress report as the wire carries it."""
    return Progress(
        message.view,
        message.phase == materialize_pb2.MaterializeProgress.PHASE_DONE,
        message.from_version,
        message.to_version,
        message.rows_read,
        message.rows_total,
        message.rows_written,
        message.rows_skipped,
        message.full,
        message.write_token,
        _PHASES.get(message.phase, "running"),
        message.job,
        message.started,
        message.rows_corrected,
        message.bytes_read,
        message.bytes_total,
        message.problem,
    )


def view_parity(message: materialize_pb2.ViewParity) -> ViewParity:
    """A view's parity as the wire carries it."""
    return ViewParity(
        message.view,
        message.version,
        message.equal,
        message.different,
        message.missing,
        message.extra,
        message.ahead,
        [(example.key, example.what) for example in message.examples],
    )


def view_status(message: materialize_pb2.ViewStatus) -> ViewStatus:
    """A view's status as the wire carries it."""
    at = moment(message.materialized_at) if message.materialized_at else None
    return ViewStatus(
        message.view,
        message.cursor,
        message.table_version,
        at,
        message.epoch,
        message.in_progress,
        message.versions_behind,
        timedelta(microseconds=message.behind) if message.behind >= 0 else None,
        timedelta(microseconds=message.freshness) if message.freshness else None,
        _OBJECTIVES.get(message.objective),
        message.schedule,
        message.job,
    )


def moment(micros: int) -> datetime:
    """UTC microseconds as a time."""
    return EPOCH + timedelta(microseconds=micros)
