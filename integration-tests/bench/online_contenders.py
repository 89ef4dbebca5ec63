"""Who is asked: Tidegate, Redis with the same values in hashes, and a gRPC call that looks nothing up.

Each is started on the server's core. `check` holds answers against what was stored, `requests` are the bytes that
`online_load` sends. Feast is in `feast_peer`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tidegate
from online_load import SERVER_CORE, free_port, pinned
from online_shapes import (
    EVENT_TIME,
    FEATURES,
    MIXED,
    MIXED_VIEWS,
    VIEWS,
    Ids,
    Shape,
    batches,
    column,
    expected,
    feature_names,
    rows_of,
    sample,
    service,
    view_name,
)
from tidegate import Entity, Feature, FeatureService, FeatureView, Source, online
from tidegate._proto.online.v1 import online_pb2
from tidegate.local import LocalServer

PROJECT = "bench"
# Hashes that Redis' requests read altogether; a request for 100 entities and 25 views reads 2,500.
REDIS_READS_MAX = 500_000


class Tidegate:
    """The server, pinned to its core."""

    name, kind = "Tidegate", "grpc"

    def __init__(self, binary: Path, data: Path, cached: bool) -> None:
        environment = {"TIDEGATE__ONLINE__BLOCK_CACHE": "4GiB", "TIDEGATE__ONLINE__DURABILITY": "fast"}
        environment["TIDEGATE__ONLINE__ENTITY_CACHE"] = "4GiB" if cached else "0"
        with pinned(SERVER_CORE):
            self._server = LocalServer(binary, data, environment=environment)

    @property
    def pid(self) -> int:
        return self._server.pid

    def address(self) -> str:
        return self._server.address.removeprefix("http://")

    def close(self) -> None:
        self._server.stop()

    def check(self, shape: Shape) -> None:
        ids = sample(shape.entities)
        with tidegate.Client(self._server.address, PROJECT) as client:
            got = client.get_online_features({"entity_id": ids}, service=service(shape.views, shape.mixed)).to_arrow()
        for name, values in expected(shape, ids):
            if got[name].to_pylist() != values:
                raise SystemExit(f"{name} is not what was stored")

    def requests(self, shape: Shape) -> Iterator[bytes]:
        for ids in batches(shape):
            yield lookup(shape, ids).SerializeToString()


def lookup(shape: Shape, ids: Ids) -> online_pb2.GetOnlineFeaturesRequest:
    """The request for some entities, with columns in their own types."""
    keys = online.encode_keys(pa.table({"entity_id": ids}))
    asked = service(shape.views, shape.mixed)
    return online_pb2.GetOnlineFeaturesRequest(project=PROJECT, feature_service=asked, keys=keys)


def fill(server: LocalServer, binary: Path, entities: int, mixed_views: bool) -> tuple[int, float]:
    """Defines the views, ingests their rows and materializes them. Gives the rows and how many seconds the last step took."""
    views = [(view, False) for view in range(VIEWS)]
    views += [(view, True) for view in range(MIXED_VIEWS)] if mixed_views else []
    with tidegate.Client(server.address, PROJECT) as client:
        client.apply(definitions(views))
        for view, mixed in views:
            client.ingest(f"{view_name(view, mixed)}_rows", rows_of(view, entities, mixed), batch_id="all")
    environment = {**os.environ, "TIDEGATE_ADDRESS": server.address, "TIDEGATE_PROJECT": PROJECT}
    begun = time.monotonic()
    subprocess.run([binary, "materialize"], env=environment, check=True, stdout=subprocess.DEVNULL)
    return len(views) * entities, time.monotonic() - begun


def definitions(views: list[tuple[int, bool]]) -> list[Any]:
    entity = Entity("entity", {"entity_id": "int64"})
    made: list[Any] = [entity]
    by_name = {}
    for view, mixed in views:
        name, types = view_name(view, mixed), MIXED if mixed else ["int64"] * FEATURES
        typed = dict(zip(feature_names(view, mixed), types, strict=True))
        source = Source(f"{name}_rows", EVENT_TIME, columns=typed)
        by_name[name] = FeatureView(name, [entity], source, [Feature(feature, of) for feature, of in typed.items()])
        made += [source, by_name[name]]
    for count, mixed in ((5, False), (VIEWS, False), (5, True)):
        names = [view_name(view, mixed) for view in range(count)]
        if set(names) <= set(by_name):
            made.append(FeatureService(service(count, mixed), [by_name[name].use() for name in names]))
    return made


class RedisServer:
    """An empty Redis on the server's core, which keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        command = ["redis-server", "--port", str(self.port), "--save", "", "--dir", str(folder), "--bind", "127.0.0.1"]
        with pinned(SERVER_CORE):
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        self.close()
        raise SystemExit("redis-server does not listen")

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)


