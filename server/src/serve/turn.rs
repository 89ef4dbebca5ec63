//! A lookup's turn: refused at once where the server can't keep up, and not begun for a caller who no longer waits.
//!
//! Lookups are short and run on the thread that has their connection, one after the other. What waits is in that thread's queue;
//! how long it is shows in how long one pass through it takes. So a lookup first goes to the end of the queue once, and is
//! refused when that took longer than it may: whoever is answered was answered soon, and a refusal costs next to nothing
//! (Nichols and Jacobson, "Controlling Queue Delay", 2012: delay, not length, tells a standing queue).

use std::task::Poll;
use std::time::Duration;

use tidegate_schemas::error::ErrorKind;
use tonic::metadata::MetadataMap;

use crate::service::{Error, Result, Tidegate};

/// What callers should wait before they try again, in milliseconds.
pub(super) const RETRY_AFTER_MS: u64 = 100;

/// How long lookups may wait, and their callers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Longest time in the queue.
    pub(super) wait_max: Duration,
    /// What the caller said; `None` for any time.
    pub(super) caller: Option<Duration>,
}

/// Waits for a lookup's turn.
///
/// # Errors
/// `Unavailable` where the queue is too long, `Deadline` where the caller's time is over.
pub(super) async fn turn(service: &Tidegate, patience: Patience) -> Result<()> {
    let watch = service.clock().stopwatch();
    to_the_end_of_the_queue().await;
    let waited = watch.elapsed();
    if patience.caller.is_some_and(|caller| waited >= caller) {
        let message = "the deadline passed before the lookup began; allow more time, or send less at once";
        return Err(Error::new(ErrorKind::Deadline, message));
    }
    if waited > patience.wait_max {
        let message = format!(
            "the server has more lookups than it can answer in time; try again in {RETRY_AFTER_MS} ms, or give it more cores"
        );
        return Err(Error::new(ErrorKind::Unavailable, message));
    }
    Ok(())
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

    /// One thread, and work ahead in its queue that takes longer than a lookup may wait.
    #[tokio::test]
    async fn who_waits_too_long_is_refused() {
        let bench = Bench::new().await;
        let long = Duration::from_secs(3600);
        let ask = async |wait_max, caller| {
            let (service, busy) = (bench.service.clone(), Duration::from_millis(20));
            let waiting = tokio::spawn(async move { turn(&service, Patience { wait_max, caller }).await });
            // Both are in the queue before either runs.
            tokio::spawn(async move { std::thread::sleep(busy) });
            waiting.await.expect("no panic").map_err(|error| error.kind)
        };
        assert_eq!(ask(long, None).await, Ok(()));
        assert_eq!(ask(Duration::from_millis(5), None).await, Err(ErrorKind::Unavailable));
        assert_eq!(ask(long, Some(Duration::from_millis(5))).await, Err(ErrorKind::Deadline));
        assert_eq!(ask(long, Some(long)).await, Ok(()));
    }
}
