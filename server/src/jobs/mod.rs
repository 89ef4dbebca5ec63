//! Jobs: materializations of one view each, from being asked for to being remembered.
//!
//! Parts: [`Job`] is what a job is and [`State`] where it stands · [`Jobs`] is the board they are on, and the only one that moves
//! them · [`Watch`] follows one · `retry` says how long a failed one waits · [`Scheduler`] says when a view is due · `record`,
//! `files` and `writer` keep jobs in the data folder, so that they survive the server.
//!
//! ```text
//!             next                  ended
//!  queued ─────────────> running ─────────────> done
//!    ^ ^                  │  │ │  error that stays, or the last attempt
//!    │ │ the server stops │  │ └────────────────────────────> failed
//!    │ └──────────────────┘  │
//!    │   due      error that │ may pass
//!  retrying <────────────────┘
//!
//!  cancel   queued, retrying: cancelled at once · running: cancelled at its next batch
//!  retry    failed, cancelled: queued, attempts counted anew · retrying: queued
//! ```
//! A view has at most one job that runs. Who asks for a view whose job waits or runs joins that job; a running job that was joined
//! looks for newer versions once more before it is done, so that whoever asks finds what was committed before. A job belongs to the
//! callers that wait for it: when the last one leaves, it is cancelled. It belongs to nobody, and goes on, when it was detached or
//! the server started it.
//!
//! Nothing here does a job's work, and nothing here decides what was materialized: that is the cursor, which moves with the values.
//! A record that is lost costs the memory of a job, never a row.

mod files;
mod job;
mod record;
mod retry;
mod schedule;
mod watch;
mod writer;

pub use job::{Cause, Failure, Job, State};
pub(crate) use schedule::holds_back;
pub use schedule::{Need, Scheduler, ViewKey};
pub use watch::Watch;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::Micros;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config;
use crate::error::{Error, Result};
use crate::materialize::MaterializeProgress;
use files::JobFiles;
use writer::Writer;

/// The jobs of a server. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub struct Jobs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    board: Mutex<Board>,
    writer: Writer,
    settings: config::Jobs,
    clock: Clock,
}

/// All jobs that are remembered, by id.
#[derive(Debug, Default)]
struct Board {
    entries: BTreeMap<u64, Entry>,
    next_id: u64,
}

#[derive(Debug)]
struct Entry {
    /// The job as it is; whoever watches it sees it change.
    job: tokio::sync::watch::Sender<Job>,
    cancel: CancellationToken,
    /// Those who wait for it.
    callers: usize,
    /// It goes on without them.
    unattended: bool,
    /// Somebody joined while it ran: it looks once more before it is done.
    looks_again: bool,
    /// What earlier attempts and looks did.
    before: MaterializeProgress,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The project.
    pub project: String,
    /// The view.
    pub view: String,
    /// Rebuild from the whole table.
    pub full: bool,
    /// Why.
    pub cause: Cause,
    /// It goes on when nobody waits for it.
    pub unattended: bool,
}

/// A job that is to run now.
#[derive(Debug, Clone)]
pub struct Start {
    /// The job.
    pub id: u64,
    /// Its project.
    pub project: String,
    /// Its view.
    pub view: String,
    /// Rebuild from the whole table.
    pub full: bool,
    /// Thrown when it is to stop.
    pub cancel: CancellationToken,
}

/// How an attempt ended.
#[derive(Debug)]
pub enum Outcome {
    /// The view is at the table's newest version.
    Done,
    /// The server stops.
    Stopped,
    /// It failed, or was told to stop.
    Failed(Error),
}

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Empty for all.
    pub views: Vec<String>,
    /// Only those that wait or run.
    pub active: bool,
    /// At most so many; 0 for all.
    pub limit: usize,
}

impl Jobs {
    /// The jobs kept in a folder. Those that a stop or a crash left waiting or running are queued again.
    ///
    /// # Errors
    /// The folder can't be made or listed, or no thread be started. A record that can't be read is logged and left out.
    pub fn open(folder: &Path, settings: config::Jobs, clock: Clock) -> std::io::Result<Self> {
        let files = JobFiles::open(folder)?;
        let mut board = Board::default();
        for mut job in files.load()? {
            job.resume_after_stop();
            board.next_id = board.next_id.max(job.id + 1);
            board.entries.insert(job.id, Entry::new(job, true));
        }
        board.next_id = board.next_id.max(1);
        let writer = Writer::start(files)?;
        Ok(Self { inner: Arc::new(Inner { board: Mutex::new(board), writer, settings, clock }) })
    }

