//! `tidegate lookup`: the newest served values of entities, with statuses and ages.

use std::collections::BTreeMap;
use std::process::ExitCode;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value, json};
use tidegate_client::Selection;
use tidegate_client::online::{Column, Lookup, OnlineFeatures, Status, ViewTimes};
use tidegate_schemas::catalog::{Catalog, Resolved, nearest};
use tidegate_schemas::time::Micros;

use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::training_set::time;
use crate::values::{Rounding, age, instant, parse_column, type_name};
use crate::write::{self, Writer};
use crate::{Globals, session};

/// What to look up.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate lookup late_arrival --key origin=EWR carrier=UA tailnum=N14228
  tidegate lookup origin_weather:temp origin_weather:wind --key origin=EWR --key origin=JFK
  tidegate lookup late_arrival --key origin=EWR carrier=UA tailnum=N14228 --json | jq '.[0].features.temp.value'
  tidegate lookup fares --key user=7 --request amount=12.5
  tidegate lookup fares --key user=7 --request amount=12.5 --as-of 2026-03-01T12:00:00Z

Naming a key again adds an entity row; every key is named for every row.")]
pub struct Args {
    /// A feature service, or features as `view` or `view:feature`.
    #[arg(required = true, value_name = "SERVICE|FEATURE")]
    selection: Vec<String>,
    /// Keys of the entities to look up.
    #[arg(long = "key", short = 'k', num_args = 1.., value_name = "NAME=VALUE", value_parser = key)]
    keys: Vec<(String, String)>,
    /// What computed features need beside the keys; named as often as the keys, or once for all rows.
    #[arg(long = "request", short = 'r', num_args = 1.., value_name = "NAME=VALUE", value_parser = key)]
    request: Vec<(String, String)>,
    /// Name features `view__feature`.
    #[arg(long)]
    full_names: bool,
    /// Show the values of expired observations too.
    #[arg(long)]
    return_expired: bool,
    /// Answer as of this time from history, instead of what is served: what a prediction was, or would have been, given then.
    #[arg(long, value_name = "TIME", value_parser = time)]
    as_of: Option<Micros>,
    /// Print JSON: one object for each entity row.
    #[arg(long)]
    json: bool,
}

pub(crate) fn key(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE; services and features come before --key".to_owned()),
    }
}

/// One name without a colon is a service where there is one of that name; everything else is features.
pub(crate) fn selection(names: &[String], catalog: &Catalog) -> Selection {
    match names {
        [name] if !name.contains(':') && !catalog.views.contains_key(name) => Selection::Service(name.clone()),
        [name] if catalog.services.contains_key(name) => Selection::Service(name.clone()),
        names => Selection::Features(names.to_vec()),
    }
}

