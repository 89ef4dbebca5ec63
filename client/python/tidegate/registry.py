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

    def __str__(self) -> str:
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

    @property
    def current(self) -> bool:
        """Whether every row of the table is reflected online."""
        return self.cursor == self.table_version and not self.in_progress


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
    return ViewStatus(message.view, message.cursor, message.table_version, at, message.epoch, message.in_progress)


def moment(micros: int) -> datetime:
    """UTC microseconds as a time."""
    return EPOCH + timedelta(microseconds=micros)
