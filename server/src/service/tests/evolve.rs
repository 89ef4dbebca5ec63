//! Features that are added, widened, renamed, dropped and given other defaults, while rows of the old definitions are served and callers
//! of either age ask.

use super::*;

/// The project's view with these features instead of its own.
fn with(features: &str) -> String {
    FLIGHTS.replace("      - {name: temp, type: float64}\n", features)
}

/// What a lookup of one feature of one airport says: its value or its status.
fn told(bench: &Bench, feature: &str, origin: &str) -> Result<String> {
    let keys: Vec<(String, ArrayRef)> =
        vec![("origin".to_owned(), Arc::new(StringArray::from(vec![origin.to_owned()])))];
    let selection = Selection::Features(vec![format!("origin_weather:{feature}")]);
    let reply = bench.service.lookup(&bench.me, &LookupRequest::new("flights", selection, keys))?;
    let found = reply.answer.feature(0);
    let statuses = found.statuses.map_or(1, |statuses| statuses[0]);
    Ok(match found.values {
        Values::Doubles(values) if found.present(0) => format!("{} {statuses}", values.iter().next().unwrap()),
        _ => format!("- {statuses}"),
    })
}

async fn bench() -> Bench {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0), ("EWR", 1, 20.0)])).await.unwrap();
    bench.materialize(false).await.unwrap();
    bench.clock.set(HOUR);
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_feature_is_served_without_being_read_again() {
    let bench = bench().await;
    let renamed = with("      - {name: celsius, type: float64, column: temp, renamed_from: temp}\n");
    let planned = bench.service.plan(&bench.me, &files(&renamed), false).await.unwrap();
    let change = planned.changes.iter().find(|change| change.name == "origin_weather").unwrap();
    assert!(change.details.contains(&"served values of temp are those of celsius".to_owned()), "{change}");
    bench.apply_breaking(&renamed).await.unwrap();
    assert_eq!(told(&bench, "celsius", "JFK").unwrap(), "10 1");
    let old = told(&bench, "temp", "JFK").unwrap_err();
    assert!(
        old.kind == ErrorKind::NotFound && old.message.contains("origin_weather:temp"),
        "a caller of the old name: {old}"
    );
    bench.ingest("b2", weather(&[("JFK", 2, 11.0)])).await.unwrap();
    bench.clock.set(2 * HOUR);
    let done = bench.materialize(false).await.unwrap();
    assert!(!done.full && done.rows_written == 1, "{done:?}");
    assert_eq!(
        (told(&bench, "celsius", "JFK").unwrap(), told(&bench, "celsius", "EWR").unwrap()),
        ("11 1".into(), "20 1".into())
    );
    let bench = bench.restart().await;
    bench.clock.set(2 * HOUR);
    assert_eq!(told(&bench, "celsius", "EWR").unwrap(), "20 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_feature_is_null_until_the_next_run_reads_all_rows() {
    let bench = bench().await;
    let more = "      - {name: temp, type: float64}\n      - {name: gust, type: float64, column: wind, default: -1}\n";
    bench.apply(&with(more)).await.unwrap();
    assert_eq!(told(&bench, "gust", "JFK").unwrap(), "-1 5", "the default stands in");
    assert_eq!(told(&bench, "temp", "JFK").unwrap(), "10 1");
    // A default is not stored: another one counts at once.
    bench.apply(&with(&more.replace("-1", "-2"))).await.unwrap();
    assert_eq!(told(&bench, "gust", "JFK").unwrap(), "-2 5");
    let done = bench.materialize(false).await.unwrap();
    assert!(done.full, "{done:?}");
    assert_eq!(told(&bench, "temp", "JFK").unwrap(), "10 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_feature_that_comes_back_is_another() {
    let bench = bench().await;
    bench.apply_breaking(&with("      - {name: gust, type: float64, column: wind}\n")).await.unwrap();
    assert_eq!(told(&bench, "temp", "JFK").unwrap_err().kind, ErrorKind::NotFound);
    bench.apply_breaking(FLIGHTS).await.unwrap();
    assert_eq!(told(&bench, "temp", "JFK").unwrap(), "- 2", "what is stored is not read under the name again");
    let done = bench.materialize(false).await.unwrap();
    assert!(done.full, "{done:?}");
    assert_eq!(told(&bench, "temp", "JFK").unwrap(), "10 1");
}
