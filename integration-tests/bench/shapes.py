"""The shapes of the point-in-time benchmark: which tables, which labels, which question. Data only.

Sizes are those at scale 1; `--scale` multiplies rows, labels and distinct keys, except of what is tiny anyway. pit_gen.py
makes the files, pit.py asks every contender the same question of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

HOUR = 3_600_000_000
DAY = 24 * HOUR

EVENT_TIME = "event_timestamp"
CREATED_TIME = "created_timestamp"
# The spine's column that numbers its rows: contenders put them out in any order.
ROW = "row"


@dataclass(frozen=True)
class Key:
    """A key column and how its values are drawn.

    `uniform`: all alike. `pareto`: a long tail, whose end belongs to the last value. `hot`: the same, and 30 % of the rows
    have the first value.
    """

    column: str
    values: int
    draw: Literal["uniform", "pareto", "hot"] = "uniform"
    text: bool = False


@dataclass(frozen=True)
class Table:
    """A Delta table of history: rows over 90 days, appended file by file.

    `order`: `time`, each file a slice of time as a daily job writes it; or `key`, each file a range of keys, its rows by key
    and time. No two rows of a table, or of a file where files are ranges of keys, share an event time: an ASOF join of any
    engine has one right answer.
    """

    name: str
    rows: int
    keys: tuple[Key, ...]
    features: int
    prefix: str
    files: int = 30
    order: Literal["time", "key"] = "time"

    @property
    def feature_names(self) -> list[str]:
        """The feature columns in order."""
        return [f"{self.prefix}_f{at:02d}" for at in range(self.features)]


@dataclass(frozen=True)
class Dataset:
    """Tables made together, in one folder."""

    name: str
    tables: tuple[Table, ...]
    scaled: bool = True


@dataclass(frozen=True)
class Spine:
    """The labels: a Parquet file beside the tables, named for itself."""

    name: str
    rows: int
    keys: tuple[Key, ...]
    order: Literal["none", "time", "key"] = "none"


@dataclass(frozen=True)
class View:
    """A view over a table: all its features or some, its keys under their own names or found in other spine columns."""

    name: str
    table: str
    features: Sequence[str] | None = None
    spine_columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Shape:
    """One question: these labels, these views over these tables.

    `ttl_us`: how old a value may be, in microseconds. `full_names`: output columns are `view__feature`. `sorted_inputs`: the
    spine and the files come in the order of time, and who can use that is told so. `layout`: the files as they were appended,
    or as Tidegate's compaction leaves them.
    """

    name: str
    about: str
    dataset: Dataset
    spine: Spine
    views: tuple[View, ...]
    ttl_us: int | None = None
    full_names: bool = False
    sorted_inputs: bool = False
    layout: Literal["given", "compacted"] = "given"


def views_of(dataset: Dataset) -> tuple[View, ...]:
    """One view for each table, with its name."""
    return tuple(View(table.name, table.name) for table in dataset.tables)


# The standard workload

CUSTOMER = Key("customer_id", 500_000)
MERCHANT = Key("merchant_id", 50_000, "pareto")
STANDARD = Dataset(
    "standard",
    (
        Table("customer_stats", 10_000_000, (CUSTOMER,), 20, "cust"),
        Table("merchant_stats", 5_000_000, (MERCHANT,), 20, "merc"),
        Table("pair_stats", 5_000_000, (CUSTOMER, MERCHANT), 10, "pair"),
    ),
)
BOTH = (CUSTOMER, MERCHANT)
LABELS_10K = Spine("spine-10k", 10_000, BOTH)
LABELS_1M = Spine("spine", 1_000_000, BOTH)
LABELS_10M = Spine("spine-10m", 10_000_000, BOTH)
LABELS_SORTED = Spine("spine-by-time", 1_000_000, BOTH, order="time")


def slices(table: Table, count: int, width: int) -> tuple[View, ...]:
    """`count` views, each of `width` features of the table."""
    names = table.feature_names
    return tuple(
        View(f"{table.prefix}_{at:02d}", table.name, names[at * width : (at + 1) * width]) for at in range(count)
    )


ALIASES_20 = (
    *slices(STANDARD.tables[0], 7, 2),
    *slices(STANDARD.tables[1], 7, 2),
    *slices(STANDARD.tables[2], 6, 1),
)

# Twenty tables

KEYS_OF_TWENTY = ((CUSTOMER,), (MERCHANT,), BOTH)
TWENTY = Dataset(
    "twenty",
    tuple(Table(f"stats_{at:02d}", 250_000, KEYS_OF_TWENTY[at % 3], 5, f"t{at:02d}", files=6) for at in range(20)),
)

# Keys of other kinds

ACCOUNT = Key("account_id", 100_000, "hot")
HOT = Dataset("hot", (Table("account_stats", 5_000_000, (ACCOUNT,), 10, "acct"),))

USER = Key("user_id", 200_000, text=True)
COUNTRY = Key("country", 50, "pareto", text=True)
DEVICE = Key("device_id", 20_000)
TEXT = Dataset(
    "text",
    (
        Table("user_stats", 2_000_000, (USER,), 10, "user"),
        Table("device_stats", 2_000_000, (COUNTRY, DEVICE), 10, "devc"),
    ),
)

# Other layouts and sizes

SENSOR = Key("sensor_id", 250_000)
CLUSTERED = Dataset("clustered", (Table("sensor_stats", 5_000_000, (SENSOR,), 10, "sens", order="key"),))

SHOP = Key("shop_id", 500)
TINY = Dataset("tiny", (Table("shop_stats", 10_000, (SHOP,), 10, "shop", files=3),), scaled=False)

PLANE = Key("plane_id", 10_000)
SMALL = Dataset("small", (Table("plane_stats", 100_000, (PLANE,), 10, "plan", files=3),))

# DuckDB's issue 17001: one table of prices joined 2 to 20 times in one query, each time by another column of the spine.

PRICED = Key("price_id", 1_000)
PRICES = Dataset("prices", (Table("prices", 500_000, (PRICED,), 1, "pric", files=1),))
LABELS_PRICES = Spine("spine", 100_000, tuple(Key(f"id_{at:02d}", 1_000) for at in range(20)))


def price_views(count: int) -> tuple[View, ...]:
    """Views of the prices, the n-th by the spine's n-th id."""
    return tuple(View(f"price_{at:02d}", "prices", spine_columns={"price_id": f"id_{at:02d}"}) for at in range(count))


