//! Writing a batch: at once, or after a stall that ends.
//!
//! RocksDB lets writes wait while its background work lags behind; on a full disk, for as long as that stays full. Whoever waits holds
//! the locks of its entities. So a write here is told of a stall, tries again for a while, and is refused then.

use std::time::Duration;

use rocksdb::{ErrorKind, WriteBatch, WriteOptions};

use super::{Durability, Inner};
use crate::{Error, Result};

/// How often, and how far apart, a write is tried that RocksDB stalls: for ten seconds.
const ATTEMPTS: usize = 5_000;
const PAUSE: Duration = Duration::from_millis(2);

/// What RocksDB says of a write that it would have let wait.
const STALL: &str = "Write stall";

impl Inner {
    /// Writes a batch that is acknowledged to a caller: on the disk where the store's durability asks for that.
    pub(super) fn put_acknowledged(&self, batch: WriteBatch, doing: &'static str) -> Result<()> {
        self.put(batch, self.durability == Durability::Durable, doing)
    }

    /// Writes a batch; with `sync` it is on the disk then. Nothing of a batch that is refused for a stall is written.
    ///
    /// # Errors
    /// [`Error::NoRoom`] and [`Error::Stalled`] where the write would wait for long; a failing disk.
    pub(super) fn put(&self, batch: WriteBatch, sync: bool, doing: &'static str) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        options.set_no_slowdown(true);
        let bytes = batch.data().to_vec();
        let mut outcome = self.db.write_opt(batch, &options);
        for _ in 0..ATTEMPTS {
            match &outcome {
                Err(error) if is_stall(error) => self.disk.has_room_for(self.settings.write_buffer_bytes as u64)?,
                _ => break,
            }
            std::thread::sleep(PAUSE);
            outcome = self.db.write_opt(WriteBatch::from_data(&bytes), &options);
        }
        outcome.map_err(|error| if is_stall(&error) { Error::Stalled(error) } else { Error::store(doing)(error) })
    }
}

fn is_stall(error: &rocksdb::Error) -> bool {
    error.kind() == ErrorKind::Incomplete && error.as_ref().contains(STALL)
}
