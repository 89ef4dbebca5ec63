//! Following one job.

use tokio::sync::watch::Receiver;

use super::{Job, Jobs};

/// A job as it changes. Who submitted is waited for until this is dropped; who only observes is not.
#[derive(Debug)]
pub struct Watch {
    jobs: Jobs,
    id: u64,
    receiver: Receiver<Job>,
    /// Whether the job was started for whoever watches, and not joined.
    started: bool,
    waits: bool,
    told: Told,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Something,
    TheEnd,
}

impl Watch {
    pub(super) fn new(jobs: Jobs, id: u64, receiver: Receiver<Job>, started: bool) -> Self {
        Self { jobs, id, receiver, started, waits: true, told: Told::Nothing }
    }

    pub(super) fn observer(jobs: Jobs, id: u64, receiver: Receiver<Job>) -> Self {
        Self { jobs, id, receiver, started: false, waits: false, told: Told::Nothing }
    }

    /// Whether the job was started for whoever watches.
    #[must_use]
    pub fn started(&self) -> bool {
        self.started
    }

    /// For a look at the job while it is being waited for.
    pub(crate) fn receiver(&self) -> Receiver<Job> {
        self.receiver.clone()
    }

    /// The job as it is.
    #[must_use]
    pub fn now(&self) -> Job {
        self.receiver.borrow().clone()
    }

    /// The job as it is, then each time it has changed; `None` after it ended. Changes that follow quickly on each other are told as
    /// one. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Job> {
        match self.told {
            Told::Nothing => {}
            Told::Something => self.receiver.changed().await.ok()?,
            Told::TheEnd => return None,
        }
        let job = self.receiver.borrow_and_update().clone();
        let ended = !job.state.is_active() || job.interrupted;
        self.told = if ended { Told::TheEnd } else { Told::Something };
        Some(job)
    }

    /// Lets the job go on without whoever watches.
    pub fn leave_alone(&self) {
        self.jobs.leave_alone(self.id);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.waits {
            self.jobs.leave(self.id);
        }
    }
}
