//! Phase 2: the payload of winners, column by column, into spine order.
//!
//! For a range of spine rows each view's winners become ([`Wanted`]) a set of distinct rows, a selection per row group, and
//! per spine row the rank of its winner in that set. Then every feature column is decoded by itself, only the selected
//! rows of it, and taken by those positions. Columns are the units of work, cut by row groups where there are fewer
//! columns than workers; what a worker holds is one column of one range.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, StringArray, TimestampMicrosecondArray, UInt32Array, new_null_array};
use arrow::compute::{concat, take};
use arrow::error::ArrowError;
use datafusion::common::runtime::JoinSet;
use datafusion::execution::memory_pool::MemoryReservation;
use parking_lot::Mutex;

use super::columns::convert;
use super::dense::Dense;
use super::files::{Files, Place};
use super::metrics::ViewMetrics;
use super::pages::Rows;
use super::ranks::Distinct;
use super::scan::{Winner, finished, repeat};
use super::spine::{NONE, SpineIndex};
use super::windows::search::Values;
use super::{EXPIRED, Error, Feature, NOT_FOUND, PRESENT, Result, View};

/// Rows decoded at once.
const BATCH_ROWS: usize = 8_192;

/// A view after phase 1.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// Which observation answers each slot.
    Winners(Arc<ViewRead>),
    /// What the windows of each slot hold.
    Windows(Arc<WindowRead>),
}

impl Found {
    /// The view.
    pub(super) fn view(&self) -> &View {
        match self {
            Self::Winners(read) => &read.view,
            Self::Windows(read) => &read.view,
        }
    }
}

/// A view whose features are aggregates, with their values.
#[derive(Debug)]
pub(super) struct WindowRead {
    pub(super) view: Arc<View>,
    pub(super) index: Arc<SpineIndex>,
    pub(super) values: Values,
    /// Holds the memory of the values.
    pub(super) _held: MemoryReservation,
    pub(super) metrics: ViewMetrics,
}

/// A view whose features are winners' values, with the winners.
#[derive(Debug, Clone)]
pub(super) struct ViewRead {
    pub(super) view: Arc<View>,
    pub(super) files: Arc<Files>,
    pub(super) index: Arc<SpineIndex>,
    pub(super) winners: Arc<Vec<Winner>>,
    pub(super) metrics: ViewMetrics,
}

impl ViewRead {
    /// Whether another read's winners, and which of them are fresh, are the same.
    fn same_rows(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.winners, &other.winners) && self.view.ttl == other.view.ttl
    }
}

/// What a range of spine rows wants of a view.
struct Wanted {
    read: Arc<ViewRead>,
    /// Per spine row, where its winner is among the decoded rows; null without one.
    positions: UInt32Array,
    parts: Vec<Part>,
    event_times: Option<ArrayRef>,
    statuses: Option<ArrayRef>,
}

/// The wanted rows of one row group.
struct Part {
    file: usize,
    group: usize,
    /// Ascending and distinct.
    rows: Vec<u32>,
}

/// The columns that the views add, in output order, for a range of spine rows.
///
/// # Errors
/// A file that is gone or can't be read, or a value that does not convert to its feature's type.
pub(super) async fn gather(views: &[Found], rows: Range<usize>, workers: usize) -> Result<Vec<ArrayRef>> {
    let winners = |found: &Found| match found {
        Found::Winners(read) => Some(read.clone()),
        Found::Windows(_) => None,
    };
    let of_winners: Vec<Arc<ViewRead>> = views.iter().filter_map(winners).collect();
    let wanted = want(&of_winners, &rows).await?;
    let (mut columns, mut places): (Vec<Column>, Vec<usize>) = (Vec::new(), Vec::new());
    for wanted in &wanted {
        for feature in &wanted.read.view.features {
            // Views on one table may fetch one column under several names: it is decoded once.
            let known = columns.iter().position(|column| column.is(&wanted.read, feature));
            places.push(known.unwrap_or(columns.len()));
            if known.is_none() {
                columns.push(Column::new(wanted.clone(), feature.clone()));
            }
        }
    }
    let features = decode(columns, workers).await?;
    let (mut places, mut wanted) = (places.into_iter(), wanted.into_iter());
    let mut output = Vec::new();
    for found in views {
        match (found, wanted.as_slice().first()) {
            (Found::Windows(read), _) => output.extend(read.columns(rows.clone()).await?),
            (Found::Winners(_), Some(read)) => {
                let of_view = places.by_ref().take(read.read.view.features.len());
                output.extend(of_view.map(|place| features[place].clone()));
                output.extend(read.event_times.clone());
                output.extend(read.statuses.clone());
                wanted.next();
            }
            (Found::Winners(_), None) => {}
        }
    }
    Ok(output)
}

