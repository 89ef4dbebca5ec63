//! Preparation that models ask for and SQL lacks. Callable in request-time features and in queries.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Builder, Float64Array, Int64Array, ListArray, ListBuilder, StringArray,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};

/// The earth's mean radius in kilometres (IUGG).
const EARTH_KM: f64 = 6_371.008_8;

type Evaluate = fn(&[ArrayRef]) -> Result<ArrayRef>;

/// The functions' names, in the order of [`functions`].
pub(crate) const NAMES: [&str; 8] = [
    "clip",
    "bucketize",
    "vocabulary_index",
    "one_hot",
    "hash_bucket",
    "standardize",
    "haversine_km",
    "seconds_between",
];

/// All of them.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let list = |of| DataType::List(Arc::new(Field::new_list_field(of, true)));
    let vector = || DataType::List(Arc::new(Field::new("element", DataType::Float32, true)));
    let (double, long, text) = (DataType::Float64, DataType::Int64, DataType::Utf8);
    let (doubles, texts) = (list(DataType::Float64), list(DataType::Utf8));
    let of: [(Vec<DataType>, DataType, Evaluate); 8] = [
        (vec![double.clone(); 3], double.clone(), clip),
        (vec![double.clone(), doubles], long.clone(), bucketize),
        (vec![text.clone(), texts.clone()], long.clone(), vocabulary_index),
        (vec![text.clone(), texts], vector(), one_hot),
        (vec![text, long.clone()], long, hash_bucket),
        (vec![double.clone(); 3], double.clone(), standardize),
        (vec![double.clone(); 4], double.clone(), haversine_km),
        (vec![time(), time()], double, seconds_between),
    ];
    NAMES
        .into_iter()
        .zip(of)
        .map(|(name, (takes, gives, evaluate))| Arc::new(udf(name, takes, gives, evaluate)))
        .collect()
}

fn udf(name: &str, takes: Vec<DataType>, gives: DataType, evaluate: Evaluate) -> ScalarUDF {
    let call = move |args: &[ColumnarValue]| {
        let scalar = args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let values = evaluate(&ColumnarValue::values_to_arrays(args)?)?;
        Ok(if scalar {
            ColumnarValue::Scalar(datafusion::scalar::ScalarValue::try_from_array(&values, 0)?)
        } else {
            ColumnarValue::Array(values)
        })
    };
    create_udf(name, takes, gives, Volatility::Immutable, Arc::new(call))
}

fn wrong<T>(what: impl Into<String>) -> Result<T> {
    Err(DataFusionError::Execution(what.into()))
}

fn doubles(array: &ArrayRef) -> &Float64Array {
    array.as_primitive::<Float64Type>()
}

/// `clip(x, low, high)`: `x`, or the bound it is beyond.
fn clip(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (x, low, high) = (doubles(&args[0]), doubles(&args[1]), doubles(&args[2]));
    let one = |((x, low), high): ((Option<f64>, Option<f64>), Option<f64>)| match (x, low, high) {
        (Some(_), Some(low), Some(high)) if low > high => wrong(format!("clip: {low} is above {high}")),
        (Some(x), Some(low), Some(high)) if !x.is_nan() => Ok(Some(x.max(low).min(high))),
        (x, Some(_), Some(_)) => Ok(x),
        _ => Ok(None),
    };
    Ok(Arc::new(x.iter().zip(low).zip(high).map(one).collect::<Result<Float64Array>>()?))
}

/// `bucketize(x, [b1, b2, …])`: how many of the ascending boundaries are at most `x`; null for NaN.
fn bucketize(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (x, lists) = (doubles(&args[0]), args[1].as_list::<i32>());
    let one = |row: usize| {
        if x.is_null(row) || lists.is_null(row) || x.value(row).is_nan() {
            return Ok(None);
        }
        let boundaries = lists.value(row);
        let boundaries = doubles(&boundaries).values();
        if !boundaries.is_sorted() {
            return wrong("bucketize: the boundaries must ascend");
        }
        Ok(Some(boundaries.partition_point(|boundary| *boundary <= x.value(row)) as i64))
    };
    Ok(Arc::new((0..x.len()).map(one).collect::<Result<Int64Array>>()?))
}

/// Where a text is in its row's vocabulary; the vocabulary's length for a text that is not in it, `None` for null.
fn known(texts: &StringArray, vocabularies: &ListArray, row: usize) -> Option<(usize, usize)> {
    if texts.is_null(row) || vocabularies.is_null(row) {
        return None;
    }
    let vocabulary = vocabularies.value(row);
    let vocabulary = vocabulary.as_string::<i32>();
    let at = vocabulary.iter().position(|word| word == Some(texts.value(row)));
    Some((at.unwrap_or(vocabulary.len()), vocabulary.len()))
}

