//! `tidegate erase`, `erasures`, `backup`, `rebuild`, `drop` and `retain`.

use std::process::ExitCode;
use std::time::Duration;

use arrow::array::StringArray;
use futures::TryStreamExt;
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use serde_json::{Value, json};
use tidegate_client::Client;
use tidegate_client::lifecycle::{EraseProgress, KeyValue, Receipt};
use tidegate_schemas::definition::Column;
use tidegate_schemas::types::DataType;

use crate::failure::{Failure, Result};
use crate::lookup::key;
use crate::output::{self, Output};
use crate::values::{self, Rounding};
use crate::{Globals, session};

/// How often the spinner moves.
const TICK: Duration = Duration::from_millis(120);

/// Whom to erase.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate erase user --key user_id=42
  tidegate erase user --key user_id=42 --yes --json > receipt.json
  tidegate erase account --key country=DE number=17

What goes: its rows in every online view; its rows in every managed table, in all versions; statistics of the log that name it;
its rows in uploaded and sealed spines. What comes later with an event time before the erasure is refused. Sealed training sets
that it was in no longer verify: the receipt names them. It can't be undone, and it does not reach into backups.")]
pub struct EraseArgs {
    /// The entity, as the definitions name it.
    #[arg(value_name = "ENTITY")]
    entity: String,
    /// Its keys.
    #[arg(long = "key", short = 'k', num_args = 1.., required = true, value_name = "NAME=VALUE", value_parser = key)]
    keys: Vec<(String, String)>,
    /// Do not ask.
    #[arg(long, short = 'y')]
    yes: bool,
    /// Print the receipt as JSON.
    #[arg(long)]
    json: bool,
}

/// What was erased.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate erasures
  tidegate erasures --json")]
pub struct ErasuresArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What to back up.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate backup                      # named after the time
  tidegate backup monday
  tidegate backup monday --online-only # without managed tables

