//! Cases with a name: bugs other feature stores had, the edges of the rule, and what a user sees of errors and plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Date32Array, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::{Availability, UpperBound};

use super::world::{parquet_bytes, run, session};
use crate::point_in_time::{Error, Feature, Key, Nulls, Spec, View, plan, query_planner};
use crate::table::snapshot::{DataFile, Snapshot};

pub(in crate::point_in_time) fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

pub(in crate::point_in_time) fn maybe_ints(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

pub(in crate::point_in_time) fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

pub(in crate::point_in_time) fn times(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values.to_vec()).with_timezone("UTC"))
}

pub(in crate::point_in_time) fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, array)| (*name, array.clone(), true)))
        .expect("batch")
}

/// A table of these batches, one file and one version each.
pub(in crate::point_in_time) async fn table(batches: &[RecordBatch]) -> Snapshot {
    let store = Arc::new(InMemory::new());
    let mut files = Vec::new();
    for (at, batch) in batches.iter().enumerate() {
        let path = Path::from(format!("{at}.parquet"));
        let bytes = parquet_bytes(batch, 1_000);
        let size = bytes.len() as u64;
        store.put(&path, PutPayload::from(bytes)).await.expect("put");
        files.push(DataFile {
            path,
            size,
            rows: None,
            added_version: at as i64,
            order: 0,
            committed: None,
            compacted: false,
            partition: BTreeMap::new(),
            ranges: BTreeMap::new(),
            deleted_rows: None,
        });
    }
    let schema: SchemaRef = batches[batches.len() - 1].schema();
    Snapshot { name: "events".to_owned(), id: None, version: 1, schema, files, store }
}

/// A view over a table on these keys, with one feature `value`.
pub(in crate::point_in_time) fn view(snapshot: &Snapshot, keys: &[&str]) -> View {
    let key = |name: &&str| Key { spine_column: (*name).to_owned(), table_column: (*name).to_owned() };
    let feature = |name: &str, data_type| Feature {
        column: name.to_owned(),
        output: name.to_owned(),
        data_type,
        aggregate: None,
    };
    let data_type = snapshot.schema.field_with_name("value").map_or(DataType::Int64, |field| field.data_type().clone());
    View {
        alias: "v".to_owned(),
        snapshot: Arc::new(snapshot.clone()),
        keys: keys.iter().map(key).collect(),
        event_time: "event".to_owned(),
        created_time: None,
        availability: Availability::Event,
        upper: UpperBound::Inclusive,
        nulls: Nulls::Keep,
        valid_to: None,
        ttl: None,
        features: vec![feature("value", data_type)],
        event_time_output: None,
        status_output: None,
    }
}

pub(in crate::point_in_time) fn spec(views: Vec<View>) -> Spec {
    Spec { spine_time: "at".to_owned(), views, as_of: None }
}

async fn joined(spine: RecordBatch, spec: Spec) -> datafusion::error::Result<RecordBatch> {
    run(&session(2, 3), spine.schema(), vec![vec![spine]], spec).await
}

async fn values(spine: RecordBatch, view: View) -> Vec<Option<i64>> {
    let output = joined(spine, spec(vec![view])).await.expect("join");
    output.column_by_name("value").expect("value").as_primitive::<Int64Type>().iter().collect()
}

fn fails(spine: &RecordBatch, spec: Spec) -> Error {
    let table = MemTable::try_new(spine.schema(), vec![vec![spine.clone()]]).expect("spine");
    let session = session(1, 10);
    let spine = session.read_table(Arc::new(table)).expect("spine").into_unoptimized_plan();
    plan(spine, spec).expect_err("refused")
}

