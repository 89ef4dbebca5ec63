//! Views retain what their definitions say, and a view that is dropped says what it had.

use futures::TryStreamExt;

use super::*;
use crate::service::tests::bench::{Bench, FLIGHTS, HOUR, weather};
use crate::service::tests::lookup;

const SERVED: &str = "    serve_ttl: 2h\n";

fn retaining(retention: &str) -> String {
    FLIGHTS.replace(SERVED, &format!("{SERVED}    retention: {retention}\n"))
}

async fn bench() -> Bench {
    let bench = Bench::new().await;
    bench.apply(&retaining("48h")).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0), ("EWR", 60, 20.0), ("LGA", 90, 30.0)])).await.unwrap();
    bench.materialize(false).await.unwrap();
    bench
}

async fn rows(bench: &Bench) -> u64 {
    let parity: Vec<_> = bench.service.parity(&bench.me, "flights", &[]).await.unwrap().try_collect().await.unwrap();
    assert!(parity[0].parity.holds(), "{parity:?}");
    parity[0].parity.equal
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_go_at_the_keepers_turn_and_stay_away() {
    let bench = bench().await;
    bench.clock.set(100 * HOUR);
    assert_eq!(rows(&bench).await, 3);
    bench.service.retain_all().await;
    assert_eq!(rows(&bench).await, 2, "parity is of what is retained");
    bench.materialize(true).await.unwrap();
    assert_eq!(rows(&bench).await, 2, "a full refresh brings nothing back");
    bench.clock.set(120 * HOUR);
    let done = bench.service.retain(&bench.me, "flights", &[]).await.unwrap();
    assert_eq!((done.len(), done[0].cut, done[0].rows), (1, 72 * HOUR, 1));
    assert!(done[0].bytes > 0);
    // Kept for ever from now on: what was deleted comes back with the next refresh.
    bench.apply(FLIGHTS).await.unwrap();
    bench.service.retain_all().await;
    let refused = bench.service.retain(&bench.me, "flights", &["origin_weather".to_owned()]).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Precondition);
    assert!(bench.service.retain(&bench.me, "flights", &[]).await.unwrap().is_empty());
    bench.materialize(true).await.unwrap();
    assert_eq!(rows(&bench).await, 3);
}

/// A view of one window over the readings, retained for as long as the window and its hop need.
fn counting(window: &str, retention: &str) -> String {
    let view = format!(
        "  - name: origin_counts
    entities: [airport]
    source: weather
    retention: {retention}
    features:
      - {{name: readings, type: int64, aggregate: {{fn: count, window: {window}, hop: 1h}}}}
feature_services:
"
    );
    FLIGHTS.replace("feature_services:\n", &view)
}

fn readings(bench: &Bench) -> Option<i64> {
    use arrow::array::{ArrayRef, StringArray};
    let keys: Vec<(String, ArrayRef)> = vec![("origin".to_owned(), Arc::new(StringArray::from(vec!["JFK"])))];
    let selection = tidegate_schemas::catalog::Selection::Features(vec!["origin_counts:readings".to_owned()]);
    let reply =
        bench.service.lookup(&bench.me, &crate::service::LookupRequest::new("flights", selection, keys)).unwrap();
    let feature = reply.answer.feature(0);
    let crate::service::Values::Int64s(values) = feature.values else { panic!("{reply:?}") };
    values.iter().next().filter(|_| feature.present(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_count_what_they_did_after_old_tiles_went() {
    let bench = Bench::new().await;
    bench.apply(&counting("3h", "4h")).await.unwrap();
    let hours = [1, 2, 20, 48, 49, 50];
    bench.ingest("b1", weather(&hours.map(|hour| ("JFK", hour, 1.0)))).await.unwrap();
    bench.clock.set(50 * HOUR);
    bench.materialize_now(false).await.unwrap();
    let parity = async || {
        let views = ["origin_counts".to_owned()];
        let reports = bench.service.parity(&bench.me, "flights", &views).await.unwrap();
        reports.try_collect::<Vec<_>>().await.unwrap().remove(0).parity
    };
    for full in [false, true] {
        let done = bench.service.retain(&bench.me, "flights", &["origin_counts".to_owned()]).await.unwrap();
        assert_eq!((done[0].cut, done[0].rows > 0), (46 * HOUR, !full), "{done:?}");
        assert_eq!(readings(&bench), Some(3));
        assert!(parity().await.holds());
        bench.materialize_now(true).await.unwrap();
    }
    // A late event behind the cut is in no window; one within it is.
    bench.ingest("b2", weather(&[("JFK", 45, 1.0), ("JFK", 48, 2.0)])).await.unwrap();
    bench.materialize_now(false).await.unwrap();
    assert_eq!(readings(&bench), Some(4));
    assert!(parity().await.holds());
    // A longer window does not wait for the keeper to count what is retained for it.
    bench.apply_breaking(&counting("40h", "41h")).await.unwrap();
    bench.materialize_now(true).await.unwrap();
    assert_eq!(readings(&bench), Some(6), "all since hour 10");
    assert!(parity().await.holds());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_dropped_with_its_rows() {
    let bench = bench().await;
    let used = bench.service.drop_view(&bench.me, "flights", "origin_weather").await.unwrap_err();
    assert!(used.message.contains("late_arrival"), "{used}");
    bench.service.delete(&bench.me, "flights", "feature_service", "late_arrival").await.unwrap();
    let done = bench.service.drop_view(&bench.me, "flights", "origin_weather").await.unwrap();
    assert_eq!((done.version, done.rows), (Some(3), 3));
    assert!(done.bytes > 0);
    let gone = bench.service.drop_view(&bench.me, "flights", "origin_weather").await.unwrap_err();
    assert_eq!(gone.kind, ErrorKind::NotFound);
    // Its table is there, and the view may come back from it.
    bench.apply(FLIGHTS).await.unwrap();
    let reply = bench.service.lookup(&bench.me, &lookup(&["LGA"])).unwrap();
    assert_eq!(reply.answer.feature(0).statuses, Some([3].as_slice()), "NOT_FOUND until it is materialized");
    bench.materialize(false).await.unwrap();
    bench.clock.set(100 * HOUR);
    assert_eq!(rows(&bench).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_view_whose_definition_went_first_are_dropped_too() {
    let bench = bench().await;
    bench.service.delete(&bench.me, "flights", "feature_service", "late_arrival").await.unwrap();
    bench.service.delete(&bench.me, "flights", "feature_view", "origin_weather").await.unwrap();
    let done = bench.service.drop_view(&bench.me, "flights", "origin_weather").await.unwrap();
    assert_eq!((done.version, done.rows), (None, 3));
}
