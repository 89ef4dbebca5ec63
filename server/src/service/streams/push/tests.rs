//! Pushes end to end, without a door: what is acknowledged is served and reaches the table once, what is bad is told and holds up
//! nothing.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use tidegate_offline::table::Since;
use tidegate_schemas::catalog::Selection;
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::Micros;

use super::*;
use crate::service::tests::bench::{Bench, FLIGHTS, HOUR, LATE};
use crate::service::{LookupRequest, Values};

/// The view `origin_weather` and a second one of the same source, with event ids.
fn two_views() -> String {
    FLIGHTS
        .replace("    event_time: time_hour\n", "    event_time: time_hour\n    event_id: reading\n")
        .replace("columns: [{name: wind, type: float64}]", "columns: [{name: wind, type: float64}, {name: reading, type: string}]")
        .replace(
            "feature_services:\n",
            "  - name: origin_wind\n    entities: [airport]\n    source: weather\n    features:\n      - {name: wind, type: float64}\n\
             feature_services:\n",
        )
}

/// A reading: origin, time in microseconds, temperature, id.
type Reading<'a> = (Option<&'a str>, Option<Micros>, f64, Option<&'a str>);

fn readings(rows: &[Reading<'_>]) -> Batches {
    let origins: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<StringArray>());
    let times: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<TimestampMicrosecondArray>());
    let temps: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2)));
    let winds: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| -row.2)));
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.3).collect::<StringArray>());
    let columns = [("origin", origins), ("time_hour", times), ("temp", temps), ("wind", winds), ("reading", ids)];
    batch(columns.to_vec())
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Batches {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
    let batch = batch.unwrap();
    Batches::from_vec(batch.schema(), vec![batch])
}

fn reading<'a>(origin: &'a str, hour: i64, temp: f64, id: &'a str) -> Reading<'a> {
    (Some(origin), Some(hour * HOUR), temp, Some(id))
}

fn request(target: &str, to: PushTo) -> PushRequest {
    PushRequest { project: "flights".to_owned(), target: target.to_owned(), to, event_ids: None }
}

async fn bench() -> Bench {
    let bench = Bench::new().await;
    bench.apply(&two_views()).await.unwrap();
    bench.clock.set(LATE);
    bench
}

