//! One version of a project's definitions as a file: JSON, record format 1, never changed once written.
//!
//! ```text
//! { "record": 1,                      format of this record
//!   "project": "flights",
//!   "version": 3,                     also the file's name, 00000000000000000003.json
//!   "created_at": 1784073600000000,   UTC microseconds
//!   "principal": "local",
//!   "cause": "apply",                 or "delete …", "rollback to 2"
//!   "changes": ["update feature_view/weather"],
//!   "digest": "9f86…",                SHA-256 of the document in canonical form
//!   "document": { … } }               a definition file of version 1, as JSON
//! ```

use serde::{Deserialize, Serialize};
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::file;
use tidegate_schemas::time::Micros;

/// The format this build writes. Older ones are read; newer ones are refused.
const FORMAT: u32 = 1;

/// What a record says beside the definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The version's number, from 1.
    pub version: u64,
    /// UTC microseconds.
    pub created_at: Micros,
    /// Who made it.
    pub principal: String,
    /// `apply`, `delete feature_view order_stats`, `rollback to 3`.
    pub cause: String,
    /// One line for each change.
    pub changes: Vec<String>,
}

/// A version with its definitions.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What it says about itself.
    pub about: About,
    /// The definitions.
    pub catalog: Catalog,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct V1 {
    record: u32,
    project: String,
    version: u64,
    created_at: Micros,
    principal: String,
    cause: String,
    changes: Vec<String>,
    digest: String,
    document: serde_json::Value,
}

/// The format number alone, read before the rest so that a newer record is told from a damaged one.
#[derive(Deserialize)]
struct Format {
    record: u32,
}

impl Record {
    /// The file's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let about = self.about.clone();
        let record = V1 {
            record: FORMAT,
            project: self.catalog.project.clone(),
            version: about.version,
            created_at: about.created_at,
            principal: about.principal,
            cause: about.cause,
            changes: about.changes,
            digest: file::digest(&self.catalog),
            document: file::to_document(&self.catalog),
        };
        // Strings, numbers and JSON values: nothing in it can fail to serialize.
        let mut bytes = serde_json::to_vec_pretty(&record).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads a file's bytes back; the error says what is wrong with them.
    pub(super) fn decode(project: &str, version: u64, bytes: &[u8]) -> Result<Self, String> {
        let Format { record } = serde_json::from_slice(bytes).map_err(|error| format!("not a record: {error}"))?;
        if record != FORMAT {
            return Err(format!("record format {record}; this build reads format {FORMAT}"));
        }
        let record: V1 = serde_json::from_slice(bytes).map_err(|error| format!("not a record: {error}"))?;
        if (record.project.as_str(), record.version) != (project, version) {
            return Err(format!("it says it is version {} of project `{}`", record.version, record.project));
        }
        let catalog = file::from_document(&record.document)
            .map_err(|problems| problems.first().map_or_else(|| "bad document".to_owned(), ToString::to_string))?;
        if file::digest(&catalog) != record.digest {
            return Err("its definitions do not match its digest".to_owned());
        }
        let about = About {
            version,
            created_at: record.created_at,
            principal: record.principal,
            cause: record.cause,
            changes: record.changes,
        };
        Ok(Self { about, catalog })
    }
}
