//! Keys of stored rows: order-preserving, self-delimiting, frozen by golden tests.
//!
//! ```text
//! | entity type u32 BE | tag value | tag value | … | 0x00 | view u32 BE | epoch u32 BE |
//! |<---------------- the entity: prefix, bloom filter, cache key --------->|
//!
//! tag   value
//! 0x00  none: end of the entity
//! 0x01  bool: 1 byte, 0 or 1
//! 0x02  int32: 4 bytes BE, sign flipped
//! 0x03  int64: 8 bytes BE, sign flipped
//! 0x04  string: UTF-8 with 0x00 written as 0x00 0xFF, then 0x00 0x00
//! 0x05  bytes: as string
//! 0x06  timestamp: as int64
//! 0x07  date: as int32
//! ```
//! An entity can be told from what follows without knowing its type, so ("1", "23") is never ("12", "3") and the prefix of a prefix
//! is itself. Within one entity type byte order is value order.

mod encode;

#[cfg(test)]
mod tests;

use crate::codec::Reader;
use crate::{Error, Result};

pub use encode::KeyEncoder;

/// Bytes after the entity: view and epoch.
pub(crate) const SUFFIX: usize = 8;

/// Bytes before the entity's keys.
pub(crate) const ENTITY_TYPE: usize = 4;

const END: u8 = 0x00;
const BOOL: u8 = 0x01;
const INT32: u8 = 0x02;
const INT64: u8 = 0x03;
const STRING: u8 = 0x04;
const BYTES: u8 = 0x05;
const TIMESTAMP: u8 = 0x06;
const DATE: u8 = 0x07;

/// One column of a decoded key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyValue {
    /// bool.
    Bool(bool),
    /// int32.
    Int32(i32),
    /// int64.
    Int64(i64),
    /// string.
    String(String),
    /// bytes.
    Bytes(Vec<u8>),
    /// timestamp in microseconds.
    Timestamp(i64),
    /// date in days.
    Date(i32),
}

/// A decoded entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// The entity type's id.
    pub entity_type: u32,
    /// Its key, column by column.
    pub values: Vec<KeyValue>,
}

/// Appends an entity.
pub fn encode_entity(entity: &Entity, out: &mut Vec<u8>) {
    out.extend_from_slice(&entity.entity_type.to_be_bytes());
    for value in &entity.values {
        match value {
            KeyValue::Bool(value) => out.extend_from_slice(&[BOOL, u8::from(*value)]),
            KeyValue::Int32(value) => put_32(out, INT32, *value),
            KeyValue::Int64(value) => put_64(out, INT64, *value),
            KeyValue::String(value) => put_escaped(out, STRING, value.as_bytes()),
            KeyValue::Bytes(value) => put_escaped(out, BYTES, value),
            KeyValue::Timestamp(value) => put_64(out, TIMESTAMP, *value),
            KeyValue::Date(value) => put_32(out, DATE, *value),
        }
    }
    out.push(END);
}

/// The first bytes of every entity of a type.
pub(crate) fn entity_type_prefix(entity_type: u32) -> [u8; 4] {
    entity_type.to_be_bytes()
}

/// What follows the entity in a row's key.
#[inline]
pub(crate) fn suffix(view: u32, epoch: u32) -> [u8; SUFFIX] {
    ((u64::from(view) << 32) | u64::from(epoch)).to_be_bytes()
}

/// Splits a row's key into entity, view and epoch.
///
/// # Errors
/// [`Error::Corrupt`] for bytes that are no row's key.
pub fn split(key: &[u8]) -> Result<(&[u8], u32, u32)> {
    let length = entity_length(key).ok_or_else(|| Error::corrupt("a row's key has no end of its entity"))?;
    let (entity, rest) = key.split_at(length);
    let Ok(suffix) = <[u8; SUFFIX]>::try_from(rest) else {
        return Err(Error::corrupt(format!(
            "a row's key has {} bytes after its entity, expected {SUFFIX}",
            rest.len()
        )));
    };
    let suffix = u64::from_be_bytes(suffix);
    Ok((entity, (suffix >> 32) as u32, suffix as u32))
}

