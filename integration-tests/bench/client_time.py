"""What the Python client itself costs in a lookup: one call to a numpy matrix, beside the same bytes through the same channel.

    python integration-tests/bench/client_time.py --address HOST:PORT --rows 100 --views 5 --entities 10000

The calls take turns, so that a machine that drifts drifts for both. Matrices are compared with what was stored first. Figures
are printed as one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import tidegate
from online_contenders import PROJECT, lookup
from online_shapes import FEATURES, Ids, Shape, batches, expected, service
from tidegate._proto.online.v1 import online_pb2

METHOD = "/tidegate.online.v1.OnlineService/GetOnlineFeatures"
# What the client may take of a lookup of 100 x 50, at the median.
AIM_US = 500
WARM_CALLS = 200

Figures = dict[str, Any]


def measure(client: tidegate.Client, shape: Shape, calls: int) -> Figures:
    call, raw = whole(client, shape), bare(client)
    batch = list(batches(shape))
    requests = [bytes_of(shape, ids) for ids in batch]
    check(call, shape, batch[0])
    for at in range(min(calls, WARM_CALLS)):
        call(batch[at % len(batch)])
        raw(requests[at % len(batch)])
    walls, alone = [], []
    for at in range(calls):
        ids, request = batch[at % len(batch)], requests[at % len(batch)]
        # Who goes first alternates: the second finds the server's caches warm.
        if at % 2:
            walls.append(seconds(call, ids))
            alone.append(seconds(raw, request))
        else:
            alone.append(seconds(raw, request))
            walls.append(seconds(call, ids))
    wall_us, grpc_us = median(walls) * 1e6, median(alone) * 1e6
    return {"calls": calls, "wall_us": wall_us, "grpc_us": grpc_us, "client_us": wall_us - grpc_us}


def whole(client: tidegate.Client, shape: Shape) -> Callable[[Ids], Any]:
    """A lookup as programs write it."""
    asked = service(shape.views, shape.mixed)
    return lambda ids: client.get_online_features({"entity_id": ids}, service=asked).to_numpy()


def bare(client: tidegate.Client) -> Callable[[bytes], bytes]:
    """The call without the client: bytes out, bytes back, through the client's own channel with its settings."""
    found: Callable[[bytes], bytes] = client._transport._channel.unary_unary(METHOD)
    return found


def bytes_of(shape: Shape, ids: Ids) -> bytes:
    request = lookup(shape, ids)
    request.format = online_pb2.REPLY_FORMAT_ARROW
    found: bytes = request.SerializeToString()
    return found


def check(call: Callable[[Ids], Any], shape: Shape, ids: Ids) -> None:
    stored = np.array([values for _, values in expected(shape, ids)], np.float64).T
    if not np.array_equal(call(ids), stored):
        raise SystemExit("the client's matrix is not what was stored")


def seconds(call: Callable[[Any], Any], argument: Any) -> float:
    begun = time.perf_counter()
    call(argument)
    return time.perf_counter() - begun


def told(shape: Shape, found: Figures) -> str:
    asked = f"{shape.rows} x {shape.views * FEATURES}"
    return (
        f"client time of {asked} to numpy: {found['client_us']:,.0f} µs (aim: below {AIM_US}) of a "
        f"call of {found['wall_us']:,.0f} µs, the gRPC call alone {found['grpc_us']:,.0f} µs; medians of {found['calls']:,}"
    )


def markdown(shape: Shape, found: Figures) -> list[str]:
    return [
        f"| {shape.rows} x {shape.views * FEATURES}, {found['calls']:,} calls | median µs |",
        "| --- | ---: |",
        f"| one call, to a numpy matrix | {found['wall_us']:,.0f} |",
        f"| the gRPC call alone | {found['grpc_us']:,.0f} |",
        f"| the client's own time (aim: below {AIM_US}) | {found['client_us']:,.0f} |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--views", type=int, default=5)
    parser.add_argument("--entities", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=3_000)
    asked = parser.parse_args()
    with tidegate.Client(asked.address, PROJECT) as client:
        print(json.dumps(measure(client, Shape(asked.rows, asked.views, asked.entities), asked.calls)))


if __name__ == "__main__":
    main()
