//! The spine's index: from the keys of an observation to the spine times it may serve.
//!
//! A *group* is one combination of keys that occurs in the spine; a *slot* is one distinct time of a group. Groups are
//! numbered column by column: each key column numbers its own values ([`ColumnIndex`]: a plain array for integers in a
//! narrow range, a flat hash table for others, interned text and bytes), and the numbers of several columns are combined
//! pairwise ([`WordTable`]). No key is ever concatenated to another, so ("1", "23") and ("12", "3") can't meet.
//!
//! Rows with a null key or a null time have no slot and match nothing.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::common::runtime::JoinSet;
use tidegate_schemas::time::Micros;

use super::columns::{Family, Lane, Rounding, Times};
use super::ids::{Ids, WordTable};
use super::scan::finished;
use super::{Error, Result, Spec, View};

/// No group, no slot.
pub(super) const NONE: u32 = u32::MAX;

/// The spine's batches and its times.
#[derive(Debug)]
pub(super) struct SpineRows {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) rows: usize,
    times: Vec<Micros>,
    nulls: Vec<bool>,
}

impl SpineRows {
    /// Reads the time column of a collected spine.
    pub(super) fn new(batches: Vec<RecordBatch>, time: &str) -> Result<Self> {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        if rows >= NONE as usize {
            return Err(Error::SpineTooLong);
        }
        let (mut times, mut nulls) = (Vec::with_capacity(rows), Vec::new());
        for batch in &batches {
            let column = column(batch, "time", time, None)?;
            let read = Times::read(column, Rounding::Down).ok_or_else(|| Error::TimeType {
                place: "the spine's time".to_owned(),
                column: time.to_owned(),
                data_type: column.data_type().clone(),
            })?;
            if let Some(validity) = read.nulls.as_ref().filter(|validity| validity.null_count() > 0) {
                nulls.resize(times.len(), false);
                nulls.extend(validity.iter().map(|valid| !valid));
            }
            times.extend_from_slice(&read.values);
        }
        if !nulls.is_empty() {
            nulls.resize(rows, false);
        }
        Ok(Self { batches, rows, times, nulls })
    }

    /// The earliest and the latest time, or `None` when no row has one.
    pub(super) fn span(&self) -> Option<(Micros, Micros)> {
        let known = || (0..self.rows).filter(|row| !self.is_null(*row)).map(|row| self.times[row]);
        Some((known().min()?, known().max()?))
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.get(row).copied().unwrap_or(false)
    }

    /// Bytes held beside the batches.
    pub(super) fn index_bytes(&self) -> usize {
        self.times.len() * 8 + self.nulls.len()
    }
}

fn column<'a>(batch: &'a RecordBatch, role: &'static str, name: &str, view: Option<&str>) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| Error::SpineColumn {
        role,
        column: name.to_owned(),
        view: view.map(str::to_owned),
        available: batch.schema().fields().iter().map(|field| field.name().clone()).collect(),
    })
}

/// Indexes the spine for every view of `spec`, in their order; views on the same keys share one index.
///
/// # Errors
/// A key column that is missing, of a type that can't be compared with the view's, or holds a value out of range.
pub(super) async fn index(rows: &Arc<SpineRows>, spec: &Spec) -> Result<Vec<Arc<SpineIndex>>> {
    let keys_of_view = spec.views.iter().map(key_families).collect::<Result<Vec<_>>>()?;
    let mut columns: HashMap<KeyColumn, Arc<ColumnIndex>> = HashMap::new();
    let mut running = JoinSet::new();
    for (view, keys) in spec.views.iter().zip(&keys_of_view) {
        for key in keys {
            if columns.insert(key.clone(), Arc::default()).is_none() {
                let (rows, key, view) = (rows.clone(), key.clone(), view.alias.clone());
                running.spawn(async move { ColumnIndex::build(&rows, &key.0, key.1, &view).map(|built| (key, built)) });
            }
        }
    }
    while let Some(done) = running.join_next().await {
        let (key, built) = finished(done)??;
        columns.insert(key, Arc::new(built));
    }
    let mut indexes: HashMap<Vec<KeyColumn>, Arc<SpineIndex>> = HashMap::new();
    let mut running = JoinSet::new();
    // What takes longest first: of several columns.
    let mut longest_first: Vec<&Vec<KeyColumn>> = keys_of_view.iter().collect();
    longest_first.sort_by_key(|keys| std::cmp::Reverse(keys.len()));
    for keys in longest_first {
        if indexes.insert(keys.clone(), Arc::default()).is_none() {
            let parts = keys.iter().map(|key| columns[key].clone()).collect();
            let (rows, keys) = (rows.clone(), keys.clone());
            running.spawn(async move { (keys, SpineIndex::build(&rows, parts)) });
        }
    }
    while let Some(done) = running.join_next().await {
        let (keys, built) = finished(done)?;
        indexes.insert(keys, Arc::new(built));
    }
    Ok(keys_of_view.iter().map(|keys| indexes[keys].clone()).collect())
}

