//! The client verbs of the `tidegate` binary, as a library.
//!
//! [`Command`] is the verbs, [`Globals`] the flags they share, [`run`] does one and says how it went. Each family of verbs is a
//! module: [`definitions`] (init, validate, plan, apply, get, describe, delete, registry, projects), [`ingest`], [`push`] (and flush),
//! [`materialize`], [`status`], [`jobs`], [`table`], [`lifecycle`] (erase, backup, rebuild, drop, retain), [`health`], [`lookup`],
//! [`training_set`], [`explain_row`], [`sealed`] (and audit), [`sql`]. [`read`] turns files into Arrow batches, [`write`]
//! the other way; [`output`] alone prints.
//!
//! Results go to standard output, everything else to standard error. Failures travel up as [`failure::Failure`] and are
//! printed once, here.

mod definitions;
mod derived;
mod explain_row;
mod failure;
mod health;
mod ingest;
mod jobs;
mod lifecycle;
mod lookup;
mod materialize;
mod output;
mod parity;
mod push;
mod read;
mod sealed;
mod session;
mod signals;
mod sql;
mod status;
mod table;
mod training_set;
mod values;
mod write;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use failure::Result;
use output::Output;

/// Flags that every verb takes.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Globals {
    /// Where the server listens for gRPC.
    #[arg(
        long,
        short = 'a',
        global = true,
        value_name = "URL",
        env = "TIDEGATE_ADDRESS",
        default_value = tidegate_client::DEFAULT_ADDRESS,
        help_heading = "Connection"
    )]
    pub address: String,
    /// The project [default: the only one there is].
    #[arg(
        long,
        short = 'p',
        global = true,
        value_name = "NAME",
        env = "TIDEGATE_PROJECT",
        help_heading = "Connection"
    )]
    pub project: Option<String>,
}

/// The client's verbs.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum Command {
    /// Write a small working example of definitions to start from.
    Init(definitions::init::Args),
    /// Check definition files without a server; show every problem.
    Validate(definitions::validate::Args),
    /// Show what applying definition files would change; change nothing.
    Plan(definitions::plan::Args),
    /// Make definition files, or a saved plan, the project's next version.
    Apply(definitions::apply::Args),
    /// List definitions, or print one as a definition file.
    Get(definitions::show::GetArgs),
    /// Show one definition with what depends on it and what is known about it.
    Describe(definitions::show::DescribeArgs),
    /// Remove one definition that nothing depends on.
    Delete(definitions::remove::Args),
    /// Look at past versions of the definitions, or go back to one.
    #[command(subcommand)]
    Registry(definitions::history::Command),
    /// Say whether the server serves; fails when it does not.
    Health(health::Args),
    /// List the projects there are.
    Projects(definitions::history::ProjectsArgs),
    /// Append files of rows to a managed source: all of them or none, each content once.
    Ingest(ingest::Args),
    /// Push rows: served at once, and in the table soon after.
    Push(push::Args),
    /// Wait until a table has all rows that were pushed.
    Flush(push::FlushArgs),
    /// Bring the online tier up to the tables' current versions.
    Materialize(materialize::Args),
    /// Look at the jobs that bring the online tier up to date, stop one, or run one again.
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// Show how far the online tier has come.
    Status(status::Args),
    /// Compare what lookups see with the tables, key by key.
    Parity(parity::Args),
    /// Erase an entity everywhere, with a receipt.
    Erase(lifecycle::EraseArgs),
    /// List the receipts of erasures.
    Erasures(lifecycle::ErasuresArgs),
    /// Back up everything the server keeps, beside the running server.
    Backup(lifecycle::BackupArgs),
    /// Rebuild the whole online tier from the tables.
    Rebuild(lifecycle::RebuildArgs),
    /// Remove a feature view with its online rows.
    Drop(lifecycle::DropArgs),
    /// Delete online rows that views no longer retain, now.
    Retain(lifecycle::RetainArgs),
    /// Compute the rows of a source that is a query.
    Refresh(derived::RefreshArgs),
    /// Show which columns of tables a view's features are computed from.
    Lineage(derived::LineageArgs),
    /// Look at how a table lies on disk, or put it in order.
    #[command(subcommand)]
    Table(table::Command),
    /// Look up the newest served values of entities, with their statuses and ages.
    Lookup(lookup::Args),
    /// Join features to the rows of a spine as they were known at each row's time.
    TrainingSet(training_set::Args),
    /// Say for one row of a spine which observation it gets, and why the others lost.
    ExplainRow(explain_row::Args),
    /// List, verify, compare or delete sealed training sets.
    #[command(subcommand)]
    Sealed(sealed::Command),
    /// Count what a training set would have leaked without knowledge times.
    Audit(sealed::AuditArgs),
    /// Run a SQL query over the project's tables, views and training sets.
    Sql(sql::Args),
}

