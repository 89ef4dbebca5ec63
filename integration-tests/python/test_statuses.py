"""Every status of a lookup through every door, compared with one table of what each entity's features are."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

import grpc
import pyarrow as pa
import pytest
import tidegate
from conftest import Stock
from tidegate import Computed, Entity, Feature, FeatureService, FeatureView, Source
from tidegate.local import LocalServer

UTC = timezone.utc
NOW = datetime.now(UTC)
FRESH = (NOW - timedelta(hours=1)).replace(microsecond=123_456)
OLD = (NOW - timedelta(days=10)).replace(microsecond=0)

# One with every value, one of nulls, one never stored, the first two again but expired, and one of small values.
USERS = [1, 2, 3, 4, 5, 6]
STORED = [
    {"user_id": 1, "at": FRESH, "total": 2.5, "items": 4, "city": "Kiel", "tags": [1, 2]},
    {"user_id": 2, "at": FRESH, "total": None, "items": None, "city": None, "tags": None},
    {"user_id": 4, "at": OLD, "total": 1.5, "items": 3, "city": "Ulm", "tags": [3]},
    {"user_id": 5, "at": OLD, "total": None, "items": None, "city": None, "tags": None},
    {"user_id": 6, "at": FRESH, "total": 0.0, "items": 1, "city": "", "tags": []},
]
EVENT_TIMES = [FRESH, FRESH, None, OLD, OLD, FRESH]
SEATS = [2, 0, 3, 0, 4, 5]


class Outcome(NamedTuple):
    """What a slot of a reply is; `reason` is what a default stands in for."""

    status: str
    reason: str | None
    value: Any


def present(value: Any) -> Outcome:
    return Outcome("PRESENT", None, value)


def expired(value: Any) -> Outcome:
    return Outcome("EXPIRED", None, value)


def default(reason: str, value: Any) -> Outcome:
    return Outcome("DEFAULTED", reason, value)


NULL, NOT_FOUND, EXPIRED, FAILED = (Outcome(name, None, None) for name in ("NULL", "NOT_FOUND", "EXPIRED", "FAILED"))

# Feature to the outcomes of USERS. `each` divides by the seats, `huge` multiplies the items until they overflow,
# `number` casts the city; stored values that are expired, and defaults in their place, are null to them.
Table = dict[str, list[Outcome]]
EXPECTED: Table = {
    "total": [present(2.5), NULL, NOT_FOUND, EXPIRED, EXPIRED, present(0.0)],
    "items": [
        present(4),
        default("NULL", -1),
        default("NOT_FOUND", -1),
        default("EXPIRED", -1),
        default("EXPIRED", -1),
        present(1),
    ],
    "city": [
        present("Kiel"),
        default("NULL", "none"),
        default("NOT_FOUND", "none"),
        default("EXPIRED", "none"),
        default("EXPIRED", "none"),
        present(""),
    ],
    "tags": [present([1, 2]), NULL, NOT_FOUND, EXPIRED, EXPIRED, present([])],
    "each": [present(50), FAILED, present(33), FAILED, present(25), present(20)],
    "each_or_null": [present(50), NULL, present(33), NULL, present(25), present(20)],
    "huge": [FAILED, NULL, NULL, NULL, NULL, present(1 << 62)],
    "number": [FAILED, NULL, NULL, NULL, NULL, FAILED],
}
# The same with return_expired: what is stored is told, and what is computed stays as it was.
EXPECTED_WITH_EXPIRED: Table = {
    **EXPECTED,
    "total": [present(2.5), NULL, NOT_FOUND, expired(1.5), EXPIRED, present(0.0)],
    "items": [
        present(4),
        default("NULL", -1),
        default("NOT_FOUND", -1),
        expired(3),
        default("EXPIRED", -1),
        present(1),
    ],
    "city": [
        present("Kiel"),
        default("NULL", "none"),
        default("NOT_FOUND", "none"),
        expired("Ulm"),
        default("EXPIRED", "none"),
        present(""),
    ],
    "tags": [present([1, 2]), NULL, NOT_FOUND, expired([3]), EXPIRED, present([])],
}
NUMBERS = ["total", "items", "each", "each_or_null", "huge", "number"]


def table(with_expired: bool) -> Table:
    return EXPECTED_WITH_EXPIRED if with_expired else EXPECTED


def definitions() -> list[Any]:
    user = Entity("user", keys={"user_id": "int64"})
    orders = Source("orders", event_time="at")
    features = [
        Feature("total", "float64"),
        Feature("items", "int64", default=-1),
        Feature("city", "string", default="none"),
        Feature("tags", "list<int64>"),
    ]
    stats = FeatureView("stats", entities=[user], source=orders, serve_ttl=timedelta(days=1), features=features)
    computed = [
        Computed("each", "int64", "100 / seats"),
        Computed("each_or_null", "int64", "100 / seats", on_error="null"),
        Computed("huge", "int64", "stats.items * 4611686018427387904"),
        Computed("number", "float64", "cast(stats.city AS DOUBLE)"),
    ]
    asked = {"seats": "int64"}
    everything = FeatureService("everything", [stats], request=asked, computed=computed)
    # The city is there only to be computed from: a matrix has no place for text.
    three = [feature for feature in computed if feature.name != "number"]
    number = Computed("number", "float64", "CASE WHEN items IN (4, 1) THEN cast('x' || items AS DOUBLE) END")
    numbers = FeatureService("numbers", [stats["total", "items"]], request=asked, computed=[*three, number])
    return [user, orders, stats, everything, numbers]


@dataclass(frozen=True, eq=False)
class Shop:
    """The server with the stored entities, and what doors need to reach it."""

    server: LocalServer
    client: tidegate.Client
    stock: Stock
    channel: grpc.Channel


@pytest.fixture(scope="module")
def shop(server: LocalServer, stock: Stock) -> Iterator[Shop]:
    target = server.address.removeprefix("http://")
    with server.client("statuses") as client, grpc.insecure_channel(target) as channel:
        client.apply(definitions())
        client.ingest("orders", STORED)
        client.materialize(progress=False)
        yield Shop(server, client, stock, channel)


# The doors


class Asked(NamedTuple):
    """What a door is asked for beside the entities."""

    with_expired: bool = False
    times: bool = True


Times = list[tuple[datetime | None, timedelta | None]]


class Answer(NamedTuple):
    """What a door tells: each feature's outcomes, and each view's event times and ages."""

    outcomes: Table
    times: dict[str, Times]


def request(shop: Shop, asked: Asked, reply_format: int) -> Any:
    pb = shop.stock.pb
    return pb.GetOnlineFeaturesRequest(
        project="statuses",
        feature_service="everything",
        keys=[pb.KeyColumn(name="user_id", int64s=pb.Int64Values(values=USERS))],
        request_columns=[pb.RequestColumn(name="seats", int64s=pb.Int64Values(values=SEATS))],
        include_times=asked.times,
        return_expired=asked.with_expired,
        format=reply_format,
    )


def slots(column: Any) -> list[Any]:
    """The values of a column that the message itself holds, None where the slot is not filled."""
    kind = column.WhichOneof("values")
    if kind == "arrow_ipc":
        values = pa.ipc.open_stream(column.arrow_ipc).read_all().column(0).to_pylist()
    else:
        values = list(getattr(column, kind).values)
    filled = list(column.presence) or [True] * len(USERS)
    assert all(there or not value for value, there in zip(values, filled, strict=True)), "an empty slot holds a value"
    return [value if there else None for value, there in zip(values, filled, strict=True)]


def micros(value: int) -> timedelta:
    return timedelta(microseconds=value)


def decoded(shop: Shop, reply: Any) -> Answer:
    """A reply of the generated messages, in either format."""
    assert reply.rows == len(USERS)
    arrow = pa.ipc.open_stream(reply.arrow_ipc).read_all() if reply.arrow_ipc else None
    name = shop.stock.pb.Status.Name
    outcomes: Table = {}
    for nth, column in enumerate(reply.features):
        if arrow is not None:
            assert column.WhichOneof("values") is None and not column.presence
            assert arrow.column_names[nth] == column.name
        values = slots(column) if arrow is None else arrow.column(nth).to_pylist()
        statuses = [name(status).removeprefix("STATUS_") for status in column.statuses] or ["PRESENT"] * len(USERS)
        reasons = [name(reason).removeprefix("STATUS_") if reason else None for reason in column.reasons]
        rows = zip(statuses, reasons or [None] * len(USERS), values, strict=True)
        outcomes[column.name] = [Outcome(*row) for row in rows]
    epoch, never = datetime(1970, 1, 1, tzinfo=UTC), -(1 << 63)
    times = {
        view.view: [
            (None if at == never else epoch + micros(at), None if age == -1 else micros(age))
            for at, age in zip(view.event_times, view.ages, strict=True)
        ]
        for view in reply.views
    }
    return Answer(outcomes, times)


def unary(shop: Shop, asked: Asked, reply_format: str) -> Answer:
    stub = shop.stock.services.OnlineServiceStub(shop.channel)
    message = request(shop, asked, shop.stock.pb.ReplyFormat.Value(reply_format))
    return decoded(shop, stub.GetOnlineFeatures(message, timeout=20))


def stream(shop: Shop, asked: Asked, reply_format: str) -> Answer:
    """The second of two lookups on one stream; the first is as it is by default."""
    pb, stub = shop.stock.pb, shop.stock.services.OnlineServiceStub(shop.channel)
    lookups = [request(shop, Asked(), 0), request(shop, asked, pb.ReplyFormat.Value(reply_format))]
    messages = [pb.StreamOnlineFeaturesRequest(id=7 + nth, lookup=lookup) for nth, lookup in enumerate(lookups)]
    replies = list(stub.StreamOnlineFeatures(iter(messages), timeout=20))
    assert [(reply.id, reply.WhichOneof("outcome")) for reply in replies] == [(7, "reply"), (8, "reply")]
    return decoded(shop, replies[1].reply)


def http(shop: Shop, asked: Asked) -> Answer:
    body = {
        "service": "everything",
        "keys": {"user_id": USERS},
        "request": {"seats": SEATS},
        "include_times": asked.times,
        "return_expired": asked.with_expired,
    }
    url = f"{shop.server.http_address}/v1/projects/statuses/lookup"
    with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=20) as response:
        reply = json.load(response)
    assert reply["rows"] == len(USERS) and ("views" in reply) == asked.times
    outcomes = {
        column["name"]: [
            Outcome(*row)
            for row in zip(
                column["statuses"], column.get("reasons") or [None] * len(USERS), column["values"], strict=True
            )
        ]
        for column in reply["features"]
    }
    times = {
        view["view"]: [told(at, age) for at, age in zip(view["event_times"], view["age_seconds"], strict=True)]
        for view in reply.get("views", [])
    }
    return Answer(outcomes, times)


def told(at: str | None, age: float | None) -> tuple[datetime | None, timedelta | None]:
    """An event time in RFC 3339 and an age in seconds."""
    event = None if at is None else datetime.fromisoformat(at.replace("Z", "+00:00"))
    return event, None if age is None else timedelta(seconds=age)


def python(shop: Shop, asked: Asked, shape: str) -> Answer:
    service = "numbers" if shape == "to_numpy" else "everything"
    result = shop.client.get_online_features(
        {"user_id": USERS},
        service=service,
        request={"seats": SEATS},
        include_times=asked.times,
        return_expired=asked.with_expired,
    )
    assert len(result) == len(USERS)
    outcomes = {
        name: [
            Outcome(str(status), None if reason is None else str(reason), clean(value))
            for status, reason, value in zip(result.statuses[name], result.reasons[name], values, strict=True)
        ]
        for name, values in columns(result, shape).items()
    }
    assert outcomes.keys() == result.statuses.keys()
    times = {
        view: list(zip(event_times, result.ages[view], strict=True)) for view, event_times in result.event_times.items()
    }
    return Answer(outcomes, times)


def columns(result: tidegate.OnlineResult, shape: str) -> dict[str, list[Any]]:
    """The features of a result, taken out of it in one of its shapes."""
    if shape == "to_numpy":
        matrix = result.to_numpy()
        assert matrix.shape == (len(USERS), len(NUMBERS)) and str(matrix.dtype) == "float64"
        return dict(zip(result.statuses, matrix.T.tolist(), strict=True))
    if shape == "to_arrow":
        found: dict[str, list[Any]] = result.to_arrow(include_keys=False).to_pydict()
        return found
    if shape == "to_pandas":
        frame = result.to_pandas(include_keys=False)
        return {name: frame[name].tolist() for name in frame.columns}
    return result.to_dict(include_keys=False)


def clean(value: Any) -> Any:
    """NaN is how numpy and pandas say that there is no value; nested values are arrays to pandas."""
    if isinstance(value, float) and math.isnan(value):
        return None
    return value.tolist() if hasattr(value, "tolist") else value


def command(shop: Shop, asked: Asked, *options: str) -> str:
    """What `tidegate lookup` prints."""
    keys = [argument for user in USERS for argument in ("--key", f"user_id={user}")]
    brought = [argument for seats in SEATS for argument in ("--request", f"seats={seats}")]
    expired = ["--return-expired"] * asked.with_expired
    where = ["--address", shop.server.address, "--project", "statuses"]
    done = subprocess.run(
        [os.environ["TIDEGATE_BIN"], "lookup", "everything", *keys, *brought, *expired, *options, *where],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def cli(shop: Shop, asked: Asked) -> Answer:
    rows = json.loads(command(shop, asked, "--json"))
    assert [row["keys"] for row in rows] == [{"user_id": user} for user in USERS]
    slot = [row["features"] for row in rows]
    outcomes = {
        name: [Outcome(row[name]["status"], row[name]["reason"], row[name]["value"]) for row in slot]
        for name in slot[0]
    }
    stored = [[told(row[name]["event_time"], row[name]["age_seconds"]) for row in slot] for name in ("total", "city")]
    assert stored[0] == stored[1]
    assert all(row["each"]["event_time"] is None and row["each"]["age_seconds"] is None for row in slot)
    return Answer(outcomes, {"stats": stored[0]})


Door = Callable[[Shop, Asked], Answer]
DOORS: dict[str, Door] = {
    "grpc": functools.partial(unary, reply_format="REPLY_FORMAT_UNSPECIFIED"),
    "grpc arrow": functools.partial(unary, reply_format="REPLY_FORMAT_ARROW"),
    "stream": functools.partial(stream, reply_format="REPLY_FORMAT_UNSPECIFIED"),
    "stream arrow": functools.partial(stream, reply_format="REPLY_FORMAT_ARROW"),
    "http": http,
    **{
        f"python {shape}": functools.partial(python, shape=shape)
        for shape in ("to_dict", "to_arrow", "to_numpy", "to_pandas")
    },
    "cli": cli,
}
# Every kind of outcome there is, and whether expired values are asked for.
KINDS = sorted(
    {(False, outcome.status, outcome.reason) for column in EXPECTED.values() for outcome in column}
    | {(True, "EXPIRED", None), (True, "DEFAULTED", "EXPIRED")},
    key=str,
)
every_door = pytest.mark.parametrize("door", DOORS)


@pytest.fixture(scope="module")
def ask(shop: Shop) -> Callable[[str, Asked], Answer]:
    """A door's answer; each is asked once."""
    return functools.cache(lambda door, asked: DOORS[door](shop, asked))


