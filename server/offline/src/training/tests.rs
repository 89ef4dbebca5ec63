//! Values have one byte form however Arrow holds them, and rows are chosen by their content alone: the decisions are held against
//! the rules written out again, over batch sizes, partitions and orders of rows.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, DictionaryArray, Float64Array, Int8Array, Int32Array,
    Int64Array, LargeStringArray, ListArray, RecordBatch, StringArray, StringViewArray, StructArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, Schema};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::SessionContext;
use tidegate_schemas::digest;
use tidegate_schemas::error::ErrorKind;

use super::digest::{Digester, TableDigest};
use super::{Sample, Split, canonical, choose};
use crate::runtime::{Runtime, Settings};

const DAY: i64 = 86_400_000_000;

fn bytes(column: &ArrayRef) -> Vec<Vec<u8>> {
    let write = canonical::writer(column).unwrap();
    let row = |row| {
        let mut out = Vec::new();
        write(row, &mut out);
        out
    };
    (0..column.len()).map(row).collect()
}

#[test]
fn a_value_has_one_byte_form_in_every_encoding() {
    let check = |name: &str, columns: Vec<ArrayRef>| {
        let expect = bytes(&columns[0]);
        for column in &columns {
            assert_eq!(bytes(column), expect, "{name} as {}", column.data_type());
            // A slice starts elsewhere in its buffers.
            assert_eq!(bytes(&column.slice(1, column.len() - 1)), expect[1..], "{name} as {}", column.data_type());
        }
    };
    let texts = [Some("JFK"), None, Some(""), Some("JFK")];
    check(
        "text",
        vec![
            Arc::new(StringArray::from(texts.to_vec())),
            Arc::new(LargeStringArray::from(texts.to_vec())),
            Arc::new(StringViewArray::from(texts.to_vec())),
            Arc::new(texts.into_iter().collect::<DictionaryArray<Int32Type>>()),
        ],
    );
    check(
        "integers",
        vec![
            Arc::new(Int8Array::from(vec![Some(-1), None, Some(7)])),
            Arc::new(Int32Array::from(vec![Some(-1), None, Some(7)])),
            Arc::new(Int64Array::from(vec![Some(-1), None, Some(7)])),
        ],
    );
    check(
        "times",
        vec![
            Arc::new(TimestampMillisecondArray::from(vec![Some(-1), None, Some(7)])),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(-1_000), None, Some(7_000)]).with_timezone("UTC")),
            Arc::new(TimestampNanosecondArray::from(vec![Some(-1_000_000), None, Some(7_000_000)])),
        ],
    );
    let lists = || ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    check("lists", vec![Arc::new(lists()), arrow::compute::cast(&lists(), &large_list()).unwrap()]);
}

fn large_list() -> DataType {
    DataType::LargeList(Arc::new(Field::new("item", DataType::Int32, true)))
}

#[test]
fn different_values_have_different_bytes() {
    let structs = |name: &str| -> ArrayRef {
        let field = Arc::new(Field::new(name, DataType::Int64, true));
        Arc::new(StructArray::from(vec![(field, Arc::new(Int64Array::from(vec![1])) as ArrayRef)]))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, f64::from_bits(f64::NAN.to_bits() ^ 1), f64::INFINITY])),
        Arc::new(Int64Array::from(vec![0, 1, -1])),
        Arc::new(UInt64Array::from(vec![u64::MAX])),
        Arc::new(BooleanArray::from(vec![false, true])),
        Arc::new(StringArray::from(vec![None, Some(""), Some("0"), Some("00")])),
        Arc::new(Date32Array::from(vec![0, 1])),
        Arc::new(TimestampMicrosecondArray::from(vec![0, 1])),
        structs("a"),
        structs("b"),
    ];
    let all: Vec<Vec<u8>> = columns.iter().flat_map(bytes).collect();
    let distinct: std::collections::BTreeSet<&Vec<u8>> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}

/// The byte form is persisted in seals and decides samples. Change nothing here.
#[test]
fn the_byte_form_is_frozen() {
    let check = |column: ArrayRef, expect: &[&str]| {
        let found: Vec<String> = bytes(&column).iter().map(|bytes| digest::hex(bytes)).collect();
        assert_eq!(found, expect, "{}: old seals would no longer verify", column.data_type());
    };
    check(Arc::new(BooleanArray::from(vec![Some(true), None])), &["0101", "00"]);
    check(Arc::new(Int32Array::from(vec![-2])), &["02feffffffffffffff"]);
    check(Arc::new(UInt64Array::from(vec![1 << 63])), &["030000000000000080"]);
    check(Arc::new(Float64Array::from(vec![-0.0])), &["050000000000000080"]);
    check(Arc::new(StringArray::from(vec!["ab"])), &["0602000000000000006162"]);
    check(Arc::new(TimestampMicrosecondArray::from(vec![1])), &["08e8030000000000000000000000000000"]);
    check(Arc::new(Date32Array::from(vec![1])), &["090100000000000000"]);
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)])]);
    check(Arc::new(list), &["0c0100000000000000020100000000000000"]);
}

