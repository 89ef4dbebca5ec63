//! Rows that are removed from a table, tables that are rewritten underneath: what is served becomes what the table says, or the
//! materialization refuses and says why. Commits are written by hand, as another writer's would be.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::service::{Error, MaterializeProgress, Phase, ViewParity};
use crate::shutdown::Stage;

/// Definitions that say to refuse.
fn refusing() -> String {
    FLIGHTS.replace("    table: managed\n", "    table: managed\n    on_rewrite: refuse\n")
}

fn log(bench: &Bench, version: i64) -> PathBuf {
    bench.table().join("_delta_log").join(format!("{version:020}.json"))
}

/// The file that a version added.
fn added(bench: &Bench, version: i64) -> String {
    let commit = std::fs::read_to_string(log(bench, version)).unwrap();
    let actions = commit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let path = actions.filter_map(|action| Some(action.get("add")?["path"].as_str()?.to_owned())).next();
    path.expect("a file was added")
}

/// Commits the removal of files as the next version.
fn remove(bench: &Bench, version: i64, paths: &[String]) {
    let action =
        |path: &String| json!({"remove": {"path": path, "dataChange": true, "deletionTimestamp": 1}}).to_string();
    std::fs::write(log(bench, version), paths.iter().map(action).collect::<Vec<_>>().join("\n")).unwrap();
}

async fn parity(bench: &Bench) -> ViewParity {
    let mut reports = bench.service.parity(&bench.me, "flights", &[]).await.unwrap();
    reports.next().await.expect("a report").unwrap()
}

