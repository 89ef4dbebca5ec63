//! Outboxes into tables: chunk by chunk, each exactly once.
//!
//! ```text
//! next_chunk     the store names the records, and will name the same ones until they are done
//! append_chunk   one commit with the chunk's transaction, unless the table has it
//! sort_out       rows that the table can't take any more -> `_quarantine`; then the chunk again, with the others
//! chunk_done     the records leave the store
//! ```
//! Killed anywhere in between it begins again at the top.

use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use tidegate_offline::ingest::Rules;
use tidegate_offline::table::{self, Appended, Incoming, Table};
use tidegate_online::{Chunk, FeedId, FeedStatus, Load, Outgoing};
use tidegate_schemas::definition::{Location, Source};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::failpoint::{Failpoint, reach};
use tidegate_schemas::time::Micros;

use super::{Flushed, QUARANTINE, payload, quarantine, sort};
use crate::materialize::{Begin, Settle};
use crate::registry::Versioned;
use crate::service::{Error, Principal, Result, Tidegate, ingest};

/// Bytes of one chunk: what is in memory at once, about.
const CHUNK_BYTES: u64 = 64 << 20;

/// How long a feed whose flush failed is left alone, in microseconds.
const RETRY_AFTER: Micros = 5_000_000;

/// What a flush of one feed did.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::service) struct Brought {
    /// The version of the last commit; `None` where nothing was to be done.
    pub(in crate::service) version: Option<i64>,
    /// Rows.
    pub(in crate::service) rows: u64,
}

impl Tidegate {
    /// Waits until the table of a source, or of a view's source, has everything that was pushed before the call.
    ///
    /// # Errors
    /// `NotFound` for the names; whatever the table fails with.
    pub async fn flush(&self, principal: &Principal, project: &str, target: &str) -> Result<Flushed> {
        let project = self.project(project).await?;
        let source = ingest::target(&project.catalog, target)?;
        let up_to = self.online.last_number();
        let feed = self.online.feed(&project.catalog.project, &source.name)?;
        let quarantine = self.online.feed(&project.catalog.project, QUARANTINE)?;
        let Brought { version, rows } = self.flush_feed(&project, &source.name, feed, up_to).await?;
        // And what the table could not take.
        reach(Failpoint::BeforeQuarantine);
        self.flush_feed(&project, QUARANTINE, quarantine, self.online.last_number()).await?;
        let version = match version {
            Some(version) => version,
            None => self.tables.open(&project.catalog.project, source).await?.snapshot(None).await?.version,
        };
        tracing::info!(principal = principal.name(), source = source.name, rows, version, "flushed");
        Ok(Flushed { source: source.name.clone(), version, rows })
    }

    /// Brings a feed's records up to a number to its table. The version that the last of them made holds no record beyond: whoever
    /// rebuilds tiles from it and counts what is pushed after `up_to` by itself counts nothing twice.
    ///
    /// # Errors
    /// The table can't be written. What it has stays, and the rest stays in the outbox.
    pub(in crate::service) async fn flush_feed(
        &self,
        project: &Arc<Versioned>,
        name: &str,
        feed: FeedId,
        up_to: u64,
    ) -> Result<Brought> {
        let lock = self.pushes.lock_of(feed);
        let _one = lock.lock().await;
        self.flush_locked(project, name, feed, up_to).await
    }

    /// How the rebuild of a windowed view is begun whose source is pushed to: with the feed held still, so that no chunk brings some
    /// rows pushed before and some pushed after in one commit. `None` for a source that is not pushed to.
    pub(in crate::service) fn settle(&self, project: &Arc<Versioned>, source: &Source) -> Option<Settle> {
        if source.location != Location::Managed {
            return None;
        }
        let (me, project, source) = (self.me.get()?.clone(), project.clone(), source.clone());
        let settle = move |begin: Begin| {
            let (me, project, source) = (me.clone(), project.clone(), source.clone());
            async move {
                let stopping = || Error::new(ErrorKind::Unavailable, "the server stops; materialize again");
                me.upgrade().ok_or_else(stopping)?.settle_now(&project, &source, begin).await
            }
            .boxed()
        };
        Some(Arc::new(settle))
    }

    async fn settle_now(&self, project: &Arc<Versioned>, source: &Source, begin: Begin) -> Result<(Load, i64)> {
        let feed = self.online.feed(&project.catalog.project, &source.name)?;
        let lock = self.pushes.lock_of(feed);
        let _one = lock.lock().await;
        let load = tokio::task::spawn_blocking(move || begin.begin()).await;
        let load = load.map_err(|error| Error::internal("a refresh could not begin").with_source(error))??;
        reach(Failpoint::AfterWindowsBegun);
        let Brought { version, .. } = self.flush_locked(project, &source.name, feed, load.pushed_up_to()).await?;
        let version = match version {
            Some(version) => version,
            None => self.tables.open(&project.catalog.project, source).await?.snapshot(None).await?.version,
        };
        Ok((load, version))
    }

