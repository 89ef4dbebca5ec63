//! From rows as they came to what the store takes: good rows for views and table, bad ones for the quarantine table.
//!
//! ```text
//! typed     plain numbers become the times and dates they stand for
//! erased    what is of an entity that was erased since it happened    -> told, and kept nowhere
//!           one that is being erased                                  -> the whole push is refused
//! sift      what is null or does not fit                        -> refused
//! future    what happens too far from now                       -> refused
//! claim     ids that came before: same content                  -> duplicate
//!                                 other content                 -> refused
//! push      the rest, in one atomic write
//! ```
//! Rows are decoded once and travel as columns; without event ids nothing is done row by row but what the store does.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter, filter_record_batch};
use arrow::datatypes::{DataType as Arrow, Field, Int64Type, Schema, TimestampMicrosecondType};
use parking_lot::RwLock;
use tidegate_offline::ingest::{Rules, Sifter, Unfit};
use tidegate_offline::training::canonical;
use tidegate_online::{Claim, EventIds, Extra, Fate, Origin, Outgoing, Push, Pushed, RowDigest, Rows, Store, Ticket};
use tidegate_schemas::digest::Digest;
use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType;

use super::came::Came;
use super::quarantine::{self, Refused};
use super::target::Target;
use super::{PushOutcome, Quarantined, payload};
use crate::materialize::Observations;
use crate::service::erasures::Erasures;
use crate::service::{Error, Result};

/// The reasons that rows are refused for, as the quarantine table and metrics tell them.
const NULL_KEY: &str = "null key";
const NULL_TIME: &str = "null event time";
const VALUE: &str = "value does not fit";
const FUTURE: &str = "event time in the future";
const OTHER_CONTENT: &str = "duplicate id with other content";

/// The reason for those that nothing is kept of.
const ERASED: &str = "entity was erased";

/// One push, ready to be done on a thread that may wait for the disk.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) store: Arc<Store>,
    pub(super) erasures: Erasures,
    /// Held until the rows are written.
    pub(super) under_way: Arc<RwLock<()>>,
    pub(super) target: Target,
    /// The rows as they came.
    pub(super) rows: RecordBatch,
    /// Their ids, where the caller named them.
    pub(super) event_ids: Option<ArrayRef>,
    /// How they came, and what came along.
    pub(super) came: Came,
    pub(super) now: Micros,
    /// Rows that happen later than that from now are refused.
    pub(super) future_bound: Micros,
}

/// Rows that are still in, and what was refused of all.
struct Kept {
    /// Converted.
    rows: RecordBatch,
    /// As bytes; null for none.
    ids: Option<BinaryArray>,
    /// The number that each row came with.
    numbers: Vec<usize>,
    refused: Vec<Refused>,
    /// The numbers of those that are of erased entities.
    erased: Vec<usize>,
    duplicates: u64,
}

impl Work {
    /// Does it. What it gives is seen by lookups, and durable once the ticket was waited for.
    pub(super) fn run(mut self) -> Result<(PushOutcome, Ticket)> {
        let under_way = self.under_way.clone();
        let _under_way = under_way.read();
        let (project, source) = &self.target.of;
        let poison = self.came.leave_out(|content| self.erasures.is_refused(project, source, content))?;
        let mut kept = self.sift()?;
        self.refuse_future(&mut kept)?;
        // The rows' ids are held until the rows are written.
        let store = self.store.clone();
        let claim = self.claim(&store, &mut kept)?;
        let (pushed, ticket) = self.write(&kept, claim.as_ref())?;
        drop(claim);
        let mut outcome = outcome(&kept, &pushed);
        outcome.quarantined.extend(erased(&kept.erased, poison));
        self.came.count(&mut outcome.quarantined);
        Ok((outcome, ticket))
    }

