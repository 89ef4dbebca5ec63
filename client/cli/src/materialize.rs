//! `tidegate materialize`: starts jobs or joins them, shows how far they are, and stops them when it is stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use futures::TryStreamExt;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tidegate_client::Client;
use tidegate_client::materialize::{Options, Phase, Progress};

use crate::failure::{Failure, Result};
use crate::output::{Format, Output, note};
use crate::signals::{Signals, Told};
use crate::{Globals, session};

/// What orchestrators take for "skipped".
const NOTHING_TO_DO: u8 = 99;

/// What to materialize.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate materialize                      # every online view, what is new since last time
  tidegate materialize origin_weather --full
  tidegate materialize --detach             # start the jobs and do not wait; `tidegate jobs list` shows them

Where a job of a view waits or runs already, it is joined. Stopping this command (Ctrl-C, SIGTERM) stops the jobs that it started
at their next batch and loses nothing: the next run goes on where an increment stopped; a rebuild begins anew.

Ends with 0 when the views were brought up to date, with 99 when there was nothing to do, with 1 when a view failed, and with 130
or 143 when it was stopped.")]
pub struct Args {
    /// Feature views [default: all online ones].
    #[arg(value_name = "VIEW")]
    views: Vec<String>,
    /// Rebuild from the whole table, beside what is served, and switch over at the end.
    #[arg(long)]
    full: bool,
    /// Start the jobs and do not wait for them: they go on, and are tried again when they fail.
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    format: Format,
}

/// What came of it.
#[derive(Default)]
struct Outcome {
    done: Vec<Progress>,
    /// Jobs that this call started and that have not ended.
    started: BTreeSet<u64>,
    told: Option<Told>,
}

pub(crate) async fn run(args: &Args, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    let options = Options { full: args.full, detach: args.detach };
    if args.detach {
        return detach(&client, args, options, out).await;
    }
    let mut outcome = Outcome::default();
    let failed = follow(&client, args, options, out, &mut outcome).await.err();
    if args.format.is_json() {
        out.json(&outcome.done.iter().map(to_json).collect())?;
    }
    match (outcome.told, failed) {
        (Some(told), _) => {
            note("stopped; the next run goes on where this one was, a rebuild begins anew");
            Ok(told.code())
        }
        (None, Some(failure)) => Err(failure),
        (None, None) => {
            if outcome.done.is_empty() && !args.format.is_json() {
                out.line("no view is online; nothing to materialize")?;
            }
            let unchanged = outcome.done.iter().all(Progress::is_unchanged);
            Ok(if unchanged { ExitCode::from(NOTHING_TO_DO) } else { ExitCode::SUCCESS })
        }
    }
}

/// Shows what comes until all jobs have ended.
async fn follow(client: &Client, args: &Args, options: Options, out: &mut Output, outcome: &mut Outcome) -> Result<()> {
    let mut signals = Signals::listen().map_err(|error| Failure::new("can't listen for signals").caused_by(error))?;
    let mut progress = client.materialize_with(&args.views, options).await?;
    let mut bars = Bars::default();
    loop {
        tokio::select! {
            step = progress.try_next() => {
                let Some(step) = step? else { return Ok(()) };
                bars.show(&step);
                if step.started {
                    outcome.started.insert(step.job);
                }
                if step.done {
                    outcome.started.remove(&step.job);
                    if !args.format.is_json() {
                        bars.all.suspend(|| out.line(sentence(&step)))?;
                    }
                    outcome.done.push(step);
                }
            }
            told = signals.next() => {
                // Told twice, or nothing here to be stopped: what was joined goes on.
                if outcome.told.replace(told).is_some() || outcome.started.is_empty() {
                    return Ok(());
                }
                note("stopping at the next batch; once more to leave at once");
                for job in &outcome.started {
                    client.cancel_job(*job).await?;
                }
            }
        }
    }
}

async fn detach(client: &Client, args: &Args, options: Options, out: &mut Output) -> Result<ExitCode> {
    let jobs: Vec<Progress> = client.materialize_with(&args.views, options).await?.try_collect().await?;
    if args.format.is_json() {
        let job = |step: &Progress| json!({ "view": step.view, "job": step.job, "started": step.started });
        out.json(&jobs.iter().map(job).collect())?;
        return Ok(ExitCode::SUCCESS);
    }
    for step in &jobs {
        let verb = if step.started { "started" } else { "joined" };
        out.line(format!("{}: {verb} job {}", step.view, step.job))?;
    }
    if jobs.is_empty() {
        return Err(Failure::new("no view is online; nothing to materialize"));
    }
    Ok(ExitCode::SUCCESS)
}

/// One bar for each view under way; shown on a terminal only.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    by_view: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn show(&mut self, step: &Progress) {
        let bar = self.by_view.entry(step.view.clone()).or_insert_with(|| {
            let template = "{prefix:24} {bar:40} {human_pos}/{human_len} rows  {eta} left  {msg}";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            self.all.add(ProgressBar::no_length().with_style(style).with_prefix(step.view.clone()))
        });
        if let Some(rows) = step.rows_total {
            bar.set_length(rows.max(step.rows_read));
        }
        bar.set_position(step.rows_read);
        bar.set_message(match &step.phase {
            Phase::Queued => format!("job {} waits", step.job),
            Phase::Retrying(problem) => format!("job {} is tried again: {problem}", step.job),
            Phase::Running | Phase::Done => String::new(),
        });
        if step.done {
            bar.finish_and_clear();
        }
    }
}

fn sentence(step: &Progress) -> String {
    let Progress { view, to_version, rows_read, rows_written, rows_skipped, rows_corrected, .. } = step;
    if step.is_unchanged() {
        return format!("{view}: up to date at version {to_version}");
    }
    let from = match step.from_version {
        Some(version) if !step.full => format!("version {version} to {to_version}"),
        _ => format!("all of version {to_version}"),
    };
    let corrected = match rows_corrected {
        0 => String::new(),
        rows => format!(", {rows} put right for rows that were removed or changed"),
    };
    let skipped = match rows_skipped {
        0 => String::new(),
        rows => format!(", {rows} skipped for a null key or event time"),
    };
    format!("{view}: {from}, {rows_read} rows read, {rows_written} written{corrected}{skipped}")
}

fn to_json(step: &Progress) -> Value {
    json!({
        "view": step.view,
        "job": step.job,
        "from_version": step.from_version,
        "to_version": step.to_version,
        "changed": !step.is_unchanged(),
        "rows_read": step.rows_read,
        "rows_written": step.rows_written,
        "rows_skipped": step.rows_skipped,
        "rows_corrected": step.rows_corrected,
        "bytes_read": step.bytes_read,
        "full": step.full,
        "write_token": step.write_token,
    })
}
