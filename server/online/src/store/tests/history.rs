//! Random write histories equal the model: pushes, increments that are replayed, full refreshes, from one to four writers at once,
//! with rows that are late, doubled, tied, null; the cache on, tiny or off; the store closed and opened again in the middle.

use std::collections::BTreeMap;
use std::sync::Barrier;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::testing::{Seed, number};

/// One observation as the model has it.
#[derive(Debug, Clone, PartialEq)]
struct Observation {
    event: i64,
    created: Option<i64>,
    value: Option<i64>,
    pushed: bool,
}

impl Observation {
    /// The rule for writes, said once more: newer event, then newer created with none lowest; equal ones are replaced.
    fn gives_way_to(&self, other: &Self) -> bool {
        match other.event.cmp(&self.event) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => match (other.created, self.created) {
                (None, Some(_)) => false,
                (Some(incoming), Some(stored)) => incoming >= stored,
                (_, None) => true,
            },
        }
    }
}

type State = BTreeMap<String, Observation>;

fn apply(state: &mut State, key: &str, incoming: &Observation) {
    if state.get(key).is_none_or(|stored| stored.gives_way_to(incoming)) {
        state.insert(key.to_owned(), incoming.clone());
    }
}

/// What a view should be.
struct Model {
    present: State,
    /// What a load under way holds, and when it is put in place.
    building: Option<State>,
    cursor: Option<i64>,
    version: i64,
    position: u64,
}

/// One history on one view.
struct Case {
    seed: u64,
    rng: StdRng,
    view: ViewId,
    model: Model,
    load: Option<Load>,
    steps: usize,
    /// Whether values are a function of key and times, as they must be when the order of writers is left to chance.
    threads: bool,
}

/// Observations as columns.
struct Columns {
    keys: [ArrayRef; 1],
    event: arrow_array::TimestampMicrosecondArray,
    created: arrow_array::TimestampMicrosecondArray,
    features: [ArrayRef; 1],
}

impl Columns {
    fn of(rows: &[(String, Observation)]) -> Self {
        Self {
            keys: [strings(rows.iter().map(|(key, _)| key.as_str()))],
            event: times(rows.iter().map(|(_, row)| row.event)),
            created: times(rows.iter().map(|(_, row)| row.created)),
            features: [ints(rows.iter().map(|(_, row)| row.value))],
        }
    }

    fn rows(&self, has_keys: bool, origin: Origin) -> Rows<'_> {
        Rows {
            keys: if has_keys { &self.keys } else { &[] },
            event: &self.event,
            created: Some(&self.created),
            features: &self.features,
            origin,
        }
    }
}

fn layout(seed: u64) -> ViewLayout {
    let keys: &[(&str, &str)] = if seed.is_multiple_of(17) { &[] } else { &[("user", "string")] };
    ViewLayout { project: format!("project {seed}"), ..view("v", keys, &[("n", "int64")]) }
}

impl Case {
    fn new(store: &Store, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let view = store.register(&layout(seed)).expect("a view");
        let model = Model { present: State::new(), building: None, cursor: None, version: 0, position: 0 };
        let (steps, threads) = (rng.random_range(2..14), rng.random_bool(0.3));
        Self { seed, rng, view, model, load: None, steps, threads }
    }

    fn has_keys(&self) -> bool {
        !self.seed.is_multiple_of(17)
    }

