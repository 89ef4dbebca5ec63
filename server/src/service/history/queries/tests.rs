//! Sources that are queries, as use cases: chained, materialized, changed, restarted.

use arrow::array::{ArrayRef, StringArray};
use futures::StreamExt;
use tidegate_schemas::catalog::Selection;
use tidegate_schemas::error::ErrorKind;

use super::*;
use crate::service::tests::bench::{Bench, FLIGHTS, HOUR, files, weather};
use crate::service::{LookupRequest, Values};

/// A query over a source, a view of it, a query over that view, and a view of that.
const SOURCES: &str = "  - name: warm
    event_time: time_hour
    table:
      query:
        sql: SELECT origin, time_hour, temp * 2 AS twice, temp FROM weather WHERE temp > 5
        from: [weather]
  - name: totals
    event_time: last_hour
    table:
      query:
        sql: >-
          SELECT origin, max(time_hour) AS last_hour, count(*) AS n, sum(doubled) AS total
          FROM warm_weather GROUP BY origin
        from: [warm_weather]
feature_views:
  - name: warm_weather
    entities: [airport]
    source: warm
    features: [{name: doubled, column: twice, type: float64}]
  - name: origin_totals
    entities: [airport]
    source: totals
    features: [{name: n, type: int64}, {name: total, type: float64}]
";

/// A server at five hours past the beginning.
async fn bench() -> Bench {
    let bench = Bench::new().await;
    bench.clock.set(5 * HOUR);
    bench
}

fn definitions() -> String {
    FLIGHTS.replace("feature_views:\n", SOURCES)
}

async fn lookup(bench: &Bench, feature: &str, origin: &str) -> Option<f64> {
    let keys: Vec<(String, ArrayRef)> = vec![("origin".to_owned(), Arc::new(StringArray::from(vec![origin])))];
    let request = LookupRequest::new("flights", Selection::Features(vec![feature.to_owned()]), keys);
    let reply = bench.service.lookup(&bench.me, &request).unwrap();
    let found = reply.answer.feature(0);
    let Values::Doubles(values) = found.values else { panic!("{found:?}") };
    let value = values.iter().next();
    let held = found.held.is_none_or(|held| held[0] == 1);
    value.filter(|_| held)
}

async fn refresh(bench: &Bench, name: &str) -> Vec<(String, bool, bool, u64)> {
    let done = bench.service.refresh(&bench.me, "flights", name, false).await.unwrap();
    done.into_iter().map(|it| (it.source, it.refreshed.changed, it.refreshed.full, it.refreshed.rows)).collect()
}

async fn all_equal(bench: &Bench) {
    let mut reports = bench.service.parity(&bench.me, "flights", &[]).await.unwrap();
    while let Some(report) = reports.next().await {
        let report = report.unwrap();
        let parity = &report.parity;
        assert_eq!((parity.different, parity.missing, parity.extra), (0, 0, 0), "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_chained_by_queries() {
    let bench = bench().await;
    bench.apply(&definitions()).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0), ("JFK", 3, 30.0), ("EWR", 2, 1.0)])).await.unwrap();
    let early = bench.sql("SELECT * FROM warm_weather").await.unwrap_err();
    assert!(early.chain().contains("`tidegate refresh warm`"), "{}", early.chain());
    // What is there can be asked all the same.
    assert_eq!(bench.sql("SELECT count(*) FROM origin_weather").await.unwrap(), [["3"]]);
    let ingest = crate::service::IngestRequest {
        target: "warm".to_owned(),
        project: "flights".to_owned(),
        ..Default::default()
    };
    let refused = bench.service.ingest(&bench.me, ingest, weather(&[])).await.unwrap_err();
    assert!(refused.kind == ErrorKind::Precondition && refused.message.contains("is a query"), "{refused}");

    bench.materialize(false).await.unwrap();
    assert_eq!(lookup(&bench, "origin_totals:total", "JFK").await, Some(80.0));
    assert_eq!(lookup(&bench, "warm_weather:doubled", "JFK").await, Some(60.0));
    assert_eq!(lookup(&bench, "origin_totals:total", "EWR").await, None);
    all_equal(&bench).await;
    let nothing = [("warm".to_owned(), false, false, 0), ("totals".to_owned(), false, false, 0)];
    assert_eq!(refresh(&bench, "origin_totals").await, nothing);

    // A late row: one of the two queries can be followed, the other is computed anew.
    bench.ingest("b2", weather(&[("JFK", 2, 20.0), ("EWR", 1, 6.0)])).await.unwrap();
    let due = |name: &'static str| {
        let bench = &bench;
        async move {
            let project = bench.service.project("flights").await.unwrap();
            bench.service.queries.is_due(&project.catalog, name).await.unwrap()
        }
    };
    assert!(due("totals").await && due("warm").await && !due("weather").await);
    let some = [("warm".to_owned(), true, false, 2), ("totals".to_owned(), true, true, 2)];
    assert_eq!(refresh(&bench, "totals").await, some);
    assert!(!due("totals").await);
    bench.materialize(false).await.unwrap();
    assert_eq!(lookup(&bench, "origin_totals:total", "JFK").await, Some(120.0));
    assert_eq!(lookup(&bench, "origin_totals:total", "EWR").await, Some(12.0));
    assert_eq!(lookup(&bench, "warm_weather:doubled", "JFK").await, Some(60.0));
    all_equal(&bench).await;
    assert_eq!(
        bench.sql("SELECT n, total FROM origin_totals ORDER BY origin").await.unwrap(),
        [["1", "12.0"], ["3", "120.0"]]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_table_at_the_same_version_is_read_anew() {
    let bench = bench().await;
    bench.apply(&definitions()).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0)])).await.unwrap();
    refresh(&bench, "totals").await;
    let project = bench.service.project("flights").await.unwrap();
    let due = async |name: &str| bench.service.queries.is_due(&project.catalog, name).await.unwrap();
    assert!(!due("warm").await && !due("totals").await);
    bench.replace_table(1).await;
    assert!(due("warm").await && due("totals").await);
    let anew = [("warm".to_owned(), true, true, 1), ("totals".to_owned(), true, true, 1)];
    assert_eq!(refresh(&bench, "totals").await, anew);
    assert!(!due("totals").await);
}

