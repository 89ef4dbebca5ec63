//! The board of jobs, on a clock that is set by hand: who joins, who waits, who is tried again, what is remembered.

use std::time::Duration;

use tidegate_schemas::definition::Schedule;

use super::*;
use crate::config::layers::Layers;

const SECOND: Micros = 1_000_000;

struct Bench {
    clock: Clock,
    jobs: Jobs,
    settings: config::Jobs,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut config::Jobs)) -> Self {
        let defaults = Layers::read(None, [], Vec::new()).and_then(|layers| layers.config()).unwrap();
        let mut settings = defaults.jobs;
        change(&mut settings);
        let (clock, folder) = (Clock::manual(100 * SECOND), tempfile::tempdir().unwrap());
        let jobs = Jobs::open(folder.path(), settings.clone(), clock.clone()).unwrap();
        Self { clock, jobs, settings, folder }
    }

    /// What a new process finds.
    fn reopen(&mut self) {
        self.jobs.inner.writer.written().blocking_recv().unwrap();
        self.jobs = Jobs::open(self.folder.path(), self.settings.clone(), self.clock.clone()).unwrap();
    }

    fn pass(&self, seconds: i64) {
        self.clock.set(self.clock.now() + seconds * SECOND);
    }

    fn state(&self, id: u64) -> State {
        self.jobs.get("p", id).unwrap().state
    }

    /// Ends a job that runs.
    fn end(&self, id: u64, outcome: Outcome) -> bool {
        self.jobs.ended(id, outcome, 0.0)
    }
}

fn ask(view: &str) -> Ask {
    let cause = Cause::Call { principal: "me".to_owned() };
    Ask { project: "p".to_owned(), view: view.to_owned(), full: false, cause, unattended: false }
}

fn detached(view: &str) -> Ask {
    Ask { unattended: true, ..ask(view) }
}

fn failure(kind: ErrorKind) -> Outcome {
    Outcome::Failed(Error::new(kind, "it did not work"))
}

fn id(watch: &Watch) -> u64 {
    watch.now().id
}

#[test]
fn a_job_runs_and_is_done() {
    let bench = Bench::new();
    let watch = bench.jobs.submit(&ask("v"));
    assert!(watch.started() && watch.now().state == State::Queued);
    let start = bench.jobs.next().unwrap();
    assert_eq!((start.id, start.view.as_str(), start.full), (id(&watch), "v", false));
    assert!(bench.jobs.next().is_none(), "it runs already");
    bench.jobs.note(
        start.id,
        &MaterializeProgress { rows_read: 5, rows_total: 10, bytes_total: 100, ..MaterializeProgress::default() },
    );
    bench.pass(3);
    assert!(!bench.end(start.id, Outcome::Done));
    let job = watch.now();
    assert_eq!((job.state, job.attempts, job.progress.rows_read, job.progress.bytes_read), (State::Done, 1, 5, 50));
    assert_eq!((job.created_at, job.ended_at), (100 * SECOND, Some(103 * SECOND)));
}

#[test]
fn who_asks_for_a_view_joins_its_job() {
    let bench = Bench::new();
    let (first, second) = (bench.jobs.submit(&ask("v")), bench.jobs.submit(&ask("v")));
    assert!(id(&first) == id(&second) && !second.started());
    let start = bench.jobs.next().unwrap();
    let third = bench.jobs.submit(&ask("v"));
    assert_eq!(id(&third), start.id);
    assert!(bench.end(start.id, Outcome::Done), "it was joined while it ran: it looks once more");
    assert!(!bench.end(start.id, Outcome::Done));
    let fourth = bench.jobs.submit(&ask("v"));
    assert_ne!(id(&fourth), start.id, "that one has ended");
}

