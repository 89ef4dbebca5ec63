//! One worker's slots: the best observation so far of each.
//!
//! The slots' times lie apart from them, in the spine's index: eight to a cache line, which searches go through, and shared
//! by all workers.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicI64, Ordering};

use tidegate_schemas::time::Micros;

use super::Winner;
use crate::point_in_time::spine::{NONE, SpineIndex};

/// Observations whose slots are fetched ahead of being looked at.
const AHEAD: usize = 64;

/// When an observation was created, as far as a view needs to know: `()` where its table does not say, else
/// microseconds, the lowest for a missing one.
pub(super) trait Created: Copy + Ord + Hash + Send + Sync + 'static {
    const LOWEST: Self;
    fn of(micros: Option<Micros>) -> Self;
}

impl Created for () {
    const LOWEST: Self = ();

    fn of(_: Option<Micros>) -> Self {}
}

impl Created for Micros {
    const LOWEST: Self = Self::MIN;

    fn of(micros: Option<Micros>) -> Self {
        micros.unwrap_or(Self::MIN)
    }
}

/// Per group the event time of what its first slot sees so far, over all workers; the lowest of all for nothing.
///
/// Every later slot sees that too. Where observations are known as they happen, an older one is of no use to the group.
pub(super) struct Reached(Vec<AtomicI64>);

impl Reached {
    /// Nothing yet, for `groups` groups; for none where nobody asks.
    pub(super) fn new(groups: usize) -> Self {
        Self((0..groups).map(|_| AtomicI64::new(Micros::MIN)).collect())
    }

    #[inline]
    pub(super) fn get(&self, group: usize) -> Micros {
        self.0.get(group).map_or(Micros::MIN, |event| event.load(Ordering::Relaxed))
    }

    #[inline]
    fn raise(&self, group: u32, event: Micros) {
        if let Some(reached) = self.0.get(group as usize) {
            reached.fetch_max(event, Ordering::Relaxed);
        }
    }
}

/// An observation of a known group, ready to be offered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer<C> {
    pub(super) group: u32,
    /// Row number in the piece.
    pub(super) row: u32,
    /// The first moment at which a reader sees it: it has happened and is known.
    pub(super) seen: Micros,
    pub(super) event: Micros,
    pub(super) created: C,
}

/// Offers, and what they share.
#[derive(Debug)]
pub(super) struct Offers<C> {
    pub(super) offers: Vec<Offer<C>>,
    /// When each stops holding, if any does; `None` for never.
    pub(super) until: Vec<Option<Micros>>,
    /// Number of the first row of the row group among all rows of the view's files, plus one.
    pub(super) first_row: u64,
    /// How long after its event time a reader sees an observation that is known: 0, or 1 where the bound is exclusive.
    pub(super) wait: Micros,
}

impl<C> Offers<C> {
    /// Whether an observation happened in time for a slot of its group and is known too late for all.
    pub(super) fn is_late(&self, index: &SpineIndex, offer: &Offer<C>) -> bool {
        let happened = offer.event.saturating_add(self.wait);
        offer.seen > happened && happened <= index.latest()[offer.group as usize]
    }
}

/// The best observation of a slot so far, compared as (event, created, row); a row of 0 means none.
#[derive(Debug, Clone, Copy)]
struct Slot<C> {
    event: Micros,
    created: C,
    row: u64,
}

impl<C: Created> Slot<C> {
    fn rank(&self) -> (Micros, C, u64) {
        (self.event, self.created, self.row)
    }
}

/// A tie: the times that several rows share, and how many of them lost.
type Tie<C> = (Micros, C, u64);

/// One worker's slots.
pub(super) struct Slots<C> {
    slots: Vec<Slot<C>>,
    /// Per slot its latest tie. Ties are rare.
    ties: HashMap<u32, Tie<C>, ahash::RandomState>,
}

impl<C: Created> Slots<C> {
    pub(super) fn new(index: &SpineIndex) -> Self {
        let empty = Slot { event: Micros::MIN, created: C::LOWEST, row: 0 };
        Self { slots: vec![empty; index.slots()], ties: HashMap::default() }
    }

    /// Bytes that one worker's slots take.
    pub(super) fn bytes(index: &SpineIndex) -> usize {
        index.slots() * size_of::<Slot<C>>()
    }