pub(crate) async fn run(args: &Args, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    let catalog = session::catalog(&client).await?;
    let selection = selection(&args.selection, &catalog);
    let resolved = catalog.resolve(&selection, args.full_names).map_err(|error| Failure::new(error.to_string()))?;
    let keys = keys(&args.keys, &resolved)?;
    let rows = keys.first().map_or(1, |(_, column)| column.len());
    let lookup = Lookup {
        request: request(&args.request, &resolved, rows)?,
        full_names: args.full_names,
        return_expired: args.return_expired,
        as_of: args.as_of,
        ..Lookup::new(selection, keys.clone())
    };
    let reply = client.get_online_features(&lookup).await?;
    let answer = Answer { keys, reply, views: views_of_outputs(&resolved) };
    match args.json {
        true => out.json(&answer.to_json()?)?,
        false => answer.print(out)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The columns of keys, typed by the definitions, in the order the views name them.
pub(crate) fn keys(given: &[(String, String)], resolved: &Resolved) -> Result<Vec<(String, ArrayRef)>> {
    let mut wanted: Vec<(String, DataType)> = Vec::new();
    for key in resolved.views.iter().flat_map(|view| &view.keys) {
        if wanted.iter().all(|(name, _)| *name != key.spine_column) {
            wanted.push((key.spine_column.clone(), key.data_type.to_arrow()));
        }
    }
    let names: Vec<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
    if let Some((name, _)) = given.iter().find(|(name, _)| !names.contains(&name.as_str())) {
        let failure =
            Failure::new(format!("`{name}` is no key of what is looked up; the keys are {}", names.join(", ")));
        return Err(match nearest(name, names) {
            Some(near) => failure.help(format!("did you mean `{near}`?")),
            None => failure,
        });
    }
    let columns = wanted.iter().map(|(name, of)| {
        let values: Vec<&str> = given.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect();
        let column = parse_column(&StringArray::from(values), of, Rounding::Down);
        let column =
            column.map_err(|bad| Failure::new(format!("key `{name}`: `{}` is no {}", bad.value, type_name(of))))?;
        Ok((name.clone(), column))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    check_lengths(&columns)?;
    Ok(columns)
}

/// The request's columns, typed by the definitions; a single value stands for all rows.
fn request(given: &[(String, String)], resolved: &Resolved, rows: usize) -> Result<Vec<(String, ArrayRef)>> {
    let names: Vec<&str> = resolved.request.iter().map(|column| column.name.as_str()).collect();
    if let Some((name, _)) = given.iter().find(|(name, _)| !names.contains(&name.as_str())) {
        let failure = Failure::new(format!("`{name}` is no request column of what is looked up"));
        return Err(match (nearest(name, names.iter().copied()), names.is_empty()) {
            (Some(near), _) => failure.help(format!("did you mean `{near}`?")),
            (None, true) => failure.help("nothing is computed there: leave --request out"),
            (None, false) => failure.help(format!("they are {}", names.join(", "))),
        });
    }
    let column = |column: &tidegate_schemas::definition::Column| {
        let (name, of) = (&column.name, column.data_type.to_arrow());
        let values = given.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let mut values: Vec<&str> = values.collect();
        match values.as_slice() {
            [] => {
                return Err(Failure::new(format!("missing request column: {name}"))
                    .help(format!("give it with --request {name}=VALUE")));
            }
            [one] => values = vec![*one; rows],
            _ => {}
        }
        let parsed = parse_column(&StringArray::from(values), &of, Rounding::Down).map_err(|bad| {
            Failure::new(format!("request column `{name}`: `{}` is no {}", bad.value, type_name(&of)))
        })?;
        Ok((name.clone(), parsed))
    };
    resolved.request.iter().map(column).collect()
}

fn check_lengths(columns: &[(String, ArrayRef)]) -> Result<()> {
    let rows = columns.iter().map(|(_, column)| column.len()).max().unwrap_or(0);
    let short: Vec<&str> =
        columns.iter().filter(|(_, column)| column.len() < rows).map(|(name, _)| name.as_str()).collect();
    match (rows, short.as_slice()) {
        (_, []) => Ok(()),
        (1, missing) => {
            Err(Failure::new(format!("missing keys: {}", missing.join(", "))).help("give each with --key NAME=VALUE"))
        }
        (rows, short) => {
            Err(Failure::new(format!("{rows} entity rows are named, and fewer values of {}", short.join(", ")))
                .help("name every key once for every row"))
        }
    }
}

/// The view (or alias) of each output, for its times.
fn views_of_outputs(resolved: &Resolved) -> BTreeMap<String, String> {
    let of_view = |view: &tidegate_schemas::catalog::ResolvedView| {
        let alias = view.alias.clone();
        view.features.iter().map(move |feature| (feature.output.clone(), alias.clone())).collect::<Vec<_>>()
    };
    resolved.views.iter().flat_map(of_view).collect()
}

struct Answer {
    keys: Vec<(String, ArrayRef)>,
    reply: OnlineFeatures,
    views: BTreeMap<String, String>,
}

impl Answer {
    /// A line for each entity row and feature: what is read most is one row with many features.
    fn print(&self, out: &mut Output) -> Result<()> {
        let mut header: Vec<&str> = self.keys.iter().map(|(name, _)| name.as_str()).collect();
        header.extend(["feature", "value", "status", "age"]);
        let options = FormatOptions::default().with_display_error(true);
        let mut rows = Vec::new();
        for row in 0..self.reply.rows {
            for column in &self.reply.features {
                let mut cells: Vec<String> = Vec::with_capacity(header.len());
                for (_, key) in &self.keys {
                    cells.push(ArrayFormatter::try_new(key, &options)?.value(row).to_string());
                }
                let value = ArrayFormatter::try_new(&column.values, &options)?.value(row).to_string();
                let age = self.times(column).and_then(|times| times.ages.get(row).copied().flatten()).map(age);
                cells.extend([column.name.clone(), value, status(column, row), age.unwrap_or_default()]);
                rows.push(cells);
            }
        }
        out.table(&header, rows, "nothing was looked up")?;
        Ok(())
    }

    fn times(&self, column: &Column) -> Option<&ViewTimes> {
        let view = self.views.get(&column.name)?;
        self.reply.views.iter().find(|times| times.view == *view)
    }

    fn to_json(&self) -> Result<Value> {
        let values = objects(&self.reply.to_record_batch()?)?;
        let keys = objects(&RecordBatch::try_from_iter(self.keys.clone())?)?;
        let rows = keys.into_iter().zip(values).enumerate().map(|(row, (keys, mut values))| {
            let features: Map<String, Value> = self
                .reply
                .features
                .iter()
                .map(|column| {
                    let value = values.remove(&column.name).unwrap_or(Value::Null);
                    (column.name.clone(), self.feature_to_json(column, row, value))
                })
                .collect();
            json!({ "keys": keys, "features": features })
        });
        Ok(rows.collect())
    }

    fn feature_to_json(&self, column: &Column, row: usize, value: Value) -> Value {
        let times = self.times(column);
        let at = |times: &[Option<Micros>]| times.get(row).copied().flatten();
        json!({
            "value": value,
            "status": name(column.statuses[row]),
            "reason": column.reasons[row].map(name),
            "event_time": times.and_then(|times| at(&times.event_times)).map(instant),
            "age_seconds": times.and_then(|times| at(&times.ages)).map(|age| age as f64 / 1e6),
        })
    }
}

/// The rows of a batch as JSON objects.
pub(crate) fn objects(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>> {
    let mut writer = Writer::new(Vec::new(), write::Format::Json, &batch.schema())?;
    writer.write(batch)?;
    let text = writer.finish()?;
    serde_json::from_slice(&text).map_err(|error| Failure::new("the values can't be written as JSON").caused_by(error))
}

/// Such as `PRESENT`, or `DEFAULTED (EXPIRED)`.
fn status(column: &Column, row: usize) -> String {
    match column.reasons[row] {
        Some(reason) => format!("{} ({})", name(column.statuses[row]), name(reason)),
        None => name(column.statuses[row]).to_owned(),
    }
}

fn name(status: Status) -> &'static str {
    status.as_str_name().trim_start_matches("STATUS_")
}

#[cfg(test)]
mod tests;
