//! What lookups answered of windows is what training sets say of the same keys and times: every function over 5 windows, exactly.
//!
//! A history is the events of one key: late ones, ties, duplicates, nulls, numbers that are none, some that have yet to happen, or no
//! event at all. Some hundred histories share a server, a clock and definitions with random hops, inputs and keys. As the clock goes on, events
//! arrive by push or by ingest and materialization, in between views are rebuilt and the server restarts, and at each probe lookups are
//! asked for all keys. In the end one training set is made of all keys and all probe times, under the availability `created`, with the
//! time of arrival as created time: it must have what lookups answered.
//!
//! `TIDEGATE_CASES` says how many histories there are, `TIDEGATE_SEED` with which seed the first server begins.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType as Arrow, Field, Float64Type, Schema};
use arrow::util::display::array_value_to_string;
use tidegate_schemas::catalog::Selection;
use tidegate_schemas::definition::Function;
use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType;

use super::bench::{Dice, number};
use super::*;
use crate::service::lockstep::differing;
use crate::service::{PushRequest, PushTo};

const SECOND: Micros = 1_000_000;
const DAY: Micros = 24 * HOUR;

/// Windows, with the hops that one of them may have.
const WINDOWS: [(&str, &[Micros]); 5] = [
    ("1h", &[5 * 60 * SECOND, 7 * 60 * SECOND, 61 * SECOND, HOUR]),
    ("1d", &[HOUR, 5 * HOUR, 13 * 60 * SECOND, DAY]),
    ("7d", &[HOUR, 9 * HOUR, DAY, 5 * DAY]),
    ("90d", &[DAY, 7 * DAY, HOUR, 23 * HOUR]),
    ("all", &[DAY]),
];

/// Columns to aggregate.
const INPUTS: [(&str, &str); 7] = [
    ("whole", "int64"),
    ("small", "int32"),
    ("real", "float64"),
    ("exact", "decimal(12,2)"),
    ("word", "string"),
    ("flag", "bool"),
    ("moment", "timestamp"),
];

/// Histories of one server.
const HISTORIES: u64 = 150;

/// Float results of other functions than these are one of the events' values, or exact.
const ROUNDED: [&str; 4] = ["sum", "mean", "var", "std"];

/// One feature of the view.
struct Asked {
    name: String,
    function: Function,
    yaml: String,
}

fn asked(dice: &mut Dice) -> Vec<Asked> {
    let mut asked = Vec::new();
    for (window, hops) in WINDOWS {
        let hop = hops[dice.roll(0..hops.len() as i64) as usize] / SECOND;
        let (n, share) = (dice.roll(1..5) as u32, dice.roll(1..10_000) as u32);
        let functions = [
            Function::Count,
            Function::Sum,
            Function::Mean,
            Function::Min,
            Function::Max,
            Function::Var,
            Function::Std,
            Function::First,
            Function::Last,
            Function::LastN(n),
            Function::DistinctCount,
            Function::Percentile(share),
            Function::TopK(n),
        ];
        let mut add = |function: Function, input: Option<(&str, &str)>| {
            let of: DataType = input.map_or("int64", |input| input.1).parse().unwrap();
            let Some(output) = function.output(&of) else { return false };
            let mut yaml = format!("fn: {}, window: {window}", function.name());
            if window != "all" {
                write!(yaml, ", hop: {hop}s").unwrap();
            }
            input.iter().for_each(|(column, _)| write!(yaml, ", column: {column}").unwrap());
            match function {
                Function::LastN(n) | Function::TopK(n) => write!(yaml, ", n: {n}").unwrap(),
                Function::Percentile(share) => write!(yaml, ", p: 0.{share:04}").unwrap(),
                _ => {}
            }
            let name = format!("{}_{}", function.name(), asked.len());
            let yaml = format!("      - {{name: {name}, type: \"{output}\", aggregate: {{{yaml}}}}}\n");
            asked.push(Asked { name, function, yaml });
            true
        };
        add(Function::Count, None);
        for function in functions {
            // One of the inputs that it can be computed of.
            while !add(function, Some(INPUTS[dice.roll(0..INPUTS.len() as i64) as usize])) {}
        }
    }
    asked
}

