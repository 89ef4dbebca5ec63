import builtins as _builtins
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RefreshRequest(_message.Message):
    __slots__ = ("project", "name", "full")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    project: str
    name: str
    full: bool
    def __init__(self, project: _Optional[str] = ..., name: _Optional[str] = ..., full: _Optional[bool] = ...) -> None: ...

class RefreshResponse(_message.Message):
    __slots__ = ("sources",)
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    sources: _containers.RepeatedCompositeFieldContainer[Refreshed]
    def __init__(self, sources: _Optional[_Iterable[_Union[Refreshed, _Mapping]]] = ...) -> None: ...

class Refreshed(_message.Message):
    __slots__ = ("source", "version", "changed", "full", "rows", "inputs")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    source: str
    version: int
    changed: bool
    full: bool
    rows: int
    inputs: _containers.RepeatedCompositeFieldContainer[InputVersion]
    def __init__(self, source: _Optional[str] = ..., version: _Optional[int] = ..., changed: _Optional[bool] = ..., full: _Optional[bool] = ..., rows: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[InputVersion, _Mapping]]] = ...) -> None: ...

class InputVersion(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class LineageRequest(_message.Message):
    __slots__ = ("project", "view")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    project: str
    view: str
    def __init__(self, project: _Optional[str] = ..., view: _Optional[str] = ...) -> None: ...

class LineageResponse(_message.Message):
    __slots__ = ("steps",)
    STEPS_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    def __init__(self, steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("to", "by")
    TO_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    to: Place
    by: str
    def __init__(self, to: _Optional[_Union[Place, _Mapping]] = ..., by: _Optional[str] = ..., **kwargs) -> None: ...

class Place(_message.Message):
    __slots__ = ("kind", "name", "column")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    column: str
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., column: _Optional[str] = ...) -> None: ...
