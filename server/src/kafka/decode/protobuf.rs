//! Protobuf messages as objects, by the descriptors of a file: what `protoc --descriptor_set_out --include_imports` writes.
//!
//! Fields keep their names in the `.proto` file. As protobuf's own JSON has it, bytes are base64, enums their names, `Timestamp`s RFC 3339;
//! 64-bit numbers are numbers. A field without presence that is not set has its default; any other is null.
//!
//! ```text
//! message                                                         as it is
//! 0x00 | schema u32 BE | count varint | index varint… | message   as serializers with a schema registry frame it
//! ```
//! No message begins with a zero byte, so that the two can't be confused. The frame's schema is not looked up: the descriptors are the
//! file's, and fields that they lack are passed over.

use std::path::{Path, PathBuf};

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Map, Value};

use super::avro::{Stamp, stamp};
use crate::kafka::Error;

const REMEDY: &str = "write it with `protoc --descriptor_set_out --include_imports`";

/// A message's descriptor, as a file has it.
#[derive(Debug)]
pub(crate) struct Descriptors {
    path: PathBuf,
    name: String,
    stamp: Stamp,
    message: MessageDescriptor,
}

impl Descriptors {
    pub(super) fn open(path: PathBuf, name: &str) -> Result<Self, Error> {
        let (stamp, message) = read(&path, name)?;
        Ok(Self { path, name: name.to_owned(), stamp, message })
    }

    /// Reads the file again where it was replaced.
    pub(super) fn refresh(&mut self) -> Result<(), Error> {
        if stamp(&self.path).ok().as_ref() != Some(&self.stamp) {
            (self.stamp, self.message) = read(&self.path, &self.name)?;
        }
        Ok(())
    }

    pub(super) fn parse(&self, payload: &[u8]) -> Result<Map<String, Value>, String> {
        let payload = unframed(payload).ok_or("the message's frame is cut off")?;
        let message = DynamicMessage::decode(self.message.clone(), payload)
            .map_err(|error| format!("the message is not a {}: {error}", self.name))?;
        let options = SerializeOptions::new()
            .use_proto_field_name(true)
            .stringify_64_bit_integers(false)
            .skip_default_fields(false);
        match message.serialize_with_options(serde_json::value::Serializer, &options) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(format!("a {} has no fields", self.name)),
            Err(error) => Err(format!("the message has values that JSON has no form for: {error}")),
        }
    }
}

fn read(path: &Path, name: &str) -> Result<(Stamp, MessageDescriptor), Error> {
    let refused = |why: String| Error::Schemas { path: path.display().to_string(), why, remedy: REMEDY };
    let stamp = stamp(path).map_err(|error| refused(error.to_string()))?;
    let bytes = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    let pool = DescriptorPool::decode(bytes.as_slice()).map_err(|error| refused(error.to_string()))?;
    let message = pool.get_message_by_name(name).ok_or_else(|| refused(format!("it has no message `{name}`")))?;
    Ok((stamp, message))
}

/// The message within a frame, or as it is.
fn unframed(payload: &[u8]) -> Option<&[u8]> {
    if payload.first() != Some(&0) {
        return Some(payload);
    }
    let (count, mut rest) = varint(payload.get(5..)?)?;
    // Which message of the file: zigzag, and 0 for the first one.
    for _ in 0..count >> 1 {
        (_, rest) = varint(rest)?;
    }
    Some(rest)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    let value = bytes[..=end].iter().rev().fold(0_u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_off() {
        assert_eq!(unframed(&[8, 1]), Some([8, 1].as_slice()));
        assert_eq!(unframed(&[0, 0, 0, 0, 7, 0, 8, 1]), Some([8, 1].as_slice()));
        assert_eq!(unframed(&[0, 0, 0, 0, 7, 4, 2, 0, 8, 1]), Some([8, 1].as_slice()));
        assert_eq!(unframed(&[0, 0, 0, 0, 7, 4, 2]), None);
        assert_eq!(unframed(&[0, 0]), None);
        assert_eq!(unframed(&[]), Some([].as_slice()));
    }
}
