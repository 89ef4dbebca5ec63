//! The time rule: when an observation could have been used, and which of two observations wins.
//!
//! Every tier calls these functions; nothing else in the workspace compares event, created or knowledge times to decide
//! what a reader may see. All times are UTC microseconds since 1970-01-01, as in Delta Lake.

use std::cmp::Ordering;

/// A point in time: UTC microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// Where a row stands in a table's history. Compared in field order; the later address wins a tie of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Delta version that added the row.
    pub version: i64,
    /// Position of the row's file among the files that version added.
    pub file: u32,
    /// Zero-based row number in the file.
    pub row: u64,
}

/// When a view's observations count as known (semantics: `k(o)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Availability {
    /// `max(event, created)`; an observation without a created time is never known.
    Created,
    /// The event time itself.
    #[default]
    Event,
    /// The event time plus a fixed delay in microseconds, never negative.
    Delay(Micros),
    /// `max(event, time of the Delta commit that added the row)`.
    Commit,
}

/// Whether an observation at exactly the asked time is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UpperBound {
    /// `event <= t`.
    #[default]
    Inclusive,
    /// `event < t`.
    Exclusive,
}

/// What a read gives for a feature that is null in the winner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Nulls {
    /// The null.
    #[default]
    Keep,
    /// The value of the latest visible observation in which the feature is not null.
    Skip,
}

/// The knowledge time of an observation, or `None` when it was never known (no created or commit time where one is needed).
///
/// ```
/// use tidegate_schemas::time::{Availability, knowledge_time};
/// assert_eq!(knowledge_time(Availability::Created, 10, Some(7), None), Some(10));
/// assert_eq!(knowledge_time(Availability::Delay(5), 10, None, None), Some(15));
/// assert_eq!(knowledge_time(Availability::Created, 10, None, None), None);
/// ```
#[inline]
#[must_use]
pub fn knowledge_time(
    availability: Availability,
    event: Micros,
    created: Option<Micros>,
    committed: Option<Micros>,
) -> Option<Micros> {
    match availability {
        Availability::Event => Some(event),
        Availability::Created => created.map(|created| event.max(created)),
        Availability::Delay(delay) => Some(event.saturating_add(delay)),
        Availability::Commit => committed.map(|committed| event.max(committed)),
    }
}

/// Whether an observation may be used by a reader standing at `at`, who knows what was known at `min(at, as_of)`.
#[inline]
#[must_use]
pub fn visible(event: Micros, known: Option<Micros>, at: Micros, as_of: Option<Micros>, upper: UpperBound) -> bool {
    let in_bounds = match upper {
        UpperBound::Inclusive => event <= at,
        UpperBound::Exclusive => event < at,
    };
    let horizon = as_of.map_or(at, |cut| cut.min(at));
    in_bounds && known.is_some_and(|known| known <= horizon)
}

/// Whether an observation that holds until `valid_to` still holds for a reader at `at`. One without an end holds for ever.
///
/// It narrows [`visible`], which takes the start of validity as the event time; an interval that ends at or before its start
/// holds never.
#[inline]
#[must_use]
pub fn valid(valid_to: Option<Micros>, at: Micros) -> bool {
    valid_to.is_none_or(|end| at < end)
}

/// The order by which one observation supersedes another: event time, then created time (a missing one lowest), then address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rank {
    /// Event time.
    pub event: Micros,
    /// Created time, where the source has one.
    pub created: Option<Micros>,
    /// Where the row stands in its table.
    pub address: Address,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.event, self.created, self.address).cmp(&(other.event, other.created, other.address))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whether `p` supersedes `q`: `(p.e, p.c, p.a) > (q.e, q.c, q.a)`.
#[inline]
#[must_use]
pub fn supersedes(p: &Rank, q: &Rank) -> bool {
    p > q
}

