//! What the windows of a group's rows hold.
//!
//! ```text
//! rows of a group, ascending      events of the group, as they became known
//!   t                               seen <= t: a prefix, one longer with each row
//!   each window                     round_down(t - window, hop) < e: of the same events by event time, a suffix that gets shorter
//! ```
//! Windows that end together lie within one another. So a row's windows are filled from the shortest to the longest, each
//! event added once to each partial aggregate, and read off in passing. Merging makes no difference to what a partial
//! aggregate holds, so tiles are not needed for that: a group with many rows and long windows gets them ([`super::tiles`]), for
//! which adding every event anew to every row would take too long.

use std::ops::Range;

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::execution::memory_pool::MemoryReservation;
use tidegate_schemas::definition::Aggregate;
use tidegate_schemas::time::Micros;
use tidegate_schemas::window::{Class, Kind, Partial, Spec, TOP_KEPT, Windows, tail};

use super::columns::{Answers, Column};
use super::events::Sorted;
use super::search::{Values, newest_array};
use super::tiles::{Pyramid, Reading};
use super::windows;
use crate::point_in_time::spine::SpineIndex;
use crate::point_in_time::{Error, Result, View};

/// How many events it takes, added one by one, to be worth one step of a pyramid: an event into a tile, or a tile read.
const ADDED_PER_STEP: usize = 8;

/// A window, as features share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    /// Its length and what its tail is rounded to; none for everything.
    length: Option<(Micros, Micros)>,
}

impl Frame {
    fn of(aggregate: &Aggregate) -> Self {
        Self { length: aggregate.window.map(|window| (window, aggregate.hop)) }
    }

    /// Events after this count; all of them where there is none.
    fn tail(&self, at: Micros) -> Option<Micros> {
        self.length.map(|(window, hop)| tail(window, hop, at))
    }
}

/// One kind of partial aggregate of one input, and the features made of it in each frame.
#[derive(Debug)]
struct Lane {
    spec: Spec,
    /// Frames from the shortest to the longest, each with its features.
    frames: Vec<(usize, Vec<usize>)>,
}

/// Makes the values of a view's windows, group after group.
pub(super) struct Folder {
    windows: Windows,
    frames: Vec<Frame>,
    lanes: Vec<Lane>,
    types: Vec<DataType>,
    /// Per input what its values are held as.
    classes: Vec<Option<Class>>,
    /// Steps of a pyramid for an event, and about how many for a row.
    steps: (usize, usize),
    memory: MemoryReservation,
}

/// The values of a few groups' slots so far.
struct Output {
    features: Vec<Answers>,
    newest: Vec<Option<Micros>>,
}

/// The events of one group.
pub(super) struct Group<'a> {
    pub(super) events: &'a [Micros],
    pub(super) seen: &'a [Micros],
    pub(super) created: &'a [Option<Micros>],
    pub(super) columns: &'a [Column],
    /// Where the columns have the group's first event.
    pub(super) first: usize,
    /// The events by event time, where that is not the order in which they became known.
    by_event: Option<Vec<u32>>,
}

impl<'a> Group<'a> {
    fn new(sorted: &'a Sorted, columns: &'a [Column], rows: Range<usize>) -> Self {
        let events = &sorted.events[rows.clone()];
        let created = sorted.created.get(rows.clone()).unwrap_or_default();
        let by_event = (!events.is_sorted()).then(|| {
            let mut order: Vec<u32> = (0..events.len() as u32).collect();
            order.sort_by_key(|at| events[*at as usize]);
            order
        });
        Self { events, seen: &sorted.seen[rows.clone()], created, columns, first: rows.start, by_event }
    }

    /// The event at a place in the order of event time.
    #[inline]
    fn at(&self, place: usize) -> usize {
        self.by_event.as_ref().map_or(place, |order| order[place] as usize)
    }

    fn created(&self, at: usize) -> Option<Micros> {
        self.created.get(at).copied().flatten()
    }

    /// Adds those events, of a range of places in the order of event time, of which as many are known.
    #[inline]
    fn add(&self, partial: &mut Partial, spec: &Spec, places: Range<usize>, known: usize) {
        if self.by_event.is_some() {
            for at in places.map(|place| self.at(place)).filter(|at| *at < known) {
                self.add_one(partial, spec, at);
            }
            return;
        }
        let rows = places.start..places.end.min(known);
        if rows.is_empty() {
            return;
        }
        let run = spec.input.and_then(|input| self.columns[input].run(self.first + rows.start..self.first + rows.end));
        if run.is_none_or(|run| !partial.add_run(spec, run)) {
            rows.for_each(|at| self.add_one(partial, spec, at));
        }
    }

