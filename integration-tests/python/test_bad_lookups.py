"""Lookups that are wrong, huge, odd or garbage, and definitions that change meanwhile.

Each is answered correctly, or refused with cause and remedy; after each, the server answers a normal lookup.
"""

from __future__ import annotations

import base64
import functools
import http.client
import itertools
import json
import math
import os
import queue
import random
import socket
import struct
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
import tidegate
from conftest import Stock
from tidegate import Computed, Entity, Feature, FeatureService, FeatureView, Source
from tidegate.local import LocalServer

NOW = datetime.now(timezone.utc)
GRPC_BYTES_MAX = 64 << 20
HTTP_BYTES_MAX = 16 << 20
ROWS_MAX = 100_000
LONG = "k" * (1 << 20)
INTEGERS = {"user_id", "seats", "item_id"}

# Bits of float64 and float32 that a careless path loses: payloads and signs of NaN, infinities, -0.0, subnormals.
BITS64 = [
    0x7FF8000000000000, 0x7FF8DEADBEEF1234, 0xFFF8000000000001, 0x7FF0000000000000, 0xFFF0000000000000,
    0x8000000000000000, 0x0000000000000001, 0x8000000000000001, 0x7FEFFFFFFFFFFFFF,
]  # fmt: skip
BITS32 = [
    0x7FC00000, 0x7FC12345, 0xFFC00001, 0x7F800000, 0xFF800000, 0x80000000, 0x00000001, 0x80000001, 0x7F7FFFFF,
]  # fmt: skip
ODD = [f"odd {nth}" for nth in range(len(BITS64))]


def definitions() -> list[Any]:
    user = Entity("user", {"user_id": "int64"})
    pair = Entity("pair", {"a": "string", "b": "string"})
    place = Entity("place", {"n": "int32", "up": "bool", "raw": "bytes"})
    stats = FeatureView(
        "stats",
        [user],
        Source("orders", "at"),
        [Feature("total", "float64"), Feature("items", "int64", default=-1)],
    )
    pairing = FeatureView("pairing", [pair], Source("pairs", "at"), [Feature("x", "int64")])
    placed = FeatureView("placed", [place], Source("places", "at"), [Feature("y", "int64")])
    odd = FeatureView(
        "odd",
        [Entity("name", {"name": "string"})],
        Source("oddities", "at"),
        [Feature("d", "float64"), Feature("f", "float32")],
    )
    priced = FeatureService(
        "priced",
        [stats["items"]],
        request={"seats": "int64", "note": "string"},
        computed=[Computed("each", "int64", "items * 100 / seats"), Computed("loud", "string", "upper(note)")],
    )
    plain = FeatureService("plain", [stats])
    views = [stats, pairing, placed, odd]
    entities = [user, pair, place, *odd.entities]
    return [*entities, *(view.source for view in views), *views, priced, plain]


def fill(client: tidegate.Client) -> None:
    client.apply(definitions())
    orders = [{"user_id": user, "at": NOW, "total": user / 2, "items": user * 10} for user in (1, 2)]
    pairs = [("1", "23", 1), ("12", "3", 2), ("123", "", 3), ("", "123", 4), (LONG, "1", 5), (LONG, "2", 6)]
    client.ingest("orders", orders)
    client.ingest("pairs", [{"a": a, "b": b, "at": NOW, "x": x} for a, b, x in pairs])
    client.ingest("places", [{"n": -1, "up": True, "raw": b"\x00\xff", "at": NOW, "y": 7}])
    doubles = pa.array(BITS64, pa.uint64()).view(pa.float64())
    floats = pa.array(BITS32, pa.uint32()).view(pa.float32())
    client.ingest("oddities", pa.table({"name": ODD, "at": [NOW] * len(ODD), "d": doubles, "f": floats}))
    client.materialize(progress=False)


# The doors


@dataclass(frozen=True)
class Lookup:
    """A request as every door can put it; key values are ints, texts, bytes or bools."""

    service: str = ""
    features: tuple[str, ...] = ()
    keys: Mapping[str, list[Any]] = field(default_factory=dict)
    request: Mapping[str, list[Any]] = field(default_factory=dict)
    project: str = "bad_lookups"


NORMAL = Lookup("plain", keys={"user_id": [2, 3, 1]})
ANSWER = {
    "total": [("PRESENT", 1.0), ("NOT_FOUND", None), ("PRESENT", 0.5)],
    "items": [("PRESENT", 20), ("DEFAULTED", -1), ("PRESENT", 10)],
}
PRICED = Lookup("priced", keys={"user_id": [1, 2]}, request={"seats": [3, 0], "note": ["a", None]})
PRICED_ANSWER = {
    "items": [("PRESENT", 10), ("PRESENT", 20)],
    "each": [("PRESENT", 333), ("FAILED", None)],
    "loud": [("PRESENT", "A"), ("NULL", None)],
}
Answer = dict[str, list[tuple[str, Any]]]


