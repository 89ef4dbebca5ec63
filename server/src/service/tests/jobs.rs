//! Jobs as callers meet them: shared, detached, stopped, begun again after a restart, started by schedules; and how far behind views are.

use std::time::Duration;

use futures::StreamExt;

use super::*;
use crate::service::{Freshness, JobFilter, JobState};

fn request(detach: bool) -> MaterializeRequest {
    MaterializeRequest { project: "flights".to_owned(), detach, ..MaterializeRequest::default() }
}

fn scheduled(schedule: &str) -> String {
    FLIGHTS
        .replace("    serve_ttl: 2h\n", &format!("    serve_ttl: 2h\n    schedule: {schedule}\n    freshness: 10m\n"))
}

/// So many rows of one origin.
fn many(rows: i64) -> Batches {
    let rows: Vec<_> = (0..rows).map(|hour| ("JFK", hour, hour as f64)).collect();
    weather(&rows)
}

/// Waits until a job has ended.
async fn ended(bench: &Bench, id: u64) -> Job {
    let mut watch = bench.service.watch_job(&bench.me, "flights", id).unwrap();
    let mut last = None;
    while let Some(job) = watch.next().await {
        last = Some(job);
    }
    last.expect("the job as it ended")
}

async fn all(bench: &Bench) -> Vec<Job> {
    bench.service.jobs(&bench.me, "flights", &JobFilter::default()).await.unwrap()
}

async fn status(bench: &Bench) -> ViewStatus {
    bench.service.materialize_status(&bench.me, "flights", &[]).await.unwrap().remove(0)
}

