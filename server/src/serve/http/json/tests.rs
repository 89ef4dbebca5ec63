use std::sync::Arc;

use arrow::array::{
    Decimal128Array, Float32Array, Float64Array, Int64Array, ListArray, MapBuilder, StringBuilder, StructArray,
};
use arrow::array::{Float64Builder, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Float64Type};

use super::*;
use crate::service::{Packed, Texts};

fn shown(data_type: &str, values: Values<'_>, held: Option<&[u8]>) -> String {
    let feature = FeatureReply {
        name: "f",
        data_type: &data_type.parse().unwrap(),
        type_name: data_type,
        values,
        held,
        statuses: None,
        reasons: None,
    };
    Value::from(column(&feature)).to_string()
}

#[test]
fn numbers_are_numbers_and_the_rest_says_what_it_is() {
    let doubles = [1.5, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(f64::to_le_bytes).concat();
    assert_eq!(
        shown("float64", Values::Doubles(Packed::of(&doubles)), None),
        r#"[1.5,-0.0,"NaN","Infinity","-Infinity"]"#
    );
    assert_eq!(
        shown("float32", Values::Floats(Packed::of(&[0.5, f32::NAN].map(f32::to_le_bytes).concat())), None),
        r#"[0.5,"NaN"]"#
    );
    assert_eq!(
        shown("int64", Values::Int64s(Packed::of(&[i64::MIN, i64::MAX].map(i64::to_le_bytes).concat())), None),
        "[-9223372036854775808,9223372036854775807]"
    );
    assert_eq!(shown("int32", Values::Int32s(Packed::of(&(-1_i32).to_le_bytes())), None), "[-1]");
    assert_eq!(shown("bool", Values::Bools(&[1, 0]), None), "[true,false]");
    assert_eq!(shown("string", Values::Strings(Texts { bytes: "\"é".as_bytes(), ends: &[3] }), None), r#"["\"é"]"#);
    assert_eq!(shown("bytes", Values::Bytes(Texts { bytes: &[0xff, 0xfe], ends: &[2] }), None), r#"["//4="]"#);
}

#[test]
fn times_are_text() {
    let times = [0, 1_357_016_400_000_001, -11_676_096_000_000_000, i64::MAX].map(i64::to_le_bytes).concat();
    assert_eq!(
        shown("timestamp", Values::Int64s(Packed::of(&times)), None),
        r#"["1970-01-01T00:00:00Z","2013-01-01T05:00:00.000001Z","1600-01-01T00:00:00Z",9223372036854775807]"#
    );
    assert_eq!(
        shown("date", Values::Int32s(Packed::of(&[0, -1, i32::MAX].map(i32::to_le_bytes).concat())), None),
        r#"["1970-01-01","1969-12-31",2147483647]"#
    );
}

#[test]
fn absent_slots_are_null() {
    let numbers: Vec<u8> = (0..10_i64).flat_map(i64::to_le_bytes).collect();
    let values = Values::Int64s(Packed::of(&numbers));
    assert_eq!(
        shown("int64", values, Some(&[1, 0, 1, 0, 0, 0, 0, 0, 0, 1])),
        "[0,null,2,null,null,null,null,null,null,9]"
    );
}

#[test]
fn nested_types_nest() {
    let lists = ListArray::from_iter_primitive::<Float64Type, _, _>(vec![Some(vec![Some(f64::NAN), None]), None]);
    assert_eq!(shown("list<float64>", Values::Arrow(&(Arc::new(lists) as ArrayRef)), None), r#"[["NaN",null],null]"#);
    let fields = StructArray::from(vec![
        (Arc::new(Field::new("a", DataType::Int64, true)), Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef),
        (Arc::new(Field::new("b", DataType::Float32, true)), Arc::new(Float32Array::from(vec![0.5, 1.0])) as ArrayRef),
    ]);
    assert_eq!(
        shown("struct<a:int64,b:float32>", Values::Arrow(&(Arc::new(fields) as ArrayRef)), None),
        r#"[{"a":1,"b":0.5},{"a":null,"b":1.0}]"#
    );
    let mut map = MapBuilder::new(None, StringBuilder::new(), Float64Builder::new());
    map.keys().append_value("k");
    map.values().append_value(2.0);
    map.append(true).unwrap();
    assert_eq!(
        shown("map<string,float64>", Values::Arrow(&(Arc::new(map.finish()) as ArrayRef)), None),
        r#"[{"k":2.0}]"#
    );
    let decimals = Decimal128Array::from(vec![-12_345]).with_precision_and_scale(10, 2).unwrap();
    assert_eq!(shown("decimal(10,2)", Values::Arrow(&(Arc::new(decimals) as ArrayRef)), None), r#"["-123.45"]"#);
    let times = TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC");
    assert_eq!(
        shown("list<timestamp>", Values::Arrow(&(Arc::new(times) as ArrayRef)), None),
        r#"["1970-01-01T00:00:00Z"]"#
    );
    assert_eq!(
        shown("float64", Values::Arrow(&(Arc::new(Float64Array::from(vec![1.0])) as ArrayRef)), Some(&[0])),
        "[null]"
    );
}
