//! Windowed views: what lookups answer equals what the counted events give, whatever way they came.
//!
//! A model keeps the events of each epoch and computes a few functions from those in the window. Histories push, materialize, refresh
//! with pushes in between, let events wait for their time, close the folder and open it again, and look at the clock as it goes on.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidegate_schemas::definition::{Aggregate, Column, Function};
use tidegate_schemas::time::Micros;

use super::*;
use crate::reply::{FeatureReply, Status, Values};
use crate::testing::{Seed, cases, for_each_seed};

const HOP: Micros = 10;
const WINDOWS: [Option<Micros>; 3] = [Some(30), Some(1_700), None];

fn column(name: &str, data_type: &str) -> Column {
    Column { name: name.to_owned(), data_type: data_type.parse().expect("a type") }
}

/// The functions of every window, with the type of what they give.
fn functions() -> [(&'static str, Function, bool, &'static str); 6] {
    [
        ("events", Function::Count, false, "int64"),
        ("sum", Function::Sum, true, "int64"),
        ("mean", Function::Mean, true, "float64"),
        ("max", Function::Max, true, "int64"),
        ("last", Function::LastN(2), true, "list<int64>"),
        ("different", Function::DistinctCount, true, "int64"),
    ]
}

fn windowed(name: &str) -> ViewLayout {
    let mut layout = view(name, &[("user", "string")], &[]);
    for (nth, window) in WINDOWS.into_iter().enumerate() {
        for (feature, function, of_column, data_type) in functions() {
            layout.features.push(column(&format!("{feature}_{nth}"), data_type));
            let input = of_column.then(|| column("n", "int64"));
            layout.aggregates.push(Aggregate { function, input, window, hop: HOP });
        }
    }
    layout
}

/// An event, as the model has it.
#[derive(Debug, Clone, Copy)]
struct Event {
    key: &'static str,
    event: Micros,
    n: Option<i64>,
}

const KEYS: [&str; 4] = ["", "a", "b", "\0c"];

/// Rows of events, in columns.
struct Columns {
    keys: [ArrayRef; 1],
    event: arrow_array::TimestampMicrosecondArray,
    features: [ArrayRef; 1],
}

impl Columns {
    fn of(events: &[Event]) -> Self {
        Self {
            keys: [strings(events.iter().map(|event| event.key))],
            event: times(events.iter().map(|event| event.event)),
            features: [ints(events.iter().map(|event| event.n))],
        }
    }

    fn rows(&self, origin: Origin) -> Rows<'_> {
        Rows { keys: &self.keys, event: &self.event, created: None, features: &self.features, origin }
    }
}

/// What a feature should be, of the events that count and are due.
fn expected(events: &[Event], key: &str, function: Function, window: Option<Micros>, now: Micros) -> String {
    let tail = window.map(|window| (now - window).div_euclid(HOP) * HOP);
    let inside = |event: &&Event| event.key == key && event.event <= now && tail.is_none_or(|tail| event.event > tail);
    let mut inside: Vec<&Event> = events.iter().filter(inside).collect();
    if function == Function::Count {
        return inside.len().to_string();
    }
    inside.sort_by_key(|event| (event.event, event.n));
    let values: Vec<i64> = inside.iter().filter_map(|event| event.n).collect();
    if values.is_empty() {
        return "none".to_owned();
    }
    match function {
        Function::Sum => values.iter().sum::<i64>().to_string(),
        Function::Mean => format!("{:?}", values.iter().sum::<i64>() as f64 / values.len() as f64),
        Function::Max => values.iter().max().expect("a value").to_string(),
        Function::LastN(most) => format!("{:?}", values.iter().rev().take(most as usize).collect::<Vec<_>>()),
        Function::DistinctCount => values.iter().collect::<std::collections::BTreeSet<_>>().len().to_string(),
        other => panic!("{other} is not in the model"),
    }
}

fn shown(feature: FeatureReply<'_>, row: usize) -> String {
    match feature.status(row) {
        status if status == Status::Null as u8 => return "none".to_owned(),
        status if status != Status::Present as u8 => return format!("status {status}"),
        _ => {}
    }
    match feature.values {
        Values::Int64s(values) => values.iter().nth(row).expect("a value").to_string(),
        Values::Doubles(values) => format!("{:?}", values.iter().nth(row).expect("a value")),
        Values::Arrow(lists) => {
            let list = lists.as_list::<i32>().value(row);
            assert_eq!(list.null_count(), 0);
            format!("{:?}", list.as_primitive::<Int64Type>().values().to_vec())
        }
        other => panic!("{other:?}"),
    }
}

