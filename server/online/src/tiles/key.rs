//! Keys of tiles: an entity's tiles lie side by side, those of a hop and level in the order of time. Frozen by golden tests.
//!
//! ```text
//! | entity | view u32 BE | epoch u32 BE | hop i64 BE | level u8 | index i64 BE, sign flipped |
//! ```
//! The entity is as in a row's key, and so are the prefix and the bloom filter. The hop is in microseconds, 0 for the one tile of all
//! time: it means the same in every layout.

use tidegate_schemas::time::Micros;
use tidegate_schemas::window::TileId;

use crate::key;
use crate::{Error, Result};

/// Bytes after the epoch: hop, level and index.
pub(crate) const PLACE: usize = 17;

/// A tile's key, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TileKey<'a> {
    pub(crate) entity: &'a [u8],
    pub(crate) view: u32,
    pub(crate) epoch: u32,
    pub(crate) hop: Option<Micros>,
    pub(crate) id: TileId,
}

/// What follows the epoch.
pub(crate) fn place(hop: Option<Micros>, id: TileId) -> [u8; PLACE] {
    let mut place = [0; PLACE];
    place[..8].copy_from_slice(&hop.unwrap_or(0).to_be_bytes());
    place[8] = id.level;
    place[9..].copy_from_slice(&(id.index.cast_unsigned() ^ (1 << 63)).to_be_bytes());
    place
}

/// Reads what [`place`] wrote.
pub(crate) fn read_place(place: &[u8; PLACE]) -> (Option<Micros>, TileId) {
    let [hop @ .., level, a, b, c, d, e, f, g, h] = *place;
    let index = (u64::from_be_bytes([a, b, c, d, e, f, g, h]) ^ (1 << 63)).cast_signed();
    (Some(i64::from_be_bytes(hop)).filter(|hop| *hop != 0), TileId { level, index })
}

/// Takes a tile's key apart.
///
/// # Errors
/// [`Error::Corrupt`] for bytes that are no tile's key.
pub(crate) fn split(bytes: &[u8]) -> Result<TileKey<'_>> {
    let no_key = || Error::corrupt("a tile's key has the wrong length");
    let (row, place) = bytes.split_last_chunk::<PLACE>().ok_or_else(no_key)?;
    let (entity, view, epoch) = key::split(row)?;
    let (hop, id) = read_place(place);
    Ok(TileKey { entity, view, epoch, hop, id })
}