/// How keys are written: an entity is text, a number, or both, which only together say which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    Text,
    Number,
    Both,
}

impl Keys {
    fn yaml(self) -> &'static str {
        match self {
            Self::Text => "[{name: user, type: string}]",
            Self::Number => "[{name: shop, type: int64}]",
            Self::Both => "[{name: user, type: string}, {name: shop, type: int64}]",
        }
    }

    fn columns(self, histories: impl Iterator<Item = u64>) -> Vec<(String, ArrayRef)> {
        let histories: Vec<u64> = histories.collect();
        let divisor = if self == Self::Both { 10 } else { 1 };
        let users: ArrayRef =
            Arc::new(StringArray::from_iter_values(histories.iter().map(|nth| format!("{}", nth / divisor))));
        let rest = |nth: &u64| if self == Self::Both { nth % 10 } else { *nth } as i64 - 3;
        let shops: ArrayRef = Arc::new(Int64Array::from_iter_values(histories.iter().map(rest)));
        match self {
            Self::Text => vec![("user".to_owned(), users)],
            Self::Number => vec![("shop".to_owned(), shops)],
            Self::Both => vec![("user".to_owned(), users), ("shop".to_owned(), shops)],
        }
    }
}

fn definitions(keys: Keys, asked: &[Asked]) -> String {
    let columns: Vec<String> = INPUTS.iter().map(|(name, of)| format!("{{name: {name}, type: \"{of}\"}}")).collect();
    let features: String = asked.iter().map(|asked| asked.yaml.as_str()).collect();
    format!(
        "version: 1
project: flights
entities:
  - name: customer
    keys: {}
sources:
  - name: orders
    table: managed
    event_time: at
    created_time: arrived
    columns: [{}]
feature_views:
  - name: recent
    entities: [customer]
    source: orders
    features:
{features}feature_services:
  - name: everything
    views:
      - view: recent
",
        keys.yaml(),
        columns.join(", ")
    )
}

#[derive(Debug, Clone)]
struct Event {
    history: u64,
    at: Micros,
    arrived: Micros,
    whole: Option<i64>,
    small: Option<i32>,
    real: Option<f64>,
    exact: Option<i128>,
    word: Option<&'static str>,
    flag: Option<bool>,
    moment: Option<Micros>,
}

fn batch(keys: Keys, events: &[Event]) -> RecordBatch {
    let times = |times: &dyn Fn(&Event) -> Option<Micros>| -> ArrayRef {
        Arc::new(events.iter().map(times).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    };
    let exact = events.iter().map(|event| event.exact).collect::<Decimal128Array>();
    let mut columns = keys.columns(events.iter().map(|event| event.history));
    let values: [(&str, ArrayRef); 9] = [
        ("at", times(&|event| Some(event.at))),
        ("arrived", times(&|event| Some(event.arrived))),
        ("whole", Arc::new(events.iter().map(|event| event.whole).collect::<Int64Array>())),
        ("small", Arc::new(events.iter().map(|event| event.small).collect::<Int32Array>())),
        ("real", Arc::new(events.iter().map(|event| event.real).collect::<Float64Array>())),
        ("exact", Arc::new(exact.with_precision_and_scale(12, 2).unwrap())),
        ("word", Arc::new(events.iter().map(|event| event.word).collect::<StringArray>())),
        ("flag", Arc::new(events.iter().map(|event| event.flag).collect::<BooleanArray>())),
        ("moment", times(&|event| event.moment)),
    ];
    columns.extend(values.map(|(name, values)| (name.to_owned(), values)));
    nullable(columns)
}

fn nullable(columns: Vec<(String, ArrayRef)>) -> RecordBatch {
    let field = |(name, values): &(String, ArrayRef)| Field::new(name, values.data_type().clone(), true);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns.into_iter().map(|(_, values)| values).collect()).unwrap()
}

fn batches(batch: RecordBatch) -> Batches {
    Batches::from_vec(batch.schema(), vec![batch])
}

/// What lookups answered at one time.
struct Probe {
    at: Micros,
    answers: Vec<ArrayRef>,
}

