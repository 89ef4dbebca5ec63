//! What readers ask for, resolved; and the columns that a source's table must have.

use crate::file::{SourceFile, check};

use super::*;

fn catalog() -> Catalog {
    let content = "
version: 1
project: flights
entities:
  - {name: airport, keys: [{name: origin, type: string}]}
  - {name: plane, keys: [{name: carrier, type: string}, {name: tail, type: string}]}
sources:
  - {name: weather, event_time: time_hour, created_time: reported_at, columns: [{name: raw, type: json}, {name: temp, type: float64}]}
  - {name: flights, event_time: landed_at}
feature_views:
  - name: origin_weather
    entities: [airport]
    source: weather
    key_columns: {origin: station}
    features: [{name: temp, type: float64}, {name: wind, type: float32, column: wind_speed}]
  - name: storms
    entities: [airport]
    source: weather
    features: [{name: wind, type: float32, column: wind_speed}]
  - name: history
    entities: [plane]
    source: flights
    features: [{name: delay, type: int64}]
feature_services:
  - {name: base, views: [{view: history}]}
  - name: both_ends
    includes: [base]
    full_names: true
    views:
      - {view: origin_weather}
      - {view: origin_weather, alias: dest_weather, features: [temp], keys: {origin: dest}}
";
    let file = SourceFile { path: "a.yaml".to_owned(), content: content.as_bytes().to_vec() };
    check(&[file]).unwrap_or_else(|problems| panic!("{}", crate::problem::render(&problems)))
}

/// `alias(spine column = source column, …): output = feature, …` for each use, or the error.
fn resolve(selection: Selection, full_names: bool) -> String {
    let text = |view: &ResolvedView| {
        let keys = view.keys.iter().map(|key| format!("{} = {}", key.spine_column, key.source_column));
        let features = view.features.iter().map(|feature| format!("{} = {}", feature.output, feature.feature.name));
        let joined = |parts: Vec<String>| parts.join(", ");
        format!("{}({}): {}", view.alias, joined(keys.collect()), joined(features.collect()))
    };
    match catalog().resolve(&selection, full_names) {
        Ok(resolved) => resolved.views.iter().map(text).collect::<Vec<_>>().join("\n"),
        Err(error) => error.to_string(),
    }
}

fn check_features(references: &[&str], full_names: bool, expect: &str) {
    let references = references.iter().map(|&reference| reference.to_owned()).collect();
    assert_eq!(resolve(Selection::Features(references), full_names), expect);
}

fn check_service(name: &str, expect: &str) {
    assert_eq!(resolve(Selection::Service(name.to_owned()), false), expect);
}

#[test]
fn services_give_what_they_include_first() {
    check_service(
        "both_ends",
        "history(carrier = carrier, tail = tail): history__delay = delay\n\
         origin_weather(origin = station): origin_weather__temp = temp, origin_weather__wind = wind\n\
         dest_weather(dest = station): dest_weather__temp = temp",
    );
    check_service("base", "history(carrier = carrier, tail = tail): delay = delay");
    check_service("bse", "no feature service named `bse` in project `flights`; did you mean `base`?");
}

#[test]
fn references_are_gathered_by_view() {
    check_features(&["origin_weather"], false, "origin_weather(origin = station): temp = temp, wind = wind");
    check_features(
        &["origin_weather:wind", "history", "origin_weather:temp", "origin_weather:wind"],
        false,
        "origin_weather(origin = station): wind = wind, temp = temp\n\
         history(carrier = carrier, tail = tail): delay = delay",
    );
    check_features(
        &["origin_weather:wind", "origin_weather"],
        true,
        "origin_weather(origin = station): origin_weather__temp = temp, origin_weather__wind = wind",
    );
}

#[test]
fn what_is_not_there_is_named() {
    check_features(&[], false, "no features asked for: name a feature service, or features as `view:feature`");
    check_features(
        &["origin_wether:temp"],
        false,
        "no feature view named `origin_wether` in project `flights`; did you mean `origin_weather`?",
    );
    check_features(
        &["origin_weather:tmep"],
        false,
        "no feature named `origin_weather:tmep` in project `flights`; did you mean `origin_weather:temp`?",
    );
    check_features(&["zzz"], false, "no feature view named `zzz` in project `flights`");
}

