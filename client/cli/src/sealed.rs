//! `tidegate sealed …` and `tidegate audit`: training sets that can be made again and compared, and what they would leak.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tidegate_client::sealed::{
    self, Column, Difference, SealProgress, SealedSet, TableVersion, Verdict, VerifyProgress,
};
use tidegate_client::{Batches, Selection};
use tidegate_schemas::duration;
use tidegate_schemas::time::Micros;

use crate::failure::{Failure, Result};
use crate::output::{Output, note};
use crate::training_set::{SetArgs, length, save};
use crate::{Globals, session, sql, values, write};

/// What a set that differs ends the process with; failures end it with 2.
const DIFFERS: u8 = 1;
/// What a comparison that could not be made ends the process with.
const FAILED: u8 = 2;

/// Rows of a comparison that are shown.
const ROWS_SHOWN: usize = 20;

/// What to do with sealed sets.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum Command {
    /// List the project's sealed sets, oldest first.
    List(ListArgs),
    /// Show what one sealed set was made of.
    Show(ShowArgs),
    /// Make a sealed set again and compare: ends with 0 when it is the same, 1 when it differs, 2 on failure.
    Verify(VerifyArgs),
    /// Show the values that are others now, and why: ends with 0 when there is none, 1 when there are, 2 on failure.
    Diff(DiffArgs),
    /// Forget a sealed set; its name and the table versions it pinned are free.
    Delete(DeleteArgs),
}

/// How to list sets.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate sealed list
  tidegate sealed list --json | jq '.[].name'")]
pub struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What to show.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate sealed show late-2013
  tidegate sealed show late-2013 --json | jq .tables")]
