//! The values of a windowed view for every slot of a spine: events collected, dealt out by group, folded.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, TimestampMicrosecondArray};
use arrow::compute::concat;
use arrow::error::ArrowError;
use datafusion::common::runtime::JoinSet;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryReservation;
use tidegate_schemas::duration;
use tidegate_schemas::time::Micros;

use super::aggregates;
use super::events::{Chunk, Grouped, in_time};
use super::fold::Folder;
use crate::point_in_time::files::Files;
use crate::point_in_time::metrics::ViewMetrics;
use crate::point_in_time::scan::{self, Scan, Window, finished};
use crate::point_in_time::spine::SpineIndex;
use crate::point_in_time::{Error, Result, View};

/// Events that a worker brings together at once: they stay in a core's cache.
const PART_EVENTS: usize = 1 << 15;

/// What a windowed view gives each slot of a spine.
#[derive(Debug, Clone)]
pub(in crate::point_in_time) struct Values {
    /// Each feature's values, in the view's order.
    pub(in crate::point_in_time) features: Vec<ArrayRef>,
    /// The event time of the newest event in the longest window; null where there is none.
    pub(in crate::point_in_time) newest: ArrayRef,
}

impl Values {
    /// Bytes held.
    fn bytes(&self) -> usize {
        self.columns().map(|column| column.get_array_memory_size()).sum()
    }

    fn columns(&self) -> impl Iterator<Item = &ArrayRef> {
        self.features.iter().chain([&self.newest])
    }

    /// The values of slots that follow each other.
    fn concat(parts: &[Self]) -> Result<Self, ArrowError> {
        let features = parts.first().map_or(0, |part| part.features.len());
        let column = |of: &dyn Fn(&Self) -> &ArrayRef| {
            let arrays: Vec<&dyn Array> = parts.iter().map(|part| of(part).as_ref()).collect();
            concat(&arrays)
        };
        let features = (0..features).map(|number| column(&|part| &part.features[number]));
        Ok(Self { features: features.collect::<Result<_, _>>()?, newest: column(&|part| &part.newest)? })
    }
}

/// Event times as a column.
pub(super) fn newest_array(newest: Vec<Option<Micros>>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(newest).with_timezone("UTC"))
}

/// One windowed view and a piece of the spine.
pub(in crate::point_in_time) struct Search {
    pub(in crate::point_in_time) view: Arc<View>,
    pub(in crate::point_in_time) files: Arc<Files>,
    pub(in crate::point_in_time) index: Arc<SpineIndex>,
    /// The event times that can matter; none where no row of the spine has a time.
    pub(in crate::point_in_time) window: Option<Window>,
    pub(in crate::point_in_time) as_of: Option<Micros>,
    pub(in crate::point_in_time) metrics: ViewMetrics,
    pub(in crate::point_in_time) memory: MemoryReservation,
    pub(in crate::point_in_time) workers: usize,
}

impl Search {
    /// The values of all slots, and the memory taken for them.
    ///
    /// Where the memory pool has no room for the events of all groups, they are read in parts, group range by group range.
    ///
    /// # Errors
    /// A file that is gone or can't be read; one group's events, or the values, that are more than the memory pool has room for.
    pub(in crate::point_in_time) async fn run(self) -> Result<(Values, MemoryReservation)> {
        let held = self.memory.new_empty();
        let mut left: Vec<Range<u32>> = std::iter::once(0..self.index.groups()).collect();
        let mut parts = Vec::new();
        while let Some(groups) = left.pop() {
            match self.pass(&groups).await {
                Ok(values) => {
                    held.try_grow(values.bytes())?;
                    parts.push(values);
                }
                Err(error) if is_exhausted(&error) && groups.len() > 1 => {
                    let middle = groups.start + groups.len() as u32 / 2;
                    left.extend([middle..groups.end, groups.start..middle]);
                }
                Err(error) if is_exhausted(&error) => return Err(self.too_many(error)),
                Err(error) => return Err(error),
            }
        }
        let values = if parts.len() == 1 { parts.remove(0) } else { Values::concat(&parts).map_err(too_long)? };
        Ok((values, held))
    }

