//! A receipt as a file: JSON, format 1, never changed once written.
//!
//! ```text
//! { "receipt": 1,                      format of this record
//!   "id": "5f0c…",                     also the file's name
//!   "project": "shop",
//!   "entity": "user",
//!   "keys": [{"name", "type"}],        what the digest is of
//!   "digest": "9f86…",                 of the key; the key is nowhere
//!   "erased_at": 1784073600000000,     UTC microseconds
//!   "principal": "local",
//!   "views": [{"view", "rows"}],       online
//!   "tables": [{"source", "version", "rows", "files_rewritten", "files_deleted", "commits_scrubbed", "versions_lost"}],
//!   "refreshed": ["merchant_week"],    views of other entities, computed anew from those tables
//!   "spines": 2,                       uploaded spines that were forgotten
//!   "sealed": [{"name", "rows", "why"}],   sets that no longer verify
//!   "left": ["source `lake` …"] }      what was not Tidegate's to erase, and what else there is to say, in words
//! ```

use serde::{Deserialize, Serialize};
use tidegate_schemas::definition::Column;
use tidegate_schemas::time::Micros;

/// The format this build writes.
const FORMAT: u32 = 1;

/// What an erasure removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its name.
    pub id: String,
    /// The project.
    pub project: String,
    /// The entity.
    pub entity: String,
    /// The entity's keys.
    pub keys: Vec<Column>,
    /// Of the key, in hex.
    pub digest: String,
    /// When, in UTC microseconds: nothing of the entity with an earlier event time is taken any more.
    pub erased_at: Micros,
    /// Who asked for it.
    pub principal: String,
    /// Rows deleted online.
    pub views: Vec<ErasedView>,
    /// What was done to managed tables.
    pub tables: Vec<ErasedSource>,
    /// Views of other entities that were computed anew, because rows of their tables went.
    pub refreshed: Vec<String>,
    /// Uploaded spines that were forgotten.
    pub spines: u64,
    /// Sealed training sets that no longer verify.
    pub sealed: Vec<SealedLoss>,
    /// What may still hold the entity and is not Tidegate's to erase, and what went although it may have been of others, in words.
    pub left: Vec<String>,
}

/// Rows deleted of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasedView {
    /// The view; empty for one that has no definition any more.
    pub view: String,
    /// Rows.
    pub rows: u64,
}

/// What was done to the table of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasedSource {
    /// The source.
    pub source: String,
    /// The version without the entity.
    pub version: i64,
    /// Live rows removed.
    pub rows: u64,
    /// Live files written anew.
    pub files_rewritten: u64,
    /// Files deleted, older versions' included.
    pub files_deleted: u64,
    /// Commits of the log that named the key in statistics.
    pub commits_scrubbed: u64,
    /// Versions that can be read no more, as first and last.
    pub versions_lost: Vec<(i64, i64)>,
}

