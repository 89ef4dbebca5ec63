//! The doors as clients find them: real ports, the clients of tonic and arrow-flight, the service of a temporary folder.

use std::net::SocketAddr;
use std::path::Path;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Float64Type, Schema, SchemaRef};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables};
use arrow_flight::{Action, FlightData, FlightDescriptor, FlightInfo, Ticket};
use futures::TryStreamExt;
use futures::stream::{self, StreamExt};
use prost::Message;
use tidegate_proto::flight::{self as commands, v1 as wire};
use tidegate_proto::online::v1::online_service_client::OnlineServiceClient;
use tidegate_proto::online::v1::{self as online, get_online_features_request::Selection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::service::Principal;
use crate::service::tests::bench::{Bench, FLIGHTS, HOUR, weather};

/// A server with three observations, materialized, at hour five.
struct Doors {
    bench: Bench,
    grpc: SocketAddr,
    http: SocketAddr,
    running: tokio::task::JoinHandle<io::Result<()>>,
}

async fn doors() -> Doors {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0), ("JFK", 4, 40.0), ("EWR", 2, 20.0)])).await.unwrap();
    bench.materialize(false).await.unwrap();
    bench.clock.set(5 * HOUR);
    let bind = || TcpListener::bind("127.0.0.1:0");
    let listeners = Listeners { grpc: bind().await.unwrap(), http: bind().await.unwrap() };
    let (grpc, http) = (listeners.grpc.local_addr().unwrap(), listeners.http.local_addr().unwrap());
    let (service, shutdown) = (bench.service.clone(), bench.shutdown.clone());
    let settings = Settings { flight_message_bytes_max: 1 << 20, ..Settings::default() };
    let running = tokio::spawn(async move { serve(service, listeners, settings, &shutdown).await });
    Doors { bench, grpc, http, running }
}

impl Doors {
    async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    async fn flight(&self) -> FlightServiceClient<Channel> {
        FlightServiceClient::new(self.channel().await)
    }

    async fn sql(&self) -> FlightSqlServiceClient<Channel> {
        let mut client = FlightSqlServiceClient::new(self.channel().await);
        client.set_header(tidegate_proto::PROJECT_METADATA, "flights");
        client
    }