#[test]
fn outputs_of_one_name_clash_unless_full() {
    check_features(
        &["origin_weather", "storms"],
        false,
        "these features would share an output name: origin_weather:wind, storms:wind; ask for full names, or give the \
         views aliases",
    );
    check_features(
        &["origin_weather:wind", "storms"],
        true,
        "origin_weather(origin = station): origin_weather__wind = wind\n\
         storms(origin = origin): storms__wind = wind",
    );
}

#[test]
fn a_table_has_each_column_once() {
    let catalog = catalog();
    let columns = |name: &str| -> String {
        let columns = catalog.columns(&catalog.sources[name]);
        columns.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(
        columns("weather"),
        "station string, origin string, time_hour timestamp, reported_at timestamp, temp float64, wind_speed float32, raw json"
    );
    assert_eq!(columns("flights"), "carrier string, tail string, landed_at timestamp, delay int64");
    let keys: Vec<String> = catalog.key_columns(&catalog.sources["weather"]).into_iter().collect();
    assert_eq!(keys, ["origin", "station"]);
}

#[test]
fn slips_are_near_and_other_words_are_not() {
    assert_eq!(nearest("evnt_time", ["event_time", "created_time"]), Some("event_time"));
    assert_eq!(nearest("tmep", ["temp", "wind"]), Some("temp"));
    assert_eq!(nearest("colour", ["name", "columns"]), None);
    assert_eq!(nearest("x", []), None);
}

/// A view over windows, and a source whose query reads it apart.
fn windowed() -> Catalog {
    let content = r#"
version: 1
project: shop
entities: [{name: user, keys: [{name: user_id, type: int64}]}]
sources:
  - {name: orders, event_time: at, event_id: id, columns: [{name: id, type: string}, {name: amount, type: "decimal(9,2)"}]}
  - {name: users, event_time: since, table: {delta: /data/users}}
  - {name: rich, event_time: at, table: {query: {sql: SELECT, from: [orders, people]}}}
  - {name: richest, event_time: at, table: {query: {sql: SELECT, from: [orders, rich]}}}
feature_views:
  - name: order_stats
    entities: [user]
    source: orders
    key_columns: {user_id: buyer}
    features:
      - {name: orders_7d, type: int64, aggregate: {fn: count, window: 7d}}
      - {name: spent_7d, type: "decimal(38,2)", aggregate: {fn: sum, column: amount, window: 7d}}
      - {name: spent_1h, type: "decimal(38,2)", aggregate: {fn: sum, column: amount, window: 1h}}
      - {name: sellers, type: int64, aggregate: {fn: distinct_count, column: seller, window: 1h}}
  - {name: last_order, entities: [user], source: orders, key_columns: {user_id: buyer}, features: [{name: seller, type: int64}]}
  - {name: people, entities: [user], source: users, features: [{name: age, type: int32}]}
"#;
    let file = SourceFile { path: "a.yaml".to_owned(), content: content.as_bytes().to_vec() };
    check(&[file]).unwrap_or_else(|problems| panic!("{}", crate::problem::render(&problems)))
}

fn told(columns: &[Column]) -> String {
    let column = |column: &Column| format!("{} {}", column.name, column.data_type);
    columns.iter().map(column).collect::<Vec<_>>().join(", ")
}

#[test]
fn windows_read_columns_with_the_types_of_the_source() {
    let catalog = windowed();
    let view = &catalog.views["order_stats"];
    assert!(view.is_windowed() && !catalog.views["last_order"].is_windowed());
    assert_eq!(told(&view.inputs()), "amount decimal(9,2), seller int64", "each once, and none for a count of rows");
    assert_eq!(told(&catalog.views["people"].inputs()), "age int32");
    assert_eq!(
        told(&catalog.columns(&catalog.sources["orders"])),
        "buyer int64, at timestamp, seller int64, amount decimal(9,2), id string"
    );
}

#[test]
fn queries_lead_to_tables() {
    let catalog = windowed();
    let behind = |source: &str| -> Vec<String> {
        catalog.tables_behind(&catalog.sources[source]).iter().map(|source| source.name.clone()).collect()
    };
    assert_eq!(behind("orders"), ["orders"]);
    assert_eq!(behind("rich"), ["orders", "users"]);
    assert_eq!(behind("richest"), ["orders", "users"]);
}
