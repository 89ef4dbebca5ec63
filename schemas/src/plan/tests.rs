//! What a change of definitions says about itself.

use crate::file::{SourceFile, check, digest, load};

use super::*;

const BASE: &str = "
version: 1
project: flights
entities:
  - {name: airport, keys: [{name: origin, type: string}]}
  - {name: plane, keys: [{name: tail, type: string}]}
sources:
  - {name: weather, event_time: time_hour, columns: [{name: raw, type: string}]}
  - {name: flights, event_time: landed_at}
feature_views:
  - name: origin_weather
    entities: [airport]
    source: weather
    ttl: 6h
    features: [{name: temp, type: float64}, {name: wind, type: float64}]
  - name: plane_history
    entities: [plane]
    source: flights
    features: [{name: delay, type: int64}]
feature_services:
  - name: weather_only
    views: [{view: origin_weather}]
  - name: late_arrival
    includes: [weather_only]
    views: [{view: plane_history}]
";

fn catalog(yaml: &str) -> Catalog {
    let file = SourceFile { path: "a.yaml".to_owned(), content: yaml.as_bytes().to_vec() };
    check(&[file]).unwrap_or_else(|problems| panic!("{}", crate::problem::render(&problems)))
}

/// The plan from [`BASE`] to it with texts replaced.
fn check_plan(replace: &[(&str, &str)], expect: &str) {
    let mut yaml = BASE.to_owned();
    for (old, new) in replace {
        assert!(yaml.contains(old), "{old}");
        yaml = yaml.replace(old, new);
    }
    let (old, new) = (catalog(BASE), catalog(&yaml));
    let got = render(&diff(&old, &new));
    assert_eq!(got, expect, "\n--- got ---\n{got}\n--- expected ---\n{expect}\n");
    assert_eq!(old == new, digest(&old) == digest(&new));
}

#[test]
fn nothing_changed() {
    check_plan(&[], "no changes");
    check_plan(&[("ttl: 6h", "ttl: 360m")], "no changes");
}

#[test]
fn a_new_project() {
    let got = render(&diff(&Catalog::new("flights"), &catalog(BASE)));
    assert_eq!(
        got,
        "+ entity/airport
+ entity/plane
+ source/flights
+ source/weather
+ feature_view/origin_weather
+ feature_view/plane_history
+ feature_service/late_arrival
+ feature_service/weather_only
8 to create, 0 to update, 0 to delete"
    );
}

#[test]
fn a_key_changes_its_type() {
    check_plan(
        &[("{name: tail, type: string}", "{name: tail, type: int64}")],
        "~ entity/plane
    key tail: string -> int64
    breaking: the type of key `tail` changed: rows are found by it
    used by: feature_view/plane_history, feature_service/late_arrival
0 to create, 1 to update, 0 to delete; 1 breaking",
    );
}

#[test]
fn keys_come_and_go() {
    check_plan(
        &[("{name: tail, type: string}", "{name: number, type: int64}, {name: day, type: date}")],
        "~ entity/plane
    key tail removed
    key number added (int64)
    key day added (date)
    breaking: key `tail` removed: rows are found by it
    breaking: key `number` added: every reader must give it
    breaking: key `day` added: every reader must give it
    used by: feature_view/plane_history, feature_service/late_arrival
0 to create, 1 to update, 0 to delete; 1 breaking",
    );
}

#[test]
fn a_source_moves() {
    check_plan(
        &[
            ("{name: flights, event_time: landed_at}", "{name: flights, table: {delta: /data/f}, event_time: landed}"),
            ("raw, type: string", "raw, type: json"),
        ],
        "~ source/flights
    table: managed -> delta /data/f
    event_time: landed_at -> landed
    breaking: the rows are read from another table
    breaking: the event time is another column: what is seen at a time changes
    used by: feature_view/plane_history, feature_service/late_arrival
~ source/weather
    column raw: string -> json
    breaking: the type of column `raw` changed: the table has the old one
    used by: feature_view/origin_weather, feature_service/late_arrival, feature_service/weather_only
0 to create, 2 to update, 0 to delete; 2 breaking",
    );
}

#[test]
fn a_created_time_changes_what_views_know() {
    check_plan(
        &[("landed_at}", "landed_at, created_time: written_at, owner: ops}")],
        "~ source/flights
    created_time: none -> written_at
    owner: none -> ops
    breaking: the created time is another column: what is known at a time changes
    used by: feature_view/plane_history, feature_service/late_arrival
~ feature_view/plane_history
    availability: event -> created (training sets change)
    used by: feature_service/late_arrival
0 to create, 2 to update, 0 to delete; 1 breaking",
    );
}

#[test]
fn a_source_gets_validity_and_a_view_skips_nulls() {
    check_plan(
        &[
            ("{name: flights, event_time: landed_at}", "{name: flights, valid_from: landed_at, valid_to: until}"),
            ("    source: flights\n", "    source: flights\n    nulls: skip\n    online: false\n"),
        ],
        "~ source/flights
    valid_to: none -> until
    breaking: the end of validity is another column: what is seen at a time changes
    used by: feature_view/plane_history, feature_service/late_arrival
~ feature_view/plane_history
    nulls: keep -> skip (training sets change)
    online: true -> false
    breaking: the view is no longer served
    used by: feature_service/late_arrival
0 to create, 2 to update, 0 to delete; 2 breaking",
    );
}

