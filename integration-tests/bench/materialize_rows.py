"""What is moved: rows of ten features, half int64 and half float64, on one int64 key, in tables that know what they hold.

A value is computed from feature, key and the observation's number, so that lookups can be held against what was ingested.
Keys arrive in random order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import tidegate
from online_shapes import EVENT_TIME, FEATURES, NOW, Ids
from tidegate import Entity, Feature, FeatureView, Source

KEY = "user_id"
TYPES = {f"f_{feature}": "float64" if feature % 2 else "int64" for feature in range(FEATURES)}
# Rows of one ingested batch.
BATCH_ROWS = 250_000
# Keys looked up to compare their features, and entity rows of one lookup that counts keys.
SAMPLE, COUNT_ROWS = 1_000, 50_000
RANDOM = np.random.default_rng(7)


class Table:
    """A view and its managed table: of each key it knows the number of the newest observation."""

    def __init__(self, name: str) -> None:
        self.name, self.source = name, f"{name}_rows"
        self.rows = self.observations = 0
        self.newest: Ids = np.empty(0, np.int64)

    @property
    def keys(self) -> int:
        return len(self.newest)

    def next(self, keys: Ids) -> pa.Table:
        """One more observation of each of these distinct keys, newer than all before; its rows."""
        known = np.full(max(self.keys, int(keys.max()) + 1), -1, np.int64)
        known[: self.keys] = self.newest
        known[keys] = self.observations
        made = rows_of(keys, self.observations)
        self.newest, self.observations = known, self.observations + 1
        return made

    def ingest(self, client: tidegate.Client, keys: Ids) -> int:
        """Appends such an observation, batch by batch; how many rows."""
        made = self.next(keys)
        for start in range(0, made.num_rows, BATCH_ROWS):
            client.ingest(self.source, made.slice(start, BATCH_ROWS))
        self.rows += made.num_rows
        return made.num_rows

    def changed(self, rows: int) -> Ids:
        """Half new keys, half known ones, shuffled."""
        fresh = np.arange(self.keys, self.keys + rows - rows // 2)
        known = RANDOM.choice(self.keys, min(rows // 2, self.keys), replace=False)
        return RANDOM.permutation(np.concatenate([fresh, known]))

    def check(self, client: tidegate.Client) -> None:
        """Holds all features of some keys, and that unknown keys have none, against what was ingested."""
        ids = RANDOM.choice(self.keys, min(SAMPLE, self.keys), replace=False)
        unknown = np.arange(self.keys, self.keys + 3)
        asked = [f"{self.name}:{feature}" for feature in TYPES]
        got = client.get_online_features({KEY: np.concatenate([ids, unknown])}, features=asked).to_arrow()
        for at, name in enumerate(TYPES):
            if got[name].to_pylist() != values(at, ids, self.newest[ids]).tolist() + [None] * len(unknown):
                raise SystemExit(f"{self.name}: the lookup of {name} is not what was ingested")

    def check_count(self, client: tidegate.Client) -> None:
        """Looks every key up."""
        asked, found = [f"{self.name}:{next(iter(TYPES))}"], 0
        for start in range(0, self.keys, COUNT_ROWS):
            ids = np.arange(start, min(start + COUNT_ROWS, self.keys))
            answer = client.get_online_features({KEY: ids}, features=asked).to_arrow()
            found += answer.num_rows - answer[next(iter(TYPES))].null_count
        if found != self.keys:
            raise SystemExit(f"{self.name}: lookups find {found:,} keys of {self.keys:,} that were ingested")


def define(client: tidegate.Client, names: list[str]) -> list[Table]:
    """Views of the same entity, each with an empty table of its own."""
    entity = Entity("user", {KEY: "int64"})
    made: list[Any] = [entity]
    tables = [Table(name) for name in names]
    for table in tables:
        source = Source(table.source, EVENT_TIME, columns=TYPES)
        made += [source, FeatureView(table.name, [entity], source, [Feature(name, of) for name, of in TYPES.items()])]
    client.apply(made)
    return tables


def shuffled(keys: int) -> Ids:
    return RANDOM.permutation(keys)


def rows_of(keys: Ids, observation: int) -> pa.Table:
    """Event times are apart by a second for each observation."""
    times = pa.array(np.full(len(keys), NOW + observation * 1_000_000)).cast(pa.timestamp("us", "UTC"))
    observations = np.full(len(keys), observation)
    columns = {name: pa.array(values(at, keys, observations)) for at, name in enumerate(TYPES)}
    return pa.table({KEY: pa.array(keys), EVENT_TIME: times, **columns})


def values(feature: int, keys: Ids, observations: Ids) -> Ids:
    numbers = (keys.astype(np.int64) * 2_654_435_761 + feature * 1_009 + observations * 7_919) % 1_000_003
    return numbers / 8 if feature % 2 else numbers