pub struct ShowArgs {
    /// The set.
    #[arg(value_name = "NAME")]
    name: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What to verify.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate sealed verify late-2013
  tidegate sealed verify late-2013 --json | jq .same

Ends with 0 when the set is the same bit for bit, 1 when it differs, 2 when it could not be made again.")]
pub struct VerifyArgs {
    /// The set.
    #[arg(value_name = "NAME")]
    name: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What to compare.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate sealed diff late-2013                            # with the tables as they are now
  tidegate sealed diff late-2013 --against late-2013-fixed  # with another set of the same rows
  tidegate sealed diff late-2013 --out changed.parquet

Reasons: `late arrival` (it had happened when the set was sealed, and was not known), `correction` (same event time, other
value), `new observation` (it happened after the seal), `removed`.
Ends with 0 when nothing differs, 1 when something does, 2 when the comparison could not be made.")]
pub struct DiffArgs {
    /// The set.
    #[arg(value_name = "NAME")]
    name: String,
    /// Another sealed set [default: the tables as they are now].
    #[arg(long, value_name = "NAME|now")]
    against: Option<String>,
    /// Where to write all differences: .parquet, .csv, .ndjson, .json or .arrow.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    out: Option<PathBuf>,
    /// Print JSON: one array of objects.
    #[arg(long)]
    json: bool,
}

/// What to delete.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate sealed delete late-2013")]
pub struct DeleteArgs {
    /// The set.
    #[arg(value_name = "NAME")]
    name: String,
}

/// What to audit.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate audit late_arrival --spine flights.parquet
  tidegate audit late_arrival --spine flights.parquet --margin 10m --json

For each feature: `leaked`, the rows that a join on event time alone would give another value; `near`, the values from within
the margin before their row's time; and whether it is recorded when values became known.")]
pub struct AuditArgs {
    #[command(flatten)]
    set: SetArgs,
    /// How near before a row's time an observation is suspicious.
    #[arg(long, value_name = "LENGTH", default_value = "1m", value_parser = length)]
    margin: Micros,
    /// Print JSON: one object for each feature.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: &Command, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    match command {
        Command::List(args) => list(args, globals, out).await,
        Command::Show(args) => show(args, globals, out).await,
        Command::Verify(args) => told_apart(verify(args, globals, out).await),
        Command::Diff(args) => told_apart(diff(args, globals, out).await),
        Command::Delete(args) => {
            session::open(globals).await?.unseal(&args.name).await?;
            out.line(format!("deleted sealed set `{}`", args.name))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A failure of a comparison ends the process otherwise than a difference does.
fn told_apart(done: Result<bool>) -> Result<ExitCode> {
    match done {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::from(DIFFERS)),
        Err(failure) if failure.is_broken_pipe() => Err(failure),
        Err(failure) => {
            crate::output::report(&failure);
            Ok(ExitCode::from(FAILED))
        }
    }
}

/// Waits for a seal, counting rows on a terminal.
pub(crate) async fn wait_for_seal(
    mut progress: BoxStream<'static, tidegate_client::Result<SealProgress>>,
) -> Result<Box<SealedSet>> {
    let bar = row_counter();
    while let Some(step) = progress.try_next().await? {
        match step {
            SealProgress::Rows(rows) => bar.set_position(rows),
            SealProgress::Done(set) => {
                bar.finish_and_clear();
                return Ok(set);
            }
        }
    }
    Err(Failure::new("the server ended the seal without a word")
        .help("look whether it is there: `tidegate sealed list`"))
}

fn row_counter() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {human_pos} rows  {per_sec}");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

async fn list(args: &ListArgs, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let sets = session::open(globals).await?.sealed().await?;
    if args.json {
        out.json(&sets.iter().map(to_json).collect())?;
        return Ok(ExitCode::SUCCESS);
    }
    let header = ["name", "sealed", "who", "features", "rows", "tables", "digest"];
    out.table(
        &header,
        sets.iter().map(row).collect(),
        "no sealed sets; make one with `tidegate training-set … --seal NAME`",
    )?;
    Ok(ExitCode::SUCCESS)
}

fn row(set: &SealedSet) -> Vec<String> {
    vec![
        set.name.clone(),
        values::instant(set.created_at),
        set.principal.clone(),
        features(set),
        set.rows.to_string(),
        tables(set),
        short(&set.digest),
    ]
}

/// Enough of a digest to tell two apart by eye.
fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

fn features(set: &SealedSet) -> String {
    match sealed::selection(set) {
        Some(Selection::Service(name)) => name,
        Some(Selection::Features(references)) => references.join(" "),
        None => String::new(),
    }
}

fn tables(set: &SealedSet) -> String {
    let table = |of: &TableVersion| format!("{}@{}", of.source, of.version);
    set.tables.iter().map(table).collect::<Vec<_>>().join(" ")
}

async fn show(args: &ShowArgs, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let set = session::open(globals).await?.sealed_set(&args.name).await?;
    if args.json {
        out.json(&to_json(&set))?;
        return Ok(ExitCode::SUCCESS);
    }
    let spine = set.spine.clone().unwrap_or_default();
    let from = match spine.kind.as_str() {
        "uploaded" => "uploaded".to_owned(),
        kind => format!("{kind}: {}", spine.text),
    };
    for (name, value) in [
        ("name", set.name.clone()),
        ("sealed", format!("{} by {}, Tidegate {}", values::instant(set.created_at), set.principal, set.engine)),
        ("features", features(&set)),
        ("definitions", format!("version {}, digest {}", set.definitions_version, set.definitions_digest)),
        ("spine", format!("{} rows, {from}, digest {}", spine.rows, spine.digest)),
        ("options", options(&set)),
        ("tables", tables(&set)),
        ("rows", set.rows.to_string()),
        ("digest", set.digest.clone()),
    ] {
        out.line(format!("{name:12} {value}"))?;
    }
    let columns = set.columns.iter().map(|of| vec![of.name.clone(), of.r#type.clone(), short(&of.digest)]);
    out.table(&["column", "type", "digest"], columns.collect(), "no columns")?;
    Ok(ExitCode::SUCCESS)
}

fn options(set: &SealedSet) -> String {
    let of = set.training_set.clone().unwrap_or_default();
    let mut options = vec![format!("event time {}", of.event_time_column)];
    options.extend(of.full_feature_names.then(|| "full names".to_owned()));
    options.extend(of.as_of.map(|cut| format!("as of {}", values::instant(cut))));
    options.extend(of.include_event_times.then(|| "event times".to_owned()));
    options.extend(of.include_statuses.then(|| "statuses".to_owned()));
    options.extend(of.split.map(|split| {
        let cuts: Vec<String> = split.at.iter().map(|cut| values::instant(*cut)).collect();
        format!("split at {} with embargo {}", cuts.join(" and "), duration::format(split.embargo))
    }));
    options.extend(of.sample.map(|sample| {
        let keep: Vec<String> = sample.keep.iter().map(|of| format!("{}={}", of.value, of.fraction)).collect();
        format!("sample of {} keeping {} with seed {}", sample.column, keep.join(" "), sample.seed)
    }));
    options.join(", ")
}

async fn verify(args: &VerifyArgs, globals: &Globals, out: &mut Output) -> Result<bool> {
    let verdict = wait_for_verdict(session::open(globals).await?.verify(&args.name).await?).await?;
    if args.json {
        out.json(&verdict_to_json(&args.name, &verdict))?;
        return Ok(verdict.same);
    }
    match verdict.same {
        true => out.line(format!("{}: the same {} rows, digest {}", args.name, verdict.rows, verdict.digest))?,
        false => {
            out.line(format!("{}: differs", args.name))?;
            for difference in &verdict.differences {
                out.line(format!("  {}", sentence(difference)))?;
            }
            note(format!("`tidegate sealed show {}` says what it was made of", args.name));
        }
    }
    Ok(verdict.same)
}

async fn wait_for_verdict(
    mut progress: BoxStream<'static, tidegate_client::Result<VerifyProgress>>,
) -> Result<Verdict> {
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} rows  {eta} left");
    let bar = ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    while let Some(step) = progress.try_next().await? {
        match step {
            VerifyProgress::Rows(rows, total) => {
                bar.set_length(total.max(rows));
                bar.set_position(rows);
            }
            VerifyProgress::Done(verdict) => {
                bar.finish_and_clear();
                return Ok(verdict);
            }
        }
    }
    Err(Failure::new("the server ended the verification without a verdict").help("verify again"))
}

fn sentence(difference: &Difference) -> String {
    let Difference { what, column, sealed, found } = difference;
    match what.as_str() {
        "rows" => format!("{found} rows instead of {sealed}"),
        "column missing" => format!("column {column} is gone"),
        "column added" => format!("column {column} is new"),
        "type" => format!("column {column} is {found} instead of {sealed}"),
        "values" => format!("column {column} has other values"),
        other => format!("{other} {column}"),
    }
}

async fn diff(args: &DiffArgs, globals: &Globals, out: &mut Output) -> Result<bool> {
    let against = args.against.as_deref().filter(|against| *against != "now");
    let result = session::open(globals).await?.sealed_diff(&args.name, against).await?;
    if let Some(path) = &args.out {
        return Ok(save(result, path, out).await? == 0);
    }
    if args.json {
        let rows = objects(result).await?;
        out.json(&Value::Array(rows.clone()))?;
        return Ok(rows.is_empty());
    }
    let Batches { schema, stream } = result;
    let mut stream = stream.peekable();
    let same = std::pin::Pin::new(&mut stream).peek().await.is_none();
    match same {
        true => out.line(format!("{}: nothing differs", args.name))?,
        false => {
            sql::table(Batches { schema, stream: stream.boxed() }, ROWS_SHOWN, out).await?;
            note("write all differences with --out FILE");
        }
    }
    Ok(same)
}

pub(crate) async fn audit(args: &AuditArgs, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    let (selection, spine) = args.set.ask(&client).await?;
    let spinner = ProgressBar::new_spinner().with_message("joining twice");
    let result = client.audit(&selection, spine, &args.set.options(), args.margin).await?;
    let Batches { schema, stream } = result;
    let batches: Vec<_> = stream.try_collect().await?;
    spinner.finish_and_clear();
    let result = Batches { schema, stream: futures::stream::iter(batches.into_iter().map(Ok)).boxed() };
    match args.json {
        true => out.json(&Value::Array(objects(result).await?))?,
        false => sql::table(result, usize::MAX, out).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// All rows as JSON objects.
async fn objects(result: Batches) -> Result<Vec<Value>> {
    let mut writer = write::Writer::new(Vec::new(), write::Format::Json, &result.schema)?;
    let mut stream = result.stream;
    while let Some(batch) = stream.try_next().await? {
        writer.write(&batch)?;
    }
    let text = writer.finish()?;
    serde_json::from_slice(&text).map_err(|error| Failure::new("the rows can't be written as JSON").caused_by(error))
}

fn to_json(set: &SealedSet) -> Value {
    let of = set.training_set.clone().unwrap_or_default();
    let spine = set.spine.clone().unwrap_or_default();
    let sample = of.sample.map(|sample| {
        let keep: serde_json::Map<String, Value> =
            sample.keep.into_iter().map(|of| (of.value, json!(of.fraction))).collect();
        json!({"column": sample.column, "keep": keep, "seed": sample.seed})
    });
    let split = of.split.map(|split| {
        let cuts: Vec<String> = split.at.iter().map(|cut| values::instant(*cut)).collect();
        json!({"at": cuts, "embargo": duration::format(split.embargo)})
    });
    let tables: serde_json::Map<String, Value> =
        set.tables.iter().map(|of| (of.source.clone(), json!(of.version))).collect();
    let column = |of: &Column| json!({"name": of.name, "type": of.r#type, "digest": of.digest});
    json!({
        "name": set.name,
        "sealed_at": values::instant(set.created_at),
        "principal": set.principal,
        "engine": set.engine,
        "definitions": {"version": set.definitions_version, "digest": set.definitions_digest},
        "features": features(set),
        "options": {
            "event_time_column": of.event_time_column,
            "full_names": of.full_feature_names,
            "as_of": of.as_of.map(values::instant),
            "event_times": of.include_event_times,
            "statuses": of.include_statuses,
            "split": split,
            "sample": sample,
        },
        "spine": {"from": spine.kind, "text": spine.text, "rows": spine.rows, "digest": spine.digest},
        "tables": tables,
        "rows": set.rows,
        "digest": set.digest,
        "columns": set.columns.iter().map(column).collect::<Vec<_>>(),
    })
}

fn verdict_to_json(name: &str, verdict: &Verdict) -> Value {
    let difference =
        |of: &Difference| json!({"what": of.what, "column": of.column, "sealed": of.sealed, "found": of.found});
    json!({
        "name": name,
        "same": verdict.same,
        "rows": verdict.rows,
        "digest": verdict.digest,
        "engine": verdict.engine,
        "differences": verdict.differences.iter().map(difference).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_sentences() {
        let check = |what: &str, expect: &str| {
            let of = |text: &str| text.to_owned();
            let difference = Difference { what: of(what), column: of("temp"), sealed: of("3"), found: of("4") };
            assert_eq!(sentence(&difference), expect);
        };
        check("rows", "4 rows instead of 3");
        check("type", "column temp is 4 instead of 3");
        check("values", "column temp has other values");
        check("column missing", "column temp is gone");
        check("column added", "column temp is new");
    }
}
