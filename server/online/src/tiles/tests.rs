//! The frozen bytes of tiles' keys and records, and values on their way between rows and aggregates.

use tidegate_schemas::definition::{Aggregate, Column, Function};
use tidegate_schemas::window::{Answer, TileId, Value};

use super::*;
use crate::row;

/// What to do when frozen bytes differ.
const FROZEN: &str = "these bytes are frozen: folders in use have them. Undo the change, or give them a new format number that is read \
                      beside this one, and add new samples beside these";

fn check(bytes: &[u8], expect: &str) {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expect.replace(' ', ""), "{FROZEN}");
}

#[test]
fn keys_are_frozen_and_in_the_order_of_time() {
    let id = TileId { level: 2, index: -3 };
    check(&key::place(Some(600), id), "0000000000000258 02 7ffffffffffffffd");
    let entity = [0, 0, 0, 9, 1, 1, 0];
    let bytes = [&entity[..], &crate::key::suffix(5, 6), &key::place(Some(600), id)].concat();
    let split = key::split(&bytes).expect("a key");
    assert_eq!((split.entity, split.view, split.epoch, split.hop, split.id), (&entity[..], 5, 6, Some(600), id));
    assert!(key::split(&bytes[1..]).is_err() && key::split(&bytes[..20]).is_err());
    let places = [
        (None, TileId { level: 0, index: 0 }),
        (Some(1), TileId { level: 0, index: i64::MIN }),
        (Some(1), TileId { level: 0, index: -1 }),
        (Some(1), TileId { level: 0, index: 0 }),
        (Some(1), TileId { level: 1, index: -5 }),
        (Some(256), TileId { level: 0, index: -9 }),
    ];
    let encoded: Vec<[u8; key::PLACE]> = places.iter().map(|(hop, id)| key::place(*hop, *id)).collect();
    assert!(encoded.is_sorted());
    assert!(encoded.iter().zip(places).all(|(bytes, place)| key::read_place(bytes) == place));
}

#[test]
fn records_are_frozen() {
    let of = |function, input: Option<(&str, &str)>, window, hop| Aggregate {
        function,
        input: input.map(|(name, of)| Column { name: name.to_owned(), data_type: of.parse().expect("a type") }),
        window,
        hop,
    };
    let aggregates = vec![of(Function::Count, None, None, 9), of(Function::LastN(3), Some(("n", "int64")), Some(8), 2)];
    check(
        &record::encode_aggregates(&aggregates),
        "01 02000000 \
         01 00000000 00 0000000000000000 0900000000000000 \
         0a 03000000 01 01000000 6e 05000000 696e743634 0800000000000000 0200000000000000",
    );
    let all = [
        Function::Count,
        Function::Sum,
        Function::Mean,
        Function::Min,
        Function::Max,
        Function::Var,
        Function::Std,
        Function::First,
        Function::Last,
        Function::LastN(1_000),
        Function::DistinctCount,
        Function::Percentile(9_999),
        Function::TopK(7),
    ];
    let all: Vec<Aggregate> = all.map(|function| of(function, Some(("n", "int64")), Some(8), 2)).to_vec();
    let numbers: Vec<u8> = record::encode_aggregates(&all)[5..].chunks(36).map(|one| one[0]).collect();
    assert_eq!(numbers, (1..=13).collect::<Vec<u8>>(), "{FROZEN}");
    for aggregates in [aggregates, all] {
        let bytes = record::encode_aggregates(&aggregates);
        assert_eq!(record::decode_aggregates(&bytes).expect("aggregates"), aggregates);
        assert!((0..bytes.len()).all(|cut| record::decode_aggregates(&bytes[..cut]).is_err()));
    }
    let layouts = TileLayouts { present: 3, building: Some(4) };
    check(&layouts.encode(), "01 03000000 04000000");
    assert_eq!(TileLayouts::decode(&layouts.encode()).expect("layouts"), layouts);
}

#[test]
fn tiles_are_frozen() {
    let count = Aggregate { function: Function::Count, input: None, window: Some(8), hop: 2 };
    let tiled = Tiled::new(1, 1, vec![count]).expect("a count");
    let group = &tiled.windows.groups()[0];
    let mut tile = group.tile();
    tile.add(group, 1, None, &[]);
    for (pushed, expect) in [(false, "00 01 0100000000000000"), (true, "01 01 0100000000000000")] {
        let mut bytes = Vec::new();
        encode(&tile, pushed, &mut bytes);
        check(&bytes, expect);
        assert_eq!(decode(group, &bytes).expect("a tile").1, pushed);
    }
    for bytes in [&[][..], &[2, 1, 1, 0, 0, 0, 0, 0, 0, 0], &[0, 1, 1], &[0, 9]] {
        assert!(matches!(decode(group, bytes), Err(Error::Corrupt(_))), "{bytes:?}");
    }
}

/// What an aggregate gives is stored as a column of its type would be.
#[test]
fn answers_become_stored_values() {
    let cases = [
        ("bool", Answer::Value(Value::Int(1)), "BooleanArray\n[\n  true,\n]"),
        ("int32", Answer::Value(Value::Int(-2)), "PrimitiveArray<Int32>\n[\n  -2,\n]"),
        ("date", Answer::Value(Value::Int(1)), "PrimitiveArray<Date32>\n[\n  1970-01-02,\n]"),
        ("float32", Answer::Value(Value::Float(0.5)), "PrimitiveArray<Float32>\n[\n  0.5,\n]"),
        ("decimal(5,2)", Answer::Value(Value::Decimal(-125)), "PrimitiveArray<Decimal128(5, 2)>\n[\n  -125,\n]"),
        ("string", Answer::Value(Value::Bytes("é".as_bytes())), "StringArray\n[\n  \"é\",\n]"),
        ("int64", Answer::Null, "PrimitiveArray<Int64>\n[\n  null,\n]"),
        ("int64", Answer::OutOfRange, "PrimitiveArray<Int64>\n[\n  null,\n]"),
    ];
    for (data_type, answer, expect) in cases {
        let data_type = data_type.parse().expect("a type");
        let slot = super::row::slot(&data_type, &answer).expect("a value");
        let column = row::to_arrow(&data_type, &[slot.as_deref()]).expect("a column");
        assert_eq!(format!("{column:?}"), expect);
    }
    let list = "list<string>".parse().expect("a type");
    let answer = Answer::List(["b", "", "a"].map(|text| Value::Bytes(text.as_bytes())).to_vec());
    let slot = super::row::slot(&list, &answer).expect("a value");
    let column = row::to_arrow(&list, &[slot.as_deref()]).expect("a column");
    assert!(format!("{column:?}").contains("\"b\",\n  \"\",\n  \"a\","), "{column:?}");
    let wide = super::row::slot(&"int32".parse().expect("a type"), &Answer::Value(Value::Int(1 << 40)));
    assert!(wide.is_err(), "{wide:?}");
}
