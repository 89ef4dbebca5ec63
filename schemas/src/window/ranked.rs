//! The first and the last values, by event time, then created time with a missing one lowest, then value. A value's place in a
//! table plays no part: the online tier does not know it, and what wins must not depend on what came first.

use std::cmp::Ordering;

use super::value::{Held, Value};
use crate::time::Micros;

/// A value and when it was.
#[derive(Debug, Clone)]
pub(super) struct Ranked {
    pub(super) event: Micros,
    pub(super) created: Option<Micros>,
    pub(super) held: Held,
}

/// The same of a value that may not stay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) event: Micros,
    pub(super) created: Option<Micros>,
    pub(super) value: Value<'a>,
}

impl Candidate<'_> {
    pub(super) fn order(&self, other: &Candidate<'_>) -> Ordering {
        (self.event, self.created).cmp(&(other.event, other.created)).then_with(|| self.value.order(&other.value))
    }

    pub(super) fn held(&self) -> Ranked {
        Ranked { event: self.event, created: self.created, held: Held::of(self.value) }
    }
}

impl Ranked {
    pub(super) fn candidate(&self) -> Candidate<'_> {
        Candidate { event: self.event, created: self.created, value: self.held.value() }
    }
}

/// Puts a candidate among the last `most`, which are in order.
pub(super) fn keep_last(last: &mut Vec<Ranked>, candidate: Candidate<'_>, most: usize) {
    let at = last.partition_point(|kept| kept.candidate().order(&candidate).is_lt());
    if last.len() < most {
        last.insert(at, candidate.held());
    } else if at > 0 {
        // The lowest makes room.
        last[..at].rotate_left(1);
        last[at - 1] = candidate.held();
    }
}
