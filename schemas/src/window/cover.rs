//! Tiles of time, and which of them make up a window.
//!
//! ```text
//! base tile i of hop h    events with  i·h < e <= (i+1)·h
//! level l, tile j         base tiles  j·8^l … (j+1)·8^l - 1
//! window w at t           base tiles  floor((t-w)/h) … ceil(t/h)-1: round_down(t - w, h) < e <= t, for no later event is there
//! ```
//! A window is taken apart from its tail: at each place the largest tile that begins there and ends within the window. So its
//! pieces grow, then shrink, at most seven of a size each way, and come in the order of time.

use crate::time::Micros;

/// A tile is eight of the level below.
const BITS_PER_LEVEL: u32 = 3;

/// One tile of a pyramid: its level, and its place among the tiles of that level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// 0 for tiles of one hop; each level is eight times as wide as the one below.
    pub level: u8,
    /// The tile covers base tiles from `index * 8^level` on.
    pub index: i64,
}

/// The base tile an event is in.
#[inline]
#[must_use]
pub fn base_tile(event: Micros, hop: Micros) -> i64 {
    // ceil(e / h) - 1, which is also where the head of a window at `e` is.
    event.div_euclid(hop) - i64::from(event.rem_euclid(hop) == 0)
}

/// What a window at a time begins after: `round_down(at - window, hop)`.
#[inline]
#[must_use]
pub fn tail(window: Micros, hop: Micros, at: Micros) -> Micros {
    at.saturating_sub(window).div_euclid(hop).saturating_mul(hop)
}

/// The highest level that windows of so many hops are worth: the largest tiles of which two fit.
pub(super) fn top_level(hops: i64) -> u8 {
    let mut top = 0;
    while top < MOST_LEVELS && hops >> (BITS_PER_LEVEL * (u32::from(top) + 1)) >= 2 {
        top += 1;
    }
    top
}

/// Beyond this a tile has more hops than time has microseconds.
const MOST_LEVELS: u8 = 20;

impl TileId {
    /// The first base tile that it covers.
    #[must_use]
    pub fn first_base(self) -> i64 {
        self.index << (BITS_PER_LEVEL * u32::from(self.level))
    }

    /// Whether windows of this length begin after the tile does, at this time and so at any later one: none is made of it any more.
    #[must_use]
    pub fn is_behind(self, window: Micros, hop: Micros, at: Micros) -> bool {
        let begins = at.saturating_sub(window).div_euclid(hop);
        let first = i128::from(self.index) << (BITS_PER_LEVEL * u32::from(self.level.min(MOST_LEVELS)));
        self.level <= MOST_LEVELS && first < i128::from(begins)
    }

    /// Whether all events of the tile happened before this time.
    #[must_use]
    pub fn is_before(self, hop: Micros, time: Micros) -> bool {
        let next = (i128::from(self.index) + 1) << (BITS_PER_LEVEL * u32::from(self.level.min(MOST_LEVELS)));
        self.level <= MOST_LEVELS && next.saturating_mul(i128::from(hop)) < i128::from(time)
    }
}

/// The tiles of one level above another, upwards.
#[inline]
#[must_use]
pub(super) fn at_level(base: i64, level: u8) -> TileId {
    TileId { level, index: base >> (BITS_PER_LEVEL * u32::from(level)) }
}

/// The tiles of a window, in the order of time.
#[derive(Debug, Clone)]
pub struct Cover {
    /// The base tile to go on with, and the last one of the window.
    next: i64,
    last: i64,
    top: u8,
}

impl Cover {
    pub(super) fn of_window(window: Micros, hop: Micros, top: u8, at: Micros) -> Self {
        Self { next: at.saturating_sub(window).div_euclid(hop), last: base_tile(at, hop), top }
    }

    /// The one tile in which everything is.
    pub(super) fn of_everything() -> Self {
        Self { next: 0, last: 0, top: 0 }
    }
}

impl Iterator for Cover {
    type Item = TileId;

    #[inline]
    fn next(&mut self) -> Option<TileId> {
        if self.next > self.last {
            return None;
        }
        let left = self.last - self.next;
        let begins = self.next.trailing_zeros() / BITS_PER_LEVEL;
        let fits = (left + 1).ilog2() / BITS_PER_LEVEL;
        let level = u8::try_from(begins.min(fits)).unwrap_or(u8::MAX).min(self.top);
        let tile = at_level(self.next, level);
        self.next += 1 << (BITS_PER_LEVEL * u32::from(level));
        Some(tile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_at_a_border_belongs_to_the_tile_it_ends() {
        for (event, expect) in [(1, 0), (10, 0), (11, 1), (0, -1), (-1, -1), (-9, -1), (-10, -2), (-11, -2)] {
            assert_eq!(base_tile(event, 10), expect, "{event}");
        }
    }

    #[test]
    fn levels_are_worth_two_tiles() {
        for (hops, expect) in [(1, 0), (15, 0), (16, 1), (127, 1), (128, 2), (25_920, 4), (i64::MAX, 20)] {
            assert_eq!(top_level(hops), expect, "{hops}");
        }
    }

    /// No window is made of a tile that is behind.
    #[test]
    fn what_is_behind_is_in_no_window() {
        let (window, hop, top) = (1_285, 10, 2);
        let is_read = |tile: TileId, at| Cover::of_window(window, hop, top, at).any(|read| read == tile);
        for tile in (0..=top).flat_map(|level| (-4..5).map(move |index| TileId { level, index })) {
            let times = -9_000..9_000;
            assert!(times.clone().all(|at| !tile.is_behind(window, hop, at) || !is_read(tile, at)), "{tile:?}");
            let first_behind = times.clone().find(|at| tile.is_behind(window, hop, *at));
            // The first time at which the window does not begin with it, nor before.
            assert_eq!(first_behind, Some((tile.first_base() + 1) * hop + window), "{tile:?}");
            assert!(times.clone().any(|at| is_read(tile, at)), "{tile:?}");
        }
        assert!(!TileId { level: 0, index: 5 }.is_behind(window, hop, Micros::MIN));
        assert!(!TileId { level: 255, index: -5 }.is_behind(window, hop, Micros::MAX));
    }

    #[test]
    fn a_tile_is_before_what_comes_after_all_its_events() {
        // (8·10, 16·10]: an event at 160 is in it.
        let tile = TileId { level: 1, index: 1 };
        assert_eq!([160, 161].map(|time| tile.is_before(10, time)), [false, true]);
        assert_eq!([0, 1].map(|time| TileId { level: 0, index: -1 }.is_before(10, time)), [false, true]);
        assert!(!TileId { level: 255, index: -5 }.is_before(10, Micros::MAX));
    }

    #[test]
    fn pieces_grow_and_shrink() {
        let pieces: Vec<(u8, i64)> =
            Cover { next: 6, last: 145, top: 2 }.map(|tile| (tile.level, tile.index)).collect();
        let mut expect = vec![(0, 6), (0, 7)];
        expect.extend((1..8).map(|index| (1, index)));
        expect.extend([(2, 1), (1, 16), (1, 17), (0, 144), (0, 145)]);
        assert_eq!(pieces, expect);
        let before: Vec<TileId> = Cover { next: -3, last: 1, top: 3 }.collect();
        assert_eq!(
            before.iter().map(|tile| (tile.level, tile.index)).collect::<Vec<_>>(),
            [(0, -3), (0, -2), (0, -1), (0, 0), (0, 1)]
        );
    }
}