It is made on the server, below the folder of its setting `backup.folder`; files are shared by hard links where that is on the same
file system as the data folder. `tidegate restore FOLDER --data-dir NEW` makes a data folder of it.")]
pub struct BackupArgs {
    /// The folder's name.
    #[arg(value_name = "NAME", default_value = "", hide_default_value = true)]
    name: String,
    /// Leave managed tables out: they are backed up in another way, or can be filled again.
    #[arg(long)]
    online_only: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What to rebuild.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate rebuild                     # every online view of every project
  tidegate rebuild --project flights

For an online tier that was lost or is not trusted: every view is read from its table anew, in an epoch beside what is served.
Lookups go on. A view that fails stays as it was and is told; the command then fails at the end.")]
pub struct RebuildArgs {
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
}

/// Which view to drop.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate drop origin_weather
  tidegate drop origin_weather --yes --json

Its definition goes, and its online rows and cursor. The table of its source stays. Refused while a service uses the view.")]
pub struct DropArgs {
    /// The feature view.
    #[arg(value_name = "VIEW")]
    view: String,
    /// Do not ask.
    #[arg(long, short = 'y')]
    yes: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Which views to thin out.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate retain                      # every view with a `retention`
  tidegate retain clicks --json

The server does so by itself every `online.retention_every`; this does it now.")]
pub struct RetainArgs {
    /// Feature views [default: all with a `retention`].
    #[arg(value_name = "VIEW")]
    views: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn spinner(message: String) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message);
    spinner.enable_steady_tick(TICK);
    spinner
}

/// Asks before what can't be undone.
fn agreed(yes: bool, question: &str) -> Result<bool> {
    if yes {
        return Ok(true);
    }
    let answer = output::confirm(question);
    answer.ok_or_else(|| Failure::new("this can't be undone, and there is nobody to ask").help("say --yes"))
}

pub(crate) async fn erase(args: &EraseArgs, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    let keys = typed_keys(&client, &args.entity, &args.keys).await?;
    if !agreed(args.yes, &format!("Erase this {} everywhere, for good?", args.entity))? {
        return Ok(ExitCode::FAILURE);
    }
    let spinner = spinner(format!("erasing a {}", args.entity));
    let mut steps = client.erase(&args.entity, keys).await?;
    let mut receipt = None;
    while let Some(step) = steps.try_next().await? {
        match step {
            EraseProgress::Step(what) => spinner.set_message(what),
            EraseProgress::Done(done) => receipt = Some(done),
        }
    }
    spinner.finish_and_clear();
    let receipt = receipt.ok_or_else(|| {
        Failure::new("the server ended the call without a receipt").help("see `tidegate erasures`, and erase again")
    })?;
    match args.json {
        true => out.json(&receipt_json(&receipt))?,
        false => tell(&receipt, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The keys as the entity's definition types them.
async fn typed_keys(client: &Client, entity: &str, given: &[(String, String)]) -> Result<Vec<(String, KeyValue)>> {
    let catalog = session::catalog(client).await?;
    let columns = catalog.entities.get(entity).map(|entity| entity.keys.clone()).unwrap_or_default();
    let typed = |(name, text): &(String, String)| {
        let column = columns.iter().find(|column| column.name == *name);
        // A name that is no key is the server's to refuse: it knows the nearest.
        let value = column.map_or_else(|| Ok(KeyValue::StringValue(text.clone())), |column| value(column, text))?;
        Ok((name.clone(), value))
    };
    given.iter().map(typed).collect()
}

fn value(column: &Column, text: &str) -> Result<KeyValue> {
    let failed = || Failure::new(format!("key `{}` is {}, and `{text}` is not", column.name, column.data_type));
    let texts = StringArray::from(vec![text]);
    let arrow = column.data_type.to_arrow();
    let parsed = values::parse_column(&texts, &arrow, Rounding::Down).map_err(|_| failed())?;
    let numbers = || {
        let wide = arrow::compute::cast(&parsed, &arrow::datatypes::DataType::Int64).map_err(|_| failed())?;
        let numbers = wide.as_any().downcast_ref::<arrow::array::Int64Array>().map(|numbers| numbers.value(0));
        numbers.map(KeyValue::Int64Value).ok_or_else(failed)
    };
    match column.data_type {
        DataType::Bool => text.parse().map(KeyValue::BoolValue).map_err(|_| failed()),
        DataType::Bytes => Ok(KeyValue::BytesValue(text.as_bytes().to_vec().into())),
        DataType::Int32 | DataType::Int64 | DataType::Timestamp | DataType::Date => numbers(),
        _ => Ok(KeyValue::StringValue(text.to_owned())),
    }
}

fn tell(receipt: &Receipt, out: &mut Output) -> Result<()> {
    let at = values::instant(receipt.erased_at);
    out.line(format!("erased a {} at {at}, receipt {}", receipt.entity, receipt.id))?;
    for view in &receipt.views {
        let name = if view.view.is_empty() { "views that are gone" } else { &view.view };
        out.line(format!("  online {name}: {} rows", view.rows))?;
    }
    for table in &receipt.tables {
        out.line(format!(
            "  table {}: {} rows, {} files written anew, {} deleted, now at version {}",
            table.source,
            HumanCount(table.rows),
            table.files_rewritten,
            table.files_deleted,
            table.version
        ))?;
        for lost in &table.versions_lost {
            out.line(format!("    versions {} to {} can be read no more", lost.first, lost.last))?;
        }
    }
    for view in &receipt.refreshed {
        out.line(format!("  online {view}: computed anew"))?;
    }
    for set in &receipt.sealed {
        out.line(format!("  sealed set {} no longer verifies: {}", set.name, set.why))?;
    }
    for left in &receipt.left {
        out.line(format!("  left: {left}"))?;
    }
    Ok(())
}

fn receipt_json(receipt: &Receipt) -> Value {
    let table = |table: &tidegate_client::lifecycle::ErasedTable| {
        let lost: Vec<[i64; 2]> = table.versions_lost.iter().map(|versions| [versions.first, versions.last]).collect();
        json!({
            "source": table.source,
            "version": table.version,
            "rows": table.rows,
            "files_rewritten": table.files_rewritten,
            "files_deleted": table.files_deleted,
            "commits_scrubbed": table.commits_scrubbed,
            "versions_lost": lost,
        })
    };
    json!({
        "id": receipt.id,
        "project": receipt.project,
        "entity": receipt.entity,
        "digest": receipt.digest,
        "erased_at": values::instant(receipt.erased_at),
        "principal": receipt.principal,
        "views": receipt.views.iter().map(|view| json!({ "view": view.view, "rows": view.rows })).collect::<Vec<_>>(),
        "tables": receipt.tables.iter().map(table).collect::<Vec<_>>(),
        "refreshed": receipt.refreshed,
        "spines": receipt.spines,
        "sealed": receipt.sealed.iter().map(|set| json!({ "name": set.name, "rows": set.rows, "why": set.why })).collect::<Vec<_>>(),
        "left": receipt.left,
    })
}

pub(crate) async fn erasures(args: &ErasuresArgs, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let receipts = session::open(globals).await?.erasures().await?;
    if args.json {
        out.json(&receipts.iter().map(receipt_json).collect())?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |receipt: &Receipt| {
        let rows: u64 = receipt.views.iter().map(|view| view.rows).sum();
        let table_rows: u64 = receipt.tables.iter().map(|table| table.rows).sum();
        vec![
            values::instant(receipt.erased_at),
            receipt.entity.clone(),
            receipt.digest.chars().take(12).collect(),
            rows.to_string(),
            table_rows.to_string(),
            receipt.principal.clone(),
            receipt.id.clone(),
        ]
    };
    let header = ["erased", "entity", "digest", "online rows", "table rows", "by", "receipt"];
    out.table(&header, receipts.iter().map(row).collect(), "nothing was erased")?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn backup(args: &BackupArgs, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::connect(globals).await?;
    let mut steps = client.backup(&args.name, args.online_only).await?;
    let spinner = spinner("backing up".to_owned());
    let mut last = None;
    while let Some(step) = steps.try_next().await? {
        spinner.set_message(format!("{} files, {}", HumanCount(step.files), HumanBytes(step.bytes)));
        last = step.done.then_some(step);
    }
    spinner.finish_and_clear();
    let done = last.ok_or_else(|| Failure::new("the server ended the call before the backup was whole; repeat it"))?;
    if args.json {
        let view = |view: &tidegate_client::lifecycle::ViewVersion| json!({ "project": view.project, "view": view.view, "version": view.version });
        let table = |table: &tidegate_client::lifecycle::TableVersion| json!({ "project": table.project, "source": table.source, "version": table.version });
        out.json(&json!({
            "path": done.path,
            "files": done.files,
            "bytes": done.bytes,
            "views": done.views.iter().map(view).collect::<Vec<_>>(),
            "tables": done.tables.iter().map(table).collect::<Vec<_>>(),
            "outside": done.outside,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    out.line(format!(
        "{}: {} files of {}, {} views, {} tables",
        done.path,
        HumanCount(done.files),
        HumanBytes(done.bytes),
        done.views.len(),
        done.tables.len()
    ))?;
    for outside in &done.outside {
        out.line(format!("  not in it: table {outside}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn rebuild(args: &RebuildArgs, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::connect(globals).await?;
    let projects: Vec<String> = globals.project.iter().cloned().collect();
    let mut steps = client.rebuild(&projects).await?;
    let (spinner, mut done) = (spinner("rebuilding".to_owned()), Vec::new());
    while let Some(step) = steps.try_next().await? {
        let name = format!("{}/{}", step.project, step.view);
        let of = if step.rows_total > 0 { format!(" of {}", HumanCount(step.rows_total)) } else { String::new() };
        spinner.set_message(format!("{}/{} {name}: {}{of} rows", step.nth, step.views, HumanCount(step.rows_read)));
        if !step.failed.is_empty() {
            output::note(format!("{name}: {}", step.failed));
        } else if step.done {
            if !args.json {
                let (read, written) = (HumanCount(step.rows_read), HumanCount(step.rows_written));
                spinner.suspend(|| {
                    out.line(format!("{name}: version {}, {read} rows read, {written} written", step.version))
                })?;
            }
            done.push(json!({
                "project": step.project,
                "view": step.view,
                "version": step.version,
                "rows_read": step.rows_read,
                "rows_written": step.rows_written,
            }));
        }
    }
    spinner.finish_and_clear();
    if args.json {
        out.json(&Value::Array(done))?;
    } else if done.is_empty() {
        out.line("no view is online; nothing to rebuild")?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn drop_view(args: &DropArgs, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    if !agreed(args.yes, &format!("Drop feature view {} and its online rows?", args.view))? {
        return Ok(ExitCode::FAILURE);
    }
    let done = client.drop_view(&args.view).await?;
    if args.json {
        out.json(&json!({ "view": args.view, "version": done.version, "rows": done.rows, "bytes": done.bytes }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let definition = match done.version {
        Some(version) => format!("project `{}` is now at version {version}", client.project()?),
        None => "it had no definition any more".to_owned(),
    };
    let (rows, bytes) = (HumanCount(done.rows), HumanBytes(done.bytes));
    out.line(format!("dropped {}: {rows} online rows of {bytes}; {definition}", args.view))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn retain(args: &RetainArgs, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let views = session::open(globals).await?.retain(&args.views).await?;
    if args.json {
        let view = |view: &tidegate_client::lifecycle::RetainedView| json!({ "view": view.view, "cut": values::instant(view.cut), "rows": view.rows, "bytes": view.bytes });
        out.json(&views.iter().map(view).collect())?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |view: &tidegate_client::lifecycle::RetainedView| {
        vec![
            view.view.clone(),
            values::instant(view.cut),
            HumanCount(view.rows).to_string(),
            HumanBytes(view.bytes).to_string(),
        ]
    };
    let header = ["view", "keeps rows since", "rows deleted", "bytes"];
    out.table(&header, views.iter().map(row).collect(), "no view has a `retention`")?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_typed_by_their_entity() {
        let check = |data_type: &str, text: &str| {
            let column = Column { name: "k".to_owned(), data_type: data_type.parse().unwrap() };
            value(&column, text).ok()
        };
        assert_eq!(check("int32", "42"), Some(KeyValue::Int64Value(42)));
        assert_eq!(check("int64", "-1"), Some(KeyValue::Int64Value(-1)));
        assert_eq!(check("string", "42"), Some(KeyValue::StringValue("42".to_owned())));
        assert_eq!(check("bool", "true"), Some(KeyValue::BoolValue(true)));
        assert_eq!(check("timestamp", "1970-01-01T00:00:01Z"), Some(KeyValue::Int64Value(1_000_000)));
        assert_eq!(check("date", "1970-01-03"), Some(KeyValue::Int64Value(2)));
        assert_eq!(check("int32", "forty"), None);
        assert_eq!(check("int32", "99999999999"), None);
    }
}
