//! Windows through the whole server: each event counts once, whatever way it comes.
//!
//! Random histories ingest, push to lookups, tables or both, flush, materialize, rebuild and restart; a model says which events count.
//! After every step lookups are held against it, and where everything is in the table, parity against the table.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use tidegate_schemas::catalog::Selection;
use tidegate_schemas::time::Micros;

use super::bench::{Dice, number};
use super::*;
use crate::service::{PushRequest, PushTo, ViewParity};

/// The view of [`FLIGHTS`] and one of windows over the same source.
fn definitions() -> String {
    let view = "  - name: origin_windows
    entities: [airport]
    source: weather
    features:
      - {name: readings, type: int64, aggregate: {fn: count, window: 3h, hop: 1h}}
      - {name: sum, type: float64, aggregate: {fn: sum, column: temp, window: 3h, hop: 1h}}
      - {name: highest, type: float64, aggregate: {fn: max, column: temp, window: 30d, hop: 1h}}
      - {name: all, type: int64, aggregate: {fn: count, window: all}}
      - {name: different, type: int64, aggregate: {fn: distinct_count, column: temp, window: all}}
feature_services:
";
    FLIGHTS.replace("feature_services:\n", view)
}

/// An event, as the model has it.
#[derive(Debug, Clone, Copy)]
struct Event {
    origin: &'static str,
    at: Micros,
    temp: f64,
}

const ORIGINS: [&str; 3] = ["JFK", "EWR", "LGA"];

fn batches(events: &[Event]) -> Batches {
    let origins: ArrayRef = Arc::new(StringArray::from_iter_values(events.iter().map(|event| event.origin)));
    let times = TimestampMicrosecondArray::from_iter_values(events.iter().map(|event| event.at)).with_timezone("UTC");
    let temps: ArrayRef = Arc::new(Float64Array::from_iter_values(events.iter().map(|event| event.temp)));
    let columns = [("origin", origins), ("time_hour", Arc::new(times) as ArrayRef), ("temp", temps)];
    let batch = arrow::array::RecordBatch::try_from_iter(columns).unwrap();
    Batches::from_vec(batch.schema(), vec![batch])
}

/// Which events there are, and which of them count.
#[derive(Debug, Default)]
struct Model {
    counted: Vec<Event>,
    /// In the table, or on their way there.
    table: Vec<Event>,
    /// Of those, the ones that materialization has yet to bring.
    fresh: Vec<Event>,
    /// Pushed to lookups alone since the last rebuild.
    aside: bool,
    materialized: bool,
}

impl Model {
    /// What a feature of the view should be for an origin.
    fn expected(&self, feature: &str, origin: &str, now: Micros) -> Option<f64> {
        let hours = match feature {
            "readings" | "sum" => Some(3),
            "highest" => Some(30 * 24),
            _ => None,
        };
        let tail = hours.map(|hours| (now - hours * HOUR).div_euclid(HOUR) * HOUR);
        let inside =
            |event: &&Event| event.origin == origin && event.at <= now && tail.is_none_or(|tail| event.at > tail);
        let temps: Vec<f64> = self.counted.iter().filter(inside).map(|event| event.temp).collect();
        match feature {
            "readings" | "all" => Some(temps.len() as f64),
            _ if temps.is_empty() => None,
            "sum" => Some(temps.iter().sum()),
            "highest" => temps.iter().copied().reduce(f64::max),
            _ => Some(temps.iter().map(|temp| temp.to_bits()).collect::<BTreeSet<_>>().len() as f64),
        }
    }
}

const FEATURES: [&str; 5] = ["readings", "sum", "highest", "all", "different"];

fn served(bench: &Bench) -> Vec<[Option<f64>; ORIGINS.len()]> {
    let keys: Vec<(String, ArrayRef)> = vec![("origin".to_owned(), Arc::new(StringArray::from(ORIGINS.to_vec())))];
    let features = Selection::Features(FEATURES.iter().map(|name| format!("origin_windows:{name}")).collect());
    let reply = bench.service.lookup(&bench.me, &LookupRequest::new("flights", features, keys)).unwrap();
    let value = |nth: usize, row: usize| {
        let feature = reply.answer.feature(nth);
        let value = match feature.values {
            Values::Doubles(values) => values.iter().nth(row),
            Values::Int64s(values) => values.iter().nth(row).map(|value| value as f64),
            other => panic!("{other:?}"),
        };
        value.filter(|_| feature.present(row))
    };
    (0..FEATURES.len()).map(|nth| std::array::from_fn(|row| value(nth, row))).collect()
}

async fn parity(bench: &Bench) -> ViewParity {
    use futures::StreamExt;
    let views = ["origin_windows".to_owned()];
    let mut reports = bench.service.parity(&bench.me, "flights", &views).await.unwrap();
    reports.next().await.expect("a report").unwrap()
}

/// One history on one server.
struct History {
    bench: Option<Bench>,
    dice: Dice,
    now: Micros,
    model: Model,
    batch: u64,
    log: Vec<String>,
}

impl History {
    fn bench(&self) -> &Bench {
        self.bench.as_ref().expect("a server")
    }

