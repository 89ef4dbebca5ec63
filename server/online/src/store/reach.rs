//! Tiles that no window reaches any more go when the files they are in are merged, so that a view of short windows does not grow for
//! ever.
//!
//! Nothing here asks the clock: [`Store::release_due`](super::Store::release_due) brings the time along. A tile goes a day after the
//! longest window of its hop begins after it does, so that a clock that is set back by hours finds all that its windows are over. An event
//! that comes later than that makes a tile of its own, which no window reaches either. The tile of all time stays.
//!
//! What is not known stays: everything until a time was told, and the tiles of an epoch that began since. The layout of an epoch's tiles
//! never changes, so what was known once holds.

use std::sync::atomic::{AtomicI64, Ordering};

use ahash::{HashMap, HashMapExt};
use parking_lot::RwLock;
use tidegate_schemas::time::Micros;
use tidegate_schemas::window::Windows;

use super::Inner;
use crate::layout::View;
use crate::tiles::key;

/// By so much the clock may be set back.
pub(super) const MARGIN: Micros = 24 * 3_600_000_000;

/// Which tiles windows reach.
#[derive(Debug)]
pub(crate) struct Reach {
    /// The time that was told last; before, a time at which nothing is past.
    now: AtomicI64,
    /// For views' epochs, the longest window of each hop.
    epochs: RwLock<HashMap<(u32, u32), Vec<Longest>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Longest {
    hop: Micros,
    window: Micros,
}

impl Reach {
    pub(super) fn unknown() -> Self {
        Self { now: AtomicI64::new(Micros::MIN), epochs: RwLock::new(HashMap::new()) }
    }

    /// Whether the tile of this key is behind all windows.
    pub(super) fn is_behind(&self, tile_key: &[u8]) -> bool {
        let at = self.now.load(Ordering::Acquire).saturating_sub(MARGIN);
        let Ok(tile) = key::split(tile_key) else { return false };
        let epochs = self.epochs.read();
        let of_hop = |of: &&Longest| Some(of.hop) == tile.hop;
        let longest = epochs.get(&(tile.view, tile.epoch)).and_then(|longest| longest.iter().find(of_hop));
        longest.is_some_and(|longest| tile.id.is_behind(longest.window, longest.hop, at))
    }
}

impl Inner {
    /// Learns the time, and which epochs there are.
    pub(super) fn tell(&self, now: Micros) {
        let views: Vec<_> = self.views.read().values().cloned().collect();
        let epochs = views.iter().flat_map(|view| self.epochs_of(view)).collect();
        *self.reach.epochs.write() = epochs;
        self.reach.now.store(now, Ordering::Release);
    }

    fn epochs_of(&self, view: &View) -> Vec<((u32, u32), Vec<Longest>)> {
        let state = view.state.read();
        let Some(tiles) = state.tiles else { return Vec::new() };
        let present = (state.record.epoch, tiles.present);
        let building = state.record.building.zip(tiles.building);
        drop(state);
        let known = |(epoch, layout)| Some(((view.id, epoch), longest(&self.tiled(layout).ok()?.windows)));
        std::iter::once(present).chain(building).filter_map(known).collect()
    }
}

fn longest(windows: &Windows) -> Vec<Longest> {
    let of_group = |(nth, group): (usize, &tidegate_schemas::window::Group)| {
        let of_it = windows.features().iter().filter(|feature| feature.group == nth);
        Some(Longest { hop: group.hop?, window: of_it.filter_map(|feature| feature.window).max()? })
    };
    windows.groups().iter().enumerate().filter_map(of_group).collect()
}
