//! Lookups: the table of statuses, what is refused, and rows that outlive changes of their view.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int32Array, StringArray};
use serde_json::json;
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::types::DataType;

use super::*;
use crate::ViewLayout;
use crate::reply::{FeatureReply, Status, Values};
use crate::row::Origin;
use crate::store::{Commit, Rows, Settings};
use crate::testing::{TempStore, ints, strings, times, view};

const NOW: Micros = 1_000;

fn asked(name: &str) -> LookupFeature {
    LookupFeature { name: name.to_owned(), output: name.to_owned(), default: None }
}

fn spec(view: ViewId, key_columns: &[usize], features: Vec<LookupFeature>, serve_ttl: Option<Micros>) -> LookupSpec {
    LookupSpec {
        views: vec![LookupView { view, key_columns: key_columns.to_vec(), alias: "v".to_owned(), features, serve_ttl }],
    }
}

/// One push of rows without created times.
fn push(store: &TempStore, view: ViewId, keys: &[ArrayRef], event: &[Micros], features: &[ArrayRef]) {
    let event = times(event.iter().copied());
    let rows = Rows { keys, event: &event, created: None, features, origin: Origin::Push };
    store.write(view, rows, Commit::None).expect("a push");
}

fn with_cache_and_without(test: impl Fn(TempStore)) {
    for entity_cache_bytes in [0, 1 << 20] {
        test(TempStore::new(Settings { entity_cache_bytes, ..Settings::default() }));
    }
}

/// (status, reason, value) of each row.
fn shown(feature: FeatureReply<'_>) -> Vec<(u8, u8, Option<i64>)> {
    let Values::Int64s(values) = feature.values else { panic!("not int64: {feature:?}") };
    let reason = |row: usize| feature.reasons.map_or(0, |reasons| reasons[row]);
    let value = |(row, value)| (feature.status(row), reason(row), feature.present(row).then_some(value));
    values.iter().enumerate().map(value).collect()
}

fn texts(feature: FeatureReply<'_>) -> Vec<String> {
    let Values::Strings(values) = feature.values else { panic!("not strings: {feature:?}") };
    values.iter().map(|text| String::from_utf8(text.to_vec()).expect("UTF-8")).collect()
}

const PRESENT: u8 = Status::Present as u8;
const NULL: u8 = Status::Null as u8;
const NOT_FOUND: u8 = Status::NotFound as u8;
const EXPIRED: u8 = Status::Expired as u8;
const DEFAULTED: u8 = Status::Defaulted as u8;
const FAILED: u8 = Status::Failed as u8;

#[test]
fn statuses() {
    with_cache_and_without(|store| {
        let view = store.register(&view("v", &[("user", "string")], &[("n", "int64")])).expect("a view");
        let keys = strings(["fresh", "null", "old", "old null", "edge"]);
        let values = ints([Some(1), None, Some(3), None, Some(5)]);
        push(&store, view, &[keys], &[900, 900, 100, 100, 500], &[values]);
        let request = [strings(["fresh", "null", "old", "old null", "nobody", "edge", "fresh"])];
        let lookup = |default: Option<serde_json::Value>, return_expired: bool| {
            let spec = spec(view, &[0], vec![LookupFeature { default, ..asked("n") }], Some(500));
            let plan = store.compile(&spec).expect("a plan");
            let options = LookupOptions { return_expired, include_times: true, ..LookupOptions::default() };
            // Twice: from the store, then from the cache.
            let first = store.lookup(&plan, &request, NOW, &options).expect("an answer");
            let again = store.lookup(&plan, &request, NOW, &options).expect("an answer");
            assert_eq!(shown(first.feature(0)), shown(again.feature(0)));
            assert_eq!(again.views[0].event_times, [900, 900, 100, 100, i64::MIN, 500, 900]);
            assert_eq!(again.views[0].ages, [100, 100, 900, 900, -1, 500, 100]);
            assert_eq!(again.rows, 7);
            shown(again.feature(0))
        };
        let fresh = (PRESENT, 0, Some(1));
        let edge = (PRESENT, 0, Some(5));
        assert_eq!(
            lookup(None, false),
            [fresh, (NULL, 0, None), (EXPIRED, 0, None), (EXPIRED, 0, None), (NOT_FOUND, 0, None), edge, fresh]
        );
        assert_eq!(
            lookup(None, true),
            [fresh, (NULL, 0, None), (EXPIRED, 0, Some(3)), (EXPIRED, 0, None), (NOT_FOUND, 0, None), edge, fresh]
        );
        let stand_in = |reason| (DEFAULTED, reason, Some(-7));
        assert_eq!(
            lookup(Some(json!(-7)), false),
            [fresh, stand_in(NULL), stand_in(EXPIRED), stand_in(EXPIRED), stand_in(NOT_FOUND), edge, fresh]
        );
        assert_eq!(
            lookup(Some(json!(-7)), true),
            [fresh, stand_in(NULL), (EXPIRED, 0, Some(3)), stand_in(EXPIRED), stand_in(NOT_FOUND), edge, fresh]
        );
    });
}