/// Feast #6787: spine rows that are equal in keys and time collapse to one. A naive implementation joins the distinct rows, or
/// groups its result by them to take each group's newest: three of these four rows are one to it.
#[tokio::test]
async fn feast_6787_duplicate_spine_rows_stay() {
    let table = table(&[batch(&[("k", ints(&[1])), ("event", times(&[5])), ("value", ints(&[7]))])]).await;
    let spine = batch(&[("k", ints(&[1, 1, 2, 1])), ("at", times(&[9, 9, 9, 9])), ("n", ints(&[1, 2, 3, 4]))]);
    let output = joined(spine, spec(vec![view(&table, &["k"])])).await.expect("join");
    let expected = "\
+---+-----------------------------+---+-------+
| k | at                          | n | value |
+---+-----------------------------+---+-------+
| 1 | 1970-01-01T00:00:00.000009Z | 1 | 7     |
| 1 | 1970-01-01T00:00:00.000009Z | 2 | 7     |
| 2 | 1970-01-01T00:00:00.000009Z | 3 |       |
| 1 | 1970-01-01T00:00:00.000009Z | 4 | 7     |
+---+-----------------------------+---+-------+";
    assert_eq!(pretty_format_batches(&[output]).expect("table").to_string(), expected);
}

/// Feast #6615: a row backfilled later is joined as if it had been known at its event time. A naive implementation compares
/// event times alone, which is what `availability: event` says; the last lines show the leak.
#[tokio::test]
async fn feast_6615_backfill_does_not_leak() {
    let table = table(&[
        batch(&[("k", ints(&[1])), ("event", times(&[10])), ("created", times(&[11])), ("value", ints(&[1]))]),
        batch(&[("k", ints(&[1])), ("event", times(&[20])), ("created", times(&[500])), ("value", ints(&[2]))]),
    ])
    .await;
    let known =
        View { created_time: Some("created".to_owned()), availability: Availability::Created, ..view(&table, &["k"]) };
    let spine = batch(&[("k", ints(&[1, 1, 1, 1])), ("at", times(&[10, 11, 499, 500]))]);
    assert_eq!(values(spine.clone(), known.clone()).await, [None, Some(1), Some(1), Some(2)]);
    let cut = Spec { as_of: Some(499), ..spec(vec![known.clone()]) };
    let output = joined(spine.clone(), cut).await.expect("join");
    assert_eq!(
        output.column(2).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(),
        [None, Some(1), Some(1), Some(1)]
    );
    let naive = View { availability: Availability::Event, ..known };
    assert_eq!(values(spine, naive).await, [Some(1), Some(1), Some(2), Some(2)]);
}

/// Under `commit` a row counts from the commit that added it.
#[tokio::test]
async fn commit_availability_uses_the_commit_time() {
    let mut table = table(&[
        batch(&[("k", ints(&[1])), ("event", times(&[10])), ("value", ints(&[1]))]),
        batch(&[("k", ints(&[1])), ("event", times(&[10])), ("value", ints(&[2]))]),
        batch(&[("k", ints(&[1])), ("event", times(&[11])), ("value", ints(&[3]))]),
    ])
    .await;
    (table.files[0].committed, table.files[1].committed) = (Some(12), Some(30));
    let view = View { availability: Availability::Commit, ..view(&table, &["k"]) };
    let spine = batch(&[("k", ints(&[1, 1, 1, 1])), ("at", times(&[11, 12, 29, 30]))]);
    assert_eq!(values(spine, view).await, [None, Some(1), Some(1), Some(2)]);
}

/// Feast #3003: 17 k rows took 30 minutes and 50 GB, because every observation of a key met every spine row of it. A naive
/// implementation joins on the keys and filters then: 289 million pairs of this one key.
#[tokio::test]
async fn feast_3003_one_hot_key_stays_linear() {
    let rows = 17_000;
    let events: Vec<i64> = (0..rows).map(|row| row * 10).collect();
    let table =
        table(&[batch(&[("k", ints(&vec![1; rows as usize])), ("event", times(&events)), ("value", ints(&events))])])
            .await;
    let asked: Vec<i64> = events.iter().rev().map(|event| event + 3).collect();
    let spine = batch(&[("k", ints(&vec![1; rows as usize])), ("at", times(&asked))]);
    let session = session(2, 8_192);
    let output =
        run(&session, spine.schema(), vec![vec![spine]], spec(vec![view(&table, &["k"])])).await.expect("join");
    let expected: Vec<i64> = events.iter().rev().copied().collect();
    assert_eq!(output.column(2).as_primitive::<Int64Type>().values(), &expected[..]);
}