#[test]
fn a_rebuild_takes_a_waiting_job_over_and_waits_for_a_running_one() {
    let bench = Bench::new();
    let increment = bench.jobs.submit(&ask("v"));
    let full = bench.jobs.submit(&Ask { full: true, ..ask("v") });
    assert!(id(&full) == id(&increment) && full.now().full);
    let running = bench.jobs.submit(&ask("w"));
    assert!(bench.jobs.next().unwrap().full);
    assert_eq!(bench.jobs.next().unwrap().id, id(&running));
    let rebuild = bench.jobs.submit(&Ask { full: true, ..ask("w") });
    assert_ne!(id(&rebuild), id(&running), "an increment is no rebuild");
    assert!(bench.jobs.next().is_none(), "a view has one job that runs");
    bench.end(id(&running), Outcome::Done);
    assert_eq!(bench.jobs.next().unwrap().id, id(&rebuild));
    let joined = bench.jobs.submit(&ask("w"));
    assert_eq!(id(&joined), id(&rebuild), "a rebuild is all that an increment is");
}

#[test]
fn so_many_run_at_once() {
    let bench = Bench::with(|settings| settings.parallel = 2);
    let watches: Vec<Watch> = ["a", "b", "c"].map(|view| bench.jobs.submit(&ask(view))).into();
    let running = [bench.jobs.next().unwrap().id, bench.jobs.next().unwrap().id];
    assert!(bench.jobs.next().is_none());
    bench.end(running[0], Outcome::Done);
    assert_eq!(bench.jobs.next().unwrap().id, id(&watches[2]));
}

#[test]
fn pauses_double_and_attempts_end() {
    let bench = Bench::with(|settings| {
        settings.attempts = 4;
        settings.backoff = Duration::from_secs(4);
        settings.max_backoff = Duration::from_secs(10);
    });
    let watch = bench.jobs.submit(&detached("v"));
    // Half of each pause is drawn; the least that can be drawn.
    for pause in [2, 4, 5] {
        let start = bench.jobs.next().unwrap();
        bench.end(start.id, failure(ErrorKind::Exhausted));
        let at = bench.clock.now() + pause * SECOND;
        assert_eq!(watch.now().state, State::Retrying { at });
        assert_eq!(watch.now().failure.unwrap().kind, ErrorKind::Exhausted);
        bench.pass(pause - 1);
        assert!(bench.jobs.next().is_none(), "not before its time");
        bench.pass(1);
    }
    let start = bench.jobs.next().unwrap();
    bench.end(start.id, failure(ErrorKind::Exhausted));
    assert_eq!((watch.now().state, watch.now().attempts), (State::Failed, 4));
    assert!(retry::pause(1, &bench.settings, 1.0) > retry::pause(1, &bench.settings, 0.0));
    assert!(retry::pause(60, &bench.settings, 1.0) <= 10 * SECOND);
}

#[test]
fn who_asks_does_not_wait_for_the_end_of_a_pause() {
    let bench = Bench::new();
    let job = id(&bench.jobs.submit(&detached("v")));
    bench.end(bench.jobs.next().unwrap().id, failure(ErrorKind::Unavailable));
    assert!(bench.jobs.next().is_none());
    let asked = bench.jobs.submit(&ask("v"));
    assert!(id(&asked) == job && asked.now().state == State::Queued);
    assert_eq!(bench.jobs.next().unwrap().id, job);
    bench.end(job, failure(ErrorKind::Unavailable));
    drop(asked);
    assert!(matches!(bench.state(job), State::Retrying { .. }), "it is not his who asked");
}

#[test]
fn what_stays_wrong_is_not_tried_again_and_who_waits_learns_at_once() {
    let bench = Bench::new();
    for (asked, kind) in [(detached("v"), ErrorKind::Precondition), (ask("v"), ErrorKind::Exhausted)] {
        let watch = bench.jobs.submit(&asked);
        bench.end(bench.jobs.next().unwrap().id, failure(kind));
        assert_eq!(watch.now().state, State::Failed);
        assert_eq!(watch.now().failure.unwrap().error().kind, kind);
    }
}

