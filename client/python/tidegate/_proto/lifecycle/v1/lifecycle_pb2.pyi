import builtins as _builtins
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EraseRequest(_message.Message):
    __slots__ = ("project", "entity", "keys")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    project: str
    entity: str
    keys: _containers.RepeatedCompositeFieldContainer[Key]
    def __init__(self, project: _Optional[str] = ..., entity: _Optional[str] = ..., keys: _Optional[_Iterable[_Union[Key, _Mapping]]] = ...) -> None: ...

class Key(_message.Message):
    __slots__ = ("name", "bool_value", "int64_value", "string_value", "bytes_value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    INT64_VALUE_FIELD_NUMBER: _ClassVar[int]
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    BYTES_VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    bool_value: bool
    int64_value: int
    string_value: str
    bytes_value: _builtins.bytes
    def __init__(self, name: _Optional[str] = ..., bool_value: _Optional[bool] = ..., int64_value: _Optional[int] = ..., string_value: _Optional[str] = ..., bytes_value: _Optional[_builtins.bytes] = ...) -> None: ...

class EraseProgress(_message.Message):
    __slots__ = ("step", "receipt")
    STEP_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    step: str
    receipt: Receipt
    def __init__(self, step: _Optional[str] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("id", "project", "entity", "digest", "erased_at", "principal", "views", "tables", "refreshed", "spines", "sealed", "left")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ERASED_AT_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    REFRESHED_FIELD_NUMBER: _ClassVar[int]
    SPINES_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    id: str
    project: str
    entity: str
    digest: str
    erased_at: int
    principal: str
    views: _containers.RepeatedCompositeFieldContainer[ErasedView]
    tables: _containers.RepeatedCompositeFieldContainer[ErasedTable]
    refreshed: _containers.RepeatedScalarFieldContainer[str]
    spines: int
    sealed: _containers.RepeatedCompositeFieldContainer[SealedLoss]
    left: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., project: _Optional[str] = ..., entity: _Optional[str] = ..., digest: _Optional[str] = ..., erased_at: _Optional[int] = ..., principal: _Optional[str] = ..., views: _Optional[_Iterable[_Union[ErasedView, _Mapping]]] = ..., tables: _Optional[_Iterable[_Union[ErasedTable, _Mapping]]] = ..., refreshed: _Optional[_Iterable[str]] = ..., spines: _Optional[int] = ..., sealed: _Optional[_Iterable[_Union[SealedLoss, _Mapping]]] = ..., left: _Optional[_Iterable[str]] = ...) -> None: ...

class ErasedView(_message.Message):
    __slots__ = ("view", "rows")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    view: str
    rows: int
    def __init__(self, view: _Optional[str] = ..., rows: _Optional[int] = ...) -> None: ...

class ErasedTable(_message.Message):
    __slots__ = ("source", "version", "rows", "files_rewritten", "files_deleted", "commits_scrubbed", "versions_lost")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FILES_REWRITTEN_FIELD_NUMBER: _ClassVar[int]
    FILES_DELETED_FIELD_NUMBER: _ClassVar[int]
    COMMITS_SCRUBBED_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_LOST_FIELD_NUMBER: _ClassVar[int]
    source: str
    version: int
    rows: int
    files_rewritten: int
    files_deleted: int
    commits_scrubbed: int
    versions_lost: _containers.RepeatedCompositeFieldContainer[Versions]
    def __init__(self, source: _Optional[str] = ..., version: _Optional[int] = ..., rows: _Optional[int] = ..., files_rewritten: _Optional[int] = ..., files_deleted: _Optional[int] = ..., commits_scrubbed: _Optional[int] = ..., versions_lost: _Optional[_Iterable[_Union[Versions, _Mapping]]] = ...) -> None: ...

class Versions(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class SealedLoss(_message.Message):
    __slots__ = ("name", "rows", "why")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    name: str
    rows: int
    why: str
    def __init__(self, name: _Optional[str] = ..., rows: _Optional[int] = ..., why: _Optional[str] = ...) -> None: ...

class ListErasuresRequest(_message.Message):
    __slots__ = ("project",)
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    project: str
    def __init__(self, project: _Optional[str] = ...) -> None: ...

class ListErasuresResponse(_message.Message):
    __slots__ = ("receipts",)
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    receipts: _containers.RepeatedCompositeFieldContainer[Receipt]
    def __init__(self, receipts: _Optional[_Iterable[_Union[Receipt, _Mapping]]] = ...) -> None: ...

class BackupRequest(_message.Message):
    __slots__ = ("name", "online_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ONLINE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    online_only: bool
    def __init__(self, name: _Optional[str] = ..., online_only: _Optional[bool] = ...) -> None: ...

class BackupProgress(_message.Message):
    __slots__ = ("files", "bytes", "done", "path", "views", "tables", "outside")
    FILES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    OUTSIDE_FIELD_NUMBER: _ClassVar[int]
    files: int
    bytes: int
    done: bool
    path: str
    views: _containers.RepeatedCompositeFieldContainer[ViewVersion]
    tables: _containers.RepeatedCompositeFieldContainer[TableVersion]
    outside: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, files: _Optional[int] = ..., bytes: _Optional[int] = ..., done: _Optional[bool] = ..., path: _Optional[str] = ..., views: _Optional[_Iterable[_Union[ViewVersion, _Mapping]]] = ..., tables: _Optional[_Iterable[_Union[TableVersion, _Mapping]]] = ..., outside: _Optional[_Iterable[str]] = ...) -> None: ...

class ViewVersion(_message.Message):
    __slots__ = ("project", "view", "version")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    project: str
    view: str
    version: int
    def __init__(self, project: _Optional[str] = ..., view: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class TableVersion(_message.Message):
    __slots__ = ("project", "source", "version")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    project: str
    source: str
    version: int
    def __init__(self, project: _Optional[str] = ..., source: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class RebuildRequest(_message.Message):
    __slots__ = ("projects",)
    PROJECTS_FIELD_NUMBER: _ClassVar[int]
    projects: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, projects: _Optional[_Iterable[str]] = ...) -> None: ...

class RebuildProgress(_message.Message):
    __slots__ = ("project", "view", "nth", "views", "rows_read", "rows_total", "rows_written", "version", "done", "failed")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    NTH_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    ROWS_READ_FIELD_NUMBER: _ClassVar[int]
    ROWS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ROWS_WRITTEN_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    project: str
    view: str
    nth: int
    views: int
    rows_read: int
    rows_total: int
    rows_written: int
    version: int
    done: bool
    failed: str
    def __init__(self, project: _Optional[str] = ..., view: _Optional[str] = ..., nth: _Optional[int] = ..., views: _Optional[int] = ..., rows_read: _Optional[int] = ..., rows_total: _Optional[int] = ..., rows_written: _Optional[int] = ..., version: _Optional[int] = ..., done: _Optional[bool] = ..., failed: _Optional[str] = ...) -> None: ...

class DropViewRequest(_message.Message):
    __slots__ = ("project", "view")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    project: str
    view: str
    def __init__(self, project: _Optional[str] = ..., view: _Optional[str] = ...) -> None: ...

class DropViewResponse(_message.Message):
    __slots__ = ("version", "rows", "bytes")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    version: int
    rows: int
    bytes: int
    def __init__(self, version: _Optional[int] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class RetainRequest(_message.Message):
    __slots__ = ("project", "views")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    project: str
    views: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, project: _Optional[str] = ..., views: _Optional[_Iterable[str]] = ...) -> None: ...

class RetainResponse(_message.Message):
    __slots__ = ("views",)
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    views: _containers.RepeatedCompositeFieldContainer[RetainedView]
    def __init__(self, views: _Optional[_Iterable[_Union[RetainedView, _Mapping]]] = ...) -> None: ...

class RetainedView(_message.Message):
    __slots__ = ("view", "cut", "rows", "bytes")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    view: str
    cut: int
    rows: int
    bytes: int
    def __init__(self, view: _Optional[str] = ..., cut: _Optional[int] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...
