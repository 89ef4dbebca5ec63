//! Results: a schema, and batches as they arrive.

use std::fmt;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};

use crate::error::{Error, Result};

/// Batches as they arrive; an error ends them.
pub type BatchStream = BoxStream<'static, Result<RecordBatch>>;

/// A result's schema and its batches. Dropping it cancels the call.
pub struct Batches {
    /// The schema of every batch.
    pub schema: SchemaRef,
    /// The batches.
    pub stream: BatchStream,
}

impl Batches {
    /// Reads all batches into memory.
    ///
    /// # Errors
    /// Whatever ended the stream early.
    pub async fn collect(self) -> Result<Vec<RecordBatch>> {
        self.stream.try_collect().await
    }

    /// Waits for the schema, which a Flight stream starts with; the batches follow as they are asked for.
    pub(crate) async fn from_flight<S>(address: &str, data: S) -> Result<Self>
    where
        S: Stream<Item = std::result::Result<FlightData, FlightError>> + Send + 'static,
    {
        let address = address.to_owned();
        let mut decoder = FlightDataDecoder::new(data);
        let schema = loop {
            let message = decoder.try_next().await.map_err(|error| Error::from_flight(&address, error))?;
            match message.map(|message| message.payload) {
                Some(DecodedPayload::Schema(schema)) => break schema,
                Some(DecodedPayload::None) => {}
                Some(DecodedPayload::RecordBatch(_)) => {
                    return Err(Error::Protocol("a batch came before its schema".into()));
                }
                None => return Err(Error::Protocol("the stream ended before its schema".into())),
            }
        };
        let batches = decoder.filter_map(move |message| {
            let item = match message.map(|message| message.payload) {
                Ok(DecodedPayload::RecordBatch(batch)) => Some(Ok(batch)),
                Ok(DecodedPayload::None) => None,
                Ok(DecodedPayload::Schema(_)) => Some(Err(Error::Protocol("a second schema".into()))),
                Err(error) => Some(Err(Error::from_flight(&address, error))),
            };
            std::future::ready(item)
        });
        Ok(Self { schema, stream: batches.boxed() })
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches").field("schema", &self.schema).finish_non_exhaustive()
    }
}
