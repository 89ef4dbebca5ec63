//! Erasing an entity: its bytes are in no file of the store afterwards, other entities are untouched, and what comes late is refused
//! on every path, also after the store was opened again.
//!
//! Bytes are looked for in the files as they are and, because blocks may be compressed, in keys and values of every family. That
//! they are found before is part of each test.

use std::path::Path;

use rocksdb::{DB, IteratorMode, Options};

use super::*;
use crate::EntityKey;
use crate::testing::{cases, columns, for_each_seed};
use rand::RngExt;

const SECRET: &str = "erase-me-7c1fd29b";

fn key(value: &str) -> EntityKey {
    EntityKey {
        project: "p".to_owned(),
        entity: "entity of user".to_owned(),
        keys: columns(&[("user", "string")]),
        values: vec![strings([value])],
    }
}

/// The files below a folder that hold some bytes.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(holding(&path, bytes));
            continue;
        }
        let read = match fs::read(&path) {
            // The database deletes files whenever it likes.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            read => read.expect("a file"),
        };
        if read.windows(bytes.len()).any(|window| window == bytes) {
            found.push(path.file_name().expect("a name").to_string_lossy().into_owned());
        }
    }
    found
}

/// Whether any key or value of a closed store holds some bytes, tombstones aside.
fn in_any_family(store: &Path, bytes: &[u8]) -> bool {
    let rocks = store.join("rocks");
    let names = DB::list_cf(&Options::default(), &rocks).expect("families");
    let db = DB::open_cf_for_read_only(&Options::default(), &rocks, &names, false).expect("readable");
    names.iter().any(|name| {
        let family = db.cf_handle(name).expect("a family");
        let mut entries = db.iterator_cf(family, IteratorMode::Start).map(|entry| entry.expect("an entry"));
        let holds = |part: &[u8]| part.windows(bytes.len()).any(|window| window == bytes);
        entries.any(|(key, value)| holds(&key) || holds(&value))
    })
}

#[test]
fn its_bytes_are_in_no_file_and_a_late_event_is_refused() {
    let mut store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    for step in 0..4 {
        let rows: Vec<(String, i64, i64)> = (0..500).map(|nth| (format!("user-{step}-{nth}"), step, nth)).collect();
        let mut rows: Vec<(&str, i64, i64)> = rows.iter().map(|row| (row.0.as_str(), row.1, row.2)).collect();
        rows.push((SECRET, step, step));
        write(&store, view, &rows, table(step), Commit::Cursor { version: step, now: step }).expect("rows");
        store.inner().db.flush_cf(store.inner().rows().expect("rows")).expect("a file");
    }
    write(&store, view, &[(SECRET, 9, 9)], Origin::Push, Commit::None).expect("a push");
    assert_eq!(look(&store, view, &[SECRET, "user-0-7"]), [Some((9, 9)), Some((0, 7))]);
    let before = holding(store.path(), SECRET.as_bytes());
    assert!(before.iter().any(|file| file.ends_with(".log")), "the log has it: {before:?}");
    assert!(before.iter().any(|file| file.ends_with(".sst")), "files have it: {before:?}");
    assert!(before.iter().any(|file| file.starts_with("MANIFEST")), "the manifest has it: {before:?}");

    let grave = key(SECRET).grave(100).expect("a grave");
    store.bury(&grave).expect("buried");
    let erased = store.erase(&key(SECRET)).expect("erased");
    assert_eq!(erased.iter().map(|erased| (erased.view.as_str(), erased.rows)).collect::<Vec<_>>(), [("v", 1)]);
    assert_eq!(look(&store, view, &[SECRET, "user-0-7", "user-3-499"]), [None, Some((0, 7)), Some((3, 499))]);
    assert_eq!(holding(store.path(), SECRET.as_bytes()), Vec::<String>::new());

    let late = write(&store, view, &[(SECRET, 99, 1), ("user-0-7", 99, 1)], Origin::Push, Commit::None).expect("taken");
    assert_eq!(late, Written { written: 1, kept: 1, waiting: 0 });
    assert_eq!(look(&store, view, &[SECRET, "user-0-7"]), [None, Some((99, 1))]);
    store.reopen();
    let view = store.register(&simple()).expect("a view");
    assert_eq!(store.graves(), [grave]);
    assert_eq!(write(&store, view, &[(SECRET, 99, 1)], table(7), Commit::None).expect("taken").written, 0);
    let mut load = store.begin_full(view, 8, 8).expect("begun");
    add(&mut load, &[(SECRET, 99, 1), ("user-0-7", 100, 2)], 8);
    store.finish_full(load, 8, 8).expect("flipped");
    assert_eq!(look(&store, view, &[SECRET, "user-0-7"]), [None, Some((100, 2))]);
    assert_eq!(store.stats().refused_erased, 2);
    // What happens after the erasure is a new entity's.
    write(&store, view, &[(SECRET, 100, 3)], Origin::Push, Commit::None).expect("a push");
    assert_eq!(look(&store, view, &[SECRET]), [Some((100, 3))]);
}

