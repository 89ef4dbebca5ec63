//! What is written reads back the same: the persisted form, its frozen bytes, and the YAML that people get to see.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::definition::aggregate::default_hop;
use crate::definition::{
    About, Aggregate, Column, ComputedFeature, Entity, Feature, FeatureService, FeatureView, Function, KafkaTopic,
    Location, OnError, OnRewrite, Query, Relation, Schedule, Source, StreamFormat, StreamStart, ViewUse,
};
use crate::plan;
use crate::time::{Availability, Nulls, UpperBound};
use crate::types::DataType;

use super::*;

#[test]
fn every_field_is_understood() {
    let catalog = good(EVERYTHING);
    let view = &catalog.views["origin_weather"];
    assert_eq!(view.availability, Availability::Delay(3 * 3_600_000_000));
    assert_eq!((view.ttl, view.serve_ttl), (Some(6 * 3_600_000_000), Some(2 * 3_600_000_000)));
    assert_eq!(view.upper, UpperBound::Exclusive);
    assert_eq!(view.features[0].default, Some(json!(0.0)), "a default takes its feature's type");
    assert_eq!(view.features[1].column, "wind_speed");
    let reported = &catalog.views["reported_weather"];
    assert_eq!(reported.availability, Availability::Created, "the source has a created time");
    assert_eq!((reported.ttl, reported.upper, reported.online), (None, UpperBound::Inclusive, true));
    let history = &catalog.views["flight_history"];
    assert_eq!(history.serve_ttl, history.ttl, "lookups use the ttl unless told otherwise");
    assert_eq!(history.features[1].default, Some(json!("9.50")));
    assert!(!catalog.views["calendar"].online);
    assert_eq!(catalog.sources["departures"].location, Location::Delta("/data/departures".to_owned()));
    assert_eq!(catalog.services["late_arrival"].uses[1].alias.as_deref(), Some("dest_weather"));
}

#[test]
fn every_field_of_windows_and_feeds_is_understood() {
    let catalog = good(EVERYTHING);
    let bookings = &catalog.sources["bookings"];
    assert_eq!((bookings.event_id.as_deref(), bookings.on_rewrite), (Some("booking_id"), OnRewrite::Refuse));
    let topic = bookings.kafka.as_ref().expect("a topic");
    assert_eq!((topic.topic.as_str(), topic.start), ("bookings.v1", StreamStart::Latest));
    let Location::Query(query) = &catalog.sources["delays_by_airport"].location else { panic!("a query") };
    let from = [Relation::Source("departures".to_owned()), Relation::View("calendar".to_owned())];
    assert_eq!(query.from, from, "names mean the one thing there is of the name");

    let delays = &catalog.views["airport_delays"];
    assert_eq!(delays.schedule, Some(Schedule::Cron("0 4 * * *".to_owned())));
    assert_eq!((delays.freshness, delays.retention), (Some(30 * 3_600_000_000), Some(400 * 24 * 3_600_000_000)));
    assert_eq!(delays.features[0].renamed_from.as_deref(), Some("delay"));
    assert!(!delays.is_windowed());
    assert_eq!(catalog.views["gate_changes"].schedule, Some(Schedule::OnCommit));

    let view = &catalog.views["airport_bookings"];
    let told = |feature: &Feature| format!("{} = {}", feature.name, feature.aggregate.as_ref().expect("an aggregate"));
    assert_eq!(
        view.features.iter().map(told).collect::<Vec<_>>(),
        [
            "bookings_1h = count of rows over 1h by 5m",
            "priced_1h = count of price over 1h by 1m",
            "revenue_30d = sum of price over 30d by 1d",
            "mean_7d = mean of price over 7d by 1h",
            "least_7d = min of seats over 7d by 1h",
            "most_7d = max of seats over 7d by 1h",
            "var_7d = var of seats over 7d by 1h",
            "std_7d = std of seats over 7d by 1h",
            "first_agency_7d = first of agency over 7d by 1h",
            "agency_7d = last of agency over 7d by 1h",
            "agencies_7d = last_n 3 of agency over 7d by 1h",
            "distinct_7d = distinct_count of agency over 7d by 1h",
            "p95_90d = percentile 0.95 of price over 90d by 1d",
            "top_90d = top_k 5 of agency over 90d by 1d",
        ]
    );
    assert_eq!(view.features[0].column, "booked_at", "a count of rows reads what every row has");
    assert_eq!(view.features[2].column, "price");
}

