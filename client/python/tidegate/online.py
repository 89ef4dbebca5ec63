"""Lookups: entity rows into columns of keys, and the columnar reply into Python, Arrow and pandas values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from tidegate import inputs
from tidegate._proto.online.v1 import online_pb2
from tidegate.errors import InvalidError, translated

if TYPE_CHECKING:
    import numpy
    import pandas

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NO_TIME = -(1 << 63)


class Status(IntEnum):
    """What a looked-up value is."""

    PRESENT = 1
    """The value is there."""
    NULL = 2
    """The stored value is null."""
    NOT_FOUND = 3
    """No row for this entity."""
    EXPIRED = 4
    """Older than the view's serve_ttl."""
    DEFAULTED = 5
    """A default from the definition stands in."""
    FAILED = 6
    """It could not be computed."""

    def __str__(self) -> str:
        return self.name


class OnlineResult:
    """The features of some entity rows, in the order of the rows and of the features asked for."""

    def __init__(self, keys: pa.Table, reply: online_pb2.GetOnlineFeaturesResponse) -> None:
        self._keys = keys
        self._reply = reply
        self._arrow: pa.Table | None = None

    def __len__(self) -> int:
        return int(self._reply.rows)

    @property
    def catalog_version(self) -> int:
        """The registry version that the answer was resolved against."""
        return int(self._reply.catalog_version)

    @property
    def as_of(self) -> datetime | None:
        """The time that the answer is as of, where it comes from the offline tier."""
        return _EPOCH + timedelta(microseconds=self._reply.as_of) if self._reply.HasField("as_of") else None

    @property
    def statuses(self) -> dict[str, list[Status]]:
        """For each feature, the status of each row."""
        return {
            column.name: [Status(status) for status in column.statuses] or [Status.PRESENT] * len(self)
            for column in self._reply.features
        }

    @property
    def reasons(self) -> dict[str, list[Status | None]]:
        """For each feature, what a default stands in for; None where none does."""
        return {
            column.name: [Status(reason) if reason else None for reason in column.reasons] or [None] * len(self)
            for column in self._reply.features
        }

    @property
    def event_times(self) -> dict[str, list[datetime | None]]:
        """For each view, the event time of the observation served; filled when asked for with include_times."""
        return {
            view.view: [
                None if time == _NO_TIME else _EPOCH + timedelta(microseconds=time) for time in view.event_times
            ]
            for view in self._reply.views
        }

    @property
    def ages(self) -> dict[str, list[timedelta | None]]:
        """For each view, how old the observation was at the server's now; filled when asked for with include_times."""
        return {
            view.view: [None if time == _NO_TIME else timedelta(microseconds=age)
                        for time, age in zip(view.event_times, view.ages, strict=True)]
            for view in self._reply.views
        }  # fmt: skip

    def to_arrow(self, *, include_keys: bool = True) -> pa.Table:
        """One column for each key and feature."""
        if self._arrow is None:
            self._arrow = pa.ipc.open_stream(self._reply.arrow_ipc).read_all()
        if not include_keys:
            return self._arrow
        table = self._keys
        for name, column in zip(self._arrow.column_names, self._arrow.columns, strict=True):
            if name not in table.column_names:
                table = table.append_column(name, column)
        return table

    def to_numpy(self) -> numpy.ndarray[Any, numpy.dtype[numpy.float64]]:
        """A matrix of float64, a row for each entity row and a column for each feature: what models take.

        NaN stands where there is no value. Features must be numbers or booleans; leave others out of the service, or use
        `to_arrow`.
        """
        import numpy

        table = self.to_arrow(include_keys=False)
        for field in table.schema:
            of = field.type
            if not (pa.types.is_integer(of) or pa.types.is_floating(of) or pa.types.is_boolean(of)):
                raise InvalidError(
                    f"feature `{field.name}` is {of} and does not go into a matrix of numbers; leave it out, or use "
                    "to_arrow()"
                )
        if not table.num_rows or not table.num_columns:
            return numpy.empty((len(self), table.num_columns))
        # All columns at once: a call for each would take longer than the lookup.
        if any(pa.types.is_boolean(of) for of in table.schema.types):
            bits = [field.with_type(pa.int8()) if pa.types.is_boolean(field.type) else field for field in table.schema]
            table = table.cast(pa.schema(bits))
        (batch,) = table.combine_chunks().to_batches()
        matrix: Any = batch.to_tensor(null_to_nan=True, row_major=False).to_numpy()
        return numpy.asarray(matrix, numpy.float64)

    def to_dict(self, *, include_keys: bool = True) -> dict[str, list[Any]]:
        """Column name to values."""
        result: dict[str, list[Any]] = self.to_arrow(include_keys=include_keys).to_pydict()
        return result

    def to_pandas(self, *, include_keys: bool = True) -> pandas.DataFrame:
        """A DataFrame with one row for each entity row."""
        frame: pandas.DataFrame = self.to_arrow(include_keys=include_keys).to_pandas()
        return frame

    def __repr__(self) -> str:
        return f"OnlineResult({len(self)} rows: {', '.join(column.name for column in self._reply.features)})"


