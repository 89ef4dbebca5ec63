//! The physical operator: per piece of the spine phase 1 for each view, then phase 2 per range of its rows.
//!
//! A piece is as much of the spine as the memory pool has room for: all of it, as a rule. Pieces are joined one after the
//! other, each by itself, so that a spine of any length is put out in order and in bounded memory, at the price of reading
//! the views' keys again for each. Of a piece its rows are held, and per view a few words per row; of the views nothing is
//! held but one row group's keys and times per worker, and the payload of the range being put out. All of it is accounted
//! to the memory pool. Work runs in tasks that the output stream owns: dropping the stream stops them at the next row group.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::internal_err;
use datafusion::common::runtime::JoinSet;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, CardinalityEffect, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties, displayable,
};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc::Sender;

use super::files::Files;
use super::gather::{Found, ViewRead, WindowRead, gather};
use super::metrics::{JoinMetrics, ViewMetrics};
use super::plan::{check, describe, output_schema};
use super::scan::{self, Scan, Window, Winner, finished};
use super::spine::{self, SpineIndex, SpineRows};
use super::windows;
use super::{EXPIRED, Error, Feature, Nulls, Result, Spec, View};

/// Rows of a piece of the spine, at most: rows are numbered by 32 bits.
const PIECE_ROWS_MAX: usize = 1 << 31;
/// The pool's share for a piece of the spine; the rest is for payload, footers and other queries.
const PIECE_POOL_SHARE: usize = 2;
/// Bytes per spine row and key column for its ids, times and slots.
const KEY_BYTES: usize = 24;
/// Payload bytes held at once, at most; a smaller memory pool gets a share of itself.
const RANGE_BYTES_MAX: usize = 512 << 20;
/// The pool's share for one range of output.
const RANGE_POOL_SHARE: usize = 3;
/// Least bytes assumed of a value of varying length.
const VARYING_BYTES: usize = 24;
/// Bytes per spine row and view to sort winners and place them.
const ORDER_BYTES: usize = 24;

/// The point-in-time join as an operator of one partition. See [`super::plan`] for what it puts out.
#[derive(Debug, Clone)]
pub struct PointInTimeExec {
    spine: Arc<dyn ExecutionPlan>,
    spec: Arc<Spec>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl PointInTimeExec {
    pub(super) fn try_new(spine: Arc<dyn ExecutionPlan>, spec: Arc<Spec>) -> Result<Self> {
        check(&spine.schema(), &spec)?;
        let schema = output_schema(&spine.schema(), &spec);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self { spine, spec, schema, properties: Arc::new(properties), metrics })
    }
}

impl DisplayAs for PointInTimeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PointInTimeExec: {}", describe(&self.spec))?;
        // The spine's plan, top down, in one line.
        let spine = displayable(self.spine.as_ref()).indent(false).to_string();
        write!(f, ", spine=[{}]", spine.lines().map(str::trim).collect::<Vec<_>>().join(" <- "))
    }
}

