//! Windowed views: an entity's features at the time of the lookup, from its tiles.
//!
//! Which tiles make up the windows is the same for every entity of a request, and found out once. They lie in a few ranges for each hop
//! and level, which one iterator walks. The result has the form of a row, of the layout that the tiles have: what such a row lacks, or
//! has otherwise, is told as of any row.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use rocksdb::{DB, DBRawIteratorWithThreadMode, ReadOptions};
use tidegate_schemas::time::Micros;
use tidegate_schemas::window::TileId;

use super::find::{Found, Patience};
use super::plan::{Plan, PlanView};
use crate::key;
use crate::layout::{Layout, Mark, View};
use crate::row::{Header, Origin};
use crate::store::Inner;
use crate::tiles::fold::EntityTiles;
use crate::tiles::key::{PLACE, place, read_place};
use crate::tiles::{self, Tiled, row};
use crate::{Error, Result};

/// What a view has for one entity row.
pub(super) struct Computed {
    /// The view's position in the plan.
    pub(super) view: usize,
    /// The entity row.
    pub(super) nth: usize,
    /// The features as a stored row; `None` where there was no time for it.
    pub(super) row: Option<Vec<u8>>,
}

/// Computes the rows of all windowed views of a plan; `None` when an epoch was replaced before they could be read.
pub(super) fn compute(
    inner: &Inner,
    plan: &Plan,
    found: &Found,
    now: Micros,
    patience: &Patience<'_>,
) -> Result<Option<Vec<Computed>>> {
    let mut computed = Vec::new();
    if plan.views.iter().all(|used| !used.windowed) {
        return Ok(Some(computed));
    }
    // By prefix, so that blooms tell which files hold an entity; where it ends is seen here.
    let mut iterator = inner.db.raw_iterator_cf_opt(inner.tiles()?, ReadOptions::default());
    if !found.still(plan) {
        return Ok(None);
    }
    let mut read = 0;
    for (group, of_group) in plan.groups.iter().enumerate() {
        let mut order: Vec<usize> = (0..found.rows()).collect();
        order.sort_unstable_by_key(|&nth| found.entity(group, nth));
        for &view in &of_group.views {
            let Some(window) = Window::new(inner, &plan.views[view], found.mark(view), now)? else { continue };
            for &nth in &order {
                let over = (patience.over)();
                if over && !patience.allow_partial {
                    return Err(Error::Deadline);
                }
                let row = match over {
                    true => None,
                    false => {
                        let tiles = window.read(&mut iterator, found.entity(group, nth))?;
                        read += tiles.len() as u64;
                        Some(window.row(&tiles, now)?)
                    }
                };
                computed.push(Computed { view, nth, row });
            }
        }
    }
    inner.count_tiles(read);
    Ok(Some(computed))
}

/// How one windowed view is read at one time.
struct Window {
    layout: Arc<Layout>,
    tiled: Arc<Tiled>,
    suffix: [u8; key::SUFFIX],
    /// Features of the layout that are asked for.
    wanted: Vec<usize>,
    /// The first and the last place of each range of tiles, in key order, and the group they are of.
    ranges: Vec<(usize, [u8; PLACE], [u8; PLACE])>,
}

impl Window {
    /// `None` for a view that is not windowed, or that nothing was brought to yet.
    fn new(inner: &Inner, used: &PlanView, mark: Mark, now: Micros) -> Result<Option<Self>> {
        let Some(layout) = mark.tiles.filter(|_| used.windowed && has_come(&used.view)) else { return Ok(None) };
        let (layout, tiled) = (inner.layout(layout)?, inner.tiled(layout)?);
        // By number: a feature may have had another name when its tiles were written.
        let asked = |nth: &usize| used.numbers.contains(&layout.numbers[*nth]);
        let wanted: Vec<usize> = (0..layout.features.len()).filter(asked).collect();
        let ranges = ranges(&tiled, &wanted, now);
        let suffix = key::suffix(used.view.id, mark.epoch);
        Ok(Some(Self { layout, tiled, suffix, wanted, ranges }))
    }

    fn row(&self, tiles: &EntityTiles, now: Micros) -> Result<Vec<u8>> {
        let mut slots = vec![None; self.layout.features.len()];
        for &feature in &self.wanted {
            let merged = tiles.read(&self.tiled, feature, now);
            let answer = self.tiled.windows.finish(feature, &merged);
            slots[feature] = row::slot(&self.layout.features[feature].data_type, &answer)?;
        }
        // The value is that of now, whenever the events were.
        let origin = Origin::Table { version: 0 };
        let header = Header { layout: self.layout.id, event: now, created: None, origin };
        self.layout.shape.assemble(&header, &slots)
    }

    fn read(&self, iterator: &mut DBRawIteratorWithThreadMode<'_, DB>, entity: &[u8]) -> Result<EntityTiles> {
        let mut tiles = EntityTiles::new();
        let head = [entity, &self.suffix].concat();
        for (group, first, last) in &self.ranges {
            iterator.seek([head.as_slice(), first].concat());
            while let Some((key, value)) = iterator.item() {
                let place = key.strip_prefix(head.as_slice()).and_then(|place| <&[u8; PLACE]>::try_from(place).ok());
                let Some(place) = place.filter(|place| *place <= last) else { break };
                let (tile, _) = tiles::decode(&self.tiled.windows.groups()[*group], value)?;
                tiles.insert(*group, read_place(place).1, tile);
                iterator.next();
            }
            iterator.status().map_err(Error::store("looking up tiles"))?;
        }
        Ok(tiles)
    }
}

/// Whether a view was ever materialized or pushed to: before, it has no values, not even a count of nothing.
fn has_come(view: &View) -> bool {
    view.state.read().cursor.is_some() || view.has_pushed.load(Acquire)
}

/// The tiles of the windows of some features at a time, as ranges of neighbours.
fn ranges(tiled: &Tiled, features: &[usize], now: Micros) -> Vec<(usize, [u8; PLACE], [u8; PLACE])> {
    let mut needed: BTreeSet<(usize, TileId)> = BTreeSet::new();
    for &feature in features {
        let group = tiled.windows.features()[feature].group;
        needed.extend(tiled.windows.cover(feature, now).map(|id| (group, id)));
    }
    let mut ranges: Vec<(usize, TileId, TileId)> = Vec::new();
    for (group, id) in needed {
        match ranges.last_mut() {
            Some((of, _, last)) if *of == group && last.level == id.level && last.index + 1 == id.index => *last = id,
            _ => ranges.push((group, id, id)),
        }
    }
    let hop = |group: usize| tiled.windows.groups()[group].hop;
    let place = |(group, first, last)| (group, place(hop(group), first), place(hop(group), last));
    let mut ranges: Vec<_> = ranges.into_iter().map(place).collect();
    ranges.sort_unstable_by_key(|(_, first, _)| *first);
    ranges
}