def key_table(keys: Any) -> pa.Table:
    """Entity rows as a table: a dict of column to values or to one value, a list of dicts, or any table.

    >>> key_table({"origin": "JFK"}).num_rows, key_table({"origin": ["JFK", "LGA"], "day": 1}).num_rows
    (1, 2)
    """
    if isinstance(keys, Mapping):
        keys = _broadcast(keys)
    return inputs.reader(keys).read_all()


def _broadcast(keys: Mapping[str, Any]) -> dict[str, Any]:
    """One value stands for as many rows as the other columns have."""
    single = {name for name, values in keys.items() if _is_single(values)}
    rows = next((len(values) for name, values in keys.items() if name not in single), 1)
    return {name: [values] * rows if name in single else values for name, values in keys.items()}


def encode_keys(table: pa.Table) -> list[online_pb2.KeyColumn]:
    """The key columns of a lookup."""
    if table.num_columns == 0:
        raise InvalidError("a lookup needs at least one key column; give keys as {'key': [value, …]}")
    with translated():
        return [_key(name, column) for name, column in zip(table.column_names, table.columns, strict=True)]


def encode_request(columns: Any, rows: int) -> list[online_pb2.RequestColumn]:
    """Columns of any type, nulls included; one value stands for all rows."""
    if columns is None:
        return []
    if isinstance(columns, Mapping):
        columns = {name: [values] * rows if _is_single(values) else values for name, values in columns.items()}
    encoded = []
    with translated():
        table = inputs.reader(columns).read_all()
        for name in table.column_names:
            one = table.select([name])
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, one.schema) as writer:
                writer.write_table(one.combine_chunks())
            encoded.append(online_pb2.RequestColumn(name=name, arrow_ipc=sink.getvalue().to_pybytes()))
    return encoded


def _is_single(values: Any) -> bool:
    return isinstance(values, (str, bytes)) or not hasattr(values, "__len__")


def _key(name: str, column: pa.ChunkedArray) -> online_pb2.KeyColumn:
    if column.null_count:
        row = next(at for at, value in enumerate(column) if not value.is_valid)
        raise InvalidError(f"key `{name}` is null in row {row}; leave rows out whose keys are not known")
    of = column.type
    if pa.types.is_dictionary(of):
        of = of.value_type
        column = column.cast(of)
    if pa.types.is_boolean(of):
        return online_pb2.KeyColumn(name=name, bools=online_pb2.BoolValues(values=column.to_pylist()))
    if pa.types.is_integer(of):
        return _integers(name, column)
    if pa.types.is_string(of) or pa.types.is_large_string(of) or pa.types.is_string_view(of):
        return online_pb2.KeyColumn(name=name, strings=online_pb2.StringValues(values=column.to_pylist()))
    if pa.types.is_binary(of) or pa.types.is_large_binary(of) or pa.types.is_fixed_size_binary(of):
        return online_pb2.KeyColumn(name=name, bytes=online_pb2.BytesValues(values=column.to_pylist()))
    if pa.types.is_timestamp(of):
        return _integers(name, column.cast(pa.timestamp("us", of.tz)).cast(pa.int64()))
    if pa.types.is_date(of):
        return _integers(name, column.cast(pa.date32()).cast(pa.int32()))
    if pa.types.is_null(of) and len(column) == 0:
        raise InvalidError(f"key `{name}` has no rows and so no type; give a typed Arrow column for an empty lookup")
    raise InvalidError(
        f"key `{name}` is of type {of}; keys are integers, strings, bytes, booleans, timestamps or dates"
    )


def _integers(name: str, column: pa.ChunkedArray) -> online_pb2.KeyColumn:
    values = column.cast(pa.int64()).to_pylist()
    return online_pb2.KeyColumn(name=name, int64s=online_pb2.Int64Values(values=values))


def references(features: Any, service: str | None) -> dict[str, Any]:
    """The `selection` of a request: a service, or references as `view:feature`."""
    if (features is None) == (service is None):
        raise InvalidError("say either service='name' or features=['view:feature', …]")
    if service is not None:
        return {"feature_service": service}
    names = [features] if isinstance(features, str) else list(features)
    bad = [name for name in names if not isinstance(name, str) or not re.fullmatch(r"[^:]+(:[^:]+)?", name)]
    if bad or not names:
        raise InvalidError(f"{bad or names!r} is not a list of features; write them as `view` or `view:feature`")
    return {"references": names}