class Refused(Exception):
    """A door said no: the kind of the error, or the bare code where it is of no kind, and the message."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


# The table of docs/doors.md, as far as lookups go.
KINDS = {
    "invalid": (grpc.StatusCode.INVALID_ARGUMENT, 400),
    "not_found": (grpc.StatusCode.NOT_FOUND, 404),
    "exhausted": (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    "unavailable": (grpc.StatusCode.UNAVAILABLE, 503),
}
KIND_OF_CODE = {code: kind for kind, (code, _) in KINDS.items()}
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
GET = "/tidegate.online.v1.OnlineService/GetOnlineFeatures"
STREAM = "/tidegate.online.v1.OnlineService/StreamOnlineFeatures"


class Doors:
    """The three doors of one server."""

    def __init__(self, server: LocalServer, stock: Stock) -> None:
        self.server = server
        self.pb = stock.pb
        self.channel = grpc.insecure_channel(server.address.removeprefix("http://"), UNLIMITED)
        self.stub = stock.services.OnlineServiceStub(self.channel)

    def message(self, lookup: Lookup) -> Any:
        pb = self.pb
        message = pb.GetOnlineFeaturesRequest(
            project=lookup.project,
            keys=[self.column(pb.KeyColumn, name, values) for name, values in lookup.keys.items()],
            request_columns=[self.column(pb.RequestColumn, name, values) for name, values in lookup.request.items()],
        )
        if lookup.service:
            message.feature_service = lookup.service
        if lookup.features:
            message.features.references.extend(lookup.features)
        return message

    def column(self, kind: Any, name: str, values: list[Any]) -> Any:
        """A key or request column; nulls are told by their presence, and the type of no values by the name."""
        of_name: Any = 0 if name in INTEGERS else ""
        pb, first = self.pb, next((value for value in values if value is not None), of_name)
        slot, of = {
            bool: ("bools", pb.BoolValues),
            int: ("int64s", pb.Int64Values),
            float: ("doubles", pb.DoubleValues),
            str: ("strings", pb.StringValues),
            bytes: ("bytes", pb.BytesValues),
        }[type(first)]
        column = kind(name=name)
        getattr(column, slot).CopyFrom(of(values=[type(first)() if value is None else value for value in values]))
        if None in values:
            column.presence.extend(value is not None for value in values)
        return column

    def call(self, message: Any) -> Any:
        """A unary call with a message of any make."""
        try:
            return self.stub.GetOnlineFeatures(message, timeout=30)
        except grpc.RpcError as error:
            raise refused(error) from None

    def grpc(self, lookup: Lookup) -> Answer:
        return self.decoded(self.call(self.message(lookup)))

    def stream(self, lookup: Lookup) -> Answer:
        """A lookup between two others: if it fails, it fails alone."""
        pb = self.pb
        lookups = [NORMAL, lookup, NORMAL]
        messages = [pb.StreamOnlineFeaturesRequest(id=nth, lookup=self.message(it)) for nth, it in enumerate(lookups)]
        try:
            replies = list(self.stub.StreamOnlineFeatures(iter(messages), timeout=30))
        except grpc.RpcError as error:
            raise refused(error) from None
        assert [reply.id for reply in replies] == [0, 1, 2]
        assert self.decoded(replies[0].reply) == ANSWER and self.decoded(replies[2].reply) == ANSWER
        if replies[1].WhichOneof("outcome") == "error":
            error = replies[1].error
            code = next(code for code in grpc.StatusCode if code.value[0] == error.code)
            raise Refused(KIND_OF_CODE.get(code, code.name), error.message)
        return self.decoded(replies[1].reply)

    def http(self, lookup: Lookup) -> Answer:
        body: dict[str, Any] = {"keys": {name: [*map(jsonable, values)] for name, values in lookup.keys.items()}}
        for name in ("service", "features", "request"):
            if getattr(lookup, name):
                body[name] = getattr(lookup, name)
        reply = self.post(json.dumps(body).encode(), lookup.project)
        return {
            column["name"]: list(zip(column["statuses"], column["values"], strict=True))
            for column in reply["features"]
        }

    def post(self, body: bytes, project: str = "bad_lookups") -> Any:
        """Any body as a lookup; a server that has heard enough may answer before all is sent."""
        connection = http.client.HTTPConnection(self.server.http_address.removeprefix("http://"), timeout=30)
        connection.putrequest("POST", f"/v1/projects/{urllib.parse.quote(project)}/lookup")
        connection.putheader("Content-Length", str(len(body)))
        try:
            connection.endheaders()
            connection.send(body)
        except (BrokenPipeError, ConnectionResetError):
            pass
        response = connection.getresponse()
        reply = json.load(response)
        connection.close()
        if response.status != 200:
            error = reply["error"]
            assert response.status == KINDS[error["kind"]][1], error
            raise Refused(error["kind"], error["message"])
        return reply

    def decoded(self, reply: Any) -> Answer:
        answer: Answer = {}
        for column in reply.features:
            values = list(getattr(column, column.WhichOneof("values")).values)
            there = list(column.presence) or [True] * reply.rows
            statuses = [self.pb.Status.Name(status).removeprefix("STATUS_") for status in column.statuses]
            rows = zip(statuses or ["PRESENT"] * reply.rows, values, there, strict=True)
            answer[column.name] = [(status, value if held else None) for status, value, held in rows]
        return answer


def refused(error: grpc.RpcError) -> Refused:
    return Refused(KIND_OF_CODE.get(error.code(), error.code().name), error.details() or "")


def jsonable(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


DOORS: dict[str, Callable[[Doors, Lookup], Answer]] = {"grpc": Doors.grpc, "stream": Doors.stream, "http": Doors.http}
every_door = pytest.mark.parametrize("door", DOORS)


@pytest.fixture(scope="module")
def shop(server: LocalServer) -> Iterator[tidegate.Client]:
    with server.client("bad_lookups") as client:
        fill(client)
        yield client


@pytest.fixture(scope="module")
def open_doors(server: LocalServer, stock: Stock, shop: tidegate.Client) -> Doors:
    return Doors(server, stock)


@pytest.fixture
def doors(open_doors: Doors) -> Iterator[Doors]:
    """After each test the same server answers a normal lookup through every door."""
    yield open_doors
    assert {name: ask(open_doors, NORMAL) for name, ask in DOORS.items()} == dict.fromkeys(DOORS, ANSWER)


def check_refused(ask: Callable[[], object], kind: str, words: list[str]) -> None:
    """Refused as of a kind, with a message that has the words."""
    with pytest.raises(Refused) as caught:
        ask()
    message = caught.value.message
    assert (caught.value.kind, [word for word in words if word not in message]) == (kind, []), message


# Names, keys and types that don't fit

BAD: dict[str, tuple[Lookup, str, list[str]]] = {
    "unknown service": (replace(NORMAL, service="plian"), "not_found", ["service", "`plian`", "mean `plain`?"]),
    "unknown view": (
        Lookup(features=("stat",), keys=NORMAL.keys),
        "not_found",
        ["view", "`stat`", "did you mean `stats`?"],
    ),
    "unknown feature": (
        Lookup(features=("stats:items", "stats:totl"), keys=NORMAL.keys),
        "not_found",
        ["`stats:totl`", "did you mean `stats:total`?"],
    ),
    "unknown project": (
        replace(NORMAL, project="bad_lookup"),
        "not_found",
        ["project", "`bad_lookup`", "did you mean `bad_lookups`?"],
    ),
    "nothing selected": (Lookup(keys=NORMAL.keys), "invalid", ["service", "features"]),
    "no keys": (Lookup("plain"), "invalid", ["need the key user_id"]),
    "missing key": (Lookup(features=("pairing",), keys={"a": ["1"]}), "invalid", ["need the key b"]),
    "extra key": (
        replace(NORMAL, keys={"user_id": [1], "usr_id": [1]}),
        "invalid",
        ["`usr_id` is not a key", "did you mean `user_id`?"],
    ),
    "key of another view": (
        replace(NORMAL, keys={"user_id": [1], "colour": ["red"]}),
        "invalid",
        ["`colour` is not a key", "the keys are user_id"],
    ),
    "unequal lengths": (
        Lookup(features=("pairing",), keys={"a": ["1", "12"], "b": ["23"]}),
        "invalid",
        ["`a` has 2 values", "`b` has 1", "one value of every key"],
    ),
    "text for an integer": (
        replace(NORMAL, keys={"user_id": ["1"]}),
        "invalid",
        ["key `user_id` is int64", "values of type"],
    ),
    "bool for an integer": (
        replace(NORMAL, keys={"user_id": [True]}),
        "invalid",
        ["key `user_id` is int64", "values of type"],
    ),
    "bytes for an integer": (
        replace(NORMAL, keys={"user_id": [b"1"]}),
        "invalid",
        ["key `user_id` is int64", "values of type"],
    ),
    "integer for a text": (
        Lookup(features=("pairing",), keys={"a": [1], "b": ["23"]}),
        "invalid",
        ["key `a` is string", "values of type"],
    ),
    "too wide an integer": (
        Lookup(features=("placed",), keys={"n": [1 << 40], "up": [True], "raw": [b""]}),
        "invalid",
        ["`n`", "int32", str(1 << 40)],
    ),
    "integer for a bool": (
        Lookup(features=("placed",), keys={"n": [1], "up": [1], "raw": [b""]}),
        "invalid",
        ["key `up` is bool", "values of type"],
    ),
    "too many rows": (
        replace(NORMAL, keys={"user_id": list(range(ROWS_MAX + 1))}),
        "invalid",
        [str(ROWS_MAX + 1), f"more than {ROWS_MAX}", "send them in several"],
    ),
    "request column missing": (
        replace(PRICED, request={"seats": [1, 1]}),
        "invalid",
        ["need the request column `note` (string)"],
    ),
    "request column misspelt": (
        replace(PRICED, request={**PRICED.request, "seat": [1, 1]}),
        "invalid",
        ["`seat` is not a request column", "did you mean `seats`?"],
    ),
    "request column of nothing computed": (
        replace(NORMAL, request={"seats": [1, 1, 1]}),
        "invalid",
        ["request column `seats` is not needed", "none of these features is computed"],
    ),
    "request column of text": (
        replace(PRICED, request={**PRICED.request, "seats": ["1", "2"]}),
        "invalid",
        ["request column `seats` is int64", "values of type", "cast them"],
    ),
    "request column of fractions": (
        replace(PRICED, request={**PRICED.request, "seats": [1.5, 2.0]}),
        "invalid",
        ["request column `seats` is int64", "values of type", "cast them"],
    ),
    "request column too short": (
        replace(PRICED, request={**PRICED.request, "seats": [1]}),
        "invalid",
        ["request column `seats` has 1 value", "2 entity rows", "give one for each"],
    ),
    "request column too long": (
        replace(PRICED, request={**PRICED.request, "note": ["a"] * 3}),
        "invalid",
        ["request column `note` has 3 values", "2 entity rows"],
    ),
}


@every_door
@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused(doors: Doors, door: str, case: str) -> None:
    lookup, kind, words = BAD[case]
    check_refused(lambda: DOORS[door](doors, lookup), kind, words)


@every_door
def test_what_fits_is_answered(doors: Doors, door: str) -> None:
    assert DOORS[door](doors, PRICED) == PRICED_ANSWER
    keys = {"n": [-1, -1], "up": [True, False], "raw": [b"\x00\xff"] * 2}
    answer = DOORS[door](doors, Lookup(features=("placed",), keys=keys))
    assert answer == {"y": [("PRESENT", 7), ("NOT_FOUND", None)]}


def test_columns_that_only_messages_can_get_wrong(doors: Doors) -> None:
    pb = doors.pb
    plain, priced = doors.message(NORMAL), doors.message(PRICED)
    seats, _ = priced.request_columns

    def changed(message: Any, change: Callable[[Any], object]) -> Any:
        copy = type(message).FromString(message.SerializeToString())
        change(copy)
        return copy

    cases: list[tuple[Any, list[str]]] = [
        (changed(plain, lambda it: it.keys[0].ClearField("int64s")), ["key column `user_id` has no values", "int64s"]),
        (changed(plain, lambda it: it.keys.append(it.keys[0])), ["key `user_id` is given twice", "once"]),
        (changed(plain, lambda it: it.ClearField("selection")), ["nothing is selected", "feature_service"]),
        (changed(plain, lambda it: it.features.SetInParent()), ["no features asked for", "view:feature"]),
        (changed(priced, lambda it: it.request_columns.append(seats)), ["column `seats` is given twice", "once"]),
        (
            changed(priced, lambda it: it.request_columns[0].ClearField("int64s")),
            ["column `seats` has no values", "int64s", "arrow_ipc"],
        ),
        (
            changed(priced, lambda it: it.request_columns[0].presence.append(True)),
            ["column `seats` has not one presence for each value"],
        ),
    ]
    for message, words in cases:
        check_refused(functools.partial(doors.call, message), "invalid", words)
    unnamed = pb.GetOnlineFeaturesRequest(feature_service="plain")
    check_refused(lambda: doors.call(unnamed), "not_found", ["project"])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"service": "plain", "keys": {"user_id": [1, null]}}', ["`user_id`", "row 1", "null"]),
        ('{"service": "plain", "keys": {"user_id": [1, "2"]}}', ["`user_id`", "row 1", "of one kind"]),
        ('{"service": "plain", "keys": {"user_id": [1.0]}}', ["`user_id`", "row 0", "1.0", "integers"]),
        ('{"service": "plain", "keys": {"user_id": [1e400]}}', ["number out of range"]),
        ('{"service": "plain", "keys": {"user_id": [9223372036854775808]}}', ["`user_id`", "9223372036854775808"]),
        ('{"service": "plain", "keys": {"user_id": [NaN]}}', ["not a lookup", "line 1"]),
        ('{"service": "plain", "keys": {"user_id": 1}}', ["not a lookup", "sequence"]),
        ('{"service": "plain", "keys": {"user_id": [[1]]}}', ["`user_id`", "row 0"]),
        ('{"service": "plain", "keys": {"user_id": [{"base64": "?"}]}}', ["`user_id`", "base64"]),
        ('{"service": "plain", "keyes": {"user_id": [1]}}', ["keyes", "keys"]),
        ('{"service": "plain", "features": ["stats"], "keys": {"user_id": [1]}}', ["either", "service", "features"]),
        ('{"service": "plain", "keys": {"user_id": [1], "user_id": [2]}}', ["user_id"]),
        ('{"service": "priced", "keys": {"user_id": [1]}, "request": {"seats": 1, "note": ["a"]}}', ["sequence"]),
        (
            '{"service": "priced", "keys": {"user_id": [1, 2]}, "request": {"seats": [1, "x"], "note": ["a", "b"]}}',
            ["column `seats`", "row 1", "of one kind"],
        ),
        ('{"service": "plain", "keys": {"user_id": [1]}} {}', ["not a lookup", "trailing"]),
        ("[" * 100_000, ["not a lookup"]),
        ("", ["not a lookup"]),
    ],
    ids=lambda value: value[:70] if isinstance(value, str) else "",
)
def test_json_that_does_not_fit_is_refused(doors: Doors, body: str, words: list[str]) -> None:
    check_refused(lambda: doors.post(body.encode()), "invalid", words)


def test_a_null_key_is_told_as_one(doors: Doors) -> None:
    """Not as a text or a number that is of another kind than its neighbours."""
    with pytest.raises(Refused) as caught:
        doors.post(b'{"service": "plain", "keys": {"user_id": [null, 1]}}')
    message = caught.value.message
    assert caught.value.kind == "invalid" and all(word in message for word in ("`user_id`", "row 0", "null")), message
    assert "strings" not in message, message


# No rows, many rows, much in a row


@every_door
@pytest.mark.parametrize(
    ("lookup", "names"),
    [
        (Lookup(features=("pairing",), keys={"a": [], "b": []}), ["x"]),
        (replace(NORMAL, keys={"user_id": []}), ["total", "items"]),
        (replace(PRICED, keys={"user_id": []}, request={"seats": [], "note": []}), ["items", "each", "loud"]),
    ],
    ids=["text keys", "integer keys", "request columns"],
)
def test_no_rows_are_no_rows(doors: Doors, door: str, lookup: Lookup, names: list[str]) -> None:
    assert DOORS[door](doors, lookup) == {name: [] for name in names}


def test_no_rows_in_python(shop: tidegate.Client, doors: Doors) -> None:
    keys = {"user_id": pa.array([], pa.int64())}
    plain = shop.get_online_features(keys, service="plain")
    assert plain.to_dict() == {"user_id": [], "total": [], "items": []} and plain.to_numpy().shape == (0, 2)
    request = {"seats": pa.array([], pa.int64()), "note": pa.array([], pa.string())}
    result = shop.get_online_features(keys, service="priced", request=request)
    assert result.to_dict(include_keys=False) == {"items": [], "each": [], "loud": []}
    assert len(result) == 0


@every_door
def test_as_many_rows_as_allowed(doors: Doors, door: str) -> None:
    answer = DOORS[door](doors, replace(NORMAL, keys={"user_id": list(range(ROWS_MAX))}))
    assert {name: len(column) for name, column in answer.items()} == {"total": ROWS_MAX, "items": ROWS_MAX}
    assert [row for row, (status, _) in enumerate(answer["total"]) if status == "PRESENT"] == [1, 2]
    assert answer["total"][1:3] == [("PRESENT", 0.5), ("PRESENT", 1.0)]


@every_door
def test_duplicates_keep_their_order(doors: Doors, door: str) -> None:
    rows = [random.Random(7).choice([1, 2, 3]) for _ in range(500)]
    answer = DOORS[door](doors, replace(NORMAL, keys={"user_id": rows}))
    place = {2: 0, 3: 1, 1: 2}
    assert answer == {name: [column[place[row]] for row in rows] for name, column in ANSWER.items()}


@every_door
def test_composite_keys_are_not_run_together(doors: Doors, door: str) -> None:
    rows = [("12", "3"), ("1", "23"), ("123", ""), ("", "123"), ("1", "2"), ("23", "1"), ("3", "12"), ("", "")]
    keys = {"a": [a for a, _ in rows], "b": [b for _, b in rows]}
    answer = DOORS[door](doors, Lookup(features=("pairing",), keys=keys))
    assert answer["x"] == [("PRESENT", x) for x in (2, 1, 3, 4)] + [("NOT_FOUND", None)] * 4


@every_door
def test_a_key_of_a_megabyte_is_found(doors: Doors, door: str) -> None:
    keys = {"a": [LONG, LONG, LONG, LONG[:-1]], "b": ["2", "1", "3", "1"]}
    answer = DOORS[door](doors, Lookup(features=("pairing",), keys=keys))
    assert answer["x"] == [("PRESENT", 6), ("PRESENT", 5), ("NOT_FOUND", None), ("NOT_FOUND", None)]


def long_pair(size: int) -> Lookup:
    return Lookup(features=("pairing",), keys={"a": ["x" * size], "b": [""]})


@pytest.mark.parametrize(("door", "most"), [("grpc", GRPC_BYTES_MAX), ("http", HTTP_BYTES_MAX)])
def test_the_largest_request_is_answered(doors: Doors, door: str, most: int) -> None:
    assert DOORS[door](doors, long_pair(most - 1000)) == {"x": [("NOT_FOUND", None)]}


@every_door
def test_a_request_of_64_megabytes_is_refused(doors: Doors, door: str) -> None:
    most = HTTP_BYTES_MAX if door == "http" else GRPC_BYTES_MAX
    with pytest.raises(Refused) as caught:
        DOORS[door](doors, long_pair(64 << 20))
    assert caught.value.kind in ("invalid", "exhausted"), caught.value
    named = (str(most), f"{most >> 20} MiB", f"{most >> 20}MiB")
    assert any(limit in caught.value.message for limit in named), caught.value.message


# Values


@pytest.mark.parametrize("arrow", [False, True], ids=["message", "arrow"])
def test_floats_survive_grpc_bit_for_bit(doors: Doors, arrow: bool) -> None:
    message = doors.message(Lookup(features=("odd",), keys={"name": ODD}))
    message.format = doors.pb.REPLY_FORMAT_ARROW if arrow else doors.pb.REPLY_FORMAT_UNSPECIFIED
    reply = doors.call(message)
    d, f = reply.features
    assert not d.statuses and not f.statuses
    if arrow:
        values = pa.ipc.open_stream(reply.arrow_ipc).read_all()
        assert values["d"].null_count == values["f"].null_count == 0
        assert pa.chunked_array(values["d"]).combine_chunks().view(pa.uint64()).to_pylist() == BITS64
        assert pa.chunked_array(values["f"]).combine_chunks().view(pa.uint32()).to_pylist() == BITS32
    else:
        # The bytes on the wire: Python may quieten a NaN that it reads.
        sent = reply.SerializeToString()
        assert struct.pack(f"<{len(BITS64)}Q", *BITS64) in sent
        assert struct.pack(f"<{len(BITS32)}I", *BITS32) in sent
        assert [struct.unpack("<Q", struct.pack("<d", value))[0] for value in d.doubles.values] == BITS64


def test_floats_survive_http(doors: Doors) -> None:
    answer = doors.http(Lookup(features=("odd",), keys={"name": ODD}))
    assert {status for column in answer.values() for status, _ in column} == {"PRESENT"}
    for name, letters, bits in (("d", "<Qd", BITS64), ("f", "<If", BITS32)):
        for (_, value), bit in zip(answer[name], bits, strict=True):
            (stored,) = struct.unpack(f"<{letters[2]}", struct.pack(letters[:2], bit))
            if math.isnan(stored):
                assert value == "NaN"
            elif math.isinf(stored):
                assert value == ("Infinity" if stored > 0 else "-Infinity")
            else:
                assert struct.pack(f"<{letters[2]}", value) == struct.pack(letters[:2], bit), (name, value)


# Garbage


def raw(doors: Doors, body: bytes, streamed: bool = False) -> None:
    """Any bytes as a gRPC message."""
    try:
        if streamed:
            list(doors.channel.stream_stream(STREAM)(iter([body]), timeout=30))
        else:
            doors.channel.unary_unary(GET)(body, timeout=30)
    except grpc.RpcError as error:
        raise refused(error) from None


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
def test_garbage_in_grpc_is_refused(doors: Doors, streamed: bool) -> None:
    draw = random.Random(11)
    # A field that no message has is skipped, as protobuf has it; a group that ends before it begins never is.
    for size in (1, 2, 7, 100, 10_000, 1 << 20):
        body = b"\x0c" + draw.randbytes(size)
        check_refused(functools.partial(raw, doors, body, streamed), "invalid", ["Protobuf"])


def test_a_truncated_message_is_refused(doors: Doors) -> None:
    whole = doors.message(PRICED).SerializeToString()
    outcomes: Counter[str] = Counter()
    for cut in range(len(whole)):
        with pytest.raises(Refused) as caught:
            raw(doors, whole[:cut])
        assert caught.value.message, cut
        outcomes[caught.value.kind] += 1
    # Cut between two fields it is a request that lacks something.
    assert set(outcomes) <= {"invalid", "not_found"}, outcomes


def test_garbage_in_http_is_refused(doors: Doors) -> None:
    draw = random.Random(13)
    for size in (1, 2, 7, 100, 10_000, 1 << 20):
        body = b"\xff" + draw.randbytes(size)
        check_refused(functools.partial(doors.post, body), "invalid", ["not a lookup"])
    whole = json.dumps({"service": "plain", "keys": {"user_id": [1]}, "include_times": True}).encode()
    for cut in range(len(whole)):
        check_refused(functools.partial(doors.post, whole[:cut]), "invalid", ["not a lookup"])


@pytest.mark.parametrize("port", ["grpc", "http"])
def test_garbage_on_a_connection_ends_only_it(doors: Doors, port: str) -> None:
    address = urllib.parse.urlsplit(doors.server.address if port == "grpc" else doors.server.http_address)
    draw = random.Random(17)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for body in (draw.randbytes(4096), preface + draw.randbytes(4096), b"POST / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000):
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            try:
                connection.sendall(body)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass
            except TimeoutError:
                pytest.fail("the server neither answers nor ends the connection")
            except OSError:
                pass  # It has ended it before it heard all.


# Arrow in a request column


def ipc(*batches: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def with_arrow(doors: Doors, seats: bytes) -> Any:
    """A lookup whose seats are an Arrow IPC stream."""
    message = doors.message(PRICED)
    message.request_columns[0].arrow_ipc = seats
    return message


SEATS = ipc(pa.record_batch({"seats": pa.array([3, None], pa.int64())}))


def test_arrow_in_a_request_column(doors: Doors) -> None:
    answer = doors.decoded(doors.call(with_arrow(doors, SEATS)))
    assert answer["each"] == [("PRESENT", 333), ("NULL", None)]
    nothing = ipc(pa.record_batch({"seats": pa.nulls(2)}))
    assert doors.decoded(doors.call(with_arrow(doors, nothing)))["each"] == [("NULL", None)] * 2


@pytest.mark.parametrize(
    ("seats", "words"),
    [
        (b"", ["not an Arrow IPC stream of one column"]),
        (b"garbage", ["not an Arrow IPC stream of one column"]),
        (SEATS[: len(SEATS) // 2], ["not an Arrow IPC stream of one column"]),
        (ipc(pa.record_batch([], schema=pa.schema([]))), ["not an Arrow IPC stream of one column"]),
        (ipc(pa.record_batch({"a": [1, 2], "b": [3, 4]})), ["not an Arrow IPC stream of one column"]),
        (ipc(*[pa.record_batch({"a": [1, 2]})] * 2), ["one batch"]),
        (ipc(pa.record_batch({"a": ["1", "2"]})), ["is int64", "values of type", "cast them"]),
        (ipc(pa.record_batch({"a": [[1], [2]]})), ["is int64", "values of type", "cast them"]),
        (ipc(pa.record_batch({"a": pa.array([1 << 63, 1], pa.uint64())})), ["is int64", str(1 << 63)]),
        (ipc(pa.record_batch({"a": [1, 2, 3]})), ["has 3 values for 2 entity rows"]),
    ],
    ids=["nothing", "garbage", "half", "bare", "two columns", "two batches", "text", "lists", "too large", "too long"],
)
def test_arrow_that_does_not_fit_is_refused(doors: Doors, seats: bytes, words: list[str]) -> None:
    check_refused(lambda: doors.call(with_arrow(doors, seats)), "invalid", ["request column `seats`", *words])


@pytest.fixture
def spare(tmp_path: Path, stock: Stock) -> Iterator[Doors]:
    """A server that a test may lose."""
    with LocalServer(os.environ["TIDEGATE_BIN"], tmp_path / "spare") as server:
        with server.client("bad_lookups") as client:
            fill(client)
        yield Doors(server, stock)


def lies() -> Iterator[bytes]:
    """The stream of seats with one length, offset or count in it made wrong."""
    claims = [struct.pack("<q", claim) for claim in (1 << 46, -1, (1 << 63) - 1)]
    claims += [struct.pack("<i", claim) for claim in (3, -1, (1 << 31) - 1)]
    for at, claim in itertools.product(range(0, len(SEATS), 4), claims):
        yield SEATS[:at] + claim[: len(SEATS) - at] + SEATS[at + len(claim) :]


def test_arrow_that_claims_more_than_it_holds_is_refused(spare: Doors) -> None:
    """Each is answered, or refused as invalid; none ends the connection, let alone the server."""
    wrong = []
    for lie in lies():
        try:
            answer = spare.decoded(spare.call(with_arrow(spare, lie)))
            assert answer["items"] == PRICED_ANSWER["items"]
        except Refused as error:
            if error.kind != "invalid":
                wrong.append(f"{error}: {lie.hex()}")
                assert serves(spare), f"the server is gone after {wrong}"
    assert wrong == []


def serves(doors: Doors) -> bool:
    try:
        return doors.http(NORMAL) == ANSWER
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_a_small_request_takes_little_memory(spare: Doors) -> None:
    """The first four bytes of a stream are a length: 1.6 GB in this one, of which there are 7 bytes."""
    before = peak_bytes(spare.server.pid)
    words = ["request column `seats`", "not an Arrow IPC stream of one column"]
    check_refused(lambda: spare.call(with_arrow(spare, b"garbage")), "invalid", words)
    assert peak_bytes(spare.server.pid) - before < 64 << 20


def peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


# Definitions that change


def changing(step: int) -> list[Any]:
    """The definitions of a step: `x` reads one column and then another, and outputs come, go and change their order."""
    item = Entity("item", {"item_id": "int64"})
    source = Source("prices", "at", columns={"a": "int64", "b": "int64", "c": "int64"})
    features = [
        Feature("x", "int64", column="ab"[step % 2], default=-1 - step),
        Feature("y", "int64", column="c", default=-1 - step),
    ]
    view = FeatureView("priced_items", [item], source, features)
    offer = FeatureService("offer", [view[("x", "y") if step % 3 == 0 else ("y", "x") if step % 3 == 1 else ("y",)]])
    return [item, source, view, offer]


ITEMS = [3, 900, 1, 3, 2]
STEPS = 20


def problems_of(step: int, answer: Answer, materialized: bool = True) -> list[str]:
    """What in an answer is not of a step's definitions.

    Item 900 was never stored. Before the step's view was materialized, the others may not be there either.
    """
    names = [["x", "y"], ["y", "x"], ["y"]][step % 3]
    if list(answer) != names:
        return [f"outputs are {list(answer)}, not {names}"]
    absent, found = ("DEFAULTED", -1 - step), []
    base = {"x": 1000 * (1 + step % 2), "y": 3000}
    for name, column in answer.items():
        stored = [absent if item == 900 else ("PRESENT", base[name] + item) for item in ITEMS]
        if column != stored and (materialized or column != [absent] * len(ITEMS)):
            found.append(f"{name} is {column}, not {stored}")
    if len({tuple(status for status, _ in column) for column in answer.values()}) != 1:
        found.append(f"some of one view's features are there and others are not: {answer}")
    return found


def patiently(ask: Callable[[], Any]) -> Any:
    """Asks again where the server says that it can't answer just now."""
    for _ in range(20):
        try:
            return ask()
        except Refused as error:
            if error.kind != "unavailable":
                raise
            time.sleep(0.05)
    return ask()


