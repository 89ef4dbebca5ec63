//! Phase 1: every observation of a view once, keys and times only, in any order on any thread.
//!
//! ```text
//! per observation:  group <- its keys, or drop it: the spine does not ask for them
//!                   k     <- when it was known; drop it if never, or after `as_of`
//!                   p     <- first slot of the group with time >= max(e, k)   (> e where the bound is exclusive)
//!                   none  -> later than every row that could ask; drop it
//!                   best[p] <- max(best[p], (e, c, address))
//! at the end:       along each group, best[p] <- max(best[p - 1], best[p])
//! ```
//!
//! Row groups come newest first where statistics tell their times, and of each only observations of groups that can still
//! use them are decoded: some slot is not before all of them, and the first slot has not seen a newer one.
//!
//! One write per observation suffices because an observation seen at slot p is seen at every later slot of its group: the
//! running maximum hands it on. The ttl looks at winners only ([`Winner::expired`]): when the newest is too old, all are.

mod intervals;
mod order;
mod slots;
mod worker;

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, UInt32Array};
use datafusion::common::ScalarValue;
use datafusion::common::runtime::JoinSet;
use datafusion::execution::memory_pool::MemoryReservation;
use tidegate_schemas::time::{Availability, Micros, expired};

use super::columns::{Rounding, Times};
use super::files::{Files, Place};
use super::metrics::ViewMetrics;
use super::spine::SpineIndex;
use super::windows::events::{Chunk, Collected};
use super::{Error, Result, View};
use crate::table::snapshot::DataFile;
use intervals::Intervals;
use slots::{Created, Offers, Reached, Slots};
use worker::Worker;

/// Delta writers may cut timestamp statistics to milliseconds; a maximum is widened by as much. What is cut off counts as a
/// whole millisecond, since times finer than a microsecond round up.
const STATISTICS_SLACK: Micros = 1_000;

/// Least rows of a piece of a row group, where there are fewer row groups than workers.
const PIECE_ROWS: usize = 128 * 1024;

/// The observation that answers a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Winner {
    /// Its row number among all rows of the view's files, plus one; 0 where there is none.
    row: u64,
    pub(super) event: Micros,
}

impl Winner {
    /// Its row number among all rows of the view's files.
    #[inline]
    pub(super) fn row(self) -> Option<u64> {
        self.row.checked_sub(1)
    }

    /// Whether it is too old at the slot's time.
    #[inline]
    pub(super) fn expired(self, at: Micros, ttl: Option<Micros>) -> bool {
        expired(self.event, at, ttl)
    }
}

/// Bytes of one slot of one worker, at most.
pub(super) const SLOT_BYTES: usize = 32;

/// Bytes of a slot's winner.
pub(super) const WINNER_BYTES: usize = size_of::<Winner>();

/// Bytes that `workers` take for their slots and for what they know of the groups.
pub(super) fn worker_bytes(view: &View, index: &SpineIndex, workers: usize) -> usize {
    let slots = if view.created_time.is_some() { Slots::<Micros>::bytes(index) } else { Slots::<()>::bytes(index) };
    let groups = index.latest().len();
    size_of_val(index.latest()) + workers * (slots + groups)
}

/// Bytes the winners of all slots take.
pub(super) fn winner_bytes(index: &SpineIndex) -> usize {
    index.slots() * WINNER_BYTES
}

/// What can be skipped unread: the spine's first and last time, and how old a winner may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    earliest: Option<Micros>,
    latest: Micros,
}

impl Window {
    /// The window of event times that can matter to a spine with this span.
    pub(super) fn new(view: &View, span: (Micros, Micros), as_of: Option<Micros>) -> Self {
        let latest = as_of.map_or(span.1, |cut| cut.min(span.1));
        let reach = if view.is_windowed() { super::windows::reach(view) } else { Self::ttl(view) };
        Self { earliest: reach.map(|reach| span.0.saturating_sub(reach)), latest }
    }

    /// The ttl by which observations can be skipped unread.
    ///
    /// Old ones count only for the statuses they give, so it cuts only where no status is asked for.
    pub(super) fn ttl(view: &View) -> Option<Micros> {
        view.ttl.filter(|_| view.status_output.is_none() && view.event_time_output.is_none())
    }

    fn misses(&self, (min, max): (Micros, Micros)) -> bool {
        min > self.latest || self.earliest.is_some_and(|earliest| max < earliest)
    }

