import builtins as _builtins
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrainingSet(_message.Message):
    __slots__ = ("project", "feature_service", "features", "spine_id", "sql", "table", "event_time_column", "full_feature_names", "as_of", "include_event_times", "include_statuses", "split", "sample")
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
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
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
    split: Split
    sample: Sample
    def __init__(self, project: _Optional[str] = ..., feature_service: _Optional[str] = ..., features: _Optional[_Union[FeatureReferences, _Mapping]] = ..., spine_id: _Optional[str] = ..., sql: _Optional[str] = ..., table: _Optional[str] = ..., event_time_column: _Optional[str] = ..., full_feature_names: _Optional[bool] = ..., as_of: _Optional[int] = ..., include_event_times: _Optional[bool] = ..., include_statuses: _Optional[bool] = ..., split: _Optional[_Union[Split, _Mapping]] = ..., sample: _Optional[_Union[Sample, _Mapping]] = ...) -> None: ...

class JoinCounts(_message.Message):
    __slots__ = ("views",)
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    views: _containers.RepeatedCompositeFieldContainer[ViewCounts]
    def __init__(self, views: _Optional[_Iterable[_Union[ViewCounts, _Mapping]]] = ...) -> None: ...

class ViewCounts(_message.Message):
    __slots__ = ("view", "counts")
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    VIEW_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    view: str
    counts: _containers.ScalarMap[str, int]
    def __init__(self, view: _Optional[str] = ..., counts: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Split(_message.Message):
    __slots__ = ("at", "embargo")
    AT_FIELD_NUMBER: _ClassVar[int]
    EMBARGO_FIELD_NUMBER: _ClassVar[int]
    at: _containers.RepeatedScalarFieldContainer[int]
    embargo: int
    def __init__(self, at: _Optional[_Iterable[int]] = ..., embargo: _Optional[int] = ...) -> None: ...

class Sample(_message.Message):
    __slots__ = ("column", "keep", "seed")
    class Fraction(_message.Message):
        __slots__ = ("value", "fraction")
        VALUE_FIELD_NUMBER: _ClassVar[int]
        FRACTION_FIELD_NUMBER: _ClassVar[int]
        value: str
        fraction: float
        def __init__(self, value: _Optional[str] = ..., fraction: _Optional[float] = ...) -> None: ...
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    column: str
    keep: _containers.RepeatedCompositeFieldContainer[Sample.Fraction]
    seed: int
    def __init__(self, column: _Optional[str] = ..., keep: _Optional[_Iterable[_Union[Sample.Fraction, _Mapping]]] = ..., seed: _Optional[int] = ...) -> None: ...

class FeatureReferences(_message.Message):
    __slots__ = ("references",)
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    references: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, references: _Optional[_Iterable[str]] = ...) -> None: ...

class ExplainRow(_message.Message):
    __slots__ = ("training_set", "spine_row", "outputs", "runners_up")
    TRAINING_SET_FIELD_NUMBER: _ClassVar[int]
    SPINE_ROW_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    RUNNERS_UP_FIELD_NUMBER: _ClassVar[int]
    training_set: TrainingSet
    spine_row: _builtins.bytes
    outputs: _containers.RepeatedScalarFieldContainer[str]
    runners_up: int
    def __init__(self, training_set: _Optional[_Union[TrainingSet, _Mapping]] = ..., spine_row: _Optional[_builtins.bytes] = ..., outputs: _Optional[_Iterable[str]] = ..., runners_up: _Optional[int] = ...) -> None: ...

class RowExplained(_message.Message):
    __slots__ = ("views",)
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    views: _containers.RepeatedCompositeFieldContainer[ViewExplained]
    def __init__(self, views: _Optional[_Iterable[_Union[ViewExplained, _Mapping]]] = ...) -> None: ...

class ViewExplained(_message.Message):
    __slots__ = ("view", "table", "table_version", "at", "null_column", "status", "observations", "without_event_time", "outcomes", "candidates", "features", "values", "result")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    TABLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    NULL_COLUMN_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    OBSERVATIONS_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    view: str
    table: str
    table_version: int
    at: int
    null_column: str
    status: str
    observations: int
    without_event_time: int
    outcomes: _containers.RepeatedCompositeFieldContainer[OutcomeCount]
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    features: _containers.RepeatedCompositeFieldContainer[FeatureSource]
    values: _builtins.bytes
    result: _builtins.bytes
    def __init__(self, view: _Optional[str] = ..., table: _Optional[str] = ..., table_version: _Optional[int] = ..., at: _Optional[int] = ..., null_column: _Optional[str] = ..., status: _Optional[str] = ..., observations: _Optional[int] = ..., without_event_time: _Optional[int] = ..., outcomes: _Optional[_Iterable[_Union[OutcomeCount, _Mapping]]] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., features: _Optional[_Iterable[_Union[FeatureSource, _Mapping]]] = ..., values: _Optional[_builtins.bytes] = ..., result: _Optional[_builtins.bytes] = ...) -> None: ...

