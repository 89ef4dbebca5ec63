use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serde_json::json;
use tidegate_schemas::error::ErrorKind;

use super::*;
use crate::service::{Packed, Texts, Values};
use tidegate_schemas::types::DataType;

fn read(body: &str) -> Result<LookupRequest> {
    request("flights".into(), body.as_bytes()).map(|(lookup, _)| lookup)
}

#[test]
fn a_body_is_read() {
    let asked = read(
        r#"{"service": "s", "keys": {"origin": ["JFK", ""], "id": [-1, 9007199254740993], "up": [true, false],
                        "raw": [{"base64": "/w=="}, {"base64": ""}]}, "include_times": true}"#,
    )
    .unwrap();
    assert_eq!(asked.selection, Selection::Service("s".into()));
    assert!(asked.include_times && !asked.full_names && !asked.return_expired);
    let keys: std::collections::HashMap<_, _> = asked.keys.into_iter().collect();
    assert_eq!(keys["origin"].as_string::<i32>().value(0), "JFK");
    assert_eq!(keys["id"].as_primitive::<Int64Type>().values(), &[-1, 9_007_199_254_740_993]);
    assert!(keys["up"].as_boolean().value(0));
    assert_eq!(keys["raw"].as_binary::<i32>().value(0), [0xff]);
    let features = read(r#"{"features": ["v:a", "w"]}"#).unwrap();
    assert_eq!(features.selection, Selection::Features(vec!["v:a".into(), "w".into()]));
}

#[test]
fn what_is_wrong_is_named() {
    for (body, says) in [
        ("", "not a lookup"),
        ("[]", "not a lookup"),
        (r#"{"service": "s", "serivce": "t"}"#, "serivce"),
        ("{}", "either a `service`"),
        (r#"{"service": "s", "features": []}"#, "either a `service`"),
        (r#"{"service": "s", "keys": {"id": 1}}"#, "not a lookup"),
        (r#"{"service": "s", "keys": {"id": [1, "2"]}}"#, "row 1"),
        (r#"{"service": "s", "keys": {"id": [1.5]}}"#, "`id`, row 0"),
        (r#"{"service": "s", "keys": {"id": [18446744073709551615]}}"#, "integers of 64 bits"),
        (r#"{"service": "s", "keys": {"id": [null]}}"#, "null in row 0; leave such rows out"),
        (r#"{"service": "s", "keys": {"id": [{"base64": "?"}]}}"#, "base64"),
    ] {
        let error = read(body).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{body}");
        assert!(error.message.contains(says), "{body}: {}", error.message);
    }
    assert!(read(&"[".repeat(100_000)).is_err());
}

#[test]
fn the_answer_is_columnar_with_statuses() {
    let (double, text) = (DataType::Float64, DataType::String);
    let values = [39.5, 0.0, 0.0].map(f64::to_le_bytes).concat();
    let temp = FeatureReply {
        name: "temp",
        data_type: &double,
        type_name: "float64",
        values: Values::Doubles(Packed::of(&values)),
        held: Some(&[1, 0, 1]),
        statuses: Some(&[1, 4, 5]),
        reasons: Some(&[0, 0, 3]),
    };
    let name = FeatureReply {
        name: "name",
        data_type: &text,
        type_name: "string",
        values: Values::Strings(Texts { bytes: b"abc", ends: &[1, 2, 3] }),
        held: None,
        statuses: None,
        reasons: None,
    };
    let expected = json!([
        { "name": "temp", "type": "float64", "values": [39.5, null, 0.0], "statuses": ["PRESENT", "EXPIRED", "DEFAULTED"],
          "reasons": [null, null, "NOT_FOUND"] },
        { "name": "name", "type": "string", "values": ["a", "b", "c"], "statuses": ["PRESENT", "PRESENT", "PRESENT"] },
    ]);
    let shown = [temp, name].map(|feature| feature_body(&feature, 3));
    assert_eq!(serde_json::to_value(shown).unwrap(), expected);
    let view = ViewTimes { view: "w".into(), event_times: vec![0, i64::MIN, 0], ages: vec![1_500_000, -1, 0] };
    let expected = json!({
        "view": "w", "event_times": ["1970-01-01T00:00:00Z", null, "1970-01-01T00:00:00Z"], "age_seconds": [1.5, null, 0.0]
    });
    assert_eq!(serde_json::to_value(view_body(&view)).unwrap(), expected);
}