/// Does one verb and waits for it; the process ends with what it returns.
#[must_use]
pub fn run(command: Command, globals: Globals) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(execute(command, &globals));
            // A thread may still be waiting for standard input; the process need not.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            output::report(&failure::Failure::new("can't start threads").caused_by(error));
            ExitCode::FAILURE
        }
    }
}

/// Does one verb; reports a failure to standard error.
pub async fn execute(command: Command, globals: &Globals) -> ExitCode {
    match dispatch(command, globals, &mut Output::stdout()).await {
        Ok(code) => code,
        // Whoever read the output has seen enough, as `head` does.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            output::report(&failure);
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(command: Command, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    match command {
        Command::Init(args) => definitions::init::run(&args, out),
        Command::Validate(args) => definitions::validate::run(&args, out),
        Command::Plan(args) => definitions::plan::run(&args, globals, out).await,
        Command::Apply(args) => definitions::apply::run(&args, globals, out).await,
        Command::Get(args) => definitions::show::get(&args, globals, out).await,
        Command::Describe(args) => definitions::show::describe(&args, globals, out).await,
        Command::Delete(args) => definitions::remove::run(&args, globals, out).await,
        Command::Registry(command) => definitions::history::run(&command, globals, out).await,
        Command::Health(_) => health::run(globals, out).await,
        Command::Projects(args) => definitions::history::projects(&args, globals, out).await,
        Command::Ingest(args) => ingest::run(&args, globals, out).await,
        Command::Push(args) => push::run(&args, globals, out).await,
        Command::Flush(args) => push::flush(&args, globals, out).await,
        Command::Materialize(args) => materialize::run(&args, globals, out).await,
        Command::Jobs(command) => jobs::run(&command, globals, out).await,
        Command::Status(args) => status::run(&args, globals, out).await,
        Command::Parity(args) => parity::run(&args, globals, out).await,
        Command::Erase(args) => lifecycle::erase(&args, globals, out).await,
        Command::Erasures(args) => lifecycle::erasures(&args, globals, out).await,
        Command::Backup(args) => lifecycle::backup(&args, globals, out).await,
        Command::Rebuild(args) => lifecycle::rebuild(&args, globals, out).await,
        Command::Drop(args) => lifecycle::drop_view(&args, globals, out).await,
        Command::Retain(args) => lifecycle::retain(&args, globals, out).await,
        Command::Refresh(args) => derived::refresh(&args, globals, out).await,
        Command::Lineage(args) => derived::lineage(&args, globals, out).await,
        Command::Table(command) => table::run(&command, globals, out).await,
        Command::Lookup(args) => lookup::run(&args, globals, out).await,
        Command::TrainingSet(args) => training_set::run(&args, globals, out).await,
        Command::ExplainRow(args) => explain_row::run(&args, globals, out).await,
        Command::Sealed(command) => sealed::run(&command, globals, out).await,
        Command::Audit(args) => sealed::audit(&args, globals, out).await,
        Command::Sql(args) => sql::run(&args, globals, out).await,
    }
}

#[cfg(test)]
mod tests;