/// The length of the entity that a key begins with, or `None` where it begins with none. Used as RocksDB's prefix extractor.
#[inline]
pub(crate) fn entity_length(key: &[u8]) -> Option<usize> {
    let mut at = 4;
    loop {
        let tag = *key.get(at)?;
        at += 1;
        match tag {
            END => return Some(at),
            BOOL => at += 1,
            INT32 | DATE => at += 4,
            INT64 | TIMESTAMP => at += 8,
            STRING | BYTES => at += escaped_length(key.get(at..)?)?,
            _ => return None,
        }
    }
}

/// The length of escaped bytes with their terminator.
#[inline]
fn escaped_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0)?;
        match bytes.get(at + 1)? {
            0x00 => return Some(at + 2),
            0xFF => at += 2,
            _ => return None,
        }
    }
}

/// Decodes an entity.
///
/// # Errors
/// [`Error::Corrupt`] for bytes that are no entity.
pub fn decode_entity(bytes: &[u8]) -> Result<Entity> {
    let mut reader = Reader::new(bytes, "an entity's key");
    let entity_type = u32::from_be_bytes(reader.array()?);
    let mut values = Vec::new();
    loop {
        let value = match reader.u8()? {
            END => break,
            BOOL => match reader.u8()? {
                0 => KeyValue::Bool(false),
                1 => KeyValue::Bool(true),
                byte => return Err(Error::corrupt(format!("a bool in an entity's key is {byte}"))),
            },
            INT32 => KeyValue::Int32(get_32(&mut reader)?),
            INT64 => KeyValue::Int64(get_64(&mut reader)?),
            STRING => {
                let text = String::from_utf8(get_escaped(&mut reader)?);
                KeyValue::String(text.map_err(|_| Error::corrupt("a string in an entity's key is not UTF-8"))?)
            }
            BYTES => KeyValue::Bytes(get_escaped(&mut reader)?),
            TIMESTAMP => KeyValue::Timestamp(get_64(&mut reader)?),
            DATE => KeyValue::Date(get_32(&mut reader)?),
            tag => return Err(Error::corrupt(format!("an entity's key has the unknown tag {tag}"))),
        };
        values.push(value);
    }
    reader.end()?;
    Ok(Entity { entity_type, values })
}

#[inline]
fn put_32(out: &mut Vec<u8>, tag: u8, value: i32) {
    out.push(tag);
    out.extend_from_slice(&(value.cast_unsigned() ^ (1 << 31)).to_be_bytes());
}

#[inline]
fn put_64(out: &mut Vec<u8>, tag: u8, value: i64) {
    out.push(tag);
    out.extend_from_slice(&(value.cast_unsigned() ^ (1 << 63)).to_be_bytes());
}

#[inline]
fn put_escaped(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    let mut rest = bytes;
    while let Some(zero) = rest.iter().position(|&byte| byte == 0) {
        out.extend_from_slice(&rest[..zero]);
        out.extend_from_slice(&[0x00, 0xFF]);
        rest = &rest[zero + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0x00, 0x00]);
}

fn get_32(reader: &mut Reader<'_>) -> Result<i32> {
    Ok((u32::from_be_bytes(reader.array()?) ^ (1 << 31)).cast_signed())
}

fn get_64(reader: &mut Reader<'_>) -> Result<i64> {
    Ok((u64::from_be_bytes(reader.array()?) ^ (1 << 63)).cast_signed())
}

fn get_escaped(reader: &mut Reader<'_>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        match reader.u8()? {
            0x00 => match reader.u8()? {
                0x00 => return Ok(out),
                0xFF => out.push(0x00),
                byte => return Err(Error::corrupt(format!("an entity's key escapes a zero byte with {byte}"))),
            },
            byte => out.push(byte),
        }
    }
}