fn fingerprint(batches: &[RecordBatch]) -> TableDigest {
    let mut digester = Digester::new(&batches[0].schema());
    batches.iter().for_each(|batch| digester.update(batch).unwrap());
    digester.finish()
}

#[test]
fn a_fingerprint_is_of_values_not_of_batches() {
    let whole = rows(100);
    let expect = fingerprint(std::slice::from_ref(&whole));
    for size in [1, 2, 7, 49, 50, 51, 100] {
        assert_eq!(fingerprint(&cut(&whole, size)), expect, "batches of {size}");
    }
    let origins: DictionaryArray<Int32Type> = whole["origin"].as_string::<i32>().iter().collect();
    let of = |name: &'static str| (name, whole[name].clone());
    let encoded = [of("id"), ("origin", Arc::new(origins) as ArrayRef), of("event_timestamp"), of("label")];
    let encoded = RecordBatch::try_from_iter(encoded).unwrap();
    assert_eq!(fingerprint(&[encoded]), expect);
    // The digest of everything is a frozen function of the rows.
    assert_eq!(expect.digest, "e07cbc92d284ded69b6150c0f248e6433137b8a67003f8de28056ca7ed084ede");

    let shorter = fingerprint(&[whole.slice(0, 99)]);
    assert!(shorter.rows == 99 && shorter.digest != expect.digest);
    let reversed = take_record_batch(&whole, &Int64Array::from_iter_values((0..100).rev())).unwrap();
    let reversed = fingerprint(&[reversed]);
    let differs = |at: usize| expect.columns[at].digest != reversed.columns[at].digest;
    assert_eq!((0..4).map(differs).collect::<Vec<_>>(), [true; 4]);
}

/// Rows of (id, origin, event_timestamp, label); every tenth label is null, some times are null, some rows are the same.
fn rows(count: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new((0..count).map(|at| at / 2).collect::<Int64Array>());
    let origins: ArrayRef =
        Arc::new((0..count).map(|at| Some(["JFK", "EWR"][at as usize / 2 % 2])).collect::<StringArray>());
    let time = |at: i64| (at % 13 != 0).then_some(at / 2 * DAY / 4);
    let times: ArrayRef = Arc::new((0..count).map(time).collect::<TimestampMicrosecondArray>().with_timezone("UTC"));
    let labels: ArrayRef =
        Arc::new((0..count).map(|at| (at / 2 % 10 != 0).then_some(at / 2 % 3 == 0)).collect::<BooleanArray>());
    RecordBatch::try_from_iter([("id", ids), ("origin", origins), ("event_timestamp", times), ("label", labels)])
        .unwrap()
}

fn cut(whole: &RecordBatch, size: usize) -> Vec<RecordBatch> {
    (0..whole.num_rows().div_ceil(size))
        .map(|at| whole.slice(at * size, size.min(whole.num_rows() - at * size)))
        .collect()
}

fn spine(batches: Vec<RecordBatch>, partitions: usize) -> LogicalPlan {
    let schema = batches[0].schema();
    let mut dealt = vec![Vec::new(); partitions];
    // Each partition one stretch of the rows.
    let each = batches.len().div_ceil(partitions);
    for (at, batch) in batches.into_iter().enumerate() {
        dealt[at / each].push(batch);
    }
    let table = MemTable::try_new(schema, dealt).unwrap();
    LogicalPlanBuilder::scan("spine", provider_as_source(Arc::new(table)), None).unwrap().build().unwrap()
}

async fn run(session: &SessionContext, plan: LogicalPlan) -> RecordBatch {
    let frame = session.execute_logical_plan(plan).await.unwrap();
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batches = frame.collect().await.unwrap();
    let schema = batches.first().map_or(schema, RecordBatch::schema);
    concat_batches(&schema, &batches).unwrap()
}

