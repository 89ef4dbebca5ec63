"""The benches still run, and the join equals DuckDB's and Polars' on a small form of some of their shapes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench" / "pit.py"
SHAPES = "standard-1M,ttl-7d,text-keys,hot-key,clustered,prices-2"


def test_the_join_equals_its_peers(tmp_path: Path) -> None:
    binary = Path(os.environ["TIDEGATE_BIN"])
    if not (binary.parent / "examples" / "pit").exists():
        pytest.skip("the example `pit` is not built; `make build` builds it")
    command = [sys.executable, str(BENCH), "--binary", str(binary), "--bench-data", str(tmp_path)]
    command += ["--check-only", "--scale", "0.001", "--shapes", SHAPES]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    equal = [line for line in done.stdout.splitlines() if "equal on" in line]
    assert len(equal) == len(SHAPES.split(","))
    assert all(line.endswith("in-process, flight, duckdb, polars") for line in equal), done.stdout
