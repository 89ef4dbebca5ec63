//! Avro messages into rows, each by the schema that it was written with.
//!
//! ```text
//! 0x00      | schema u32 BE              | record    as serializers with a schema registry frame it
//! 0xC3 0x01 | fingerprint u64 LE (Rabin) | record    Avro's own single-object encoding
//! ```
//! The schemas are a JSON file of numbers and schemas, `{"7": {…}}`, or a folder of files `7.avsc`: they are read again when a message
//! names one that is not there. Messages of one schema are decoded together; its fields become the source's columns by name and are
//! converted as rows of a push are, exactly or not at all.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StringArray, UInt64Array};
use arrow::compute::{cast, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType as Arrow, Field, Schema};
use arrow::error::ArrowError;
use arrow_avro::reader::ReaderBuilder;
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use serde_json::Value;
use tidegate_offline::ingest::{Rejection, Rules, Sifter, Unfit};
use tidegate_schemas::types::DataType;

use super::{Poison, UNKNOWN_SCHEMA, UNREADABLE, build_or_blame, schema, whole};
use crate::kafka::Error;

const REMEDY: &str =
    "it has to be a JSON file `{\"7\": {…schema…}}` of numbers and schemas, or a folder of files such as `7.avsc`";

/// What tells that a file was replaced.
pub(super) type Stamp = (SystemTime, u64);

/// The schemas that messages are written with.
#[derive(Debug)]
pub(crate) struct Schemas {
    path: PathBuf,
    stamp: Stamp,
    known: HashMap<Writer, AvroSchema>,
}

/// How a message names its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Writer {
    Number(u32),
    Rabin(u64),
}

impl Writer {
    /// The one a message names.
    fn of(payload: &[u8]) -> Option<Self> {
        match payload {
            [0, a, b, c, d, ..] => Some(Self::Number(u32::from_be_bytes([*a, *b, *c, *d]))),
            [0xC3, 1, rest @ ..] => Some(Self::Rabin(u64::from_le_bytes(rest.get(..8)?.try_into().ok()?))),
            _ => None,
        }
    }

    fn fingerprint(self) -> Fingerprint {
        match self {
            Self::Number(number) => Fingerprint::Id(number),
            Self::Rabin(fingerprint) => Fingerprint::Rabin(fingerprint),
        }
    }
}

impl std::fmt::Display for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "schema {number}"),
            Self::Rabin(fingerprint) => write!(f, "the schema with the fingerprint {fingerprint:016x}"),
        }
    }
}

impl Schemas {
    pub(super) fn open(path: PathBuf) -> Result<Self, Error> {
        let (stamp, known) = read(&path)?;
        Ok(Self { path, stamp, known })
    }

    /// Reads the schemas again where they were replaced.
    fn refresh(&mut self) -> Result<(), Error> {
        if stamp(&self.path).ok() != Some(self.stamp) {
            (self.stamp, self.known) = read(&self.path)?;
        }
        Ok(())
    }

    /// Rows of payloads, and which payload each row was.
    pub(super) fn rows(
        &mut self,
        payloads: &[(usize, &[u8])],
        rules: &Rules,
        poison: &mut Vec<Poison>,
    ) -> Result<(RecordBatch, Vec<usize>), Error> {
        let mut groups: BTreeMap<Writer, Vec<(usize, &[u8])>> = BTreeMap::new();
        for &(message, payload) in payloads {
            match Writer::of(payload) {
                Some(writer) => groups.entry(writer).or_default().push((message, payload)),
                None => {
                    let detail =
                        "the message does not begin with the number or the fingerprint of its schema".to_owned();
                    poison.push(Poison { message, reason: UNREADABLE, detail });
                }
            }
        }
        if groups.keys().any(|writer| !self.known.contains_key(writer)) {
            self.refresh()?;
        }
        let mut rows = Rows::default();
        for (writer, group) in groups {
            match self.known.get(&writer) {
                Some(schema) => rows.take(writer, schema, &group, rules, poison)?,
                None => {
                    let detail = format!("{} has no {writer}; add it", self.path.display());
                    let unknown =
                        |&(message, _): &(usize, _)| Poison { message, reason: UNKNOWN_SCHEMA, detail: detail.clone() };
                    poison.extend(group.iter().map(unknown));
                }
            }
        }
        rows.in_order(rules)
    }
}

/// Rows of several schemas.
#[derive(Debug, Default)]
struct Rows {
    parts: Vec<RecordBatch>,
    /// Which message each row was.
    messages: Vec<usize>,
}

impl Rows {
    /// Adds the messages of one schema.
    fn take(
        &mut self,
        writer: Writer,
        schema: &AvroSchema,
        group: &[(usize, &[u8])],
        rules: &Rules,
        poison: &mut Vec<Poison>,
    ) -> Result<(), Error> {
        let mut blame =
            |at: usize, detail: String| poison.push(Poison { message: group[at].0, reason: UNREADABLE, detail });
        let mut build = |range: Range<usize>| read_records(writer, schema, &group[range]);
        for (range, records) in build_or_blame(0..group.len(), &mut build, &mut blame) {
            let (rows, misfits) = match convert(&records, rules) {
                Ok(converted) => converted,
                Err(why) => {
                    range.for_each(|at| blame(at, format!("{writer}: {why}")));
                    continue;
                }
            };
            let mut keep = vec![true; rows.num_rows()];
            for (row, detail) in misfits {
                keep[row] = false;
                blame(range.start + row, detail);
            }
            self.messages.extend(range.clone().filter(|at| keep[at - range.start]).map(|at| group[at].0));
            self.parts.push(filter_record_batch(&rows, &BooleanArray::from(keep)).map_err(Error::Rows)?);
        }
        Ok(())
    }

