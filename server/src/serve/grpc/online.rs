//! Lookups over gRPC, one by one or through a stream.
//!
//! The service is the one `online.proto` describes, written by hand instead of generated: [`encode()`] writes replies as bytes,
//! where the generated service would build a message of many columns and then write that.

mod encode;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray, make_array};
use arrow::buffer::NullBuffer;
use arrow_ipc::reader::StreamReader;
use bytes::BufMut;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tidegate_proto::convert;
use tidegate_proto::online::v1::{self as wire, key_column, online_service_server};
use tidegate_schemas::error::ErrorKind;
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic::codegen::{Body as HttpBody, Service, StdError, http};
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstDecoder;

use crate::serve::error::status;
use crate::serve::meter::metered;
use crate::serve::turn::{RETRY_AFTER_MS, Turns, timeout_of};
use crate::serve::{Settings, principal};
use crate::service::{Error, LookupRequest, Principal, Result, Tidegate};
use encode::encode;

const GET: &str = "/tidegate.online.v1.OnlineService/GetOnlineFeatures";
const STREAM: &str = "/tidegate.online.v1.OnlineService/StreamOnlineFeatures";

/// The lookup door.
#[derive(Clone)]
pub(super) struct OnlineDoor {
    service: Arc<Tidegate>,
    request_bytes_max: usize,
    turns: Arc<Turns>,
}

impl OnlineDoor {
    pub(super) fn new(service: Arc<Tidegate>, settings: &Settings) -> Self {
        let turns = Arc::new(Turns::new(&service, settings.lookup_wait_max));
        Self { service, request_bytes_max: settings.request_bytes_max, turns }
    }

    async fn lookup(
        &self,
        caller: &Principal,
        message: wire::GetOnlineFeaturesRequest,
        patience: Option<Duration>,
    ) -> Result<Encoded> {
        let answer = async {
            let _turn = self.turns.wait(&self.service, patience).await?;
            let as_arrow = message.format() == wire::ReplyFormat::Arrow;
            Ok(Encoded(encode(&self.service.lookup(caller, &lookup_request(message)?)?, as_arrow)?))
        };
        metered(&self.service, "grpc", "get_online_features", answer).await
    }
}

impl NamedService for OnlineDoor {
    const NAME: &'static str = online_service_server::SERVICE_NAME;
}

impl<B> Service<http::Request<B>> for OnlineDoor
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, std::result::Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let door = self.clone();
        Box::pin(async move {
            let limit = Some(door.request_bytes_max);
            Ok(match request.uri().path() {
                GET => {
                    let mut grpc = Grpc::new(UnaryCodec).apply_max_message_size_config(limit, Some(usize::MAX));
                    grpc.unary(door, request).await
                }
                STREAM => {
                    let mut grpc = Grpc::new(StreamCodec).apply_max_message_size_config(limit, Some(usize::MAX));
                    grpc.streaming(door, request).await
                }
                other => Status::unimplemented(format!("there is no method {other}")).into_http(),
            })
        })
    }
}

impl UnaryService<wire::GetOnlineFeaturesRequest> for OnlineDoor {
    type Response = Encoded;
    type Future = BoxFuture<'static, std::result::Result<Response<Encoded>, Status>>;

    fn call(&mut self, request: Request<wire::GetOnlineFeaturesRequest>) -> Self::Future {
        let door = self.clone();
        Box::pin(async move {
            let caller = principal::of(&request)?;
            let patience = timeout_of(request.metadata());
            door.lookup(&caller, request.into_inner(), patience).await.map(Response::new).map_err(advised)
        })
    }
}

impl StreamingService<wire::StreamOnlineFeaturesRequest> for OnlineDoor {
    type Response = StreamMessage;
    type ResponseStream = BoxStream<'static, std::result::Result<StreamMessage, Status>>;
    type Future = BoxFuture<'static, std::result::Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<wire::StreamOnlineFeaturesRequest>>) -> Self::Future {
        let door = self.clone();
        Box::pin(async move {
            let caller = principal::of(&request)?;
            let replies = request.into_inner().then(move |message| {
                let (door, caller) = (door.clone(), caller.clone());
                async move {
                    let wire::StreamOnlineFeaturesRequest { id, lookup } = message?;
                    let outcome = door.lookup(&caller, lookup.unwrap_or_default(), None).await.map_err(|error| {
                        let status = status(error);
                        wire::StreamError { code: status.code().into(), message: status.message().to_owned() }
                    });
                    Ok(StreamMessage { id, outcome })
                }
            });
            Ok(Response::new(replies.boxed()))
        })
    }
}

/// The status of an error; one that will pass says when to try again, in the way gRPC libraries heed.
fn advised(error: Error) -> Status {
    let passes = error.kind == ErrorKind::Unavailable;
    let mut status = status(error);
    if passes {
        status.metadata_mut().insert("grpc-retry-pushback-ms", RETRY_AFTER_MS.into());
    }
    status
}

/// A `GetOnlineFeaturesResponse` as its bytes.
pub(super) struct Encoded(Vec<u8>);

/// One reply of a stream.
pub(super) struct StreamMessage {
    id: u64,
    outcome: std::result::Result<Encoded, wire::StreamError>,
}

