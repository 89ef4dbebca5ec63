//! What is announced is what is sent.

use arrow::array::{DictionaryArray, Int64Array, StringArray, StringViewArray};
use arrow::datatypes::Int32Type;
use arrow_flight::decode::FlightRecordBatchStream;
use futures::TryStreamExt;
use tidegate_schemas::error::ErrorKind;
use tonic::Code;

use super::*;

async fn received(batches: Batches) -> Result<(SchemaRef, Vec<RecordBatch>), FlightError> {
    let messages = encode(batches).map_err(|status| FlightError::Tonic(Box::new(status)));
    let mut stream = FlightRecordBatchStream::new_from_flight_data(messages);
    let mut got = Vec::new();
    while let Some(batch) = stream.try_next().await? {
        got.push(batch);
    }
    Ok((stream.schema().cloned().expect("a schema comes first"), got))
}

fn ids(range: std::ops::Range<i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(range))
}

#[tokio::test]
async fn the_declared_schema_is_sent_whatever_the_batches_say() {
    let metadata = [("unit".to_owned(), "minutes".to_owned())].into();
    let declared = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("delay", DataType::Int64, true).with_metadata(metadata),
    ]));
    // Batches computed from data without nulls often say "not null".
    let batch = RecordBatch::try_from_iter([("id", ids(0..3)), ("delay", ids(0..3))]).unwrap();
    let (schema, got) = received(Batches::from_vec(declared.clone(), vec![batch])).await.unwrap();
    assert_eq!(schema, declared);
    assert_eq!(got[0].schema(), declared);
    assert_eq!(schema, wire_schema(&declared));
}

#[tokio::test]
async fn an_empty_result_still_has_its_schema() {
    let declared = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    let (schema, got) = received(Batches::from_vec(declared.clone(), vec![])).await.unwrap();
    assert_eq!((schema, got.len()), (declared, 0));
}

#[tokio::test]
async fn dictionaries_views_and_large_lists_are_hydrated() {
    let dictionary: DictionaryArray<Int32Type> = [Some("a"), None, Some("a")].into_iter().collect();
    let views = StringViewArray::from(vec![Some("x"), None, Some("a string longer than twelve bytes")]);
    let item = Arc::new(Field::new("element", DataType::Utf8View, true));
    let offsets = arrow::buffer::OffsetBuffer::<i64>::from_lengths([1, 0, 2]);
    let lists = arrow::array::LargeListArray::new(item, offsets, Arc::new(views.clone()), None);
    let batch = RecordBatch::try_from_iter([
        ("d", Arc::new(dictionary) as ArrayRef),
        ("v", Arc::new(views) as ArrayRef),
        ("l", Arc::new(lists) as ArrayRef),
    ])
    .unwrap();
    let (schema, got) = received(Batches::from_vec(batch.schema(), vec![batch.clone()])).await.unwrap();
    assert_eq!(schema, wire_schema(&batch.schema()));
    assert_eq!(schema.field(0).data_type(), &DataType::Utf8);
    assert_eq!(schema.field(1).data_type(), &DataType::Utf8);
    let list = DataType::List(Arc::new(Field::new("element", DataType::Utf8, true)));
    assert_eq!(schema.field(2).data_type(), &list);
    let expected: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("a")]));
    assert_eq!(got[0].column(0), &expected);
}

#[tokio::test]
async fn large_batches_are_split_and_slices_are_not_shredded() {
    let rows: i64 = 1 << 20;
    let batch = RecordBatch::try_from_iter([("id", ids(0..rows))]).unwrap();
    let (_, got) = received(Batches::from_vec(batch.schema(), vec![batch.clone()])).await.unwrap();
    assert_eq!(got.len(), 4);
    assert_eq!(arrow::compute::concat_batches(&batch.schema(), &got).unwrap(), batch);
    // A slice of a large buffer is as small as its rows.
    let slice = batch.slice(17, 1000);
    let (_, got) = received(Batches::from_vec(batch.schema(), vec![slice.clone()])).await.unwrap();
    assert_eq!(got, [slice]);
}

#[tokio::test]
async fn a_batch_without_columns_keeps_its_rows() {
    let options = RecordBatchOptions::new().with_row_count(Some(7));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    let (_, got) = received(Batches::from_vec(batch.schema(), vec![batch])).await.unwrap();
    assert_eq!(got.iter().map(RecordBatch::num_rows).sum::<usize>(), 7);
}

#[tokio::test]
async fn an_error_and_a_panic_end_the_stream_with_a_status() {
    let declared = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    let failing = stream::iter([Err(Error::new(ErrorKind::Exhausted, "out of memory"))]);
    let messages: Vec<_> = encode(Batches::new(declared.clone(), failing)).collect().await;
    assert_eq!(messages.last().unwrap().as_ref().unwrap_err().code(), Code::ResourceExhausted);

    let panicking = stream::once(async { panic!("a defect") });
    let messages: Vec<_> = encode(Batches::new(declared, panicking)).collect().await;
    let status = messages.last().unwrap().as_ref().unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("a defect"));
}
