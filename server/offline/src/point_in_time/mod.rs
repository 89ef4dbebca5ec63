//! The point-in-time join: for each spine row, what each view knew at that row's time.
//!
//! Parts, in the order data moves: [`plan`] checks a [`Spec`] against the spine and makes the logical node and the
//! physical operator; [`exec`] collects the spine and drives the rest; [`spine`] turns its keys into groups and its
//! times into slots; [`scan`] (phase 1) streams keys and times of every observation once, in any order on any thread,
//! and keeps one best observation per slot; [`gather`] (phase 2) decodes the payload of winners only. [`files`] drives
//! the parquet reader for both phases. [`metrics`] counts, [`mod@reference`] is the same join written naively. [`explain`] tells for one
//! spine row which observation won and why the others lost, apart from all of these.
//!
//! Nothing here sorts or holds the big side, asks the wall clock, or decides by itself which observation is visible:
//! the rule is `tidegate_schemas::time`, which [`mod@reference`] calls and the fast path restates over slots.

mod columns;
mod dense;
mod error;
mod exec;
pub mod explain;
mod files;
mod gather;
mod ids;
mod metrics;
mod pages;
mod plan;
mod radix;
mod ranks;
pub mod reference;
mod scan;
mod spine;
mod windows;

use std::sync::Arc;

use arrow::datatypes::DataType;
use tidegate_schemas::definition::Aggregate;
use tidegate_schemas::time::{Availability, Micros, UpperBound};

pub use error::{Error, Result};
pub use exec::PointInTimeExec;
pub use metrics::Counts;
pub use plan::{Planner, PointInTime, plan, query_planner};
pub(crate) use plan::{in_order, undealt};
pub use tidegate_schemas::time::Nulls;

use crate::table::snapshot::Snapshot;

/// A key of a view: which spine column matches which table column.
///
/// The two types may differ where one reads as the other without loss (int32 and int64, dictionary and string).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Column of the spine.
    pub spine_column: String,
    /// Column of the view's table.
    pub table_column: String,
}

/// A feature to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Column of the view's table; of an aggregate, the one it is computed from.
    pub column: String,
    /// Name of the output column, always nullable.
    pub output: String,
    /// Type of the output column; the table's column must convert to it without loss, unless it is aggregated.
    pub data_type: DataType,
    /// How it is computed from the events of a window; none where it is the winner's value. All features of a view have one,
    /// or none has.
    pub aggregate: Option<Aggregate>,
}

/// One view as the join reads it.
#[derive(Debug, Clone)]
pub struct View {
    /// The view's name or alias, for messages, EXPLAIN and metrics.
    pub alias: String,
    /// The table, at one version.
    pub snapshot: Arc<Snapshot>,
    /// Keys compared column by column; none for a global view, which joins on time alone.
    pub keys: Vec<Key>,
    /// The table's event time column; where rows have a validity, the column of its start.
    pub event_time: String,
    /// The table's column of the end of validity, where rows have one; null in rows that still hold.
    pub valid_to: Option<String>,
    /// The table's created time column, where it has one. It breaks ties of event time under every availability.
    pub created_time: Option<String>,
    /// When observations count as known.
    pub availability: Availability,
    /// Whether an observation at exactly the spine's time is seen.
    pub upper: UpperBound,
    /// How old a winner may be; none for any age.
    pub ttl: Option<Micros>,
    /// Whether a feature that is null in the winner gets the latest visible value that is not, which has a ttl of its own.
    pub nulls: Nulls,
    /// The features to fetch, in output order.
    pub features: Vec<Feature>,
    /// Name of an output column with the winner's event time (timestamp, µs, UTC), also where it has expired; of windows that
    /// of the newest event they hold.
    pub event_time_output: Option<String>,
    /// Name of an output column that says `PRESENT`, `NOT_FOUND` or `EXPIRED` (utf8, never null). Windows are always there for
    /// a row that has keys and a time, also where they are empty.
    pub status_output: Option<String>,
}

impl View {
    /// Whether its features are aggregates of events.
    #[must_use]
    pub fn is_windowed(&self) -> bool {
        self.features.iter().any(|feature| feature.aggregate.is_some())
    }
}

/// A point-in-time read of several views.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The spine's time column: a timestamp of any unit, or a date. Finer units than microseconds round down.
    pub spine_time: String,
    /// The views, in output order. One table may appear in several.
    pub views: Vec<View>,
    /// A knowledge cut for the whole read: nothing known only later is seen.
    pub as_of: Option<Micros>,
}

/// Status of a spine row whose winner is fresh.
pub const PRESENT: &str = "PRESENT";
/// Status of a spine row without a visible observation.
pub const NOT_FOUND: &str = "NOT_FOUND";
/// Status of a spine row whose winner is older than the view's ttl.
pub const EXPIRED: &str = "EXPIRED";

#[cfg(test)]
mod tests;
