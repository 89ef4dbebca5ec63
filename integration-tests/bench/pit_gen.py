"""Makes the files of the point-in-time benchmark: Delta tables of history, and spines.

    python integration-tests/bench/pit_gen.py OUT [--dataset standard] [--scale 1.0] [--seed 7]

shapes.py has the datasets with their sizes at scale 1, and the spines. Everything is drawn from the seed, file by file, so that
one file's rows are all that memory holds. What is in OUT already is left alone.
"""

from __future__ import annotations

import argparse
import json
import shutil
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import write_deltalake
from shapes import CREATED_TIME, DAY, EVENT_TIME, ROW, SHAPES, Dataset, Key, Spine, Table

START = 1_735_689_600_000_000  # 2025-01-01T00:00:00Z in microseconds
DAYS = 90
WARM_UP_DAYS = 10
HOT_SHARE = 0.3
TIERS = pa.array(["gold", "silver", "bronze", "new"])
SEED = 7
# Rows drawn at once: a spine of 10 M labels is put together from such pieces.
PIECE_ROWS = 1_000_000
# Where a spine's file says what it was made of.
MADE_OF = b"made_of"


# Columns


def draw(rng: np.random.Generator, key: Key, rows: int, scale: float) -> np.ndarray:
    """Numbers of key values."""
    count = distinct(key, scale)
    if key.draw == "uniform":
        return rng.integers(0, count, rows)
    # A Pareto tail: what would fall outside belongs to the last value, which is very busy.
    drawn = np.minimum((rng.pareto(1.2, rows) * count / 50).astype("int64"), count - 1)
    if key.draw == "hot":
        drawn[rng.random(rows) < HOT_SHARE] = 0
    return drawn


def distinct(key: Key, scale: float) -> int:
    return max(1, int(key.values * min(scale, 1)))


def key_column(key: Key, numbers: np.ndarray) -> pa.Array:
    """The values themselves; as text they are ids of 14 characters whose order is not that of the numbers."""
    column = pa.array(numbers)
    if not key.text:
        return column
    scattered = pa.array(numbers * 2_654_435_761 % 10_000_000_019).cast(pa.string())
    return pc.binary_join_element_wise(key.column[:2], pc.utf8_lpad(scattered, 11, "0"), "-")


def feature(rng: np.random.Generator, rows: int, kind: int) -> pa.Array:
    """Of ten features five are amounts, two counts, one a flag, one a label and one a share with gaps."""
    if kind < 5:
        return pa.array(np.round(rng.gamma(2.0, 30.0, rows), 3))
    if kind < 7:
        return pa.array(rng.poisson(12, rows).astype("int64"))
    if kind == 7:
        return pa.array(rng.random(rows) < 0.2)
    if kind == 8:
        return TIERS.take(pa.array(rng.integers(0, len(TIERS), rows)))
    return pa.array(np.round(rng.random(rows), 4), mask=rng.random(rows) < 0.05)


def utc(micros: np.ndarray) -> pa.Array:
    return pa.array(micros, pa.timestamp("us", "UTC"))


def rising(rng: np.random.Generator, rows: int, start: int, span: int) -> np.ndarray:
    """Strictly rising times in `[start, start + span)`."""
    return np.sort(rng.integers(0, span - rows, rows)) + np.arange(rows) + start


# Tables


def rows_of_file(rng: np.random.Generator, table: Table, file: int, rows: int, scale: float) -> pa.Table:
    """One file's rows; each is created ten minutes after its event, on average."""
    if table.order == "time":
        span = DAYS * DAY // table.files
        times = rising(rng, rows, START + file * span, span)
        keys = [draw(rng, key, rows, scale) for key in table.keys]
    else:
        times, keys = by_key(rng, table, file, rows, scale)
    columns = {key.column: key_column(key, numbers) for key, numbers in zip(table.keys, keys, strict=True)}
    columns[EVENT_TIME] = utc(times)
    columns[CREATED_TIME] = utc(times + rng.exponential(600e6, rows).astype("int64"))
    columns |= {name: feature(rng, rows, at % 10) for at, name in enumerate(table.feature_names)}
    return pa.table(columns)