#[test]
fn full_columns_carry_no_bitmaps() {
    with_cache_and_without(|store| {
        let view = store.register(&view("v", &[("user", "string")], &[("n", "int64")])).expect("a view");
        push(&store, view, &[strings(["a"])], &[1], &[ints([1])]);
        let plan = store.compile(&spec(view, &[0], vec![asked("n")], None)).expect("a plan");
        let reply = store.lookup(&plan, &[strings(["a", "a"])], NOW, &LookupOptions::default()).expect("an answer");
        let feature = reply.feature(0);
        assert_eq!((feature.held, feature.statuses, feature.reasons), (None, None, None));
        assert!(reply.views.is_empty());
    });
}

#[test]
fn requests_that_are_refused() {
    with_cache_and_without(|store| {
        let keys = [("user", "int64"), ("shop", "string")];
        let view = store.register(&view("v", &keys, &[("n", "int64")])).expect("a view");
        let plan = store.compile(&spec(view, &[1, 0], vec![asked("n")], None)).expect("a plan");
        let check = |keys: &[ArrayRef], expect: &str| {
            let error = store.lookup(&plan, keys, NOW, &LookupOptions::default()).expect_err("refused");
            assert_eq!(error.to_string(), expect);
            assert_eq!(error.kind(), ErrorKind::Invalid);
        };
        check(&[strings(["s"])], "1 key columns were given, 2 are needed");
        check(&[strings(["s"]), ints([1, 2])], "key columns have 1 and 2 rows; give all the same length");
        check(&[ints([1]), strings(["s"])], "key `user` is int64, but string was given; cast it");
        let null: ArrayRef = Arc::new(StringArray::from(vec![Some("s"), None]));
        check(&[null, ints([1, 2])], "key `shop` is null in row 1; leave such rows out");
        let empty =
            store.lookup(&plan, &[strings([]), ints([0_i64; 0])], NOW, &LookupOptions::default()).expect("no rows");
        assert_eq!(empty.rows, 0);

        let refused = |spec: &LookupSpec, kind: ErrorKind, expect: &str| {
            let error = store.compile(spec).expect_err("refused");
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, expect));
        };
        let unknown = spec(view, &[0, 1], vec![asked("m")], None);
        let message = "view `v` has no feature `m` in the online store; apply its definition again";
        refused(&unknown, ErrorKind::NotFound, message);
        let few = spec(view, &[0], vec![asked("n")], None);
        refused(&few, ErrorKind::Invalid, "view `v` has 2 keys, 1 key columns were named");
        let bad = LookupFeature { default: Some(json!("x")), ..asked("n") };
        let message = "the default of feature `n` is not int64: \"x\"; correct the definition";
        refused(&spec(view, &[0, 1], vec![bad], None), ErrorKind::Invalid, message);
    });
}

