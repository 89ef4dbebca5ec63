"""The two doors of the server's one port: gRPC calls by method name, and Arrow Flight streams."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
import pyarrow as pa
import pyarrow.flight as flight
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from tidegate.errors import InvalidError, UnavailableError, translated
from tidegate.results import Stream

Reply = TypeVar("Reply", bound=Message)

# The metadata of a message by which a client takes back what it has sent; pyarrow can only end an upload well.
ABORT = b"tidegate.abort"

# A lookup that the server is too busy for, or that meets it restarting, is tried again after a pause that gRPC varies by chance, or
# that the server asks for.
_RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": "tidegate.online.v1.OnlineService", "method": "GetOnlineFeatures"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.02s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        },
        {
            # Nothing was written: what waits for the tables leaves by itself.
            "name": [{"service": "tidegate.push.v1.PushService", "method": "Push"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.5s",
                "maxBackoff": "5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
            },
        },
    ]
}

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.service_config", json.dumps(_RETRIES)),
]


class Transport:
    """Connections to one server. They open when first used and are shared by threads."""

    def __init__(self, address: str) -> None:
        secure, self.target = _parse(address)
        credentials = grpc.ssl_channel_credentials() if secure else None
        if credentials is not None:
            self._channel = grpc.secure_channel(self.target, credentials, _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(self.target, _OPTIONS)
        # A callable of each method: making one takes as long as a short call.
        self._calls: dict[str, Any] = {}
        self._flight = flight.FlightClient(f"{'grpc+tls' if secure else 'grpc+tcp'}://{self.target}")

    def close(self) -> None:
        """Closes the connections; streams still being read end with an error."""
        self._flight.close()
        self._channel.close()

    def call(self, method: str, request: Message, reply: type[Reply], timeout: float | None = None) -> Reply:
        """One request, one reply. `method` is as `tidegate.online.v1.OnlineService/GetOnlineFeatures`."""
        invoke = self._calls.get(method)
        if invoke is None:
            serializer = type(request).SerializeToString
            invoke = self._channel.unary_unary(f"/{method}", serializer, reply.FromString)
            self._calls[method] = invoke
        with translated():
            answer: Reply = invoke(request, timeout=timeout)
        return answer

    def stream(self, method: str, request: Message, reply: type[Reply]) -> Iterator[Reply]:
        """One request, many replies; leaving the iterator cancels the call."""
        invoke = self._channel.unary_stream(
            f"/{method}", request_serializer=type(request).SerializeToString, response_deserializer=reply.FromString
        )
        with translated():
            replies: Any = invoke(request)
            try:
                yield from replies
            finally:
                replies.cancel()

    def schema(self, command: Message, project: str) -> pa.Schema:
        """The schema that reading `command` would have."""
        with translated():
            return self._flight.get_flight_info(_descriptor(command), _options(project)).schema

    def read(self, command: Message, project: str) -> Stream:
        """Resolves `command` and reads the rows of all its endpoints in order."""
        options = _options(project)
        with translated():
            info = self._flight.get_flight_info(_descriptor(command), options)
            readers = (self._flight.do_get(endpoint.ticket, options) for endpoint in info.endpoints)
            first = next(readers, None)
        if first is None:
            return Stream(info.schema, iter(()), [])
        notes: list[bytes] = []

        def batches() -> Iterator[pa.RecordBatch]:
            yield from _batches(first, notes)
            for reader in readers:
                yield from _batches(reader, notes)

        return Stream(first.schema, batches(), notes)

    def action(self, name: str, command: Message, project: str) -> bytes:
        """Does an action whose body is a command; the body of its one result."""
        packed = AnyMessage()
        packed.Pack(command)
        with translated():
            results = list(self._flight.do_action(flight.Action(name, packed.SerializeToString()), _options(project)))
        return b"" if not results else results[0].body.to_pybytes()

    def exchange(self, command: Message, rows: pa.RecordBatchReader, project: str) -> Stream:
        """Sends rows, then reads what the server makes of them.

        One after the other: the server answers when it has the last row, and pyarrow aborts the process when one thread ends a
        stream that another still writes to.
        """
        with translated():
            writer, reader = self._flight.do_exchange(_descriptor(command), _options(project))

        def give_up() -> None:
            _quietly(reader.cancel)
            _quietly(writer.close)

        try:
            _send(writer, rows)
            with translated():
                schema = reader.schema
        except _RowsFailed as failed:
            give_up()
            raise failed.error from None
        except BaseException:
            give_up()
            raise

        notes: list[bytes] = []

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                yield from _batches(reader, notes)
            except BaseException:
                give_up()
                raise
            with translated():
                writer.close()

        return Stream(schema, batches(), notes)

    def put(self, command: Message, rows: pa.RecordBatchReader, project: str) -> bytes:
        """Sends rows to be stored; the answer's metadata. Whatever interrupts the sending, part of the rows is not stored."""
        with translated():
            writer, results = self._flight.do_put(_descriptor(command), rows.schema, _options(project))
            try:
                for batch in _read(rows):
                    writer.write_batch(batch)
                writer.done_writing()
                answer = results.read()
            except (flight.FlightError, pa.ArrowException):
                # A refusal breaks the stream off; closing it tells why, where writing only tells that.
                writer.close()
                raise UnavailableError(
                    "the server ended the upload before its last row; repeat it with the same batch_id"
                ) from None
            except BaseException as error:
                # Dropping the writer would end the stream as if these were all the rows.
                _quietly(lambda: writer.write_metadata(ABORT))
                _quietly(writer.close)
                raise error.error if isinstance(error, _RowsFailed) else error from None
            writer.close()
        return b"" if answer is None else answer.to_pybytes()


