"""Pushes from Python against a real server: served at once, in the table once, bad rows told, whatever the process dies of."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import deltalake
import grpc
import pandas as pd
import pyarrow as pa
import pytest
import tidegate
from tidegate import Entity, Feature, FeatureService, FeatureView, Source, Status
from tidegate._proto.online.v1 import online_pb2
from tidegate._proto.push.v1 import push_pb2
from tidegate.local import LocalServer

UTC = timezone.utc
T0 = datetime(2024, 1, 1, tzinfo=UTC)
NAMES = itertools.count()


def definitions() -> list[Any]:
    user = Entity("user", keys={"user_id": "int64"})
    clicks = Source("clicks", event_time="at", columns={"click_id": "string"})
    last = FeatureView("last_click", entities=[user], source=clicks, features=[Feature("page", "string")])
    count = FeatureView("click_value", entities=[user], source=clicks, features=[Feature("value", "float64")])
    return [user, clicks, last, count, FeatureService("now", views=[last, count])]


def click(user: int, minute: int, page: str, value: float = 1.0) -> dict[str, Any]:
    return {"user_id": user, "at": T0 + timedelta(minutes=minute), "page": page, "value": value}


@pytest.fixture
def client(server: LocalServer) -> Iterator[tidegate.Client]:
    with server.client(f"clicks_{next(NAMES)}") as client:
        client.apply(definitions())
        yield client


def pages(client: tidegate.Client, users: list[int], **options: Any) -> list[str | None]:
    found = client.get_online_features({"user_id": users}, service="now", **options)
    return list(found.to_dict()["page"])


def rows_of(client: tidegate.Client, table: str) -> int:
    return int(client.sql(f"SELECT count(*) AS n FROM sources.{table}").to_arrow()["n"][0].as_py())


def test_rows_are_served_at_once_and_reach_the_table(client: tidegate.Client) -> None:
    pushed = client.push("clicks", [click(1, 0, "/"), click(1, 2, "/buy"), click(2, 1, "/")])
    assert (pushed.accepted, pushed.kept, pushed.duplicates, pushed.quarantined) == (3, 1, 0, ())
    assert pages(client, [1, 2, 3], after_write=pushed.write_token) == ["/buy", "/", None]
    flushed = client.flush("last_click")
    assert (flushed.source, flushed.rows) == ("clicks", 3) and rows_of(client, "clicks") == 3
    assert client.flush("clicks").rows == 0
    client.materialize(progress=False)
    assert all(view.holds and view.equal == 2 and view.ahead == 0 for view in client.parity())


@pytest.mark.parametrize("ids", [["a", "b"], [b"a", b"b"], [1, 2]], ids=["text", "bytes", "integers"])
def test_an_event_id_is_taken_once(client: tidegate.Client, ids: list[Any]) -> None:
    rows = pd.DataFrame([click(1, 0, "/"), click(2, 0, "/")])
    assert client.push("clicks", rows, event_ids=ids).accepted == 2
    again = client.push("clicks", rows, event_ids=ids)
    assert (again.accepted, again.duplicates) == (0, 2)
    other = client.push("clicks", [click(1, 0, "/other"), click(3, 0, "/")], event_ids=[ids[0], None])
    assert other.accepted == 1 and [bad.reason for bad in other.quarantined] == ["duplicate id with other content"]
    client.flush("clicks")
    assert rows_of(client, "clicks") == 3 and rows_of(client, "_quarantine") == 1


def test_bad_rows_are_told_and_hold_up_no_other(client: tidegate.Client) -> None:
    now = datetime.now(UTC)
    rows = [
        click(1, 0, "/"),
        {**click(2, 0, "/"), "user_id": None},
        {**click(3, 0, "/"), "at": None},
        {**click(4, 0, "/"), "at": now + timedelta(days=3)},
        {**click(5, 0, "/"), "at": datetime(1970, 1, 1, tzinfo=UTC)},
    ]
    pushed = client.push("clicks", rows)
    assert pushed.accepted == 2 and sum(bad.rows for bad in pushed.quarantined) == 3
    assert pages(client, [1, 2, 3, 4, 5]) == ["/", None, None, None, "/"]
    client.flush("clicks")
    told = client.sql("SELECT reason, row FROM sources._quarantine ORDER BY reason").to_pandas()
    assert list(told["reason"]) == ["event time in the future", "null event time", "null key"]
    assert all('"page":"/"' in row for row in told["row"])


def test_what_happens_soon_is_served_when_it_is_due(client: tidegate.Client) -> None:
    due = datetime.now(UTC) + timedelta(seconds=1.5)
    pushed = client.push("clicks", [click(1, 0, "before"), {**click(1, 0, "after"), "at": due}])
    assert (pushed.accepted, pushed.waiting) == (2, 1)
    while datetime.now(UTC) < due - timedelta(seconds=0.2):
        assert pages(client, [1]) == ["before"]
        time.sleep(0.05)
    for _ in range(100):
        if pages(client, [1]) == ["after"]:
            break
        time.sleep(0.05)
    assert pages(client, [1]) == ["after"] and datetime.now(UTC) >= due


def test_rows_for_one_view_or_the_table_alone(client: tidegate.Client) -> None:
    only_page = [{"user_id": 1, "at": T0, "page": "/"}]
    assert client.push("last_click", only_page, to="online").accepted == 1
    found = client.get_online_features({"user_id": [1]}, service="now")
    assert found.statuses["page"] == [Status.PRESENT] and found.statuses["value"] == [Status.NOT_FOUND]
    assert client.push("clicks", [click(2, 0, "/")], to="offline").accepted == 1
    assert pages(client, [2]) == [None]
    client.flush("clicks")
    assert rows_of(client, "clicks") == 1


def test_what_does_not_fit_is_refused(client: tidegate.Client) -> None:
    with pytest.raises(tidegate.NotFoundError, match="did you mean `clicks`"):
        client.push("click", [click(1, 0, "/")])
    with pytest.raises(tidegate.InvalidError, match="page"):
        client.push("clicks", [{"user_id": 1, "at": T0}])
    with pytest.raises(tidegate.InvalidError, match="bitte"):
        client.push("clicks", [click(1, 0, "/")], to="bitte")
    with pytest.raises(tidegate.InvalidError, match="2 event ids"):
        client.push("clicks", [click(1, 0, "/")], event_ids=["a", "b"])


def test_columns_and_a_stream(client: tidegate.Client, server: LocalServer) -> None:
    """As a caller without Arrow does it."""

    def request(user: int, page: str) -> push_pb2.PushRequest:
        columns = [
            online_pb2.RequestColumn(name="user_id", int64s=online_pb2.Int64Values(values=[user])),
            online_pb2.RequestColumn(name="at", int64s=online_pb2.Int64Values(values=[int(T0.timestamp() * 1e6)])),
            online_pb2.RequestColumn(name="page", strings=online_pb2.StringValues(values=[page])),
            online_pb2.RequestColumn(name="value", doubles=online_pb2.DoubleValues(values=[1.0])),
        ]
        target = "clicks" if page else "nothing"
        return push_pb2.PushRequest(
            project=client.project, target=target, columns=push_pb2.Columns(columns=columns)
        )

    with grpc.insecure_channel(server.address.removeprefix("http://")) as channel:
        stream = channel.stream_stream(
            "/tidegate.push.v1.PushService/PushStream",
            request_serializer=push_pb2.PushStreamRequest.SerializeToString,
            response_deserializer=push_pb2.PushStreamResponse.FromString,
        )
        sent = [request(1, "/a"), request(1, ""), request(1, "/b"), request(2, "/c")]
        replies = list(stream(push_pb2.PushStreamRequest(id=nth, push=push) for nth, push in enumerate(sent)))
    assert [reply.id for reply in replies] == [0, 1, 2, 3]
    assert [reply.WhichOneof("outcome") for reply in replies] == ["reply", "error", "reply", "reply"]
    assert replies[1].error.code == grpc.StatusCode.NOT_FOUND.value[0]
    # Of two rows with the same times the later one of the stream stays.
    assert pages(client, [1, 2]) == ["/b", "/c"]


def test_nothing_acknowledged_is_lost_or_doubled_by_a_kill(tmp_path: Path) -> None:
    binary = os.environ["TIDEGATE_BIN"]
    arguments = ("--set", "push.flush_every=50ms", "--set", "push.flush_rows=20")
    acknowledged: set[str] = set()
    for life in range(3):
        server = LocalServer(binary, tmp_path / "data", arguments)
        try:
            with server.client("killed") as client:
                client.apply(definitions())
                stop = threading.Timer(0.7, server.kill)
                stop.start()
                try:
                    for n in itertools.count():
                        rows = [click(user, life * 100_000 + n, f"{life} {n} {user}") for user in range(5)]
                        ids = [f"{life} {n} {user}" for user in range(5)]
                        client.push("clicks", rows, event_ids=ids)
                        acknowledged.update(ids)
                except tidegate.TidegateError:
                    pass
                stop.join()
        finally:
            server.kill()
    with LocalServer(binary, tmp_path / "data", arguments) as server, server.client("killed") as client:
        newest = max(int(name.split()[1]) for name in acknowledged if name.startswith("2 "))
        served = pages(client, list(range(5)))
        for user, page in enumerate(served):
            assert page is not None and int(page.split()[1]) >= newest and page.endswith(f" {user}")
        client.flush("clicks")
        table = client.sql("SELECT page, count(*) AS n FROM sources.clicks GROUP BY page").to_arrow()
        assert set(table["n"].to_pylist()) == {1}, "a row is in the table twice"
        assert acknowledged <= set(table["page"].to_pylist())
        client.materialize(progress=False)
        assert all(view.holds and view.ahead == 0 for view in client.parity())


def test_a_column_that_was_widened_is_what_other_readers_find(server: LocalServer) -> None:
    def visits(kind: str) -> list[Any]:
        user = Entity("user", keys={"user_id": "int64"})
        source = Source("visits", event_time="at")
        return [user, source, FeatureView("seen", entities=[user], source=source, features=[Feature("pages", kind)])]

    def visit(user: int, pages: int) -> dict[str, Any]:
        return {"user_id": user, "at": T0 + timedelta(minutes=user), "pages": pages}

    project = f"visits_{next(NAMES)}"
    with server.client(project) as client:
        client.apply(visits("int32"))
        client.push("visits", pd.DataFrame([visit(1, 7), visit(2, 8)]).astype({"pages": "int32"}))
        client.flush("visits")
        client.apply(visits("int64"), allow_breaking=True)
        client.push("visits", [visit(3, 1 << 40)])
        client.flush("visits")
        found = client.get_online_features({"user_id": [1, 3]}, features=["seen:pages"]).to_dict()
        assert found["pages"] == [7, 1 << 40]
    table = deltalake.DeltaTable(server.data_dir / "tables" / project / "visits")
    assert {field.name: field.type.type for field in table.schema().fields}["pages"] == "long"
    there = pa.table(table.to_pyarrow_table()).sort_by("user_id")
    assert there["pages"].to_pylist() == [7, 8, 1 << 40]