/// What a crash between the commit of a query's rows and the end of a materialization leaves is gone on with, and nothing is done twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_between_does_nothing_twice() {
    let bench = bench().await;
    bench.apply(&definitions()).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0)])).await.unwrap();
    bench.materialize(false).await.unwrap();
    bench.ingest("b2", weather(&[("JFK", 2, 20.0)])).await.unwrap();
    assert!(refresh(&bench, "totals").await.iter().all(|done| done.1));
    let bench = bench.restart().await;
    assert_eq!(lookup(&bench, "origin_totals:total", "JFK").await, Some(20.0));
    assert!(refresh(&bench, "totals").await.iter().all(|done| !done.1));
    bench.materialize(false).await.unwrap();
    assert_eq!(lookup(&bench, "origin_totals:total", "JFK").await, Some(60.0));
    all_equal(&bench).await;
    let again = bench.materialize(false).await.unwrap();
    assert_eq!((again.rows_read, again.rows_written), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_one_recipe_are_never_read_as_those_of_another() {
    let bench = bench().await;
    bench.apply(&definitions()).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0)])).await.unwrap();
    bench.materialize(false).await.unwrap();
    assert_eq!(lookup(&bench, "origin_totals:total", "JFK").await, Some(20.0));

    // The feature that the second query sums is another column now; its own text is what it was.
    let moved = definitions().replace("column: twice", "column: temp");
    let planned = bench.service.plan(&bench.me, &files(&moved), false).await.unwrap();
    let told = planned.changes.iter().find(|change| change.name == "totals").map(|change| change.details.join("; "));
    assert!(told.is_some_and(|told| told.contains("computed anew")), "{:?}", planned.changes);
    bench.apply_breaking(&moved).await.unwrap();
    assert_eq!(lookup(&bench, "origin_totals:total", "JFK").await, None);
    assert_eq!(lookup(&bench, "warm_weather:doubled", "JFK").await, None);
    assert!(bench.sql("SELECT * FROM origin_totals").await.is_err());
    bench.materialize(false).await.unwrap();
    assert_eq!(lookup(&bench, "origin_totals:total", "JFK").await, Some(10.0));

    // The table of the earlier recipe is there still, and is only brought up to date.
    bench.service.rollback(&bench.me, "flights", 1, true).await.unwrap();
    bench.ingest("b2", weather(&[("JFK", 2, 20.0)])).await.unwrap();
    let done = refresh(&bench, "totals").await;
    assert_eq!(done, [("warm".to_owned(), true, false, 1), ("totals".to_owned(), true, true, 1)]);
    bench.materialize(false).await.unwrap();
    assert_eq!(lookup(&bench, "origin_totals:total", "JFK").await, Some(60.0));
    all_equal(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_held_against_what_they_read() {
    let bench = bench().await;
    let check = async |from: &str, to: &str, expect: &str| {
        let text = definitions();
        assert!(text.contains(from), "{from}");
        let text = text.replace(from, to);
        let planned = bench.service.plan(&bench.me, &files(&text), false).await.unwrap();
        let told: Vec<String> = planned.problems.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|told| told.contains(expect)), "{from} -> {to}: {told:?}");
        let line = planned.problems.iter().find(|it| it.message.contains(expect)).map(|it| it.line);
        assert!(line.is_some_and(|line| line > 0), "{expect} has a place");
        let refused = bench.apply(&text).await.unwrap_err();
        assert!(refused.kind == ErrorKind::Invalid && refused.problems.len() == planned.problems.len(), "{refused:?}");
    };
    check("temp * 2", "tmp * 2", "tmp").await;
    check("temp * 2 AS twice", "temp * 2 AS doubled", "it gives no column `twice` (float64)").await;
    check("temp * 2 AS twice", "CAST(temp AS VARCHAR) AS twice", "`twice` as string, and the definitions need float64")
        .await;
    check("temp > 5", "time_hour < now()", "`now` gives another value each time").await;
    check("FROM weather WHERE", "FROM totals WHERE", "totals").await;
    check("FROM weather WHERE", "FROM '/etc/passwd' WHERE", "passwd").await;
    check("sum(doubled)", "sum(twice)", "twice").await;

    bench.apply(&definitions()).await.unwrap();
    // A query in the registry that a change elsewhere breaks.
    let broken = definitions().replace("name: doubled, column: twice", "name: renamed, column: twice");
    let planned = bench.service.plan(&bench.me, &files(&broken), false).await.unwrap();
    assert!(planned.problems.iter().any(|problem| problem.message.contains("doubled")), "{:?}", planned.problems);
    let gone = bench.service.delete(&bench.me, "flights", "feature_view", "warm_weather").await.unwrap_err();
    assert_eq!(gone.kind, ErrorKind::Precondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_leaves_what_queries_have_yet_to_read() {
    let bench = bench().await;
    bench.apply(&definitions().replace("    serve_ttl: 2h\n", "    serve_ttl: 2h\n    online: false\n")).await.unwrap();
    for hour in 0..3 {
        bench.ingest(&format!("a{hour}"), weather(&[("JFK", hour, 10.0)])).await.unwrap();
    }
    assert_eq!(refresh(&bench, "warm").await, [("warm".to_owned(), true, true, 3)]);
    for hour in 3..6 {
        bench.ingest(&format!("b{hour}"), weather(&[("JFK", hour, 10.0)])).await.unwrap();
    }
    let (_, done) = bench.service.compact_table(&bench.me, "flights", "weather").await.unwrap();
    assert_eq!((done.files_before, done.rows), (3, 3));
    assert_eq!(refresh(&bench, "warm").await, [("warm".to_owned(), true, false, 3)]);
    // The table of a query is put in order like any other.
    let (_, done) = bench.service.compact_table(&bench.me, "flights", "warm").await.unwrap();
    assert_eq!((done.files_before, done.files_after, done.rows), (2, 1, 6));
    assert_eq!(refresh(&bench, "warm").await, [("warm".to_owned(), false, false, 0)]);
    // Long after the files were written, by their own times.
    bench.clock.set(1_000_000 * HOUR);
    let (_, vacuumed, _) = bench.service.vacuum_table(&bench.me, "flights", "warm", Some(0), false).await.unwrap();
    assert!(vacuumed.files > 0);
    assert_eq!(bench.sql("SELECT count(*) FROM sources.warm").await.unwrap(), [["6"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn features_are_followed_down_to_the_columns_of_tables() {
    let bench = bench().await;
    bench.apply(&definitions()).await.unwrap();
    let told = async |view: &str| {
        let steps = bench.service.lineage(&bench.me, "flights", view).await.unwrap();
        let place = |place: &Place| {
            let kind = if place.kind == tidegate_schemas::definition::Kind::Source { "s" } else { "v" };
            [kind, &place.name, &place.column].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
        };
        let line = |step: &LineageStep| {
            let from: Vec<String> = step.from.iter().map(place).collect();
            format!("{} <- {} ({})", place(&step.to), from.join(" "), step.by)
        };
        steps.iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(told("origin_weather").await, ["v.origin_weather.temp <- s.weather.temp (column)"]);
    assert_eq!(
        told("origin_totals").await,
        [
            "v.origin_totals.n <- s.totals.n (column)",
            "v.origin_totals.total <- s.totals.total (column)",
            "s.totals.n <-  (query)",
            "s.totals.total <- v.warm_weather.doubled (query)",
            "s.totals <- v.warm_weather.origin (rows)",
            "v.warm_weather.doubled <- s.warm.twice (column)",
            "v.warm_weather.origin <- s.warm.origin (column)",
            "s.warm.twice <- s.weather.temp (query)",
            "s.warm.origin <- s.weather.origin (query)",
            "s.warm <- s.weather.temp (rows)",
        ]
    );
    let unknown = bench.service.lineage(&bench.me, "flights", "origin_total").await.unwrap_err();
    assert!(unknown.kind == ErrorKind::NotFound && unknown.message.contains("`origin_totals`"), "{unknown}");
}
