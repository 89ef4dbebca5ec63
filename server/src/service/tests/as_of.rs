//! A lookup as of a time is what the lookup at that time was.

use tidegate_schemas::error::ErrorKind;

use super::*;

/// What is told of a reply, but for where it came from.
fn told(reply: &LookupReply) -> String {
    let features: Vec<String> = reply.features().map(|feature| format!("{feature:?}")).collect();
    format!("{} rows, {features:#?}, {:#?}", reply.answer.rows, reply.answer.views)
}

const SERVICE: &str = "\
feature_services:
  - name: late_arrival
    full_names: true
    views:
      - view: origin_weather
      - {view: origin_weather, alias: again}
    computed:
      - {name: warm, type: bool, expression: \"origin_weather.temp > 15\"}
      - {name: inverse, type: int64, expression: \"100 / cast(again.temp AS BIGINT)\"}
";

#[tokio::test(flavor = "multi_thread")]
async fn history_answers_what_was_served() {
    let bench = Bench::new().await;
    let features = "      - {name: temp, type: float64}\n";
    let service = "feature_services:\n  - name: late_arrival\n    views:\n      - view: origin_weather\n";
    let wider = "      - {name: temp, type: float64, default: -1}\n      - {name: felt, type: float64, column: temp}\n";
    bench.apply(&FLIGHTS.replace(features, wider).replace(service, SERVICE)).await.unwrap();
    let mut request = LookupRequest { full_names: true, ..lookup(&["JFK", "EWR", "LGA", "JFK"]) };
    let mut served = Vec::new();
    for (hour, rows) in [
        (1, vec![("JFK", 1, 10.0)]),
        (2, vec![("EWR", 2, 20.0), ("JFK", 2, 0.0)]),
        // Nothing new: what was there grows old.
        (4, vec![("LGA", 4, 16.0)]),
        (9, vec![("JFK", 8, 80.0), ("JFK", 9, 90.0)]),
    ] {
        bench.clock.set(hour * HOUR);
        bench.ingest(&format!("at-{hour}"), weather(&rows)).await.unwrap();
        bench.materialize(false).await.unwrap();
        for return_expired in [false, true] {
            request.return_expired = return_expired;
            let reply = bench.service.lookup(&bench.me, &request).unwrap();
            assert_eq!(reply.as_of, None);
            served.push((hour, return_expired, told(&reply)));
        }
    }
    assert!(served.iter().any(|(.., told)| told.contains("reasons: Some(")), "defaults stood in");
    for (hour, return_expired, expected) in served {
        request.return_expired = return_expired;
        let as_of = hour * HOUR;
        let reply = bench.service.lookup_as_of(&bench.me, &request, as_of).await.unwrap();
        assert_eq!(reply.as_of, Some(as_of));
        assert_eq!(told(&reply), expected, "at hour {hour}, return_expired {return_expired}");
    }
    let before = bench.service.lookup_as_of(&bench.me, &lookup(&["JFK"]), 0).await.unwrap();
    assert!(before.answer.views.iter().all(|view| view.event_times == [i64::MIN]), "{before:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_checked_as_any_lookup() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    let refused =
        async |request: LookupRequest| bench.service.lookup_as_of(&bench.me, &request, HOUR).await.unwrap_err();
    let unknown = LookupRequest { selection: Selection::Service("late".to_owned()), ..lookup(&["JFK"]) };
    assert_eq!(refused(unknown).await.kind, ErrorKind::NotFound);
    let error = refused(LookupRequest { keys: Vec::new(), ..lookup(&["JFK"]) }).await;
    assert!(error.message.contains("need the key origin"), "{error}");
    let empty = bench.service.lookup_as_of(&bench.me, &lookup(&[]), HOUR).await.unwrap();
    assert_eq!(empty.answer.rows, 0);
}

/// A write's token is good for reads on the server that gave it.
#[tokio::test(flavor = "multi_thread")]
async fn reads_after_a_write() {
    let (bench, other) = (Bench::new().await, Bench::new().await);
    for bench in [&bench, &other] {
        bench.apply(FLIGHTS).await.unwrap();
        bench.ingest("b1", weather(&[("JFK", 1, 10.0)])).await.unwrap();
    }
    let token = bench.materialize(false).await.unwrap().write_token;
    let after = |token: &str| LookupRequest { after_write: Some(token.to_owned()), ..lookup(&["JFK"]) };
    let seen = bench.service.lookup(&bench.me, &after(&token)).unwrap();
    assert!(seen.answer.feature(0).present(0));
    let error = other.service.lookup(&other.me, &after(&token)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Precondition, "{error}");
    let error = bench.service.lookup(&bench.me, &after("yesterday")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    let bench = bench.restart().await;
    assert!(bench.service.lookup(&bench.me, &after(&token)).is_ok(), "after a restart");
}
