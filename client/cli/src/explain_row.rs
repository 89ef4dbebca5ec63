//! `tidegate explain-row`: which observation a spine row gets, and why the others lost.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use indicatif::ProgressBar;
use serde_json::{Map, Value, json};
use tidegate_client::explain::{Candidate, ExplainOptions, ViewExplained, WindowSource};
use tidegate_client::flight::TrainingSetOptions;
use tidegate_client::{Client, Selection};
use tidegate_schemas::catalog::{Catalog, Resolved};
use tidegate_schemas::time::Micros;

use crate::failure::{Failure, Result};
use crate::lookup::{key, keys, objects, selection};
use crate::output::Output;
use crate::read::{self, Format, Input, Rows};
use crate::training_set::{EVENT_TIME, time, wanted};
use crate::values::instant;
use crate::{Globals, session};

/// Which row, and what of it.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate explain-row late_arrival --key origin=EWR carrier=UA tailnum=N14228 --at 2013-03-01T06:00:00Z
  tidegate explain-row origin_weather:temp --key origin=EWR --at 2013-03-01 --as-of 2013-02-01
  tidegate explain-row late_arrival --spine flights.parquet --row 17 --feature temp --json

For each view: the observation that won, with its table version, file and row, and why the others nearest to the row's time lost.")]
pub struct Args {
    /// A feature service, or features as `view` or `view:feature`.
    #[arg(required = true, value_name = "SERVICE|FEATURE")]
    selection: Vec<String>,
    /// Keys of the row.
    #[arg(long = "key", short = 'k', num_args = 1.., value_name = "NAME=VALUE", value_parser = key, conflicts_with = "spine")]
    keys: Vec<(String, String)>,
    /// The row's time, such as `2013-03-01` or `2013-03-01T06:00:00Z`.
    #[arg(long, value_name = "TIME", value_parser = time, required_unless_present = "spine", conflicts_with = "spine")]
    at: Option<Micros>,
    /// A Parquet, CSV, NDJSON or Arrow file that holds the row; `-` is standard input.
    #[arg(long, value_name = "FILE", requires = "row")]
    spine: Option<PathBuf>,
    /// The row's number in the spine file, from 0.
    #[arg(long, value_name = "NUMBER", requires = "spine", conflicts_with = "at")]
    row: Option<usize>,
    /// The spine file's format [default: as its extension says].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The spine's column of the time each row is labelled at.
    #[arg(long, value_name = "COLUMN", default_value = EVENT_TIME)]
    event_time: String,
    /// Explain only this feature.
    #[arg(long = "feature", value_name = "NAME")]
    features: Vec<String>,
    /// Use only what was known by then.
    #[arg(long, value_name = "TIME", value_parser = time)]
    as_of: Option<Micros>,
    /// Name features `view__feature`.
    #[arg(long)]
    full_names: bool,
    /// How many observations to show beside the winner, for each view.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    runners_up: u32,
    /// Print JSON: one object for each view.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &Args, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    let catalog = session::catalog(&client).await?;
    let told = explain(args, &client, &catalog).await?;
    if args.json {
        let views = told.iter().map(to_json).collect::<Result<Vec<_>>>()?;
        out.json(&Value::from(views))?;
    } else {
        told.iter().try_for_each(|view| print(view, out))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn explain(args: &Args, client: &Client, catalog: &Catalog) -> Result<Vec<ViewExplained>> {
    let selection = selection(&args.selection, catalog);
    let row = match (&args.spine, args.row, args.at) {
        (Some(path), Some(row), _) => row_of_file(args, path, row, catalog, &selection)?,
        (_, _, Some(at)) => row_of_flags(args, at, catalog, &selection)?,
        _ => return Err(Failure::new("no row is named").help("give --key and --at, or --spine and --row")),
    };
    let options = ExplainOptions {
        training_set: TrainingSetOptions {
            event_time_column: args.event_time.clone(),
            full_names: args.full_names,
            as_of: args.as_of,
            ..TrainingSetOptions::default()
        },
        outputs: args.features.clone(),
        runners_up: Some(args.runners_up),
    };
    Ok(client.explain_row(&selection, &row, &options).await?)
}

fn row_of_flags(args: &Args, at: Micros, catalog: &Catalog, selection: &Selection) -> Result<RecordBatch> {
    let resolved: Resolved =
        catalog.resolve(selection, args.full_names).map_err(|error| Failure::new(error.to_string()))?;
    let mut columns = keys(&args.keys, &resolved)?;
    if let Some((name, _)) = columns.iter().find(|(_, values)| values.len() != 1) {
        return Err(Failure::new(format!("key `{name}` is not given once")).help("one row is explained at a time"));
    }
    let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![at]).with_timezone("UTC"));
    columns.push((args.event_time.clone(), time));
    Ok(RecordBatch::try_from_iter(columns)?)
}

fn row_of_file(
    args: &Args,
    path: &std::path::Path,
    row: usize,
    catalog: &Catalog,
    selection: &Selection,
) -> Result<RecordBatch> {
    let wanted = wanted(&args.event_time, args.full_names, catalog, selection)?;
    let input = Arc::new(Input::new(path, args.format)?);
    let Rows { batches, .. } = read::open(&input, &wanted, &ProgressBar::hidden())?;
    let mut before = 0;
    for batch in batches {
        let batch = batch?;
        if row < before + batch.num_rows() {
            return Ok(batch.slice(row - before, 1));
        }
        before += batch.num_rows();
    }
    Err(Failure::new(format!("{} has {before} rows, and row {row} is asked for", input.name)).help("rows count from 0"))
}

