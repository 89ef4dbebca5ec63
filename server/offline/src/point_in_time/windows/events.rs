//! The events of a spine's groups: as a scan finds them, then group by group in the order in which they became known.
//!
//! A scan hands over [`Chunk`]s, one for each piece of a row group, in no order. [`Grouped`] says where the events of each
//! group are, without moving them. [`Grouped::sorted`] brings those of a few groups together at a time: few enough for a
//! core's cache, so that each group's events are then walked through and not looked for.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::interleave;
use arrow::datatypes::{Float32Type, Float64Type};
use arrow::error::ArrowError;
use tidegate_schemas::time::{Availability, Micros, UpperBound};

use crate::point_in_time::View;

/// Events of one piece of a row group, columns side by side.
#[derive(Debug)]
pub(in crate::point_in_time) struct Chunk {
    groups: Vec<u32>,
    events: Vec<Micros>,
    /// When a reader first sees each; empty where that is its event time and `wait`.
    seen: Vec<Micros>,
    wait: Micros,
    /// Created times, the lowest for a missing one; empty where the table has none.
    created: Vec<Micros>,
    at_once: bool,
    has_created: bool,
    pub(in crate::point_in_time) inputs: Vec<ArrayRef>,
}

impl Chunk {
    /// An empty one of a view's events, with room for some.
    pub(in crate::point_in_time) fn with_room(events: usize, view: &View) -> Self {
        let at_once = known_at_once(view);
        let has_created = view.created_time.is_some();
        Self {
            groups: Vec::with_capacity(events),
            events: Vec::with_capacity(events),
            seen: Vec::with_capacity(if at_once { 0 } else { events }),
            wait: Micros::from(view.upper == UpperBound::Exclusive),
            created: Vec::with_capacity(if has_created { events } else { 0 }),
            at_once,
            has_created,
            inputs: Vec::new(),
        }
    }

    #[inline]
    pub(in crate::point_in_time) fn push(&mut self, group: u32, seen: Micros, event: Micros, created: Option<Micros>) {
        self.groups.push(group);
        self.events.push(event);
        if !self.at_once {
            self.seen.push(seen);
        }
        if self.has_created {
            self.created.push(created.unwrap_or(Micros::MIN));
        }
    }

    #[inline]
    fn seen(&self, row: usize) -> Micros {
        if self.at_once { self.events[row].saturating_add(self.wait) } else { self.seen[row] }
    }

    fn created(&self, row: usize) -> Option<Micros> {
        self.created.get(row).copied().filter(|created| *created != Micros::MIN)
    }

    fn shrink(&mut self) {
        self.groups.shrink_to_fit();
        self.events.shrink_to_fit();
        self.seen.shrink_to_fit();
        self.created.shrink_to_fit();
    }

    fn bytes(&self) -> usize {
        let times = self.events.capacity() + self.seen.capacity() + self.created.capacity();
        let inputs: usize = self.inputs.iter().map(|array| array.get_array_memory_size()).sum();
        self.groups.capacity() * 4 + times * 8 + inputs + self.groups.capacity() * ORDER_BYTES
    }
}

/// Bytes per event to say which group it is of.
const ORDER_BYTES: usize = size_of::<Place>();

/// Whether every event of a view is seen as soon as it has happened.
fn known_at_once(view: &View) -> bool {
    view.availability == Availability::Event
}

/// What one worker of a scan has found.
#[derive(Debug, Default)]
pub(in crate::point_in_time) struct Collected {
    pub(in crate::point_in_time) chunks: Vec<Chunk>,
    /// Bytes held, with those that will be needed to put the events in order.
    pub(in crate::point_in_time) bytes: usize,
}

impl Collected {
    pub(in crate::point_in_time) fn push(&mut self, mut chunk: Chunk) {
        chunk.shrink();
        self.bytes += chunk.bytes();
        self.chunks.push(chunk);
    }
}

/// Puts chunks in the order of time, as far as theirs is: groups that are put together of them are then mostly in order.
pub(super) fn in_time(mut chunks: Vec<Chunk>) -> Arc<Vec<Chunk>> {
    chunks.sort_by_key(|chunk| chunk.events.first().copied());
    Arc::new(chunks)
}

/// Number of a chunk, and row in it.
type Place = (u32, u32);

/// The events of all groups of a range.
#[derive(Debug)]
pub(super) struct Grouped {
    chunks: Arc<Vec<Chunk>>,
    /// The range's first group.
    first: u32,
    /// Per group the position of its first event in `places`; one more at the end.
    starts: Vec<usize>,
    places: Vec<Place>,
}

