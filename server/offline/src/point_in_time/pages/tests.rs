//! Pages against parquet's own Arrow reader: every type, encoding, page version and compression, with and without nulls,
//! for random choices of rows; and bytes that were damaged, which may give an error and nothing worse.
//! `TIDEGATE_CASES` widens, `TIDEGATE_SEED` repeats; a failure prints the seed of its case.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    UInt32Array,
};
use arrow::compute::{concat, take};
use arrow::datatypes::DataType;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnPath;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};

use super::{Chunk, Rows, readable};
use crate::point_in_time::dense::{Dense, physical};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn each_seed(cases: u64, check: impl Fn(u64, &mut StdRng)) {
    let seed = setting("TIDEGATE_SEED", 0x9a6e);
    let mut seeds = StdRng::seed_from_u64(seed);
    for case in 0..setting("TIDEGATE_CASES", cases) {
        let seed = if case == 0 { seed } else { seeds.next_u64() };
        check(seed, &mut StdRng::seed_from_u64(seed));
    }
}

/// A column of random values: few distinct ones, or many.
fn column(rng: &mut StdRng, rows: usize) -> ArrayRef {
    let distinct = [1, 3, 200, 1 << 40].choose(rng).copied().unwrap_or(3);
    let nulls = [0.0, 0.0, 0.02, 0.5, 1.0].choose(rng).copied().unwrap_or(0.0);
    let kind = rng.random_range(0..6);
    let mut cell = || (!rng.random_bool(nulls)).then(|| rng.random_range(-distinct..distinct));
    let cells: Vec<Option<i64>> = (0..rows).map(|_| cell()).collect();
    match kind {
        0 => Arc::new(cells.iter().map(|cell| cell.map(|n| n as i32)).collect::<Int32Array>()),
        1 => Arc::new(cells.iter().map(|cell| cell.map(|n| n.wrapping_mul(0x1_0001))).collect::<Int64Array>()),
        2 => Arc::new(cells.iter().map(|cell| cell.map(|n| n as f32 / 7.0)).collect::<Float32Array>()),
        3 => Arc::new(cells.iter().map(|cell| cell.map(|n| n as f64 / 7.0)).collect::<Float64Array>()),
        4 => Arc::new(cells.iter().map(|cell| cell.map(|n| n % 2 == 0)).collect::<BooleanArray>()),
        _ => Arc::new(
            cells
                .iter()
                .map(|cell| cell.map(|n| format!("é{n}").repeat((n % 3 + 3) as usize)))
                .collect::<StringArray>(),
        ),
    }
}

fn write(rng: &mut StdRng, array: &ArrayRef) -> Bytes {
    let integers = array.data_type().is_integer();
    let mut properties = WriterProperties::builder()
        .set_data_page_row_count_limit(rng.random_range(1..200))
        .set_write_batch_size(rng.random_range(1..64))
        .set_dictionary_enabled(rng.random_bool(0.6))
        // Small enough that a column falls back from its dictionary in the middle.
        .set_dictionary_page_size_limit(*[1 << 20, 300].choose(rng).unwrap_or(&300))
        .set_writer_version(if rng.random_bool(0.5) { WriterVersion::PARQUET_1_0 } else { WriterVersion::PARQUET_2_0 })
        .set_compression(
            [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::LZ4_RAW][rng.random_range(0..3)],
        );
    let delta = integers && rng.random_bool(0.5);
    let encoding = if delta { Encoding::DELTA_BINARY_PACKED } else { Encoding::PLAIN };
    if delta || array.data_type() != &DataType::Boolean && rng.random_bool(0.7) {
        properties = properties.set_column_encoding(ColumnPath::from("x"), encoding);
    }
    let batch = RecordBatch::try_from_iter_with_nullable([(
        "x",
        array.clone(),
        array.null_count() > 0 || rng.random_bool(0.5),
    )]);
    let batch = batch.expect("batch");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties.build())).expect("writer");
    writer.write(&batch).expect("write");
    writer.close().expect("close");
    bytes.into()
}

