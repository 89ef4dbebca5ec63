//! Settings: compiled-in defaults < file < environment < flags, each value with its origin.
//!
//! `default.toml` is the list of keys there are; a key it lacks is refused with the nearest one it has, but for `clusters` of Kafka, whose
//! names are free. [`layers`] stacks the sources
//! and remembers where each value came from, [`units`] reads sizes and durations, [`show`] prints it all with secrets masked.

mod clusters;
pub mod layers;
pub mod show;
pub mod units;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

pub use clusters::{Cluster, Kafka};
pub use layers::{Layers, Overrides};

/// All settings, checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Config {
    /// The process.
    pub server: Server,
    /// The gRPC door.
    pub grpc: Grpc,
    /// The HTTP door.
    pub http: Http,
    /// External tables.
    pub tables: Tables,
    /// The runtime of query plans.
    pub plans: Plans,
    /// Limits of queries.
    pub sql: Sql,
    /// Uploaded spines.
    pub spines: Spines,
    /// The online tier.
    pub online: Online,
    /// Materialization.
    pub materialize: Materialize,
    /// Pushed rows.
    pub push: Push,
    /// Topics and their clusters.
    pub kafka: Kafka,
    /// Jobs.
    pub jobs: Jobs,
    /// The registry.
    pub registry: Registry,
    /// Backups.
    pub backup: Backup,
    /// Logging.
    pub log: Log,
}

/// The process.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Server {
    /// The folder that holds everything.
    pub data_dir: PathBuf,
    /// Listen beyond loopback without authentication.
    pub insecure: bool,
    /// How long each stage of stopping may take.
    #[serde(deserialize_with = "units::duration")]
    pub stop_grace: Duration,
}

/// The gRPC door, with Flight and Flight SQL.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Grpc {
    /// Where it listens.
    pub address: SocketAddr,
    /// Largest message accepted, in bytes.
    #[serde(deserialize_with = "units::bytes")]
    pub max_message_bytes: usize,
    /// Calls in flight on one connection.
    pub max_concurrent_streams: u32,
}

/// The HTTP door.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Http {
    /// Where it listens.
    pub address: SocketAddr,
    /// Largest body accepted, in bytes.
    #[serde(deserialize_with = "units::bytes")]
    pub max_body_bytes: usize,
}

/// External tables.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Tables {
    /// Absolute folders or `file://` URIs under which sources may name existing tables.
    pub roots: Vec<String>,
}

/// The runtime of query plans.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Plans {
    /// Memory of all plans, in bytes.
    #[serde(deserialize_with = "units::bytes")]
    pub memory: usize,
    /// Disk of all plans, in bytes.
    #[serde(deserialize_with = "units::bytes")]
    pub spill: usize,
    /// Worker threads; 0 for one per core.
    pub threads: usize,
    /// Rows in a record batch.
    pub batch_rows: usize,
    /// Training sets, seals and audits at once.
    pub training_sets: usize,
    /// Queries at once.
    pub queries: usize,
    /// How long one may wait for a place.
    #[serde(deserialize_with = "units::duration")]
    pub max_wait: Duration,
    /// A result of which nothing is read for so long is dropped.
    #[serde(deserialize_with = "units::duration")]
    pub reader_timeout: Duration,
}

/// Limits of queries.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Sql {
    /// A query that runs longer is stopped.
    #[serde(deserialize_with = "units::duration")]
    pub timeout: Duration,
    /// Rows returned; 0 for any number.
    pub max_rows: usize,
}

/// Uploaded spines.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Spines {
    /// Largest spine on disk, in bytes.
    #[serde(deserialize_with = "units::bytes")]
    pub max_bytes: usize,
    /// How long one is kept.
    #[serde(deserialize_with = "units::duration")]
    pub keep: Duration,
}

