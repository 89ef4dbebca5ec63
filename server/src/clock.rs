//! The only reader of the wall clock. Everything else takes `now` or `as_of` as an argument, or a [`Clock`] from here.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidegate_schemas::time::Micros;

/// Tells the time; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    manual: Option<Arc<AtomicI64>>,
}

/// Measures how long something takes, on the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    started: Instant,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self { manual: None }
    }

    /// A clock that stands still until it is set; clones share its time.
    #[must_use]
    pub fn manual(now: Micros) -> Self {
        Self { manual: Some(Arc::new(AtomicI64::new(now))) }
    }

    /// UTC microseconds since 1970.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one reader of the wall clock")]
    pub fn now(&self) -> Micros {
        if let Some(manual) = &self.manual {
            return manual.load(Ordering::SeqCst);
        }
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        }
    }

    /// Moves a manual clock; a system clock stays what it is.
    pub fn set(&self, now: Micros) {
        if let Some(manual) = &self.manual {
            manual.store(now, Ordering::SeqCst);
        }
    }

    /// Starts measuring.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "durations are measured here, never decided by")]
    pub fn stopwatch(&self) -> Stopwatch {
        Stopwatch { started: Instant::now() }
    }
}

impl Stopwatch {
    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
