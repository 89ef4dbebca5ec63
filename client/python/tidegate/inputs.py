"""Turns what people hold their rows in into a stream of Arrow batches.

`reader` accepts pyarrow, pandas and polars objects, anything that exposes Arrow's C stream or C array, a list of dicts, a
dict of columns, and the path of a Parquet or Arrow file. `checked` then gives every time a zone, and cuts batches to a size
that travels well.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tidegate.errors import InvalidError

MESSAGE_BYTES = 2 << 20


class NaiveTimeWarning(UserWarning):
    """A column's times have no zone and are read as UTC."""


def reader(data: Any) -> pa.RecordBatchReader:
    """The rows of `data` as a stream of batches; a reader is passed on as it is and can be read once.

    >>> reader([{"id": 1}, {"id": 2}]).read_all().num_rows
    2
    """
    try:
        return _reader(data)
    except (pa.ArrowException, UnicodeError, OverflowError) as error:
        raise InvalidError(f"the rows can't be turned into Arrow columns: {error}") from error


def _reader(data: Any) -> pa.RecordBatchReader:
    if isinstance(data, pa.RecordBatchReader):
        return data
    if isinstance(data, pa.Table):
        return data.to_reader()
    if isinstance(data, pa.RecordBatch):
        return pa.RecordBatchReader.from_batches(data.schema, [data])
    if isinstance(data, (str, Path)):
        return _file(Path(data))
    if isinstance(data, Mapping):
        return pa.table(dict(data)).to_reader()
    if isinstance(data, (list, tuple)):
        return _rows(data).to_reader()
    library = type(data).__module__.partition(".")[0]
    if library == "pandas":
        return pa.Table.from_pandas(data, preserve_index=False).replace_schema_metadata(None).to_reader()
    if library == "polars" and hasattr(data, "collect"):
        return _reader(data.collect())
    if hasattr(data, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(data)
    if hasattr(data, "__arrow_c_array__"):
        return _reader(pa.record_batch(data))
    raise InvalidError(
        f"rows of type {type(data).__name__} are not understood; give a pandas, polars or pyarrow table, anything with "
        "`__arrow_c_stream__`, a list of dicts, or a dict of columns"
    )


def _rows(rows: Sequence[Any]) -> pa.Table:
    """A table with every column that any row has; pyarrow alone would take those of the first row."""
    dicts = [_row(row, at) for at, row in enumerate(rows)]
    names = dict.fromkeys(name for row in dicts for name in row)
    return pa.table({name: [row.get(name) for row in dicts] for name in names})


def _row(row: Any, at: int) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise InvalidError(f"row {at} is a {type(row).__name__}; each row must be a dict of column to value")
    return dict(row)


def _file(path: Path) -> pa.RecordBatchReader:
    if not path.is_file():
        raise InvalidError(f"there is no file {path}; for a spine in SQL say sql=…, for a table of the project table=…")
    if path.suffix in (".parquet", ".pq"):
        file = pq.ParquetFile(path)
        return pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(batch_size=65_536))
    if path.suffix in (".arrow", ".feather", ".ipc"):
        return pa.ipc.open_file(path).read_all().to_reader()
    raise InvalidError(f"{path} is neither .parquet nor .arrow; read it first, or use `tidegate ingest`")


def checked(rows: pa.RecordBatchReader, warned: set[str]) -> pa.RecordBatchReader:
    """The same rows with a zone on every time, in batches of at most about 2 MiB.

    Naive times are read as UTC, with one warning for each column whose name is not in `warned` yet.
    """
    fields = [_zoned(field, warned) for field in rows.schema]
    schema = pa.schema(fields)
    return pa.RecordBatchReader.from_batches(schema, _batches(rows, schema))


def _zoned(field: pa.Field, warned: set[str]) -> pa.Field:
    if not pa.types.is_timestamp(field.type) or field.type.tz is not None:
        return field
    if field.name not in warned:
        warned.add(field.name)
        warnings.warn(
            f"the times of column `{field.name}` have no zone; they are read as UTC",
            NaiveTimeWarning,
            stacklevel=5,
        )
    return field.with_type(pa.timestamp(field.type.unit, "UTC"))


def _batches(rows: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in rows:
        if batch.schema != schema:
            batch = pa.RecordBatch.from_arrays(
                [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)], schema=schema
            )
        if batch.num_rows == 0:
            continue
        step = max(1, batch.num_rows * MESSAGE_BYTES // max(batch.nbytes, 1))
        for start in range(0, batch.num_rows, step):
            yield batch.slice(start, step)
