//! Random worlds: tables with a history, written as Parquet into memory; a spine; views over them. Times are kept in
//! nanoseconds as multiples of the unit a column stores, values small enough for ties, edges and late knowledge to be common.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampNanosecondArray, new_null_array,
};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation, UnboundedMemoryPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tidegate_schemas::time::{Availability, UpperBound};

use crate::point_in_time::reference::Rows;
use crate::point_in_time::{Feature, Key, Nulls, Spec, View, plan, query_planner};
use crate::table::compact::COMMITTED;
use crate::table::snapshot::{DataFile, Snapshot};
use crate::table::write::sort;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::point_in_time) enum Cell {
    Number(i64),
    Text(String),
}

/// One row of a table.
#[derive(Debug, Clone)]
pub(in crate::point_in_time) struct Seen {
    pub(in crate::point_in_time) keys: Vec<Option<Cell>>,
    pub(in crate::point_in_time) event: Option<i64>,
    pub(in crate::point_in_time) created: Option<i64>,
    /// The end of validity.
    pub(in crate::point_in_time) until: Option<i64>,
    /// Unique in the table.
    pub(in crate::point_in_time) id: i64,
    pub(in crate::point_in_time) deleted: bool,
}

#[derive(Debug, Clone)]
pub(in crate::point_in_time) struct File {
    pub(in crate::point_in_time) version: i64,
    pub(in crate::point_in_time) order: u32,
    pub(in crate::point_in_time) committed: Option<i64>,
    pub(in crate::point_in_time) rows: Vec<Seen>,
    /// Whether the file is older than the columns `text`, `list` and `until`.
    pub(in crate::point_in_time) old: bool,
    pub(in crate::point_in_time) partition: String,
    pub(in crate::point_in_time) group_rows: usize,
}

#[derive(Debug, Clone)]
pub(in crate::point_in_time) struct Table {
    pub(in crate::point_in_time) files: Vec<File>,
    pub(in crate::point_in_time) has_created: bool,
    pub(in crate::point_in_time) event_unit: TimeUnit,
    pub(in crate::point_in_time) numeric: Vec<bool>,
}

#[derive(Debug, Clone)]
pub(in crate::point_in_time) struct SpineRow {
    pub(in crate::point_in_time) keys: Vec<Option<Cell>>,
    pub(in crate::point_in_time) time: Option<i64>,
}

/// A view over one of the tables.
#[derive(Debug, Clone)]
pub(in crate::point_in_time) struct Use {
    pub(in crate::point_in_time) table: usize,
    pub(in crate::point_in_time) keys: usize,
    pub(in crate::point_in_time) availability: Availability,
    pub(in crate::point_in_time) upper: UpperBound,
    pub(in crate::point_in_time) nulls: Nulls,
    /// Whether rows hold until `until`.
    pub(in crate::point_in_time) ends: bool,
    pub(in crate::point_in_time) ttl: Option<i64>,
    pub(in crate::point_in_time) outputs: (bool, bool),
}

#[derive(Debug, Clone)]
pub(in crate::point_in_time) struct World {
    pub(in crate::point_in_time) tables: Vec<Table>,
    pub(in crate::point_in_time) spine: Vec<SpineRow>,
    pub(in crate::point_in_time) spine_unit: TimeUnit,
    pub(in crate::point_in_time) spine_naive: bool,
    pub(in crate::point_in_time) numeric: Vec<bool>,
    pub(in crate::point_in_time) key_types: Vec<DataType>,
    pub(in crate::point_in_time) as_of: Option<i64>,
    pub(in crate::point_in_time) uses: Vec<Use>,
    pub(in crate::point_in_time) batch_rows: usize,
    pub(in crate::point_in_time) workers: usize,
    pub(in crate::point_in_time) spine_batch_rows: usize,
    pub(in crate::point_in_time) spine_partitions: usize,
    /// What the memory pool says it has.
    pub(in crate::point_in_time) memory: Option<usize>,
}

const SECOND: i64 = 1_000_000_000;

/// Rows of a compacted file.
const COMPACTED_ROWS: usize = 90;