    async fn flush_locked(&self, project: &Arc<Versioned>, name: &str, feed: FeedId, up_to: u64) -> Result<Brought> {
        let mut brought = Brought::default();
        loop {
            let _no_backup = self.pushes.outboxes.read().await;
            let Some(chunk) = self.next_chunk(feed, up_to).await? else { return Ok(brought) };
            let (table, rules) = self.feed_table(project, name).await?;
            let appended = match self.bring(&table, rules.clone(), &chunk).await {
                // It comes again, with the rows that the table can take.
                Err(error) if error.kind == ErrorKind::Invalid && name != QUARANTINE => {
                    self.sort_out(project, rules, chunk, error).await?;
                    continue;
                }
                appended => appended?,
            };
            reach(Failpoint::AfterChunkCommit);
            let store = self.online.clone();
            let rows: u64 = chunk.records.iter().map(|record| u64::from(record.rows)).sum();
            let done = tokio::task::spawn_blocking(move || store.chunk_done(&chunk)).await;
            done.map_err(|error| Error::internal("an outbox panicked").with_source(error))??;
            let Appended { version, already, .. } = appended;
            brought.version = Some(version);
            brought.rows += rows;
            self.telemetry.flushed(rows);
            tracing::debug!(feed = name, version, rows, already, "a chunk of the outbox is in its table");
        }
    }

    /// The project's table of rows that could not be taken, where there were any.
    ///
    /// # Errors
    /// Its folder can't be read.
    pub(in crate::service) async fn quarantine_table(&self, project: &str) -> Result<Option<Table>> {
        self.tables.existing_quarantine(project, &quarantine::columns()).await
    }

    async fn next_chunk(&self, feed: FeedId, up_to: u64) -> Result<Option<Chunk>> {
        let store = self.online.clone();
        let chunk = tokio::task::spawn_blocking(move || store.next_chunk(feed, CHUNK_BYTES, up_to)).await;
        Ok(chunk.map_err(|error| Error::internal("an outbox panicked").with_source(error))??)
    }

    /// The table of a feed, and what its rows must have: values were checked when they came, and columns may have come since.
    pub(super) async fn feed_table(&self, project: &Versioned, name: &str) -> Result<(Table, Rules)> {
        let catalog = &project.catalog;
        if name == QUARANTINE {
            let table = self.tables.quarantine(&catalog.project, &quarantine::columns()).await?;
            return Ok((table, quarantine::rules()));
        }
        let source = catalog.sources.get(name).ok_or_else(|| {
            let message = format!(
                "rows pushed to source `{name}` of project `{}` wait in the outbox, and the source is gone; define it again",
                catalog.project
            );
            Error::new(ErrorKind::Precondition, message)
        })?;
        let mut rules = Rules::of(catalog, source, true);
        let required = rules.required();
        rules
            .optional
            .extend(rules.columns.iter().map(|column| &column.name).filter(|name| !required.contains(*name)).cloned());
        Ok((self.tables.open(&catalog.project, source).await?, rules))
    }

    pub(super) async fn bring(&self, table: &Table, rules: Rules, chunk: &Chunk) -> Result<Appended> {
        let schema = tidegate_offline::ingest::schema_of(&rules);
        // A store that was put back may form another chunk of records than the one whose part the table has.
        let reached = table.reached(&chunk.application).await?.unwrap_or(0);
        let first = chunk.first.max(reached.saturating_add(1)).min(chunk.last);
        let mut batches = Vec::with_capacity(chunk.records.len());
        for record in chunk.records.iter().filter(|record| record.number > reached) {
            for rows in payload::decode(&record.payload)? {
                batches.push(sort::fitted(payload::align(&rows, &schema)?, &rules));
            }
        }
        let schema = batches.first().map_or(schema, |batch| batch.schema());
        let batches = futures::stream::iter(batches.into_iter().map(Ok)).boxed();
        let chunk = table::Chunk { application: chunk.application.clone(), first, last: chunk.last, rules };
        let (table, plans) = (table.clone(), self.plans.clone());
        let incoming = Incoming { schema, batches };
        Ok(self.plans.run(async move { table.append_chunk(&plans, chunk, incoming).await }).await?)
    }

    /// Sends the rows of a chunk that the table can't take any more to the quarantine table, so that the others reach theirs: the table's
    /// rules have changed since they were taken.
    async fn sort_out(&self, project: &Versioned, rules: Rules, chunk: Chunk, why: Error) -> Result<()> {
        let (store, now, name) = (self.online.clone(), self.clock.now(), project.catalog.project.clone());
        let sorted = tokio::task::spawn_blocking(move || {
            let Some(sorted) = sort::sort(&chunk, &rules, &why)? else { return Err(why) };
            let target = chunk.application.rsplit('/').next().unwrap_or_default();
            let payload = payload::encode(&quarantine::rows(&sorted.entries, target, "outbox", now)?)?;
            let rows = sorted.entries.len() as u32;
            let elsewhere = [Outgoing { feed: store.feed(&name, QUARANTINE)?, rows, payload: &payload }];
            store.split_records(chunk.feed, &sorted.left, &elsewhere, now)?;
            tracing::warn!(project = name, source = target, rows, error = why.chain(), "quarantined");
            Ok(u64::from(rows))
        });
        let rows = sorted.await.map_err(|error| Error::internal("a quarantine panicked").with_source(error))??;
        self.telemetry.pushed(0, 0, std::iter::once((sort::NO_PLACE, rows)));
        Ok(())
    }

    /// Whether a feed's outbox is large or old enough to go to its table.
    pub(super) fn is_due(&self, status: &FeedStatus) -> bool {
        let settings = &self.settings.push;
        let (Some(oldest), now) = (status.oldest, self.clock.now()) else { return false };
        let every = i64::try_from(settings.flush_every.as_micros()).unwrap_or(i64::MAX);
        let failed = self.pushes.failed.lock().get(&status.feed).copied();
        if failed.is_some_and(|at| (at..at.saturating_add(RETRY_AFTER)).contains(&now)) {
            return false;
        }
        // A clock that was set back must not keep rows from their table.
        status.rows >= settings.flush_rows as u64 || now.saturating_sub(oldest) >= every || oldest > now
    }
}
