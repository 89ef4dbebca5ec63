//! Streams of batches to the server that can fail half way without looking whole.
//!
//! A gRPC request stream ends in one way only, so a source that fails in the middle (a bad line of a CSV file) would reach
//! the server as a shorter, complete stream, and be kept. Here the encoder passes the failure on, which resets the HTTP/2
//! stream: the server sees a broken call and keeps nothing, the caller gets the failure as [`Error::Input`].

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, FlightDescriptor};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Status, Streaming};
use tonic_prost::{ProstDecoder, ProstEncoder};

use crate::connect::{Client, MESSAGE_BYTES_MAX};
use crate::error::{Error, Result};

type BoxError = Box<dyn StdError + Send + Sync>;

/// What made the request stream fail, for the caller to learn instead of the reset that it caused.
#[derive(Debug, Clone, Default)]
pub(crate) struct InputFailure(Arc<Mutex<Option<BoxError>>>);

impl InputFailure {
    fn set(&self, error: BoxError) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// The error to report for a call that ended with `status`.
    pub(crate) fn explain(&self, client_address: &str, status: &Status) -> Error {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Error::Input(error),
            None => Error::from_status(client_address, status),
        }
    }
}

impl Client {
    /// Sends batches under a command and returns the server's stream of replies.
    pub(crate) async fn send_batches<R, S, E>(
        &self,
        method: &'static str,
        command: Bytes,
        schema: SchemaRef,
        batches: S,
    ) -> Result<(Streaming<R>, InputFailure)>
    where
        R: Message + Default + 'static,
        S: Stream<Item = std::result::Result<RecordBatch, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let failure = InputFailure::default();
        let messages = encode(command, schema, batches, failure.clone());
        let mut grpc = tonic::client::Grpc::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        grpc.ready().await.map_err(|error| self.failed(&Status::from_error(error.into())))?;
        let path = PathAndQuery::from_static(method);
        let reply = grpc.streaming(self.request(messages)?, path, FallibleCodec::default()).await;
        match reply {
            Ok(reply) => Ok((reply.into_inner(), failure)),
            Err(status) => Err(failure.explain(&self.address, &status)),
        }
    }
}

fn encode<S, E>(
    command: Bytes,
    schema: SchemaRef,
    batches: S,
    failure: InputFailure,
) -> impl Stream<Item = std::result::Result<FlightData, Status>> + Send + 'static
where
    S: Stream<Item = std::result::Result<RecordBatch, E>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    let expected = schema.clone();
    let checked = batches.map(move |batch| match batch {
        Ok(batch) if same_columns(batch.schema_ref(), &expected) => Ok(batch),
        Ok(batch) => {
            let what = format!("a batch has the columns {:?}, not those announced", batch.schema_ref().fields());
            Err(FlightError::ExternalError(what.into()))
        }
        Err(error) => Err(FlightError::ExternalError(error.into())),
    });
    FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(FlightDescriptor::new_cmd(command)))
        .with_schema(schema)
        .build(checked)
        .map_err(move |error| {
            failure.set(match error {
                FlightError::ExternalError(source) => source,
                other => other.into(),
            });
            Status::aborted("the rows to send could not be read")
        })
}

/// Names and types; nullability may vary from batch to batch.
fn same_columns(left: &SchemaRef, right: &SchemaRef) -> bool {
    let columns = |schema: &SchemaRef| -> Vec<(String, DataType)> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    Arc::ptr_eq(left, right) || columns(left) == columns(right)
}

/// Encodes results: an error ends the request stream with a reset.
#[derive(Debug)]
struct FallibleCodec<R>(std::marker::PhantomData<R>);

impl<R> Default for FallibleCodec<R> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<R: Message + Default + 'static> Codec for FallibleCodec<R> {
    type Encode = std::result::Result<FlightData, Status>;
    type Decode = R;
    type Encoder = FallibleEncoder;
    type Decoder = ProstDecoder<R>;

    fn encoder(&mut self) -> FallibleEncoder {
        FallibleEncoder(ProstEncoder::default())
    }

    fn decoder(&mut self) -> ProstDecoder<R> {
        ProstDecoder::default()
    }
}

#[derive(Debug)]
struct FallibleEncoder(ProstEncoder<FlightData>);

impl Encoder for FallibleEncoder {
    type Item = std::result::Result<FlightData, Status>;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, buffer: &mut EncodeBuf<'_>) -> std::result::Result<(), Status> {
        self.0.encode(item?, buffer)
    }
}

#[cfg(test)]
mod tests;
