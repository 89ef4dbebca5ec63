//! The data folder: who owns it, and what is where in it.
//!
//! ```text
//! data_dir/
//!   LOCK          held by the one server that uses the folder; holds its pid
//!   server.json   addresses and pid of a server that is ready; gone when it stopped
//!   registry/     definitions, one file for each version
//!   sealed/       sealed training sets, <project>/<name>.json, and their spines
//!   erased/       receipts of erasures, <project>/<id>.json
//!   tables/       managed Delta tables, <project>/<source>
//!   online/       the online tier's store
//!   jobs/         materializations that wait, run and ended, one file for each
//!   backups/      backups, unless they go elsewhere
//!   RESTORING     only while a backup is being restored: no server starts on it
//!   spill/        temporary files of plans and uploads; emptied at start
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Error;
use crate::backup::RESTORING;

/// A data folder that this process owns until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    /// The lock ends with the file's last handle, so also when the process is killed.
    _lock: File,
}

impl DataDir {
    /// Creates the folder where it is missing and takes its lock.
    ///
    /// # Errors
    /// The folder can't be used, or another server owns it.
    pub fn lock(root: &Path) -> Result<Self, Error> {
        let unusable = |source| Error::DataDir { path: root.to_owned(), source };
        std::fs::create_dir_all(root).map_err(unusable)?;
        let root = root.canonicalize().map_err(unusable)?;
        if root.join(RESTORING).exists() {
            return Err(Error::HalfRestored(root));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(root.join("LOCK")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = lock.read_to_string(&mut pid);
                return Err(Error::Locked { path: root, pid: pid.trim().to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        write_pid(&mut lock).map_err(unusable)?;
        let folder = Self { root, _lock: lock };
        folder.empty_spill().map_err(unusable)?;
        Ok(folder)
    }

    /// Definitions.
    #[must_use]
    pub fn registry(&self) -> PathBuf {
        self.root.join("registry")
    }

    /// Sealed training sets.
    #[must_use]
    pub fn sealed(&self) -> PathBuf {
        self.root.join("sealed")
    }

    /// Receipts of erasures.
    #[must_use]
    pub fn erased(&self) -> PathBuf {
        self.root.join("erased")
    }

    /// Managed tables.
    #[must_use]
    pub fn tables(&self) -> PathBuf {
        self.root.join("tables")
    }

    /// The online tier.
    #[must_use]
    pub fn online(&self) -> PathBuf {
        self.root.join("online")
    }

    /// Jobs.
    #[must_use]
    pub fn jobs(&self) -> PathBuf {
        self.root.join("jobs")
    }

    /// Temporary files.
    #[must_use]
    pub fn spill(&self) -> PathBuf {
        self.root.join("spill")
    }

    /// Says where a ready server is, for scripts that started it on free ports.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn announce(&self, grpc: SocketAddr, http: SocketAddr) -> Result<(), Error> {
        let text = serde_json::json!({
            "grpc": grpc.to_string(), "http": http.to_string(), "pid": std::process::id()
        });
        let (file, half) = (self.root.join("server.json"), self.root.join("server.json.half"));
        // Renamed into place, so that no reader sees half of it.
        std::fs::write(&half, format!("{text}\n"))
            .and_then(|()| std::fs::rename(&half, &file))
            .map_err(|source| Error::DataDir { path: file, source })
    }

    /// What a server that was killed had half done there is of no use to the next.
    fn empty_spill(&self) -> std::io::Result<()> {
        match std::fs::remove_dir_all(self.spill()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // A file of a server that was killed: nobody is ready yet.
        let _ = std::fs::remove_file(self.root.join("server.json"));
        std::fs::create_dir_all(self.spill())
    }
}

/// Says who holds the lock, for the message that a second server gives.
fn write_pid(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // The lock goes after it: nobody reads a stale address while the folder is free.
        let _ = std::fs::remove_file(self.root.join("server.json"));
    }
}
