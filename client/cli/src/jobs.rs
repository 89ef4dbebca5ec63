//! `tidegate jobs`: what brings the online tier up to date, and what came of it.

use std::process::ExitCode;

use futures::TryStreamExt;
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};
use tidegate_client::jobs::{Cause, Filter, Job, State};

use crate::failure::Result;
use crate::output::{Format, Output};
use crate::{Globals, session, values};

/// What to do with jobs.
#[derive(Debug, Clone, PartialEq, clap::Subcommand)]
pub enum Command {
    /// List jobs, newest first.
    List(ListArgs),
    /// Show one job.
    Show(ShowArgs),
    /// Stop a job: at once where it waits, at its next batch where it runs. What it wrote stays.
    Cancel(Args),
    /// Run a job again that failed or was cancelled, or now instead of after its pause. An increment goes on where it stopped.
    #[command(visible_alias = "resume")]
    Retry(Args),
}

/// Which jobs.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate jobs list
  tidegate jobs list origin_weather --active --output json")]
pub struct ListArgs {
    /// Feature views [default: all].
    #[arg(value_name = "VIEW")]
    views: Vec<String>,
    /// Only jobs that wait or run.
    #[arg(long)]
    active: bool,
    /// At most so many; 0 for all that are remembered.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    format: Format,
}

/// Which job, and how.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate jobs show 17
  tidegate jobs show 17 --watch")]
pub struct ShowArgs {
    /// The job's number.
    #[arg(value_name = "JOB")]
    id: u64,
    /// Show it each time it changes, until it ends. Leaving changes nothing for it.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    format: Format,
}

/// Which job.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub struct Args {
    /// The job's number.
    #[arg(value_name = "JOB")]
    id: u64,
    #[command(flatten)]
    format: Format,
}

pub(crate) async fn run(command: &Command, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    match command {
        Command::List(args) => {
            let filter = Filter { views: args.views.clone(), active: args.active, limit: args.limit };
            list(&client.jobs(filter).await?, args.format, out)?;
        }
        Command::Show(args) if args.watch => {
            let mut changes = client.watch_job(args.id).await?;
            while let Some(job) = changes.try_next().await? {
                match args.format.is_json() {
                    true => out.line(to_json(&job).to_string())?,
                    false => out.line(sentence(&job))?,
                }
            }
        }
        Command::Show(args) => show(&client.job(args.id).await?, args.format, out)?,
        Command::Cancel(args) => said(&client.cancel_job(args.id).await?, args.format, out)?,
        Command::Retry(args) => said(&client.retry_job(args.id).await?, args.format, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(jobs: &[Job], format: Format, out: &mut Output) -> Result<()> {
    if format.is_json() {
        return Ok(out.json(&jobs.iter().map(to_json).collect())?);
    }
    let row = |job: &Job| {
        vec![
            job.id.to_string(),
            job.view.clone(),
            state(job),
            why(&job.cause),
            versions(job),
            HumanCount(job.rows_read).to_string(),
            job.attempts.to_string(),
            values::instant(job.created_at),
            job.problem.clone(),
        ]
    };
    let header = ["job", "view", "state", "why", "versions", "rows read", "attempts", "asked for", "problem"];
    Ok(out.table(&header, jobs.iter().map(row).collect(), "no jobs")?)
}

fn show(job: &Job, format: Format, out: &mut Output) -> Result<()> {
    if format.is_json() {
        return Ok(out.json(&to_json(job))?);
    }
    let time = |at: Option<i64>| at.map_or_else(|| "-".to_owned(), values::instant);
    let of = |total: Option<u64>| total.map_or_else(String::new, |total| format!(" of {}", HumanCount(total)));
    let mut facts = vec![
        ("view", job.view.clone()),
        ("state", state(job)),
        ("why", why(&job.cause)),
        ("versions", versions(job)),
        ("attempts", job.attempts.to_string()),
        ("asked for", values::instant(job.created_at)),
        ("begun", time(job.started_at)),
        ("ended", time(job.ended_at)),
        ("rows read", format!("{}{}", HumanCount(job.rows_read), of(job.rows_total))),
        ("bytes read", format!("{} of {}", HumanBytes(job.bytes_read), HumanBytes(job.bytes_total))),
        ("rows written", HumanCount(job.rows_written).to_string()),
        ("rows put right", HumanCount(job.rows_corrected).to_string()),
        ("rows skipped", HumanCount(job.rows_skipped).to_string()),
    ];
    if !job.problem.is_empty() {
        facts.push(("problem", job.problem.clone()));
    }
    let rows = facts.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    Ok(out.table(&["job", &job.id.to_string()], rows, "")?)
}

fn said(job: &Job, format: Format, out: &mut Output) -> Result<()> {
    match format.is_json() {
        true => Ok(out.json(&to_json(job))?),
        false => Ok(out.line(sentence(job))?),
    }
}

fn sentence(job: &Job) -> String {
    let problem = if job.problem.is_empty() { String::new() } else { format!(": {}", job.problem) };
    let total = job.rows_total.map_or_else(String::new, |total| format!(" of {total}"));
    format!("job {} of {}: {}, {}{total} rows read{problem}", job.id, job.view, state(job), job.rows_read)
}

fn state(job: &Job) -> String {
    match job.state {
        State::Retrying { at } => format!("retrying at {}", values::instant(at)),
        State::Running if job.stopping => "stopping".to_owned(),
        state => state.name().to_owned(),
    }
}

fn why(cause: &Cause) -> String {
    match cause {
        Cause::Call(principal) => format!("asked for by {principal}"),
        cause => cause.name().to_owned(),
    }
}

fn versions(job: &Job) -> String {
    match (job.full, job.from_version) {
        (false, Some(from)) => format!("{from} to {}", job.to_version),
        _ => format!("all of {}", job.to_version),
    }
}

fn to_json(job: &Job) -> Value {
    let principal = match &job.cause {
        Cause::Call(principal) => Some(principal),
        _ => None,
    };
    let retry_at = match job.state {
        State::Retrying { at } => Some(values::instant(at)),
        _ => None,
    };
    json!({
        "id": job.id,
        "view": job.view,
        "state": job.state.name(),
        "stopping": job.stopping,
        "full": job.full,
        "cause": job.cause.name(),
        "principal": principal,
        "attempts": job.attempts,
        "created_at": values::instant(job.created_at),
        "started_at": job.started_at.map(values::instant),
        "ended_at": job.ended_at.map(values::instant),
        "retry_at": retry_at,
        "problem": job.problem,
        "from_version": job.from_version,
        "to_version": job.to_version,
        "rows_read": job.rows_read,
        "rows_total": job.rows_total,
        "rows_written": job.rows_written,
        "rows_skipped": job.rows_skipped,
        "rows_corrected": job.rows_corrected,
        "bytes_read": job.bytes_read,
        "bytes_total": job.bytes_total,
    })
}