    /// Waits until the records of all that was done so far are on the disk.
    pub async fn saved(&self) {
        // It ends after everybody who could ask.
        let _ = self.inner.writer.written().await;
    }

    /// Joins the view's job, or queues one. The caller is waited for until the watch is dropped.
    pub fn submit(&self, ask: &Ask) -> Watch {
        let now = self.inner.clock.now();
        let mut board = self.inner.board.lock();
        if let Some(entry) = board.entries.values_mut().find(|entry| entry.takes(ask)) {
            let changed = entry.join(ask);
            let (id, receiver) = (entry.job.borrow().id, entry.job.subscribe());
            if changed {
                self.inner.save(entry);
            }
            return Watch::new(self.clone(), id, receiver, false);
        }
        let id = board.next_id;
        board.next_id += 1;
        let mut entry = Entry::new(Job::new(id, ask, now), ask.unattended);
        entry.callers = 1;
        self.inner.save(&entry);
        let receiver = entry.job.subscribe();
        board.entries.insert(id, entry);
        Watch::new(self.clone(), id, receiver, true)
    }

    /// Takes the next job that may run: the oldest whose pause is over, whose view has no other running, while there is a place.
    pub fn next(&self) -> Option<Start> {
        let now = self.inner.clock.now();
        let mut board = self.inner.board.lock();
        let running: HashSet<(String, String)> = board
            .entries
            .values()
            .filter(|entry| entry.is(|job| job.state == State::Running))
            .map(Entry::view)
            .collect();
        if running.len() >= self.inner.settings.parallel.max(1) {
            return None;
        }
        let longest = self.inner.settings.max_backoff;
        let ready = |entry: &&mut Entry| {
            entry.is(|job| retry::is_due(&job.state, now, longest)) && !running.contains(&entry.view())
        };
        let entry = board.entries.values_mut().find(ready)?;
        entry.looks_again = false;
        let start = entry.begin(now);
        self.inner.save(entry);
        Some(start)
    }

    /// Notes how far a running job has come.
    pub fn note(&self, id: u64, report: &MaterializeProgress) {
        let mut board = self.inner.board.lock();
        let Some(entry) = board.entries.get_mut(&id) else { return };
        let progress = entry.before.and_then_came(report);
        entry.job.send_modify(|job| job.progress = progress);
    }

    /// Moves a job on after an attempt; `true` when it is to look for newer versions once more. `jitter` in `0.0..1.0` spreads the
    /// attempts of jobs that failed together.
    pub fn ended(&self, id: u64, outcome: Outcome, jitter: f64) -> bool {
        let now = self.inner.clock.now();
        let mut board = self.inner.board.lock();
        let Some(entry) = board.entries.get_mut(&id) else { return false };
        let cancelled = entry.cancel.is_cancelled();
        match outcome {
            Outcome::Done if entry.looks_again && !cancelled => {
                entry.looks_again = false;
                entry.before = entry.job.borrow().progress.clone();
                return true;
            }
            Outcome::Done => entry.end(State::Done, None, now),
            _ if cancelled => entry.end(State::Cancelled, None, now),
            Outcome::Stopped => entry.interrupt(),
            Outcome::Failed(error) => match self.pause(entry, &error, jitter) {
                Some(pause) => entry.wait_until(now.saturating_add(pause), &error),
                None => entry.end(State::Failed, Some(&error), now),
            },
        }
        self.inner.save(entry);
        self.inner.forget_oldest(&mut board);
        false
    }

    /// How long a failed job waits for its next attempt, if there is to be one. A caller that waits learns at once and decides itself.
    fn pause(&self, entry: &Entry, error: &Error, jitter: f64) -> Option<Micros> {
        let attempts = entry.job.borrow().attempts;
        let again = entry.unattended && retry::may_pass(error.kind) && attempts < self.inner.settings.attempts;
        again.then(|| retry::pause(attempts, &self.inner.settings, jitter))
    }

