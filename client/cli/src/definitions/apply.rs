//! `tidegate apply`: make files, or a saved plan, the next version.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use tidegate_client::Client;
use tidegate_client::registry::{Applied, Apply, Plan};
use tidegate_schemas::error::ErrorKind;

use super::saved::SavedPlan;
use super::{changes, files, plan};
use crate::failure::{Failure, Result};
use crate::output::{self, Output};
use crate::{Globals, session};

/// What to apply.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate apply features
  tidegate apply release.plan              # exactly what `plan --out` showed, or nothing
  tidegate apply features --prune --allow-breaking")]
pub struct Args {
    /// Definition files, folders of them, or one plan saved with `plan --out`.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Also remove what the files do not mention.
    #[arg(long)]
    prune: bool,
    /// Apply although readers of what exists break.
    #[arg(long)]
    allow_breaking: bool,
    /// Answer yes to the question about breaking changes.
    #[arg(long, short = 'y')]
    yes: bool,
    /// Print the new version and its changes as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &Args, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let (mut apply, saved) = read(args)?;
    let client = session::connect(globals).await?;
    let plan = client.plan(&apply.files, apply.prune).await?;
    plan::check(globals, &plan)?;
    match saved {
        Some(saved) => check_unmoved(&saved, &plan)?,
        None => {
            apply.base_version = Some(plan.base_version);
            apply.expected_digest.clone_from(&plan.target_digest);
        }
    }
    if !args.json {
        plan::print(out, &plan)?;
    }
    if plan.changes.is_empty() {
        if args.json {
            out.json(&json!({ "project": plan.project, "version": plan.base_version, "changes": [] }))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    apply.allow_breaking = args.allow_breaking || may_break(args, &plan)?;
    let applied = send(&client, &apply).await?;
    match args.json {
        true => out.json(&json!({
            "project": applied.project,
            "version": applied.version,
            "changes": changes::to_json(&applied.changes),
        }))?,
        false => out.line(format!("applied: project `{}` is now at version {}", applied.project, applied.version))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What to apply, with the saved plan that it comes from.
fn read(args: &Args) -> Result<(Apply, Option<SavedPlan>)> {
    if let [path] = args.paths.as_slice()
        && path.is_file()
        && let Some(saved) = SavedPlan::read(path)?
    {
        if args.prune && !saved.prune {
            return Err(Failure::new("the plan was made without --prune").help("plan again with --prune"));
        }
        let apply = Apply {
            files: saved.files.clone(),
            prune: saved.prune,
            base_version: Some(saved.base_version),
            expected_digest: saved.target_digest.clone(),
            allow_breaking: false,
        };
        return Ok((apply, Some(saved)));
    }
    let files = files::gather(&args.paths)?;
    Ok((Apply { files, prune: args.prune, ..Apply::default() }, None))
}

fn check_unmoved(saved: &SavedPlan, plan: &Plan) -> Result<()> {
    if saved.base_version == plan.base_version && saved.target_digest == plan.target_digest {
        return Ok(());
    }
    let message = format!(
        "project `{}` was at version {} when this plan was made and is at version {} now",
        saved.project, saved.base_version, plan.base_version
    );
    Err(Failure::new(message).help("plan again, and apply that"))
}

fn may_break(args: &Args, plan: &Plan) -> Result<bool> {
    if changes::breaking(&plan.changes) == 0 {
        return Ok(false);
    }
    if args.yes {
        return Ok(true);
    }
    match output::confirm("These changes break readers of what exists. Apply them?") {
        Some(true) => Ok(true),
        Some(false) => Err(Failure::new("not applied")),
        None => Err(Failure::new("the changes break readers of what exists; nothing was applied")
            .help("pass --allow-breaking when that is meant")),
    }
}

async fn send(client: &Client, apply: &Apply) -> Result<Applied> {
    let applied = client.apply(apply).await.map_err(|error| {
        let conflict = error.kind() == ErrorKind::Conflict;
        let failure = Failure::from(error);
        if conflict { failure.help("plan again, and apply that") } else { failure }
    })?;
    if applied.problems.is_empty() {
        return Ok(applied);
    }
    Err(Failure::of_problems(applied.problems))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(base_version: u64, digest: &str) -> Plan {
        Plan {
            project: "flights".into(),
            base_version,
            changes: Vec::new(),
            problems: Vec::new(),
            target_digest: digest.into(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_saved_plan_applies_only_where_it_was_made() {
        let saved = plan::save(&plan(3, "d"), Vec::new(), false);
        assert!(check_unmoved(&saved, &plan(3, "d")).is_ok());
        let moved = check_unmoved(&saved, &plan(4, "d")).unwrap_err();
        assert!(moved.to_string().contains("version 3") && moved.help.unwrap().contains("plan again"));
        assert!(check_unmoved(&saved, &plan(3, "other")).is_err());
    }
}
