import builtins as _builtins
from collections.abc import Iterable as _Iterable
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar

from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper

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
    __slots__ = ("feature_service", "features", "full_feature_names", "include_times", "keys", "project", "return_expired")
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
    def __init__(self, project: str | None = ..., feature_service: str | None = ..., features: FeatureReferences | _Mapping | None = ..., keys: _Iterable[KeyColumn | _Mapping] | None = ..., full_feature_names: bool | None = ..., include_times: bool | None = ..., return_expired: bool | None = ...) -> None: ...

class FeatureReferences(_message.Message):
    __slots__ = ("references",)
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    references: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, references: _Iterable[str] | None = ...) -> None: ...

class KeyColumn(_message.Message):
    __slots__ = ("bools", "bytes", "int64s", "name", "strings")
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
    def __init__(self, name: str | None = ..., int64s: Int64Values | _Mapping | None = ..., strings: StringValues | _Mapping | None = ..., bytes: BytesValues | _Mapping | None = ..., bools: BoolValues | _Mapping | None = ...) -> None: ...

class Int64Values(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Iterable[int] | None = ...) -> None: ...

class Int32Values(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Iterable[int] | None = ...) -> None: ...

class DoubleValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Iterable[float] | None = ...) -> None: ...

class FloatValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Iterable[float] | None = ...) -> None: ...

class BoolValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, values: _Iterable[bool] | None = ...) -> None: ...

class StringValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Iterable[str] | None = ...) -> None: ...

class BytesValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[_builtins.bytes]
    def __init__(self, values: _Iterable[_builtins.bytes] | None = ...) -> None: ...

class GetOnlineFeaturesResponse(_message.Message):
    __slots__ = ("catalog_version", "features", "rows", "views")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    CATALOG_VERSION_FIELD_NUMBER: _ClassVar[int]
    rows: int
    features: _containers.RepeatedCompositeFieldContainer[FeatureColumn]
    views: _containers.RepeatedCompositeFieldContainer[ViewTimes]
    catalog_version: int
    def __init__(self, rows: int | None = ..., features: _Iterable[FeatureColumn | _Mapping] | None = ..., views: _Iterable[ViewTimes | _Mapping] | None = ..., catalog_version: int | None = ...) -> None: ...

class FeatureColumn(_message.Message):
    __slots__ = ("arrow_ipc", "bools", "bytes", "data_type", "doubles", "floats", "int32s", "int64s", "name", "presence", "reasons", "statuses", "strings")
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
    def __init__(self, name: str | None = ..., data_type: str | None = ..., doubles: DoubleValues | _Mapping | None = ..., floats: FloatValues | _Mapping | None = ..., int64s: Int64Values | _Mapping | None = ..., int32s: Int32Values | _Mapping | None = ..., bools: BoolValues | _Mapping | None = ..., strings: StringValues | _Mapping | None = ..., bytes: BytesValues | _Mapping | None = ..., arrow_ipc: _builtins.bytes | None = ..., presence: _builtins.bytes | None = ..., statuses: _builtins.bytes | None = ..., reasons: _builtins.bytes | None = ...) -> None: ...

class ViewTimes(_message.Message):
    __slots__ = ("ages", "event_times", "view")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIMES_FIELD_NUMBER: _ClassVar[int]
    AGES_FIELD_NUMBER: _ClassVar[int]
    view: str
    event_times: _containers.RepeatedScalarFieldContainer[int]
    ages: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, view: str | None = ..., event_times: _Iterable[int] | None = ..., ages: _Iterable[int] | None = ...) -> None: ...
