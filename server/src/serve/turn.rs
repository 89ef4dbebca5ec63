//! A lookup's turn: refused at once where the server can't keep up, and not begun for a caller who no longer waits.
//!
//! Lookups are short and run on the thread that has their connection, one after the other. What waits is in that thread's queue,
//! so some lookups first go to the end of it once: those that have come are then counted before the first of them runs, and how
//! many there are, times how long one takes, is how long the next would wait. A burst may wait as long as [`Turns::new`] is told.
//! Once that was not enough the server is taken for overloaded for some seconds, and only as many may wait as keep it busy: who is
//! answered is answered soon, a refusal costs little, and the work that can be done is done. (Delay and not length tells a
//! standing queue: Nichols and Jacobson, "Controlling Queue Delay", 2012.)

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tidegate_schemas::error::ErrorKind;
use tonic::metadata::MetadataMap;

use super::error::RETRY_AFTER_MS;
use crate::clock::Stopwatch;
use crate::service::{Error, Result, Tidegate};

/// How long a lookup may wait while the server is overloaded.
const OVERLOADED_WAIT: Duration = Duration::from_micros(500);

/// One in so many lookups is sent to the end of the queue to see how long it is. All are while the server is overloaded, and where
/// they take so long that going there costs nothing beside.
const SAMPLE: u64 = 8;
const SLOW: Duration = Duration::from_micros(200);

/// So many may wait however long one takes: callers who wait for their answers are no overload.
const FEW: u64 = 16;

/// How long the server is taken for overloaded; then a burst may show whether it still is.
const OVERLOADED_FOR: Duration = Duration::from_secs(5);

/// A lookup's time counts this much in the mean of all, and no more than so many times that mean or these nanoseconds: one that the
/// system interrupted says nothing of the next.
const WEIGHT: f64 = 1.0 / 16.0;
const OUTLIER: f64 = 4.0;
const SHORT: f64 = 20_000.0;

/// The queue of lookups, as far as it is known.
#[derive(Debug)]
pub(super) struct Turns {
    wait_max: Duration,
    since_start: Stopwatch,
    /// Lookups that came.
    came: AtomicU64,
    /// Lookups that wait for their turn.
    waiting: AtomicU64,
    /// Mean nanoseconds of a lookup.
    each: AtomicU64,
    /// Microseconds from the start to when a burst was too long last, and one more; 0 before the first.
    overloaded_at: AtomicU64,
}

/// A lookup's turn, until it is dropped: how long that took is how long the next ones are expected to take.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    watch: Stopwatch,
    waited: Duration,
}

impl Turn<'_> {
    /// What is left of a caller's patience after waiting for the turn.
    pub(super) fn left(&self, patience: Option<Duration>) -> Option<Duration> {
        patience.map(|patience| patience.saturating_sub(self.waited))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let (took, mean) = (self.watch.elapsed().as_nanos() as f64, self.turns.each.load(Ordering::Relaxed) as f64);
        let took = took.min((mean * OUTLIER).max(SHORT));
        // Of two at once one may be lost: a mean stays a mean.
        self.turns.each.store((mean + (took - mean) * WEIGHT) as u64, Ordering::Relaxed);
    }
}

/// One that waits; given up or begun, it waits no more.
struct Waiting<'a>(&'a Turns);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turns {
    /// Lookups that come in a burst may wait for `wait_max`.
    pub(super) fn new(service: &Tidegate, wait_max: Duration) -> Self {
        let since_start = service.clock().stopwatch();
        let [came, waiting, each, overloaded_at] = [0; 4].map(AtomicU64::new);
        Self { wait_max, since_start, came, waiting, each, overloaded_at }
    }

