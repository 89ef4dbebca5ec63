//! Tiles behind all windows go, and what lookups answer stays the same.
//!
//! Random histories push old and new events, refresh, compact, reopen, let weeks pass and set the clock back by an hour; a model that
//! keeps all events says what every window holds. In the end nothing is left but the tiles of all time.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rocksdb::{BottommostLevelCompaction, CompactOptions};
use tidegate_schemas::definition::{Aggregate, Function};
use tidegate_schemas::time::Micros;

use super::*;
use crate::reply::Values;
use crate::testing::{cases, for_each_seed};

const HOUR: Micros = 3_600_000_000;
const DAY: Micros = 24 * HOUR;

/// Windows with their hops; a hop that two windows share keeps what the longer one reaches.
const WINDOWS: [(Option<Micros>, Micros); 5] =
    [(Some(3 * HOUR), HOUR), (Some(7 * DAY), HOUR), (Some(2 * DAY), 5 * HOUR), (Some(30 * DAY), DAY), (None, DAY)];

const KEYS: [&str; 3] = ["a", "b", "c"];

type Event = (&'static str, Micros);

fn counts(name: &str, windows: &[(Option<Micros>, Micros)]) -> ViewLayout {
    let names: Vec<String> = (0..windows.len()).map(|nth| format!("count_{nth}")).collect();
    let features: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "int64")).collect();
    let mut layout = view(name, &[("user", "string")], &features);
    let count = |(window, hop): &(Option<Micros>, Micros)| Aggregate {
        function: Function::Count,
        input: None,
        window: *window,
        hop: *hop,
    };
    layout.aggregates = windows.iter().map(count).collect();
    layout
}

fn rows<'a>(keys: &'a [ArrayRef], event: &'a arrow_array::TimestampMicrosecondArray, origin: Origin) -> Rows<'a> {
    Rows { keys, event, created: None, features: &[], origin }
}

fn push(store: &Store, id: ViewId, events: &[Event], now: Micros) {
    let (keys, times) = ([strings(events.iter().map(|event| event.0))], times(events.iter().map(|event| event.1)));
    store.write_at(id, rows(&keys, &times, Origin::Push), Commit::None, now).expect("a push");
}

fn refresh(store: &Store, id: ViewId, events: &[Event], now: Micros) {
    let mut load = store.begin_full(id, 1, now).expect("a refresh").until(now);
    let (keys, times) = ([strings(events.iter().map(|event| event.0))], times(events.iter().map(|event| event.1)));
    load.add(rows(&keys, &times, table(1))).expect("events");
    store.finish_full(load, 1, now).expect("a refresh");
}

/// Merges all files of tiles.
fn compact(store: &Store) {
    let inner = store.inner();
    let tiles = inner.tiles().expect("the family");
    inner.db.flush_cf(tiles).expect("a flush");
    let mut options = CompactOptions::default();
    options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
    inner.db.compact_range_cf_opt(tiles, None::<&[u8]>, None::<&[u8]>, &options);
}

fn tiles(store: &Store) -> usize {
    let family = store.inner().tiles().expect("the family");
    store.inner().db.iterator_cf(family, rocksdb::IteratorMode::Start).count()
}

fn check(store: &Store, id: ViewId, windows: &[(Option<Micros>, Micros)], events: &[Event], now: Micros) {
    let asked = |nth| LookupFeature { name: format!("count_{nth}"), output: format!("count_{nth}"), default: None };
    let features = (0..windows.len()).map(asked).collect();
    let used = LookupView { view: id, key_columns: vec![0], alias: "v".to_owned(), features, serve_ttl: None };
    let plan = store.compile(&LookupSpec { views: vec![used] }).expect("a plan");
    let reply = store.lookup(&plan, &[strings(KEYS)], now, &LookupOptions::default()).expect("an answer");
    for (nth, (window, hop)) in windows.iter().enumerate() {
        // The tile of the head may hold events from before the clock was set back.
        let head = -(-now).div_euclid(*hop) * hop;
        let tail = window.map(|window| (now - window).div_euclid(*hop) * hop);
        let inside = |event: Micros| tail.is_none_or(|tail| event > tail && event <= head);
        let expect = KEYS.map(|key| events.iter().filter(|event| event.0 == key && inside(event.1)).count() as i64);
        let Values::Int64s(values) = reply.feature(nth).values else { panic!("int64") };
        assert_eq!(values.iter().collect::<Vec<_>>(), expect, "{window:?} by {hop} at {now}");
    }
}

