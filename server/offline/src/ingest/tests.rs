//! What is refused and how it is told; what is converted and to what.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::array::{
    ArrayRef, DictionaryArray, FixedSizeListArray, Float32Array, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::{Float32Type, Int8Type, TimestampMicrosecondType};

use super::*;
use crate::fixtures::{column, utc, weather, weather_rules};

/// Checks one batch; gives what comes out, or everything that was told.
fn check(rules: &Rules, batch: &RecordBatch) -> Result<RecordBatch, String> {
    let mut checker = Checker::new(rules, &batch.schema()).map_err(|error| error.to_string())?;
    let checked = checker.check(batch).map_err(|error| error.to_string())?;
    checker.finish().map_err(|error| error.to_string())?;
    Ok(checked)
}

/// Checks one feature column beside a sound key and time.
fn feature(data_type: &str, values: ArrayRef) -> Result<ArrayRef, String> {
    let mut rules = weather_rules();
    rules.columns[2] = column("x", data_type);
    let rows = values.len();
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["JFK"; rows]));
    let times = utc(vec![Some(0); rows]);
    let batch = RecordBatch::try_from_iter([("origin", keys), ("at", times), ("x", values)]).unwrap();
    check(&rules, &batch).map(|batch| batch.column(2).clone())
}

/// Checks an event time column beside a sound key.
fn times(values: ArrayRef) -> Result<Vec<i64>, String> {
    let rows = values.len();
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["JFK"; rows]));
    let temps: ArrayRef = Arc::new(Float64Array::from(vec![1.0; rows]));
    let batch = RecordBatch::try_from_iter([("origin", keys), ("at", values), ("temp", temps)]).unwrap();
    let checked = check(&weather_rules(), &batch)?;
    Ok(checked.column(1).as_primitive::<TimestampMicrosecondType>().values().to_vec())
}

#[test]
fn a_missing_column_is_named_with_what_may_be_meant() {
    let batch = weather(&[("JFK", 0, 1.0)]);
    let mut rules = weather_rules();
    rules.columns[2].name = "temperature".to_owned();
    rules.columns.push(column("wind", "float64"));
    let told = check(&rules, &batch).unwrap_err();
    assert!(
        told.contains("column `temperature` (float64) is missing; is `temp` meant?") || told.contains("`wind`"),
        "{told}"
    );
    assert!(told.contains("column `wind` (float64) is missing"), "{told}");
    assert!(told.contains("no columns `temp`"), "{told}");
}

#[test]
fn extra_columns_are_refused_unless_ignored() {
    let batch = weather(&[("JFK", 0, 1.0)]);
    let mut rules = weather_rules();
    rules.columns.pop();
    assert!(check(&rules, &batch).unwrap_err().contains("`temp`"));
    rules.ignore_extra_columns = true;
    assert_eq!(check(&rules, &batch).unwrap().num_columns(), 2);
}

#[test]
fn optional_columns_may_be_missing_and_are_null() {
    let mut rules = weather_rules();
    rules.columns.push(column("raw", "string"));
    rules.optional.insert("raw".to_owned());
    let checked = check(&rules, &weather(&[("JFK", 0, 1.0)])).unwrap();
    assert_eq!(checked.column(3).null_count(), 1);
}

#[test]
fn nulls_in_keys_and_event_times_are_counted_over_batches() {
    let keys: ArrayRef = Arc::new(StringArray::from(vec![Some("JFK"), None, None, None, None]));
    let temps: ArrayRef = Arc::new(Float64Array::from(vec![1.0; 5]));
    let times = utc(vec![None, Some(1), Some(2), Some(3), Some(4)]);
    let batch = RecordBatch::try_from_iter([("origin", keys), ("at", times), ("temp", temps)]).unwrap();
    let mut checker = Checker::new(&weather_rules(), &batch.schema()).unwrap();
    checker.check(&batch).unwrap();
    checker.check(&batch).unwrap();
    let told = checker.finish().unwrap_err().to_string();
    assert!(
        told.contains("column `origin` must not be null and has 8 nulls (row 2, row 3, row 4 and 5 more)"),
        "{told}"
    );
    assert!(told.contains("column `at` must not be null and has 2 nulls (row 1, row 6)"), "{told}");
}

#[test]
fn a_value_that_does_not_fit_is_told_with_its_row() {
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(1 << 40)]));
    let told = feature("int32", wide).unwrap_err();
    assert!(told.contains("column `x` has 1 value that int32 can't hold exactly (row 3: `1099511627776`)"), "{told}");
    assert!(feature("int64", Arc::new(Float64Array::from(vec![1.5]))).unwrap_err().contains("`1.5`"));
    assert!(feature("int64", Arc::new(Float64Array::from(vec![f64::NAN]))).unwrap_err().contains("NaN"));
    assert!(feature("int64", Arc::new(UInt64Array::from(vec![u64::MAX]))).unwrap_err().contains("row 1"));
    assert!(feature("float64", Arc::new(Int64Array::from(vec![(1 << 53) + 1]))).unwrap_err().contains("row 1"));
    assert!(feature("float32", Arc::new(Float64Array::from(vec![0.1]))).unwrap_err().contains("0.1"));
    assert!(feature("float64", Arc::new(StringArray::from(vec!["1.0"]))).unwrap_err().contains("without loss"));
}

