//! Checkpoints: the whole store as of one moment, beside the running one, and making a store of one again.
//!
//! A checkpoint is a folder that [`Store::open`] opens: rows, cursors and everything else of one moment, since all of it lies in
//! one database. Its files are the store's own under a second name where both lie on one file system, else copies; neither ever
//! changes them.
//!
//! ```text
//! folder/
//!   FORMAT      as in a store
//!   rocks/      RocksDB's checkpoint
//! ```
//! A store that is put back goes another way than the one it was taken from. [`renew`] gives it a name of its own, `INSTANCE`,
//! so that tokens of writes that it does not have are told apart from its own.

use std::fs::{self, File};
use std::path::Path;

use rocksdb::checkpoint::Checkpoint;

use super::Store;
use super::open::{ROCKS, write_marker};
use super::token::INSTANCE;
use crate::{Error, Result};

/// What a checkpoint holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpointed {
    /// The sequence number that the store had reached by then.
    pub sequence: u64,
    /// What tells the store from any other.
    pub identity: String,
}

impl Store {
    /// Makes a checkpoint in a folder that must not be there yet; its parent must. Writes go on meanwhile.
    ///
    /// # Errors
    /// The folder is there or can't be made, a failing disk.
    pub fn checkpoint(&self, folder: &Path) -> Result<Checkpointed> {
        let inner = &self.inner;
        inner.disk.has_room()?;
        let failed = |source| Error::Folder { path: folder.to_owned(), source };
        fs::create_dir(folder).map_err(failed)?;
        // No view comes meanwhile, and no purge is noted as done: its files would be the ones from before.
        let _views_stand_still = inner.counters.lock();
        // What a refresh takes in is in no log: were it to come, and its flip, after the files are listed and before the log is copied, the
        // copy would have the flip alone. Writes need the gates for reading, too, and go on.
        let mut views: Vec<_> = inner.views.read().values().cloned().collect();
        views.sort_unstable_by_key(|view| view.id);
        let _epochs_stand_still: Vec<_> = views.iter().map(|view| view.gate.read()).collect();
        let sequence = inner.db.latest_sequence_number();
        let checkpoint = Checkpoint::new(&inner.db).map_err(Error::store("beginning a checkpoint"))?;
        checkpoint.create_checkpoint(folder.join(ROCKS)).map_err(Error::store("making a checkpoint"))?;
        write_marker(folder).map_err(failed)?;
        Ok(Checkpointed { sequence, identity: inner.identity.clone() })
    }
}

/// Gives a store that was put back, and is not open, a name of its own.
///
/// # Errors
/// The folder can't be written.
pub fn renew(folder: &Path, instance: &str) -> Result<()> {
    let path = folder.join(INSTANCE);
    let write = || {
        fs::write(&path, format!("{instance}\n"))?;
        File::open(&path)?.sync_all()?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| Error::Folder { path: path.clone(), source })
}