impl ExecutionPlan for PointInTimeExec {
    fn name(&self) -> &str {
        "PointInTimeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// None: the spine is planned and optimised for itself ([`super::Planner`]), so that no rule for the plan around this
    /// operator drops its ORDER BY or deals its rows out to threads. Its order is the output's order.
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> PlanResult<TreeNodeRecursion>,
    ) -> PlanResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        if !children.is_empty() {
            return internal_err!("PointInTimeExec has no children");
        }
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> PlanResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> PlanResult<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("PointInTimeExec has one partition, not {partition}");
        }
        let join = Join {
            spine: self.spine.clone(),
            spec: self.spec.clone(),
            schema: self.schema.clone(),
            workers: context.session_config().target_partitions().max(1),
            batch_rows: context.session_config().batch_size().max(1),
            reservation: MemoryConsumer::new("PointInTime").register(context.memory_pool()),
            baseline: BaselineMetrics::new(&self.metrics, partition),
            reads: self.spec.views.iter().enumerate().flat_map(|(at, view)| reads(at, view, &self.metrics)).collect(),
            timed: JoinMetrics::new(&self.metrics, partition),
            context,
        };
        let mut builder = RecordBatchReceiverStream::builder(self.schema.clone(), 2);
        let output = builder.tx();
        builder.spawn(async move { join.run(output).await });
        Ok(builder.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// One search for winners: a view's, or those of one of its features.
struct Read {
    /// Number of the view.
    of: usize,
    /// The view with the features that these winners give.
    view: Arc<View>,
    /// The feature's column without which an observation does not count where it is null.
    needed: Option<String>,
    metrics: ViewMetrics,
}

/// The reads of a view, whose columns together are the view's. Where nulls are skipped each feature has winners of its own.
fn reads(of: usize, view: &View, set: &ExecutionPlanMetricsSet) -> Vec<Read> {
    let read = |view: View, needed: Option<String>| {
        let metrics = ViewMetrics::new(set, &view.alias);
        Read { of, view: Arc::new(view), needed, metrics }
    };
    if view.nulls == Nulls::Keep || view.is_windowed() {
        return vec![read(view.clone(), None)];
    }
    let of_feature = |feature: &Feature| {
        let (alias, features) = (format!("{}.{}", view.alias, feature.column), vec![feature.clone()]);
        let (event_time_output, status_output) = (None, None);
        let view = View { alias, features, event_time_output, status_output, ..view.clone() };
        read(view, Some(feature.column.clone()))
    };
    let mut reads: Vec<Read> = view.features.iter().map(of_feature).collect();
    if view.event_time_output.is_some() || view.status_output.is_some() || reads.is_empty() {
        reads.push(read(View { features: Vec::new(), ..view.clone() }, None));
    }
    reads
}

/// One run of the operator.
struct Join {
    spine: Arc<dyn ExecutionPlan>,
    spec: Arc<Spec>,
    schema: SchemaRef,
    workers: usize,
    batch_rows: usize,
    reservation: MemoryReservation,
    baseline: BaselineMetrics,
    reads: Vec<Read>,
    timed: JoinMetrics,
    context: Arc<TaskContext>,
}

impl Join {
    async fn run(self, output: Sender<PlanResult<RecordBatch>>) -> PlanResult<()> {
        let mut spine = self.spine_stream()?;
        let mut left = None;
        while let Some(rows) = self.collect(&mut spine, &mut left).await? {
            self.timed.pieces.add(1);
            let rows = Arc::new(rows);
            let indexes = {
                let _timer = self.timed.index_time.timer();
                spine::index(&rows, &self.spec).await?
            };
            self.reservation.try_grow(index_bytes(&rows, &indexes))?;
            let views = self.search(&indexes, &rows).await?;
            if !self.put_out(&rows, &views, &output).await? {
                return Ok(());
            }
            drop((rows, views));
            self.reservation.free();
        }
        Ok(())
    }

    /// The whole spine, partition after partition.
    fn spine_stream(&self) -> PlanResult<BoxStream<'static, PlanResult<RecordBatch>>> {
        let partitions = 0..self.spine.output_partitioning().partition_count();
        let streams = partitions.map(|partition| self.spine.execute(partition, self.context.clone()));
        Ok(stream::iter(streams.collect::<PlanResult<Vec<_>>>()?).flatten().boxed())
    }

    /// The next piece of the spine; what its last batch holds beyond stays in `left`.
    async fn collect(
        &self,
        spine: &mut BoxStream<'static, PlanResult<RecordBatch>>,
        left: &mut Option<RecordBatch>,
    ) -> PlanResult<Option<SpineRows>> {
        let (mut batches, mut rows, budget) = (Vec::new(), 0, self.piece_bytes());
        let mut bytes = 0_usize;
        // A piece has a batch at least, whatever the pool says: its reservations then tell what is missing.
        while rows < self.batch_rows || bytes < budget && rows < PIECE_ROWS_MAX {
            let next = match left.take() {
                Some(batch) => Some(batch),
                None => spine.next().await.transpose()?,
            };
            let Some(batch) = next else { break };
            if batch.num_rows() == 0 {
                continue;
            }
            let held = crate::runtime::batch_bytes(&batch);
            let row_bytes = held / batch.num_rows() + self.joined_row_bytes();
            let room = (budget.saturating_sub(bytes) / row_bytes).max(self.batch_rows).min(PIECE_ROWS_MAX - rows);
            let taken = batch.num_rows().min(room);
            if taken < batch.num_rows() {
                *left = Some(batch.slice(taken, batch.num_rows() - taken));
            }
            self.reservation.try_grow(held)?;
            bytes = bytes.saturating_add(taken * row_bytes);
            rows += taken;
            batches.push(batch.slice(0, taken));
        }
        if batches.is_empty() { Ok(None) } else { Ok(Some(SpineRows::new(batches, &self.spec.spine_time)?)) }
    }

    /// Bytes of spine rows and what is held for them, at most.
    fn piece_bytes(&self) -> usize {
        match self.context.memory_pool().memory_limit() {
            MemoryLimit::Finite(bytes) => {
                bytes.saturating_sub(self.context.memory_pool().reserved()) / PIECE_POOL_SHARE
            }
            _ => usize::MAX,
        }
    }

    /// Bytes held per row of a piece beside the row itself, about: its times, its key's ids, slots and winners.
    fn joined_row_bytes(&self) -> usize {
        let keys: usize = self.spec.views.iter().map(|view| view.keys.len() + 1).sum();
        let windowed = self.spec.views.iter().filter(|view| view.is_windowed()).flat_map(|view| &view.features);
        let values: usize = windowed.map(|feature| width(&feature.data_type).unwrap_or(VARYING_BYTES)).sum();
        keys * KEY_BYTES + self.spec.views.len() * scan::WINNER_BYTES + self.workers * scan::SLOT_BYTES + values
    }

    /// Phase 1, view after view.
    async fn search(&self, indexes: &[Arc<SpineIndex>], rows: &SpineRows) -> PlanResult<Vec<Found>> {
        let mut of_winners = self.winners(indexes, rows).await?.into_iter();
        let mut found = Vec::with_capacity(self.reads.len());
        for read in &self.reads {
            if read.view.is_windowed() {
                found.push(Found::Windows(Arc::new(self.windows(read, &indexes[read.of], rows).await?)));
            } else {
                found.extend(of_winners.next().map(Found::Winners));
            }
        }
        Ok(found)
    }

    /// What the windows of one view hold.
    async fn windows(&self, read: &Read, index: &Arc<SpineIndex>, rows: &SpineRows) -> PlanResult<WindowRead> {
        let _timer = read.metrics.scan_time.timer();
        let (view, metrics) = (read.view.clone(), read.metrics.clone());
        let (files, window) = self.open(read, rows).await?;
        let search = windows::search::Search {
            view: view.clone(),
            files,
            index: index.clone(),
            window,
            as_of: self.spec.as_of,
            metrics: metrics.clone(),
            memory: self.reservation.new_empty(),
            workers: self.workers,
        };
        let (values, held) = search.run().await?;
        Ok(WindowRead { view, index: index.clone(), values, _held: held, metrics })
    }

    /// Search after search for winners; reads that look for the same share one.
    async fn winners(&self, indexes: &[Arc<SpineIndex>], rows: &SpineRows) -> PlanResult<Vec<Arc<ViewRead>>> {
        let (mut searches, mut search_of): (Vec<Search<'_>>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut finishing = JoinSet::new();
        let reads = || self.reads.iter().filter(|read| !read.view.is_windowed());
        for read in reads() {
            let index = &indexes[read.of];
            let known = searches.iter().position(|done| done.finds(read, index));
            let number = known.unwrap_or(searches.len());
            search_of.push(number);
            if known.is_some() {
                continue;
            }
            let _timer = read.metrics.scan_time.timer();
            let (files, held, finish) = self.scan(read, index, rows).await?;
            // No more than one lot of slots waits while another is filled.
            if let Some(done) = finishing.join_next().await {
                let (number, winners): (usize, Vec<Winner>) = finished(done)?;
                searches[number].winners = Arc::new(winners);
            }
            searches.push(Search { read, index: index.clone(), files, winners: Arc::default() });
            finishing.spawn(async move {
                let winners = finish();
                drop(held);
                (number, winners)
            });
        }
        while let Some(done) = finishing.join_next().await {
            let (number, winners) = finished(done)?;
            searches[number].winners = Arc::new(winners);
        }
        let view_read = |(read, number): (&Read, usize)| {
            let Search { index, files, winners, .. } = &searches[number];
            let (view, metrics) = (read.view.clone(), read.metrics.clone());
            Arc::new(ViewRead { view, files: files.clone(), index: index.clone(), winners: winners.clone(), metrics })
        };
        Ok(reads().zip(search_of).map(view_read).collect())
    }

    /// One search: the files it opened, the memory its slots hold, and what is left to do.
    async fn scan(
        &self,
        read: &Read,
        index: &Arc<SpineIndex>,
        rows: &SpineRows,
    ) -> PlanResult<(Arc<Files>, MemoryReservation, scan::Finish)> {
        let (view, metrics) = (read.view.clone(), read.metrics.clone());
        let (files, window) = self.open(read, rows).await?;
        self.reservation.try_grow(scan::winner_bytes(index))?;
        let held = self.reservation.new_empty();
        let Some(window) = window else { return Ok((files, held, Box::new(Vec::new))) };
        held.try_grow(scan::worker_bytes(&view, index, self.workers))?;
        let scan = Scan {
            view,
            files: files.clone(),
            index: index.clone(),
            window,
            as_of: self.spec.as_of,
            needed: read.needed.clone(),
            groups: None,
            metrics,
            memory: self.reservation.new_empty(),
        };
        Ok((files, held, scan::search(scan, self.workers).await?))
    }

    /// Opens the files of a view that can matter to the spine, and says which times can; none where no row has one.
    async fn open(&self, read: &Read, rows: &SpineRows) -> PlanResult<(Arc<Files>, Option<Window>)> {
        let (view, metrics) = (&read.view, &read.metrics);
        let window = rows.span().map(|span| Window::new(view, span, self.spec.as_of));
        let wanted = |file: &_| window.is_some_and(|window| !window.misses_file(file, &view.event_time));
        metrics.files.add(view.snapshot.files.len());
        let files = Arc::new(Files::open(&view.snapshot, wanted).await?);
        metrics.files_pruned.add(view.snapshot.files.len() - files.files.len());
        self.reservation.try_grow(files.bytes())?;
        Ok((files, window))
    }

    /// Phase 2, range after range of spine rows; whether somebody still reads the output.
    async fn put_out(
        &self,
        rows: &SpineRows,
        views: &[Found],
        output: &Sender<PlanResult<RecordBatch>>,
    ) -> PlanResult<bool> {
        let row_bytes = Self::added_row_bytes(views);
        let mut range_rows = (self.range_bytes() / row_bytes).max(self.batch_rows);
        let payload = self.reservation.new_empty();
        let mut cursor = Cursor { batches: &rows.batches, batch: 0, row: 0 };
        let mut start = 0;
        while start < rows.rows {
            let end = start + self.reserve(&payload, row_bytes, range_rows.min(rows.rows - start))?;
            let timer = self.timed.gather_time.timer();
            let gathered = gather(views, start..end, self.workers).await;
            drop(timer);
            let added = match gathered {
                Err(error) if is_offset_overflow(&error) && range_rows > 1 => {
                    range_rows = (end - start).div_ceil(2);
                    continue;
                }
                added => added?,
            };
            let mut at = 0;
            while at < end - start {
                let length = self.batch_rows.min(end - start - at);
                let columns = cursor.next(length)?.into_iter().chain(added.iter().map(|c| c.slice(at, length)));
                let batch = RecordBatch::try_new(self.schema.clone(), columns.collect())?;
                self.baseline.record_output(length);
                if output.send(Ok(batch)).await.is_err() {
                    return Ok(false);
                }
                at += length;
            }
            start = end;
        }
        Ok(true)
    }

    /// Takes memory for a range of output, for a smaller one where the pool has less, and says for how many rows.
    fn reserve(&self, payload: &MemoryReservation, row_bytes: usize, mut rows: usize) -> PlanResult<usize> {
        loop {
            match payload.try_resize(rows.saturating_mul(row_bytes)) {
                Ok(()) => return Ok(rows),
                Err(_) if rows > self.batch_rows => rows = (rows / 2).max(self.batch_rows),
                Err(error) => return Err(error),
            }
        }
    }

    /// Estimated bytes per spine row of what the views add, with the positions that order it.
    fn added_row_bytes(views: &[Found]) -> usize {
        let feature = |found: &Found, feature: &Feature| match found {
            Found::Winners(read) => read.files.value_bytes(&feature.column),
            Found::Windows(_) => VARYING_BYTES,
        };
        let added = |found: &Found| {
            let view = found.view();
            let value = |it: &Feature| width(&it.data_type).unwrap_or_else(|| feature(found, it).max(VARYING_BYTES));
            let values: usize = view.features.iter().map(value).sum();
            let event_time = usize::from(view.event_time_output.is_some()) * 9;
            let status = usize::from(view.status_output.is_some()) * (EXPIRED.len() + 4);
            values + event_time + status + ORDER_BYTES
        };
        views.iter().map(added).sum::<usize>().max(1)
    }

    fn range_bytes(&self) -> usize {
        match self.context.memory_pool().memory_limit() {
            MemoryLimit::Finite(bytes) => {
                (bytes.saturating_sub(self.reservation.size()) / RANGE_POOL_SHARE).min(RANGE_BYTES_MAX)
            }
            _ => RANGE_BYTES_MAX,
        }
    }
}

/// A search for winners, and what it found.
struct Search<'a> {
    read: &'a Read,
    index: Arc<SpineIndex>,
    files: Arc<Files>,
    winners: Arc<Vec<Winner>>,
}