    /// All of them, in the order of their messages: of rows with the same keys and times the later one counts.
    fn in_order(self, rules: &Rules) -> Result<(RecordBatch, Vec<usize>), Error> {
        let rows = whole(&schema(rules), &self.parts)?;
        if self.messages.is_sorted() {
            return Ok((rows, self.messages));
        }
        let mut order: Vec<usize> = (0..self.messages.len()).collect();
        order.sort_by_key(|&at| self.messages[at]);
        let indices = UInt64Array::from_iter_values(order.iter().map(|&at| at as u64));
        let rows = take_record_batch(&rows, &indices).map_err(Error::Rows)?;
        Ok((rows, order.into_iter().map(|at| self.messages[at]).collect()))
    }
}

/// The records of messages of one schema, with that schema's fields.
fn read_records(writer: Writer, schema: &AvroSchema, group: &[(usize, &[u8])]) -> Result<RecordBatch, ArrowError> {
    let algorithm = match writer {
        Writer::Number(_) => FingerprintAlgorithm::Id,
        Writer::Rabin(_) => FingerprintAlgorithm::Rabin,
    };
    let mut store = SchemaStore::new_with_type(algorithm);
    store.set(writer.fingerprint(), schema.clone())?;
    let builder = ReaderBuilder::new().with_batch_size(group.len() + 1).with_writer_schema_store(store);
    let mut decoder = builder.with_active_fingerprint(writer.fingerprint()).build_decoder()?;
    let wrong = |what: &str| ArrowError::AvroError(format!("the message {what} by {writer}"));
    for (_, payload) in group {
        let room = decoder.capacity();
        let read = decoder.decode(payload)?;
        if decoder.capacity() + 1 != room || read != payload.len() {
            return Err(wrong(if read < payload.len() {
                "is longer or shorter than a record"
            } else {
                "is no one record"
            }));
        }
    }
    decoder.flush()?.ok_or_else(|| wrong("is no record"))
}

/// Records with the source's columns, and the rows with values that these can't hold.
fn convert(records: &RecordBatch, rules: &Rules) -> Result<(RecordBatch, Vec<(usize, String)>), String> {
    let records = typed(records, rules).map_err(|error| error.to_string())?;
    let optional = rules.columns.iter().map(|column| column.name.clone()).collect();
    let lenient = Rules { optional, ignore_extra_columns: true, ..rules.clone() };
    let problems = |rejection: Rejection| rejection.problems.join("; ");
    let sifter = Sifter::new(&lenient, &records.schema()).map_err(problems)?;
    let sifted = sifter.sift(&records).map_err(problems)?;
    // Nulls are judged with the rows of all formats.
    let values = sifted.misfits.into_iter().filter(|misfit| misfit.unfit == Unfit::Value);
    Ok((sifted.batch, values.map(|misfit| (misfit.row, misfit.detail)).collect()))
}

/// Plain integers where a time is wanted stand for microseconds, as they do in pushes; UUIDs become text.
fn typed(records: &RecordBatch, rules: &Rules) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in records.schema().fields().iter().zip(records.columns()) {
        let Some(wanted) = rules.columns.iter().find(|wanted| wanted.name == *field.name()) else { continue };
        let column: ArrayRef = match (field.data_type(), &wanted.data_type) {
            (Arrow::Int64, DataType::Timestamp) => cast(column, &DataType::Timestamp.to_arrow())?,
            (Arrow::FixedSizeBinary(16), DataType::String) => Arc::new(uuids(column)),
            _ => column.clone(),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(records.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

fn uuids(column: &ArrayRef) -> StringArray {
    let text = |bytes: Option<&[u8]>| Some(uuid::Uuid::from_slice(bytes?).ok()?.to_string());
    column.as_fixed_size_binary().iter().map(text).collect()
}

/// All schemas of a file or a folder.
fn read(path: &Path) -> Result<(Stamp, HashMap<Writer, AvroSchema>), Error> {
    let refused = |why: String| Error::Schemas { path: path.display().to_string(), why, remedy: REMEDY };
    let stamp = stamp(path).map_err(|error| refused(error.to_string()))?;
    let texts = if path.is_dir() { folder(path) } else { file(path) }.map_err(refused)?;
    let mut known = HashMap::new();
    for (number, text) in texts {
        let schema = AvroSchema::new(text);
        let fingerprint = schema.fingerprint(FingerprintAlgorithm::Rabin);
        let fingerprint = fingerprint.map_err(|error| refused(format!("schema {number}: {error}")))?;
        if let Fingerprint::Rabin(fingerprint) = fingerprint {
            known.insert(Writer::Rabin(fingerprint), schema.clone());
        }
        known.insert(Writer::Number(number), schema);
    }
    Ok((stamp, known))
}

fn file(path: &Path) -> Result<Vec<(u32, String)>, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let schemas: BTreeMap<String, Value> = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let numbered = |(number, schema): (String, Value)| {
        let number = number.parse().map_err(|_| format!("`{number}` is not the number of a schema"))?;
        // Registries give schemas as text.
        Ok((number, schema.as_str().map_or_else(|| schema.to_string(), str::to_owned)))
    };
    schemas.into_iter().map(numbered).collect()
}

fn folder(path: &Path) -> Result<Vec<(u32, String)>, String> {
    let mut schemas = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|extension| extension == "avsc")) {
            schemas.push((
                number,
                std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?,
            ));
        }
    }
    Ok(schemas)
}

/// When a file or a folder was written last, and its size.
pub(super) fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}
