import builtins as _builtins
from collections.abc import Iterable as _Iterable
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar

from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from google.protobuf.internal import containers as _containers

DESCRIPTOR: _descriptor.FileDescriptor

class TrainingSet(_message.Message):
    __slots__ = ("as_of", "event_time_column", "feature_service", "features", "full_feature_names", "include_event_times", "include_statuses", "project", "spine_id", "sql", "table")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    FEATURE_SERVICE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    SPINE_ID_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_COLUMN_FIELD_NUMBER: _ClassVar[int]
    FULL_FEATURE_NAMES_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_EVENT_TIMES_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_STATUSES_FIELD_NUMBER: _ClassVar[int]
    project: str
    feature_service: str
    features: FeatureReferences
    spine_id: str
    sql: str
    table: str
    event_time_column: str
    full_feature_names: bool
    as_of: int
    include_event_times: bool
    include_statuses: bool
    def __init__(self, project: str | None = ..., feature_service: str | None = ..., features: FeatureReferences | _Mapping | None = ..., spine_id: str | None = ..., sql: str | None = ..., table: str | None = ..., event_time_column: str | None = ..., full_feature_names: bool | None = ..., as_of: int | None = ..., include_event_times: bool | None = ..., include_statuses: bool | None = ...) -> None: ...

class FeatureReferences(_message.Message):
    __slots__ = ("references",)
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    references: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, references: _Iterable[str] | None = ...) -> None: ...

class SpineUpload(_message.Message):
    __slots__ = ("project",)
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    project: str
    def __init__(self, project: str | None = ...) -> None: ...

class SpineUploaded(_message.Message):
    __slots__ = ("expires_at", "rows", "spine_id")
    SPINE_ID_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    spine_id: str
    rows: int
    expires_at: int
    def __init__(self, spine_id: str | None = ..., rows: int | None = ..., expires_at: int | None = ...) -> None: ...

class Ingest(_message.Message):
    __slots__ = ("batch_id", "ignore_extra_columns", "project", "target")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    IGNORE_EXTRA_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    project: str
    target: str
    batch_id: str
    ignore_extra_columns: bool
    def __init__(self, project: str | None = ..., target: str | None = ..., batch_id: str | None = ..., ignore_extra_columns: bool | None = ...) -> None: ...

class Ingested(_message.Message):
    __slots__ = ("already_ingested", "batch_id", "ignored_columns", "rows", "source", "version")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ALREADY_INGESTED_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    IGNORED_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    source: str
    version: int
    rows: int
    already_ingested: bool
    batch_id: str
    ignored_columns: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, source: str | None = ..., version: int | None = ..., rows: int | None = ..., already_ingested: bool | None = ..., batch_id: str | None = ..., ignored_columns: _Iterable[str] | None = ...) -> None: ...

class Ticket(_message.Message):
    __slots__ = ("sql", "training_set")
    TRAINING_SET_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    training_set: TrainingSet
    sql: SqlStatement
    def __init__(self, training_set: TrainingSet | _Mapping | None = ..., sql: SqlStatement | _Mapping | None = ...) -> None: ...

class SqlStatement(_message.Message):
    __slots__ = ("parameters", "project", "query")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    project: str
    query: str
    parameters: _builtins.bytes
    def __init__(self, project: str | None = ..., query: str | None = ..., parameters: _builtins.bytes | None = ...) -> None: ...