fn some_events(rng: &mut StdRng, now: Micros) -> Vec<Event> {
    let event = |rng: &mut StdRng| {
        let late = [HOUR, DAY, 9 * DAY, 60 * DAY][rng.random_range(0..4)];
        (KEYS[rng.random_range(0..KEYS.len())], now - rng.random_range(0..late))
    };
    (0..rng.random_range(1..30)).map(|_| event(rng)).collect()
}

#[test]
fn only_what_no_window_reaches_goes() {
    for_each_seed(cases(40).min(2_000), |rng, _| {
        let settings = Settings { durability: Durability::Fast, ..Settings::default() };
        let mut store = TempStore::new(settings);
        let id = store.register(&counts("v", &WINDOWS)).expect("a view");
        let (mut now, mut events) = (20_000 * DAY + rng.random_range(0..DAY), Vec::new());
        let mut latest = now;
        for _ in 0..30 {
            now += match rng.random_range(0..8) {
                0 => 12 * DAY,
                // Set back; never below what a margin allows.
                1 => -HOUR,
                _ => rng.random_range(0..12 * HOUR),
            };
            latest = latest.max(now);
            store.release_due(now).expect("a release");
            match rng.random_range(0..8) {
                0..4 => {
                    let more = some_events(rng, now);
                    push(&store, id, &more, now);
                    events.extend(more);
                }
                // What happened before the clock was set back waits for nothing.
                4 => refresh(&store, id, &events, latest),
                5 => store.reopen(),
                _ => compact(&store),
            }
            if !events.is_empty() {
                check(&store, id, &WINDOWS, &events, now);
            }
        }
        store.wait_for_purges();
        now += 33 * DAY;
        store.release_due(now).expect("a release");
        compact(&store);
        assert!(tiles(&store) <= KEYS.len(), "{} tiles are left", tiles(&store));
        if !events.is_empty() {
            check(&store, id, &WINDOWS, &events, now);
        }
    });
}

/// A year of a 7-day view: what is kept does not depend on how long it ran.
#[test]
fn a_view_of_a_week_does_not_grow() {
    let store = TempStore::new(Settings { durability: Durability::Fast, ..Settings::default() });
    let windows = [(Some(7 * DAY), HOUR)];
    let id = store.register(&counts("v", &windows)).expect("a view");
    let mut rng = StdRng::seed_from_u64(7);
    let (mut events, mut kept): (Vec<Event>, Vec<usize>) = (Vec::new(), Vec::new());
    for day in 0..120 {
        let now = (20_000 + day) * DAY;
        let of_day: Vec<Event> =
            (0..100).map(|_| (KEYS[rng.random_range(0..3)], now - rng.random_range(0..DAY))).collect();
        push(&store, id, &of_day, now);
        events.extend(of_day);
        store.release_due(now).expect("a release");
        if day % 30 == 29 {
            compact(&store);
            kept.push(tiles(&store));
        }
        check(&store, id, &windows, &events, now);
    }
    let most = kept.iter().max().expect("a count");
    assert!(*most <= kept[0] + kept[0] / 5, "{kept:?}");
    // Eight days and the margin, each with at most 24 tiles of an hour and a seventh of that above, for each key.
    assert!(*most <= KEYS.len() * 10 * 28, "{kept:?}");
}

/// An epoch is not judged by windows that are not its own, and nothing is before a time was told.
#[test]
fn what_is_not_known_stays() {
    let mut store = TempStore::new(Settings::default());
    let (short, long) = ([(Some(2 * HOUR), HOUR)], [(Some(30 * DAY), HOUR)]);
    let id = store.register(&counts("v", &short)).expect("a view");
    let now = 20_000 * DAY;
    let events = [("a", now - 20 * DAY), ("a", now - HOUR)];
    push(&store, id, &events, now);
    store.reopen();
    compact(&store);
    assert_eq!(tiles(&store), 2, "no time was told");
    store.release_due(now).expect("a release");
    let id = store.register(&counts("v", &long)).expect("the view");
    refresh(&store, id, &events, now);
    compact(&store);
    check(&store, id, &long, &events, now);
    store.release_due(now).expect("a release");
    compact(&store);
    check(&store, id, &long, &events, now);
}