struct UnaryCodec;

impl Codec for UnaryCodec {
    type Encode = Encoded;
    type Decode = wire::GetOnlineFeaturesRequest;
    type Encoder = WriteReply;
    type Decoder = ProstDecoder<Self::Decode>;

    fn encoder(&mut self) -> WriteReply {
        WriteReply
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::default())
    }
}

struct WriteReply;

impl Encoder for WriteReply {
    type Item = Encoded;
    type Error = Status;

    fn encode(&mut self, reply: Encoded, out: &mut EncodeBuf<'_>) -> std::result::Result<(), Status> {
        out.put_slice(&reply.0);
        Ok(())
    }
}

struct StreamCodec;

impl Codec for StreamCodec {
    type Encode = StreamMessage;
    type Decode = wire::StreamOnlineFeaturesRequest;
    type Encoder = WriteStreamed;
    type Decoder = ProstDecoder<Self::Decode>;

    fn encoder(&mut self) -> WriteStreamed {
        WriteStreamed
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::default())
    }
}

struct WriteStreamed;

impl Encoder for WriteStreamed {
    type Item = StreamMessage;
    type Error = Status;

    fn encode(&mut self, message: StreamMessage, out: &mut EncodeBuf<'_>) -> std::result::Result<(), Status> {
        write_streamed(message, out);
        Ok(())
    }
}

/// A `StreamOnlineFeaturesResponse`: what it is without the reply, then the reply as its field 2.
fn write_streamed(message: StreamMessage, out: &mut impl BufMut) {
    use prost::Message;
    use wire::stream_online_features_response::Outcome;
    let (outcome, reply) = match message.outcome {
        Ok(reply) => (None, Some(reply)),
        Err(error) => (Some(Outcome::Error(error)), None),
    };
    wire::StreamOnlineFeaturesResponse { id: message.id, outcome }.encode_raw(out);
    if let Some(reply) = reply {
        prost::encoding::encode_key(2, prost::encoding::WireType::LengthDelimited, out);
        prost::encoding::encode_varint(reply.0.len() as u64, out);
        out.put_slice(&reply.0);
    }
}

fn lookup_request(message: wire::GetOnlineFeaturesRequest) -> Result<LookupRequest> {
    Ok(LookupRequest {
        project: message.project,
        selection: convert::lookup_selection(message.selection)?,
        full_names: message.full_feature_names,
        include_times: message.include_times,
        return_expired: message.return_expired,
        keys: message.keys.into_iter().map(key_column).collect::<Result<_>>()?,
        request: message.request_columns.into_iter().map(request_column).collect::<Result<_>>()?,
    })
}

fn key_column(column: wire::KeyColumn) -> Result<(String, ArrayRef)> {
    let values: ArrayRef = match column.values {
        Some(key_column::Values::Int64s(values)) => Arc::new(Int64Array::from(values.values)),
        Some(key_column::Values::Strings(values)) => Arc::new(StringArray::from_iter_values(values.values)),
        Some(key_column::Values::Bytes(values)) => Arc::new(BinaryArray::from_iter_values(values.values)),
        Some(key_column::Values::Bools(values)) => Arc::new(BooleanArray::from(values.values)),
        None => {
            let message = format!("key column `{}` has no values: set int64s, strings, bytes or bools", column.name);
            return Err(Error::invalid(message));
        }
    };
    Ok((column.name, values))
}

fn request_column(column: wire::RequestColumn) -> Result<(String, ArrayRef)> {
    use wire::request_column::Values;
    let wire::RequestColumn { name, values, presence } = column;
    let wrong = |what: &str| Error::invalid(format!("request column `{name}` {what}"));
    let nulls = (!presence.is_empty()).then(|| NullBuffer::from(presence));
    let values: ArrayRef = match values {
        Some(Values::Doubles(it)) => Arc::new(Float64Array::from(it.values)),
        Some(Values::Int64s(it)) => Arc::new(Int64Array::from(it.values)),
        Some(Values::Strings(it)) => Arc::new(StringArray::from_iter_values(it.values)),
        Some(Values::Bytes(it)) => Arc::new(BinaryArray::from_iter_values(it.values)),
        Some(Values::Bools(it)) => Arc::new(BooleanArray::from(it.values)),
        Some(Values::ArrowIpc(bytes)) => {
            let batch = StreamReader::try_new(bytes.as_ref(), None).ok().and_then(|mut batches| batches.next()?.ok());
            let column = batch.as_ref().and_then(|batch| batch.columns().first());
            column.cloned().ok_or_else(|| wrong("is not an Arrow IPC stream of one column"))?
        }
        None => return Err(wrong("has no values: set doubles, int64s, strings, bytes, bools or arrow_ipc")),
    };
    let values = match nulls {
        None => values,
        Some(nulls) if nulls.len() == values.len() => {
            let data = values.to_data().into_builder().nulls(Some(nulls)).build();
            make_array(data.map_err(|_| wrong("can't be read"))?)
        }
        Some(_) => return Err(wrong("has not one presence for each value")),
    };
    Ok((name, values))
}

#[cfg(test)]
mod tests;