    /// Waits for a lookup's turn; its caller waits for `patience`, or for any time.
    ///
    /// # Errors
    /// `Unavailable` where too many wait, `Deadline` where the caller's time is over.
    pub(super) async fn wait(&self, service: &Tidegate, patience: Option<Duration>) -> Result<Turn<'_>> {
        let watch = service.clock().stopwatch();
        let share = if self.overloaded() || self.each() >= SLOW { 1 } else { SAMPLE };
        if self.came.fetch_add(1, Ordering::Relaxed).is_multiple_of(share) {
            let waiting = self.line_up(share)?;
            to_the_end_of_the_queue().await;
            drop(waiting);
        }
        let waited = patience.map_or(Duration::ZERO, |_| watch.elapsed());
        if patience.is_some_and(|patience| waited >= patience) {
            let message = "the deadline passed before the lookup began; allow more time, or send less at once";
            return Err(Error::new(ErrorKind::Deadline, message));
        }
        Ok(Turn { turns: self, watch: service.clock().stopwatch(), waited })
    }

    /// Takes a place in the queue, as one of so many.
    fn line_up(&self, share: u64) -> Result<Waiting<'_>> {
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed).saturating_mul(share);
        let waiting = Waiting(self);
        let threads = tokio::runtime::Handle::current().metrics().num_workers().max(1) as u64;
        let wait = self.each().saturating_mul(u32::try_from(ahead / threads).unwrap_or(u32::MAX));
        let is_burst = wait <= self.wait_max || ahead <= FEW;
        if wait <= OVERLOADED_WAIT || is_burst && !self.overloaded() {
            return Ok(waiting);
        }
        if !is_burst {
            self.overloaded_at.store(self.now() + 1, Ordering::Relaxed);
        }
        let message = format!(
            "the server has more lookups than it can answer in time; try again in {RETRY_AFTER_MS} ms, or give it more cores"
        );
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// How long a lookup takes.
    fn each(&self) -> Duration {
        Duration::from_nanos(self.each.load(Ordering::Relaxed))
    }

    fn overloaded(&self) -> bool {
        let since = self.overloaded_at.load(Ordering::Relaxed);
        since > 0 && Duration::from_micros(self.now().saturating_sub(since)) < OVERLOADED_FOR
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since_start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

async fn to_the_end_of_the_queue() {
    let mut there = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut there, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The time a gRPC caller gives, from the header `grpc-timeout`: at most eight digits and a unit.
pub(super) fn timeout_of(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tests::bench::Bench;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        let read = |text: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().expect("a header"));
            timeout_of(&metadata)
        };
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("1S"), Some(Duration::from_secs(1)));
        assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        for bad in ["", "m", "1", "1x", "123456789m", "-1S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(timeout_of(&MetadataMap::new()), None);
    }

    /// On one thread all have lined up before the first has its turn.
    #[tokio::test]
    async fn only_so_many_wait() {
        let bench = Bench::new().await;
        let turns = Turns::new(&bench.service, Duration::from_millis(20));
        let burst = async |count: usize, each: u64| {
            let all = futures::future::join_all((0..count).map(|_| turns.wait(&bench.service, None))).await;
            let admitted = all.iter().filter(|turn| turn.is_ok()).count();
            let refused = all.iter().filter_map(|turn| turn.as_ref().err());
            assert!(refused.clone().all(|error| error.kind == ErrorKind::Unavailable));
            // These were no lookups: what they took is nothing to go by.
            drop(all);
            turns.each.store(each, Ordering::Relaxed);
            turns.came.store(0, Ordering::Relaxed);
            admitted
        };
        assert_eq!(burst(1_000, 100_000).await, 1_000, "nothing is known yet of how long one takes");
        assert_eq!(burst(300, 1_000_000).await, 208, "of 100 µs each, 200 may be ahead; one in eight looks");
        turns.overloaded_at.store(0, Ordering::Relaxed);
        assert_eq!(burst(10, 1_000_000).await, 10);
        assert_eq!(burst(30, 1_000_000).await, 21, "of a millisecond each, twenty may be ahead");
        assert_eq!(burst(5, 10_000_000).await, 1, "overloaded: as many as keep it busy");
        assert_eq!(turns.waiting.load(Ordering::Relaxed), 0);
        turns.overloaded_at.store(0, Ordering::Relaxed);
        assert_eq!(burst(17, 10_000_000).await, 17, "few may wait, however long it takes");
        assert_eq!(burst(18, 10_000_000).await, 17);
    }

    #[tokio::test]
    async fn nothing_is_begun_for_a_caller_who_is_gone() {
        let bench = Bench::new().await;
        let turns = Turns::new(&bench.service, Duration::from_secs(1));
        assert_eq!(turns.wait(&bench.service, Some(Duration::ZERO)).await.unwrap_err().kind, ErrorKind::Deadline);
        assert!(turns.wait(&bench.service, Some(Duration::from_secs(3600))).await.is_ok());
        drop(futures::FutureExt::now_or_never(turns.wait(&bench.service, None)));
        assert_eq!(turns.waiting.load(Ordering::Relaxed), 0);
    }
}
