//! Tiles on their way into the store.
//!
//! ```text
//! write     a batch of events, in the order of entities -> tiles of each entity -> read, merge, put; with the commit, atomically
//! fold_in   all events of a load, in the same order     -> tiles of each entity -> some thousand at a time into the next epoch
//! ```
//! Folding an event in a second time counts it a second time. That each is folded once is the matter of what moves along in the same
//! write: a materialization's position, the ids of pushed events, a stream's offsets.

use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use rocksdb::{ReadOptions, WriteBatch};
use tidegate_schemas::failpoint::{Failpoint, reach};
use tidegate_schemas::window::Tile;

use super::write::Keys;
use super::{Inner, Load};
use crate::key;
use crate::layout::{Layout, View};
use crate::tiles::fold::{EntityTiles, Events};
use crate::tiles::{self, Tiled};
use crate::{Error, Result};

/// Tiles of a load that are put under one set of locks.
const FOLDED_AT_ONCE: usize = 4_096;

/// Tiles of an epoch that take events in, entity after entity.
pub(super) struct EpochTiles {
    suffix: [u8; key::SUFFIX],
    events: Events,
    /// The entity whose events come.
    entity: Vec<u8>,
    open: EntityTiles,
    keys: Keys,
    tiles: Vec<(usize, Tile)>,
    entities: Vec<Vec<u8>>,
}

impl EpochTiles {
    pub(super) fn new(view: u32, epoch: u32, events: Events) -> Self {
        Self {
            suffix: key::suffix(view, epoch),
            events,
            entity: Vec::new(),
            open: EntityTiles::new(),
            keys: Keys::default(),
            tiles: Vec::new(),
            entities: Vec::new(),
        }
    }

    /// Takes an encoded event in; those of one entity follow one another. `true` when an entity before it is complete.
    pub(super) fn take(&mut self, entity: &[u8], event: &[u8]) -> Result<bool> {
        let next = self.entity != entity;
        if next {
            self.close();
            self.entity.clear();
            self.entity.extend_from_slice(entity);
        }
        self.events.fold(event, &mut self.open)?;
        Ok(next)
    }

    fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        for (group, place, tile) in self.open.drain(&self.events.tiled) {
            self.keys.push(&[&self.entity, &self.suffix, &place]);
            self.tiles.push((group, tile));
        }
        self.entities.push(self.entity.clone());
    }

    /// Tiles of complete entities.
    fn len(&self) -> usize {
        self.tiles.len()
    }

    /// Merges all tiles with those that are stored and puts them; nothing is left. With `fresh` none are stored. Under the stripes of
    /// the entities.
    pub(super) fn stage(&mut self, inner: &Inner, pushed: bool, fresh: bool, batch: &mut WriteBatch) -> Result<()> {
        self.close();
        self.stage_complete(inner, pushed, fresh, batch)
    }

    fn stage_complete(&mut self, inner: &Inner, pushed: bool, fresh: bool, batch: &mut WriteBatch) -> Result<()> {
        let family = inner.tiles()?;
        let (keys, complete) = (std::mem::take(&mut self.keys), std::mem::take(&mut self.tiles));
        self.entities.clear();
        let mut stored = match fresh {
            true => Vec::new(),
            false => inner.db.batched_multi_get_cf(family, keys.iter(), true),
        }
        .into_iter();
        let groups = self.events.tiled.windows.groups();
        let mut bytes = Vec::new();
        for (nth, (group, tile)) in complete.into_iter().enumerate() {
            let there = stored.next().transpose().map_err(Error::store("reading tiles to merge"))?.flatten();
            let (tile, had_pushed) = match there {
                Some(there) => {
                    let (mut merged, pushed) = tiles::decode(&groups[group], &there)?;
                    merged.merge(&groups[group], &tile);
                    (merged, pushed)
                }
                None => (tile, false),
            };
            bytes.clear();
            tiles::encode(&tile, pushed || had_pushed, &mut bytes);
            batch.put_cf(family, keys.get(nth), &bytes);
        }
        Ok(())
    }
}

impl Inner {
    /// How events encoded under a layout are folded into the tiles of an epoch. To be asked under the view's gate.
    pub(super) fn events_for(&self, view: &View, epoch: u32, layout: &Layout) -> Result<Events> {
        let state = view.state.read();
        let tiles = state.tiles.filter(|_| layout.tiles.is_some()).ok_or_else(|| no_tiles(&view.name))?;
        let of_epoch = match tiles.building {
            Some(building) if state.record.building == Some(epoch) => building,
            _ => tiles.present,
        };
        drop(state);
        let (incoming, tiled) = (self.tiled(layout.id)?.inputs.clone(), self.tiled(of_epoch)?);
        Ok(Events::new(incoming, tiled))
    }

