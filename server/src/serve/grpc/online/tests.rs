//! Every kind of key crosses the lookup door.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use tidegate_schemas::error::ErrorKind;

use super::*;

fn key(values: Option<key_column::Values>) -> Result<(String, ArrayRef)> {
    key_column(wire::KeyColumn { name: "k".into(), values })
}

#[test]
fn keys_of_every_type_become_columns() {
    use key_column::Values as Wire;
    let int64s = key(Some(Wire::Int64s(wire::Int64Values { values: vec![i64::MIN, 7] }))).unwrap().1;
    assert_eq!(int64s.as_primitive::<Int64Type>().values(), &[i64::MIN, 7]);
    let strings = key(Some(Wire::Strings(wire::StringValues { values: vec!["".into(), "é".into()] }))).unwrap().1;
    assert_eq!(strings.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["", "é"]);
    let bytes = key(Some(Wire::Bytes(wire::BytesValues { values: vec![vec![0, 255].into()] }))).unwrap().1;
    assert_eq!(bytes.as_binary::<i32>().value(0), [0, 255]);
    let bools = key(Some(Wire::Bools(wire::BoolValues { values: vec![true, false] }))).unwrap().1;
    assert_eq!(bools.as_boolean(), &BooleanArray::from(vec![true, false]));
    let error = key(None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("`k`"));
}

#[test]
fn a_request_without_a_selection_is_refused() {
    assert_eq!(lookup_request(wire::GetOnlineFeaturesRequest::default(), None).unwrap_err().kind, ErrorKind::Invalid);
}
