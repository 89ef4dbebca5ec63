//! The store against an independent model, its folder, its epochs, and its cache under racing writes.
//!
//! The model is a map from key to the newest observation by the rule of the semantics, restated here. Random histories run on views
//! that share one store, with the cache on, tiny or off, and with the folder closed and opened again in the middle.

mod correct;
mod disk;
mod erase;
mod evolve;
mod history;
mod kept;
mod push;
mod race;
mod reach;
mod torn;
mod windows;

use std::fs;

use arrow_array::ArrayRef;
use tidegate_schemas::error::ErrorKind;

use super::*;
use crate::layout::ViewLayout;
use crate::lookup::{LookupFeature, LookupOptions, LookupSpec, LookupView, Plan};
use crate::row::Origin;
use crate::testing::{TempStore, ints, strings, times, view};

fn simple() -> ViewLayout {
    view("v", &[("user", "string")], &[("n", "int64")])
}

fn table(version: i64) -> Origin {
    Origin::Table { version }
}

fn write(store: &Store, view: ViewId, rows: &[(&str, i64, i64)], origin: Origin, commit: Commit) -> Result<Written> {
    let keys = [strings(rows.iter().map(|row| row.0))];
    let event = times(rows.iter().map(|row| row.1));
    let features = [ints(rows.iter().map(|row| row.2))];
    store.write(view, Rows { keys: &keys, event: &event, created: None, features: &features, origin }, commit)
}

/// Adds rows to a load.
fn add(load: &mut Load, rows: &[(&str, i64, i64)], version: i64) {
    let keys = [strings(rows.iter().map(|row| row.0))];
    let event = times(rows.iter().map(|row| row.1));
    let features = [ints(rows.iter().map(|row| row.2))];
    load.add(Rows { keys: &keys, event: &event, created: None, features: &features, origin: table(version) })
        .expect("rows");
}

fn plan(store: &Store, view: ViewId) -> Arc<Plan> {
    let features = vec![LookupFeature { name: "n".to_owned(), output: "n".to_owned(), default: None }];
    let used = LookupView { view, key_columns: vec![0], alias: "v".to_owned(), features, serve_ttl: None };
    store.compile(&LookupSpec { views: vec![used] }).expect("a plan")
}

/// Event time and value of some entities, as looked up.
fn look(store: &Store, view: ViewId, keys: &[&str]) -> Vec<Option<(i64, i64)>> {
    let options = LookupOptions { include_times: true, ..LookupOptions::default() };
    let reply = store.lookup(&plan(store, view), &[strings(keys.iter().copied())], 0, &options).expect("an answer");
    let feature = reply.feature(0);
    let crate::reply::Values::Int64s(values) = feature.values else { panic!("int64") };
    let row = |(row, value)| feature.present(row).then(|| (reply.views[0].event_times[row], value));
    values.iter().enumerate().map(row).collect()
}

#[test]
fn a_folder_in_use_is_refused() {
    let store = TempStore::new(Settings::default());
    let error = Store::open(store.path(), &Settings::default()).expect_err("refused");
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Precondition);
}

