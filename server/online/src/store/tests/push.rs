//! Pushes, their ids, what waits and what goes to tables: random histories equal the model, whatever is reopened in the middle.
//!
//! The model restates the rules: an id is taken once within its time; a row that happens later is seen by nobody before it is due;
//! what leaves an outbox is what went in, each record once and in order.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, BinaryArray, TimestampMicrosecondArray};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::store::{Chunk, Counted, EventIds, Extra, Fate, Outgoing, Push, Pushed, RowDigest, Scope};
use crate::testing::{Seed, cases};

/// How long ids are kept in these tests.
const KEPT: i64 = 6;

type Times = (i64, Option<i64>);

/// One row that is pushed to both views.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    key: &'static str,
    times: Times,
    value: i64,
    id: Option<u8>,
}

impl Event {
    fn digest(&self) -> RowDigest {
        let mut digest = RowDigest::default();
        digest[..8].copy_from_slice(&self.value.to_le_bytes());
        digest[8] = self.key.len() as u8;
        digest[9] = self.times.0 as u8;
        digest[10] = self.times.1.map_or(255, |created| created as u8);
        digest
    }
}

/// What one view should hold.
#[derive(Debug, Clone, Default, PartialEq)]
struct View {
    /// Times, value, and whether it was pushed.
    present: BTreeMap<&'static str, (Times, i64, bool)>,
    waiting: BTreeMap<(Times, &'static str), (i64, bool)>,
}

impl View {
    fn write(&mut self, event: &Event, now: i64, pushed: bool) {
        if event.times.0 > now {
            self.waiting.insert((event.times, event.key), (event.value, pushed));
        } else if self.present.get(event.key).is_none_or(|(stored, ..)| event.times >= *stored) {
            self.present.insert(event.key, (event.times, event.value, pushed));
        }
    }

    fn release(&mut self, now: i64) {
        for ((times, key), (value, pushed)) in self.waiting.clone() {
            if times.0 <= now {
                self.waiting.remove(&(times, key));
                if self.present.get(key).is_none_or(|(stored, ..)| times > *stored) {
                    self.present.insert(key, (times, value, pushed));
                }
            }
        }
    }

    /// What the table gives, and what was pushed and is newer.
    fn refresh(&self, table: &[Event], now: i64) -> Self {
        let mut next = Self::default();
        for event in table {
            next.write(event, now, false);
        }
        for (key, (times, value, pushed)) in &self.present {
            if *pushed && next.present.get(key).is_none_or(|(stored, ..)| times > stored) {
                next.present.insert(key, (*times, *value, true));
            }
        }
        for (key, (value, pushed)) in self.waiting.iter().filter(|(_, (_, pushed))| *pushed) {
            next.waiting.entry(*key).or_insert((*value, *pushed));
        }
        next
    }
}

/// One history.
struct Case {
    rng: StdRng,
    views: [ViewId; 2],
    feed: FeedId,
    now: i64,
    models: [View; 2],
    ids: BTreeMap<u8, (RowDigest, i64)>,
    /// Payloads that went in, and those that came out.
    sent: Vec<Vec<u8>>,
    arrived: Vec<Vec<u8>>,
    /// What a table would know of the feed: the last number it has.
    reached: u64,
    steps: usize,
}

impl Case {
    fn new(store: &Store, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let project = format!("project {seed}");
        let layout =
            |name| ViewLayout { project: project.clone(), ..view(name, &[("user", "string")], &[("n", "int64")]) };
        let views = [store.register(&layout("a")).expect("a view"), store.register(&layout("b")).expect("a view")];
        let feed = store.feed(&project, "events").expect("a feed");
        assert_eq!(store.feed(&project, "events").expect("the same"), feed);
        let steps = rng.random_range(4..24);
        let (models, ids) = (<[View; 2]>::default(), BTreeMap::new());
        let (sent, arrived, reached) = (Vec::new(), Vec::new(), 0);
        Self { rng, views, feed, now: 3, models, ids, sent, arrived, reached, steps }
    }

    /// Few keys, times, values and ids, so that ties, duplicates and conflicts are the rule.
    fn events(&mut self) -> Vec<Event> {
        let event = |rng: &mut StdRng, now: i64| Event {
            key: ["a", "b", "c\0"][rng.random_range(0..3)],
            times: (now + rng.random_range(-4..4), rng.random_bool(0.4).then(|| rng.random_range(0..2))),
            value: rng.random_range(0..4),
            id: rng.random_bool(0.6).then(|| rng.random_range(0..6)),
        };
        (0..self.rng.random_range(0..6)).map(|_| event(&mut self.rng, self.now)).collect()
    }

