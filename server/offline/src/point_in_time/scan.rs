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
//! One write per observation suffices because an observation seen at slot p is seen at every later slot of its group: the
//! running maximum hands it on. The ttl looks at winners only ([`Winner::expired`]): when the newest is too old, all are.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use datafusion::common::ScalarValue;
use datafusion::common::runtime::JoinSet;
use tidegate_schemas::time::{Availability, Micros, UpperBound, expired, knowledge_time};

use super::columns::{Family, Lane, Rounding, Times};
use super::files::{Files, Place};
use super::metrics::ViewMetrics;
use super::spine::{NONE, SpineIndex};
use super::{Error, Result, View};
use crate::table::snapshot::DataFile;

/// Rows decoded at once: keys and times of these stay in a core's cache.
const BATCH_ROWS: usize = 16_384;

/// Delta writers may cut timestamp statistics to milliseconds; a maximum is widened by as much.
const STATISTICS_SLACK: Micros = 999;

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

/// The best observation of a slot so far. Compared as (e, c, a); a row of 0 means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Best {
    event: Micros,
    /// A missing created time is the lowest.
    created: Micros,
    row: u64,
}

impl Best {
    const NONE: Self = Self { event: Micros::MIN, created: Micros::MIN, row: 0 };

    fn ties(&self, other: &Self) -> bool {
        self.row != 0 && (self.event, self.created) == (other.event, other.created)
    }
}

/// One worker's slots.
struct Slots {
    best: Vec<Best>,
    /// Per slot: the times of its latest tie, and how many rows lost it. Ties are rare.
    ties: HashMap<u32, (Micros, Micros, u64), ahash::RandomState>,
}

impl Slots {
    fn new(slots: usize) -> Self {
        Self { best: vec![Best::NONE; slots], ties: HashMap::default() }
    }

    #[inline]
    fn offer(&mut self, slot: u32, new: Best) {
        let best = &mut self.best[slot as usize];
        if new.event < best.event {
            return;
        }
        if best.ties(&new) {
            let tie = self.ties.entry(slot).or_insert((new.event, new.created, 0));
            if (tie.0, tie.1) != (new.event, new.created) {
                *tie = (new.event, new.created, 0);
            }
            tie.2 += 1;
        }
        if new > *best {
            *best = new;
        }
    }

    /// Takes in another worker's slots.
    fn merge(&mut self, other: Self) {
        for (slot, new) in other.best.into_iter().enumerate().filter(|(_, new)| new.row != 0) {
            self.offer(slot as u32, new);
        }
        for (slot, (event, created, lost)) in other.ties {
            let tie = self.ties.entry(slot).or_insert((event, created, 0));
            match (tie.0, tie.1).cmp(&(event, created)) {
                std::cmp::Ordering::Less => *tie = (event, created, lost),
                std::cmp::Ordering::Equal => tie.2 += lost,
                std::cmp::Ordering::Greater => {}
            }
        }
    }

    /// Rows that tied with what stayed best in their slot.
    fn conflicts(&self) -> u64 {
        let stayed = |(slot, tie): &(&u32, &(Micros, Micros, u64))| {
            let best = &self.best[**slot as usize];
            (best.event, best.created) == (tie.0, tie.1)
        };
        self.ties.iter().filter(stayed).map(|(_, tie)| tie.2).sum()
    }

    fn winners(self, index: &SpineIndex) -> Vec<Winner> {
        let mut best = self.best;
        for (first, end) in index.ranges() {
            for slot in first + 1..end {
                best[slot] = best[slot].max(best[slot - 1]);
            }
        }
        best.into_iter().map(|best| Winner { row: best.row, event: best.event }).collect()
    }
}

/// Bytes one worker's slots take.
pub(super) fn worker_bytes(index: &SpineIndex) -> usize {
    index.slots() * size_of::<Best>()
}

/// Bytes the winners of all slots take.
pub(super) fn winner_bytes(index: &SpineIndex) -> usize {
    index.slots() * size_of::<Winner>()
}

/// What can be skipped unread: the spine's first and last time, and how old a winner may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    earliest: Option<Micros>,
    latest: Micros,
}

