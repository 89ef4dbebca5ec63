//! Expressions see one row, fail alone, and give the same in a plan as on their own.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, ListArray, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Float32Type, Float64Type, Int64Type};
use datafusion::datasource::MemTable;
use tidegate_schemas::error::ErrorKind;

use super::*;
use crate::fixtures::runtime;

fn input(scope: &str, name: &str, data_type: &str) -> Input {
    Input { scope: scope.into(), name: name.into(), data_type: data_type.parse().expect("a type") }
}

fn computed(name: &str, data_type: &str, expression: &str) -> ComputedFeature {
    ComputedFeature {
        name: name.into(),
        data_type: data_type.parse().expect("a type"),
        expression: expression.into(),
        on_error: OnError::Failed,
        description: None,
    }
}

fn inputs() -> Vec<Input> {
    vec![
        input("stats", "mean", "float64"),
        input("stats", "n", "int64"),
        input("place", "n", "int64"),
        input("request", "amount", "float64"),
        input("request", "city", "string"),
        input("request", "at", "timestamp"),
    ]
}

fn columns() -> Vec<ArrayRef> {
    vec![
        Arc::new(Float64Array::from(vec![Some(2.0), Some(4.0), None])),
        Arc::new(Int64Array::from(vec![Some(3), Some(0), Some(i64::MAX)])),
        Arc::new(Int64Array::from(vec![7, 8, 9])),
        Arc::new(Float64Array::from(vec![10.0, 20.0, 30.0])),
        Arc::new(StringArray::from(vec![Some("JFK"), Some("LGA"), None])),
        Arc::new(TimestampMicrosecondArray::from(vec![0, 1_500_000, 3]).with_timezone("UTC")),
    ]
}

fn evaluate(features: &[ComputedFeature]) -> Vec<Evaluated> {
    let folder = tempfile::tempdir().expect("a folder");
    let expressions = Expressions::compile(&runtime(folder.path()), &inputs(), features).expect("they compile");
    expressions.evaluate(&columns(), 3).expect("inputs that fit")
}

fn doubles(evaluated: &Evaluated) -> Vec<Option<f64>> {
    evaluated.values.as_primitive::<Float64Type>().iter().collect()
}

fn longs(evaluated: &Evaluated) -> Vec<Option<i64>> {
    evaluated.values.as_primitive::<Int64Type>().iter().collect()
}

