//! Events of one entity, folded into its tiles.

use std::sync::Arc;

use ahash::{HashMap, HashMapExt};
use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType;
use tidegate_schemas::window::{Answer, Partial, Tile, TileId, Value};

use super::{Tiled, key, row};
use crate::Result;
use crate::layout::Layout;
use crate::lookup::fields::Fields;
use crate::row::Header;

/// How events that were encoded under one layout are read for tiles of another, or the same.
pub(crate) struct Events {
    /// Whose tiles.
    pub(crate) tiled: Arc<Tiled>,
    inputs: Fields,
    types: Vec<DataType>,
}

impl Events {
    /// Events of `incoming` for tiles of `tiled`. An input that the events lack, or have as another type, is null.
    pub(crate) fn new(incoming: Arc<Layout>, tiled: Arc<Tiled>) -> Self {
        let inputs = Fields::new(incoming, tiled.windows.inputs());
        let types = tiled.windows.inputs().iter().map(|input| input.data_type.clone()).collect();
        Self { tiled, inputs, types }
    }

    /// Takes an encoded event into an entity's tiles.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] for bytes that are no event.
    pub(crate) fn fold(&self, event: &[u8], into: &mut EntityTiles) -> Result<()> {
        let Header { event: at, created, .. } = Header::read(event)?;
        let values = row::values(&self.inputs, &self.types, event)?;
        into.add(&self.tiled, at, created, &values);
        Ok(())
    }
}

/// The tiles of one entity that something is known of.
#[derive(Debug, Default)]
pub(crate) struct EntityTiles {
    tiles: HashMap<(usize, TileId), Tile>,
}

impl EntityTiles {
    pub(crate) fn new() -> Self {
        Self { tiles: HashMap::new() }
    }

    fn add(&mut self, tiled: &Tiled, event: Micros, created: Option<Micros>, values: &[Option<Value<'_>>]) {
        for (nth, group) in tiled.windows.groups().iter().enumerate() {
            for id in group.tiles_of(event) {
                self.tiles.entry((nth, id)).or_insert_with(|| group.tile()).add(group, event, created, values);
            }
        }
    }

    /// Puts a tile that was stored in.
    pub(crate) fn insert(&mut self, group: usize, id: TileId, tile: Tile) {
        self.tiles.insert((group, id), tile);
    }

    pub(crate) fn len(&self) -> usize {
        self.tiles.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tiles.is_empty()
    }

    /// Takes all tiles out, in the order of their keys: which group each is of, its place, the tile.
    pub(crate) fn drain(&mut self, tiled: &Tiled) -> Vec<(usize, [u8; key::PLACE], Tile)> {
        let groups = tiled.windows.groups();
        let placed = |((group, id), tile): ((usize, TileId), Tile)| (group, key::place(groups[group].hop, id), tile);
        let mut tiles: Vec<_> = self.tiles.drain().map(placed).collect();
        tiles.sort_unstable_by_key(|(_, place, _)| *place);
        tiles
    }

    /// A feature's partial aggregate over its window at a time.
    pub(crate) fn read(&self, tiled: &Tiled, feature: usize, at: Micros) -> Partial {
        let (windows, how) = (&tiled.windows, tiled.windows.features()[feature]);
        let spec = windows.spec(feature);
        let mut merged = spec.empty();
        for id in windows.cover(feature, at) {
            if let Some(tile) = self.tiles.get(&(how.group, id)) {
                merged.merge(spec, &tile.partials[how.partial]);
            }
        }
        merged
    }

    /// All features of a layout at a time, as a row stores them.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] for a tile whose values are not of the features' types.
    pub(crate) fn slots(&self, layout: &Layout, tiled: &Tiled, at: Micros) -> Result<Vec<Option<Vec<u8>>>> {
        let slot = |(nth, feature): (usize, &tidegate_schemas::definition::Column)| {
            let merged = self.read(tiled, nth, at);
            let answer: Answer<'_> = tiled.windows.finish(nth, &merged);
            row::slot(&feature.data_type, &answer)
        };
        layout.features.iter().enumerate().map(slot).collect()
    }
}
