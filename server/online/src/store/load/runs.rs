//! Runs: sorted rows that were set aside on the disk.
//!
//! ```text
//! entity length u32 LE · row length u32 LE · entity · row      again and again, in the order of entities
//! ```

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::buffer::Buffer;
use super::failed;
use crate::Result;

/// Sets a buffer's rows aside, and empties it.
pub(super) fn write(path: &Path, buffer: &mut Buffer) -> Result<()> {
    let write = || {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        for (entity, row) in buffer.sorted() {
            let lengths = [entity.len() as u32, row.len() as u32];
            lengths.iter().try_for_each(|length| file.write_all(&length.to_le_bytes()))?;
            file.write_all(entity)?;
            file.write_all(row)?;
        }
        file.flush()
    };
    write().map_err(failed(path))?;
    buffer.clear();
    Ok(())
}

/// A run being read: where it stands.
struct Run {
    file: BufReader<File>,
    path: PathBuf,
    nth: usize,
    entity: Vec<u8>,
    row: Vec<u8>,
}

impl Run {
    fn open(nth: usize, path: &Path) -> Result<Self> {
        let file = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed(path))?);
        Ok(Self { file, path: path.to_owned(), nth, entity: Vec::new(), row: Vec::new() })
    }

    /// Goes to the next row; `false` after the last.
    fn advance(&mut self) -> Result<bool> {
        let mut read = || {
            if self.file.fill_buf()?.is_empty() {
                return Ok(false);
            }
            let mut length = || {
                let mut bytes = [0; 4];
                self.file.read_exact(&mut bytes).map(|()| u32::from_le_bytes(bytes) as usize)
            };
            let (entity, row) = (length()?, length()?);
            self.entity.resize(entity, 0);
            self.row.resize(row, 0);
            self.file.read_exact(&mut self.entity)?;
            self.file.read_exact(&mut self.row)?;
            Ok(true)
        };
        read().map_err(failed(&self.path))
    }
}

/// The heap gives the greatest first: the lowest entity, and of one entity the earliest run.
impl Ord for Run {
    fn cmp(&self, other: &Self) -> Ordering {
        (&other.entity, other.nth).cmp(&(&self.entity, self.nth))
    }
}

impl PartialOrd for Run {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Run {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Run {}

/// Hands over all rows in the order of their entities; those of one entity run by run.
pub(super) fn merge(paths: &[PathBuf], mut take: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
    let mut runs = BinaryHeap::with_capacity(paths.len());
    for (nth, path) in paths.iter().enumerate() {
        let mut run = Run::open(nth, path)?;
        if run.advance()? {
            runs.push(run);
        }
    }
    while let Some(mut run) = runs.peek_mut() {
        take(&run.entity, &run.row)?;
        if !run.advance()? {
            PeekMut::pop(run);
        }
    }
    Ok(())
}
