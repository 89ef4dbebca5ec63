//! What is kept and for how long: retention deletes what is older than its cut and keeps it out, checkpoints are the store as of a
//! moment, and a store that was put back goes by another name.

use super::*;
use crate::Freed;

#[test]
fn rows_before_the_cut_go_and_stay_away() {
    let mut store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    let other = store.register(&view_named("other")).expect("a view");
    let rows = [("a", 1, 1), ("b", 5, 5), ("c", 9, 9)];
    write(&store, view, &rows, table(1), Commit::Cursor { version: 1, now: 1 }).expect("rows");
    write(&store, other, &rows, table(1), Commit::None).expect("rows");
    assert_eq!(look(&store, view, &["a", "b", "c"]), [Some((1, 1)), Some((5, 5)), Some((9, 9))]);
    let freed = store.retain(view, 5, 10).expect("swept");
    assert_eq!(freed.rows, 1);
    assert!(freed.bytes > 32);
    let kept = [None, Some((5, 5)), Some((9, 9))];
    assert_eq!(look(&store, view, &["a", "b", "c"]), kept, "the cache has forgotten it");
    assert_eq!(look(&store, other, &["a"]), [Some((1, 1))], "other views keep theirs");
    assert_eq!(
        store.retain(view, 4, 10).expect("swept"),
        Freed::default(),
        "a clock that steps back brings nothing back"
    );
    store.reopen();
    let view = store.register(&simple()).expect("a view");
    assert_eq!(store.retained(view).expect("known"), Some(5));
    let late = write(&store, view, &[("a", 4, 4), ("d", 6, 6)], Origin::Push, Commit::None).expect("taken");
    assert_eq!(late, Written { written: 1, kept: 1, waiting: 0 });
    let mut load = store.begin_full(view, 2, 2).expect("begun");
    add(&mut load, &[("a", 1, 1), ("c", 9, 9)], 2);
    store.finish_full(load, 2, 2).expect("flipped");
    assert_eq!(
        look(&store, view, &["a", "c", "d"]),
        [None, Some((9, 9)), Some((6, 6))],
        "a refresh brings nothing back"
    );
    let mut expected = store.expected(view).expect("a load");
    add(&mut expected, &[("a", 1, 1), ("c", 9, 9)], 2);
    let parity = store.compare(view, expected).expect("compared");
    assert!(parity.holds() && parity.ahead == 1, "{parity:?}");
    assert_eq!(store.retain(view, 3, 12).expect("swept"), Freed::default());
    assert_eq!(store.retained(view).expect("known"), Some(3), "rows are retained for longer now");
    store.retain_all(view).expect("kept");
    assert_eq!(write(&store, view, &[("a", 4, 4)], Origin::Push, Commit::None).expect("taken").written, 1);
    store.reopen();
    let view = store.register(&simple()).expect("a view");
    assert_eq!(store.retained(view).expect("known"), None);
}

fn view_named(name: &str) -> ViewLayout {
    view(name, &[("user", "string")], &[("n", "int64")])
}

#[test]
fn a_dropped_view_says_what_it_had() {
    let store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    let rows = [("a", 1, 1), ("b", 5, 5)];
    write(&store, view, &rows, table(1), Commit::Cursor { version: 1, now: 1 }).expect("rows");
    store.retain(view, 3, 10).expect("swept");
    let size = store.size(view).expect("counted");
    assert_eq!(size.rows, 1);
    assert_eq!(store.view_names(), [("p".to_owned(), "v".to_owned())]);
    assert_eq!(store.find("p", "v"), Some(view));
    assert!(store.remove("p", "v").expect("removed"));
    assert!(store.view_names().is_empty() && store.find("p", "v").is_none());
    // Ids are never used twice: the cut of the one is not the other's.
    let again = store.register(&simple()).expect("a view");
    assert_eq!(store.retained(again).expect("known"), None);
    assert_eq!(write(&store, again, &[("a", 1, 1)], Origin::Push, Commit::None).expect("taken").written, 1);
}

#[test]
fn a_checkpoint_is_the_store_as_of_a_moment() {
    let store = TempStore::new(Settings::default());
    let place = tempfile::tempdir().expect("a folder");
    let view = store.register(&simple()).expect("a view");
    write(&store, view, &[("a", 1, 1)], table(1), Commit::Cursor { version: 1, now: 1 }).expect("rows");
    write(&store, view, &[("b", 2, 2)], Origin::Push, Commit::None).expect("a push");
    let (before, token) = (store.digest(view).expect("a digest"), store.token());
    let folder = place.path().join("checkpoint");
    let made = store.checkpoint(&folder).expect("made");
    assert_eq!(format!("{}:{}", made.identity, made.sequence), token);
    assert!(store.checkpoint(&folder).is_err(), "it is there already");
    write(&store, view, &[("a", 9, 9), ("c", 9, 9)], table(2), Commit::Cursor { version: 2, now: 2 }).expect("rows");

    let same = Store::open(&folder, &Settings::default()).expect("opens");
    let id = same.register(&simple()).expect("a view");
    assert_eq!(same.digest(id).expect("a digest"), before);
    assert_eq!(same.cursor(id).expect("known").expect("a cursor").version, 1);
    assert_eq!(look(&same, id, &["a", "b", "c"]), [Some((1, 1)), Some((2, 2)), None]);
    drop(same);
    renew(&folder, "another").expect("renewed");
    let restored = Store::open(&folder, &Settings::default()).expect("opens");
    let refused = restored.has_written(&token).expect_err("of another store");
    assert!(matches!(refused, Error::UnknownWrite(_)), "{refused:?}");
    restored.has_written(&restored.token()).expect("its own");
    assert_eq!(look(&store, view, &["a", "c"]), [Some((9, 9)), Some((9, 9))], "the first goes on");
}
