//! The definitions: entities, sources, feature views and feature services.
//!
//! These are domain types: valid by construction when they come out of [`crate::file`], never serialized themselves. The
//! persisted form is the definition file, version 1. Windows over events are in [`aggregate`], what feeds a source by itself in
//! [`stream`], and when a view is materialized by itself in [`schedule`].

pub mod aggregate;
pub mod schedule;
pub mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::time::{Availability, Micros, Nulls, UpperBound};
use crate::types::DataType;

pub use aggregate::{Aggregate, Function};
pub use schedule::Schedule;
pub use stream::{KafkaTopic, StreamFormat, StreamStart};

/// The kinds of definition, in the order in which one may depend on the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// [`Entity`].
    Entity,
    /// [`Source`].
    Source,
    /// [`FeatureView`].
    FeatureView,
    /// [`FeatureService`].
    FeatureService,
}

impl Kind {
    /// All kinds, in order.
    pub const ALL: [Self; 4] = [Self::Entity, Self::Source, Self::FeatureView, Self::FeatureService];

    /// The name on the wire and in references such as `feature_view/weather`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Entity => "entity",
            Self::Source => "source",
            Self::FeatureView => "feature_view",
            Self::FeatureService => "feature_service",
        }
    }

    /// The name in sentences.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Entity => "entity",
            Self::Source => "source",
            Self::FeatureView => "feature view",
            Self::FeatureService => "feature service",
        }
    }

    /// The section of a definition file that holds them.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::Entity => "entities",
            Self::Source => "sources",
            Self::FeatureView => "feature_views",
            Self::FeatureService => "feature_services",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no kind of definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of definition; the kinds are entity, source, feature_view and feature_service")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    /// Reads a kind's name, its section's name, or the short forms `view` and `service`.
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let short = match text {
            "view" | "views" => Some(Self::FeatureView),
            "service" | "services" => Some(Self::FeatureService),
            _ => None,
        };
        let named = || Self::ALL.into_iter().find(|kind| kind.as_str() == text || kind.section() == text);
        short.or_else(named).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// What a query gives; only read.
    Query(Query),
}

/// SQL over other sources and over feature views of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// One `SELECT`.
    pub sql: String,
    /// All that the query may name, in order; never empty.
    pub from: Vec<Relation>,
    /// A digest of all that decides which rows it gives, other than the rows it reads: its text, and the same of what it reads.
    /// Filled in when definitions are resolved.
    pub recipe: String,
}

/// What a query reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// The rows of a source.
    Source(String),
    /// The observations of a feature view.
    View(String),
}

impl Relation {
    /// The kind of definition it names.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Source(_) => Kind::Source,
            Self::View(_) => Kind::FeatureView,
        }
    }

    /// The definition's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Source(name) | Self::View(name) => name,
        }
    }
}

impl fmt::Display for Relation {
    /// As SQL names it: `sources.orders`, `views.order_stats`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(name) => write!(f, "sources.{name}"),
            Self::View(name) => write!(f, "views.{name}"),
        }
    }
}

/// What materialization does when rows that it has read were rewritten in a way it can't follow, versions that it has yet to
/// read are gone, or the table was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnRewrite {
    /// It reads the whole table again.
    #[default]
    Refresh,
    /// It stops and says so.
    Refuse,
}

impl OnRewrite {
    /// The word in definition files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Refuse => "refuse",
        }
    }
}

/// A table of observations with an event time and, optionally, a created time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Unique among the project's sources.
    pub name: String,
    /// Where the rows are.
    pub location: Location,
    /// The column of the event time; where rows have a validity, of its start.
    pub event_time: String,
    /// The column of the end of a row's validity, where rows have one; null in rows that still hold.
    pub valid_to: Option<String>,
    /// The column of the created time, where rows have one.
    pub created_time: Option<String>,
    /// The column that tells events apart, where rows have one: a row pushed twice counts once.
    pub event_id: Option<String>,
    /// Columns beyond those that views use, kept for SQL exploration.
    pub columns: Vec<Column>,
    /// What materialization does when it can't follow a rewrite of the table.
    pub on_rewrite: OnRewrite,
    /// The topic whose messages become rows of this source; for managed ones alone.
    pub kafka: Option<KafkaTopic>,
    /// Description, owner, tags.
    pub about: About,
}

/// One value per observation, or one over the observations of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Unique in its view.
    pub name: String,
    /// The source's column it is read from; for a count of rows, the event time's.
    pub column: String,
    /// Its type; for an aggregate, of the result.
    pub data_type: DataType,
    /// How it is computed from the observations of a window; `None` where it is the newest observation's value.
    pub aggregate: Option<Aggregate>,
    /// The name this feature had: what is stored under that one is this feature's.
    pub renamed_from: Option<String>,
    /// What a lookup answers in place of a missing, null or expired value, of the feature's type.
    ///
    /// A JSON boolean, integer or number for those types; text for `string`; `2024-03-01T00:00:00Z` for `timestamp`;
    /// `2024-03-01` for `date`; decimal digits as text for `decimal`; base64 for `bytes`; JSON text for `json`; arrays for
    /// lists and vectors; objects for maps and structs. [`crate::file`] checks it and brings it to this form.
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
    /// The same for lookups; where the file says nothing it is filled in with `ttl`.
    pub serve_ttl: Option<Micros>,
    /// When observations count as known.
    pub availability: Availability,
    /// Whether an observation at exactly the asked time is seen.
    pub upper: UpperBound,
    /// What point-in-time reads give for a feature that is null in the winner.
    pub nulls: Nulls,
    /// Whether the view is materialized and served.
    pub online: bool,
    /// When the view is materialized by itself; `None` waits to be told.
    pub schedule: Option<Schedule>,
    /// How far what is served may stay behind the table before that is a breach of what was promised.
    pub freshness: Option<Micros>,
    /// Served rows with an event time older than this are deleted; `None` keeps them.
    pub retention: Option<Micros>,
    /// Description, owner, tags.
    pub about: About,
}

impl FeatureView {
    /// Whether its features are computed over windows; all of them are, or none.
    #[must_use]
    pub fn is_windowed(&self) -> bool {
        self.features.iter().any(|feature| feature.aggregate.is_some())
    }

    /// The source's columns that its features are computed from, each once, with the types they have there.
    #[must_use]
    pub fn inputs(&self) -> Vec<Column> {
        let mut seen = BTreeSet::new();
        let read = self.features.iter().filter_map(|feature| match &feature.aggregate {
            Some(aggregate) => aggregate.input.as_ref().map(|input| (&input.name, &input.data_type)),
            None => Some((&feature.column, &feature.data_type)),
        });
        let first = read.filter(|(name, _)| seen.insert(*name));
        first.map(|(name, data_type)| Column { name: name.clone(), data_type: data_type.clone() }).collect()
    }
}

/// A use of a view by a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Columns that a lookup brings along, and a spine has, for the computed features.
    pub request: Vec<Column>,
    /// Request-time features, in the order they are computed and put out, after those of the views.
    pub computed: Vec<ComputedFeature>,
    /// Description, owner, tags.
    pub about: About,
}

/// A feature that is computed when it is asked for, from the features of the views and what the request brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputedFeature {
    /// The output's name, in short and in full.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// SQL over `view.feature`, `request.column`, and `computed.feature` for those before it; the first part may be left out
    /// where the second is enough.
    pub expression: String,
    /// What a row gets in which the expression fails.
    pub on_error: OnError,
    /// One sentence on what it is.
    pub description: Option<String>,
}

/// What a row gets in which an expression fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// No value; a lookup says FAILED.
    #[default]
    Failed,
    /// A null.
    Null,
}
