import builtins as _builtins
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    STATUS_PRESENT: _ClassVar[Status]
    STATUS_NULL: _ClassVar[Status]
    STATUS_NOT_FOUND: _ClassVar[Status]
    STATUS_EXPIRED: _ClassVar[Status]
    STATUS_DEFAULTED: _ClassVar[Status]
    STATUS_FAILED: _ClassVar[Status]
STATUS_UNSPECIFIED: Status
STATUS_PRESENT: Status
STATUS_NULL: Status
STATUS_NOT_FOUND: Status
STATUS_EXPIRED: Status
STATUS_DEFAULTED: Status
STATUS_FAILED: Status

class GetOnlineFeaturesRequest(_message.Message):
    __slots__ = ("project", "feature_service", "features", "keys", "full_feature_names", "include_times", "return_expired")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    FEATURE_SERVICE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    FULL_FEATURE_NAMES_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_TIMES_FIELD_NUMBER: _ClassVar[int]
    RETURN_EXPIRED_FIELD_NUMBER: _ClassVar[int]
    project: str
    feature_service: str
    features: FeatureReferences
    keys: _containers.RepeatedCompositeFieldContainer[KeyColumn]
    full_feature_names: bool
    include_times: bool
    return_expired: bool
    def __init__(self, project: _Optional[str] = ..., feature_service: _Optional[str] = ..., features: _Optional[_Union[FeatureReferences, _Mapping]] = ..., keys: _Optional[_Iterable[_Union[KeyColumn, _Mapping]]] = ..., full_feature_names: _Optional[bool] = ..., include_times: _Optional[bool] = ..., return_expired: _Optional[bool] = ...) -> None: ...

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
    __slots__ = ("rows", "features", "views", "catalog_version")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    CATALOG_VERSION_FIELD_NUMBER: _ClassVar[int]
    rows: int
    features: _containers.RepeatedCompositeFieldContainer[FeatureColumn]
    views: _containers.RepeatedCompositeFieldContainer[ViewTimes]
    catalog_version: int
    def __init__(self, rows: _Optional[int] = ..., features: _Optional[_Iterable[_Union[FeatureColumn, _Mapping]]] = ..., views: _Optional[_Iterable[_Union[ViewTimes, _Mapping]]] = ..., catalog_version: _Optional[int] = ...) -> None: ...

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
    presence: _builtins.bytes
    statuses: _builtins.bytes
    reasons: _builtins.bytes
    def __init__(self, name: _Optional[str] = ..., data_type: _Optional[str] = ..., doubles: _Optional[_Union[DoubleValues, _Mapping]] = ..., floats: _Optional[_Union[FloatValues, _Mapping]] = ..., int64s: _Optional[_Union[Int64Values, _Mapping]] = ..., int32s: _Optional[_Union[Int32Values, _Mapping]] = ..., bools: _Optional[_Union[BoolValues, _Mapping]] = ..., strings: _Optional[_Union[StringValues, _Mapping]] = ..., bytes: _Optional[_Union[BytesValues, _Mapping]] = ..., arrow_ipc: _Optional[_builtins.bytes] = ..., presence: _Optional[_builtins.bytes] = ..., statuses: _Optional[_builtins.bytes] = ..., reasons: _Optional[_builtins.bytes] = ...) -> None: ...

class ViewTimes(_message.Message):
    __slots__ = ("view", "event_times", "ages")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIMES_FIELD_NUMBER: _ClassVar[int]
    AGES_FIELD_NUMBER: _ClassVar[int]
    view: str
    event_times: _containers.RepeatedScalarFieldContainer[int]
    ages: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, view: _Optional[str] = ..., event_times: _Optional[_Iterable[int]] = ..., ages: _Optional[_Iterable[int]] = ...) -> None: ...