#[test]
fn an_entity_is_erased_from_views_that_it_shares_with_others() {
    let mut store = TempStore::new(Settings::default());
    let both = |name: &str, keys: &[(&str, &str)]| view(name, keys, &[("n", "int64")]);
    let first = store.register(&both("first", &[("user", "string"), ("shop", "int64")])).expect("a view");
    let second = store.register(&both("second", &[("shop", "int64"), ("user", "string")])).expect("a view");
    let alone = store.register(&both("alone", &[("shop", "int64")])).expect("a view");
    let put = |id, keys: &[ArrayRef]| {
        let (event, features) = (times([1, 2, 3]), [ints([1, 2, 3])]);
        let rows = Rows { keys, event: &event, created: None, features: &features, origin: table(1) };
        store.write(id, rows, Commit::None).expect("rows")
    };
    let users = || strings([SECRET, "other", SECRET]);
    put(first, &[users(), ints([1, 1, 2])]);
    put(second, &[ints([1, 1, 2]), users()]);
    put(alone, &[ints([1, 2, 3])]);
    store.bury(&key(SECRET).grave(50).expect("a grave")).expect("buried");
    let erased = store.erase(&key(SECRET)).expect("erased");
    let told: Vec<_> = erased.iter().map(|erased| (erased.view.as_str(), erased.rows)).collect();
    assert_eq!(told, [("first", 2), ("second", 2)]);
    assert_eq!(store.digest(first).expect("a digest").rows, 1);
    assert_eq!(store.digest(second).expect("a digest").rows, 1);
    assert_eq!(store.digest(alone).expect("a digest").rows, 3);
    assert_eq!(holding(store.path(), SECRET.as_bytes()), Vec::<String>::new());
    assert_eq!(put(first, &[users(), ints([1, 1, 2])]), Written { written: 1, kept: 2, waiting: 0 });
    assert_eq!(put(second, &[ints([1, 1, 2]), users()]), Written { written: 1, kept: 2, waiting: 0 });
    // Another entity may have a key of the same name.
    let mut stranger = key(SECRET);
    stranger.entity = "somebody else".to_owned();
    assert_ne!(stranger.digest().expect("a digest"), key(SECRET).digest().expect("a digest"));
    store.reopen();
}

#[test]
fn a_key_that_widened_is_refused_still() {
    let store = TempStore::new(Settings::default());
    let narrow = store.register(&view("v", &[("user", "int32")], &[("n", "int64")])).expect("a view");
    let user = |data_type: &str| EntityKey {
        project: "p".to_owned(),
        entity: "entity of user".to_owned(),
        keys: columns(&[("user", data_type)]),
        values: vec![ints([42])],
    };
    let put = |id| {
        let (event, keys, features) = (times([1, 1]), [ints([42, 43])], [ints([1, 2])]);
        let rows = Rows { keys: &keys, event: &event, created: None, features: &features, origin: Origin::Push };
        store.write(id, rows, Commit::None).expect("rows").written
    };
    assert_eq!(put(narrow), 2);
    store.bury(&user("int32").grave(9).expect("a grave")).expect("buried");
    assert_eq!(store.erase(&user("int32")).expect("erased")[0].rows, 1);
    assert_eq!(put(narrow), 1);
    let wide = store.register(&view("v", &[("user", "int64")], &[("n", "int64")])).expect("a view");
    assert_eq!(put(wide), 1);
    assert_eq!(user("int32").digest().expect("a digest"), user("int64").digest().expect("a digest"));
}