    /// One HTTP request: the status and the body.
    async fn http(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut connection = TcpStream::connect(self.http).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        connection.read_to_string(&mut reply).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

fn keys(origins: &[&str]) -> Vec<online::KeyColumn> {
    let values = online::StringValues { values: origins.iter().map(ToString::to_string).collect() };
    vec![online::KeyColumn { name: "origin".into(), values: Some(online::key_column::Values::Strings(values)) }]
}

fn spine() -> RecordBatch {
    let times = TimestampMicrosecondArray::from(vec![2 * HOUR, HOUR, 0]).with_timezone("UTC");
    RecordBatch::try_from_iter([
        ("label", Arc::new(Int64Array::from(vec![7, 8, 9])) as ArrayRef),
        ("origin", Arc::new(StringArray::from(vec!["JFK", "LGA", "JFK"])) as ArrayRef),
        ("event_timestamp", Arc::new(times) as ArrayRef),
    ])
    .unwrap()
}

fn training_set() -> wire::TrainingSet {
    let service = wire::training_set::Selection::FeatureService("late_arrival".into());
    wire::TrainingSet { project: "flights".into(), selection: Some(service), ..wire::TrainingSet::default() }
}

/// An upload of one batch, under a command.
async fn upload(command: impl Into<bytes::Bytes>, batch: RecordBatch) -> Vec<FlightData> {
    let descriptor = FlightDescriptor::new_cmd(command);
    let encoder = FlightDataEncoderBuilder::new().with_flight_descriptor(Some(descriptor));
    encoder.build(stream::iter([Ok(batch)])).map(Result::unwrap).collect().await
}

async fn read(
    messages: impl futures::Stream<Item = Result<FlightData, tonic::Status>> + Send + 'static,
) -> (SchemaRef, Vec<RecordBatch>) {
    let messages = messages.map_err(|status| FlightError::Tonic(Box::new(status)));
    let mut batches = FlightRecordBatchStream::new_from_flight_data(messages);
    let mut got = Vec::new();
    while let Some(batch) = batches.try_next().await.unwrap() {
        got.push(batch);
    }
    (batches.schema().cloned().unwrap(), got)
}

async fn redeem(client: &mut FlightServiceClient<Channel>, info: &FlightInfo) -> (SchemaRef, Vec<RecordBatch>) {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    read(client.do_get(ticket).await.unwrap().into_inner()).await
}

fn announced(info: &FlightInfo) -> Schema {
    info.clone().try_decode_schema().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_over_grpc() {
    let doors = doors().await;
    let mut client = OnlineServiceClient::new(doors.channel().await);
    let mut request = online::GetOnlineFeaturesRequest {
        project: "flights".into(),
        selection: Some(Selection::FeatureService("late_arrival".into())),
        keys: keys(&["JFK", "LGA", "EWR", "JFK"]),
        include_times: true,
        ..online::GetOnlineFeaturesRequest::default()
    };
    let reply = client.get_online_features(request.clone()).await.unwrap().into_inner();
    assert_eq!((reply.rows, reply.features.len()), (4, 1));
    let temp = &reply.features[0];
    assert_eq!((temp.name.as_str(), temp.data_type.as_str()), ("temp", "float64"));
    let Some(online::feature_column::Values::Doubles(values)) = &temp.values else { panic!("{temp:?}") };
    assert_eq!((values.values[0], values.values[3]), (40.0, 40.0));
    // Present, not found, expired after two hours, present.
    assert_eq!(&temp.statuses[..], [1, 3, 4, 1]);
    assert_eq!(reply.views[0].ages, [HOUR, -1, 3 * HOUR, HOUR]);

    request.selection = Some(Selection::FeatureService("late_arival".into()));
    let error = client.get_online_features(request.clone()).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains("did you mean `late_arrival`"), "{}", error.message());
    request.selection = Some(Selection::FeatureService("late_arrival".into()));
    request.keys.clear();
    let error = client.get_online_features(request).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("origin"), "{}", error.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn lookups_in_a_stream_fail_alone_and_stay_in_order() {
    use online::stream_online_features_response::Outcome;
    let doors = doors().await;
    let mut client = OnlineServiceClient::new(doors.channel().await);
    let ask = |id: u64| online::StreamOnlineFeaturesRequest {
        id,
        lookup: Some(online::GetOnlineFeaturesRequest {
            project: "flights".into(),
            selection: Some(Selection::FeatureService(if id % 3 == 2 { "nope" } else { "late_arrival" }.into())),
            keys: keys(&["JFK", "LGA"]),
            format: i32::from(id % 2 == 1),
            ..online::GetOnlineFeaturesRequest::default()
        }),
    };
    let mut replies = client.stream_online_features(stream::iter((0..100).map(ask))).await.unwrap().into_inner();
    for id in 0..100 {
        let reply = replies.message().await.unwrap().unwrap();
        assert_eq!(reply.id, id);
        match reply.outcome.unwrap() {
            Outcome::Error(error) => {
                assert_eq!((id % 3, error.code), (2, Code::NotFound as i32));
                assert!(error.message.contains("`nope`"), "{}", error.message);
            }
            Outcome::Reply(reply) => {
                assert_eq!((reply.rows, reply.features[0].statuses.as_slice()), (2, [1, 3].as_slice()));
                assert_eq!(reply.arrow_ipc.is_empty(), id % 2 == 0);
                if id % 2 == 1 {
                    let mut batches = arrow_ipc::reader::StreamReader::try_new(&reply.arrow_ipc[..], None).unwrap();
                    let batch = batches.next().unwrap().unwrap();
                    let temps: Vec<_> = batch["temp"].as_primitive::<Float64Type>().iter().collect();
                    assert_eq!(temps, [Some(40.0), None]);
                }
            }
        }
    }
    assert!(replies.message().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_over_http() {
    let doors = doors().await;
    let path = "/v1/projects/flights/lookup";
    let (status, body) =
        doors.http("POST", path, r#"{"service": "late_arrival", "keys": {"origin": ["JFK", "LGA"]}}"#).await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    let expected = serde_json::json!([
        { "name": "temp", "type": "float64", "values": [40.0, null], "statuses": ["PRESENT", "NOT_FOUND"] }
    ]);
    assert_eq!(body["features"], expected);

    for (method, path, body, status) in [
        ("POST", "/v1/projects/flights/lookup", r#"{"service": "nope", "keys": {"origin": ["JFK"]}}"#, 404),
        ("POST", "/v1/projects/nope/lookup", r#"{"service": "late_arrival"}"#, 404),
        ("POST", "/v1/projects/flights/lookup", r#"{"service": "late_arrival"}"#, 400),
        ("POST", "/v1/projects/flights/lookup", "{", 400),
        ("POST", "/v1/projects/%ff/lookup", "{}", 400),
        ("GET", "/v1/projects/flights/lookup", "", 405),
        ("GET", "/nope", "", 404),
    ] {
        let (got, text) = doors.http(method, path, body).await;
        let error: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(got, status, "{method} {path}: {text}");
        assert!(error["error"]["message"].is_string() && error["error"]["kind"].is_string(), "{text}");
    }
    let too_large = " ".repeat(Settings::default().http_body_bytes_max + 1);
    assert_eq!(doors.http("POST", path, &too_large).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_over_http() {
    let doors = doors().await;
    for path in ["/", "/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(doors.http("GET", path, "").await.0, 200, "{path}");
    }
    assert_eq!(doors.http("GET", "/v1/projects", "").await.1, r#"{"projects":["flights"]}"#);
    doors.http("POST", "/v1/projects/flights/lookup", "{").await;
    let (_, metrics) = doors.http("GET", "/metrics", "").await;
    let line = r#"tidegate_calls_total{door="http",method="lookup",outcome="invalid"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn training_sets_over_flight() {
    let doors = doors().await;
    let mut client = doors.flight().await;

    let messages = upload(commands::pack(&training_set()), spine()).await;
    let reply = client.do_exchange(stream::iter(messages)).await.unwrap().into_inner();
    let (exchanged, batches) = read(reply).await;
    let temps: Vec<_> = batches.iter().flat_map(|batch| batch["temp"].as_primitive::<Float64Type>().iter()).collect();
    assert_eq!(temps, [Some(10.0), None, None]);
    assert_eq!(batches[0]["label"].len(), 3);

    let messages = upload(commands::pack(&wire::SpineUpload { project: "flights".into() }), spine()).await;
    let mut results = client.do_put(stream::iter(messages)).await.unwrap().into_inner();
    let kept = wire::SpineUploaded::decode(results.message().await.unwrap().unwrap().app_metadata).unwrap();
    assert_eq!(kept.rows, 3);

    let request =
        wire::TrainingSet { spine: Some(wire::training_set::Spine::SpineId(kept.spine_id)), ..training_set() };
    let descriptor = FlightDescriptor::new_cmd(commands::pack(&request));
    let info = client.get_flight_info(descriptor.clone()).await.unwrap().into_inner();
    let (schema, redeemed) = redeem(&mut client, &info).await;
    assert_eq!(&announced(&info), schema.as_ref());
    assert_eq!((&schema, &redeemed), (&exchanged, &batches));
    let asked: Schema = (&client.get_schema(descriptor).await.unwrap().into_inner()).try_into().unwrap();
    assert_eq!(&asked, schema.as_ref());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_explained_over_flight() {
    let doors = doors().await;
    let ask = |row: RecordBatch| {
        let mut writer = arrow_ipc::writer::StreamWriter::try_new(Vec::new(), row.schema_ref()).unwrap();
        writer.write(&row).unwrap();
        let spine_row = writer.into_inner().unwrap().into();
        let request = wire::ExplainRow { training_set: Some(training_set()), spine_row, ..wire::ExplainRow::default() };
        Action { r#type: "ExplainRow".into(), body: commands::pack(&request) }
    };
    let mut client = doors.flight().await;
    let mut reply = client.do_action(ask(spine().slice(0, 1))).await.unwrap().into_inner();
    let told = wire::RowExplained::decode(reply.message().await.unwrap().unwrap().body).unwrap();
    assert_eq!((told.views[0].view.as_str(), told.views[0].status.as_str()), ("origin_weather", "PRESENT"));
    assert_eq!(told.views[0].candidates[0].outcome, "WON");
    for wrong in [
        ask(spine()),
        Action { r#type: "ExplainRow".into(), body: commands::pack(&training_set()) },
        Action { r#type: "ExplainRow".into(), body: commands::pack(&wire::ExplainRow::default()) },
        Action {
            r#type: "ExplainRow".into(),
            body: commands::pack(&wire::ExplainRow {
                training_set: Some(training_set()),
                spine_row: vec![0xff; 9].into(),
                ..wire::ExplainRow::default()
            }),
        },
    ] {
        assert_eq!(client.do_action(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_over_flight_is_all_or_nothing() {
    let doors = doors().await;
    let mut client = doors.flight().await;
    let ingest = |batch_id: &str| {
        let target = "weather".to_owned();
        commands::pack(&wire::Ingest {
            project: "flights".into(),
            target,
            batch_id: batch_id.into(),
            ..wire::Ingest::default()
        })
    };
    let rows = weather(&[("LGA", 9, 90.0)]).collect().await.unwrap().remove(0);
    for already in [false, true] {
        let messages = upload(ingest("b2"), rows.clone()).await;
        let mut results = client.do_put(stream::iter(messages)).await.unwrap().into_inner();
        let done = wire::Ingested::decode(results.message().await.unwrap().unwrap().app_metadata).unwrap();
        assert_eq!((done.rows, done.already_ingested, done.source.as_str()), (1, already, "weather"));
    }
    // The second batch is cut: what came before it is not kept.
    let mut messages = upload(ingest("b3"), rows).await;
    let mut cut = messages[1].clone();
    cut.data_body = cut.data_body.slice(..8);
    messages.push(cut);
    let error = client.do_put(stream::iter(messages)).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(doors.bench.sql("SELECT count(*) FROM weather").await.unwrap(), [["4"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_flight_requests_fail_alone() {
    let doors = doors().await;
    let mut client = doors.flight().await;
    for bytes in [vec![], vec![0xff; 64], b"DROP TABLE".to_vec()] {
        let error = client.get_flight_info(FlightDescriptor::new_cmd(bytes.clone())).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        let error = client.do_get(Ticket { ticket: bytes.into() }).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
    }
    let command = commands::pack(&wire::SpineUpload { project: "flights".into() });
    let whole = upload(command, spine()).await;
    for at in 0..whole[0].data_header.len() {
        let mut damaged = whole.clone();
        let mut header = damaged[0].data_header.to_vec();
        header[at] ^= 0xff;
        damaged[0].data_header = header.into();
        let _ = client.do_put(stream::iter(damaged)).await;
    }
    let big: ArrayRef = Arc::new(Float64Array::from(vec![1.0; 1 << 18]));
    let big = RecordBatch::try_from_iter([("x", big)]).unwrap();
    let mut messages = upload(commands::pack(&wire::SpineUpload { project: "flights".into() }), spine()).await;
    messages.extend(upload("", big).await.split_off(1));
    assert_eq!(client.do_put(stream::iter(messages)).await.unwrap_err().code(), Code::InvalidArgument);
    // Still there.
    assert!(client.do_exchange(stream::iter(upload(commands::pack(&training_set()), spine()).await)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_over_flight_sql() {
    let doors = doors().await;
    let (mut sql, mut flight) = (doors.sql().await, doors.flight().await);
    let query =
        "SELECT origin, count(*) AS n, max(temp) AS hottest FROM origin_weather GROUP BY origin ORDER BY origin";
    let info = sql.execute(query.to_owned(), None).await.unwrap();
    let (schema, batches) = redeem(&mut flight, &info).await;
    assert_eq!(&announced(&info), schema.as_ref());
    let origins: Vec<_> =
        batches.iter().flat_map(|batch| batch["origin"].as_string::<i32>().iter().flatten()).collect();
    assert_eq!(origins, ["EWR", "JFK"]);

    let function = "SELECT label, temp FROM training_set('late_arrival', 'SELECT 1 AS label, ''JFK'' AS origin, \
                    to_timestamp_micros(7200000000) AS event_timestamp')";
    let info = sql.execute(function.to_owned(), None).await.unwrap();
    let (schema, batches) = redeem(&mut flight, &info).await;
    assert_eq!(&announced(&info), schema.as_ref());
    assert_eq!(batches[0]["temp"].as_primitive::<Float64Type>().value(0), 10.0);

    for statement in ["DROP TABLE weather", "INSERT INTO weather VALUES (1)", "COPY weather TO '/tmp/x'", "SELECT"] {
        assert!(sql.execute(statement.to_owned(), None).await.is_err(), "{statement}");
    }
    assert!(sql.execute_update(query.to_owned(), None).await.unwrap_err().to_string().contains("run a query"));
    assert!(sql.begin_transaction().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_carry_their_parameters() {
    let doors = doors().await;
    let (mut sql, mut flight) = (doors.sql().await, doors.flight().await);
    let query = "SELECT temp FROM origin_weather WHERE origin = $1 ORDER BY temp";
    let mut prepared = sql.prepare(query.to_owned(), None).await.unwrap();
    assert_eq!(prepared.parameter_schema().unwrap().fields().len(), 1);
    for (origin, expected) in [("JFK", vec![10.0, 40.0]), ("EWR", vec![20.0]), ("'; --", vec![])] {
        let row = [("$1", Arc::new(StringArray::from(vec![origin])) as ArrayRef)];
        prepared.set_parameters(RecordBatch::try_from_iter(row).unwrap()).unwrap();
        let info = prepared.execute().await.unwrap();
        let (schema, batches) = redeem(&mut flight, &info).await;
        assert_eq!(&announced(&info), schema.as_ref());
        let temps: Vec<f64> =
            batches.iter().flat_map(|batch| batch["temp"].as_primitive::<Float64Type>().values().to_vec()).collect();
        assert_eq!(temps, expected, "{origin}");
    }
    prepared.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tree_of_tables_over_flight_sql() {
    let doors = doors().await;
    let (mut sql, mut flight) = (doors.sql().await, doors.flight().await);
    let info = sql.get_catalogs().await.unwrap();
    let (_, catalogs) = redeem(&mut flight, &info).await;
    assert_eq!(catalogs[0].column(0).as_string::<i32>().value(0), "flights");
    let info = sql.get_db_schemas(CommandGetDbSchemas::default()).await.unwrap();
    assert_eq!(redeem(&mut flight, &info).await.1[0].num_rows(), 2);
    let request = CommandGetTables { include_schema: true, ..CommandGetTables::default() };
    let info = sql.get_tables(request).await.unwrap();
    let (schema, tables) = redeem(&mut flight, &info).await;
    assert_eq!(&announced(&info), schema.as_ref());
    let names: Vec<_> = tables[0]["table_name"].as_string::<i32>().iter().flatten().collect();
    assert_eq!(names, ["weather", "origin_weather"]);
    let kinds: Vec<_> = tables[0]["table_type"].as_string::<i32>().iter().flatten().collect();
    assert_eq!(kinds, ["TABLE", "VIEW"]);
    // The columns a tool shows are the ones a query gives.
    let info = sql.execute("SELECT * FROM views.origin_weather".to_owned(), None).await.unwrap();
    let shown = arrow_flight::IpcMessage(tables[0]["table_schema"].as_binary::<i32>().value(1).to_vec().into());
    assert_eq!(Schema::try_from(shown).unwrap().fields(), announced(&info).fields());
    for info in [sql.get_table_types().await.unwrap(), sql.get_sql_info(vec![]).await.unwrap()] {
        let (schema, _) = redeem(&mut flight, &info).await;
        assert_eq!(&announced(&info), schema.as_ref());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_several_projects_asks_which() {
    let doors = doors().await;
    doors.bench.apply(&FLIGHTS.replace("project: flights", "project: orders")).await.unwrap();
    assert_eq!(doors.bench.service.list_projects(&Principal::local_owner()).await.unwrap(), ["flights", "orders"]);
    let mut unnamed = FlightSqlServiceClient::new(doors.channel().await);
    let error = unnamed.execute("SELECT 1".to_owned(), None).await.unwrap_err().to_string();
    assert!(error.contains("flights, orders") && error.contains("tidegate-project"), "{error}");
    // A query sees its own project only.
    let mut orders = doors.sql().await;
    orders.set_header(tidegate_proto::PROJECT_METADATA, "orders");
    let info = orders.execute("SELECT count(*) AS n FROM weather".to_owned(), None).await.unwrap();
    let (_, batches) = redeem(&mut doors.flight().await, &info).await;
    assert_eq!(batches[0]["n"].as_primitive::<arrow::datatypes::Int64Type>().value(0), 0);
    assert!(orders.execute("SELECT * FROM flights.sources.weather".to_owned(), None).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_is_in_progress() {
    let doors = doors().await;
    let mut client = doors.flight().await;
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let messages = upload(commands::pack(&training_set()), spine()).await;
    let (first, rest) = messages.split_at(1);
    first.iter().for_each(|message| sender.send(message.clone()).unwrap());
    let exchange = tokio::spawn(async move {
        let reply = client.do_exchange(tokio_stream::wrappers::UnboundedReceiverStream::new(receiver)).await;
        read(reply.unwrap().into_inner()).await
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stopping = tokio::spawn({
        let shutdown = doors.bench.shutdown.clone();
        async move { shutdown.finish(Duration::from_secs(10)).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    rest.iter().for_each(|message| sender.send(message.clone()).unwrap());
    drop(sender);
    assert_eq!(exchange.await.unwrap().1[0].num_rows(), 3);
    assert_eq!(stopping.await.unwrap(), Vec::<String>::new());
    doors.running.await.unwrap().unwrap();
    assert!(TcpStream::connect(doors.grpc).await.is_err());
}

#[test]
fn doors_name_no_engine() {
    fn check(folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                check(&path);
            } else if path.file_name().is_some_and(|name| name != "tests.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for engine in ["datafusion", "deltalake", "rocksdb", "tidegate_offline", "tidegate_online"] {
                    assert!(!text.contains(engine), "{} names {engine}: go through crate::service", path.display());
                }
            }
        }
    }
    check(Path::new("src/serve"));
}
