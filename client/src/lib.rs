//! The Rust client of a Tidegate server.
//!
//! [`Client::connect`] opens one HTTP/2 connection that every call shares; a client clones cheaply. Definitions are in
//! [`registry`], rows going in and training sets coming out in [`flight`], rows that are served at once in [`push`], sealed training
//! sets in [`sealed`], lookups in [`online`], the way between the tiers in [`materialize`] and its jobs in [`jobs`], queries in [`sql`],
//! how tables lie in [`table`], what is computed from others in [`derived`], backups and erasures in [`lifecycle`]. Rows travel as
//! Arrow batches, results as [`Batches`]: a schema and a stream.
//!
//! Every call fails with [`Error`], whose [`Error::kind`] says what to do about it. Nothing here retries, reads the clock, or
//! keeps state beyond the connection.
//!
//! ```no_run
//! # async fn run() -> tidegate_client::Result<()> {
//! use tidegate_client::{Client, ClientOptions};
//! let client = Client::connect(ClientOptions::new("http://127.0.0.1:7407").with_project("flights")).await?;
//! let rows = client.sql("SELECT count(*) FROM sources.weather_reports", None).await?.collect().await?;
//! # Ok(())
//! # }
//! ```

mod batches;
mod connect;
pub mod derived;
mod error;
mod exchange;
pub mod explain;
pub mod flight;
pub mod jobs;
pub mod lifecycle;
pub mod materialize;
pub mod online;
pub mod push;
pub mod registry;
pub mod sealed;
pub mod sql;
pub mod table;

pub use batches::{BatchStream, Batches};
pub use connect::{Client, ClientOptions, DEFAULT_ADDRESS};
pub use error::{Cause, Error, Result};
pub use tidegate_schemas::catalog::Selection;
