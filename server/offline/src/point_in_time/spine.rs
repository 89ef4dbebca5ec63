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
use arrow::buffer::NullBuffer;
use datafusion::common::runtime::JoinSet;
use hashbrown::HashTable;
use tidegate_schemas::time::Micros;

use super::columns::{Family, Lane, Rounding, Times};
use super::scan::finished;
use super::{Error, Result, Spec, View};

/// No group, no slot.
pub(super) const NONE: u32 = u32::MAX;

/// How many array cells per spine row a plain array of ids may cost before a hash table is cheaper.
const DENSE_CELLS_PER_ROW: u64 = 8;
const DENSE_CELLS_MIN: u64 = 1 << 16;

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
    for keys in &keys_of_view {
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

/// The id of each value of a key column.
#[derive(Debug)]
pub(super) enum Ids {
    /// Of integers that lie close together.
    Dense(DenseIds),
    /// Of other integers.
    Hashed(WordTable),
    /// Of text and bytes.
    Interned(Interner),
}

impl Default for Ids {
    fn default() -> Self {
        Self::Hashed(WordTable::new())
    }
}

/// `ids[value - lowest]`.
#[derive(Debug)]
pub(super) struct DenseIds {
    lowest: i64,
    ids: Vec<u32>,
}

impl DenseIds {
    /// The id of a value, or [`NONE`].
    #[inline]
    pub(super) fn find(&self, value: i64) -> u32 {
        // Below the lowest wraps to beyond the array.
        let at = usize::try_from(value.wrapping_sub(self.lowest).cast_unsigned());
        at.ok().and_then(|at| self.ids.get(at)).copied().unwrap_or(NONE)
    }
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

impl Ids {
    fn choose(lanes: &[Lane], rows: usize, family: Family) -> Self {
        if matches!(family, Family::Text | Family::Bytes) {
            return Self::Interned(Interner::new());
        }
        let (mut lowest, mut highest) = (i64::MAX, i64::MIN);
        for lane in lanes {
            if let Lane::Words(values, nulls) = lane {
                for (row, value) in values.iter().enumerate() {
                    if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                        (lowest, highest) = (lowest.min(*value), highest.max(*value));
                    }
                }
            }
        }
        let span = if lowest > highest { 0 } else { highest.abs_diff(lowest).saturating_add(1) };
        if span <= (rows as u64).saturating_mul(DENSE_CELLS_PER_ROW).max(DENSE_CELLS_MIN) {
            return Self::Dense(DenseIds { lowest, ids: vec![NONE; span as usize] });
        }
        Self::Hashed(WordTable::new())
    }

    fn insert(&mut self, lane: &Lane, distinct: &mut u32, of_row: &mut Vec<u32>) {
        let nulls = lane.nulls().cloned();
        let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        match (self, lane) {
            (Self::Dense(DenseIds { lowest, ids }), Lane::Words(values, _)) => {
                of_row.extend(values.iter().enumerate().map(|(row, value)| {
                    if is_null(row) {
                        return NONE;
                    }
                    let id = &mut ids[value.abs_diff(*lowest) as usize];
                    if *id == NONE {
                        *id = *distinct;
                        *distinct += 1;
                    }
                    *id
                }));
            }
            (Self::Hashed(table), Lane::Words(values, _)) => {
                of_row.extend(
                    values.iter().enumerate().map(
                        |(row, value)| {
                            if is_null(row) { NONE } else { table.insert(*value, distinct) }
                        },
                    ),
                );
            }
            (Self::Interned(interner), Lane::Text(array)) => of_row
                .extend(array.iter().map(|text| text.map_or(NONE, |text| interner.insert(text.as_bytes(), distinct)))),
            (Self::Interned(interner), Lane::Bytes(array)) => {
                of_row.extend(array.iter().map(|bytes| bytes.map_or(NONE, |bytes| interner.insert(bytes, distinct))));
            }
            // Ids are chosen by the family that made the lane.
            (_, lane) => of_row.extend(std::iter::repeat_n(NONE, lane.len())),
        }
    }

    /// Writes the id of every value of a table's column, or [`NONE`] for values the spine does not have.
    pub(super) fn find(&self, lane: &Lane, out: &mut Vec<u32>) {
        match (self, lane) {
            (Self::Dense(dense), Lane::Words(values, _)) => out.extend(values.iter().map(|value| dense.find(*value))),
            (Self::Hashed(table), Lane::Words(values, _)) => out.extend(values.iter().map(|value| table.find(*value))),
            (Self::Interned(interner), Lane::Text(array)) => {
                out.extend((0..array.len()).map(|row| interner.find(array.value(row).as_bytes())));
            }
            (Self::Interned(interner), Lane::Bytes(array)) => {
                out.extend((0..array.len()).map(|row| interner.find(array.value(row))));
            }
            (_, lane) => out.extend(std::iter::repeat_n(NONE, lane.len())),
        }
        if let Some(nulls) = lane.nulls().filter(|nulls| nulls.null_count() > 0) {
            clear_nulls(nulls, out);
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Dense(dense) => dense.ids.len() * 4,
            Self::Hashed(table) => table.bytes(),
            Self::Interned(interner) => interner.bytes(),
        }
    }
}

fn clear_nulls(nulls: &NullBuffer, out: &mut [u32]) {
    let first = out.len() - nulls.len();
    for (row, id) in out[first..].iter_mut().enumerate() {
        if nulls.is_null(row) {
            *id = NONE;
        }
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
    /// Per spine row its slot, or [`NONE`].
    slot_of_row: Vec<u32>,
}

impl SpineIndex {
    fn build(rows: &SpineRows, columns: Vec<Arc<ColumnIndex>>) -> Self {
        let mut pairs = Vec::new();
        let mut groups = columns.first().map_or(1, |column| column.distinct);
        let mut of_row = columns.first().map_or_else(|| vec![0; rows.rows], |column| column.of_row.clone());
        for column in columns.iter().skip(1) {
            let mut table = WordTable::new();
            groups = 0;
            for (left, right) in of_row.iter_mut().zip(&column.of_row) {
                *left =
                    if *left == NONE || *right == NONE { NONE } else { table.insert(pair(*left, *right), &mut groups) };
            }
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
        Self { columns, pairs, first_slot, times, slot_of_row }
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

    /// The first slot of a group whose time is not before `from`, or the one past its last.
    pub(super) fn first_at(&self, group: u32, from: Micros) -> u32 {
        let (first, end) = self.slots_of(group);
        first + self.times[first as usize..end as usize].partition_point(|time| *time < from) as u32
    }

    /// The times of all slots, ascending within a group.
    pub(super) fn times(&self) -> &[Micros] {
        &self.times
    }

    /// The latest time of a group.
    pub(super) fn latest(&self, group: u32) -> Option<Micros> {
        let (first, end) = self.slots_of(group);
        (first < end).then(|| self.times[end as usize - 1])
    }

    /// The ids of key column number `at`.
    pub(super) fn ids(&self, at: usize) -> &Ids {
        &self.columns[at].ids
    }

    /// The group of rows that the first `at` key columns give group `left` and the next gives id `right`, or [`NONE`].
    #[inline]
    pub(super) fn pair(&self, at: usize, left: u32, right: u32) -> u32 {
        if left == NONE || right == NONE { NONE } else { self.pairs[at - 1].find(pair(left, right)) }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let columns: usize = self.columns.iter().map(|column| column.ids.bytes() + column.of_row.len() * 4).sum();
        let pairs: usize = self.pairs.iter().map(WordTable::bytes).sum();
        columns + pairs + self.first_slot.len() * 4 + self.times.len() * 8 + self.slot_of_row.len() * 4
    }
}

fn pair(left: u32, right: u32) -> i64 {
    (u64::from(left) << 32 | u64::from(right)).cast_signed()
}

/// Sorts the rows of each group by time and gives each distinct time a slot.
fn slots(of_row: &[u32], groups: usize, times: &[Micros]) -> (Vec<u32>, Vec<Micros>, Vec<u32>) {
    let mut starts = vec![0_u32; groups + 1];
    for group in of_row.iter().filter(|group| **group != NONE) {
        starts[*group as usize + 1] += 1;
    }
    for group in 0..groups {
        starts[group + 1] += starts[group];
    }
    let mut next = starts.clone();
    let mut sorted = vec![(0, 0_u32); starts[groups] as usize];
    for (row, group) in of_row.iter().enumerate().filter(|(_, group)| **group != NONE) {
        let at = &mut next[*group as usize];
        sorted[*at as usize] = (times[row], row as u32);
        *at += 1;
    }
    drop(next);
    let mut first_slot = Vec::with_capacity(groups + 1);
    let mut slot_times: Vec<Micros> = Vec::with_capacity(sorted.len());
    let mut slot_of_row = vec![NONE; of_row.len()];
    for group in 0..groups {
        let members = &mut sorted[starts[group] as usize..starts[group + 1] as usize];
        members.sort_unstable_by_key(|(time, _)| *time);
        let first = slot_times.len();
        first_slot.push(first as u32);
        for (time, row) in members {
            if slot_times.len() == first || slot_times[slot_times.len() - 1] != *time {
                slot_times.push(*time);
            }
            slot_of_row[*row as usize] = slot_times.len() as u32 - 1;
        }
    }
    first_slot.push(slot_times.len() as u32);
    slot_times.shrink_to_fit();
    (first_slot, slot_times, slot_of_row)
}

/// A flat hash table from 64-bit words to ids, open addressing, at most half full.
#[derive(Debug)]
pub(super) struct WordTable {
    words: Vec<i64>,
    ids: Vec<u32>,
    filled: usize,
    shift: u32,
}

impl WordTable {
    fn new() -> Self {
        Self { words: vec![0; 16], ids: vec![NONE; 16], filled: 0, shift: 60 }
    }

    /// The cell a word starts to look at. The multiplication spreads every bit upward; the high bits choose.
    #[inline]
    fn home(&self, word: i64) -> usize {
        let mixed = word.cast_unsigned() ^ (word.cast_unsigned() >> 32);
        (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize
    }

    #[inline]
    pub(super) fn find(&self, word: i64) -> u32 {
        let last = self.words.len() - 1;
        let mut at = self.home(word);
        loop {
            let id = self.ids[at];
            if id == NONE || self.words[at] == word {
                return id;
            }
            at = (at + 1) & last;
        }
    }

    fn insert(&mut self, word: i64, distinct: &mut u32) -> u32 {
        if (self.filled + 1) * 2 > self.words.len() {
            self.grow();
        }
        let at = self.cell(word);
        if self.ids[at] == NONE {
            (self.words[at], self.ids[at]) = (word, *distinct);
            self.filled += 1;
            *distinct += 1;
        }
        self.ids[at]
    }

    /// The cell that holds the word, or the free one where it belongs.
    fn cell(&self, word: i64) -> usize {
        let last = self.words.len() - 1;
        let mut at = self.home(word);
        while self.ids[at] != NONE && self.words[at] != word {
            at = (at + 1) & last;
        }
        at
    }

    fn grow(&mut self) {
        let cells = self.words.len() * 2;
        let old = std::mem::replace(
            self,
            Self { words: vec![0; cells], ids: vec![NONE; cells], filled: self.filled, shift: self.shift - 1 },
        );
        for (word, id) in old.words.into_iter().zip(old.ids).filter(|(_, id)| *id != NONE) {
            let at = self.cell(word);
            (self.words[at], self.ids[at]) = (word, id);
        }
    }

    fn bytes(&self) -> usize {
        self.words.len() * 12
    }
}

/// Distinct byte strings, numbered, in one buffer.
#[derive(Debug)]
pub(super) struct Interner {
    data: Vec<u8>,
    ends: Vec<usize>,
    table: HashTable<u32>,
    hasher: ahash::RandomState,
}

impl Interner {
    fn new() -> Self {
        let hasher = ahash::RandomState::with_seeds(0x5469, 0x6465, 0x6761, 0x7465);
        Self { data: Vec::new(), ends: Vec::new(), table: HashTable::new(), hasher }
    }

    #[inline]
    pub(super) fn find(&self, bytes: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(bytes);
        let same = |id: &u32| slice(&self.data, &self.ends, *id) == bytes;
        self.table.find(hash, same).copied().unwrap_or(NONE)
    }

    fn insert(&mut self, bytes: &[u8], distinct: &mut u32) -> u32 {
        let found = self.find(bytes);
        if found != NONE {
            return found;
        }
        let id = *distinct;
        *distinct += 1;
        self.data.extend_from_slice(bytes);
        self.ends.push(self.data.len());
        let (data, ends, hasher) = (&self.data, &self.ends, &self.hasher);
        let rehash = |id: &u32| hasher.hash_one(slice(data, ends, *id));
        self.table.insert_unique(hasher.hash_one(bytes), id, rehash);
        id
    }

    fn bytes(&self) -> usize {
        self.data.capacity() + self.ends.capacity() * 8 + self.table.capacity() * 5
    }
}

fn slice<'a>(data: &'a [u8], ends: &[usize], id: u32) -> &'a [u8] {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] };
    &data[start..ends[id]]
}