# What they tell


def test_the_table_has_every_status() -> None:
    reasons = {("DEFAULTED", reason) for reason in ("NULL", "NOT_FOUND", "EXPIRED")}
    plain = {(status.name, None) for status in tidegate.Status if status.name != "DEFAULTED"}
    assert {(status, reason) for with_expired, status, reason in KINDS if not with_expired} == plain | reasons


@every_door
@pytest.mark.parametrize(
    ("with_expired", "status", "reason"),
    KINDS,
    ids=["-".join(filter(None, [status, reason, "asked for" * asked])) for asked, status, reason in KINDS],
)
def test_a_status_is_told(
    ask: Callable[[str, Asked], Answer], door: str, with_expired: bool, status: str, reason: str | None
) -> None:
    answer = ask(door, Asked(with_expired)).outcomes
    wanted = {
        (user, name): outcome
        for name, column in table(with_expired).items()
        for user, outcome in zip(USERS, column, strict=True)
        if name in answer and (outcome.status, outcome.reason) == (status, reason)
    }
    assert wanted
    assert {(user, name): answer[name][USERS.index(user)] for user, name in wanted} == wanted


@every_door
@pytest.mark.parametrize("with_expired", [False, True], ids=["as served", "expired asked for"])
def test_no_slot_is_anything_else(ask: Callable[[str, Asked], Answer], door: str, with_expired: bool) -> None:
    names = NUMBERS if door == "python to_numpy" else list(EXPECTED)
    answer = ask(door, Asked(with_expired)).outcomes
    # The command line's JSON has an object of features, in no order.
    assert (sorted(answer) if door == "cli" else list(answer)) == (sorted(names) if door == "cli" else names)
    assert answer == {name: table(with_expired)[name] for name in names}


