//! Bringing files into a backup: linked where both lie on one file system, else copied, and digested either way.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use tidegate_schemas::digest::Digest;

use super::{BackedUpFile, Error, Result};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// A folder that a backup is put together in.
pub(crate) struct Target<'a> {
    /// The folder.
    pub(crate) folder: &'a Path,
    /// Told of each file, with its bytes.
    pub(crate) told: &'a dyn Fn(u64),
}

impl Target<'_> {
    /// Brings the chosen files of a folder of the data folder over, of all its folders. Files that vanish meanwhile are left out. Where
    /// files name others that are only added, choose those first: none comes without what it names.
    pub(crate) fn bring(
        &self,
        data: &Path,
        name: &Path,
        chosen: impl Fn(&Path) -> bool,
        files: &mut Vec<BackedUpFile>,
    ) -> Result<()> {
        for path in listed(data, name)?.into_iter().filter(|path| chosen(path) && !is_half(path)) {
            files.extend(self.file(data, &path)?);
        }
        Ok(())
    }

    /// Brings one file over; `None` where it is gone.
    pub(crate) fn file(&self, data: &Path, path: &Path) -> Result<Option<BackedUpFile>> {
        let (from, to) = (data.join(path), self.folder.join(path));
        let failed = |source| Error::Io { doing: "copying into the backup", path: from.clone(), source };
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        match link_or_copy(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            done => done.map_err(failed)?,
        }
        self.known(path).map(Some)
    }

    /// Digests what is in the backup already.
    pub(crate) fn known(&self, path: &Path) -> Result<BackedUpFile> {
        let (bytes, sha256) = digest(&self.folder.join(path))?;
        (self.told)(bytes);
        Ok(BackedUpFile { path: path.to_string_lossy().into_owned(), bytes, sha256 })
    }
}

/// The files below a folder, relative to `root`, sorted; none where there is no such folder.
pub(crate) fn listed(root: &Path, name: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![name.to_owned()]);
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        let failed = |source| Error::Io { doing: "listing a folder", path: path.clone(), source };
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let below = folder.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(below),
                Ok(kind) if kind.is_file() => found.push(below),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A file that a write has not given its name yet, or a hint at the newest checkpoint of a log, which may not come along.
fn is_half(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || name == "_last_checkpoint" || name.ends_with(".tmp") || name.contains('#')
}

fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        // Another file system, or one without links.
        Err(_) => {
            fs::copy(from, to)?;
            File::open(to)?.sync_all()
        }
    }
}

/// A file's length and digest.
pub(crate) fn digest(path: &Path) -> Result<(u64, String)> {
    through(path, |_| Ok(()))
}

/// Copies a file durably; gives its length and digest.
pub(crate) fn copy_digested(from: &Path, to: &Path) -> Result<(u64, String)> {
    let failed = |source| Error::Io { doing: "restoring a file", path: to.to_owned(), source };
    let mut file = File::create_new(to).map_err(failed)?;
    let copied = through(from, |chunk| file.write_all(chunk).map_err(failed))?;
    file.sync_all().map_err(failed)?;
    Ok(copied)
}

fn through(path: &Path, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<(u64, String)> {
    let failed = |source| Error::Io { doing: "reading a file", path: path.to_owned(), source };
    let mut file = BufReader::with_capacity(CHUNK, File::open(path).map_err(failed)?);
    let (mut digest, mut bytes, mut chunk) = (Digest::new(), 0, vec![0; CHUNK]);
    loop {
        let read = file.read(&mut chunk).map_err(failed)?;
        if read == 0 {
            return Ok((bytes, digest.hex()));
        }
        digest.update(&chunk[..read]);
        take(&chunk[..read])?;
        bytes += read as u64;
    }
}

/// Brings the names in a folder and all its folders to disk.
pub(crate) fn sync_folders(root: &Path) -> Result<()> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |source| Error::Io { doing: "bringing a folder to disk", path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
        File::open(&folder).and_then(|opened| opened.sync_all()).map_err(failed)?;
    }
    Ok(())
}
