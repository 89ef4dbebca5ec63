//! A small shop: orders of customers, with late, corrected and tied rows, and the model of what must be served.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use tidegate_client::flight::Ingest;
use tidegate_client::online::{Lookup, OnlineFeatures, Status};
use tidegate_client::push::{Push, Pushed};
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
    try_apply(client, DEFINITIONS).await.expect("the definitions apply");
}

/// Applies definitions where the server may not be there any more.
///
/// # Errors
/// The server's.
///
/// # Panics
/// When they have problems.
pub async fn try_apply(client: &Client, definitions: &str) -> tidegate_client::Result<()> {
    let files = vec![SourceFile { path: "shop.yaml".into(), content: definitions.into() }];
    let applied = client.apply(&Apply { files, ..Apply::default() }).await?;
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
    Ok(())
}

/// Ingests orders as one batch.
///
/// # Panics
/// When the server refuses.
pub async fn ingest(client: &Client, batch_id: &str, orders: &[Order]) {
    try_ingest(client, batch_id, orders).await.expect("the rows are ingested");
}

/// The same where the server may refuse, or may not be there any more.
///
/// # Errors
/// The server's.
pub async fn try_ingest(client: &Client, batch_id: &str, orders: &[Order]) -> tidegate_client::Result<()> {
    let ingest = Ingest { target: "orders".into(), batch_id: batch_id.into(), ..Ingest::default() };
    let rows = futures::stream::iter([Ok::<_, std::convert::Infallible>(batch(orders))]);
    client.ingest(&ingest, schema(), rows).await.map(drop)
}

/// Pushes orders as one request, to lookups and the table. Each is an event of its own, by the batch and its place in it. With them
/// comes a row without a customer, which can't be taken.
///
/// # Errors
/// The server's.
///
/// # Panics
/// When the orders can't be encoded.
pub async fn try_push(client: &Client, batch_id: &str, orders: &[Order]) -> tidegate_client::Result<Pushed> {
    let rows = with_a_misfit(&batch(orders));
    let ids: ArrayRef =
        Arc::new((0..rows.num_rows()).map(|row| Some(format!("{batch_id}/{row}"))).collect::<StringArray>());
    let event_ids = RecordBatch::try_from_iter([("event_id", ids)]).expect("a column");
    client.push(&Push { event_ids: Some(event_ids), ..Push::new("orders", rows) }).await
}

/// The rows, and the first one again without a customer.
fn with_a_misfit(rows: &RecordBatch) -> RecordBatch {
    let fields = schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>();
    let schema = Arc::new(Schema::new(fields));
    let mut misfit = rows.slice(0, 1).columns().to_vec();
    misfit[0] = new_null_array(&DataType::Int64, 1);
    let relaxed = |columns| RecordBatch::try_new(schema.clone(), columns).expect("columns of the schema");
    concat_batches(&schema, &[relaxed(rows.columns().to_vec()), relaxed(misfit)]).expect("rows of one schema")
}

/// What must be served after these orders (in table order) were materialized: for each customer the one with the greatest
/// (ordered, recorded), the later one winning a tie. Ties within one batch are the caller's to avoid.
#[must_use]
pub fn newest<'a>(orders: impl IntoIterator<Item = &'a Order>) -> BTreeMap<i64, Order> {
    let mut newest: BTreeMap<i64, Order> = BTreeMap::new();
    for order in orders {
        let times = (order.ordered_at, order.recorded_at);
        match newest.get(&order.customer) {
            Some(held) if (held.ordered_at, held.recorded_at) > times => {}
            _ => _ = newest.insert(order.customer, order.clone()),
        }
    }
    newest
}

/// What a lookup answered for a customer who has an order.
#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    /// Event time.
    pub ordered_at: Micros,
    /// Features.
    pub amount: Option<f64>,
    /// A feature.
    pub items: i64,
    /// A feature.
    pub note: String,
}

impl Served {
    /// Whether this is what that order must be answered as.
    #[must_use]
    pub fn is(&self, order: &Order) -> bool {
        let same = (self.ordered_at, self.amount, self.items) == (order.ordered_at, order.amount, order.items);
        same && self.note == order.note
    }
}

/// Looks every customer up; `None` where nothing is found.
///
/// # Errors
/// The server's.
///
/// # Panics
/// When statuses, values and times of an answer contradict each other.
pub async fn served(client: &Client, customers: i64) -> tidegate_client::Result<Vec<Option<Served>>> {
    let keys: ArrayRef = Arc::new((0..customers).collect::<Int64Array>());
    let lookup = Lookup::new(Selection::Service("recommend".into()), vec![("customer_id".into(), keys)]);
    let served = client.get_online_features(&lookup).await?;
    assert_eq!(served.rows, usize::try_from(customers).expect("a count"));
    Ok((0..served.rows).map(|row| served_row(&served, row)).collect())
}

fn served_row(served: &OnlineFeatures, row: usize) -> Option<Served> {
    let [amount, items, note] = served.features.as_slice() else { panic!("three features") };
    let event_time = served.views[0].event_times[row];
    if amount.statuses[row] == Status::NotFound {
        assert_eq!(event_time, None, "customer {row}");
        return None;
    }
    let amounts = amount.values.as_any().downcast_ref::<Float64Array>().expect("doubles");
    let value = amounts.is_valid(row).then(|| amounts.value(row));
    let status = if value.is_some() { Status::Present } else { Status::Null };
    assert_eq!(amount.statuses[row], status, "customer {row}");
    Some(Served {
        ordered_at: event_time.expect("what is found has a time"),
        amount: value,
        items: items.values.as_any().downcast_ref::<Int64Array>().expect("integers").value(row),
        note: note.values.as_any().downcast_ref::<StringArray>().expect("text").value(row).to_owned(),
    })
}

/// Looks every customer up and compares with the model.
///
/// # Panics
/// When anything differs.
pub async fn check_served(client: &Client, customers: i64, expected: &BTreeMap<i64, Order>) {
    let served = served(client, customers).await.expect("the lookup is answered");
    for (customer, served) in (0..).zip(&served) {
        match (served, expected.get(&customer)) {
            (None, None) => {}
            (Some(served), Some(expected)) if served.is(expected) => {}
            (served, expected) => panic!("customer {customer}: {served:?} is served instead of {expected:?}"),
        }
    }
}
