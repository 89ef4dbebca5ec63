//! Jobs as use cases, and what runs them: [`Tidegate::dispatch`] begins what may run, [`Tidegate::tend_jobs`] looks at schedules.
//!
//! ```text
//! materialize, retry, schedules ──> the board ──dispatch──> a task on the plan threads: attempt, attempt again, next
//! ```
//! A task is begun for each job that runs and begins the next when it ends; nothing waits in between.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tidegate_schemas::definition::{FeatureView, Schedule};
use tidegate_schemas::error::ErrorKind;
use tokio::sync::mpsc;

use crate::jobs::{Ask, Cause, Filter, Job, Need, Outcome, Start, ViewKey, Watch, holds_back};
use crate::materialize::{Claim, Job as Work, Subject};
use crate::registry::Versioned;
use crate::service::materialize::online_views;
use crate::service::{Error, Freshness, Principal, Result, Tidegate};
use crate::shutdown::{Registration, Stage};

/// How often, and how far apart, a view that something else has is asked for.
const CLAIM_ATTEMPTS: usize = 40;
const CLAIM_PAUSE: Duration = Duration::from_millis(50);

impl Tidegate {
    /// Jobs of a project, newest first.
    ///
    /// # Errors
    /// `NotFound` for the project.
    pub async fn jobs(&self, _principal: &Principal, project: &str, filter: &Filter) -> Result<Vec<Job>> {
        self.project(project).await?;
        Ok(self.jobs.list(project, filter))
    }

