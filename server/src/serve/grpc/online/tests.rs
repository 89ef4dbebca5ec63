//! Every kind of column crosses the lookup door.

use arrow::array::{Array, AsArray, ListArray};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow_ipc::reader::StreamReader;
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
    assert_eq!(lookup_request(wire::GetOnlineFeaturesRequest::default()).unwrap_err().kind, ErrorKind::Invalid);
}

fn feature(values: Values) -> wire::FeatureColumn {
    let feature = FeatureReply {
        name: "f".into(),
        data_type: tidegate_schemas::types::DataType::Float64,
        values,
        presence: Some(vec![0b10]),
        statuses: Some(vec![3, 1]),
        reasons: None,
    };
    feature_column(feature).expect("every type has a place")
}

#[test]
fn values_of_every_type_have_a_place() {
    use feature_column::Values as Wire;
    let column = feature(Values::Doubles(vec![0.0, -0.0]));
    assert_eq!((&column.presence[..], &column.statuses[..], column.reasons.len()), (&[0b10][..], &[3, 1][..], 0));
    let Some(Wire::Doubles(values)) = column.values else { panic!("doubles") };
    assert!(values.values[1].is_sign_negative());
    assert!(matches!(feature(Values::Floats(vec![1.5])).values, Some(Wire::Floats(v)) if v.values == [1.5]));
    assert!(matches!(feature(Values::Int64s(vec![-1])).values, Some(Wire::Int64s(v)) if v.values == [-1]));
    assert!(matches!(feature(Values::Int32s(vec![-1])).values, Some(Wire::Int32s(v)) if v.values == [-1]));
    assert!(matches!(feature(Values::Bools(vec![true])).values, Some(Wire::Bools(v)) if v.values == [true]));
    assert!(matches!(feature(Values::Strings(vec!["a".into()])).values, Some(Wire::Strings(v)) if v.values == ["a"]));
    assert!(matches!(feature(Values::Bytes(vec![vec![1]])).values, Some(Wire::Bytes(v)) if v.values[0][..] == [1]));
}

#[test]
fn other_types_travel_as_an_ipc_stream() {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), None]);
    let Some(feature_column::Values::ArrowIpc(bytes)) = feature(Values::Arrow(Arc::new(lists.clone()))).values else {
        panic!("an IPC stream");
    };
    let batch = StreamReader::try_new(&bytes[..], None).unwrap().next().unwrap().unwrap();
    assert_eq!(batch.schema().field(0).name(), "f");
    assert_eq!(batch.column(0).as_list::<i32>(), &lists);
    assert_eq!(batch.column(0).len(), 2);
}