    fn sift(&self) -> Result<Kept> {
        let rows = typed(&self.rows, &self.target.rules)?;
        let ids = self.ids(&rows)?;
        let (project, source) = &self.target.of;
        let erased = self.erasures.refused_now(project, source, &rows, 0)?;
        let sifter = Sifter::new(&self.target.rules, &rows.schema()).map_err(tidegate_offline::Error::from)?;
        let sifted = sifter.sift(&rows).map_err(tidegate_offline::Error::from)?;
        let mut kept = Kept {
            numbers: (0..rows.num_rows()).collect(),
            rows: sifted.batch,
            ids,
            refused: Vec::new(),
            erased: (0..rows.num_rows()).filter(|&row| erased[row]).collect(),
            duplicates: 0,
        };
        if sifted.misfits.is_empty() && kept.erased.is_empty() {
            return Ok(kept);
        }
        let mut keep: Vec<bool> = erased.iter().map(|erased| !erased).collect();
        for misfit in sifted.misfits.into_iter().filter(|misfit| !erased[misfit.row]) {
            keep[misfit.row] = false;
            let reason = match misfit.unfit {
                Unfit::NullKey => NULL_KEY,
                Unfit::NullTime => NULL_TIME,
                Unfit::Value => VALUE,
            };
            kept.refused.push(Refused { row: misfit.row, reason, detail: misfit.detail });
        }
        kept.retain(&keep)?;
        Ok(kept)
    }

    fn refuse_future(&self, kept: &mut Kept) -> Result<()> {
        let bound = self.now.saturating_add(self.future_bound);
        let name = &self.target.rules.event_time;
        let events = kept.rows.column_by_name(name).ok_or_else(|| Error::internal("the event time was not read"))?;
        let events = events.as_primitive::<TimestampMicrosecondType>();
        if events.values().iter().all(|event| *event <= bound) {
            return Ok(());
        }
        let keep: Vec<bool> = events.values().iter().map(|event| *event <= bound).collect();
        for nth in (0..keep.len()).filter(|nth| !keep[*nth]) {
            let ahead = (events.value(nth) - self.now) / 1_000_000;
            let detail = format!(
                "`{name}` is {ahead} s ahead of the server's clock, which allows {}; mend the clock, or raise `push.future_bound`",
                self.future_bound / 1_000_000
            );
            kept.refused.push(Refused { row: kept.numbers[nth], reason: FUTURE, detail });
        }
        kept.retain(&keep)
    }

    /// Holds the rows' ids, and leaves out those that came before.
    fn claim<'s>(&self, store: &'s Store, kept: &mut Kept) -> Result<Option<Claim<'s>>> {
        let Some(ids) = kept.ids.as_ref().filter(|ids| ids.null_count() < ids.len()) else { return Ok(None) };
        let digests = digests(&kept.rows)?;
        let events = EventIds { scope: self.target.scope, ids, digests: &digests };
        let claim = store.claim(&events, self.now)?;
        if claim.all_new() {
            return Ok(Some(claim));
        }
        let keep: Vec<bool> = claim.fates().iter().map(|fate| *fate == Fate::New).collect();
        for (nth, fate) in claim.fates().iter().enumerate() {
            match fate {
                Fate::New => {}
                Fate::Duplicate => kept.duplicates += 1,
                Fate::Conflict => {
                    let id = String::from_utf8_lossy(ids.value(nth)).into_owned();
                    let detail =
                        format!("an event `{id}` with other content came before; give each event an id of its own");
                    kept.refused.push(Refused { row: kept.numbers[nth], reason: OTHER_CONTENT, detail });
                }
            }
        }
        kept.retain(&keep)?;
        Ok(Some(claim))
    }

    fn write(&self, kept: &Kept, claim: Option<&Claim<'_>>) -> Result<(Pushed, Ticket)> {
        let target = &self.target;
        let observations =
            target.views.iter().map(|(_, columns)| columns.read(&kept.rows)).collect::<Result<Vec<Observations>>>()?;
        if observations.iter().any(|it| it.event.len() != kept.rows.num_rows()) {
            return Err(Error::internal("rows that were checked were left out"));
        }
        let views: Vec<_> =
            target.views.iter().zip(&observations).map(|((id, _), it)| (*id, pushed_rows(it))).collect();
        let rows = kept.rows.num_rows() as u32;
        let table = match target.feed.filter(|_| rows > 0) {
            Some(feed) => Some((feed, rows, payload::encode(&kept.rows)?)),
            None => None,
        };
        let mut refused = quarantine::entries(&self.rows, &kept.refused);
        self.came.complete(&mut refused, &kept.refused);
        let refused = match refused.len() as u32 {
            0 => None,
            count => {
                let refused = quarantine::rows(&refused, &target.name, self.came.origin, self.now)?;
                Some((target.quarantine, count, payload::encode(&refused)?))
            }
        };
        let outgoing: Vec<_> = [&table, &refused]
            .into_iter()
            .flatten()
            .map(|(feed, rows, payload)| Outgoing { feed: *feed, rows: *rows, payload })
            .collect();
        let views = if rows > 0 { views.as_slice() } else { &[] };
        let extras: Vec<_> = self.came.positions.iter().map(|(name, value)| Extra { name, value }).collect();
        let outdated = Some(&target.ids.outdated);
        let push = Push { views, outgoing: &outgoing, claim, extras: &extras, now: self.now, outdated };
        Ok(self.store.push_unsynced(&push)?)
    }

    /// The rows' ids as bytes: those that came beside them, or those of the source's column.
    fn ids(&self, rows: &RecordBatch) -> Result<Option<BinaryArray>> {
        let of_source = || self.target.event_id.as_ref().and_then(|name| rows.column_by_name(name));
        let Some(ids) = self.event_ids.as_ref().or_else(of_source) else { return Ok(None) };
        if ids.len() != rows.num_rows() {
            let message = format!("{} event ids came with {} rows; send one for each row", ids.len(), rows.num_rows());
            return Err(Error::invalid(message));
        }
        id_bytes(ids).map(Some)
    }
}

