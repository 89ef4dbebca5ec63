//! Rows: the frozen bytes, every type there and back, and bytes that are no rows.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};
use rand::RngExt;
use rand::rngs::StdRng;
use tidegate_schemas::types::DataType;

use super::*;
use crate::testing::{Cell, cases, column, columns, for_each_seed, random_cells};

/// What to do when frozen bytes differ.
const FROZEN: &str = "the bytes of rows are frozen: folders in use have them. Undo the change, or give rows a new format number that \
                      is read beside this one, and add new samples beside these";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encode(columns: &[Column], arrays: &[ArrayRef], header: &Header, row: usize) -> Vec<u8> {
    let shape = Shape::new(columns);
    let mut out = Vec::new();
    let encoder = RowEncoder::new(columns, &shape, arrays).expect("columns of these types");
    encoder.encode(header, row, &mut out).expect("values of these types");
    out
}

const HEAD: Header = Header { layout: 3, event: 1_000, created: Some(-1), origin: Origin::Table { version: 9 } };

/// The head of every sample.
const HEAD_HEX: &str = "01 01 0000 03000000 e803000000000000 ffffffffffffffff 0900000000000000";

#[test]
fn bytes_are_frozen() {
    let text = |text: &str| Some(Cell::Text(text.to_owned()));
    let int = |value| Some(Cell::Int(value));
    let samples: [(&str, Option<Cell>, &str); 17] = [
        ("bool", Some(Cell::Bool(true)), "01 01"),
        ("int32", int(-2), "01 feffffff"),
        ("int64", int(258), "01 0201000000000000"),
        ("float32", Some(Cell::Float32(1.5_f32.to_bits())), "01 0000c03f"),
        ("float64", Some(Cell::Float64(0x7FF8_0000_0000_0001)), "01 010000000000f87f"),
        ("timestamp", int(1), "01 0100000000000000"),
        ("date", int(1), "01 01000000"),
        ("decimal(10,2)", Some(Cell::Decimal(-1)), "01 ffffffffffffffffffffffffffffffff"),
        (
            "vector<float32,2>",
            Some(Cell::Items(vec![Some(Cell::Float32(0)), Some(Cell::Float32(1))])),
            "01 00000000 01000000",
        ),
        ("string", text("hé"), "01 03000000 68c3a9"),
        ("json", text("{}"), "01 02000000 7b7d"),
        ("bytes", Some(Cell::Bytes(vec![0, 255])), "01 02000000 00ff"),
        ("list<int32>", Some(Cell::Items(vec![int(1), None])), "01 09000000 02000000 01 01000000"),
        ("list<string>", Some(Cell::Items(vec![text("a"), text("")])), "01 0e000000 02000000 03 01000000 61 00000000"),
        ("struct<a:int32,b:string>", Some(Cell::Items(vec![None, text("x")])), "01 06000000 02 01000000 78"),
        (
            "map<string,bool>",
            Some(Cell::Entries(vec![("k".to_owned(), Some(Cell::Bool(false)))])),
            "01 0c000000 01000000 01 01000000 6b 01 00",
        ),
        ("string", None, "00 00000000"),
    ];
    for (data_type, cell, expect) in samples {
        let columns = columns(&[("f", data_type)]);
        let array = column(&columns[0].data_type, std::slice::from_ref(&cell));
        let row = encode(&columns, std::slice::from_ref(&array), &HEAD, 0);
        assert_eq!(hex(&row), format!("{HEAD_HEX} {expect}").replace(' ', ""), "{data_type} {cell:?}: {FROZEN}");
        assert_eq!(Header::read(&row).expect("a row"), HEAD);
        let slot = Shape::new(&columns).slot(&row, 0).expect("a slot");
        assert_eq!(&to_arrow(&columns[0].data_type, &[slot]).expect("a column"), &array, "{data_type}");
    }
    let push = Header { origin: Origin::Push, created: None, ..HEAD };
    let row = encode(&[], &[], &push, 0);
    let expect = "01 02 0000 03000000 e803000000000000 0000000000000000 0000000000000000";
    assert_eq!(hex(&row), expect.replace(' ', ""), "{FROZEN}");
    assert_eq!(Header::read(&row).expect("a row"), push);
}

#[test]
fn several_columns_are_frozen() {
    let columns = columns(&[("a", "string"), ("b", "int32"), ("c", "string"), ("d", "bool"), ("e", "bytes")]);
    let cells = [
        Some(Cell::Text("xy".to_owned())),
        None,
        Some(Cell::Text("z".to_owned())),
        Some(Cell::Bool(true)),
        Some(Cell::Bytes(vec![7])),
    ];
    let arrays: Vec<ArrayRef> =
        columns.iter().zip(&cells).map(|(of, cell)| column(&of.data_type, std::slice::from_ref(cell))).collect();
    let row = encode(&columns, &arrays, &HEAD, 0);
    let expect = format!("{HEAD_HEX} 1d 00000000 01 02000000 03000000 04000000 7879 7a 07");
    assert_eq!(hex(&row), expect.replace(' ', ""), "{FROZEN}");
}

