//! The definitions: entities, sources, feature views and feature services.
//!
//! These are domain types: valid by construction when they come out of [`crate::file`], never serialized themselves. The
//! persisted form is the definition file, version 1.

use std::collections::BTreeMap;

use crate::time::{Availability, Micros, UpperBound};
use crate::types::DataType;

/// What people write about a definition; no behaviour depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    /// One sentence on what it is.
    pub description: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Free labels.
    pub tags: BTreeMap<String, String>,
}

/// A named, typed column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The column's name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
}

/// What features describe: one or more typed join keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// Unique among the project's entities.
    pub name: String,
    /// The join keys, in order; never empty.
    pub keys: Vec<Column>,
    /// Description, owner, tags.
    pub about: About,
}

/// Where a source's rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A Delta table that Tidegate creates and writes, in its own data folder.
    Managed,
    /// An existing Delta table; only read.
    Delta(String),
    /// A folder of Parquet files; only read.
    Parquet(String),
}

/// A table of observations with an event time and, optionally, a created time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Unique among the project's sources.
    pub name: String,
    /// Where the rows are.
    pub location: Location,
    /// The column of the event time.
    pub event_time: String,
    /// The column of the created time, where rows have one.
    pub created_time: Option<String>,
    /// Columns beyond those that views use, kept for SQL exploration.
    pub columns: Vec<Column>,
    /// Description, owner, tags.
    pub about: About,
}

/// One value per observation.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Unique in its view.
    pub name: String,
    /// The source's column it is read from.
    pub column: String,
    /// Its type.
    pub data_type: DataType,
    /// What a lookup answers in place of a missing, null or expired value.
    pub default: Option<serde_json::Value>,
    /// One sentence on what it is.
    pub description: Option<String>,
}

/// Features of the same entities from the same source.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureView {
    /// Unique among the project's views.
    pub name: String,
    /// The entities described, in order; empty for a global view, which joins on time alone.
    pub entities: Vec<String>,
    /// The source's name.
    pub source: String,
    /// The source's column for each key that is not named alike: key → column.
    pub key_columns: BTreeMap<String, String>,
    /// The features, in order; never empty.
    pub features: Vec<Feature>,
    /// Point-in-time reads give null for observations older than this; `None` is unbounded.
    pub ttl: Option<Micros>,
    /// The same for lookups; defaults to `ttl`.
    pub serve_ttl: Option<Micros>,
    /// When observations count as known.
    pub availability: Availability,
    /// Whether an observation at exactly the asked time is seen.
    pub upper: UpperBound,
    /// Whether the view is materialized and served.
    pub online: bool,
    /// Description, owner, tags.
    pub about: About,
}

/// A use of a view by a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewUse {
    /// The view's name.
    pub view: String,
    /// The features taken, in order; `None` takes all.
    pub features: Option<Vec<String>>,
    /// The name its outputs carry instead of the view's; lets a service use one view twice.
    pub alias: Option<String>,
    /// The spine's column for each key that is not named alike: key → column.
    pub keys: BTreeMap<String, String>,
}

/// What a model asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureService {
    /// Unique among the project's services.
    pub name: String,
    /// Other services whose uses come before this one's own.
    pub includes: Vec<String>,
    /// The views used, in order.
    pub uses: Vec<ViewUse>,
    /// Whether outputs are always named `view__feature`.
    pub full_names: bool,
    /// Description, owner, tags.
    pub about: About,
}
