//! What people and programs read of an explanation, and which flags go together.

use arrow::array::Float64Array;
use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn told() -> ViewExplained {
    let candidate = |outcome: &str, row, event_time| Candidate {
        outcome: outcome.to_owned(),
        file: "part-0.parquet".to_owned(),
        version: 3,
        file_order: 0,
        row,
        event_time,
        created_time: None,
        known_at: Some(event_time + 1_000_000),
        valid_to: None,
    };
    let values: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None]));
    ViewExplained {
        view: "weather".to_owned(),
        table: "reports".to_owned(),
        table_version: 4,
        at: Some(5_000_000),
        null_column: None,
        status: "PRESENT".to_owned(),
        observations: 2,
        without_event_time: 0,
        outcomes: [("WON".to_owned(), 1), ("NOT_YET_KNOWN".to_owned(), 1)].into(),
        candidates: vec![candidate("WON", 0, 1_000_000), candidate("NOT_YET_KNOWN", 7, 4_500_000)],
        features: vec![("temp".to_owned(), Some(0))],
        values: RecordBatch::try_from_iter_with_nullable([("temp", values, true)]).unwrap(),
        windows: [].into(),
        result: None,
    }
}

#[test]
fn json_holds_times_places_and_values() {
    let json = to_json(&told()).unwrap();
    assert_eq!(json["at"], "1970-01-01T00:00:05Z");
    assert_eq!(json["features"]["temp"], 0);
    assert_eq!(json["outcomes"], json!({"NOT_YET_KNOWN": 1, "WON": 1}));
    let late = &json["candidates"][1];
    assert_eq!(
        (&late["outcome"], &late["row"], &late["values"]["temp"]),
        (&json!("NOT_YET_KNOWN"), &json!(7), &Value::Null)
    );
    assert_eq!(late["known_at"], "1970-01-01T00:00:05.500Z");
}

#[test]
fn aggregates_are_told_with_their_windows() {
    let sum: ArrayRef = Arc::new(Float64Array::from(vec![2.5]));
    let counted = WindowSource { after: Some(1_000_000), counted: 3 };
    let told = ViewExplained {
        features: vec![("temp".to_owned(), None)],
        windows: [("temp".to_owned(), counted)].into(),
        result: Some(RecordBatch::try_from_iter([("temp", sum)]).unwrap()),
        ..told()
    };
    let words = window_words(&told, "temp", counted).unwrap();
    assert_eq!(words, "2.5, from 3 observations after 1970-01-01T00:00:01Z");
    let all = WindowSource { after: None, counted: 0 };
    assert_eq!(window_words(&told, "other", all).unwrap(), "null, from 0 observations since the beginning");
    let json = to_json(&told).unwrap();
    assert_eq!(json["windows"]["temp"], json!({"after": "1970-01-01T00:00:01Z", "counted": 3}));
    assert_eq!((&json["result"]["temp"], &json["features"]["temp"]), (&json!(2.5), &Value::Null));
}

#[test]
fn a_row_is_named_one_way() {
    let parse = |line: &str| Line::try_parse_from(format!("explain-row {line}").split(' '));
    assert!(parse("s --key a=1 --at 2013-03-01").is_ok());
    assert!(parse("s --at 2013-03-01").is_ok(), "a view without keys");
    assert!(parse("s --spine rows.csv --row 3").is_ok());
    for wrong in ["s", "s --key a=1", "s --spine rows.csv", "s --row 3 --at 2013-03-01", "s --at soon"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
    assert!(parse("s --spine rows.csv --row 3 --key a=1").is_err());
}