    fn events(&mut self) -> Vec<Event> {
        let now = self.now;
        let event = |dice: &mut Dice| Event {
            origin: ORIGINS[dice.roll(0..3) as usize],
            at: match dice.roll(0..8) {
                0 => now + dice.roll(1..HOUR / 2),
                1 => now - dice.roll(0..40 * 24) * HOUR,
                _ => now - dice.roll(0..4 * HOUR),
            },
            temp: dice.roll(-4..4) as f64 / 2.0,
        };
        (0..self.dice.roll(1..6)).map(|_| event(&mut self.dice)).collect()
    }

    async fn push(&mut self, to: PushTo) {
        let events = self.events();
        let request = PushRequest { project: "flights".to_owned(), target: "weather".to_owned(), to, event_ids: None };
        let outcome = self.bench().service.push(&self.bench().me, request, batches(&events)).await.unwrap();
        assert_eq!(outcome.accepted, events.len() as u64, "{outcome:?}");
        self.log.push(format!("push {to:?} {events:?}"));
        if to == PushTo::Online {
            self.model.aside = true;
        } else {
            self.model.table.extend(&events);
        }
        self.model.counted.extend(events);
    }

    async fn ingest(&mut self) {
        let events = self.events();
        self.batch += 1;
        self.bench().ingest(&format!("b{}", self.batch), batches(&events)).await.unwrap();
        self.log.push(format!("ingest {events:?}"));
        self.model.table.extend(&events);
        self.model.fresh.extend(events);
    }

    async fn materialize(&mut self, full: bool) {
        self.bench().materialize_now(full).await.unwrap();
        self.log.push(format!("materialize, full: {full}"));
        let model = &mut self.model;
        if full || !model.materialized {
            model.counted.clone_from(&model.table);
            model.aside = false;
        } else {
            model.counted.append(&mut model.fresh);
        }
        model.fresh.clear();
        model.materialized = true;
    }

    async fn flush(&self) {
        self.bench().service.flush(&self.bench().me, "flights", "weather").await.unwrap();
    }

    async fn step(&mut self) {
        self.now += self.dice.roll(0..HOUR);
        self.bench().clock.set(self.now);
        match self.dice.roll(0..16) {
            0..4 => self.push(PushTo::Both).await,
            4 => self.push(PushTo::Offline).await,
            5 => self.push(PushTo::Online).await,
            6..9 => self.ingest().await,
            9..11 => {
                self.flush().await;
                self.log.push("flush".to_owned());
            }
            11..14 => self.materialize(false).await,
            14 => self.materialize(true).await,
            _ => {
                let bench = self.bench.take().expect("a server").restart().await;
                bench.clock.set(self.now);
                self.bench = Some(bench);
                self.log.push("restart".to_owned());
            }
        }
        self.bench().service.release_due().await.unwrap();
        self.check();
    }

