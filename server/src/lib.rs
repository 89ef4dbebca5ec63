//! The Tidegate server: definitions, ingest, training sets, materialization, lookups and SQL in one process.
//!
//! Start-up and configuration: [`app`], [`config`], [`shutdown`], [`telemetry`], [`clock`]. What the server knows: [`registry`]
//! (numbered versions of each project's catalog) and [`sealed`] (training sets that can be made again), both in files written
//! once. What it does: [`service`], use cases that know no transport, with [`materialize`] moving values from the offline to the
//! online tier and [`kafka`] reading topics. How it is reached: [`serve`], adapters that decode, call the service and encode.

pub mod app;
pub mod backup;
mod base64;
pub mod clock;
pub mod config;
mod error;
pub mod jobs;
pub mod kafka;
pub mod materialize;
mod objects;
mod receipts;
pub mod registry;
pub mod sealed;
pub mod serve;
pub mod service;
pub mod shutdown;
pub mod telemetry;
