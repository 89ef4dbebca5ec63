//! From keys to whole entities: cache first, then one iterator for everything that is missing.
//!
//! A request sees one state. What the iterator reads is of one moment; what the cache had is of that moment too if no write to
//! those entities was under way or came in between, which the stripes' counts tell. Otherwise everything is read through one
//! iterator.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::ArrayRef;
use rocksdb::{DB, DBRawIteratorWithThreadMode, ReadOptions};

use super::plan::{Group, Plan};
use crate::cache::EntityRecord;
use crate::key::{self, KeyEncoder};
use crate::layout::Mark;
use crate::store::Inner;
use crate::{Error, Result};

/// What a lookup found: for each group and row the entity, and the epochs to read it at.
pub(super) struct Found {
    rows: usize,
    entities: Vec<Arc<EntityRecord>>,
    pub(super) marks: Vec<Mark>,
}

impl Found {
    /// The stored row of each view for each entity row: views × rows.
    pub(super) fn located(&self, plan: &Plan) -> Vec<Option<&[u8]>> {
        let mut located = vec![None; plan.views.len() * self.rows];
        for (nth, group) in plan.groups.iter().enumerate() {
            let entities = &self.entities[nth * self.rows..(nth + 1) * self.rows];
            for (row, entity) in entities.iter().enumerate() {
                // Both are in the order of views.
                let mut stored = entity.rows().peekable();
                for &view in &group.views {
                    let wanted = (plan.views[view].view.id, self.marks[view].epoch);
                    while stored.next_if(|(at, _)| *at < wanted).is_some() {}
                    located[view * self.rows + row] = stored.peek().filter(|(at, _)| *at == wanted).map(|(_, row)| *row);
                }
            }
        }
        located
    }
}

/// The encoded keys of all groups and rows, end to end.
struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Keys {
    fn encode(plan: &Plan, columns: &[ArrayRef], rows: usize) -> Result<Self> {
        let slots = plan.groups.len() * rows;
        let mut keys = Self { bytes: Vec::with_capacity(slots * 24), ends: Vec::with_capacity(slots) };
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

pub(super) fn find(inner: &Inner, plan: &Plan, columns: &[ArrayRef], rows: usize) -> Result<Found> {
    let keys = Keys::encode(plan, columns, rows)?;
    let slots = plan.groups.len() * rows;
    let mut trust_cache = true;
    loop {
        let marks: Vec<Mark> = plan.views.iter().map(|used| used.view.mark()).collect();
        let still = || plan.views.iter().map(|used| used.view.mark()).eq(marks.iter().copied());
        let noted = Noted::new(inner, &keys, slots);
        let get = |slot: usize| probe(inner, &plan.groups[slot / rows], &marks, keys.get(slot));
        let probed: Vec<_> = (0..slots).map(|slot| if trust_cache { get(slot) } else { None }).collect();
        let mut misses: Vec<usize> = (0..slots).filter(|&slot| probed[slot].is_none()).collect();
        inner.cache.count(slots - misses.len(), misses.len());
        let one_state = |misses: &[usize]| misses.len() == slots || slots == 1 || noted.untouched(inner, misses);
        if misses.is_empty() {
            // A record read after an epoch was replaced may lack that epoch's rows: they are being deleted.
            if !still() {
                continue;
            }
            if one_state(&misses) {
                return Ok(Found { rows, entities: probed.into_iter().flatten().collect(), marks });
            }
            trust_cache = false;
            continue;
        }
        misses.sort_unstable_by(|&a, &b| keys.get(a).cmp(keys.get(b)));
        if let Some(entities) = fill(inner, &keys, &noted, &misses, probed, still)? {
            misses.sort_unstable();
            if one_state(&misses) {
                return Ok(Found { rows, entities, marks });
            }
            trust_cache = false;
        }
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
fn probe(inner: &Inner, group: &Group, marks: &[Mark], entity: &[u8]) -> Option<Arc<EntityRecord>> {
    let record = inner.cache.get(entity)?;
    group.views.iter().all(|&view| record.knows(marks[view])).then_some(record)
}

/// Reads the misses, which are in key order, and publishes them. `None` when `still` no longer holds once the iterator stands: the
/// epochs asked for may be gone from what it sees.
fn fill(
    inner: &Inner,
    keys: &Keys,
    noted: &Noted,
    misses: &[usize],
    mut probed: Vec<Option<Arc<EntityRecord>>>,
    still: impl Fn() -> bool,
) -> Result<Option<Vec<Arc<EntityRecord>>>> {
    // Before the iterator: what is noted must not be newer than what is read.
    let generation = inner.generation.load(Ordering::Acquire);
    let mut options = ReadOptions::default();
    options.set_prefix_same_as_start(true);
    let mut iterator = inner.db.raw_iterator_cf_opt(inner.rows()?, options);
    if !still() {
        return Ok(None);
    }
    let mut last: Option<usize> = None;
    for &slot in misses {
        let entity = keys.get(slot);
        let record = match last.filter(|&last| keys.get(last) == entity).and_then(|last| probed[last].clone()) {
            Some(twin) => twin,
            None => Arc::new(read(&mut iterator, entity, generation)?),
        };
        if let Some(&(stripe, writes)) = noted.0.get(slot) {
            inner.stripes.unless_written(stripe, writes, || inner.cache.publish(entity, &record));
        }
        probed[slot] = Some(record);
        last = Some(slot);
    }
    Ok(Some(probed.into_iter().flatten().collect()))
}

/// All rows of one entity.
fn read(iterator: &mut DBRawIteratorWithThreadMode<'_, DB>, entity: &[u8], generation: u64) -> Result<EntityRecord> {
    let mut record = EntityRecord::new(generation);
    iterator.seek(entity);
    while let Some((found, row)) = iterator.item() {
        let Some(suffix) = found.strip_prefix(entity).and_then(|rest| <[u8; key::SUFFIX]>::try_from(rest).ok()) else {
            break;
        };
        let suffix = u64::from_be_bytes(suffix);
        record.push((suffix >> 32) as u32, suffix as u32, row);
        iterator.next();
    }
    iterator.status().map_err(Error::store("looking up rows"))?;
    Ok(record)
}
