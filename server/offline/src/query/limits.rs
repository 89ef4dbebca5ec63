//! Caps on a result: rows, bytes and time, held while it streams.

use std::pin::Pin;
use std::task::{Context, Poll};

use arrow::array::{Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use futures::{Future, Stream};
use tokio::time::Sleep;

use super::Limits;
use crate::error::Error;

/// A result within limits, under the schema that was told before.
pub(super) struct Limited {
    inner: Option<SendableRecordBatchStream>,
    schema: SchemaRef,
    limits: Limits,
    deadline: Pin<Box<Sleep>>,
    rows: u64,
    bytes: u64,
}

impl Limited {
    /// Starts the clock. Must be called on a runtime's thread.
    pub(super) fn new(inner: SendableRecordBatchStream, schema: SchemaRef, limits: Limits) -> Self {
        let deadline = Box::pin(tokio::time::sleep(limits.time));
        Self { inner: Some(inner), schema, limits, deadline, rows: 0, bytes: 0 }
    }

    fn count(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.rows += batch.num_rows() as u64;
        // Of shared buffers only the batch's own part counts.
        let bytes: usize =
            batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum();
        self.bytes += bytes as u64;
        if self.rows > self.limits.rows {
            return Err(Error::LimitExceeded { what: "rows", limit: self.limits.rows });
        }
        if self.bytes > self.limits.bytes {
            return Err(Error::LimitExceeded { what: "bytes", limit: self.limits.bytes });
        }
        Ok(())
    }

    /// Ends the stream: what feeds it is dropped, and with it the plan.
    fn fail(&mut self, error: DataFusionError) -> Poll<Option<Result<RecordBatch>>> {
        self.inner = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Limited {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        if this.limits.time.is_zero() || this.deadline.as_mut().poll(context).is_ready() {
            let seconds = this.limits.time.as_secs();
            return this.fail(Error::Deadline { seconds }.into());
        }
        let batch = match inner.as_mut().poll_next(context) {
            Poll::Ready(Some(Ok(batch))) => batch,
            Poll::Ready(Some(Err(error))) => return this.fail(error),
            other => return other,
        };
        if let Err(error) = this.count(&batch) {
            return this.fail(error.into());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        match RecordBatch::try_new_with_options(this.schema.clone(), batch.columns().to_vec(), &options) {
            Ok(batch) => Poll::Ready(Some(Ok(batch))),
            Err(error) => this.fail(error.into()),
        }
    }
}

impl RecordBatchStream for Limited {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