    fn keys(&self) -> Vec<&'static str> {
        if self.has_keys() { vec!["", "a", "a\0", "b", "ü", "nobody"] } else { vec![""] }
    }

    /// Few keys and few times, so that ties, duplicates and late rows are the rule.
    fn rows(&mut self, pushed: bool) -> Vec<(String, Observation)> {
        let keys = self.keys().into_iter().filter(|key| *key != "nobody").collect::<Vec<_>>();
        let count = self.rng.random_range(0..7);
        let row = |_| {
            let key = keys[self.rng.random_range(0..keys.len())].to_owned();
            let event = self.rng.random_range(0..5);
            let created = self.rng.random_bool(0.6).then(|| self.rng.random_range(-1..3));
            let value = match self.threads {
                true => Some(event * 100 + created.unwrap_or(-2)),
                false => self.rng.random_bool(0.8).then(|| self.rng.random()),
            };
            (key, Observation { event, created, value, pushed })
        };
        (0..count).map(row).collect()
    }

    fn write(&self, store: &Store, rows: &[(String, Observation)], commit: Commit) {
        let pushed = rows.first().is_some_and(|(_, row)| row.pushed);
        let origin = if pushed { Origin::Push } else { table(self.model.version) };
        store.write(self.view, Columns::of(rows).rows(self.has_keys(), origin), commit).expect("a write");
    }

    fn step(&mut self, store: &Store) {
        let full = self.model.building.is_some();
        match self.rng.random_range(0..10) {
            0..=2 if self.threads => self.race(store),
            0..=3 => self.push(store),
            4..=5 if full => self.build(),
            4..=5 => self.increment(store),
            6 if !full || self.rng.random_bool(0.2) => self.begin(store),
            7 if full => self.finish(store),
            8 if full && self.rng.random_bool(0.2) => {
                assert!(store.cancel_full(self.view).expect("cancelled"));
                (self.model.building, self.load) = (None, None);
            }
            _ => self.check_lookup(store),
        }
    }

    fn push(&mut self, store: &Store) {
        let rows = self.rows(true);
        self.write(store, &rows, Commit::None);
        self.pushed(&rows);
    }

    fn pushed(&mut self, rows: &[(String, Observation)]) {
        for (key, row) in rows {
            apply(&mut self.model.present, key, row);
        }
    }

    /// Two to four writers at once, each by a path of its own: pushes, and beside them the increments of a materialization or, where a
    /// load is under way, its end.
    fn race(&mut self, store: &Store) {
        let full = self.model.building.is_some();
        let pushes: Vec<Vec<_>> = (0..self.rng.random_range(1..4))
            .map(|_| (0..self.rng.random_range(1..5)).map(|_| self.rows(true)).collect())
            .collect();
        let increments: Vec<_> = match full {
            true => Vec::new(),
            false => (0..self.rng.random_range(1..4)).map(|_| (self.rows(false), self.progress())).collect(),
        };
        let load = self.load.take_if(|_| full);
        // All begin at one moment: what a thread does is shorter than what starting one takes.
        let start = Barrier::new(pushes.len() + 1);
        let (case, start) = (&*self, &start);
        std::thread::scope(|scope| {
            for batches in &pushes {
                scope.spawn(move || {
                    start.wait();
                    batches.iter().for_each(|rows| case.write(store, rows, Commit::None));
                });
            }
            start.wait();
            increments.iter().for_each(|(rows, progress)| case.write(store, rows, Commit::Progress(*progress)));
            if let Some(load) = load {
                store.finish_full(load, case.model.version, 0).expect("finished");
            }
        });
        let pushes: Vec<_> = pushes.into_iter().flatten().flatten().collect();
        if full {
            self.settle(&pushes, &self.scan(store));
            return;
        }
        for (key, row) in pushes.into_iter().chain(increments.into_iter().flat_map(|(rows, _)| rows)) {
            apply(&mut self.model.present, &key, &row);
        }
        // Of equal observations that came by two paths at once, either may be the one that is stored.
        for (key, stored) in self.scan(store) {
            if let Some(expected) = self.model.present.get_mut(&key) {
                expected.pushed = stored.pushed;
            }
        }
    }

    /// The end of a load beside pushes. One that is older than a table's row is lost where it came before that row went, and is
    /// there where it came after; any other is there. So what is stored lies between the two, and is taken as it is.
    fn settle(&mut self, pushes: &[(String, Observation)], stored: &State) {
        let before = self.model.present.clone();
        self.finished();
        let (mut least, mut most) = (self.model.present.clone(), self.model.present.clone());
        for (key, row) in pushes {
            apply(&mut most, key, row);
            if before.get(key).is_none_or(|before| before.gives_way_to(row)) {
                apply(&mut least, key, row);
            }
        }
        assert!(least.keys().all(|key| stored.contains_key(key)), "{least:?} became {stored:?}");
        for (key, stored) in stored {
            let times = |row: &Observation| (row.event, row.created);
            let most = most.get(key).unwrap_or_else(|| panic!("{key:?} came from nowhere"));
            assert!(times(stored) <= times(most), "{key:?}: {stored:?} is newer than {most:?}");
            let least = least.get(key);
            assert!(
                least.is_none_or(|least| times(stored) >= times(least)),
                "{key:?}: {stored:?} instead of {least:?}"
            );
            let untouched = pushes.iter().all(|(pushed, _)| pushed != key);
            assert!(!untouched || least == Some(stored), "{key:?}: {stored:?} instead of {least:?}");
        }
        self.model.present = stored.clone();
    }

    fn increment(&mut self, store: &Store) {
        self.model.version += 1;
        let rows = self.rows(false);
        let commit = match self.rng.random_bool(0.5) {
            true => Commit::Cursor { version: self.model.version, now: 0 },
            false => Commit::Progress(self.progress()),
        };
        if matches!(commit, Commit::Cursor { .. }) {
            self.model.cursor = Some(self.model.version);
        }
        // A replay, as after a crash between the write and its acknowledgement.
        for _ in 0..self.rng.random_range(1..3) {
            self.write(store, &rows, commit);
        }
        rows.iter().for_each(|(key, row)| apply(&mut self.model.present, key, row));
    }

    fn progress(&mut self) -> Progress {
        self.model.position += 1;
        let (target_version, position) = (self.model.version, self.model.position);
        Progress { target_version, full: false, position, rows_read: 0, rows_written: 0, started_at: 0 }
    }

    fn begin(&mut self, store: &Store) {
        self.model.version += 1;
        let load = store.begin_full(self.view, self.model.version, 0).expect("begun");
        // Some set every row aside.
        let buffer = if self.rng.random_bool(0.5) { 1 } else { usize::MAX };
        self.load = Some(load.with_buffer(buffer));
        self.model.building = Some(State::new());
    }

    fn build(&mut self) {
        let rows = self.rows(false);
        let (columns, has_keys, origin) = (Columns::of(&rows), self.has_keys(), table(self.model.version));
        let load = self.load.as_mut().expect("a load under way");
        load.add(columns.rows(has_keys, origin)).expect("rows");
        let building = self.model.building.as_mut().expect("a refresh under way");
        rows.iter().for_each(|(key, row)| apply(building, key, row));
    }

    fn finish(&mut self, store: &Store) {
        store.finish_full(self.load.take().expect("a load"), self.model.version, 0).expect("finished");
        self.finished();
    }

    fn finished(&mut self) {
        let mut next = self.model.building.take().expect("a refresh under way");
        for (key, row) in self.model.present.iter().filter(|(_, row)| row.pushed) {
            let older = |there: &Observation| there.gives_way_to(row) && !row.gives_way_to(there);
            if next.get(key).is_none_or(older) {
                next.insert(key.clone(), row.clone());
            }
        }
        self.model.present = next;
        self.model.cursor = Some(self.model.version);
    }

    /// Some keys, with duplicates, in random order.
    fn check_lookup(&mut self, store: &Store) {
        let keys = self.keys();
        let asked: Vec<&str> =
            (0..self.rng.random_range(1..9)).map(|_| keys[self.rng.random_range(0..keys.len())]).collect();
        let features = vec![LookupFeature { name: "n".to_owned(), output: "n".to_owned(), default: None }];
        let key_columns = if self.has_keys() { vec![0] } else { vec![] };
        let used = LookupView { view: self.view, key_columns, alias: "v".to_owned(), features, serve_ttl: None };
        let plan = store.compile(&LookupSpec { views: vec![used] }).expect("a plan");
        let options = LookupOptions { include_times: true, ..LookupOptions::default() };
        let reply = store.lookup(&plan, &[strings(asked.iter().copied())], 0, &options).expect("an answer");
        let feature = reply.feature(0);
        let crate::reply::Values::Int64s(values) = feature.values else { panic!("int64") };
        for (row, (key, value)) in asked.iter().zip(values.iter()).enumerate() {
            let expect = self.model.present.get(*key);
            let event = reply.views[0].event_times[row];
            assert_eq!(event, expect.map_or(i64::MIN, |expect| expect.event), "{key:?}");
            let value = feature.present(row).then_some(value);
            assert_eq!(value, expect.and_then(|expect| expect.value), "{key:?}");
            let status = match expect {
                None => 3,
                Some(Observation { value: None, .. }) => 2,
                Some(_) => 1,
            };
            assert_eq!(feature.status(row), status, "{key:?}");
        }
    }

    /// Everything there is.
    fn scan(&self, store: &Store) -> State {
        let mut scanned = State::new();
        for chunk in store.scan(self.view, 2).expect("a scan") {
            let chunk = chunk.expect("rows");
            for row in 0..chunk.event.len() {
                let key = if self.has_keys() { chunk.keys[0].as_string::<i32>().value(row) } else { "" };
                let values = chunk.features[0].as_primitive::<Int64Type>();
                let observation = Observation {
                    event: chunk.event.value(row),
                    created: chunk.created.is_valid(row).then(|| chunk.created.value(row)),
                    value: values.is_valid(row).then(|| values.value(row)),
                    pushed: chunk.origin[row] == Origin::Push,
                };
                assert_eq!(scanned.insert(key.to_owned(), observation), None, "{key:?} twice");
            }
        }
        scanned
    }

    /// Everything there is, with origins, cursor and progress.
    fn check_scan(&self, store: &Store) {
        let scanned = self.scan(store);
        assert_eq!(scanned, self.model.present);
        assert_eq!(store.digest(self.view).expect("a digest").rows, scanned.len() as u64);
        let cursor = store.cursor(self.view).expect("known").map(|cursor| cursor.version);
        assert_eq!(cursor, self.model.cursor);
        let full = store.progress(self.view).expect("known").is_some_and(|progress| progress.full);
        assert_eq!(full, self.model.building.is_some());
    }
}