/// Why a reader may not use an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hidden {
    /// It happened after the reader's time, or at it with an exclusive bound.
    Later,
    /// It has no created or commit time where one is needed.
    NeverKnown,
    /// It became known after the reader's time.
    NotYetKnown,
    /// It became known after the cut.
    Cut,
    /// Its validity had ended.
    Over,
}

/// The first reason for which [`visible`] or [`valid`] refuses an observation, or `None` when neither does.
#[must_use]
pub fn hidden(
    (event, known, valid_to): (Micros, Option<Micros>, Option<Micros>),
    at: Micros,
    as_of: Option<Micros>,
    upper: UpperBound,
) -> Option<Hidden> {
    match known {
        _ if !visible(event, Some(Micros::MIN), at, None, upper) => Some(Hidden::Later),
        None => Some(Hidden::NeverKnown),
        known if !visible(event, known, at, None, upper) => Some(Hidden::NotYetKnown),
        known if !visible(event, known, at, as_of, upper) => Some(Hidden::Cut),
        _ if !valid(valid_to, at) => Some(Hidden::Over),
        _ => None,
    }
}

/// The part of two ranks that decides between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decided {
    /// The event times.
    ByEvent,
    /// The created times, of equal event times.
    ByCreated,
    /// The addresses: both times are equal.
    ByAddress,
}

/// What decides which of two observations supersedes the other.
#[must_use]
pub fn decided(p: &Rank, q: &Rank) -> Decided {
    match (p.event == q.event, p.created == q.created) {
        (false, _) => Decided::ByEvent,
        (true, false) => Decided::ByCreated,
        (true, true) => Decided::ByAddress,
    }
}

/// Whether a winner with this event time is too old for a reader at `at`. Both bounds of the window are inclusive.
#[inline]
#[must_use]
pub fn expired(event: Micros, at: Micros, ttl: Option<Micros>) -> bool {
    ttl.is_some_and(|ttl| event < at.saturating_sub(ttl))
}

