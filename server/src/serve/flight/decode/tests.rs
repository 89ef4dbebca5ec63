//! What clients send arrives as it was, and hostile bytes are an error of their own request.

use std::sync::Arc;

use arrow::array::{DictionaryArray, Float64Array, Int64Array, NullArray, StringArray, StringViewArray};
use arrow::datatypes::{Field, Int32Type, Schema};
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::IpcWriteOptions;
use futures::stream;
use tidegate_schemas::error::ErrorKind;

use super::*;

fn batch() -> RecordBatch {
    let nulls = StringArray::from(vec![Some("JFK"), None, Some("")]);
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef),
        ("name", Arc::new(nulls) as ArrayRef),
        ("x", Arc::new(Float64Array::from(vec![f64::NAN, -0.0, f64::INFINITY])) as ArrayRef),
    ])
    .expect("columns of one length")
}

async fn messages(batch: &RecordBatch, options: IpcWriteOptions, dictionaries: DictionaryHandling) -> Vec<FlightData> {
    let encoder = FlightDataEncoderBuilder::new().with_options(options).with_dictionary_handling(dictionaries);
    let messages: Vec<_> = encoder.build(stream::iter([Ok(batch.clone())])).collect().await;
    messages.into_iter().map(|message| message.expect("an encoded batch")).collect()
}

async fn plain(batch: &RecordBatch) -> Vec<FlightData> {
    messages(batch, IpcWriteOptions::default(), DictionaryHandling::Hydrate).await
}

async fn read(messages: Vec<FlightData>) -> Result<Vec<RecordBatch>> {
    decode(stream::iter(messages.into_iter().map(Ok)).boxed()).await?.collect().await
}

#[tokio::test]
async fn batches_arrive_as_they_were() {
    assert_eq!(format!("{:?}", read(plain(&batch()).await).await.unwrap()), format!("{:?}", [batch()]));
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let options = IpcWriteOptions::default().try_with_compression(Some(compression)).unwrap();
        let sent = messages(&batch(), options, DictionaryHandling::Hydrate).await;
        assert_eq!(read(sent).await.unwrap()[0].num_rows(), 3);
    }
}

#[tokio::test]
async fn dictionaries_and_views_are_read() {
    let dictionary: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
    let views = StringViewArray::from(vec!["short", "a string longer than twelve bytes", ""]);
    let columns = [("d", Arc::new(dictionary) as ArrayRef), ("v", Arc::new(views) as ArrayRef)];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let sent = messages(&batch, IpcWriteOptions::default(), DictionaryHandling::Resend).await;
    assert_eq!(read(sent).await.unwrap()[0].num_rows(), 3);
}

fn written(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = arrow_ipc::writer::StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

/// A stream in a message is one column; whatever its bytes claim, reading them neither panics nor allocates for the claim.
#[test]
fn a_column_comes_as_a_stream() {
    let one = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![Some(3), None])) as ArrayRef)]).unwrap();
    let good = written(std::slice::from_ref(&one));
    assert_eq!(&column(&good.clone().into()).unwrap(), one.column(0));
    assert_eq!(column(&written(&[one.slice(0, 0)]).into()).unwrap().len(), 0);
    for (bytes, expect) in [
        (written(&[one.clone(), one.clone()]), "1 columns and 2 batches"),
        (written(&[batch()]), "3 columns and 1 batches"),
        (b"garbage".to_vec(), "no Arrow IPC stream"),
        (good[..good.len() / 2].to_vec(), "cut off"),
        (Vec::new(), "no data came"),
    ] {
        let error = column(&bytes.into()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.contains(expect), "{error}");
    }
    for at in 0..good.len() {
        for lie in [[0xff; 4], [0, 0, 0, 0x40], [0; 4], [0x7f, 0, 0, 0]] {
            let mut bytes = good.clone();
            let end = (at + 4).min(bytes.len());
            bytes[at..end].copy_from_slice(&lie[..end - at]);
            let _ = column(&bytes.into());
        }
    }
}

#[tokio::test]
async fn a_descriptor_may_come_alone() {
    let mut sent = plain(&batch()).await;
    sent.insert(0, FlightData::default());
    assert_eq!(read(sent).await.unwrap().len(), 1);
}

#[tokio::test]
async fn no_data_and_no_schema_are_told() {
    assert_eq!(read(vec![]).await.unwrap_err().kind, ErrorKind::Invalid);
    let only_batch = plain(&batch()).await.split_off(1);
    assert_eq!(read(only_batch).await.unwrap_err().kind, ErrorKind::Invalid);
    let mut twice = plain(&batch()).await;
    twice.push(twice[0].clone());
    assert!(read(twice).await.unwrap_err().message.contains("second schema"));
}

#[tokio::test]
async fn a_status_keeps_its_kind() {
    let broken: Messages = stream::iter([Err(Status::cancelled("gone"))]).boxed();
    assert_eq!(decode(broken).await.unwrap_err().kind, ErrorKind::Cancelled);
}

/// Every truncation and every flipped bit of the headers, and of the body's first bytes: an answer or an error, never an escape.
#[tokio::test]
async fn damaged_messages_are_contained() {
    let sent = plain(&batch()).await;
    for at in 0..sent.len() {
        for cut in 0..sent[at].data_header.len() {
            let mut damaged = sent.clone();
            damaged[at].data_header = sent[at].data_header.slice(..cut);
            let _ = read(damaged).await;
        }
        for byte in 0..sent[at].data_header.len() {
            for bit in 0..8 {
                let mut damaged = sent.clone();
                let mut header = sent[at].data_header.to_vec();
                header[byte] ^= 1 << bit;
                damaged[at].data_header = header.into();
                let _ = read(damaged).await;
            }
        }
        let mut damaged = sent.clone();
        damaged[at].data_body = sent[at].data_body.slice(..sent[at].data_body.len() / 2);
        let _ = read(damaged).await;
    }
}

#[tokio::test]
async fn more_rows_than_bytes_can_hold_are_refused() {
    let rows = 1 << 24;
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Null, true)]));
    let batch = RecordBatch::try_new(schema, vec![Arc::new(NullArray::new(rows))]).unwrap();
    let error = read(plain(&batch).await).await.unwrap_err();
    assert!(error.message.contains("rows"), "{}", error.message);
}

#[tokio::test]
async fn a_compressed_length_beyond_the_limit_is_refused() {
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).unwrap();
    let zeros = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![0; 4096])) as ArrayRef)]).unwrap();
    let mut sent = messages(&zeros, options, DictionaryHandling::Hydrate).await;
    let mut body = sent[1].data_body.to_vec();
    let at = body.windows(8).position(|window| window == 32_768_i64.to_le_bytes()).expect("the length's prefix");
    body[at..at + 8].copy_from_slice(&(1_i64 << 50).to_le_bytes());
    sent[1].data_body = body.into();
    let error = read(sent).await.unwrap_err();
    assert!(error.message.contains("uncompressed"), "{}", error.message);
}

#[test]
fn a_dictionary_that_repeats_a_long_value_is_refused() {
    let values = StringArray::from(vec!["x".repeat(1 << 20)]);
    let keys = arrow::array::Int32Array::from(vec![0; 1024]);
    let column: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(values)).unwrap());
    let batch = RecordBatch::try_from_iter([("d", column)]).unwrap();
    assert!(check_expansion(&batch).unwrap_err().message.contains("`d`"));
}
