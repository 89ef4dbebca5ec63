//! From keys to whole entities: cache first, then one iterator for everything that is missing.

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
    #[inline]
    pub(super) fn entity(&self, group: usize, row: usize) -> &EntityRecord {
        &self.entities[group * self.rows + row]
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
    loop {
        let marks: Vec<Mark> = plan.views.iter().map(|used| used.view.mark()).collect();
        let probed: Vec<Option<Arc<EntityRecord>>> = (0..plan.groups.len() * rows)
            .map(|slot| probe(inner, &plan.groups[slot / rows], &marks, keys.get(slot)))
            .collect();
        let mut misses: Vec<usize> = (0..probed.len()).filter(|&slot| probed[slot].is_none()).collect();
        inner.cache.count(probed.len() - misses.len(), misses.len());
        let still = || plan.views.iter().map(|used| used.view.mark()).eq(marks.iter().copied());
        if misses.is_empty() {
            // A record read after an epoch was replaced may lack that epoch's rows: they are being deleted.
            if !still() {
                continue;
            }
            return Ok(Found { rows, entities: probed.into_iter().flatten().collect(), marks });
        }
        misses.sort_unstable_by(|&a, &b| keys.get(a).cmp(keys.get(b)));
        if let Some(entities) = fill(inner, &keys, &misses, probed, still)? {
            return Ok(Found { rows, entities, marks });
        }
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
    misses: &[usize],
    mut probed: Vec<Option<Arc<EntityRecord>>>,
    still: impl Fn() -> bool,
) -> Result<Option<Vec<Arc<EntityRecord>>>> {
    // Before the iterator, in this order: what is noted must not be newer than what is read.
    let generation = inner.generation.load(Ordering::Acquire);
    let noted: Vec<(usize, u64)> = match inner.cache.is_on() {
        true => misses
            .iter()
            .map(|&slot| inner.stripes.of(keys.get(slot)))
            .map(|nth| (nth, inner.stripes.writes(nth)))
            .collect(),
        false => Vec::new(),
    };
    let mut options = ReadOptions::default();
    options.set_prefix_same_as_start(true);
    let mut iterator = inner.db.raw_iterator_cf_opt(inner.rows()?, options);
    if !still() {
        return Ok(None);
    }
    let mut last: Option<usize> = None;
    for (nth, &slot) in misses.iter().enumerate() {
        let entity = keys.get(slot);
        let record = match last.filter(|&last| keys.get(last) == entity).and_then(|last| probed[last].clone()) {
            Some(twin) => twin,
            None => Arc::new(read(&mut iterator, entity, generation)?),
        };
        if let Some(&(stripe, writes)) = noted.get(nth) {
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
