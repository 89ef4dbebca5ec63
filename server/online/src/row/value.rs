//! Values of varying length, written recursively. Frozen by golden tests.
//!
//! ```text
//! string, json, bytes   the bytes themselves; the container knows the length
//! list<T>               count u32 · items of T
//! map<string, T>        count u32 · keys as items of string · values as items of T
//! struct                items, one for each field, each of its own type
//! items                 presence bits, least significant first, in ceil(count / 8) bytes · each present item:
//!                       the value itself when its type has a fixed width, else length u32 · value
//! ```

use tidegate_schemas::types::DataType;

use crate::Result;
use crate::codec::Reader;

/// Reads the presence bits of `count` items.
///
/// # Errors
/// [`crate::Error::Corrupt`] where the value is too short for that many, so that a damaged count allocates nothing.
pub(super) fn presence<'a>(reader: &mut Reader<'a>, count: usize) -> Result<&'a [u8]> {
    reader.take(count.div_ceil(8))
}

/// Whether item `nth` is present.
#[inline]
pub(super) fn is_present(presence: &[u8], nth: usize) -> bool {
    presence[nth / 8] & (1 << (nth % 8)) != 0
}

/// Reads one present item.
#[inline]
pub(super) fn item<'a>(reader: &mut Reader<'a>, data_type: &DataType) -> Result<&'a [u8]> {
    match data_type.fixed_width() {
        Some(width) => reader.take(width),
        None => reader.bytes(),
    }
}

/// Reads `count` items of one type.
pub(super) fn items<'a>(
    reader: &mut Reader<'a>,
    data_type: &DataType,
    count: usize,
    out: &mut Vec<Option<&'a [u8]>>,
) -> Result<()> {
    let presence = presence(reader, count)?;
    for nth in 0..count {
        out.push(match is_present(presence, nth) {
            true => Some(item(reader, data_type)?),
            false => None,
        });
    }
    Ok(())
}
