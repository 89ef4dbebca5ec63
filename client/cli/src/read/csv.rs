//! CSV with a header line. The file is read as text and each column then parsed as its type, so that a value that is none is
//! named with its line and column.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::{BufReader as CsvReader, Format};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use indicatif::{ProgressBar, ProgressBarIter};

use super::{Input, Others, Rows, Wanted};
use crate::failure::{Failure, Result};
use crate::output::note;
use crate::values::{BadValue, nulls_for, parse_column};

const BATCH_ROWS: usize = 8_192;
/// Rows looked at to tell the type of a column that nothing is known about.
const INFER_ROWS: usize = 10_000;

pub(super) fn open(input: &Arc<Input>, wanted: &Wanted, bar: &ProgressBar) -> Result<Rows> {
    let header = header(input, wanted)?;
    let text: Vec<Field> = header.iter().map(|column| Field::new(&column.name, DataType::Utf8, true)).collect();
    let reader = BufReader::with_capacity(1 << 20, bar.wrap_read(input.open()?));
    let reader = ReaderBuilder::new(Arc::new(Schema::new(text)))
        .with_header(true)
        .with_batch_size(BATCH_ROWS)
        .build_buffered(reader)
        .map_err(|error| input.failed("its header is no CSV", error))?;
    let left_out: Vec<&str> =
        header.iter().filter(|column| column.data_type.is_none()).map(|column| column.name.as_str()).collect();
    if !left_out.is_empty() {
        note(format!("{}: left out, as the target does not have them: {}", input.name, left_out.join(", ")));
    }
    let kept = header.iter().filter_map(|column| Some(Field::new(&column.name, column.data_type.clone()?, true)));
    let schema: SchemaRef = Arc::new(Schema::new(kept.collect::<Vec<_>>()));
    let batches = Batches {
        reader,
        input: input.clone(),
        header,
        schema: schema.clone(),
        wanted: wanted.clone(),
        rows: 0,
        failed: false,
    };
    Ok(Rows { schema, batches: Box::new(batches) })
}

/// A column of the file; without a type it is left out.
struct Column {
    name: String,
    data_type: Option<DataType>,
}

fn header(input: &Input, wanted: &Wanted) -> Result<Vec<Column>> {
    let rows = if wanted.others == Others::Infer { INFER_ROWS } else { 0 };
    let (inferred, _) = Format::default()
        .with_header(true)
        .infer_schema(BufReader::new(input.open()?), Some(rows))
        .map_err(|error| input.failed("its first lines are no CSV", error))?;
    let mut columns: Vec<Column> = Vec::new();
    for field in inferred.fields() {
        let name = field.name();
        if columns.iter().any(|column| column.name == *name) {
            return Err(Failure::new(format!("{}:1: two columns are named `{name}`", input.name)));
        }
        let data_type = match (wanted.types.get(name), wanted.others) {
            (Some(known), _) => Some(check_carried(input, name, known)?.clone()),
            (None, Others::Ignore) => None,
            (None, Others::Refuse) => Some(DataType::Utf8),
            (None, Others::Infer) => Some(widen(field.data_type())),
        };
        columns.push(Column { name: name.clone(), data_type });
    }
    Ok(columns)
}

/// Inferred types as Tidegate has them.
fn widen(inferred: &DataType) -> DataType {
    match inferred {
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Null => DataType::Utf8,
        other => other.clone(),
    }
}

fn check_carried<'a>(input: &Input, name: &str, data_type: &'a DataType) -> Result<&'a DataType> {
    match data_type.is_nested() {
        false => Ok(data_type),
        true => Err(Failure::new(format!(
            "{}: CSV can't carry `{name}`, a {}",
            input.name,
            crate::values::type_name(data_type)
        ))
        .help("use Parquet, Arrow or NDJSON")),
    }
}

struct Batches {
    reader: CsvReader<BufReader<ProgressBarIter<File>>>,
    input: Arc<Input>,
    header: Vec<Column>,
    schema: SchemaRef,
    wanted: Wanted,
    /// Rows handed out before.
    rows: usize,
    failed: bool,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let batch = match self.reader.next()? {
            Ok(text) => self.parse(&text),
            Err(error) => Err(self.input.failed("a line is not as wide as the header, or not UTF-8", error)),
        };
        self.failed = batch.is_err();
        Some(batch)
    }
}

impl Batches {
    fn parse(&mut self, text: &RecordBatch) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        // The first bad value in reading order, whatever column it is in.
        let mut first: Option<(usize, BadValue)> = None;
        for (at, column) in self.header.iter().enumerate() {
            let Some(data_type) = &column.data_type else { continue };
            let values = nulls_for(text.column(at).as_string::<i32>(), &self.wanted.nulls);
            match parse_column(&values, data_type, self.wanted.rounding) {
                Ok(parsed) => columns.push(parsed),
                Err(bad) if first.as_ref().is_none_or(|(_, other)| bad.row < other.row) => first = Some((at, bad)),
                Err(_) => {}
            }
        }
        if let Some((column, bad)) = first {
            return Err(self.bad_value(column, &bad));
        }
        self.rows += text.num_rows();
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    fn bad_value(&self, column: usize, bad: &BadValue) -> Failure {
        let name = &self.header[column].name;
        let line = self.line_of(self.rows + bad.row).map_or_else(String::new, |line| format!(":{line}"));
        let message = format!(
            "{}{line}: column {} `{name}`: `{}` is no {}",
            self.input.name,
            column + 1,
            bad.value.escape_debug(),
            bad.wanted
        );
        Failure::new(message).help("mend the line; a text that stands for a missing value is named with --null TEXT")
    }

    /// The line at which a row starts, found by reading the file again.
    fn line_of(&self, row: usize) -> Option<usize> {
        line_of_record(BufReader::new(self.input.open().ok()?), row + 1)
    }
}

/// The one-based line at which the zero-based record `wanted` starts. Quoted fields may hold line ends; empty lines are no
/// records.
fn line_of_record(mut from: impl BufRead, wanted: usize) -> Option<usize> {
    let (mut line, mut record) = (0, 0);
    let mut quoted = false;
    let mut text = Vec::new();
    loop {
        text.clear();
        if from.read_until(b'\n', &mut text).ok()? == 0 {
            return None;
        }
        line += 1;
        let starts = !quoted;
        let empty = text.iter().all(|byte| matches!(byte, b'\n' | b'\r'));
        if starts && empty {
            continue;
        }
        if starts && record == wanted {
            return Some(line);
        }
        // A doubled quote inside a quoted field toggles twice.
        quoted ^= text.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
        record += usize::from(!quoted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_past_quoted_line_ends_and_empty_lines() {
        let text = "a,b\n1,\"x\ny\"\n\n2,\"he said \"\"\n\"\"\"\r\n3,z";
        let check = |record: usize| line_of_record(text.as_bytes(), record);
        assert_eq!([0, 1, 2, 3, 4].map(check), [Some(1), Some(2), Some(5), Some(7), None]);
    }
}
