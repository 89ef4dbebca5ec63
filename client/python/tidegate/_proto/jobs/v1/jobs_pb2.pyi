import builtins as _builtins
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListJobsRequest(_message.Message):
    __slots__ = ("project", "views", "active", "limit")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    project: str
    views: _containers.RepeatedScalarFieldContainer[str]
    active: bool
    limit: int
    def __init__(self, project: _Optional[str] = ..., views: _Optional[_Iterable[str]] = ..., active: _Optional[bool] = ..., limit: _Optional[int] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ...) -> None: ...

class JobRequest(_message.Message):
    __slots__ = ("project", "id")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    project: str
    id: int
    def __init__(self, project: _Optional[str] = ..., id: _Optional[int] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "project", "view", "full", "state", "cause", "principal", "attempts", "created_at", "started_at", "ended_at", "retry_at", "problem", "stopping", "from_version", "to_version", "rows_read", "rows_total", "rows_written", "rows_skipped", "rows_corrected", "bytes_read", "bytes_total")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Job.State]
        STATE_QUEUED: _ClassVar[Job.State]
        STATE_RUNNING: _ClassVar[Job.State]
        STATE_RETRYING: _ClassVar[Job.State]
        STATE_DONE: _ClassVar[Job.State]
        STATE_FAILED: _ClassVar[Job.State]
        STATE_CANCELLED: _ClassVar[Job.State]
    STATE_UNSPECIFIED: Job.State
    STATE_QUEUED: Job.State
    STATE_RUNNING: Job.State
    STATE_RETRYING: Job.State
    STATE_DONE: Job.State
    STATE_FAILED: Job.State
    STATE_CANCELLED: Job.State
    class Cause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CAUSE_UNSPECIFIED: _ClassVar[Job.Cause]
        CAUSE_CALL: _ClassVar[Job.Cause]
        CAUSE_SCHEDULE: _ClassVar[Job.Cause]
        CAUSE_COMMIT: _ClassVar[Job.Cause]
    CAUSE_UNSPECIFIED: Job.Cause
    CAUSE_CALL: Job.Cause
    CAUSE_SCHEDULE: Job.Cause
    CAUSE_COMMIT: Job.Cause
    ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    RETRY_AT_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    STOPPING_FIELD_NUMBER: _ClassVar[int]
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    TO_VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_READ_FIELD_NUMBER: _ClassVar[int]
    ROWS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ROWS_WRITTEN_FIELD_NUMBER: _ClassVar[int]
    ROWS_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    ROWS_CORRECTED_FIELD_NUMBER: _ClassVar[int]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    id: int
    project: str
    view: str
    full: bool
    state: Job.State
    cause: Job.Cause
    principal: str
    attempts: int
    created_at: int
    started_at: int
    ended_at: int
    retry_at: int
    problem: str
    stopping: bool
    from_version: int
    to_version: int
    rows_read: int
    rows_total: int
    rows_written: int
    rows_skipped: int
    rows_corrected: int
    bytes_read: int
    bytes_total: int
    def __init__(self, id: _Optional[int] = ..., project: _Optional[str] = ..., view: _Optional[str] = ..., full: _Optional[bool] = ..., state: _Optional[_Union[Job.State, str]] = ..., cause: _Optional[_Union[Job.Cause, str]] = ..., principal: _Optional[str] = ..., attempts: _Optional[int] = ..., created_at: _Optional[int] = ..., started_at: _Optional[int] = ..., ended_at: _Optional[int] = ..., retry_at: _Optional[int] = ..., problem: _Optional[str] = ..., stopping: _Optional[bool] = ..., from_version: _Optional[int] = ..., to_version: _Optional[int] = ..., rows_read: _Optional[int] = ..., rows_total: _Optional[int] = ..., rows_written: _Optional[int] = ..., rows_skipped: _Optional[int] = ..., rows_corrected: _Optional[int] = ..., bytes_read: _Optional[int] = ..., bytes_total: _Optional[int] = ...) -> None: ...