#[test]
fn other_formats_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(Store::open(folder.path(), &Settings::default()).expect("a new store"));
    let marker = folder.path().join("FORMAT");
    assert_eq!(fs::read_to_string(&marker).expect("the marker"), "tidegate online 1\n");
    fs::write(&marker, "tidegate online 2\n").expect("write");
    let error = Store::open(folder.path(), &Settings::default()).expect_err("refused");
    assert!(matches!(error, Error::NewerFormat { found: 2, supported: 1, .. }), "{error:?}");
    fs::write(&marker, "something else").expect("write");
    let error = Store::open(folder.path(), &Settings::default()).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn damaged_rows_are_corrupt_and_nothing_else() {
    let store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    write(&store, view, &[("a", 1, 1), ("b", 1, 1)], Origin::Push, Commit::None).expect("a push");
    let inner = store.inner();
    let rows = inner.rows().expect("rows");
    let key = inner.db.iterator_cf(rows, rocksdb::IteratorMode::Start).next().expect("a row").expect("readable").0;
    for bytes in [b"".as_slice(), &[1; 8], &[0xFF; 64], &[1, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        inner.db.put_cf(rows, &key, bytes).expect("damage");
        let lookup = store.lookup(&plan(&store, view), &[strings(["a"])], 0, &LookupOptions::default());
        assert_eq!(lookup.expect_err("damaged").kind(), ErrorKind::Corrupt);
        assert_eq!(store.digest(view).expect_err("damaged").kind(), ErrorKind::Corrupt);
        let other = write(&store, view, &[("a", 2, 2)], Origin::Push, Commit::None);
        assert_eq!(other.expect_err("damaged").kind(), ErrorKind::Corrupt);
        assert_eq!(look(&store, view, &["b"]), [Some((1, 1))]);
    }
}

#[test]
fn registration_gives_each_thing_one_id() {
    let mut store = TempStore::new(Settings::default());
    let first = store.register(&simple()).expect("a view");
    assert_eq!(store.register(&simple()).expect("the same"), first);
    write(&store, first, &[("a", 1, 1)], table(1), Commit::Cursor { version: 1, now: 1 }).expect("rows");
    store.reopen();
    assert_eq!(store.register(&simple()).expect("the same"), first);
    assert_eq!(look(&store, first, &["a"]), [Some((1, 1))]);

    let other_keys = view("v", &[("user", "bytes")], &[("n", "int64")]);
    let second = store.register(&other_keys).expect("another view");
    assert_ne!(second.view, first.view);
    assert_eq!(store.cursor(second).expect("known"), None, "a change of keys begins anew");
    assert_eq!(store.cursor(first).expect_err("gone").kind(), ErrorKind::NotFound);
    store.wait_for_purges();
    let inner = store.inner();
    let rows = inner.rows().expect("rows");
    assert_eq!(inner.db.iterator_cf(rows, rocksdb::IteratorMode::Start).count(), 0, "old rows are deleted");

    assert!(store.remove("p", "v").expect("removed"));
    assert!(!store.remove("p", "v").expect("gone"));
    let third = store.register(&other_keys).expect("a view again");
    assert_ne!(third.view, second.view);

    let twice = view("w", &[], &[("n", "int64"), ("n", "string")]);
    assert_eq!(store.register(&twice).expect_err("refused").kind(), ErrorKind::Invalid);
    let float_key = view("w", &[("k", "float64")], &[("n", "int64")]);
    assert_eq!(store.register(&float_key).expect_err("refused").kind(), ErrorKind::Invalid);
}

#[test]
fn bad_rows_write_nothing() {
    let store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    let check = |keys: ArrayRef, event: &[Option<i64>], feature: ArrayRef, expect: &str| {
        let event = times(event.iter().copied());
        let rows = Rows { keys: &[keys], event: &event, created: None, features: &[feature], origin: Origin::Push };
        let error = store.write(view, rows, Commit::Cursor { version: 9, now: 9 }).expect_err("refused");
        assert_eq!(error.to_string(), expect);
        assert_eq!(store.digest(view).expect("a digest").rows, 0);
        assert_eq!(store.cursor(view).expect("known"), None);
    };
    let null = || Arc::new(arrow_array::StringArray::from(vec![Some("a"), None])) as ArrayRef;
    check(null(), &[Some(1), Some(2)], ints([1, 2]), "key `user` is null in row 1; leave such rows out");
    let message = "`event time`, row 1: null; a row without an event time is no observation, leave it out";
    check(strings(["a", "b"]), &[Some(1), None], ints([1, 2]), message);
    check(strings(["a"]), &[Some(1), Some(2)], ints([1, 2]), "a column has 1 rows, the event time has 2");
    check(strings(["a"]), &[Some(1)], strings(["x"]), "feature `n` is int64, but string was given; cast it");
}

#[test]
fn progress_and_cursor_survive_with_their_rows() {
    let mut store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    let progress =
        Progress { target_version: 5, full: false, position: 40, rows_read: 2, rows_written: 1, started_at: 7 };
    let written = write(&store, view, &[("a", 2, 2), ("a", 1, 1)], table(5), Commit::Progress(progress)).expect("rows");
    assert_eq!(written, Written { written: 1, kept: 1, waiting: 0 });
    store.reopen();
    assert_eq!(store.progress(view).expect("known"), Some(progress));
    assert_eq!(store.cursor(view).expect("known"), None);
    write(&store, view, &[("b", 1, 1)], table(5), Commit::Cursor { version: 5, now: 8 }).expect("rows");
    store.reopen();
    assert_eq!(store.progress(view).expect("known"), None);
    let cursor = store.cursor(view).expect("known").expect("a cursor");
    assert_eq!((cursor.version, cursor.materialized_at, cursor.epoch, cursor.layout_current), (5, 8, 1, true));
    write(&store, view, &[], table(3), Commit::Cursor { version: 3, now: 9 }).expect("an older run");
    assert_eq!(store.cursor(view).expect("known").expect("a cursor").version, 5, "never backwards");
    assert_eq!(look(&store, view, &["a", "b"]), [Some((2, 2)), Some((1, 1))]);
}

#[test]
fn a_full_refresh_is_seen_at_once_and_loses_no_push() {
    let mut store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    let old = [("gone", 1, 1), ("kept", 1, 1), ("tied", 5, 1)];
    write(&store, view, &old, table(1), Commit::Cursor { version: 1, now: 1 }).expect("rows");
    write(&store, view, &[("pushed", 3, 3), ("kept", 9, 9), ("tied", 5, 5)], Origin::Push, Commit::None)
        .expect("a push");
    let before = [Some((1, 1)), Some((9, 9)), Some((5, 5)), Some((3, 3)), None];
    let keys = ["gone", "kept", "tied", "pushed", "late"];
    assert_eq!(look(&store, view, &keys), before);

    let mut half = store.begin_full(view, 2, 10).expect("begun");
    add(&mut half, &[("kept", 2, 2)], 2);
    assert_eq!(look(&store, view, &keys), before, "nothing of it is seen yet");
    drop(half);
    store.reopen();
    let progress = store.progress(view).expect("known").expect("it was cut short");
    assert_eq!((progress.full, progress.target_version, progress.started_at), (true, 2, 10));
    assert_eq!(look(&store, view, &keys), before);
    let mut load = store.begin_full(view, 2, 11).expect("begun anew");
    add(&mut load, &[("kept", 2, 2), ("tied", 5, 6)], 2);
    write(&store, view, &[("late", 4, 4)], Origin::Push, Commit::None).expect("a push meanwhile");
    let increment = write(&store, view, &[], table(2), Commit::Cursor { version: 2, now: 12 });
    assert!(increment.is_err(), "an increment during a full refresh");
    let written = store.finish_full(load, 2, 13).expect("finished");
    assert_eq!(written, Written { written: 2, kept: 0, waiting: 0 });
    let after = [None, Some((9, 9)), Some((5, 6)), Some((3, 3)), Some((4, 4))];
    assert_eq!(look(&store, view, &keys), after);
    let cursor = store.cursor(view).expect("known").expect("a cursor");
    assert_eq!((cursor.version, cursor.epoch), (2, 3), "the second one that was begun");
    assert_eq!(store.progress(view).expect("known"), None);
    assert_eq!(fs::read_dir(store.path().join(load::FOLDER)).expect("a folder").count(), 0, "a load leaves nothing");
    store.reopen();
    store.wait_for_purges();
    assert_eq!(look(&store, view, &keys), after);
    let inner = store.inner();
    let rows = inner.rows().expect("rows");
    assert_eq!(inner.db.iterator_cf(rows, rocksdb::IteratorMode::Start).count(), 4, "the old epoch's rows are deleted");
}

#[test]
fn a_dropped_refresh_changes_nothing() {
    let store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    write(&store, view, &[("a", 1, 1)], table(1), Commit::Cursor { version: 1, now: 1 }).expect("rows");
    let mut first = store.begin_full(view, 2, 1).expect("begun");
    add(&mut first, &[("a", 7, 7)], 2);
    let second = store.begin_full(view, 3, 1).expect("another one drops it");
    assert!(matches!(store.finish_full(first, 2, 1), Err(Error::NoRefresh(_))));
    assert_eq!(look(&store, view, &["a"]), [Some((1, 1))]);
    store.finish_full(second, 3, 1).expect("finished, with nothing in it");
    assert_eq!(look(&store, view, &["a"]), [None]);
    let mut third = store.begin_full(view, 4, 1).expect("begun");
    add(&mut third, &[("a", 7, 7)], 4);
    assert!(store.cancel_full(view).expect("cancelled"));
    assert!(!store.cancel_full(view).expect("nothing to cancel"));
    assert!(matches!(store.finish_full(third, 4, 1), Err(Error::NoRefresh(_))));
    assert_eq!(look(&store, view, &["a"]), [None]);
    store.begin_full(view, 4, 1).expect("begun");
    let wider = ViewLayout { features: crate::testing::columns(&[("n", "int64"), ("m", "int64")]), ..simple() };
    let wider = store.register(&wider).expect("a new layout");
    assert_eq!(store.progress(wider).expect("known"), None, "rows without the new feature are not built on");
    store.wait_for_purges();
}

#[test]
fn equal_states_have_equal_digests() {
    let digest = |writes: &[&[(&str, i64, i64)]]| {
        let store = TempStore::new(Settings::default());
        let view = store.register(&simple()).expect("a view");
        for (nth, rows) in writes.iter().enumerate() {
            write(&store, view, rows, table(nth as i64), Commit::None).expect("rows");
        }
        store.digest(view).expect("a digest")
    };
    let a = digest(&[&[("a", 1, 1), ("b", 2, 2)]]);
    assert_eq!(a, digest(&[&[("b", 1, 9)], &[("b", 2, 2)], &[("a", 1, 1)], &[("a", 0, 5)]]));
    assert_ne!(a, digest(&[&[("a", 1, 1), ("b", 2, 3)]]));
    assert_ne!(a, digest(&[&[("a", 1, 1)]]));
}

/// Below the reserve nothing is written and everything is answered.
#[test]
fn a_nearly_full_disk_is_read_from() {
    let mut store = TempStore::new(Settings::default());
    let id = store.register(&simple()).expect("a view");
    write(&store, id, &[("a", 1, 1)], Origin::Push, Commit::None).expect("a write");
    store.set(Settings { disk_reserve_bytes: u64::MAX, ..Settings::default() });
    let id = store.register(&simple()).expect("the view");
    let error = write(&store, id, &[("a", 2, 2)], Origin::Push, Commit::None).expect_err("no room");
    assert!(matches!(error, Error::NoRoom { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert_eq!(look(&store, id, &["a"]), [Some((1, 1))]);
    store.set(Settings { disk_reserve_bytes: 1, ..Settings::default() });
    let id = store.register(&simple()).expect("the view");
    write(&store, id, &[("a", 2, 2)], Origin::Push, Commit::None).expect("room again");
    assert_eq!(look(&store, id, &["a"]), [Some((2, 2))]);
    assert!(store.stats().disk_free_bytes > 0);
}

#[test]
fn tokens_tell_stores_and_states_apart() {
    let (mut store, other) = (TempStore::new(Settings::default()), TempStore::new(Settings::default()));
    let id = store.register(&simple()).expect("a view");
    let before = store.token();
    write(&store, id, &[("a", 1, 1)], Origin::Push, Commit::None).expect("a write");
    let token = store.token();
    assert_ne!(before, token);
    store.reopen();
    store.has_written(&before).expect("an earlier write");
    store.has_written(&token).expect("the last write");
    let (identity, number) = token.rsplit_once(':').expect("two parts");
    let later = format!("{identity}:{}", number.parse::<u64>().expect("a number") + 1);
    for unknown in [later, other.token()] {
        assert_eq!(store.has_written(&unknown).expect_err("unknown").kind(), ErrorKind::Precondition, "{unknown}");
    }
    for none in ["", "7", "a:b", ":"] {
        assert_eq!(store.has_written(none).expect_err("no token").kind(), ErrorKind::Invalid, "{none}");
    }
}

/// However many runs the rows were set aside in, each key has the row that wins.
#[test]
fn loads_of_any_size_end_the_same() {
    let rows: Vec<(String, i64, i64)> =
        (0..3_000_i64).map(|nth| (format!("key {}", nth * 7_919 % 700), nth * 31 % 11, nth)).collect();
    let mut expected = std::collections::BTreeMap::new();
    for (key, time, value) in &rows {
        let best = expected.entry(key.as_str()).or_insert((*time, *value));
        if *time >= best.0 {
            *best = (*time, *value);
        }
    }
    let keys: Vec<&str> = expected.keys().copied().collect();
    for (buffer, at_once) in [(usize::MAX, 3_000), (1, 100), (10_000, 77), (1 << 20, 1)] {
        let store = TempStore::new(Settings::default());
        let view = store.register(&simple()).expect("a view");
        let mut load = store.begin_full(view, 1, 0).expect("begun").with_buffer(buffer);
        for rows in rows.chunks(at_once) {
            let rows: Vec<_> = rows.iter().map(|(key, time, value)| (key.as_str(), *time, *value)).collect();
            add(&mut load, &rows, 1);
        }
        let written = store.finish_full(load, 1, 0).expect("finished");
        assert_eq!(written, Written { written: 700, kept: 2_300, waiting: 0 });
        let found: Vec<_> = look(&store, view, &keys).into_iter().map(|found| found.expect("a row")).collect();
        assert_eq!(found, expected.values().copied().collect::<Vec<_>>(), "buffer of {buffer}");
        assert_eq!(store.digest(view).expect("a digest").rows, 700);
    }
}

/// A comparison tells every way in which what is served can differ, and counts pushes apart.
#[test]
fn what_is_served_is_held_against_what_should_be() {
    let store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    let served = [("a", 1, 1), ("changed", 1, 1), ("older", 1, 1), ("extra", 1, 1)];
    write(&store, view, &served, table(1), Commit::Cursor { version: 1, now: 1 }).expect("rows");
    write(&store, view, &[("pushed", 5, 5), ("a pushed key", 9, 9)], Origin::Push, Commit::None).expect("a push");
    let compare = |rows: &[(&str, i64, i64)], buffer| {
        let mut expected = store.expected(view).expect("a load").with_buffer(buffer);
        rows.iter().for_each(|row| add(&mut expected, &[*row], 1));
        store.compare(view, expected).expect("a comparison")
    };
    for buffer in [1, usize::MAX] {
        let good = [("extra", 1, 1), ("a", 0, 9), ("a", 1, 1), ("pushed", 2, 2), ("changed", 1, 1), ("older", 1, 1)];
        let parity = compare(&good, buffer);
        assert_eq!(parity, Parity { equal: 4, ahead: 2, ..Parity::default() });
        assert!(parity.holds());
        let parity = compare(&[("a", 1, 1), ("changed", 1, 2), ("older", 2, 1), ("missing", 1, 1)], buffer);
        assert_eq!((parity.equal, parity.different, parity.missing, parity.extra, parity.ahead), (1, 2, 1, 1, 2));
        assert!(!parity.holds());
        let told: Vec<String> = parity.examples.iter().map(|told| format!("{} {}", told.key, told.what)).collect();
        assert_eq!(
            told,
            [
                "changed has another value of `n`",
                "extra is served and not in the table",
                "missing is in the table and not served",
                "older has the event and created times (1, None) instead of (2, None)",
            ]
        );
    }
    assert_eq!(fs::read_dir(store.path().join(load::FOLDER)).expect("a folder").count(), 0);
}
