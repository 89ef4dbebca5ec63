//! The most frequent values: a count for each, as long as there are few.

use super::value::{Held, Value};

/// A tile keeps the counts of so many different values; of more it keeps those counted most often, and what is rare becomes
/// approximate.
pub const KEPT: usize = 1_000;

/// Values in their order, with how often each was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts(pub(super) Vec<(Held, u64)>);

impl Counts {
    pub(super) fn add(&mut self, value: Value<'_>) {
        match self.0.binary_search_by(|(held, _)| held.value().order(&value)) {
            Ok(at) => self.0[at].1 += 1,
            Err(at) => self.0.insert(at, (Held::of(value), 1)),
        }
        if self.0.len() >= 2 * KEPT {
            self.prune();
        }
    }

    /// Takes on all counts of another: what is merged to be read is not pruned.
    pub(super) fn merge(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        let mut merged = Vec::with_capacity(self.0.len() + other.0.len());
        let mut mine = std::mem::take(&mut self.0).into_iter().peekable();
        for (value, count) in &other.0 {
            while let Some(before) = mine.next_if(|(mine, _)| mine.value().order(&value.value()).is_lt()) {
                merged.push(before);
            }
            let same = mine.next_if(|(mine, _)| mine.value().order(&value.value()).is_eq()).map_or(0, |(_, same)| same);
            merged.push((value.clone(), count + same));
        }
        merged.extend(mine);
        self.0 = merged;
    }

    /// The positions of the most frequent values, most frequent first; of equally frequent ones the lowest first.
    pub(super) fn top(&self, most: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        let rank = |at: &usize| (std::cmp::Reverse(self.0[*at].1), *at);
        if most < order.len() {
            order.select_nth_unstable_by_key(most, rank);
            order.truncate(most);
        }
        order.sort_unstable_by_key(rank);
        order
    }

    /// What is kept of it: everything, or the [`KEPT`] most frequent.
    pub(super) fn pruned(&self) -> Vec<&(Held, u64)> {
        if self.0.len() <= KEPT {
            return self.0.iter().collect();
        }
        let mut kept = self.top(KEPT);
        kept.sort_unstable();
        kept.into_iter().map(|at| &self.0[at]).collect()
    }

    fn prune(&mut self) {
        self.0 = self.pruned().into_iter().cloned().collect();
    }
}
