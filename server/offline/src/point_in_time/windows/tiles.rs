//! A pyramid of tiles in memory: that of the online tier, for one group of a spine and as far as its events are known.
//!
//! Events go into one tile of each level as they become known; a window is read as the tiles that the definition of windows cuts
//! it into. Rows get later one by one, so most of a window's tiles are those of the row before: what they hold together is kept
//! until the window moves on or an event comes late into them, and the tile of the head alone is merged anew.

use std::collections::HashMap;

use datafusion::execution::memory_pool::MemoryReservation;
use tidegate_schemas::time::Micros;
use tidegate_schemas::window::{Kind, Partial, Spec, Tile, TileId, Value, Windows, base_tile, tail};

use crate::point_in_time::Result;

/// Bytes of a partial aggregate that holds one value, and of a tile beside them, about.
const PARTIAL_BYTES: usize = 64;
const TILE_BYTES: usize = 96;
/// Bytes of one value among those that some partial aggregates keep.
const VALUE_BYTES: usize = 48;
/// Memory is asked for in steps of so much.
const ACCOUNT_BYTES: usize = 1 << 18;

/// The tiles of all hops of a view.
pub(super) struct Pyramid<'a> {
    windows: &'a Windows,
    hops: Vec<Hop>,
    memory: MemoryReservation,
    bytes: usize,
}

/// The tiles of one hop.
#[derive(Default)]
struct Hop {
    tiles: Vec<Tile>,
    places: HashMap<TileId, usize, ahash::RandomState>,
    /// Per level the tile that the last event went into: the next one mostly goes there too.
    last: Vec<(TileId, usize)>,
    /// The lowest base tile that an event went into since the last row.
    lowest: Option<i64>,
    /// Bytes that a new tile takes, and an event where values are kept.
    tile_bytes: usize,
    event_bytes: usize,
}

/// A window, and the features that read the same of it.
pub(super) struct Reading {
    pub(super) features: Vec<usize>,
    hop: usize,
    partial: usize,
    spec: Spec,
    /// The window's length and what its tail is rounded to; none for everything.
    length: Option<(Micros, Micros)>,
    kept: Option<Kept>,
    /// What was read last.
    pub(super) found: Partial,
}

/// What all tiles of a window but the last hold together.
struct Kept {
    /// The window's first base tile and its last.
    span: (i64, i64),
    /// The last tile, and the first base tile that it covers.
    head: TileId,
    head_start: i64,
    before: Partial,
}

impl Reading {
    /// Of features that share a window and a partial aggregate.
    pub(super) fn of(windows: &Windows, features: Vec<usize>) -> Self {
        let feature = windows.features()[features[0]];
        let spec = *windows.spec(features[0]);
        let length = feature.window.zip(windows.groups()[feature.group].hop);
        Self { features, hop: feature.group, partial: feature.partial, spec, length, kept: None, found: spec.empty() }
    }

    /// The first and the last base tile of the window at a time.
    fn span(&self, at: Micros) -> (i64, i64) {
        self.length.map_or((0, 0), |(window, hop)| (tail(window, hop, at).div_euclid(hop), base_tile(at, hop)))
    }
}

impl<'a> Pyramid<'a> {
    /// One without events.
    pub(super) fn new(windows: &'a Windows, memory: MemoryReservation) -> Self {
        let hop = |group: &tidegate_schemas::window::Group| {
            let keeps = |spec: &&Spec| matches!(spec.kind, Kind::LastN(_) | Kind::Distinct | Kind::Bins | Kind::Top);
            let levels = usize::from(group.top) + 1;
            Hop {
                tile_bytes: TILE_BYTES + group.specs.len() * PARTIAL_BYTES,
                event_bytes: group.specs.iter().filter(keeps).count() * levels * VALUE_BYTES,
                ..Hop::default()
            }
        };
        Self { windows, hops: windows.groups().iter().map(hop).collect(), memory, bytes: 0 }
    }

    /// Takes an event in, with a value for each input.
    pub(super) fn add(&mut self, event: Micros, created: Option<Micros>, values: &[Option<Value<'_>>]) {
        for (hop, group) in self.hops.iter_mut().zip(self.windows.groups()) {
            self.bytes += hop.event_bytes;
            for (level, id) in group.tiles_of(event).enumerate() {
                if level == 0 {
                    hop.lowest = Some(hop.lowest.map_or(id.index, |lowest| lowest.min(id.index)));
                }
                let place = match hop.last.get(level) {
                    Some((last, place)) if *last == id => *place,
                    _ => *hop.places.entry(id).or_insert_with(|| {
                        self.bytes += hop.tile_bytes;
                        hop.tiles.push(group.tile());
                        hop.tiles.len() - 1
                    }),
                };
                match hop.last.get_mut(level) {
                    Some(last) => *last = (id, place),
                    None => hop.last.push((id, place)),
                }
                hop.tiles[place].add(group, event, created, values);
            }
        }
    }

    /// Takes memory for what has grown.
    ///
    /// # Errors
    /// The memory pool has no more.
    pub(super) fn account(&self) -> Result<()> {
        if self.bytes > self.memory.size() {
            self.memory.try_resize(self.bytes + ACCOUNT_BYTES)?;
        }
        Ok(())
    }

    /// Finds what a window holds at a time, which is not before that of the row before.
    pub(super) fn read(&self, reading: &mut Reading, at: Micros) {
        let (hop, span) = (&self.hops[reading.hop], reading.span(at));
        let kept = match reading.kept.take() {
            Some(kept) if kept.span == span && hop.lowest.is_none_or(|lowest| lowest >= kept.head_start) => kept,
            _ => self.gather(reading, span, at),
        };
        reading.found = kept.before.clone();
        if let Some(place) = hop.places.get(&kept.head) {
            reading.found.merge(&reading.spec, &hop.tiles[*place].partials[reading.partial]);
        }
        reading.kept = Some(kept);
    }

    /// To be called when all windows of a row have been read.
    pub(super) fn next_row(&mut self) {
        self.hops.iter_mut().for_each(|hop| hop.lowest = None);
    }

    fn gather(&self, reading: &Reading, span: (i64, i64), at: Micros) -> Kept {
        let hop = &self.hops[reading.hop];
        let mut cover = self.windows.cover(reading.features[0], at).peekable();
        let (mut before, mut head) = (reading.spec.empty(), TileId { level: 0, index: span.1 });
        while let Some(id) = cover.next() {
            if cover.peek().is_none() {
                head = id;
            } else if let Some(place) = hop.places.get(&id) {
                before.merge(&reading.spec, &hop.tiles[*place].partials[reading.partial]);
            }
        }
        Kept { span, head, head_start: head.first_base(), before }
    }
}