    /// Whether the log's statistics show that a file can't matter.
    pub(super) fn misses_file(&self, file: &DataFile, event_time: &str) -> bool {
        let micros = |value: &ScalarValue| {
            let array = value.to_array_of_size(1).ok()?;
            let times = Times::read(&array, Rounding::Up)?;
            (!times.is_null(0)).then(|| times.values[0])
        };
        let range = file.ranges.get(event_time).and_then(|(min, max)| Some((micros(min)?, micros(max)?)));
        range.is_some_and(|(min, max)| self.misses((min, max.saturating_add(STATISTICS_SLACK))))
    }
}

/// What every worker of a view's scan shares.
pub(super) struct Scan {
    pub(super) view: Arc<View>,
    pub(super) files: Arc<Files>,
    pub(super) index: Arc<SpineIndex>,
    pub(super) window: Window,
    pub(super) as_of: Option<Micros>,
    /// A column without which an observation does not count where it is null.
    pub(super) needed: Option<String>,
    /// The groups whose observations are looked for; all where none are named.
    pub(super) groups: Option<Range<u32>>,
    pub(super) metrics: ViewMetrics,
    pub(super) memory: MemoryReservation,
}

/// Consecutive rows of one row group.
#[derive(Debug, Clone)]
struct Piece {
    file: usize,
    group: usize,
    rows: Range<usize>,
    /// Smallest and largest event time, where statistics say, none is missing, and they are a part of history.
    events: Option<(Micros, Micros)>,
}

/// Looks at every observation, with `workers` tasks that stop when the future is dropped; what it gives then finds the
/// winner of every slot, with one, so that the next search can begin meanwhile.
///
/// # Errors
/// A file that is gone or can't be read.
pub(super) async fn search(scan: Scan, workers: usize) -> Result<Finish> {
    match scan.view.created_time {
        Some(_) => run::<Micros>(scan, workers).await,
        None => run::<()>(scan, workers).await,
    }
}

/// What is left of a search: to put together what its workers found.
pub(super) type Finish = Box<dyn FnOnce() -> Vec<Winner> + Send>;

async fn run<C: Created>(scan: Scan, workers: usize) -> Result<Finish> {
    let (scan, mut found) = work::<C>(scan, workers).await?;
    Ok(Box::new(move || {
        let mut all = found.pop().unwrap_or_else(|| Found::new(&scan));
        found.into_iter().for_each(|other| all.merge(other));
        let (winners, conflicts) = all.winners(&scan.index);
        scan.metrics.conflicts.add(conflicts as usize);
        winners
    }))
}

/// The events of a windowed view that rows of the spine may count, in no order, and the memory taken for them.
///
/// # Errors
/// A file that is gone or can't be read; more events than the memory pool has room for.
pub(super) async fn events(scan: Scan, workers: usize) -> Result<(Vec<Chunk>, MemoryReservation)> {
    let all = scan.memory.new_empty();
    let (_, found) = work::<()>(scan, workers).await?;
    let mut chunks = Vec::new();
    for found in found {
        if let Found::Events(collected, memory) = found {
            all.grow(memory.free());
            chunks.extend(collected.chunks);
        }
    }
    Ok((chunks, all))
}

/// What each worker finds, with `workers` tasks that stop when the future is dropped.
async fn work<C: Created>(scan: Scan, workers: usize) -> Result<(Arc<Scan>, Vec<Found<C>>)> {
    let pieces = Arc::new(pieces(&scan, workers)?);
    let workers = workers.min(pieces.len()).max(1);
    // Only an observation that is known as it happens is of no use to a group that has seen a newer one.
    let known_at_once = scan.view.availability == Availability::Event && scan.view.valid_to.is_none();
    let settles = known_at_once && !scan.view.is_windowed();
    let reached = Arc::new(Reached::new(if settles { scan.index.latest().len() } else { 0 }));
    let (scan, next) = (Arc::new(scan), Arc::new(AtomicUsize::new(0)));
    let mut running = JoinSet::new();
    for _ in 0..workers {
        let (scan, reached, pieces, next) = (scan.clone(), reached.clone(), pieces.clone(), next.clone());
        running.spawn(async move {
            let mut worker = Worker::new(&scan, &reached);
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                worker.piece(piece).await?;
                // Files in the page cache are read without ever waiting: this is where a dropped join stops.
                tokio::task::yield_now().await;
            }
            Ok::<Found<C>, Error>(worker.found)
        });
    }
    let mut found: Vec<Found<C>> = Vec::with_capacity(workers);
    while let Some(done) = running.join_next().await {
        found.push(finished(done)??);
    }
    Ok((scan, found))
}

/// What a worker has found so far.
enum Found<C> {
    /// Of observations that hold for good.
    Slots(Slots<C>),
    /// Of observations with an end of validity, and the memory taken for them.
    Intervals(Intervals<C>, MemoryReservation),
    /// The observations themselves, where windows count them, and the memory taken for them.
    Events(Collected, MemoryReservation),
}

