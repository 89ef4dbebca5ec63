//! The loop on small data: define, ingest, train, materialize, look up, query; each answer compared with the model.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidegate_client::flight::{Spine, TrainingSetOptions};
use tidegate_client::registry::Apply;
use tidegate_client::{Client, Selection};
use tidegate_integration_tests::{Server, orders};
use tidegate_schemas::file::SourceFile;

const CUSTOMERS: i64 = 200;

fn service() -> Selection {
    Selection::Service("recommend".into())
}

async fn materialize(client: &Client, full: bool) -> Vec<tidegate_client::materialize::Progress> {
    let steps = client.materialize(&[], full).await.unwrap();
    steps.map(|step| step.unwrap()).collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_trained_on_is_what_is_served() {
    let mut rng = StdRng::seed_from_u64(7);
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    let client = server.client(orders::PROJECT).await;
    orders::apply(&client).await;

    let mut batches: Vec<Vec<orders::Order>> = Vec::new();
    for round in 0..4 {
        batches.push(orders::random(&mut rng, 700, CUSTOMERS, 24 * 30));
        orders::ingest(&client, &format!("round-{round}"), batches.last().unwrap()).await;
        // The same batch id again: nothing is doubled.
        orders::ingest(&client, &format!("round-{round}"), batches.last().unwrap()).await;
        let last = materialize(&client, round == 2).await.pop().unwrap();
        assert!(last.done);
        assert_eq!(last.full, round == 2 || round == 0, "round {round}");
        let model = orders::newest(batches.iter().flatten());
        orders::check_served(&client, CUSTOMERS, &model).await;
        check_trained(&client, &mut rng, &batches).await;
        check_parity(&client, &model).await;
    }
    let count = client.sql("SELECT count(*) AS n FROM sources.orders", None).await.unwrap().collect().await.unwrap();
    assert_eq!(integers(&count[0], "n"), [4 * 700]);
    server.stop().await;
}

/// Random labels: the answer of the server against a scan of everything that was ingested.
async fn check_trained(client: &Client, rng: &mut StdRng, batches: &[Vec<orders::Order>]) {
    let labels: Vec<(i64, i64)> = (0..500)
        .map(|_| (rng.random_range(0..CUSTOMERS + 5), orders::START + rng.random_range(0..31 * 86_400_000_000_i64)))
        .collect();
    let trained = train(client, &labels).await;
    let amounts: Vec<Option<f64>> = column::<Float64Array>(&trained, "amount").iter().collect();
    for (row, (customer, at)) in labels.iter().enumerate() {
        let known = |order: &&orders::Order| {
            order.customer == *customer && order.ordered_at <= *at && order.ordered_at.max(order.recorded_at) <= *at
        };
        let winner = batches.iter().flatten().filter(known).max_by_key(|order| (order.ordered_at, order.recorded_at));
        assert_eq!(amounts[row], winner.and_then(|order| order.amount), "row {row}: customer {customer} at {at}");
    }
}

/// Far in the future everything is known, and the training set equals the model that the lookups equal.
async fn check_parity(client: &Client, model: &std::collections::BTreeMap<i64, orders::Order>) {
    let labels: Vec<(i64, i64)> =
        (0..CUSTOMERS).map(|customer| (customer, orders::START + 366 * 86_400_000_000)).collect();
    let trained = train(client, &labels).await;
    let notes = column::<StringArray>(&trained, "note");
    for (row, (customer, _)) in labels.iter().enumerate() {
        let trained = notes.is_valid(row).then(|| notes.value(row));
        assert_eq!(trained, model.get(customer).map(|order| order.note.as_str()), "customer {customer}");
    }
}

fn spine(labels: &[(i64, i64)]) -> RecordBatch {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = Schema::new(vec![
        Field::new("customer_id", DataType::Int64, false),
        Field::new("event_timestamp", time, false),
        Field::new("label", DataType::Int64, false),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(labels.iter().map(|label| label.0).collect::<Int64Array>()),
        Arc::new(TimestampMicrosecondArray::from_iter_values(labels.iter().map(|label| label.1)).with_timezone("UTC")),
        Arc::new((0..).take(labels.len()).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

async fn train(client: &Client, labels: &[(i64, i64)]) -> RecordBatch {
    let options = TrainingSetOptions::default();
    let trained = client.training_set(&service(), Spine::batch(spine(labels)), &options).await.unwrap();
    let schema = trained.schema.clone();
    let trained = arrow::compute::concat_batches(&schema, &trained.collect().await.unwrap()).unwrap();
    assert_eq!(trained.num_rows(), labels.len());
    assert_eq!(integers(&trained, "label"), (0..).take(labels.len()).collect::<Vec<i64>>(), "spine order is kept");
    trained
}

fn column<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> &'a A {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_any().downcast_ref())
        .expect("a column of that name and type")
}

fn integers(batch: &RecordBatch, name: &str) -> Vec<i64> {
    column::<Int64Array>(batch, name).values().to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_concurrent_applies_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    let client = server.client(orders::PROJECT).await;
    orders::apply(&client).await;
    let apply = |ttl: &str| {
        let content =
            orders::DEFINITIONS.replace("    source: orders\n", &format!("    source: orders\n    ttl: {ttl}\n"));
        let files = vec![SourceFile { path: "shop.yaml".into(), content: content.into() }];
        Apply { files, base_version: Some(1), ..Apply::default() }
    };
    let (one, two) = (apply("7d"), apply("9d"));
    let (one, two) = tokio::join!(client.apply(&one), client.apply(&two));
    let lost = match (one, two) {
        (Ok(_), Err(lost)) | (Err(lost), Ok(_)) => lost,
        other => panic!("one wins and one loses: {other:?}"),
    };
    assert_eq!(lost.kind(), tidegate_schemas::error::ErrorKind::Conflict);
    assert!(lost.to_string().contains("plan again"), "{lost}");
    assert_eq!(client.history().await.unwrap().len(), 2);
    let back = client.rollback(1, true).await.unwrap();
    assert_eq!(back.version, 3);
}
