"""The benches still run on small forms of some shapes: the join equals DuckDB's and Polars', lookups what was stored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"
SHAPES = "standard-1M,ttl-7d,text-keys,hot-key,clustered,prices-2"


def test_the_join_equals_its_peers(tmp_path: Path) -> None:
    binary = Path(os.environ["TIDEGATE_BIN"])
    if not (binary.parent / "examples" / "pit").exists():
        pytest.skip("the example `pit` is not built; `make build` builds it")
    command = [sys.executable, str(BENCH / "pit.py"), "--binary", str(binary), "--bench-data", str(tmp_path)]
    command += ["--check-only", "--scale", "0.001", "--shapes", SHAPES]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    equal = [line for line in done.stdout.splitlines() if "equal on" in line]
    assert len(equal) == len(SHAPES.split(","))
    assert all(line.endswith("in-process, flight, duckdb, polars") for line in equal), done.stdout


def test_lookups_are_timed_beside_their_peers(tmp_path: Path) -> None:
    binary = Path(os.environ["TIDEGATE_BIN"])
    if not (binary.parent / "examples" / "online_load").exists():
        pytest.skip("the example `online_load` is not built; `make build` builds it")
    raw = tmp_path / "raw.json"
    command = [sys.executable, str(BENCH / "online.py"), "--binary", str(binary), "--raw", str(raw)]
    command += ["--entities", "200", "--seconds", "0.2", "--calls", "20", "--only", "100 x 50", "--no-overload", "--no-feast"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(raw.read_text())["200"]
    ours = [line for line in found["shapes"] if line["who"] == "Tidegate"]
    assert [line["shape"] for line in ours] == [
        "100 x 50, 200 entities, cached",
        "100 x 50 mixed, 200 entities, cached",
        "100 x 50, 200 entities, block cache",
    ]
    assert all(line["per_second"] > 0 for line in found["shapes"])
    assert found["client"]["calls"] == 20


def test_materialization_is_timed_once_it_is_right(tmp_path: Path) -> None:
    raw = tmp_path / "raw.json"
    command = [sys.executable, str(BENCH / "materialize.py"), "--binary", os.environ["TIDEGATE_BIN"], "--raw", str(raw)]
    command += ["--rows", "2000", "--new-rows", "300", "--views", "3", "--view-rows", "500", "--pushes", "2"]
    command += ["--peer-entities", "100", "--no-feast"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = {line["shape"]: line["runs"] for line in json.loads(raw.read_text())["shapes"]}
    moved = {shape: [run["rows"] for run in found] for shape, found in runs.items() if not shape.startswith("push")}
    assert moved == {
        "full, 2 k rows of 2 k keys": [2000] * 3,
        "incremental, 300 rows, half new keys": [300] * 3,
        "full, 2 k rows of 200 keys": [2000] * 3,
        "view 1 of 3 on one entity, 500 rows each": [500],
        "view 3 of 3 on one entity, 500 rows each": [500],
        "25 views x 100 rows, by command line": [2500],
    }
    assert all(run["per_second"] > 0 for found in runs.values() for run in found)


def test_windows_equal_their_peers(tmp_path: Path) -> None:
    binary = Path(os.environ["TIDEGATE_BIN"])
    if not (binary.parent / "examples" / "pit").exists():
        pytest.skip("the example `pit` is not built; `make build` builds it")
    command = [sys.executable, str(BENCH / "windows.py"), "--binary", str(binary), "--bench-data", str(tmp_path)]
    done = subprocess.run([*command, "--check-only", "--scale", "0.001"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": equal") == 4, done.stdout
