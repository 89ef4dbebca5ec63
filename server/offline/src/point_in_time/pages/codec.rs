//! The compression of a chunk's pages, undone into memory that is used again.
//!
//! Parquet's reader undoes a page into fresh memory that it clears first; for pages of a megabyte each that takes as long
//! as the undoing. So a chunk is shown to it as one that is not compressed, and what it hands out is undone here.

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::errors::Result;
use parquet::file::metadata::ColumnChunkMetaData;

use super::corrupt;
use crate::buffers::Buffer;

/// How much larger than its compressed form Snappy's output can be: a copy of 64 bytes takes 2 or 3.
const SNAPPY_RATIO: usize = 32;

/// The same of LZ4: a byte of its lengths stands for 255.
const LZ4_RATIO: usize = 256;

/// How the pages of a chunk are compressed, as far as it is undone here.
#[derive(Debug, Clone, Copy)]
pub(super) enum Codec {
    /// Not, or in a way that Parquet's reader undoes.
    None,
    Snappy,
    /// Bare LZ4 blocks, which don't say how long they become: at most this many bytes.
    Lz4 {
        most: usize,
    },
}

impl Codec {
    /// The codec of a chunk, and the chunk as Parquet's reader is to see it.
    pub(super) fn of(chunk: &ColumnChunkMetaData) -> Result<(Self, ColumnChunkMetaData)> {
        let codec = match chunk.compression() {
            Compression::SNAPPY => Self::Snappy,
            Compression::LZ4_RAW => Self::Lz4 { most: usize::try_from(chunk.uncompressed_size()).unwrap_or(0) },
            _ => return Ok((Self::None, chunk.clone())),
        };
        let bare = chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
        Ok((codec, bare))
    }

    /// The bytes that `page` was compressed from.
    pub(super) fn undo(self, page: Bytes) -> Result<Bytes> {
        // A page of nulls has no values to compress.
        if page.is_empty() {
            return Ok(page);
        }
        match self {
            Self::None => Ok(page),
            Self::Snappy => {
                let length = snap::raw::decompress_len(&page)?;
                if length / SNAPPY_RATIO > page.len() {
                    return Err(corrupt("a page that says it is larger than it can be"));
                }
                let mut bytes = Buffer::of(length);
                snap::raw::Decoder::new().decompress(&page, &mut bytes)?;
                Ok(Bytes::from_owner(bytes))
            }
            Self::Lz4 { most } => {
                // What a damaged footer claims may be more than there is memory.
                let mut bytes = Buffer::of(most.min(page.len().saturating_mul(LZ4_RATIO)));
                let length = lz4_flex::block::decompress_into(&page, &mut bytes);
                bytes.truncate(length.map_err(|error| corrupt(&error.to_string()))?);
                Ok(Bytes::from_owner(bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Codec;

    #[test]
    fn a_page_takes_no_more_memory_than_it_can_fill() {
        let (text, claimed) = (b"the same over and over, ".repeat(1_000), usize::MAX / 2);
        let packed = Bytes::from(lz4_flex::block::compress(&text));
        let undone = Codec::Lz4 { most: claimed }.undo(packed.clone()).expect("undone");
        assert!(undone == text);
        assert!(Codec::Lz4 { most: text.len() - 1 }.undo(packed).is_err(), "longer than it says");
        let nothing = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
        assert!(Codec::Snappy.undo(nothing).is_err(), "four gigabytes of six bytes");
    }
}
