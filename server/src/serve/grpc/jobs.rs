//! Jobs over gRPC: listed, shown, followed, stopped, run again.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt, unfold};
use tidegate_proto::jobs::v1::{self as wire, jobs_service_server::JobsService};
use tonic::{Request, Response, Status};

use crate::serve::error::status;
use crate::serve::meter::metered;
use crate::serve::principal;
use crate::service::{Cause, Job, JobFilter, JobState, Tidegate};

/// What the wire says where there is no version.
const NO_VERSION: i64 = -1;

/// The door of jobs.
pub(super) struct JobsDoor {
    service: Arc<Tidegate>,
}

impl JobsDoor {
    pub(super) fn new(service: Arc<Tidegate>) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl JobsService for JobsDoor {
    async fn list_jobs(
        &self,
        request: Request<wire::ListJobsRequest>,
    ) -> Result<Response<wire::ListJobsResponse>, Status> {
        let caller = principal::of(&request)?;
        let wire::ListJobsRequest { project, views, active, limit } = request.into_inner();
        let filter = JobFilter { views, active, limit: usize::try_from(limit).unwrap_or(usize::MAX) };
        let listed = self.service.jobs(&caller, &project, &filter);
        let jobs = metered(&self.service, "grpc", "list_jobs", listed).await.map_err(status)?;
        Ok(Response::new(wire::ListJobsResponse { jobs: jobs.iter().map(job).collect() }))
    }

    async fn get_job(&self, request: Request<wire::JobRequest>) -> Result<Response<wire::Job>, Status> {
        let caller = principal::of(&request)?;
        let wire::JobRequest { project, id } = request.into_inner();
        let found = async { self.service.job(&caller, &project, id) };
        let found = metered(&self.service, "grpc", "get_job", found).await.map_err(status)?;
        Ok(Response::new(job(&found)))
    }

    type WatchJobStream = BoxStream<'static, Result<wire::Job, Status>>;

    async fn watch_job(&self, request: Request<wire::JobRequest>) -> Result<Response<Self::WatchJobStream>, Status> {
        let caller = principal::of(&request)?;
        let wire::JobRequest { project, id } = request.into_inner();
        let watch = async { self.service.watch_job(&caller, &project, id) };
        let watch = metered(&self.service, "grpc", "watch_job", watch).await.map_err(status)?;
        let changes = unfold(watch, async |mut watch| watch.next().await.map(|seen| (Ok(job(&seen)), watch)));
        Ok(Response::new(changes.boxed()))
    }

    async fn cancel_job(&self, request: Request<wire::JobRequest>) -> Result<Response<wire::Job>, Status> {
        let caller = principal::of(&request)?;
        let wire::JobRequest { project, id } = request.into_inner();
        let cancelled = self.service.cancel_job(&caller, &project, id);
        let cancelled = metered(&self.service, "grpc", "cancel_job", cancelled).await.map_err(status)?;
        Ok(Response::new(job(&cancelled)))
    }

    async fn retry_job(&self, request: Request<wire::JobRequest>) -> Result<Response<wire::Job>, Status> {
        let caller = principal::of(&request)?;
        let wire::JobRequest { project, id } = request.into_inner();
        let again = self.service.retry_job(&caller, &project, id);
        let again = metered(&self.service, "grpc", "retry_job", again).await.map_err(status)?;
        Ok(Response::new(job(&again)))
    }
}

fn job(job: &Job) -> wire::Job {
    use wire::job::{Cause as WireCause, State};
    let (state, retry_at) = match job.state {
        JobState::Queued => (State::Queued, 0),
        JobState::Running => (State::Running, 0),
        JobState::Retrying { at } => (State::Retrying, at),
        JobState::Done => (State::Done, 0),
        JobState::Failed => (State::Failed, 0),
        JobState::Cancelled => (State::Cancelled, 0),
    };
    let (cause, principal) = match &job.cause {
        Cause::Call { principal } => (WireCause::Call, principal.clone()),
        Cause::Schedule => (WireCause::Schedule, String::new()),
        Cause::Commit => (WireCause::Commit, String::new()),
    };
    wire::Job {
        id: job.id,
        project: job.project.clone(),
        view: job.view.clone(),
        full: job.full,
        state: state.into(),
        cause: cause.into(),
        principal,
        attempts: job.attempts,
        created_at: job.created_at,
        started_at: job.started_at.unwrap_or(0),
        ended_at: job.ended_at.unwrap_or(0),
        retry_at,
        problem: job.failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default(),
        stopping: job.stopping,
        from_version: job.progress.from_version.unwrap_or(NO_VERSION),
        to_version: job.progress.to_version,
        rows_read: job.progress.rows_read,
        rows_total: job.progress.rows_total,
        rows_written: job.progress.rows_written,
        rows_skipped: job.progress.rows_skipped,
        rows_corrected: job.progress.rows_corrected,
        bytes_read: job.progress.bytes_read,
        bytes_total: job.progress.bytes_total,
    }
}
