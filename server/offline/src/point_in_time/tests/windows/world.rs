//! Random histories of events with several columns to aggregate, a spine, and what is asked of them. Times gather at the borders
//! of hops and around each other; how long history is compared with the windows differs from world to world.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType as Arrow, SchemaRef};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionContext;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tidegate_schemas::definition::{Aggregate, Column, Function};
use tidegate_schemas::time::{Availability, Micros, UpperBound};
use tidegate_schemas::types::DataType;

use crate::point_in_time::reference::Rows;
use crate::point_in_time::tests::named::{batch, table};
use crate::point_in_time::tests::world::{Told, run, session};
use crate::point_in_time::{Feature, Key, Nulls, Spec, View};
use crate::table::snapshot::Snapshot;

pub(super) const SECOND: Micros = 1_000_000;
const MINUTE: Micros = 60 * SECOND;
const HOUR: Micros = 60 * MINUTE;
const DAY: Micros = 24 * HOUR;

/// Windows with their hops.
pub(super) const WINDOWS: [(Option<Micros>, Micros); 5] = [
    (Some(10 * SECOND), SECOND),
    (Some(150 * SECOND), 10 * SECOND),
    (Some(HOUR), 5 * MINUTE),
    (Some(7 * DAY), HOUR),
    (None, DAY),
];

/// The columns to aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Int,
    Float,
    Decimal,
    Text,
}

impl Input {
    const ALL: [Self; 4] = [Self::Int, Self::Float, Self::Decimal, Self::Text];

    fn column(self) -> Column {
        let (name, data_type) = match self {
            Self::Int => ("int", DataType::Int64),
            Self::Float => ("float", DataType::Float64),
            Self::Decimal => ("decimal", DataType::Decimal(12, 2)),
            Self::Text => ("text", DataType::String),
        };
        Column { name: name.to_owned(), data_type }
    }
}

/// A value of one of the columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Int(i64),
    Float(f64),
    Decimal(i128),
    Text(String),
}

#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) keys: Vec<Option<i64>>,
    pub(super) event: Option<Micros>,
    pub(super) created: Option<Micros>,
    pub(super) cells: [Option<Cell>; 4],
}

impl Event {
    pub(super) fn cell(&self, input: Input) -> Option<&Cell> {
        self.cells[Input::ALL.iter().position(|it| *it == input).expect("an input")].as_ref()
    }
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) keys: Vec<Option<i64>>,
    pub(super) time: Option<Micros>,
}

#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) function: Function,
    pub(super) input: Option<Input>,
    pub(super) window: Option<Micros>,
    pub(super) hop: Micros,
}

