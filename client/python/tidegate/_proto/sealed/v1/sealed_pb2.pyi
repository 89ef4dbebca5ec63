import builtins as _builtins
from tidegate._proto.flight.v1 import flight_pb2 as _flight_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SealRequest(_message.Message):
    __slots__ = ("name", "training_set")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TRAINING_SET_FIELD_NUMBER: _ClassVar[int]
    name: str
    training_set: _flight_pb2.TrainingSet
    def __init__(self, name: _Optional[str] = ..., training_set: _Optional[_Union[_flight_pb2.TrainingSet, _Mapping]] = ...) -> None: ...

class SealProgress(_message.Message):
    __slots__ = ("rows", "sealed")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    rows: int
    sealed: SealedSet
    def __init__(self, rows: _Optional[int] = ..., sealed: _Optional[_Union[SealedSet, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("project",)
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    project: str
    def __init__(self, project: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("sets",)
    SETS_FIELD_NUMBER: _ClassVar[int]
    sets: _containers.RepeatedCompositeFieldContainer[SealedSet]
    def __init__(self, sets: _Optional[_Iterable[_Union[SealedSet, _Mapping]]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("project", "name")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    project: str
    name: str
    def __init__(self, project: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("project", "name")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    project: str
    name: str
    def __init__(self, project: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class VerifyProgress(_message.Message):
    __slots__ = ("rows", "rows_total", "verdict")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ROWS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    rows: int
    rows_total: int
    verdict: Verdict
    def __init__(self, rows: _Optional[int] = ..., rows_total: _Optional[int] = ..., verdict: _Optional[_Union[Verdict, _Mapping]] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("same", "rows", "digest", "differences", "engine")
    SAME_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    same: bool
    rows: int
    digest: str
    differences: _containers.RepeatedCompositeFieldContainer[Difference]
    engine: str
    def __init__(self, same: _Optional[bool] = ..., rows: _Optional[int] = ..., digest: _Optional[str] = ..., differences: _Optional[_Iterable[_Union[Difference, _Mapping]]] = ..., engine: _Optional[str] = ...) -> None: ...

class Difference(_message.Message):
    __slots__ = ("what", "column", "sealed", "found")
    WHAT_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    what: str
    column: str
    sealed: str
    found: str
    def __init__(self, what: _Optional[str] = ..., column: _Optional[str] = ..., sealed: _Optional[str] = ..., found: _Optional[str] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("project", "name")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    project: str
    name: str
    def __init__(self, project: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SealedSet(_message.Message):
    __slots__ = ("name", "created_at", "principal", "engine", "definitions_version", "definitions_digest", "training_set", "spine", "tables", "rows", "digest", "columns")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    DEFINITIONS_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEFINITIONS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TRAINING_SET_FIELD_NUMBER: _ClassVar[int]
    SPINE_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    name: str
    created_at: int
    principal: str
    engine: str
    definitions_version: int
    definitions_digest: str
    training_set: _flight_pb2.TrainingSet
    spine: Spine
    tables: _containers.RepeatedCompositeFieldContainer[TableVersion]
    rows: int
    digest: str
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    def __init__(self, name: _Optional[str] = ..., created_at: _Optional[int] = ..., principal: _Optional[str] = ..., engine: _Optional[str] = ..., definitions_version: _Optional[int] = ..., definitions_digest: _Optional[str] = ..., training_set: _Optional[_Union[_flight_pb2.TrainingSet, _Mapping]] = ..., spine: _Optional[_Union[Spine, _Mapping]] = ..., tables: _Optional[_Iterable[_Union[TableVersion, _Mapping]]] = ..., rows: _Optional[int] = ..., digest: _Optional[str] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ...) -> None: ...

class Spine(_message.Message):
    __slots__ = ("kind", "text", "rows", "digest")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    kind: str
    text: str
    rows: int
    digest: str
    def __init__(self, kind: _Optional[str] = ..., text: _Optional[str] = ..., rows: _Optional[int] = ..., digest: _Optional[str] = ...) -> None: ...

class TableVersion(_message.Message):
    __slots__ = ("source", "version")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    source: str
    version: int
    def __init__(self, source: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "type", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    digest: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...
