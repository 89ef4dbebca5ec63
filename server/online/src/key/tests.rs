//! Keys: the frozen bytes, order, and bytes that are no keys.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, LargeStringArray, StringViewArray, UInt16Array};
use rand::RngExt;
use rand::rngs::StdRng;
use tidegate_schemas::definition::Column;
use tidegate_schemas::types::DataType;

use super::*;
use crate::testing::{Cell, cases, column, columns, for_each_seed, random_cell, strings};

/// What to do when frozen bytes differ.
const FROZEN: &str = "the bytes of keys are frozen: folders in use have them. Undo the change, or give the folder a new format \
                      (store/open.rs) that still reads this one, and add new samples beside these";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sample() -> Entity {
    Entity {
        entity_type: 7,
        values: vec![
            KeyValue::Bool(true),
            KeyValue::Int32(-2),
            KeyValue::Int64(3),
            KeyValue::String("a\0é".to_owned()),
            KeyValue::Bytes(vec![0xFF, 0x00]),
            KeyValue::Timestamp(-1),
            KeyValue::Date(19_000),
        ],
    }
}

#[test]
fn bytes_are_frozen() {
    let check = |entity: &Entity, expect: &str| {
        let mut bytes = Vec::new();
        encode_entity(entity, &mut bytes);
        bytes.extend_from_slice(&suffix(258, 3));
        assert_eq!(hex(&bytes), expect.replace(' ', ""), "{FROZEN}");
        let (prefix, view, epoch) = split(&bytes).expect("a key");
        assert_eq!((view, epoch), (258, 3));
        assert_eq!(&decode_entity(prefix).expect("an entity"), entity);
    };
    let global = Entity { entity_type: 1, values: vec![] };
    check(&global, "00000001 00 00000102 00000003");
    check(
        &sample(),
        "00000007 0101 027ffffffe 038000000000000003 04 61 00ff c3a9 0000 05 ff 00ff 0000 067fffffffffffffff 0780004a38 00 \
         00000102 00000003",
    );
}

fn random_types(rng: &mut StdRng) -> Vec<DataType> {
    let types = [
        DataType::Bool,
        DataType::Int32,
        DataType::Int64,
        DataType::String,
        DataType::Bytes,
        DataType::Timestamp,
        DataType::Date,
    ];
    (0..rng.random_range(0..4)).map(|_| types[rng.random_range(0..types.len())].clone()).collect()
}

fn key_value(data_type: &DataType, cell: Cell) -> KeyValue {
    match (data_type, cell) {
        (DataType::Bool, Cell::Bool(value)) => KeyValue::Bool(value),
        (DataType::Int32, Cell::Int(value)) => KeyValue::Int32(value as i32),
        (DataType::Date, Cell::Int(value)) => KeyValue::Date(value as i32),
        (DataType::Int64, Cell::Int(value)) => KeyValue::Int64(value),
        (DataType::Timestamp, Cell::Int(value)) => KeyValue::Timestamp(value),
        (DataType::String, Cell::Text(value)) => KeyValue::String(value),
        (DataType::Bytes, Cell::Bytes(value)) => KeyValue::Bytes(value),
        (data_type, cell) => unreachable!("{data_type} is no key type for {cell:?}"),
    }
}

/// Byte order is value order, no entity is the beginning of another, the prefix of a prefix is itself, and encoding columns is
/// encoding values.
#[test]
fn order_is_preserved() {
    for_each_seed(cases(2_000), |rng, _| {
        let types = random_types(rng);
        let rows = 12;
        let cells: Vec<Vec<Cell>> = types.iter().map(|of| (0..rows).map(|_| random_cell(rng, of)).collect()).collect();
        let entity = |row: usize| Entity {
            entity_type: 5,
            values: types.iter().zip(&cells).map(|(of, cells)| key_value(of, cells[row].clone())).collect(),
        };
        let keys: Vec<_> = types.iter().map(|of| Column { name: "k".to_owned(), data_type: of.clone() }).collect();
        let arrays: Vec<_> = types
            .iter()
            .zip(&cells)
            .map(|(of, cells)| column(of, &cells.iter().cloned().map(Some).collect::<Vec<_>>()))
            .collect();
        let encoder = KeyEncoder::new(&keys, &arrays).expect("keys of these types");
        let mut encoded: Vec<(Vec<KeyValue>, Vec<u8>)> = Vec::new();
        for row in 0..rows {
            let (mut bytes, mut by_value) = (Vec::new(), Vec::new());
            encoder.encode(5, row, &mut bytes);
            encode_entity(&entity(row), &mut by_value);
            assert_eq!(bytes, by_value);
            assert_eq!(decode_entity(&bytes).expect("an entity"), entity(row));
            assert_eq!(entity_length(&bytes), Some(bytes.len()));
            let key = [bytes.as_slice(), &suffix(rng.random(), rng.random())].concat();
            assert_eq!(entity_length(&key), Some(bytes.len()));
            encoded.push((entity(row).values, bytes));
        }
        for (a, a_bytes) in &encoded {
            for (b, b_bytes) in &encoded {
                assert_eq!(a.cmp(b), a_bytes.cmp(b_bytes), "{a:?} {b:?}");
                assert!(a == b || !b_bytes.starts_with(a_bytes), "{a:?} begins {b:?}");
            }
        }
    });
}