    fn check(&self) {
        if !self.model.materialized && self.model.counted.is_empty() {
            return;
        }
        for (feature, found) in FEATURES.iter().zip(served(self.bench())) {
            let expect = ORIGINS.map(|origin| self.model.expected(feature, origin, self.now));
            let near = |(a, b): (&Option<f64>, &Option<f64>)| match (a, b) {
                (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
                (a, b) => a == b,
            };
            assert!(
                found.iter().zip(&expect).all(near),
                "`{feature}` is {found:?}, should be {expect:?} at {}\n{}",
                self.now,
                self.log.join("\n")
            );
        }
    }

    /// With everything in the table and materialized, the table and the tiles say the same.
    async fn check_parity(&mut self) {
        self.flush().await;
        self.materialize(self.model.aside).await;
        self.check();
        let ViewParity { parity, .. } = parity(self.bench()).await;
        assert!(parity.holds() && parity.ahead == 0, "{parity:?}\n{}", self.log.join("\n"));
        assert!(self.model.counted.is_empty() || parity.equal > 0, "{parity:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_counts_once() {
    let seed = number("TIDEGATE_SEED", 0x71de);
    for case in seed..seed + number("TIDEGATE_CASES", 12).min(2_000) {
        println_seed(case);
        let bench = Bench::with_batch_rows(4).await;
        bench.apply(&definitions()).await.unwrap();
        let (dice, now) = (Dice(case), 100_000 * HOUR + 7);
        let mut history = History { bench: Some(bench), dice, now, model: Model::default(), batch: 0, log: Vec::new() };
        for _ in 0..25 {
            history.step().await;
        }
        history.check_parity().await;
    }
}

/// Shown when the test fails.
#[expect(clippy::print_stdout, reason = "the seed of a failing test")]
pub(super) fn println_seed(case: u64) {
    println!("repeat with TIDEGATE_CASES=1 TIDEGATE_SEED={case}");
}

async fn push_some(bench: &Bench, count: usize) {
    let events = vec![Event { origin: "JFK", at: 100_000 * HOUR, temp: 1.0 }; count];
    let (project, target) = ("flights".to_owned(), "weather".to_owned());
    let request = PushRequest { project, target, to: PushTo::Both, event_ids: None };
    bench.service.push(&bench.me, request, batches(&events)).await.unwrap();
    bench.service.flush(&bench.me, "flights", "weather").await.unwrap();
}

/// Events that are pushed while a view is not served are counted when it is again: its tiles start over.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_was_away_misses_no_event() {
    let bench = Bench::new().await;
    bench.apply(&definitions()).await.unwrap();
    bench.clock.set(100_000 * HOUR);
    push_some(&bench, 3).await;
    bench.materialize_now(false).await.unwrap();
    assert_eq!(served(&bench)[3][0], Some(3.0));
    let view = "  - name: origin_windows\n";
    let away = definitions().replace(view, &format!("{view}    online: false\n"));
    for (nth, there) in [(0, definitions()), (1, FLIGHTS.to_owned())] {
        bench.apply_breaking(&away).await.unwrap();
        push_some(&bench, 2).await;
        bench.apply_breaking(&there).await.unwrap();
        bench.apply_breaking(&definitions()).await.unwrap();
        bench.materialize_now(false).await.unwrap();
        assert_eq!(served(&bench)[3][0], Some(f64::from(5 + 2 * nth)));
        let ViewParity { parity, .. } = parity(&bench).await;
        assert!(parity.holds() && parity.equal == 1, "{parity:?}");
    }
}

/// Erases an airport as soon as nobody else has its views.
async fn erase(bench: &Bench, origin: &str) {
    use futures::TryStreamExt;
    let (project, entity) = ("flights".to_owned(), "airport".to_owned());
    let keys: Vec<(String, ArrayRef)> = vec![("origin".to_owned(), Arc::new(StringArray::from(vec![origin])))];
    let request = crate::service::EraseRequest { project, entity, keys };
    for _ in 0..200 {
        let done = match bench.service.erase(&bench.me, request.clone()).await {
            Ok(steps) => steps.try_collect::<Vec<_>>().await,
            Err(error) => Err(error),
        };
        match done {
            Ok(_) => return,
            Err(error) => assert_eq!(error.kind, tidegate_schemas::error::ErrorKind::Precondition, "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the views are never free");
}

/// An increment that was broken off may find the version gone that it went for: what it counted counts once all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_broken_off_increment_counted_counts_once() {
    use futures::StreamExt;
    for reports in 1..8 {
        let bench = Bench::with_batch_rows(1).await;
        bench.apply(&definitions()).await.unwrap();
        let now = 100_000 * HOUR;
        bench.clock.set(now);
        let events =
            |count: i64| (0..count).map(|nth| Event { origin: "JFK", at: now - nth, temp: 1.0 }).collect::<Vec<_>>();
        let other = Event { origin: "EWR", at: now, temp: 1.0 };
        bench.ingest("b1", batches(&[events(3), vec![other]].concat())).await.unwrap();
        bench.materialize_now(false).await.unwrap();
        bench.ingest("b2", batches(&events(6))).await.unwrap();
        let request = MaterializeRequest {
            project: "flights".to_owned(),
            views: vec!["origin_windows".to_owned()],
            ..MaterializeRequest::default()
        };
        let stream = bench.service.materialize(&bench.me, request).await.unwrap();
        let _ = stream.take(reports).count().await;
        // The file that was materialized is replaced by one without the entity, and is gone from the version that was gone for.
        erase(&bench, "EWR").await;
        bench.materialize_now(false).await.unwrap();
        assert_eq!(served(&bench)[3][0], Some(9.0), "broken off after {reports} reports");
        let ViewParity { parity, .. } = parity(&bench).await;
        assert!(parity.holds() && (parity.equal, parity.ahead) == (1, 0), "{parity:?}");
    }
}

/// What is pushed while a refresh is under way is in the refreshed epoch once: the refresh reads what was pushed before, no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_beside_pushes_counts_all_once() {
    let bench = Bench::with_batch_rows(4).await;
    bench.apply(&definitions()).await.unwrap();
    let now = 100_000 * HOUR;
    bench.clock.set(now);
    let event = |at: Micros| Event { origin: "JFK", at, temp: 1.0 };
    let push = async |count: i64| {
        let events: Vec<Event> = (0..count).map(|nth| event(now - nth)).collect();
        let request = PushRequest {
            project: "flights".to_owned(),
            target: "weather".to_owned(),
            to: PushTo::Both,
            event_ids: None,
        };
        bench.service.push(&bench.me, request, batches(&events)).await.unwrap();
    };
    push(3).await;
    let mut total = 3;
    for round in 0..6 {
        let pushing = async {
            for _ in 0..8 {
                push(2).await;
                bench.service.flush(&bench.me, "flights", "weather").await.unwrap();
            }
        };
        let (report, ()) = tokio::join!(bench.materialize_now(true), pushing);
        report.unwrap();
        total += 16;
        assert_eq!(served(&bench)[3][0], Some(f64::from(total)), "after round {round}");
        bench.materialize_now(false).await.unwrap();
        assert_eq!(served(&bench)[3][0], Some(f64::from(total)), "after round {round}, materialized");
    }
    let ViewParity { parity, .. } = parity(&bench).await;
    assert!(parity.holds() && (parity.equal, parity.ahead) == (1, 0), "{parity:?}");
}