/// Feast #3003 again, the other way round: a small spine beside a long, wide history of its keys. A naive implementation holds
/// the history, or its pairs with the spine, with all its columns: 5 MB or 130, of which the pool has 1. Phase 1 decodes keys and
/// times of each row once, phase 2 the payload of winners alone.
#[tokio::test]
async fn feast_3003_a_small_spine_reads_little_of_a_wide_history() {
    let (rows, columns) = (17_000, 40);
    let numbers: Vec<i64> = (0..rows).collect();
    let mut history = vec![("k", ints(&numbers.iter().map(|n| n % 4).collect::<Vec<_>>())), ("event", times(&numbers))];
    let names: Vec<String> = (0..columns).map(|n| format!("value{n}")).collect();
    history.extend(names.iter().map(|name| (name.as_str(), ints(&numbers))));
    let table = table(&[batch(&history)]).await;
    let feature = |name: &String| Feature {
        column: name.clone(),
        output: name.clone(),
        data_type: DataType::Int64,
        aggregate: None,
    };
    let wide = View { features: names.iter().map(feature).collect(), ..view(&table, &["k"]) };
    // The last rows of each key, so that no statistics could have spared the decoding.
    let asked: Vec<i64> = (0..100).map(|n| rows - 1 - n).collect();
    let spine = batch(&[("k", ints(&asked.iter().map(|n| n % 4).collect::<Vec<_>>())), ("at", times(&asked))]);
    let session = small_session(1_000_000, 8_192);
    let output = run(&session, spine.schema(), vec![vec![spine.clone()]], spec(vec![wide.clone()]))
        .await
        .expect("within the pool");
    for column in &output.columns()[2..] {
        assert_eq!(column.as_primitive::<Int64Type>().values(), &asked[..]);
    }
    assert_eq!(session.runtime_env().memory_pool.reserved(), 0);
    let spine = session.read_batch(spine).expect("spine").into_unoptimized_plan();
    let joined = session.execute_logical_plan(plan(spine, spec(vec![wide])).expect("plan")).await.expect("frame");
    let batches = joined.explain(false, true).expect("explain").collect().await.expect("rows");
    let text = pretty_format_batches(&batches).expect("table").to_string();
    let counted = |name: &str| -> i64 {
        let after = text.split(&format!("v.{name}=")).nth(1).expect(name);
        let digits = after.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        digits.parse().expect(name)
    };
    // Newest first may stop early; no row is decoded twice, and no payload but the winners'.
    assert!((1..=rows).contains(&counted("rows_decoded")), "{text}");
    assert_eq!(counted("winners_decoded"), 100, "{text}");
    assert_eq!(counted("matched"), 100, "{text}");
}

/// Feast #6603 and others: composite keys joined by a delimiter give another entity's row. A naive implementation compares
/// `a || b`, where ("1", "23") is ("12", "3"), or `a || ',' || b`, where ("a,b", "c") is ("a", "b,c").
#[tokio::test]
async fn composite_keys_do_not_collide() {
    let left = texts(&["1", "12", "a,b", "a", "", "x"]);
    let right = texts(&["23", "3", "c", "b,c", "x", ""]);
    let table = table(&[batch(&[
        ("a", left.clone()),
        ("b", right.clone()),
        ("event", times(&[1, 1, 1, 1, 1, 1])),
        ("value", ints(&[0, 1, 2, 3, 4, 5])),
    ])])
    .await;
    let at = times(&[2, 2, 2, 2, 2, 2]);
    let same = batch(&[("a", left.clone()), ("b", right.clone()), ("at", at.clone())]);
    let expected: Vec<Option<i64>> = (0..6).map(Some).collect();
    assert_eq!(values(same, view(&table, &["a", "b"])).await, expected);
    let crossed = batch(&[("a", right), ("b", left), ("at", at)]);
    assert_eq!(values(crossed, view(&table, &["a", "b"])).await, [None, None, None, None, Some(5), Some(4)]);
}