/// Several views in one request: shared and separate keys, one view twice, one without keys, several projects.
#[test]
fn views_share_entities_and_stay_apart() {
    with_cache_and_without(|store| {
        let register = |layout| store.register(&layout).expect("a view");
        let a = register(view("a", &[("user", "string")], &[("n", "int64")]));
        let b = register(view("b", &[("user", "string")], &[("m", "int64")]));
        let global = register(view("g", &[], &[("rate", "int64")]));
        let elsewhere =
            register(ViewLayout { project: "q".to_owned(), ..view("a", &[("user", "string")], &[("n", "int64")]) });
        assert_ne!(a, elsewhere);
        push(&store, a, &[strings(["x", "y"])], &[1, 1], &[ints([1, 2])]);
        push(&store, b, &[strings(["x"])], &[1], &[ints([10])]);
        push(&store, global, &[], &[1], &[ints([100])]);
        push(&store, elsewhere, &[strings(["x"])], &[1], &[ints([-1])]);
        let used = |view, key_columns: &[usize], feature: &str| LookupView {
            view,
            key_columns: key_columns.to_vec(),
            alias: feature.to_owned(),
            features: vec![asked(feature)],
            serve_ttl: None,
        };
        let views = vec![used(a, &[0], "n"), used(b, &[0], "m"), used(global, &[], "rate"), used(a, &[1], "n")];
        let plan = store.compile(&LookupSpec { views }).expect("a plan");
        for _ in 0..2 {
            let keys = [strings(["x", "y"]), strings(["y", "z"])];
            let reply = store.lookup(&plan, &keys, NOW, &LookupOptions::default()).expect("an answer");
            let columns: Vec<_> = reply.features().map(shown).collect();
            let present = |value| (PRESENT, 0, Some(value));
            assert_eq!(columns[0], [present(1), present(2)]);
            assert_eq!(columns[1], [present(10), (NOT_FOUND, 0, None)]);
            assert_eq!(columns[2], [present(100), present(100)]);
            assert_eq!(columns[3], [present(2), (NOT_FOUND, 0, None)]);
        }
        let plan = store.compile(&LookupSpec { views: vec![used(global, &[], "rate")] }).expect("a plan");
        let reply = store.lookup(&plan, &[], NOW, &LookupOptions::default()).expect("an answer");
        assert_eq!(shown(reply.feature(0)), [(PRESENT, 0, Some(100))]);
    });
}

/// Rows keep what they have when features are added, dropped, reordered, widened or changed.
#[test]
fn rows_outlive_changes_of_their_view() {
    with_cache_and_without(|mut store| {
        let keys = [("user", "string")];
        let old =
            store.register(&view("v", &keys, &[("a", "int32"), ("b", "float64"), ("c", "string")])).expect("a view");
        let features: [ArrayRef; 3] =
            [Arc::new(Int32Array::from(vec![7])), Arc::new(Float64Array::from(vec![0.5])), strings(["text"])];
        push(&store, old, &[strings(["x"])], &[1], &features);
        let event = times([2]);
        let none: [ArrayRef; 3] =
            [Arc::new(Int32Array::from(vec![8])), Arc::new(Float64Array::from(vec![1.5])), strings(["more"])];
        let table = Rows {
            keys: &[strings(["z"])],
            event: &event,
            created: None,
            features: &none,
            origin: Origin::Table { version: 3 },
        };
        store.write(old, table, Commit::Cursor { version: 3, now: 9 }).expect("an increment");
        assert!(store.cursor(old).expect("known").is_some_and(|cursor| cursor.layout_current));
        let new =
            store.register(&view("v", &keys, &[("new", "int64"), ("b", "string"), ("a", "int64")])).expect("the view");
        assert_ne!(old, new);
        assert!(store.cursor(new).expect("known").is_some_and(|cursor| cursor.version == 3 && !cursor.layout_current));
        store.reopen();
        assert_eq!(
            store.register(&view("v", &keys, &[("new", "int64"), ("b", "string"), ("a", "int64")])).expect("again"),
            new
        );
        push(&store, new, &[strings(["y"])], &[1], &[ints([1]), strings(["s"]), ints([2])]);
        let plan = store.compile(&spec(new, &[0], vec![asked("a"), asked("b"), asked("new")], None)).expect("a plan");
        let reply = store.lookup(&plan, &[strings(["x", "y"])], NOW, &LookupOptions::default()).expect("an answer");
        assert_eq!(shown(reply.feature(0)), [(PRESENT, 0, Some(7)), (PRESENT, 0, Some(2))]);
        assert_eq!((reply.feature(1).status(0), reply.feature(1).status(1)), (FAILED, PRESENT));
        assert_eq!(shown(reply.feature(2)), [(NULL, 0, None), (PRESENT, 0, Some(1))]);
        let scanned: Vec<_> = store.scan(new, 2).expect("a scan").collect::<Result<_>>().expect("rows");
        assert_eq!(scanned.len(), 2);
        assert_eq!(&scanned[0].features[2], &ints([7, 2]), "widened");
        assert_eq!(scanned[1].origin, [Origin::Table { version: 3 }]);
        // The older registration still writes and reads.
        push(&store, old, &[strings(["y"])], &[5], &features);
        let plan = store.compile(&spec(old, &[0], vec![asked("c")], None)).expect("a plan");
        let reply = store.lookup(&plan, &[strings(["x", "y"])], NOW, &LookupOptions::default()).expect("an answer");
        assert_eq!(texts(reply.feature(0)), ["text", "text"]);
    });
}

