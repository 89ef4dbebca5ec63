"""One real server for all tests, on free ports and a temporary folder; TIDEGATE_BIN names the binary."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tidegate
from tidegate.local import LocalServer

ROOT = Path(__file__).resolve().parent.parent.parent
FLIGHTS = ROOT / "examples" / "flights"
sys.path.insert(0, str(FLIGHTS))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    binary = os.environ.get("TIDEGATE_BIN")
    if not binary:
        pytest.fail("TIDEGATE_BIN must name the tidegate binary, such as target/debug/tidegate", pytrace=False)
    with LocalServer(binary, tmp_path_factory.mktemp("server") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo's Parquet inputs by name."""
    import prepare

    return prepare.prepare(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def flights(server: LocalServer, inputs: dict[str, Path]) -> Iterator[tidegate.Client]:
    """A client of the project `flights`: the demo's definitions, its history ingested and materialized."""
    import prepare

    with server.client("flights") as client:
        client.apply(FLIGHTS / "definitions")
        for source in prepare.HISTORIES:
            client.ingest(source, inputs[source], batch_id="all")
        client.materialize(progress=False)
        yield client