#[test]
fn a_view_tightens() {
    check_plan(
        &[("ttl: 6h", "ttl: 1h\n    serve_ttl: 6h\n    availability: {delay: 3h}\n    bounds: {upper: exclusive}")],
        "~ feature_view/origin_weather
    ttl: 6h -> 1h (training sets change)
    availability: event -> delay 3h (training sets change)
    bounds.upper: inclusive -> exclusive (training sets change)
    used by: feature_service/late_arrival, feature_service/weather_only
0 to create, 1 to update, 0 to delete",
    );
}

#[test]
fn features_come_go_and_change() {
    check_plan(
        &[
            (
                "[{name: temp, type: float64}, {name: wind, type: float64}]",
                "[{name: wind, type: float32}, {name: celsius, column: temp, type: float64, default: 1}, {name: rain, type: bool}]",
            ),
            ("{name: delay, type: int64}", "{name: delay, column: arr_delay, type: int64, default: 0}"),
        ],
        "~ feature_view/origin_weather
    feature temp renamed to celsius
    served values stay behind; `renamed_from: temp` would take them along
    feature wind type: float64 -> float32
    served values of wind fail until they are materialized again, which the next run does in full
    feature rain added (bool)
    served rows have no rain until they are materialized again, which the next run does in full
    breaking: feature `temp` is now `celsius`
    breaking: the type of feature `wind` changed
    used by: feature_service/late_arrival, feature_service/weather_only
~ feature_view/plane_history
    feature delay column: delay -> arr_delay (training sets change)
    what is served starts over, empty until the view is materialized
    feature delay default: none -> 0
    used by: feature_service/late_arrival
0 to create, 2 to update, 0 to delete; 1 breaking",
    );
}

#[test]
fn a_view_is_no_longer_served() {
    check_plan(
        &[(
            "source: flights",
            "source: flights\n    online: false\n    description: Landed flights.\n    tags: {a: b}",
        )],
        "~ feature_view/plane_history
    online: true -> false
    description changed
    tag a: none -> b
    breaking: the view is no longer served
    used by: feature_service/late_arrival
0 to create, 1 to update, 0 to delete; 1 breaking",
    );
}

#[test]
fn a_service_asks_otherwise() {
    check_plan(
        &[("[{view: origin_weather}]", "[{view: origin_weather, features: [wind], keys: {origin: dest}}]")],
        "~ feature_service/weather_only
    no longer uses origin_weather
    uses origin_weather [wind] with keys {origin: dest}
    breaking: output `temp` goes away
    breaking: output `wind` is now `origin_weather:wind by (dest)`, was `origin_weather:wind by (origin)`
    breaking: spines and lookups now need column `dest`
    used by: feature_service/late_arrival
0 to create, 1 to update, 0 to delete; 1 breaking",
    );
    check_plan(
        &[("    includes: [weather_only]\n", "")],
        "~ feature_service/late_arrival
    includes: [weather_only] -> []
    breaking: output `temp` goes away
    breaking: output `wind` goes away
0 to create, 1 to update, 0 to delete; 1 breaking",
    );
    check_plan(
        &[("views: [{view: plane_history}]", "full_names: false\n    views: [{view: plane_history}]")],
        "no changes",
    );
}

#[test]
fn everything_goes() {
    let got = render(&diff(&catalog(BASE), &Catalog::new("flights")));
    assert_eq!(
        got,
        "- entity/airport
    breaking: entity `airport` goes away
    used by: feature_view/origin_weather, feature_service/late_arrival, feature_service/weather_only
- entity/plane
    breaking: entity `plane` goes away
    used by: feature_view/plane_history, feature_service/late_arrival
- source/flights
    breaking: source `flights` goes away
    used by: feature_view/plane_history, feature_service/late_arrival
- source/weather
    breaking: source `weather` goes away
    used by: feature_view/origin_weather, feature_service/late_arrival, feature_service/weather_only
- feature_view/origin_weather
    breaking: feature view `origin_weather` goes away
    used by: feature_service/late_arrival, feature_service/weather_only
- feature_view/plane_history
    breaking: feature view `plane_history` goes away
    used by: feature_service/late_arrival
- feature_service/late_arrival
    breaking: feature service `late_arrival` goes away
- feature_service/weather_only
    breaking: feature service `weather_only` goes away
    used by: feature_service/late_arrival
0 to create, 0 to update, 8 to delete; 8 breaking"
    );
}

