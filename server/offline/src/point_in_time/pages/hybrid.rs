//! Parquet's RLE / bit-packed hybrid, read at chosen places.
//!
//! ```text
//! run     := header(varint) body
//! header  :  even -> header >> 1 times one value, in width / 8 bytes rounded up
//!            odd  -> (header >> 1) * 8 values of `width` bits each, lowest bits first
//! ```
//!
//! Only the runs' headers are read in order; a value inside a packed run is found by its bit, so values nobody asks for
//! cost nothing. Layout: apache/parquet-format, Encodings.md, "RLE / Bit-Packing Hybrid".

use parquet::errors::{ParquetError, Result};

use super::corrupt;

/// The runs of one page, in order.
pub(super) struct Runs<'a> {
    data: &'a [u8],
    width: u32,
    runs: Vec<Run>,
}

struct Run {
    /// Number of the value after the run's last.
    end: usize,
    body: Body,
}

enum Body {
    /// One value for the whole run.
    Repeated(u32),
    /// Where in the data the first value's bits start, if it were value number 0 of the page.
    Packed(isize),
}

impl<'a> Runs<'a> {
    /// Reads the headers of the runs that hold `count` values of `width` bits, at most 32.
    pub(super) fn parse(data: &'a [u8], width: u32, count: usize) -> Result<Self> {
        if width > 32 {
            return Err(corrupt("values of more than 32 bits"));
        }
        let bytes = width.div_ceil(8) as usize;
        let (mut runs, mut at, mut first) = (Vec::new(), 0, 0);
        while first < count {
            let header = varint(data, &mut at)?;
            let length = usize::try_from(header >> 1).map_err(|_| corrupt("a run that is too long"))?;
            if header & 1 == 0 {
                let raw = data.get(at..at + bytes).ok_or_else(|| corrupt("a run that is cut off"))?;
                let value = raw.iter().rev().fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
                at += bytes;
                // A run of no values would never end.
                let end = first.saturating_add(length.max(1)).min(count);
                runs.push(Run { end, body: Body::Repeated(value) });
                first = end;
            } else {
                let values = length.checked_mul(8).filter(|values| *values > 0);
                let end = first.saturating_add(values.ok_or_else(|| corrupt("an empty run"))?).min(count);
                let bits = (end - first) * width as usize;
                if data.len() < at + bits.div_ceil(8) {
                    return Err(corrupt("a run that is cut off"));
                }
                let start = (at * 8) as isize - (first * width as usize) as isize;
                runs.push(Run { end, body: Body::Packed(start) });
                at = at.saturating_add(length.saturating_mul(width as usize));
                first = end;
            }
        }
        Ok(Self { data, width, runs })
    }

    /// Whether all values are this one.
    pub(super) fn all(&self, value: u32) -> bool {
        self.runs.iter().all(|run| matches!(run.body, Body::Repeated(other) if other == value))
    }

    /// Sets the bits of values of one bit that are 1, in words that are all 0.
    pub(super) fn fill_bits(&self, words: &mut [u64]) {
        let mut first = 0;
        for run in &self.runs {
            match run.body {
                Body::Repeated(0) => {}
                Body::Repeated(_) => (first..run.end).for_each(|at| words[at / 64] |= 1 << (at % 64)),
                Body::Packed(start) => {
                    let mut at = first;
                    while at < run.end {
                        // As many as are left in the word, the run, and what is read at once.
                        let length = (64 - at % 64).min(run.end - at).min(56);
                        let bit = (start + at as isize) as usize;
                        let bits = word(self.data, bit / 8) >> (bit % 8) & ((1 << length) - 1);
                        words[at / 64] |= bits << (at % 64);
                        at += length;
                    }
                }
            }
            first = run.end;
        }
    }

    /// Hands out the values with these ascending numbers, all below the page's count.
    #[inline]
    pub(super) fn each(&self, numbers: impl Iterator<Item = usize>, mut take: impl FnMut(u32)) {
        let mut runs = self.runs.iter();
        let Some(mut run) = runs.next() else { return };
        let mask = (1_u64 << self.width) - 1;
        for number in numbers {
            while number >= run.end {
                let Some(next) = runs.next() else { return };
                run = next;
            }
            take(match run.body {
                Body::Repeated(value) => value,
                Body::Packed(start) => {
                    let bit = (start + (number * self.width as usize) as isize) as usize;
                    ((word(self.data, bit / 8) >> (bit % 8)) & mask) as u32
                }
            });
        }
    }
}

/// Eight bytes from `at` on, lowest first; zeros beyond the end.
#[inline]
pub(super) fn word(data: &[u8], at: usize) -> u64 {
    match data.get(at..at + 8) {
        Some(bytes) => u64::from_le_bytes(bytes.try_into().unwrap_or_default()),
        None => {
            let mut bytes = [0; 8];
            let rest = data.get(at..).unwrap_or_default();
            bytes[..rest.len()].copy_from_slice(rest);
            u64::from_le_bytes(bytes)
        }
    }
}

/// An unsigned LEB128 number of at most 64 bits.
pub(super) fn varint(data: &[u8], at: &mut usize) -> Result<u64, ParquetError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *data.get(*at).ok_or_else(|| corrupt("a number that is cut off"))?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(corrupt("a number of more than 64 bits"))
}