impl Search<'_> {
    /// Whether `read` looks for the same in `index`: views that cut one table's columns up, or take them under other names,
    /// differ in what comes after.
    fn finds(&self, read: &Read, index: &Arc<SpineIndex>) -> bool {
        let rule = |view: &View| (view.availability, view.upper, view.event_time.clone(), view.created_time.clone());
        let table_keys = |view: &View| view.keys.iter().map(|key| key.table_column.clone()).collect::<Vec<_>>();
        let (a, b) = (&self.read.view, &read.view);
        Arc::ptr_eq(&self.index, index)
            && Arc::ptr_eq(&a.snapshot, &b.snapshot)
            && table_keys(a) == table_keys(b)
            && rule(a) == rule(b)
            && a.valid_to == b.valid_to
            && self.read.needed == read.needed
            && Window::ttl(a) == Window::ttl(b)
    }
}

fn index_bytes(rows: &SpineRows, indexes: &[Arc<SpineIndex>]) -> usize {
    rows.index_bytes() + indexes.iter().map(|index| index.bytes()).sum::<usize>()
}

/// Bytes of a value with its validity, or `None` where they vary.
fn width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Boolean => Some(1),
        other => other.primitive_width().map(|bytes| bytes + 1),
    }
}

/// Whether text or lists of a range came to more than 32-bit offsets reach.
fn is_offset_overflow(error: &Error) -> bool {
    let Error::Plan(DataFusionError::ArrowError(error, _)) = error else { return false };
    matches!(error.as_ref(), ArrowError::OffsetOverflowError(_))
}

/// Walks the spine's batches in steps of the output's batch size.
struct Cursor<'a> {
    batches: &'a [RecordBatch],
    batch: usize,
    row: usize,
}

impl Cursor<'_> {
    /// The spine's columns for the next `length` rows: slices, except where a step crosses a batch's end.
    fn next(&mut self, length: usize) -> PlanResult<Vec<ArrayRef>> {
        let (mut pieces, mut left) = (Vec::new(), length);
        while left > 0 {
            let batch = &self.batches[self.batch];
            let take = left.min(batch.num_rows() - self.row);
            pieces.push(batch.slice(self.row, take));
            left -= take;
            self.row += take;
            if self.row == batch.num_rows() {
                (self.batch, self.row) = (self.batch + 1, 0);
            }
        }
        if pieces.len() == 1 {
            return Ok(pieces.remove(0).columns().to_vec());
        }
        let columns = pieces.first().map_or(0, RecordBatch::num_columns);
        (0..columns)
            .map(|column| {
                let parts: Vec<&dyn arrow::array::Array> =
                    pieces.iter().map(|piece| piece.column(column).as_ref()).collect();
                Ok(concat(&parts)?)
            })
            .collect()
    }
}
