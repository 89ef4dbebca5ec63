//! `tidegate registry history`, `tidegate registry rollback` and `tidegate projects`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};
use tidegate_client::registry::Version;

use super::changes;
use crate::failure::Result;
use crate::output::Output;
use crate::{Globals, session, values};

/// What to do with versions.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum Command {
    /// List all versions, newest first.
    History(HistoryArgs),
    /// Make an old version's definitions the next version.
    Rollback(RollbackArgs),
}

/// How to list versions.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate registry history
  tidegate registry history --json | jq '.[0]'")]
pub struct HistoryArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Where to go back to.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate registry rollback 3              # version 3's definitions become the next version")]
pub struct RollbackArgs {
    /// The version whose definitions are wanted.
    #[arg(value_name = "VERSION")]
    version: u64,
    /// Go back although readers of what exists break.
    #[arg(long)]
    allow_breaking: bool,
}

/// How to list projects.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub struct ProjectsArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: &Command, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    match command {
        Command::History(args) => {
            let versions = client.history().await?;
            match args.json {
                true => out.json(&versions.iter().map(to_json).collect())?,
                false => {
                    let rows = versions.iter().map(row).collect();
                    out.table(&["version", "when", "who", "why", "changes"], rows, "no versions yet")?;
                }
            }
        }
        Command::Rollback(args) => {
            let applied = client.rollback(args.version, args.allow_breaking).await?;
            changes::print(out, &applied.changes)?;
            let now = format!("project `{}` is now at version {}", applied.project, applied.version);
            out.line(format!("rolled back to version {}: {now}", args.version))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn projects(args: &ProjectsArgs, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let projects = session::connect(globals).await?.list_projects().await?;
    if args.json {
        out.json(&json!(projects))?;
    } else if projects.is_empty() {
        out.line("no projects yet")?;
    }
    if !args.json {
        for project in projects {
            out.line(project)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(version: &Version) -> Vec<String> {
    vec![
        version.version.to_string(),
        values::instant(version.created_at),
        version.principal.clone(),
        version.cause.clone(),
        version.changes.join("\n"),
    ]
}

fn to_json(version: &Version) -> Value {
    json!({
        "version": version.version,
        "created_at": values::instant(version.created_at),
        "principal": version.principal,
        "cause": version.cause,
        "changes": version.changes,
    })
}