    /// Offers each observation to the first slot that sees it; says how many happened in time for a slot and were known
    /// too late for all.
    pub(super) fn offer_all(&mut self, index: &SpineIndex, new: &Offers<C>, reached: &Reached) -> usize {
        let (mut late, mut spans) = (0, [(0, 0); AHEAD]);
        for offers in new.offers.chunks(AHEAD) {
            // Loads that don't depend on each other overlap; those of a search don't.
            let mut touched = 0;
            for (span, offer) in spans.iter_mut().zip(offers) {
                *span = index.slots_of(offer.group);
                touched ^= index.times().get(span.0 as usize).map_or(0, |time| *time);
                touched ^= self.slots.get(span.0 as usize).map_or(0, |slot| slot.event);
            }
            std::hint::black_box(touched);
            for (span, offer) in spans.iter().zip(offers) {
                match first_at(index.times(), *span, offer.seen) {
                    NONE => late += usize::from(new.is_late(index, offer)),
                    slot => {
                        if self.offer(slot, offer, new.first_row + u64::from(offer.row)) && slot == span.0 {
                            reached.raise(offer.group, offer.event);
                        }
                    }
                }
            }
        }
        late
    }

    /// Whether it is the slot's best so far.
    #[inline]
    fn offer(&mut self, at: u32, new: &Offer<C>, row: u64) -> bool {
        let slot = &mut self.slots[at as usize];
        if new.event < slot.event {
            return false;
        }
        if slot.row != 0 && (slot.event, slot.created) == (new.event, new.created) {
            tied(&mut self.ties, at, (new.event, new.created, 1));
        }
        let best = (new.event, new.created, row) > slot.rank();
        if best {
            (slot.event, slot.created, slot.row) = (new.event, new.created, row);
        }
        best
    }

    /// Takes in another worker's slots.
    pub(super) fn merge(&mut self, other: Self) {
        for (at, (slot, new)) in self.slots.iter_mut().zip(&other.slots).enumerate() {
            if new.row == 0 {
                continue;
            }
            if slot.row != 0 && (slot.event, slot.created) == (new.event, new.created) {
                tied(&mut self.ties, at as u32, (new.event, new.created, 1));
            }
            if new.rank() > slot.rank() {
                *slot = *new;
            }
        }
        for (slot, tie) in other.ties {
            tied(&mut self.ties, slot, tie);
        }
    }

    /// Rows that tied with what stayed best in their slot.
    pub(super) fn conflicts(&self) -> u64 {
        let stayed = |(at, tie): &(&u32, &Tie<C>)| {
            let slot = &self.slots[**at as usize];
            (slot.event, slot.created) == (tie.0, tie.1)
        };
        self.ties.iter().filter(stayed).map(|(_, tie)| tie.2).sum()
    }

    /// The winner of every slot: along each group what an earlier slot sees, a later one sees too.
    pub(super) fn winners(self, index: &SpineIndex) -> Vec<Winner> {
        let mut slots = self.slots;
        for (first, end) in index.ranges() {
            for at in first + 1..end {
                if slots[at - 1].rank() > slots[at].rank() {
                    slots[at] = slots[at - 1];
                }
            }
        }
        slots.into_iter().map(|slot| Winner { row: slot.row, event: slot.event }).collect()
    }
}

/// The first slot of those from `first` to `end` whose time is not before `seen`, or [`NONE`].
#[inline]
fn first_at(times: &[Micros], (first, end): (u32, u32), seen: Micros) -> u32 {
    let times = &times[first as usize..end as usize];
    let at = match times.len() {
        // Counting to the end takes no branch that could be guessed wrong.
        0..=8 => times.iter().map(|time| usize::from(*time < seen)).sum(),
        _ => times.partition_point(|time| *time < seen),
    };
    if at == times.len() { NONE } else { first + at as u32 }
}

/// Adds rows that lost a tie; of two ties of one slot the later stays.
fn tied<C: Created>(ties: &mut HashMap<u32, Tie<C>, ahash::RandomState>, slot: u32, new: Tie<C>) {
    let tie = ties.entry(slot).or_insert((new.0, new.1, 0));
    match (tie.0, tie.1).cmp(&(new.0, new.1)) {
        std::cmp::Ordering::Less => *tie = new,
        std::cmp::Ordering::Equal => tie.2 += new.2,
        std::cmp::Ordering::Greater => {}
    }
}
