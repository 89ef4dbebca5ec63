//! Parameters travel in handles and tickets, whose bytes are a client's.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};

use super::*;

fn row() -> RecordBatch {
    RecordBatch::try_from_iter([
        ("0", Arc::new(StringArray::from(vec![Some("JFK")])) as ArrayRef),
        ("1", Arc::new(Int64Array::from(vec![None])) as ArrayRef),
        ("2", Arc::new(Float64Array::from(vec![-0.0])) as ArrayRef),
    ])
    .expect("one row")
}

#[tokio::test]
async fn parameters_round_trip() {
    let bytes = encode_parameters(&row()).unwrap();
    assert_eq!(decode_parameters(bytes).await.unwrap(), row());
}

#[tokio::test]
async fn damaged_parameters_are_an_error() {
    let whole = encode_parameters(&row()).unwrap();
    for at in 0..whole.len() {
        let _ = decode_parameters(whole.slice(..at)).await;
        let mut flipped = whole.to_vec();
        flipped[at] ^= 0x81;
        let _ = decode_parameters(flipped.into()).await;
    }
    assert!(decode_parameters(vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f].into()).await.is_err());
    assert!(decode_parameters(vec![1, 2, 3].into()).await.is_err());
}

#[tokio::test]
async fn only_one_row_is_bound() {
    let two = arrow::compute::concat_batches(&row().schema(), [&row(), &row()]).unwrap();
    for rows in [vec![two.clone()], vec![row(), row()], vec![row().slice(0, 0)], vec![]] {
        assert!(one_row(Batches::from_vec(row().schema(), rows)).await.is_err());
    }
    let with_empty = vec![row().slice(0, 0), row()];
    assert_eq!(one_row(Batches::from_vec(row().schema(), with_empty)).await.unwrap(), row());
}
