//! `tidegate ingest`: files into a managed source, all of them or none.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use arrow::datatypes::DataType;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tidegate_client::flight::{Ingest, Ingested};
use tidegate_schemas::catalog::{Catalog, nearest};

use crate::failure::{Failure, Result};
use crate::output::{Output, note};
use crate::read::{self, Format, Input, Others, Wanted};
use crate::values::Rounding;
use crate::{Globals, session};

/// What to ingest.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate ingest weather_reports weather-*.parquet
  tidegate ingest weather_reports weather.csv --null NA
  zcat events.ndjson.gz | tidegate ingest events - --format ndjson

Rows are appended all together or not at all. The batch id defaults to a digest of the files' content, so that running the
same command again changes nothing. CSV and NDJSON are read with the source's types; times without a zone are UTC.")]
pub struct Args {
    /// A managed source, or a feature view whose source is meant.
    #[arg(value_name = "TARGET")]
    target: String,
    /// Parquet, CSV, NDJSON or Arrow IPC files with the same columns; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The files' format [default: as their extensions say].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Accepted once; a repeat changes nothing [default: a digest of the content].
    #[arg(long, value_name = "ID")]
    batch_id: Option<String>,
    /// Leave out columns that the source does not have, instead of refusing them.
    #[arg(long)]
    ignore_extra_columns: bool,
    /// A text in CSV files that stands for a missing value, beside the empty one; may be given again.
    #[arg(long, value_name = "TEXT")]
    null: Vec<String>,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &Args, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    let wanted = wanted(args, &session::catalog(&client).await?)?;
    let inputs =
        args.files.iter().map(|path| Input::new(path, args.format).map(Arc::new)).collect::<Result<Vec<_>>>()?;
    let batch_id = match &args.batch_id {
        Some(id) => id.clone(),
        None => read::content_id(&inputs)?,
    };
    let bar = bar(inputs.iter().map(|input| input.bytes()).sum());
    let rows = read::open_all(inputs, wanted, bar.clone())?;
    let ingest = Ingest { target: args.target.clone(), batch_id, ignore_extra_columns: args.ignore_extra_columns };
    let sent = client.ingest(&ingest, rows.schema.clone(), read::stream(rows)).await;
    bar.finish_and_clear();
    print(&sent?, args.json, out)?;
    Ok(ExitCode::SUCCESS)
}

/// The source's columns, as its definitions say.
fn wanted(args: &Args, catalog: &Catalog) -> Result<Wanted> {
    Ok(Wanted {
        types: types_of(&args.target, catalog)?,
        others: if args.ignore_extra_columns { Others::Ignore } else { Others::Refuse },
        rounding: Rounding::Up,
        nulls: args.null.clone(),
    })
}

/// The types of the columns of a source, or of a view's source.
pub(crate) fn types_of(target: &str, catalog: &Catalog) -> Result<BTreeMap<String, DataType>> {
    let source = match (catalog.sources.get(target), catalog.views.get(target)) {
        (Some(source), _) => source,
        (None, Some(view)) => catalog.sources.get(&view.source).ok_or_else(|| unknown(target, catalog))?,
        (None, None) => return Err(unknown(target, catalog)),
    };
    Ok(catalog.columns(source).into_iter().map(|column| (column.name, column.data_type.to_arrow())).collect())
}

fn unknown(target: &str, catalog: &Catalog) -> Failure {
    let names = || catalog.sources.keys().chain(catalog.views.keys()).map(String::as_str);
    let failure = Failure::new(format!("project `{}` has no source or view named `{target}`", catalog.project));
    match nearest(target, names()) {
        Some(near) => failure.help(format!("did you mean `{near}`?")),
        None => failure.help("`tidegate get source` lists the sources there are"),
    }
}

/// Moves by bytes read; shown on a terminal only.
fn bar(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn print(done: &Ingested, as_json: bool, out: &mut Output) -> Result<()> {
    if as_json {
        out.json(&json!({
            "source": done.source,
            "version": done.version,
            "rows": done.rows,
            "batch_id": done.batch_id,
            "already_ingested": done.already_ingested,
            "ignored_columns": done.ignored_columns,
        }))?;
        return Ok(());
    }
    if !done.ignored_columns.is_empty() {
        note(format!("left out, as the source does not have them: {}", done.ignored_columns.join(", ")));
    }
    let (source, version) = (&done.source, done.version);
    let rows = if done.rows == 1 { "1 row".to_owned() } else { format!("{} rows", done.rows) };
    match done.already_ingested {
        false => out.line(format!("ingested {rows} into `{source}`, version {version}"))?,
        true => out.line(format!("nothing to do: this batch of {rows} is in `{source}` since version {version}"))?,
    }
    out.line(format!("batch id {}", done.batch_id))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use tidegate_schemas::file::{self, SourceFile};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn args(target: &str) -> Args {
        Cli::parse_from(["ingest", target, "a.csv"]).args
    }

    #[test]
    fn a_view_stands_for_its_source_and_a_slip_is_named() {
        let content = include_str!("definitions/example/features.yaml");
        let files = [SourceFile { path: "features.yaml".into(), content: content.into() }];
        let catalog = file::check(&files).unwrap();
        let by_source = wanted(&args("orders"), &catalog).unwrap();
        assert!(by_source.types.contains_key("amount") && by_source.types.contains_key("ordered_at"));
        assert_eq!(wanted(&args("last_order"), &catalog).unwrap().types, by_source.types);
        assert_eq!(wanted(&args("ordres"), &catalog).unwrap_err().help.unwrap(), "did you mean `orders`?");
    }
}
