//! From keys to whole entities: cache first, then one iterator for everything that is missing.
//!
//! A request sees one state. What the iterator reads is of one moment; what the cache had is of that moment too if no write to
//! those entities was under way or came in between, which the stripes' counts tell. Otherwise everything is read through one
//! iterator.

use std::cmp::Ordering;
use std::sync::atomic::Ordering::Acquire;

use arrow_array::ArrayRef;
use rocksdb::{DB, DBRawIteratorWithThreadMode, ReadOptions};
use tidegate_schemas::failpoint::{Failpoint, reach};

use super::plan::{Group, Plan};
use crate::cache::{EntityRecord, RecordBuilder};
use crate::key::{self, KeyEncoder};
use crate::layout::Mark;
use crate::store::Inner;
use crate::{Error, Result};

/// What a lookup found: for each group and row the entity, if there was time to read it, and the epochs to read it at.
pub(super) struct Found {
    rows: usize,
    keys: Keys,
    entities: Vec<Option<EntityRecord>>,
    marks: Vec<Mark>,
}

/// Where a view has an entity's row.
pub(super) enum At<'a> {
    /// Here.
    Row(&'a [u8]),
    /// There was no time to look.
    Unread,
}

/// How long a lookup may read.
pub(super) struct Patience<'a> {
    /// Whether the caller's time is over.
    pub(super) over: &'a dyn Fn() -> bool,
    /// Answer with what was read by then, instead of failing.
    pub(super) allow_partial: bool,
}

/// Entities read between two looks at the time.
const READ_AT_ONCE: usize = 16;

impl Found {
    /// The encoded entity of a row, as a group of views reads it.
    pub(super) fn entity(&self, group: usize, row: usize) -> &[u8] {
        self.keys.get(group * self.rows + row)
    }

    /// How many rows are asked for.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The epoch a view is read at.
    pub(super) fn mark(&self, view: usize) -> Mark {
        self.marks[view]
    }

    /// Whether all views are still at the epochs they were found at.
    pub(super) fn still(&self, plan: &Plan) -> bool {
        plan.views.iter().map(|used| used.view.mark()).eq(self.marks.iter().copied())
    }