impl Grouped {
    /// Sorts the events of a range of groups by group, by counting; of a group those of earlier chunks come first.
    pub(super) fn of(chunks: Arc<Vec<Chunk>>, groups: &Range<u32>) -> Self {
        // Below the range wraps to beyond it.
        let place = |group: u32| group.wrapping_sub(groups.start) as usize;
        let mut starts = vec![0_usize; groups.len() + 1];
        for group in chunks.iter().flat_map(|chunk| &chunk.groups) {
            if let Some(start) = starts[1..].get_mut(place(*group)) {
                *start += 1;
            }
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts[..groups.len()].to_vec();
        let mut places = vec![(0, 0); starts[groups.len()]];
        for (number, chunk) in (0..).zip(chunks.iter()) {
            for (row, group) in (0..).zip(&chunk.groups) {
                if let Some(at) = next.get_mut(place(*group)) {
                    places[*at] = (number, row);
                    *at += 1;
                }
            }
        }
        Self { chunks, first: groups.start, starts, places }
    }

    /// Cuts the groups into ranges of about `events` events, each of a group at least; one range where there are no groups.
    pub(super) fn cut(&self, events: usize) -> Vec<Range<u32>> {
        let (mut cuts, mut from) = (Vec::new(), 0);
        let groups = self.starts.len() - 1;
        if groups == 0 {
            return std::iter::once(self.first..self.first).collect();
        }
        while from < groups {
            let limit = self.starts[from] + events;
            // Groups without events take time too.
            let end = (from + 1..groups).take(events).find(|end| self.starts[end + 1] > limit);
            let end = end.unwrap_or_else(|| groups.min(from + 1 + events));
            cuts.push(self.first + from as u32..self.first + end as u32);
            from = end;
        }
        cuts
    }

    /// The events of a range of groups, each group's in the order in which they became known; of those that became known
    /// together, by event time, created time and values, so that no layout of files, and no order of work, shows.
    ///
    /// # Errors
    /// Values too long to lie in one array.
    pub(super) fn sorted(&self, groups: &Range<u32>) -> Result<Sorted, ArrowError> {
        let range = (groups.start - self.first) as usize..(groups.end - self.first) as usize;
        let all = self.starts[range.start]..self.starts[range.end];
        let starts: Vec<usize> = self.starts[range.start..=range.end].iter().map(|at| at - all.start).collect();
        let mut order: Vec<Ranked> = self.places[all].iter().map(|place| self.ranked(*place)).collect();
        for group in starts.windows(2) {
            let members = &mut order[group[0]..group[1]];
            if !members.is_sorted_by_key(Ranked::times) {
                members.sort_unstable_by_key(Ranked::times);
            }
            let tied = members.chunk_by_mut(|a, b| a.times() == b.times()).filter(|tied| tied.len() > 1);
            tied.for_each(|tied| tied.sort_by(|a, b| self.by_value(a.place, b.place)));
        }
        let places: Vec<(usize, usize)> =
            order.iter().map(|event| (event.place.0 as usize, event.place.1 as usize)).collect();
        let column = |number: usize| {
            let arrays: Vec<&dyn Array> = self.chunks.iter().map(|chunk| chunk.inputs[number].as_ref()).collect();
            interleave(&arrays, &places)
        };
        let inputs = (0..self.inputs().len()).map(column).collect::<Result<_, _>>()?;
        let created = match self.chunks.first() {
            Some(chunk) if chunk.has_created => {
                order.iter().map(|event| self.chunks[event.place.0 as usize].created(event.place.1 as usize)).collect()
            }
            _ => Vec::new(),
        };
        Ok(Sorted {
            starts,
            events: order.iter().map(|event| event.event).collect(),
            seen: order.iter().map(|event| event.seen).collect(),
            created,
            inputs,
        })
    }

    fn ranked(&self, place: Place) -> Ranked {
        let (chunk, row) = (&self.chunks[place.0 as usize], place.1 as usize);
        let created = chunk.created.get(row).copied().unwrap_or(Micros::MIN);
        Ranked { seen: chunk.seen(row), event: chunk.events[row], created, place }
    }

    fn inputs(&self) -> &[ArrayRef] {
        self.chunks.first().map_or(&[], |chunk| &chunk.inputs)
    }

    /// Compares two events by their floats, whose sum depends on the order in which they are added, in its last digits.
    fn by_value(&self, a: Place, b: Place) -> Ordering {
        let inputs = |place: Place| self.chunks[place.0 as usize].inputs.iter();
        let columns = inputs(a).zip(inputs(b)).map(|(left, right)| {
            let (left, right) = (float(left, a.1 as usize), float(right, b.1 as usize));
            left.zip(right).map_or_else(|| left.is_some().cmp(&right.is_some()), |(left, right)| left.total_cmp(&right))
        });
        columns.fold(Ordering::Equal, Ordering::then)
    }
}

/// A value of a column of floats; none of others.
fn float(array: &ArrayRef, row: usize) -> Option<f64> {
    if array.is_null(row) {
        return None;
    }
    let single = || array.as_primitive_opt::<Float32Type>().map(|values| f64::from(values.value(row)));
    array.as_primitive_opt::<Float64Type>().map(|values| values.value(row)).or_else(single)
}

/// An event and its place in the order of its group.
#[derive(Debug, Clone, Copy)]
struct Ranked {
    seen: Micros,
    event: Micros,
    created: Micros,
    place: Place,
}

impl Ranked {
    fn times(&self) -> (Micros, Micros, Micros) {
        (self.seen, self.event, self.created)
    }
}

/// The events of a few groups, in order.
#[derive(Debug)]
pub(super) struct Sorted {
    /// Per group its first event; one more at the end.
    pub(super) starts: Vec<usize>,
    pub(super) events: Vec<Micros>,
    pub(super) seen: Vec<Micros>,
    /// Empty where the table has no created times.
    pub(super) created: Vec<Option<Micros>>,
    /// The columns to aggregate.
    pub(super) inputs: Vec<ArrayRef>,
}