impl Window {
    /// The window of event times that can matter to a spine with this span.
    ///
    /// Old observations count only for the statuses they give, so the ttl cuts only where no status is asked for.
    pub(super) fn new(view: &View, span: (Micros, Micros), as_of: Option<Micros>) -> Self {
        let ttl = view.ttl.filter(|_| view.status_output.is_none() && view.event_time_output.is_none());
        let latest = as_of.map_or(span.1, |cut| cut.min(span.1));
        Self { earliest: ttl.map(|ttl| span.0.saturating_sub(ttl)), latest }
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
    pub(super) metrics: ViewMetrics,
}

/// Finds the winner of every slot, with `workers` tasks that stop when the future is dropped.
///
/// # Errors
/// A file that is gone or can't be read.
pub(super) async fn winners(scan: Scan, workers: usize) -> Result<Vec<Winner>> {
    let units = Arc::new(units(&scan)?);
    let workers = workers.min(units.len()).max(1);
    let (scan, next) = (Arc::new(scan), Arc::new(AtomicUsize::new(0)));
    let mut running = JoinSet::new();
    for _ in 0..workers {
        let (scan, units, next) = (scan.clone(), units.clone(), next.clone());
        running.spawn(async move {
            let mut worker = Worker::new(&scan);
            while let Some((file, group)) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                worker.row_group(*file, *group).await?;
            }
            Ok::<Slots, Error>(worker.slots)
        });
    }
    let mut all: Option<Slots> = None;
    while let Some(done) = running.join_next().await {
        let slots = finished(done)??;
        match &mut all {
            Some(all) => all.merge(slots),
            None => all = Some(slots),
        }
    }
    let all = all.unwrap_or_else(|| Slots::new(scan.index.slots()));
    scan.metrics.conflicts.add(all.conflicts() as usize);
    Ok(all.winners(&scan.index))
}

/// A task's result; a panic in it goes on here.
pub(super) fn finished<T>(done: Result<T, tokio::task::JoinError>) -> Result<T> {
    match done {
        Ok(value) => Ok(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::Plan(datafusion::common::exec_datafusion_err!("the runtime is shutting down"))),
    }
}

/// The row groups to read, as (file, row group).
fn units(scan: &Scan) -> Result<Vec<(usize, usize)>> {
    let mut units = Vec::new();
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
                units.push((at, group));
            }
        }
    }
    Ok(units)
}

struct Worker<'a> {
    scan: &'a Scan,
    slots: Slots,
    groups: Vec<u32>,
    scratch: Vec<u32>,
}

/// Where the columns of phase 1 are in one file.
struct Places {
    keys: Vec<(Place, Family)>,
    event: Place,
    created: Option<Place>,
}

impl<'a> Worker<'a> {
    fn new(scan: &'a Scan) -> Self {
        Self { scan, slots: Slots::new(scan.index.slots()), groups: Vec::new(), scratch: Vec::new() }
    }

    async fn row_group(&mut self, file: usize, group: usize) -> Result<()> {
        let files = &self.scan.files;
        let places = self.places(file)?;
        let mut stored: Vec<usize> = places.all().filter_map(Place::stored).collect();
        stored.sort_unstable();
        stored.dedup();
        let (first, rows) = (files.files[file].group_starts[group], files.files[file].group_rows(group));
        if stored.is_empty() {
            // Keys and times are all partition columns, or missing: no bytes are needed.
            let batch = RowsOf { file, first, rows: rows as usize, stored: &stored, batch: None };
            return self.batch(&places, &batch);
        }
        let mut reader = files.read(file, group, &stored, None, BATCH_ROWS).await?;
        let mut at = first;
        while let Some(batch) = files.next(file, &mut reader)? {
            let rows = batch.num_rows();
            self.batch(&places, &RowsOf { file, first: at, rows, stored: &stored, batch: Some(&batch) })?;
            at += rows as u64;
        }
        Ok(())
    }

    fn places(&self, file: usize) -> Result<Places> {
        let (view, files) = (&self.scan.view, &self.scan.files);
        let mut keys = Vec::with_capacity(view.keys.len());
        for key in &view.keys {
            let family = files.schema.field_with_name(&key.table_column).ok().and_then(|f| Family::of(f.data_type()));
            // Planning refused keys without a family.
            let Some(family) = family else { continue };
            keys.push((files.place(file, &key.table_column)?, family));
        }
        let created = view.created_time.as_ref().map(|created| files.place(file, created)).transpose()?;
        Ok(Places { keys, event: files.place(file, &view.event_time)?, created })
    }