    /// What the tiles of a layout are.
    pub(crate) fn tiled(&self, layout: u32) -> Result<Arc<Tiled>> {
        let layout = self.layout(layout)?;
        layout.tiles.clone().ok_or_else(|| Error::corrupt(format!("layout {} has tiles but no aggregates", layout.id)))
    }

    /// Folds the events of a load into the tiles of its epoch, among those that were pushed meanwhile.
    pub(super) fn fold_in(&self, load: &mut Load) -> Result<()> {
        let (view, epoch) = (load.view().clone(), load.epoch());
        let layout = self.layout(load.layout())?;
        let mut tiles = EpochTiles::new(view.id, epoch, self.events_for(&view, epoch, &layout)?);
        let (is_of, pushes_before) = (load.standing(), load.pushes_before);
        let put = |tiles: &mut EpochTiles| {
            self.disk.has_room()?;
            let _gate = view.gate.read();
            self.still_there(&view)?;
            is_of(&view.state.read())?;
            let entities = std::mem::take(&mut tiles.entities);
            let _held = self.stripes.lock(entities.iter().map(Vec::as_slice));
            // Who pushes counts that under the same stripes: what is not counted comes after.
            let fresh = view.pushes.load(Acquire) == pushes_before;
            let mut batch = WriteBatch::default();
            tiles.stage_complete(self, false, fresh, &mut batch)?;
            // Not synced: the flip is, and the log keeps their order.
            self.put(batch, false, "writing tiles")?;
            reach(Failpoint::MidFold);
            Ok(())
        };
        load.each(|entity, event| {
            let complete = tiles.take(entity, event)?;
            if complete && tiles.len() >= FOLDED_AT_ONCE { put(&mut tiles) } else { Ok(()) }
        })?;
        tiles.close();
        put(&mut tiles)
    }

    /// Reads all tiles of the entities of a view, at the epoch and under the layout given.
    pub(super) fn walk_tiles(&self, view: &View, epoch: u32, tiled: Arc<Tiled>) -> Result<TileWalk<'_>> {
        let prefix = key::entity_type_prefix(view.entity_type);
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.fill_cache(false);
        let mut iterator = self.db.raw_iterator_cf_opt(self.tiles()?, options);
        iterator.seek(prefix);
        Ok(TileWalk { iterator, prefix, view: view.id, epoch, tiled })
    }
}

fn no_tiles(view: &str) -> Error {
    Error::corrupt(format!("view `{view}` is windowed by its layout and not by its record"))
}

/// The entities of a view and epoch with all their tiles, in key order.
pub(super) struct TileWalk<'s> {
    iterator: rocksdb::DBRawIteratorWithThreadMode<'s, rocksdb::DB>,
    prefix: [u8; key::ENTITY_TYPE],
    view: u32,
    epoch: u32,
    tiled: Arc<Tiled>,
}

/// One entity of a walk.
pub(super) struct WalkedEntity {
    pub(super) entity: Vec<u8>,
    pub(super) tiles: EntityTiles,
    /// Some of them hold pushed events.
    pub(super) pushed: bool,
}

impl TileWalk<'_> {
    pub(super) fn next(&mut self) -> Result<Option<WalkedEntity>> {
        let mut found: Option<WalkedEntity> = None;
        while let Some((bytes, value)) = self.iterator.item().filter(|(key, _)| key.starts_with(&self.prefix)) {
            let tile_key = tiles::key::split(bytes)?;
            if found.as_ref().is_some_and(|found| found.entity != tile_key.entity) {
                return Ok(found);
            }
            if (tile_key.view, tile_key.epoch) == (self.view, self.epoch) {
                let groups = self.tiled.windows.groups();
                let no_group = || Error::corrupt("a tile has a hop that no aggregate of its view has");
                let group = groups.iter().position(|group| group.hop == tile_key.hop).ok_or_else(no_group)?;
                let (tile, pushed) = tiles::decode(&groups[group], value)?;
                let entity = found.get_or_insert_with(|| WalkedEntity {
                    entity: tile_key.entity.to_vec(),
                    tiles: EntityTiles::new(),
                    pushed: false,
                });
                entity.tiles.insert(group, tile_key.id, tile);
                entity.pushed |= pushed;
            }
            self.iterator.next();
        }
        self.iterator.status().map_err(Error::store("reading tiles"))?;
        Ok(found)
    }
}
