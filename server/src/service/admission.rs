//! How much long work runs at once: so many training sets, so many queries. Others wait a while for a place, and are then refused
//! with advice; lookups take no place and never wait for one.
//!
//! A place is held as long as its work has something to give. A reader that takes nothing is cut off ([`attended`]), or a few of
//! them would keep everybody else out and hold the memory of their plans.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use tidegate_offline::runtime::Runtime;
use tidegate_schemas::error::ErrorKind;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Batches, Error, Result};
use crate::config;

/// Those who may wait, for each place there is.
const WAITING_PER_PLACE: usize = 4;

/// The classes of long work.
#[derive(Debug)]
pub(super) struct Admission {
    /// Training sets, seals, audits, lookups in history.
    pub(super) training_sets: Class,
    /// Queries.
    pub(super) queries: Class,
    reader_timeout: Duration,
}

/// Work of one class.
#[derive(Debug)]
pub(super) struct Class {
    what: &'static str,
    setting: &'static str,
    count: usize,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    wait_max: Duration,
}

/// The right to run, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _held: OwnedSemaphorePermit,
}

impl Admission {
    pub(super) fn new(plans: &config::Plans) -> Self {
        let class = |what, setting, count: usize| Class {
            what,
            setting,
            count: count.max(1),
            places: Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            wait_max: plans.max_wait,
        };
        Self {
            training_sets: class("training sets", "plans.training_sets", plans.training_sets),
            queries: class("queries", "plans.queries", plans.queries),
            reader_timeout: plans.reader_timeout,
        }
    }

    /// Holds a place as long as the batches are read; see [`attended`].
    pub(super) fn attended(&self, place: Place, plans: &Runtime, batches: Batches) -> Batches {
        attended(place, plans, batches, self.reader_timeout)
    }
}

impl Class {
    /// A place, as soon as there is one.
    ///
    /// # Errors
    /// `Unavailable` when none came free in time, or when many wait already.
    pub(super) async fn place(&self) -> Result<Place> {
        if let Ok(held) = self.places.clone().try_acquire_owned() {
            return Ok(Place { _held: held });
        }
        let waiting = Waiting::new(&self.waiting);
        if waiting.ahead >= self.count * WAITING_PER_PLACE {
            return Err(self.refusal());
        }
        match tokio::time::timeout(self.wait_max, self.places.clone().acquire_owned()).await {
            Ok(Ok(held)) => Ok(Place { _held: held }),
            _ => Err(self.refusal()),
        }
    }

    fn refusal(&self) -> Error {
        let Self { what, setting, count, .. } = self;
        let message =
            format!("{count} {what} run already and others wait; try again in a moment, or raise `{setting}`");
        Error::new(ErrorKind::Unavailable, message)
    }
}

/// One that waits, until it is dropped.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    ahead: usize,
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        Self { count, ahead: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Hands batches over as they are taken. When none was taken for so long, what produces them is dropped, its place is free, and the
/// reader gets an error in place of the rest. The end is said: a queue that closes without it (a panic, a server that stops) must not
/// pass for a result that is whole.
fn attended(place: Place, plans: &Runtime, batches: Batches, timeout: Duration) -> Batches {
    let Batches { schema, mut stream, counts } = batches;
    let (taken, given) = mpsc::channel(1);
    plans.handle().spawn(async move {
        let held = place;
        loop {
            let batch = tokio::select! { batch = stream.next() => batch, () = taken.closed() => return };
            let is_last = batch.is_none();
            match tokio::time::timeout(timeout, taken.reserve()).await {
                Ok(Ok(slot)) if is_last => {
                    // Who reads the end finds all free that the rows took.
                    drop((stream, held));
                    slot.send(batch);
                    return;
                }
                Ok(Ok(slot)) => slot.send(batch),
                Ok(Err(_)) => return,
                Err(_) => {
                    drop((stream, held));
                    // Whoever comes to read after all learns it.
                    let _ = taken.send(Some(Err(abandoned(timeout)))).await;
                    let _ = taken.send(None).await;
                    return;
                }
            }
        }
    });
    let rows = futures::stream::unfold(Some(given), async |given| {
        let mut given = given?;
        match given.recv().await {
            Some(Some(batch)) => Some((batch, Some(given))),
            Some(None) => None,
            None => Some((Err(cut_short()), None)),
        }
    });
    Batches { counts, ..Batches::new(schema, rows) }
}

fn cut_short() -> Error {
    Error::new(ErrorKind::Unavailable, "the server stopped, or failed, before the result was whole; ask again")
}

fn abandoned(timeout: Duration) -> Error {
    tracing::warn!(seconds = timeout.as_secs_f64(), "a result was dropped: nobody read it");
    Error::new(
        ErrorKind::Deadline,
        format!(
            "nothing of the result was read for {timeout:?}, so the rest was dropped; read it as it comes, or raise `plans.reader_timeout`"
        ),
    )
}

#[cfg(test)]
mod tests;