fn plan_of(store: &Store, id: ViewId, layout: &ViewLayout) -> Arc<Plan> {
    let feature =
        |feature: &Column| LookupFeature { name: feature.name.clone(), output: feature.name.clone(), default: None };
    let features = layout.features.iter().map(feature).collect();
    let used = LookupView { view: id, key_columns: vec![0], alias: "v".to_owned(), features, serve_ttl: None };
    store.compile(&LookupSpec { views: vec![used] }).expect("a plan")
}

/// Holds all keys and features against the events that count.
fn check(store: &Store, id: ViewId, layout: &ViewLayout, events: &[Event], now: Micros) {
    let plan = plan_of(store, id, layout);
    let reply = store.lookup(&plan, &[strings(KEYS)], now, &LookupOptions::default()).expect("an answer");
    for (nth, aggregate) in layout.aggregates.iter().enumerate() {
        for (row, key) in KEYS.into_iter().enumerate() {
            let expect = expected(events, key, aggregate.function, aggregate.window, now);
            let name = &layout.features[nth].name;
            assert_eq!(shown(reply.feature(nth), row), expect, "`{name}` of {key:?} at {now} of {events:?}");
        }
    }
}

/// One history.
struct History<'r> {
    rng: &'r mut StdRng,
    layout: ViewLayout,
    now: Micros,
    /// What counts in the present epoch, and in the one being built.
    present: Vec<Event>,
    building: Option<(Load, Vec<Event>)>,
    /// The table, version by version.
    table: Vec<Event>,
    version: i64,
    /// Something came: before, there is nothing to see.
    begun: bool,
}

impl History<'_> {
    fn events(&mut self) -> Vec<Event> {
        let count = self.rng.random_range(0..8);
        let mut event = || Event {
            key: KEYS[self.rng.random_range(0..KEYS.len())],
            event: match self.rng.random_range(0..10) {
                0 => self.now + self.rng.random_range(1..60),
                1..4 => self.now - self.rng.random_range(0..4_000),
                _ => self.now - self.rng.random_range(0..40),
            },
            n: (self.rng.random_range(0..5) > 0).then(|| self.rng.random_range(-3..4)),
        };
        let mut events: Vec<Event> = (0..count).map(|_| event()).collect();
        if let Some(first) = events.first().copied().filter(|_| count > 4) {
            // The same twice is two events.
            events.push(first);
        }
        events
    }

    fn push(&mut self, store: &Store, id: ViewId) {
        let events = self.events();
        let columns = Columns::of(&events);
        store.write_at(id, columns.rows(Origin::Push), Commit::None, self.now).expect("a push");
        self.begun |= !events.is_empty();
        if let Some((_, building)) = &mut self.building {
            building.extend(&events);
        }
        self.present.extend(events);
    }

    /// An increment in one or two writes.
    fn materialize(&mut self, store: &Store, id: ViewId) {
        if self.building.is_some() || store.cursor(id).expect("known").is_none() {
            return;
        }
        let events = self.events();
        self.version += 1;
        let half = events.len() / 2;
        let progress = Progress {
            target_version: self.version,
            full: false,
            position: half as u64,
            rows_read: 0,
            rows_written: 0,
            started_at: 0,
        };
        let origin = table(self.version);
        let columns = [Columns::of(&events[..half]), Columns::of(&events[half..])];
        store.write_at(id, columns[0].rows(origin), Commit::Progress(progress), self.now).expect("an increment");
        let last = Commit::Cursor { version: self.version, now: self.now };
        store.write_at(id, columns[1].rows(origin), last, self.now).expect("an increment");
        self.table.extend(&events);
        self.present.extend(events);
    }

    fn begin(&mut self, store: &Store, id: ViewId) {
        self.version += 1;
        let load = store.begin_full(id, self.version, self.now).expect("a refresh").with_buffer(200).until(self.now);
        self.building = Some((load, Vec::new()));
    }

    fn finish(&mut self, store: &Store) {
        let Some((mut load, mut building)) = self.building.take() else { return };
        for chunk in self.table.chunks(3) {
            load.add(Columns::of(chunk).rows(table(self.version))).expect("events");
        }
        // What the load lets wait may become due before it is in place.
        self.now += self.rng.random_range(0..40);
        store.release_due(self.now).expect("a release");
        store.finish_full(load, self.version, self.now).expect("a refresh");
        building.extend(&self.table);
        self.present = building;
        self.begun = true;
    }

    fn step(&mut self, store: &mut TempStore, id: ViewId) {
        self.now += self.rng.random_range(0..25);
        match self.rng.random_range(0..12) {
            0..5 => self.push(store, id),
            5..8 => self.materialize(store, id),
            8 => self.begin(store, id),
            9 => self.finish(store),
            10 if self.rng.random_bool(0.3) => {
                self.building = None;
                let entity_cache_bytes = [0, 1_000, 1 << 20][self.rng.random_range(0..3)];
                store.set(Settings { entity_cache_bytes, ..store_settings() });
                // As the driver does that finds what a process left.
                store.cancel_full(id).expect("known");
            }
            _ => {
                store.cancel_full(id).expect("known");
                self.building = None;
            }
        }
        store.release_due(self.now).expect("a release");
        if self.begun {
            check(store, id, &self.layout, &self.present, self.now);
        }
    }
}

