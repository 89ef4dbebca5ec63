//! `tidegate parity`: whether lookups answer what the tables say.

use std::process::ExitCode;

use futures::TryStreamExt;
use serde_json::{Value, json};
use tidegate_client::materialize::ViewParity;

use crate::failure::Result;
use crate::output::Output;
use crate::{Globals, session};

/// What to compare.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate parity                           # every online view
  tidegate parity origin_weather --json

Every row that lookups see is held against the newest observation of its key in the table, at the version that was
materialized. Ends with 1 where any differs. Keys with a push that the table does not have yet are counted apart.")]
pub struct Args {
    /// Feature views [default: all online ones].
    #[arg(value_name = "VIEW")]
    views: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &Args, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    let mut reports = client.parity(&args.views).await?;
    let mut all = Vec::new();
    while let Some(report) = reports.try_next().await? {
        if !args.json {
            out.line(sentence(&report))?;
            report.examples.iter().try_for_each(|(key, what)| out.line(format!("  {key} {what}")))?;
        }
        all.push(report);
    }
    if args.json {
        out.json(&all.iter().map(to_json).collect())?;
    }
    Ok(if all.iter().all(ViewParity::holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn sentence(report: &ViewParity) -> String {
    let ViewParity { view, version, equal, different, missing, extra, ahead, .. } = report;
    let pushed = if *ahead > 0 { format!("; {ahead} have pushes that the table lacks") } else { String::new() };
    match report.holds() {
        true => format!("{view}: all {equal} keys are as in version {version} of the table{pushed}"),
        false => format!(
            "{view}: {equal} keys are as in version {version} of the table, {different} differ, {missing} are missing, {extra} \
             are too many{pushed}"
        ),
    }
}

fn to_json(report: &ViewParity) -> Value {
    let examples: Vec<Value> = report.examples.iter().map(|(key, what)| json!({ "key": key, "what": what })).collect();
    json!({
        "view": report.view,
        "version": report.version,
        "holds": report.holds(),
        "equal": report.equal,
        "different": report.different,
        "missing": report.missing,
        "extra": report.extra,
        "ahead": report.ahead,
        "examples": examples,
    })
}
