//! Tiles: what is stored of a view whose features are windows over events, in place of rows.
//!
//! Events come in as rows of the view's **inputs**, the columns its aggregates read. They are not kept: each is folded ([`fold`]) into
//! the tiles of its entity that it belongs to, one of each level and hop ([`key`]). A lookup reads the few tiles of each window at its
//! time, merges them in the order of time, and gives the result the form of a stored row ([`row`]), so that what follows is the same
//! for every view. What tiles hold and how windows are made of them is [`tidegate_schemas::window`], which the offline tier shares.
//!
//! All tiles of an epoch are of one layout. A view that gets other features keeps its tiles, and answers from them what they can
//! answer, until a full refresh begins an epoch of the new layout. Parts beside: [`record`] the aggregates of a layout as stored.
//!
//! ```text
//! value   flags u8 (bit 0: holds pushed events) · the tile, as `schemas::window` writes it
//! ```

pub(crate) mod fold;
pub(crate) mod key;
pub(crate) mod record;
pub(crate) mod row;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tidegate_schemas::definition::Aggregate;
use tidegate_schemas::window::{Group, Tile, Windows};

use crate::layout::{Layout, LayoutRecord};
use crate::row::Shape;
use crate::{Error, Result};

const PUSHED: u8 = 1;

/// What the layout of a windowed view has beside its features.
#[derive(Debug)]
pub(crate) struct Tiled {
    /// One for each feature.
    pub(crate) aggregates: Vec<Aggregate>,
    pub(crate) windows: Windows,
    /// Events as rows: the layout of the columns that the aggregates read.
    pub(crate) inputs: Arc<Layout>,
}

impl Tiled {
    /// What a layout with these aggregates has.
    ///
    /// # Errors
    /// [`Error::Layout`] for an aggregate that can't be computed.
    pub(crate) fn new(id: u32, view: u32, aggregates: Vec<Aggregate>) -> Result<Self> {
        let windows = Windows::new(&aggregates).map_err(|error| Error::Layout(error.to_string()))?;
        let features = windows.inputs().to_vec();
        // Inputs go by the names of their columns.
        let inputs = Layout { id, view, shape: Shape::new(&features), features, numbers: Vec::new(), tiles: None };
        Ok(Self { aggregates, windows, inputs: Arc::new(inputs) })
    }
}

impl Layout {
    /// A layout as its records have it; `aggregates` are there for windowed views, one for each feature.
    ///
    /// # Errors
    /// [`Error::Layout`] for an aggregate that can't be computed.
    pub(crate) fn new(
        id: u32,
        record: LayoutRecord,
        numbers: Vec<u32>,
        aggregates: Option<Vec<Aggregate>>,
    ) -> Result<Self> {
        let tiles = aggregates.map(|aggregates| Tiled::new(id, record.view, aggregates)).transpose()?.map(Arc::new);
        let shape = Shape::new(&record.features);
        Ok(Self { id, view: record.view, shape, features: record.features, numbers, tiles })
    }

    /// The layout of rows on their way in: of events for a windowed view, of features for any other.
    pub(crate) fn incoming(&self) -> &Self {
        self.tiles.as_ref().map_or(self, |tiled| tiled.inputs.as_ref())
    }
}

/// Which layouts the tiles of a view's epochs have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TileLayouts {
    pub(crate) present: u32,
    /// That of the epoch being built.
    pub(crate) building: Option<u32>,
}

/// Writes a tile's value.
pub(crate) fn encode(tile: &Tile, pushed: bool, out: &mut Vec<u8>) {
    out.push(if pushed { PUSHED } else { 0 });
    tile.encode(out);
}

/// Reads a tile's value, and whether it holds pushed events.
///
/// # Errors
/// [`Error::Corrupt`] for bytes that are no tile of the group.
pub(crate) fn decode(group: &Group, value: &[u8]) -> Result<(Tile, bool)> {
    let (flags, bytes) = value.split_first().ok_or_else(|| Error::corrupt("a tile has no bytes"))?;
    if flags & !PUSHED != 0 {
        return Err(Error::corrupt(format!("a tile has unknown flags {flags:#04x}")));
    }
    let tile = group.decode(bytes).map_err(|error| Error::corrupt(error.to_string()))?;
    Ok((tile, flags & PUSHED != 0))
}
