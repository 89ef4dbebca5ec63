//! Parquet, with the file's own types.

use std::sync::Arc;

use arrow::array::RecordBatch;
use indicatif::ProgressBar;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Input, Rows};
use crate::failure::Result;

const BATCH_ROWS: usize = 8_192;

pub(super) fn open(input: &Arc<Input>, bar: &ProgressBar) -> Result<Rows> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(input.open()?)
        .map_err(|error| input.failed("it is no Parquet file", error))?;
    let rows_total = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0).max(1);
    let schema = builder.schema().clone();
    let reader =
        builder.with_batch_size(BATCH_ROWS).build().map_err(|error| input.failed("its metadata is damaged", error))?;
    let (bytes, bar, input) = (input.bytes(), bar.clone(), input.clone());
    let batches = reader.map(move |batch| {
        let batch: RecordBatch = batch.map_err(|error| input.failed("a page is damaged", error))?;
        // Pages are not read in step with rows: the bar moves by the rows' share.
        bar.inc(bytes.saturating_mul(batch.num_rows() as u64) / rows_total);
        Ok(batch)
    });
    Ok(Rows { schema, batches: Box::new(batches) })
}
