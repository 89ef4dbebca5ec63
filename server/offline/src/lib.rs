//! The offline tier: history in Delta tables, read through DataFusion.
//!
//! [`table`] keeps the log (create, append exactly once, snapshot with row addresses) · [`ingest`] checks what comes in before
//! anything is written · [`point_in_time`] joins a spine to views as of its times · [`latest`] finds each key's newest
//! observation · [`expressions`] computes features when they are asked for · [`training`] chooses spine rows and fingerprints results · [`query`] is the one gate for SQL ·
//! [`derived`] fills tables with what queries give · [`runtime`]
//! holds memory, spill space and threads for plans.
//!
//! Nothing here reads the clock to decide what a reader may see, knows the online tier, or knows a wire format.

mod buffers;
pub mod derived;
pub mod error;
pub mod expressions;
pub mod ingest;
pub mod latest;
pub mod point_in_time;
pub mod query;
pub mod runtime;
pub mod table;
pub mod training;

#[cfg(test)]
mod fixtures;

pub use error::{Error, Result};