impl Kept {
    /// Leaves out all rows but these.
    fn retain(&mut self, keep: &[bool]) -> Result<()> {
        let mask = BooleanArray::from(keep.to_vec());
        self.rows = filter_record_batch(&self.rows, &mask)?;
        if let Some(ids) = &self.ids {
            self.ids = Some(filter(ids, &mask)?.as_binary::<i32>().clone());
        }
        let mut keep = keep.iter();
        self.numbers.retain(|_| keep.next().copied().unwrap_or(true));
        Ok(())
    }
}

fn outcome(kept: &Kept, pushed: &Pushed) -> PushOutcome {
    let mut quarantined: Vec<Quarantined> = Vec::new();
    for refused in &kept.refused {
        match quarantined.iter_mut().find(|known| known.reason == refused.reason) {
            Some(known) => known.rows += 1,
            None => {
                let example = format!("row {}: {}", refused.row, refused.detail);
                quarantined.push(Quarantined { reason: refused.reason, rows: 1, example });
            }
        }
    }
    PushOutcome {
        accepted: kept.rows.num_rows() as u64,
        duplicates: kept.duplicates,
        kept: pushed.kept,
        waiting: pushed.waiting,
        quarantined,
        write_token: String::new(),
    }
}

/// What is told of rows of erased entities, and of what is no row and of one.
fn erased(rows: &[usize], poison: usize) -> Option<Quarantined> {
    let count = rows.len() + poison;
    let first = rows.first().map_or_else(|| "a message".to_owned(), |row| format!("row {row}"));
    let example =
        format!("{first}: of an entity that was erased after it happened; `tidegate erasures` lists what was");
    (count > 0).then_some(Quarantined { reason: ERASED, rows: count as u64, example })
}

fn pushed_rows(observations: &Observations) -> Rows<'_> {
    Rows { origin: Origin::Push, ..observations.added(0) }
}

