//! Materialization as a use case: jobs are started or joined, and their progress is told.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{BoxStream, iter, select_all, unfold};
use tidegate_schemas::catalog::{Catalog, nearest};
use tidegate_schemas::definition::FeatureView;
use tidegate_schemas::error::ErrorKind;
use tokio::sync::watch::Receiver;

use crate::jobs::{Ask, Cause, Job, State, Watch};
use crate::materialize::{MaterializeProgress, Phase};
use crate::service::{Error, Principal, Result, Tidegate};
use crate::shutdown::Shutdown;

/// Which views to bring up to date.
#[derive(Debug, Clone, Default)]
pub struct MaterializeRequest {
    /// The project.
    pub project: String,
    /// Empty for all online views.
    pub views: Vec<String>,
    /// Rebuild from the whole table, instead of from the versions added since the cursor.
    pub full: bool,
    /// Do not wait: the stream ends after one message for each view. The jobs go on, and are tried again when they fail.
    pub detach: bool,
}

/// What a job that is followed has to say.
enum Step {
    Came(MaterializeProgress),
    Failed(Error),
}

impl Tidegate {
    /// Brings views up to their tables' current versions: starts a job for each, or joins the one there is. The stream has one
    /// message with [`Phase::Done`] for each view that got there; when all jobs have ended, it ends with the first failure, if any.
    ///
    /// Dropping the stream lets go of the jobs: one that nobody else waits for stops at its next batch, unless it was detached or
    /// the server started it.
    ///
    /// # Errors
    /// `NotFound` for the project or a view; `Precondition` for a view that is not online.
    pub async fn materialize(
        self: &Arc<Self>,
        principal: &Principal,
        request: MaterializeRequest,
    ) -> Result<BoxStream<'static, Result<MaterializeProgress>>> {
        let project = self.project(&request.project).await?;
        let views = online_views(&project.catalog, &request.views)?;
        tracing::info!(principal = principal.name(), project = request.project, views = views.len(), "materialize");
        let submit = |view: &&Arc<FeatureView>| {
            self.jobs.submit(&Ask {
                project: request.project.clone(),
                view: view.name.clone(),
                full: request.full,
                cause: Cause::Call { principal: principal.name().to_owned() },
                unattended: request.detach,
            })
        };
        let watches: Vec<Watch> = views.iter().map(submit).collect();
        self.dispatch();
        if request.detach {
            // Who goes away finds the jobs again, whatever becomes of the server.
            self.jobs.saved().await;
            let begun = |watch: Watch| match step(&watch.now(), watch.started()) {
                Step::Came(progress) => Ok(progress),
                Step::Failed(error) => Err(error),
            };
            return Ok(iter(watches.into_iter().map(begun)).boxed());
        }
        let followed = watches.into_iter().map(|watch| follow(watch, self.shutdown.clone()));
        Ok(failures_last(followed.collect()))
    }
}

/// A job's progress until it ends, or until the server stops.
fn follow(watch: Watch, shutdown: Shutdown) -> BoxStream<'static, Step> {
    unfold(Some((watch, shutdown)), async |followed| {
        let (mut watch, shutdown) = followed?;
        let glance = watch.receiver();
        let job = tokio::select! {
            job = watch.next() => job?,
            () = given_up(glance, &shutdown) => {
                watch.leave_alone();
                return Some((Step::Failed(stopping(&watch.now())), None));
            }
        };
        let ended = !job.state.is_active() || job.interrupted;
        let step = step(&job, watch.started());
        Some((step, (!ended).then_some((watch, shutdown))))
    })
    .boxed()
}

/// Resolves when the server stops and the job does not run: nothing will begin it any more.
async fn given_up(glance: Receiver<Job>, shutdown: &Shutdown) {
    shutdown.requested().await;
    if glance.borrow().state == State::Running {
        std::future::pending::<()>().await;
    }
}

fn step(job: &Job, started: bool) -> Step {
    let phase = match (job.state, &job.failure) {
        _ if job.interrupted => return Step::Failed(stopping(job)),
        (State::Queued, _) => Phase::Queued,
        (State::Running, _) => Phase::Running,
        (State::Retrying { .. }, failure) => {
            Phase::Retrying { problem: failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default() }
        }
        (State::Done, _) => Phase::Done,
        (State::Failed, Some(failure)) => return Step::Failed(failure.error()),
        (State::Failed, None) => {
            return Step::Failed(Error::internal(format!("job {} failed without a reason", job.id)));
        }
        (State::Cancelled, _) => {
            let message =
                format!("the materialization of `{}` (job {}) was cancelled; what it wrote stays", job.view, job.id);
            return Step::Failed(Error::new(ErrorKind::Cancelled, message));
        }
    };
    Step::Came(MaterializeProgress { phase, job: job.id, started, ..job.progress.clone() })
}

fn stopping(job: &Job) -> Error {
    let message = format!(
        "the server stops; job {} of `{}` goes on when it is back, and materializing again joins it",
        job.id, job.view
    );
    Error::new(ErrorKind::Unavailable, message)
}

/// All that comes, and when nothing more does, the first failure: one view's does not hide the others' progress.
fn failures_last(followed: Vec<BoxStream<'static, Step>>) -> BoxStream<'static, Result<MaterializeProgress>> {
    let none: Vec<Error> = Vec::new();
    unfold((select_all(followed), none), async |(mut steps, mut failures)| {
        loop {
            match steps.next().await {
                Some(Step::Came(progress)) => return Some((Ok(progress), (steps, failures))),
                Some(Step::Failed(error)) => failures.push(error),
                None if failures.is_empty() => return None,
                None => return Some((Err(first(std::mem::take(&mut failures))), (steps, failures))),
            }
        }
    })
    .fuse()
    .boxed()
}

/// The first failure, with a word about the others.
fn first(mut failures: Vec<Error>) -> Error {
    let others = failures.len() - 1;
    let mut error = failures.swap_remove(0);
    if others > 0 {
        error.message.push_str(&format!("; {others} more views failed, `tidegate jobs list` shows them"));
    }
    error
}

/// The views of these names, or all online views.
pub(in crate::service) fn online_views<'a>(
    catalog: &'a Catalog,
    names: &[String],
) -> Result<Vec<&'a Arc<FeatureView>>> {
    if names.is_empty() {
        return Ok(catalog.views.values().filter(|view| view.online).collect());
    }
    let mut views: Vec<&Arc<FeatureView>> = Vec::new();
    for name in names {
        let view = catalog.views.get(name).ok_or_else(|| {
            let near = nearest(name, catalog.views.keys().map(String::as_str));
            let help = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            Error::not_found(format!("no feature view named `{name}` in project `{}`{help}", catalog.project))
        })?;
        if !view.online {
            let message =
                format!("feature view `{name}` is not served online; set `online: true` in its definition first");
            return Err(Error::new(ErrorKind::Precondition, message));
        }
        if views.iter().all(|known| known.name != *name) {
            views.push(view);
        }
    }
    Ok(views)
}
