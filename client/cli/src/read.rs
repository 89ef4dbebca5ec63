//! Files of rows as Arrow batches: Parquet, CSV, NDJSON and Arrow IPC, or standard input as any of them.
//!
//! [`Input`] is a file with its format, [`Wanted`] what the reader knows of the columns, [`open`] one file's [`Rows`],
//! [`stream`] several files' rows as the one stream that a call sends. CSV and NDJSON are typed by [`Wanted`]; Parquet and
//! Arrow bring their types along, and the server checks them.

mod csv;
mod ipc;
mod ndjson;
mod parquet;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use clap::ValueEnum;
use futures::Stream;
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::failure::{Failure, Result};
use crate::values::Rounding;

/// How a file holds rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated text with a header line.
    Csv,
    /// One JSON object on each line.
    Ndjson,
    /// Arrow IPC, file or stream.
    Arrow,
}

impl Format {
    /// The format that a file's name says.
    pub(crate) fn of_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "parquet" | "pq" => Some(Self::Parquet),
            "csv" => Some(Self::Csv),
            "ndjson" | "jsonl" | "json" => Some(Self::Ndjson),
            "arrow" | "arrows" | "ipc" | "feather" => Some(Self::Arrow),
            _ => None,
        }
    }
}

/// A file to read.
#[derive(Debug)]
pub(crate) struct Input {
    /// As shown in errors.
    pub(crate) name: String,
    path: PathBuf,
    format: Format,
    /// Standard input is kept in a temporary file, so that it can be digested before it is sent and read again for an error's place.
    _spooled: Option<NamedTempFile>,
}

impl Input {
    /// The file that an argument names; `-` is standard input.
    pub(crate) fn new(path: &Path, format: Option<Format>) -> Result<Self> {
        if path == Path::new("-") {
            let format = format.ok_or_else(|| {
                Failure::new("standard input has no name to tell its format by").help("say it with --format")
            })?;
            let spooled =
                spool(&mut io::stdin().lock()).map_err(|error| Failure::io("read", Path::new("<stdin>"), error))?;
            let path = spooled.path().to_owned();
            return Ok(Self { name: "<stdin>".to_owned(), path, format, _spooled: Some(spooled) });
        }
        let format = format.or_else(|| Format::of_path(path)).ok_or_else(|| {
            Failure::new(format!("{} has no extension that tells its format", path.display()))
                .help("say it with --format parquet|csv|ndjson|arrow")
        })?;
        let input = Self { name: path.display().to_string(), path: path.to_owned(), format, _spooled: None };
        input.open()?;
        Ok(input)
    }

    fn open(&self) -> Result<File> {
        File::open(&self.path).map_err(|error| Failure::io("read", Path::new(&self.name), error))
    }

    /// The file's length in bytes, 0 where unknown.
    pub(crate) fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    fn failed(&self, doing: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
        Failure::new(format!("{} can't be read: {doing}", self.name)).caused_by(error)
    }
}

fn spool(from: &mut dyn Read) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    io::copy(from, &mut file)?;
    file.flush()?;
    Ok(file)
}

/// What is known of the columns before a file is opened.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The types of columns by name.
    pub(crate) types: BTreeMap<String, DataType>,
    /// What becomes of columns that `types` does not name.
    pub(crate) others: Others,
    /// Where times finer than a microsecond go.
    pub(crate) rounding: Rounding,
    /// Texts of a CSV file that stand for null, beside the empty one.
    pub(crate) nulls: Vec<String>,
}

/// Columns that nothing is known about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    /// Refused by whoever receives them; read as text.
    Refuse,
    /// Left out.
    Ignore,
    /// Typed by what they hold.
    Infer,
}

/// A file's rows. Iterating stops at the first error.
pub(crate) struct Rows {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Box<dyn Iterator<Item = Result<RecordBatch>> + Send>,
}

