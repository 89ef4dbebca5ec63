import builtins as _builtins
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReplyFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPLY_FORMAT_UNSPECIFIED: _ClassVar[ReplyFormat]
    REPLY_FORMAT_ARROW: _ClassVar[ReplyFormat]

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    STATUS_PRESENT: _ClassVar[Status]
    STATUS_NULL: _ClassVar[Status]
    STATUS_NOT_FOUND: _ClassVar[Status]
    STATUS_EXPIRED: _ClassVar[Status]
    STATUS_DEFAULTED: _ClassVar[Status]
    STATUS_FAILED: _ClassVar[Status]
REPLY_FORMAT_UNSPECIFIED: ReplyFormat
REPLY_FORMAT_ARROW: ReplyFormat
STATUS_UNSPECIFIED: Status
STATUS_PRESENT: Status
STATUS_NULL: Status
STATUS_NOT_FOUND: Status
STATUS_EXPIRED: Status
STATUS_DEFAULTED: Status
STATUS_FAILED: Status

class StreamOnlineFeaturesRequest(_message.Message):
    __slots__ = ("id", "lookup")
    ID_FIELD_NUMBER: _ClassVar[int]
    LOOKUP_FIELD_NUMBER: _ClassVar[int]
    id: int
    lookup: GetOnlineFeaturesRequest
    def __init__(self, id: _Optional[int] = ..., lookup: _Optional[_Union[GetOnlineFeaturesRequest, _Mapping]] = ...) -> None: ...

class StreamOnlineFeaturesResponse(_message.Message):
    __slots__ = ("id", "reply", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: int
    reply: GetOnlineFeaturesResponse
    error: StreamError
    def __init__(self, id: _Optional[int] = ..., reply: _Optional[_Union[GetOnlineFeaturesResponse, _Mapping]] = ..., error: _Optional[_Union[StreamError, _Mapping]] = ...) -> None: ...

class StreamError(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class GetOnlineFeaturesRequest(_message.Message):
    __slots__ = ("project", "feature_service", "features", "keys", "full_feature_names", "include_times", "return_expired", "format", "request_columns", "as_of", "allow_partial", "after_write")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    FEATURE_SERVICE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    FULL_FEATURE_NAMES_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_TIMES_FIELD_NUMBER: _ClassVar[int]
    RETURN_EXPIRED_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    ALLOW_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    AFTER_WRITE_FIELD_NUMBER: _ClassVar[int]
    project: str
    feature_service: str
    features: FeatureReferences
    keys: _containers.RepeatedCompositeFieldContainer[KeyColumn]
    full_feature_names: bool
    include_times: bool
    return_expired: bool
    format: ReplyFormat
    request_columns: _containers.RepeatedCompositeFieldContainer[RequestColumn]
    as_of: int
    allow_partial: bool
    after_write: str
    def __init__(self, project: _Optional[str] = ..., feature_service: _Optional[str] = ..., features: _Optional[_Union[FeatureReferences, _Mapping]] = ..., keys: _Optional[_Iterable[_Union[KeyColumn, _Mapping]]] = ..., full_feature_names: _Optional[bool] = ..., include_times: _Optional[bool] = ..., return_expired: _Optional[bool] = ..., format: _Optional[_Union[ReplyFormat, str]] = ..., request_columns: _Optional[_Iterable[_Union[RequestColumn, _Mapping]]] = ..., as_of: _Optional[int] = ..., allow_partial: _Optional[bool] = ..., after_write: _Optional[str] = ...) -> None: ...

class RequestColumn(_message.Message):
    __slots__ = ("name", "doubles", "int64s", "strings", "bytes", "bools", "arrow_ipc", "presence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DOUBLES_FIELD_NUMBER: _ClassVar[int]
    INT64S_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    BOOLS_FIELD_NUMBER: _ClassVar[int]
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    doubles: DoubleValues
    int64s: Int64Values
    strings: StringValues
    bytes: BytesValues
    bools: BoolValues
    arrow_ipc: _builtins.bytes
    presence: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, name: _Optional[str] = ..., doubles: _Optional[_Union[DoubleValues, _Mapping]] = ..., int64s: _Optional[_Union[Int64Values, _Mapping]] = ..., strings: _Optional[_Union[StringValues, _Mapping]] = ..., bytes: _Optional[_Union[BytesValues, _Mapping]] = ..., bools: _Optional[_Union[BoolValues, _Mapping]] = ..., arrow_ipc: _Optional[_builtins.bytes] = ..., presence: _Optional[_Iterable[bool]] = ...) -> None: ...

class FeatureReferences(_message.Message):
    __slots__ = ("references",)
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    references: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, references: _Optional[_Iterable[str]] = ...) -> None: ...

class KeyColumn(_message.Message):
    __slots__ = ("name", "int64s", "strings", "bytes", "bools")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INT64S_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    BOOLS_FIELD_NUMBER: _ClassVar[int]
    name: str
    int64s: Int64Values
    strings: StringValues
    bytes: BytesValues
    bools: BoolValues
    def __init__(self, name: _Optional[str] = ..., int64s: _Optional[_Union[Int64Values, _Mapping]] = ..., strings: _Optional[_Union[StringValues, _Mapping]] = ..., bytes: _Optional[_Union[BytesValues, _Mapping]] = ..., bools: _Optional[_Union[BoolValues, _Mapping]] = ...) -> None: ...

class Int64Values(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[int]] = ...) -> None: ...

