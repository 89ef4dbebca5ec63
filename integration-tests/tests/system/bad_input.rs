//! What users get wrong: each gets an error that names the cause, nothing is half written, the server stays up.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use tidegate_client::flight::{Ingest, Spine, TrainingSetOptions};
use tidegate_client::registry::Apply;
use tidegate_client::{Client, Selection};
use tidegate_integration_tests::{Server, binary, orders};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::file::SourceFile;

struct Shop {
    server: Server,
    client: Client,
    folder: tempfile::TempDir,
}

async fn shop() -> Shop {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    let client = server.client(orders::PROJECT).await;
    orders::apply(&client).await;
    Shop { server, client, folder }
}

async fn ingest(client: &Client, batch: RecordBatch) -> Result<u64, tidegate_client::Error> {
    let ingest = Ingest { target: "orders".into(), ..Ingest::default() };
    let schema = batch.schema();
    let rows = futures::stream::iter([Ok::<_, std::convert::Infallible>(batch)]);
    client.ingest(&ingest, schema, rows).await.map(|ingested| ingested.rows)
}

async fn rows(client: &Client) -> i64 {
    let counted = client.sql("SELECT count(*) AS n FROM sources.orders", None).await.unwrap().collect().await.unwrap();
    counted[0].column(0).as_any().downcast_ref::<Int64Array>().unwrap().value(0)
}

fn order(customer: i64, ordered_at: i64) -> orders::Order {
    orders::Order { customer, ordered_at, recorded_at: ordered_at, amount: Some(1.0), items: 1, note: "x".into() }
}

