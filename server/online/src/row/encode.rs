//! Arrow columns to stored rows. Types are checked once for all rows; what can fail afterwards is a value that its type cannot hold,
//! such as a vector of the wrong length.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeListArray,
    LargeBinaryArray, LargeListArray, LargeStringArray, ListArray, MapArray, StringArray, StringViewArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType as Arrow, TimeUnit};
use tidegate_schemas::definition::Column;
use tidegate_schemas::types::DataType;

use super::{HEADER, Header, Place, Shape};
use crate::codec::put_length;
use crate::{Error, Result};

/// Encodes any row of a batch of feature columns.
#[derive(Debug)]
pub(crate) struct RowEncoder<'a> {
    features: &'a [Column],
    shape: &'a Shape,
    columns: Vec<Source<'a>>,
}

impl<'a> RowEncoder<'a> {
    /// Checks the columns against the layout's features.
    ///
    /// # Errors
    /// A missing column or a wrong type, naming both.
    pub(crate) fn new(features: &'a [Column], shape: &'a Shape, arrays: &'a [ArrayRef]) -> Result<Self> {
        if arrays.len() != features.len() {
            let (given, expected) = (arrays.len(), features.len());
            return Err(Error::Shape(format!("{given} feature columns were given, the layout has {expected}")));
        }
        let source = |(feature, array): (&Column, &'a ArrayRef)| {
            Source::new(&feature.data_type, array).ok_or_else(|| Error::WrongType {
                what: "feature",
                name: feature.name.clone(),
                expected: feature.data_type.to_string(),
                found: DataType::from_arrow(array.data_type())
                    .map_or_else(|| array.data_type().to_string(), |data_type| data_type.to_string()),
            })
        };
        let columns = features.iter().zip(arrays).map(source).collect::<Result<_>>()?;
        Ok(Self { features, shape, columns })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// A value that its type cannot hold, naming the feature and the row.
    pub(crate) fn encode(&self, header: &Header, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        header.write(out);
        out.resize(start + self.shape.variable, 0);
        for (nth, (source, place)) in self.columns.iter().zip(&self.shape.places).enumerate() {
            let present = !source.is_null(row);
            if present {
                out[start + HEADER + nth / 8] |= 1 << (nth % 8);
            }
            match *place {
                Place::Fixed(offset, width) if present => {
                    let at = start + offset;
                    source.put_fixed(row, &mut out[at..at + width]).map_err(|why| self.bad_value(nth, row, why))?;
                }
                Place::Fixed(..) => {}
                Place::Variable(index) => {
                    if present {
                        source.put_variable(row, out).map_err(|why| self.bad_value(nth, row, why))?;
                    }
                    let length = out.len() - start - self.shape.variable;
                    let end = u32::try_from(length)
                        .map_err(|_| self.bad_value(nth, row, "a row's values are longer than 4 GiB".to_owned()))?;
                    let at = start + self.shape.ends + 4 * index;
                    out[at..at + 4].copy_from_slice(&end.to_le_bytes());
                }
            }
        }
        Ok(())
    }

    fn bad_value(&self, column: usize, row: usize, why: String) -> Error {
        Error::BadValue { name: self.features[column].name.clone(), row, why }
    }
}

/// One column, seen as its feature's type.
#[derive(Debug)]
struct Source<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

#[derive(Debug)]
enum Values<'a> {
    Bool(&'a BooleanArray),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Decimal(&'a [i128]),
    String(&'a StringArray),
    LargeString(&'a LargeStringArray),
    StringView(&'a StringViewArray),
    Bytes(&'a BinaryArray),
    LargeBytes(&'a LargeBinaryArray),
    BytesView(&'a BinaryViewArray),
    Vector(Lists<'a>, &'a [f32], Option<&'a NullBuffer>, usize),
    List(Lists<'a>, Box<Item<'a>>),
    Struct(Vec<Item<'a>>),
    Map(&'a MapArray, Box<Item<'a>>, Box<Item<'a>>),
}

/// A nested column together with whether its values have a fixed width.
#[derive(Debug)]
struct Item<'a> {
    width: Option<usize>,
    source: Source<'a>,
}

#[derive(Debug)]
enum Lists<'a> {
    Small(&'a ListArray),
    Large(&'a LargeListArray),
    FixedSize(&'a FixedSizeListArray),
}

impl<'a> Lists<'a> {
    fn new(array: &'a dyn Array) -> Option<Self> {
        Some(match array.data_type() {
            Arrow::List(_) => Self::Small(array.as_list()),
            Arrow::LargeList(_) => Self::Large(array.as_list()),
            Arrow::FixedSizeList(..) => Self::FixedSize(array.as_fixed_size_list()),
            _ => return None,
        })
    }

    fn values(&self) -> &'a ArrayRef {
        match self {
            Self::Small(array) => array.values(),
            Self::Large(array) => array.values(),
            Self::FixedSize(array) => array.values(),
        }
    }

    fn range(&self, row: usize) -> std::ops::Range<usize> {
        match self {
            Self::Small(array) => array.value_offsets()[row] as usize..array.value_offsets()[row + 1] as usize,
            Self::Large(array) => array.value_offsets()[row] as usize..array.value_offsets()[row + 1] as usize,
            Self::FixedSize(array) => {
                let start = array.value_offset(row) as usize;
                start..start + array.value_length() as usize
            }
        }
    }
}

fn numbers<T: ArrowPrimitiveType>(array: &dyn Array) -> Option<&[T::Native]> {
    array.as_primitive_opt::<T>().map(|array| array.values().as_ref())
}

impl<'a> Source<'a> {
    /// `None` where the column's type is another.
    fn new(data_type: &DataType, array: &'a dyn Array) -> Option<Self> {
        let values = match (data_type, array.data_type()) {
            (DataType::Bool, _) => Values::Bool(array.as_boolean_opt()?),
            (DataType::Int32, _) => Values::Int32(numbers::<Int32Type>(array)?),
            (DataType::Date, _) => Values::Int32(numbers::<Date32Type>(array)?),
            (DataType::Int64, _) => Values::Int64(numbers::<Int64Type>(array)?),
            (DataType::Timestamp, Arrow::Timestamp(TimeUnit::Microsecond, _)) => {
                Values::Int64(numbers::<TimestampMicrosecondType>(array)?)
            }
            (DataType::Float32, _) => Values::Float32(numbers::<Float32Type>(array)?),
            (DataType::Float64, _) => Values::Float64(numbers::<Float64Type>(array)?),
            (DataType::Decimal(precision, scale), Arrow::Decimal128(p, s)) if (p, s) == (precision, scale) => {
                Values::Decimal(numbers::<Decimal128Type>(array)?)
            }
            (DataType::String | DataType::Json, Arrow::Utf8) => Values::String(array.as_string()),
            (DataType::String | DataType::Json, Arrow::LargeUtf8) => Values::LargeString(array.as_string()),
            (DataType::String | DataType::Json, Arrow::Utf8View) => Values::StringView(array.as_string_view()),
            (DataType::Bytes, Arrow::Binary) => Values::Bytes(array.as_binary()),
            (DataType::Bytes, Arrow::LargeBinary) => Values::LargeBytes(array.as_binary()),
            (DataType::Bytes, Arrow::BinaryView) => Values::BytesView(array.as_binary_view()),
            (DataType::Vector(length), _) => {
                let lists = Lists::new(array)?;
                let items = lists.values();
                Values::Vector(lists, numbers::<Float32Type>(items)?, items.nulls(), *length as usize)
            }
            (DataType::List(of), _) => {
                let lists = Lists::new(array)?;
                let items = Item::new(of, lists.values())?;
                Values::List(lists, Box::new(items))
            }
            (DataType::Struct(fields), Arrow::Struct(_)) => {
                let array = array.as_struct();
                let field = |(name, of): &(String, DataType)| Item::new(of, array.column_by_name(name)?);
                Values::Struct(fields.iter().map(field).collect::<Option<_>>()?)
            }
            (DataType::Map(of), Arrow::Map(..)) => {
                let array = array.as_map();
                let (keys, values) = (Item::new(&DataType::String, array.keys())?, Item::new(of, array.values())?);
                Values::Map(array, Box::new(keys), Box::new(values))
            }
            _ => return None,
        };
        Some(Self { nulls: array.nulls().filter(|nulls| nulls.null_count() > 0), values })
    }

    #[inline]
    fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// Writes a value of fixed width over `out`, which has that width.
    #[inline]
    fn put_fixed(&self, row: usize, out: &mut [u8]) -> Result<(), String> {
        match &self.values {
            Values::Bool(array) => out.copy_from_slice(&[u8::from(array.value(row))]),
            Values::Int32(values) => out.copy_from_slice(&values[row].to_le_bytes()),
            Values::Int64(values) => out.copy_from_slice(&values[row].to_le_bytes()),
            Values::Float32(values) => out.copy_from_slice(&values[row].to_le_bytes()),
            Values::Float64(values) => out.copy_from_slice(&values[row].to_le_bytes()),
            Values::Decimal(values) => out.copy_from_slice(&values[row].to_le_bytes()),
            Values::Vector(lists, items, nulls, length) => {
                let range = lists.range(row);
                if range.len() != *length {
                    return Err(format!("a vector of {} items, expected {length}", range.len()));
                }
                if let Some(nth) = range.clone().find(|&at| nulls.is_some_and(|nulls| nulls.is_null(at))) {
                    return Err(format!("item {} of a vector is null; vectors have no nulls", nth - range.start));
                }
                for (item, out) in items[range].iter().zip(out.chunks_exact_mut(4)) {
                    out.copy_from_slice(&item.to_le_bytes());
                }
            }
            _ => return Err("a value of varying length where one of fixed width is expected".to_owned()),
        }
        Ok(())
    }

    /// Appends a value of varying length.
    fn put_variable(&self, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
        match &self.values {
            Values::String(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Values::LargeString(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Values::StringView(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Values::Bytes(array) => out.extend_from_slice(array.value(row)),
            Values::LargeBytes(array) => out.extend_from_slice(array.value(row)),
            Values::BytesView(array) => out.extend_from_slice(array.value(row)),
            Values::List(lists, item) => {
                let range = lists.range(row);
                put_length(out, range.len());
                item.put_items(range, out)?;
            }
            Values::Struct(fields) => {
                let bits = put_presence(fields.iter().map(|field| !field.source.is_null(row)), fields.len(), out);
                for (nth, field) in fields.iter().enumerate() {
                    if out[bits + nth / 8] & (1 << (nth % 8)) != 0 {
                        field.put(row, out)?;
                    }
                }
            }
            Values::Map(array, keys, values) => {
                let range = array.value_offsets()[row] as usize..array.value_offsets()[row + 1] as usize;
                put_length(out, range.len());
                keys.put_items(range.clone(), out)?;
                values.put_items(range, out)?;
            }
            _ => return Err("a value of fixed width where one of varying length is expected".to_owned()),
        }
        Ok(())
    }
}

impl<'a> Item<'a> {
    fn new(data_type: &DataType, array: &'a ArrayRef) -> Option<Self> {
        Some(Self { width: data_type.fixed_width(), source: Source::new(data_type, array)? })
    }

    fn put_items(&self, range: std::ops::Range<usize>, out: &mut Vec<u8>) -> Result<(), String> {
        put_presence(range.clone().map(|at| !self.source.is_null(at)), range.len(), out);
        range.into_iter().filter(|&at| !self.source.is_null(at)).try_for_each(|at| self.put(at, out))
    }

    /// Appends a present item.
    fn put(&self, at: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let start = out.len();
        match self.width {
            Some(width) => {
                out.resize(start + width, 0);
                self.source.put_fixed(at, &mut out[start..])
            }
            None => {
                out.extend_from_slice(&[0; 4]);
                self.source.put_variable(at, out)?;
                let length =
                    u32::try_from(out.len() - start - 4).map_err(|_| "a value longer than 4 GiB".to_owned())?;
                out[start..start + 4].copy_from_slice(&length.to_le_bytes());
                Ok(())
            }
        }
    }
}

/// Appends presence bits and says where they begin.
fn put_presence(present: impl Iterator<Item = bool>, count: usize, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.resize(start + count.div_ceil(8), 0);
    for (nth, present) in present.enumerate() {
        out[start + nth / 8] |= u8::from(present) << (nth % 8);
    }
    start
}
