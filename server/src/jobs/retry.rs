//! Which failures are worth another attempt, and how long it waits.
//!
//! Pauses double from `jobs.backoff` up to `jobs.max_backoff`. Half of each is fixed and half is drawn, so that jobs that failed
//! together, as on a full disk, do not come back together.

use std::time::Duration;

use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::Micros;

use super::State;
use crate::config;

/// Whether the same attempt may succeed later, without anybody changing a definition or a table.
pub(super) fn may_pass(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Unavailable
        | ErrorKind::Exhausted
        | ErrorKind::Conflict
        | ErrorKind::Deadline
        | ErrorKind::Cancelled
        | ErrorKind::Internal => true,
        ErrorKind::Invalid
        | ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::Precondition
        | ErrorKind::Unauthenticated
        | ErrorKind::Forbidden
        | ErrorKind::Unsupported
        | ErrorKind::Corrupt => false,
    }
}

/// The pause after so many attempts; `jitter` in `0.0..1.0`.
pub(super) fn pause(attempts: u32, settings: &config::Jobs, jitter: f64) -> Micros {
    let doubled = settings.backoff.saturating_mul(1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX));
    let longest = micros(doubled.min(settings.max_backoff));
    let half = longest / 2;
    half + (half as f64 * jitter.clamp(0.0, 1.0)) as Micros
}

/// Whether a job may be begun. A pause longer than any is the work of a clock that was set back: it is over.
pub(super) fn is_due(state: &State, now: Micros, longest: Duration) -> bool {
    match state {
        State::Queued => true,
        State::Retrying { at } => now >= *at || at.saturating_sub(now) > micros(longest),
        State::Running | State::Done | State::Failed | State::Cancelled => false,
    }
}

pub(super) fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
