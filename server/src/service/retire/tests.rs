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
