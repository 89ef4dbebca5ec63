//! `tidegate refresh` and `tidegate lineage`: rows that are computed from others.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::{Value, json};
use tidegate_client::derived::{Place, Refreshed, Step};

use crate::failure::Result;
use crate::output::Output;
use crate::{Globals, session};

/// How a run ends that found nothing to do.
const NOTHING_TO_DO: u8 = 99;

/// How often the spinner moves.
const TICK: Duration = Duration::from_millis(120);

/// What to compute.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate refresh large_orders
  tidegate refresh order_stats --full       # the source of a view

Materializing a view does this by itself first. Ends with 0 when rows were computed, with 99 when there was nothing to do.
Stopping it (Ctrl-C) leaves the table as it was.")]
pub struct RefreshArgs {
    /// A source that is a query, or a view of one.
    #[arg(value_name = "SOURCE")]
    name: String,
    /// Compute everything, instead of what is new.
    #[arg(long)]
    full: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Whose features to follow.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate lineage order_stats
  tidegate lineage order_stats --json")]
pub struct LineageArgs {
    /// The feature view.
    #[arg(value_name = "VIEW")]
    view: String,
    /// Print JSON: every step between the features and the columns of tables.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn refresh(args: &RefreshArgs, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    let spinner = ProgressBar::new_spinner().with_message(format!("refreshing {}", args.name));
    spinner.enable_steady_tick(TICK);
    let done = client.refresh(&args.name, args.full).await;
    spinner.finish_and_clear();
    let done = done?;
    if args.json {
        out.json(&done.iter().map(refreshed_to_json).collect())?;
    } else if done.is_empty() {
        out.line(format!("{} is no query; its table is read as it is", args.name))?;
    } else {
        done.iter().try_for_each(|refreshed| out.line(sentence(refreshed)))?;
    }
    let changed = done.iter().any(|refreshed| refreshed.changed);
    Ok(if changed { ExitCode::SUCCESS } else { ExitCode::from(NOTHING_TO_DO) })
}

/// One line on the table of a query.
pub(crate) fn sentence(refreshed: &Refreshed) -> String {
    let Refreshed { source, version, changed, full, rows, .. } = refreshed;
    let rows = match rows {
        1 => "1 row".to_owned(),
        rows => format!("{rows} rows"),
    };
    match (changed, full) {
        (false, _) => format!("{source}: nothing new to compute at version {version}"),
        (true, true) => format!("{source}: computed from everything, {rows}, now at version {version}"),
        (true, false) => format!("{source}: computed from what is new, {rows} added, now at version {version}"),
    }
}

fn refreshed_to_json(refreshed: &Refreshed) -> Value {
    let inputs: BTreeMap<&str, i64> = refreshed.inputs.iter().map(|it| (it.name.as_str(), it.version)).collect();
    json!({
        "source": refreshed.source,
        "version": refreshed.version,
        "changed": refreshed.changed,
        "full": refreshed.full,
        "rows": refreshed.rows,
        "inputs": inputs,
    })
}

pub(crate) async fn lineage(args: &LineageArgs, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let steps = session::open(globals).await?.lineage(&args.view).await?;
    if args.json {
        out.json(&steps.iter().map(step_to_json).collect())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut told = Tree { steps: &steps, told: BTreeSet::new(), lines: Vec::new() };
    let features = steps.iter().filter_map(|step| step.to.as_ref()).filter(|to| to.name == args.view);
    for feature in features.filter(|to| to.kind == "feature_view") {
        told.grow(feature, 0);
    }
    told.lines.iter().try_for_each(|line| out.line(line))?;
    for (source, rows) in rows_of(&steps) {
        out.line(format!("which rows {source} has is decided by {rows}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Features with what they are computed from below them, as deep as it goes.
struct Tree<'a> {
    steps: &'a [Step],
    /// Places whose lines are there already.
    told: BTreeSet<String>,
    lines: Vec<String>,
}

impl Tree<'_> {
    fn grow(&mut self, place: &Place, depth: usize) {
        let (name, indent) = (shown(place), "  ".repeat(depth));
        let step = self.steps.iter().find(|step| step.to.as_ref() == Some(place));
        let Some(step) = step else {
            self.lines.push(format!("{indent}{name}"));
            return;
        };
        let how = match (step.by.as_str(), step.from.is_empty()) {
            ("column", _) | ("query", false) => String::new(),
            ("query", true) => " = a constant, or a count of rows".to_owned(),
            (by, _) => format!(" = {by}"),
        };
        if depth > 0 && !self.told.insert(name.clone()) {
            self.lines.push(format!("{indent}{name} (above)"));
            return;
        }
        self.lines.push(format!("{indent}{name}{how}"));
        step.from.iter().for_each(|from| self.grow(from, depth + 1));
    }
}

/// For each query what decides which rows it gives.
fn rows_of(steps: &[Step]) -> Vec<(String, String)> {
    let rows = steps.iter().filter(|step| step.to.as_ref().is_some_and(|to| to.column.is_empty()));
    let told = |step: &Step| {
        let from: Vec<String> = step.from.iter().map(shown).collect();
        (step.to.as_ref().map(shown).unwrap_or_default(), from.join(", "))
    };
    rows.map(told).collect()
}

/// `sources.orders.amount`, as SQL names it.
fn shown(place: &Place) -> String {
    let section = if place.kind == "feature_view" { "views" } else { "sources" };
    match place.column.as_str() {
        "" => format!("{section}.{}", place.name),
        column => format!("{section}.{}.{column}", place.name),
    }
}

fn step_to_json(step: &Step) -> Value {
    let place = |place: &Place| json!({ "kind": place.kind, "name": place.name, "column": place.column });
    json!({
        "to": step.to.as_ref().map(place),
        "from": step.from.iter().map(place).collect::<Vec<_>>(),
        "by": step.by,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        let mut parts = text.split('.');
        let kind = if parts.next() == Some("views") { "feature_view" } else { "source" };
        let mut next = || parts.next().unwrap_or_default().to_owned();
        Place { kind: kind.to_owned(), name: next(), column: next() }
    }

    fn step(to: &str, from: &[&str], by: &str) -> Step {
        Step { to: Some(place(to)), from: from.iter().map(|it| place(it)).collect(), by: by.to_owned() }
    }

    #[test]
    fn lineage_is_told_as_a_tree() {
        let steps = [
            step("views.stats.total", &["sources.large.total"], "column"),
            step("views.stats.n", &["sources.large.n"], "column"),
            step("views.stats.week", &["sources.large.total"], "sum of total over 7d"),
            step("sources.large.total", &["sources.orders.amount", "sources.rates.rate"], "query"),
            step("sources.large.n", &[], "query"),
            step("sources.large", &["sources.orders.id"], "rows"),
        ];
        let mut tree = Tree { steps: &steps, told: BTreeSet::new(), lines: Vec::new() };
        steps.iter().take(3).filter_map(|step| step.to.as_ref()).for_each(|feature| tree.grow(feature, 0));
        let expected = "\
views.stats.total
  sources.large.total
    sources.orders.amount
    sources.rates.rate
views.stats.n
  sources.large.n = a constant, or a count of rows
views.stats.week = sum of total over 7d
  sources.large.total (above)";
        assert_eq!(tree.lines.join("\n"), expected);
        assert_eq!(rows_of(&steps), [("sources.large".to_owned(), "sources.orders.id".to_owned())]);
    }

    #[test]
    fn refreshes_are_told_in_a_line() {
        let check = |changed, full, rows, expect: &str| {
            let refreshed = Refreshed { source: "s".to_owned(), version: 3, changed, full, rows, inputs: Vec::new() };
            assert_eq!(sentence(&refreshed), expect);
        };
        check(false, false, 0, "s: nothing new to compute at version 3");
        check(true, true, 2, "s: computed from everything, 2 rows, now at version 3");
        check(true, false, 1, "s: computed from what is new, 1 row added, now at version 3");
    }
}
