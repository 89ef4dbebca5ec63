//! Corrections against what the table of the module's documentation says, restated, over random histories; and that a repetition
//! changes no byte.

use std::collections::BTreeMap;

use rand::RngExt;

use super::*;
use crate::testing::{cases, for_each_seed};

/// Rows of one version of the table: key, event time, value.
type Group = (i64, Vec<(String, i64, i64)>);

/// All bytes of a row: its key's and its own.
type Bytes = (Box<[u8]>, Box<[u8]>);

/// Event time, value, and whether it was pushed.
type Stored = (i64, i64, bool);

fn correct(store: &Store, view: ViewId, groups: &[Group], gone: &[String], commit: Commit) -> Result<Corrected> {
    let keys: Vec<_> = groups.iter().map(|(_, rows)| [strings(rows.iter().map(|row| row.0.as_str()))]).collect();
    let events: Vec<_> = groups.iter().map(|(_, rows)| times(rows.iter().map(|row| row.1))).collect();
    let features: Vec<_> = groups.iter().map(|(_, rows)| [ints(rows.iter().map(|row| row.2))]).collect();
    let rows: Vec<Rows<'_>> = groups
        .iter()
        .enumerate()
        .map(|(nth, (version, _))| Rows {
            keys: &keys[nth],
            event: &events[nth],
            created: None,
            features: &features[nth],
            origin: table(*version),
        })
        .collect();
    let gone_columns = [strings(gone.iter().map(String::as_str))];
    store.correct(view, &Corrections { rows: &rows, gone: &gone_columns, gone_count: gone.len() }, commit)
}

/// All bytes of the rows.
fn bytes(store: &Store) -> Vec<Bytes> {
    let inner = store.inner();
    let rows = inner.rows().expect("rows");
    inner.db.iterator_cf(rows, rocksdb::IteratorMode::Start).map(|row| row.expect("a row")).collect()
}

#[test]
fn table_rows_are_replaced_and_newer_pushes_stay() {
    let store = TempStore::new(Settings { durability: Durability::Fast, ..Settings::default() });
    for_each_seed(cases(200), |rng, seed| {
        let view = store.register(&ViewLayout { view: format!("v{seed}"), ..simple() }).expect("a view");
        let names: Vec<String> = (0..8).map(|nth| format!("key {nth}")).collect();
        let mut model: BTreeMap<&str, Stored> = BTreeMap::new();
        for step in 0..12_i64 {
            let name = names[rng.random_range(0..names.len())].as_str();
            let (event, pushed) = (rng.random_range(0..6), rng.random_bool(0.5));
            let origin = if pushed { Origin::Push } else { table(step) };
            write(&store, view, &[(name, event, step)], origin, Commit::None).expect("a row");
            if model.get(name).is_none_or(|stored| event >= stored.0) {
                model.insert(name, (event, step, pushed));
            }
        }
        let (mut first, mut second, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        let mut replaced = 0;
        for name in &names {
            match rng.random_range(0..4) {
                0 => continue,
                1 => {
                    gone.push(name.clone());
                    if model.get(name.as_str()).is_some_and(|stored| !stored.2) {
                        model.remove(name.as_str());
                    }
                }
                _ => {
                    let row = (name.clone(), rng.random_range(0..6), rng.random_range(100..200));
                    if model.get(name.as_str()).is_none_or(|stored| !stored.2 || row.1 >= stored.0) {
                        model.insert(name, (row.1, row.2, false));
                        replaced += 1;
                    }
                    if rng.random_bool(0.5) { first.push(row) } else { second.push(row) }
                }
            }
        }
        let groups = [(20, first), (21, second)];
        let cursor = Commit::Cursor { version: 30, now: 1 };
        let corrected = correct(&store, view, &groups, &gone, cursor).expect("corrected");
        assert_eq!(corrected.replaced, replaced);
        let found: Vec<_> = look(&store, view, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let expected: Vec<_> =
            names.iter().map(|name| model.get(name.as_str()).map(|stored| (stored.0, stored.1))).collect();
        assert_eq!(found, expected);
        assert_eq!(store.cursor(view).expect("known").expect("a cursor").version, 30);
        let before = bytes(&store);
        let again = correct(&store, view, &groups, &gone, cursor).expect("corrected again");
        assert_eq!((again.replaced, again.deleted), (0, 0));
        assert_eq!(bytes(&store), before);
    });
}

#[test]
fn a_correction_of_nothing_moves_the_cursor() {
    let store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    let none = store.correct(view, &Corrections::default(), Commit::Cursor { version: 3, now: 1 }).expect("corrected");
    assert_eq!(none, Corrected::default());
    assert_eq!(store.cursor(view).expect("known").expect("a cursor").version, 3);
}

#[test]
fn the_table_of_a_cursor_is_noted_and_goes_with_the_view() {
    let mut store = TempStore::new(Settings::default());
    let view = store.register(&simple()).expect("a view");
    assert_eq!(store.table_of(view).expect("known"), None);
    store.note_table(view, "one").expect("noted");
    let load = store.begin_full(view, 4, 1).expect("begun").of_table(Some("two"));
    assert_eq!(store.table_of(view).expect("known").as_deref(), Some("one"), "until its rows are in place");
    store.finish_full(load, 4, 1).expect("flipped");
    assert_eq!(store.table_of(view).expect("known").as_deref(), Some("two"), "in the same write as the cursor");
    store.reopen();
    let view = store.register(&simple()).expect("the same");
    assert_eq!(store.table_of(view).expect("known").as_deref(), Some("two"));
    store.remove("p", "v").expect("removed");
    assert_eq!(store.table_of(view).expect_err("gone").kind(), ErrorKind::NotFound);
    let view = store.register(&simple()).expect("a view again");
    assert_eq!(store.table_of(view).expect("known"), None);
    store.wait_for_purges();
}
