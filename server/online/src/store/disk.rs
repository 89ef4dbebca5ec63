//! Room on the disk: writes stop before there is none left.
//!
//! A database that ran into a full disk cannot even tidy up. So some space is kept in reserve: what would touch it is refused, and is
//! taken again as soon as there is room. Lookups never ask. Where something else uses the reserve up, RocksDB itself stops writing; it
//! looks every five seconds whether there is room for a write buffer again, and then goes on.

use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use crate::{Error, Result};

/// The disk a store lies on.
#[derive(Debug)]
pub(crate) struct Disk {
    path: PathBuf,
    reserve: u64,
}

impl Disk {
    /// Keeps so many bytes free on the disk of this folder; 0 does not look.
    pub(crate) fn new(path: &Path, reserve: u64) -> Self {
        Self { path: path.to_owned(), reserve }
    }

    /// Refuses a write that would use the reserve.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub(crate) fn has_room(&self) -> Result<()> {
        self.has_room_for(0)
    }

    /// Refuses a write that would use the reserve, or where less than `least` bytes are free.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub(crate) fn has_room_for(&self, least: u64) -> Result<()> {
        let reserve = self.reserve.max(least);
        if reserve == 0 {
            return Ok(());
        }
        match self.free() {
            Some(free) if free < reserve => Err(Error::NoRoom { path: self.path.clone(), free, reserve }),
            _ => Ok(()),
        }
    }

    /// Bytes that this process may still use, where the system tells.
    pub(crate) fn free(&self) -> Option<u64> {
        let found = statvfs(&self.path).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
}