impl<C: Created> Found<C> {
    fn new(scan: &Scan) -> Self {
        match scan.view.valid_to {
            _ if scan.view.is_windowed() => Self::Events(Collected::default(), scan.memory.new_empty()),
            None => Self::Slots(Slots::new(&scan.index)),
            Some(_) => Self::Intervals(Intervals::new(), scan.memory.new_empty()),
        }
    }

    fn offer_all(&mut self, index: &SpineIndex, offers: &Offers<C>, reached: &Reached) -> usize {
        match self {
            Self::Slots(slots) => slots.offer_all(index, offers, reached),
            Self::Intervals(intervals, _) => intervals.offer_all(index, offers),
            Self::Events(..) => 0,
        }
    }

    /// Takes memory for what grew.
    fn account(&self) -> Result<()> {
        match self {
            Self::Slots(_) => Ok(()),
            Self::Intervals(intervals, memory) => Ok(memory.try_resize(intervals.bytes())?),
            Self::Events(events, memory) => Ok(memory.try_resize(events.bytes)?),
        }
    }

    fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Slots(slots), Self::Slots(other)) => slots.merge(other),
            (Self::Intervals(intervals, memory), Self::Intervals(other, taken)) => {
                intervals.merge(other);
                memory.grow(taken.size());
            }
            // All workers of a scan find for one view.
            _ => {}
        }
    }

    fn winners(self, index: &SpineIndex) -> (Vec<Winner>, u64) {
        match self {
            Self::Slots(slots) => {
                let conflicts = slots.conflicts();
                (slots.winners(index), conflicts)
            }
            Self::Intervals(intervals, _) => intervals.winners(index),
            Self::Events(..) => (Vec::new(), 0),
        }
    }
}

/// A task's result; a panic in it goes on here.
pub(super) fn finished<T>(done: Result<T, tokio::task::JoinError>) -> Result<T> {
    match done {
        Ok(value) => Ok(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::Plan(datafusion::common::exec_datafusion_err!("the runtime is shutting down"))),
    }
}

/// The row groups to read, newest first; cut where there are too few of them for all workers.
fn pieces(scan: &Scan, workers: usize) -> Result<Vec<Piece>> {
    let mut groups = Vec::new();
    for (at, file) in scan.files.files.iter().enumerate() {
        let column = match scan.files.place(at, &scan.view.event_time)? {
            Place::Stored(column) => Some(column),
            Place::Constant(_) => None,
        };
        for group in 0..file.groups() {
            scan.metrics.row_groups.add(1);
            let range = column.and_then(|column| file.event_range(group, column));
            if range.is_some_and(|range| scan.window.misses(range)) {
                scan.metrics.row_groups_pruned.add(1);
            } else {
                let whole = column.is_some_and(|column| file.null_count(group, column) == Some(0));
                let rows = 0..file.group_rows(group) as usize;
                groups.push(Piece { file: at, group, rows, events: range.filter(|_| whole) });
            }
        }
    }
    newest_first(&mut groups);
    let cuts = if groups.len() < workers * 2 { (workers * 2).div_ceil(groups.len().max(1)) } else { 1 };
    let cut = |whole: Piece| {
        let length = whole.rows.len().div_ceil(cuts).max(PIECE_ROWS.min(whole.rows.len())).max(1);
        (0..whole.rows.len()).step_by(length).map(move |first| {
            let rows = first..(first + length).min(whole.rows.len());
            Piece { rows, ..whole.clone() }
        })
    };
    Ok(groups.into_iter().flat_map(cut).collect())
}

/// Puts row groups of a table that is sliced by time in its order, from the end: old observations are then of no use to
/// groups that newer ones have settled. Of row groups that go through most of history, time says nothing.
fn newest_first(groups: &mut [Piece]) {
    let known = || groups.iter().filter_map(|piece| piece.events);
    let Some(first) = known().map(|(first, _)| first).min() else { return };
    let span = known().map(|(_, last)| last.abs_diff(first)).max().unwrap_or(0);
    for piece in &mut *groups {
        piece.events = piece.events.filter(|(first, last)| last.abs_diff(*first) <= span / 2);
    }
    groups.sort_by_key(|piece| Reverse(piece.events.map_or(Micros::MAX, |(_, last)| last)));
}

impl Place {
    pub(super) fn stored(&self) -> Option<usize> {
        match self {
            Self::Stored(column) => Some(*column),
            Self::Constant(_) => None,
        }
    }
}

/// A one-value array, `rows` times.
pub(super) fn repeat(value: &ArrayRef, rows: usize) -> Result<ArrayRef, arrow::error::ArrowError> {
    arrow::compute::take(value, &UInt32Array::from(vec![0; rows]), None)
}
