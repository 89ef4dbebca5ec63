"""A server of one's own, for notebooks, demos and tests: started on free ports, stopped when left."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from tidegate.client import Client
from tidegate.errors import UnavailableError


class LocalServer:
    """Runs the `tidegate` binary on a data folder and waits until it is ready.

        with LocalServer("target/debug/tidegate") as server, server.client(project="flights") as client:
            client.apply("definitions/")

    Without `data_dir` it uses a new temporary folder, which is left behind for a look. Further `arguments` go to
    `tidegate serve`. The server's log is in `log`.
    """

    def __init__(
        self,
        binary: str | Path,
        data_dir: str | Path | None = None,
        arguments: tuple[str, ...] = (),
        *,
        start_seconds: float = 60.0,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.data_dir = Path(data_dir) if data_dir else Path(tempfile.mkdtemp(prefix="tidegate-"))
        self.log = self.data_dir.parent / f"{self.data_dir.name}.log"
        ready = self.data_dir / "server.json"
        ready.unlink(missing_ok=True)
        command = [
            *(str(Path(binary).resolve()), "serve", "--data-dir", str(self.data_dir)),
            *("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0", *arguments),
        ]
        # A session of its own: Ctrl-C in a notebook or a terminal is for the caller, who then stops the server.
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        found = self._wait(ready, start_seconds)
        self.address = f"http://{found['grpc']}"
        self.http_address = f"http://{found['http']}"

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def client(self, project: str | None = None) -> Client:
        """A client of this server."""
        return Client(self.address, project)

    def stop(self, seconds: float = 30.0) -> int:
        """Asks the server to finish what it is doing and end; its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.wait()

    def kill(self) -> None:
        """Ends the server at once, as a power cut would."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait(self, ready: Path, seconds: float) -> dict[str, str]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise UnavailableError(f"the server ended with code {self._process.returncode}:\n{self._last_words()}")
            try:
                found: dict[str, str] = json.loads(ready.read_text())
                return found
            except (FileNotFoundError, json.JSONDecodeError):
                time.sleep(0.05)
        self.kill()
        raise UnavailableError(f"the server was not ready after {seconds:g} s:\n{self._last_words()}")

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
