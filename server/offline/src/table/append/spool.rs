//! Checked rows on their way to the table: in memory while few, in a spill file beyond.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::execution::spill_file::{SpillFile, SpillWriter};

use crate::error::{Error, Result};
use crate::runtime::Runtime;

/// Bytes kept in memory before a file is made.
const MEMORY_BYTES: usize = 16 << 20;

/// Checked rows.
pub(super) struct Spool {
    runtime: Arc<Runtime>,
    schema: SchemaRef,
    memory: Vec<RecordBatch>,
    memory_bytes: usize,
    file: Option<SpoolFile>,
}

struct SpoolFile {
    file: Arc<dyn SpillFile>,
    writer: StreamWriter<BufWriter<Box<dyn SpillWriter>>>,
}

impl Spool {
    pub(super) fn new(runtime: &Arc<Runtime>, schema: SchemaRef) -> Self {
        Self { runtime: runtime.clone(), schema, memory: Vec::new(), memory_bytes: 0, file: None }
    }

    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if let Some(file) = &mut self.file {
            return Ok(file.writer.write(&batch)?);
        }
        self.memory_bytes += crate::runtime::batch_bytes(&batch);
        self.memory.push(batch);
        if self.memory_bytes > MEMORY_BYTES { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<()> {
        let file = self.runtime.environment().disk_manager.create_tmp_file("checking incoming rows")?;
        let mut writer = StreamWriter::try_new(BufWriter::new(file.open_writer()?), &self.schema)?;
        for batch in self.memory.drain(..) {
            writer.write(&batch)?;
        }
        self.memory_bytes = 0;
        self.file = Some(SpoolFile { file, writer });
        Ok(())
    }

    /// The rows in order of arrival.
    pub(super) fn read(self) -> Result<SpoolReader> {
        let Some(SpoolFile { file, mut writer }) = self.file else {
            return Ok(SpoolReader { memory: self.memory.into_iter(), file: None });
        };
        writer.finish()?;
        let buffered = writer.into_inner()?;
        let mut inner = buffered
            .into_inner()
            .map_err(|error| Error::Io { doing: "writing the spill file", source: error.into_error() })?;
        inner.finish()?;
        let Some(path) = file.path() else {
            return Err(Error::Internal("a spill file has no path".to_owned()));
        };
        let opened = File::open(path).map_err(|source| Error::Io { doing: "reading the spill file", source })?;
        let reader = StreamReader::try_new(BufReader::new(opened), None)?;
        Ok(SpoolReader { memory: self.memory.into_iter(), file: Some((reader, file)) })
    }
}

/// A spilled file being read, and the handle that deletes it when dropped.
type Spilled = (StreamReader<BufReader<File>>, Arc<dyn SpillFile>);

/// Reads checked rows.
pub(super) struct SpoolReader {
    memory: std::vec::IntoIter<RecordBatch>,
    file: Option<Spilled>,
}

impl Iterator for SpoolReader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(batch) = self.memory.next() {
            return Some(Ok(batch));
        }
        let (reader, _) = self.file.as_mut()?;
        reader.next().map(|batch| batch.map_err(Error::from))
    }
}
