//! `tidegate sql`: a query's result as a table, CSV, JSON, NDJSON or Parquet.

use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::ValueEnum;
use futures::TryStreamExt;
use tidegate_client::Batches;

use crate::failure::{Failure, Result};
use crate::output::{Output, note};
use crate::values::{Rounding, parse_column, type_name};
use crate::write::{self, Writer};
use crate::{Globals, session};

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table of the first rows.
    Table,
    Csv,
    /// One array of objects.
    Json,
    /// One object on each line.
    Ndjson,
    Parquet,
}

/// What to ask.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate sql 'SELECT origin, avg(temp) FROM sources.weather_reports GROUP BY origin'
  tidegate sql 'SELECT * FROM views.origin_weather WHERE origin = $1 LIMIT 5' --param EWR
  tidegate sql \"SELECT * FROM training_set('late_arrival', 'SELECT * FROM sources.flights LIMIT 10')\" --format csv
  tidegate sql 'SELECT * FROM sources.flights' --format parquet > flights.parquet")]
pub struct Args {
    /// A query; only queries are run.
    #[arg(value_name = "QUERY")]
    query: String,
    /// How to print the result.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Rows that a table shows.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    rows: usize,
    /// The value of `$1`, then of `$2`, and so on.
    #[arg(long = "param", value_name = "VALUE", allow_hyphen_values = true)]
    params: Vec<String>,
}

pub(crate) async fn run(args: &Args, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    let result = if args.params.is_empty() {
        client.sql(&args.query, None).await?
    } else {
        let prepared = client.prepare(&args.query).await?;
        let parameters = bind(&prepared.parameters, &args.params)?;
        client.execute(prepared, parameters).await?
    };
    match args.format {
        Format::Table => table(result, args.rows, out).await?,
        Format::Csv => stream(result, write::Format::Csv, out).await?,
        Format::Json => stream(result, write::Format::Json, out).await?,
        Format::Ndjson => stream(result, write::Format::Ndjson, out).await?,
        Format::Parquet => stream(result, write::Format::Parquet, out).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn stream(mut result: Batches, format: write::Format, out: &mut Output) -> Result<()> {
    let mut writer = Writer::new(out.writer(), format, &result.schema)?;
    while let Some(batch) = result.stream.try_next().await? {
        writer.write(&batch)?;
    }
    let to = writer.finish()?;
    if format == write::Format::Json {
        to.write_all(b"\n")?;
    }
    to.flush()?;
    Ok(())
}

/// Prints the first rows and says when there are more; the rest is not fetched.
pub(crate) async fn table(mut result: Batches, rows_max: usize, out: &mut Output) -> Result<()> {
    let names: Vec<&str> = result.schema.fields().iter().map(|field| field.name().as_str()).collect();
    let mut rows = Vec::new();
    let mut more = false;
    while let Some(batch) = result.stream.try_next().await? {
        let room = rows_max - rows.len();
        more = batch.num_rows() > room;
        rows.extend(texts(&batch.slice(0, batch.num_rows().min(room)))?);
        if more {
            break;
        }
    }
    let count = rows.len();
    if count > 0 || !more {
        out.table(&names, rows, "no rows")?;
    }
    match (more, count) {
        (true, _) => note(format!("the first {count} rows; more with --rows, all with --format csv")),
        (false, 1) => note("1 row"),
        (false, _) => note(format!("{count} rows")),
    }
    Ok(())
}

/// Every value as text; nulls are empty.
pub(crate) fn texts(batch: &RecordBatch) -> Result<Vec<Vec<String>>> {
    let options = FormatOptions::default().with_display_error(true);
    let columns = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    Ok((0..batch.num_rows()).map(|row| columns.iter().map(|column| column.value(row).to_string()).collect()).collect())
}

/// The one row of parameters, each with the type that the query gives it.
fn bind(wanted: &SchemaRef, given: &[String]) -> Result<RecordBatch> {
    if wanted.fields().len() != given.len() {
        let message = format!("the query has {} parameters and {} are given", wanted.fields().len(), given.len());
        return Err(Failure::new(message).help("give each `$i` a --param, in order"));
    }
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (at, (field, text)) in wanted.fields().iter().zip(given).enumerate() {
        let column = parse_column(&StringArray::from(vec![text.as_str()]), field.data_type(), Rounding::Down);
        let column = column.map_err(|_| {
            Failure::new(format!("--param {}: `{text}` is no {}", at + 1, type_name(field.data_type())))
        })?;
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::DataType;

    #[test]
    fn parameters_take_the_types_the_query_gives_them() {
        let wanted: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("$1", DataType::Int64, true),
            Field::new("$2", DataType::Utf8, true),
        ]));
        let given = ["7".to_owned(), "EWR".to_owned()];
        let batch = bind(&wanted, &given).unwrap();
        assert_eq!(texts(&batch).unwrap(), [["7", "EWR"]]);
        assert!(bind(&wanted, &given[..1]).unwrap_err().to_string().contains("has 2 parameters and 1 are given"));
        let bad = bind(&wanted, &["x".to_owned(), "y".to_owned()]).unwrap_err();
        assert_eq!(bad.to_string(), "--param 1: `x` is no int64");
    }
}