/// Plain integers where a time or a date is wanted stand for microseconds and days, as they do in lookups.
fn typed(rows: &RecordBatch, rules: &Rules) -> Result<RecordBatch> {
    let schema = rows.schema();
    let wanted = |field: &Field| {
        let column = rules.columns.iter().find(|column| column.name == *field.name())?;
        let stands_for =
            *field.data_type() == Arrow::Int64 && matches!(column.data_type, DataType::Timestamp | DataType::Date);
        stands_for.then(|| column.data_type.clone())
    };
    if schema.fields().iter().all(|field| wanted(field).is_none()) {
        return Ok(rows.clone());
    }
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        let column = match wanted(field) {
            Some(DataType::Date) => days(column, field.name())?,
            Some(of) => cast(column, &of.to_arrow())?,
            None => column.clone(),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn days(column: &ArrayRef, name: &str) -> Result<ArrayRef> {
    let days = column.as_primitive::<Int64Type>();
    match days.iter().flatten().find(|days| i32::try_from(*days).is_err()) {
        Some(far) => Err(Error::invalid(format!("column `{name}` is a date, and {far} days from 1970 is none"))),
        None => Ok(cast(&cast(column, &Arrow::Int32)?, &Arrow::Date32)?),
    }
}

/// Ids as bytes; empty ones are none.
fn id_bytes(ids: &ArrayRef) -> Result<BinaryArray> {
    let bytes = match ids.data_type() {
        Arrow::Int8 | Arrow::Int16 | Arrow::Int32 | Arrow::Int64 | Arrow::UInt8 | Arrow::UInt16 | Arrow::UInt32 => {
            let numbers = cast(ids, &Arrow::Int64)?;
            let numbers = numbers.as_primitive::<Int64Type>().iter();
            return Ok(numbers.map(|number| number.map(i64::to_be_bytes)).collect());
        }
        Arrow::Binary | Arrow::LargeBinary | Arrow::BinaryView => cast(ids, &Arrow::Binary)?,
        Arrow::Utf8 | Arrow::LargeUtf8 | Arrow::Utf8View | Arrow::Dictionary(..) => {
            cast(&cast(ids, &Arrow::Utf8)?, &Arrow::Binary)?
        }
        Arrow::Null => {
            return Ok(ids.as_any().downcast_ref().cloned().unwrap_or_else(|| BinaryArray::new_null(ids.len())));
        }
        other => {
            let message = format!("event ids are {other}; send text, bytes or integers");
            return Err(Error::invalid(message));
        }
    };
    let bytes = bytes.as_binary::<i32>();
    match (0..bytes.len()).any(|row| bytes.is_valid(row) && bytes.value(row).is_empty()) {
        true => Ok(bytes.iter().map(|id| id.filter(|id| !id.is_empty())).collect()),
        false => Ok(bytes.clone()),
    }
}

/// The digest of each row's content: of the values that it has, by name. A view that comes to the definitions may put their columns in
/// another order, or bring one that the row lacks; sent again it is the same row all the same.
fn digests(rows: &RecordBatch) -> Result<Vec<RowDigest>> {
    let schema = rows.schema();
    let mut columns = Vec::with_capacity(rows.num_columns());
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        columns.push((field.name(), column, canonical::writer(column).map_err(tidegate_offline::Error::from)?));
    }
    columns.sort_unstable_by_key(|(name, ..)| *name);
    let mut bytes = Vec::new();
    let digest = |row: usize| {
        bytes.clear();
        for (name, _, write) in columns.iter().filter(|(_, column, _)| column.is_valid(row)) {
            bytes.extend_from_slice(&(name.len() as u64).to_le_bytes());
            bytes.extend_from_slice(name.as_bytes());
            write(row, &mut bytes);
        }
        let mut digest = Digest::new();
        digest.update(&bytes);
        let mut short = RowDigest::default();
        short.copy_from_slice(&digest.bytes()[..16]);
        short
    };
    Ok((0..rows.num_rows()).map(digest).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn ids_of_any_kind_are_bytes_and_empty_ones_are_none() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("")]));
        let bytes = id_bytes(&texts).unwrap();
        assert_eq!(bytes.iter().collect::<Vec<_>>(), [Some(b"a".as_slice()), None, None]);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        assert_eq!(id_bytes(&numbers).unwrap().value(0), [0, 0, 0, 0, 0, 0, 0, 1]);
        let floats: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![1.0]));
        assert!(id_bytes(&floats).unwrap_err().to_string().contains("text, bytes or integers"));
    }

    #[test]
    fn rows_have_one_digest_for_each_content() {
        let batch = |names: [&str; 3]| {
            let names: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
            let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(1)]));
            RecordBatch::try_from_iter([("name", names), ("n", numbers)]).unwrap()
        };
        let of = digests(&batch(["a", "a", "a"])).unwrap();
        assert!(of[0] == of[2] && of[0] != of[1]);
        assert_ne!(of[0], digests(&batch(["b", "a", "a"])).unwrap()[0]);
        let reordered = batch(["a", "a", "a"]).project(&[1, 0]).unwrap();
        assert!(digests(&reordered).unwrap() == of);
        let more: ArrayRef = Arc::new(StringArray::from(vec![None, None, Some("a")]));
        let columns = [reordered.column(0), reordered.column(1), &more].map(Clone::clone);
        let wider = RecordBatch::try_from_iter(["n", "name", "more"].into_iter().zip(columns)).unwrap();
        let wider = digests(&wider).unwrap();
        assert!(wider[..2] == of[..2] && wider[2] != of[2]);
    }
}