async fn refused(bench: &Bench) -> Error {
    let error = bench.materialize(false).await.expect_err("the source says to refuse");
    assert_eq!(error.kind, ErrorKind::Precondition, "{error}");
    for word in ["origin_weather", "on_rewrite", "--full"] {
        assert!(error.message.contains(word), "{word} is not in {error}");
    }
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_rows_give_back_what_they_hid() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 1.0), ("EWR", 1, 2.0)])).await.unwrap();
    bench.ingest("b2", weather(&[("JFK", 3, 3.0), ("LGA", 2, 4.0)])).await.unwrap();
    bench.materialize(false).await.unwrap();
    remove(&bench, 3, &[added(&bench, 2)]);
    let report = bench.materialize(false).await.unwrap();
    assert!(!report.full && report.rows_corrected == 2, "{report:?}");
    assert_eq!(served(&bench, &ORIGINS), expect(&[("JFK", 1.0), ("EWR", 2.0)]));
    assert!(parity(&bench).await.parity.holds());
    let again = bench.materialize(false).await.unwrap();
    assert_eq!((again.rows_corrected, again.rows_written), (0, 0));
    remove(&bench, 4, &[added(&bench, 1)]);
    bench.ingest("b3", weather(&[("BOS", 1, 5.0), ("EWR", 0, 6.0)])).await.unwrap();
    let report = bench.materialize(false).await.unwrap();
    assert!(!report.full, "{report:?}");
    assert_eq!(served(&bench, &ORIGINS), expect(&[("BOS", 5.0), ("EWR", 6.0)]), "an older row is the newest there is");
    assert!(parity(&bench).await.parity.holds());
    let full = bench.materialize(true).await.unwrap();
    assert!(full.full);
    assert_eq!(served(&bench, &ORIGINS), expect(&[("BOS", 5.0), ("EWR", 6.0)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_that_is_interrupted_ends_the_same() {
    for reports in 0..8 {
        let bench = Bench::with_batch_rows(1).await;
        bench.apply(FLIGHTS).await.unwrap();
        bench.ingest("b1", weather(&[("JFK", 1, 1.0), ("EWR", 1, 2.0), ("LGA", 1, 3.0)])).await.unwrap();
        bench.ingest("b2", weather(&[("JFK", 5, 9.0), ("EWR", 5, 9.0), ("LGA", 5, 9.0)])).await.unwrap();
        bench.materialize(false).await.unwrap();
        remove(&bench, 3, &[added(&bench, 2)]);
        bench.ingest("b3", weather(&[("BOS", 1, 4.0), ("JFK", 0, 8.0)])).await.unwrap();
        interrupt_after(&bench, reports, false).await;
        let bench = if reports % 2 == 0 { bench.restart().await } else { bench };
        // Another version comes before it goes on.
        if reports % 3 == 0 {
            remove(&bench, 5, &[added(&bench, 4)]);
            bench.ingest("b4", weather(&[("BOS", 1, 4.0)])).await.unwrap();
        }
        bench.materialize(false).await.unwrap();
        let state = expect(&[("JFK", 1.0), ("EWR", 2.0), ("LGA", 3.0), ("BOS", 4.0)]);
        assert_eq!(served(&bench, &ORIGINS), state, "interrupted after {reports} reports");
        assert!(parity(&bench).await.parity.holds());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_vacuumed_is_read_anew_or_refused() {
    for refuse in [false, true] {
        let bench = Bench::new().await;
        bench.apply(&if refuse { refusing() } else { FLIGHTS.to_owned() }).await.unwrap();
        bench.ingest("b1", weather(&[("JFK", 1, 1.0)])).await.unwrap();
        bench.ingest("b2", weather(&[("JFK", 2, 2.0), ("EWR", 1, 3.0)])).await.unwrap();
        bench.materialize(false).await.unwrap();
        let gone = added(&bench, 2);
        remove(&bench, 3, std::slice::from_ref(&gone));
        std::fs::remove_file(bench.table().join(gone)).unwrap();
        if refuse {
            let error = refused(&bench).await;
            assert!(error.message.contains("is gone"), "{error}");
            assert_eq!(served(&bench, &ORIGINS), expect(&[("JFK", 2.0), ("EWR", 3.0)]), "nothing was changed");
            assert!(bench.materialize(true).await.unwrap().full);
        } else {
            assert!(bench.materialize(false).await.unwrap().full);
        }
        assert_eq!(served(&bench, &ORIGINS), expect(&[("JFK", 1.0)]));
        assert!(parity(&bench).await.parity.holds());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_replaced_is_never_counted_on() {
    for (refuse, versions) in [(false, 1), (false, 4), (true, 1), (true, 4)] {
        let bench = Bench::new().await;
        bench.apply(&if refuse { refusing() } else { FLIGHTS.to_owned() }).await.unwrap();
        bench.ingest("b1", weather(&[("JFK", 1, 1.0)])).await.unwrap();
        bench.ingest("b2", weather(&[("EWR", 1, 2.0)])).await.unwrap();
        bench.materialize(false).await.unwrap();
        bench.replace_table(versions).await;
        if refuse {
            let error = refused(&bench).await;
            assert!(error.message.contains("another table"), "{error}");
            assert_eq!(served(&bench, &ORIGINS), expect(&[("JFK", 1.0), ("EWR", 2.0)]));
            bench.materialize(true).await.unwrap();
        } else {
            let report = bench.materialize(false).await.unwrap();
            assert!(report.full && report.phase == Phase::Done, "{report:?}");
        }
        assert_eq!(served(&bench, &ORIGINS), expect(&[("LGA", 7.0)]), "{versions} versions");
        let bench = bench.restart().await;
        assert!(!bench.materialize(false).await.unwrap().full, "now it is the table that is counted on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_needed_column_is_named_and_nothing_changes() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 1.0)])).await.unwrap();
    bench.materialize(false).await.unwrap();
    let first = std::fs::read_to_string(log(&bench, 0)).unwrap();
    let metadata = first.lines().find(|line| line.contains("\"metaData\"")).unwrap();
    let mut changed: Value = serde_json::from_str(metadata).unwrap();
    let schema = changed["metaData"]["schemaString"].as_str().unwrap().replace("\"temp\"", "\"temperature\"");
    changed["metaData"]["schemaString"] = schema.into();
    std::fs::write(log(&bench, 2), changed.to_string()).unwrap();
    let error = bench.materialize(false).await.expect_err("a column is missing");
    assert!(error.kind == ErrorKind::Precondition && error.message.contains("`temp`"), "{error}");
    assert_eq!(served(&bench, &ORIGINS), expect(&[("JFK", 1.0)]));
    let status = &bench.service.materialize_status(&bench.me, "flights", &[]).await.unwrap()[0];
    assert_eq!(status.cursor, Some(1), "the cursor stays where it was");
}

/// Whose versions a cursor counts is decided when they are read, and not by what lies there when the last of them is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_replaced_during_a_pass_is_not_the_one_that_was_read() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 1.0)])).await.unwrap();
    bench.clock.set(LATE);
    let job = bench.job().await;
    let work = decide::next(&job, false).await.unwrap().expect("rows to read");
    let read = work.files[0].path.to_string();
    let kept = std::fs::read(bench.table().join(&read)).unwrap();
    bench.replace_table(1).await;
    std::fs::write(bench.table().join(&read), kept).unwrap();
    assert_ne!(job.table.snapshot(None).await.unwrap().id, work.snapshot.id);
    let (reports, _listener) = tokio::sync::mpsc::channel(64);
    let registration = bench.shutdown.register(Stage::Jobs, "a pass");
    job.pass(work, MaterializeProgress::default(), &reports, &registration).await.unwrap();
    drop((job, registration));
    assert_eq!(served(&bench, &ORIGINS), expect(&[("JFK", 1.0)]));
    assert!(bench.materialize(false).await.unwrap().full);
    assert_eq!(served(&bench, &ORIGINS), expect(&[("LGA", 7.0)]));
}
