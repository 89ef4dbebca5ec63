"""Makes the workload of the point-in-time benchmark: three Delta tables of history, and a spine.

    python integration-tests/bench/pit_gen.py OUT [--scale 1.0] [--spine 1000000] [--files 30] [--seed 7]

At scale 1 these are, each in 30 daily-job-like time slices over 90 days of 2025:

    customer_stats   10 M rows × 20 features, 500 k customers, uniform
    merchant_stats    5 M rows × 20 features,  50 k merchants, a few of them very busy
    pair_stats        5 M rows × 10 features, keyed by customer and merchant

Within one table no two rows share an event time, so that an ASOF join of any engine has one right answer.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import write_deltalake

DAY = 86_400_000_000
START = 1_735_689_600_000_000  # 2025-01-01T00:00:00Z in microseconds
DAYS = 90
WARM_UP_DAYS = 10
TIERS = np.array(["gold", "silver", "bronze", "new"])

Draw = Callable[[np.random.Generator, int], np.ndarray]


def customers(count: int) -> Draw:
    return lambda rng, rows: rng.integers(0, count, rows)


def merchants(count: int) -> Draw:
    """A Pareto tail: what would fall outside belongs to the last merchant, who is very busy."""
    return lambda rng, rows: np.minimum((rng.pareto(1.2, rows) * count / 50).astype("int64"), count - 1)


def feature(rng: np.random.Generator, rows: int, kind: int) -> pa.Array:
    """Of ten features five are amounts, two counts, one a flag, one a label and one a share with gaps."""
    if kind < 5:
        return pa.array(np.round(rng.gamma(2.0, 30.0, rows), 3))
    if kind < 7:
        return pa.array(rng.poisson(12, rows).astype("int64"))
    if kind == 7:
        return pa.array(rng.random(rows) < 0.2)
    if kind == 8:
        return pa.array(TIERS[rng.integers(0, len(TIERS), rows)])
    return pa.array(np.round(rng.random(rows), 4), mask=rng.random(rows) < 0.05)


def utc(micros: np.ndarray) -> pa.Array:
    return pa.array(micros, pa.timestamp("us", "UTC"))


def slice_of_history(
    rng: np.random.Generator, rows: int, start: int, span: int, keys: dict[str, Draw], features: list[str]
) -> pa.Table:
    """Rows with strictly rising event times in `[start, start + span)`; each is created ten minutes later on average."""
    times = np.sort(rng.integers(0, span - rows, rows)) + np.arange(rows) + start
    columns = {name: pa.array(draw(rng, rows)) for name, draw in keys.items()}
    columns["event_timestamp"] = utc(times)
    columns["created_timestamp"] = utc(times + rng.exponential(600e6, rows).astype("int64"))
    columns |= {name: feature(rng, rows, at % 10) for at, name in enumerate(features)}
    return pa.table(columns)


def write_history(
    out: Path, rng: np.random.Generator, name: str, rows: int, files: int, keys: dict[str, Draw], count: int
) -> None:
    span = DAYS * DAY // files
    features = [f"{name[:4]}_f{at:02d}" for at in range(count)]
    for file in range(files):
        table = slice_of_history(rng, rows // files, START + file * span, span, keys, features)
        write_deltalake(out / name, table, mode="append")


def write_spine(out: Path, rng: np.random.Generator, rows: int, keys: dict[str, Draw]) -> None:
    """Labels in no order, none within the first days, each with a number to find it again."""
    times = START + WARM_UP_DAYS * DAY + rng.integers(0, (DAYS - WARM_UP_DAYS) * DAY, rows)
    spine = pa.table(
        {
            "row": pa.array(np.arange(rows)),
            **{name: pa.array(draw(rng, rows)) for name, draw in keys.items()},
            "event_timestamp": utc(times),
            "label": pa.array(rng.random(rows) < 0.03),
        }
    )
    pq.write_table(spine, out / "spine.parquet")


def generate(out: Path, scale: float = 1.0, spine: int = 1_000_000, files: int = 30, seed: int = 7) -> None:
    """Writes everything into the new folder `out`."""
    out.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    customer = customers(max(1, int(500_000 * min(scale, 1))))
    merchant = merchants(max(1, int(50_000 * min(scale, 1))))
    both = {"customer_id": customer, "merchant_id": merchant}
    write_history(out, rng, "customer_stats", int(10e6 * scale), files, {"customer_id": customer}, 20)
    write_history(out, rng, "merchant_stats", int(5e6 * scale), files, {"merchant_id": merchant}, 20)
    write_history(out, rng, "pair_stats", int(5e6 * scale), files, both, 10)
    write_spine(out, rng, spine, both)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--spine", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=30)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    generate(asked.out, asked.scale, asked.spine, asked.files, asked.seed)
