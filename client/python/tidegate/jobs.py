"""Jobs: what brings online views up to date, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tidegate._proto.jobs.v1 import jobs_pb2
from tidegate.registry import moment

_STATES = {
    jobs_pb2.Job.STATE_QUEUED: "queued",
    jobs_pb2.Job.STATE_RUNNING: "running",
    jobs_pb2.Job.STATE_RETRYING: "retrying",
    jobs_pb2.Job.STATE_DONE: "done",
    jobs_pb2.Job.STATE_FAILED: "failed",
    jobs_pb2.Job.STATE_CANCELLED: "cancelled",
}
_CAUSES = {
    jobs_pb2.Job.CAUSE_CALL: "call",
    jobs_pb2.Job.CAUSE_SCHEDULE: "schedule",
    jobs_pb2.Job.CAUSE_COMMIT: "commit",
}
_ACTIVE = ("queued", "running", "retrying")


@dataclass(frozen=True)
class Job:
    """The materialization of one view. `from_version` is -1 when the view had none; `rows_total` is an estimate, 0 where unknown."""

    id: int
    view: str
    state: str
    """queued, running, retrying, done, failed or cancelled."""
    cause: str
    """call, schedule or commit."""
    principal: str
    full: bool
    stopping: bool
    attempts: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    retry_at: datetime | None
    problem: str
    """What the last attempt failed with; empty when it did not."""
    from_version: int
    to_version: int
    rows_read: int
    rows_total: int
    rows_written: int
    rows_skipped: int
    rows_corrected: int
    bytes_read: int
    bytes_total: int

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.state in _ACTIVE

    def __str__(self) -> str:
        problem = f": {self.problem}" if self.problem else ""
        return f"job {self.id} of {self.view}: {self.state}, {self.rows_read:,} rows read{problem}"


def job(message: jobs_pb2.Job) -> Job:
    """A job as the wire carries it."""

    def time(micros: int) -> datetime | None:
        return moment(micros) if micros else None

    return Job(
        message.id,
        message.view,
        _STATES.get(message.state, "unknown"),
        _CAUSES.get(message.cause, "unknown"),
        message.principal,
        message.full,
        message.stopping,
        message.attempts,
        moment(message.created_at),
        time(message.started_at),
        time(message.ended_at),
        time(message.retry_at),
        message.problem,
        message.from_version,
        message.to_version,
        message.rows_read,
        message.rows_total,
        message.rows_written,
        message.rows_skipped,
        message.rows_corrected,
        message.bytes_read,
        message.bytes_total,
    )