/// A server with many histories.
struct World {
    bench: Option<Bench>,
    dice: Dice,
    now: Micros,
    keys: Keys,
    asked: Vec<Asked>,
    histories: u64,
    /// How often each has events; 0 for never.
    busy: Vec<i64>,
    newest: BTreeMap<u64, Event>,
    probes: Vec<Probe>,
    ingested: u64,
    /// All that came, and how.
    events: Vec<(&'static str, Event)>,
    log: Vec<String>,
}

impl World {
    async fn new(seed: u64, histories: u64) -> Self {
        let mut dice = Dice(seed);
        let keys = [Keys::Text, Keys::Number, Keys::Both][dice.roll(0..3) as usize];
        let asked = asked(&mut dice);
        let bench = Bench::with_batch_rows(100).await;
        bench.apply(&definitions(keys, &asked)).await.unwrap();
        let now = 200 * DAY + dice.roll(0..10_000 * DAY);
        let busy = (0..histories).map(|_| [0, 1, 3, 6][dice.roll(0..4) as usize]).collect();
        let world = Self {
            bench: Some(bench),
            dice,
            now,
            keys,
            asked,
            histories,
            busy,
            newest: BTreeMap::new(),
            probes: Vec::new(),
            ingested: 0,
            events: Vec::new(),
            log: Vec::new(),
        };
        world.bench().clock.set(now);
        world
    }

    fn bench(&self) -> &Bench {
        self.bench.as_ref().expect("a server")
    }

    /// Goes on by a time that windows have, or to where one of their hops ends, or right beside.
    fn advance(&mut self) {
        let dice = &mut self.dice;
        self.now += match dice.roll(0..9) {
            0 => 0,
            1 => 1,
            2 => dice.roll(0..600 * SECOND),
            3 | 4 => dice.roll(0..3 * HOUR),
            5 | 6 => dice.roll(0..2 * DAY),
            7 => dice.roll(0..12 * DAY),
            _ => dice.roll(0..60 * DAY),
        };
        if dice.roll(0..3) == 0 {
            let (_, hops) = WINDOWS[dice.roll(0..5) as usize];
            let hop = hops[dice.roll(0..hops.len() as i64) as usize];
            self.now = (self.now.div_euclid(hop) + 1) * hop + dice.roll(-1..2);
        }
        self.bench().clock.set(self.now);
    }

    fn event(&mut self, history: u64) -> Event {
        let (now, dice) = (self.now, &mut self.dice);
        let (_, hops) = WINDOWS[dice.roll(0..5) as usize];
        let hop = hops[dice.roll(0..hops.len() as i64) as usize];
        let at = match dice.roll(0..10) {
            0 => now,
            1 => now + dice.roll(1..HOUR),
            2 => now.div_euclid(hop) * hop + dice.roll(-1..1),
            3 => (now - dice.roll(0..100 * DAY)).div_euclid(hop) * hop + dice.roll(-1..2),
            4 => now - dice.roll(0..100 * DAY),
            5 => now - dice.roll(0..8 * DAY),
            6 => now - dice.roll(0..2 * DAY),
            7 => now - dice.roll(0..10),
            _ => now - dice.roll(0..2 * HOUR),
        };
        let odd = [f64::NAN, -f64::NAN, -0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 5e-324];
        let odd = odd[dice.roll(0..9) as usize];
        let real = if dice.roll(0..25) == 0 { odd } else { dice.roll(-5_000_000..5_000_000) as f64 / 100.0 };
        let whole = match dice.roll(0..60) {
            0 => i64::MAX,
            1 => i64::MIN,
            2..30 => dice.roll(-3..4),
            _ => dice.roll(-1_000_000..1_000_000),
        };
        Event {
            history,
            at,
            arrived: now,
            whole: (dice.roll(0..8) > 0).then_some(whole),
            small: (dice.roll(0..8) > 0).then_some(dice.roll(-4..5) as i32),
            real: (dice.roll(0..8) > 0).then_some(real),
            exact: (dice.roll(0..8) > 0).then_some(dice.roll(-999_999_999_999..1_000_000_000_000).into()),
            word: ["", "a", "b", "ab", "ä", "\u{10FFFF}"].get(dice.roll(0..7) as usize).copied(),
            flag: [true, false].get(dice.roll(0..3) as usize).copied(),
            moment: (dice.roll(0..8) > 0).then_some(dice.roll(-10..10)),
        }
    }