impl WindowRead {
    /// The columns that the view adds for a range of spine rows; nulls for rows without keys or a time.
    async fn columns(&self, rows: Range<usize>) -> Result<Vec<ArrayRef>> {
        let slots = rows.map(|row| self.index.slot_of_row(row)).map(|slot| (slot != NONE).then_some(slot));
        let slots = Arc::new(slots.collect::<UInt32Array>());
        self.metrics.matched.add(slots.len() - slots.null_count());
        let event_time = self.view.event_time_output.as_ref().map(|_| &self.values.newest);
        let mut running = JoinSet::new();
        for (at, values) in self.values.features.iter().chain(event_time).enumerate() {
            let (values, slots) = (values.clone(), slots.clone());
            running.spawn(async move {
                let empty = values.is_empty();
                let none = || Ok(new_null_array(values.data_type(), slots.len()));
                (at, if empty { none() } else { take(&values, slots.as_ref(), None) })
            });
        }
        let mut taken = Vec::new();
        while let Some(done) = running.join_next().await {
            let (at, column) = finished(done)?;
            taken.push((at, column.map_err(conversion)?));
        }
        taken.sort_by_key(|(at, _)| *at);
        let mut columns: Vec<ArrayRef> = taken.into_iter().map(|(_, column)| column).collect();
        if self.view.status_output.is_some() {
            let status = |slot: Option<u32>| if slot.is_some() { PRESENT } else { NOT_FOUND };
            columns.push(Arc::new(StringArray::from_iter_values(slots.iter().map(status))));
        }
        Ok(columns)
    }
}

async fn want(views: &[Arc<ViewRead>], rows: &Range<usize>) -> Result<Vec<Arc<Wanted>>> {
    let mut running = JoinSet::new();
    for (at, view) in views.iter().enumerate() {
        let (view, rows) = (view.clone(), rows.clone());
        running.spawn(async move { (at, Wanted::new(view, rows)) });
    }
    let mut wanted = Vec::with_capacity(views.len());
    while let Some(done) = running.join_next().await {
        let (at, one) = finished(done)?;
        wanted.push((at, Arc::new(one)));
    }
    wanted.sort_by_key(|(at, _)| *at);
    Ok(wanted.into_iter().map(|(_, wanted)| wanted).collect())
}

impl Wanted {
    fn new(read: Arc<ViewRead>, rows: Range<usize>) -> Self {
        let count = rows.len();
        let ttl = read.view.ttl;
        let (mut found, mut expired) = (Vec::with_capacity(count), 0);
        let mut event_times = read.view.event_time_output.is_some().then(|| Vec::with_capacity(count));
        let mut statuses = read.view.status_output.is_some().then(|| Vec::with_capacity(count));
        for row in rows {
            let slot = read.index.slot_of_row(row);
            let winner = if slot == NONE { None } else { Some(read.winners[slot as usize]) };
            let winner = winner.and_then(|winner| winner.row().map(|row| (row, winner)));
            let fresh = winner.is_some_and(|(_, winner)| !winner.expired(read.index.time(slot), ttl));
            found.push(winner.filter(|_| fresh).map(|(row, _)| row));
            expired += usize::from(winner.is_some() && !fresh);
            if let Some(times) = &mut event_times {
                times.push(winner.map(|(_, winner)| winner.event));
            }
            if let Some(statuses) = &mut statuses {
                statuses.push(match (winner, fresh) {
                    (Some(_), true) => PRESENT,
                    (Some(_), false) => EXPIRED,
                    (None, _) => NOT_FOUND,
                });
            }
        }
        read.metrics.matched.add(found.iter().flatten().count());
        read.metrics.expired.add(expired);
        let distinct = Distinct::of(found.iter().copied(), read.files.rows());
        let positions = found.iter().map(|row| row.map(|row| distinct.rank(row))).collect();
        let parts = parts(&distinct, &read.files);
        read.metrics.winners_decoded.add(parts.iter().map(|part| part.rows.len()).sum());
        let event_times =
            event_times.map(|times| Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")) as ArrayRef);
        let statuses = statuses.map(|statuses| Arc::new(StringArray::from(statuses)) as ArrayRef);
        Self { read, positions, parts, event_times, statuses }
    }
}

/// Cuts rows into the row groups that hold them.
fn parts(rows: &Distinct, files: &Files) -> Vec<Part> {
    let (mut parts, mut here) = (Vec::<Part>::new(), 0..0);
    rows.each(|row| {
        if !here.contains(&row) {
            let (file, group) = files.locate(row);
            let open = &files.files[file];
            let start = open.first_row + open.group_starts[group];
            here = start..start + open.group_rows(group);
            parts.push(Part { file, group, rows: Vec::new() });
        }
        if let Some(part) = parts.last_mut() {
            part.rows.push((row - here.start) as u32);
        }
    });
    parts
}

/// One output column on its way: what its segments decoded so far.
struct Column {
    wanted: Arc<Wanted>,
    feature: Feature,
    segments: Mutex<Vec<Vec<ArrayRef>>>,
    left: AtomicUsize,
}

impl Column {
    fn new(wanted: Arc<Wanted>, feature: Feature) -> Self {
        Self { wanted, feature, segments: Mutex::default(), left: AtomicUsize::new(0) }
    }

    /// Whether this is the column that `read` fetches for `feature`.
    fn is(&self, read: &ViewRead, feature: &Feature) -> bool {
        self.wanted.read.same_rows(read)
            && self.feature.column == feature.column
            && self.feature.data_type == feature.data_type
    }

