//! A stream of record batches of one schema: how tables of any size go in and out of the use cases.

use std::fmt;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use futures::stream::BoxStream;
use tidegate_offline::point_in_time::Counts;

use super::{Error, Result};

/// Record batches that all have `schema`. Dropping it stops what produces them.
pub struct Batches {
    /// The schema of every batch.
    pub schema: SchemaRef,
    /// The batches, produced as they are polled.
    pub stream: BoxStream<'static, Result<RecordBatch>>,
    /// What the joins behind them count; complete when the last batch is out. `None` where no join is behind them.
    pub counts: Option<Counts>,
}

impl Batches {
    /// Batches from a stream.
    pub fn new(schema: SchemaRef, stream: impl futures::Stream<Item = Result<RecordBatch>> + Send + 'static) -> Self {
        Self { schema, stream: stream.boxed(), counts: None }
    }

    /// The same with what their joins count.
    #[must_use]
    pub fn with_counts(self, counts: Counts) -> Self {
        Self { counts: Some(counts), ..self }
    }

    /// Batches that are in memory already.
    #[must_use]
    pub fn from_vec(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self::new(schema, futures::stream::iter(batches.into_iter().map(Ok)))
    }

    /// All batches in memory. For tests and for what is known to be small.
    ///
    /// # Errors
    /// The first error of the stream.
    pub async fn collect(self) -> Result<Vec<RecordBatch>> {
        let mut stream = self.stream;
        let mut batches = Vec::new();
        while let Some(batch) = stream.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::invalid(format!("the record batches can't be read: {error}"))
    }
}
