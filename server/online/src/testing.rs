//! What the tests share: seeds, a temporary store, random values and the Arrow columns they make.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array,
    ListArray, MapArray, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::DataType as Arrow;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidegate_schemas::definition::Column;
use tidegate_schemas::types::DataType;

use crate::layout::ViewLayout;
use crate::store::{Settings, Store};

/// How many random cases to run: `TIDEGATE_CASES`, or what the test says.
pub(crate) fn cases(default: u64) -> u64 {
    number("TIDEGATE_CASES", default)
}

/// A count from the environment, or what the test says.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}

/// Runs `test` for each case with its own generator; a failing case prints the seed that repeats it alone.
pub(crate) fn for_each_seed(count: u64, test: impl Fn(&mut StdRng, u64)) {
    let chosen: Option<u64> = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = chosen.map_or(0..count, |seed| seed..seed + 1);
    for seed in seeds {
        let _printed_on_failure = Seed(seed);
        test(&mut StdRng::seed_from_u64(seed), seed);
    }
}

/// Prints itself when a test fails.
pub(crate) struct Seed(pub(crate) u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with TIDEGATE_SEED={}", self.0);
        }
    }
}

/// A store in a folder that goes away with it.
pub(crate) struct TempStore {
    store: Option<Arc<Store>>,
    settings: Settings,
    folder: tempfile::TempDir,
}

impl TempStore {
    pub(crate) fn new(settings: Settings) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Some(Store::open(folder.path(), &settings).expect("a new store"));
        Self { store, settings, folder }
    }

    /// Opens it again with other settings.
    pub(crate) fn set(&mut self, settings: Settings) {
        self.settings = settings;
        self.reopen();
    }

    pub(crate) fn reopen(&mut self) {
        let store = self.store.take().expect("an open store");
        assert_eq!(Arc::strong_count(&store), 1, "somebody still holds the store");
        drop(store);
        self.store = Some(Store::open(self.folder.path(), &self.settings).expect("the store opens again"));
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.folder.path()
    }
}

impl std::ops::Deref for TempStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        self.store.as_ref().expect("an open store")
    }
}

/// Columns from `name: type` pairs.
pub(crate) fn columns(columns: &[(&str, &str)]) -> Vec<Column> {
    let column = |(name, data_type): &(&str, &str)| Column {
        name: (*name).to_owned(),
        data_type: data_type.parse().expect("a type"),
    };
    columns.iter().map(column).collect()
}

/// A view of project `p`, entity `user` unless there are no keys.
pub(crate) fn view(name: &str, keys: &[(&str, &str)], features: &[(&str, &str)]) -> ViewLayout {
    ViewLayout {
        project: "p".to_owned(),
        view: name.to_owned(),
        entities: keys.iter().map(|(key, _)| format!("entity of {key}")).collect(),
        keys: columns(keys),
        features: columns(features),
        aggregates: Vec::new(),
    }
}

pub(crate) fn strings<'a>(values: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

pub(crate) fn ints(values: impl IntoIterator<Item = impl Into<Option<i64>>>) -> ArrayRef {
    Arc::new(values.into_iter().map(Into::into).collect::<Int64Array>())
}

pub(crate) fn times(values: impl IntoIterator<Item = impl Into<Option<i64>>>) -> TimestampMicrosecondArray {
    values.into_iter().map(Into::into).collect()
}

/// One value, independent of how the store writes it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Bool(bool),
    Int(i64),
    /// Bits of a float.
    Float32(u32),
    Float64(u64),
    Text(String),
    Bytes(Vec<u8>),
    Decimal(i128),
    Items(Vec<Option<Cell>>),
    Entries(Vec<(String, Option<Cell>)>),
}

/// A random value of a type, edges included.
pub(crate) fn random_cell(rng: &mut StdRng, data_type: &DataType) -> Cell {
    let float32 = |rng: &mut StdRng| match rng.random_range(0..8) {
        0 => f32::NAN.to_bits() | rng.random_range(0..1 << 20),
        1 => (-0.0_f32).to_bits(),
        2 => f32::NEG_INFINITY.to_bits(),
        _ => rng.random::<u32>(),
    };
    match data_type {
        DataType::Bool => Cell::Bool(rng.random()),
        DataType::Int32 | DataType::Date => Cell::Int(i64::from(random_int(rng) as i32)),
        DataType::Int64 | DataType::Timestamp => Cell::Int(random_int(rng)),
        DataType::Float32 => Cell::Float32(float32(rng)),
        DataType::Float64 => Cell::Float64(match rng.random_range(0..8) {
            0 => f64::NAN.to_bits() | rng.random_range(0..1 << 40),
            1 => (-0.0_f64).to_bits(),
            2 => f64::INFINITY.to_bits(),
            _ => rng.random(),
        }),
        DataType::String | DataType::Json => Cell::Text(random_text(rng)),
        DataType::Bytes => Cell::Bytes(random_text(rng).into_bytes().into_iter().map(|byte| byte ^ 0x80).collect()),
        DataType::Decimal(precision, _) => {
            let limit = 10_i128.pow(u32::from(*precision)) - 1;
            Cell::Decimal(rng.random_range(-limit..=limit))
        }
        DataType::Vector(length) => Cell::Items((0..*length).map(|_| Some(Cell::Float32(float32(rng)))).collect()),
        DataType::List(of) => {
            let count = rng.random_range(0..12);
            Cell::Items(random_cells(rng, of, count))
        }
        DataType::Struct(fields) => Cell::Items(fields.iter().flat_map(|(_, of)| random_cells(rng, of, 1)).collect()),
        DataType::Map(of) => {
            let count = rng.random_range(0..5);
            let keys: Vec<String> = (0..count).map(|_| random_text(rng)).collect();
            Cell::Entries(keys.into_iter().zip(random_cells(rng, of, count)).collect())
        }
    }
}

