//! Sorted rows into files of the database's own kind.

use std::path::{Path, PathBuf};

use rocksdb::{Options, SstFileWriter};
use tidegate_schemas::failpoint::{Failpoint, reach};

use super::Sink;
use crate::key;
use crate::{Error, Result};

/// Bytes of one finished file, about: what the database makes itself.
const FILE_BYTES: usize = 64 << 20;

/// Finished files, one after the other.
pub(super) struct Files<'a> {
    writer: SstFileWriter<'a>,
    /// What the files are named by.
    name: &'a Path,
    suffix: [u8; key::SUFFIX],
    key: Vec<u8>,
    rows: u64,
    /// Bytes put into the file that is open.
    bytes: usize,
    paths: Vec<PathBuf>,
}

impl<'a> Files<'a> {
    pub(super) fn new(options: &'a Options, name: &'a Path, suffix: [u8; key::SUFFIX]) -> Self {
        let writer = SstFileWriter::create(options);
        Self { writer, name, suffix, key: Vec::new(), rows: 0, bytes: 0, paths: Vec::new() }
    }

    fn close(&mut self) -> Result<()> {
        self.bytes = 0;
        self.writer.finish().map_err(Error::store("finishing a file"))
    }

    pub(super) fn end(mut self) -> Result<(Vec<PathBuf>, u64)> {
        if self.bytes > 0 {
            self.close()?;
        }
        Ok((self.paths, self.rows))
    }
}

impl Sink for Files<'_> {
    fn put(&mut self, entity: &[u8], row: &[u8]) -> Result<()> {
        if self.bytes == 0 {
            let path = self.name.with_extension(format!("{}.sst", self.paths.len()));
            self.writer.open(&path).map_err(Error::store("beginning a file"))?;
            self.paths.push(path);
        }
        self.key.clear();
        self.key.extend_from_slice(entity);
        self.key.extend_from_slice(&self.suffix);
        self.writer.put(&self.key, row).map_err(Error::store("writing a file"))?;
        reach(Failpoint::MidLoad);
        self.rows += 1;
        self.bytes += self.key.len() + row.len();
        if self.bytes >= FILE_BYTES { self.close() } else { Ok(()) }
    }
}
