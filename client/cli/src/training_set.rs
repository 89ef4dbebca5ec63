//! `tidegate training-set`: features joined to the rows of a spine, as they were known at each row's time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use futures::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use tidegate_client::flight::{Spine, TrainingSetOptions};
use tidegate_client::{Batches, Client, Selection};
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::time::Micros;

use crate::failure::{Failure, Result};
use crate::lookup::selection;
use crate::output::{Output, note};
use crate::read::{self, Format, Input, Others, Wanted};
use crate::values::{Rounding, parse_instant};
use crate::write::FileWriter;
use crate::{Globals, session, sql};

/// The spine's time column unless another is named.
pub(crate) const EVENT_TIME: &str = "event_timestamp";

/// What to join to what.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate training-set late_arrival --spine flights.parquet --out training.parquet
  tidegate training-set late_arrival --sql 'SELECT *, sched_dep AS event_timestamp FROM sources.flights' --out training.csv
  tidegate training-set origin_weather:temp carrier --spine spine.csv --event-time at
  tidegate training-set late_arrival --spine flights.parquet --as-of 2013-03-01 --event-times --statuses

One output row for each spine row, in its order: the spine's columns, then the features. Without --out the first rows are shown.")]
pub struct Args {
    /// A feature service, or features as `view` or `view:feature`.
    #[arg(required = true, value_name = "SERVICE|FEATURE")]
    selection: Vec<String>,
    #[command(flatten)]
    spine: SpineArgs,
    /// The spine file's format [default: as its extension says].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The spine's column of the time each row is labelled at.
    #[arg(long, value_name = "COLUMN", default_value = EVENT_TIME)]
    event_time: String,
    /// Where to write: .parquet, .csv, .ndjson, .json or .arrow.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Name features `view__feature`.
    #[arg(long)]
    full_names: bool,
    /// Use only what was known by then, such as `2013-03-01` or `2013-03-01T06:00:00Z`.
    #[arg(long, value_name = "TIME", value_parser = as_of)]
    as_of: Option<Micros>,
    /// Add a `view__event_time` column for each view.
    #[arg(long)]
    event_times: bool,
    /// Add a `view__status` column for each view.
    #[arg(long)]
    statuses: bool,
}

/// Where the rows to label come from.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[group(required = true, multiple = false)]
struct SpineArgs {
    /// A Parquet, CSV, NDJSON or Arrow file with the keys and the event time; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    spine: Option<PathBuf>,
    /// A query over the project's tables and views.
    #[arg(long, value_name = "QUERY")]
    sql: Option<String>,
    /// A table of the project.
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
}

pub(crate) fn as_of(text: &str) -> std::result::Result<Micros, String> {
    parse_instant(text, Rounding::Down)
        .ok_or_else(|| "write a time such as 2013-03-01 or 2013-03-01T06:00:00Z".to_owned())
}

pub(crate) async fn run(args: &Args, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    let catalog = session::catalog(&client).await?;
    let selection = selection(&args.selection, &catalog);
    let result = request(args, &client, &catalog, &selection).await?;
    match &args.out {
        Some(path) => save(result, path, out).await?,
        None => {
            sql::table(result, 20, out).await?;
            note("write all rows with --out FILE");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn request(args: &Args, client: &Client, catalog: &Catalog, selection: &Selection) -> Result<Batches> {
    let spine = match &args.spine {
        SpineArgs { spine: Some(path), .. } => spine_file(args, path, catalog, selection)?,
        SpineArgs { sql: Some(query), .. } => Spine::Sql(query.clone()),
        SpineArgs { table: Some(name), .. } => Spine::Table(name.clone()),
        SpineArgs { spine: None, sql: None, table: None } => {
            return Err(Failure::new("no spine is given").help("give --spine, --sql or --table"));
        }
    };
    let options = TrainingSetOptions {
        event_time_column: args.event_time.clone(),
        full_names: args.full_names,
        as_of: args.as_of,
        include_event_times: args.event_times,
        include_statuses: args.statuses,
    };
    Ok(client.training_set(selection, spine, &options).await?)
}

fn spine_file(args: &Args, path: &Path, catalog: &Catalog, selection: &Selection) -> Result<Spine> {
    let wanted = wanted(&args.event_time, args.full_names, catalog, selection)?;
    let input = Arc::new(Input::new(path, args.format)?);
    let rows = read::open(&input, &wanted, &ProgressBar::hidden())?;
    Ok(Spine::batches(rows.schema.clone(), read::stream(rows)))
}

/// Keys and event time are typed by the definitions; the spine's other columns by what they hold.
pub(crate) fn wanted(event_time: &str, full_names: bool, catalog: &Catalog, selection: &Selection) -> Result<Wanted> {
    let resolved = catalog.resolve(selection, full_names).map_err(|error| Failure::new(error.to_string()))?;
    let keys = resolved.views.into_iter().flat_map(|view| view.keys);
    let mut types: BTreeMap<String, DataType> = keys.map(|key| (key.spine_column, key.data_type.to_arrow())).collect();
    types.insert(event_time.to_owned(), DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
    Ok(Wanted { types, others: Others::Infer, rounding: Rounding::Down, nulls: Vec::new() })
}

async fn save(mut result: Batches, path: &Path, out: &mut Output) -> Result<()> {
    let mut file = FileWriter::create(path, &result.schema)?;
    let style = ProgressStyle::with_template("{spinner} {human_pos} rows  {per_sec}");
    let bar = ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let mut rows = 0;
    while let Some(batch) = result.stream.try_next().await? {
        file.write(&batch)?;
        rows += batch.num_rows();
        bar.inc(batch.num_rows() as u64);
    }
    file.finish()?;
    bar.finish_and_clear();
    out.line(format!("wrote {rows} rows of {} columns to {}", result.schema.fields().len(), path.display()))?;
    Ok(())
}