    fn batch(&mut self, places: &Places, rows: &RowsOf<'_>) -> Result<()> {
        let scan = self.scan;
        scan.metrics.rows_decoded.add(rows.rows);
        let file = &scan.files.files[rows.file];
        let lanes = places
            .keys
            .iter()
            .map(|(place, family)| Lane::read(&rows.column(place)?, *family))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| scan.files.broken(file, error))?;
        let (event, created) = (self.times(rows, &places.event)?, self.created(rows, places)?);
        scan.index.groups(&lanes, rows.rows, &mut self.scratch, &mut self.groups);
        count_null_keys(&lanes, rows.rows, &scan.metrics);
        drop_deleted(file.data.deleted_rows.as_deref(), rows.first, &mut self.groups);
        self.offer(rows, &event, created.as_ref());
        Ok(())
    }

    fn times(&self, rows: &RowsOf<'_>, place: &Place) -> Result<Times> {
        let file = &self.scan.files.files[rows.file];
        let array = rows.column(place).map_err(|error| self.scan.files.broken(file, error))?;
        Times::read(&array, Rounding::Up).ok_or_else(|| Error::TimeType {
            place: format!("view `{}`: file `{}`", self.scan.view.alias, file.data.path),
            column: self.scan.view.event_time.clone(),
            data_type: array.data_type().clone(),
        })
    }

    fn created(&self, rows: &RowsOf<'_>, places: &Places) -> Result<Option<Times>> {
        places.created.as_ref().map(|place| self.times(rows, place)).transpose()
    }

    /// Puts each observation into its slot.
    fn offer(&mut self, rows: &RowsOf<'_>, event: &Times, created: Option<&Times>) {
        let scan = self.scan;
        let file = &scan.files.files[rows.file];
        let committed = file.data.committed;
        let first = file.first_row + rows.first + 1;
        let cut = scan.as_of.unwrap_or(Micros::MAX);
        let needs_created = scan.view.availability == Availability::Created;
        let exclusive = scan.view.upper == UpperBound::Exclusive;
        let (mut late, mut no_event, mut no_created) = (0, 0, 0);
        for (row, group) in self.groups.iter().enumerate() {
            if *group == NONE {
                continue;
            }
            if event.is_null(row) {
                no_event += 1;
                continue;
            }
            let e = event.values[row];
            let c = created.filter(|created| !created.is_null(row)).map(|created| created.values[row]);
            no_created += usize::from(needs_created && c.is_none());
            // The first moment at which a reader sees it; none when that is never.
            let after = if exclusive { e.checked_add(1) } else { Some(e) };
            let known = knowledge_time(scan.view.availability, e, c, committed).filter(|known| *known <= cut);
            let Some(after) = after else { continue };
            let seen = known.map_or(Micros::MAX, |known| known.max(after));
            let (slot, latest) = scan.index.first_at(*group, seen);
            if slot == NONE || known.is_none() {
                late += usize::from(latest.is_some_and(|latest| after <= latest));
                continue;
            }
            let best = Best { event: e, created: c.unwrap_or(Micros::MIN), row: first + row as u64 };
            self.slots.offer(slot, best);
        }
        scan.metrics.not_yet_known.add(late);
        scan.metrics.null_event_times.add(no_event);
        scan.metrics.null_created_times.add(no_created);
    }
}

impl Places {
    fn all(&self) -> impl Iterator<Item = &Place> {
        self.keys.iter().map(|(place, _)| place).chain([&self.event]).chain(&self.created)
    }
}

impl Place {
    pub(super) fn stored(&self) -> Option<usize> {
        match self {
            Self::Stored(column) => Some(*column),
            Self::Constant(_) => None,
        }
    }
}

/// Consecutive rows of one file, decoded.
struct RowsOf<'a> {
    file: usize,
    /// Row number in the file of the first.
    first: u64,
    rows: usize,
    /// The file's columns in `batch`.
    stored: &'a [usize],
    batch: Option<&'a RecordBatch>,
}

impl RowsOf<'_> {
    fn column(&self, place: &Place) -> Result<ArrayRef, arrow::error::ArrowError> {
        match (place, self.batch) {
            (Place::Stored(column), Some(batch)) => {
                Ok(batch.column(self.stored.partition_point(|stored| stored < column)).clone())
            }
            (Place::Constant(value), _) => repeat(value, self.rows),
            (Place::Stored(_), None) => Err(arrow::error::ArrowError::ComputeError("column was not read".to_owned())),
        }
    }
}

/// A one-value array, `rows` times.
pub(super) fn repeat(value: &ArrayRef, rows: usize) -> Result<ArrayRef, arrow::error::ArrowError> {
    arrow::compute::take(value, &UInt32Array::from(vec![0; rows]), None)
}

fn count_null_keys(lanes: &[Lane], rows: usize, metrics: &ViewMetrics) {
    let with_nulls = |lane: &&Lane| lane.nulls().is_some_and(|nulls| nulls.null_count() > 0);
    let nulls: Vec<_> = lanes.iter().filter(with_nulls).filter_map(Lane::nulls).collect();
    if !nulls.is_empty() {
        let null = |row: &usize| nulls.iter().any(|nulls| nulls.is_null(*row));
        metrics.null_keys.add((0..rows).filter(null).count());
    }
}

/// Takes the rows of a deletion vector out of a batch that starts at row `first` of its file.
fn drop_deleted(deleted: Option<&[u64]>, first: u64, groups: &mut [u32]) {
    let Some(deleted) = deleted else { return };
    let from = deleted.partition_point(|row| *row < first);
    for row in &deleted[from..] {
        let Some(group) = groups.get_mut((row - first) as usize) else { return };
        *group = NONE;
    }
}