#[test]
fn the_last_who_waits_takes_the_job_with_him() {
    let bench = Bench::new();
    let (first, second) = (bench.jobs.submit(&ask("v")), bench.jobs.submit(&ask("v")));
    let start = bench.jobs.next().unwrap();
    drop(first);
    assert!(!start.cancel.is_cancelled());
    drop(second);
    assert!(start.cancel.is_cancelled() && bench.jobs.get("p", start.id).unwrap().stopping);
    let next = bench.jobs.submit(&ask("v"));
    assert_ne!(id(&next), start.id, "nobody joins a job that stops");
    bench.end(start.id, failure(ErrorKind::Cancelled));
    assert_eq!(bench.state(start.id), State::Cancelled);
    drop(next);
    assert!(bench.jobs.next().is_none(), "what waits is cancelled at once");
    let kept = id(&bench.jobs.submit(&detached("v")));
    assert_eq!(bench.jobs.next().unwrap().id, kept, "what was detached goes on");
}

#[test]
fn a_job_is_cancelled_and_resumed() {
    let bench = Bench::new();
    let watch = bench.jobs.submit(&detached("v"));
    let job = id(&watch);
    assert_eq!(bench.jobs.cancel("p", job).unwrap().state, State::Cancelled);
    assert_eq!(bench.jobs.retry("p", job).unwrap().state, State::Queued);
    let start = bench.jobs.next().unwrap();
    assert!(bench.jobs.cancel("p", job).unwrap().stopping && start.cancel.is_cancelled());
    bench.end(job, failure(ErrorKind::Cancelled));
    assert_eq!(bench.state(job), State::Cancelled);
    bench.jobs.retry("p", job).unwrap();
    let start = bench.jobs.next().unwrap();
    bench.end(start.id, failure(ErrorKind::Unavailable));
    assert!(matches!(bench.state(job), State::Retrying { .. }));
    assert_eq!(bench.jobs.retry("p", job).unwrap().state, State::Queued, "now instead of later");
    let start = bench.jobs.next().unwrap();
    bench.end(start.id, Outcome::Done);
    assert_eq!(bench.jobs.cancel("p", job).unwrap().state, State::Done, "it has ended");
    assert_eq!(bench.jobs.retry("p", job).unwrap_err().kind, ErrorKind::Precondition);
    for error in [bench.jobs.cancel("q", job), bench.jobs.retry("p", 77)] {
        assert_eq!(error.unwrap_err().kind, ErrorKind::NotFound);
    }
}

#[test]
fn jobs_survive_the_process() {
    let mut bench = Bench::new();
    let waits = id(&bench.jobs.submit(&detached("waits")));
    let runs = bench.jobs.submit(&ask("runs"));
    let fails = id(&bench.jobs.submit(&detached("fails")));
    let begun: Vec<Start> = std::iter::from_fn(|| bench.jobs.next()).collect();
    assert_eq!(begun.len(), 2);
    // Killed here: what waited waits, what ran is begun again, and nobody's going away ends it.
    bench.reopen();
    drop(runs);
    assert_eq!(bench.state(waits), State::Queued);
    let begun: Vec<u64> = std::iter::from_fn(|| bench.jobs.next()).map(|start| start.id).collect();
    assert_eq!(begun, [waits, waits + 1]);
    bench.end(waits, Outcome::Stopped);
    assert_eq!(bench.state(waits), State::Queued);
    bench.end(waits + 1, Outcome::Done);
    bench.end(bench.jobs.next().unwrap().id, failure(ErrorKind::Corrupt));
    bench.reopen();
    assert_eq!(bench.state(waits + 1), State::Done);
    let last = bench.jobs.submit(&ask("new"));
    assert_eq!(id(&last), fails + 1, "numbers are never given twice");
    let listed: Vec<u64> = bench.jobs.list("p", &Filter::default()).iter().map(|job| job.id).collect();
    assert_eq!(listed, [fails + 1, fails, waits + 1, waits]);
}

/// A pipe takes the place of the file that is written first: whoever opens it waits until somebody reads.
#[test]
fn nobody_waits_for_the_disk() {
    let bench = Bench::new();
    let pipe = bench.folder.path().join("00000000000000000001.half");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (jobs, (done, told)) = (bench.jobs.clone(), std::sync::mpsc::channel());
    let caller = std::thread::spawn(move || {
        let watch = jobs.submit(&detached("v"));
        let other = jobs.submit(&detached("w"));
        jobs.cancel("p", id(&watch)).unwrap();
        done.send((id(&watch), id(&other))).unwrap();
    });
    let (first, second) = told.recv_timeout(Duration::from_secs(20)).expect("the disk is waited for");
    caller.join().unwrap();
    assert_eq!((bench.state(first), bench.state(second)), (State::Cancelled, State::Queued));
    let mut saved = bench.jobs.inner.writer.written();
    assert!(saved.try_recv().is_err(), "who wants to know is told once it is there");
    let _both_ends = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    saved.blocking_recv().unwrap();
    assert!(bench.folder.path().join("00000000000000000002.json").is_file());
}

