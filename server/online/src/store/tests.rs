//! The store against an independent model, its folder, its epochs, and its cache under racing writes.
//!
//! The model is a map from key to the newest observation by the rule of the semantics, restated here. Random histories run on views
//! that share one store, with the cache on, tiny or off, and with the folder closed and opened again in the middle.

mod history;
mod race;
mod torn;

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

fn plan(store: &Store, view: ViewId) -> Arc<Plan> {
    let features = vec![LookupFeature { name: "n".to_owned(), output: "n".to_owned(), default: None }];
    let used = LookupView { view, key_columns: vec![0], alias: "v".to_owned(), features, serve_ttl: None };
    store.compile(&LookupSpec { views: vec![used] }).expect("a plan")
}

/// Event time and value of some entities, as looked up.
fn look(store: &Store, view: ViewId, keys: &[&str]) -> Vec<Option<(i64, i64)>> {
    let options = LookupOptions { include_times: true, return_expired: false };
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
    assert_eq!(written, Written { written: 1, kept: 1 });
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

    let begun = store.begin_full(view, 2, 10).expect("begun");
    assert_eq!((begun.full, begun.target_version, begun.position), (true, 2, 0));
    let half = Progress { position: 1, ..begun };
    write(&store, view, &[("kept", 2, 2), ("tied", 5, 6)], table(2), Commit::Progress(half)).expect("half of it");
    assert_eq!(look(&store, view, &keys), before, "nothing of it is seen yet");
    store.reopen();
    assert_eq!(store.begin_full(view, 2, 11).expect("resumed"), half);
    write(&store, view, &[("late", 4, 4)], Origin::Push, Commit::None).expect("a push meanwhile");
    let increment = write(&store, view, &[], table(2), Commit::Cursor { version: 2, now: 12 });
    assert!(increment.is_err(), "an increment during a full refresh");
    store.finish_full(view, 2, 13).expect("finished");
    let after = [None, Some((9, 9)), Some((5, 6)), Some((3, 3)), Some((4, 4))];
    assert_eq!(look(&store, view, &keys), after);
    let cursor = store.cursor(view).expect("known").expect("a cursor");
    assert_eq!((cursor.version, cursor.epoch), (2, 2));
    assert_eq!(store.progress(view).expect("known"), None);
    assert!(matches!(store.finish_full(view, 2, 13), Err(Error::NoRefresh(_))));
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
    let full = Progress { full: true, ..store.begin_full(view, 2, 1).expect("begun") };
    write(&store, view, &[("a", 7, 7)], table(2), Commit::Progress(full)).expect("rows");
    store.begin_full(view, 3, 1).expect("another one drops it");
    store.finish_full(view, 3, 1).expect("finished, with nothing in it");
    assert_eq!(look(&store, view, &["a"]), [None]);
    store.begin_full(view, 4, 1).expect("begun");
    assert!(store.cancel_full(view).expect("cancelled"));
    assert!(!store.cancel_full(view).expect("nothing to cancel"));
    let refused = write(&store, view, &[("a", 7, 7)], table(2), Commit::Progress(full));
    assert!(matches!(refused, Err(Error::NoRefresh(_))));
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