def _send(writer: flight.FlightStreamWriter, rows: pa.RecordBatchReader) -> None:
    try:
        writer.begin(rows.schema)
        for batch in _read(rows):
            writer.write_batch(batch)
        writer.done_writing()
    except (flight.FlightError, pa.ArrowException):
        pass  # The server broke off: reading tells why.


class _RowsFailed(Exception):
    """The caller's rows could not be read."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


def _read(rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The batches, with their own errors told apart from those of the connection."""
    while True:
        try:
            batch = rows.read_next_batch()
        except StopIteration:
            return
        except Exception as error:
            raise _RowsFailed(error) from error
        yield batch


def _quietly(action: Callable[[], object]) -> None:
    """Runs a clean-up whose failure would only hide the error that made it necessary."""
    try:
        action()
    except (flight.FlightError, pa.ArrowException, OSError):
        pass


def _batches(reader: flight.FlightStreamReader, notes: list[bytes]) -> Iterator[pa.RecordBatch]:
    with translated():
        for chunk in reader:
            if chunk.app_metadata is not None:
                notes.append(chunk.app_metadata.to_pybytes())
            if chunk.data is not None:
                yield chunk.data


def _descriptor(command: Message) -> flight.FlightDescriptor:
    packed = command
    if not isinstance(packed, AnyMessage):
        packed = AnyMessage()
        packed.Pack(command)
    return flight.FlightDescriptor.for_command(packed.SerializeToString())


def _options(project: str) -> flight.FlightCallOptions:
    return flight.FlightCallOptions(headers=[(b"tidegate-project", project.encode())])


def _parse(address: str) -> tuple[bool, str]:
    """Whether to use TLS, and `host:port`.

    >>> _parse("http://127.0.0.1:7407"), _parse("db.example:7407")
    ((False, '127.0.0.1:7407'), (False, 'db.example:7407'))
    """
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme not in ("http", "https", "grpc", "grpcs", "grpc+tls") or not parts.hostname:
        raise InvalidError(f"`{address}` is not an address; write it as http://127.0.0.1:7407")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return parts.scheme in ("https", "grpcs", "grpc+tls"), f"{host}:{parts.port or 7407}"