/// Ties of rank multiply rows elsewhere; here the later address wins, whatever the order of files and threads. A naive
/// implementation keeps all rows whose event time is the greatest (`rank() = 1`), six for each of these spine rows, or one of
/// them by the order in which it met them (`row_number() = 1`).
#[tokio::test]
async fn rank_ties_give_one_row_and_the_later_address() {
    let part = |value: &[i64]| {
        let n = value.len();
        batch(&[("k", ints(&vec![1; n])), ("event", times(&vec![5; n])), ("value", ints(value))])
    };
    let mut table = table(&[part(&[1, 2, 3]), part(&[4, 5]), part(&[6])]).await;
    let spine = batch(&[("k", ints(&[1, 1])), ("at", times(&[5, 9]))]);
    assert_eq!(values(spine.clone(), view(&table, &["k"])).await, [Some(6), Some(6)]);
    table.files.reverse();
    assert_eq!(values(spine.clone(), view(&table, &["k"])).await, [Some(6), Some(6)]);
    for (file, (version, order)) in table.files.iter_mut().zip([(1, 0), (1, 1), (0, 5)]) {
        (file.added_version, file.order) = (version, order);
    }
    assert_eq!(values(spine, view(&table, &["k"])).await, [Some(5), Some(5)]);
}

#[tokio::test]
async fn ttl_is_inclusive_and_looks_at_the_winner_only() {
    let table = table(&[batch(&[
        ("k", ints(&[1, 1])),
        ("event", times(&[100, 200])),
        ("value", maybe_ints(&[Some(1), None])),
    ])])
    .await;
    let view = View {
        ttl: Some(50),
        status_output: Some("status".to_owned()),
        event_time_output: Some("seen".to_owned()),
        ..view(&table, &["k"])
    };
    let spine = batch(&[("k", ints(&[1, 1, 1, 1, 1, 2])), ("at", times(&[99, 150, 151, 250, 251, 150]))]);
    let output = joined(spine, spec(vec![view])).await.expect("join");
    let expected = "\
+---+-----------------------------+-------+-----------------------------+-----------+
| k | at                          | value | seen                        | status    |
+---+-----------------------------+-------+-----------------------------+-----------+
| 1 | 1970-01-01T00:00:00.000099Z |       |                             | NOT_FOUND |
| 1 | 1970-01-01T00:00:00.000150Z | 1     | 1970-01-01T00:00:00.000100Z | PRESENT   |
| 1 | 1970-01-01T00:00:00.000151Z |       | 1970-01-01T00:00:00.000100Z | EXPIRED   |
| 1 | 1970-01-01T00:00:00.000250Z |       | 1970-01-01T00:00:00.000200Z | PRESENT   |
| 1 | 1970-01-01T00:00:00.000251Z |       | 1970-01-01T00:00:00.000200Z | EXPIRED   |
| 2 | 1970-01-01T00:00:00.000150Z |       |                             | NOT_FOUND |
+---+-----------------------------+-------+-----------------------------+-----------+";
    assert_eq!(pretty_format_batches(&[output]).expect("table").to_string(), expected);
}

/// Finer times can't leak by rounding: a feature's goes up, a spine's down.
#[tokio::test]
async fn nanoseconds_round_away_from_each_other() {
    let nanos = |values: &[i64]| Arc::new(TimestampNanosecondArray::from(values.to_vec())) as ArrayRef;
    let table = table(&[batch(&[
        ("k", ints(&[1, 2, 3])),
        ("event", nanos(&[1_500, 2_000, -1_500])),
        ("value", ints(&[1, 2, 3])),
    ])])
    .await;
    let spine =
        batch(&[("k", ints(&[1, 1, 2, 2, 3, 3])), ("at", nanos(&[1_999, 2_000, 2_999, 1_999, -1_001, -1_000]))]);
    let expected = [None, Some(1), Some(2), None, None, Some(3)];
    assert_eq!(values(spine, view(&table, &["k"])).await, expected);
}

#[tokio::test]
async fn times_before_1970_and_far_away() {
    let far = [i64::MIN, -11_676_096_000_000_000, -1, 0, 9_223_372_036_854_775, i64::MAX];
    let table =
        table(&[batch(&[("k", ints(&[1; 6])), ("event", times(&far)), ("value", ints(&[0, 1, 2, 3, 4, 5]))])]).await;
    let spine = batch(&[("k", ints(&[1; 6])), ("at", times(&far))]);
    let all: Vec<Option<i64>> = (0..6).map(Some).collect();
    assert_eq!(values(spine.clone(), view(&table, &["k"])).await, all);
    let exclusive = View { upper: UpperBound::Exclusive, ..view(&table, &["k"]) };
    assert_eq!(values(spine.clone(), exclusive).await, [None, Some(0), Some(1), Some(2), Some(3), Some(4)]);
    let fresh = View { ttl: Some(1), ..view(&table, &["k"]) };
    assert_eq!(values(spine, fresh).await, all);
    let days = batch(&[("k", ints(&[1, 1])), ("at", Arc::new(Date32Array::from(vec![0, -1])))]);
    assert_eq!(values(days, view(&table, &["k"])).await, [Some(3), Some(1)]);
}

