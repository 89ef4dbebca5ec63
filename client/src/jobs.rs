//! The jobs that bring views up to date: listed, followed, stopped, run again.

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tidegate_proto::jobs::v1;
use tidegate_proto::jobs::v1::jobs_service_client::JobsServiceClient;
use tidegate_schemas::time::Micros;
use tonic::transport::Channel;

use crate::connect::Client;
use crate::error::Result;

/// The materialization of one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub id: u64,
    /// The view.
    pub view: String,
    /// Rebuilds from the whole table.
    pub full: bool,
    /// Where it stands.
    pub state: State,
    /// Why there is a job.
    pub cause: Cause,
    /// How often it was begun.
    pub attempts: u32,
    /// When it was asked for, in UTC microseconds.
    pub created_at: Micros,
    /// When it was begun first.
    pub started_at: Option<Micros>,
    /// When it ended.
    pub ended_at: Option<Micros>,
    /// What the last attempt failed with; empty when it did not.
    pub problem: String,
    /// It was told to stop and does so at its next batch.
    pub stopping: bool,
    /// The cursor before.
    pub from_version: Option<i64>,
    /// The table version being reached.
    pub to_version: i64,
    /// Rows read so far.
    pub rows_read: u64,
    /// An estimate of the rows to read, where there is one.
    pub rows_total: Option<u64>,
    /// Rows that replaced what was stored, or were new.
    pub rows_written: u64,
    /// Rows that were no observation.
    pub rows_skipped: u64,
    /// Rows of keys that were put right because rows were removed from the table or changed in it.
    pub rows_corrected: u64,
    /// Of the bytes, about how many were read.
    pub bytes_read: u64,
    /// Bytes of the files to read.
    pub bytes_total: u64,
}

/// Where a job stands.
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
    /// Was stopped.
    Cancelled,
    /// Something that this client is too old to know.
    Unknown,
}

/// Why there is a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Somebody asked for it.
    Call(String),
    /// The view's schedule.
    Schedule,
    /// A commit to the table.
    Commit,
    /// Something that this client is too old to know.
    Unknown,
}

impl State {
    /// Its name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying { .. } => "retrying",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Retrying { .. })
    }
}

impl Cause {
    /// Its name in lower case.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Call(_) => "call",
            Self::Schedule => "schedule",
            Self::Commit => "commit",
            Self::Unknown => "unknown",
        }
    }
}

/// Which jobs to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Empty for all views.
    pub views: Vec<String>,
    /// Only those that wait or run.
    pub active: bool,
    /// At most so many; 0 for all that are remembered.
    pub limit: u32,
}

impl Client {
    fn job_keeper(&self) -> JobsServiceClient<Channel> {
        JobsServiceClient::new(self.channel.clone())
    }

    fn job_request(&self, id: u64) -> Result<v1::JobRequest> {
        Ok(v1::JobRequest { project: self.project()?.to_owned(), id })
    }

    /// Jobs, newest first.
    ///
    /// # Errors
    /// An unknown project.
    pub async fn jobs(&self, filter: Filter) -> Result<Vec<Job>> {
        let Filter { views, active, limit } = filter;
        let request = v1::ListJobsRequest { project: self.project()?.to_owned(), views, active, limit };
        let reply = self.job_keeper().list_jobs(request).await.map_err(|status| self.failed(&status))?;
        Ok(reply.into_inner().jobs.into_iter().map(job).collect())
    }

    /// One job.
    ///
    /// # Errors
    /// It is unknown.
    pub async fn job(&self, id: u64) -> Result<Job> {
        let reply = self.job_keeper().get_job(self.job_request(id)?).await.map_err(|status| self.failed(&status))?;
        Ok(job(reply.into_inner()))
    }

    /// A job each time it changes, until it ends. Dropping the stream changes nothing for the job.
    ///
    /// # Errors
    /// It is unknown.
    pub async fn watch_job(&self, id: u64) -> Result<BoxStream<'static, Result<Job>>> {
        let reply = self.job_keeper().watch_job(self.job_request(id)?).await.map_err(|status| self.failed(&status))?;
        let client = self.clone();
        Ok(reply.into_inner().map_ok(job).map_err(move |status| client.failed(&status)).boxed())
    }

    /// Stops a job: at once where it waits, at its next batch where it runs.
    ///
    /// # Errors
    /// It is unknown.
    pub async fn cancel_job(&self, id: u64) -> Result<Job> {
        let reply = self.job_keeper().cancel_job(self.job_request(id)?).await.map_err(|status| self.failed(&status))?;
        Ok(job(reply.into_inner()))
    }

    /// Runs a job again that failed or was cancelled, or now instead of after its pause.
    ///
    /// # Errors
    /// It is unknown, or done.
    pub async fn retry_job(&self, id: u64) -> Result<Job> {
        let reply = self.job_keeper().retry_job(self.job_request(id)?).await.map_err(|status| self.failed(&status))?;
        Ok(job(reply.into_inner()))
    }
}

fn job(wire: v1::Job) -> Job {
    use v1::job::{Cause as WireCause, State as WireState};
    let time = |at: Micros| Some(at).filter(|at| *at != 0);
    Job {
        state: match wire.state() {
            WireState::Queued => State::Queued,
            WireState::Running => State::Running,
            WireState::Retrying => State::Retrying { at: wire.retry_at },
            WireState::Done => State::Done,
            WireState::Failed => State::Failed,
            WireState::Cancelled => State::Cancelled,
            WireState::Unspecified => State::Unknown,
        },
        cause: match wire.cause() {
            WireCause::Call => Cause::Call(wire.principal),
            WireCause::Schedule => Cause::Schedule,
            WireCause::Commit => Cause::Commit,
            WireCause::Unspecified => Cause::Unknown,
        },
        id: wire.id,
        view: wire.view,
        full: wire.full,
        attempts: wire.attempts,
        created_at: wire.created_at,
        started_at: time(wire.started_at),
        ended_at: time(wire.ended_at),
        problem: wire.problem,
        stopping: wire.stopping,
        from_version: Some(wire.from_version).filter(|version| *version >= 0),
        to_version: wire.to_version,
        rows_read: wire.rows_read,
        rows_total: Some(wire.rows_total).filter(|rows| *rows > 0),
        rows_written: wire.rows_written,
        rows_skipped: wire.rows_skipped,
        rows_corrected: wire.rows_corrected,
        bytes_read: wire.bytes_read,
        bytes_total: wire.bytes_total,
    }
}