/// The persisted form is what registries hold; other versions of Tidegate read it.
#[test]
fn version_1_is_frozen() {
    let catalog = good(EVERYTHING);
    let path = Path::new("src/file/tests/everything.v1.json");
    let current =
        format!("{}\n", serde_json::to_string_pretty(&document::sorted(to_document(&catalog))).expect("JSON"));
    let Ok(frozen) = fs::read_to_string(path) else {
        fs::write(path, current).expect("the document can be written");
        panic!("{} was written; read it, commit it, and run the tests again", path.display());
    };
    let frozen: Value = serde_json::from_str(&frozen).expect("the frozen document is JSON");
    let read = from_document(&frozen).unwrap_or_else(|found| {
        panic!(
            "a document that an earlier build wrote can't be read any more:\n{}\nRegistries hold such documents: accept \
             them again, or add version 2 beside version 1 and read both.",
            crate::problem::render(&found)
        )
    });
    assert_eq!(read, catalog, "a document that an earlier build wrote now means something else");
    let written = document::canonical_json(&to_document(&catalog));
    assert_eq!(
        written,
        document::canonical_json(&frozen),
        "the persisted form of version 1 changed. Plans and digests made by other builds no longer match: undo that, or \
         add version 2 beside version 1. Only where a new optional field was added to everything.yaml is it right to \
         delete {} and have the tests write it anew",
        path.display()
    );
    assert_eq!(
        digest(&catalog),
        "66f48e3a9cdac44350516df5602cc2f3da09d8d2d3ebfdf9f800e9b6e1da545e",
        "the digest of the same bytes changed"
    );
}

#[test]
fn the_committed_schema_is_current() {
    let path = Path::new("definitions.schema.json");
    let current = format!("{}\n", serde_json::to_string_pretty(&json_schema()).expect("JSON"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(path, &current).expect("the schema can be written");
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == current,
        "schemas/definitions.schema.json is not what the types say; run the tests with UPDATE_EXPECT=1 and commit it"
    );
}

#[test]
fn emitted_fields_have_an_order() {
    fn names<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
        if let Some(properties) = value.get("properties").and_then(Value::as_object) {
            out.extend(properties.keys().map(String::as_str));
        }
        match value {
            Value::Object(fields) => fields.values().for_each(|value| names(value, out)),
            Value::Array(items) => items.iter().for_each(|value| names(value, out)),
            _ => {}
        }
    }
    let schema = json_schema();
    let mut all = Vec::new();
    names(&schema, &mut all);
    let alone = ["tags", "delta", "parquet", "delay", "upper", "query", "avro", "protobuf", "every", "cron"];
    let alone = [&alone[..], &["schemas", "descriptors", "message"]].concat();
    let unplaced: Vec<&&str> = all.iter().filter(|name| !emit::ORDER.contains(name) && !alone.contains(name)).collect();
    assert!(unplaced.is_empty(), "give these fields a place in emit::ORDER: {unplaced:?}");
}

#[test]
fn yaml_is_laid_out_as_people_write_it() {
    let yaml = definition_to_yaml(&good(EVERYTHING), Kind::FeatureService, "late_arrival").expect("it is there");
    assert_eq!(
        yaml,
        "version: 1
project: flights

feature_services:
  - name: late_arrival
    includes: [weather_only]
    full_names: true
    views:
      - {view: flight_history}
      - {view: origin_weather, keys: {origin: dest}, alias: dest_weather, features: [temp]}
      - {view: calendar}
    description: Does a flight arrive late?
    owner: ops@example.com
    tags: {model: late-arrival}
"
    );
    assert_eq!(definition_to_yaml(&good(EVERYTHING), Kind::Entity, "none"), None);
}

