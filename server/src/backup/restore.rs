//! Making a data folder of a backup, without a server: every file is held against its digest as it is copied.
//!
//! While it goes on the folder holds [`RESTORING`], and no server starts on it: what was cut short is never taken for whole.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::copy::{copy_digested, digest, listed, sync_folders};
use super::manifest::Undecodable;
use super::{BackedUpFile, Error, MANIFEST, Manifest, ONLINE, RESTORING, Result};

/// What a restore brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The data folder.
    pub data_dir: PathBuf,
    /// What the backup said of itself.
    pub manifest: Manifest,
}

/// Holds every file of a backup against its manifest; `told` hears of each file's bytes.
///
/// # Errors
/// It is no backup, or a file of it is missing or another.
pub fn check(backup: &Path, told: &dyn Fn(u64)) -> Result<Manifest> {
    let manifest = read(backup)?;
    for file in &manifest.files {
        let path = inside(backup, file)?;
        if !path.is_file() {
            return Err(damaged(file, "is missing"));
        }
        compare(file, &digest(&path)?)?;
        told(file.bytes);
    }
    let known: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).chain([MANIFEST]).collect();
    let extra = listed(backup, Path::new(""))?.into_iter().find(|path| !known.contains(&*path.to_string_lossy()));
    match extra {
        // RocksDB takes whatever lies in its folder for its own.
        Some(path) => Err(Error::Damaged { path: path.display().to_string(), why: "is not in its manifest" }),
        None => Ok(manifest),
    }
}

/// Makes a data folder of a backup, under the name `instance`. The folder must be empty, or not be there.
///
/// # Errors
/// It is no backup, a file of it is another, the data folder is not empty or can't be written. What was copied by then stays, marked
/// as half done.
pub fn restore(backup: &Path, data_dir: &Path, instance: &str, told: &dyn Fn(u64)) -> Result<Restored> {
    let manifest = read(backup)?;
    let failed = |source| Error::Io { doing: "making the data folder", path: data_dir.to_owned(), source };
    fs::create_dir_all(data_dir).map_err(failed)?;
    let holds = |entry: std::io::Result<fs::DirEntry>| entry.is_ok_and(|entry| entry.file_name() != "lost+found");
    if fs::read_dir(data_dir).map_err(failed)?.any(holds) {
        return Err(Error::NotEmpty(data_dir.to_owned()));
    }
    let marker = data_dir.join(RESTORING);
    fs::write(&marker, format!("from {}\n", backup.display())).map_err(failed)?;
    File::open(&marker).and_then(|file| file.sync_all()).map_err(failed)?;
    for file in &manifest.files {
        let (from, to) = (inside(backup, file)?, data_dir.join(&file.path));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        if !from.is_file() {
            return Err(damaged(file, "is missing"));
        }
        compare(file, &copy_digested(&from, &to)?)?;
        told(file.bytes);
    }
    tidegate_online::store::renew(&data_dir.join(ONLINE), instance).map_err(Error::Online)?;
    sync_folders(data_dir)?;
    fs::remove_file(&marker).map_err(failed)?;
    File::open(data_dir).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(Restored { data_dir: data_dir.to_owned(), manifest })
}

fn read(backup: &Path) -> Result<Manifest> {
    let path = backup.join(MANIFEST);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Error::NoBackup(backup.to_owned())),
        bytes => bytes.map_err(|source| Error::Io { doing: "reading the manifest", path: path.clone(), source })?,
    };
    Manifest::decode(&bytes).map_err(|why| match why {
        Undecodable::Format(found) => Error::NewerFormat { found, supported: Manifest::format() },
        Undecodable::Damaged(why) => Error::Manifest { path, why },
    })
}

/// A file's path, which must not lead out of the backup.
fn inside(backup: &Path, file: &BackedUpFile) -> Result<PathBuf> {
    let path = Path::new(&file.path);
    let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if plain { Ok(backup.join(path)) } else { Err(damaged(file, "leads out of the backup")) }
}

fn compare(file: &BackedUpFile, (bytes, sha256): &(u64, String)) -> Result<()> {
    match *bytes == file.bytes && *sha256 == file.sha256 {
        true => Ok(()),
        false => Err(damaged(file, "is not what was backed up")),
    }
}

fn damaged(file: &BackedUpFile, why: &'static str) -> Error {
    Error::Damaged { path: file.path.clone(), why }
}
