"""Defines the shapes' views on a server, and makes the compacted form of the standard tables.

That is what Tidegate keeps of the same rows: ingested slice by slice into managed tables, then compacted.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import tidegate
from contenders import SERVICE, files_of, project
from processes import Failed, Server
from shapes import CREATED_TIME, EVENT_TIME, Shape, Table
from tidegate import Entity, Feature, FeatureService, FeatureView, Source


# Definitions


def define(server: Server, shape: Shape, folders: dict[str, Path] | None) -> None:
    """Makes the shape's views the server's: over the tables in `folders`, or over managed ones where that is None."""
    tables = {table.name: table for table in shape.dataset.tables}
    used = [tables[name] for name in dict.fromkeys(view.table for view in shape.views)]
    keys = {key.column: key for table in used for key in table.keys}
    sources = {table.name: source(table, folders[table.name] if folders else None) for table in used}
    definitions: list[Any] = [Entity(name, {name: "string" if key.text else "int64"}) for name, key in keys.items()]
    definitions += sources.values()
    uses = []
    for view in shape.views:
        table = tables[view.table]
        defined = FeatureView(
            view.name,
            [key.column for key in table.keys],
            sources[table.name],
            features_of(table, view.features or table.feature_names),
            ttl=None if shape.ttl_us is None else timedelta(microseconds=shape.ttl_us),
            availability="event",
            online=False,
        )
        definitions.append(defined)
        uses.append(defined.use(keys=dict(view.spine_columns)))
    definitions.append(FeatureService(SERVICE, uses, full_names=shape.full_names))
    with tidegate.Client(server.address, project(shape)) as client:
        client.apply(definitions, prune=True, allow_breaking=True)


def source(table: Table, folder: Path | None) -> Source:
    """A managed table keeps the created time as a column like any other: the peers don't look at it either."""
    if folder:
        return Source(f"{table.name}_rows", EVENT_TIME, table={"delta": str(folder.resolve())})
    return Source(f"{table.name}_rows", EVENT_TIME, columns={CREATED_TIME: "timestamp"})


def features_of(table: Table, names: Sequence[str]) -> list[Feature]:
    """The features with the types that pit_gen.py gives them."""
    kinds = {name: at % 10 for at, name in enumerate(table.feature_names)}
    types = ["float64"] * 5 + ["int64"] * 2 + ["bool", "string", "float64"]
    return [Feature(name, types[kinds[name]]) for name in names]


# The compacted tables


def can_compact(binary: Path) -> bool:
    """Whether this binary has `tidegate table compact`."""
    asked = subprocess.run([binary, "table", "--help"], capture_output=True, text=True)
    return asked.returncode == 0 and "compact" in asked.stdout


def managed_folders(data: Path, shape: Shape) -> dict[str, Path]:
    """Where the server keeps the shape's tables."""
    return {table.name: data / "tables" / project(shape) / f"{table.name}_rows" for table in shape.dataset.tables}


def prepare_folder(folder: Path, given: dict[str, Path], again: bool) -> bool:
    """Whether `folder` already holds the compacted form of the given tables; if not, it is made empty."""
    said = folder / "compacted.json"
    if not again and said.exists() and json.loads(said.read_text()) == made_of(given):
        return True
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return False


def compact(folder: Path, server: Server, binary: Path, shape: Shape, given: dict[str, Path]) -> None:
    """Ingests the given tables' files one by one, in the order of time, and compacts.

    Raises `Failed` where the compaction does.
    """
    define(server, shape, None)
    with tidegate.Client(server.address, project(shape)) as client:
        for name, table in given.items():
            print(f"ingesting {name}", flush=True)
            for at, file in enumerate(files_of(table)):
                client.ingest(f"{name}_rows", pq.read_table(file, partitioning=None), batch_id=f"{name}-{at:04d}")
    environment = {**os.environ, "TIDEGATE_ADDRESS": server.address, "TIDEGATE_PROJECT": project(shape)}
    for view in shape.views:
        print(f"compacting {view.name}", flush=True)
        command = [str(binary), "table", "compact", view.name]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"`tidegate table compact {view.name}` failed: {done.stderr.strip()[-300:]}")
    (folder / "compacted.json").write_text(json.dumps(made_of(given)))


def made_of(given: dict[str, Path]) -> dict[str, list[str]]:
    """The given files by table: other files need other compacted ones."""
    return {name: [Path(file).name for file in files_of(table)] for name, table in given.items()}
