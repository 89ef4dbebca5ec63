"""What can go wrong, by what the caller should do about it.

Every error is a `TidegateError`; its subclass says the kind, `message` the cause, `remedy` what to do, and `problems` the
places in definition files, where it is about those.

    try:
        client.apply("definitions/")
    except tidegate.DefinitionError as error:
        for problem in error.problems:
            print(problem)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.flight as flight
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from tidegate._proto.error.v1 import error_pb2
from tidegate._proto.registry.v1 import registry_pb2


@dataclass(frozen=True)
class Problem:
    """One problem in a definition file; `line` and `column` count from 1, and are 0 where it has no place."""

    file: str
    line: int
    column: int
    message: str
    snippet: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: {self.message}"
        if self.snippet:
            text += "\n" + "\n".join(f"    {line}" for line in self.snippet.splitlines())
        return f"{text}\n    help: {self.suggestion}" if self.suggestion else text


class TidegateError(Exception):
    """A call failed. Catch a subclass to act on one kind of failure."""

    kind = "internal"
    advice = "This is a defect; please report it with the server's log of that moment."

    def __init__(
        self,
        message: str,
        *,
        remedy: str | None = None,
        problems: list[Problem] | None = None,
        causes: list[str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy or _remedy_in(message) or self.advice
        self.problems = problems or []
        self.causes = causes or []

    def __str__(self) -> str:
        lines = [self.message, *(f"caused by: {cause}" for cause in self.causes), *map(str, self.problems)]
        return "\n".join(lines)


class InvalidError(TidegateError, ValueError):
    """The request is wrong."""

    kind = "invalid"
    advice = "Mend the request."


class DefinitionError(InvalidError):
    """Definition files have problems; `problems` lists all of them."""


class NotFoundError(TidegateError, LookupError):
    """The request names something that does not exist."""

    kind = "not_found"
    advice = "Check the name; Client.get() lists what the project defines."


class AlreadyExistsError(TidegateError):
    """Something with that name is already there."""

    kind = "already_exists"
    advice = "Choose another name."


class ConflictError(TidegateError):
    """Another change came first."""

    kind = "conflict"
    advice = "Plan again and retry from the start."


class PreconditionError(TidegateError):
    """The system is not in the state that this needs."""

    kind = "precondition"
    advice = "Do first what the message says."


class UnauthenticatedError(TidegateError):
    """The server does not know who is calling."""

    kind = "unauthenticated"
    advice = "Give credentials."


class ForbiddenError(TidegateError):
    """The caller may not do this."""

    kind = "forbidden"
    advice = "Ask the project's owner for a grant."


class ExhaustedError(TidegateError):
    """Out of memory, disk or quota."""

    kind = "exhausted"
    advice = "Ask for less, or retry later."


class UnavailableError(TidegateError, ConnectionError):
    """The server can't be reached, is not ready, or is shutting down."""

    kind = "unavailable"
    advice = "Check that a server listens at the address (`tidegate serve` starts one), then retry."


class DeadlineError(TidegateError, TimeoutError):
    """It took longer than allowed."""

    kind = "deadline"
    advice = "Ask for less, or allow more time."


class CancelledError(TidegateError):
    """The call was cancelled."""

    kind = "cancelled"
    advice = "Call again if you still want the answer."


class UnsupportedError(TidegateError, NotImplementedError):
    """This server can't do that."""

    kind = "unsupported"
    advice = "Check that server and client are of the same version."


class CorruptError(TidegateError):
    """Stored bytes are not what was written."""

    kind = "corrupt"
    advice = "Restore the data folder from a backup, or rebuild the online tier with materialize(full=True)."


class InternalError(TidegateError):
    """A defect of the server."""


_BY_CODE: dict[str, type[TidegateError]] = {
    "INVALID_ARGUMENT": InvalidError,
    "OUT_OF_RANGE": InvalidError,
    "NOT_FOUND": NotFoundError,
    "ALREADY_EXISTS": AlreadyExistsError,
    "ABORTED": ConflictError,
    "FAILED_PRECONDITION": PreconditionError,
    "UNAUTHENTICATED": UnauthenticatedError,
    "PERMISSION_DENIED": ForbiddenError,
    "RESOURCE_EXHAUSTED": ExhaustedError,
    "UNAVAILABLE": UnavailableError,
    "DEADLINE_EXCEEDED": DeadlineError,
    "CANCELLED": CancelledError,
    "UNIMPLEMENTED": UnsupportedError,
    "DATA_LOSS": CorruptError,
}

