//! Values of one feature, in the order they are read: straight from pages where its type is stored as it is, as arrays
//! of the Arrow reader where it is not.

use std::sync::Arc;

use arrow::array::{ArrayData, ArrayRef, BinaryArray, BooleanArray, NullBufferBuilder, StringArray, make_array};
use arrow::buffer::{BooleanBuffer, Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use parquet::basic::Type;
use parquet::errors::ParquetError;
use parquet::file::reader::ChunkReader;

use super::pages::{Chunk, Plain, Rows, Spans, Values};

/// The physical type whose plain values are those of `data_type`, or `None` where a conversion is needed.
pub(super) fn physical(data_type: &DataType) -> Option<Type> {
    Some(match data_type {
        DataType::Int32 | DataType::Date32 => Type::INT32,
        DataType::Int64 | DataType::Timestamp(..) => Type::INT64,
        DataType::Float32 => Type::FLOAT,
        DataType::Float64 => Type::DOUBLE,
        DataType::Boolean => Type::BOOLEAN,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Type::BYTE_ARRAY,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Type::BYTE_ARRAY,
        _ => return None,
    })
}

/// Values of one feature.
pub(super) struct Dense {
    data_type: DataType,
    open: Open,
    done: Vec<ArrayRef>,
}

enum Open {
    Int32(Values<i32>),
    Int64(Values<i64>),
    Float32(Values<f32>),
    Float64(Values<f64>),
    Boolean(Values<bool>),
    Spans(Spans),
    /// A type that is not read from pages.
    Nothing,
}

impl Dense {
    /// Room for `rows` values of `data_type`.
    pub(super) fn new(data_type: &DataType, rows: usize) -> Self {
        let open = match data_type {
            DataType::Int32 | DataType::Date32 => Open::Int32(Values::with_capacity(rows)),
            DataType::Int64 | DataType::Timestamp(..) => Open::Int64(Values::with_capacity(rows)),
            DataType::Float32 => Open::Float32(Values::with_capacity(rows)),
            DataType::Float64 => Open::Float64(Values::with_capacity(rows)),
            DataType::Boolean => Open::Boolean(Values::with_capacity(rows)),
            DataType::Utf8 | DataType::Binary => Open::Spans(Spans::with_capacity(rows)),
            _ => Open::Nothing,
        };
        Self { data_type: data_type.clone(), open, done: Vec::new() }
    }

    /// The physical type to read from pages where a file stores the column as `stored`; `None` where that won't do.
    pub(super) fn physical(&self, stored: &DataType) -> Option<Type> {
        use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Utf8, Utf8View};
        let same = match (stored, &self.data_type) {
            (LargeUtf8 | Utf8View, Utf8) | (LargeBinary | BinaryView, Binary) => true,
            (stored, wanted) => stored == wanted,
        };
        if same && !matches!(self.open, Open::Nothing) { physical(stored) } else { None }
    }

    /// Reads rows of a chunk of the type that [`Self::physical`] gave.
    pub(super) fn read<R: ChunkReader>(&mut self, chunk: &mut Chunk<R>, rows: &Rows<'_>) -> Result<(), ParquetError> {
        match &mut self.open {
            Open::Int32(out) => numbers(chunk, rows, out),
            Open::Int64(out) => numbers(chunk, rows, out),
            Open::Float32(out) => numbers(chunk, rows, out),
            Open::Float64(out) => numbers(chunk, rows, out),
            Open::Boolean(out) => chunk.booleans(rows, out),
            Open::Spans(out) => {
                let (first, at) = (out.ends.len(), out.data.len());
                chunk.spans(rows, out)?;
                if self.data_type == DataType::Utf8 { check_text(out, first, at) } else { Ok(()) }
            }
            Open::Nothing => Err(ParquetError::NYI(format!("pages of {}", self.data_type))),
        }
    }

    /// Takes in what the Arrow reader read, converted.
    pub(super) fn push(&mut self, array: ArrayRef) -> Result<(), ArrowError> {
        self.close()?;
        self.done.push(array);
        Ok(())
    }

    /// All values in order, in one or more arrays.
    pub(super) fn finish(mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        self.close()?;
        Ok(self.done)
    }

    fn close(&mut self) -> Result<(), ArrowError> {
        let fresh = Self::new(&self.data_type, 0).open;
        let array = match std::mem::replace(&mut self.open, fresh) {
            Open::Int32(values) => primitive(&self.data_type, values)?,
            Open::Int64(values) => primitive(&self.data_type, values)?,
            Open::Float32(values) => primitive(&self.data_type, values)?,
            Open::Float64(values) => primitive(&self.data_type, values)?,
            Open::Boolean(mut values) => {
                let bits = BooleanBuffer::collect_bool(values.values.len(), |at| values.values[at]);
                Arc::new(BooleanArray::new(bits, values.nulls.finish()))
            }
            Open::Spans(spans) => text(&self.data_type, spans)?,
            Open::Nothing => return Ok(()),
        };
        if !array.is_empty() {
            self.done.push(array);
        }
        Ok(())
    }
}

impl Spans {
    fn with_capacity(rows: usize) -> Self {
        Self { data: Vec::new(), ends: Vec::with_capacity(rows), nulls: NullBufferBuilder::new(rows) }
    }
}

fn numbers<P: Plain + Default, R: ChunkReader>(
    chunk: &mut Chunk<R>,
    rows: &Rows<'_>,
    out: &mut Values<P>,
) -> Result<(), ParquetError> {
    chunk.numbers(rows, P::default(), |value: P| value, out)
}

fn primitive<T: arrow::datatypes::ArrowNativeType>(
    data_type: &DataType,
    mut values: Values<T>,
) -> Result<ArrayRef, ArrowError> {
    let length = values.values.len();
    let data = ArrayData::builder(data_type.clone())
        .len(length)
        .add_buffer(Buffer::from_vec(values.values))
        .nulls(values.nulls.finish());
    Ok(make_array(data.build()?))
}

fn text(data_type: &DataType, mut spans: Spans) -> Result<ArrayRef, ArrowError> {
    if i32::try_from(spans.data.len()).is_err() {
        return Err(ArrowError::OffsetOverflowError(spans.data.len()));
    }
    let offsets: Vec<i32> = std::iter::once(0).chain(spans.ends.iter().map(|end| *end as i32)).collect();
    let (offsets, data) = (OffsetBuffer::new(ScalarBuffer::from(offsets)), Buffer::from_vec(spans.data));
    let nulls = spans.nulls.finish();
    Ok(match data_type {
        DataType::Binary => Arc::new(BinaryArray::try_new(offsets, data, nulls)?),
        _ => Arc::new(StringArray::try_new(offsets, data, nulls)?),
    })
}

/// Whether the values from number `first` on, whose bytes start at `at`, are text, each by itself.
fn check_text(spans: &Spans, first: usize, at: usize) -> Result<(), ParquetError> {
    let bad = || ParquetError::General("the page is corrupt: text that is not UTF-8".to_owned());
    let text = std::str::from_utf8(&spans.data[at..]).map_err(|_| bad())?;
    let whole = spans.ends[first..].iter().all(|end| text.is_char_boundary(end - at));
    if whole { Ok(()) } else { Err(bad()) }
}
