//! What a backup holds: JSON, format 1.
//!
//! ```text
//! { "backup": 1,                       format of this manifest
//!   "created_at": 1784073600000000,    UTC microseconds
//!   "engine": "0.1.0",                 the server that made it
//!   "store": "0b34…",                  the online store it is of, and the sequence number it had reached
//!   "sequence": 12345,
//!   "with_tables": true,
//!   "views": [{"project", "view", "version"}],      how far each had been materialized
//!   "tables": [{"project", "source", "version"}],   managed tables that are in it
//!   "outside": ["shop/lake: delta /srv/lake"],      tables that are read from elsewhere, and are not in it
//!   "files": [{"path", "bytes", "sha256"}],
//!   "checksum": "…" }                  SHA-256 of the manifest with this empty
//! ```

use serde::{Deserialize, Serialize};
use tidegate_schemas::digest;
use tidegate_schemas::time::Micros;

/// The format this build writes and reads.
const FORMAT: u32 = 1;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    backup: u32,
    /// When it was made, in UTC microseconds.
    pub created_at: Micros,
    /// The version of the server that made it.
    pub engine: String,
    /// What tells the online store from any other.
    pub store: String,
    /// The sequence number the online store had reached.
    pub sequence: u64,
    /// Whether managed tables are in it.
    pub with_tables: bool,
    /// How far each view had been materialized.
    pub views: Vec<BackedUpView>,
    /// Managed tables that are in it.
    pub tables: Vec<BackedUpTable>,
    /// Tables that are read from elsewhere.
    pub outside: Vec<String>,
    /// Every file, in the order it was copied.
    pub files: Vec<BackedUpFile>,
    checksum: String,
}

/// A view's cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackedUpView {
    /// The project.
    pub project: String,
    /// The view.
    pub view: String,
    /// The table version materialized.
    pub version: i64,
}

/// A managed table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackedUpTable {
    /// The project.
    pub project: String,
    /// The source.
    pub source: String,
    /// Its newest version.
    pub version: i64,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackedUpFile {
    /// In the backup, and in the data folder that is made of it.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Its digest.
    pub sha256: String,
}

impl Manifest {
    /// A manifest of nothing yet.
    #[must_use]
    pub fn new(created_at: Micros, engine: &str) -> Self {
        Self {
            backup: FORMAT,
            created_at,
            engine: engine.to_owned(),
            store: String::new(),
            sequence: 0,
            with_tables: false,
            views: Vec::new(),
            tables: Vec::new(),
            outside: Vec::new(),
            files: Vec::new(),
            checksum: String::new(),
        }
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The file's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let checksum = digest::of(&self.unsigned());
        // Strings and numbers only: nothing that can't be JSON.
        serde_json::to_vec_pretty(&Self { checksum, ..self.clone() }).unwrap_or_default()
    }

    /// Reads what [`Self::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        #[derive(Deserialize)]
        struct Format {
            backup: u32,
        }
        let damaged = |error: serde_json::Error| Undecodable::Damaged(error.to_string());
        let Format { backup } = serde_json::from_slice(bytes).map_err(damaged)?;
        if backup != FORMAT {
            return Err(Undecodable::Format(backup));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(damaged)?;
        match digest::of(&manifest.unsigned()) == manifest.checksum {
            true => Ok(manifest),
            false => Err(Undecodable::Damaged("its checksum is another".to_owned())),
        }
    }

    pub(crate) const fn format() -> u32 {
        FORMAT
    }

    fn unsigned(&self) -> Vec<u8> {
        serde_json::to_vec(&Self { checksum: String::new(), ..self.clone() }).unwrap_or_default()
    }
}

/// Why bytes are no manifest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Undecodable {
    /// Another format.
    Format(u32),
    /// Not what was written.
    Damaged(String),
}
