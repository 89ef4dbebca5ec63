//! A small shop: orders of customers, with late, corrected and tied rows, and the model of what must be served.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use tidegate_client::flight::Ingest;
use tidegate_client::online::{Lookup, OnlineFeatures, Status};
use tidegate_client::registry::Apply;
use tidegate_client::{Client, Selection};
use tidegate_schemas::file::SourceFile;
use tidegate_schemas::time::Micros;

/// The project of [`DEFINITIONS`].
pub const PROJECT: &str = "shop";

/// The definitions: one entity, one managed source, one view, one service.
pub const DEFINITIONS: &str = "\
version: 1
project: shop
entities:
  - name: customer
    keys: [{name: customer_id, type: int64}]
sources:
  - name: orders
    table: managed
    event_time: ordered_at
    created_time: recorded_at
feature_views:
  - name: last_order
    entities: [customer]
    source: orders
    features:
      - {name: amount, type: float64}
      - {name: items, type: int64}
      - {name: note, type: string}
feature_services:
  - name: recommend
    views: [{view: last_order}]
";

/// 2025-01-01.
pub const START: Micros = 1_735_689_600_000_000;

/// One order; `None` amounts are stored nulls.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Key.
    pub customer: i64,
    /// Event time.
    pub ordered_at: Micros,
    /// Created time.
    pub recorded_at: Micros,
    /// A feature that may be null.
    pub amount: Option<f64>,
    /// A feature.
    pub items: i64,
    /// A feature of varying length.
    pub note: String,
}

/// Random orders of `customers` customers within `hours` hours: times collide, created times may tie, nothing is sorted.
pub fn random(rng: &mut StdRng, rows: usize, customers: i64, hours: i64) -> Vec<Order> {
    let mut order = || {
        let ordered_at = START + rng.random_range(0..hours * 60) * 60_000_000;
        Order {
            customer: rng.random_range(0..customers),
            ordered_at,
            recorded_at: ordered_at + rng.random_range(0..1_000_000_000),
            amount: (rng.random_range(0..10) > 0).then(|| f64::from(rng.random_range(0..100_000_u32)) / 100.0),
            items: rng.random_range(1..20),
            note: "n".repeat(rng.random_range(0..30)) + &rng.next_u32().to_string(),
        }
    };
    (0..rows).map(|_| order()).collect()
}

/// The schema of [`batch`].
#[must_use]
pub fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("customer_id", DataType::Int64, false),
        Field::new("ordered_at", time.clone(), false),
        Field::new("recorded_at", time, true),
        Field::new("amount", DataType::Float64, true),
        Field::new("items", DataType::Int64, true),
        Field::new("note", DataType::Utf8, true),
    ]))
}

/// Orders as a batch to ingest.
///
/// # Panics
/// Never: the columns fit the schema.
#[must_use]
pub fn batch(orders: &[Order]) -> RecordBatch {
    fn times(values: impl Iterator<Item = Micros>) -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(orders.iter().map(|o| o.customer).collect::<Int64Array>()),
        times(orders.iter().map(|o| o.ordered_at)),
        times(orders.iter().map(|o| o.recorded_at)),
        Arc::new(orders.iter().map(|o| o.amount).collect::<Float64Array>()),
        Arc::new(orders.iter().map(|o| o.items).collect::<Int64Array>()),
        Arc::new(orders.iter().map(|o| Some(o.note.as_str())).collect::<StringArray>()),
    ];
    RecordBatch::try_new(schema(), columns).expect("columns of the schema")
}

/// Applies [`DEFINITIONS`].
///
/// # Panics
/// When the server refuses.
pub async fn apply(client: &Client) {
    let files = vec![SourceFile { path: "shop.yaml".into(), content: DEFINITIONS.into() }];
    let applied = client.apply(&Apply { files, ..Apply::default() }).await.expect("the definitions apply");
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
}

/// Ingests orders as one batch.
///
/// # Panics
/// When the server refuses.
pub async fn ingest(client: &Client, batch_id: &str, orders: &[Order]) {
    let ingest = Ingest { target: "orders".into(), batch_id: batch_id.into(), ..Ingest::default() };
    let rows = futures::stream::iter([Ok::<_, std::convert::Infallible>(batch(orders))]);
    client.ingest(&ingest, schema(), rows).await.expect("the rows are ingested");
}

/// What must be served after everything in `batches` (in table order) was materialized: for each customer the order with
/// the greatest (ordered, recorded), the later batch winning a tie. Ties within one batch are the caller's to avoid.
#[must_use]
pub fn newest<'a>(batches: impl IntoIterator<Item = &'a [Order]>) -> BTreeMap<i64, Order> {
    let mut newest: BTreeMap<i64, Order> = BTreeMap::new();
    for order in batches.into_iter().flatten() {
        let times = (order.ordered_at, order.recorded_at);
        match newest.get(&order.customer) {
            Some(held) if (held.ordered_at, held.recorded_at) > times => {}
            _ => _ = newest.insert(order.customer, order.clone()),
        }
    }
    newest
}

/// Looks every customer up and compares with the model.
///
/// # Panics
/// When anything differs.
pub async fn check_served(client: &Client, customers: i64, expected: &BTreeMap<i64, Order>) {
    let keys: ArrayRef = Arc::new((0..customers).collect::<Int64Array>());
    let lookup = Lookup::new(Selection::Service("recommend".into()), vec![("customer_id".into(), keys)]);
    let served = client.get_online_features(&lookup).await.expect("the lookup is answered");
    assert_eq!(served.rows, usize::try_from(customers).expect("a count"));
    for row in 0..served.rows {
        let customer = i64::try_from(row).expect("a key");
        check_row(&served, row, customer, expected.get(&customer));
    }
}

fn check_row(served: &OnlineFeatures, row: usize, customer: i64, expected: Option<&Order>) {
    let [amount, items, note] = served.features.as_slice() else { panic!("three features") };
    let event_time = served.views[0].event_times[row];
    let Some(expected) = expected else {
        assert_eq!(amount.statuses[row], Status::NotFound, "customer {customer}");
        assert_eq!(event_time, None, "customer {customer}");
        return;
    };
    let served_amount = amount.values.as_any().downcast_ref::<Float64Array>().expect("doubles");
    let served_items = items.values.as_any().downcast_ref::<Int64Array>().expect("integers");
    let served_note = note.values.as_any().downcast_ref::<StringArray>().expect("text");
    let status = if expected.amount.is_some() { Status::Present } else { Status::Null };
    assert_eq!(event_time, Some(expected.ordered_at), "customer {customer}");
    assert_eq!(amount.statuses[row], status, "customer {customer}");
    let value = served_amount.is_valid(row).then(|| served_amount.value(row));
    assert_eq!(value, expected.amount, "customer {customer}");
    assert_eq!(served_items.value(row), expected.items, "customer {customer}");
    assert_eq!(served_note.value(row), expected.note, "customer {customer}");
}