fn unit_nanos(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => SECOND,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

fn instant(rng: &mut StdRng, unit: TimeUnit) -> i64 {
    let offsets = [0, 0, 0, 0, -1, 1, 999, -999, 1_000, -1_000, 1_001, 1_000_000, -1_000_000, SECOND / 2];
    let nanos = rng.random_range(-4..12) * SECOND + offsets.choose(rng).copied().unwrap_or(0);
    nanos.div_euclid(unit_nanos(unit)) * unit_nanos(unit)
}

fn maybe<T>(rng: &mut StdRng, nulls: f64, value: T) -> Option<T> {
    if rng.random_bool(nulls) { None } else { Some(value) }
}

/// How many values a key column has, and whether integers lie far apart.
#[derive(Debug, Clone, Copy)]
struct Keys {
    distinct: i64,
    wide: bool,
}

fn key_cells(rng: &mut StdRng, numeric: &[bool], keys: Keys, nulls: f64) -> Vec<Option<Cell>> {
    let mut cells = Vec::new();
    for numeric in numeric {
        let cell = cell(rng, *numeric, keys);
        cells.push(maybe(rng, nulls, cell));
    }
    cells
}

fn cell(rng: &mut StdRng, numeric: bool, keys: Keys) -> Cell {
    // Skewed: the first value is far the most common.
    let n = if rng.random_bool(0.4) { 0 } else { rng.random_range(0..keys.distinct) };
    match numeric {
        // Wide gaps now and then, so that both kinds of integer index are met.
        true => Cell::Number(if keys.wide { n * 3_000_000_007 - 5 } else { n - 2 }),
        false => Cell::Text(["", "1", "12", "123", "23", "3", "a,b", "b", "ä"][n as usize % 9].to_owned()),
    }
}

fn table(rng: &mut StdRng, numeric: &[bool], keys: Keys) -> Table {
    let units = [TimeUnit::Microsecond, TimeUnit::Microsecond, TimeUnit::Nanosecond, TimeUnit::Millisecond];
    let event_unit = *units.choose(rng).unwrap_or(&TimeUnit::Microsecond);
    let nulls = if rng.random_bool(0.5) { 0.0 } else { 0.1 };
    let (mut files, mut id, mut version, mut order) = (Vec::new(), 0, 0, 0);
    let mut committed = rng.random_range(-4_000_000..4_000_000);
    let with_commits = rng.random_bool(0.9);
    for _ in 0..rng.random_range(0..6) {
        if rng.random_bool(0.6) {
            (version, order) = (version + 1, 0);
            committed += rng.random_range(0..4_000_000);
        }
        let deletes = if rng.random_bool(0.3) { 0.2 } else { 0.0 };
        let rows = (0..rng.random_range(0..60)).map(|_| {
            id += 1;
            let event = instant(rng, event_unit);
            let created = event + [0, 0, -SECOND, SECOND, 5 * SECOND][rng.random_range(0..5)];
            Seen {
                keys: key_cells(rng, numeric, keys, nulls),
                event: maybe(rng, nulls, event),
                created: maybe(rng, nulls, created.div_euclid(1_000) * 1_000),
                until: end(rng, event, event_unit),
                id,
                deleted: rng.random_bool(deletes),
            }
        });
        let rows = rows.collect();
        let old = rng.random_bool(0.2);
        let partition = format!("p{}", rng.random_range(0..3));
        let group_rows = rng.random_range(1..40);
        let committed = with_commits.then_some(committed);
        files.push(File { version, order, committed, rows, old, partition, group_rows });
        order += 1;
    }
    lay(rng, &mut files);
    Table { files, has_created: rng.random_bool(0.7), event_unit, numeric: numeric.to_vec() }
}

/// Puts rows into one of four layouts: as they came, by key and time within each file, in slices of time, by key and time
/// over all files.
fn lay(rng: &mut StdRng, files: &mut [File]) {
    let by_time = |row: &Seen| row.event;
    let by_key = |row: &Seen| (row.keys.clone(), row.event);
    let deal = |mut rows: Vec<Seen>, files: &mut [File]| {
        for file in files {
            let rest = rows.split_off(file.rows.len());
            file.rows = std::mem::replace(&mut rows, rest);
        }
    };
    let mut all: Vec<Seen> = files.iter().flat_map(|file| file.rows.clone()).collect();
    match rng.random_range(0..4) {
        0 => {}
        1 => files.iter_mut().for_each(|file| file.rows.sort_by_key(by_key)),
        2 => {
            all.sort_by_key(by_time);
            deal(all, files);
        }
        _ => {
            all.sort_by_key(by_key);
            deal(all, files);
        }
    }
}

/// The end of validity of a row that holds from `start`: none, or before, at or after it.
fn end(rng: &mut StdRng, start: i64, unit: TimeUnit) -> Option<i64> {
    let lengths = [-SECOND, 0, 1, 1_000, SECOND / 2, SECOND, 2 * SECOND, 3 * SECOND, 7 * SECOND];
    let end = start + lengths[rng.random_range(0..lengths.len())];
    maybe(rng, 0.3, end.div_euclid(unit_nanos(unit)) * unit_nanos(unit))
}

fn used(rng: &mut StdRng, (tables, keys): (usize, usize), extended: bool) -> Use {
    let availability = match rng.random_range(0..4) {
        0 => Availability::Event,
        1 => Availability::Created,
        2 => Availability::Delay([0, 1, 1_000_000, 3_000_000][rng.random_range(0..4)]),
        _ => Availability::Commit,
    };
    Use {
        table: rng.random_range(0..tables),
        keys: rng.random_range(0..=keys),
        availability,
        upper: if rng.random_bool(0.3) { UpperBound::Exclusive } else { UpperBound::Inclusive },
        ttl: rng.random_bool(0.5).then(|| [1, 1_000_000, 2_000_000, 500_000, 7_000_000][rng.random_range(0..5)]),
        outputs: (rng.random_bool(0.4), rng.random_bool(0.4)),
        nulls: if extended && rng.random_bool(0.6) { Nulls::Skip } else { Nulls::Keep },
        ends: extended && rng.random_bool(0.6),
    }
}

impl World {
    pub(in crate::point_in_time) fn random(rng: &mut StdRng) -> Self {
        let numeric: Vec<bool> = (0..rng.random_range(0..4)).map(|_| rng.random_bool(0.5)).collect();
        let keys = Keys { distinct: rng.random_range(1..9), wide: rng.random_bool(0.3) };
        let in_spine = Keys { distinct: keys.distinct + 1, ..keys };
        let tables: Vec<Table> = (0..rng.random_range(1..4)).map(|_| table(rng, &numeric, keys)).collect();
        let units = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
        let spine_unit = units[rng.random_range(0..4)];
        let nulls = if rng.random_bool(0.5) { 0.0 } else { 0.1 };
        let rows = if rng.random_bool(0.1) { 0 } else { rng.random_range(1..150) };
        let mut spine: Vec<SpineRow> = Vec::new();
        for _ in 0..rows {
            let keys = key_cells(rng, &numeric, in_spine, nulls);
            let time = instant(rng, spine_unit);
            let repeated = spine.choose(rng).cloned().filter(|_| rng.random_bool(0.1));
            spine.push(repeated.unwrap_or(SpineRow { keys, time: maybe(rng, nulls, time) }));
        }
        let key_types = numeric.iter().map(|numeric| spine_type(rng, *numeric, keys)).collect();
        let sizes = [1, 2, 7, 49, 50, 51, 100];
        let extended = rng.random_bool(0.5);
        Self {
            uses: (0..rng.random_range(1..5)).map(|_| used(rng, (tables.len(), numeric.len()), extended)).collect(),
            tables,
            spine,
            spine_unit,
            spine_naive: rng.random_bool(0.3),
            numeric,
            key_types,
            as_of: rng.random_bool(0.3).then(|| rng.random_range(-2_000_000..10_000_000)),
            batch_rows: sizes[rng.random_range(0..7)],
            workers: rng.random_range(1..5),
            spine_batch_rows: sizes[rng.random_range(0..7)],
            spine_partitions: rng.random_range(1..4),
            memory: [None, None, Some(0), Some(10_000), Some(60_000)][rng.random_range(0..5)],
        }
    }

    /// The same question of the same tables after a compaction, by the keys that all views of a table have. `None` where a
    /// table has times that Delta does not hold, and that tie only when they are rounded.
    pub(in crate::point_in_time) async fn compacted(&self, spec: &Spec) -> Option<Spec> {
        if self.tables.iter().any(|table| table.event_unit == TimeUnit::Nanosecond) {
            return None;
        }
        let mut snapshots = Vec::new();
        for (at, table) in self.tables.iter().enumerate() {
            let of_table = self.uses.iter().filter(|used| used.table == at);
            let keys = of_table.map(|used| used.keys).min().unwrap_or(0);
            snapshots.push(Arc::new(table.write_compacted(&format!("t{at}"), keys).await));
        }
        let moved = |(view, used): (&View, &Use)| View { snapshot: snapshots[used.table].clone(), ..view.clone() };
        Some(Spec { views: spec.views.iter().zip(&self.uses).map(moved).collect(), ..spec.clone() })
    }

    pub(in crate::point_in_time) fn spine_batches(&self) -> (SchemaRef, Vec<Vec<RecordBatch>>) {
        let batch = self.spine_batch();
        let mut partitions = vec![Vec::new(); self.spine_partitions];
        let each = batch.num_rows().div_ceil(self.spine_partitions).max(1);
        for (at, partition) in partitions.iter_mut().enumerate() {
            let (mut row, end) = ((at * each).min(batch.num_rows()), ((at + 1) * each).min(batch.num_rows()));
            while row < end {
                let length = self.spine_batch_rows.min(end - row);
                partition.push(batch.slice(row, length));
                row += length;
            }
        }
        (batch.schema(), partitions)
    }

    pub(in crate::point_in_time) fn spine_batch(&self) -> RecordBatch {
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        columns.push(("label".to_owned(), Arc::new(Int64Array::from_iter_values(0..self.spine.len() as i64))));
        for (at, numeric) in self.numeric.iter().enumerate() {
            let cells = key_array(self.spine.iter().map(|row| row.keys[at].as_ref()), *numeric);
            columns.push((format!("k{at}"), cast(&cells, &self.key_types[at]).expect("key type")));
        }
        let zone = (!self.spine_naive).then(|| "UTC".into());
        let times = time_array(self.spine.iter().map(|row| row.time), DataType::Timestamp(self.spine_unit, zone));
        columns.push(("at".to_owned(), times));
        let extra: StringArray = (0..self.spine.len()).map(|at| (at % 3 > 0).then(|| format!("row {at}"))).collect();
        columns.push(("extra".to_owned(), Arc::new(extra)));
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).expect("spine")
    }

    pub(in crate::point_in_time) async fn spec(&self) -> Spec {
        let mut snapshots = Vec::new();
        for (at, table) in self.tables.iter().enumerate() {
            snapshots.push(Arc::new(table.write(&format!("t{at}")).await));
        }
        let views = self.uses.iter().enumerate().map(|(at, used)| self.view(at, used, &snapshots));
        Spec { spine_time: "at".to_owned(), views: views.collect(), as_of: self.as_of }
    }

    fn view(&self, at: usize, used: &Use, snapshots: &[Arc<Snapshot>]) -> View {
        let table = &self.tables[used.table];
        let feature = |column: &str, data_type: DataType| Feature {
            column: column.to_owned(),
            output: format!("v{at}_{column}"),
            data_type,
            aggregate: None,
        };
        View {
            alias: format!("v{at}"),
            snapshot: snapshots[used.table].clone(),
            keys: (0..used.keys)
                .map(|key| Key { spine_column: format!("k{key}"), table_column: format!("key{key}") })
                .collect(),
            event_time: "event".to_owned(),
            created_time: table.has_created.then(|| "created".to_owned()),
            availability: used.availability,
            upper: used.upper,
            ttl: used.ttl,
            nulls: used.nulls,
            valid_to: used.ends.then(|| "until".to_owned()),
            features: table_features().into_iter().map(|(column, data_type)| feature(column, data_type)).collect(),
            event_time_output: used.outputs.0.then(|| format!("v{at}__event_time")),
            status_output: used.outputs.1.then(|| format!("v{at}__status")),
        }
    }

    /// The tables of the views, for the reference.
    pub(in crate::point_in_time) fn reference_rows(&self) -> Vec<Vec<Rows>> {
        self.uses.iter().map(|used| self.tables[used.table].reference_rows()).collect()
    }

    pub(in crate::point_in_time) fn session(&self) -> SessionContext {
        let mut runtime = RuntimeEnvBuilder::new();
        if let Some(limit) = self.memory {
            runtime = runtime.with_memory_pool(Arc::new(Told::new(limit)));
        }
        let state = session(self.workers, self.batch_rows).state();
        let builder =
            SessionStateBuilder::new_from_existing(state).with_runtime_env(runtime.build_arc().expect("runtime"));
        SessionContext::new_with_state(builder.build())
    }

    pub(in crate::point_in_time) async fn run(&self, spec: &Spec) -> RecordBatch {
        let (schema, partitions) = self.spine_batches();
        run(&self.session(), schema, partitions, spec.clone()).await.expect("join")
    }
}