async fn push(bench: &Bench, rows: &[Reading<'_>]) -> PushOutcome {
    bench.service.push(&bench.me, request("weather", PushTo::Both), readings(rows)).await.unwrap()
}

/// A feature of some origins, as lookups see it.
fn served(bench: &Bench, reference: &str, origins: &[&str]) -> Vec<Option<f64>> {
    let keys: Vec<(String, ArrayRef)> = vec![("origin".to_owned(), Arc::new(StringArray::from(origins.to_vec())))];
    let features = Selection::Features(vec![reference.to_owned()]);
    let request = LookupRequest { return_expired: true, ..LookupRequest::new("flights", features, keys) };
    let reply = bench.service.lookup(&bench.me, &request).unwrap();
    let feature = reply.answer.feature(0);
    let Values::Doubles(values) = feature.values else { panic!("{reply:?}") };
    values.iter().enumerate().map(|(row, value)| feature.present(row).then_some(value)).collect()
}

async fn table(bench: &Bench) -> Vec<Vec<String>> {
    bench.sql("SELECT origin, temp FROM sources.weather ORDER BY origin, temp").await.unwrap()
}

async fn flush(bench: &Bench) -> Flushed {
    bench.service.flush(&bench.me, "flights", "weather").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_served_by_every_view_and_reaches_the_table() {
    let bench = bench().await;
    let outcome =
        push(&bench, &[reading("JFK", 1, 1.0, "a"), reading("JFK", 3, 3.0, "b"), reading("EWR", 2, 2.0, "c")]).await;
    assert_eq!((outcome.accepted, outcome.kept, outcome.duplicates, outcome.waiting), (3, 1, 0, 0));
    assert!(outcome.quarantined.is_empty());
    assert_eq!(served(&bench, "origin_weather:temp", &["JFK", "EWR", "LGA"]), [Some(3.0), Some(2.0), None]);
    assert_eq!(served(&bench, "origin_wind:wind", &["JFK", "EWR", "LGA"]), [Some(-3.0), Some(-2.0), None]);
    assert!(table(&bench).await.is_empty(), "nothing is in the table yet");
    let flushed = flush(&bench).await;
    assert_eq!((flushed.source.as_str(), flushed.rows), ("weather", 3));
    assert_eq!(table(&bench).await, [["EWR", "2.0"], ["JFK", "1.0"], ["JFK", "3.0"]]);
    let again = flush(&bench).await;
    assert_eq!((again.version, again.rows), (flushed.version, 0));
    // An older row that comes later is seen by no lookup, and is in the table.
    let late = push(&bench, &[reading("JFK", 2, 9.0, "d")]).await;
    assert_eq!((late.accepted, late.kept), (1, 1));
    assert_eq!(served(&bench, "origin_weather:temp", &["JFK"]), [Some(3.0)]);
    let metrics = bench.service.metrics();
    for line in [
        "tidegate_push_rows_total{result=\"accepted\"} 4",
        "tidegate_outbox_rows{project=\"flights\",source=\"weather\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    flush(&bench).await;
    bench.materialize(false).await.unwrap();
    for parity in parities(&bench).await {
        assert_eq!((parity.parity.equal, parity.parity.ahead, parity.parity.holds()), (2, 0, true), "{parity:?}");
    }
}

async fn parities(bench: &Bench) -> Vec<crate::service::ViewParity> {
    use futures::StreamExt;
    let reports = bench.service.parity(&bench.me, "flights", &[]).await.unwrap();
    reports.map(|report| report.unwrap()).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_counts_once_and_its_id_has_one_content() {
    let bench = bench().await;
    push(&bench, &[reading("JFK", 1, 1.0, "a")]).await;
    let again =
        push(&bench, &[reading("JFK", 1, 1.0, "a"), reading("EWR", 1, 2.0, "b"), reading("EWR", 1, 2.0, "b")]).await;
    assert_eq!((again.accepted, again.duplicates), (1, 2));
    let other = push(&bench, &[reading("JFK", 1, 7.0, "a"), reading("LGA", 1, 3.0, "c")]).await;
    assert_eq!((other.accepted, other.duplicates), (1, 0));
    let [bad] = other.quarantined.as_slice() else { panic!("{other:?}") };
    assert_eq!((bad.reason, bad.rows), ("duplicate id with other content", 1));
    assert!(bad.example.contains("row 0") && bad.example.contains("`a`"), "{bad:?}");
    assert_eq!(served(&bench, "origin_weather:temp", &["JFK", "LGA"]), [Some(1.0), Some(3.0)]);
    let bench = bench.restart().await;
    bench.clock.set(LATE);
    assert_eq!(push(&bench, &[reading("JFK", 1, 1.0, "a")]).await.duplicates, 1);
    flush(&bench).await;
    assert_eq!(table(&bench).await, [["EWR", "2.0"], ["JFK", "1.0"], ["LGA", "3.0"]]);
    let quarantined = bench.sql("SELECT target, origin, reason, row FROM sources._quarantine").await.unwrap();
    let [row] = quarantined.as_slice() else { panic!("{quarantined:?}") };
    assert_eq!(row[..3], ["weather", "push", "duplicate id with other content"]);
    assert!(row[3].contains("\"temp\":7.0") && row[3].contains("\"reading\":\"a\""), "{}", row[3]);
    // Ids that came long ago are not remembered.
    bench.clock.set(LATE + 8 * 24 * HOUR);
    assert_eq!(push(&bench, &[reading("JFK", 1, 1.0, "a")]).await.duplicates, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_is_told_with_its_reason_and_holds_up_no_other() {
    let bench = bench().await;
    let rows = [
        (None, Some(HOUR), 1.0, Some("a")),
        (Some("JFK"), None, 1.0, Some("b")),
        (Some("JFK"), Some(LATE + 2 * HOUR), 1.0, Some("c")),
        (Some("JFK"), Some(0), 4.0, Some("d")),
        (Some("EWR"), Some(-1), 5.0, None),
    ];
    let outcome = push(&bench, &rows).await;
    assert_eq!(outcome.accepted, 2, "{outcome:?}");
    let reasons: Vec<_> = outcome.quarantined.iter().map(|bad| (bad.reason, bad.rows)).collect();
    assert_eq!(reasons, [("null key", 1), ("null event time", 1), ("event time in the future", 1)]);
    assert_eq!(served(&bench, "origin_weather:temp", &["JFK", "EWR"]), [Some(4.0), Some(5.0)]);
    // The id of a row that was refused is free: the row may come again, mended.
    assert_eq!(push(&bench, &[reading("LGA", 1, 6.0, "a")]).await.accepted, 1);
    flush(&bench).await;
    let counted = bench.sql("SELECT reason, count(*) FROM sources._quarantine GROUP BY 1 ORDER BY 1").await.unwrap();
    assert_eq!(counted, [["event time in the future", "1"], ["null event time", "1"], ["null key", "1"]]);
    let misfit = batch(vec![
        ("origin", Arc::new(StringArray::from(vec!["JFK", "BOS"])) as ArrayRef),
        ("time_hour", Arc::new(StringArray::from(vec!["someday", "1970-01-01T01:00:00Z"]))),
        ("temp", Arc::new(Int64Array::from(vec![1, 8]))),
        ("wind", Arc::new(Int64Array::from(vec![1, 8]))),
    ]);
    let outcome = bench.service.push(&bench.me, request("weather", PushTo::Both), misfit).await.unwrap();
    assert_eq!((outcome.accepted, outcome.quarantined[0].reason), (1, "value does not fit"));
    assert!(outcome.quarantined[0].example.contains("someday"), "{outcome:?}");
    assert_eq!(served(&bench, "origin_weather:temp", &["BOS"]), [Some(8.0)]);
    let metrics = bench.service.metrics();
    assert!(metrics.contains("tidegate_quarantined_rows_total{reason=\"null key\"} 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_at_all_is_refused_whole() {
    let bench = bench().await;
    let check = async |request: PushRequest, rows: Batches, kind: ErrorKind, word: &str| {
        let error = bench.service.push(&bench.me, request, rows).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(word), "{error}");
    };
    let rows = || readings(&[reading("JFK", 1, 1.0, "a")]);
    check(request("wether", PushTo::Both), rows(), ErrorKind::NotFound, "did you mean `weather`?").await;
    let lacks = batch(vec![("origin", Arc::new(StringArray::from(vec!["JFK"])) as ArrayRef)]);
    check(request("weather", PushTo::Both), lacks, ErrorKind::Invalid, "time_hour").await;
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let two = PushRequest { event_ids: Some(ids), ..request("weather", PushTo::Both) };
    check(two, rows(), ErrorKind::Invalid, "2 event ids came with 1 rows").await;
    bench.apply_breaking(&two_views().replace("    ttl: 24h\n", "    ttl: 24h\n    online: false\n")).await.unwrap();
    check(request("origin_weather", PushTo::Online), rows(), ErrorKind::Precondition, "online: true").await;
    assert_eq!(served(&bench, "origin_wind:wind", &["JFK"]), [None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_where_they_are_meant_to() {
    let bench = bench().await;
    let alone = batch(vec![
        ("origin", Arc::new(StringArray::from(vec!["JFK"])) as ArrayRef),
        ("time_hour", Arc::new(Int64Array::from(vec![HOUR]))),
        ("temp", Arc::new(Float64Array::from(vec![1.0]))),
    ]);
    let outcome = bench.service.push(&bench.me, request("origin_weather", PushTo::Online), alone).await.unwrap();
    assert_eq!(outcome.accepted, 1);
    assert_eq!(served(&bench, "origin_weather:temp", &["JFK"]), [Some(1.0)]);
    assert_eq!(served(&bench, "origin_wind:wind", &["JFK"]), [None]);
    let rows = || readings(&[reading("EWR", 1, 2.0, "a")]);
    bench.service.push(&bench.me, request("weather", PushTo::Offline), rows()).await.unwrap();
    assert_eq!(served(&bench, "origin_weather:temp", &["EWR"]), [None]);
    // Ids of a view alone are its own.
    let online = PushRequest {
        event_ids: Some(Arc::new(StringArray::from(vec!["a"]))),
        ..request("origin_wind", PushTo::Online)
    };
    let outcome = bench.service.push(&bench.me, online, rows()).await.unwrap();
    assert_eq!((outcome.accepted, outcome.duplicates), (1, 0));
    assert_eq!(served(&bench, "origin_wind:wind", &["EWR"]), [Some(-2.0)]);
    flush(&bench).await;
    assert_eq!(table(&bench).await, [["EWR", "2.0"]]);
    // A view stands for its source.
    let view =
        bench.service.push(&bench.me, request("origin_wind", PushTo::Both), readings(&[reading("LGA", 1, 3.0, "b")]));
    assert_eq!(view.await.unwrap().accepted, 1);
    assert_eq!(served(&bench, "origin_weather:temp", &["LGA"]), [Some(3.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_before_it_is_due_whatever_the_clock_does() {
    let bench = bench().await;
    let ahead = |minutes: i64| (Some("JFK"), Some(LATE + minutes * HOUR / 60), minutes as f64, None);
    push(&bench, &[reading("JFK", 1, 1.0, "a")]).await;
    let outcome = push(&bench, &[ahead(30), ahead(59)]).await;
    assert_eq!((outcome.accepted, outcome.waiting, outcome.kept), (2, 2, 0));
    let look = async |expected: f64| {
        bench.service.release_due().await.unwrap();
        assert_eq!(served(&bench, "origin_weather:temp", &["JFK"]), [Some(expected)]);
    };
    look(1.0).await;
    bench.clock.set(LATE - HOUR);
    look(1.0).await;
    bench.clock.set(LATE + HOUR / 2);
    look(30.0).await;
    // A clock that is set back takes nothing away, and what it now calls the future waits.
    bench.clock.set(LATE - HOUR / 2);
    look(30.0).await;
    let outcome = push(&bench, &[ahead(20)]).await;
    assert_eq!((outcome.waiting, outcome.accepted), (1, 1));
    look(30.0).await;
    bench.clock.set(LATE + HOUR);
    look(59.0).await;
    flush(&bench).await;
    assert_eq!(table(&bench).await.len(), 4, "the table has all of it, whenever it happens");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_materialized_is_served_when_it_is_due_too() {
    let bench = bench().await;
    let ahead = |minutes: i64| (Some("JFK"), Some(LATE + minutes * HOUR / 60), minutes as f64, None);
    let offline = async |rows: &[Reading<'_>]| {
        bench.service.push(&bench.me, request("weather", PushTo::Offline), readings(rows)).await.unwrap();
        flush(&bench).await;
    };
    let look = async |expected: f64| {
        bench.service.release_due().await.unwrap();
        assert_eq!(served(&bench, "origin_weather:temp", &["JFK"]), [Some(expected)]);
        for parity in parities(&bench).await {
            assert!(parity.parity.holds() && parity.parity.ahead == 0, "{parity:?}");
        }
    };
    offline(&[ahead(0), ahead(20)]).await;
    assert!(bench.materialize_now(true).await.unwrap().full);
    look(0.0).await;
    offline(&[ahead(-5), ahead(40)]).await;
    assert!(!bench.materialize_now(false).await.unwrap().full);
    look(0.0).await;
    bench.clock.set(LATE + HOUR / 2);
    look(20.0).await;
    bench.materialize_now(true).await.unwrap();
    look(20.0).await;
    bench.clock.set(LATE + HOUR);
    look(40.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_outbox_and_table_writes_once() {
    let bench = bench().await;
    push(&bench, &[reading("JFK", 1, 1.0, "a")]).await;
    push(&bench, &[reading("EWR", 1, 2.0, "b")]).await;
    // Before anything was brought.
    let bench = bench.restart().await;
    bench.clock.set(LATE);
    assert_eq!(served(&bench, "origin_weather:temp", &["JFK", "EWR"]), [Some(1.0), Some(2.0)]);
    // After the commit, before the outbox learns of it.
    let feed = bench.service.online.feed("flights", "weather").unwrap();
    let project = bench.service.project("flights").await.unwrap();
    for _ in 0..2 {
        let chunk = bench.service.online.next_chunk(feed, 1, u64::MAX).unwrap().unwrap();
        assert_eq!(chunk.records.len(), 1);
        let (table, rules) = bench.service.feed_table(&project, "weather").await.unwrap();
        let appended = bench.service.bring(&table, rules, &chunk).await.unwrap();
        assert_eq!(appended.rows + u64::from(appended.already), 1);
    }
    assert_eq!(table(&bench).await, [["JFK", "1.0"]]);
    drop(project);
    let bench = bench.restart().await;
    bench.clock.set(LATE);
    flush(&bench).await;
    assert_eq!(table(&bench).await, [["EWR", "2.0"], ["JFK", "1.0"]]);
    assert_eq!(flush(&bench).await.rows, 0);
    let source = bench.service.project("flights").await.unwrap().catalog.sources["weather"].clone();
    let table = bench.service.tables.open("flights", &source).await.unwrap();
    let newest = table.snapshot(None).await.unwrap().version;
    let Since::Known(changes) = table.changes(0, newest).await.unwrap() else { panic!("the log is whole") };
    assert_eq!(changes.chunks.len(), 2);
    for chunk in changes.chunks {
        let counted = bench.service.online.counted(&chunk.application, chunk.first, chunk.last);
        assert_eq!(counted, tidegate_online::Counted::All, "{chunk:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_older_definition_reach_the_table_that_there_is_now() {
    let bench = bench().await;
    push(&bench, &[reading("JFK", 1, 1.0, "a")]).await;
    let wider = two_views().replace(
        "      - {name: wind, type: float64}\n",
        "      - {name: wind, type: float64}\n      - {name: rain, type: float64}\n",
    );
    bench.apply(&wider).await.unwrap();
    flush(&bench).await;
    let rows = bench.sql("SELECT origin, wind, rain FROM sources.weather").await.unwrap();
    assert_eq!(rows, [["JFK", "-1.0", ""]]);
    // A new key that they lack: they can't be rows of the table any more, and are not lost.
    let rain: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
    let rows = readings(&[reading("JFK", 2, 2.0, "b")]).collect().await.unwrap().remove(0);
    let mut columns: Vec<(&str, ArrayRef)> = vec![("rain", rain)];
    let schema = rows.schema();
    columns.extend(
        schema.fields().iter().zip(rows.columns()).map(|(field, column)| (field.name().as_str(), column.clone())),
    );
    bench.service.push(&bench.me, request("weather", PushTo::Both), batch(columns)).await.unwrap();
    let keyed = wider
        .replace(
            "entities:\n  - name: airport\n",
            "entities:\n  - name: station\n    keys: [{name: station_id, type: int64}]\n  - name: airport\n",
        )
        .replace(
            "  - name: origin_wind\n    entities: [airport]\n",
            "  - name: origin_wind\n    entities: [airport, station]\n",
        );
    bench.apply_breaking(&keyed).await.unwrap();
    assert_eq!(flush(&bench).await.rows, 0);
    flush(&bench).await;
    let refused = bench.sql("SELECT target, origin, reason, row FROM sources._quarantine").await.unwrap();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0][..3], ["weather", "outbox", "table can't take it any more"]);
    assert!(refused[0][3].contains("\"temp\":2.0"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_its_table_can_not_take_any_more_holds_up_no_other() {
    let bench = bench().await;
    push(&bench, &[reading("JFK", 1, 1.0, "a")]).await;
    let keyed = two_views()
        .replace(
            "entities:\n  - name: airport\n",
            "entities:\n  - name: station\n    keys: [{name: station_id, type: int64}]\n  - name: airport\n",
        )
        .replace(
            "entities: [airport]\n    source: weather\n    features:\n      - {name: wind",
            "entities: [airport, station]\n    source: weather\n    features:\n      - {name: wind",
        );
    bench.apply_breaking(&keyed).await.unwrap();
    let rows = readings(&[reading("EWR", 2, 2.0, "b")]).collect().await.unwrap().remove(0);
    let mut columns: Vec<(&str, ArrayRef)> = vec![("station_id", Arc::new(Int64Array::from(vec![7])))];
    let schema = rows.schema();
    columns.extend(
        schema.fields().iter().zip(rows.columns()).map(|(field, column)| (field.name().as_str(), column.clone())),
    );
    bench.service.push(&bench.me, request("weather", PushTo::Both), batch(columns)).await.unwrap();
    flush(&bench).await;
    assert_eq!(table(&bench).await, [["EWR", "2.0"]]);
    let refused = bench.sql("SELECT reason, detail, row FROM sources._quarantine").await.unwrap();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0][0], "table can't take it any more");
    assert!(refused[0][1].contains("station_id") && refused[0][2].contains("\"temp\":1.0"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_table_has_of_a_chunk_is_not_written_again() {
    let bench = bench().await;
    for (hour, id) in [(1, "a"), (2, "b"), (3, "c")] {
        push(&bench, &[reading("JFK", hour, hour as f64, id)]).await;
    }
    // As a store forms it that was put back as it was before the table had the first two.
    let feed = bench.service.online.feed("flights", "weather").unwrap();
    let whole = bench.service.online.next_chunk(feed, u64::MAX, u64::MAX).unwrap().unwrap();
    let earlier = tidegate_online::Chunk { last: 2, records: whole.records[..2].to_vec(), ..whole.clone() };
    let project = bench.service.project("flights").await.unwrap();
    let (weather, rules) = bench.service.feed_table(&project, "weather").await.unwrap();
    bench.service.bring(&weather, rules, &earlier).await.unwrap();
    flush(&bench).await;
    assert_eq!(table(&bench).await, [["JFK", "1.0"], ["JFK", "2.0"], ["JFK", "3.0"]]);
    let newest = weather.snapshot(None).await.unwrap().version;
    let Since::Known(changes) = weather.changes(0, newest).await.unwrap() else { panic!("the log is whole") };
    assert_eq!(changes.chunks.iter().map(|chunk| (chunk.first, chunk.last)).collect::<Vec<_>>(), [(1, 2), (3, 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_rows_pass_and_too_many_wait_their_turn() {
    let bench = bench().await;
    bench
        .apply(&two_views().replace(
            "{name: wind, type: float64}, {name: reading",
            "{name: wind, type: float64}, {name: note, type: string}, {name: reading",
        ))
        .await
        .unwrap();
    let large = |hour: i64| {
        batch(vec![
            ("origin", Arc::new(StringArray::from(vec!["JFK"])) as ArrayRef),
            ("time_hour", Arc::new(TimestampMicrosecondArray::from(vec![hour * HOUR]))),
            ("temp", Arc::new(Float64Array::from(vec![hour as f64]))),
            ("wind", Arc::new(Float64Array::from(vec![0.0]))),
            ("note", Arc::new(StringArray::from(vec!["n".repeat(10 << 20)]))),
        ])
    };
    bench.service.push(&bench.me, request("weather", PushTo::Both), large(1)).await.unwrap();
    assert_eq!(served(&bench, "origin_weather:temp", &["JFK"]), [Some(1.0)]);
    let full = bench.service.push(&bench.me, request("weather", PushTo::Both), large(2)).await.unwrap_err();
    assert_eq!(full.kind, ErrorKind::Exhausted);
    assert!(full.message.contains("push.outbox_bytes"), "{full}");
    assert_eq!(served(&bench, "origin_weather:temp", &["JFK"]), [Some(1.0)], "refused is not written");
    flush(&bench).await;
    bench.service.push(&bench.me, request("weather", PushTo::Both), large(2)).await.unwrap();
    assert_eq!(served(&bench, "origin_weather:temp", &["JFK"]), [Some(2.0)]);
    flush(&bench).await;
    let notes = bench.sql("SELECT count(*), min(length(note)) FROM sources.weather").await.unwrap();
    assert_eq!(notes, [["2".to_owned(), (10 << 20).to_string()]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_all_there_once() {
    let bench = Arc::new(bench().await);
    let mut tasks = tokio::task::JoinSet::new();
    for pusher in 0..8_i64 {
        let bench = bench.clone();
        tasks.spawn(async move {
            for n in 1..=10 {
                let (origin, id) = (format!("K{pusher}"), format!("{pusher} {n}"));
                let rows = readings(&[reading(&origin, n, n as f64, &id)]);
                let outcome = bench.service.push(&bench.me, request("weather", PushTo::Both), rows).await.unwrap();
                assert_eq!(outcome.accepted, 1);
                assert_eq!(served(&bench, "origin_weather:temp", &[&origin]), [Some(n as f64)]);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    flush(&bench).await;
    let counted = bench.sql("SELECT count(*), count(DISTINCT reading) FROM sources.weather").await.unwrap();
    assert_eq!(counted, [["80", "80"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn outboxes_are_brought_when_they_are_large_or_old() {
    let bench = bench().await;
    let due = |bench: &Bench| bench.service.online.feeds().iter().any(|status| bench.service.is_due(status));
    assert!(!due(&bench));
    push(&bench, &[reading("JFK", 1, 1.0, "a")]).await;
    assert!(!due(&bench));
    bench.clock.set(LATE + 10_000_000);
    assert!(due(&bench));
    bench.clock.set(LATE - HOUR);
    assert!(due(&bench), "a clock that was set back keeps nothing from its table");
    let registration = bench.shutdown.register(crate::shutdown::Stage::Jobs, "flush");
    let keeper = tokio::spawn(bench.service.clone().flush_pushes(registration));
    for _ in 0..200 {
        if !due(&bench) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(table(&bench).await, [["JFK", "1.0"]]);
    bench.shutdown.finish(Duration::from_secs(5)).await;
    keeper.await.unwrap();
}

#[test]
fn rows_come_out_of_the_outbox_as_they_went_in() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![-0.0, f64::NAN]));
    let rows = RecordBatch::try_from_iter([("text", texts), ("float", floats)]).unwrap();
    let decoded = payload::decode(&payload::encode(&rows).unwrap()).unwrap();
    assert_eq!(format!("{decoded:?}"), format!("{:?}", std::slice::from_ref(&rows)));
    assert!(payload::decode(&[]).unwrap().is_empty(), "a record that was emptied");
    assert_eq!(payload::decode(b"rows").unwrap_err().kind, ErrorKind::Corrupt);
    let narrow = payload::align(&rows, &rows.project(&[1]).unwrap().schema()).unwrap();
    assert_eq!(narrow.num_columns(), 1);
}