#[tokio::test]
async fn views_without_keys_join_on_time_alone() {
    let table = table(&[batch(&[("k", ints(&[1, 2])), ("event", times(&[5, 7])), ("value", ints(&[1, 2]))])]).await;
    let spine = batch(&[("at", times(&[4, 9, 6]))]);
    assert_eq!(values(spine, view(&table, &[])).await, [None, Some(2), Some(1)]);
}

/// One view under two aliases with mapped keys.
#[tokio::test]
async fn one_table_twice_with_mapped_keys() {
    let table = table(&[batch(&[("k", ints(&[1, 2])), ("event", times(&[5, 5])), ("value", ints(&[10, 20]))])]).await;
    let using = |column: &str| View {
        alias: column.to_owned(),
        keys: vec![Key { spine_column: column.to_owned(), table_column: "k".to_owned() }],
        features: vec![Feature {
            column: "value".to_owned(),
            output: format!("{column}__value"),
            data_type: DataType::Float64,
            aggregate: None,
        }],
        ..view(&table, &[])
    };
    let spine = batch(&[("at", times(&[6, 6])), ("from", ints(&[1, 2])), ("to", ints(&[2, 3]))]);
    // int64 does not read as float64 without loss.
    assert!(matches!(fails(&spine, spec(vec![using("from")])), Error::FeatureType { .. }));
    let using = |column: &str| {
        let mut view = using(column);
        view.features[0].data_type = DataType::Int64;
        view
    };
    let output = joined(spine, spec(vec![using("from"), using("to")])).await.expect("join");
    let column = |name: &str| -> Vec<Option<i64>> {
        output.column_by_name(name).expect("column").as_primitive::<Int64Type>().iter().collect()
    };
    assert_eq!(column("from__value"), [Some(10), Some(20)]);
    assert_eq!(column("to__value"), [Some(20), None]);
}

#[tokio::test]
async fn floats_survive_bit_for_bit() {
    let odd = [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MIN_POSITIVE / 2.0];
    let table = table(&[batch(&[
        ("k", ints(&[0, 1, 2, 3, 4, 5])),
        ("event", times(&[1; 6])),
        ("value", Arc::new(Float64Array::from(odd.to_vec()))),
    ])])
    .await;
    let spine = batch(&[("k", ints(&[5, 4, 3, 2, 1, 0])), ("at", times(&[1; 6]))]);
    let output = joined(spine, spec(vec![view(&table, &["k"])])).await.expect("join");
    let got = output.column(2).as_primitive::<Float64Type>();
    let bits: Vec<u64> = got.values().iter().rev().map(|value| value.to_bits()).collect();
    assert_eq!(bits, odd.map(f64::to_bits));
}

#[tokio::test]
async fn empty_spine_and_empty_table_keep_the_schema() {
    let full = table(&[batch(&[("k", ints(&[1])), ("event", times(&[5])), ("value", ints(&[7]))])]).await;
    let none = batch(&[("k", ints(&[])), ("at", times(&[]))]);
    let output = joined(none, spec(vec![view(&full, &["k"])])).await.expect("join");
    assert_eq!((output.num_rows(), output.num_columns()), (0, 3));
    let empty = Snapshot { files: Vec::new(), ..full };
    let spine = batch(&[("k", ints(&[1])), ("at", times(&[9]))]);
    assert_eq!(values(spine, view(&empty, &["k"])).await, [None]);
}

#[tokio::test]
async fn a_spine_of_nulls_matches_nothing() {
    let table =
        table(&[batch(&[("k", maybe_ints(&[None, Some(1)])), ("event", times(&[5, 5])), ("value", ints(&[7, 8]))])])
            .await;
    let nulls = arrow::array::new_null_array(&DataType::Null, 2);
    let spine = batch(&[("k", nulls.clone()), ("at", times(&[9, 9]))]);
    assert_eq!(values(spine, view(&table, &["k"])).await, [None, None]);
    let spine = batch(&[("k", ints(&[1, 1])), ("at", nulls)]);
    assert_eq!(values(spine, view(&table, &["k"])).await, [None, None]);
}