pub(in crate::point_in_time) fn session(workers: usize, batch_rows: usize) -> SessionContext {
    let config = SessionConfig::new()
        .with_target_partitions(workers)
        .with_batch_size(batch_rows)
        .with_enable_subquery_sort_elimination(false);
    let builder = SessionStateBuilder::new().with_default_features().with_config(config);
    SessionContext::new_with_state(builder.with_query_planner(query_planner()).build())
}

/// A memory pool that says it is small and gives whatever is asked: a spine then comes in many pieces.
#[derive(Debug)]
pub(in crate::point_in_time) struct Told {
    limit: usize,
    pool: UnboundedMemoryPool,
}

impl Told {
    pub(in crate::point_in_time) fn new(limit: usize) -> Self {
        Self { limit, pool: UnboundedMemoryPool::default() }
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Told({})", self.limit)
    }
}

impl MemoryPool for Told {
    fn name(&self) -> &'static str {
        "Told"
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.pool.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pool.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> datafusion::error::Result<()> {
        self.pool.try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.pool.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

/// Joins batches to `spec` through a whole session, and puts the output's batches together.
pub(in crate::point_in_time) async fn run(
    session: &SessionContext,
    schema: SchemaRef,
    partitions: Vec<Vec<RecordBatch>>,
    spec: Spec,
) -> datafusion::error::Result<RecordBatch> {
    let table = MemTable::try_new(schema, partitions)?;
    let spine = session.read_table(Arc::new(table))?.into_unoptimized_plan();
    let joined = session.execute_logical_plan(plan(spine, spec)?).await?;
    let schema = Arc::new(joined.schema().as_arrow().clone());
    let batches = joined.collect().await?;
    let limit = session.copied_config().batch_size();
    assert!(batches.iter().all(|batch| batch.num_rows() <= limit), "batches are of the session's size");
    Ok(arrow::compute::concat_batches(&schema, &batches)?)
}

fn table_features() -> Vec<(&'static str, DataType)> {
    vec![
        ("id", DataType::Int64),
        ("small", DataType::Int64),
        ("rare", DataType::Float64),
        ("text", DataType::Utf8),
        ("list", DataType::List(Arc::new(Field::new("element", DataType::Int64, true)))),
        (
            "pair",
            DataType::Struct(
                vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)].into(),
            ),
        ),
        ("part", DataType::Utf8),
    ]
}

