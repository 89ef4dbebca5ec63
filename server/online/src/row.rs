//! Stored rows: one observation's times, origin and values. Frozen by golden tests.
//!
//! ```text
//! offset  field             notes
//! 0       format u8         1
//! 1       flags u8          bit 0: has a created time · bit 1: came from a push · others 0
//! 2       reserved u16      0
//! 4       layout u32        which features, in which order
//! 8       event time i64    microseconds
//! 16      created time i64  0 without one
//! 24      version i64       the table version it came from; 0 for a push
//! 32      presence          one bit for each feature, least significant first; 1: has a value
//!         fixed part        features of fixed width in order; zeroes where null
//!         ends u32…         for each other feature where its value ends in the variable part
//!         variable part     their values, one after the other
//! ```
//! Integers and floats are little-endian, floats bit for bit; decimals are 16 bytes; a bool is 0 or 1; a vector is its items.
//! How lists, structs and maps are written is drawn in [`value`]. Parts: `encode` from Arrow columns · `value` nested values ·
//! `decode` back to Arrow columns.

mod assemble;
mod decode;
mod encode;
mod value;

#[cfg(test)]
mod tests;

use arrow_array::ArrayRef;
use tidegate_schemas::definition::Column;
use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType;

use crate::{Error, Result};

pub(crate) use decode::{bool_of, text};
pub(crate) use encode::RowEncoder;

const FORMAT: u8 = 1;
const HAS_CREATED: u8 = 1;
const PUSHED: u8 = 1 << 1;
/// Bytes before the presence bits.
const HEADER: usize = 32;

/// Where a stored row came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The view's table.
    Table {
        /// The table version it was read at.
        version: i64,
    },
    /// A write that went around the table, or came ahead of it.
    Push,
}

/// The fixed head of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which features, in which order.
    pub layout: u32,
    /// Event time.
    pub event: Micros,
    /// Created time, where there is one.
    pub created: Option<Micros>,
    /// Where the row came from.
    pub origin: Origin,
}

impl Header {
    /// Reads the head of a stored row.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for bytes that are no row.
    #[inline]
    pub fn read(row: &[u8]) -> Result<Self> {
        let short = || Error::corrupt(format!("a row of {} bytes has no whole head", row.len()));
        let head: &[u8; HEADER] = row.first_chunk().ok_or_else(short)?;
        let [format, flags, reserved @ .., a, b, c, d] = head.first_chunk::<8>().ok_or_else(short)?;
        if *format != FORMAT {
            return Err(Error::corrupt(format!("a row has format {format}, expected {FORMAT}")));
        }
        if flags & !(HAS_CREATED | PUSHED) != 0 || *reserved != [0, 0] {
            return Err(Error::corrupt(format!("a row has unknown flags {flags:#04x}")));
        }
        let number = |at: usize| i64::from_le_bytes(head[at..at + 8].try_into().unwrap_or_default());
        let (event, created, version) = (number(8), number(16), number(24));
        Ok(Self {
            layout: u32::from_le_bytes([*a, *b, *c, *d]),
            event,
            created: (flags & HAS_CREATED != 0).then_some(created),
            origin: if flags & PUSHED != 0 { Origin::Push } else { Origin::Table { version } },
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (pushed, version) = match self.origin {
            Origin::Push => (PUSHED, 0),
            Origin::Table { version } => (0, version),
        };
        let created = if self.created.is_some() { HAS_CREATED } else { 0 };
        out.extend_from_slice(&[FORMAT, created | pushed, 0, 0]);
        out.extend_from_slice(&self.layout.to_le_bytes());
        out.extend_from_slice(&self.event.to_le_bytes());
        out.extend_from_slice(&self.created.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&version.to_le_bytes());
    }

    /// What the time rule compares.
    #[inline]
    pub(crate) fn times(&self) -> (Micros, Option<Micros>) {
        (self.event, self.created)
    }
}

/// Where the values of a list of types are in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    places: Vec<Place>,
    /// Where the ends of the variable part begin.
    ends: usize,
    /// Where the variable part begins.
    variable: usize,
}

/// Where one column's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At this offset, this long.
    Fixed(usize, usize),
    /// The so-manieth in the variable part.
    Variable(usize),
}

impl Shape {
    pub(crate) fn new(columns: &[Column]) -> Self {
        let (mut offset, mut variable) = (HEADER + columns.len().div_ceil(8), 0);
        let place = |column: &Column| match column.data_type.fixed_width() {
            Some(width) => {
                offset += width;
                Place::Fixed(offset - width, width)
            }
            None => {
                variable += 1;
                Place::Variable(variable - 1)
            }
        };
        let places = columns.iter().map(place).collect();
        Self { places, ends: offset, variable: offset + 4 * variable }
    }

    /// The value of a column, or `None` where it is null.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the row is too short for its layout or its offsets point outside of it.
    #[inline]
    pub(crate) fn slot<'a>(&self, row: &'a [u8], column: usize) -> Result<Option<&'a [u8]>> {
        let short = || Error::corrupt(format!("a row of {} bytes is too short for its layout", row.len()));
        let bits = row.get(HEADER + column / 8).ok_or_else(short)?;
        if bits & (1 << (column % 8)) == 0 {
            return Ok(None);
        }
        let (start, end) = match *self.places.get(column).ok_or_else(short)? {
            Place::Fixed(offset, width) => (offset, offset + width),
            Place::Variable(nth) => {
                let start = if nth == 0 { 0 } else { self.end(row, nth - 1)? };
                (self.variable + start, self.variable + self.end(row, nth)?)
            }
        };
        row.get(start..end).ok_or_else(short).map(Some)
    }

    /// Where a column of fixed width is: its offset, and the byte and bit that say whether it has a value.
    pub(crate) fn fixed(&self, column: usize) -> Option<(usize, usize, u8)> {
        match self.places.get(column)? {
            Place::Fixed(offset, _) => Some((*offset, HEADER + column / 8, 1 << (column % 8))),
            Place::Variable(_) => None,
        }
    }

    #[inline]
    fn end(&self, row: &[u8], nth: usize) -> Result<usize> {
        let at = self.ends + 4 * nth;
        let bytes = row.get(at..at + 4).ok_or_else(|| Error::corrupt("a row ends within its offsets"))?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    }
}

/// Values of one column, each as its stored bytes, to an Arrow column of the type [`DataType::to_arrow`] names.
///
/// # Errors
/// [`Error::Corrupt`] for bytes that no value of the type has.
pub fn to_arrow(data_type: &DataType, slots: &[Option<&[u8]>]) -> Result<ArrayRef> {
    decode::column(data_type, slots)
}