#[test]
fn documents_that_are_not_ours_are_refused() {
    let refused = |document: Value| match from_document(&document) {
        Ok(_) => panic!("{document} was accepted"),
        Err(problems) => crate::problem::render(&problems),
    };
    assert_eq!(
        refused(json!({"version": 2})),
        "registry: the definitions are of version 2; this build reads version 1"
    );
    assert_eq!(refused(json!([])), "registry: the definitions have no version; they are not what Tidegate wrote");
    let unknown = refused(json!({"version": 1, "project": "p", "colour": 3}));
    assert!(unknown.starts_with("registry: the definitions are not what Tidegate wrote: unknown field `colour`"));
    let dangling = json!({"version": 1, "project": "p", "feature_services": [{"name": "s", "views": [{"view": "v"}]}]});
    assert_eq!(refused(dangling), "registry: feature service `s`: there is no feature view `v`");
}

#[test]
fn the_digest_depends_on_meaning_only() {
    let one = good("{version: 1, project: p, sources: [{name: a, event_time: t}, {name: b, event_time: t}]}");
    let same = good(
        "project: p\nversion: 1\nsources:\n- event_time: t\n  name: b\n  table: managed\n- {name: a, event_time: t}\n",
    );
    let other = good("{version: 1, project: p, sources: [{name: a, event_time: u}, {name: b, event_time: t}]}");
    assert_eq!(digest(&one), digest(&same));
    assert_ne!(digest(&one), digest(&other));
}

