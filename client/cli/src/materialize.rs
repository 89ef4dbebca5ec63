//! `tidegate materialize` and `tidegate status`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use futures::TryStreamExt;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tidegate_client::materialize::{Progress, ViewStatus};

use crate::failure::Result;
use crate::output::Output;
use crate::{Globals, session, values};

/// What to materialize.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate materialize                      # every online view, what is new since last time
  tidegate materialize origin_weather --full

Stopping it (Ctrl-C) loses nothing: the next run goes on where it was; a rebuild begins anew.")]
pub struct Args {
    /// Feature views [default: all online ones].
    #[arg(value_name = "VIEW")]
    views: Vec<String>,
    /// Rebuild from the whole table, beside what is served, and switch over at the end.
    #[arg(long)]
    full: bool,
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
}

/// What to show.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate status
  tidegate status origin_weather --json")]
pub struct StatusArgs {
    /// Feature views [default: all online ones].
    #[arg(value_name = "VIEW")]
    views: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &Args, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    let mut progress = client.materialize(&args.views, args.full).await?;
    let mut bars = Bars::default();
    let mut done = Vec::new();
    while let Some(step) = progress.try_next().await? {
        bars.show(&step);
        if step.done {
            if !args.json {
                out.line(sentence(&step))?;
            }
            done.push(step);
        }
    }
    if args.json {
        out.json(&done.iter().map(to_json).collect())?;
    } else if done.is_empty() {
        out.line("no view is online; nothing to materialize")?;
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
            let template = "{prefix:24} {bar:40} {human_pos}/{human_len} rows  {eta} left";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            self.all.add(ProgressBar::no_length().with_style(style).with_prefix(step.view.clone()))
        });
        if let Some(rows) = step.rows_total {
            bar.set_length(rows.max(step.rows_read));
        }
        bar.set_position(step.rows_read);
        if step.done {
            bar.finish_and_clear();
        }
    }
}

fn sentence(step: &Progress) -> String {
    let Progress { view, to_version, rows_read, rows_written, rows_skipped, .. } = step;
    if step.from_version == Some(*to_version) && !step.full {
        return format!("{view}: up to date at version {to_version}");
    }
    let from = match step.from_version {
        Some(version) if !step.full => format!("version {version} to {to_version}"),
        _ => format!("all of version {to_version}"),
    };
    let skipped = match rows_skipped {
        0 => String::new(),
        rows => format!(", {rows} skipped for a null key or event time"),
    };
    format!("{view}: {from}, {rows_read} rows read, {rows_written} written{skipped}")
}

fn to_json(step: &Progress) -> Value {
    json!({
        "view": step.view,
        "from_version": step.from_version,
        "to_version": step.to_version,
        "rows_read": step.rows_read,
        "rows_written": step.rows_written,
        "rows_skipped": step.rows_skipped,
        "full": step.full,
        "write_token": step.write_token,
    })
}

pub(crate) async fn status(args: &StatusArgs, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let views = session::open(globals).await?.materialize_status(&args.views).await?;
    if args.json {
        out.json(&views.iter().map(status_to_json).collect())?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = views.iter().map(status_row).collect();
    out.table(&["view", "state", "online at", "table at", "materialized"], rows, "no view is online")?;
    Ok(ExitCode::SUCCESS)
}

fn status_row(status: &ViewStatus) -> Vec<String> {
    let version = |version: Option<i64>| version.map_or_else(|| "-".to_owned(), |version| format!("version {version}"));
    vec![
        status.view.clone(),
        state(status).to_owned(),
        version(status.cursor),
        version(status.table_version),
        status.materialized_at.map_or_else(|| "never".to_owned(), values::instant),
    ]
}

fn state(status: &ViewStatus) -> &'static str {
    match (status.in_progress, status.cursor, status.table_version) {
        (true, _, _) => "unfinished",
        (false, _, None) => "no rows yet",
        (false, None, Some(_)) => "not materialized",
        (false, Some(cursor), Some(table)) if cursor < table => "behind",
        (false, Some(_), Some(_)) => "up to date",
    }
}

fn status_to_json(status: &ViewStatus) -> Value {
    json!({
        "view": status.view,
        "state": state(status),
        "cursor": status.cursor,
        "table_version": status.table_version,
        "materialized_at": status.materialized_at.map(values::instant),
        "epoch": status.epoch,
        "in_progress": status.in_progress,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_tell_what_to_do() {
        let check = |cursor, table_version, in_progress| {
            let view =
                ViewStatus { view: "v".into(), cursor, table_version, materialized_at: None, epoch: 0, in_progress };
            state(&view)
        };
        assert_eq!(check(None, None, false), "no rows yet");
        assert_eq!(check(None, Some(0), false), "not materialized");
        assert_eq!(check(Some(0), Some(2), false), "behind");
        assert_eq!(check(Some(2), Some(2), false), "up to date");
        assert_eq!(check(Some(1), Some(2), true), "unfinished");
    }
}