    /// The events that arrive now.
    fn arriving(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for history in 0..self.histories {
            for _ in 0..self.busy[history as usize] {
                let mut event = match self.dice.roll(0..8) {
                    0..4 => continue,
                    4 => self.newest.get(&history).cloned(),
                    _ => None,
                }
                .unwrap_or_else(|| self.event(history));
                // Some come twice, or with other values at the time of another.
                match self.dice.roll(0..6) {
                    0 => events.push(Event { arrived: self.now, ..event.clone() }),
                    1 => event = Event { at: event.at, ..self.event(history) },
                    _ => {}
                }
                event.arrived = self.now;
                self.newest.insert(history, event.clone());
                events.push(event);
            }
        }
        events
    }

    async fn push(&mut self, events: &[Event]) {
        let rows = batches(batch(self.keys, events));
        let request = PushRequest {
            project: "flights".to_owned(),
            target: "orders".to_owned(),
            to: PushTo::Both,
            event_ids: None,
        };
        let outcome = self.bench().service.push(&self.bench().me, request, rows).await.unwrap();
        assert_eq!((outcome.accepted, outcome.quarantined.len()), (events.len() as u64, 0), "{outcome:?}");
        self.events.extend(events.iter().map(|event| ("push", event.clone())));
        self.log.push(format!("{}: push {}", self.now, events.len()));
        if self.dice.roll(0..2) == 0 {
            self.flush().await;
        }
    }

    async fn flush(&self) {
        self.bench().service.flush(&self.bench().me, "flights", "orders").await.unwrap();
    }

    async fn ingest(&mut self, events: &[Event], full: bool) {
        self.ingested += 1;
        let request = IngestRequest {
            project: "flights".to_owned(),
            target: "orders".to_owned(),
            batch_id: format!("b{}", self.ingested),
            ignore_extra_columns: false,
        };
        let rows = batches(batch(self.keys, events));
        self.bench().service.ingest(&self.bench().me, request, rows).await.unwrap();
        self.bench().materialize_now(full).await.unwrap();
        self.events.extend(events.iter().map(|event| (if full { "rebuild" } else { "increment" }, event.clone())));
        self.log.push(format!("{}: ingest {}, materialize, full: {full}", self.now, events.len()));
    }

    async fn restart(&mut self) {
        let bench = self.bench.take().expect("a server").restart().await;
        bench.clock.set(self.now);
        self.bench = Some(bench);
        self.log.push(format!("{}: restart", self.now));
    }

    async fn step(&mut self, first: bool) {
        self.advance();
        if !first && self.dice.roll(0..12) == 0 {
            self.restart().await;
        }
        if first || self.dice.roll(0..4) > 0 {
            let mut events = self.arriving();
            if first {
                events.push(self.event(0));
            }
            let half = if first { 0 } else { events.len() * self.dice.roll(0..3) as usize / 2 };
            for events in [&events[..half], &events[half..]] {
                match self.dice.roll(0..9) {
                    _ if events.is_empty() => {}
                    // The first brings the table.
                    _ if first => self.ingest(events, false).await,
                    0..5 => self.push(events).await,
                    5..8 => self.ingest(events, false).await,
                    _ => self.ingest(events, true).await,
                }
            }
        }
        self.bench().service.release_due().await.unwrap();
        let answers = self.look_up();
        // More may have arrived at the time of the last probe.
        self.probes.retain(|probe| probe.at < self.now);
        self.probes.push(Probe { at: self.now, answers });
    }

    fn look_up(&self) -> Vec<ArrayRef> {
        let service = Selection::Service("everything".to_owned());
        let request = LookupRequest::new("flights", service, self.keys.columns(0..self.histories));
        let reply = self.bench().service.lookup(&self.bench().me, &request).unwrap();
        reply.features().map(|feature| feature.present_to_arrow().unwrap()).collect()
    }

