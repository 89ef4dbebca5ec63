//! `tidegate validate`: every problem of a set of files, without a server.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::file;
use tidegate_schemas::problem::Problem;

use super::files;
use crate::failure::{Failure, Result};
use crate::output::Output;

/// What to check.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate validate features
  tidegate validate features/weather.yaml features/carriers.yaml
  tidegate validate features --json | jq '.problems[].message'")]
pub struct Args {
    /// Definition files, or folders of them. Together they must be a whole project.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print the problems as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, out: &mut Output) -> Result<ExitCode> {
    let files = files::gather(&args.paths)?;
    match file::check(&files) {
        Ok(_) if args.json => out.json(&json!({ "valid": true, "problems": [] }))?,
        Ok(catalog) => out.line(format!("valid: {}", describe(&catalog)))?,
        Err(problems) if args.json => {
            out.json(&json!({ "valid": false, "problems": problems_to_json(&problems) }))?;
            return Ok(ExitCode::FAILURE);
        }
        Err(problems) => return Err(Failure::of_problems(problems)),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn problems_to_json(problems: &[Problem]) -> serde_json::Value {
    let one = |problem: &Problem| {
        json!({
            "file": problem.file,
            "line": problem.line,
            "column": problem.column,
            "message": problem.message,
            "snippet": problem.snippet,
            "suggestion": problem.suggestion,
        })
    };
    problems.iter().map(one).collect()
}

fn describe(catalog: &Catalog) -> String {
    let counted = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    format!(
        "project `{}` with {}, {}, {} and {}",
        catalog.project,
        counted(catalog.entities.len(), "entity", "entities"),
        counted(catalog.sources.len(), "source", "sources"),
        counted(catalog.views.len(), "feature view", "feature views"),
        counted(catalog.services.len(), "feature service", "feature services"),
    )
}