fn replace_column(batch: &RecordBatch, at: usize, field: Field, column: ArrayRef) -> RecordBatch {
    let mut fields: Vec<Field> = batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    let mut columns = batch.columns().to_vec();
    fields[at] = field;
    columns[at] = column;
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_no_observations_are_refused_with_their_places() {
    let shop = shop().await;
    let batch = orders::batch(&[order(1, orders::START), order(2, orders::START), order(3, orders::START)]);
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, None]));
    let refused =
        ingest(&shop.client, replace_column(&batch, 0, Field::new("customer_id", DataType::Int64, true), keys));
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    for part in ["customer_id", "2 ", "row"] {
        assert!(refused.to_string().contains(part), "{part:?} in {refused}");
    }
    let words: ArrayRef = Arc::new(StringArray::from(vec!["1", "2", "x"]));
    let refused = ingest(&shop.client, replace_column(&batch, 4, Field::new("items", DataType::Utf8, true), words));
    assert!(refused.await.unwrap_err().to_string().contains("items"));
    assert_eq!(rows(&shop.client).await, 0, "nothing is half written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn far_times_are_kept_exactly() {
    let shop = shop().await;
    let year_1600 = -11_676_096_000_000_000;
    let year_2262 = 9_223_372_036_854_775;
    let far_future = 253_402_300_799_000_000;
    let written = orders::batch(&[order(1, year_1600), order(2, year_2262), order(3, far_future)]);
    assert_eq!(ingest(&shop.client, written).await.unwrap(), 3);
    let query = "SELECT ordered_at FROM sources.orders ORDER BY customer_id";
    let read = shop.client.sql(query, None).await.unwrap().collect().await.unwrap();
    let read = arrow::compute::concat_batches(&read[0].schema(), &read).unwrap();
    let read = read.column(0).as_any().downcast_ref::<TimestampMicrosecondArray>().unwrap();
    assert_eq!(read.values().to_vec(), [year_1600, year_2262, far_future]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_row_in_the_middle_of_a_csv_names_its_line() {
    let shop = shop().await;
    let csv = shop.folder.path().join("orders.csv");
    let mut text = "customer_id,ordered_at,recorded_at,amount,items,note\n".to_owned();
    for line in 2..100 {
        let items = if line == 57 { "many" } else { "3" };
        text += &format!("{line},2025-03-01T00:00:00Z,2025-03-01T00:00:01Z,1.5,{items},n\n");
    }
    std::fs::write(&csv, text).unwrap();
    let ingest = |path: &str| shop.server.cli(&["--project", "shop", "ingest", "orders", path]);
    let refused = ingest(csv.to_str().unwrap());
    assert_eq!(refused.status.code(), Some(1));
    let message = String::from_utf8(refused.stderr).unwrap();
    for part in ["orders.csv", "57", "items", "many"] {
        assert!(message.contains(part), "{part:?} in {message}");
    }
    assert_eq!(rows(&shop.client).await, 0, "nothing is half written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_columns_work() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    let client = server.client("wide").await;
    let mut yaml = "version: 1\nproject: wide\nentities: [{name: thing, keys: [{name: id, type: int64}]}]\n\
                    sources: [{name: things, table: managed, event_time: at}]\nfeature_views:\n  - name: wide\n    entities: [thing]\n    source: things\n    features:\n"
        .to_owned();
    (0..1000).for_each(|i| yaml += &format!("      - {{name: f{i}, type: float64}}\n"));
    let files = vec![SourceFile { path: "wide.yaml".into(), content: yaml.into() }];
    client.apply(&Apply { files, ..Apply::default() }).await.unwrap();

    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields = vec![Field::new("id", DataType::Int64, false), Field::new("at", time, false)];
    let at = TimestampMicrosecondArray::from(vec![orders::START]).with_timezone("UTC");
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![1])), Arc::new(at)];
    for i in 0..1000 {
        fields.push(Field::new(format!("f{i}"), DataType::Float64, true));
        columns.push(Arc::new(arrow::array::Float64Array::from(vec![f64::from(i)])));
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let ingest = Ingest { target: "wide".into(), ..Ingest::default() };
    let rows = futures::stream::iter([Ok::<_, std::convert::Infallible>(batch.clone())]);
    assert_eq!(client.ingest(&ingest, batch.schema(), rows).await.unwrap().rows, 1);
    let sum = client.sql("SELECT f999 + f1 AS s FROM views.wide", None).await.unwrap().collect().await.unwrap();
    let sum = sum[0].column(0).as_any().downcast_ref::<arrow::array::Float64Array>().unwrap();
    assert_eq!(sum.value(0), 1000.0);
}

fn spine(key: &str, rows: usize) -> RecordBatch {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = Schema::new(vec![
        Field::new(key, DataType::Int64, false),
        Field::new("event_timestamp", time, false),
        Field::new("anything", DataType::Utf8, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1; rows])),
        Arc::new(TimestampMicrosecondArray::from(vec![orders::START; rows]).with_timezone("UTC")),
        Arc::new(StringArray::from(vec![Some("kept"); rows])),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spines_without_keys_without_rows_and_with_more_columns() {
    let shop = shop().await;
    let service = || Selection::Service("recommend".into());
    let train = async |spine: RecordBatch| -> Result<Vec<RecordBatch>, tidegate_client::Error> {
        let options = TrainingSetOptions::default();
        shop.client.training_set(&service(), Spine::batch(spine), &options).await?.collect().await
    };
    let refused = train(spine("client_id", 3)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("customer_id"), "{refused}");

    let empty = train(spine("customer_id", 0)).await.unwrap();
    assert_eq!(empty.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);

    let kept = train(spine("customer_id", 3)).await.unwrap();
    let anything = kept[0].column_by_name("anything").unwrap();
    assert_eq!(anything.as_any().downcast_ref::<StringArray>().unwrap().value(2), "kept");

    let unknown = Selection::Service("recomend".into());
    let options = TrainingSetOptions::default();
    let refused = shop.client.training_set(&unknown, Spine::batch(spine("customer_id", 1)), &options);
    assert!(refused.await.unwrap_err().to_string().contains("did you mean `recommend`"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_deleted_underneath_is_named_and_the_server_stays_up() {
    let mut shop = shop().await;
    ingest(&shop.client, orders::batch(&[order(1, orders::START)])).await.unwrap();
    let table = shop.server.data.join("tables").join("shop").join("orders");
    std::fs::remove_dir_all(&table).unwrap();
    let refused = match shop.client.sql("SELECT * FROM sources.orders", None).await {
        Ok(batches) => batches.collect().await.unwrap_err(),
        Err(refused) => refused,
    };
    assert!(refused.to_string().contains("orders"), "{refused}");
    let options = TrainingSetOptions::default();
    let service = Selection::Service("recommend".into());
    let trained = match shop.client.training_set(&service, Spine::batch(spine("customer_id", 1)), &options).await {
        Ok(batches) => batches.collect().await.map(|_| ()),
        Err(refused) => Err(refused),
    };
    assert!(trained.unwrap_err().to_string().contains("orders"));
    assert!(shop.server.is_running());
    assert!(shop.client.healthy().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_registry_record_is_named_and_other_projects_work() {
    let shop = shop().await;
    let data = shop.server.data.clone();
    let other = shop.client.clone().with_project("other");
    let content = orders::DEFINITIONS.replace("project: shop", "project: other");
    let files = vec![SourceFile { path: "other.yaml".into(), content: content.into() }];
    other.apply(&Apply { files, ..Apply::default() }).await.unwrap();
    shop.server.stop().await;

    let records = data.join("registry").join("shop");
    let record = std::fs::read_dir(&records).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&record, b"{\"format\": 1, \"vers").unwrap();

    let server = Server::start(&data).await;
    let refused = server.client("shop").await.get("", "").await.unwrap_err();
    let name = record.file_name().unwrap().to_str().unwrap();
    assert!(refused.to_string().contains(name), "{name} in {refused}");
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(!server.client("other").await.get("", "").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_and_a_taken_folder_say_so() {
    let shop = shop().await;
    let serve = |arguments: &[&str]| {
        let output = std::process::Command::new(binary()).arg("serve").args(arguments).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let elsewhere = shop.folder.path().join("elsewhere");
    let message = serve(&["--data-dir", elsewhere.to_str().unwrap(), "--grpc-address", &shop.server.grpc]);
    assert!(message.contains(&shop.server.grpc) && message.contains("--grpc-address"), "{message}");
    let data = shop.server.data.to_str().unwrap();
    let message = serve(&["--data-dir", data, "--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0"]);
    assert!(message.contains(data), "{message}");
    let message = serve(&["--data-dir", elsewhere.to_str().unwrap(), "--grpc-address", "0.0.0.0:0"]);
    assert!(message.contains("--insecure"), "{message}");
}
