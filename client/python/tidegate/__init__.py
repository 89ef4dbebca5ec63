"""Client of the Tidegate feature store.

import tidegate

with tidegate.Client(project="flights") as client:
    client.apply("definitions/")
    client.ingest("weather_reports", weather)
    training = client.get_historical_features(spine, service="late_arrival").to_pandas()
    client.materialize()
    online = client.get_online_features({"origin": ["JFK"]}, service="weather_now").to_dict()
"""

from tidegate.client import Client
from tidegate.definitions import (
    Aggregate,
    Computed,
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    KafkaTopic,
    Query,
    Source,
    ViewUse,
    to_document,
    to_yaml,
)
from tidegate.derived import Lineage, LineageStep, Place, Refreshed
from tidegate.errors import (
    AlreadyExistsError,
    CancelledError,
    ConflictError,
    CorruptError,
    DeadlineError,
    DefinitionError,
    ExhaustedError,
    ForbiddenError,
    InternalError,
    InvalidError,
    NotFoundError,
    PreconditionError,
    Problem,
    TidegateError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
)
from tidegate.explain import Candidate, ViewExplained
from tidegate.inputs import NaiveTimeWarning
from tidegate.jobs import Job
from tidegate.layout import ColumnOverlap, Compacted, TableStats, Vacuumed
from tidegate.lifecycle import Backup, Dropped, ErasedTable, Rebuilt, Receipt, Retained
from tidegate.online import OnlineResult, Status
from tidegate.pushes import Flushed, Pushed, Quarantined
from tidegate.registry import Applied, Change, Described, Ingested, Plan, Progress, Version, ViewParity, ViewStatus
from tidegate.results import LazyTable, SqlResult, TrainingSet
from tidegate.sealed import Audit, Diff, Difference, Sample, SealedSet, Split, Verdict

__version__ = "0.1.0"

__all__ = [
    "Aggregate",
    "AlreadyExistsError",
    "Applied",
    "Audit",
    "Backup",
    "CancelledError",
    "Candidate",
    "Change",
    "Client",
    "ColumnOverlap",
    "Computed",
    "Compacted",
    "ConflictError",
    "CorruptError",
    "DeadlineError",
    "DefinitionError",
    "Described",
    "Diff",
    "Difference",
    "Dropped",
    "Entity",
    "ErasedTable",
    "ExhaustedError",
    "Feature",
    "FeatureService",
    "FeatureView",
    "ForbiddenError",
    "Ingested",
    "InternalError",
    "InvalidError",
    "Job",
    "KafkaTopic",
    "LazyTable",
    "Lineage",
    "LineageStep",
    "NaiveTimeWarning",
    "NotFoundError",
    "OnlineResult",
    "Place",
    "Plan",
    "PreconditionError",
    "Problem",
    "Progress",
    "Pushed",
    "Quarantined",
    "Query",
    "Rebuilt",
    "Receipt",
    "Refreshed",
    "Retained",
    "Sample",
    "SealedSet",
    "Source",
    "Split",
    "SqlResult",
    "Status",
    "TableStats",
    "TidegateError",
    "TrainingSet",
    "UnauthenticatedError",
    "UnavailableError",
    "UnsupportedError",
    "Vacuumed",
    "Verdict",
    "Version",
    "ViewExplained",
    "ViewParity",
    "ViewStatus",
    "ViewUse",
    "to_document",
    "to_yaml",
]
