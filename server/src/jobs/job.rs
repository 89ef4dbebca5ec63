//! What a job is, and where it stands.

use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::Micros;

use super::Ask;
use crate::error::Error;
use crate::materialize::MaterializeProgress;

/// The materialization of one view.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Counts up; never given twice.
    pub id: u64,
    /// The project.
    pub project: String,
    /// The view.
    pub view: String,
    /// Rebuilds from the whole table.
    pub full: bool,
    /// Why there is a job.
    pub cause: Cause,
    /// Where it stands.
    pub state: State,
    /// It was told to stop and does so at its next batch.
    pub stopping: bool,
    /// How often it was begun.
    pub attempts: u32,
    /// When it was asked for.
    pub created_at: Micros,
    /// When it was begun first.
    pub started_at: Option<Micros>,
    /// When it ended.
    pub ended_at: Option<Micros>,
    /// What the last attempt failed with.
    pub failure: Option<Failure>,
    /// How far it has come, all attempts together.
    pub progress: MaterializeProgress,
    /// The server stops; the next one goes on with it. Not kept.
    pub(crate) interrupted: bool,
}

/// Where a job stands; the module's picture shows the ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for another job of the view, or for a place.
    Queued,
    /// At work.
    Running,
    /// Failed, and is begun again.
    Retrying {
        /// Not before this.
        at: Micros,
    },
    /// The view was at its table's newest version.
    Done,
    /// Failed for good.
    Failed,
    /// Stopped because somebody said so, or the last who waited for it went away.
    Cancelled,
}

/// Why there is a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Somebody asked for it.
    Call {
        /// Who.
        principal: String,
    },
    /// The view's schedule.
    Schedule,
    /// A commit to the table.
    Commit,
}

/// What an attempt failed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What a caller should do.
    pub kind: ErrorKind,
    /// Cause and remedy.
    pub message: String,
}

impl State {
    /// Whether it has not ended.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Retrying { .. })
    }
}

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        Self { kind: error.kind, message: error.chain() }
    }

    /// As a caller meets it.
    #[must_use]
    pub fn error(&self) -> Error {
        Error::new(self.kind, self.message.clone())
    }
}

impl Job {
    pub(super) fn new(id: u64, ask: &Ask, now: Micros) -> Self {
        Self {
            id,
            project: ask.project.clone(),
            view: ask.view.clone(),
            full: ask.full,
            cause: ask.cause.clone(),
            state: State::Queued,
            stopping: false,
            attempts: 0,
            created_at: now,
            started_at: None,
            ended_at: None,
            failure: None,
            progress: MaterializeProgress { view: ask.view.clone(), ..MaterializeProgress::default() },
            interrupted: false,
        }
    }

    /// What a new process makes of what an old one left.
    pub(super) fn resume_after_stop(&mut self) {
        match self.state {
            State::Running if self.stopping => {
                self.state = State::Cancelled;
                self.stopping = false;
                self.ended_at = self.ended_at.or(self.started_at);
            }
            State::Running => self.state = State::Queued,
            _ => {}
        }
    }
}
