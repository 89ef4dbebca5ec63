//! Parquet's DELTA_BINARY_PACKED: integers as differences, packed in blocks.
//!
//! ```text
//! page  := block_size miniblocks count first(zigzag) block*
//! block := min_delta(zigzag) width[miniblocks] miniblock[miniblocks]
//! value[i] = value[i - 1] + min_delta + packed delta, wrapping
//! ```
//!
//! Layout: apache/parquet-format, Encodings.md, "Delta Encoding". A value depends on all before it, so a page is decoded
//! from its start to the last value asked for.

use parquet::errors::Result;

use super::corrupt;
use super::hybrid::{varint, word};

/// Decodes the first `count` values of a page, or all of them where it has fewer.
pub(super) fn decode(data: &[u8], count: usize, out: &mut Vec<i64>) -> Result<()> {
    let mut at = 0;
    let block = number(data, &mut at)?;
    let miniblocks = number(data, &mut at)?;
    let count = number(data, &mut at)?.min(count);
    let mut value = zigzag(varint(data, &mut at)?);
    out.clear();
    if count == 0 {
        return Ok(());
    }
    if miniblocks == 0 || block == 0 || !block.is_multiple_of(miniblocks) || !(block / miniblocks).is_multiple_of(8) {
        return Err(corrupt("blocks of deltas that can't be divided"));
    }
    let per_miniblock = block / miniblocks;
    // What the header promises may be more than there is.
    out.reserve(count.min(data.len().saturating_mul(64)));
    out.push(value);
    while out.len() < count {
        let least = zigzag(varint(data, &mut at)?);
        let widths = data.get(at..at + miniblocks).ok_or_else(|| corrupt("deltas that are cut off"))?;
        at += miniblocks;
        for width in widths {
            if out.len() == count {
                break;
            }
            let bytes = per_miniblock / 8 * usize::from(*width);
            let packed = data.get(at..).ok_or_else(|| corrupt("deltas that are cut off"))?;
            let wanted = per_miniblock.min(count - out.len());
            if *width > 64 || packed.len() * 8 < wanted * usize::from(*width) {
                return Err(corrupt("deltas that are cut off"));
            }
            for i in 0..wanted {
                let delta = packed_value(packed, i * usize::from(*width), u32::from(*width));
                value = value.wrapping_add(least).wrapping_add(delta.cast_signed());
                out.push(value);
            }
            at += bytes;
        }
    }
    Ok(())
}

#[inline]
fn packed_value(data: &[u8], bit: usize, width: u32) -> u64 {
    if width == 0 {
        return 0;
    }
    let (byte, shift) = (bit / 8, (bit % 8) as u32);
    let low = word(data, byte) >> shift;
    let value = if shift + width > 64 { low | word(data, byte + 8) << (64 - shift) } else { low };
    if width == 64 { value } else { value & ((1 << width) - 1) }
}

fn number(data: &[u8], at: &mut usize) -> Result<usize> {
    usize::try_from(varint(data, at)?).map_err(|_| corrupt("a number that is too large"))
}

fn zigzag(raw: u64) -> i64 {
    (raw >> 1).cast_signed() ^ -(raw & 1).cast_signed()
}