#[test]
fn a_record_that_cannot_be_read_is_left_out() {
    let mut bench = Bench::new();
    let kept = id(&bench.jobs.submit(&detached("v")));
    std::fs::write(bench.folder.path().join("00000000000000000007.json"), "{").unwrap();
    std::fs::write(bench.folder.path().join("00000000000000000009.half"), "{").unwrap();
    bench.reopen();
    assert_eq!(bench.jobs.list("p", &Filter::default()).iter().map(|job| job.id).collect::<Vec<_>>(), [kept]);
}

#[test]
fn history_is_bounded_and_keeps_the_newest_of_each_view() {
    let mut bench = Bench::with(|settings| settings.history = 3);
    let once = id(&bench.jobs.submit(&detached("once")));
    bench.end(bench.jobs.next().unwrap().id, Outcome::Done);
    for _ in 0..10 {
        drop(bench.jobs.submit(&detached("often")));
        bench.end(bench.jobs.next().unwrap().id, Outcome::Done);
    }
    let listed = |bench: &Bench| bench.jobs.list("p", &Filter::default()).iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(listed(&bench), [11, 10, once]);
    bench.reopen();
    assert_eq!(listed(&bench), [11, 10, once]);
    assert_eq!(bench.jobs.last("p", "once").unwrap().id, once);
}

#[test]
fn a_clock_that_is_set_back_keeps_nobody_waiting() {
    let bench = Bench::new();
    let watch = bench.jobs.submit(&detached("v"));
    bench.pass(3_600);
    bench.end(bench.jobs.next().unwrap().id, failure(ErrorKind::Unavailable));
    bench.pass(-3_600);
    assert_eq!(bench.jobs.next().unwrap().id, id(&watch));
}

#[tokio::test]
async fn a_watch_tells_each_state_and_the_end() {
    let bench = Bench::new();
    let mut watch = bench.jobs.submit(&detached("v"));
    let mut other = bench.jobs.observe("p", id(&watch)).unwrap();
    assert_eq!(watch.next().await.unwrap().state, State::Queued);
    let start = bench.jobs.next().unwrap();
    assert_eq!(watch.next().await.unwrap().state, State::Running);
    bench.end(start.id, Outcome::Done);
    assert_eq!(watch.next().await.unwrap().state, State::Done);
    assert!(watch.next().await.is_none());
    assert_eq!(other.next().await.unwrap().state, State::Done, "who comes late learns the end");
    assert!(other.next().await.is_none());
}

#[test]
fn schedules_are_due_when_their_time_has_come() {
    let scheduler = Scheduler::default();
    let view: ViewKey = ("p".to_owned(), "v".to_owned());
    let need = Need { work: true, newest: 3 };
    let due =
        |schedule: &Schedule, last: Option<&Job>, now: i64| scheduler.is_due(&view, schedule, last, need, now * SECOND);
    let every = Schedule::Every(60 * SECOND);
    let ended = |at: i64| Job { state: State::Done, created_at: at * SECOND, ..Job::new(1, &ask("v"), at * SECOND) };
    assert!(due(&every, None, 30), "it was never looked at");
    assert!(!due(&every, Some(&ended(30)), 59));
    assert!(due(&every, Some(&ended(30)), 60));
    assert!(due(&every, Some(&ended(30)), 700), "what was missed comes together as one");
    assert!(!due(&every, Some(&Job { state: State::Running, ..ended(30) }), 700), "it runs");
    assert!(due(&every, Some(&ended(3_000)), 61), "the clock was set back: nobody waits until it is there again");
    let hourly = Schedule::Cron("0 * * * *".to_owned());
    assert!(!due(&hourly, None, 1_800), "first seen at half past a minute; not before the hour");
    assert!(due(&hourly, None, 3_600));
    assert!(!due(&hourly, Some(&ended(3_601)), 7_199) && due(&hourly, Some(&ended(3_601)), 7_200));
    scheduler.looked(&view, 7_200 * SECOND);
    assert!(!due(&hourly, Some(&ended(3_601)), 7_201), "there was nothing to do at that time");
    assert!(due(&Schedule::OnCommit, Some(&ended(1)), 7_201));
    let idle = Need { work: false, newest: 3 };
    assert!(!scheduler.is_due(&view, &Schedule::OnCommit, None, idle, 7_201 * SECOND));
}