    /// Cuts the column into at most `segments` runs of row groups.
    fn cut(&self, segments: usize) -> Vec<Range<usize>> {
        let parts = self.wanted.parts.len();
        let each = parts.div_ceil(segments.max(1)).max(1);
        let cuts: Vec<Range<usize>> = (0..parts.max(1)).step_by(each).map(|at| at..(at + each).min(parts)).collect();
        *self.segments.lock() = vec![Vec::new(); cuts.len()];
        self.left.store(cuts.len(), Ordering::Release);
        cuts
    }

    async fn segment(&self, parts: Range<usize>) -> Result<Vec<ArrayRef>> {
        let parts = &self.wanted.parts[parts];
        let mut dense = Dense::new(&self.feature.data_type, parts.iter().map(|part| part.rows.len()).sum());
        for part in parts {
            self.part(part, &mut dense).await?;
            // Files in the page cache are read without ever waiting: this is where a dropped join stops.
            tokio::task::yield_now().await;
        }
        dense.finish().map_err(conversion)
    }

    async fn part(&self, part: &Part, dense: &mut Dense) -> Result<()> {
        let files = &self.wanted.read.files;
        let file = &files.files[part.file];
        let push = |dense: &mut Dense, array: &ArrayRef| {
            let array = convert(array, &self.feature.data_type).map_err(|error| files.broken(file, error))?;
            dense.push(array).map_err(conversion)
        };
        let column = match files.place(part.file, &self.feature.column)? {
            Place::Constant(value) => return push(dense, &repeat(&value, part.rows.len()).map_err(conversion)?),
            Place::Stored(column) => column,
        };
        let (bytes, rows) = (files.fetch(part.file, part.group, &[column]).await?, Rows::Some(&part.rows));
        let physical = dense.physical(files.stored_type(part.file, column));
        let bytes = Arc::new(bytes);
        if let Some(mut chunk) = files.chunk(part.file, part.group, column, physical, &bytes)? {
            let read = dense.read(&mut chunk, &rows);
            let metrics = &self.wanted.read.metrics;
            let (decoded, skipped) = chunk.pages();
            metrics.pages.add(decoded + skipped);
            metrics.pages_pruned.add(skipped);
            return read.map_err(|error| files.broken(file, error));
        }
        let selection = rows.selection(file.group_rows(part.group) as usize);
        let bytes = bytes.as_ref().clone();
        let batch_rows = part.rows.len().min(BATCH_ROWS);
        let mut reader = files.read(part.file, part.group, &[column], bytes, selection, batch_rows)?;
        while let Some(batch) = files.next(part.file, &mut reader)? {
            push(dense, batch.column(0))?;
        }
        Ok(())
    }

    /// Decodes a segment; who ends the last one puts the column together.
    async fn work(&self, at: usize, parts: Range<usize>) -> Result<Option<ArrayRef>> {
        let arrays = self.segment(parts).await?;
        self.segments.lock()[at] = arrays;
        if self.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(None);
        }
        let arrays: Vec<ArrayRef> = std::mem::take(&mut *self.segments.lock()).into_iter().flatten().collect();
        self.finish(&arrays).map(Some).map_err(conversion)
    }

    fn finish(&self, arrays: &[ArrayRef]) -> Result<ArrayRef, ArrowError> {
        let positions = &self.wanted.positions;
        if arrays.is_empty() {
            return Ok(new_null_array(&self.feature.data_type, positions.len()));
        }
        match arrays {
            [only] => take(only, positions, None),
            _ => take(&concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>())?, positions, None),
        }
    }
}

fn conversion(error: ArrowError) -> Error {
    Error::Plan(error.into())
}

/// Decodes every column, with `workers` tasks that stop when the future is dropped.
async fn decode(columns: Vec<Column>, workers: usize) -> Result<Vec<ArrayRef>> {
    let segments = if columns.len() < workers * 2 { workers } else { 1 };
    let mut units = Vec::new();
    for (column, it) in columns.iter().enumerate() {
        units.extend(it.cut(segments).into_iter().enumerate().map(|(at, parts)| (column, at, parts)));
    }
    let count = columns.len();
    let (columns, units, next) = (Arc::new(columns), Arc::new(units), Arc::new(AtomicUsize::new(0)));
    let mut running = JoinSet::new();
    for _ in 0..workers.min(units.len()) {
        let (columns, units, next) = (columns.clone(), units.clone(), next.clone());
        running.spawn(async move {
            let mut done = Vec::new();
            while let Some((column, at, parts)) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Some(array) = columns[*column].work(*at, parts.clone()).await? {
                    done.push((*column, array));
                }
            }
            Ok::<_, Error>(done)
        });
    }
    let mut finished_columns = Vec::with_capacity(count);
    while let Some(done) = running.join_next().await {
        finished_columns.extend(finished(done)??);
    }
    finished_columns.sort_by_key(|(column, _)| *column);
    Ok(finished_columns.into_iter().map(|(_, array)| array).collect())
}