fn spine_type(rng: &mut StdRng, numeric: bool, keys: Keys) -> DataType {
    let text = Box::new(DataType::Utf8);
    let choices = match numeric {
        // The wide gaps of `cell` do not fit 32 bits.
        true if keys.wide => vec![DataType::Int64],
        true => vec![DataType::Int64, DataType::Int32],
        false => vec![
            DataType::Utf8,
            DataType::LargeUtf8,
            DataType::Utf8View,
            DataType::Dictionary(Box::new(DataType::Int32), text),
        ],
    };
    choices[rng.random_range(0..choices.len())].clone()
}

fn key_array<'a>(cells: impl Iterator<Item = Option<&'a Cell>>, numeric: bool) -> ArrayRef {
    if numeric {
        let number = |cell: Option<&Cell>| match cell {
            Some(Cell::Number(n)) => Some(*n),
            _ => None,
        };
        return Arc::new(cells.map(number).collect::<Int64Array>());
    }
    let text = |cell: Option<&'a Cell>| match cell {
        Some(Cell::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    Arc::new(cells.map(text).collect::<StringArray>())
}

fn time_array(nanos: impl Iterator<Item = Option<i64>>, to: DataType) -> ArrayRef {
    let zone = match &to {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let nanos = TimestampNanosecondArray::from_iter(nanos).with_timezone_opt(zone);
    let DataType::Timestamp(unit, _) = &to else { return Arc::new(nanos) };
    // Not by Arrow's cast, which rounds times before 1970 toward it.
    let per = unit_nanos(*unit);
    let raw: Int64Array = nanos.iter().map(|n| n.map(|n| n.div_euclid(per))).collect();
    cast(&raw, &to).expect("time")
}

impl Table {
    fn batch(&self, file: &File) -> RecordBatch {
        let rows = || file.rows.iter();
        let utc = |unit| DataType::Timestamp(unit, Some("UTC".into()));
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        for (at, numeric) in self.numeric.iter().enumerate() {
            columns.push((format!("key{at}"), key_array(rows().map(|row| row.keys[at].as_ref()), *numeric)));
        }
        columns.push(("event".to_owned(), time_array(rows().map(|row| row.event), utc(self.event_unit))));
        columns.push(("created".to_owned(), time_array(rows().map(|row| row.created), utc(TimeUnit::Microsecond))));
        columns.push(("id".to_owned(), Arc::new(rows().map(|row| Some(row.id)).collect::<Int64Array>())));
        let small: Int32Array = rows().map(|row| (row.id % 4 > 0).then_some(row.id as i32 * 10)).collect();
        columns.push(("small".to_owned(), Arc::new(small)));
        let rare: Float64Array = rows().map(|row| (row.id % 6 == 0).then_some(row.id as f64 / 2.0)).collect();
        columns.push(("rare".to_owned(), Arc::new(rare)));
        if !file.old {
            let text: StringArray = rows().map(|row| (row.id % 5 > 0).then(|| format!("text {}", row.id))).collect();
            columns.push(("text".to_owned(), Arc::new(text)));
            let list = |row: &Seen| (row.id % 3 > 0).then(|| vec![Some(row.id), None, Some(7)]);
            let list = ListArray::from_iter_primitive::<Int64Type, _, _>(rows().map(list));
            columns.push(("list".to_owned(), cast(&list, &table_features()[4].1).expect("list")));
            columns.push(("until".to_owned(), time_array(rows().map(|row| row.until), utc(self.event_unit))));
        }
        let a: ArrayRef = Arc::new(rows().map(|row| Some(row.id)).collect::<Int64Array>());
        let b: ArrayRef =
            Arc::new(rows().map(|row| (row.id % 2 > 0).then(|| format!("{}", row.id))).collect::<StringArray>());
        let DataType::Struct(fields) = table_features().remove(5).1 else { unreachable!("a struct") };
        columns.push(("pair".to_owned(), Arc::new(StructArray::new(fields, vec![a, b], None))));
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).expect("table")
    }

    fn schema(&self) -> SchemaRef {
        let file = File {
            version: 0,
            order: 0,
            committed: None,
            rows: Vec::new(),
            old: false,
            partition: String::new(),
            group_rows: 1,
        };
        let mut fields: Vec<_> = self.batch(&file).schema().fields().to_vec();
        fields.push(Arc::new(Field::new("part", DataType::Utf8, true)));
        Arc::new(Schema::new(fields))
    }

    /// Writes the files into memory.
    pub(in crate::point_in_time) async fn write(&self, name: &str) -> Snapshot {
        let store = Arc::new(InMemory::new());
        let mut files = Vec::new();
        for (at, file) in self.files.iter().enumerate() {
            let path = Path::from(format!("{name}/{at}.parquet"));
            let bytes = parquet_bytes(&self.batch(file), file.group_rows);
            let size = bytes.len() as u64;
            store.put(&path, PutPayload::from(bytes)).await.expect("put");
            let deleted: Vec<u64> = (0..).zip(&file.rows).filter(|(_, row)| row.deleted).map(|(at, _)| at).collect();
            files.push(DataFile {
                path,
                size,
                rows: Some(file.rows.len() as u64),
                added_version: file.version,
                order: file.order,
                committed: file.committed,
                compacted: false,
                partition: BTreeMap::from([("part".to_owned(), ScalarValue::Utf8(Some(file.partition.clone())))]),
                ranges: file.ranges(),
                deleted_rows: (!deleted.is_empty()).then(|| deleted.into()),
            });
        }
        Snapshot { name: name.to_owned(), id: None, version: 9, schema: self.schema(), files, store }
    }

    /// Writes the rows as `table compact` does: sorted by the first `keys` keys and event time, in a few files, each row
    /// beside the time of its commit. `crate::table` tests that it does.
    async fn write_compacted(&self, name: &str, keys: usize) -> Snapshot {
        let mut history = self.reference_rows();
        history.sort_by_key(|rows| (rows.added_version, rows.order));
        let batches: Vec<RecordBatch> = history.iter().map(with_commits).collect();
        let schema = batches.first().map_or_else(|| self.schema(), RecordBatch::schema);
        let order: Vec<String> = (0..keys).map(|at| format!("key{at}")).chain(["event".to_owned()]).collect();
        let rows = sort(concat_batches(&schema, &batches).expect("one schema"), &order).expect("sorted");
        let (store, mut files) = (Arc::new(InMemory::new()), Vec::new());
        for (at, start) in (0..rows.num_rows()).step_by(COMPACTED_ROWS).enumerate() {
            let rows = rows.slice(start, COMPACTED_ROWS.min(rows.num_rows() - start));
            let path = Path::from(format!("{name}/compacted-{at}.parquet"));
            let bytes = parquet_bytes(&rows, 2 * COMPACTED_ROWS / 3);
            let size = bytes.len() as u64;
            store.put(&path, PutPayload::from(bytes)).await.expect("put");
            files.push(DataFile {
                path,
                size,
                rows: Some(rows.num_rows() as u64),
                added_version: 9,
                order: at as u32,
                committed: None,
                compacted: true,
                partition: BTreeMap::new(),
                ranges: BTreeMap::new(),
                deleted_rows: None,
            });
        }
        Snapshot { name: name.to_owned(), id: None, version: 10, schema: self.schema(), files, store }
    }

    fn reference_rows(&self) -> Vec<Rows> {
        let rows = |file: &File| {
            let batch = self.batch(file);
            let kept = BooleanArray::from_iter(file.rows.iter().map(|row| Some(!row.deleted)));
            let batch = filter_record_batch(&batch, &kept).expect("filter");
            let schema = self.schema();
            let columns = schema.fields().iter().map(|field| match field.name().as_str() {
                "part" => {
                    let value = ScalarValue::Utf8(Some(file.partition.clone()));
                    value.to_array_of_size(batch.num_rows()).expect("partition")
                }
                name => batch
                    .column_by_name(name)
                    .cloned()
                    .unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows())),
            });
            let batch = RecordBatch::try_new(schema.clone(), columns.collect()).expect("rows");
            Rows { added_version: file.version, order: file.order, committed: file.committed, batch }
        };
        self.files.iter().map(rows).collect()
    }
}