/// `vocabulary_index(text, ['a', 'b', …])`: where the text is in the list, from 0; the list's length for any other.
fn vocabulary_index(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (texts, lists) = (args[0].as_string::<i32>(), args[1].as_list::<i32>());
    let one = |row| known(texts, lists, row).map(|(at, _)| at as i64);
    Ok(Arc::new((0..texts.len()).map(one).collect::<Int64Array>()))
}

/// `one_hot(text, ['a', 'b', …])`: 1 at the text's place and 0 elsewhere, with one more place at the end for any other text.
fn one_hot(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (texts, lists) = (args[0].as_string::<i32>(), args[1].as_list::<i32>());
    let field = Field::new("element", DataType::Float32, true);
    let mut builder = ListBuilder::new(Float32Builder::new()).with_field(field);
    for row in 0..texts.len() {
        match known(texts, lists, row) {
            None => builder.append_null(),
            Some((at, length)) => {
                (0..=length).for_each(|place| builder.values().append_value(f32::from(u8::from(place == at))));
                builder.append(true);
            }
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// `hash_bucket(text, n)`: one of `n` buckets, from 0. FNV-1a of the text's bytes, finished as MurmurHash3 does (Appleby's
/// fmix64), modulo `n`: models keep what they learnt, so this never changes.
fn hash_bucket(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (texts, buckets) = (args[0].as_string::<i32>(), args[1].as_primitive::<Int64Type>());
    let one = |(text, buckets): (Option<&str>, Option<i64>)| match (text, buckets) {
        (Some(_), Some(buckets)) if buckets < 1 => {
            wrong(format!("hash_bucket: {buckets} buckets; there is at least one"))
        }
        (Some(text), Some(buckets)) => Ok(Some((stable_hash(text.as_bytes()) % buckets.cast_unsigned()).cast_signed())),
        _ => Ok(None),
    };
    Ok(Arc::new(texts.iter().zip(buckets).map(one).collect::<Result<Int64Array>>()?))
}

fn stable_hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold);
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

/// `standardize(x, mean, deviation)`: how many standard deviations `x` is from the mean.
fn standardize(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (x, means, deviations) = (doubles(&args[0]), doubles(&args[1]), doubles(&args[2]));
    let one = |((x, mean), deviation): ((Option<f64>, Option<f64>), Option<f64>)| match (x, mean, deviation) {
        (Some(_), Some(_), Some(deviation)) if deviation <= 0.0 => {
            wrong(format!("standardize: a standard deviation is above 0, not {deviation}"))
        }
        (Some(x), Some(mean), Some(deviation)) => Ok(Some((x - mean) / deviation)),
        _ => Ok(None),
    };
    Ok(Arc::new(x.iter().zip(means).zip(deviations).map(one).collect::<Result<Float64Array>>()?))
}

/// `haversine_km(latitude1, longitude1, latitude2, longitude2)`: the great-circle distance of two places given in degrees,
/// by the haversine formula.
fn haversine_km(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [lat1, lon1, lat2, lon2] = [0, 1, 2, 3].map(|at| doubles(&args[at]));
    let one = |row: usize| {
        let there = [lat1, lon1, lat2, lon2].iter().all(|array| array.is_valid(row));
        there.then(|| {
            let [lat1, lon1, lat2, lon2] = [lat1, lon1, lat2, lon2].map(|array| array.value(row).to_radians());
            let half = |from: f64, to: f64| ((to - from) / 2.0).sin().powi(2);
            let chord = half(lat1, lat2) + lat1.cos() * lat2.cos() * half(lon1, lon2);
            2.0 * EARTH_KM * chord.sqrt().min(1.0).asin()
        })
    };
    Ok(Arc::new((0..lat1.len()).map(one).collect::<Float64Array>()))
}

/// `seconds_between(from, to)`: negative where `to` is the earlier.
fn seconds_between(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [from, to] = [0, 1].map(|at| args[at].as_primitive::<TimestampMicrosecondType>());
    let one = |(from, to): (Option<i64>, Option<i64>)| Some((i128::from(to?) - i128::from(from?)) as f64 / 1e6);
    Ok(Arc::new(from.iter().zip(to).map(one).collect::<Float64Array>()))
}
