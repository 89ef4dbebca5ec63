"""Runs contenders as processes within limits, and the server beside them, and says what both used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from contenders import FLIGHT, IN_PROCESS, peak_mb
from tidegate.local import LocalServer

Figures = dict[str, Any]

HERE = Path(__file__).resolve().parent
# How often limits are looked at, in seconds.
LOOK = 0.05


class Failed(Exception):
    """A contender gave no result: it ran out of time or memory, or ended with an error."""


@dataclass(frozen=True)
class Limits:
    """What one run may take; of memory, server and client together."""

    seconds: float
    memory_mb: float


@dataclass(frozen=True)
class Programs:
    """What is measured: the server's binary, and the program of the join in process."""

    server: Path
    pit: Path


class Server:
    """A warm server that may read the benchmark's folders, with its own share of each run's figures."""

    def __init__(self, binary: Path, data: Path | None, roots: Sequence[Path], threads: int) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="tidegate-bench-")
        folder = Path(self._temporary.name)
        config = folder / "tidegate.toml"
        known = [str(root.resolve()) for root in roots]
        config.write_text(f"[tables]\nroots = {json.dumps(known)}\n[plans]\nthreads = {threads}\n")
        self.data = data or folder / "data"
        self._start = (binary, self.data, ("--config", str(config)))
        self._server = LocalServer(*self._start)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stop()
        self._temporary.cleanup()

    @property
    def address(self) -> str:
        return self._server.address

    def restart(self) -> None:
        """A new process on the same data: nothing of the runs so far is in the way of the next ones."""
        self._server.stop()
        self._server = LocalServer(*self._start)

    def reset_peak(self) -> None:
        Path(f"/proc/{self._server.pid}/clear_refs").write_text("5")

    def peak_mb(self) -> float:
        return peak_mb(self._server.pid)

    def resident_mb(self) -> float:
        return resident_mb(self._server.pid)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self._server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(
    who: str,
    spec: Path,
    threads: int,
    limits: Limits,
    programs: Programs,
    server: Server | None,
    out: Path | None = None,
    *options: str,
) -> list[Figures]:
    """One run of a contender: the figures it printed, for Flight with the server's added.

    Raises `Failed` where there are none.
    """
    written = ["--out", str(out)] if out else []
    if who == IN_PROCESS:
        command = [str(programs.pit), str(spec), "--threads", str(threads), *written, *options]
    else:
        command = [sys.executable, str(HERE / "contenders.py"), who, str(spec), *written]
    environment = {**os.environ, "POLARS_MAX_THREADS": str(threads)}
    if who != FLIGHT or server is None:
        return within(command, environment, limits, None)
    server.reset_peak()
    cpu = server.cpu_seconds()
    try:
        figures = within(command, {**environment, "TIDEGATE_ADDRESS": server.address}, limits, server)
    except Failed:
        server.restart()
        raise
    figures[0]["cpu_seconds"] += server.cpu_seconds() - cpu
    figures[0]["server_mb"] = server.peak_mb()
    figures[0]["peak_mb"] += figures[0]["server_mb"]
    return figures


def within(command: list[str], environment: dict[str, str], limits: Limits, server: Server | None) -> list[Figures]:
    """Runs the command until it ends or exceeds a limit; the JSON it printed, line by line."""
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=printed, stderr=said, env=environment)
        try:
            watch(process, limits, server)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            raise Failed(last_words(said) or f"ended with code {process.returncode}")
        printed.seek(0)
        return [json.loads(line) for line in printed if line.startswith("{")]


def watch(process: subprocess.Popen[bytes], limits: Limits, server: Server | None) -> None:
    deadline = time.monotonic() + limits.seconds
    while True:
        try:
            process.wait(LOOK)
            return
        except subprocess.TimeoutExpired:
            pass
        used = resident_mb(process.pid) + (server.resident_mb() if server else 0)
        if used > limits.memory_mb:
            raise Failed(f"over {limits.memory_mb / 1024:.3g} GiB of memory")
        if time.monotonic() > deadline:
            raise Failed(f"over {limits.seconds:g} s")


def last_words(said: IO[str]) -> str:
    said.seek(0)
    lines = [line.strip() for line in said if line.strip()]
    return lines[-1][:300] if lines else ""


def resident_mb(pid: int) -> float:
    """What the process holds now; 0 once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    _, found, rest = status.partition("VmRSS:")
    return int(rest.split()[0]) / 1024 if found else 0.0
