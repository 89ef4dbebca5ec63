//! Batches as files or bytes: Parquet, CSV, NDJSON, a JSON array, Arrow IPC.
//!
//! [`Writer`] writes one of them to anything; [`FileWriter`] to a file that appears under its name only when it is whole.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter as IpcWriter;
use arrow::json::writer::{JsonArray, LineDelimited, Writer as JsonWriter, WriterBuilder as JsonBuilder};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::failure::{Failure, Result};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Parquet,
    Csv,
    /// One object on each line.
    Ndjson,
    /// One array of objects.
    Json,
    /// An Arrow IPC file.
    Arrow,
}

impl Format {
    /// The format that a file's name says.
    pub(crate) fn of_path(path: &Path) -> Result<Self> {
        let extension = path.extension().and_then(|it| it.to_str()).unwrap_or_default().to_ascii_lowercase();
        match extension.as_str() {
            "parquet" | "pq" => Ok(Self::Parquet),
            "csv" => Ok(Self::Csv),
            "ndjson" | "jsonl" => Ok(Self::Ndjson),
            "json" => Ok(Self::Json),
            "arrow" | "ipc" | "feather" => Ok(Self::Arrow),
            _ => Err(Failure::new(format!("{} has no extension that tells its format", path.display()))
                .help("end it with .parquet, .csv, .ndjson, .json or .arrow")),
        }
    }
}

/// Writes batches in one format.
pub(crate) struct Writer<W: Write + Send> {
    to: Encoder<W>,
}

enum Encoder<W: Write + Send> {
    Parquet(Box<ArrowWriter<W>>),
    Csv(Box<arrow::csv::Writer<W>>),
    Ndjson(JsonWriter<W, LineDelimited>),
    Json(JsonWriter<W, JsonArray>),
    Arrow(Box<IpcWriter<W>>),
}

impl<W: Write + Send> Writer<W> {
    pub(crate) fn new(to: W, format: Format, schema: &SchemaRef) -> Result<Self> {
        let json = || JsonBuilder::new().with_explicit_nulls(true);
        let to = match format {
            Format::Parquet => {
                let level = ZstdLevel::try_new(3).map_err(failed)?;
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                Encoder::Parquet(Box::new(ArrowWriter::try_new(to, schema.clone(), Some(properties)).map_err(failed)?))
            }
            Format::Csv => {
                let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(to);
                // The header is there even when no row is.
                writer.write(&RecordBatch::new_empty(schema.clone())).map_err(of_arrow)?;
                Encoder::Csv(Box::new(writer))
            }
            Format::Ndjson => Encoder::Ndjson(json().build(to)),
            Format::Json => Encoder::Json(json().build(to)),
            Format::Arrow => Encoder::Arrow(Box::new(IpcWriter::try_new(to, schema).map_err(of_arrow)?)),
        };
        Ok(Self { to })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.to {
            Encoder::Parquet(writer) => writer.write(batch).map_err(failed),
            Encoder::Csv(writer) => writer.write(batch).map_err(of_arrow),
            Encoder::Ndjson(writer) => writer.write(batch).map_err(of_arrow),
            Encoder::Json(writer) => writer.write(batch).map_err(of_arrow),
            Encoder::Arrow(writer) => writer.write(batch).map_err(of_arrow),
        }
    }

    /// Writes what a format ends with and gives the target back.
    pub(crate) fn finish(self) -> Result<W> {
        match self.to {
            Encoder::Parquet(writer) => writer.into_inner().map_err(failed),
            Encoder::Csv(writer) => Ok(writer.into_inner()),
            Encoder::Ndjson(mut writer) => {
                writer.finish().map_err(of_arrow)?;
                Ok(writer.into_inner())
            }
            Encoder::Json(mut writer) => {
                writer.finish().map_err(of_arrow)?;
                Ok(writer.into_inner())
            }
            Encoder::Arrow(mut writer) => {
                writer.finish().map_err(of_arrow)?;
                writer.into_inner().map_err(of_arrow)
            }
        }
    }
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::new("can't write the rows").caused_by(error)
}

fn of_arrow(error: ArrowError) -> Failure {
    match error {
        ArrowError::IoError(_, source) => failed(source),
        error => failed(error).help("a column may have a type that the format can't hold; Parquet and Arrow hold all"),
    }
}

/// Writes a file beside its place and moves it there when it is whole; dropped before that, it leaves nothing.
pub(crate) struct FileWriter {
    writer: Option<Writer<BufWriter<File>>>,
    partial: PathBuf,
    path: PathBuf,
}

impl FileWriter {
    pub(crate) fn create(path: &Path, schema: &SchemaRef) -> Result<Self> {
        let format = Format::of_path(path)?;
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(|error| Failure::io("write", path, error))?;
        let mut this = Self { writer: None, partial, path: path.to_owned() };
        this.writer = Some(Writer::new(BufWriter::new(file), format, schema)?);
        Ok(this)
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.as_mut().map_or(Ok(()), |writer| writer.write(batch))
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let mut file = writer.finish()?;
        file.flush()
            .and_then(|()| std::fs::rename(&self.partial, &self.path))
            .map_err(|error| Failure::io("write", &self.path, error))
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        // After `finish` there is nothing of that name.
        let _ = std::fs::remove_file(&self.partial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, TimestampMicrosecondArray};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use std::sync::Arc;

    fn batch() -> RecordBatch {
        let zone: Arc<str> = "UTC".into();
        let schema = Schema::new(vec![
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some(zone.clone())), true),
            Field::new("temp", DataType::Float64, true),
        ]);
        let at = TimestampMicrosecondArray::from(vec![1_357_016_400_000_000, 0]).with_timezone(zone);
        let temp = Float64Array::from(vec![Some(1.5), None]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(at), Arc::new(temp)]).unwrap()
    }

    fn text(format: Format) -> String {
        let mut writer = Writer::new(Vec::new(), format, &batch().schema()).unwrap();
        writer.write(&batch()).unwrap();
        String::from_utf8(writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn text_formats_hold_times_in_utc_and_gaps() {
        assert_eq!(text(Format::Csv), "at,temp\n2013-01-01T05:00:00Z,1.5\n1970-01-01T00:00:00Z,\n");
        let lines = "{\"at\":\"2013-01-01T05:00:00Z\",\"temp\":1.5}\n{\"at\":\"1970-01-01T00:00:00Z\",\"temp\":null}\n";
        assert_eq!(text(Format::Ndjson), lines);
        let array: serde_json::Value = serde_json::from_str(&text(Format::Json)).unwrap();
        assert_eq!(array.as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.parquet");
        let names = || std::fs::read_dir(folder.path()).unwrap().count();
        let mut dropped = FileWriter::create(&path, &batch().schema()).unwrap();
        dropped.write(&batch()).unwrap();
        drop(dropped);
        assert_eq!(names(), 0);
        let mut whole = FileWriter::create(&path, &batch().schema()).unwrap();
        whole.write(&batch()).unwrap();
        whole.finish().unwrap();
        assert!(path.exists() && names() == 1);
        assert!(FileWriter::create(&folder.path().join("out"), &batch().schema()).is_err());
    }
}
