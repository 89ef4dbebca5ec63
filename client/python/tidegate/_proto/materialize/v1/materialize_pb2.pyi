import builtins as _builtins
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ParityRequest(_message.Message):
    __slots__ = ("project", "views")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    project: str
    views: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, project: _Optional[str] = ..., views: _Optional[_Iterable[str]] = ...) -> None: ...

class ViewParity(_message.Message):
    __slots__ = ("view", "version", "equal", "different", "missing", "extra", "ahead", "examples")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EQUAL_FIELD_NUMBER: _ClassVar[int]
    DIFFERENT_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    AHEAD_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    view: str
    version: int
    equal: int
    different: int
    missing: int
    extra: int
    ahead: int
    examples: _containers.RepeatedCompositeFieldContainer[Mismatch]
    def __init__(self, view: _Optional[str] = ..., version: _Optional[int] = ..., equal: _Optional[int] = ..., different: _Optional[int] = ..., missing: _Optional[int] = ..., extra: _Optional[int] = ..., ahead: _Optional[int] = ..., examples: _Optional[_Iterable[_Union[Mismatch, _Mapping]]] = ...) -> None: ...

class Mismatch(_message.Message):
    __slots__ = ("key", "what")
    KEY_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    key: str
    what: str
    def __init__(self, key: _Optional[str] = ..., what: _Optional[str] = ...) -> None: ...

class MaterializeRequest(_message.Message):
    __slots__ = ("project", "views", "full", "detach")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    DETACH_FIELD_NUMBER: _ClassVar[int]
    project: str
    views: _containers.RepeatedScalarFieldContainer[str]
    full: bool
    detach: bool
    def __init__(self, project: _Optional[str] = ..., views: _Optional[_Iterable[str]] = ..., full: _Optional[bool] = ..., detach: _Optional[bool] = ...) -> None: ...

class MaterializeProgress(_message.Message):
    __slots__ = ("view", "phase", "from_version", "to_version", "rows_read", "rows_total", "rows_written", "rows_skipped", "full", "write_token", "job", "started", "bytes_total", "bytes_read", "rows_corrected", "problem")
    class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PHASE_UNSPECIFIED: _ClassVar[MaterializeProgress.Phase]
        PHASE_RUNNING: _ClassVar[MaterializeProgress.Phase]
        PHASE_DONE: _ClassVar[MaterializeProgress.Phase]
        PHASE_QUEUED: _ClassVar[MaterializeProgress.Phase]
        PHASE_RETRYING: _ClassVar[MaterializeProgress.Phase]
    PHASE_UNSPECIFIED: MaterializeProgress.Phase
    PHASE_RUNNING: MaterializeProgress.Phase
    PHASE_DONE: MaterializeProgress.Phase
    PHASE_QUEUED: MaterializeProgress.Phase
    PHASE_RETRYING: MaterializeProgress.Phase
    VIEW_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    TO_VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_READ_FIELD_NUMBER: _ClassVar[int]
    ROWS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ROWS_WRITTEN_FIELD_NUMBER: _ClassVar[int]
    ROWS_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    WRITE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    ROWS_CORRECTED_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    view: str
    phase: MaterializeProgress.Phase
    from_version: int
    to_version: int
    rows_read: int
    rows_total: int
    rows_written: int
    rows_skipped: int
    full: bool
    write_token: str
    job: int
    started: bool
    bytes_total: int
    bytes_read: int
    rows_corrected: int
    problem: str
    def __init__(self, view: _Optional[str] = ..., phase: _Optional[_Union[MaterializeProgress.Phase, str]] = ..., from_version: _Optional[int] = ..., to_version: _Optional[int] = ..., rows_read: _Optional[int] = ..., rows_total: _Optional[int] = ..., rows_written: _Optional[int] = ..., rows_skipped: _Optional[int] = ..., full: _Optional[bool] = ..., write_token: _Optional[str] = ..., job: _Optional[int] = ..., started: _Optional[bool] = ..., bytes_total: _Optional[int] = ..., bytes_read: _Optional[int] = ..., rows_corrected: _Optional[int] = ..., problem: _Optional[str] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("project", "views")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    project: str
    views: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, project: _Optional[str] = ..., views: _Optional[_Iterable[str]] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("views",)
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    views: _containers.RepeatedCompositeFieldContainer[ViewStatus]
    def __init__(self, views: _Optional[_Iterable[_Union[ViewStatus, _Mapping]]] = ...) -> None: ...

class ViewStatus(_message.Message):
    __slots__ = ("view", "cursor", "table_version", "materialized_at", "epoch", "in_progress", "versions_behind", "behind", "freshness", "objective", "schedule", "job")
    class Objective(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OBJECTIVE_UNSPECIFIED: _ClassVar[ViewStatus.Objective]
        OBJECTIVE_MET: _ClassVar[ViewStatus.Objective]
        OBJECTIVE_MISSED: _ClassVar[ViewStatus.Objective]
    OBJECTIVE_UNSPECIFIED: ViewStatus.Objective
    OBJECTIVE_MET: ViewStatus.Objective
    OBJECTIVE_MISSED: ViewStatus.Objective
    VIEW_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    TABLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    MATERIALIZED_AT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    IN_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_BEHIND_FIELD_NUMBER: _ClassVar[int]
    BEHIND_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    view: str
    cursor: int
    table_version: int
    materialized_at: int
    epoch: int
    in_progress: bool
    versions_behind: int
    behind: int
    freshness: int
    objective: ViewStatus.Objective
    schedule: str
    job: int
    def __init__(self, view: _Optional[str] = ..., cursor: _Optional[int] = ..., table_version: _Optional[int] = ..., materialized_at: _Optional[int] = ..., epoch: _Optional[int] = ..., in_progress: _Optional[bool] = ..., versions_behind: _Optional[int] = ..., behind: _Optional[int] = ..., freshness: _Optional[int] = ..., objective: _Optional[_Union[ViewStatus.Objective, str]] = ..., schedule: _Optional[str] = ..., job: _Optional[int] = ...) -> None: ...