    /// What a training set says of all keys at all probe times, probe by probe.
    async fn training_set(&self) -> RecordBatch {
        self.flush().await;
        let times: Vec<Micros> = self.probes.iter().flat_map(|probe| (0..self.histories).map(|_| probe.at)).collect();
        let mut spine = self.keys.columns((0..self.probes.len()).flat_map(|_| 0..self.histories));
        let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
        spine.push(("event_timestamp".to_owned(), Arc::new(times)));
        let request = TrainingSetRequest {
            selection: Selection::Service("everything".to_owned()),
            include_statuses: false,
            ..super::training_set(Spine::Uploaded(String::new()))
        };
        let set = self.bench().service.exchange(&self.bench().me, &request, batches(nullable(spine))).await.unwrap();
        let schema = set.schema.clone();
        concat_batches(&schema, &set.collect().await.unwrap()).unwrap()
    }

    /// Values compared, and how many of them are null.
    fn compare(&self, set: &RecordBatch) -> (usize, usize) {
        let (rows, mut values, mut nulls) = (self.histories as usize, 0, 0);
        assert_eq!(set.num_rows(), rows * self.probes.len());
        for (nth, probe) in self.probes.iter().enumerate() {
            for (asked, online) in self.asked.iter().zip(&probe.answers) {
                let offline = set.column_by_name(&asked.name).expect("a feature").slice(nth * rows, rows);
                assert_eq!(online.data_type(), offline.data_type(), "{}", asked.yaml);
                for row in differing(online, &offline).unwrap() {
                    let rounded = ROUNDED.contains(&asked.function.name()) && near(online, &offline, row);
                    assert!(rounded, "{}", self.difference(probe.at, asked, row, online, &offline));
                }
                values += rows;
                nulls += online.null_count();
            }
        }
        (values, nulls)
    }

    fn difference(&self, at: Micros, asked: &Asked, row: usize, online: &ArrayRef, offline: &ArrayRef) -> String {
        let mut told = format!(
            "history {row} at {at}: lookups answered {:?}, training sets have {:?}, of\n{}",
            array_value_to_string(online, row),
            array_value_to_string(offline, row),
            asked.yaml
        );
        told.push_str(&self.log.join("\n"));
        for (way, event) in self.events.iter().filter(|(_, event)| event.history == row as u64) {
            write!(told, "\n{way} {event:?}").unwrap();
        }
        told
    }
}

/// Whether floats differ by no more than a billionth.
fn near(online: &ArrayRef, offline: &ArrayRef, row: usize) -> bool {
    if *online.data_type() != Arrow::Float64 || online.is_null(row) || offline.is_null(row) {
        return false;
    }
    let value = |array: &ArrayRef| array.as_primitive::<Float64Type>().value(row);
    let (online, offline) = (value(online), value(offline));
    (online - offline).abs() <= 1e-9 * online.abs().max(offline.abs())
}

#[tokio::test(flavor = "multi_thread")]
async fn lookups_and_training_sets_agree() {
    let (seed, histories) = (number("TIDEGATE_SEED", 0x71de), number("TIDEGATE_CASES", 300).clamp(1, 20_000));
    let (mut done, mut told) = (0, Vec::new());
    for seed in seed.. {
        if done >= histories {
            break;
        }
        let of_this = HISTORIES.min(histories - done);
        println(&format!("repeat with TIDEGATE_CASES={of_this} TIDEGATE_SEED={seed}"));
        let mut world = World::new(seed, of_this).await;
        for step in 0..14 {
            world.step(step == 0).await;
        }
        let set = world.training_set().await;
        let (values, nulls) = world.compare(&set);
        assert!(nulls < values, "something is answered");
        done += world.histories;
        told.push((world.events.len(), values, nulls));
    }
    let sum = |of: fn(&(usize, usize, usize)) -> usize| told.iter().map(of).sum::<usize>();
    let [events, values, nulls] = [sum(|told| told.0), sum(|told| told.1), sum(|told| told.2)];
    println(&format!("{done} histories with {events} events: {values} values compared, {nulls} of them null"));
}

/// Shown when the test fails, or with `--nocapture`.
#[expect(clippy::print_stdout, reason = "the seed of a failing test, and what a long run has covered")]
fn println(line: &str) {
    println!("{line}");
}
