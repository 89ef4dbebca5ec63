//! Materialization: whatever happens in between, the online tier ends where an undisturbed run ends.
//!
//! Jobs are cut short after every batch, with one row per batch, and resumed, with and without a restart of the store.

mod feast;
mod rewrites;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::Float64Type;
use futures::StreamExt;
use tidegate_schemas::catalog::Selection;
use tidegate_schemas::error::ErrorKind;

use super::*;
use crate::service::tests::bench::{Bench, FLIGHTS, LATE, files, weather};
use crate::service::{LookupRequest, MaterializeRequest, Values};

/// What lookups answer, by origin; expired values included.
fn served(bench: &Bench, origins: &[&str]) -> BTreeMap<String, f64> {
    let keys: Vec<(String, ArrayRef)> = vec![("origin".to_owned(), Arc::new(StringArray::from(origins.to_vec())))];
    let temp = Selection::Features(vec!["origin_weather:temp".to_owned()]);
    let request = LookupRequest { return_expired: true, ..LookupRequest::new("flights", temp, keys) };
    let reply = bench.service.lookup(&bench.me, &request).unwrap();
    let feature = reply.answer.feature(0);
    let Values::Doubles(values) = feature.values else { panic!("{reply:?}") };
    let rows = origins.iter().zip(values.iter()).enumerate().filter(|(row, _)| feature.present(*row));
    rows.map(|(_, (origin, value))| ((*origin).to_owned(), value)).collect()
}

fn expect(pairs: &[(&str, f64)]) -> BTreeMap<String, f64> {
    pairs.iter().map(|(origin, value)| ((*origin).to_owned(), *value)).collect()
}

fn request(full: bool) -> MaterializeRequest {
    MaterializeRequest { project: "flights".to_owned(), full, ..MaterializeRequest::default() }
}

/// Starts a job and walks away after so many reports.
async fn interrupt_after(bench: &Bench, reports: usize, full: bool) {
    bench.clock.set(LATE);
    let mut stream = bench.service.materialize(&bench.me, request(full)).await.unwrap();
    for _ in 0..reports {
        let _ = stream.next().await;
    }
    drop(stream);
}

const ORIGINS: [&str; 4] = ["JFK", "EWR", "LGA", "BOS"];

