//! A sealed training set as a file: JSON, seal format 1, never changed once written.
//!
//! ```text
//! { "seal": 1,                         format of this record
//!   "project": "flights",
//!   "name": "late-2013",               also the file's name
//!   "created_at": 1784073600000000,    UTC microseconds
//!   "principal": "local",
//!   "engine": "0.1.0",                 the server that made it
//!   "definitions": {"version": 3, "digest": "9f86…"},
//!   "service": "late_arrival",         or "features": ["origin_weather:temp"]
//!   "options": { … },                  as asked for; the event time column is always named
//!   "spine": {"from": "sql", "text": "SELECT …", "id": "…", "rows": 9, "digest": "…"},
//!   "tables": {"weather": 7},          the version of every table that was read
//!   "result": {"rows": 9, "digest": "…", "columns": [{"name", "type", "digest"}]},
//!   "checksum": "…" }                  SHA-256 of the record without it
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_offline::training::digest::{ColumnDigest, TableDigest};
use tidegate_offline::training::{Sample, Split};
use tidegate_schemas::catalog::Selection;
use tidegate_schemas::digest;
use tidegate_schemas::time::Micros;

/// The format this build writes. Older ones are read; newer ones are refused.
const FORMAT: u32 = 1;

/// How a training set is made, apart from its features and its spine.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// The spine's time column; empty: found in the spine.
    pub event_time_column: String,
    /// Name outputs `view__feature`.
    pub full_names: bool,
    /// Knowledge cut of the whole read.
    pub as_of: Option<Micros>,
    /// Add `view__event_time` columns.
    pub include_event_times: bool,
    /// Add `view__status` columns.
    pub include_statuses: bool,
    /// Label rows by time.
    pub split: Option<Split>,
    /// Keep a share of the rows.
    pub sample: Option<Sample>,
}

/// Where a spine came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Rows of the caller's.
    Uploaded,
    /// A query.
    Sql(String),
    /// A table.
    Table(String),
}

/// The spine of a set, before rows were chosen of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSpine {
    /// Where its rows came from; what is joined again are the rows kept.
    pub origin: Origin,
    /// Names the file with the rows.
    pub id: String,
    /// Its rows.
    pub rows: u64,
    /// The fingerprint of its rows.
    pub digest: String,
}

