//! Whether a stored observation is too old to serve. The rule is [`tidegate_schemas::time::expired`]; nothing is deleted for its
//! age, so that a longer time to live brings a value back.

use tidegate_schemas::time::{self, Micros};

/// Whether an observation of this age is withheld at `now`.
#[inline]
pub(crate) fn expired(event: Micros, now: Micros, serve_ttl: Option<Micros>) -> bool {
    time::expired(event, now, serve_ttl)
}

/// Microseconds from the event to `now`: zero for an event in the future, for which no age is meaningful.
#[inline]
pub(crate) fn age(event: Micros, now: Micros) -> Micros {
    now.saturating_sub(event).max(0)
}
