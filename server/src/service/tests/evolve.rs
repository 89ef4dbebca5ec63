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

/// The readings with floats in place of doubles.
fn floats(readings: Batches) -> Batches {
    let schema = readings.schema.clone();
    let batch = futures::executor::block_on(readings.collect()).unwrap().remove(0);
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| match field.name().as_str() {
        "temp" => (field.name().as_str(), arrow::compute::cast(column, &arrow::datatypes::DataType::Float32).unwrap()),
        name => (name, column.clone()),
    });
    let batch = arrow::array::RecordBatch::try_from_iter(columns).unwrap();
    Batches::from_vec(batch.schema(), vec![batch])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_widened_feature_takes_wider_values_by_every_way_in() {
    let bench = Bench::new().await;
    bench.apply(&with("      - {name: temp, type: float32}\n")).await.unwrap();
    bench.ingest("b1", floats(weather(&[("JFK", 1, 10.5), ("EWR", 1, 20.5)]))).await.unwrap();
    bench.materialize(false).await.unwrap();
    bench.clock.set(HOUR);
    let push = async |readings: Batches| {
        let (project, target) = ("flights".to_owned(), "weather".to_owned());
        let request = PushRequest { project, target, ..PushRequest::default() };
        bench.service.push(&bench.me, request, readings).await.unwrap()
    };
    // On its way to the table when the definitions change.
    push(floats(weather(&[("BOS", 1, 30.5)]))).await;
    bench.apply_breaking(FLIGHTS).await.unwrap();
    assert_eq!(told(&bench, "temp", "JFK").unwrap(), "10.5 1", "nothing is read again");
    assert_eq!(bench.sql("SELECT max(temp) FROM origin_weather").await.unwrap(), [["20.5"]]);

    bench.clock.set(2 * HOUR);
    push(weather(&[("JFK", 2, 0.1)])).await;
    assert_eq!(told(&bench, "temp", "JFK").unwrap(), "0.1 1");
    bench.service.flush(&bench.me, "flights", "weather").await.unwrap();
    bench.ingest("b2", weather(&[("LGA", 2, 1e300)])).await.unwrap();
    let rows = bench.sql("SELECT origin, temp, arrow_typeof(temp) FROM sources.weather ORDER BY 1, 2").await.unwrap();
    let wide = "Float64".to_owned();
    let row = |origin: &str, temp: &str| vec![origin.to_owned(), temp.to_owned(), wide.clone()];
    assert_eq!(
        rows,
        [row("BOS", "30.5"), row("EWR", "20.5"), row("JFK", "0.1"), row("JFK", "10.5"), row("LGA", "1e300")]
    );
    let done = bench.materialize(false).await.unwrap();
    assert!(!done.full, "what was materialized stays: {done:?}");
    assert_eq!(told(&bench, "temp", "LGA").unwrap(), format!("{} 1", 1e300));
    let parity: Vec<_> = {
        use futures::TryStreamExt;
        bench.service.parity(&bench.me, "flights", &[]).await.unwrap().try_collect().await.unwrap()
    };
    assert!(parity.iter().all(|view| view.parity.holds() && view.parity.equal == 4), "{parity:?}");
    let narrower = bench.apply_breaking(&with("      - {name: temp, type: float32}\n")).await.unwrap_err();
    assert!(narrower.message.contains("wider"), "{narrower}");
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