/// A key column of the spine as a family of types reads it.
type KeyColumn = (String, Family);

fn key_families(view: &View) -> Result<Vec<KeyColumn>> {
    let family = |key: &super::Key| {
        let field = view.snapshot.schema.field_with_name(&key.table_column).ok();
        let found = field.and_then(|field| Family::of(field.data_type()));
        found.map(|family| (key.spine_column.clone(), family)).ok_or_else(|| Error::TableColumn {
            view: view.alias.clone(),
            table: view.snapshot.name.clone(),
            column: key.table_column.clone(),
            available: view.snapshot.schema.fields().iter().map(|field| field.name().clone()).collect(),
        })
    };
    view.keys.iter().map(family).collect()
}

/// The ids of the distinct values of one key column.
#[derive(Debug, Default)]
struct ColumnIndex {
    ids: Ids,
    distinct: u32,
    /// Per spine row, the id of its value or [`NONE`].
    of_row: Vec<u32>,
}

impl ColumnIndex {
    fn build(rows: &SpineRows, name: &str, family: Family, view: &str) -> Result<Self> {
        let mut lanes = Vec::with_capacity(rows.batches.len());
        for batch in &rows.batches {
            let array = column(batch, "key", name, Some(view))?;
            let lane =
                Lane::read(array, family).map_err(|source| Error::SpineValue { column: name.to_owned(), source })?;
            lanes.push(lane);
        }
        let mut ids = Ids::choose(&lanes, rows.rows, family);
        let (mut of_row, mut distinct) = (Vec::with_capacity(rows.rows), 0);
        for lane in &lanes {
            ids.insert(lane, &mut distinct, &mut of_row);
        }
        Ok(Self { ids, distinct, of_row })
    }
}

/// The groups of one set of key columns, their slots, and which slot each spine row asks for.
#[derive(Debug, Default)]
pub(super) struct SpineIndex {
    columns: Vec<Arc<ColumnIndex>>,
    pairs: Vec<WordTable>,
    /// Per group its first slot; one more at the end.
    first_slot: Vec<u32>,
    /// Per slot its time, ascending within a group.
    times: Vec<Micros>,
    /// Per group its last time; the lowest of all where it has none.
    latest: Vec<Micros>,
    /// Per spine row its slot, or [`NONE`].
    slot_of_row: Vec<u32>,
}

impl SpineIndex {
    fn build(rows: &SpineRows, columns: Vec<Arc<ColumnIndex>>) -> Self {
        let mut pairs = Vec::new();
        let mut groups = columns.first().map_or(1, |column| column.distinct);
        let mut of_row = columns.first().map_or_else(|| vec![0; rows.rows], |column| column.of_row.clone());
        for column in columns.iter().skip(1) {
            let most = (groups as usize).saturating_mul(column.distinct as usize).min(rows.rows);
            let mut table = WordTable::with_room(most);
            groups = 0;
            table.insert_pairs(&mut of_row, &column.of_row, &mut groups);
            pairs.push(table);
        }
        if !rows.nulls.is_empty() {
            for (row, group) in of_row.iter_mut().enumerate() {
                if rows.nulls[row] {
                    *group = NONE;
                }
            }
        }
        let (first_slot, times, slot_of_row) = slots(&of_row, groups as usize, &rows.times);
        let last = |bounds: &[u32]| times[bounds[0] as usize..bounds[1] as usize].last().copied();
        let latest = first_slot.windows(2).map(|bounds| last(bounds).unwrap_or(Micros::MIN)).collect();
        Self { columns, pairs, first_slot, times, latest, slot_of_row }
    }

    /// Slots of all groups.
    pub(super) fn slots(&self) -> usize {
        self.times.len()
    }

    /// The slot a spine row asks for, or [`NONE`].
    #[inline]
    pub(super) fn slot_of_row(&self, row: usize) -> u32 {
        self.slot_of_row[row]
    }

    /// The time of a slot.
    #[inline]
    pub(super) fn time(&self, slot: u32) -> Micros {
        self.times[slot as usize]
    }

