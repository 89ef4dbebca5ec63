//! Bugs that Feast had with materialization, by their number there; each must not be possible here.

use super::*;
use crate::service::tests::bench::HOUR;

/// Late data was never materialized: its interval counted as done.
#[tokio::test(flavor = "multi_thread")]
async fn feast_4133_late_data_is_materialized() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1_000, 1.0)])).await.unwrap();
    bench.materialize(false).await.unwrap();
    // Older than everything that was materialized, and all the same the newest of its key.
    bench.ingest("late", weather(&[("EWR", 1, 2.0), ("LGA", 999, 3.0)])).await.unwrap();
    let report = bench.materialize(false).await.unwrap();
    assert_eq!((report.rows_read, report.rows_written), (2, 2));
    assert_eq!(served(&bench, &ORIGINS), expect(&[("JFK", 1.0), ("EWR", 2.0), ("LGA", 3.0)]));
}

/// The interval was recorded before the work: a run that failed counted as done.
#[tokio::test(flavor = "multi_thread")]
async fn feast_3787_nothing_counts_as_done_before_it_is() {
    let bench = Bench::with_batch_rows(1).await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 1.0)])).await.unwrap();
    bench.materialize(false).await.unwrap();
    bench.ingest("b2", weather(&[("EWR", 1, 2.0)])).await.unwrap();
    bench.ingest("b3", weather(&[("LGA", 1, 3.0)])).await.unwrap();
    // The last file can't be read: the run fails after the one before it.
    let table = bench.folder.path().join("tables/flights/weather");
    let commit = std::fs::read_to_string(table.join("_delta_log").join(format!("{:020}.json", 3))).unwrap();
    let actions = commit.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let path = actions.filter_map(|action| Some(action.get("add")?["path"].as_str()?.to_owned())).next().unwrap();
    std::fs::rename(table.join(&path), table.join("aside")).unwrap();
    bench.materialize(false).await.expect_err("a file is missing");
    let status = bench.service.materialize_status(&bench.me, "flights", &[]).await.unwrap().remove(0);
    assert_eq!(status.cursor, Some(1), "{status:?}");
    std::fs::rename(table.join("aside"), table.join(&path)).unwrap();
    bench.materialize(false).await.unwrap();
    assert_eq!(served(&bench, &ORIGINS), expect(&[("JFK", 1.0), ("EWR", 2.0), ("LGA", 3.0)]));
}

/// An end date in the future wedged the view: everything up to it counted as done.
#[tokio::test(flavor = "multi_thread")]
async fn feast_4222_a_time_in_the_future_wedges_nothing() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    let far = 200_000 * 24;
    bench.ingest("b1", weather(&[("JFK", far, 1.0), ("EWR", 1, 2.0)])).await.unwrap();
    bench.materialize(false).await.unwrap();
    bench.ingest("b2", weather(&[("EWR", 2, 3.0), ("LGA", 1, 4.0)])).await.unwrap();
    let report = bench.materialize(false).await.unwrap();
    assert_eq!(report.rows_read, 2);
    let found = served(&bench, &["EWR", "LGA"]);
    assert_eq!(found, expect(&[("EWR", 3.0), ("LGA", 4.0)]));
}

/// An older value overwrote a newer one.
#[tokio::test(flavor = "multi_thread")]
async fn feast_5163_an_older_value_never_overwrites() {
    for batch_rows in [1, 2, 1024] {
        let bench = Bench::with_batch_rows(batch_rows).await;
        bench.apply(FLIGHTS).await.unwrap();
        bench.ingest("b1", weather(&[("JFK", 9, 9.0), ("JFK", 3, 3.0), ("JFK", 8, 8.0)])).await.unwrap();
        bench.materialize(false).await.unwrap();
        for (batch, hour) in [("b2", 8), ("b3", 1), ("b4", 9 - 1)] {
            bench.ingest(batch, weather(&[("JFK", hour, 0.0)])).await.unwrap();
            bench.materialize(false).await.unwrap();
            assert_eq!(served(&bench, &ORIGINS), expect(&[("JFK", 9.0)]));
        }
        bench.materialize(true).await.unwrap();
        assert_eq!(served(&bench, &ORIGINS), expect(&[("JFK", 9.0)]));
    }
}

/// A null key crashed it. A table of ours takes no null keys; one of somebody else's may have them.
#[tokio::test(flavor = "multi_thread")]
async fn feast_1756_a_null_key_is_counted_and_left_out() {
    let bench = Bench::with_batch_rows(2).await;
    let path = bench.folder.path().join("lake/weather");
    std::fs::create_dir_all(&path).unwrap();
    let origins: ArrayRef = Arc::new(StringArray::from(vec![Some("JFK"), None, Some("EWR"), None, Some("LGA")]));
    let hours = arrow::array::TimestampMicrosecondArray::from(vec![Some(HOUR), Some(HOUR), None, None, Some(HOUR)]);
    let hours: ArrayRef = Arc::new(hours.with_timezone("UTC"));
    let temps: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![1.0, 2.0, 3.0, 4.0, 5.0]));
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("origin", origins, true),
        ("time_hour", hours, true),
        ("temp", temps, true),
    ]);
    let batch = batch.unwrap();
    let file = std::fs::File::create(path.join("a.parquet")).unwrap();
    let mut writer = datafusion::parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let table = format!("table: {{parquet: \"{}\"}}", path.display());
    bench
        .apply(&FLIGHTS.replace("table: managed", &table).replace("    columns: [{name: wind, type: float64}]\n", ""))
        .await
        .unwrap();
    let report = bench.materialize(false).await.unwrap();
    assert_eq!((report.rows_read, report.rows_written, report.rows_skipped), (5, 2, 3));
    assert_eq!(served(&bench, &ORIGINS), expect(&[("JFK", 1.0), ("LGA", 5.0)]));
}