fn store_settings() -> Settings {
    Settings { durability: Durability::Fast, ..Settings::default() }
}

#[test]
fn histories_of_windows_equal_the_model() {
    for_each_seed(cases(60).min(2_000), |rng, _| {
        let mut store = TempStore::new(store_settings());
        let layout = windowed("v");
        let id = store.register(&layout).expect("a view");
        let now = rng.random_range(-50_000..50_000);
        let mut history = History {
            rng,
            layout,
            now,
            present: Vec::new(),
            building: None,
            table: Vec::new(),
            version: 0,
            begun: false,
        };
        for _ in 0..40 {
            history.step(&mut store, id);
        }
        drop(history);
    });
}

#[test]
fn an_entity_without_events_counts_none() {
    let store = TempStore::new(Settings::default());
    let layout = windowed("v");
    let id = store.register(&layout).expect("a view");
    let statuses = || {
        let reply = store.lookup(&plan_of(&store, id, &layout), &[strings(["nobody"])], 100, &LookupOptions::default());
        let reply = reply.expect("an answer");
        [reply.feature(0).status(0), reply.feature(1).status(0)]
    };
    assert_eq!(statuses(), [Status::NotFound as u8; 2], "nothing was brought yet, not even that there is nothing");
    let load = store.begin_full(id, 0, 50).expect("a refresh");
    store.finish_full(load, 0, 50).expect("an empty table");
    assert_eq!(statuses(), [Status::Present as u8, Status::Null as u8]);
    check(&store, id, &layout, &[], 100);
}

fn event(key: &'static str, event: Micros, n: i64) -> Event {
    Event { key, event, n: Some(n) }
}

fn push_events(store: &Store, id: ViewId, events: &[Event]) {
    store.write(id, Columns::of(events).rows(Origin::Push), Commit::None).expect("a push");
}

fn refresh(store: &Store, id: ViewId, events: &[Event], version: i64) {
    let mut load = store.begin_full(id, version, 1_000).expect("a refresh");
    load.add(Columns::of(events).rows(table(version))).expect("events");
    store.finish_full(load, version, 1_000).expect("a refresh");
}

#[test]
fn tiles_answer_what_they_can_until_a_refresh() {
    let mut store = TempStore::new(Settings::default());
    let (all, mut few) = (windowed("v"), windowed("v"));
    few.features.truncate(6);
    few.aggregates.truncate(6);
    let old = store.register(&few).expect("a view");
    let events = [event("a", 995, 1), event("a", 1_000, 2), event("b", 10, 3)];
    refresh(&store, old, &events, 1);
    check(&store, old, &few, &events, 1_000);
    let new = store.register(&all).expect("the view");
    assert!(store.cursor(new).expect("known").is_some_and(|cursor| !cursor.layout_current));
    // What the tiles have is served, what they lack is null, and events count by what the tiles need.
    push_events(&store, new, &[event("a", 1_000, 5)]);
    store.reopen();
    let reply = store.lookup(&plan_of(&store, new, &all), &[strings(["a"])], 1_000, &LookupOptions::default());
    let reply = reply.expect("an answer");
    assert_eq!((shown(reply.feature(1), 0).as_str(), shown(reply.feature(7), 0).as_str()), ("8", "none"));
    let load = store.begin_full(old, 2, 1_000);
    assert!(matches!(load, Err(Error::Outdated(_))), "{load:?}");
    refresh(&store, new, &events, 2);
    check(&store, new, &all, &events, 1_000);
}

