"""Results that are fetched when asked for: training sets and SQL queries.

Nothing is computed until one of the `to_…` methods is called; each call runs the read again and streams it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
from tidegate._proto.flight.v1 import flight_pb2
from tidegate.errors import TidegateError, translated

if TYPE_CHECKING:
    import pandas
    import polars


class Stream(NamedTuple):
    """Batches on their way."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    #: What the server says beside the batches; complete when they are read.
    notes: list[bytes]


class LazyTable:
    """A table that the server computes when it is read.

    It exposes Arrow's C stream, so that `polars.DataFrame(result)`, `duckdb.from_arrow(result.to_reader())` and
    `pyarrow.table(result)` work as well as the methods here.
    """

    def __init__(self, schema: Callable[[], pa.Schema], read: Callable[[], Stream]) -> None:
        self._find_schema = schema
        self._read = read
        self._schema: pa.Schema | None = None
        self._notes: list[bytes] = []

    @property
    def schema(self) -> pa.Schema:
        """Names, types and nullability of the columns, found without reading rows."""
        if self._schema is None:
            with translated():
                self._schema = self._find_schema()
        return self._schema

    def to_reader(self) -> pa.RecordBatchReader:
        """The rows as a stream of batches, for results that are larger than memory."""
        with translated():
            schema, batches, self._notes = self._read()
        self._schema = schema
        return pa.RecordBatchReader.from_batches(schema, batches)

    def to_arrow(self) -> pa.Table:
        """All rows as a pyarrow table."""
        with translated():
            schema, batches, self._notes = self._read()
            table = pa.Table.from_batches(batches, schema)
        self._schema = schema
        return table

    def to_pandas(self, **options: Any) -> pandas.DataFrame:
        """All rows as a pandas DataFrame; `options` go to `pyarrow.Table.to_pandas`."""
        frame: pandas.DataFrame = self.to_arrow().to_pandas(**options)
        return frame

    def to_polars(self) -> polars.DataFrame:
        """All rows as a polars DataFrame."""
        try:
            import polars
        except ImportError as error:
            raise TidegateError("polars is not installed; pip install 'tidegate[polars]'") from error
        frame = polars.from_arrow(self.to_arrow())
        assert isinstance(frame, polars.DataFrame)
        return frame

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.to_reader().__arrow_c_stream__(requested_schema)


class TrainingSet(LazyTable):
    """The spine's rows, in the spine's order, each with the features as they were known at its time."""

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """What the join counted in the last read, by view: `matched`, `expired`, `not_yet_known`, `conflicts`, `null_keys`,
        files and rows looked at and pruned, and more; docs/tables.md says what each is. Empty before all rows are read, and
        where there are none.

            training = client.get_historical_features(spine, service="delays")
            frame = training.to_pandas()
            training.counts["origin_weather"]["matched"]
        """
        if not self._notes:
            return {}
        views = flight_pb2.JoinCounts.FromString(self._notes[-1]).views
        return {view.view: dict(view.counts) for view in views}


class SqlResult(LazyTable):
    """The rows of a query."""