#[tokio::test]
async fn errors_name_columns_and_types() {
    let table = table(&[batch(&[("k", ints(&[1])), ("event", times(&[5])), ("value", ints(&[7]))])]).await;
    let good = view(&table, &["k"]);
    let spine = batch(&[("user", ints(&[1])), ("at", times(&[9]))]);
    let message = |spine: &RecordBatch, view: View| fails(spine, spec(vec![view])).to_string();
    assert_eq!(
        message(&spine, good.clone()),
        "the spine has no key column `k` (view `v`); it has `user`, `at`; add the column, or map it to another one"
    );
    let no_time = batch(&[("k", ints(&[1]))]);
    assert!(message(&no_time, good.clone()).starts_with("the spine has no time column `at`; it has `k`"));
    let no_time = batch(&[("k", ints(&[1])), ("at", ints(&[1]))]);
    assert!(message(&no_time, good.clone()).contains("`at` is Int64, which is not a time"));
    let types: [(ArrayRef, &str); 4] = [
        (texts(&["1"]), "Utf8"),
        (Arc::new(Float64Array::from(vec![1.0])), "Float64"),
        (Arc::new(UInt64Array::from(vec![1])), "UInt64"),
        (Arc::new(Float32Array::from(vec![1.0])), "Float32"),
    ];
    for (key, name) in types {
        let spine = batch(&[("k", key), ("at", times(&[9]))]);
        let error = fails(&spine, spec(vec![good.clone()]));
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(
            error.to_string().contains(&format!("`k` is {name} but key column `k` of its table is Int64")),
            "{error}"
        );
    }
    let narrow = batch(&[("k", Arc::new(Int32Array::from(vec![1])) as ArrayRef), ("at", times(&[9]))]);
    assert_eq!(values(narrow.clone(), good.clone()).await, [Some(7)]);
    let clash = batch(&[("k", ints(&[1])), ("at", times(&[9])), ("value", ints(&[1]))]);
    assert!(message(&clash, good.clone()).contains("more than one column named `value`"));
    let unknown = View { event_time: "when".to_owned(), ..good };
    assert!(message(&narrow, unknown).contains("table `events` has no column `when`; it has `k`, `event`, `value`"));
}

#[tokio::test]
async fn a_file_that_vanished_is_named() {
    let rows = batch(&[("k", ints(&[1])), ("event", times(&[5])), ("value", ints(&[7]))]);
    let table = table(&[rows.clone(), rows]).await;
    table.store.delete(&Path::from("1.parquet")).await.expect("delete");
    let spine = batch(&[("k", ints(&[1])), ("at", times(&[9]))]);
    let error = joined(spine, spec(vec![view(&table, &["k"])])).await.expect_err("gone");
    let error = crate::Error::from(error);
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("data file `1.parquet` of table `events` is gone"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_parquet_is_named() {
    let rows = batch(&[("k", ints(&[1])), ("event", times(&[5])), ("value", ints(&[7]))]);
    let table = table(&[rows]).await;
    let size = usize::try_from(table.files[0].size).expect("size");
    table.store.put(&Path::from("0.parquet"), PutPayload::from(vec![b'x'; size])).await.expect("put");
    let spine = batch(&[("k", ints(&[1])), ("at", times(&[9]))]);
    let error = crate::Error::from(joined(spine, spec(vec![view(&table, &["k"])])).await.expect_err("broken"));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("data file `0.parquet` of table `events`"), "{error}");
}

#[tokio::test]
async fn sql_over_the_join_filters_limits_and_explains() {
    let table = table(&[batch(&[("k", ints(&[1, 2])), ("event", times(&[5, 5])), ("value", ints(&[10, 20]))])]).await;
    let spine = batch(&[("k", ints(&[1, 2, 3, 2])), ("at", times(&[6, 6, 6, 1]))]);
    let session = session(2, 100);
    let spine = MemTable::try_new(spine.schema(), vec![vec![spine]]).expect("spine");
    session.register_table("spine", Arc::new(spine)).expect("register");
    let ordered = session.sql("SELECT k, at FROM spine ORDER BY k DESC, at").await.expect("sql");
    let node = plan(ordered.into_unoptimized_plan(), spec(vec![view(&table, &["k"])])).expect("plan");
    let joined = session.execute_logical_plan(node).await.expect("frame");
    session.register_table("joined", joined.into_view()).expect("register");
    let rows = |sql: &'static str| {
        let session = session.clone();
        async move {
            let batches = session.sql(sql).await.expect("sql").collect().await.expect("rows");
            pretty_format_batches(&batches).expect("table").to_string()
        }
    };
    let expected = "\
+---+-------+
| k | value |
+---+-------+
| 3 |       |
| 2 |       |
| 2 | 20    |
| 1 | 10    |
+---+-------+";
    assert_eq!(rows("SELECT k, value FROM joined").await, expected);
    let expected = "\
+-------+
| value |
+-------+
| 20    |
+-------+";
    assert_eq!(rows("SELECT value FROM joined WHERE value > 10 AND k < 3 LIMIT 1").await, expected);
    let explained = rows("EXPLAIN ANALYZE SELECT value FROM joined").await;
    assert!(explained.contains("PointInTimeExec: time=at, views=[v(table=events@1, keys=[k]"), "{explained}");
    for metric in ["v.files=1", "v.rows_decoded=2", "v.matched=2", "v.expired=0", "v.conflicts=0"] {
        assert!(explained.contains(metric), "{metric} in {explained}");
    }
}

