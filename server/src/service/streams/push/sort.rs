//! Rows of the outbox that their table can take, and those that it can't any more.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use tidegate_offline::ingest::{Rules, Sifter, schema_of};
use tidegate_online::{Chunk, Left};

use super::payload;
use super::quarantine::{self, Entry, Refused};
use crate::service::{Error, Result};

/// Why a row that was taken can't reach its table.
pub(super) const NO_PLACE: &str = "table can't take it any more";

/// A chunk's rows.
pub(super) struct Sorted {
    /// What is left of the records that had some that can't be taken.
    pub(super) left: Vec<Left>,
    /// Those that can't.
    pub(super) entries: Vec<Entry>,
}

/// Tells the rows of a chunk apart. Where each of them fits and the table refused them all the same, all are refused for what it said;
/// `None` where there are no rows.
pub(super) fn sort(chunk: &Chunk, rules: &Rules, why: &Error) -> Result<Option<Sorted>> {
    let sorted = sorted(chunk, |rows| misfits(rows, rules))?;
    let all = |rows: &RecordBatch| Ok((0..rows.num_rows()).map(|row| refused(row, why.chain())).collect());
    let sorted = if sorted.entries.is_empty() { self::sorted(chunk, all)? } else { sorted };
    Ok((!sorted.entries.is_empty()).then_some(sorted))
}

/// Rows with the types of the rules, which may have become wider since they came; as they are where any of them does not fit.
pub(super) fn fitted(rows: RecordBatch, rules: &Rules) -> RecordBatch {
    match Sifter::new(rules, &rows.schema()).and_then(|sifter| sifter.sift(&rows)) {
        Ok(sifted) if sifted.misfits.is_empty() => sifted.batch,
        _ => rows,
    }
}

fn sorted(chunk: &Chunk, misfits: impl Fn(&RecordBatch) -> Result<Vec<Refused>>) -> Result<Sorted> {
    let mut sorted = Sorted { left: Vec::new(), entries: Vec::new() };
    for record in &chunk.records {
        let batches = payload::decode(&record.payload)?;
        let Some(first) = batches.first() else { continue };
        let rows = concat_batches(&first.schema(), &batches)?;
        let refused = misfits(&rows)?;
        if refused.is_empty() {
            continue;
        }
        sorted.entries.extend(quarantine::entries(&rows, &refused));
        let mut keep = vec![true; rows.num_rows()];
        refused.iter().for_each(|refused| keep[refused.row] = false);
        let rows = filter_record_batch(&rows, &BooleanArray::from(keep))?;
        let payload = if rows.num_rows() == 0 { Vec::new() } else { payload::encode(&rows)? };
        sorted.left.push(Left { number: record.number, rows: rows.num_rows() as u32, payload });
    }
    Ok(sorted)
}

/// Rows that break the table's rules.
fn misfits(rows: &RecordBatch, rules: &Rules) -> Result<Vec<Refused>> {
    let rows = payload::align(rows, &schema_of(rules))?;
    let sifted = Sifter::new(rules, &rows.schema()).and_then(|sifter| sifter.sift(&rows));
    Ok(match sifted {
        Ok(sifted) => sifted.misfits.into_iter().map(|misfit| refused(misfit.row, misfit.detail)).collect(),
        Err(rejection) => (0..rows.num_rows()).map(|row| refused(row, rejection.to_string())).collect(),
    })
}

fn refused(row: usize, detail: String) -> Refused {
    Refused { row, reason: NO_PLACE, detail }
}