/// A sealed training set.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed {
    /// The project.
    pub project: String,
    /// Its name there.
    pub name: String,
    /// When it was sealed, in UTC microseconds.
    pub created_at: Micros,
    /// Who sealed it.
    pub principal: String,
    /// The version of the server that made it.
    pub engine: String,
    /// The version of the definitions.
    pub definitions_version: u64,
    /// Their digest.
    pub definitions_digest: String,
    /// The features.
    pub selection: Selection,
    /// How it was made.
    pub options: Options,
    /// The rows that were labelled.
    pub spine: SealedSpine,
    /// The version of each source's table.
    pub tables: BTreeMap<String, i64>,
    /// The fingerprint of the training set.
    pub result: TableDigest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct V1 {
    seal: u32,
    project: String,
    name: String,
    created_at: Micros,
    principal: String,
    engine: String,
    definitions: DefinitionsV1,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    features: Option<Vec<String>>,
    options: OptionsV1,
    spine: SpineV1,
    tables: BTreeMap<String, i64>,
    result: ResultV1,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    checksum: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DefinitionsV1 {
    version: u64,
    digest: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OptionsV1 {
    event_time_column: String,
    full_names: bool,
    as_of: Option<Micros>,
    event_times: bool,
    statuses: bool,
    split: Option<SplitV1>,
    sample: Option<SampleV1>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitV1 {
    at: Vec<Micros>,
    embargo: Micros,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleV1 {
    column: String,
    /// Value and fraction. A fraction as text: JSON numbers need not come back to the bit.
    keep: Vec<(String, String)>,
    seed: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpineV1 {
    from: String,
    text: String,
    id: String,
    rows: u64,
    digest: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResultV1 {
    rows: u64,
    digest: String,
    columns: Vec<ColumnV1>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnV1 {
    name: String,
    r#type: String,
    digest: String,
}

/// The format number alone, read before the rest so that a newer record is told from a damaged one.
#[derive(Deserialize)]
struct Format {
    seal: u32,
}

impl Sealed {
    /// The file's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut record = V1::of(self);
        record.checksum = checksum(&record);
        bytes(&record)
    }

    /// Reads a file's bytes back; the error says what is wrong with them.
    pub(super) fn decode(project: &str, name: &str, bytes: &[u8]) -> Result<Self, String> {
        let Format { seal } = serde_json::from_slice(bytes).map_err(|error| format!("not a record: {error}"))?;
        if seal != FORMAT {
            return Err(format!("seal format {seal}; this build reads format {FORMAT}"));
        }
        let mut record: V1 = serde_json::from_slice(bytes).map_err(|error| format!("not a record: {error}"))?;
        let written = std::mem::take(&mut record.checksum);
        if checksum(&record) != written {
            return Err("it does not match its checksum".to_owned());
        }
        if (record.project.as_str(), record.name.as_str()) != (project, name) {
            return Err(format!("it says it is set `{}` of project `{}`", record.name, record.project));
        }
        record.read()
    }
}

/// The digest of a record whose checksum is empty.
fn checksum(record: &V1) -> String {
    digest::of(&bytes(record))
}

fn bytes(record: &V1) -> Vec<u8> {
    // Strings, numbers and lists of them: nothing in it can fail to serialize.
    let mut bytes = serde_json::to_vec_pretty(record).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

impl V1 {
    fn of(set: &Sealed) -> Self {
        let (service, features) = match &set.selection {
            Selection::Service(name) => (Some(name.clone()), None),
            Selection::Features(references) => (None, Some(references.clone())),
        };
        let (from, text) = match &set.spine.origin {
            Origin::Uploaded => ("uploaded", ""),
            Origin::Sql(query) => ("sql", query.as_str()),
            Origin::Table(name) => ("table", name.as_str()),
        };
        let SealedSpine { id, rows, digest, .. } = set.spine.clone();
        Self {
            seal: FORMAT,
            project: set.project.clone(),
            name: set.name.clone(),
            created_at: set.created_at,
            principal: set.principal.clone(),
            engine: set.engine.clone(),
            definitions: DefinitionsV1 { version: set.definitions_version, digest: set.definitions_digest.clone() },
            service,
            features,
            options: OptionsV1::of(&set.options),
            spine: SpineV1 { from: from.to_owned(), text: text.to_owned(), id, rows, digest },
            tables: set.tables.clone(),
            result: ResultV1::of(&set.result),
            checksum: String::new(),
        }
    }

    fn read(self) -> Result<Sealed, String> {
        let selection = match (self.service, self.features) {
            (Some(name), None) => Selection::Service(name),
            (None, Some(references)) => Selection::Features(references),
            _ => return Err("it names neither a service nor features, or both".to_owned()),
        };
        let SpineV1 { from, text, id, rows, digest } = self.spine;
        let origin = match from.as_str() {
            "uploaded" => Origin::Uploaded,
            "sql" => Origin::Sql(text),
            "table" => Origin::Table(text),
            other => return Err(format!("its spine is from `{other}`, which is no origin")),
        };
        Ok(Sealed {
            project: self.project,
            name: self.name,
            created_at: self.created_at,
            principal: self.principal,
            engine: self.engine,
            definitions_version: self.definitions.version,
            definitions_digest: self.definitions.digest,
            selection,
            options: self.options.read()?,
            spine: SealedSpine { origin, id, rows, digest },
            tables: self.tables,
            result: self.result.read(),
        })
    }
}

impl OptionsV1 {
    fn of(options: &Options) -> Self {
        let keep = |(value, fraction): &(String, f64)| (value.clone(), fraction.to_string());
        let sample = |of: &Sample| SampleV1 {
            column: of.column().to_owned(),
            keep: of.keep().iter().map(keep).collect(),
            seed: of.seed(),
        };
        Self {
            event_time_column: options.event_time_column.clone(),
            full_names: options.full_names,
            as_of: options.as_of,
            event_times: options.include_event_times,
            statuses: options.include_statuses,
            split: options.split.as_ref().map(|of| SplitV1 { at: of.at().to_vec(), embargo: of.embargo() }),
            sample: options.sample.as_ref().map(sample),
        }
    }

    fn read(self) -> Result<Options, String> {
        let split =
            self.split.map(|of| Split::new(of.at, of.embargo)).transpose().map_err(|error| error.to_string())?;
        let sample = self.sample.map(SampleV1::read).transpose()?;
        Ok(Options {
            event_time_column: self.event_time_column,
            full_names: self.full_names,
            as_of: self.as_of,
            include_event_times: self.event_times,
            include_statuses: self.statuses,
            split,
            sample,
        })
    }
}

impl SampleV1 {
    fn read(self) -> Result<Sample, String> {
        let keep = |(value, fraction): (String, String)| match fraction.parse() {
            Ok(fraction) => Ok((value, fraction)),
            Err(_) => Err(format!("its sample keeps `{value}` at `{fraction}`, which is no number")),
        };
        let keep = self.keep.into_iter().map(keep).collect::<Result<_, _>>()?;
        Sample::new(self.column, keep, self.seed).map_err(|error| error.to_string())
    }
}

impl ResultV1 {
    fn of(result: &TableDigest) -> Self {
        let column = |of: &ColumnDigest| {
            let ColumnDigest { name, data_type, digest } = of.clone();
            ColumnV1 { name, r#type: data_type, digest }
        };
        Self { rows: result.rows, digest: result.digest.clone(), columns: result.columns.iter().map(column).collect() }
    }

    fn read(self) -> TableDigest {
        let column = |of: ColumnV1| ColumnDigest { name: of.name, data_type: of.r#type, digest: of.digest };
        TableDigest { rows: self.rows, digest: self.digest, columns: self.columns.into_iter().map(column).collect() }
    }
}