    fn step(&mut self, store: &Store) {
        match self.rng.random_range(0..10) {
            0..=4 => self.push(store),
            5 => self.now += self.rng.random_range(-1..4),
            6 => self.release(store),
            7 => self.take_chunk(store),
            8 => self.refresh(store),
            _ => self.check(store),
        }
    }

    fn push(&mut self, store: &Store) {
        let events = self.events();
        let ids: BinaryArray = events.iter().map(|event| event.id.map(|id| [id])).collect();
        let digests: Vec<RowDigest> = events.iter().map(Event::digest).collect();
        let of = EventIds { scope: Scope::Feed(self.feed), ids: &ids, digests: &digests };
        let claim = store.claim(&of, self.now).expect("a claim");
        let fates = self.expected_fates(&events);
        assert_eq!(claim.fates(), fates, "{events:?}");
        let new: Vec<Event> =
            events.into_iter().zip(&fates).filter(|(_, fate)| **fate == Fate::New).map(|(event, _)| event).collect();
        let payload = format!("{} {new:?}", self.sent.len()).into_bytes();
        let outgoing = [Outgoing { feed: self.feed, rows: new.len() as u32, payload: &payload }];
        let outgoing = if new.is_empty() { &[][..] } else { &outgoing };
        let columns = Columns::of(&new);
        let views = self.views.map(|view| (view, columns.rows(Origin::Push)));
        let extras = [Extra { name: b"offsets", value: &payload }];
        let push =
            Push { views: &views, outgoing, claim: Some(&claim), extras: &extras, now: self.now, outdated: None };
        let pushed = store.push(&push).expect("a push");
        drop(claim);
        self.pushed(&new, &payload, pushed);
        assert_eq!(store.extra(b"offsets").expect("readable"), Some(payload));
    }

    fn expected_fates(&self, events: &[Event]) -> Vec<Fate> {
        let mut here: BTreeMap<u8, RowDigest> = BTreeMap::new();
        let fate = |event: &Event| {
            let Some(id) = event.id else { return Fate::New };
            let known = self.ids.get(&id).filter(|(_, at)| *at >= self.now - KEPT).map(|(digest, _)| *digest);
            match known.or_else(|| here.get(&id).copied()) {
                None => {
                    here.insert(id, event.digest());
                    Fate::New
                }
                Some(digest) if digest == event.digest() => Fate::Duplicate,
                Some(_) => Fate::Conflict,
            }
        };
        events.iter().map(fate).collect()
    }

    fn pushed(&mut self, new: &[Event], payload: &[u8], pushed: Pushed) {
        for event in new {
            if let Some(id) = event.id {
                self.ids.insert(id, (event.digest(), self.now));
            }
        }
        let before = self.models.clone();
        for model in &mut self.models {
            for event in new {
                model.write(event, self.now, true);
            }
        }
        let waiting = new.iter().filter(|event| event.times.0 > self.now).count() as u64;
        assert_eq!(pushed.waiting, waiting);
        assert_eq!(pushed.stored + pushed.kept + pushed.waiting, new.len() as u64);
        let changed = before != self.models;
        assert!(!changed || pushed.stored + pushed.waiting > 0, "nothing was stored and something changed");
        assert_eq!(pushed.number.is_some(), !new.is_empty());
        if !new.is_empty() {
            self.sent.push(payload.to_vec());
        }
    }

    fn release(&mut self, store: &Store) {
        store.release_due(self.now).expect("released");
        self.models.iter_mut().for_each(|model| model.release(self.now));
    }

    /// A chunk on its way, as a flusher does it, now and then cut short before the store learns of its end.
    fn take_chunk(&mut self, store: &Store) {
        let bytes_max = [1, 100, 1 << 20][self.rng.random_range(0..3)];
        let up_to = if self.rng.random_bool(0.3) { store.last_number() } else { u64::MAX };
        let Some(chunk) = store.next_chunk(self.feed, bytes_max, up_to).expect("a chunk") else {
            assert_eq!(self.sent.len(), self.arrived.len());
            return;
        };
        let again = store.next_chunk(self.feed, 1, u64::MAX).expect("a chunk").expect("the same");
        assert_eq!(again, chunk, "a chunk that was named is the next one until it is done");
        self.append(&chunk);
        if self.rng.random_bool(0.7) {
            store.chunk_done(&chunk).expect("done");
        }
    }