/// Cases share a store, for opening one is what costs.
const CASES_PER_STORE: u64 = 50;

fn run(seeds: std::ops::Range<u64>, settings: Settings) {
    let mut store = TempStore::new(settings);
    let mut cases: Vec<Case> = seeds.map(|seed| Case::new(&store, seed)).collect();
    for half in 0..2 {
        for case in &mut cases {
            let _printed_on_failure = Seed(case.seed);
            for _ in 0..case.steps {
                case.step(&store);
            }
            case.check_lookup(&store);
        }
        if half == 0 {
            // What was being loaded is gone; the progress says so.
            cases.iter_mut().for_each(|case| case.load = None);
            store.reopen();
            for case in cases.iter_mut().filter(|case| case.model.building.is_some()) {
                assert!(store.progress(case.view).expect("known").is_some_and(|progress| progress.full));
                case.begin(&store);
            }
        }
    }
    for case in &mut cases {
        let _printed_on_failure = Seed(case.seed);
        (0..3).for_each(|_| case.check_lookup(&store));
        case.check_scan(&store);
        case.load = None;
    }
    store.reopen();
    store.wait_for_purges();
    for case in &cases {
        let _printed_on_failure = Seed(case.seed);
        case.check_scan(&store);
    }
}

#[test]
fn random_histories_equal_the_model() {
    let chosen: Option<u64> = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let (mut next, end) = chosen.map_or((0, number("TIDEGATE_HISTORIES", 2_000)), |seed| (seed, seed + 1));
    while next < end {
        let seeds = next..end.min(next + CASES_PER_STORE - next % CASES_PER_STORE);
        // Off, so small that entries come and go, or roomy; a few stores sync every write.
        let entity_cache_bytes = [0, 2_000, 1 << 20][(next / CASES_PER_STORE % 3) as usize];
        let durable = (next / CASES_PER_STORE).is_multiple_of(20);
        let durability = if durable { Durability::Durable } else { Durability::Fast };
        next = seeds.end;
        run(seeds, Settings { entity_cache_bytes, durability, ..Settings::default() });
    }
}
