//! Push: rows that lookups see as soon as they are acknowledged, and that reach their table behind that.
//!
//! [`target`] finds what a push is for: the views, the source, what a row must have · [`prepare`] tells good rows from bad and turns
//! them into what the store takes · [`came`] is what a topic's rows bring along · [`quarantine`] is the table of the bad ones · [`payload`] is a row's way through the outbox ·
//! [`flush`] brings outboxes to their tables · [`keep`] does that, and releases what is due, as time goes by.
//!
//! ```text
//! rows ─ prepare ─┬─ store.push: one atomic write ─┬─> rows of the views      seen by lookups
//!                 │                                ├─> event ids
//!                 └─ bad rows, as rows of          └─> outbox ─ flush ─> the source's table, the project's `_quarantine`
//!                    `_quarantine`
//! ```
//! Nothing is decided twice: the one who wrote rows to the outbox has checked them, and a chunk of it is the same chunk however often
//! it is tried.

mod came;
mod flush;
mod keep;
mod payload;
mod prepare;
mod quarantine;
mod sort;
mod target;
#[cfg(test)]
mod tests;

pub(in crate::service) use came::{Came, Place};
pub(in crate::service) use quarantine::{Entry, TABLE as QUARANTINE};

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use parking_lot::{Mutex, RwLock};
use tidegate_online::{FeedId, Ticket};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::failpoint::{Failpoint, reach};
use tidegate_schemas::time::Micros;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::registry::Versioned;
use crate::service::{Batches, Error, Principal, Result, Tidegate};
use target::Target;

/// Where pushed rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PushTo {
    /// Lookups only.
    Online,
    /// The table only.
    Offline,
    /// Both.
    #[default]
    Both,
}

/// Which rows to take, and where.
#[derive(Debug, Clone, Default)]
pub struct PushRequest {
    /// The project.
    pub project: String,
    /// A source, or a view.
    pub target: String,
    /// Where they go.
    pub to: PushTo,
    /// One id for each row, text or bytes or int64; null for none. `None`: the source's column of event ids, where it has one.
    pub event_ids: Option<ArrayRef>,
}

/// Rows that can't be taken, by reason. They are in the quarantine table, unless they are of an entity that was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The reason.
    pub reason: &'static str,
    /// How many rows.
    pub rows: u64,
    /// What is wrong with the first of them.
    pub example: String,
}

/// What became of pushed rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PushOutcome {
    /// Rows taken.
    pub accepted: u64,
    /// Rows whose event id came before, with the same content.
    pub duplicates: u64,
    /// Of the rows taken, those that no lookup sees because a newer observation is there.
    pub kept: u64,
    /// Of the rows taken, those that happen later than now.
    pub waiting: u64,
    /// Rows that went to the quarantine table.
    pub quarantined: Vec<Quarantined>,
    /// For [`crate::service::LookupRequest::after_write`].
    pub write_token: String,
}

/// What a flush brought to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flushed {
    /// The source.
    pub source: String,
    /// A version of the table that has all that was pushed before.
    pub version: i64,
    /// Rows that this flush brought.
    pub rows: u64,
}

/// A push that lookups see and the disk may not have yet.
#[derive(Debug)]
pub struct Applied {
    outcome: PushOutcome,
    ticket: Ticket,
}

/// What pushes share.
#[derive(Debug)]
pub(in crate::service) struct Pushes {
    /// How many are worked on at once; others wait.
    places: Arc<Semaphore>,
    max_wait: Duration,
    /// Held by each push from looking for what was erased to its write; alone by an erasure, which waits for those.
    pub(in crate::service) under_way: Arc<RwLock<()>>,
    /// Held by each flush while a chunk goes to its table; alone by a backup, whose tables have no row that its outboxes have not.
    pub(in crate::service) outboxes: Arc<tokio::sync::RwLock<()>>,
    /// Something may be due for its table.
    pub(in crate::service) flush: Notify,
    /// One flush of a feed at a time.
    flushing: Mutex<HashMap<FeedId, Arc<tokio::sync::Mutex<()>>>>,
    /// Feeds whose last flush failed, and when.
    pub(in crate::service) failed: Mutex<HashMap<FeedId, Micros>>,
}