/// Conflicts, late knowledge and nulls are counted, never silent.
#[tokio::test]
async fn metrics_count_what_was_left_out() {
    let table = table(&[batch(&[
        ("k", maybe_ints(&[Some(1), Some(1), None, Some(1), Some(1), Some(9)])),
        ("event", times(&[5, 5, 5, 6, 7, 5])),
        (
            "created",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(5), Some(5), Some(5), None, Some(90), Some(5)])),
        ),
        ("value", ints(&[1, 2, 3, 4, 5, 6])),
    ])])
    .await;
    let view =
        View { created_time: Some("created".to_owned()), availability: Availability::Created, ..view(&table, &["k"]) };
    let spine = batch(&[("k", ints(&[1])), ("at", times(&[9]))]);
    let session = session(2, 100);
    let spine = session.read_batch(spine).expect("spine").into_unoptimized_plan();
    let joined = session.execute_logical_plan(plan(spine, spec(vec![view])).expect("plan")).await.expect("frame");
    let batches = joined.explain(false, true).expect("explain").collect().await.expect("rows");
    let text = pretty_format_batches(&batches).expect("table").to_string();
    for metric in ["v.conflicts=1", "v.not_yet_known=2", "v.null_keys=1", "v.null_created_times=1", "v.matched=1"] {
        assert!(text.contains(metric), "{metric} in {text}");
    }
}

/// Files and row groups whose statistics show that they can't matter are not read.
#[tokio::test]
async fn statistics_prune_files_and_row_groups() {
    let part = |from: i64| {
        let events: Vec<i64> = (from..from + 10).map(|n| n * 1_000_000).collect();
        batch(&[("k", ints(&[1; 10])), ("event", times(&events)), ("value", ints(&events))])
    };
    let mut table = table(&[part(0), part(100), part(200)]).await;
    for (file, from) in table.files.iter_mut().zip([0_i64, 100, 200]) {
        let bound = |n: i64| ScalarValue::TimestampMicrosecond(Some(n * 1_000_000), Some("UTC".into()));
        file.ranges = BTreeMap::from([("event".to_owned(), (bound(from), bound(from + 9)))]);
    }
    let view = View { ttl: Some(20_000_000), ..view(&table, &["k"]) };
    let spine = batch(&[("k", ints(&[1])), ("at", times(&[105_000_000]))]);
    assert_eq!(values(spine.clone(), view.clone()).await, [Some(105_000_000)]);
    // Without the log's statistics the row groups' own serve.
    let text = |view: View| async {
        let session = session(2, 100);
        let spine = session.read_batch(spine.clone()).expect("spine").into_unoptimized_plan();
        let joined = session.execute_logical_plan(plan(spine, spec(vec![view])).expect("plan")).await.expect("frame");
        let batches = joined.explain(false, true).expect("explain").collect().await.expect("rows");
        pretty_format_batches(&batches).expect("table").to_string()
    };
    let pruned = text(view.clone()).await;
    assert!(pruned.contains("v.files_pruned=2") && pruned.contains("v.rows_decoded=10"), "{pruned}");
    for file in &mut table.files {
        file.ranges.clear();
    }
    let pruned = text(View { snapshot: Arc::new(table), ..view }).await;
    assert!(pruned.contains("v.row_groups_pruned=2") && pruned.contains("v.rows_decoded=10"), "{pruned}");
}

