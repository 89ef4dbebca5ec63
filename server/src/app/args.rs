//! The command line: `serve`, `config show` and `restore` here, the client's verbs beside them.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tidegate_schemas::failpoint;

use super::Error;
use crate::clock::Clock;
use crate::config::{self, Durability, Layers, Overrides};
use crate::shutdown;
use crate::telemetry;

/// A feature store in one binary.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    globals: tidegate_cli::Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server until SIGTERM or SIGINT.
    Serve(Settings),
    /// What the server would run with.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make a data folder of a backup, or check one; no server may run on it.
    Restore(Restore),
    #[command(flatten)]
    Client(tidegate_cli::Command),
}

/// Which backup, and where to.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate restore /mnt/backups/monday --data-dir /srv/tidegate
  tidegate restore /mnt/backups/monday --check       # read everything, write nothing

The data folder must be empty. Every file is held against its digest. A restored server counts as another one: tokens of writes
that were given before the restore are refused. What its tables have beyond the backup is materialized as usual.")]
struct Restore {
    /// The backup's folder, as `tidegate backup` named it.
    #[arg(value_name = "FOLDER")]
    backup: PathBuf,
    /// Hold the backup against its manifest, and write nothing.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every setting with the place it came from; secrets are masked.
    Show(Settings),
}

/// Settings given as flags; everything else is in the file or the environment.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// TOML file with settings.
    #[arg(long = "config", value_name = "FILE", env = "TIDEGATE_CONFIG")]
    file: Option<PathBuf>,
    /// Folder that holds everything the server keeps [default: ./tidegate-data].
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// Where gRPC, Flight and Flight SQL listen; port 0 takes a free one [default: 127.0.0.1:7407].
    #[arg(long, value_name = "ADDRESS")]
    grpc_address: Option<String>,
    /// Where HTTP listens; port 0 takes a free one [default: 127.0.0.1:7408].
    #[arg(long, value_name = "ADDRESS")]
    http_address: Option<String>,
    /// Listen on addresses other machines reach although callers are not authenticated.
    #[arg(long)]
    insecure: bool,
    /// Any setting, as SECTION.KEY=VALUE; may be given again.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

/// Runs the command line; the process ends with what it returns.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Serve(settings) => serve(settings),
        Command::Config(ConfigCommand::Show(settings)) => show(settings),
        Command::Restore(restore) => super::restore::run(restore.backup, restore.check, restore.settings),
        Command::Client(command) => return tidegate_cli::run(command, cli.globals),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

/// Prints an error and the causes that add something to it.
fn report(error: &Error) {
    let mut line = error.to_string();
    let mut text = format!("error: {line}\n");
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let this = cause.to_string();
        if this != line {
            text.push_str(&format!("  caused by: {this}\n"));
        }
        line = this;
        next = cause.source();
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn serve(settings: Settings) -> Result<(), Error> {
    let config = settings.layers()?.config()?;
    telemetry::start_logging(&config.log).map_err(Error::Log)?;
    if let Ok(text) = std::env::var(failpoint::VARIABLE) {
        failpoint::arm(&text)?;
        tracing::warn!(failpoint = text, "this server will end itself: it is under test");
    }
    let threads = tokio::runtime::Builder::new_multi_thread()
        .thread_name("tidegate-serve")
        // Connections are looked at often: what has arrived is refused in time where there is too much of it.
        .event_interval(13)
        .enable_all()
        .build()
        .map_err(|source| Error::Io { doing: "starting the serving threads", source })?;
    threads.block_on(async {
        let running = super::start(config, Clock::system()).await?;
        shutdown::on_signals(&running.shutdown)
            .map_err(|source| Error::Io { doing: "listening for signals", source })?;
        print(&format!(
            "tidegate is ready\n  gRPC, Flight, Flight SQL  http://{}\n  HTTP                      http://{}\n",
            running.grpc, running.http
        ));
        running.wait().await
    })
}

fn show(settings: Settings) -> Result<(), Error> {
    let layers = settings.layers()?;
    layers.config()?;
    print(&config::show::show(&layers));
    Ok(())
}

/// A reader that went away is no reason to fail.
pub(super) fn print(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

impl Settings {
    pub(super) fn layers(self) -> Result<Layers, config::Error> {
        let utf8 = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let environment: Vec<_> = std::env::vars_os().filter_map(utf8).collect();
        let file = self.file.clone();
        Layers::read(file.as_deref(), environment, self.overrides()?)
    }

    fn overrides(self) -> Result<Overrides, config::Error> {
        let mut overrides = Overrides::new();
        for assignment in self.set {
            let (key, value) = assignment.split_once('=').ok_or_else(|| config::Error::Value {
                origin: "flag --set".to_owned(),
                key: assignment.clone(),
                message: "has no value; write --set section.key=value".to_owned(),
            })?;
            overrides.push((key.trim().to_owned(), value.trim().to_owned(), "--set".to_owned()));
        }
        let named = [
            ("server.data_dir", self.data_dir, "--data-dir"),
            ("grpc.address", self.grpc_address, "--grpc-address"),
            ("http.address", self.http_address, "--http-address"),
            ("server.insecure", self.insecure.then(|| "true".to_owned()), "--insecure"),
        ];
        for (key, value, flag) in named {
            overrides.extend(value.map(|value| (key.to_owned(), value, flag.to_owned())));
        }
        Ok(overrides)
    }
}

/// The online tier's settings as its engine takes them.
pub(super) fn online_settings(config: &config::Config) -> tidegate_online::Settings {
    let online = &config.online;
    tidegate_online::Settings {
        block_cache_bytes: online.block_cache,
        entity_cache_bytes: online.entity_cache as u64,
        durability: match online.durability {
            Durability::Durable => tidegate_online::Durability::Durable,
            Durability::Fast => tidegate_online::Durability::Fast,
        },
        disk_reserve_bytes: online.disk_reserve as u64,
        event_ids_kept: i64::try_from(config.push.dedupe_window.as_micros()).unwrap_or(i64::MAX),
        outbox_bytes: config.push.outbox_bytes as u64,
        ..tidegate_online::Settings::default()
    }
}

/// Lets clap check the whole command line.
#[cfg(test)]
pub(super) fn verify() {
    use clap::CommandFactory as _;
    Cli::command().debug_assert();
}
