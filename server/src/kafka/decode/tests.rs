//! Messages of JSON: each type exactly or not at all, one bad one among many, columns that come and go.

use std::collections::BTreeSet;

use arrow::array::AsArray;
use arrow::util::display::array_value_to_string;
use tidegate_schemas::definition::Column;
use tidegate_schemas::types::DataType;

use super::*;

fn rules(columns: &[(&str, &str)]) -> Rules {
    let column = |(name, of): &(&str, &str)| Column { name: (*name).to_owned(), data_type: of.parse().unwrap() };
    Rules {
        table: "t".to_owned(),
        columns: columns.iter().map(column).collect(),
        keys: BTreeSet::new(),
        event_time: "at".to_owned(),
        created_time: None,
        optional: BTreeSet::new(),
        ignore_extra_columns: true,
    }
}

fn message(offset: i64, payload: &str) -> Message {
    Message { partition: 0, offset, payload: Some(payload.as_bytes().to_vec()) }
}

#[test]
fn every_type_is_taken_exactly_or_refused_by_name() {
    let check = |of: &str, value: &str, expect: Result<&str, &str>| {
        let rules = rules(&[("x", of)]);
        let decoded = Decoder::Json.decode(&[message(0, &format!("{{\"x\": {value}}}"))], &rules).unwrap();
        match expect {
            Ok(text) => {
                assert!(decoded.poison.is_empty(), "{of}: {value}: {:?}", decoded.poison);
                assert_eq!(array_value_to_string(decoded.rows.column(0), 0).unwrap(), text, "{of}: {value}");
            }
            Err(word) => {
                assert_eq!(decoded.rows.num_rows(), 0, "{of}: {value}");
                assert!(decoded.poison[0].detail.contains(word), "{of}: {value}: {:?}", decoded.poison);
            }
        }
        assert_eq!(of.parse::<DataType>().unwrap().to_string(), of);
    };
    check("bool", "true", Ok("true"));
    check("bool", "1", Err("`x` is 1, expected bool"));
    check("int64", "9007199254740993", Ok("9007199254740993"));
    check("int64", "1e3", Ok("1000"));
    check("int64", "\"12\"", Ok("12"));
    check("int64", "1.5", Err("`x` is 1.5, expected int64"));
    check("int64", "9223372036854775808", Err("expected int64"));
    check("int32", "2147483648", Err("expected int32"));
    check("float64", "1.5", Ok("1.5"));
    check("float64", "\"NaN\"", Ok("NaN"));
    check("float64", "\"-Infinity\"", Ok("-inf"));
    check("float64", "\"warm\"", Err("expected float64"));
    check("string", "\"ü\"", Ok("ü"));
    check("string", "1", Err("expected string"));
    check("bytes", "\"/wA=\"", Ok("ff00"));
    check("bytes", "\"?\"", Err("expected bytes"));
    check("timestamp", "1", Ok("1970-01-01T00:00:00.000001Z"));
    check("timestamp", "\"2024-03-01T00:00:00+01:00\"", Ok("2024-02-29T23:00:00Z"));
    check("timestamp", "\"2024-03-01T00:00:00.0000001Z\"", Ok("2024-03-01T00:00:00.000001Z"));
    check("timestamp", "\"someday\"", Err("expected timestamp"));
    check("date", "\"2024-03-01\"", Ok("2024-03-01"));
    check("date", "1", Ok("1970-01-02"));
    check("decimal(6,2)", "\"1234.50\"", Ok("1234.50"));
    check("decimal(6,2)", "-0.5", Ok("-0.50"));
    check("decimal(6,2)", "0.125", Err("expected decimal(6,2)"));
    check("decimal(6,2)", "12345", Err("expected decimal(6,2)"));
    check("json", "{\"a\": [1]}", Ok("{\"a\":[1]}"));
    check("list<int64>", "[1, null]", Ok("[1, ]"));
    check("list<int64>", "[1, 0.5]", Err("`x[1]` is 0.5"));
    check("struct<a:date>", "{\"a\": \"1970-01-02\", \"b\": 1}", Ok("{a: 1970-01-02}"));
    check("struct<a:date>", "{\"a\": \"x\"}", Err("`x.a` is \"x\""));
    check("map<string,int64>", "{\"k\": 1}", Ok("{k: 1}"));
    check("int64", "null", Ok(""));
}

#[test]
fn messages_that_are_no_rows_are_told_apart_from_those_that_are() {
    let payloads =
        ["{\"x\": 1}", "", "{\"x\": 2}{\"x\": 3}", "3", "{\"y\": 4}", "{\"x\": \"no\"}", "{\"x\": 5, \"y\": 6}"];
    let mut messages: Vec<Message> =
        payloads.iter().zip(0..).map(|(payload, offset)| message(offset, payload)).collect();
    messages.push(Message { partition: 0, offset: 7, payload: None });
    let decoded = Decoder::Json.decode(&messages, &rules(&[("x", "int64"), ("z", "string")])).unwrap();
    assert_eq!(decoded.messages, [0, 4, 6]);
    let values: Vec<_> = decoded.rows.column(0).as_primitive::<arrow::datatypes::Int64Type>().iter().collect();
    assert_eq!(values, [Some(1), None, Some(5)]);
    assert_eq!(decoded.rows.column(1).null_count(), 3);
    let poison: Vec<_> = decoded.poison.iter().map(|poison| (poison.message, poison.reason)).collect();
    assert_eq!(poison, [(1, UNREADABLE), (2, UNREADABLE), (3, UNREADABLE), (5, UNREADABLE), (7, EMPTY)]);
    assert_eq!(content(Some(&[0xff])), "/w==");
}

#[test]
fn blame_falls_on_those_that_deserve_it() {
    let schema = schema(&rules(&[("x", "int64")]));
    let mut blamed = Vec::new();
    let mut build = |range: Range<usize>| match range.clone().find(|at| [3, 4, 9].contains(at)) {
        Some(9) if range.len() == 1 => panic!("a decoder's fault"),
        Some(bad) => Err(ArrowError::ParseError(bad.to_string())),
        None => Ok(RecordBatch::new_empty(schema.clone())),
    };
    let built = build_or_blame(0..11, &mut build, &mut |at, why| blamed.push((at, why)));
    let built: Vec<usize> = built.into_iter().flat_map(|(range, _)| range).collect();
    assert_eq!(built, [0, 1, 2, 5, 6, 7, 8, 10]);
    assert_eq!(blamed.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [3, 4, 9]);
    assert!(blamed[2].1.contains("gave up"));
}
