//! The definitions: entities, sources, feature views and feature services.
//!
//! These are domain types: valid by construction when they come out of [`crate::file`], never serialized themselves. The
//! persisted form is the definition file, version 1.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::time::{Availability, Micros, Nulls, UpperBound};
use crate::types::DataType;

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
    /// The column of the event time; where rows have a validity, of its start.
    pub event_time: String,
    /// The column of the end of a row's validity, where rows have one; null in rows that still hold.
    pub valid_to: Option<String>,
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
    /// Description, owner, tags.
    pub about: About,
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