#[test]
fn a_refresh_that_began_before_an_erasure_is_not_put_in_place() {
    let store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    let mut load = store.begin_full(view, 2, 2).expect("begun");
    add(&mut load, &[(SECRET, 1, 1), ("other", 1, 1)], 2);
    store.bury(&key(SECRET).grave(50).expect("a grave")).expect("buried");
    store.erase(&key(SECRET)).expect("erased");
    let refused = store.finish_full(load, 2, 2).expect_err("refused");
    assert!(matches!(refused, Error::NoRefresh(_)), "{refused:?}");
    assert_eq!(look(&store, view, &[SECRET, "other"]), [None, None]);
}

/// Random histories of several users with erasures in between, against a model, with the store opened again now and then.
#[test]
fn histories_with_erasures_keep_what_the_model_keeps() {
    for_each_seed(cases(40).min(400), |rng, _| {
        let mut store = TempStore::new(Settings::default());
        let names: Vec<String> = (0..6).map(|nth| format!("{SECRET}-{nth}")).collect();
        let mut model: Vec<Option<(i64, i64)>> = vec![None; names.len()];
        let mut erased: Vec<i64> = vec![i64::MIN; names.len()];
        for step in 0..rng.random_range(5..25) {
            let view = store.register(&simple()).expect("a view");
            match rng.random_range(0..10) {
                0 => {
                    let nth = rng.random_range(0..names.len());
                    let at = rng.random_range(0..30);
                    store.bury(&key(&names[nth]).grave(at).expect("a grave")).expect("buried");
                    store.erase(&key(&names[nth])).expect("erased");
                    model[nth] = None;
                    erased[nth] = erased[nth].max(at);
                }
                1 => store.reopen(),
                _ => {
                    let rows: Vec<(usize, i64, i64)> = (0..rng.random_range(1..8))
                        .map(|nth| (rng.random_range(0..names.len()), rng.random_range(0..30), step * 100 + nth))
                        .collect();
                    let given: Vec<_> = rows.iter().map(|row| (names[row.0].as_str(), row.1, row.2)).collect();
                    let full = rng.random_bool(0.2);
                    match full {
                        true => {
                            let mut load = store.begin_full(view, step, step).expect("begun");
                            add(&mut load, &given, step);
                            store.finish_full(load, step, step).expect("flipped");
                            model.fill(None);
                        }
                        false => drop(write(&store, view, &given, table(step), Commit::None).expect("rows")),
                    }
                    for (nth, event, value) in rows {
                        let newer = model[nth].is_none_or(|(known, _)| event >= known);
                        if event >= erased[nth] && newer {
                            model[nth] = Some((event, value));
                        }
                    }
                }
            }
            let view = store.register(&simple()).expect("a view");
            let keys: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(look(&store, view, &keys), model);
        }
        let gone: Vec<&String> =
            names.iter().zip(&model).filter(|(_, row)| row.is_none()).map(|(name, _)| name).collect();
        for name in gone {
            store.bury(&key(name).grave(i64::MAX).expect("a grave")).expect("buried");
            store.erase(&key(name)).expect("erased");
            assert_eq!(holding(store.path(), name.as_bytes()), Vec::<String>::new());
        }
        store.reopen();
    });
}

#[test]
fn every_family_is_flushed_by_an_erasure() {
    let store = TempStore::new(Settings::default());
    let mut names = DB::list_cf(&Options::default(), store.path().join("rocks")).expect("families");
    let mut listed = FAMILIES.map(str::to_owned).to_vec();
    names.sort();
    listed.sort();
    assert_eq!(
        names, listed,
        "a new family belongs into `FAMILIES`, and into `HOLDERS` where it holds something of entities"
    );
}

#[test]
fn nothing_of_it_is_left_in_any_family() {
    let folder = tempfile::tempdir().expect("a folder");
    {
        let store = Store::open(folder.path(), &Settings::default()).expect("a store");
        let view = store.register(&simple()).expect("a view");
        write(&store, view, &[(SECRET, 1, 1), ("other", 1, 1)], Origin::Push, Commit::None).expect("rows");
    }
    assert!(in_any_family(folder.path(), SECRET.as_bytes()));
    {
        let store = Store::open(folder.path(), &Settings::default()).expect("a store");
        store.bury(&key(SECRET).grave(5).expect("a grave")).expect("buried");
        store.erase(&key(SECRET)).expect("erased");
    }
    assert!(!in_any_family(folder.path(), SECRET.as_bytes()));
    assert!(in_any_family(folder.path(), b"other"));
    assert_eq!(holding(folder.path(), SECRET.as_bytes()), Vec::<String>::new());
}
