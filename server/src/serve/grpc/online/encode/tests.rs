//! What is written here is what the generated code reads.

use arrow::array::{AsArray, ListArray};
use arrow::datatypes::Int32Type;
use arrow_ipc::reader::StreamReader;
use wire::feature_column::Values as Wire;

use super::*;
use crate::service::Packed;

/// A column of two slots as it is decoded; its length must be the one it was given.
fn decoded(values: Values<'_>, as_arrow: bool) -> wire::FeatureColumn {
    let feature = FeatureReply {
        name: "f",
        data_type: &DataType::Float64,
        type_name: "float64",
        values,
        held: Some(&[0, 1]),
        statuses: Some(&[3, 5]),
        reasons: Some(&[0, 2]),
    };
    let measured = Measured::of(feature, as_arrow).expect("every type has a place");
    let mut bytes = Vec::new();
    measured.put(as_arrow, &mut bytes);
    assert_eq!(bytes.len(), measured.length);
    let column = wire::FeatureColumn::decode(&bytes[..]).expect("a message");
    assert_eq!((column.name.as_str(), column.data_type.as_str()), ("f", "float64"));
    assert_eq!(column.statuses, [wire::Status::NotFound as i32, wire::Status::Defaulted as i32]);
    assert_eq!(column.reasons, [wire::Status::Unspecified as i32, wire::Status::Null as i32]);
    assert_eq!(column.presence, if as_arrow { vec![] } else { vec![false, true] });
    column
}

#[test]
fn values_of_every_type_have_a_place() {
    let values = |values| decoded(values, false).values;
    let doubles = [0.0, -0.0].map(f64::to_le_bytes).concat();
    let Some(Wire::Doubles(read)) = values(Values::Doubles(Packed::of(&doubles))) else { panic!("doubles") };
    assert!(read.values[1].is_sign_negative() && read.values.len() == 2);
    let floats = [1.5, f32::MAX].map(f32::to_le_bytes).concat();
    assert!(
        matches!(values(Values::Floats(Packed::of(&floats))), Some(Wire::Floats(v)) if v.values == [1.5, f32::MAX])
    );
    let longs = [-1, i64::MAX].map(i64::to_le_bytes).concat();
    assert!(matches!(values(Values::Int64s(Packed::of(&longs))), Some(Wire::Int64s(v)) if v.values == [-1, i64::MAX]));
    let ints = [-1, i32::MAX].map(i32::to_le_bytes).concat();
    assert!(matches!(values(Values::Int32s(Packed::of(&ints))), Some(Wire::Int32s(v)) if v.values == [-1, i32::MAX]));
    assert!(matches!(values(Values::Bools(&[1, 0])), Some(Wire::Bools(v)) if v.values == [true, false]));
    let long = "é".repeat(100);
    let texts = Texts { bytes: long.as_bytes(), ends: &[0, 200] };
    assert!(matches!(values(Values::Strings(texts)), Some(Wire::Strings(v)) if v.values == ["", long.as_str()]));
    assert!(matches!(values(Values::Bytes(texts)), Some(Wire::Bytes(v)) if v.values[1] == long.as_bytes()));
    assert!(matches!(values(Values::Doubles(Packed::of(&[]))), Some(Wire::Doubles(v)) if v.values.is_empty()));
}

#[test]
fn other_types_travel_as_an_ipc_stream() {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), None]);
    let column: ArrayRef = Arc::new(lists.clone());
    let Some(Wire::ArrowIpc(bytes)) = decoded(Values::Arrow(&column), false).values else { panic!("an IPC stream") };
    let batch = StreamReader::try_new(&bytes[..], None).unwrap().next().unwrap().unwrap();
    assert_eq!(batch.schema().field(0).name(), "f");
    assert_eq!(batch.column(0).as_list::<i32>(), &lists);
    assert_eq!(batch.column(0).len(), 2);
}

#[test]
fn numbers_are_as_long_as_they_say() {
    for bits in 0..64 {
        for value in [1_u64 << bits, (1 << bits) - 1, u64::MAX >> bits] {
            let mut bytes = Vec::new();
            put_varint(value, &mut bytes);
            assert_eq!(bytes.len(), varint_length(value));
            assert_eq!(prost::encoding::decode_varint(&mut &bytes[..]), Ok(value));
        }
    }
}

#[test]
fn values_that_travel_together_leave_their_columns() {
    let doubles = [0.5, 1.5].map(f64::to_le_bytes).concat();
    assert_eq!(decoded(Values::Doubles(Packed::of(&doubles)), true).values, None);
}

#[tokio::test]
async fn the_usual_reply_is_written_as_any_other() {
    use crate::service::tests::bench::{Bench, FLIGHTS, HOUR, weather};
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 4, 40.0)])).await.unwrap();
    bench.materialize(false).await.unwrap();
    bench.clock.set(5 * HOUR);
    let ask = |origins: &[&str], include_times| {
        let request = crate::service::LookupRequest { include_times, ..crate::service::tests::lookup(origins) };
        bench.service.lookup(&bench.me, &request).expect("an answer")
    };
    let reply = ask(&["JFK", "JFK"], false);
    let bytes = plain(&reply).expect("a reply with nothing special");
    assert_eq!(bytes, in_full(&reply, false).expect("encoded"));
    let message = wire::GetOnlineFeaturesResponse::decode(&bytes[..]).expect("a message");
    assert!(matches!(&message.features[0].values, Some(Wire::Doubles(v)) if v.values.len() == 2));
    for reply in [ask(&["JFK", "nowhere"], false), ask(&["JFK"], true), ask(&[], false)] {
        assert_eq!(plain(&reply), None);
        let bytes = encode(&reply, false).expect("encoded");
        wire::GetOnlineFeaturesResponse::decode(&bytes[..]).expect("a message");
    }
}