    /// The first slot and the one past the last, of each group.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.first_slot.windows(2).map(|bounds| (bounds[0] as usize, bounds[1] as usize))
    }

    /// The first slot of a group and the one past its last.
    #[inline]
    pub(super) fn slots_of(&self, group: u32) -> (u32, u32) {
        (self.first_slot[group as usize], self.first_slot[group as usize + 1])
    }

    /// The times of a group's slots, ascending.
    pub(super) fn times_of(&self, group: u32) -> &[Micros] {
        let (first, end) = self.slots_of(group);
        &self.times[first as usize..end as usize]
    }

    /// The first slot of a group whose time is not before `from`, or the one past its last.
    pub(super) fn first_at(&self, group: u32, from: Micros) -> u32 {
        let (first, end) = self.slots_of(group);
        first + self.times[first as usize..end as usize].partition_point(|time| *time < from) as u32
    }

    /// The times of all slots, ascending within a group.
    pub(super) fn times(&self) -> &[Micros] {
        &self.times
    }

    /// The last time of each group; the lowest of all for a group without one.
    pub(super) fn latest(&self) -> &[Micros] {
        &self.latest
    }

    /// The first time of a group; the highest of all where it has none.
    #[inline]
    pub(super) fn earliest(&self, group: u32) -> Micros {
        let (first, end) = self.slots_of(group);
        if first == end { Micros::MAX } else { self.times[first as usize] }
    }

    /// Groups.
    pub(super) fn groups(&self) -> u32 {
        self.latest.len() as u32
    }

    /// The ids of key column number `at`.
    pub(super) fn ids(&self, at: usize) -> &Ids {
        &self.columns[at].ids
    }

    /// Replaces the ids that key column number `at` gives by the groups that they make with those of the columns before it.
    pub(super) fn pair(&self, at: usize, groups: &[u32], ids: &mut [u32]) {
        self.pairs[at - 1].find_pairs(groups, ids);
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let columns: usize = self.columns.iter().map(|column| column.ids.bytes() + column.of_row.len() * 4).sum();
        let pairs: usize = self.pairs.iter().map(WordTable::bytes).sum();
        columns + pairs + self.latest.len() * 12 + self.times.len() * 8 + self.slot_of_row.len() * 4
    }
}

/// A time and a row in one word that sorts by time, then row: `time << bits | row`, the time counted from the earliest.
trait Packed: Copy + Ord + Default {
    fn pack(time: u64, row: usize, bits: u32) -> Self;
    fn unpack(self, bits: u32) -> (u64, usize);
}

macro_rules! packed {
    ($word:ty) => {
        impl Packed for $word {
            #[inline]
            fn pack(time: u64, row: usize, bits: u32) -> Self {
                Self::from(time) << bits | row as Self
            }

            #[inline]
            fn unpack(self, bits: u32) -> (u64, usize) {
                ((self >> bits) as u64, (self & ((1 << bits) - 1)) as usize)
            }
        }
    };
}

packed!(u64);
packed!(u128);

/// First slots, slot times and slots of rows, as [`SpineIndex`] holds them.
type Slotted = (Vec<u32>, Vec<Micros>, Vec<u32>);

/// Sorts the rows of each group by time and gives each distinct time a slot.
fn slots(of_row: &[u32], groups: usize, times: &[Micros]) -> Slotted {
    let known = || of_row.iter().zip(times).filter(|(group, _)| **group != NONE).map(|(_, time)| *time);
    let (earliest, latest) = (known().min().unwrap_or(0), known().max().unwrap_or(0));
    let bits = usize::BITS - of_row.len().leading_zeros();
    // Times of some decades and rows of some millions fit the smaller word, which sorts in half the time.
    if latest.abs_diff(earliest).leading_zeros() >= bits {
        packed_slots::<u64>(of_row, groups, times, (earliest, bits))
    } else {
        packed_slots::<u128>(of_row, groups, times, (earliest, bits))
    }
}

fn packed_slots<P: Packed>(
    of_row: &[u32],
    groups: usize,
    times: &[Micros],
    (earliest, bits): (Micros, u32),
) -> Slotted {
    let mut starts = vec![0_u32; groups + 1];
    for group in of_row.iter().filter(|group| **group != NONE) {
        starts[*group as usize + 1] += 1;
    }
    for group in 0..groups {
        starts[group + 1] += starts[group];
    }
    let mut next = starts.clone();
    let mut sorted = vec![P::default(); starts[groups] as usize];
    for (row, group) in of_row.iter().enumerate().filter(|(_, group)| **group != NONE) {
        let at = &mut next[*group as usize];
        sorted[*at as usize] = P::pack(times[row].abs_diff(earliest), row, bits);
        *at += 1;
    }
    drop(next);
    let in_order = times.is_sorted();
    let mut first_slot = Vec::with_capacity(groups + 1);
    let mut slot_times: Vec<Micros> = Vec::with_capacity(sorted.len());
    let mut slot_of_row = vec![NONE; of_row.len()];
    for group in 0..groups {
        let members = &mut sorted[starts[group] as usize..starts[group + 1] as usize];
        if !in_order {
            members.sort_unstable();
        }
        let first = slot_times.len();
        first_slot.push(first as u32);
        for member in members {
            let (since, row) = member.unpack(bits);
            let time = earliest.wrapping_add_unsigned(since);
            if slot_times.len() == first || slot_times[slot_times.len() - 1] != time {
                slot_times.push(time);
            }
            slot_of_row[row] = slot_times.len() as u32 - 1;
        }
    }
    first_slot.push(slot_times.len() as u32);
    slot_times.shrink_to_fit();
    (first_slot, slot_times, slot_of_row)
}