/// Random values, some null.
pub(crate) fn random_cells(rng: &mut StdRng, data_type: &DataType, count: usize) -> Vec<Option<Cell>> {
    (0..count).map(|_| rng.random_bool(0.8).then(|| random_cell(rng, data_type))).collect()
}

pub(crate) fn random_int(rng: &mut StdRng) -> i64 {
    match rng.random_range(0..4) {
        0 => rng.random_range(-3..=3),
        1 => [i64::MIN, i64::MAX, -1, 0][rng.random_range(0..4)],
        _ => rng.random(),
    }
}

/// Short texts over few characters, so that equal ones, prefixes and zero bytes are common.
pub(crate) fn random_text(rng: &mut StdRng) -> String {
    let length = rng.random_range(0..6);
    (0..length).map(|_| ['\0', '\u{1}', 'a', 'b', 'é', '\u{10FFFF}'][rng.random_range(0..6)]).collect()
}

/// The Arrow column of some values, built another way than the store decodes them.
pub(crate) fn column(data_type: &DataType, cells: &[Option<Cell>]) -> ArrayRef {
    let nulls = Some(NullBuffer::from_iter(cells.iter().map(Option::is_some)));
    let int = |cell: &Option<Cell>| match cell {
        Some(Cell::Int(value)) => Some(*value),
        _ => None,
    };
    let items = |cell: &Option<Cell>| match cell {
        Some(Cell::Items(items)) => items.clone(),
        _ => Vec::new(),
    };
    match data_type {
        DataType::Bool => Arc::new(
            cells
                .iter()
                .map(|cell| matches!(cell, Some(Cell::Bool(_))).then_some(*cell == Some(Cell::Bool(true))))
                .collect::<BooleanArray>(),
        ),
        DataType::Int32 => {
            Arc::new(cells.iter().map(|cell| int(cell).map(|value| value as i32)).collect::<Int32Array>())
        }
        DataType::Date => {
            Arc::new(cells.iter().map(|cell| int(cell).map(|value| value as i32)).collect::<Date32Array>())
        }
        DataType::Int64 => Arc::new(cells.iter().map(int).collect::<Int64Array>()),
        DataType::Timestamp => {
            Arc::new(cells.iter().map(int).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        DataType::Float32 => Arc::new(
            cells
                .iter()
                .map(|cell| match cell {
                    Some(Cell::Float32(bits)) => Some(f32::from_bits(*bits)),
                    _ => None,
                })
                .collect::<Float32Array>(),
        ),
        DataType::Float64 => Arc::new(
            cells
                .iter()
                .map(|cell| match cell {
                    Some(Cell::Float64(bits)) => Some(f64::from_bits(*bits)),
                    _ => None,
                })
                .collect::<Float64Array>(),
        ),
        DataType::String | DataType::Json => {
            let mut builder = StringBuilder::new();
            for cell in cells {
                builder.append_option(match cell {
                    Some(Cell::Text(text)) => Some(text),
                    _ => None,
                });
            }
            Arc::new(builder.finish())
        }
        DataType::Bytes => {
            let mut builder = BinaryBuilder::new();
            for cell in cells {
                builder.append_option(match cell {
                    Some(Cell::Bytes(bytes)) => Some(bytes),
                    _ => None,
                });
            }
            Arc::new(builder.finish())
        }
        DataType::Decimal(precision, scale) => {
            let value = |cell: &Option<Cell>| match cell {
                Some(Cell::Decimal(value)) => Some(*value),
                _ => None,
            };
            let array = cells.iter().map(value).collect::<Decimal128Array>();
            Arc::new(array.with_precision_and_scale(*precision, *scale).expect("values within the precision"))
        }
        DataType::Vector(_) | DataType::List(_) => {
            let of = match data_type {
                DataType::List(of) => of.as_ref().clone(),
                _ => DataType::Float32,
            };
            let lists: Vec<Vec<Option<Cell>>> = cells.iter().map(items).collect();
            let Arrow::List(field) = data_type.to_arrow() else { unreachable!("a list") };
            let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
            Arc::new(ListArray::new(field, offsets, column(&of, &lists.concat()), nulls))
        }
        DataType::Struct(fields) => {
            let rows: Vec<Vec<Option<Cell>>> = cells.iter().map(items).collect();
            let field = |nth: usize| rows.iter().map(|row| row.get(nth).cloned().flatten()).collect::<Vec<_>>();
            let columns = fields.iter().enumerate().map(|(nth, (_, of))| column(of, &field(nth))).collect();
            let Arrow::Struct(arrow) = data_type.to_arrow() else { unreachable!("a struct") };
            Arc::new(StructArray::new(arrow, columns, nulls))
        }
        DataType::Map(of) => {
            let maps: Vec<Vec<(String, Option<Cell>)>> = cells
                .iter()
                .map(|cell| match cell {
                    Some(Cell::Entries(entries)) => entries.clone(),
                    _ => Vec::new(),
                })
                .collect();
            let offsets = OffsetBuffer::from_lengths(maps.iter().map(Vec::len));
            let (keys, values): (Vec<_>, Vec<_>) = maps.concat().into_iter().unzip();
            let keys: Vec<Option<Cell>> = keys.into_iter().map(|key| Some(Cell::Text(key))).collect();
            let Arrow::Map(field, _) = data_type.to_arrow() else { unreachable!("a map") };
            let Arrow::Struct(entry) = field.data_type() else { unreachable!("entries") };
            let columns = vec![column(&DataType::String, &keys), column(of, &values)];
            Arc::new(MapArray::new(
                field.clone(),
                offsets,
                StructArray::new(entry.clone(), columns, None),
                nulls,
                false,
            ))
        }
    }
}