    #[inline]
    fn add_one(&self, partial: &mut Partial, spec: &Spec, at: usize) {
        let value = spec.input.and_then(|input| self.columns[input].get(self.first + at));
        partial.add(spec, self.events[at], self.created(at), value);
    }

    /// Puts an event into the tiles of a pyramid.
    pub(super) fn add_to(&self, pyramid: &mut Pyramid<'_>, at: usize) {
        let values: Vec<_> = self.columns.iter().map(|column| column.get(self.first + at)).collect();
        pyramid.add(self.events[at], self.created(at), &values);
    }
}

impl Folder {
    /// For the aggregates of a view.
    ///
    /// # Errors
    /// A function that can't be computed of its input.
    pub(super) fn new(view: &View, memory: MemoryReservation) -> Result<Self> {
        let aggregates: Vec<&Aggregate> = super::aggregates(view).collect();
        let windows = windows(view)?;
        let (mut frames, mut lanes): (Vec<Frame>, Vec<Lane>) = (Vec::new(), Vec::new());
        for (feature, aggregate) in aggregates.iter().enumerate() {
            let frame = find_or_push(&mut frames, Frame::of(aggregate));
            let spec = *windows.spec(feature);
            let lane = lanes.iter().position(|lane| lane.spec == spec).unwrap_or_else(|| {
                lanes.push(Lane { spec, frames: Vec::new() });
                lanes.len() - 1
            });
            let of_lane = &mut lanes[lane].frames;
            match of_lane.iter_mut().find(|(known, _)| *known == frame) {
                Some((_, features)) => features.push(feature),
                None => of_lane.push((frame, vec![feature])),
            }
        }
        let length = |frame: &(usize, Vec<usize>)| frames[frame.0].length.map_or(Micros::MAX, |(window, _)| window);
        lanes.iter_mut().for_each(|lane| lane.frames.sort_by_key(length));
        let per_event = windows.groups().iter().map(|group| usize::from(group.top) + 1).sum();
        let tiles = |feature: usize| windows.cover(feature, 0).count();
        let per_row = lanes.iter().flat_map(|lane| &lane.frames).map(|(_, features)| tiles(features[0])).sum();
        let classes = windows.inputs().iter().map(|input| Class::of(&input.data_type)).collect();
        let types = view.features.iter().map(|feature| feature.data_type.clone()).collect();
        Ok(Self { windows, frames, lanes, types, classes, steps: (per_event, per_row), memory })
    }

    /// The values of all slots of a range of groups.
    ///
    /// # Errors
    /// Text or lists too long to lie in one array; more tiles than the memory pool has room for.
    pub(super) fn part(&self, index: &SpineIndex, groups: &Range<u32>, sorted: &Sorted) -> Result<Values> {
        let read = |(array, class): (_, &Option<Class>)| Column::read(array, *class);
        let columns: Vec<Column> = sorted
            .inputs
            .iter()
            .zip(&self.classes)
            .map(read)
            .collect::<Result<_, ArrowError>>()
            .map_err(arrow_error)?;
        let mut output = Output { features: self.types.iter().map(Answers::new).collect(), newest: Vec::new() };
        for (number, rows) in groups.clone().zip(sorted.starts.windows(2)) {
            let (times, group) = (index.times_of(number), Group::new(sorted, &columns, rows[0]..rows[1]));
            if self.is_tall(&group, times) {
                self.by_tiles(&group, times, &mut output)?;
            } else {
                self.one_by_one(&group, times, &mut output);
            }
        }
        let features =
            output.features.into_iter().map(Answers::finish).collect::<Result<_, _>>().map_err(arrow_error)?;
        Ok(Values { features, newest: newest_array(output.newest) })
    }