fn small_session(pool_bytes: usize, batch_rows: usize) -> SessionContext {
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(pool_bytes)));
    let builder = SessionStateBuilder::new()
        .with_default_features()
        .with_config(SessionConfig::new().with_target_partitions(2).with_batch_size(batch_rows))
        .with_runtime_env(runtime.build_arc().expect("runtime"))
        .with_query_planner(query_planner());
    SessionContext::new_with_state(builder.build())
}

/// A spine beyond the memory pool is refused with an error of resources, not by the system killing the process.
#[tokio::test]
async fn memory_is_accounted() {
    let table = table(&[batch(&[("k", ints(&[1])), ("event", times(&[5])), ("value", ints(&[7]))])]).await;
    let session = small_session(100_000, 8_192);
    let many: Vec<i64> = (0..10_000).collect();
    let spine = batch(&[("k", ints(&many)), ("at", times(&many))]);
    let error = run(&session, spine.schema(), vec![vec![spine]], spec(vec![view(&table, &["k"])])).await;
    let error = error.expect_err("too large");
    assert!(matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)), "{error}");
    let few = batch(&[("k", ints(&[1])), ("at", times(&[9]))]);
    run(&session, few.schema(), vec![vec![few]], spec(vec![view(&table, &["k"])])).await.expect("fits");
    assert_eq!(session.runtime_env().memory_pool.reserved(), 0);
}

/// A pool that holds the spine and not the whole output puts the output out in ranges, the same rows in the same order.
#[tokio::test]
async fn output_comes_in_ranges_where_memory_is_short() {
    let many: Vec<i64> = (0..10_000).map(|n| n * 7 % 10_000).collect();
    let table = table(&[batch(&[("k", ints(&many)), ("event", times(&many)), ("value", ints(&many))])]).await;
    let features = (0..40).map(|n| Feature {
        column: "value".to_owned(),
        output: format!("value{n}"),
        data_type: DataType::Int64,
        aggregate: None,
    });
    let wide = View { features: features.collect(), ..view(&table, &["k"]) };
    let asked: Vec<i64> = (0..10_000).collect();
    let spine = batch(&[("k", ints(&asked)), ("at", times(&asked))]);
    // 40 features of 10,000 rows are 3.6 MB; the pool keeps about a third of what the index leaves of 3.
    let session = small_session(3_000_000, 100);
    let output = run(&session, spine.schema(), vec![vec![spine]], spec(vec![wide])).await.expect("join");
    for column in &output.columns()[2..] {
        assert_eq!(column.as_primitive::<Int64Type>().values(), &asked[..]);
    }
}

/// Dropping the stream stops the work and gives the memory back.
#[tokio::test]
async fn dropping_the_stream_cancels() {
    let many: Vec<i64> = (0..5_000).collect();
    let table = table(&[batch(&[("k", ints(&many)), ("event", times(&many)), ("value", ints(&many))])]).await;
    let session = session(2, 10);
    let spine = session.read_batch(batch(&[("k", ints(&many)), ("at", times(&many))])).expect("spine");
    let node = plan(spine.into_unoptimized_plan(), spec(vec![view(&table, &["k"])])).expect("plan");
    let frame = session.execute_logical_plan(node).await.expect("frame");
    let mut stream = frame.execute_stream().await.expect("stream");
    let first = stream.next().await.expect("a batch").expect("rows");
    assert_eq!(first.num_rows(), 10);
    drop(stream);
    for _ in 0..1_000 {
        if session.runtime_env().memory_pool.reserved() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert_eq!(session.runtime_env().memory_pool.reserved(), 0);
}
