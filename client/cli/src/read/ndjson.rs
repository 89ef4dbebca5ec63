//! NDJSON: one JSON object on each line. Lines are decoded some thousand at a time; when they are not what is wanted, one by
//! one, to name the line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::infer_json_schema;
use indicatif::{ProgressBar, ProgressBarIter};

use super::{Input, Others, Rows, Wanted};
use crate::failure::{Failure, Result};
use crate::values::{BadValue, first_inexact, is_checked, parse_column};

const CHUNK_LINES: usize = 8_192;
const CHUNK_BYTES: usize = 8 << 20;
const INFER_ROWS: usize = 10_000;

pub(super) fn open(input: &Arc<Input>, wanted: &Wanted, bar: &ProgressBar) -> Result<Rows> {
    let schema = schema(input, wanted)?;
    // Times are decoded as text and parsed by the one rule for rounding.
    let decoded = schema.fields().iter().map(|field| match is_time(field.data_type()) {
        true => field.as_ref().clone().with_data_type(DataType::Utf8),
        false => field.as_ref().clone(),
    });
    let chunks = Chunks {
        lines: BufReader::with_capacity(1 << 20, bar.wrap_read(input.open()?)),
        line: 0,
        input: input.clone(),
        decoded: Arc::new(Schema::new(decoded.collect::<Vec<_>>())),
        schema: schema.clone(),
        wanted: wanted.clone(),
        failed: false,
    };
    Ok(Rows { schema, batches: Box::new(chunks) })
}

fn is_time(of: &DataType) -> bool {
    matches!(of, DataType::Timestamp(TimeUnit::Microsecond, _))
}

fn schema(input: &Input, wanted: &Wanted) -> Result<SchemaRef> {
    let known =
        |name: &str, otherwise: &DataType| Field::new(name, wanted.types.get(name).unwrap_or(otherwise).clone(), true);
    let fields: Vec<Field> = match wanted.others {
        Others::Refuse | Others::Ignore => {
            wanted.types.iter().map(|(name, of)| Field::new(name, of.clone(), true)).collect()
        }
        Others::Infer => {
            let (inferred, _) = infer_json_schema(BufReader::new(input.open()?), Some(INFER_ROWS))
                .map_err(|error| input.failed("its first lines are not JSON objects", error))?;
            inferred.fields().iter().map(|field| known(field.name(), field.data_type())).collect()
        }
    };
    Ok(Arc::new(Schema::new(fields)))
}

struct Chunks {
    lines: BufReader<ProgressBarIter<File>>,
    /// Lines read so far.
    line: usize,
    input: Arc<Input>,
    decoded: SchemaRef,
    schema: SchemaRef,
    wanted: Wanted,
    failed: bool,
}

/// Lines that hold something, end to end, with their numbers.
#[derive(Default)]
struct Chunk {
    text: Vec<u8>,
    starts: Vec<usize>,
    numbers: Vec<usize>,
}

impl Chunk {
    fn lines(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let ends = self.starts.iter().skip(1).copied().chain([self.text.len()]);
        self.starts.iter().zip(ends).zip(&self.numbers).map(|((start, end), number)| (*number, &self.text[*start..end]))
    }
}

impl Iterator for Chunks {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let batch = match self.read() {
            Ok(chunk) if chunk.numbers.is_empty() => return None,
            Ok(chunk) => self.decode(&chunk),
            Err(failure) => Err(failure),
        };
        self.failed = batch.is_err();
        Some(batch)
    }
}

impl Chunks {
    fn read(&mut self) -> Result<Chunk> {
        let mut chunk = Chunk::default();
        while chunk.numbers.len() < CHUNK_LINES && chunk.text.len() < CHUNK_BYTES {
            let start = chunk.text.len();
            let read = self
                .lines
                .read_until(b'\n', &mut chunk.text)
                .map_err(|error| self.input.failed("reading failed", error))?;
            if read == 0 {
                break;
            }
            self.line += 1;
            if chunk.text[start..].iter().all(u8::is_ascii_whitespace) {
                chunk.text.truncate(start);
                continue;
            }
            chunk.starts.push(start);
            chunk.numbers.push(self.line);
        }
        Ok(chunk)
    }

    fn decode(&self, chunk: &Chunk) -> Result<RecordBatch> {
        match self.decode_rows(&chunk.text, chunk.numbers.len()) {
            Ok(batch) => {
                self.check_numbers(chunk)?;
                self.with_times(&batch, chunk)
            }
            Err(error) => Err(self.locate(chunk, error)),
        }
    }

    /// Decodes text that must hold exactly `rows` objects.
    fn decode_rows(&self, text: &[u8], rows: usize) -> std::result::Result<RecordBatch, ArrowError> {
        let mut decoder = ReaderBuilder::new(self.decoded.clone())
            .with_batch_size(rows + 1)
            .with_strict_mode(self.wanted.others != Others::Ignore)
            .build_decoder()?;
        let read = decoder.decode(text)?;
        let batch = decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(self.decoded.clone()));
        if read < text.len() || batch.num_rows() != rows {
            return Err(ArrowError::JsonError("each line must hold one object".to_owned()));
        }
        Ok(batch)
    }

    /// Decoding cuts numbers to fit; what was written is looked at once more, as text.
    fn check_numbers(&self, chunk: &Chunk) -> Result<()> {
        let checked: Vec<&Arc<Field>> = self.schema.fields().iter().filter(|it| is_checked(it.data_type())).collect();
        if checked.is_empty() {
            return Ok(());
        }
        let text = checked.iter().map(|field| field.as_ref().clone().with_data_type(DataType::Utf8));
        let mut decoder = ReaderBuilder::new(Arc::new(Schema::new(text.collect::<Vec<_>>())))
            .with_batch_size(chunk.numbers.len() + 1)
            .with_coerce_primitive(true)
            .build_decoder()?;
        decoder.decode(&chunk.text)?;
        let Some(batch) = decoder.flush()? else { return Ok(()) };
        for (column, field) in batch.columns().iter().zip(checked) {
            if let Some(bad) = first_inexact(column.as_string::<i32>(), field.data_type()) {
                return Err(self.bad_value(chunk, field, &bad));
            }
        }
        Ok(())
    }

    fn bad_value(&self, chunk: &Chunk, field: &Field, bad: &BadValue) -> Failure {
        let (line, value) = (chunk.numbers[bad.row], bad.value.escape_debug());
        Failure::new(format!("{}:{line}: `{}`: `{value}` is no {}", self.input.name, field.name(), bad.wanted))
    }

    fn with_times(&self, batch: &RecordBatch, chunk: &Chunk) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
        for (column, field) in batch.columns().iter().zip(self.schema.fields()) {
            if !is_time(field.data_type()) {
                columns.push(column.clone());
                continue;
            }
            let parsed = parse_column(column.as_string::<i32>(), field.data_type(), self.wanted.rounding);
            columns.push(parsed.map_err(|bad| self.bad_value(chunk, field, &bad))?);
        }
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    /// The first line that can't be decoded by itself.
    fn locate(&self, chunk: &Chunk, error: ArrowError) -> Failure {
        let failed = |(number, line): (usize, &[u8])| Some((number, self.decode_rows(line, 1).err()?));
        let Some((line, error)) = chunk.lines().find_map(failed) else {
            return self.input.failed("its lines are not what is wanted", error);
        };
        let what = match &error {
            ArrowError::JsonError(what) => what.clone(),
            other => other.to_string(),
        };
        Failure::new(format!("{}:{line}: {what}", self.input.name))
            .help("each line holds one JSON object with the target's columns")
    }
}