    /// Calls `take` with the position of each view, the entity row and the stored row, where there is one or may be one: entity by
    /// entity, as the rows lie in memory.
    pub(super) fn each<'a>(
        &'a self,
        plan: &Plan,
        mut take: impl FnMut(usize, usize, At<'a>) -> Result<()>,
    ) -> Result<()> {
        for (nth, group) in plan.groups.iter().enumerate() {
            for (row, entity) in self.entities[nth * self.rows..(nth + 1) * self.rows].iter().enumerate() {
                let Some(entity) = entity else {
                    group.views.iter().try_for_each(|&view| take(view, row, At::Unread))?;
                    continue;
                };
                // Both are in the order of views.
                let (mut stored, mut views) = (entity.rows().peekable(), group.views.iter().copied().peekable());
                while let (Some(((id, epoch), bytes)), Some(&view)) = (stored.peek(), views.peek()) {
                    match (*id, *epoch).cmp(&(plan.views[view].view.id, self.marks[view].epoch)) {
                        Ordering::Less => drop(stored.next()),
                        Ordering::Greater => drop(views.next()),
                        Ordering::Equal => {
                            take(view, row, At::Row(bytes))?;
                            views.next();
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// The encoded keys of all groups and rows, end to end.
struct Keys {
    rows: usize,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Keys {
    fn encode(plan: &Plan, columns: &[ArrayRef], rows: usize) -> Result<Self> {
        let slots = plan.groups.len() * rows;
        let mut keys = Self { rows, bytes: Vec::with_capacity(slots * 24), ends: Vec::with_capacity(slots) };
        for group in &plan.groups {
            let encoder = KeyEncoder::new(&group.keys, group.key_columns.iter().map(|&column| &columns[column]))?;
            for row in 0..rows {
                encoder.encode(group.entity_type, row, &mut keys.bytes);
                keys.ends.push(keys.bytes.len());
            }
        }
        Ok(keys)
    }

    #[inline]
    fn get(&self, slot: usize) -> &[u8] {
        let start = if slot == 0 { 0 } else { self.ends[slot - 1] };
        &self.bytes[start..self.ends[slot]]
    }
}

pub(super) fn find(
    inner: &Inner,
    plan: &Plan,
    columns: &[ArrayRef],
    rows: usize,
    patience: &Patience<'_>,
) -> Result<Found> {
    let keys = Keys::encode(plan, columns, rows)?;
    let slots = plan.groups.len() * rows;
    let mut trust_cache = true;
    loop {
        let marks: Vec<Mark> = plan.views.iter().map(|used| used.view.mark()).collect();
        let still = || plan.views.iter().map(|used| used.view.mark()).eq(marks.iter().copied());
        let noted = Noted::new(inner, &keys, slots);
        let nothing = EntityRecord::empty();
        let get = |slot: usize| match &plan.groups[slot / rows] {
            group if !group.has_rows => Some(nothing.clone()),
            group if trust_cache => probe(inner, group, &marks, keys.get(slot)),
            _ => None,
        };
        let mut entities: Vec<_> = (0..slots).map(get).collect();
        let mut misses: Vec<usize> = (0..slots).filter(|&slot| entities[slot].is_none()).collect();
        let looked_for = rows * plan.groups.iter().filter(|group| group.has_rows).count();
        inner.cache.count(looked_for - misses.len(), misses.len());
        let stood = if misses.is_empty() {
            // A record read after an epoch was replaced may lack that epoch's rows: they are being deleted.
            still()
        } else {
            misses.sort_unstable_by(|&a, &b| keys.get(a).cmp(keys.get(b)));
            let reading = Reading { inner, plan, keys: &keys, noted: &noted, patience };
            let stood = reading.fill(&misses, &mut entities, still)?;
            misses.sort_unstable();
            stood
        };
        if !stood {
            continue;
        }
        if misses.len() == slots || slots == 1 || noted.untouched(inner, &misses) {
            return Ok(Found { rows, keys, entities, marks });
        }
        trust_cache = false;
    }
}

/// The stripe of each slot and its count before anything was read; empty where there is no cache.
struct Noted(Vec<(usize, u64)>);

impl Noted {
    fn new(inner: &Inner, keys: &Keys, slots: usize) -> Self {
        let note = |slot| {
            let stripe = inner.stripes.of(keys.get(slot));
            (stripe, inner.stripes.writes(stripe))
        };
        Self(if inner.cache.is_on() { (0..slots).map(note).collect() } else { Vec::new() })
    }

    /// Whether nothing was written to the slots that are not among `misses`, which are ascending.
    fn untouched(&self, inner: &Inner, misses: &[usize]) -> bool {
        let mut misses = misses.iter().peekable();
        self.0.iter().enumerate().all(|(slot, &(stripe, count))| {
            misses.next_if(|&&miss| miss == slot).is_some() || inner.stripes.untouched(stripe, count)
        })
    }
}

/// The entity as cached, if the record is right about all views of the group.
#[inline]
fn probe(inner: &Inner, group: &Group, marks: &[Mark], entity: &[u8]) -> Option<EntityRecord> {
    let record = inner.cache.get(entity)?;
    group.views.iter().all(|&view| record.knows(marks[view])).then_some(record)
}

/// What the misses of one request are read with.
struct Reading<'a> {
    inner: &'a Inner,
    plan: &'a Plan,
    keys: &'a Keys,
    noted: &'a Noted,
    patience: &'a Patience<'a>,
}

impl Reading<'_> {
    /// Reads the misses, which are in key order, and publishes them. `false` when `still` no longer holds once the iterator stands:
    /// the epochs asked for may be gone from what it sees.
    fn fill(&self, misses: &[usize], entities: &mut [Option<EntityRecord>], still: impl Fn() -> bool) -> Result<bool> {
        let Self { inner, plan, keys, noted, patience } = self;
        // Before the iterator: what is noted must not be newer than what is read.
        let generation = inner.generation.load(Acquire);
        // By prefix, so that blooms tell which files hold an entity; where it ends is seen here.
        let mut iterator = inner.db.raw_iterator_cf_opt(inner.rows()?, ReadOptions::default());
        if !still() {
            return Ok(false);
        }
        // What is kept is kept for all lookups.
        let keep_all = inner.cache.is_on();
        let (mut last, mut builder) = (None::<usize>, RecordBuilder::new());
        for (nth, &slot) in misses.iter().enumerate() {
            if nth % READ_AT_ONCE == 0 && (patience.over)() {
                return if patience.allow_partial { Ok(true) } else { Err(Error::Deadline) };
            }
            let entity = keys.get(slot);
            // One request may ask for an entity twice, and for other views of it.
            let same = |&last: &usize| keys.get(last) == entity && (keep_all || last / keys.rows == slot / keys.rows);
            let record = match last.filter(same).and_then(|last| entities[last].clone()) {
                Some(twin) => twin,
                None => {
                    let wanted = if keep_all { (0, u32::MAX) } else { plan.view_ids(slot / keys.rows) };
                    read(&mut iterator, &mut builder, entity, wanted, generation)?
                }
            };
            if let Some(&(stripe, writes)) = noted.0.get(slot) {
                reach(Failpoint::BeforeCacheFill);
                inner.stripes.unless_written(stripe, writes, || inner.cache.publish(entity, &record));
            }
            entities[slot] = Some(record);
            last = Some(slot);
        }
        Ok(true)
    }
}

/// The rows of one entity, of views with ids in a range.
fn read(
    iterator: &mut DBRawIteratorWithThreadMode<'_, DB>,
    record: &mut RecordBuilder,
    entity: &[u8],
    (first, last): (u32, u32),
    generation: u64,
) -> Result<EntityRecord> {
    record.begin(generation);
    match first {
        0 => iterator.seek(entity),
        first => iterator.seek([entity, &key::suffix(first, 0)].concat()),
    }
    while let Some((found, row)) = iterator.item() {
        let Some(suffix) = found.strip_prefix(entity).and_then(|rest| <[u8; key::SUFFIX]>::try_from(rest).ok()) else {
            break;
        };
        let suffix = u64::from_be_bytes(suffix);
        let view = (suffix >> 32) as u32;
        if view > last {
            break;
        }
        record.push(view, suffix as u32, row);
        iterator.next();
    }
    iterator.status().map_err(Error::store("looking up rows"))?;
    Ok(record.finish())
}