#[test]
fn rows_and_windows_of_one_name_are_two_views() {
    let store = TempStore::new(Settings::default());
    let rows = store.register(&simple()).expect("a view");
    write(&store, rows, &[("a", 1, 7)], Origin::Push, Commit::None).expect("a push");
    let windows = store.register(&windowed("v")).expect("a view");
    assert_ne!(rows.view, windows.view);
    assert!(store.cursor(windows).expect("known").is_none());
    assert!(matches!(store.cursor(rows), Err(Error::UnknownView(_))));
    store.wait_for_purges();
}

#[test]
fn windows_and_rows_are_answered_together() {
    for entity_cache_bytes in [0, 1 << 20] {
        let store = TempStore::new(Settings { entity_cache_bytes, ..Settings::default() });
        let layout = windowed("w");
        let (rows, windows) = (store.register(&simple()).expect("a view"), store.register(&layout).expect("another"));
        write(&store, rows, &[("a", 1, 7), ("b", 1, 8)], Origin::Push, Commit::None).expect("a push");
        push_events(&store, windows, &[event("a", 95, 1), event("a", 96, 2), event("b", 1, 9)]);
        let asked = |name: &str| LookupFeature { name: name.to_owned(), output: name.to_owned(), default: None };
        let used = |view, feature: &str| LookupView {
            view,
            key_columns: vec![0],
            alias: feature.to_owned(),
            features: vec![asked(feature)],
            serve_ttl: None,
        };
        let spec = LookupSpec { views: vec![used(windows, "sum_0"), used(rows, "n"), used(windows, "sum_2")] };
        let plan = store.compile(&spec).expect("a plan");
        for _ in 0..2 {
            let reply = store.lookup(&plan, &[strings(["b", "a", "c", "a"])], 100, &LookupOptions::default());
            let reply = reply.expect("an answer");
            let of = |nth| (0..4).map(|row| shown(reply.feature(nth), row)).collect::<Vec<_>>();
            let missing = format!("status {}", Status::NotFound as u8);
            assert_eq!(of(0), ["none", "3", "none", "3"]);
            assert_eq!(of(1), ["8", "7", missing.as_str(), "7"]);
            assert_eq!(of(2), ["9", "3", "none", "3"]);
        }
    }
}

#[test]
fn dead_tiles_are_deleted_and_others_are_not() {
    let store = TempStore::new(Settings::default());
    let (layout, other) = (windowed("v"), windowed("other"));
    let (id, kept) = (store.register(&layout).expect("a view"), store.register(&other).expect("another"));
    let events = [event("a", 995, 1), event("b", 700, 2)];
    refresh(&store, kept, &events, 1);
    for version in 1..4 {
        refresh(&store, id, &events, version);
        store.wait_for_purges();
        check(&store, id, &layout, &events, 1_000);
    }
    store.remove("p", "v").expect("removed");
    store.wait_for_purges();
    let tiles = store.inner().tiles().expect("the family");
    let kept_view = kept.view;
    for tile in store.inner().db.iterator_cf(tiles, rocksdb::IteratorMode::Start) {
        let key = tile.expect("a tile").0;
        assert_eq!(crate::tiles::key::split(&key).expect("a key").view, kept_view);
    }
    check(&store, kept, &other, &events, 1_000);
}

#[test]
fn tiles_before_the_cut_go_and_no_window_misses_them() {
    let mut store = TempStore::new(store_settings());
    let layout = windowed("v");
    let id = store.register(&layout).expect("a view");
    let events = [event("a", 100, 1), event("b", 3_000, 2), event("a", 3_295, 3), event("a", 4_990, 4)];
    push_events(&store, id, &events);
    check(&store, id, &layout, &events, 5_000);
    let before = store.size(id).expect("a size").rows;
    // The longest window reaches back to 3 290.
    let freed = store.retain(id, 3_200, 1_800).expect("swept");
    assert!(freed.rows >= 2 && freed.bytes > 0, "{freed:?}");
    assert_eq!(store.size(id).expect("a size").rows, before - freed.rows);
    check(&store, id, &layout, &events, 5_000);
    let tiles = store.inner().tiles().expect("the family");
    for tile in store.inner().db.iterator_cf(tiles, rocksdb::IteratorMode::Start) {
        let key = tile.expect("a tile").0;
        let key = crate::tiles::key::split(&key).expect("a key");
        assert!(key.hop.is_none_or(|hop| !key.id.is_before(hop, 3_200)), "{key:?}");
    }
    push_events(&store, id, &[event("b", 3_199, 9)]);
    check(&store, id, &layout, &events, 5_000);
    assert_eq!(store.retain(id, 3_200, 1_800).expect("swept").rows, 0);
    store.reopen();
    let id = store.register(&layout).expect("a view");
    check(&store, id, &layout, &events, 5_000);
}

