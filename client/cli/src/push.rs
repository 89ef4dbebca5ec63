//! `tidegate push` and `tidegate flush`: rows that are served as soon as they are acknowledged.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::RecordBatch;
use clap::ValueEnum;
use futures::StreamExt;
use indicatif::{HumanCount, ProgressBar};
use serde_json::json;
use tidegate_client::push::{Push, PushTo, Pushed, Quarantined};

use crate::failure::{Failure, Result};
use crate::output::{Output, note};
use crate::read::{self, Format, Input, Others, Wanted};
use crate::values::Rounding;
use crate::{Globals, ingest, session};

/// Rows of one request: one atomic write.
const ROWS_AT_ONCE: usize = 8_192;

/// Where pushed rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum To {
    /// Lookups only.
    Online,
    /// The table only.
    Offline,
    /// Both.
    Both,
}

/// What to push.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate push clicks clicks.ndjson --event-id click_id
  tidegate push user_stats new.parquet --to online
  tail -n +1 -f events.ndjson | head -1000 | tidegate push events - --format ndjson --json

Rows are served once they are acknowledged, and reach the source's table behind that. Where events have ids, running the same
command again changes nothing. Rows that can't be taken are in the table `sources._quarantine` with the reason.")]
pub struct Args {
    /// A source, whose online views all see the rows; or a feature view.
    #[arg(value_name = "TARGET")]
    target: String,
    /// Parquet, CSV, NDJSON or Arrow IPC files with the same columns; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where the rows go; `online` with a view is that view alone.
    #[arg(long, value_enum, default_value = "both")]
    to: To,
    /// The column whose values tell events apart; it is sent too where the source has it [default: the source's event_id].
    #[arg(long, value_name = "COLUMN")]
    event_id: Option<String>,
    /// The files' format [default: as their extensions say].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// A text in CSV files that stands for a missing value, beside the empty one; may be given again.
    #[arg(long, value_name = "TEXT")]
    null: Vec<String>,
    /// Wait until the table has the rows too.
    #[arg(long)]
    flush: bool,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

/// What to wait for.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate flush clicks
  tidegate flush clicks --json")]
pub struct FlushArgs {
    /// A source, or a feature view whose source is meant.
    #[arg(value_name = "TARGET")]
    target: String,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

/// The sum of all answers.
#[derive(Debug, Default)]
struct Total {
    accepted: u64,
    duplicates: u64,
    kept: u64,
    waiting: u64,
    quarantined: u64,
    reasons: Vec<Quarantined>,
    write_token: String,
}

pub(crate) async fn run(args: &Args, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    let catalog = session::catalog(&client).await?;
    let types = ingest::types_of(&args.target, &catalog)?;
    let wanted =
        Wanted { types: types.clone(), others: Others::Infer, rounding: Rounding::Up, nulls: args.null.clone() };
    let inputs =
        args.files.iter().map(|path| Input::new(path, args.format).map(Arc::new)).collect::<Result<Vec<_>>>()?;
    let spinner = ProgressBar::new_spinner();
    let rows = read::open_all(inputs, wanted, ProgressBar::hidden())?;
    let (failure, failed) = tokio::sync::oneshot::channel();
    let mut failure = Some(failure);
    let plan = Plan { args: args.clone(), known: types.keys().cloned().collect() };
    let pushes = read::stream(rows).filter_map(move |batch| {
        // The rows before a failure were pushed; the failure itself is told in the end.
        let pushes = match batch.and_then(|batch| plan.pushes(&batch)) {
            Ok(pushes) => Some(futures::stream::iter(pushes)),
            Err(error) => {
                let _ = failure.take().map(|failure| failure.send(error));
                None
            }
        };
        async move { pushes }
    });
    let mut answers = std::pin::pin!(client.push_stream(pushes.flatten()).await?);
    let mut total = Total::default();
    while let Some(answer) = answers.next().await {
        total.add(answer?);
        spinner.set_message(format!("{} rows", HumanCount(total.accepted)));
        spinner.tick();
    }
    spinner.finish_and_clear();
    let version = match args.flush {
        true => Some(client.flush(&args.target).await?.version),
        false => None,
    };
    total.print(version, args.json, out)?;
    match failed.await {
        Ok(failure) => Err(failure),
        Err(_) => Ok(ExitCode::SUCCESS),
    }
}

pub(crate) async fn flush(args: &FlushArgs, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    let done = client.flush(&args.target).await?;
    if args.json {
        out.json(&json!({ "source": done.source, "version": done.version, "rows": done.rows }))?;
    } else {
        let (source, version) = (done.source, done.version);
        out.line(format!(
            "`{source}` has all that was pushed at version {version}; {} rows came now",
            HumanCount(done.rows)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How batches become pushes.
struct Plan {
    args: Args,
    /// Columns of the source.
    known: Vec<String>,
}

impl Plan {
    fn pushes(&self, batch: &RecordBatch) -> Result<Vec<Push>> {
        let slices = (0..batch.num_rows()).step_by(ROWS_AT_ONCE);
        slices.map(|start| self.push(&batch.slice(start, ROWS_AT_ONCE.min(batch.num_rows() - start)))).collect()
    }

    fn push(&self, batch: &RecordBatch) -> Result<Push> {
        let to = match self.args.to {
            To::Online => PushTo::Online,
            To::Offline => PushTo::Offline,
            To::Both => PushTo::Both,
        };
        let push = Push { to, ..Push::new(&self.args.target, batch.clone()) };
        let Some(name) = &self.args.event_id else { return Ok(push) };
        let at = batch.schema().index_of(name).map_err(|_| {
            Failure::new(format!("the files have no column `{name}`"))
                .help("name the column of event ids with --event-id")
        })?;
        let event_ids = Some(batch.project(&[at])?);
        let rows = match self.known.contains(name) {
            true => batch.clone(),
            false => {
                let others: Vec<usize> = (0..batch.num_columns()).filter(|column| *column != at).collect();
                batch.project(&others)?
            }
        };
        Ok(Push { rows, event_ids, ..push })
    }
}

impl Total {
    fn add(&mut self, answer: Pushed) {
        self.accepted += answer.accepted;
        self.duplicates += answer.duplicates;
        self.kept += answer.kept;
        self.waiting += answer.waiting;
        self.quarantined += answer.quarantined;
        self.write_token = answer.write_token;
        for bad in answer.reasons {
            match self.reasons.iter_mut().find(|known| known.reason == bad.reason) {
                Some(known) => known.rows += bad.rows,
                None => self.reasons.push(bad),
            }
        }
    }

    fn print(&self, version: Option<i64>, as_json: bool, out: &mut Output) -> Result<()> {
        let Self { accepted, duplicates, kept, waiting, quarantined, reasons, write_token } = self;
        if as_json {
            let reason = |bad: &Quarantined| json!({ "reason": bad.reason, "rows": bad.rows, "example": bad.example });
            out.json(&json!({
                "accepted": accepted,
                "duplicates": duplicates,
                "kept": kept,
                "waiting": waiting,
                "quarantined": quarantined,
                "reasons": reasons.iter().map(reason).collect::<Vec<_>>(),
                "write_token": write_token,
                "version": version,
            }))?;
            return Ok(());
        }
        out.line(format!("pushed {}", counted(*accepted)))?;
        let told = [
            (*duplicates, "had come before"),
            (*kept, "gave way to newer ones"),
            (*waiting, "will be served when they are due"),
        ];
        for (rows, what) in told.into_iter().filter(|(rows, _)| *rows > 0) {
            out.line(format!("  {} {what}", counted(rows)))?;
        }
        if let Some(version) = version {
            out.line(format!("  in the table at version {version}"))?;
        }
        for bad in reasons {
            note(format!("{} quarantined: {} ({})", counted(bad.rows), bad.reason, bad.example));
        }
        Ok(())
    }
}

fn counted(rows: u64) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{} rows", HumanCount(rows)) }
}