# What pyarrow calls each code in the text of its errors; their Python types keep fewer apart.
_FLIGHT_WORDS: dict[str, type[TidegateError]] = {
    "invalid argument": InvalidError,
    "out-of-range": InvalidError,
    "not found": NotFoundError,
    "already exists": AlreadyExistsError,
    "aborted": ConflictError,
    "precondition failed": PreconditionError,
    "unauthenticated": UnauthenticatedError,
    "unauthorized": ForbiddenError,
    "resource exhausted": ExhaustedError,
    "unavailable": UnavailableError,
    "timeout": DeadlineError,
    "cancelled": CancelledError,
    "unimplemented": UnsupportedError,
    "data loss": CorruptError,
    "internal": InternalError,
}

_FLIGHT_TYPES: list[tuple[type[BaseException], type[TidegateError]]] = [
    (flight.FlightUnavailableError, UnavailableError),
    (flight.FlightTimedOutError, DeadlineError),
    (flight.FlightUnauthenticatedError, UnauthenticatedError),
    (flight.FlightUnauthorizedError, ForbiddenError),
    (flight.FlightCancelledError, CancelledError),
    (pa.ArrowNotImplementedError, UnsupportedError),
    (pa.ArrowKeyError, NotFoundError),
    (pa.ArrowInvalid, InvalidError),
]

_FLIGHT_TEXT = re.compile(
    r"(?:gRPC|Flight) (?:returned (?P<word>.+?) error|cancelled call|RPC failed), with message: (?P<message>.*?)"
    r"(?:\. (?:gRPC client debug context|Client context|Detail): .*)?$",
    re.DOTALL,
)


@contextmanager
def translated() -> Iterator[None]:
    """Raises what grpcio and pyarrow raise inside as the `TidegateError` it stands for."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_grpc(error) from None
    except (flight.FlightError, pa.ArrowException) as error:
        raise from_flight(error) from None


def from_grpc(error: Any) -> TidegateError:
    """The error that a gRPC status stands for, with the details the server attached."""
    of = _BY_CODE.get(error.code().name, InternalError)
    detail = _detail(error)
    problems = [problem(p) for p in detail.problems]
    if problems and of is InvalidError:
        of = DefinitionError
    return of(error.details() or error.code().name, problems=problems, causes=list(detail.causes))


def from_flight(error: BaseException) -> TidegateError:
    """The error that a failure of Arrow Flight stands for."""
    text = str(error).strip("'")
    match = _FLIGHT_TEXT.search(text)
    by_type = next((ours for theirs, ours in _FLIGHT_TYPES if isinstance(error, theirs)), InternalError)
    if match is None:
        return by_type(text)
    return _FLIGHT_WORDS.get(match["word"] or "", by_type)(match["message"])


def problem(message: registry_pb2.Problem) -> Problem:
    """A problem as the wire carries it."""
    return Problem(message.file, message.line, message.column, message.message, message.snippet, message.suggestion)


def _remedy_in(message: str) -> str | None:
    """The server's messages name the cause and then, behind the last semicolon, what to do; gRPC's own do not."""
    _, found, remedy = message.rpartition("; ")
    return remedy if found and "failed to connect" not in message.lower() else None


def _detail(error: Any) -> error_pb2.ErrorDetail:
    detail = error_pb2.ErrorDetail()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            try:
                for any_message in _any_details(value):
                    any_message.Unpack(detail)
            except (DecodeError, IndexError):
                pass  # An unreadable detail must not hide the error it belongs to.
    return detail


def _any_details(status: bytes) -> Iterator[AnyMessage]:
    """The `details` (field 3) of an encoded google.rpc.Status, read by hand to need no package for one message."""
    at = 0
    while at < len(status):
        tag, at = _varint(status, at)
        if tag & 7 == 0:
            _, at = _varint(status, at)
            continue
        length, at = _varint(status, at)
        if tag >> 3 == 3:
            yield AnyMessage.FromString(status[at : at + length])
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
