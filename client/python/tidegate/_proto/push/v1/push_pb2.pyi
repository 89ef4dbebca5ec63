import builtins as _builtins
from tidegate._proto.online.v1 import online_pb2 as _online_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PushTo(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PUSH_TO_UNSPECIFIED: _ClassVar[PushTo]
    PUSH_TO_ONLINE: _ClassVar[PushTo]
    PUSH_TO_OFFLINE: _ClassVar[PushTo]
    PUSH_TO_BOTH: _ClassVar[PushTo]
PUSH_TO_UNSPECIFIED: PushTo
PUSH_TO_ONLINE: PushTo
PUSH_TO_OFFLINE: PushTo
PUSH_TO_BOTH: PushTo

class PushRequest(_message.Message):
    __slots__ = ("project", "target", "to", "arrow_ipc", "columns", "event_ids")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    project: str
    target: str
    to: PushTo
    arrow_ipc: _builtins.bytes
    columns: Columns
    event_ids: _online_pb2.RequestColumn
    def __init__(self, project: _Optional[str] = ..., target: _Optional[str] = ..., to: _Optional[_Union[PushTo, str]] = ..., arrow_ipc: _Optional[_builtins.bytes] = ..., columns: _Optional[_Union[Columns, _Mapping]] = ..., event_ids: _Optional[_Union[_online_pb2.RequestColumn, _Mapping]] = ...) -> None: ...

class Columns(_message.Message):
    __slots__ = ("columns",)
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedCompositeFieldContainer[_online_pb2.RequestColumn]
    def __init__(self, columns: _Optional[_Iterable[_Union[_online_pb2.RequestColumn, _Mapping]]] = ...) -> None: ...

class PushResponse(_message.Message):
    __slots__ = ("accepted", "duplicates", "kept", "waiting", "quarantined", "reasons", "write_token")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    WRITE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    duplicates: int
    kept: int
    waiting: int
    quarantined: int
    reasons: _containers.RepeatedCompositeFieldContainer[Quarantined]
    write_token: str
    def __init__(self, accepted: _Optional[int] = ..., duplicates: _Optional[int] = ..., kept: _Optional[int] = ..., waiting: _Optional[int] = ..., quarantined: _Optional[int] = ..., reasons: _Optional[_Iterable[_Union[Quarantined, _Mapping]]] = ..., write_token: _Optional[str] = ...) -> None: ...

class Quarantined(_message.Message):
    __slots__ = ("reason", "rows", "example")
    REASON_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    rows: int
    example: str
    def __init__(self, reason: _Optional[str] = ..., rows: _Optional[int] = ..., example: _Optional[str] = ...) -> None: ...

class PushStreamRequest(_message.Message):
    __slots__ = ("id", "push")
    ID_FIELD_NUMBER: _ClassVar[int]
    PUSH_FIELD_NUMBER: _ClassVar[int]
    id: int
    push: PushRequest
    def __init__(self, id: _Optional[int] = ..., push: _Optional[_Union[PushRequest, _Mapping]] = ...) -> None: ...

class PushStreamResponse(_message.Message):
    __slots__ = ("id", "reply", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: int
    reply: PushResponse
    error: _online_pb2.StreamError
    def __init__(self, id: _Optional[int] = ..., reply: _Optional[_Union[PushResponse, _Mapping]] = ..., error: _Optional[_Union[_online_pb2.StreamError, _Mapping]] = ...) -> None: ...

class FlushRequest(_message.Message):
    __slots__ = ("project", "target")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    project: str
    target: str
    def __init__(self, project: _Optional[str] = ..., target: _Optional[str] = ...) -> None: ...

class FlushResponse(_message.Message):
    __slots__ = ("source", "version", "rows")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    source: str
    version: int
    rows: int
    def __init__(self, source: _Optional[str] = ..., version: _Optional[int] = ..., rows: _Optional[int] = ...) -> None: ...
