//! `tidegate table`: how a table lies on disk, and putting it in order.

use std::process::ExitCode;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar};
use serde_json::json;
use tidegate_client::table::{Compacted, TableStats, Vacuumed};
use tidegate_schemas::time::Micros;

use crate::failure::Result;
use crate::output::Output;
use crate::training_set::length;
use crate::{Globals, session};

/// How often the spinner moves.
const TICK: Duration = Duration::from_millis(120);

/// What to do with a table.
#[derive(Debug, Clone, PartialEq, clap::Subcommand)]
pub enum Command {
    /// Merge a managed table's small files into few, sorted by keys and event time.
    ///
    /// No training set, lookup or query changes; readers and writers go on. Older files stay for readers of older versions.
    /// Rows that an online view has yet to materialize are left alone. Doing it again does nothing.
    Compact(Args),
    /// Delete the files of a managed table that compactions left behind.
    ///
    /// Kept are the files of the newest version, of versions that were the newest within the last while (`--older-than`), and
    /// of versions that sealed training sets were made from. Older versions can then be read no more.
    Vacuum(VacuumArgs),
    /// Show how a table lies and what its statistics let a reader skip.
    Stats(Args),
}

/// Which table.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate table stats origin_weather
  tidegate table compact origin_weather
  tidegate table compact origin_weather --json")]
pub struct Args {
    /// A feature view, whose keys give the order; or a source.
    #[arg(value_name = "VIEW")]
    name: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Which files of which table.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate table vacuum origin_weather --dry-run
  tidegate table vacuum origin_weather
  tidegate table vacuum origin_weather --older-than 12h --json")]
pub struct VacuumArgs {
    /// A feature view or a source.
    #[arg(value_name = "VIEW")]
    name: String,
    /// Keep what was live within this time.
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = length)]
    older_than: Micros,
    /// Only tell what would be deleted.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: &Command, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    match command {
        Command::Compact(args) => {
            let spinner = ProgressBar::new_spinner().with_message(format!("compacting {}", args.name));
            spinner.enable_steady_tick(TICK);
            let done = client.compact_table(&args.name).await;
            spinner.finish_and_clear();
            show_compacted(&done?, args.json, out)?;
        }
        Command::Vacuum(args) => {
            let spinner = ProgressBar::new_spinner().with_message(format!("vacuuming {}", args.name));
            spinner.enable_steady_tick(TICK);
            let done = client.vacuum_table(&args.name, Some(args.older_than), args.dry_run).await;
            spinner.finish_and_clear();
            show_vacuumed(&done?, args, out)?;
        }
        Command::Stats(args) => show_stats(&client.table_stats(&args.name).await?, args.json, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show_compacted(done: &Compacted, as_json: bool, out: &mut Output) -> Result<()> {
    let Compacted { source, version, files_before, files_after, rows, bytes_before, bytes_after } = done;
    if as_json {
        out.json(&json!({
            "source": source,
            "version": version,
            "files_before": files_before,
            "files_after": files_after,
            "rows": rows,
            "bytes_before": bytes_before,
            "bytes_after": bytes_after,
        }))?;
    } else if *files_before == 0 {
        out.line(format!("{source}: nothing to compact at version {version}"))?;
    } else {
        out.line(format!(
            "{source}: {files_before} files into {files_after}, {} rows, {} into {}, now at version {version}",
            HumanCount(*rows),
            HumanBytes(*bytes_before),
            HumanBytes(*bytes_after),
        ))?;
    }
    Ok(())
}

fn show_vacuumed(done: &Vacuumed, args: &VacuumArgs, out: &mut Output) -> Result<()> {
    let Vacuumed { source, version, files, bytes, sealed_versions } = done;
    if args.json {
        out.json(&json!({
            "source": source,
            "version": version,
            "files": files,
            "bytes": bytes,
            "sealed_versions": sealed_versions,
            "dry_run": args.dry_run,
        }))?;
        return Ok(());
    }
    let kept = match sealed_versions.len() {
        0 => String::new(),
        1 => format!("; version {} is kept for a sealed training set", sealed_versions[0]),
        sets => format!("; {sets} versions are kept for sealed training sets"),
    };
    let verb = if args.dry_run { "would be deleted" } else { "deleted" };
    out.line(format!("{source}: {files} files of {} {verb}{kept}", HumanBytes(*bytes)))?;
    Ok(())
}

fn show_stats(stats: &TableStats, as_json: bool, out: &mut Output) -> Result<()> {
    if as_json {
        let overlap = |it: &tidegate_client::table::ColumnOverlap| json!({ "column": it.column, "files": it.files, "files_unknown": it.files_unknown });
        out.json(&json!({
            "source": stats.source,
            "version": stats.version,
            "files": stats.files,
            "files_compacted": stats.files_compacted,
            "runs": stats.runs,
            "rows": stats.rows,
            "bytes": stats.bytes,
            "rows_deleted": stats.rows_deleted,
            "overlaps": stats.overlaps.iter().map(overlap).collect::<Vec<_>>(),
        }))?;
        return Ok(());
    }
    out.line(format!(
        "{} at version {}: {} rows in {} files ({} compacted, {} runs), {}",
        stats.source,
        stats.version,
        HumanCount(stats.rows),
        stats.files,
        stats.files_compacted,
        stats.runs,
        HumanBytes(stats.bytes),
    ))?;
    if stats.rows_deleted > 0 {
        out.line(format!("{} rows are marked as deleted", HumanCount(stats.rows_deleted)))?;
    }
    let rows = stats.overlaps.iter().map(|it| {
        let spared = (1.0 - it.files / stats.files.max(1) as f64).max(0.0) * 100.0;
        vec![it.column.clone(), format!("{:.1}", it.files), it.files_unknown.to_string(), format!("{spared:.0} %")]
    });
    let header = ["column", "files sharing values", "files without statistics", "skipped for a narrow range"];
    out.table(&header, rows.collect(), "no columns to skip files by")?;
    if stats.runs > 1 {
        out.line(format!("`tidegate table compact {}` would merge runs", stats.source))?;
    }
    Ok(())
}
