from collections.abc import Iterable as _Iterable
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar

from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper

DESCRIPTOR: _descriptor.FileDescriptor

class MaterializeRequest(_message.Message):
    __slots__ = ("full", "project", "views")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    project: str
    views: _containers.RepeatedScalarFieldContainer[str]
    full: bool
    def __init__(self, project: str | None = ..., views: _Iterable[str] | None = ..., full: bool | None = ...) -> None: ...

class MaterializeProgress(_message.Message):
    __slots__ = ("from_version", "full", "phase", "rows_read", "rows_skipped", "rows_total", "rows_written", "to_version", "view")
    class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PHASE_UNSPECIFIED: _ClassVar[MaterializeProgress.Phase]
        PHASE_RUNNING: _ClassVar[MaterializeProgress.Phase]
        PHASE_DONE: _ClassVar[MaterializeProgress.Phase]
    PHASE_UNSPECIFIED: MaterializeProgress.Phase
    PHASE_RUNNING: MaterializeProgress.Phase
    PHASE_DONE: MaterializeProgress.Phase
    VIEW_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    TO_VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_READ_FIELD_NUMBER: _ClassVar[int]
    ROWS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ROWS_WRITTEN_FIELD_NUMBER: _ClassVar[int]
    ROWS_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    view: str
    phase: MaterializeProgress.Phase
    from_version: int
    to_version: int
    rows_read: int
    rows_total: int
    rows_written: int
    rows_skipped: int
    full: bool
    def __init__(self, view: str | None = ..., phase: MaterializeProgress.Phase | str | None = ..., from_version: int | None = ..., to_version: int | None = ..., rows_read: int | None = ..., rows_total: int | None = ..., rows_written: int | None = ..., rows_skipped: int | None = ..., full: bool | None = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("project", "views")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    project: str
    views: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, project: str | None = ..., views: _Iterable[str] | None = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("views",)
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    views: _containers.RepeatedCompositeFieldContainer[ViewStatus]
    def __init__(self, views: _Iterable[ViewStatus | _Mapping] | None = ...) -> None: ...

class ViewStatus(_message.Message):
    __slots__ = ("cursor", "epoch", "in_progress", "materialized_at", "table_version", "view")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    TABLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    MATERIALIZED_AT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    IN_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    view: str
    cursor: int
    table_version: int
    materialized_at: int
    epoch: int
    in_progress: bool
    def __init__(self, view: str | None = ..., cursor: int | None = ..., table_version: int | None = ..., materialized_at: int | None = ..., epoch: int | None = ..., in_progress: bool | None = ...) -> None: ...
