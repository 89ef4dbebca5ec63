//! Lookups over gRPC, one by one or through a stream.
//!
//! The service is the one `online.proto` describes, written by hand instead of generated: [`encode()`] writes replies as bytes,
//! where the generated service would build a message of many columns and then write that.

mod encode;

use std::convert::Infallible;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray, make_array};
use arrow::buffer::NullBuffer;
use bytes::BufMut;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tidegate_proto::convert;
use tidegate_proto::online::v1::{self as wire, key_column, online_service_server};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Body as HttpBody, Service, StdError, http};
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::serve::error::{panicked, status};
use crate::serve::flight::decode;
use crate::serve::meter::metered;
use crate::serve::turn::{Turns, timeout_of};
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
            let as_arrow = message.format() == wire::ReplyFormat::Arrow;
            if let Some(as_of) = message.as_of {
                let reply = self.service.lookup_as_of(caller, &lookup_request(message, None)?, as_of).await?;
                return Ok(Encoded(encode(&reply, as_arrow)?));
            }
            let turn = self.turns.wait(&self.service, patience).await?;
            let request = lookup_request(message, turn.left(patience))?;
            Ok(Encoded(encode(&self.service.lookup(caller, &request)?, as_arrow)?))
        };
        // Whatever a request makes a kernel do is that request's failure.
        let contained = AssertUnwindSafe(answer).catch_unwind().map(|answer| {
            answer.unwrap_or_else(|panic| Err(Error::internal(format!("the lookup failed: {}", panicked(&*panic)))))
        });
        metered(&self.service, "grpc", "get_online_features", contained).await
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
                    sized(grpc.unary(door, request).await)
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
            door.lookup(&caller, request.into_inner(), patience).await.map(Response::new).map_err(status)
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
                    let wire::StreamOnlineFeaturesRequest { id, lookup } = message.map_err(too_large)?;
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

/// What tonic says about a message above the limit is told as all doors do, with what to do.
fn too_large(status: Status) -> Status {
    match status.code() {
        Code::OutOfRange => Status::resource_exhausted(format!(
            "{}; send fewer entity rows at once, or raise `grpc.max_message_bytes`",
            status.message()
        )),
        _ => status,
    }
}

/// The same where it is a response already.
fn sized(response: http::Response<Body>) -> http::Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() == Code::OutOfRange => too_large(status).into_http(),
        _ => response,
    }
}

/// A `GetOnlineFeaturesResponse` as its bytes.
pub(super) struct Encoded(Vec<u8>);

/// One reply of a stream.
pub(super) struct StreamMessage {
    id: u64,
    outcome: std::result::Result<Encoded, wire::StreamError>,
}

/// Reads messages; what is none is the caller's to mend.
struct ReadRequest<T>(PhantomData<T>);

impl<T: prost::Message + Default> Decoder for ReadRequest<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> std::result::Result<Option<T>, Status> {
        let read = T::decode(message).map(Some);
        read.map_err(|error| Status::invalid_argument(format!("the message can't be read by online.proto: {error}")))
    }
}

struct UnaryCodec;

impl Codec for UnaryCodec {
    type Encode = Encoded;
    type Decode = wire::GetOnlineFeaturesRequest;
    type Encoder = WriteReply;
    type Decoder = ReadRequest<Self::Decode>;

    fn encoder(&mut self) -> WriteReply {
        WriteReply
    }

    fn decoder(&mut self) -> Self::Decoder {
        ReadRequest(PhantomData)
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
    type Decoder = ReadRequest<Self::Decode>;

    fn encoder(&mut self) -> WriteStreamed {
        WriteStreamed
    }

    fn decoder(&mut self) -> Self::Decoder {
        ReadRequest(PhantomData)
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

fn lookup_request(message: wire::GetOnlineFeaturesRequest, patience: Option<Duration>) -> Result<LookupRequest> {
    let selection = convert::lookup_selection(message.selection)?;
    let keys = message.keys.into_iter().map(key_column).collect::<Result<_>>()?;
    Ok(LookupRequest {
        full_names: message.full_feature_names,
        include_times: message.include_times,
        return_expired: message.return_expired,
        request: message.request_columns.into_iter().map(request_column).collect::<Result<_>>()?,
        patience,
        allow_partial: message.allow_partial,
        after_write: Some(message.after_write).filter(|token| !token.is_empty()),
        ..LookupRequest::new(message.project, selection, keys)
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
    any_column(column, "request column")
}

/// A column of any type, nulls included; `what` names it in errors.
pub(super) fn any_column(column: wire::RequestColumn, what: &str) -> Result<(String, ArrayRef)> {
    use wire::request_column::Values;
    let wire::RequestColumn { name, values, presence } = column;
    let wrong = |why: &str| Error::invalid(format!("{what} `{name}` {why}"));
    let nulls = (!presence.is_empty()).then(|| NullBuffer::from(presence));
    let values: ArrayRef = match values {
        Some(Values::Doubles(it)) => Arc::new(Float64Array::from(it.values)),
        Some(Values::Int64s(it)) => Arc::new(Int64Array::from(it.values)),
        Some(Values::Strings(it)) => Arc::new(StringArray::from_iter_values(it.values)),
        Some(Values::Bytes(it)) => Arc::new(BinaryArray::from_iter_values(it.values)),
        Some(Values::Bools(it)) => Arc::new(BooleanArray::from(it.values)),
        Some(Values::ArrowIpc(bytes)) => decode::column(&bytes)
            .map_err(|error| wrong(&format!("is not an Arrow IPC stream of one column: {}", error.message)))?,
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