impl Pushes {
    pub(in crate::service) fn new(settings: &crate::config::Push) -> Self {
        Self {
            places: Arc::new(Semaphore::new(settings.concurrency.clamp(1, Semaphore::MAX_PERMITS))),
            max_wait: settings.max_wait,
            under_way: Arc::default(),
            outboxes: Arc::default(),
            flush: Notify::new(),
            flushing: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// Keeps what waits in outboxes there until it is dropped.
    pub(in crate::service) async fn hold_outboxes(&self) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        self.outboxes.clone().write_owned().await
    }

    fn lock_of(&self, feed: FeedId) -> Arc<tokio::sync::Mutex<()>> {
        self.flushing.lock().entry(feed).or_default().clone()
    }
}

impl Tidegate {
    /// Takes rows. When it returns they are durable, and lookups see them.
    ///
    /// # Errors
    /// `NotFound` for the project or target; `Precondition` for a source that is not managed, or a view that is not online; `Invalid` for
    /// columns that don't fit; `Exhausted` where too much waits for the tables; `Unavailable` where too many push at once. A row that
    /// can't be taken is no error: it is quarantined, and the others go on.
    pub async fn push(&self, principal: &Principal, request: PushRequest, batches: Batches) -> Result<PushOutcome> {
        let applied = self.apply_push(principal, request, batches).await?;
        self.sync_push(applied).await
    }

    /// The same up to the point where lookups see the rows: what is applied is acknowledged once [`Self::sync_push`] returned. Of pushes
    /// that are applied one after the other many then share one sync.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub async fn apply_push(&self, principal: &Principal, request: PushRequest, batches: Batches) -> Result<Applied> {
        let project = self.project(&request.project).await?;
        let place = tokio::time::timeout(self.pushes.max_wait, self.pushes.places.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            let message = "too many pushes are under way; push again in a moment, or raise `push.concurrency`";
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        let target = Target::find(self, &project, &request)?;
        let rows = whole(batches).await?;
        let applied = self.apply_rows(target, rows, request.event_ids, Came::default(), Some(place)).await?;
        tracing::debug!(
            principal = principal.name(),
            project = request.project,
            target = request.target,
            accepted = applied.outcome.accepted,
            duplicates = applied.outcome.duplicates,
            "pushed"
        );
        Ok(applied)
    }

    /// Takes the rows of a topic's messages for its source, as a push to both does, and what came along with them.
    pub(in crate::service) async fn take_rows(
        &self,
        project: &Arc<Versioned>,
        source: &str,
        rows: RecordBatch,
        came: Came,
    ) -> Result<PushOutcome> {
        let request = PushRequest { target: source.to_owned(), to: PushTo::Both, ..PushRequest::default() };
        let target = Target::find(self, project, &request)?;
        let applied = self.apply_rows(target, rows, None, came, None).await?;
        self.sync_push(applied).await
    }

    async fn apply_rows(
        &self,
        target: Target,
        rows: RecordBatch,
        event_ids: Option<ArrayRef>,
        came: Came,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Applied> {
        let work = prepare::Work {
            store: self.online.clone(),
            erasures: self.erasures.clone(),
            under_way: self.pushes.under_way.clone(),
            target,
            rows,
            event_ids,
            came,
            now: self.clock.now(),
            future_bound: i64::try_from(self.settings.push.future_bound.as_micros()).unwrap_or(i64::MAX),
        };
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            work.run()
        });
        let (outcome, ticket) = done.await.map_err(|error| Error::internal("a push panicked").with_source(error))??;
        let bad = outcome.quarantined.iter().map(|bad| (bad.reason, bad.rows));
        self.telemetry.pushed(outcome.accepted, outcome.duplicates, bad);
        self.pushes.flush.notify_one();
        Ok(Applied { outcome, ticket })
    }

    /// Returns once the pushes that are being written are. Those that begin later see every grave that was dug by now.
    pub(in crate::service) async fn settle_pushes(&self) -> Result<()> {
        let under_way = self.pushes.under_way.clone();
        let settled = tokio::task::spawn_blocking(move || drop(under_way.write()));
        settled.await.map_err(|error| Error::internal("waiting for pushes panicked").with_source(error))
    }

    /// Waits until an applied push is durable.
    ///
    /// # Errors
    /// A failing disk: whether the push is there after a restart is not known.
    pub async fn sync_push(&self, applied: Applied) -> Result<PushOutcome> {
        let Applied { outcome, ticket } = applied;
        reach(Failpoint::BeforePushSync);
        if self.settings.online.durability == crate::config::Durability::Durable {
            let store = self.online.clone();
            let synced = tokio::task::spawn_blocking(move || store.sync(ticket)).await;
            synced.map_err(|error| Error::internal("a sync panicked").with_source(error))??;
        }
        reach(Failpoint::BeforePushAck);
        Ok(PushOutcome { write_token: self.online.token(), ..outcome })
    }
}

/// All batches of a request as one: they are one write.
async fn whole(batches: Batches) -> Result<RecordBatch> {
    let schema = batches.schema.clone();
    let mut batches = batches.collect().await?;
    match batches.len() {
        1 => Ok(batches.swap_remove(0)),
        _ => Ok(concat_batches(&schema, &batches)?),
    }
}