/// Rows of one file with the time of its commit.
fn with_commits(rows: &Rows) -> RecordBatch {
    let zone = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let committed = ScalarValue::TimestampMicrosecond(rows.committed, Some("UTC".into()));
    let mut fields: Vec<_> = rows.batch.schema().fields().to_vec();
    fields.push(Arc::new(Field::new(COMMITTED, zone, true)));
    let mut columns = rows.batch.columns().to_vec();
    columns.push(committed.to_array_of_size(rows.batch.num_rows()).expect("times"));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("rows with commits")
}

impl File {
    /// The log's statistics of the event time, in microseconds, cut to milliseconds as some writers do.
    fn ranges(&self) -> BTreeMap<String, (ScalarValue, ScalarValue)> {
        let times = || self.rows.iter().filter_map(|row| row.event);
        let (Some(min), Some(max)) = (times().min(), times().max()) else { return BTreeMap::new() };
        let cut = |nanos: i64| ScalarValue::TimestampMicrosecond(Some(nanos.div_euclid(1_000_000) * 1_000), None);
        BTreeMap::from([("event".to_owned(), (cut(min), cut(max)))])
    }
}

pub(in crate::point_in_time) fn parquet_bytes(batch: &RecordBatch, group_rows: usize) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group_rows))
        .set_data_page_row_count_limit(7)
        .set_write_batch_size(5)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).expect("writer");
    writer.write(batch).expect("write");
    writer.close().expect("close");
    bytes
}