def by_key(
    rng: np.random.Generator, table: Table, file: int, rows: int, scale: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Times over all days, and this file's share of the values of the only key, in the order of key and time."""
    (key,) = table.keys
    count = distinct(key, scale)
    first, last = file * count // table.files, (file + 1) * count // table.files
    numbers = rng.integers(first, max(last, first + 1), rows)
    times = rng.permutation(rising(rng, rows, START, DAYS * DAY))
    order = np.lexsort((times, numbers))
    return times[order], [numbers[order]]


def write_table(out: Path, seed: int, table: Table, scale: float) -> None:
    rows = max(1, int(table.rows * scale) // table.files)
    for file in range(table.files):
        rng = np.random.default_rng([seed, zlib.crc32(table.name.encode()), file])
        write_deltalake(out / table.name, rows_of_file(rng, table, file, rows, scale), mode="append")


# Spines


def made_of(seed: int, spine: Spine, rows: int) -> str:
    return json.dumps({"spine": asdict(spine), "rows": rows, "seed": seed})


def write_spine(path: Path, seed: int, spine: Spine, scale: float) -> None:
    """Labels with the number of their row, to find it again; none of them within the first days."""
    rows = labels_of(spine, scale)
    rng = np.random.default_rng([seed, zlib.crc32(spine.name.encode())])
    times = START + WARM_UP_DAYS * DAY + rng.integers(0, (DAYS - WARM_UP_DAYS) * DAY, rows)
    numbers = [draw(rng, key, rows, scale) for key in spine.keys]
    if spine.order != "none":
        order = np.argsort(times) if spine.order == "time" else np.lexsort((times, *reversed(numbers)))
        times, numbers = times[order], [column[order] for column in numbers]
    unfinished = path.with_suffix(".unfinished")
    wanted = {MADE_OF: made_of(seed, spine, rows)}
    writer = None
    for start in range(0, rows, PIECE_ROWS):
        piece = slice(start, min(start + PIECE_ROWS, rows))
        columns = {ROW: pa.array(np.arange(piece.start, piece.stop))}
        columns |= {key.column: key_column(key, column[piece]) for key, column in zip(spine.keys, numbers, strict=True)}
        columns[EVENT_TIME] = utc(times[piece])
        columns["label"] = pa.array(rng.random(piece.stop - piece.start) < 0.03)
        labels = pa.table(columns).replace_schema_metadata(wanted)
        writer = writer or pq.ParquetWriter(unfinished, labels.schema)
        writer.write_table(labels)
    if writer:
        writer.close()
    unfinished.rename(path)


# Folders


def scale_of(dataset: Dataset, scale: float) -> float:
    return scale if dataset.scaled else 1.0


def folder_name(dataset: Dataset, scale: float) -> str:
    return f"{dataset.name}-{scale:g}" if dataset.scaled else dataset.name


def generate(out: Path, dataset: Dataset, scale: float, seed: int = SEED) -> None:
    """Writes the dataset's tables into the folder `out`, unless those very tables are there already."""
    said = out / "dataset.json"
    wanted = json.loads(json.dumps({"dataset": asdict(dataset), "scale": scale_of(dataset, scale), "seed": seed}))
    if said.exists() and json.loads(said.read_text()) == wanted:
        return
    print(f"writing {dataset.name} at scale {scale_of(dataset, scale):g} into {out}", flush=True)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for table in dataset.tables:
        write_table(out, seed, table, scale_of(dataset, scale))
    said.write_text(json.dumps(wanted, indent=1))


def labels_of(spine: Spine, scale: float) -> int:
    return max(1, int(spine.rows * scale))


def generate_spine(out: Path, dataset: Dataset, spine: Spine, scale: float, seed: int = SEED) -> Path:
    """The spine's file in `out`, written unless that very spine is there already."""
    path, scale = out / f"{spine.name}.parquet", scale_of(dataset, scale)
    wanted = made_of(seed, spine, labels_of(spine, scale)).encode()
    if not path.exists() or (pq.read_schema(path).metadata or {}).get(MADE_OF) != wanted:
        out.mkdir(parents=True, exist_ok=True)
        write_spine(path, seed, spine, scale)
    return path


def main() -> None:
    datasets: dict[str, Any] = {shape.dataset.name: shape.dataset for shape in SHAPES}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dataset", choices=list(datasets), default="standard")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=SEED)
    asked = parser.parse_args()
    dataset = datasets[asked.dataset]
    generate(asked.out, dataset, asked.scale, asked.seed)
    for shape in SHAPES:
        if shape.dataset is dataset:
            generate_spine(asked.out, dataset, shape.spine, asked.scale, asked.seed)


if __name__ == "__main__":
    main()
