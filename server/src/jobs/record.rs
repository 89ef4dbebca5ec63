//! A job as its file has it: JSON, a format number first. Frozen by a golden test.

use serde::{Deserialize, Serialize};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::Micros;

use super::{Cause, Failure, Job, State};
use crate::materialize::MaterializeProgress;
use crate::telemetry::kind_name;

/// The format this release writes.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    format: u32,
    id: u64,
    project: String,
    view: String,
    full: bool,
    cause: CauseRecord,
    state: StateRecord,
    stopping: bool,
    attempts: u32,
    created_at: Micros,
    started_at: Option<Micros>,
    ended_at: Option<Micros>,
    failure: Option<FailureRecord>,
    progress: ProgressRecord,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CauseRecord {
    Call { principal: String },
    Schedule,
    Commit,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateRecord {
    Queued,
    Running,
    Retrying { at: Micros },
    Done,
    Failed,
    Cancelled,
}

#[derive(Debug, Serialize, Deserialize)]
struct FailureRecord {
    kind: String,
    message: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct ProgressRecord {
    from_version: Option<i64>,
    to_version: i64,
    rows_read: u64,
    rows_total: u64,
    rows_written: u64,
    rows_skipped: u64,
    rows_corrected: u64,
    bytes_read: u64,
    bytes_total: u64,
    full: bool,
}

/// A job's file.
pub(super) fn encode(job: &Job) -> Vec<u8> {
    let record = Record {
        format: FORMAT,
        id: job.id,
        project: job.project.clone(),
        view: job.view.clone(),
        full: job.full,
        cause: cause(&job.cause),
        state: state(job.state),
        stopping: job.stopping,
        attempts: job.attempts,
        created_at: job.created_at,
        started_at: job.started_at,
        ended_at: job.ended_at,
        failure: job.failure.as_ref().map(|failure| FailureRecord {
            kind: kind_name(failure.kind).to_owned(),
            message: failure.message.clone(),
        }),
        progress: progress(&job.progress),
    };
    // Strings, numbers and options: nothing that JSON lacks.
    serde_json::to_vec_pretty(&record).unwrap_or_default()
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(bytes: &[u8]) -> Result<Job, String> {
    let record: Record = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if record.format > FORMAT {
        return Err(format!("it has format {}, and this release reads up to {FORMAT}", record.format));
    }
    let failure = |it: FailureRecord| Failure { kind: kind(&it.kind), message: it.message };
    let ProgressRecord { from_version, to_version, full, .. } = record.progress;
    Ok(Job {
        id: record.id,
        project: record.project,
        view: record.view.clone(),
        full: record.full,
        cause: match record.cause {
            CauseRecord::Call { principal } => Cause::Call { principal },
            CauseRecord::Schedule => Cause::Schedule,
            CauseRecord::Commit => Cause::Commit,
        },
        state: match record.state {
            StateRecord::Queued => State::Queued,
            StateRecord::Running => State::Running,
            StateRecord::Retrying { at } => State::Retrying { at },
            StateRecord::Done => State::Done,
            StateRecord::Failed => State::Failed,
            StateRecord::Cancelled => State::Cancelled,
        },
        stopping: record.stopping,
        attempts: record.attempts,
        created_at: record.created_at,
        started_at: record.started_at,
        ended_at: record.ended_at,
        failure: record.failure.map(failure),
        progress: MaterializeProgress {
            view: record.view,
            from_version,
            to_version,
            full,
            rows_read: record.progress.rows_read,
            rows_total: record.progress.rows_total,
            rows_written: record.progress.rows_written,
            rows_skipped: record.progress.rows_skipped,
            rows_corrected: record.progress.rows_corrected,
            bytes_read: record.progress.bytes_read,
            bytes_total: record.progress.bytes_total,
            ..MaterializeProgress::default()
        },
        interrupted: false,
    })
}

fn cause(cause: &Cause) -> CauseRecord {
    match cause {
        Cause::Call { principal } => CauseRecord::Call { principal: principal.clone() },
        Cause::Schedule => CauseRecord::Schedule,
        Cause::Commit => CauseRecord::Commit,
    }
}

fn state(state: State) -> StateRecord {
    match state {
        State::Queued => StateRecord::Queued,
        State::Running => StateRecord::Running,
        State::Retrying { at } => StateRecord::Retrying { at },
        State::Done => StateRecord::Done,
        State::Failed => StateRecord::Failed,
        State::Cancelled => StateRecord::Cancelled,
    }
}

fn progress(progress: &MaterializeProgress) -> ProgressRecord {
    ProgressRecord {
        from_version: progress.from_version,
        to_version: progress.to_version,
        rows_read: progress.rows_read,
        rows_total: progress.rows_total,
        rows_written: progress.rows_written,
        rows_skipped: progress.rows_skipped,
        rows_corrected: progress.rows_corrected,
        bytes_read: progress.bytes_read,
        bytes_total: progress.bytes_total,
        full: progress.full,
    }
}

/// A kind by its name; one that this release does not know is a defect of whoever wrote it.
fn kind(name: &str) -> ErrorKind {
    ErrorKind::ALL.into_iter().find(|kind| kind_name(*kind) == name).unwrap_or(ErrorKind::Internal)
}
