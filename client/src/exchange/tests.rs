//! A source of batches that fails half way never looks like a shorter, whole one: the server sees a broken stream, the caller
//! the failure. Run against a Flight server in this process that remembers how each stream ended.

use std::sync::Mutex;

use arrow::array::Int64Array;
use arrow::datatypes::{Field, Schema};
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightInfo, HandshakeRequest, HandshakeResponse, PollInfo, PutResult,
    SchemaResult, Ticket,
};
use futures::stream::BoxStream;
use tidegate_proto::flight::{Command, unpack, v1};
use tonic::transport::Server;
use tonic::{Request, Response};

use super::*;
use crate::ClientOptions;
use crate::flight::Ingest;

/// How a stream ended: its messages, and whether it was whole.
type Ends = Arc<Mutex<Vec<(usize, bool)>>>;

struct Recorder(Ends);

type Reply<T> = std::result::Result<Response<T>, Status>;
type Messages<T> = BoxStream<'static, std::result::Result<T, Status>>;

fn absent<T>() -> Reply<T> {
    Err(Status::unimplemented("not a part of this test"))
}

#[tonic::async_trait]
impl FlightService for Recorder {
    type HandshakeStream = Messages<HandshakeResponse>;
    type ListFlightsStream = Messages<FlightInfo>;
    type DoGetStream = Messages<FlightData>;
    type DoPutStream = Messages<PutResult>;
    type DoActionStream = Messages<arrow_flight::Result>;
    type ListActionsStream = Messages<ActionType>;
    type DoExchangeStream = Messages<FlightData>;

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Reply<Self::DoPutStream> {
        let mut messages = request.into_inner();
        let (mut count, mut batch_id) = (0, String::new());
        let ended = loop {
            match messages.message().await {
                Ok(Some(message)) => {
                    let command = message.flight_descriptor.map(|descriptor| unpack(&descriptor.cmd));
                    if let Some(Ok(Command::Ingest(ingest))) = command {
                        batch_id = ingest.batch_id;
                    }
                    count += 1;
                }
                Ok(None) => break Ok(()),
                Err(status) => break Err(status),
            }
        };
        self.0.lock().unwrap().push((count, ended.is_ok()));
        ended?;
        let answer = v1::Ingested { rows: 2, batch_id, ..v1::Ingested::default() };
        let result = PutResult { app_metadata: answer.encode_to_vec().into() };
        Ok(Response::new(futures::stream::iter([Ok(result)]).boxed()))
    }

    async fn handshake(&self, _: Request<Streaming<HandshakeRequest>>) -> Reply<Self::HandshakeStream> {
        absent()
    }
    async fn list_flights(&self, _: Request<Criteria>) -> Reply<Self::ListFlightsStream> {
        absent()
    }
    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Reply<FlightInfo> {
        absent()
    }
    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Reply<PollInfo> {
        absent()
    }
    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Reply<SchemaResult> {
        absent()
    }
    async fn do_get(&self, _: Request<Ticket>) -> Reply<Self::DoGetStream> {
        absent()
    }
    async fn do_action(&self, _: Request<Action>) -> Reply<Self::DoActionStream> {
        absent()
    }
    async fn list_actions(&self, _: Request<Empty>) -> Reply<Self::ListActionsStream> {
        absent()
    }
    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Reply<Self::DoExchangeStream> {
        absent()
    }
}

async fn server() -> (Client, Ends) {
    let ends = Ends::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let connections = futures::stream::unfold(listener, |listener| async move {
        let connection = listener.accept().await.map(|(connection, _)| connection);
        Some((connection, listener))
    });
    let service = FlightServiceServer::new(Recorder(ends.clone()));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(connections));
    let client = Client::connect(ClientOptions::new(address).with_project("flights")).await.unwrap();
    (client, ends)
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
}

fn batch(schema: &SchemaRef) -> RecordBatch {
    RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(vec![1]))]).unwrap()
}

async fn ingest(client: &Client, batches: Vec<std::result::Result<RecordBatch, std::io::Error>>) -> Result<()> {
    let ingest = Ingest { target: "t".into(), batch_id: "b1".into(), ..Ingest::default() };
    let done = client.ingest(&ingest, schema(), futures::stream::iter(batches)).await?;
    assert_eq!((done.rows, done.batch_id.as_str()), (2, "b1"));
    Ok(())
}

#[tokio::test]
async fn a_whole_stream_arrives_whole() {
    let (client, ends) = server().await;
    ingest(&client, vec![Ok(batch(&schema())), Ok(batch(&schema()))]).await.unwrap();
    assert_eq!(*ends.lock().unwrap(), [(3, true)], "the schema and two batches");
}

#[tokio::test]
async fn a_source_that_fails_half_way_breaks_the_stream() {
    let (client, ends) = server().await;
    let bad_line = std::io::Error::other("line 17 is bad");
    let failure = ingest(&client, vec![Ok(batch(&schema())), Err(bad_line)]).await.unwrap_err();
    assert!(matches!(&failure, Error::Input(source) if source.to_string() == "line 17 is bad"), "{failure:?}");
    // The server may learn of the reset a moment after the client has the error.
    while ends.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(ends.lock().unwrap().iter().all(|(_, whole)| !whole), "{ends:?}");
}

#[tokio::test]
async fn a_batch_with_other_columns_breaks_the_stream() {
    let (client, _) = server().await;
    let other: SchemaRef = Arc::new(Schema::new(vec![Field::new("m", DataType::Int64, true)]));
    let failure = ingest(&client, vec![Ok(batch(&other))]).await.unwrap_err();
    assert!(matches!(failure, Error::Input(_)), "{failure:?}");
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address_and_a_remedy() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::connect(ClientOptions::new(&address)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&address) && text.contains("tidegate serve"), "{text}");
}