#[test]
fn why_a_view_cannot_be_looked_at_is_told_once() {
    let scheduler = Scheduler::default();
    let view: ViewKey = ("p".to_owned(), "v".to_owned());
    let told = [None, Some("gone"), Some("gone"), Some("damaged"), None, None].map(|why| scheduler.is_news(&view, why));
    assert_eq!(told, [false, true, false, true, true, false]);
    assert!(scheduler.is_news(&view, Some("gone")));
    scheduler.forget_others(&std::collections::BTreeSet::new());
    assert!(scheduler.is_news(&view, Some("gone")), "a view of that name is another one");
}

#[test]
fn a_failed_job_waits_for_the_table_to_move_on() {
    let need = |newest| Need { work: true, newest };
    let failed = Job { state: State::Failed, ended_at: Some(100 * SECOND), ..Job::new(1, &ask("v"), 0) };
    let reached = MaterializeProgress { to_version: 4, ..MaterializeProgress::default() };
    let failed = Job { progress: reached, ..failed };
    let longest = Duration::from_secs(300);
    assert!(holds_back(&failed, need(4), 150 * SECOND, longest));
    assert!(!holds_back(&failed, need(5), 150 * SECOND, longest), "there is a new version");
    assert!(!holds_back(&failed, need(4), 400 * SECOND, longest), "it waited long enough");
    assert!(!holds_back(&failed, need(4), 50 * SECOND, longest), "a clock that was set back");
    assert!(!holds_back(&Job { state: State::Done, ..failed }, need(4), 150 * SECOND, longest));
}

/// Frozen: a server reads what an older one wrote. A change here is a new format, which reads this one too.
#[test]
fn the_record_of_a_job_is_frozen() {
    let progress = MaterializeProgress {
        view: "origin_weather".to_owned(),
        from_version: Some(3),
        to_version: 7,
        rows_read: 10,
        rows_total: 20,
        rows_written: 8,
        rows_skipped: 1,
        rows_corrected: 2,
        bytes_read: 512,
        bytes_total: 1024,
        ..MaterializeProgress::default()
    };
    let job = Job {
        id: 17,
        project: "flights".to_owned(),
        view: "origin_weather".to_owned(),
        full: false,
        cause: Cause::Call { principal: "local owner".to_owned() },
        state: State::Retrying { at: 1_700_000_005_000_000 },
        stopping: false,
        attempts: 2,
        created_at: 1_700_000_000_000_000,
        started_at: Some(1_700_000_001_000_000),
        ended_at: None,
        failure: Some(Failure { kind: ErrorKind::Exhausted, message: "no room; make some".to_owned() }),
        progress,
        interrupted: false,
    };
    let frozen = include_str!("testdata/job_v1.json");
    assert_eq!(String::from_utf8(record::encode(&job)).unwrap(), frozen.trim_end(), "the record's bytes changed");
    assert_eq!(record::decode(frozen.as_bytes()).unwrap(), job);
    let states = [State::Queued, State::Running, State::Done, State::Failed, State::Cancelled];
    for (state, cause) in states.into_iter().zip([Cause::Schedule, Cause::Commit].into_iter().cycle()) {
        let other = Job { state, cause, failure: None, ..job.clone() };
        assert_eq!(record::decode(&record::encode(&other)).unwrap(), other);
    }
    let newer = frozen.replace("\"format\": 1", "\"format\": 2");
    assert!(record::decode(newer.as_bytes()).unwrap_err().contains("format 2"));
}