SHAPES = (
    Shape("standard-10k", "three views, 10 k labels", STANDARD, LABELS_10K, views_of(STANDARD)),
    Shape("standard-1M", "three views, 1 M labels", STANDARD, LABELS_1M, views_of(STANDARD)),
    Shape("standard-10M", "three views, 10 M labels", STANDARD, LABELS_10M, views_of(STANDARD)),
    Shape(
        "compacted-10k",
        "the same tables after our compaction, 10 k labels",
        STANDARD,
        LABELS_10K,
        views_of(STANDARD),
        layout="compacted",
    ),
    Shape(
        "compacted-1M",
        "the same tables after our compaction, 1 M labels",
        STANDARD,
        LABELS_1M,
        views_of(STANDARD),
        layout="compacted",
    ),
    Shape("ttl-1h", "three views, 1 M labels, ttl 1 h", STANDARD, LABELS_1M, views_of(STANDARD), ttl_us=HOUR),
    Shape("ttl-7d", "three views, 1 M labels, ttl 7 d", STANDARD, LABELS_1M, views_of(STANDARD), ttl_us=7 * DAY),
    Shape(
        "presorted",
        "three views, 1 M labels; labels and files in the order of time, Polars told so",
        STANDARD,
        LABELS_SORTED,
        views_of(STANDARD),
        sorted_inputs=True,
    ),
    Shape("aliases-20", "20 views over the three tables, 1 M labels", STANDARD, LABELS_1M, ALIASES_20),
    Shape(
        "views-20",
        "20 views over 20 tables of 250 k rows, 100 k labels",
        TWENTY,
        Spine("spine", 100_000, BOTH),
        views_of(TWENTY),
    ),
    Shape(
        "hot-key",
        "5 M rows, one key with 30 % of them, 1 M labels alike",
        HOT,
        Spine("spine", 1_000_000, (ACCOUNT,)),
        views_of(HOT),
    ),
    Shape(
        "text-keys",
        "2 M rows by text, 2 M by text and number, 500 k labels",
        TEXT,
        Spine("spine", 500_000, (USER, COUNTRY, DEVICE)),
        views_of(TEXT),
    ),
    Shape(
        "clustered",
        "5 M rows in the order of key and time, 1 M labels alike",
        CLUSTERED,
        Spine("spine", 1_000_000, (SENSOR,), order="key"),
        views_of(CLUSTERED),
    ),
    Shape("tiny", "10 k rows, 1 k labels", TINY, Spine("spine", 1_000, (SHOP,)), views_of(TINY)),
    Shape("small-view", "100 k rows, 2 M labels", SMALL, Spine("spine", 2_000_000, (PLANE,)), views_of(SMALL)),
    Shape(
        "prices-2",
        "DuckDB issue 17001: 100 k labels joined twice to 500 k rows of 1,000 ids",
        PRICES,
        LABELS_PRICES,
        price_views(2),
        full_names=True,
    ),
    Shape(
        "prices-20",
        "the same, joined 20 times",
        PRICES,
        LABELS_PRICES,
        price_views(20),
        full_names=True,
    ),
)