    /// Whether a group has so many rows over so many events that tiles are worth their making.
    fn is_tall(&self, group: &Group<'_>, times: &[Micros]) -> bool {
        let events = group.events.len();
        // Added one by one to one partial aggregate, counts of many different values would be pruned; tiles hold fewer each.
        if events > TOP_KEPT && self.lanes.iter().any(|lane| lane.spec.kind == Kind::Top) {
            return true;
        }
        let (per_event, per_row) = self.steps;
        let steps = events.saturating_mul(per_event) + times.len().saturating_mul(per_row);
        if events.saturating_mul(times.len()).saturating_mul(self.lanes.len()) <= steps * ADDED_PER_STEP {
            return false;
        }
        let mut seen = Seen::new(self.frames.len());
        let added = times.iter().fold(0_usize, |added, at| {
            seen.go_to(*at, group, &self.frames);
            added.saturating_add(seen.happened - seen.from.iter().min().copied().unwrap_or(seen.happened))
        });
        added.saturating_mul(self.lanes.len()) > steps.saturating_mul(ADDED_PER_STEP)
    }

    /// Adds the events of each row's windows.
    fn one_by_one(&self, group: &Group<'_>, times: &[Micros], output: &mut Output) {
        let mut seen = Seen::new(self.frames.len());
        for at in times {
            seen.go_to(*at, group, &self.frames);
            output.newest.push(seen.newest(group));
            for lane in &self.lanes {
                let (mut nested, mut reached) = (lane.spec.empty(), seen.happened);
                for (frame, features) in &lane.frames {
                    let from = seen.from[*frame];
                    let mut apart;
                    let partial = if from <= reached {
                        group.add(&mut nested, &lane.spec, from..reached, seen.known);
                        reached = from;
                        &nested
                    } else {
                        // Rounded down by a wide hop, a shorter window may begin before a longer one.
                        apart = lane.spec.empty();
                        group.add(&mut apart, &lane.spec, from..seen.happened, seen.known);
                        &apart
                    };
                    for feature in features {
                        output.features[*feature].push(&self.windows.finish(*feature, partial));
                    }
                }
            }
        }
    }

    /// Fills a pyramid of tiles as events become known, and reads each row's windows from it.
    fn by_tiles(&self, group: &Group<'_>, times: &[Micros], output: &mut Output) -> Result<()> {
        let mut pyramid = Pyramid::new(&self.windows, self.memory.new_empty());
        let uses = self.lanes.iter().flat_map(|lane| lane.frames.iter().map(|(_, features)| features));
        let mut readings: Vec<Reading> = uses.map(|features| Reading::of(&self.windows, features.clone())).collect();
        let mut seen = Seen::new(self.frames.len());
        for at in times {
            let known = seen.known;
            seen.go_to(*at, group, &self.frames);
            pyramid.next_row();
            (known..seen.known).for_each(|event| group.add_to(&mut pyramid, event));
            pyramid.account()?;
            output.newest.push(seen.newest(group));
            for reading in &mut readings {
                pyramid.read(reading, *at);
                for feature in &reading.features {
                    output.features[*feature].push(&self.windows.finish(*feature, &reading.found));
                }
            }
        }
        Ok(())
    }
}

/// What a row of a group sees; rows get later.
#[derive(Debug)]
struct Seen {
    /// So many events, of those as they became known, are known.
    known: usize,
    /// So many, of those by event time, have happened.
    happened: usize,
    /// The newest of those known.
    latest: Option<Micros>,
    /// Per frame the place of its first event among those by event time.
    from: Vec<usize>,
}

impl Seen {
    fn new(frames: usize) -> Self {
        Self { known: 0, happened: 0, latest: None, from: vec![0; frames] }
    }

    fn go_to(&mut self, at: Micros, group: &Group<'_>, frames: &[Frame]) {
        while group.seen.get(self.known).is_some_and(|seen| *seen <= at) {
            self.latest = self.latest.max(Some(group.events[self.known]));
            self.known += 1;
        }
        let places = group.events.len();
        while self.happened < places && group.events[group.at(self.happened)] <= at {
            self.happened += 1;
        }
        for (from, frame) in self.from.iter_mut().zip(frames) {
            let Some(tail) = frame.tail(at) else { continue };
            while *from < places && group.events[group.at(*from)] <= tail {
                *from += 1;
            }
        }
    }

    /// The newest event that is known and in the longest window.
    fn newest(&self, group: &Group<'_>) -> Option<Micros> {
        let first = self.from.iter().min().copied().filter(|first| *first < self.happened)?;
        self.latest.filter(|latest| *latest >= group.events[group.at(first)])
    }
}

fn find_or_push<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|known| *known == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

fn arrow_error(error: ArrowError) -> Error {
    Error::Plan(error.into())
}

#[cfg(test)]
mod tests;