#[test]
fn composite_keys_do_not_run_together() {
    let encode = |a: &str, b: &str| {
        let arrays = [strings([a]), strings([b])];
        let mut bytes = Vec::new();
        KeyEncoder::new(&columns(&[("a", "string"), ("b", "string")]), &arrays).expect("keys").encode(1, 0, &mut bytes);
        bytes
    };
    assert_ne!(encode("1", "23"), encode("12", "3"));
    assert_ne!(encode("1\0", "23"), encode("1", "\0\u{32}3"));
    assert_ne!(encode("", "a"), encode("a", ""));
}

#[test]
fn wrong_columns_are_refused_by_name() {
    let check = |keys: &[(&str, &str)], arrays: &[ArrayRef], expect: &str| {
        let error = KeyEncoder::new(&columns(keys), arrays).expect_err("refused");
        assert_eq!(error.to_string(), expect);
    };
    let int64 = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
    check(&[("k", "string")], &[int64(vec![Some(1)])], "key `k` is string, but int64 was given; cast it");
    check(&[("k", "int32")], &[strings(["1"])], "key `k` is int32, but string was given; cast it");
    check(&[("k", "int64")], &[int64(vec![Some(1), None])], "key `k` is null in row 1; leave such rows out");
    check(
        &[("k", "int32")],
        &[int64(vec![Some(1), Some(1 << 40)])],
        "`k`, row 1: 1099511627776 is out of the range of int32",
    );
    check(&[("k", "int32"), ("l", "int32")], &[int64(vec![])], "1 key columns were given, the view has 2");
}

#[test]
fn other_layouts_of_the_same_values_encode_alike() {
    let encode = |data_type: &str, array: ArrayRef| {
        let mut bytes = Vec::new();
        KeyEncoder::new(&columns(&[("k", data_type)]), &[array]).expect("a key").encode(1, 0, &mut bytes);
        bytes
    };
    let text = encode("string", strings(["hello, this is more than twelve bytes"]));
    let view = StringViewArray::from_iter_values(["hello, this is more than twelve bytes"]);
    assert_eq!(text, encode("string", Arc::new(view)));
    let large = LargeStringArray::from_iter_values(["hello, this is more than twelve bytes"]);
    assert_eq!(text, encode("string", Arc::new(large)));
    let number = encode("int64", Arc::new(Int64Array::from(vec![9])));
    assert_eq!(number, encode("int64", Arc::new(UInt16Array::from(vec![9]))));
}

/// Damaged keys are errors, and whatever the bytes nothing panics.
#[test]
fn bytes_that_are_no_keys() {
    let mut good = Vec::new();
    encode_entity(&sample(), &mut good);
    good.extend_from_slice(&suffix(1, 1));
    for end in 0..good.len() {
        assert!(split(&good[..end]).is_err(), "a key cut at {end}");
    }
    let corpus: [&[u8]; 7] = [
        b"",
        b"\0\0\0\x01",
        b"\0\0\0\x01\x63\0",
        b"\0\0\0\x01\x01\x02\0",
        b"\0\0\0\x01\x04\0\x05\0",
        b"\0\0\0\x01\x04\xFF\0\0\0",
        b"\0\0\0\x01\0\0",
    ];
    for bytes in corpus {
        assert!(decode_entity(bytes).is_err(), "{bytes:?}");
    }
    for_each_seed(cases(2_000), |rng, _| {
        let mut bytes = good.clone();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random();
        }
        bytes.truncate(rng.random_range(0..=bytes.len()));
        let length = entity_length(&bytes);
        if let Ok((entity, ..)) = split(&bytes) {
            assert_eq!(length, Some(entity.len()));
            let _ = decode_entity(entity);
        }
    });
}