impl Asked {
    fn feature(&self, number: usize) -> Feature {
        let input = self.input.map(Input::column);
        let of = input.as_ref().map_or(DataType::Int64, |input| input.data_type.clone());
        Feature {
            column: input.as_ref().map_or("event", |input| &input.name).to_owned(),
            output: format!("f{number}"),
            data_type: self.function.output(&of).expect("an output").to_arrow(),
            aggregate: Some(Aggregate { function: self.function, input, window: self.window, hop: self.hop }),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct World {
    /// Per file its commit and rows.
    pub(super) files: Vec<(Option<Micros>, Vec<Event>)>,
    pub(super) spine: Vec<Row>,
    pub(super) keys: usize,
    pub(super) asked: Vec<Asked>,
    pub(super) has_created: bool,
    pub(super) availability: Availability,
    pub(super) upper: UpperBound,
    pub(super) as_of: Option<Micros>,
    batch_rows: usize,
    workers: usize,
    memory: Option<usize>,
}

/// Every function of every input that it takes, in every window.
fn everything() -> Vec<Asked> {
    let mut asked = Vec::new();
    let plain = [Function::Min, Function::Max, Function::First, Function::Last, Function::DistinctCount];
    for (window, hop) in WINDOWS {
        let mut add = |function, input| asked.push(Asked { function, input, window, hop });
        add(Function::Count, None);
        for input in Input::ALL {
            add(Function::Count, Some(input));
            plain.iter().for_each(|function| add(*function, Some(input)));
            [1, 3].iter().for_each(|n| add(Function::LastN(*n), Some(input)));
            [1, 2].iter().for_each(|n| add(Function::TopK(*n), Some(input)));
            if input != Input::Text {
                let numeric = [Function::Sum, Function::Mean, Function::Var, Function::Std];
                numeric.iter().for_each(|function| add(*function, Some(input)));
                [0, 5_000, 9_500, 10_000].iter().for_each(|share| add(Function::Percentile(*share), Some(input)));
            }
        }
    }
    asked
}

/// How history lies: where it begins, how long it is, and the hops at whose borders times gather.
struct History {
    start: Micros,
    span: Micros,
}

impl History {
    fn instant(&self, rng: &mut StdRng) -> Micros {
        let at = self.start + rng.random_range(0..self.span);
        let (_, hop) = WINDOWS[rng.random_range(0..5)];
        match rng.random_range(0..4) {
            0 => at.div_euclid(hop) * hop,
            1 => at.div_euclid(hop) * hop + rng.random_range(-1..2),
            _ => at,
        }
    }
}

fn maybe<T>(rng: &mut StdRng, nulls: f64, value: T) -> Option<T> {
    if rng.random_bool(nulls) { None } else { Some(value) }
}

fn keys(rng: &mut StdRng, count: usize, distinct: i64, nulls: f64) -> Vec<Option<i64>> {
    let mut keys = Vec::new();
    for _ in 0..count {
        let key = rng.random_range(0..distinct);
        keys.push(maybe(rng, nulls, key));
    }
    keys
}

fn cells(rng: &mut StdRng, wild: bool, nulls: f64) -> [Option<Cell>; 4] {
    let odd = [f64::NAN, -0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e-300];
    let float = match wild && rng.random_bool(0.1) {
        true => odd[rng.random_range(0..odd.len())],
        false => f64::from(rng.random_range(-50_000..50_000)) / 100.0,
    };
    let (int, decimal) = (rng.random_range(-9..10), rng.random_range(-5_000..5_000));
    let text = ["", "a", "b", "ab", "ä", "zebra"][rng.random_range(0..6)].to_owned();
    [
        maybe(rng, nulls, Cell::Int(int)),
        maybe(rng, nulls, Cell::Float(float)),
        maybe(rng, nulls, Cell::Decimal(decimal)),
        maybe(rng, nulls, Cell::Text(text)),
    ]
}

impl World {
    pub(super) fn random(rng: &mut StdRng, all: bool) -> Self {
        let span = [40 * SECOND, 20 * MINUTE, 10 * HOUR, 20 * DAY][rng.random_range(0..4)];
        let start = [0, -span / 2, 1_700_000_000 * SECOND][rng.random_range(0..3)];
        let history = History { start, span };
        let nulls = if rng.random_bool(0.5) { 0.0 } else { 0.1 };
        // Few keys and many rows make groups that are worth tiles.
        let (count, distinct) = (rng.random_range(0..3), [1, 2, 6, 20][rng.random_range(0..4)]);
        let events = if all { 120 } else { rng.random_range(0..400) };
        let rows = if all { 40 } else { rng.random_range(0..150) };
        let late = [0, SECOND, span / 20, span][rng.random_range(0..4)];
        let wild = rng.random_bool(0.2);
        let files = rng.random_range(1..5);
        let mut committed = start;
        let mut of_files = Vec::new();
        for _ in 0..files {
            committed += rng.random_range(0..span);
            let mut of_file = Vec::new();
            for _ in 0..events / files {
                let event = history.instant(rng);
                let created = event + rng.random_range(-late..=late);
                of_file.push(Event {
                    keys: keys(rng, count, distinct, nulls),
                    event: maybe(rng, nulls, event),
                    created: maybe(rng, nulls, created),
                    cells: cells(rng, wild, nulls),
                });
            }
            if rng.random_bool(0.5) {
                of_file.sort_by_key(|event| (event.keys.clone(), event.event));
            }
            of_files.push((Some(committed), of_file));
        }
        let mut spine: Vec<Row> = Vec::new();
        for _ in 0..rows {
            let time = history.instant(rng);
            let row = Row { keys: keys(rng, count, distinct + 1, nulls), time: maybe(rng, nulls, time) };
            let repeated = spine.choose(rng).cloned().filter(|_| rng.random_bool(0.1));
            spine.push(repeated.unwrap_or(row));
        }
        let mut asked = everything();
        if !all {
            let chosen = rng.random_range(1..8);
            asked = asked.sample(rng, chosen).cloned().collect();
        }
        let availability = match rng.random_range(0..5) {
            0 => Availability::Created,
            1 => Availability::Delay([0, SECOND, span / 7][rng.random_range(0..3)]),
            2 => Availability::Commit,
            _ => Availability::Event,
        };
        let sizes = [1, 2, 7, 49, 50, 51, 100];
        Self {
            files: of_files,
            spine,
            keys: count,
            asked,
            has_created: availability == Availability::Created || rng.random_bool(0.5),
            availability,
            upper: if rng.random_bool(0.3) { UpperBound::Exclusive } else { UpperBound::Inclusive },
            as_of: rng.random_bool(0.3).then(|| history.instant(rng)),
            batch_rows: sizes[rng.random_range(0..7)],
            workers: rng.random_range(1..5),
            memory: [None, None, Some(0), Some(100_000)][rng.random_range(0..4)],
        }
    }

    fn batch(&self, events: &[Event]) -> RecordBatch {
        let rows = || events.iter();
        let times = |time: &dyn Fn(&Event) -> Option<Micros>| -> ArrayRef {
            Arc::new(rows().map(time).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        };
        let mut columns: Vec<(String, ArrayRef)> = (0..self.keys)
            .map(|at| {
                (format!("key{at}"), Arc::new(rows().map(|row| row.keys[at]).collect::<Int64Array>()) as ArrayRef)
            })
            .collect();
        columns.push(("event".to_owned(), times(&|event| event.event)));
        columns.push(("created".to_owned(), times(&|event| event.created)));
        let ints = rows().map(|row| match row.cell(Input::Int) {
            Some(Cell::Int(value)) => Some(*value),
            _ => None,
        });
        columns.push(("int".to_owned(), Arc::new(ints.collect::<Int64Array>())));
        let floats = rows().map(|row| match row.cell(Input::Float) {
            Some(Cell::Float(value)) => Some(*value),
            _ => None,
        });
        columns.push(("float".to_owned(), Arc::new(floats.collect::<Float64Array>())));
        let decimals = rows().map(|row| match row.cell(Input::Decimal) {
            Some(Cell::Decimal(value)) => Some(*value),
            _ => None,
        });
        let decimals = decimals.collect::<Decimal128Array>().with_data_type(Arrow::Decimal128(12, 2));
        columns.push(("decimal".to_owned(), Arc::new(decimals)));
        let texts = rows().map(|row| match row.cell(Input::Text) {
            Some(Cell::Text(value)) => Some(value.as_str()),
            _ => None,
        });
        columns.push(("text".to_owned(), Arc::new(texts.collect::<StringArray>())));
        let columns: Vec<(&str, ArrayRef)> =
            columns.iter().map(|(name, array)| (name.as_str(), array.clone())).collect();
        batch(&columns)
    }

    pub(super) fn spine_batch(&self) -> RecordBatch {
        let mut columns: Vec<(String, ArrayRef)> = (0..self.keys)
            .map(|at| {
                let keys = self.spine.iter().map(|row| row.keys[at]);
                (format!("k{at}"), Arc::new(keys.collect::<Int64Array>()) as ArrayRef)
            })
            .collect();
        let times = self.spine.iter().map(|row| row.time).collect::<TimestampMicrosecondArray>();
        columns.push(("at".to_owned(), Arc::new(times.with_timezone("UTC"))));
        let columns: Vec<(&str, ArrayRef)> =
            columns.iter().map(|(name, array)| (name.as_str(), array.clone())).collect();
        batch(&columns)
    }

    pub(super) async fn spec(&self) -> Spec {
        let batches: Vec<RecordBatch> = self.files.iter().map(|(_, events)| self.batch(events)).collect();
        let mut snapshot: Snapshot = table(&batches).await;
        for (file, (committed, _)) in snapshot.files.iter_mut().zip(&self.files) {
            file.committed = *committed;
        }
        let key = |at: usize| Key { spine_column: format!("k{at}"), table_column: format!("key{at}") };
        let view = View {
            alias: "w".to_owned(),
            snapshot: Arc::new(snapshot),
            keys: (0..self.keys).map(key).collect(),
            event_time: "event".to_owned(),
            valid_to: None,
            created_time: self.has_created.then(|| "created".to_owned()),
            availability: self.availability,
            upper: self.upper,
            ttl: None,
            nulls: Nulls::Keep,
            features: self.asked.iter().enumerate().map(|(number, asked)| asked.feature(number)).collect(),
            event_time_output: Some("newest".to_owned()),
            status_output: Some("status".to_owned()),
        };
        Spec { spine_time: "at".to_owned(), views: vec![view], as_of: self.as_of }
    }

    pub(super) fn reference_rows(&self) -> Vec<Rows> {
        let rows = |(version, (committed, events)): (i64, &(Option<Micros>, Vec<Event>))| Rows {
            added_version: version,
            order: 0,
            committed: *committed,
            batch: self.batch(events),
        };
        (0..).zip(&self.files).map(rows).collect()
    }

    pub(super) async fn run(&self, spec: &Spec) -> RecordBatch {
        let mut runtime = RuntimeEnvBuilder::new();
        if let Some(limit) = self.memory {
            runtime = runtime.with_memory_pool(Arc::new(Told::new(limit)));
        }
        let state = session(self.workers, self.batch_rows).state();
        let builder =
            SessionStateBuilder::new_from_existing(state).with_runtime_env(runtime.build_arc().expect("runtime"));
        let session = SessionContext::new_with_state(builder.build());
        let spine = self.spine_batch();
        let schema: SchemaRef = spine.schema();
        run(&session, schema, vec![vec![spine]], spec.clone()).await.expect("join")
    }
}