/// The only value of a column.
fn one(values: Values<'_>) -> String {
    match values {
        Values::Doubles(values) => format!("{:?}", values.iter().next().expect("one")),
        Values::Floats(values) => format!("{:?}", values.iter().next().expect("one")),
        Values::Int64s(values) => format!("{:?}", values.iter().next().expect("one")),
        Values::Int32s(values) => format!("{:?}", values.iter().next().expect("one")),
        Values::Bools(values) => format!("{:?}", values[0] == 1),
        Values::Strings(values) => String::from_utf8(values.iter().next().expect("one").to_vec()).expect("UTF-8"),
        Values::Bytes(values) => format!("{:?}", values.iter().next().expect("one")),
        Values::Arrow(values) => format!("{values:?}"),
    }
}

/// Every kind of value comes out as its column.
#[test]
fn columns_of_every_type() {
    let types =
        ["bool", "int32", "float32", "float64", "string", "bytes", "timestamp", "date", "decimal(5,2)", "list<int64>"];
    let features: Vec<(String, String)> = types.iter().map(|of| (format!("f {of}"), (*of).to_owned())).collect();
    let features: Vec<(&str, &str)> = features.iter().map(|(name, of)| (name.as_str(), of.as_str())).collect();
    let defaults = [
        json!(true),
        json!(5),
        json!(1.5),
        json!(-0.0),
        json!("é"),
        json!("aGk="),
        json!("1970-01-01T00:00:01Z"),
        json!("1970-01-03"),
        json!("1.25"),
        json!([1, null]),
    ];
    with_cache_and_without(|store| {
        let view = store.register(&view("v", &[("user", "bytes")], &features)).expect("a view");
        let asked = features
            .iter()
            .zip(&defaults)
            .map(|((name, _), default)| LookupFeature { default: Some(default.clone()), ..asked(name) });
        let plan = store.compile(&spec(view, &[0], asked.collect(), None)).expect("a plan");
        let key: ArrayRef = Arc::new(arrow_array::BinaryArray::from_vec(vec![b"\0"]));
        let reply = store.lookup(&plan, &[key], NOW, &LookupOptions::default()).expect("an answer");
        let shown: Vec<String> = reply.features().map(|feature| one(feature.values)).collect();
        let decimal = "PrimitiveArray<Decimal128(5, 2)>\n[\n  125,\n]";
        assert_eq!(shown[..9], ["true", "5", "1.5", "-0.0", "é", "[104, 105]", "1000000", "2", decimal]);
        let Values::Arrow(list) = reply.feature(9).values else { panic!("a list") };
        assert_eq!(list.data_type(), &"list<int64>".parse::<DataType>().expect("a type").to_arrow());
        assert!(reply.features().all(|feature| feature.status(0) == DEFAULTED));
    });
}

