//! Rows that could not be taken: a table of each project that SQL can read, `sources._quarantine`.
//!
//! Its rows go through the outbox like all others: nothing that was refused is lost either.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType as Arrow, Field, Schema};
use arrow::json::LineDelimitedWriter;
use tidegate_offline::ingest::Rules;
use tidegate_schemas::definition::Column;
use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType;

use crate::service::{Error, Result};

/// The table's name; no source can have it, as those begin with a letter.
pub(in crate::service) const TABLE: &str = "_quarantine";

/// The column that says when a row was refused.
const AT: &str = "at";

/// The columns of text: what the row was for, how it came, why it was refused, what is wrong with it, the row as JSON.
const TEXTS: [&str; 5] = ["target", "origin", "reason", "detail", "row"];

/// A row that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// Its number in the batch.
    pub(super) row: usize,
    /// Why, in a few words that metrics count by.
    pub(super) reason: &'static str,
    /// What is wrong with it.
    pub(super) detail: String,
}

/// The table's columns.
pub(super) fn columns() -> Vec<Column> {
    let text = |name: &&str| Column { name: (*name).to_owned(), data_type: DataType::String };
    let at = Column { name: AT.to_owned(), data_type: DataType::Timestamp };
    std::iter::once(at).chain(TEXTS.iter().map(text)).collect()
}

/// What its rows must have.
pub(super) fn rules() -> Rules {
    Rules {
        table: TABLE.to_owned(),
        columns: columns(),
        keys: [].into(),
        event_time: AT.to_owned(),
        created_time: None,
        optional: TEXTS.iter().map(|name| (*name).to_owned()).collect(),
        ignore_extra_columns: false,
    }
}

/// What could not be taken, as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct Entry {
    /// Why, in a few words.
    pub(in crate::service) reason: &'static str,
    /// What is wrong with it.
    pub(in crate::service) detail: String,
    /// What came, as text: a row as JSON.
    pub(in crate::service) content: String,
}

/// Refused rows of a batch.
pub(super) fn entries(batch: &RecordBatch, refused: &[Refused]) -> Vec<Entry> {
    let entry =
        |it: &Refused| Entry { reason: it.reason, detail: it.detail.clone(), content: json(&batch.slice(it.row, 1)) };
    refused.iter().map(entry).collect()
}

/// Rows of the table. `origin` is `push` or how else they came.
pub(super) fn rows(entries: &[Entry], target: &str, origin: &str, now: Micros) -> Result<RecordBatch> {
    let at = TimestampMicrosecondArray::from_value(now, entries.len()).with_timezone("UTC");
    let same = |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(entries.iter().map(|_| text))) };
    let reasons = StringArray::from_iter_values(entries.iter().map(|it| it.reason));
    let details = StringArray::from_iter_values(entries.iter().map(|it| it.detail.as_str()));
    let contents = StringArray::from_iter_values(entries.iter().map(|it| it.content.as_str()));
    let columns: Vec<ArrayRef> =
        vec![Arc::new(at), same(target), same(origin), Arc::new(reasons), Arc::new(details), Arc::new(contents)];
    let utc = Arrow::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
    let texts = TEXTS.iter().map(|name| Field::new(*name, Arrow::Utf8, true));
    let fields: Vec<Field> = std::iter::once(Field::new(AT, utc, false)).chain(texts).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| Error::internal("quarantined rows could not be written").with_source(error))
}

/// A row as JSON; what JSON has no form for is left to the detail.
fn json(row: &RecordBatch) -> String {
    let mut bytes = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut bytes);
    let written = writer.write(row).and_then(|()| writer.finish());
    drop(writer);
    match written {
        Ok(()) => String::from_utf8_lossy(&bytes).trim_end().to_owned(),
        Err(error) => serde_json::json!({ "unreadable": error.to_string() }).to_string(),
    }
}