class Redis:
    """The same values in hashes, one for each view and entity, as Feast keeps them; read by one HMGET for each."""

    name, kind = "Redis HMGET", "redis"

    def __init__(self, folder: Path) -> None:
        self._server = RedisServer(folder)
        self._filled: set[tuple[int, bool]] = set()

    @property
    def pid(self) -> int:
        return self._server.pid

    def address(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    def close(self) -> None:
        self._server.close()

    def check(self, shape: Shape) -> None:
        """Fills what is missing, then compares an entity of each view."""
        address = ("127.0.0.1", self._server.port)
        with socket.create_connection(address) as connection, connection.makefile("rb") as answers:
            for view in range(shape.views):
                if (view, shape.mixed) not in self._filled:
                    self._fill(connection, answers, view, shape)
                    self._filled.add((view, shape.mixed))
                self._compare(connection, answers, view, shape)

    def _compare(self, connection: socket.socket, answers: Any, view: int, shape: Shape) -> None:
        last = shape.entities - 1
        connection.sendall(self._read(view, last, shape.mixed))
        count = int(answers.readline()[1:])
        got = [answers.read(int(answers.readline()[1:]) + 2)[:-2] for _ in range(count)]
        stored = [column(view, at, np.array([last]), shape.mixed)[0].as_py() for at in range(FEATURES)]
        if got != [str(value).encode() for value in stored]:
            raise SystemExit("Redis does not hold what was stored")

    def _fill(self, connection: socket.socket, answers: Any, view: int, shape: Shape) -> None:
        names = feature_names(view, shape.mixed)
        columns = [column(view, at, np.arange(shape.entities), shape.mixed).to_pylist() for at in range(FEATURES)]
        for start in range(0, shape.entities, 500):
            ids = range(start, min(start + 500, shape.entities))
            commands = []
            for entity in ids:
                fields = [text for name, values in zip(names, columns, strict=True) for text in (name, str(values[entity]))]
                commands.append(command("HSET", self._key(view, entity, shape.mixed), *fields))
            connection.sendall(b"".join(commands))
            for _ in ids:
                answers.readline()

    def _key(self, view: int, entity: int, mixed: bool) -> str:
        return f"{view_name(view, mixed)}:{entity}"

    def _read(self, view: int, entity: int, mixed: bool) -> bytes:
        return command("HMGET", self._key(view, entity, mixed), *feature_names(view, mixed))

    def requests(self, shape: Shape) -> Iterator[bytes]:
        count = max(REDIS_READS_MAX // (shape.rows * shape.views), 1)
        # Commands differ in their keys alone: most of their bytes are made once.
        views = [(view_name(view, shape.mixed), words(*feature_names(view, shape.mixed))) for view in range(shape.views)]
        head = b"*%d\r\n" % (2 + FEATURES) + words("HMGET")
        for ids in itertools.islice(batches(shape), count):
            yield b"".join(head + words(f"{name}:{entity}") + fields for entity in ids.tolist() for name, fields in views)


def command(*parts: str) -> bytes:
    """A command as Redis reads it."""
    return b"*%d\r\n" % len(parts) + words(*parts)


def words(*parts: str) -> bytes:
    return b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in map(str.encode, parts))


class Echo:
    """An empty gRPC call that answers as many bytes as Tidegate does."""

    name, kind = "empty gRPC call", "grpc"

    def __init__(self, program: Path, length: int) -> None:
        with pinned(SERVER_CORE):
            self._process = subprocess.Popen(
                [program, "echo", "--address", "127.0.0.1:0", "--bytes", str(length)], stdout=subprocess.PIPE, text=True
            )
        assert self._process.stdout is not None
        self._address = self._process.stdout.readline().strip()

    @property
    def pid(self) -> int:
        return self._process.pid

    def address(self) -> str:
        return self._address

    def close(self) -> None:
        self._process.kill()
        self._process.wait(20)