    /// What a table does with a chunk: once by its transaction.
    fn append(&mut self, chunk: &Chunk) {
        assert!(chunk.first <= chunk.last && !chunk.records.is_empty());
        if chunk.last <= self.reached {
            return;
        }
        assert!(chunk.first > self.reached, "a chunk reaches back into one before");
        self.reached = chunk.last;
        self.arrived.extend(chunk.records.iter().map(|record| record.payload.clone()));
    }

    fn refresh(&mut self, store: &Store) {
        let nth = self.rng.random_range(0..2);
        let table: Vec<Event> = {
            // Of equal times the later one wins in a write, and any may in a load: these have one value for each.
            let mut seen = BTreeSet::new();
            self.events().into_iter().filter(|event| seen.insert((event.key, event.times))).collect()
        };
        let mut load = store.begin_full(self.views[nth], 1, self.now).expect("begun").until(self.now);
        let columns = Columns::of(&table);
        load.add(columns.rows(super::table(1))).expect("rows");
        let written = store.finish_full(load, 1, self.now).expect("finished");
        assert_eq!(written.written + written.kept + written.waiting, table.len() as u64);
        self.models[nth] = self.models[nth].refresh(&table, self.now);
    }

    /// Everything there is.
    fn check(&mut self, store: &Store) {
        self.release(store);
        for (view, model) in self.views.iter().zip(&self.models) {
            let mut present = BTreeMap::new();
            for chunk in store.scan(*view, 3).expect("a scan") {
                let chunk = chunk.expect("rows");
                let values = chunk.features[0].as_primitive::<Int64Type>();
                for row in 0..chunk.event.len() {
                    let key = chunk.keys[0].as_string::<i32>().value(row).to_owned();
                    let created = chunk.created.is_valid(row).then(|| chunk.created.value(row));
                    let pushed = chunk.origin[row] == Origin::Push;
                    present.insert(key, ((chunk.event.value(row), created), values.value(row), pushed));
                }
            }
            let expected: BTreeMap<String, _> =
                model.present.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
            assert_eq!(present, expected);
        }
        let status = store.feeds().into_iter().find(|status| status.feed == self.feed).expect("the feed");
        assert_eq!(status.oldest.is_some(), status.rows > 0);
    }
}

struct Columns {
    keys: [ArrayRef; 1],
    event: TimestampMicrosecondArray,
    created: TimestampMicrosecondArray,
    features: [ArrayRef; 1],
}

impl Columns {
    fn of(events: &[Event]) -> Self {
        Self {
            keys: [strings(events.iter().map(|event| event.key))],
            event: times(events.iter().map(|event| event.times.0)),
            created: times(events.iter().map(|event| event.times.1)),
            features: [ints(events.iter().map(|event| event.value))],
        }
    }

    fn rows(&self, origin: Origin) -> Rows<'_> {
        Rows { keys: &self.keys, event: &self.event, created: Some(&self.created), features: &self.features, origin }
    }
}

fn run(seed: u64) {
    let _printed_on_failure = Seed(seed);
    let settings = Settings {
        entity_cache_bytes: [0, 2_000, 1 << 20][(seed % 3) as usize],
        durability: if seed.is_multiple_of(20) { Durability::Durable } else { Durability::Fast },
        event_ids_kept: KEPT,
        ..Settings::default()
    };
    let mut store = TempStore::new(settings);
    let mut case = Case::new(&store, seed);
    for _ in 0..3 {
        for _ in 0..case.steps {
            case.step(&store);
        }
        store.reopen();
        case.check(&store);
    }
    case.now += 10;
    case.check(&store);
    assert_eq!(store.waiting_rows().expect("readable"), 0);
    while let Some(chunk) = store.next_chunk(case.feed, 100, u64::MAX).expect("a chunk") {
        case.append(&chunk);
        store.chunk_done(&chunk).expect("done");
    }
    assert_eq!(case.arrived, case.sent);
    let status = store.feeds().into_iter().find(|status| status.feed == case.feed).expect("the feed");
    assert_eq!((status.rows, status.bytes, status.oldest), (0, 0, None));
}