/// Looks at schedules and waits for what that starts.
async fn tend(bench: &Bench) -> Vec<Job> {
    bench.service.tend_jobs().await;
    for job in all(bench).await {
        ended(bench, job.id).await;
    }
    all(bench).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_job_goes_on_by_itself() {
    let bench = Bench::with_batch_rows(1).await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", many(50)).await.unwrap();
    let begun: Vec<_> = bench.service.materialize(&bench.me, request(true)).await.unwrap().collect().await;
    let [Ok(report)] = begun.as_slice() else { panic!("one report: {begun:?}") };
    assert!(report.started && report.job == 1 && !report.is_done(), "{report:?}");
    let job = ended(&bench, report.job).await;
    assert_eq!((job.state, job.progress.rows_read, job.attempts), (JobState::Done, 50, 1));
    let missing = bench.service.job(&bench.me, "flights", 9).unwrap_err();
    assert_eq!(missing.kind, ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_share_a_job_and_the_last_one_takes_it_with_him() {
    let bench = Bench::with_batch_rows(1).await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", many(2)).await.unwrap();
    bench.materialize(false).await.unwrap();
    bench.ingest("b2", many(3_000)).await.unwrap();
    let mut first = bench.service.materialize(&bench.me, request(false)).await.unwrap();
    let mut second = bench.service.materialize(&bench.me, request(false)).await.unwrap();
    let (one, other) = (first.next().await.unwrap().unwrap(), second.next().await.unwrap().unwrap());
    assert!(one.job == other.job && one.started && !other.started);
    drop(first);
    let progress = second.next().await.unwrap().unwrap();
    assert_eq!(progress.job, one.job);
    drop(second);
    let job = ended(&bench, one.job).await;
    assert!(matches!(job.state, JobState::Cancelled | JobState::Done), "{job:?}");
    bench.materialize(false).await.unwrap();
    assert!(status(&bench).await.job.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_stopped_is_resumed_where_it_was() {
    let bench = Bench::with_batch_rows(1).await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", many(1)).await.unwrap();
    bench.materialize(false).await.unwrap();
    bench.ingest("b2", many(5_000)).await.unwrap();
    let mut reports = bench.service.materialize(&bench.me, request(true)).await.unwrap();
    let id = reports.next().await.unwrap().unwrap().job;
    bench.service.cancel_job(&bench.me, "flights", id).await.unwrap();
    let job = ended(&bench, id).await;
    assert_eq!(job.state, JobState::Cancelled, "{job:?}");
    let again = bench.service.retry_job(&bench.me, "flights", id).await.unwrap();
    assert!(again.id == id && again.state != JobState::Cancelled);
    let job = ended(&bench, id).await;
    assert_eq!(job.state, JobState::Done);
    // What was written is not read again; the report of the last batch may have been lost with whoever it was for.
    assert!((4_990..=5_000).contains(&job.progress.rows_read), "{job:?}");
    let done = bench.service.retry_job(&bench.me, "flights", id).await.unwrap_err();
    assert_eq!(done.kind, ErrorKind::Precondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_after_a_restart_by_itself() {
    for detach in [false, true] {
        let bench = Bench::with_batch_rows(1).await;
        bench.apply(FLIGHTS).await.unwrap();
        bench.ingest("b1", many(1)).await.unwrap();
        bench.materialize(false).await.unwrap();
        bench.ingest("b2", many(5_000)).await.unwrap();
        let mut reports = bench.service.materialize(&bench.me, request(detach)).await.unwrap();
        let id = reports.next().await.unwrap().unwrap().job;
        let stopping = bench.shutdown.clone();
        let stopping = tokio::spawn(async move { stopping.finish(Duration::from_secs(20)).await });
        let last = reports.collect::<Vec<_>>().await.pop();
        assert!(stopping.await.unwrap().is_empty());
        if let Some(Err(error)) = last {
            assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        }
        let bench = bench.restart().await;
        let job = bench.service.job(&bench.me, "flights", id).unwrap();
        assert!(matches!(job.state, JobState::Queued | JobState::Done), "{job:?}");
        bench.service.tend_jobs().await;
        assert_eq!(ended(&bench, id).await.state, JobState::Done);
        assert_eq!(status(&bench).await.freshness.versions, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_to_who_waits_and_remembered() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", many(3)).await.unwrap();
    let table = bench.folder.path().join("tables/flights/weather");
    let mut files = std::fs::read_dir(&table).unwrap().map(|entry| entry.unwrap().path());
    let file = files.find(|path| path.extension().is_some_and(|ending| ending == "parquet")).unwrap();
    std::fs::rename(&file, table.join("aside")).unwrap();
    let error = bench.materialize(false).await.expect_err("the file is gone");
    assert!(error.message.contains("is gone"), "{error}");
    let job = all(&bench).await.remove(0);
    assert_eq!((job.state, job.failure.unwrap().kind), (JobState::Failed, error.kind));
    std::fs::rename(table.join("aside"), &file).unwrap();
    bench.service.retry_job(&bench.me, "flights", job.id).await.unwrap();
    let job = ended(&bench, job.id).await;
    assert_eq!((job.state, job.failure), (JobState::Done, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_start_jobs() {
    let bench = Bench::new().await;
    bench.clock.set(1_000 * HOUR);
    bench.apply(&scheduled("{every: 1h}")).await.unwrap();
    bench.ingest("b1", many(3)).await.unwrap();
    let jobs = tend(&bench).await;
    assert_eq!(jobs.len(), 1);
    assert_eq!((jobs[0].state, &jobs[0].cause), (JobState::Done, &Cause::Schedule));
    assert_eq!(tend(&bench).await.len(), 1, "not before an hour has passed");
    bench.clock.set(1_001 * HOUR);
    assert_eq!(tend(&bench).await.len(), 1, "nothing is new");
    bench.ingest("b2", many(4)).await.unwrap();
    assert_eq!(tend(&bench).await.len(), 1, "it was looked at within the hour");
    bench.clock.set(1_002 * HOUR);
    assert_eq!(tend(&bench).await.len(), 2);
    assert_eq!(status(&bench).await.schedule, "every 1h");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_starts_a_job() {
    let bench = Bench::new().await;
    bench.apply(&scheduled("on_commit")).await.unwrap();
    bench.ingest("b1", many(3)).await.unwrap();
    let jobs = tend(&bench).await;
    assert_eq!((jobs.len(), &jobs[0].cause), (1, &Cause::Commit));
    assert_eq!(tend(&bench).await.len(), 1);
    bench.ingest("b2", many(4)).await.unwrap();
    assert_eq!(tend(&bench).await.len(), 2);
    assert_eq!(status(&bench).await.freshness.versions, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_behind_since_the_oldest_commit_it_lacks() {
    let bench = Bench::new().await;
    bench.apply(&scheduled("{every: 1h}")).await.unwrap();
    let fresh = status(&bench).await.freshness;
    assert_eq!(
        (fresh.versions, fresh.behind, fresh.is_met()),
        (Some(0), Some(0), Some(true)),
        "no rows, nothing to wait for"
    );
    bench.ingest("b1", many(3)).await.unwrap();
    bench.ingest("b2", many(4)).await.unwrap();
    // Commits carry the machine's time: years before this.
    bench.clock.set(100 * 366 * 24 * HOUR);
    let late = status(&bench).await.freshness;
    assert_eq!((late.versions, late.is_met()), (Some(2), Some(false)));
    assert!(late.behind.unwrap() > 24 * HOUR);
    bench.clock.set(0);
    let early: Freshness = status(&bench).await.freshness;
    assert_eq!(early.behind, Some(0), "a clock that is set back makes nobody younger than new");
    bench.service.tend_jobs().await;
    let metrics = bench.service.metrics();
    let line = "tidegate_view_versions_behind{project=\"flights\",view=\"origin_weather\"} 2";
    assert!(metrics.contains(line), "{metrics}");
    bench.materialize(false).await.unwrap();
    assert_eq!(status(&bench).await.freshness.versions, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_notice_a_table_that_was_replaced_or_went_back() {
    // Commits carry the machine's time: years before this.
    let late = 100 * 366 * 24;
    for (case, newest) in [(0, 0), (1, 2), (2, 1)] {
        let bench = Bench::new().await;
        bench.clock.set(late * HOUR);
        bench.apply(&scheduled("{every: 1h}")).await.unwrap();
        bench.ingest("b1", many(3)).await.unwrap();
        bench.ingest("b2", many(4)).await.unwrap();
        assert_eq!(tend(&bench).await.len(), 1);
        match case {
            0 => bench.replace_table(0).await,
            1 => bench.replace_table(2).await,
            _ => std::fs::remove_file(bench.table().join("_delta_log/00000000000000000002.json")).unwrap(),
        }
        let seen = status(&bench).await.freshness;
        assert!(seen.versions > Some(0) && seen.behind != Some(0), "case {case}: {seen:?}");
        bench.clock.set((late + 1) * HOUR);
        let jobs = tend(&bench).await;
        assert_eq!((jobs.len(), jobs[0].state), (2, JobState::Done), "case {case}: {jobs:?}");
        let seen = status(&bench).await;
        assert_eq!((seen.cursor, seen.freshness.versions), (Some(newest), Some(0)), "case {case}");
        bench.clock.set((late + 2) * HOUR);
        assert_eq!(tend(&bench).await.len(), 2, "case {case}: nothing is new");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_cannot_be_looked_at_has_a_job_that_says_why() {
    let bench = Bench::new().await;
    bench.clock.set(1_000 * HOUR);
    bench.apply(&scheduled("{every: 1h}")).await.unwrap();
    bench.ingest("b1", many(3)).await.unwrap();
    assert_eq!(tend(&bench).await.len(), 1);
    tend(&bench).await;
    let shows = |gauge: &str| bench.service.metrics().contains(&format!("tidegate_{gauge}{{project=\"flights\""));
    assert!(shows("view_versions_behind") && shows("view_freshness_missed"));
    let aside = bench.folder.path().join("aside");
    std::fs::rename(bench.table(), &aside).unwrap();
    bench.clock.set(1_001 * HOUR);
    let jobs = tend(&bench).await;
    assert_eq!((jobs.len(), jobs[0].state), (2, JobState::Failed), "{jobs:?}");
    let told = jobs[0].failure.clone().unwrap().message;
    assert!(told.contains("weather"), "{told}");
    assert!(!shows("view_versions_behind") && !shows("view_freshness_missed") && !shows("view_behind_seconds"));
    assert!(shows("view_freshness_objective_seconds"), "what is wanted is known all the same");
    std::fs::rename(&aside, bench.table()).unwrap();
    bench.clock.set(1_002 * HOUR);
    assert_eq!(tend(&bench).await.len(), 2, "it can be looked at again, and nothing is new");
    assert!(shows("view_versions_behind"));
    bench
        .apply(&FLIGHTS.replace("    serve_ttl: 2h\n", "    serve_ttl: 2h\n    schedule: {every: 1h}\n"))
        .await
        .unwrap();
    bench.service.tend_jobs().await;
    assert!(shows("view_versions_behind") && !shows("view_freshness_objective_seconds"));
    bench.apply_breaking(&FLIGHTS.replace("    serve_ttl: 2h\n", "    online: false\n")).await.unwrap();
    bench.service.tend_jobs().await;
    assert!(!shows("view_versions_behind"), "it is served no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_put_back_takes_rows_without_a_restart() {
    let bench = Bench::new().await;
    bench.apply(&scheduled("{every: 1h}")).await.unwrap();
    bench.ingest("b1", many(3)).await.unwrap();
    bench.materialize(false).await.unwrap();
    let (table, aside) = (bench.table(), bench.folder.path().join("aside"));
    std::fs::rename(&table, &aside).unwrap();
    let bench = bench.restart().await;
    std::fs::rename(&aside, &table).unwrap();
    // Looks at it before anybody writes.
    tend(&bench).await;
    bench.ingest("b2", many(4)).await.unwrap();
    assert_eq!(status(&bench).await.freshness.versions, Some(1));
}