fn chosen(rng: &mut StdRng, rows: usize) -> Vec<u32> {
    let share = [1.0, 0.5, 0.03].choose(rng).copied().unwrap_or(1.0);
    (0..rows as u32).filter(|_| rng.random_bool(share)).collect()
}

/// Reads the chosen rows; `None` where pages are not for this column, `Err` where they are broken.
fn read(bytes: &Bytes, array: &ArrayRef, rows: &Rows<'_>) -> Option<parquet::errors::Result<ArrayRef>> {
    let file = SerializedFileReader::new(bytes.clone()).ok()?;
    let group = file.metadata().row_groups().first()?;
    if !readable(group, 0, physical(array.data_type())?) {
        return None;
    }
    let mut dense = Dense::new(array.data_type(), 0);
    let read = Chunk::open(Arc::new(bytes.clone()), group, 0).and_then(|mut chunk| dense.read(&mut chunk, rows));
    Some(read.map(|()| {
        let arrays = dense.finish().expect("arrays");
        match arrays.as_slice() {
            [] => array.slice(0, 0),
            arrays => concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>()).expect("concat"),
        }
    }))
}

#[test]
fn pages_give_what_the_arrow_reader_gives() {
    each_seed(1_000, |seed, rng| {
        let rows = rng.random_range(1..1_500);
        let array = column(rng, rows);
        let bytes = write(rng, &array);
        let whole = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).expect("reader").with_batch_size(rows);
        let whole = whole.build().expect("reader").next().expect("batch").expect("batch").column(0).clone();
        let wanted = chosen(rng, rows);
        let expected = take(&whole, &UInt32Array::from(wanted.clone()), None).expect("take");
        let again = format!("repeat with TIDEGATE_CASES=1 TIDEGATE_SEED={seed}");
        let Some(got) = read(&bytes, &array, &Rows::Some(&wanted)) else {
            // The one encoding of these that is not read here, and the one type that has it.
            return assert_eq!(array.data_type(), &DataType::Utf8, "{again}");
        };
        assert_eq!(&got.expect(&again), &expected, "{again}");
        let (first, end) = (rng.random_range(0..rows), rng.random_range(0..=rows));
        let range = first.min(end)..end.max(first);
        let got = read(&bytes, &array, &Rows::All(range.clone())).expect("readable").expect(&again);
        assert_eq!(&got, &whole.slice(range.start, range.len()), "{again}");
    });
}

#[test]
fn damaged_pages_are_errors_and_nothing_worse() {
    each_seed(3_000, |_, rng| {
        let rows = rng.random_range(1..600);
        let array = column(rng, rows);
        let mut bytes = write(rng, &array).to_vec();
        for _ in 0..rng.random_range(1..4) {
            // The pages, not the footer, which is parquet's to read.
            let at = rng.random_range(4..bytes.len() / 2);
            bytes[at] ^= 1 << rng.random_range(0..8);
        }
        let _ = read(&bytes.into(), &array, &Rows::Some(&chosen(rng, rows)));
    });
}

#[test]
fn a_page_without_a_wanted_row_is_passed_over() {
    let array: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
    let properties = WriterProperties::builder().set_data_page_row_count_limit(100).set_write_batch_size(100);
    let batch = RecordBatch::try_from_iter([("x", array)]).expect("batch");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties.build())).expect("writer");
    writer.write(&batch).expect("write");
    writer.close().expect("close");
    let bytes = Bytes::from(bytes);
    let file = SerializedFileReader::new(bytes.clone()).expect("file");
    let mut chunk = Chunk::open(Arc::new(bytes), file.metadata().row_group(0), 0).expect("chunk");
    let mut dense = Dense::new(&DataType::Int64, 2);
    dense.read(&mut chunk, &Rows::Some(&[150, 707])).expect("read");
    assert_eq!(chunk.pages(), (2, 6), "what lies after the last wanted row is not even looked at");
}