fn random_type(rng: &mut StdRng, depth: usize) -> DataType {
    let scalars = 12;
    match rng.random_range(0..if depth == 0 { scalars } else { scalars + 3 }) {
        0 => DataType::Bool,
        1 => DataType::Int32,
        2 => DataType::Int64,
        3 => DataType::Float32,
        4 => DataType::Float64,
        5 => DataType::String,
        6 => DataType::Bytes,
        7 => DataType::Timestamp,
        8 => DataType::Date,
        9 => DataType::Decimal(rng.random_range(1..=38), 0),
        10 => DataType::Vector(rng.random_range(1..5)),
        11 => DataType::Json,
        12 => DataType::List(Box::new(random_type(rng, depth - 1))),
        13 => DataType::Map(Box::new(random_type(rng, depth - 1))),
        _ => {
            let fields = rng.random_range(1..4);
            DataType::Struct((0..fields).map(|nth| (format!("f{nth}"), random_type(rng, depth - 1))).collect())
        }
    }
}

/// Random rows of random types come back bit for bit, from whole and from sliced columns.
#[test]
fn every_type_there_and_back() {
    for_each_seed(cases(2_000), |rng, _| {
        let columns: Vec<Column> = (0..rng.random_range(1..12))
            .map(|nth| Column { name: format!("c{nth}"), data_type: random_type(rng, 2) })
            .collect();
        let rows = rng.random_range(1..6);
        let arrays: Vec<ArrayRef> = columns
            .iter()
            .map(|of| {
                let before = rng.random_range(0..3);
                let cells = random_cells(rng, &of.data_type, before + rows);
                column(&of.data_type, &cells).slice(before, rows)
            })
            .collect();
        let header = Header {
            layout: rng.random(),
            event: rng.random(),
            created: rng.random_bool(0.5).then(|| rng.random()),
            origin: if rng.random_bool(0.5) { Origin::Push } else { Origin::Table { version: rng.random() } },
        };
        let shape = Shape::new(&columns);
        let encoded: Vec<Vec<u8>> = (0..rows).map(|row| encode(&columns, &arrays, &header, row)).collect();
        for row in &encoded {
            assert_eq!(Header::read(row).expect("a row"), header);
        }
        for (nth, of) in columns.iter().enumerate() {
            let slots: Vec<Option<&[u8]>> = encoded.iter().map(|row| shape.slot(row, nth).expect("a slot")).collect();
            let back = to_arrow(&of.data_type, &slots).expect("a column");
            assert_eq!(back.data_type(), &of.data_type.to_arrow());
            assert_eq!(&back, &arrays[nth], "{}", of.data_type);
        }
    });
}

#[test]
fn values_that_do_not_fit_are_refused_by_name() {
    let vector = columns(&[("embedding", "vector<float32,3>")]);
    let shape = Shape::new(&vector);
    let check = |cells: Vec<Option<Cell>>, expect: &str| {
        let array = column(&DataType::List(Box::new(DataType::Float32)), &[None, Some(Cell::Items(cells))]);
        let arrays = [array];
        let encoder = RowEncoder::new(&vector, &shape, &arrays).expect("a list of floats");
        let mut out = Vec::new();
        encoder.encode(&HEAD, 0, &mut out).expect("a null");
        let error = encoder.encode(&HEAD, 1, &mut out).expect_err("refused");
        assert_eq!(error.to_string(), expect);
    };
    let one = || Some(Cell::Float32(0));
    check(vec![one()], "`embedding`, row 1: a vector of 1 items, expected 3");
    check(vec![one(), None, one()], "`embedding`, row 1: item 1 of a vector is null; vectors have no nulls");
    let text = columns(&[("name", "string")]);
    let ints: [ArrayRef; 1] = [Arc::new(Int64Array::from(vec![1]))];
    let error = RowEncoder::new(&text, &Shape::new(&text), &ints).err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("feature `name` is string, but int64 was given; cast it"));
}

/// Damaged rows are errors or other values of the same type; whatever the bytes, nothing panics and nothing large is allocated.
#[test]
fn bytes_that_are_no_rows() {
    assert!(Header::read(b"").is_err());
    assert!(Header::read(&[2; 64]).is_err(), "an unknown format");
    let mut flags = encode(&[], &[], &HEAD, 0);
    flags[1] |= 0x80;
    assert!(Header::read(&flags).is_err(), "an unknown flag");
    for_each_seed(cases(2_000), |rng, _| {
        let columns: Vec<Column> = (0..rng.random_range(1..6))
            .map(|nth| Column { name: format!("c{nth}"), data_type: random_type(rng, 2) })
            .collect();
        let arrays: Vec<ArrayRef> =
            columns.iter().map(|of| column(&of.data_type, &random_cells(rng, &of.data_type, 1))).collect();
        let mut row = encode(&columns, &arrays, &HEAD, 0);
        for _ in 0..rng.random_range(0..4) {
            let at = rng.random_range(0..row.len());
            row[at] = rng.random();
        }
        row.truncate(rng.random_range(0..=row.len()));
        let _ = Header::read(&row);
        let shape = Shape::new(&columns);
        for (nth, of) in columns.iter().enumerate() {
            if let Ok(slot) = shape.slot(&row, nth) {
                let _ = to_arrow(&of.data_type, &[slot]);
            }
        }
    });
}