#[test]
fn windows_are_held_against_their_events() {
    let store = TempStore::new(Settings::default());
    let layout = windowed("v");
    let id = store.register(&layout).expect("a view");
    let events = [event("a", 995, 1), event("a", 1_000, 2), event("b", 10, 3), event("\0c", 999, 0)];
    refresh(&store, id, &events, 1);
    let compare = |events: &[Event]| {
        let mut expected = store.expected(id).expect("a load").with_buffer(100).until(1_000);
        expected.add(Columns::of(events).rows(table(1))).expect("events");
        store.compare(id, expected).expect("a comparison")
    };
    let counts = |parity: &Parity| (parity.equal, parity.different, parity.missing, parity.extra, parity.ahead);
    assert_eq!(counts(&compare(&events)), (3, 0, 0, 0, 0));
    // An event that happens later is not compared.
    assert_eq!(counts(&compare(&[&events[..], &[event("a", 1_001, 9)]].concat())), (3, 0, 0, 0, 0));
    let parity = compare(&[events[0], events[2], event("", 999, 1)]);
    assert_eq!(counts(&parity), (1, 1, 1, 1, 0), "{parity:?}");
    assert!(!parity.holds() && parity.examples.len() == 3, "{parity:?}");
    push_events(&store, id, &[event("b", 1_000, 4), event("", 1_000, 4)]);
    assert_eq!(counts(&compare(&events)), (2, 0, 0, 0, 2));
}

#[test]
fn a_renamed_window_answers_from_the_tiles_there_are() {
    let store = TempStore::new(Settings::default());
    let before = windowed("v");
    let id = store.register(&before).expect("a view");
    let events = [event("a", 995, 1), event("a", 1_000, 2), event("b", 10, 3)];
    refresh(&store, id, &events, 1);
    let mut after = before.clone();
    let renamed: Vec<(String, String)> =
        before.features.iter().map(|feature| (format!("{}_now", feature.name), feature.name.clone())).collect();
    after.features.iter_mut().zip(&renamed).for_each(|(feature, (name, _))| feature.name.clone_from(name));
    let id = store.register_renamed(&after, &renamed).expect("the view");
    check(&store, id, &after, &events, 1_000);
}

#[test]
fn few_tiles_are_read_of_a_long_window() {
    let store = TempStore::new(Settings { durability: Durability::Fast, ..Settings::default() });
    let (minute, day) = (60_000_000, 86_400_000_000);
    let mut layout = view("v", &[("user", "string")], &[("count", "int64"), ("sum", "int64")]);
    for (function, input) in [(Function::Count, None), (Function::Sum, Some(column("n", "int64")))] {
        layout.aggregates.push(Aggregate { function, input, window: Some(90 * day), hop: 5 * minute });
    }
    let id = store.register(&layout).expect("a view");
    let mut rng = StdRng::seed_from_u64(11);
    let _printed_on_failure = Seed(11);
    let now = 20_000 * day + 7 * minute;
    let tail = (now - 90 * day).div_euclid(5 * minute) * 5 * minute;
    let (mut left, mut count, mut sum) = (cases(200_000).max(200_000), 0_i64, 0_i64);
    while left > 0 {
        let pushed = left.min(5_000);
        let mut event = |n: u64| event("a", now - rng.random_range(0..100 * day), (n % 10) as i64);
        let events: Vec<Event> = (0..pushed).map(&mut event).collect();
        push_events(&store, id, &events);
        let inside = || events.iter().filter(|event| event.event > tail);
        count += inside().count() as i64;
        sum += inside().filter_map(|event| event.n).sum::<i64>();
        left -= pushed;
    }
    let reply = store.lookup(&plan_of(&store, id, &layout), &[strings(["a"])], now, &LookupOptions::default());
    let reply = reply.expect("an answer");
    assert_eq!(shown(reply.feature(0), 0), count.to_string());
    assert_eq!(shown(reply.feature(1), 0), sum.to_string());
    let read = store.stats().tiles_read;
    assert!((1..=100).contains(&read), "{read} tiles");
}