#[test]
fn what_is_used_stays() {
    let base = catalog(BASE);
    let refused = remove(&base, Kind::Source, "weather").expect_err("it is used");
    assert_eq!(refused.kind(), ErrorKind::Precondition);
    assert_eq!(
        refused.to_string(),
        "source `weather` is used by feature_view/origin_weather, feature_service/late_arrival, \
         feature_service/weather_only; change or delete what uses it first"
    );
    let missing = remove(&base, Kind::FeatureView, "origin_wether").expect_err("it is not there");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert_eq!(
        missing.to_string(),
        "no feature view named `origin_wether` in project `flights`; did you mean `origin_weather`?"
    );
    let rest = remove(&base, Kind::FeatureService, "late_arrival").expect("nothing uses it");
    assert_eq!(summary(&diff(&base, &rest)), "0 to create, 0 to update, 1 to delete; 1 breaking");
}

#[test]
fn files_replace_and_with_prune_remove() {
    let file = SourceFile {
        path: "a.yaml".to_owned(),
        content: b"version: 1\nproject: flights\nentities: [{name: plane, keys: [{name: tail, type: int64}]}]\n"
            .to_vec(),
    };
    let (base, definitions) = (catalog(BASE), load(&[file]).expect("a project"));
    let kept = merge(&base, &definitions, false).expect("the whole is sound");
    assert_eq!(summary(&diff(&base, &kept)), "0 to create, 1 to update, 0 to delete; 1 breaking");
    let pruned = merge(&base, &definitions, true).expect("the file stands alone");
    assert_eq!(summary(&diff(&base, &pruned)), "0 to create, 1 to update, 7 to delete; 8 breaking");
}

/// A project with windows and a query, one definition to a line.
const SHOP: &str = r#"version: 1
project: shop
entities:
  - {name: user, keys: [{name: user_id, type: int64}]}
sources:
  - {name: orders, event_time: at, columns: [{name: id, type: string}, {name: amount, type: int64}]}
  - {name: big, event_time: at, table: {query: {sql: "SELECT * FROM orders WHERE amount > 100", from: [orders]}}}
feature_views:
  - {name: stats, entities: [user], source: orders, features: [{name: spent, type: int64, aggregate: {fn: sum, column: amount, window: 7d}}]}
  - {name: bigs, entities: [user], source: big, features: [{name: amount, type: int64}]}
feature_services:
  - {name: fraud, full_names: true, views: [{view: stats}, {view: bigs}]}
"#;

/// The cases of `changes.txt`: `==== name`, then definitions of [`SHOP`] that differ, then `----` and the plan.
///
/// A line `< definition` is what the registry holds in place of the definition of that name, `> definition` what the files
/// say.
#[test]
fn changes() {
    let path = std::path::Path::new("src/plan/tests/changes.txt");
    let text = std::fs::read_to_string(path).expect("changes.txt");
    let (mut updated, mut wrong) = (text.split("==== ").next().unwrap_or_default().to_owned(), Vec::new());
    for case in text.split("==== ").skip(1) {
        let (name, rest) = case.split_once('\n').expect("a case has lines");
        let (input, expect) = rest.split_once("----\n").expect("a case has a line `----`");
        let (mut old, mut new) = (SHOP.to_owned(), SHOP.to_owned());
        for line in input.lines().filter(|line| !line.is_empty()) {
            match line.split_at(2) {
                ("< ", definition) => put(&mut old, definition),
                ("> ", definition) => put(&mut new, definition),
                _ => panic!("{name}: {line}"),
            }
        }
        let (old, new) = (catalog(&old), catalog(&new));
        let got = render(&diff(&old, &new));
        assert_eq!(old == new, digest(&old) == digest(&new), "{name}");
        updated.push_str(&format!("==== {name}\n{input}----\n{got}\n\n"));
        if got != expect.trim_end() {
            wrong.push(format!("{name}\n--- got ---\n{got}\n--- expected ---\n{expect}"));
        }
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, format!("{}\n", updated.trim_end())).expect("changes.txt");
        return;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Puts a definition in the place of the line that defines its name.
fn put(yaml: &mut String, definition: &str) {
    let named = definition.split(',').next().unwrap_or_default();
    let line = yaml.lines().find(|line| line.contains(&format!("- {named},"))).expect(named).to_owned();
    *yaml = yaml.replace(&line, &format!("  - {definition}"));
}

#[test]
fn what_says_a_type_or_is_read_by_a_query_stays() {
    let plain = "  - {name: plain, entities: [user], source: orders, features: [{name: amount, type: int64}]}\n";
    let typed = SHOP.replace(", {name: amount, type: int64}]}\n  - {name: big,", "]}\n  - {name: big,");
    let typed = typed.replace("feature_views:\n", &format!("feature_views:\n{plain}"));
    let refused = remove(&catalog(&typed), Kind::FeatureView, "plain").expect_err("a window needs the type it says");
    assert_eq!(refused.kind(), ErrorKind::Precondition);
    assert_eq!(
        refused.to_string(),
        "feature view `plain` can't be removed: without it, feature view `stats`: nothing says the type of column \
         `amount`; declare it under the `columns` of source `orders`"
    );
    let base = catalog(SHOP);
    assert_eq!(
        dependents(&base, Kind::Source, "orders"),
        ["source/big", "feature_view/bigs", "feature_view/stats", "feature_service/fraud"]
    );
    assert_eq!(remove(&base, Kind::Source, "orders").expect_err("a query reads it").kind(), ErrorKind::Precondition);
}
