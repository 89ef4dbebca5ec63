import builtins as _builtins
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CompactRequest(_message.Message):
    __slots__ = ("project", "name")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    project: str
    name: str
    def __init__(self, project: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class CompactResponse(_message.Message):
    __slots__ = ("source", "version", "files_before", "files_after", "rows", "bytes_before", "bytes_after")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FILES_BEFORE_FIELD_NUMBER: _ClassVar[int]
    FILES_AFTER_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_BEFORE_FIELD_NUMBER: _ClassVar[int]
    BYTES_AFTER_FIELD_NUMBER: _ClassVar[int]
    source: str
    version: int
    files_before: int
    files_after: int
    rows: int
    bytes_before: int
    bytes_after: int
    def __init__(self, source: _Optional[str] = ..., version: _Optional[int] = ..., files_before: _Optional[int] = ..., files_after: _Optional[int] = ..., rows: _Optional[int] = ..., bytes_before: _Optional[int] = ..., bytes_after: _Optional[int] = ...) -> None: ...

class VacuumRequest(_message.Message):
    __slots__ = ("project", "name", "older_than", "dry_run")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OLDER_THAN_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    project: str
    name: str
    older_than: int
    dry_run: bool
    def __init__(self, project: _Optional[str] = ..., name: _Optional[str] = ..., older_than: _Optional[int] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class VacuumResponse(_message.Message):
    __slots__ = ("source", "version", "files", "bytes", "sealed_versions")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SEALED_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    source: str
    version: int
    files: int
    bytes: int
    sealed_versions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, source: _Optional[str] = ..., version: _Optional[int] = ..., files: _Optional[int] = ..., bytes: _Optional[int] = ..., sealed_versions: _Optional[_Iterable[int]] = ...) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ("project", "name")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    project: str
    name: str
    def __init__(self, project: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class StatsResponse(_message.Message):
    __slots__ = ("source", "version", "files", "files_compacted", "runs", "rows", "bytes", "rows_deleted", "overlaps")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    FILES_COMPACTED_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    ROWS_DELETED_FIELD_NUMBER: _ClassVar[int]
    OVERLAPS_FIELD_NUMBER: _ClassVar[int]
    source: str
    version: int
    files: int
    files_compacted: int
    runs: int
    rows: int
    bytes: int
    rows_deleted: int
    overlaps: _containers.RepeatedCompositeFieldContainer[ColumnOverlap]
    def __init__(self, source: _Optional[str] = ..., version: _Optional[int] = ..., files: _Optional[int] = ..., files_compacted: _Optional[int] = ..., runs: _Optional[int] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ..., rows_deleted: _Optional[int] = ..., overlaps: _Optional[_Iterable[_Union[ColumnOverlap, _Mapping]]] = ...) -> None: ...

class ColumnOverlap(_message.Message):
    __slots__ = ("column", "files", "files_unknown")
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    FILES_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    column: str
    files: float
    files_unknown: int
    def __init__(self, column: _Optional[str] = ..., files: _Optional[float] = ..., files_unknown: _Optional[int] = ...) -> None: ...
