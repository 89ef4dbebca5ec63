"""What is looked up: shapes of requests, and the values behind them.

The data is that of Feast's own benchmark: views of ten int64 features on one entity, one row for each entity. Values are
computed from view, feature and entity, so that everyone can be held against what was stored. No contender is known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

Ids = np.ndarray[Any, Any]

FEATURES = 10
VIEWS, MIXED_VIEWS = 25, 5
# With more entities than this only the shapes that say most are measured, and the peers that take long to fill are left out.
ENTITIES_ALL = 100_000
# Requests made beforehand and sent in turn: enough to reach most entities, within these bounds.
REQUESTS_MIN, REQUESTS_MAX = 2_000, 100_000
EVENT_TIME = "event_timestamp"
# The event time of every row, in microseconds.
NOW = 1_760_000_000_000_000
MIXED = ("float64", "float32", "int64", "int32", "bool", "string", "timestamp", "date", "float64", "string")


@dataclass(frozen=True)
class Shape:
    """Entity rows in a request, views asked for, entities there are, and whether features have all sorts of types."""

    rows: int
    views: int
    entities: int
    mixed: bool = False
    cached: bool = True

    @property
    def name(self) -> str:
        kind = " mixed" if self.mixed else ""
        where = "cached" if self.cached else "block cache"
        return f"{self.rows} x {self.views * FEATURES}{kind}, {thousands(self.entities)} entities, {where}"


def thousands(number: int) -> str:
    if number >= 1_000_000:
        return f"{number // 1_000_000} M"
    return f"{number // 1_000} k" if number >= 1_000 else str(number)


def shapes(entities: int) -> list[Shape]:
    if entities > ENTITIES_ALL:
        sizes = [(1, 5), (100, 5), (100, 25)]
        return [Shape(rows, views, entities, cached=cached) for cached in (True, False) for rows, views in sizes]
    sizes = [(1, 5), (1, 25), (10, 5), (100, 5), (100, 25)]
    warm = [Shape(rows, views, entities) for rows, views in sizes]
    cold = [Shape(rows, views, entities, cached=False) for rows, views in sizes if rows != 10]
    return [*warm, *cold, Shape(1, 5, entities, mixed=True), Shape(100, 5, entities, mixed=True)]


# Names


def view_name(view: int, mixed: bool) -> str:
    return f"{'mixed' if mixed else 'fv'}_{view}"


def feature_names(view: int, mixed: bool) -> list[str]:
    return [f"{'m' if mixed else 'f'}_{view}_{feature}" for feature in range(FEATURES)]


def service(views: int, mixed: bool) -> str:
    return f"{'mixed' if mixed else 'svc'}{views * FEATURES}"


# Values


def column(view: int, feature: int, ids: Ids, mixed: bool) -> pa.Array:
    """Values of these entities that say where they belong."""
    numbers = (ids.astype(np.int64) * 2_654_435_761 + view * 1_000 + feature) % 1_000_003
    of = MIXED[feature] if mixed else "int64"
    if of == "string":
        return pa.array([f"text {number}" for number in numbers])
    if of == "bool":
        return pa.array(numbers % 2 == 0)
    if of == "timestamp":
        return pa.array(numbers).cast(pa.timestamp("us", "UTC"))
    if of == "date":
        return pa.array((numbers % 30_000).astype(np.int32)).cast(pa.date32())
    return pa.array(numbers).cast({"float64": pa.float64(), "float32": pa.float32(), "int32": pa.int32()}.get(of, pa.int64()))


def rows_of(view: int, entities: int, mixed: bool) -> pa.Table:
    ids = np.arange(entities)
    columns = {name: column(view, at, ids, mixed) for at, name in enumerate(feature_names(view, mixed))}
    times = pa.array(np.full(entities, NOW)).cast(pa.timestamp("us", "UTC"))
    return pa.table({"entity_id": pa.array(ids), EVENT_TIME: times, **columns})


# Requests


def sample(entities: int) -> Ids:
    """Entities whose answers are checked, some of them unknown."""
    return np.random.default_rng(7).integers(0, entities + max(entities // 100, 3), 500)


def expected(shape: Shape, ids: Ids) -> Iterator[tuple[str, list[Any]]]:
    """What a lookup of these entities gives, feature by feature; unknown entities have nulls."""
    known = ids < shape.entities
    for view in range(shape.views):
        for at, name in enumerate(feature_names(view, shape.mixed)):
            stored = column(view, at, ids, shape.mixed).to_pylist()
            yield name, [value if there else None for value, there in zip(stored, known, strict=True)]


def batches(shape: Shape) -> Iterator[Ids]:
    """Random entities of each request: the same for everybody."""
    random = np.random.default_rng(1)
    for _ in range(min(max(REQUESTS_MIN, shape.entities // shape.rows), REQUESTS_MAX)):
        yield random.integers(0, shape.entities, shape.rows)