def test_definitions_that_change_never_mix(server: LocalServer, stock: Stock, doors: Doors) -> None:
    lookup = Lookup("offer", keys={"item_id": ITEMS}, project="changing")
    applied = materialized = 0
    stop = threading.Event()
    seen: list[Counter[int]] = [Counter() for _ in range(4)]
    wrong: queue.Queue[str] = queue.Queue()

    def over_grpc() -> Iterator[tuple[int, Answer]]:
        own = Doors(server, stock)
        while True:
            reply = patiently(lambda: own.call(own.message(lookup)))
            yield reply.catalog_version, own.decoded(reply)

    def over_stream() -> Iterator[tuple[int, Answer]]:
        own = Doors(server, stock)
        asked: queue.Queue[Any] = queue.Queue()
        replies = own.stub.StreamOnlineFeatures(iter(asked.get, None), timeout=60)
        try:
            while True:
                asked.put(own.pb.StreamOnlineFeaturesRequest(lookup=own.message(lookup)))
                reply = next(replies)
                if reply.error.code == grpc.StatusCode.UNAVAILABLE.value[0]:
                    continue
                assert reply.WhichOneof("outcome") == "reply", reply.error
                yield reply.reply.catalog_version, own.decoded(reply.reply)
        finally:
            asked.put(None)

    def over_http() -> Iterator[tuple[int, Answer]]:
        own = Doors(server, stock)
        body = json.dumps({"service": "offer", "keys": dict(lookup.keys)}).encode()
        while True:
            reply = patiently(lambda: own.post(body, "changing"))
            columns = {it["name"]: list(zip(it["statuses"], it["values"], strict=True)) for it in reply["features"]}
            yield reply["catalog_version"], columns

    def run(thread: int, replies: Iterator[tuple[int, Answer]]) -> None:
        try:
            while not stop.is_set():
                acknowledged, ready = applied, materialized
                version, answer = next(replies)
                if version < acknowledged:
                    wrong.put(f"version {version} after {acknowledged} was acknowledged")
                # Versions count up from 1, so a version's step is known before it is applied.
                for problem in problems_of(version - 1, answer, version <= ready):
                    wrong.put(f"version {version}: {problem}")
                seen[thread][version] += 1
        except Exception as error:
            wrong.put(repr(error))

    with server.client("changing") as client:
        applied = client.apply(changing(0)).version
        versions = [applied]
        rows = [
            {"item_id": item, "at": NOW - timedelta(hours=1), "a": 1000 + item, "b": 2000 + item, "c": 3000 + item}
            for item in (1, 2, 3, 4)
        ]
        client.ingest("prices", rows)
        client.materialize(progress=False)
        materialized = applied
        ways = [over_grpc(), over_grpc(), over_stream(), over_http()]
        threads = [threading.Thread(target=run, args=(nth, way)) for nth, way in enumerate(ways)]
        for thread in threads:
            thread.start()
        try:
            for step in range(1, STEPS):
                applied = client.apply(changing(step), allow_breaking=True).version
                versions.append(applied)
                client.materialize(progress=False)
                materialized = applied
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
        assert versions == list(range(1, STEPS + 1))
        assert list(wrong.queue) == []
        assert not any(thread.is_alive() for thread in threads)
        assert all(sum(count.values()) >= STEPS for count in seen), seen
        assert len(set().union(*seen)) >= STEPS // 2, seen
        assert problems_of(STEPS - 1, doors.grpc(lookup)) == []
