//! Tokens of writes: what a caller who wrote sends with a read, to be sure that the read sees the write.
//!
//! On the server that took the write every read after the acknowledgement sees it. A token tells a read that it is not on that
//! server, or that the server's store was put back from a backup since.
//!
//! ```text
//! {identity of the database}:{sequence number of the write}
//! ```

use std::fs;
use std::path::Path;

use super::Store;
use super::open::ROCKS;
use crate::{Error, Result};

/// The file that names a store which was put back from a checkpoint: RocksDB would go by the name of the one it was taken from.
pub(super) const INSTANCE: &str = "INSTANCE";

/// What tells this database from any other.
///
/// # Errors
/// The file that it is kept in can't be read.
pub(super) fn identity(store: &Path) -> Result<String> {
    let instance = store.join(INSTANCE);
    let path = if instance.exists() { instance } else { store.join(ROCKS).join("IDENTITY") };
    let text = fs::read_to_string(&path).map_err(|source| Error::Folder { path, source })?;
    Ok(text.trim().to_owned())
}

impl Store {
    /// What tells the store from any other, on this machine and elsewhere.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.inner.identity
    }

    /// A token of every write that was acknowledged before the call.
    #[must_use]
    pub fn token(&self) -> String {
        format!("{}:{}", self.inner.identity, self.inner.db.latest_sequence_number())
    }

    /// Whether reads from now on see the write that a token is of.
    ///
    /// # Errors
    /// [`Error::UnknownWrite`] for a token of another store, or of a write that this one does not have.
    pub fn has_written(&self, token: &str) -> Result<()> {
        let parsed =
            token.rsplit_once(':').and_then(|(identity, number)| Some((identity, number.parse::<u64>().ok()?)));
        let Some((identity, number)) = parsed else {
            return Err(Error::Shape("the token is none that a write gave; send it as it came".to_owned()));
        };
        if identity != self.inner.identity {
            return Err(Error::UnknownWrite(
                "the token is of a write to another server, or to this one before its store was replaced; read where it was \
                 written, or without the token",
            ));
        }
        match number <= self.inner.db.latest_sequence_number() {
            true => Ok(()),
            false => Err(Error::UnknownWrite(
                "the write of this token is not in the store: it was put back to an earlier state; write again, or read without \
                 the token",
            )),
        }
    }
}
