//! Rows in the outbox: an Arrow IPC stream.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use tidegate_schemas::error::ErrorKind;

use crate::service::{Error, Result};

/// Rows as they lie in the outbox.
pub(super) fn encode(rows: &RecordBatch) -> Result<Vec<u8>> {
    let failed = |error| Error::internal("rows could not be written for the outbox").with_source(error);
    let mut bytes = Vec::with_capacity(rows.get_array_memory_size() + 1024);
    let mut writer = StreamWriter::try_new(&mut bytes, &rows.schema()).map_err(failed)?;
    writer.write(rows).map_err(failed)?;
    writer.finish().map_err(failed)?;
    drop(writer);
    Ok(bytes)
}

/// The rows of a record; none where it was emptied.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<RecordBatch>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |error| {
        Error::new(ErrorKind::Corrupt, "pushed rows in the outbox are damaged; restore the data folder from a backup")
            .with_source(error)
    };
    let reader = StreamReader::try_new(bytes, None).map_err(failed)?;
    reader.map(|batch| batch.map_err(failed)).collect()
}

/// Rows with the columns that the table has by now: those it gained are null, those it lost are left out.
pub(super) fn align(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |field: &arrow::datatypes::FieldRef| -> ArrayRef {
        let known = rows.column_by_name(field.name());
        known.cloned().unwrap_or_else(|| new_null_array(field.data_type(), rows.num_rows()))
    };
    let columns: Vec<ArrayRef> = schema.fields().iter().map(column).collect();
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| field.as_ref().clone().with_nullable(true).with_data_type(column.data_type().clone()))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let schema = std::sync::Arc::new(arrow::datatypes::Schema::new(fields));
    RecordBatch::try_new_with_options(schema, columns, &options)
        .map_err(|error| Error::internal("rows of the outbox do not fit their table").with_source(error))
}
