//! Replies become Arrow columns value for value; replies that contradict themselves are refused, not guessed at.

use super::*;
use arrow::datatypes::Float64Type;

fn column(data_type: &str, values: Values) -> v1::FeatureColumn {
    v1::FeatureColumn {
        name: "f".into(),
        data_type: data_type.into(),
        values: Some(values),
        ..v1::FeatureColumn::default()
    }
}

#[test]
fn doubles_keep_their_bits_and_their_gaps() {
    let values = Values::Doubles(v1::DoubleValues { values: vec![-0.0, f64::NAN, 0.0] });
    let wire = v1::FeatureColumn {
        presence: vec![true, true, false],
        statuses: vec![1, 1, 3],
        reasons: vec![0, 0, 0],
        ..column("float64", values)
    };
    let got = feature_column(wire, 3).unwrap();
    let doubles = got.values.as_primitive::<Float64Type>();
    assert_eq!(doubles.value(0).to_bits(), (-0.0_f64).to_bits());
    assert!(doubles.value(1).is_nan() && doubles.is_null(2));
    assert_eq!(got.statuses, [Status::Present, Status::Present, Status::NotFound]);
    assert_eq!(got.reasons, [None; 3]);
}

#[test]
fn integers_become_the_times_they_stand_for() {
    let micros = column("timestamp", Values::Int64s(v1::Int64Values { values: vec![5] }));
    let got = feature_column(micros, 1).unwrap();
    assert_eq!(got.values.data_type(), &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
    let days = column("date", Values::Int32s(v1::Int32Values { values: vec![5] }));
    assert_eq!(feature_column(days, 1).unwrap().values.data_type(), &DataType::Date32);
}

#[test]
fn text_keeps_the_difference_between_empty_and_absent() {
    let values = Values::Strings(v1::StringValues { values: vec![String::new(), String::new()] });
    let wire = v1::FeatureColumn { presence: vec![true, false], ..column("string", values) };
    let got = feature_column(wire, 2).unwrap();
    let text = got.values.as_string::<i32>();
    assert!(text.is_valid(0) && text.is_null(1));
}

#[test]
fn contradicting_replies_are_refused() {
    let short = column("float64", Values::Doubles(v1::DoubleValues { values: vec![1.0] }));
    assert!(matches!(feature_column(short, 2), Err(Error::Protocol(_))));
    let mistyped = column("float64", Values::Bools(v1::BoolValues { values: vec![true] }));
    assert!(matches!(feature_column(mistyped, 1), Err(Error::Protocol(_))));
    let values = Values::Doubles(v1::DoubleValues { values: vec![1.0; 9] });
    let short = v1::FeatureColumn { presence: vec![true; 8], ..column("float64", values) };
    assert!(matches!(feature_column(short, 9), Err(Error::Protocol(_))));
    let ipc = column("list<int64>", Values::ArrowIpc(vec![1, 2, 3].into()));
    assert!(matches!(feature_column(ipc, 1), Err(Error::Protocol(_))));
}

#[test]
fn keys_of_every_key_type_are_sent() {
    let check = |array: ArrayRef, expect: Keys| assert_eq!(key_column("k", &array).unwrap().values, Some(expect));
    let int = |values: Vec<i64>| Keys::Int64s(v1::Int64Values { values });
    check(Arc::new(Int32Array::from(vec![7, -1])), int(vec![7, -1]));
    check(Arc::new(Date32Array::from(vec![3])), int(vec![3]));
    check(Arc::new(arrow::array::TimestampSecondArray::from(vec![2])), int(vec![2_000_000]));
    check(Arc::new(StringArray::from(vec!["EWR"])), Keys::Strings(v1::StringValues { values: vec!["EWR".into()] }));
    check(Arc::new(BooleanArray::from(vec![true])), Keys::Bools(v1::BoolValues { values: vec![true] }));
    let nulls: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
    assert!(matches!(key_column("k", &nulls), Err(Error::Argument(what)) if what.contains("row 1")));
    let float: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    assert!(matches!(key_column("k", &float), Err(Error::Argument(_))));
}

#[test]
fn an_answer_is_one_batch() {
    let wire = v1::GetOnlineFeaturesResponse {
        rows: 1,
        features: vec![column("int64", Values::Int64s(v1::Int64Values { values: vec![4] }))],
        views: vec![v1::ViewTimes { view: "v".into(), event_times: vec![i64::MIN], ages: vec![-1] }],
        catalog_version: 3,
        ..v1::GetOnlineFeaturesResponse::default()
    };
    let got = decode(wire).unwrap();
    assert_eq!(got.to_record_batch().unwrap().num_rows(), 1);
    assert_eq!(got.views[0].event_times, [None]);
    assert_eq!(got.views[0].ages, [None]);
}