#[test]
fn random_catalogs_survive_every_form() {
    let seed: u64 = std::env::var("TIDEGATE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    let cases: u64 = std::env::var("TIDEGATE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    for case in seed..seed + cases {
        let catalog = random_catalog(&mut StdRng::seed_from_u64(case));
        let document = to_document(&catalog);
        match from_document(&document) {
            Ok(read) => assert_eq!(read, catalog, "TIDEGATE_SEED={case}: document"),
            Err(found) => panic!("TIDEGATE_SEED={case}: {}\n{document}", crate::problem::render(&found)),
        }
        let yaml = to_yaml(&catalog);
        match super::super::check(&[file("all.yaml", &yaml)]) {
            Ok(read) => assert_eq!(read, catalog, "TIDEGATE_SEED={case}: YAML\n{yaml}"),
            Err(found) => panic!("TIDEGATE_SEED={case}: {}\n{yaml}", crate::problem::render(&found)),
        }
        let parts: Vec<SourceFile> = all_names(&catalog)
            .into_iter()
            .filter_map(|(kind, name)| definition_to_yaml(&catalog, kind, &name))
            .enumerate()
            .map(|(index, yaml)| file(&format!("{index}.yaml"), yaml))
            .collect();
        assert_eq!(super::super::check(&parts).as_ref(), Ok(&catalog), "TIDEGATE_SEED={case}: one file each");
        assert_eq!(plan::diff(&catalog, &catalog), []);
    }
}

fn all_names(catalog: &Catalog) -> Vec<(Kind, String)> {
    let entities = catalog.entities.keys().map(|name| (Kind::Entity, name.clone()));
    let sources = catalog.sources.keys().map(|name| (Kind::Source, name.clone()));
    let views = catalog.views.keys().map(|name| (Kind::FeatureView, name.clone()));
    let services = catalog.services.keys().map(|name| (Kind::FeatureService, name.clone()));
    entities.chain(sources).chain(views).chain(services).collect()
}

/// A valid catalog: names are unique by construction, so that only what is under test can go wrong.
fn random_catalog(rng: &mut StdRng) -> Catalog {
    let mut catalog = Catalog::new("random");
    for index in 0..rng.random_range(1..4) {
        let keys = (0..rng.random_range(1..4))
            .map(|key| Column { name: format!("e{index}_k{key}"), data_type: random_key_type(rng) })
            .collect();
        let entity = Entity { name: format!("e{index}"), keys, about: random_about(rng) };
        catalog.entities.insert(entity.name.clone(), Arc::new(entity));
    }
    for index in 0..rng.random_range(1..4) {
        let source = random_source(rng, index);
        catalog.sources.insert(source.name.clone(), Arc::new(source));
    }
    for index in 0..rng.random_range(1..5) {
        let view = random_view(rng, index, &catalog);
        catalog.views.insert(view.name.clone(), Arc::new(view));
    }
    for index in 0..rng.random_range(0..4) {
        let service = random_service(rng, index, &catalog);
        catalog.services.insert(service.name.clone(), Arc::new(service));
    }
    catalog.fill_in_recipes();
    catalog
}

fn random_source(rng: &mut StdRng, index: usize) -> Source {
    let location = match rng.random_range(0..4) {
        0 => Location::Managed,
        1 => Location::Delta(format!("/data/{index} with: odd #name")),
        2 if index > 0 => Location::Query(Query {
            sql: format!("SELECT * FROM s0 -- {}", random_text(rng)),
            from: (0..index).rev().map(|other| Relation::Source(format!("s{other}"))).collect(),
            recipe: String::new(),
        }),
        _ => Location::Parquet(format!("s3://bucket/{index}")),
    };
    let mut columns: Vec<Column> = (0..rng.random_range(0..3))
        .map(|column| Column { name: format!("s{index} x: {column}"), data_type: random_type(rng, 2) })
        .collect();
    columns.push(Column { name: "id".to_owned(), data_type: DataType::String });
    let kafka = (location == Location::Managed && rng.random_bool(0.5)).then(|| random_topic(rng));
    Source {
        name: format!("s{index}"),
        location,
        event_time: "when".to_owned(),
        valid_to: rng.random_bool(0.3).then(|| "until".to_owned()),
        created_time: rng.random_bool(0.5).then(|| "written".to_owned()),
        event_id: rng.random_bool(0.5).then(|| "id".to_owned()),
        columns,
        on_rewrite: if rng.random_bool(0.5) { OnRewrite::Refresh } else { OnRewrite::Refuse },
        kafka,
        about: random_about(rng),
    }
}

fn random_topic(rng: &mut StdRng) -> KafkaTopic {
    let format = match rng.random_range(0..3) {
        0 => StreamFormat::Json,
        1 => StreamFormat::Avro { schemas: "/schemas".to_owned() },
        _ => StreamFormat::Protobuf { descriptors: "file:///a b".to_owned(), message: "shop.v1.Order".to_owned() },
    };
    let start = if rng.random_bool(0.5) { StreamStart::Earliest } else { StreamStart::Latest };
    KafkaTopic { cluster: "main".to_owned(), topic: "on".to_owned(), format, start }
}

fn random_view(rng: &mut StdRng, index: usize, catalog: &Catalog) -> FeatureView {
    let entities: Vec<String> = catalog.entities.keys().filter(|_| rng.random_bool(0.5)).cloned().collect();
    let source = catalog.sources.values().nth(rng.random_range(0..catalog.sources.len())).expect("in range");
    let windowed = source.valid_to.is_none() && rng.random_bool(0.4);
    let features: Vec<Feature> =
        (0..rng.random_range(1..5)).map(|feature| random_feature(rng, (index, feature), source, windowed)).collect();
    let keys = entities.iter().flat_map(|name| catalog.entities[name].keys.clone());
    let key_columns =
        keys.filter(|_| rng.random_bool(0.3)).map(|key| (key.name.clone(), format!("col {}", key.name))).collect();
    let ttl = (!windowed && rng.random_bool(0.5)).then(|| random_length(rng));
    let serve_ttl = (!windowed && rng.random_bool(0.5)).then(|| random_length(rng)).or(ttl);
    let availability = match rng.random_range(0..4) {
        0 if source.created_time.is_some() => Availability::Created,
        1 if matches!(source.location, Location::Managed | Location::Delta(_)) => Availability::Commit,
        2 => Availability::Delay(random_length(rng)),
        _ => Availability::Event,
    };
    let nulls = if windowed || rng.random_bool(0.7) { Nulls::Keep } else { Nulls::Skip };
    let online = nulls == Nulls::Keep && source.valid_to.is_none() && rng.random_bool(0.5);
    let schedule = match rng.random_range(0..4) {
        0 if has_commits(catalog, source) => Some(Schedule::OnCommit),
        1 => Some(Schedule::Every(1_000_000 + random_length(rng) / 2)),
        2 => Some(Schedule::Cron("*/5 0-6,9 * * MON".to_owned())),
        _ => None,
    };
    let bounded = features.iter().filter_map(|feature| feature.aggregate.as_ref()).all(|it| it.window.is_some());
    FeatureView {
        name: format!("v{index}"),
        entities,
        source: source.name.clone(),
        key_columns,
        features,
        ttl,
        serve_ttl,
        availability,
        upper: if rng.random_bool(0.5) { UpperBound::Inclusive } else { UpperBound::Exclusive },
        nulls,
        online,
        schedule: schedule.filter(|_| online),
        freshness: (online && rng.random_bool(0.5)).then(|| random_length(rng)),
        retention: (online && bounded && rng.random_bool(0.5)).then_some(i64::MAX),
        about: random_about(rng),
    }
}

/// Whether no folder of Parquet files is among what a source's rows come from.
fn has_commits(catalog: &Catalog, source: &Source) -> bool {
    match &source.location {
        Location::Managed | Location::Delta(_) => true,
        Location::Parquet(_) => false,
        Location::Query(query) => {
            let mut read = query.from.iter().filter_map(|relation| catalog.sources.get(catalog.source_of(relation)?));
            read.all(|read| has_commits(catalog, read))
        }
    }
}

fn random_feature(rng: &mut StdRng, (view, index): (usize, usize), source: &Source, windowed: bool) -> Feature {
    let name = format!("v{view}_f{index}");
    let (aggregate, data_type, column) = if windowed {
        let (aggregate, data_type) = random_aggregate(rng, source);
        let column = aggregate.input.as_ref().map_or_else(|| source.event_time.clone(), |input| input.name.clone());
        (Some(aggregate), data_type, column)
    } else {
        let column = if rng.random_bool(0.5) { name.clone() } else { format!("Column \"{view}\" of {index}") };
        (None, random_type(rng, 2), column)
    };
    let default = rng.random_bool(0.5).then(|| random_value(rng, &data_type));
    let renamed_from = rng.random_bool(0.2).then(|| format!("{name}_before"));
    let description = rng.random_bool(0.3).then(|| random_text(rng));
    Feature { name, column, data_type, aggregate, renamed_from, default, description }
}

/// Any function that the type of one of the source's columns allows, with the type of what it gives.
fn random_aggregate(rng: &mut StdRng, source: &Source) -> (Aggregate, DataType) {
    let window = rng.random_bool(0.7).then(|| rng.random_range(1..36_500 * 86_400_000_000));
    let hop = default_hop(window);
    let hop = match window {
        Some(window) if hop > window || rng.random_bool(0.3) => rng.random_range(1_000_000..1_000_000 + window),
        _ => hop,
    };
    let window = window.map(|window| window.max(hop));
    if rng.random_bool(0.2) {
        return (Aggregate { function: Function::Count, input: None, window, hop }, DataType::Int64);
    }
    let input = source.columns[rng.random_range(0..source.columns.len())].clone();
    let functions = [
        Function::Count,
        Function::Sum,
        Function::Mean,
        Function::Min,
        Function::Max,
        Function::Var,
        Function::Std,
        Function::First,
        Function::Last,
        Function::LastN(rng.random_range(1..=1_000)),
        Function::DistinctCount,
        Function::Percentile(rng.random_range(1..10_000)),
        Function::TopK(rng.random_range(1..=1_000)),
    ];
    loop {
        let function = functions[rng.random_range(0..functions.len())];
        if let Some(output) = function.output(&input.data_type) {
            return (Aggregate { function, input: Some(input), window, hop }, output);
        }
    }
}

fn random_service(rng: &mut StdRng, index: usize, catalog: &Catalog) -> FeatureService {
    let includes: Vec<String> = catalog.services.keys().filter(|_| rng.random_bool(0.3)).cloned().collect();
    let uses = (0..rng.random_range(1..4))
        .map(|nth| {
            let view = catalog.views.values().nth(rng.random_range(0..catalog.views.len())).expect("in range");
            let taken = |rng: &mut StdRng| {
                let from = rng.random_range(0..view.features.len());
                view.features[from..].iter().rev().map(|feature| feature.name.clone()).collect::<Vec<_>>()
            };
            let keys = catalog.keys(view).into_iter().filter(|_| rng.random_bool(0.5));
            ViewUse {
                view: view.name.clone(),
                keys: keys.map(|key| (key.name.clone(), format!("{}: of the spine", key.name))).collect(),
                features: rng.random_bool(0.5).then(|| taken(rng)),
                alias: Some(format!("a{index}_{nth}")),
            }
        })
        .collect();
    let request = vec![Column { name: format!("r{index}"), data_type: random_type(rng, 1) }];
    let computed = (0..rng.random_range(0..3)).map(|nth| ComputedFeature {
        name: format!("c{index}_{nth}"),
        data_type: random_type(rng, 1),
        expression: format!("coalesce(r{index}, {nth})\n-- {}", random_text(rng)),
        on_error: if rng.random_bool(0.5) { OnError::Failed } else { OnError::Null },
        description: rng.random_bool(0.3).then(|| random_text(rng)),
    });
    let (computed, name) = (computed.collect(), format!("f{index}"));
    FeatureService { name, includes, uses, full_names: true, request, computed, about: random_about(rng) }
}

fn random_about(rng: &mut StdRng) -> About {
    let tags: BTreeMap<String, String> =
        (0..rng.random_range(0..3)).map(|_| (random_text(rng), random_text(rng))).collect();
    About {
        description: rng.random_bool(0.5).then(|| random_text(rng)),
        owner: rng.random_bool(0.5).then(|| random_text(rng)),
        tags,
    }
}

/// Texts that YAML would read as something else if they were written carelessly.
fn random_text(rng: &mut StdRng) -> String {
    const ODD: [&str; 24] = [
        "",
        " ",
        "yes",
        "null",
        "~",
        "1",
        "1e3",
        "0x1f",
        "- a",
        "a: b",
        "a #b",
        "#",
        "'",
        "\"",
        "\\",
        "line\nbreak",
        "\ttab",
        "{a}",
        "[",
        "*a",
        "&a",
        "\u{85}\u{2028}\u{feff}\u{7f}",
        "größe 度",
        "7d",
    ];
    let one = ODD[rng.random_range(0..ODD.len())];
    match rng.random_range(0..3) {
        0 => one.to_owned(),
        1 => format!("{one}{}", ODD[rng.random_range(0..ODD.len())]),
        _ => format!("plain words {one}"),
    }
}

fn random_length(rng: &mut StdRng) -> i64 {
    match rng.random_range(0..3) {
        0 => rng.random_range(1..i64::MAX),
        1 => rng.random_range(1..100) * 3_600_000_000,
        _ => rng.random_range(1..100) * 86_400_000_000,
    }
}

fn random_key_type(rng: &mut StdRng) -> DataType {
    use DataType::{Bool, Bytes, Date, Int32, Int64, String, Timestamp};
    [Bool, Int32, Int64, String, Bytes, Timestamp, Date][rng.random_range(0..7)].clone()
}

fn random_type(rng: &mut StdRng, depth: usize) -> DataType {
    match rng.random_range(0..if depth == 0 { 5 } else { 10 }) {
        0 => DataType::Float32,
        1 => DataType::Float64,
        2 => DataType::Json,
        3 => DataType::Decimal(rng.random_range(5..39), rng.random_range(0..5)),
        4 => random_key_type(rng),
        5 => DataType::Vector(rng.random_range(1..5)),
        6 => DataType::List(Box::new(random_type(rng, depth - 1))),
        7 => DataType::Map(Box::new(random_type(rng, depth - 1))),
        8 => {
            let field = |(index, of)| (format!("f{index}"), of);
            let types: Vec<DataType> = (0..rng.random_range(1..4)).map(|_| random_type(rng, depth - 1)).collect();
            DataType::Struct(types.into_iter().enumerate().map(field).collect())
        }
        _ => random_key_type(rng),
    }
}

/// A default in canonical form.
fn random_value(rng: &mut StdRng, of: &DataType) -> Value {
    match of {
        DataType::Bool => json!(rng.random_bool(0.5)),
        DataType::Int32 => json!(rng.random_range(i32::MIN..=i32::MAX)),
        DataType::Int64 => json!(rng.random_range(i64::MIN..=i64::MAX)),
        DataType::Float32 => json!(f64::from(rng.random_range(-1e30_f32..1e30))),
        DataType::Float64 => {
            json!(f64::from(rng.random_range(-100..100)) / 8.0 * 10_f64.powi(rng.random_range(-30..30)))
        }
        DataType::String => json!(random_text(rng)),
        DataType::Bytes => json!(["", "aGk=", "AAAA", "//79"][rng.random_range(0..4)]),
        DataType::Timestamp => json!(["1600-01-01T00:00:00Z", "2262-04-11T23:47:16.854Z"][rng.random_range(0..2)]),
        DataType::Date => json!(["1600-01-01", "2262-12-31"][rng.random_range(0..2)]),
        DataType::Decimal(_, scale) => {
            let fraction = "25".chars().cycle().take(usize::try_from(*scale).unwrap_or(0)).collect::<String>();
            json!(if fraction.is_empty() { "-7".to_owned() } else { format!("-7.{fraction}") })
        }
        DataType::Json => json!(["null", "{\"a\": [1, 2]}", "\"text\""][rng.random_range(0..3)]),
        DataType::Vector(length) => {
            (0..*length).map(|_| random_value(rng, &DataType::Float32)).collect::<Vec<_>>().into()
        }
        DataType::List(item) => (0..rng.random_range(0..3)).map(|_| random_value(rng, item)).collect::<Vec<_>>().into(),
        DataType::Map(item) => {
            let entries = (0..rng.random_range(0..3)).map(|_| (random_text(rng), random_value(rng, item)));
            Value::Object(entries.collect())
        }
        DataType::Struct(fields) => {
            Value::Object(fields.iter().map(|(name, of)| (name.clone(), random_value(rng, of))).collect())
        }
    }
}

/// What the documentation shows as a whole file is one, and what it shows of a plan is what a plan says.
#[test]
fn the_documentation_is_right() {
    let guide = fs::read_to_string(Path::new("../docs/definitions.md")).expect("docs/definitions.md");
    let blocks = |language: &str| -> Vec<String> {
        let open = format!("```{language}\n");
        guide.split(&open).skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
    };
    let yaml = blocks("yaml");
    let whole = yaml.iter().find(|block| block.starts_with("version: 1")).expect("a whole project");
    let flights = good(whole);
    yaml.iter().filter(|block| block.starts_with("version: 1")).for_each(|block| drop(good(block)));
    let service = yaml.iter().find(|block| block.starts_with("feature_services:")).expect("a service");
    let extended = whole.split("feature_services:").next().unwrap_or_default().to_owned() + service;
    assert_eq!(good(&extended).services["late_arrival"].uses.len(), 2);

    let tightened =
        whole.replace("ttl: 6h", "ttl: 1h").replace("      - {name: wind, type: float64, column: wind_speed}\n", "");
    let shown = plan::render(&plan::diff(&flights, &good(&tightened)));
    assert!(blocks("text").iter().any(|block| block.trim_end() == shown), "{shown}");
}