/// Opens one file; `bar` moves by the bytes read.
pub(crate) fn open(input: &Arc<Input>, wanted: &Wanted, bar: &ProgressBar) -> Result<Rows> {
    if input.bytes() == 0 {
        return Err(Failure::new(format!("{} is empty", input.name)));
    }
    match input.format {
        Format::Csv => csv::open(input, wanted, bar),
        Format::Ndjson => ndjson::open(input, wanted, bar),
        Format::Parquet => parquet::open(input, bar),
        Format::Arrow => ipc::open(input, bar),
    }
}

/// The rows of several files as one, with the first file's columns.
pub(crate) fn open_all(inputs: Vec<Arc<Input>>, wanted: Wanted, bar: ProgressBar) -> Result<Rows> {
    let mut inputs = inputs.into_iter();
    let first = inputs.next().ok_or_else(|| Failure::new("no file is named"))?;
    let first_name = first.name.clone();
    let Rows { schema, batches } = open(&first, &wanted, &bar)?;
    let expected = schema.clone();
    let rest = inputs.flat_map(move |input| {
        let opened = open(&input, &wanted, &bar);
        let expected = expected.clone();
        let first_name = first_name.clone();
        let rows: Box<dyn Iterator<Item = Result<RecordBatch>> + Send> = match opened {
            Err(failure) => Box::new(std::iter::once(Err(failure))),
            Ok(rows) => Box::new(rows.batches.map(move |batch| align(batch?, &expected, &input.name, &first_name))),
        };
        rows
    });
    Ok(Rows { schema, batches: Box::new(batches.chain(rest)) })
}

/// A batch with the columns of `schema`, in its order.
fn align(batch: RecordBatch, schema: &SchemaRef, name: &str, first: &str) -> Result<RecordBatch> {
    let differs = |what: String| {
        Err(Failure::new(format!("{name} {what}"))
            .help("files of one call have the same columns; use one call for each kind"))
    };
    if let Some(extra) = batch.schema_ref().fields().iter().find(|field| schema.index_of(field.name()).is_err()) {
        return differs(format!("has a column `{}` that {first} does not have", extra.name()));
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let Some(column) = batch.column_by_name(field.name()) else {
            return differs(format!("lacks the column `{}` that {first} has", field.name()));
        };
        if column.data_type() != field.data_type() {
            let (here, there) = (column.data_type(), field.data_type());
            return differs(format!("has `{}` as {here}, {first} as {there}", field.name()));
        }
        columns.push(column.clone());
    }
    let nullable: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(nullable)), columns)?)
}

/// Rows as a stream, read on a thread of its own a little ahead of the network.
///
/// The stream ends only when the rows do: a reader that dies is an error, never an early end.
pub(crate) fn stream(rows: Rows) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static {
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        for batch in rows.batches {
            let last = batch.is_err();
            if sender.blocking_send(Some(batch)).is_err() || last {
                return;
            }
        }
        let _ = sender.blocking_send(None);
    });
    futures::stream::unfold(Some(receiver), |receiver| async {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Some(Ok(batch))) => Some((Ok(batch), Some(receiver))),
            Some(Some(Err(failure))) => Some((Err(failure), None)),
            Some(None) => None,
            None => Some((Err(Failure::new("reading the rows stopped half way, by a defect of the reader")), None)),
        }
    })
}

/// A digest of the files' content in the order given, as a batch id: the same content is ingested once.
pub(crate) fn content_id(inputs: &[Arc<Input>]) -> Result<String> {
    let mut whole = Sha256::new();
    for input in inputs {
        let mut file = BufReader::with_capacity(1 << 20, input.open()?);
        let mut one = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut buffer).map_err(|error| Failure::io("read", Path::new(&input.name), error))?;
            if read == 0 {
                break;
            }
            one.update(&buffer[..read]);
        }
        whole.update(one.finalize());
    }
    let hex: String = whole.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sha256-{hex}"))
}