    /// Stops a job: at once where it waits, at its next batch where it runs. One that has ended stays as it is.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn cancel(&self, project: &str, id: u64) -> Result<Job> {
        let mut board = self.inner.board.lock();
        let entry = board.of(project, id)?;
        if entry.cancel(self.inner.clock.now()) {
            self.inner.save(entry);
        }
        let job = entry.job.borrow().clone();
        Ok(job)
    }

    /// Queues a job that failed or was cancelled, or ends the pause of one that failed.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` for a job that is done.
    pub fn retry(&self, project: &str, id: u64) -> Result<Job> {
        let mut board = self.inner.board.lock();
        let entry = board.of(project, id)?;
        if entry.is(|job| job.state == State::Done) {
            let message = format!("job {id} is done; materialize the view again for what came since");
            return Err(Error::new(ErrorKind::Precondition, message));
        }
        if entry.requeue() {
            self.inner.save(entry);
        }
        let job = entry.job.borrow().clone();
        Ok(job)
    }

    /// A job.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get(&self, project: &str, id: u64) -> Result<Job> {
        Ok(self.inner.board.lock().of(project, id)?.job.borrow().clone())
    }

    /// Follows a job without being waited for.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn observe(&self, project: &str, id: u64) -> Result<Watch> {
        let receiver = self.inner.board.lock().of(project, id)?.job.subscribe();
        Ok(Watch::observer(self.clone(), id, receiver))
    }

    /// Jobs of a project, newest first.
    #[must_use]
    pub fn list(&self, project: &str, filter: &Filter) -> Vec<Job> {
        let wanted = |job: &Job| {
            job.project == project
                && (filter.views.is_empty() || filter.views.contains(&job.view))
                && (!filter.active || job.state.is_active())
        };
        let board = self.inner.board.lock();
        let jobs = board.entries.values().rev().map(|entry| entry.job.borrow().clone()).filter(wanted);
        jobs.take(if filter.limit == 0 { usize::MAX } else { filter.limit }).collect()
    }

    /// The newest job of a view.
    #[must_use]
    pub fn last(&self, project: &str, view: &str) -> Option<Job> {
        let filter = Filter { views: vec![view.to_owned()], limit: 1, ..Filter::default() };
        self.list(project, &filter).pop()
    }

    /// Jobs that wait and jobs that wait after a failure, for metrics.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        let board = self.inner.board.lock();
        let count = |wanted: fn(&Job) -> bool| board.entries.values().filter(|entry| entry.is(wanted)).count();
        (count(|job| job.state == State::Queued), count(|job| matches!(job.state, State::Retrying { .. })))
    }

    /// A caller goes away.
    fn leave(&self, id: u64) {
        let mut board = self.inner.board.lock();
        let Some(entry) = board.entries.get_mut(&id) else { return };
        entry.callers = entry.callers.saturating_sub(1);
        if entry.callers == 0 && !entry.unattended {
            let changed = entry.cancel(self.inner.clock.now());
            if changed {
                self.inner.save(entry);
            }
        }
    }

    /// A job goes on without callers.
    fn leave_alone(&self, id: u64) {
        if let Some(entry) = self.inner.board.lock().entries.get_mut(&id) {
            entry.unattended = true;
        }
    }
}

impl Inner {
    /// Hands the job's record over to be written.
    fn save(&self, entry: &Entry) {
        self.writer.keep(entry.job.borrow().clone());
    }

    /// Keeps the board bounded. The newest job of each view stays: schedules count from it.
    fn forget_oldest(&self, board: &mut Board) {
        let ended = board.entries.values().filter(|entry| !entry.is(|job| job.state.is_active())).count();
        let mut surplus = ended.saturating_sub(self.settings.history);
        if surplus == 0 {
            return;
        }
        let newest: BTreeMap<(String, String), u64> =
            board.entries.iter().map(|(id, entry)| (entry.view(), *id)).collect();
        let oldest: Vec<u64> = board
            .entries
            .iter()
            .filter(|(_, entry)| !entry.is(|job| job.state.is_active()))
            .map(|(id, _)| *id)
            .collect();
        for id in oldest {
            if surplus == 0 {
                break;
            }
            if board.entries.get(&id).is_some_and(|entry| newest.get(&entry.view()) == Some(&id)) {
                continue;
            }
            board.entries.remove(&id);
            self.writer.forget(id);
            surplus -= 1;
        }
    }
}