#[test]
fn random_pushes_equal_the_model() {
    let chosen: Option<u64> = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = chosen.map_or(0..cases(60).min(1_000), |seed| seed..seed + 1);
    seeds.for_each(run);
}

fn push_one(store: &Store, view: ViewId, key: &str, time: i64, outgoing: &[Outgoing<'_>], now: i64) -> Result<Pushed> {
    let (keys, event, features) = ([strings([key])], times([time]), [ints([time])]);
    let rows = Rows { keys: &keys, event: &event, created: None, features: &features, origin: Origin::Push };
    store.push(&Push { views: &[(view, rows)], outgoing, now, ..Push::default() })
}

#[test]
fn a_push_is_seen_when_it_returns_and_nothing_is_seen_early() {
    let mut store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    assert_eq!(look(&store, view, &["a"]), [None]);
    let pushed = push_one(&store, view, "a", 5, &[], 5).expect("a push");
    assert_eq!((pushed.stored, pushed.kept, pushed.waiting, pushed.number), (1, 0, 0, None));
    assert_eq!(look(&store, view, &["a"]), [Some((5, 5))]);
    let pushed = push_one(&store, view, "a", 9, &[], 5).expect("a push");
    assert_eq!((pushed.stored, pushed.kept, pushed.waiting), (0, 0, 1));
    let released = store.release_due(8).expect("released");
    assert_eq!((released.rows, released.next), (0, Some(9)));
    assert_eq!(look(&store, view, &["a"]), [Some((5, 5))]);
    store.reopen();
    let view = store.register(&simple()).expect("the view");
    assert_eq!(store.release_due(8).expect("released").rows, 0);
    assert_eq!(look(&store, view, &["a"]), [Some((5, 5))]);
    let released = store.release_due(9).expect("released");
    assert_eq!((released.rows, released.next), (1, None));
    assert_eq!(look(&store, view, &["a"]), [Some((9, 9))]);
    // What came later for the same time stays.
    push_one(&store, view, "a", 20, &[], 10).expect("waits");
    let (keys, event, features) = ([strings(["a"])], times([20]), [ints([7])]);
    let rows = Rows { keys: &keys, event: &event, created: None, features: &features, origin: Origin::Push };
    store.push(&Push { views: &[(view, rows)], now: 20, ..Push::default() }).expect("a correction");
    store.release_due(20).expect("released");
    assert_eq!(look(&store, view, &["a"]), [Some((20, 7))]);
}

#[test]
fn rows_of_a_table_wait_too_in_increments_and_in_refreshes() {
    let mut store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    let keys = [strings(["a", "a", "b"])];
    let (event, features) = (times([1, 30, 30]), [ints([1, 30, 30])]);
    let rows = Rows { keys: &keys, event: &event, created: None, features: &features, origin: table(1) };
    let written = store.write_at(view, rows, Commit::Cursor { version: 1, now: 10 }, 10).expect("rows");
    assert_eq!(written, Written { written: 1, kept: 0, waiting: 2 });
    assert_eq!(look(&store, view, &["a", "b"]), [Some((1, 1)), None]);
    let mut load = store.begin_full(view, 2, 10).expect("begun").until(10);
    load.add(Rows { origin: table(2), ..rows }).expect("rows");
    let written = store.finish_full(load, 2, 10).expect("finished");
    assert_eq!(written, Written { written: 1, kept: 0, waiting: 2 });
    assert_eq!(look(&store, view, &["a", "b"]), [Some((1, 1)), None]);
    assert_eq!(store.waiting_rows().expect("readable"), 2, "what waited in the epoch before is gone");
    store.reopen();
    let view = store.register(&simple()).expect("the view");
    assert_eq!(store.release_due(30).expect("released").rows, 2);
    assert_eq!(look(&store, view, &["a", "b"]), [Some((30, 30)), Some((30, 30))]);
    // A refresh that is given up leaves nothing behind.
    let mut load = store.begin_full(view, 3, 10).expect("begun").until(10);
    load.add(Rows { origin: table(3), ..rows }).expect("rows");
    assert!(store.cancel_full(view).expect("cancelled"));
    drop(load);
    let inner = store.inner();
    let pending = inner.pending().expect("the family");
    assert_eq!(inner.db.iterator_cf(pending, rocksdb::IteratorMode::Start).count(), 0);
}

#[test]
fn too_much_on_its_way_to_tables_is_refused_and_nothing_of_it_is_written() {
    let store = TempStore::new(Settings { outbox_bytes: 100, ..Settings::default() });
    let view = store.register(&simple()).expect("a view");
    let feed = store.feed("p", "events").expect("a feed");
    let large = [0; 400];
    let outgoing = [Outgoing { feed, rows: 1, payload: &large }];
    push_one(&store, view, "a", 1, &outgoing, 9).expect("into an empty outbox anything goes");
    let refused = push_one(&store, view, "a", 2, &outgoing, 9).expect_err("full");
    assert!(matches!(refused, Error::OutboxFull { .. }), "{refused:?}");
    assert_eq!(refused.kind(), ErrorKind::Exhausted);
    assert_eq!(look(&store, view, &["a"]), [Some((1, 1))]);
    push_one(&store, view, "a", 3, &[], 9).expect("what goes to no table is taken");
    let chunk = store.next_chunk(feed, 1, u64::MAX).expect("a chunk").expect("one");
    store.chunk_done(&chunk).expect("done");
    push_one(&store, view, "a", 4, &outgoing, 9).expect("room again");
    assert_eq!(look(&store, view, &["a"]), [Some((4, 4))]);
}

#[test]
fn a_push_of_definitions_that_were_replaced_is_refused_whole() {
    let store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    let feed = store.feed("p", "events").expect("a feed");
    let outdated = std::sync::atomic::AtomicBool::new(true);
    let push = || {
        let (keys, event, features) = ([strings(["a"])], times([1]), [ints([1])]);
        let rows = Rows { keys: &keys, event: &event, created: None, features: &features, origin: Origin::Push };
        let outgoing = [Outgoing { feed, rows: 1, payload: b"row" }];
        let views = [(view, rows)];
        store.push(&Push { views: &views, outgoing: &outgoing, now: 1, outdated: Some(&outdated), ..Push::default() })
    };
    let refused = push().expect_err("other definitions");
    assert!(matches!(refused, Error::DefinitionsChanged) && refused.kind() == ErrorKind::Unavailable, "{refused:?}");
    assert_eq!((look(&store, view, &["a"]), store.last_number()), (vec![None], 0));
    assert!(store.outbox_records(feed).expect("records").is_empty());
    outdated.store(false, std::sync::atomic::Ordering::Release);
    assert_eq!(push().expect("a push").number, Some(1));
}

#[test]
fn a_full_outbox_lets_go_of_what_its_table_can_not_take() {
    let store = TempStore::new(Settings { outbox_bytes: 100, ..Settings::default() });
    let view = store.register(&simple()).expect("a view");
    let (feed, aside) = (store.feed("p", "events").expect("a feed"), store.feed("p", "aside").expect("a feed"));
    push_one(&store, view, "a", 1, &[Outgoing { feed, rows: 3, payload: &[0; 400] }], 9).expect("the first");
    let chunk = store.next_chunk(feed, u64::MAX, u64::MAX).expect("a chunk").expect("one");
    let left = [Left { number: 1, rows: 2, payload: vec![1; 300] }];
    let elsewhere = [Outgoing { feed: aside, rows: 1, payload: &[2; 500] }];
    store.split_records(feed, &left, &elsewhere, 10).expect("written beside a full outbox");
    let again = store.next_chunk(feed, u64::MAX, u64::MAX).expect("a chunk").expect("one");
    assert_eq!((&again.application, again.first, again.last), (&chunk.application, chunk.first, chunk.last));
    assert_eq!((again.records[0].rows, &again.records[0].payload), (2, &vec![1; 300]));
    let waits = |nth: usize| (store.feeds()[nth].rows, store.feeds()[nth].bytes > 300, store.feeds()[nth].last);
    assert_eq!([waits(0), waits(1)], [(2, true, 1), (1, true, 2)]);
    store.chunk_done(&again).expect("done");
    let refused = store.split_records(feed, &left, &elsewhere, 10).expect_err("it is gone");
    assert!(refused.to_string().contains("reached the table"), "{refused}");
    assert_eq!(store.last_number(), 2);
}

#[test]
fn concurrent_pushes_are_numbered_in_order_and_share_syncs() {
    let store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    let feed = store.feed("p", "events").expect("a feed");
    let (pushers, each) = (8, 30);
    std::thread::scope(|scope| {
        for pusher in 0..pushers {
            let store = &*store;
            scope.spawn(move || {
                for n in 0..each {
                    let payload = format!("{pusher} {n}").into_bytes();
                    let outgoing = [Outgoing { feed, rows: 1, payload: &payload }];
                    let key = format!("{pusher}");
                    push_one(store, view, &key, n, &outgoing, 1 << 40).expect("a push");
                    assert_eq!(look(store, view, &[&key]), [Some((n, n))]);
                }
            });
        }
    });
    let records = store.outbox_records(feed).expect("records");
    assert_eq!(records.len(), (pushers * each) as usize);
    assert!(records.windows(2).all(|pair| pair[0].number + 1 == pair[1].number));
    let of_one: Vec<_> = records.iter().filter(|record| record.payload.starts_with(b"3 ")).collect();
    assert!(of_one.windows(2).all(|pair| pair[0].number < pair[1].number && pair[0].payload != pair[1].payload));
    assert!(store.shared_syncs() <= (pushers * each) as u64);
}

#[test]
fn a_store_that_was_put_back_knows_what_it_counted() {
    let mut store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    let feed = store.feed("p", "events").expect("a feed");
    let push = |store: &Store, time| {
        let outgoing = [Outgoing { feed, rows: 1, payload: b"rows" }];
        push_one(store, view, "a", time, &outgoing, 100).expect("a push").number.expect("a number")
    };
    assert_eq!((push(&store, 1), push(&store, 2)), (1, 2));
    let before = store.next_chunk(feed, 1, u64::MAX).expect("a chunk").expect("one");
    assert_eq!(store.counted(&before.application, 1, 1), Counted::All);
    assert_eq!(store.counted("tidegate.outbox/somebody/events", 1, 1), Counted::None);
    assert_eq!(store.counted("other", 1, 1), Counted::None);
    store.renew("second life").expect("renewed");
    store.reopen();
    assert_eq!(push(&store, 3), 3);
    // The old life's records go under its own name, and never together with the new one's.
    let again = store.next_chunk(feed, 1 << 20, u64::MAX).expect("a chunk").expect("the same");
    assert_eq!((&again.application, again.last), (&before.application, 1));
    store.chunk_done(&again).expect("done");
    let rest = store.next_chunk(feed, 1 << 20, u64::MAX).expect("a chunk").expect("one");
    assert_eq!((&rest.application, rest.first, rest.last), (&before.application, 2, 2));
    store.chunk_done(&rest).expect("done");
    let new = store.next_chunk(feed, 1 << 20, u64::MAX).expect("a chunk").expect("one");
    assert_eq!(new.application, "tidegate.outbox/second life/events");
    assert_eq!(store.counted(&new.application, 3, 9), Counted::All);
    let counted = |first, last| store.counted(&before.application, first, last);
    assert_eq!((counted(1, 2), counted(3, 4), counted(2, 3)), (Counted::All, Counted::None, Counted::Some));
}

#[test]
fn the_ids_of_an_entity_are_forgotten() {
    let mut store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    let feed = store.feed("p", "events").expect("a feed");
    let ids = BinaryArray::from_iter_values([b"1", b"2"]);
    let digests = [RowDigest::default(); 2];
    let of = EventIds { scope: Scope::Feed(feed), ids: &ids, digests: &digests };
    let (keys, event, features) = ([strings(["a", "b"])], times([1, 1]), [ints([1, 1])]);
    let rows = Rows { keys: &keys, event: &event, created: None, features: &features, origin: Origin::Push };
    let outgoing = [Outgoing { feed, rows: 2, payload: b"a and b" }];
    let claim = store.claim(&of, 5).expect("a claim");
    let push = Push { views: &[(view, rows)], outgoing: &outgoing, claim: Some(&claim), now: 5, ..Push::default() };
    store.push(&push).expect("a push");
    drop(claim);
    let inner = store.inner();
    let mut entity = Vec::new();
    let encoder = crate::key::KeyEncoder::new(&inner.view(view).expect("known").keys, &keys).expect("keys");
    encoder.encode(inner.view(view).expect("known").entity_type, 0, &mut entity);
    let hashes = [crate::store::entity_hash(&entity)].into();
    assert_eq!(inner.forget_events(&hashes, &[]).expect("forgotten"), 1);
    drop(encoder);
    store.reopen();
    let fates = store.claim(&of, 5).expect("a claim").fates().to_vec();
    assert_eq!(fates, [Fate::New, Fate::Duplicate]);
}