/// The online tier.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Online {
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// Bytes of the store's block cache.
    #[serde(deserialize_with = "units::bytes")]
    pub block_cache: usize,
    /// Bytes of the cache of whole entities.
    #[serde(deserialize_with = "units::bytes")]
    pub entity_cache: usize,
    /// How long a lookup may wait for its turn before it is refused.
    #[serde(deserialize_with = "units::duration")]
    pub max_wait: Duration,
    /// Entity rows in one lookup.
    pub max_rows: usize,
    /// Bytes of the disk kept free: writes are refused below.
    #[serde(deserialize_with = "units::bytes")]
    pub disk_reserve: usize,
    /// How often rows older than what their views retain are deleted.
    #[serde(deserialize_with = "units::duration")]
    pub retention_every: Duration,
}

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Power loss.
    Durable,
    /// The process being killed.
    Fast,
}

/// Materialization.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Materialize {
    /// Rows moved in one atomic write.
    pub batch_rows: usize,
}

/// Pushed rows.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Push {
    /// Rows that happen later than that from now are quarantined.
    #[serde(deserialize_with = "units::duration")]
    pub future_bound: Duration,
    /// How long event ids are remembered.
    #[serde(deserialize_with = "units::duration")]
    pub dedupe_window: Duration,
    /// Rows of an outbox that go to its table without waiting longer.
    pub flush_rows: usize,
    /// How long rows of an outbox wait for others.
    #[serde(deserialize_with = "units::duration")]
    pub flush_every: Duration,
    /// Bytes that may wait in all outboxes.
    #[serde(deserialize_with = "units::bytes")]
    pub outbox_bytes: usize,
    /// Pushes worked on at once.
    pub concurrency: usize,
    /// How long one may wait for its turn.
    #[serde(deserialize_with = "units::duration")]
    pub max_wait: Duration,
}

/// Materializations as jobs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Jobs {
    /// Jobs that run at once, each on a view of its own.
    pub parallel: usize,
    /// How often a job is begun before it counts as failed.
    pub attempts: u32,
    /// The pause after the first attempt; each one after it is twice as long.
    #[serde(deserialize_with = "units::duration")]
    pub backoff: Duration,
    /// The longest pause.
    #[serde(deserialize_with = "units::duration")]
    pub max_backoff: Duration,
    /// Jobs that ended and are remembered.
    pub history: usize,
    /// How often schedules are looked at.
    #[serde(deserialize_with = "units::duration")]
    pub poll: Duration,
}

/// The registry.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Registry {
    /// How often other writers' versions are looked for.
    #[serde(deserialize_with = "units::duration")]
    pub poll: Duration,
}

/// Backups.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Backup {
    /// The folder they are made in; empty: `backups` in the data folder.
    pub folder: PathBuf,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Log {
    /// Filter directives.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Why settings can't be used. Each message names the place and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("the config file {path} can't be read; give --config a readable TOML file")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the config file {path} is not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        message: String,
    },
    /// A key that does not exist.
    #[error("{origin}: there is no setting `{key}`{}", .suggestion.as_ref().map_or_else(|| "; `tidegate config show` lists them".to_owned(), |s| format!("; did you mean `{s}`?")))]
    Unknown {
        /// File, variable or flag.
        origin: String,
        /// What was given.
        key: String,
        /// The nearest key.
        suggestion: Option<String>,
    },
    /// A value that does not fit.
    #[error("{origin}: setting `{key}` {message}")]
    Value {
        /// File, variable or flag.
        origin: String,
        /// The key.
        key: String,
        /// What is wrong and what is expected.
        message: String,
    },
    /// Reachable from other machines without authentication.
    #[error(
        "{key} = {address} can be reached from other machines, and callers are not authenticated: listen on 127.0.0.1 or \
         [::1], or start with --insecure if the network itself keeps strangers out"
    )]
    Exposed {
        /// `grpc.address` or `http.address`.
        key: &'static str,
        /// The address.
        address: SocketAddr,
    },
}

impl Config {
    /// Refuses addresses that other machines reach, unless `insecure` allows them.
    ///
    /// # Errors
    /// [`Error::Exposed`] names the setting and the remedy.
    pub fn check_exposure(&self) -> Result<(), Error> {
        for (key, address) in [("grpc.address", self.grpc.address), ("http.address", self.http.address)] {
            if !address.ip().is_loopback() && !self.server.insecure {
                return Err(Error::Exposed { key, address });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