impl Board {
    fn of(&mut self, project: &str, id: u64) -> Result<&mut Entry> {
        let found = self.entries.get_mut(&id).filter(|entry| entry.is(|job| job.project == project));
        found.ok_or_else(|| {
            let message =
                format!("project `{project}` has no job {id}; `tidegate jobs list` shows those that are remembered");
            Error::not_found(message)
        })
    }
}

impl Entry {
    fn new(job: Job, unattended: bool) -> Self {
        Self {
            before: job.progress.clone(),
            job: tokio::sync::watch::Sender::new(job),
            cancel: CancellationToken::new(),
            callers: 0,
            unattended,
            looks_again: false,
        }
    }

    fn is(&self, what: impl FnOnce(&Job) -> bool) -> bool {
        what(&self.job.borrow())
    }

    fn view(&self) -> (String, String) {
        let job = self.job.borrow();
        (job.project.clone(), job.view.clone())
    }

    /// Whether who asks can have this job's work instead of another's.
    fn takes(&self, ask: &Ask) -> bool {
        let job = self.job.borrow();
        let same = job.project == ask.project && job.view == ask.view;
        let whole = !ask.full || job.full || job.state != State::Running;
        same && job.state.is_active() && !self.cancel.is_cancelled() && whole
    }

    /// Says whether the job has become another. Who asks does not wait for the end of a pause.
    fn join(&mut self, ask: &Ask) -> bool {
        self.callers += 1;
        self.unattended |= ask.unattended;
        self.looks_again |= self.is(|job| job.state == State::Running);
        let (full, paused) =
            (ask.full && !self.is(|job| job.full), self.is(|job| matches!(job.state, State::Retrying { .. })));
        if full || paused {
            self.job.send_modify(|job| {
                job.full |= full;
                job.state = if paused { State::Queued } else { job.state };
            });
        }
        full || paused
    }

    fn begin(&mut self, now: Micros) -> Start {
        self.job.send_modify(|job| {
            job.state = State::Running;
            job.attempts += 1;
            job.started_at = job.started_at.or(Some(now));
            job.interrupted = false;
        });
        let job = self.job.borrow();
        self.before = job.progress.clone();
        Start {
            id: job.id,
            project: job.project.clone(),
            view: job.view.clone(),
            full: job.full,
            cancel: self.cancel.clone(),
        }
    }

    fn end(&mut self, state: State, error: Option<&Error>, now: Micros) {
        self.job.send_modify(|job| {
            job.failure = error.map(Failure::of).or(job.failure.take().filter(|_| state != State::Done));
            job.state = state;
            job.stopping = false;
            job.ended_at = Some(now);
        });
    }

    fn wait_until(&mut self, at: Micros, error: &Error) {
        self.job.send_modify(|job| {
            job.state = State::Retrying { at };
            job.failure = Some(Failure::of(error));
        });
    }

    /// The server stops: the next one goes on.
    fn interrupt(&mut self) {
        self.unattended = true;
        self.job.send_modify(|job| {
            job.state = State::Queued;
            job.interrupted = true;
        });
    }

    /// Says whether anything changed.
    fn cancel(&mut self, now: Micros) -> bool {
        let (active, running) = (self.is(|job| job.state.is_active()), self.is(|job| job.state == State::Running));
        if !active || self.cancel.is_cancelled() {
            return false;
        }
        self.cancel.cancel();
        match running {
            true => self.job.send_modify(|job| job.stopping = true),
            false => self.end(State::Cancelled, None, now),
        }
        true
    }

    /// Says whether anything changed.
    fn requeue(&mut self) -> bool {
        let state = self.job.borrow().state;
        if matches!(state, State::Queued | State::Running | State::Done) {
            return false;
        }
        self.cancel = CancellationToken::new();
        self.unattended = true;
        self.job.send_modify(|job| {
            job.state = State::Queued;
            job.attempts = 0;
            job.ended_at = None;
            job.failure = None;
        });
        true
    }
}

#[cfg(test)]
mod tests;
