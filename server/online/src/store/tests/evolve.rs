//! Views whose features change: rows of old and new layouts side by side answer with what each feature was, never with what another
//! one of its name was; and only changes that rows can't be read across ask for a full refresh.

use arrow_array::{Array, Float64Array, Int32Array};

use super::*;
use crate::reply::{Status, Values};
use crate::testing::columns;

fn with(features: &[(&str, &str)]) -> ViewLayout {
    ViewLayout { features: columns(features), ..simple() }
}

fn renames(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(new, old)| ((*new).to_owned(), (*old).to_owned())).collect()
}

fn put(store: &Store, view: ViewId, user: &str, at: i64, features: &[ArrayRef]) {
    let (keys, event) = ([strings([user])], times([at]));
    let rows = Rows { keys: &keys, event: &event, created: None, features, origin: table(at) };
    assert_eq!(store.write(view, rows, Commit::None).expect("a row").written, 1);
}

fn ints32(value: i32) -> ArrayRef {
    Arc::new(Int32Array::from(vec![value]))
}

/// What a lookup says of one feature of one user: its value as text, or its status.
fn told(store: &Store, view: ViewId, user: &str, feature: &str) -> String {
    let features = vec![LookupFeature { name: feature.to_owned(), output: feature.to_owned(), default: None }];
    let used = LookupView { view, key_columns: vec![0], alias: "v".to_owned(), features, serve_ttl: None };
    let plan = store.compile(&LookupSpec { views: vec![used] }).expect("a plan");
    let reply = store.lookup(&plan, &[strings([user])], 0, &LookupOptions::default()).expect("an answer");
    let found = reply.feature(0);
    if !found.present(0) {
        let status = found.statuses.map_or(Status::Present as u8, |statuses| statuses[0]);
        return format!("status {status}");
    }
    match found.values {
        Values::Int64s(values) => values.iter().next().expect("a value").to_string(),
        Values::Doubles(values) => values.iter().next().expect("a value").to_string(),
        Values::Int32s(values) => values.iter().next().expect("a value").to_string(),
        Values::Strings(values) => String::from_utf8_lossy(values.iter().next().expect("a value")).into_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_renamed_feature_keeps_what_is_stored() {
    let mut store = TempStore::new(Settings::default());
    let before = store.register(&with(&[("temp", "int64"), ("wind", "int64")])).expect("a view");
    put(&store, before, "a", 1, &[ints([10]), ints([20])]);
    let rows = Commit::Cursor { version: 1, now: 1 };
    write_nothing(&store, before, rows);
    let renamed = renames(&[("celsius", "temp")]);
    let after = with(&[("celsius", "int64"), ("wind", "int64")]);
    for _ in 0..2 {
        let view = store.register_renamed(&after, &renamed).expect("the view");
        assert_eq!(told(&store, view, "a", "celsius"), "10");
        assert_eq!(told(&store, view, "a", "wind"), "20");
        assert!(store.cursor(view).expect("known").expect("a cursor").layout_current, "nothing has to be read again");
        store.reopen();
    }
    let view = store.register_renamed(&after, &renamed).expect("the view");
    put(&store, view, "b", 2, &[ints([11]), ints([21])]);
    assert_eq!(told(&store, view, "b", "celsius"), "11");
    // The old name stands for something else now.
    let third = with(&[("celsius", "int64"), ("wind", "int64"), ("temp", "int64")]);
    let view = store.register_renamed(&third, &renamed).expect("the view");
    assert_eq!(told(&store, view, "a", "celsius"), "10");
    assert_ne!(told(&store, view, "a", "temp"), "10");
    assert!(!store.cursor(view).expect("known").expect("a cursor").layout_current);
}

fn write_nothing(store: &Store, view: ViewId, commit: Commit) {
    let (keys, event) = ([strings([])], times(Vec::<i64>::new()));
    let features = [ints(Vec::<i64>::new()), ints(Vec::<i64>::new())];
    let rows = Rows { keys: &keys, event: &event, created: None, features: &features, origin: table(1) };
    store.write(view, rows, commit).expect("a cursor");
}

#[test]
fn a_name_that_is_used_again_does_not_answer_with_what_it_was() {
    for again in ["int64", "int32", "string"] {
        let mut store = TempStore::new(Settings::default());
        let first = store.register(&with(&[("n", "int64"), ("score", "int32")])).expect("a view");
        put(&store, first, "a", 1, &[ints([1]), ints32(77)]);
        let dropped = store.register(&with(&[("n", "int64")])).expect("the view");
        assert_eq!(told(&store, dropped, "a", "n"), "1");
        store.reopen();
        let back = store.register(&with(&[("n", "int64"), ("score", again)])).expect("the view");
        assert_eq!(told(&store, back, "a", "n"), "1");
        assert!(
            told(&store, back, "a", "score").starts_with("status"),
            "{again}: {}",
            told(&store, back, "a", "score")
        );
        let value: ArrayRef = match again {
            "int64" => ints([5]),
            "int32" => ints32(5),
            _ => strings(["5"]),
        };
        put(&store, back, "b", 1, &[ints([2]), value]);
        assert_eq!(told(&store, back, "b", "score"), "5");
        assert_eq!(told(&store, back, "b", "n"), "2");
    }
}

#[test]
fn rows_of_narrower_types_are_widened_and_others_fail_by_name() {
    let mut store = TempStore::new(Settings::default());
    let narrow = store.register(&with(&[("n", "int32"), ("x", "float32")])).expect("a view");
    let float: ArrayRef = Arc::new(arrow_array::Float32Array::from(vec![0.5]));
    put(&store, narrow, "a", 1, &[ints32(-7), float]);
    let wide = store.register(&with(&[("n", "int64"), ("x", "float64")])).expect("the view");
    let double: ArrayRef = Arc::new(Float64Array::from(vec![1.5]));
    put(&store, wide, "b", 1, &[ints([1 << 40]), double]);
    store.reopen();
    let wide = store.register(&with(&[("n", "int64"), ("x", "float64")])).expect("the view");
    assert_eq!([told(&store, wide, "a", "n"), told(&store, wide, "a", "x")], ["-7", "0.5"]);
    assert_eq!(
        [told(&store, wide, "b", "n"), told(&store, wide, "b", "x")],
        [(1_i64 << 40).to_string(), "1.5".to_owned()]
    );
    let scanned = store.scan(wide, 10).expect("a scan").next().expect("rows").expect("readable");
    assert_eq!(scanned.features[0].len(), 2);
    let text = store.register(&with(&[("n", "string"), ("x", "float64")])).expect("the view");
    let failed = format!("status {}", Status::Failed as u8);
    assert_eq!(told(&store, text, "a", "n"), failed, "bytes of one type are never read as another");
    assert_eq!(told(&store, text, "a", "x"), "0.5");
}

#[test]
fn only_what_rows_lack_asks_for_a_refresh() {
    let check = |next: &[(&str, &str)], renamed: &[(&str, &str)], current: bool| {
        let store = TempStore::new(Settings::default());
        let first = store.register(&with(&[("n", "int32"), ("m", "int64")])).expect("a view");
        let (keys, event, features) = ([strings(["a"])], times([1]), [ints32(1), ints([1])]);
        let rows = Rows { keys: &keys, event: &event, created: None, features: &features, origin: table(1) };
        store.write(first, rows, Commit::Cursor { version: 1, now: 1 }).expect("rows");
        let view = store.register_renamed(&with(next), &renames(renamed)).expect("the view");
        assert_eq!(store.cursor(view).expect("known").expect("a cursor").layout_current, current, "{next:?}");
    };
    check(&[("n", "int32"), ("m", "int64")], &[], true);
    check(&[("m", "int64"), ("n", "int32")], &[], true);
    check(&[("n", "int32")], &[], true);
    check(&[("n", "int64"), ("m", "int64")], &[], true);
    check(&[("k", "int64"), ("m", "int64")], &[("k", "n")], true);
    check(&[("n", "int32"), ("m", "int64"), ("o", "bool")], &[], false);
    check(&[("n", "string"), ("m", "int64")], &[], false);
    check(&[("k", "int32"), ("m", "int64")], &[], false);
}

/// A caller that holds an older layout, such as a server that has not seen the newest definitions, writes and reads beside one that
/// has.
#[test]
fn old_and_new_callers_meet() {
    let store = TempStore::new(Settings::default());
    let old = store.register(&with(&[("n", "int64"), ("gone", "int64")])).expect("a view");
    put(&store, old, "a", 1, &[ints([1]), ints([2])]);
    let new = store.register_renamed(&with(&[("number", "int64"), ("more", "string")]), &renames(&[("number", "n")]));
    let new = new.expect("the view");
    put(&store, new, "b", 1, &[ints([3]), strings(["x"])]);
    put(&store, old, "c", 1, &[ints([4]), ints([5])]);
    let numbers: Vec<String> = ["a", "b", "c"].iter().map(|user| told(&store, new, user, "number")).collect();
    assert_eq!(numbers, ["1", "3", "4"]);
    let numbers: Vec<String> = ["a", "b", "c"].iter().map(|user| told(&store, old, user, "n")).collect();
    assert_eq!(numbers, ["1", "3", "4"]);
    assert_eq!(told(&store, new, "b", "more"), "x");
    assert!(told(&store, new, "c", "more").starts_with("status"));
    assert_eq!(told(&store, old, "c", "gone"), "5");
    assert!(told(&store, old, "b", "gone").starts_with("status"));
    let committed = Commit::Cursor { version: 9, now: 9 };
    let (keys, event, features) = ([strings(["d"])], times([1]), [ints([1]), ints([1])]);
    let rows = Rows { keys: &keys, event: &event, created: None, features: &features, origin: table(9) };
    let refused = store.write(old, rows, committed).expect_err("refused");
    assert!(matches!(refused, Error::Outdated(_)), "a cursor of the old layout would vouch for rows without `more`");
}

/// Stores of releases without numbers go by name.
#[test]
fn layouts_without_numbers_are_read_by_name() {
    let mut store = TempStore::new(Settings::default());
    let first = store.register(&with(&[("n", "int64"), ("m", "int64")])).expect("a view");
    put(&store, first, "a", 1, &[ints([1]), ints([2])]);
    let inner = store.inner();
    let numbered: Vec<Vec<u8>> = inner
        .db
        .iterator(rocksdb::IteratorMode::Start)
        .map(|entry| entry.expect("an entry").0.to_vec())
        .filter(|key| key.first() == Some(&b'n'))
        .collect();
    assert_eq!(numbered.len(), 1);
    numbered.iter().for_each(|key| inner.db.delete(key).expect("deleted"));
    store.reopen();
    let view = store.register(&with(&[("m", "int64"), ("n", "int64")])).expect("the view");
    assert_eq!([told(&store, view, "a", "n"), told(&store, view, "a", "m")], ["1", "2"]);
}