/// A sealed set that no longer verifies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedLoss {
    /// The set.
    pub name: String,
    /// Rows removed from its spine.
    pub rows: u64,
    /// Why it no longer verifies.
    pub why: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct V1 {
    receipt: u32,
    id: String,
    project: String,
    entity: String,
    keys: Vec<KeyV1>,
    digest: String,
    erased_at: Micros,
    principal: String,
    views: Vec<ErasedView>,
    tables: Vec<ErasedSource>,
    refreshed: Vec<String>,
    spines: u64,
    sealed: Vec<SealedLoss>,
    left: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyV1 {
    name: String,
    #[serde(rename = "type")]
    data_type: String,
}

impl Receipt {
    /// The file's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let key = |key: &Column| KeyV1 { name: key.name.clone(), data_type: key.data_type.to_string() };
        let record = V1 {
            receipt: FORMAT,
            id: self.id.clone(),
            project: self.project.clone(),
            entity: self.entity.clone(),
            keys: self.keys.iter().map(key).collect(),
            digest: self.digest.clone(),
            erased_at: self.erased_at,
            principal: self.principal.clone(),
            views: self.views.clone(),
            tables: self.tables.clone(),
            refreshed: self.refreshed.clone(),
            spines: self.spines,
            sealed: self.sealed.clone(),
            left: self.left.clone(),
        };
        // Strings and numbers only: nothing that can't be JSON.
        serde_json::to_vec_pretty(&record).unwrap_or_default()
    }

    /// Reads what [`Self::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let record: V1 = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if record.receipt != FORMAT {
            return Err(format!("it has format {}, this release reads {FORMAT}", record.receipt));
        }
        let key = |key: KeyV1| {
            let data_type = key.data_type.parse().map_err(|_| format!("`{}` is no type", key.data_type))?;
            Ok(Column { name: key.name, data_type })
        };
        Ok(Self {
            id: record.id,
            project: record.project,
            entity: record.entity,
            keys: record.keys.into_iter().map(key).collect::<Result<_, String>>()?,
            digest: record.digest,
            erased_at: record.erased_at,
            principal: record.principal,
            views: record.views,
            tables: record.tables,
            refreshed: record.refreshed,
            spines: record.spines,
            sealed: record.sealed,
            left: record.left,
        })
    }

    /// The digest's bytes, where it is one.
    pub(crate) fn digest_bytes(&self) -> Option<[u8; 32]> {
        let digits = self.digest.as_bytes();
        let mut bytes = [0; 32];
        for (nth, byte) in bytes.iter_mut().enumerate() {
            let pair = std::str::from_utf8(digits.get(2 * nth..2 * nth + 2)?).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        (digits.len() == 64).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_one_is_frozen() {
        let receipt = Receipt {
            id: "r1".to_owned(),
            project: "shop".to_owned(),
            entity: "user".to_owned(),
            keys: vec![Column { name: "user_id".to_owned(), data_type: "int64".parse().unwrap() }],
            digest: "0f".repeat(32),
            erased_at: 7,
            principal: "local".to_owned(),
            views: vec![ErasedView { view: "v".to_owned(), rows: 2 }],
            tables: vec![ErasedSource {
                source: "s".to_owned(),
                version: 4,
                rows: 3,
                files_rewritten: 1,
                files_deleted: 2,
                commits_scrubbed: 1,
                versions_lost: vec![(0, 3)],
            }],
            refreshed: vec!["w".to_owned()],
            spines: 1,
            sealed: vec![SealedLoss { name: "x".to_owned(), rows: 1, why: "y".to_owned() }],
            left: vec!["z".to_owned()],
        };
        let text = "{\"receipt\":1,\"id\":\"r1\",\"project\":\"shop\",\"entity\":\"user\",\"keys\":[{\"name\":\"user_id\",\
                    \"type\":\"int64\"}],\"digest\":\"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f\",\
                    \"erased_at\":7,\"principal\":\"local\",\"views\":[{\"view\":\"v\",\"rows\":2}],\"tables\":[{\"source\":\"s\",\
                    \"version\":4,\"rows\":3,\"files_rewritten\":1,\"files_deleted\":2,\"commits_scrubbed\":1,\"versions_lost\":\
                    [[0,3]]}],\"refreshed\":[\"w\"],\"spines\":1,\"sealed\":[{\"name\":\"x\",\"rows\":1,\"why\":\"y\"}],\"left\":[\"z\"]}";
        let compact: serde_json::Value = serde_json::from_slice(&receipt.encode()).unwrap();
        let frozen: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(compact, frozen, "receipts never change: a new field is a new format");
        assert_eq!(Receipt::decode(text.as_bytes()).unwrap(), receipt);
        assert_eq!(receipt.digest_bytes(), Some([0x0f; 32]));
        assert!(Receipt::decode(text.replace("\"receipt\":1", "\"receipt\":2").as_bytes()).is_err());
    }
}