fn print(told: &ViewExplained, out: &mut Output) -> Result<()> {
    let at = told.at.map_or_else(|| "no time".to_owned(), instant);
    out.line(format!("{}: {} at {at}, from version {} of {}", told.view, told.status, told.table_version, told.table))?;
    if let Some(column) = &told.null_column {
        out.line(format!("  `{column}` of the row is null, and matches nothing"))?;
        return Ok(());
    }
    let counts: Vec<String> =
        told.outcomes.iter().map(|(outcome, count)| format!("{count} {}", words(outcome))).collect();
    let counts = if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) };
    out.line(format!("  {} observations with these keys{counts}", told.observations))?;
    if told.without_event_time > 0 {
        out.line(format!("  {} rows with these keys have no event time and count as none", told.without_event_time))?;
    }
    let options = FormatOptions::default().with_display_error(true);
    for (output, candidate) in &told.features {
        if let Some(window) = told.windows.get(output) {
            out.line(format!("  {output} = {}", window_words(told, output, *window)?))?;
            continue;
        }
        let column = told.values.column_by_name(output).filter(|_| candidate.is_some());
        let value = match column.zip(*candidate) {
            Some((column, row)) => {
                let null = if column.is_null(row) { "null" } else { "" };
                format!("{}{null}, from #{row}", ArrayFormatter::try_new(column, &options)?.value(row))
            }
            None => "null".to_owned(),
        };
        out.line(format!("  {output} = {value}"))?;
    }
    table(told, out)
}

/// An aggregate's value, and what it was computed from.
fn window_words(told: &ViewExplained, output: &str, window: WindowSource) -> Result<String> {
    let options = FormatOptions::default().with_display_error(true).with_null("null");
    let value = match told.result.as_ref().and_then(|result| result.column_by_name(output)) {
        Some(column) => ArrayFormatter::try_new(column, &options)?.value(0).to_string(),
        None => "null".to_owned(),
    };
    let since =
        window.after.map_or_else(|| "since the beginning".to_owned(), |after| format!("after {}", instant(after)));
    Ok(format!("{value}, from {} observations {since}", window.counted))
}

fn table(told: &ViewExplained, out: &mut Output) -> Result<()> {
    let ends = told.candidates.iter().any(|candidate| candidate.valid_to.is_some());
    let mut header = vec!["#", "outcome", "event time", "created time", "known at"];
    header.extend(ends.then_some("valid to"));
    header.extend(["version", "file", "row"]);
    let schema = told.values.schema();
    header.extend(schema.fields().iter().map(|field| field.name().as_str()));
    let options = FormatOptions::default().with_display_error(true);
    let time = |time: Option<Micros>| time.map(instant).unwrap_or_default();
    let mut rows = Vec::with_capacity(told.candidates.len());
    for (number, candidate) in told.candidates.iter().enumerate() {
        let mut cells = vec![number.to_string(), words(&candidate.outcome).to_owned(), instant(candidate.event_time)];
        cells.extend([time(candidate.created_time), time(candidate.known_at)]);
        cells.extend(ends.then(|| time(candidate.valid_to)));
        cells.extend([candidate.version.to_string(), candidate.file.clone(), candidate.row.to_string()]);
        for column in told.values.columns() {
            cells.push(ArrayFormatter::try_new(column, &options)?.value(number).to_string());
        }
        rows.push(cells);
    }
    out.table(&header, rows, "  no observation has these keys")?;
    Ok(())
}

/// An outcome as a reader says it; what a newer server names stays as it is.
fn words(outcome: &str) -> &str {
    match outcome {
        "WON" => "won",
        "EXPIRED" => "won, but expired by ttl",
        "AFTER_ROW_TIME" => "after the row's time",
        "NEVER_KNOWN" => "never known",
        "NOT_YET_KNOWN" => "not yet known",
        "CUT_BY_AS_OF" => "known only after as-of",
        "NO_LONGER_VALID" => "no longer valid",
        "LATER_EVENT_TIME_WON" => "superseded: later event time",
        "LATER_CREATED_TIME_WON" => "superseded: later created time",
        "LATER_ADDRESS_WON" => "superseded: same times, written later",
        "COUNTED" => "counted",
        "BEFORE_WINDOW" => "before every window",
        other => other,
    }
}

fn to_json(told: &ViewExplained) -> Result<Value> {
    let values = objects(&told.values)?;
    let candidates: Vec<Value> =
        told.candidates.iter().zip(values).map(|(candidate, values)| candidate_to_json(candidate, values)).collect();
    let features: Map<String, Value> =
        told.features.iter().map(|(output, candidate)| (output.clone(), json!(candidate))).collect();
    let window = |(output, window): (&String, &WindowSource)| {
        (output.clone(), json!({"after": window.after.map(instant), "counted": window.counted}))
    };
    let result = told.result.as_ref().map(objects).transpose()?.and_then(|rows| rows.into_iter().next());
    Ok(json!({
        "view": told.view,
        "table": told.table,
        "table_version": told.table_version,
        "at": told.at.map(instant),
        "null_column": told.null_column,
        "status": told.status,
        "observations": told.observations,
        "without_event_time": told.without_event_time,
        "outcomes": told.outcomes,
        "features": features,
        "windows": told.windows.iter().map(window).collect::<Map<_, _>>(),
        "result": result,
        "candidates": candidates,
    }))
}

fn candidate_to_json(candidate: &Candidate, values: Map<String, Value>) -> Value {
    json!({
        "outcome": candidate.outcome,
        "event_time": instant(candidate.event_time),
        "created_time": candidate.created_time.map(instant),
        "known_at": candidate.known_at.map(instant),
        "valid_to": candidate.valid_to.map(instant),
        "version": candidate.version,
        "file": candidate.file,
        "file_order": candidate.file_order,
        "row": candidate.row,
        "values": values,
    })
}

#[cfg(test)]
mod tests;