/// Rows as text, sorted: several partitions give theirs in any order.
fn lines(batch: &RecordBatch) -> Vec<String> {
    let text = crate::fixtures::draw(std::slice::from_ref(batch));
    let mut lines: Vec<String> = text.lines().skip(3).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The rules of a sample and a split, written out for these rows.
fn expected(whole: &RecordBatch, cuts: &[i64], embargo: i64, seed: i64) -> Vec<(i64, Option<&'static str>, f64)> {
    let (ids, labels) = (whole["id"].as_primitive::<Int64Type>(), whole["label"].as_boolean());
    let times = whole["event_timestamp"].as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    let mut kept = Vec::new();
    for row in 0..whole.num_rows() {
        let time = times.is_valid(row).then(|| times.value(row));
        if time.is_some_and(|time| cuts.iter().any(|cut| time < *cut && time >= cut - embargo)) {
            continue;
        }
        let rare = labels.is_valid(row) && !labels.value(row);
        if rare && hash(whole, row, seed) >= 1 << 62 {
            continue;
        }
        let part = time.map(|time| match cuts {
            [first, _] if time < *first => "train",
            [_, second] if time < *second => "validation",
            [only] if time < *only => "train",
            _ => "test",
        });
        kept.push((ids.value(row), part, if rare { 4.0 } else { 1.0 }));
    }
    kept
}

fn hash(whole: &RecordBatch, row: usize, seed: i64) -> u64 {
    let mut content = seed.to_le_bytes().to_vec();
    for name in ["event_timestamp", "id", "label", "origin"] {
        content.extend((name.len() as u64).to_le_bytes());
        content.extend(name.bytes());
        content.extend(&bytes(&whole[name])[row]);
    }
    u64::from_str_radix(&digest::of(&content)[..16], 16).unwrap()
}

fn chosen(batch: &RecordBatch) -> Vec<(i64, Option<String>, f64)> {
    let (ids, parts) = (batch["id"].as_primitive::<Int64Type>(), batch["split"].as_string::<i32>());
    let weights = batch["sample_weight"].as_primitive::<Float64Type>();
    let part = |row: usize| parts.is_valid(row).then(|| parts.value(row).to_owned());
    (0..batch.num_rows()).map(|row| (ids.value(row), part(row), weights.value(row))).collect()
}

#[tokio::test]
async fn the_same_rows_for_any_batch_size_and_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let whole = rows(400);
    let (cuts, embargo) = (vec![10 * DAY, 30 * DAY], 2 * DAY);
    let split = Split::new(cuts.clone(), embargo).unwrap();
    let sample = Sample::new("label", vec![("false".to_owned(), 0.25)], 7).unwrap();
    let expect = expected(&whole, &cuts, embargo, 7);
    assert!((120..280).contains(&expect.len()), "{}", expect.len());
    let mut all = Vec::new();
    for batch_rows in [1, 2, 7, 49, 50, 51, 100] {
        for threads in 1..=4 {
            let settings = Settings {
                memory_bytes: 64 << 20,
                spill_dir: folder.path().join("spill"),
                spill_bytes: 1 << 20,
                threads,
                batch_rows,
            };
            let session = Runtime::new(&settings).unwrap().session();
            let plan = choose(spine(cut(&whole, batch_rows), threads), "event_timestamp", Some(&split), Some(&sample));
            let found = run(&session, plan.unwrap()).await;
            if threads == 1 {
                let rows = chosen(&found);
                let found: Vec<_> = rows.iter().map(|(id, part, weight)| (*id, part.as_deref(), *weight)).collect();
                assert_eq!(found, expect, "batches of {batch_rows}: rows and order");
            }
            all.push((batch_rows, threads, lines(&found)));
        }
    }
    for (batch_rows, threads, found) in &all {
        assert_eq!(found, &all[0].2, "batches of {batch_rows} on {threads} threads");
    }
    // Neither the order of the rows nor that of the columns matters.
    let session = Runtime::new(&Settings {
        memory_bytes: 64 << 20,
        spill_dir: folder.path().join("spill"),
        spill_bytes: 1 << 20,
        threads: 1,
        batch_rows: 64,
    });
    let reversed = take_record_batch(&whole, &Int64Array::from_iter_values((0..400).rev())).unwrap();
    let reversed = reversed.project(&[3, 2, 1, 0]).unwrap();
    let plan = choose(spine(vec![reversed], 1), "event_timestamp", Some(&split), Some(&sample)).unwrap();
    let mut found = chosen(&run(&session.unwrap().session(), plan).await);
    found.reverse();
    assert_eq!(found.iter().map(|(id, part, weight)| (*id, part.as_deref(), *weight)).collect::<Vec<_>>(), expect);
}

#[tokio::test]
async fn another_seed_draws_other_rows_and_all_are_kept_at_one() {
    let session = SessionContext::new();
    let draw = async |fraction: f64, seed: i64| {
        let sample = Sample::new("label", vec![("false".to_owned(), fraction)], seed).unwrap();
        run(&session, choose(spine(vec![rows(400)], 1), "event_timestamp", None, Some(&sample)).unwrap()).await
    };
    assert_eq!(draw(1.0, 1).await.num_rows(), 400);
    assert_ne!(lines(&draw(0.5, 1).await), lines(&draw(0.5, 2).await));
    // What a smaller fraction keeps, a larger one keeps too.
    let ids = |batch: RecordBatch| batch["id"].as_primitive::<Int64Type>().values().to_vec();
    let (small, large) = (ids(draw(0.1, 1).await), ids(draw(0.6, 1).await));
    assert!(small.len() < large.len() && small.iter().all(|id| large.contains(id)));
}

