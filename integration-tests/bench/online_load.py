"""Load on a server and what it costs: pinning, the load program's runs, a process's CPU time and resident size.

Requests go to the program in one file; nothing here knows what they mean.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from online_shapes import Shape

Figures = dict[str, Any]

SERVER_CORE, LOAD_CORE = 0, 1
OVERLOAD_SECONDS, CALM_SECONDS = 20, 4
# The longest that sending all requests once may take, in times of a measured load.
WARM_TIMES_MAX = 15
# The longest that a server may be busy with itself, and the share of a core below which it is not.
SETTLE_SECONDS_MAX, IDLE_SHARE = 180, 0.1
# How often a contender is measured before its refusals count.
TRIES = 3


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """What is started in here stays on a core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core} & before or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def settle(pid: int) -> None:
    """Waits until a process that nobody asks anything has nothing to do."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while time.monotonic() < deadline:
        before = cpu_seconds(pid)
        time.sleep(2)
        if cpu_seconds(pid) - before < 2 * IDLE_SHARE:
            return


def write_requests(folder: Path, requests: Iterator[bytes]) -> Path:
    path = folder / "requests.bin"
    with path.open("wb") as file:
        for request in requests:
            file.write(struct.pack("<I", len(request)) + request)
    return path


def load(program: Path, kind: str, address: str, requests: Path, seconds: float, options: Sequence[object]) -> Figures:
    command = [str(program), kind, "--address", address, "--requests", str(requests), "--seconds", str(seconds)]
    command += ["--warm", str(min(seconds, 1))]
    with pinned(LOAD_CORE):
        done = subprocess.run([*command, *map(str, options)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    found: Figures = json.loads(done.stdout)
    return found


def warm(program: Path, who: Any, requests: Path, count: int, seconds: float) -> None:
    """Sends every request once: what is timed later has been read before."""
    flow = ["--connections", 4, "--in-flight", 4]
    seen = load(program, who.kind, who.address(), requests, min(seconds, 1), flow)
    needed = count / max(seen["per_second"], 1)
    if needed > 1:
        load(program, who.kind, who.address(), requests, min(needed, WARM_TIMES_MAX * seconds), flow)


def measure(program: Path, who: Any, requests: Path, shape: Shape, seconds: float) -> Figures:
    """The capacity, then latencies at half of it; again where requests were refused, since the machine may have been busy."""
    for _ in range(TRIES):
        found, refused = attempt(program, who, requests, shape, seconds)
        if not refused:
            return found
        print(f"  {who.name}: {refused}", flush=True)
    raise SystemExit(f"{who.name} refuses requests at half of its capacity")


def attempt(program: Path, who: Any, requests: Path, shape: Shape, seconds: float) -> tuple[Figures, str]:
    """Figures, and what was refused."""
    in_flight = 16 if shape.rows < 100 else 2
    flow = ["--connections", 4, "--in-flight", in_flight]
    full = load(program, who.kind, who.address(), requests, seconds, flow)
    rate = max(full["per_second"] / 2, 1.0)
    before, begun = cpu_seconds(who.pid), time.monotonic()
    half = load(program, who.kind, who.address(), requests, seconds, ["--connections", 4, "--rate", rate])
    used, took = cpu_seconds(who.pid) - before, time.monotonic() - begun
    refused = full["refused"] or half["refused"] or half["unanswered"]
    calls = rate * took
    found = {
        "per_second": full["per_second"],
        "p50_us": half["p50_us"],
        "p99_us": half["p99_us"],
        "p999_us": half["p999_us"],
        "cpu_us": used / calls * 1e6,
        "bytes": full["bytes_each"],
        "mb": resident_mb(who.pid),
    }
    return found, f"{full['codes']} {half['codes']}, {half['unanswered']} unanswered" if refused else ""


def overload(program: Path, who: Any, requests: Path, capacity: float) -> Figures:
    """Five times as many requests as can be answered, for a while: who is answered in time, and what it costs."""
    flow = ["--connections", 4, "--rate"]
    calm = load(program, who.kind, who.address(), requests, 8, [*flow, capacity * 0.8])
    before = resident_mb(who.pid)
    flood = load(program, who.kind, who.address(), requests, OVERLOAD_SECONDS, [*flow, capacity * 5])
    after = resident_mb(who.pid)
    time.sleep(CALM_SECONDS)
    again = load(program, who.kind, who.address(), requests, 3, [*flow, capacity * 0.8, "--warm", 0])
    return {
        "calm_p99_us": calm["p99_us"],
        "goodput": flood["per_second"] / capacity,
        "p99_us": flood["p99_us"],
        "refused_p99_us": flood["refused_p99_us"],
        "grown_mb": after - before,
        "again_p99_us": again["p99_us"],
        "again_refused": again["refused"],
    }