/// Time that is over after so many looks at it.
fn patience(looks: u32) -> impl Fn() -> bool {
    let seen = std::cell::Cell::new(0);
    move || seen.replace(seen.get() + 1) >= looks
}

/// What there is no time to read is FAILED where that is allowed; nothing is invented, and what the cache has needs no time.
#[test]
fn a_lookup_runs_out_of_time() {
    with_cache_and_without(|store| {
        let view = store.register(&view("v", &[("user", "int64")], &[("n", "int64")])).expect("a view");
        push(&store, view, &[ints(0..40)], &[1; 40], &[ints(100..140)]);
        let with_default = LookupFeature { default: Some(json!(7)), ..asked("n") };
        let plan = store.compile(&spec(view, &[0], vec![with_default], None)).expect("a plan");
        let keys = [ints((0..41).rev())];
        let error =
            store.lookup_until(&plan, &keys, NOW, &LookupOptions::default(), &patience(1)).expect_err("too late");
        assert!(matches!(error, crate::Error::Deadline), "{error}");
        assert_eq!(error.kind(), ErrorKind::Deadline);
        let options = LookupOptions { allow_partial: true, include_times: true, ..LookupOptions::default() };
        let lookup = |looks| store.lookup_until(&plan, &keys, NOW, &options, &patience(looks)).expect("an answer");
        let whole = shown(lookup(100).feature(0));
        assert_eq!(whole[0], (DEFAULTED, NOT_FOUND, Some(7)));
        assert!(whole[1..].iter().rev().enumerate().all(|(n, row)| *row == (PRESENT, 0, Some(100 + n as i64))));
        let part = lookup(1);
        if store.stats().cache_hits > 0 {
            assert_eq!(shown(part.feature(0)), whole, "from the cache");
            return;
        }
        let read = shown(part.feature(0)).iter().zip(&whole).filter(|(part, whole)| part == whole).count();
        let failed = shown(part.feature(0)).iter().filter(|row| **row == (FAILED, 0, None)).count();
        assert_eq!((read, failed), (16, 25));
        assert_eq!(part.views[0].event_times.iter().filter(|time| **time == 1).count(), 16);
    });
}

/// Observations that come from elsewhere are answered as if they were stored.
#[test]
fn observations_are_answered_by_the_same_rules() {
    let store = TempStore::new(Settings::default());
    let features = [("n", "int64"), ("text", "string"), ("part", "int32")];
    let id = store.register(&view("v", &[("user", "int64")], &features)).expect("a view");
    let values: [ArrayRef; 3] =
        [ints([Some(1), None, Some(3)]), strings(["a", "b", "c"]), Arc::new(Int32Array::from(vec![5, 6, 7]))];
    push(&store, id, &[ints([1, 2, 3])], &[900, 900, 100], &values);
    let with_default = LookupFeature { default: Some(json!(-7)), ..asked("n") };
    let plan =
        store.compile(&spec(id, &[0], vec![asked("part"), with_default, asked("text")], Some(500))).expect("a plan");
    let observed = Observed {
        event: times([Some(900), Some(900), Some(100), None]),
        features: vec![
            ints([Some(1), None, Some(3), None]),
            Arc::new(StringArray::from(vec![Some("a"), Some("b"), Some("c"), None])),
            Arc::new(Int32Array::from(vec![Some(5), Some(6), Some(7), None])),
        ],
    };
    for return_expired in [false, true] {
        let options = LookupOptions { return_expired, include_times: true, ..LookupOptions::default() };
        let stored = store.lookup(&plan, &[ints([1, 2, 3, 4])], NOW, &options).expect("an answer");
        let given = store.answer(&plan, std::slice::from_ref(&observed), 4, NOW, &options).expect("an answer");
        let told = |reply: &Reply| format!("{:?} {:?}", reply.features().collect::<Vec<_>>(), reply.views);
        assert_eq!(told(&given), told(&stored));
    }
    let error = store.answer(&plan, &[], 4, NOW, &LookupOptions::default()).expect_err("no views");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
