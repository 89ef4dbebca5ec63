//! `tidegate plan`: what applying files would change.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use tidegate_client::registry::Plan;
use tidegate_schemas::file::SourceFile;

use super::saved::SavedPlan;
use super::validate::problems_to_json;
use super::{changes, files};
use crate::failure::{Failure, Result};
use crate::output::{Output, note};
use crate::{Globals, session};

/// What to plan.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate plan features
  tidegate plan features --out release.plan && tidegate apply release.plan
  tidegate plan features --detailed-exitcode   # 0: nothing to change, 1: error, 2: changes")]
pub struct Args {
    /// Definition files, or folders of them.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Also remove what the files do not mention.
    #[arg(long)]
    prune: bool,
    /// End with 2 when there are changes.
    #[arg(long)]
    detailed_exitcode: bool,
    /// Save the plan, for `tidegate apply FILE` to do exactly this.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &Args, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let files = files::gather(&args.paths)?;
    let client = session::connect(globals).await?;
    let plan = client.plan(&files, args.prune).await?;
    if args.json {
        out.json(&to_json(&plan))?;
        if !plan.problems.is_empty() {
            return Ok(ExitCode::FAILURE);
        }
    }
    check(globals, &plan)?;
    if !args.json {
        print(out, &plan)?;
    }
    if let Some(path) = &args.out {
        save(&plan, files, args.prune).write(path)?;
        note(format!("saved; make it so with `tidegate apply {}`", path.display()));
    }
    let changed = args.detailed_exitcode && !plan.changes.is_empty();
    Ok(if changed { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

/// A plan with problems is a failure; so is one for another project than the one named.
pub(crate) fn check(globals: &Globals, plan: &Plan) -> Result<()> {
    if !plan.problems.is_empty() {
        return Err(Failure::of_problems(plan.problems.clone()));
    }
    match &globals.project {
        Some(named) if *named != plan.project => {
            let message = format!("the files define project `{}`, not `{named}`", plan.project);
            Err(Failure::new(message).help("drop --project (and TIDEGATE_PROJECT), or name other files"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn print(out: &mut Output, plan: &Plan) -> Result<()> {
    for warning in &plan.warnings {
        note(format!("warning: {warning}"));
    }
    if plan.changes.is_empty() {
        out.line(format!("no changes: project `{}` is as the files say", plan.project))?;
        return Ok(());
    }
    changes::print(out, &plan.changes)?;
    let summary = changes::summary(&plan.changes);
    out.line(format!("\nproject `{}` at version {}: {summary}", plan.project, plan.base_version))?;
    match changes::breaking(&plan.changes) {
        0 => {}
        1 => out.line("1 change breaks readers")?,
        count => out.line(format!("{count} changes break readers"))?,
    }
    Ok(())
}

pub(crate) fn save(plan: &Plan, files: Vec<SourceFile>, prune: bool) -> SavedPlan {
    SavedPlan {
        project: plan.project.clone(),
        base_version: plan.base_version,
        target_digest: plan.target_digest.clone(),
        prune,
        files,
    }
}

fn to_json(plan: &Plan) -> serde_json::Value {
    json!({
        "project": plan.project,
        "base_version": plan.base_version,
        "target_digest": plan.target_digest,
        "changes": changes::to_json(&plan.changes),
        "problems": problems_to_json(&plan.problems),
        "warnings": plan.warnings,
    })
}