class OutcomeCount(_message.Message):
    __slots__ = ("outcome", "count")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    outcome: str
    count: int
    def __init__(self, outcome: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("outcome", "file", "version", "file_order", "row", "event_time", "created_time", "known_at", "valid_to")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FILE_ORDER_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    CREATED_TIME_FIELD_NUMBER: _ClassVar[int]
    KNOWN_AT_FIELD_NUMBER: _ClassVar[int]
    VALID_TO_FIELD_NUMBER: _ClassVar[int]
    outcome: str
    file: str
    version: int
    file_order: int
    row: int
    event_time: int
    created_time: int
    known_at: int
    valid_to: int
    def __init__(self, outcome: _Optional[str] = ..., file: _Optional[str] = ..., version: _Optional[int] = ..., file_order: _Optional[int] = ..., row: _Optional[int] = ..., event_time: _Optional[int] = ..., created_time: _Optional[int] = ..., known_at: _Optional[int] = ..., valid_to: _Optional[int] = ...) -> None: ...

class FeatureSource(_message.Message):
    __slots__ = ("output", "candidate", "window")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    output: str
    candidate: int
    window: WindowSource
    def __init__(self, output: _Optional[str] = ..., candidate: _Optional[int] = ..., window: _Optional[_Union[WindowSource, _Mapping]] = ...) -> None: ...

class WindowSource(_message.Message):
    __slots__ = ("after", "counted")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    after: int
    counted: int
    def __init__(self, after: _Optional[int] = ..., counted: _Optional[int] = ...) -> None: ...

class SpineUpload(_message.Message):
    __slots__ = ("project",)
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    project: str
    def __init__(self, project: _Optional[str] = ...) -> None: ...

class SpineUploaded(_message.Message):
    __slots__ = ("spine_id", "rows", "expires_at")
    SPINE_ID_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    spine_id: str
    rows: int
    expires_at: int
    def __init__(self, spine_id: _Optional[str] = ..., rows: _Optional[int] = ..., expires_at: _Optional[int] = ...) -> None: ...

class Ingest(_message.Message):
    __slots__ = ("project", "target", "batch_id", "ignore_extra_columns")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    IGNORE_EXTRA_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    project: str
    target: str
    batch_id: str
    ignore_extra_columns: bool
    def __init__(self, project: _Optional[str] = ..., target: _Optional[str] = ..., batch_id: _Optional[str] = ..., ignore_extra_columns: _Optional[bool] = ...) -> None: ...

class Ingested(_message.Message):
    __slots__ = ("source", "version", "rows", "already_ingested", "batch_id", "ignored_columns")
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
    def __init__(self, source: _Optional[str] = ..., version: _Optional[int] = ..., rows: _Optional[int] = ..., already_ingested: _Optional[bool] = ..., batch_id: _Optional[str] = ..., ignored_columns: _Optional[_Iterable[str]] = ...) -> None: ...

class SealedSet(_message.Message):
    __slots__ = ("project", "name")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    project: str
    name: str
    def __init__(self, project: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class SealedDiff(_message.Message):
    __slots__ = ("project", "name", "against")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    AGAINST_FIELD_NUMBER: _ClassVar[int]
    project: str
    name: str
    against: str
    def __init__(self, project: _Optional[str] = ..., name: _Optional[str] = ..., against: _Optional[str] = ...) -> None: ...

class Audit(_message.Message):
    __slots__ = ("training_set", "margin")
    TRAINING_SET_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    training_set: TrainingSet
    margin: int
    def __init__(self, training_set: _Optional[_Union[TrainingSet, _Mapping]] = ..., margin: _Optional[int] = ...) -> None: ...

class Ticket(_message.Message):
    __slots__ = ("training_set", "sql")
    TRAINING_SET_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    training_set: TrainingSet
    sql: SqlStatement
    def __init__(self, training_set: _Optional[_Union[TrainingSet, _Mapping]] = ..., sql: _Optional[_Union[SqlStatement, _Mapping]] = ...) -> None: ...

class SqlStatement(_message.Message):
    __slots__ = ("project", "query", "parameters")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    project: str
    query: str
    parameters: _builtins.bytes
    def __init__(self, project: _Optional[str] = ..., query: _Optional[str] = ..., parameters: _Optional[_builtins.bytes] = ...) -> None: ...