#[tokio::test(flavor = "multi_thread")]
async fn again_changes_nothing() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 1.0), ("JFK", 2, 2.0), ("EWR", 1, 3.0)])).await.unwrap();
    let first = bench.materialize(false).await.unwrap();
    assert!(first.full && first.is_done() && first.from_version.is_none());
    let state = expect(&[("JFK", 2.0), ("EWR", 3.0)]);
    assert_eq!(served(&bench, &ORIGINS), state);
    let again = bench.materialize(false).await.unwrap();
    assert_eq!((again.rows_read, again.rows_written, again.full), (0, 0, false));
    assert_eq!(again.from_version, Some(again.to_version));
    let full = bench.materialize(true).await.unwrap();
    assert!(full.full && full.rows_read == 3);
    assert_eq!(served(&bench, &ORIGINS), state);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_rows_are_read_and_older_ones_do_not_win() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 10, 10.0), ("EWR", 10, 11.0)])).await.unwrap();
    bench.materialize(false).await.unwrap();
    // JFK's is older than what is there, LGA's is older than everything and the first of its key, EWR's corrects the same hour.
    bench.ingest("b2", weather(&[("JFK", 5, 5.0), ("LGA", 1, 1.0), ("EWR", 10, 12.0)])).await.unwrap();
    let report = bench.materialize(false).await.unwrap();
    assert_eq!((report.rows_read, report.rows_written, report.full), (3, 2, false));
    assert_eq!(served(&bench, &ORIGINS), expect(&[("JFK", 10.0), ("EWR", 12.0), ("LGA", 1.0)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_anywhere_it_ends_the_same() {
    for full in [false, true] {
        for reports in 0..6 {
            let bench = Bench::with_batch_rows(1).await;
            bench.apply(FLIGHTS).await.unwrap();
            bench.ingest("b1", weather(&[("JFK", 1, 1.0), ("EWR", 1, 2.0)])).await.unwrap();
            bench.materialize(false).await.unwrap();
            let more = [("JFK", 3, 3.0), ("JFK", 2, 9.0), ("LGA", 1, 4.0), ("BOS", 1, 5.0)];
            bench.ingest("b2", weather(&more)).await.unwrap();
            interrupt_after(&bench, reports, full).await;
            let bench = if reports % 2 == 0 { bench.restart().await } else { bench };
            bench.materialize(false).await.unwrap();
            let state = expect(&[("JFK", 3.0), ("EWR", 2.0), ("LGA", 4.0), ("BOS", 5.0)]);
            assert_eq!(served(&bench, &ORIGINS), state, "full {full}, interrupted after {reports} reports");
            let status = bench.service.materialize_status(&bench.me, "flights", &[]).await.unwrap();
            assert!(!status[0].in_progress && status[0].cursor == status[0].table_version, "{status:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_feature_rebuilds_the_view() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 1.0)])).await.unwrap();
    bench.materialize(false).await.unwrap();
    let extended = FLIGHTS.replace(
        "type: float64}\nfeature_services",
        "type: float64}\n      - {name: wind, type: float64}\nfeature_services",
    );
    assert_ne!(extended, FLIGHTS);
    bench.apply(&extended).await.unwrap();
    assert_eq!(served(&bench, &ORIGINS), expect(&[("JFK", 1.0)]));
    let report = bench.materialize(false).await.unwrap();
    assert!(report.full && report.rows_read == 1, "{report:?}");
    assert_eq!(served(&bench, &ORIGINS), expect(&[("JFK", 1.0)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_reads_something_else_starts_over() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 1.0)])).await.unwrap();
    bench.materialize(false).await.unwrap();
    let moved = FLIGHTS.replace("{name: temp, type: float64}", "{name: temp, type: float64, column: wind}");
    bench.apply_breaking(&moved).await.unwrap();
    assert_eq!(served(&bench, &ORIGINS), expect(&[]));
    let bench = bench.restart().await;
    let report = bench.materialize(false).await.unwrap();
    assert!(report.full && report.rows_read == 1, "{report:?}");
    bench.apply_breaking(FLIGHTS).await.unwrap();
    bench.materialize(false).await.unwrap();
    assert_eq!(served(&bench, &ORIGINS), expect(&[("JFK", 1.0)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_at_a_time_has_a_view() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    let claims = Claims::default();
    let claim = claims.claim("flights", "origin_weather").unwrap();
    assert!(claims.claim("flights", "origin_weather").is_none());
    assert!(claims.claim("trips", "origin_weather").is_some());
    drop(claim);
    assert!(claims.claim("flights", "origin_weather").is_some());
    let unknown = MaterializeRequest { views: vec!["origin_wether".to_owned()], ..request(false) };
    let error = bench.service.materialize(&bench.me, unknown).await.err().expect("no such view");
    assert!(error.kind == ErrorKind::NotFound && error.message.contains("origin_weather"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_jobs_at_a_batch() {
    let bench = Bench::with_batch_rows(1).await;
    bench.apply(FLIGHTS).await.unwrap();
    let rows: Vec<_> = (0..200).map(|hour| ("JFK", hour, hour as f64)).collect();
    bench.ingest("b1", weather(&rows)).await.unwrap();
    bench.clock.set(LATE);
    let mut stream = bench.service.materialize(&bench.me, request(false)).await.unwrap();
    let _ = stream.next().await;
    let shutdown = bench.shutdown.clone();
    let stopping = tokio::spawn(async move { shutdown.finish(std::time::Duration::from_secs(20)).await });
    let mut last = None;
    while let Some(report) = stream.next().await {
        last = Some(report);
    }
    assert!(stopping.await.unwrap().is_empty(), "the job should stop in time");
    if let Some(Err(error)) = last {
        assert_eq!(error.kind, ErrorKind::Unavailable);
    }
    let bench = bench.restart().await;
    bench.materialize(false).await.unwrap();
    assert_eq!(served(&bench, &ORIGINS), expect(&[("JFK", 199.0)]));
}

#[test]
fn rows_that_are_no_observations_are_left_out_and_counted() {
    let catalog = tidegate_schemas::file::check(&files(FLIGHTS)).unwrap();
    let columns = rows::Columns::of(&catalog, &catalog.views["origin_weather"], &catalog.sources["weather"]);
    assert_eq!(columns.names(), ["origin", "time_hour", "temp"]);
    let origins: ArrayRef = Arc::new(StringArray::from(vec![Some("JFK"), None, Some("EWR"), Some("LGA")]));
    // Nanoseconds round up: a reading is never older than it says.
    let nanos = TimestampNanosecondArray::from(vec![Some(1_001), Some(2_000), None, Some(-1_999)]);
    let temps: ArrayRef = Arc::new(Float32Array::from(vec![Some(1.5), Some(2.0), Some(3.0), None]));
    let batch =
        RecordBatch::try_from_iter([("origin", origins), ("time_hour", Arc::new(nanos) as ArrayRef), ("temp", temps)]);
    let found = columns.read(&batch.unwrap()).unwrap();
    assert_eq!(found.skipped, 2);
    assert_eq!(found.event.values().as_ref(), [2, -1]);
    assert_eq!(found.keys[0].as_string::<i32>().value(1), "LGA");
    assert_eq!(found.features[0].as_primitive::<Float64Type>().value(0), 1.5);
    assert!(found.features[0].is_null(1));
}

#[test]
fn positions_are_one_number() {
    for (file, row) in [(0, 0), (3, 7), (16_777_215, (1 << 40) - 1)] {
        let position = Position { file, row };
        assert_eq!(Position::decode(position.encode()), position);
    }
}
