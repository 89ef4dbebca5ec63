//! Definition files, format version 1, field by field.
//!
//! These types are the format: files are read into them, catalogs are persisted through them, and the JSON Schema that
//! editors use and [`super::structure`] checks against is generated from them, doc comments included. They are frozen: a
//! field may be added if it is optional, and a required one may become optional; anything else is version 2.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version these types are.
pub(crate) const VERSION: i64 = 1;

/// Tidegate definitions, version 1.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "definition file")]
pub(crate) struct Document {
    /// The format's version: 1.
    #[schemars(extend("const" = 1))]
    pub version: i64,
    /// The project defined; one file of a set must say it, and those that do must agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = NAME_PATTERN))]
    pub project: Option<String>,
    /// What features describe.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<Entity>,
    /// Tables of observations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// Features of the same entities from the same source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub feature_views: Vec<FeatureView>,
    /// What models ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub feature_services: Vec<FeatureService>,
}

/// The names of definitions, keys and features, for editors; the resolver checks them and says what is wrong.
const NAME_PATTERN: &str = "^[A-Za-z][A-Za-z0-9_]{0,62}$";

/// What features describe: one or more typed join keys.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "entity")]
pub(crate) struct Entity {
    /// Unique among the project's entities.
    #[schemars(extend("pattern" = NAME_PATTERN))]
    pub name: String,
    /// The join keys, in order.
    #[schemars(length(min = 1))]
    pub keys: Vec<Key>,
    /// One sentence on what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// A join key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "key")]
pub(crate) struct Key {
    /// The key's name, and that of its column unless a view or a service maps it.
    #[schemars(extend("pattern" = NAME_PATTERN))]
    pub name: String,
    /// bool, int32, int64, string, bytes, timestamp or date.
    #[serde(rename = "type")]
    pub data_type: TypeName,
}

/// A table of observations with an event time and, optionally, a created time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "source")]
pub(crate) struct Source {
    /// Unique among the project's sources.
    #[schemars(extend("pattern" = NAME_PATTERN))]
    pub name: String,
    /// Where the rows are; `managed` unless said otherwise.
    #[serde(default)]
    pub table: Table,
    /// The timestamp column that says when what a row tells was so; required unless there is `valid_from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<String>,
    /// Instead of `event_time`, where a row tells what was so for a time: the timestamp column of the start, included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<String>,
    /// With `valid_from`: the timestamp column of the end, not included; null in rows that still hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<String>,
    /// The timestamp column that says when a row was written, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_time: Option<String>,
    /// The column that tells events apart, where there is one: a row pushed twice counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// Columns beyond those that views use plainly, kept for SQL and for aggregates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Column>,
    /// What materialization does when rows that it has read were rewritten in a way it can't follow; `refresh` unless said
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_rewrite: Option<OnRewrite>,
    /// The topic whose messages become rows; for managed tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaTopic>,
    /// One sentence on what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Where a source's rows are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "table")]
pub(crate) enum Table {
    /// A Delta table that Tidegate creates and writes.
    #[default]
    Managed,
    /// An existing Delta table, by absolute path or URI; only read.
    Delta(String),
    /// A folder of Parquet files, by absolute path or URI; only read.
    Parquet(String),
    /// SQL over other sources and over feature views; only read.
    Query(Query),
}

/// SQL over other sources and over feature views.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "query")]
pub(crate) struct Query {
    /// One `SELECT` that gives the columns of the source.
    pub sql: String,
    /// The sources and feature views that it reads; `sources.name` or `views.name` where both have the name.
    #[schemars(length(min = 1))]
    pub from: Vec<String>,
}

/// What materialization does when it can't follow a rewrite of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "on rewrite")]
pub(crate) enum OnRewrite {
    /// It reads the whole table again.
    Refresh,
    /// It stops and says so.
    Refuse,
}

/// A topic of Kafka whose messages become rows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "topic")]
pub(crate) struct KafkaTopic {
    /// The cluster's name in the server's configuration, `[kafka.clusters.NAME]`.
    pub cluster: String,
    /// The topic's name.
    pub topic: String,
    /// What its messages are; `json` unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<StreamFormat>,
    /// Where reading starts when nothing was read yet; `earliest` unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StreamStart>,
}

/// What the messages of a topic are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "stream format")]
pub(crate) enum StreamFormat {
    /// One JSON object each.
    Json,
    /// Avro, each with the number of its schema.
    Avro(AvroFormat),
    /// Protobuf.
    Protobuf(ProtobufFormat),
}

/// Messages of Avro.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "message format")]
pub(crate) struct AvroFormat {
    /// The folder or file of the schemas, by absolute path or URI.
    pub schemas: String,
}

/// Messages of Protobuf.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "message format")]
pub(crate) struct ProtobufFormat {
    /// The file of the descriptors, by absolute path or URI.
    pub descriptors: String,
    /// The full name of the message, such as `shop.v1.Order`.
    pub message: String,
}

/// Where reading a topic starts when nothing was read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "stream start")]
pub(crate) enum StreamStart {
    /// At the oldest message there is.
    Earliest,
    /// After the newest.
    Latest,
}

/// A column of a source.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "column")]
pub(crate) struct Column {
    /// The column's name.
    pub name: String,
    /// The column's type.
    #[serde(rename = "type")]
    pub data_type: TypeName,
}

/// Features of the same entities from the same source.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "feature view")]
pub(crate) struct FeatureView {
    /// Unique among the project's feature views.
    #[schemars(extend("pattern" = NAME_PATTERN))]
    pub name: String,
    /// The entities described, in order; `[]` for a view that joins on time alone.
    pub entities: Vec<String>,
    /// The source's name.
    pub source: String,
    /// The source's column for each key that is not named alike: key to column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub key_columns: BTreeMap<String, String>,
    /// Point-in-time reads give null for observations older than this; left out, none is too old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<DurationText>,
    /// The same for lookups; `ttl` unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve_ttl: Option<DurationText>,
    /// When an observation counts as known; `created` where the source has a created time, else `event`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<Availability>,
    /// Whether an observation at exactly the asked time is seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Bounds>,
    /// What a point-in-time read gives for a feature that is null in the observation that wins; `keep` unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nulls: Option<Nulls>,
    /// Whether the view is materialized and served; true unless said otherwise.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub online: bool,
    /// When the view is materialized by itself; left out, it waits to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// How far what is served may stay behind the table before that is a breach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<DurationText>,
    /// Served rows with an event time older than this are deleted; left out, they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<DurationText>,
    /// The features, in order.
    #[schemars(length(min = 1))]
    pub features: Vec<Feature>,
    /// One sentence on what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

// serde hands a reference to `skip_serializing_if`.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_yes(flag: &bool) -> bool {
    *flag
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_no(flag: &bool) -> bool {
    !*flag
}

/// When an observation counts as known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "availability")]
pub(crate) enum Availability {
    /// At its event time.
    Event,
    /// At its created time, and not before its event time.
    Created,
    /// When the table's commit added it, and not before its event time.
    Commit,
    /// This long after its event time.
    Delay(DurationText),
}

/// When a view is materialized by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "schedule")]
pub(crate) enum Schedule {
    /// When its table has a new version.
    OnCommit,
    /// Each time this much has passed.
    Every(DurationText),
    /// At the minutes that a cron expression of five fields names, in UTC.
    Cron(String),
}

/// The bounds of a point-in-time read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "bounds")]
pub(crate) struct Bounds {
    /// Whether an observation at exactly the asked time is seen; `inclusive` unless said otherwise.
    pub upper: Upper,
}

/// Whether an observation at exactly the asked time is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "upper bound")]
pub(crate) enum Upper {
    /// It is.
    Inclusive,
    /// It is not.
    Exclusive,
}

/// What a point-in-time read gives for a feature that is null in the observation that wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "nulls")]
pub(crate) enum Nulls {
    /// The null.
    Keep,
    /// The value of the latest visible observation in which it is not null.
    Skip,
}

/// One value per observation, or one over the observations of a window.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "feature")]
pub(crate) struct Feature {
    /// Unique in its view.
    #[schemars(extend("pattern" = NAME_PATTERN))]
    pub name: String,
    /// The feature's type.
    #[serde(rename = "type")]
    pub data_type: TypeName,
    /// The source's column; the feature's name unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// How the feature is computed from the observations of a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Aggregate>,
    /// The name this feature had: what is stored under that one is this feature's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = NAME_PATTERN))]
    pub renamed_from: Option<String>,
    /// What a lookup answers in place of a missing, null or expired value; of the feature's type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    /// One sentence on what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A function of the observations of a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "aggregate")]
pub(crate) struct Aggregate {
    /// What is computed.
    #[serde(rename = "fn")]
    pub function: Function,
    /// The source's column it is computed from; left out, `count` counts rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The window's length, or `all` back to the first observation.
    pub window: WindowText,
    /// What the start of the window is rounded down to: `5m` for windows up to `12h`, `1h` up to `12d`, else `1d`, unless
    /// said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop: Option<DurationText>,
    /// How many values `last_n` and `top_k` give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub n: Option<i64>,
    /// Which share of the values is below what `percentile` gives, between 0 and 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub p: Option<f64>,
}

/// What is computed over a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "function")]
pub(crate) enum Function {
    /// How many rows; of a column, how many values that are not null.
    Count,
    /// The sum.
    Sum,
    /// The mean.
    Mean,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The variance of a sample.
    Var,
    /// The standard deviation of a sample.
    Std,
    /// The value of the oldest observation.
    First,
    /// The value of the newest observation.
    Last,
    /// The values of the `n` newest observations, newest first.
    LastN,
    /// How many different values, exact up to a bound.
    DistinctCount,
    /// The value that the share `p` of the values is below, approximately.
    Percentile,
    /// The `n` most frequent values.
    TopK,
}

/// What a model asks for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "feature service")]
pub(crate) struct FeatureService {
    /// Unique among the project's feature services.
    #[schemars(extend("pattern" = NAME_PATTERN))]
    pub name: String,
    /// Other services whose views come before this one's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub includes: Vec<String>,
    /// Whether outputs are always named `view__feature`.
    #[serde(default, skip_serializing_if = "is_no")]
    pub full_names: bool,
    /// The views used, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub views: Vec<ViewUse>,
    /// Columns that a lookup brings along, and a spine has, for the computed features.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request: Vec<Column>,
    /// Features computed when they are asked for, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub computed: Vec<Computed>,
    /// One sentence on what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// A feature that is computed when it is asked for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "computed feature")]
pub(crate) struct Computed {
    /// The output's name.
    #[schemars(extend("pattern" = NAME_PATTERN))]
    pub name: String,
    /// The feature's type.
    #[serde(rename = "type")]
    pub data_type: TypeName,
    /// SQL over `view.feature`, `request.column`, and `computed.feature` for those before it.
    pub expression: String,
    /// What a row gets in which the expression fails; `failed` unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
    /// One sentence on what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What a row gets in which an expression fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "on error")]
pub(crate) enum OnError {
    /// No value; a lookup says FAILED.
    Failed,
    /// A null.
    Null,
}

/// A feature service's use of a view.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "used view")]
pub(crate) struct ViewUse {
    /// The view's name.
    pub view: String,
    /// The features taken, in order; all of them unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub features: Option<Vec<String>>,
    /// The name its outputs carry instead of the view's; lets a service use one view twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = NAME_PATTERN))]
    pub alias: Option<String>,
    /// The spine's column for each key that is not named alike: key to column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, String>,
}

/// A type: bool, int32, int64, float32, float64, string, bytes, timestamp, date, decimal(p,s), list<T>,
/// vector<float32,N>, struct<name:T,…>, map<string,T> or json.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("examples" = ["int64", "float64", "string", "list<float32>"]))]
pub(crate) struct TypeName(pub String);

/// A length of time: whole numbers with units w, d, h, m, s, ms, us.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("pattern" = "^([0-9]+(w|d|h|ms|us|m|s))+$", "examples" = ["6h", "90s", "7d", "1d12h"]))]
pub(crate) struct DurationText(pub String);

/// A length of time, or `all`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("pattern" = "^(all|([0-9]+(w|d|h|ms|us|m|s))+)$", "examples" = ["7d", "90m", "all"]))]
pub(crate) struct WindowText(pub String);
