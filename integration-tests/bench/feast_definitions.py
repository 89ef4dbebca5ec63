"""Feast's own benchmark, as `feast apply` reads it: 25 views of ten int64 features on one entity. `feast_peer` copies it beside
the data."""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource
from feast.types import Int64
from feast.value_type import ValueType

entity = Entity(name="entity", join_keys=["entity_id"], value_type=ValueType.INT64)


def view(number: int) -> FeatureView:
    return FeatureView(
        name=f"fv_{number}",
        entities=[entity],
        ttl=timedelta(days=3650),
        schema=[Field(name=f"f_{number}_{feature}", dtype=Int64) for feature in range(10)],
        source=FileSource(name=f"src_{number}", path=f"fv_{number}.parquet", timestamp_field="event_timestamp"),
        online=True,
    )


views = [view(number) for number in range(25)]
# Feast finds what has a name of its own in the module.
globals().update({view.name: view for view in views})
svc50 = FeatureService(name="svc50", features=views[:5])
svc250 = FeatureService(name="svc250", features=views)