#[test]
fn values_that_fit_are_converted() {
    let ints = feature("int64", Arc::new(Int32Array::from(vec![Some(7), None]))).unwrap();
    assert_eq!(ints.as_ref(), &Int64Array::from(vec![Some(7), None]) as &dyn Array);
    let from_pandas = feature("int64", Arc::new(Float64Array::from(vec![Some(3.0), None]))).unwrap();
    assert_eq!(from_pandas.as_ref(), &Int64Array::from(vec![Some(3), None]) as &dyn Array);
    let narrow = feature("float32", Arc::new(Float64Array::from(vec![0.5, f64::INFINITY, f64::NAN]))).unwrap();
    assert!(narrow.as_primitive::<Float32Type>().value(2).is_nan());
    let words: DictionaryArray<Int8Type> = vec![Some("a"), None, Some("a")].into_iter().collect();
    let words = feature("string", Arc::new(words)).unwrap();
    assert_eq!(words.as_ref(), &StringArray::from(vec![Some("a"), None, Some("a")]) as &dyn Array);
}

#[test]
fn the_bits_of_floats_survive() {
    let odd = [f64::from_bits(0x7ff8_0000_0000_1234), -0.0, f64::NEG_INFINITY, f64::MIN_POSITIVE / 2.0];
    let out = feature("float64", Arc::new(Float64Array::from(odd.to_vec()))).unwrap();
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(out.as_primitive::<arrow::datatypes::Float64Type>().values()), bits(&odd));
}

#[test]
fn finer_times_round_up_and_naive_ones_are_utc() {
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_000, 1_001, -1_001, 0]));
    assert_eq!(times(nanos).unwrap(), [1, 2, -1, 0]);
    let zoned: ArrayRef = Arc::new(TimestampSecondArray::from(vec![1]).with_timezone("+02:00"));
    assert_eq!(times(zoned).unwrap(), [1_000_000]);
    let texts: ArrayRef = Arc::new(StringArray::from(vec![
        "1970-01-01T00:00:01Z",
        "1970-01-01 00:00:01",
        "1970-01-01T02:00:01+02:00",
        "1970-01-01",
        "1970-01-01T00:00:00.0000001Z",
    ]));
    assert_eq!(times(texts).unwrap(), [1_000_000, 1_000_000, 1_000_000, 0, 1]);
}

#[test]
fn times_far_from_now_are_kept_and_impossible_ones_refused() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["1600-02-29T12:00:00Z", "2262-12-31T23:59:59.999999Z"]));
    assert_eq!(times(texts).unwrap(), [-11_670_955_200_000_000, 9_246_182_399_999_999]);
    let beyond: ArrayRef = Arc::new(TimestampSecondArray::from(vec![0, i64::MAX]));
    let told = times(beyond).unwrap_err();
    assert!(told.contains("column `at` has 1 value"), "{told}");
    assert!(told.contains("row 2"), "{told}");
    assert!(times(Arc::new(StringArray::from(vec!["yesterday"]))).unwrap_err().contains("`yesterday`"));
}

#[test]
fn vectors_have_their_length_and_no_holes() {
    let vectors = |values: Vec<Option<Vec<Option<f32>>>>, length| -> ArrayRef {
        Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(values, length))
    };
    let sound = vectors(vec![Some(vec![Some(1.0), Some(2.0)]), None], 2);
    assert_eq!(feature("vector<float32,2>", sound).unwrap().null_count(), 1);
    let holey = vectors(vec![Some(vec![Some(1.0), None])], 2);
    assert!(feature("vector<float32,2>", holey).unwrap_err().contains("row 1"));
    let long = vectors(vec![Some(vec![Some(1.0), Some(2.0), Some(3.0)])], 3);
    assert!(feature("vector<float32,2>", long).is_err());
    let plain: ArrayRef = Arc::new(Float32Array::from(vec![1.0]));
    assert!(feature("vector<float32,2>", plain).unwrap_err().contains("without loss"));
}

#[test]
fn batches_must_keep_the_announced_schema() {
    let batch = weather(&[("JFK", 0, 1.0)]);
    let mut checker = Checker::new(&weather_rules(), &batch.schema()).unwrap();
    assert!(checker.check(&batch.project(&[0, 1]).unwrap()).is_err());
}