/// Whether an incoming observation replaces the one stored online: it supersedes it, or has the same times.
///
/// Equal times let a correction land and make a replay a no-op; an older backfill is never accepted.
#[inline]
#[must_use]
pub fn replaces(incoming: (Micros, Option<Micros>), stored: (Micros, Option<Micros>)) -> bool {
    incoming >= stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_no_earlier_than_it_happened() {
        let check = |availability, created, committed, expect| {
            assert_eq!(knowledge_time(availability, 100, created, committed), expect, "{availability:?}");
        };
        check(Availability::Event, Some(500), Some(900), Some(100));
        check(Availability::Created, Some(500), Some(900), Some(500));
        check(Availability::Created, Some(50), None, Some(100));
        check(Availability::Created, None, Some(900), None);
        check(Availability::Delay(7), None, None, Some(107));
        check(Availability::Delay(Micros::MAX), None, None, Some(Micros::MAX));
        check(Availability::Commit, None, Some(900), Some(900));
        check(Availability::Commit, Some(500), Some(20), Some(100));
        check(Availability::Commit, Some(500), None, None);
    }

    #[test]
    fn both_bounds_include_their_end() {
        let at = |event, upper| visible(event, Some(event), 100, None, upper);
        assert!(at(100, UpperBound::Inclusive) && at(99, UpperBound::Inclusive) && !at(101, UpperBound::Inclusive));
        assert!(!at(100, UpperBound::Exclusive) && at(99, UpperBound::Exclusive));
        assert!(!expired(40, 100, Some(60)) && expired(39, 100, Some(60)) && !expired(Micros::MIN, 100, None));
        assert!(!expired(Micros::MIN, Micros::MIN + 1, Some(5)), "a window that reaches below the range holds all");
    }

    #[test]
    fn a_knowledge_cut_hides_what_came_later_and_never_shows_more() {
        let see = |known, as_of| visible(10, known, 100, as_of, UpperBound::Inclusive);
        assert!(see(Some(100), None) && !see(Some(101), None) && !see(None, None));
        assert!(see(Some(50), Some(50)) && !see(Some(51), Some(50)));
        assert!(!see(Some(101), Some(1_000)), "a cut after the row's own time changes nothing");
    }

    #[test]
    fn validity_includes_its_start_and_not_its_end() {
        let see = |from, to, at, upper| visible(from, Some(from), at, None, upper) && valid(to, at);
        let check = |at, upper, expect| assert_eq!(see(10, Some(20), at, upper), expect, "{at} {upper:?}");
        check(9, UpperBound::Inclusive, false);
        check(10, UpperBound::Inclusive, true);
        check(10, UpperBound::Exclusive, false);
        check(19, UpperBound::Inclusive, true);
        check(20, UpperBound::Inclusive, false);
        assert!(see(10, None, Micros::MAX, UpperBound::Inclusive), "no end: still valid");
        let never = |to| (0..40).all(|at| !see(10, Some(to), at, UpperBound::Inclusive));
        assert!(never(10) && never(9), "an interval that ends where it starts, or before, holds nothing");
    }

    #[test]
    fn whatever_is_hidden_has_a_reason() {
        let times = [-1, 0, 5, 9, 10, 11];
        let maybe = || times.iter().map(|time| Some(*time)).chain([None]);
        for (event, known, end, cut) in times.iter().flat_map(|event| {
            maybe()
                .flat_map(move |known| maybe().flat_map(move |end| maybe().map(move |cut| (*event, known, end, cut))))
        }) {
            for upper in [UpperBound::Inclusive, UpperBound::Exclusive] {
                let seen = visible(event, known, 10, cut, upper) && valid(end, 10);
                assert_eq!(
                    hidden((event, known, end), 10, cut, upper).is_none(),
                    seen,
                    "{event} {known:?} {end:?} {cut:?}"
                );
            }
        }
        let why = |event, known, end, cut| hidden((event, known, end), 10, cut, UpperBound::Inclusive);
        assert_eq!(why(11, None, Some(3), Some(0)), Some(Hidden::Later));
        assert_eq!(why(9, None, Some(3), Some(0)), Some(Hidden::NeverKnown));
        assert_eq!(why(9, Some(11), Some(3), Some(0)), Some(Hidden::NotYetKnown));
        assert_eq!(why(9, Some(9), Some(3), Some(8)), Some(Hidden::Cut));
        assert_eq!(why(9, Some(9), Some(10), Some(9)), Some(Hidden::Over));
        assert_eq!(why(9, Some(9), Some(11), Some(9)), None);
    }

    #[test]
    fn event_then_created_then_address_decide() {
        let rank = |event, created, version, row| Rank { event, created, address: Address { version, file: 0, row } };
        let ascending = [
            rank(1, Some(9), 9, 9),
            rank(2, None, 5, 0),
            rank(2, None, 5, 1),
            rank(2, Some(-3), 0, 0),
            rank(2, Some(4), 1, 7),
            rank(2, Some(4), 2, 0),
        ];
        for pair in ascending.windows(2) {
            assert!(supersedes(&pair[1], &pair[0]) && !supersedes(&pair[0], &pair[1]), "{pair:?}");
        }
        assert!(!supersedes(&ascending[0], &ascending[0]));
        let by: Vec<Decided> = ascending.windows(2).map(|pair| decided(&pair[1], &pair[0])).collect();
        let (event, created, address) = (Decided::ByEvent, Decided::ByCreated, Decided::ByAddress);
        assert_eq!(by, [event, address, created, created, address]);
    }

    #[test]
    fn online_a_correction_lands_and_a_backfill_does_not() {
        assert!(replaces((5, None), (5, None)), "the same times: a replay or a correction");
        assert!(replaces((5, Some(1)), (5, None)) && !replaces((5, None), (5, Some(1))));
        assert!(replaces((6, None), (5, Some(9))) && !replaces((4, Some(9)), (5, None)));
    }
}