#[test]
fn edges_of_cuts_and_embargoes() {
    let split = Split::new(vec![10, 20], 3).unwrap();
    let check = |micros: i64, part: &str, embargoed: bool| {
        let nanos = i128::from(micros) * 1_000;
        assert_eq!((split.part(nanos), split.embargoes(nanos)), (part, embargoed), "{micros}");
    };
    check(6, "train", false);
    check(7, "train", true);
    check(9, "train", true);
    check(10, "validation", false);
    check(17, "validation", true);
    check(20, "test", false);
    // A nanosecond before the cut is before it: a spine's times round down.
    assert_eq!(split.part(9_999), "train");
    assert_eq!(Split::new(vec![10], 0).unwrap().part(10_000), "test");
}

#[test]
fn what_can_not_be_chosen_is_refused() {
    let refused = |error: super::Error, expect: &str| {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(expect), "{error}");
    };
    refused(Split::new(vec![], 0).unwrap_err(), "one cut");
    refused(Split::new(vec![1, 2, 3], 0).unwrap_err(), "not 3");
    refused(Split::new(vec![2, 2], 0).unwrap_err(), "ascend");
    refused(Split::new(vec![2], -1).unwrap_err(), "negative");
    let keep = |fraction| Sample::new("label", vec![("false".to_owned(), fraction)], 0);
    for fraction in [0.0, -0.1, 1.5, f64::NAN] {
        refused(keep(fraction).unwrap_err(), "above 0 and at most 1");
    }
    refused(Sample::new("label", vec![], 0).unwrap_err(), "fraction");
    let twice = vec![("false".to_owned(), 0.1), ("false".to_owned(), 0.2)];
    refused(Sample::new("label", twice, 0).unwrap_err(), "two fractions");

    let sample = |column: &str, value: &str| Sample::new(column, vec![(value.to_owned(), 0.5)], 0).unwrap();
    let split = Split::new(vec![0], 0).unwrap();
    let spine = || spine(vec![rows(4)], 1);
    let error = |sample: Sample| choose(spine(), "event_timestamp", None, Some(&sample)).unwrap_err().to_string();
    assert!(error(sample("lable", "false")).contains("did you mean `label`"));
    assert!(error(sample("label", "0")).contains("`0` is no bool"));
    assert!(error(sample("id", "x")).contains("`x` is no int64"));
    let error = choose(spine(), "origin", Some(&split), None).unwrap_err();
    assert!(error.to_string().contains("no time in `origin`"), "{error}");
    let taken = LogicalPlanBuilder::from(spine())
        .project([datafusion::prelude::col("id").alias("split"), datafusion::prelude::col("event_timestamp")])
        .unwrap();
    let error = choose(taken.build().unwrap(), "event_timestamp", Some(&split), None).unwrap_err();
    assert!(error.to_string().contains("`split` already"), "{error}");
}

#[tokio::test]
async fn a_fraction_is_of_a_value_of_the_columns_type() {
    let session = SessionContext::new();
    let check = async |column: &str, value: &str, expect: usize| {
        let sample = Sample::new(column, vec![(value.to_owned(), 1e-18)], 0).unwrap();
        let plan = choose(spine(vec![rows(40)], 1), "event_timestamp", None, Some(&sample)).unwrap();
        assert_eq!(40 - run(&session, plan).await.num_rows(), expect, "{column} = {value}");
    };
    check("origin", "JFK", 20).await;
    check("origin", "LGA", 0).await;
    check("id", "3", 2).await;
    check("event_timestamp", "1970-01-01T06:00:00Z", 2).await;
}

#[test]
fn types_are_named_by_their_values() {
    let check = |data_type: DataType, expect: &str| assert_eq!(canonical::type_name(&data_type), expect);
    check(DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8View)), "string");
    check(large_list(), "list<int32>");
    check(DataType::Int16, "int32");
    check(DataType::UInt64, "uint64");
    check(
        tidegate_schemas::types::DataType::Map(Box::new(tidegate_schemas::types::DataType::Bool)).to_arrow(),
        "map<string,bool>",
    );
    let schema = Schema::new(vec![Field::new("a", DataType::Utf8, true)]);
    assert_eq!(Digester::new(&schema).finish().rows, 0);
}