@every_door
@pytest.mark.parametrize("with_expired", [False, True], ids=["as served", "expired asked for"])
def test_event_times_and_ages_are_told(shop: Shop, door: str, with_expired: bool) -> None:
    before = datetime.now(UTC)
    times = DOORS[door](shop, Asked(with_expired)).times
    after = datetime.now(UTC)
    assert list(times) == ["stats"]
    assert [event for event, _ in times["stats"]] == EVENT_TIMES
    # Ages in seconds are floats: a microsecond may be lost.
    slack = micros(1)
    for (_, age), event in zip(times["stats"], EVENT_TIMES, strict=True):
        if event is None:
            assert age is None
        else:
            assert age is not None and before - event - slack <= age <= after - event + slack


@pytest.mark.parametrize("door", [door for door in DOORS if door != "cli"])
def test_times_are_left_out_unless_asked_for(ask: Callable[[str, Asked], Answer], door: str) -> None:
    answer = ask(door, Asked(times=False))
    assert answer.times == {}
    assert answer.outcomes == ask(door, Asked()).outcomes


def test_people_read_statuses_in_a_table(shop: Shop) -> None:
    cells = [
        [cell.strip() for cell in re.split("[│┆]", line)[1:-1]] for line in command(shop, Asked()).splitlines()
    ]
    header, *rows = [row for row in cells if row]
    assert header == ["user_id", "feature", "value", "status", "age"]
    shown = {
        name: [f"{status} ({reason})" if reason else status for status, reason, _ in column]
        for name, column in EXPECTED.items()
    }
    assert [row[:2] + row[3:4] for row in rows] == [
        [str(user), name, column[nth]] for nth, user in enumerate(USERS) for name, column in shown.items()
    ]
    assert {(row[0], row[1]): row[2] for row in rows}["4", "city"] == "none"
    assert all(bool(row[4]) == (row[0] != "3" and row[1] in ("total", "items", "city", "tags")) for row in rows)


def test_all_present_is_told_shortly(shop: Shop) -> None:
    stub = shop.stock.services.OnlineServiceStub(shop.channel)
    lookup = request(shop, Asked(times=False), 0)
    lookup.feature_service = ""
    lookup.features.references.append("stats:total")
    del lookup.request_columns[:]
    lookup.keys[0].int64s.values[:] = [1, 6, 1]
    (column,) = stub.GetOnlineFeatures(lookup, timeout=20).features
    assert list(column.doubles.values) == [2.5, 0.0, 2.5]
    assert not column.presence and not column.statuses and not column.reasons