    /// The values of a range of groups.
    async fn pass(&self, groups: &Range<u32>) -> Result<Values> {
        let (chunks, held) = match self.scan(groups) {
            Some(scan) => scan::events(scan, self.workers).await?,
            None => (Vec::new(), self.memory.new_empty()),
        };
        let shards = self.group(in_time(chunks), groups).await?;
        let values = self.fold(Arc::new(shards)).await;
        drop(held);
        values
    }

    /// Sorts events by group, a range of groups for each worker.
    async fn group(&self, chunks: Arc<Vec<Chunk>>, groups: &Range<u32>) -> Result<Vec<Grouped>> {
        let each = groups.len().div_ceil(self.workers).max(1) as u32;
        let mut running = JoinSet::new();
        for number in 0..self.workers as u32 {
            let start = groups.start.saturating_add(number * each).min(groups.end);
            let (chunks, part) = (chunks.clone(), start..start.saturating_add(each).min(groups.end));
            // One at least, so that there are columns, however short.
            if number == 0 || !part.is_empty() {
                running.spawn(async move { (number, Grouped::of(chunks, &part)) });
            }
        }
        let mut shards = Vec::new();
        while let Some(done) = running.join_next().await {
            shards.push(finished(done)?);
        }
        shards.sort_by_key(|(number, _)| *number);
        Ok(shards.into_iter().map(|(_, shard)| shard).collect())
    }

    fn scan(&self, groups: &Range<u32>) -> Option<Scan> {
        let all = groups.len() == self.index.groups() as usize;
        Some(Scan {
            view: self.view.clone(),
            files: self.files.clone(),
            index: self.index.clone(),
            window: self.window?,
            as_of: self.as_of,
            needed: None,
            groups: (!all).then(|| groups.clone()),
            metrics: self.metrics.clone(),
            memory: self.memory.new_empty(),
        })
    }

    /// Folds groups, a few at a time, with as many tasks as there are workers, which stop when the future is dropped.
    async fn fold(&self, shards: Arc<Vec<Grouped>>) -> Result<Values> {
        let cut = |(shard, grouped): (usize, &Grouped)| {
            grouped.cut(PART_EVENTS).into_iter().map(move |groups| (shard, groups)).collect::<Vec<_>>()
        };
        let parts: Vec<(usize, Range<u32>)> = shards.iter().enumerate().flat_map(cut).collect();
        let (parts, next) = (Arc::new(parts), Arc::new(AtomicUsize::new(0)));
        let mut running = JoinSet::new();
        for _ in 0..self.workers.min(parts.len()) {
            let (shards, parts, next) = (shards.clone(), parts.clone(), next.clone());
            let (view, index) = (self.view.clone(), self.index.clone());
            let memory = self.memory.new_empty();
            running.spawn(async move {
                let folder = Folder::new(&view, memory)?;
                let mut done = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((shard, groups)) = parts.get(number) else { break };
                    let events = shards[*shard].sorted(groups).map_err(too_long)?;
                    done.push((number, folder.part(&index, groups, &events)?));
                    // Nothing here ever waits: this is where a dropped join stops.
                    tokio::task::yield_now().await;
                }
                Ok::<_, Error>(done)
            });
        }
        let mut values = Vec::with_capacity(parts.len());
        while let Some(done) = running.join_next().await {
            values.extend(finished(done)??);
        }
        values.sort_by_key(|(number, _)| *number);
        let values: Vec<Values> = values.into_iter().map(|(_, values)| values).collect();
        Values::concat(&values).map_err(too_long)
    }

    fn too_many(&self, error: Error) -> Error {
        let lengths: Option<Vec<Micros>> = aggregates(&self.view).map(|aggregate| aggregate.window).collect();
        let longest = lengths.and_then(|lengths| lengths.into_iter().max());
        let windows = longest.map_or_else(|| "all of history".to_owned(), duration::format);
        Error::WindowMemory { view: self.view.alias.clone(), windows, source: Box::new(error) }
    }
}

fn is_exhausted(error: &Error) -> bool {
    matches!(error, Error::Plan(error) if matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)))
}

fn too_long(error: ArrowError) -> Error {
    Error::Plan(error.into())
}