#[test]
fn expressions_see_features_the_request_and_those_before() {
    let got = evaluate(&[
        computed("ratio", "float64", "amount / mean"),
        computed("double", "float64", "computed.ratio * 2"),
        computed("sum", "float64", "stats.n + place.n"),
        computed("known", "bool", "city IS NOT NULL"),
    ]);
    assert_eq!(doubles(&got[0]), [Some(5.0), Some(5.0), None]);
    assert_eq!(doubles(&got[1]), [Some(10.0), Some(10.0), None]);
    assert_eq!(doubles(&got[2])[..2], [Some(10.0), Some(8.0)]);
    assert_eq!(got[3].values.as_boolean().iter().flatten().collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn a_row_that_fails_fails_alone() {
    let mut features = [computed("each", "int64", "100 / stats.n"), computed("more", "int64", "stats.n + 1")];
    let got = evaluate(&features);
    assert_eq!(longs(&got[0]), [Some(33), None, Some(0)]);
    assert_eq!(got[0].failed, Some(BooleanArray::from(vec![false, true, false])));
    assert_eq!(longs(&got[1]), [Some(4), Some(1), None], "an overflow does not wrap around");
    features[0].on_error = OnError::Null;
    let got = evaluate(&features);
    assert_eq!((longs(&got[0]), &got[0].failed), (vec![Some(33), None, Some(0)], &None));
}

#[test]
fn preparation() {
    let got = evaluate(&[
        computed("clip", "float64", "clip(amount, 12, 25)"),
        computed("bucket", "int64", "bucketize(amount, [10, 20, 25.5])"),
        computed("index", "int64", "vocabulary_index(city, ['LGA', 'JFK'])"),
        computed("hot", "vector<float32,3>", "one_hot(city, ['LGA', 'EWR'])"),
        computed("hash", "int64", "hash_bucket(city, 1000)"),
        computed("standard", "float64", "standardize(amount, 10, 5)"),
        computed("km", "float64", "haversine_km(40.6413, -73.7781, 51.47, -0.4543)"),
        computed("since", "float64", "seconds_between(TIMESTAMP '1970-01-01T00:00:01Z', at)"),
        computed("log", "float64", "ln(amount / 10)"),
        computed("dot", "float64", "inner_product([amount, 1.0], [2.0, 0.5])"),
        computed("cosine", "float64", "cosine_distance([amount, 0.0], [1.0, 0.0])"),
        computed("hour", "int32", "date_part('hour', at)"),
    ]);
    assert_eq!(doubles(&got[0]), [Some(12.0), Some(20.0), Some(25.0)]);
    assert_eq!(longs(&got[1]), [Some(1), Some(2), Some(3)]);
    assert_eq!(longs(&got[2]), [Some(1), Some(0), None]);
    let hot: &ListArray = got[3].values.as_list();
    assert_eq!(hot.value(0).as_primitive::<Float32Type>().values()[..], [0.0, 0.0, 1.0], "an unknown city");
    assert_eq!(hot.value(1).as_primitive::<Float32Type>().values()[..], [1.0, 0.0, 0.0]);
    // Frozen, for models have learnt it; computed by another program.
    assert_eq!(longs(&got[4]), [Some(86), Some(606), None]);
    assert_eq!(doubles(&got[5]), [Some(0.0), Some(2.0), Some(4.0)]);
    // Kennedy to Heathrow, 5,540 km by any map.
    assert!(doubles(&got[6]).iter().all(|km| km.is_some_and(|km| (km - 5_540.0).abs() < 5.0)), "{:?}", got[6]);
    assert_eq!(doubles(&got[7])[..2], [Some(-1.0), Some(0.5)]);
    assert_eq!(doubles(&got[8])[0], Some(0.0));
    assert_eq!(doubles(&got[9]), [Some(20.5), Some(40.5), Some(60.5)]);
    assert!(doubles(&got[10]).iter().all(|distance| distance.is_some_and(|it| it.abs() < 1e-12)));
    assert!(got.iter().all(|one| one.failed.is_none()));
}

#[test]
fn what_is_refused_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = runtime(folder.path());
    for (expression, data_type, says) in [
        ("amount +", "float64", "sql"),
        ("amuont", "float64", "amuont"),
        ("n + 1", "int64", "n"),
        ("amount", "int64", "gives float64 and the feature is int64"),
        ("now() - at", "float64", "bring what it stands for as a request column"),
        ("random()", "float64", "one value in training and another when served"),
        ("sum(amount)", "float64", "more than one row"),
        ("row_number() OVER ()", "int64", "more than one row"),
        ("(SELECT 1)", "int64", ""),
        ("amount > $1", "bool", "a parameter"),
        ("later", "float64", "later"),
    ] {
        let feature = computed("f", data_type, expression);
        let error = Expressions::compile(&runtime, &inputs(), &[feature]).expect_err(expression);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{expression}: {error}");
        let text = error.to_string();
        assert!(text.contains("`f`") && text.to_lowercase().contains(says), "{expression}: {text}");
    }
}

#[tokio::test]
async fn a_plan_gives_what_they_give_on_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = runtime(folder.path());
    let features = [computed("each", "int64", "100 / stats.n"), computed("more", "float64", "each + amount")];
    let expressions = Arc::new(Expressions::compile(&runtime, &inputs(), &features).expect("they compile"));
    let alone = expressions.evaluate(&columns(), 3).expect("inputs that fit");
    // In a training set columns come in another order, some of a narrower type.
    let names = ["mean", "stats__n", "n", "amount", "city", "at"].map(str::to_owned);
    let mut fields: Vec<(String, ArrayRef)> = names.iter().cloned().zip(columns()).collect();
    fields[2].1 = Arc::new(arrow::array::Int32Array::from(vec![7, 8, 9]));
    fields.reverse();
    let batch = RecordBatch::try_from_iter(fields).expect("a batch");
    let session = runtime.session();
    let table = Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]]).expect("a table"));
    let rows = session.read_table(table).expect("a frame").into_unoptimized_plan();
    let planned = plan(rows.clone(), expressions.clone(), &names).expect("a plan");
    let got = session.execute_logical_plan(planned).await.expect("a frame").collect().await.expect("rows");
    assert_eq!(got[0].num_columns(), 8);
    assert_eq!(&got[0]["each"], &alone[0].values);
    assert_eq!(&got[0]["more"], &alone[1].values);
    let error = plan(rows, expressions, &names.map(|name| name.replace("city", "town"))).expect_err("a missing column");
    assert!(error.to_string().contains("`town`"), "{error}");
}
