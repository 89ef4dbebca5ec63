//! Ranks a row's observations as they come, in any order: the winner, the nearest others, and a count of each outcome.
//!
//! Counts are right at any moment for what has been seen: when a new best comes, all that lost to the old one lose to the
//! new one, by the first part of their ranks that differs.

use std::collections::BTreeMap;

use tidegate_schemas::time::{
    Address, Decided, Hidden, Micros, Rank, UpperBound, decided, expired, hidden, supersedes,
};

use super::Outcome;
use super::windows::Held;

/// Who reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    pub(super) at: Micros,
    pub(super) as_of: Option<Micros>,
    pub(super) upper: UpperBound,
    pub(super) ttl: Option<Micros>,
}

/// An observation with the row's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) rank: Rank,
    pub(super) known: Option<Micros>,
    pub(super) valid_to: Option<Micros>,
    /// Index of its file in the snapshot.
    pub(super) file: usize,
}

/// The ranking of one row's observations.
#[derive(Debug)]
pub(super) struct Tally {
    reader: Reader,
    /// How many others are kept beside the winner.
    runners_up: usize,
    best: Option<Seen>,
    /// The latest observation in which a feature is not null, where nulls are skipped.
    of_features: Vec<Option<Seen>>,
    /// By distance from the row's time; one more than `runners_up`, as the winner may be among them.
    nearest: BTreeMap<(u64, Address), Seen>,
    /// Of all but the winner.
    lost: BTreeMap<Outcome, u64>,
    /// What windows hold, where nothing wins.
    pub(super) windows: Option<Held>,
}

impl Tally {
    /// An empty one; `features` are ranked each by itself.
    pub(super) fn new(reader: Reader, runners_up: usize, features: usize) -> Self {
        Self {
            reader,
            runners_up,
            best: None,
            of_features: vec![None; features],
            nearest: BTreeMap::new(),
            lost: BTreeMap::new(),
            windows: None,
        }
    }

    /// Whether the features of all that the reader may use are looked at.
    pub(super) fn needs_features(&self) -> bool {
        !self.of_features.is_empty() || self.windows.is_some()
    }

    /// Whether features are ranked each by itself.
    fn ranks_features(&self) -> bool {
        !self.of_features.is_empty()
    }

    /// Takes an observation, and says whether the reader may use it.
    pub(super) fn add(&mut self, seen: Seen) -> bool {
        self.nearest.insert((self.distance(&seen), seen.rank.address), seen);
        if self.nearest.len() > self.runners_up.saturating_add(1) {
            self.nearest.pop_last();
        }
        if let Some(why) = self.hidden(&seen) {
            self.count(why, 1);
            return false;
        }
        if let Some(outcome) = self.in_windows(&seen) {
            self.count(outcome, 1);
            return outcome == Outcome::Counted;
        }
        match self.best {
            None => self.best = Some(seen),
            Some(best) if supersedes(&seen.rank, &best.rank) => {
                self.dethrone(lost_by(&best.rank, &seen.rank));
                self.best = Some(seen);
            }
            Some(best) => self.count(lost_by(&seen.rank, &best.rank), 1),
        }
        true
    }

    /// Takes a feature's value that is not null, of an observation that the reader may use.
    pub(super) fn add_value(&mut self, feature: usize, seen: Seen) {
        let best = &mut self.of_features[feature];
        if best.is_none_or(|best| supersedes(&seen.rank, &best.rank)) {
            *best = Some(seen);
        }
    }

    /// The winner.
    pub(super) fn best(&self) -> Option<Seen> {
        self.best
    }

    /// The observation that a feature's value comes from, if it is fresh.
    pub(super) fn source(&self, feature: usize) -> Option<Seen> {
        let found = if self.ranks_features() { self.of_features[feature] } else { self.best };
        found.filter(|found| !expired(found.rank.event, self.reader.at, self.reader.ttl))
    }

    /// The winner if there is one, then the others nearest to the row's time, with those that features come from.
    pub(super) fn kept(&self) -> Vec<Seen> {
        let is_best = |seen: &Seen| self.best.is_some_and(|best| best.rank.address == seen.rank.address);
        let near = self.nearest.values().filter(|seen| !is_best(seen)).take(self.runners_up);
        let sources = self.of_features.iter().flatten().filter(|seen| !is_best(seen));
        let others: BTreeMap<(u64, Address), Seen> =
            near.chain(sources).map(|seen| ((self.distance(seen), seen.rank.address), *seen)).collect();
        self.best.into_iter().chain(others.into_values()).collect()
    }

    /// What became of an observation.
    pub(super) fn outcome(&self, seen: &Seen) -> Outcome {
        if let (None, Some(outcome)) = (self.hidden(seen), self.in_windows(seen)) {
            return outcome;
        }
        match (self.hidden(seen), self.best) {
            (Some(why), _) => why,
            (None, Some(best)) if best.rank != seen.rank => lost_by(&seen.rank, &best.rank),
            _ if expired(seen.rank.event, self.reader.at, self.reader.ttl) => Outcome::Expired,
            _ => Outcome::Won,
        }
    }

    /// How many had each outcome, the winner included.
    pub(super) fn outcomes(&self) -> BTreeMap<Outcome, u64> {
        let mut outcomes = self.lost.clone();
        if let Some(best) = &self.best {
            outcomes.insert(self.outcome(best), 1);
        }
        outcomes
    }

    fn distance(&self, seen: &Seen) -> u64 {
        seen.rank.event.abs_diff(self.reader.at)
    }

    /// Whether a visible observation is in a window; none where something wins.
    fn in_windows(&self, seen: &Seen) -> Option<Outcome> {
        let held = self.windows.as_ref()?;
        Some(if held.reach(seen.rank.event) { Outcome::Counted } else { Outcome::BeforeWindow })
    }

    fn hidden(&self, seen: &Seen) -> Option<Outcome> {
        let Reader { at, as_of, upper, .. } = self.reader;
        Some(match hidden((seen.rank.event, seen.known, seen.valid_to), at, as_of, upper)? {
            Hidden::Later => Outcome::AfterRowTime,
            Hidden::NeverKnown => Outcome::NeverKnown,
            Hidden::NotYetKnown => Outcome::NotYetKnown,
            Hidden::Cut => Outcome::CutByAsOf,
            Hidden::Over => Outcome::NoLongerValid,
        })
    }

    fn count(&mut self, outcome: Outcome, more: u64) {
        if more > 0 {
            *self.lost.entry(outcome).or_default() += more;
        }
    }

    /// The best so far has lost by `outcome`, and with it all that had lost to it by no earlier part of their ranks.
    fn dethrone(&mut self, outcome: Outcome) {
        let parts = [Outcome::LaterEventTime, Outcome::LaterCreatedTime, Outcome::LaterAddress];
        let later = parts.into_iter().filter(|part| *part > outcome);
        let with_it: u64 = later.filter_map(|part| self.lost.remove(&part)).sum();
        self.count(outcome, with_it + 1);
    }
}

/// By what a visible observation lost to the winner.
fn lost_by(loser: &Rank, winner: &Rank) -> Outcome {
    match decided(winner, loser) {
        Decided::ByEvent => Outcome::LaterEventTime,
        Decided::ByCreated => Outcome::LaterCreatedTime,
        Decided::ByAddress => Outcome::LaterAddress,
    }
}
