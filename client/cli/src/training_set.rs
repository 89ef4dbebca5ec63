//! `tidegate training-set`: features joined to the rows of a spine, as they were known at each row's time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use futures::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use tidegate_client::flight::{Sample, Spine, Split, TrainingSetOptions};
use tidegate_client::{Batches, Client, Selection};
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::time::Micros;

use crate::failure::{Failure, Result};
use crate::lookup::selection;
use crate::output::{Output, note};
use crate::read::{self, Format, Input, Others, Wanted};
use crate::values::{Rounding, parse_instant};
use crate::write::FileWriter;
use crate::{Globals, sealed, session, sql};

/// The spine's time column unless another is named.
pub(crate) const EVENT_TIME: &str = "event_timestamp";

/// What to join to what.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate training-set late_arrival --spine flights.parquet --out training.parquet
  tidegate training-set late_arrival --sql 'SELECT *, sched_dep AS event_timestamp FROM sources.flights' --out training.csv
  tidegate training-set origin_weather:temp carrier --spine spine.csv --event-time at
  tidegate training-set late_arrival --spine flights.parquet --as-of 2013-03-01 --event-times --statuses
  tidegate training-set late_arrival --spine flights.parquet --split-at 2013-09-01 2013-11-01 --embargo 1d
  tidegate training-set late_arrival --spine flights.parquet --sample late --keep false=0.1 --seed 7
  tidegate training-set late_arrival --spine flights.parquet --seal late-2013 --out training.parquet

One output row for each spine row, in its order: the spine's columns, then the features. Without --out the first rows are shown.")]
pub struct Args {
    #[command(flatten)]
    set: SetArgs,
    /// Where to write: .parquet, .csv, .ndjson, .json or .arrow.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Seal the set under this name, so that it can be made again and verified.
    #[arg(long, value_name = "NAME")]
    seal: Option<String>,
}

/// A training set, whatever is done with it.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub(crate) struct SetArgs {
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
    /// Name features `view__feature`.
    #[arg(long)]
    full_names: bool,
    /// Use only what was known by then, such as `2013-03-01` or `2013-03-01T06:00:00Z`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    as_of: Option<Micros>,
    /// Add a `view__event_time` column for each view.
    #[arg(long)]
    event_times: bool,
    /// Add a `view__status` column for each view.
    #[arg(long)]
    statuses: bool,
    /// Add a column `split`: train and test around one time, or train, validation and test around two.
    #[arg(long, value_name = "TIME", num_args = 1..=2, value_parser = time)]
    split_at: Vec<Micros>,
    /// Leave out rows so long before a cut, such as `1d`.
    #[arg(long, value_name = "LENGTH", requires = "split_at", value_parser = length)]
    embargo: Option<Micros>,
    /// Keep a share of the rows by the value of this spine column; adds a column `sample_weight`.
    #[arg(long, value_name = "COLUMN", requires = "keep")]
    sample: Option<String>,
    /// The fraction kept of the rows with a value, such as `false=0.1`; rows with other values are all kept.
    #[arg(long, value_name = "VALUE=FRACTION", requires = "sample", num_args = 1.., value_parser = fraction)]
    keep: Vec<(String, f64)>,
    /// Draws other rows.
    #[arg(long, requires = "sample", default_value_t = 0, allow_hyphen_values = true)]
    seed: i64,
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

pub(crate) fn time(text: &str) -> std::result::Result<Micros, String> {
    parse_instant(text, Rounding::Down)
        .ok_or_else(|| "write a time such as 2013-03-01 or 2013-03-01T06:00:00Z".to_owned())
}

pub(crate) fn length(text: &str) -> std::result::Result<Micros, String> {
    tidegate_schemas::duration::parse(text).map_err(|error| error.to_string())
}

fn fraction(text: &str) -> std::result::Result<(String, f64), String> {
    let parsed = text.rsplit_once('=').and_then(|(value, part)| Some((value.to_owned(), part.parse().ok()?)));
    parsed.ok_or_else(|| "write it as VALUE=FRACTION, such as false=0.1".to_owned())
}

pub(crate) async fn run(args: &Args, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    let (selection, spine) = args.set.ask(&client).await?;
    let options = args.set.options();
    let result = match &args.seal {
        None => client.training_set(&selection, spine, &options).await?,
        Some(name) => {
            let progress = client.seal(name, &selection, spine, &options).await?;
            let set = sealed::wait_for_seal(progress).await?;
            note(format!("sealed {} rows as `{name}`; compare later with `tidegate sealed verify {name}`", set.rows));
            client.sealed_rows(name).await?
        }
    };
    match &args.out {
        Some(path) => {
            save(result, path, out).await?;
        }
        None => {
            sql::table(result, 20, out).await?;
            note("write all rows with --out FILE");
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl SetArgs {
    /// What is asked for, and the rows to label.
    pub(crate) async fn ask(&self, client: &Client) -> Result<(Selection, Spine)> {
        let catalog = session::catalog(client).await?;
        let selection = selection(&self.selection, &catalog);
        let spine = match &self.spine {
            SpineArgs { spine: Some(path), .. } => spine_file(self, path, &catalog, &selection)?,
            SpineArgs { sql: Some(query), .. } => Spine::Sql(query.clone()),
            SpineArgs { table: Some(name), .. } => Spine::Table(name.clone()),
            SpineArgs { spine: None, sql: None, table: None } => {
                return Err(Failure::new("no spine is given").help("give --spine, --sql or --table"));
            }
        };
        Ok((selection, spine))
    }

    pub(crate) fn options(&self) -> TrainingSetOptions {
        let split = || Split { at: self.split_at.clone(), embargo: self.embargo.unwrap_or_default() };
        let sample = |column: &String| Sample { column: column.clone(), keep: self.keep.clone(), seed: self.seed };
        TrainingSetOptions {
            event_time_column: self.event_time.clone(),
            full_names: self.full_names,
            as_of: self.as_of,
            include_event_times: self.event_times,
            include_statuses: self.statuses,
            split: (!self.split_at.is_empty()).then(split),
            sample: self.sample.as_ref().map(sample),
        }
    }
}

fn spine_file(args: &SetArgs, path: &Path, catalog: &Catalog, selection: &Selection) -> Result<Spine> {
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

/// Writes a result to a file; says how many rows it has.
pub(crate) async fn save(mut result: Batches, path: &Path, out: &mut Output) -> Result<usize> {
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
    Ok(rows)
}
