"""Erasures, backups, rebuilds and the end of views from Python and the command line, against a real server."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import tidegate
from tidegate import Entity, Feature, FeatureService, FeatureView, Source
from tidegate.local import LocalServer

NAMES = itertools.count()
NOW = datetime.now(timezone.utc)


def order(user_id: int, days_ago: float, amount: float) -> dict[str, object]:
    return {"user_id": user_id, "at": NOW - timedelta(days=days_ago), "amount": amount}


@pytest.fixture
def client(server: LocalServer) -> Iterator[tidegate.Client]:
    user = Entity("user", keys={"user_id": "int64"})
    orders = Source("orders", event_time="at")
    stats = FeatureView("stats", entities=[user], source=orders, features=[Feature("amount", "float64")])
    service = FeatureService("buys", views=[stats])
    with server.client(f"lifecycle_{next(NAMES)}") as client:
        client.apply([user, orders, stats, service])
        client.ingest("orders", [order(user_id, 30 - user_id, user_id * 1.5) for user_id in range(1, 8)])
        client.materialize(progress=False)
        yield client


def served(client: tidegate.Client, users: list[int]) -> list[object]:
    return client.get_online_features({"user_id": users}, service="buys").to_dict()["amount"]


def cli(server: LocalServer, client: tidegate.Client, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TIDEGATE_ADDRESS": server.address, "TIDEGATE_PROJECT": client.project}
    binary = os.environ["TIDEGATE_BIN"]
    return subprocess.run([binary, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_an_entity_is_erased_with_a_receipt(client: tidegate.Client) -> None:
    steps: list[str] = []
    receipt = client.erase("user", {"user_id": 3}, progress=steps.append)
    assert receipt.views == {"stats": 1}
    assert [(table.source, table.rows) for table in receipt.tables] == [("orders", 1)]
    assert receipt.tables[0].versions_lost == ((1, 1),)
    assert steps == ["table orders", "online tier"]
    assert served(client, [2, 3, 4]) == [3.0, None, 6.0]
    assert client.erasures() == [receipt]
    with pytest.raises(tidegate.InvalidError, match="was erased"):
        client.ingest("orders", [order(3, 0.5, 9.0)])
    with pytest.raises(tidegate.NotFoundError, match="did you mean `user`"):
        client.erase("usr", {"user_id": 3})
    with pytest.raises(tidegate.InvalidError):
        client.erase("user", {"user_id": "three"})


def test_erasing_and_dropping_ask_first(server: LocalServer, client: tidegate.Client) -> None:
    unasked = cli(server, client, "erase", "user", "--key", "user_id=4")
    assert unasked.returncode == 1 and "--yes" in unasked.stderr
    assert served(client, [4]) == [6.0]
    done = cli(server, client, "erase", "user", "--key", "user_id=4", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)
    assert (receipt["entity"], receipt["views"]) == ("user", [{"view": "stats", "rows": 1}])
    listed = cli(server, client, "erasures")
    assert receipt["id"] in listed.stdout
    assert "user_id=4" not in listed.stdout
    refused = cli(server, client, "drop", "stats", "--yes")
    assert refused.returncode == 1 and "buys" in refused.stderr
    assert cli(server, client, "delete", "service", "buys").returncode == 0
    dropped = cli(server, client, "drop", "stats", "--yes", "--json")
    assert dropped.returncode == 0, dropped.stderr
    assert json.loads(dropped.stdout)["rows"] == 6
    with pytest.raises(tidegate.NotFoundError):
        client.drop_view("stats")


def test_a_backup_becomes_a_server(client: tidegate.Client, tmp_path: Path) -> None:
    name = f"py-{client.project}"
    backup = client.backup(name)
    assert backup.views[f"{client.project}/stats"] == 1
    assert backup.tables[f"{client.project}/orders"] == 1
    binary, data = os.environ["TIDEGATE_BIN"], tmp_path / "restored"
    subprocess.run([binary, "restore", backup.path, "--check"], check=True, capture_output=True)
    subprocess.run([binary, "restore", backup.path, "--data-dir", str(data)], check=True, capture_output=True)
    again = subprocess.run(
        [binary, "restore", backup.path, "--data-dir", str(data)], check=False, capture_output=True, text=True
    )
    assert again.returncode == 1 and "not empty" in again.stderr
    with LocalServer(binary, data) as restored, restored.client(client.project) as other:
        assert served(other, [1, 7]) == [1.5, 10.5]
        rebuilt = other.rebuild(client.project)
        assert [(view.view, view.rows_written) for view in rebuilt] == [("stats", 7)]
        assert served(other, [1, 7]) == [1.5, 10.5]
    with pytest.raises(tidegate.AlreadyExistsError):
        client.backup(name)
    with pytest.raises(tidegate.InvalidError, match="backup.folder"):
        client.backup("../elsewhere")


def test_views_retain_what_they_say(client: tidegate.Client) -> None:
    assert client.retain() == []
    with pytest.raises(tidegate.PreconditionError, match="retention"):
        client.retain("stats")
