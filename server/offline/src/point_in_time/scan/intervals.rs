//! Observations that stop holding: a slot's winner is the best of those whose validity covers it.
//!
//! What an earlier slot sees, a later one may see no more, so no running maximum will do. Observations are kept instead,
//! as ranges of slots, and handed out from the best down: each takes the slots of its range that nobody took before. Taken
//! slots point past themselves (a disjoint-set forest, Tarjan 1975), so that every slot is looked at about once.

use tidegate_schemas::time::Micros;

use super::Winner;
use super::slots::{Created, Offers};
use crate::point_in_time::spine::SpineIndex;

/// An observation and the slots that see it.
#[derive(Debug, Clone, Copy)]
struct Interval<C> {
    first: u32,
    end: u32,
    event: Micros,
    created: C,
    row: u64,
}

/// One worker's observations.
pub(super) struct Intervals<C> {
    held: Vec<Interval<C>>,
}

impl<C: Created> Intervals<C> {
    pub(super) fn new() -> Self {
        Self { held: Vec::new() }
    }

    /// Bytes of the observations held.
    pub(super) fn bytes(&self) -> usize {
        self.held.capacity() * size_of::<Interval<C>>()
    }

    /// Keeps the observations that some slot sees; says how many happened in time for a slot and were known too late.
    pub(super) fn offer_all(&mut self, index: &SpineIndex, new: &Offers<C>) -> usize {
        let mut late = 0;
        for (offer, until) in new.offers.iter().zip(&new.until) {
            let (first, past) = (index.first_at(offer.group, offer.seen), index.slots_of(offer.group).1);
            if first == past {
                late += usize::from(new.is_late(index, offer));
                continue;
            }
            let end = until.map_or(past, |until| index.first_at(offer.group, until));
            if first < end {
                let row = new.first_row + u64::from(offer.row);
                self.held.push(Interval { first, end, event: offer.event, created: offer.created, row });
            }
        }
        late
    }

    /// Takes in another worker's observations.
    pub(super) fn merge(&mut self, other: Self) {
        self.held.extend(other.held);
    }

    /// The winner of every slot, and how many observations tied with one.
    pub(super) fn winners(mut self, index: &SpineIndex) -> (Vec<Winner>, u64) {
        self.held.sort_unstable_by_key(|it| std::cmp::Reverse((it.event, it.created, it.row)));
        let slots = index.slots();
        let mut winners = vec![Winner { row: 0, event: Micros::MIN }; slots];
        // Per slot the next that nobody took, itself where it is free; one more at the end.
        let mut free: Vec<u32> = (0..=slots as u32).collect();
        let (mut conflicts, mut last) = (0, None::<Interval<C>>);
        for it in self.held {
            let ties = |last: Interval<C>| {
                (last.event, last.created) == (it.event, it.created) && last.first < it.end && it.first < last.end
            };
            conflicts += u64::from(last.is_some_and(ties));
            last = Some(it);
            let mut slot = next_free(&mut free, it.first);
            while slot < it.end {
                winners[slot as usize] = Winner { row: it.row, event: it.event };
                free[slot as usize] = slot + 1;
                slot = next_free(&mut free, slot);
            }
        }
        (winners, conflicts)
    }
}

/// The first free slot from `slot` on; shortens the way for whoever asks next.
fn next_free(free: &mut [u32], mut slot: u32) -> u32 {
    while free[slot as usize] != slot {
        let next = free[free[slot as usize] as usize];
        free[slot as usize] = next;
        slot = next;
    }
    slot
}