    /// One job.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn job(&self, _principal: &Principal, project: &str, id: u64) -> Result<Job> {
        self.jobs.get(project, id)
    }

    /// Follows a job; going away changes nothing for it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn watch_job(&self, _principal: &Principal, project: &str, id: u64) -> Result<Watch> {
        self.jobs.observe(project, id)
    }

    /// Stops a job: at once where it waits, at its next batch where it runs.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn cancel_job(&self, principal: &Principal, project: &str, id: u64) -> Result<Job> {
        tracing::info!(principal = principal.name(), project, job = id, "cancel");
        let job = self.jobs.cancel(project, id)?;
        self.jobs.saved().await;
        Ok(job)
    }

    /// Runs a job again that failed or was cancelled, or now instead of after its pause.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` for a job that is done.
    pub async fn retry_job(self: &Arc<Self>, principal: &Principal, project: &str, id: u64) -> Result<Job> {
        tracing::info!(principal = principal.name(), project, job = id, "retry");
        self.jobs.retry(project, id)?;
        self.dispatch();
        self.jobs.saved().await;
        self.jobs.get(project, id)
    }

    /// Waits until all that became of jobs so far is on the disk.
    pub async fn jobs_saved(&self) {
        self.jobs.saved().await;
    }

    /// Begins the jobs that may run now, each in a task of its own.
    pub fn dispatch(self: &Arc<Self>) {
        while !self.shutdown.is_requested()
            && let Some(start) = self.jobs.next()
        {
            let name = format!("job {} ({}/{})", start.id, start.project, start.view);
            let registration = self.shutdown.register(Stage::Jobs, name);
            let service = self.clone();
            self.plans.handle().spawn(async move {
                service.run_job(start, &registration).await;
                // Its place is free.
                service.dispatch();
            });
        }
    }

    /// Attempts a job until it is done, or is moved on otherwise.
    async fn run_job(&self, mut start: Start, registration: &Registration) {
        loop {
            let attempt = AssertUnwindSafe(self.attempt(&start, registration)).catch_unwind().await;
            let outcome = match attempt {
                Ok(Ok(())) => Outcome::Done,
                Ok(Err(_)) if registration.is_stopping() => Outcome::Stopped,
                Ok(Err(error)) => Outcome::Failed(error),
                Err(_) => Outcome::Failed(Error::internal("a job panicked; please report it with the server's log")),
            };
            if let Outcome::Failed(error) = &outcome
                && !start.cancel.is_cancelled()
            {
                tracing::warn!(job = start.id, view = start.view, error = error.chain(), "a job failed");
            }
            if !self.jobs.ended(start.id, outcome, jitter()) {
                return;
            }
            // What was asked for as a whole has been done.
            start.full = false;
        }
    }

    /// One attempt at a job, with the definitions as they are now.
    async fn attempt(&self, start: &Start, registration: &Registration) -> Result<()> {
        let project = self.project(&start.project).await?;
        let names = [start.view.clone()];
        let view = online_views(&project.catalog, &names)?.remove(0);
        let claim = self.claim_for(start, registration).await?;
        self.retain_as_defined(&project, view).await?;
        let mut work = tokio::select! {
            work = self.work(&project, view, claim) => work?,
            () = start.cancel.cancelled() => {
                return Err(Error::new(ErrorKind::Cancelled, "the job was cancelled"));
            }
            () = registration.stopping() => return Err(Error::new(ErrorKind::Unavailable, "the server stops")),
        };
        work.full = start.full;
        // One report ahead: what it says is noted before the next is made.
        let (reports, mut received) = mpsc::channel(1);
        let mut run = pin!(work.run(&reports, registration));
        let mut cancelled = pin!(start.cancel.cancelled());
        let ended = loop {
            tokio::select! {
                ended = &mut run => break ended,
                Some(Ok(report)) = received.recv() => self.jobs.note(start.id, &report),
                // Nobody listens any more: that stops it at its next batch.
                () = &mut cancelled, if !received.is_closed() => received.close(),
            }
        };
        while let Ok(Ok(report)) = received.try_recv() {
            self.jobs.note(start.id, &report);
        }
        ended
    }

    /// What brings a view up to date.
    pub(in crate::service) async fn work(
        &self,
        project: &Arc<Versioned>,
        view: &FeatureView,
        claim: Claim,
    ) -> Result<Work> {
        let catalog = &project.catalog;
        let missing = || Error::internal(format!("view `{}` has no source", view.name));
        let source = catalog.sources.get(&view.source).ok_or_else(missing)?;
        self.queries.refresh(catalog, &source.name, false).await?;
        let table = self.tables.open(&catalog.project, source).await?;
        let id = self.view_id(project, view)?;
        let subject = Subject { catalog, view, source };
        let (store, plans, telemetry) = (self.online.clone(), self.plans.clone(), self.telemetry.clone());
        let mut work = Work::new(&subject, store, id, table, plans, self.clock.clone(), telemetry, claim);
        work.batch_rows = self.settings.materialize.batch_rows;
        work.settle = self.settle(project, source).filter(|_| view.is_windowed());
        Ok(work)
    }

    /// The view for a job, as soon as a comparison with its table lets go of it.
    async fn claim_for(&self, start: &Start, registration: &Registration) -> Result<Claim> {
        loop {
            if let Some(claim) = self.claims.claim(&start.project, &start.view) {
                return Ok(claim);
            }
            tokio::select! {
                () = tokio::time::sleep(CLAIM_PAUSE) => {}
                () = start.cancel.cancelled() => return Err(Error::new(ErrorKind::Cancelled, "the job was cancelled")),
                () = registration.stopping() => return Err(Error::new(ErrorKind::Unavailable, "the server stops")),
            }
        }
    }

    /// The view for something else than a job, which waits for a moment only.
    pub(in crate::service) async fn claim(&self, project: &str, view: &str) -> Option<Claim> {
        for _ in 0..CLAIM_ATTEMPTS {
            if let Some(claim) = self.claims.claim(project, view) {
                return Some(claim);
            }
            tokio::time::sleep(CLAIM_PAUSE).await;
        }
        self.claims.claim(project, view)
    }

    /// Looks at every online view: notes how far behind it is, and queues a job where its schedule says so. Then begins what may run.
    pub async fn tend_jobs(self: &Arc<Self>) {
        let mut tended = BTreeSet::new();
        for name in self.registry.known() {
            let Some(project) = self.registry.cached(&name) else { continue };
            for view in project.catalog.views.values().filter(|view| view.online) {
                self.tend(&project, view).await;
                tended.insert((name.clone(), view.name.clone()));
            }
        }
        self.scheduler.forget_others(&tended);
        self.telemetry.freshness_of_none_but(&tended);
        let (queued, retrying) = self.jobs.waiting();
        self.telemetry.jobs_waiting(queued, retrying);
        self.dispatch();
    }

    async fn tend(&self, project: &Versioned, view: &FeatureView) {
        let key = (project.catalog.project.clone(), view.name.clone());
        let need = self.look_at(&key, project, view).await;
        let Some(schedule) = &view.schedule else { return };
        let (now, (name, _)) = (self.clock.now(), &key);
        let last = self.jobs.last(name, &view.name);
        if !self.scheduler.is_due(&key, schedule, last.as_ref(), need, now) {
            return;
        }
        let held = || last.as_ref().is_some_and(|last| holds_back(last, need, now, self.settings.jobs.max_backoff));
        if !need.work || *schedule == Schedule::OnCommit && held() {
            self.scheduler.looked(&key, now);
            return;
        }
        let cause = if *schedule == Schedule::OnCommit { Cause::Commit } else { Cause::Schedule };
        let ask = Ask { project: name.clone(), view: view.name.clone(), full: false, cause, unattended: true };
        drop(self.jobs.submit(&ask));
    }

    /// Notes how far behind a view is. One that can't be looked at needs a job all the same: it fails with the reason, where people
    /// look for it.
    async fn look_at(&self, key: &ViewKey, project: &Versioned, view: &FeatureView) -> Need {
        let (project_name, name) = (&key.0, &view.name);
        match self.lag(project, view).await {
            Ok(lag) => {
                self.telemetry.freshness(project_name, name, &lag.freshness(view, self.clock.now()));
                if self.scheduler.is_news(key, None) {
                    tracing::info!(project = project_name, view = name, "a view can be looked at again");
                }
                lag.need()
            }
            Err(error) => {
                self.telemetry.freshness(project_name, name, &Freshness::unknown(view));
                let error = error.chain();
                if self.scheduler.is_news(key, Some(&error)) {
                    tracing::warn!(project = project_name, view = name, error, "can't look at a view");
                }
                Need { work: true, newest: 0 }
            }
        }
    }
}

/// A number in `0.0..1.0` that differs from job to job.
fn jitter() -> f64 {
    let drawn = uuid::Uuid::new_v4().as_u128() as u32;
    f64::from(drawn) / (f64::from(u32::MAX) + 1.0)
}