class Int32Values(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[int]] = ...) -> None: ...

class DoubleValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class FloatValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class BoolValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, values: _Optional[_Iterable[bool]] = ...) -> None: ...

class StringValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class BytesValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[_builtins.bytes]
    def __init__(self, values: _Optional[_Iterable[_builtins.bytes]] = ...) -> None: ...

class GetOnlineFeaturesResponse(_message.Message):
    __slots__ = ("rows", "features", "views", "catalog_version", "arrow_ipc", "as_of")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    CATALOG_VERSION_FIELD_NUMBER: _ClassVar[int]
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    rows: int
    features: _containers.RepeatedCompositeFieldContainer[FeatureColumn]
    views: _containers.RepeatedCompositeFieldContainer[ViewTimes]
    catalog_version: int
    arrow_ipc: _builtins.bytes
    as_of: int
    def __init__(self, rows: _Optional[int] = ..., features: _Optional[_Iterable[_Union[FeatureColumn, _Mapping]]] = ..., views: _Optional[_Iterable[_Union[ViewTimes, _Mapping]]] = ..., catalog_version: _Optional[int] = ..., arrow_ipc: _Optional[_builtins.bytes] = ..., as_of: _Optional[int] = ...) -> None: ...

class FeatureColumn(_message.Message):
    __slots__ = ("name", "data_type", "doubles", "floats", "int64s", "int32s", "bools", "strings", "bytes", "arrow_ipc", "presence", "statuses", "reasons")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATA_TYPE_FIELD_NUMBER: _ClassVar[int]
    DOUBLES_FIELD_NUMBER: _ClassVar[int]
    FLOATS_FIELD_NUMBER: _ClassVar[int]
    INT64S_FIELD_NUMBER: _ClassVar[int]
    INT32S_FIELD_NUMBER: _ClassVar[int]
    BOOLS_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    data_type: str
    doubles: DoubleValues
    floats: FloatValues
    int64s: Int64Values
    int32s: Int32Values
    bools: BoolValues
    strings: StringValues
    bytes: BytesValues
    arrow_ipc: _builtins.bytes
    presence: _containers.RepeatedScalarFieldContainer[bool]
    statuses: _containers.RepeatedScalarFieldContainer[Status]
    reasons: _containers.RepeatedScalarFieldContainer[Status]
    def __init__(self, name: _Optional[str] = ..., data_type: _Optional[str] = ..., doubles: _Optional[_Union[DoubleValues, _Mapping]] = ..., floats: _Optional[_Union[FloatValues, _Mapping]] = ..., int64s: _Optional[_Union[Int64Values, _Mapping]] = ..., int32s: _Optional[_Union[Int32Values, _Mapping]] = ..., bools: _Optional[_Union[BoolValues, _Mapping]] = ..., strings: _Optional[_Union[StringValues, _Mapping]] = ..., bytes: _Optional[_Union[BytesValues, _Mapping]] = ..., arrow_ipc: _Optional[_builtins.bytes] = ..., presence: _Optional[_Iterable[bool]] = ..., statuses: _Optional[_Iterable[_Union[Status, str]]] = ..., reasons: _Optional[_Iterable[_Union[Status, str]]] = ...) -> None: ...

class ViewTimes(_message.Message):
    __slots__ = ("view", "event_times", "ages")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIMES_FIELD_NUMBER: _ClassVar[int]
    AGES_FIELD_NUMBER: _ClassVar[int]
    view: str
    event_times: _containers.RepeatedScalarFieldContainer[int]
    ages: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, view: _Optional[str] = ..., event_times: _Optional[_Iterable[int]] = ..., ages: _Optional[_Iterable[int]] = ...) -> None: ...
