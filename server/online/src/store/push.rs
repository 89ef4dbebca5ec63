//! Pushes: rows of several views, what goes to their table, the ids of their events and whatever else belongs with them, in one atomic
//! write.
//!
//! ```text
//! claim (events)          ids are looked up and held                      rows that are not new are left out by the caller
//! encode                  each view's part, outside of all locks
//! gates, stripes          of all views and entities
//!   compare, stage
//!   number, one WriteBatch, forget in the cache                           from here on lookups see the rows
//! sync                    one for all pushes that wait for it             from here on the push is durable
//! ```
//! The log is synced after the locks are let go: pushes to the same entities do not wait for each other's disk.

use std::sync::atomic::{AtomicBool, Ordering};

use rocksdb::WriteBatch;
use tidegate_schemas::failpoint::{Failpoint, reach};
use tidegate_schemas::time::Micros;

use super::events::{Claim, entity_hash};
use super::feed::{encode_next, extra_key};
use super::outbox::Outgoing;
use super::sync::Ticket;
use super::write::{Epochs, Part};
use super::{Commit, Durability, Inner, Rows, Store};
use crate::layout::{MetaKey, ViewId};
use crate::{Error, Result};

/// What is committed together with rows, under a name of its own: where a stream is, for one.
#[derive(Debug, Clone, Copy)]
pub struct Extra<'a> {
    /// The name; the newest value of each is kept.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

/// A push: all of it is written, or nothing is.
#[derive(Debug, Default)]
pub struct Push<'a, 's> {
    /// The rows of each view: the same events, in the same order.
    pub views: &'a [(ViewId, Rows<'a>)],
    /// What goes to tables.
    pub outgoing: &'a [Outgoing<'a>],
    /// The claim on the rows' ids; the rows are those of it that are new, in their order.
    pub claim: Option<&'a Claim<'s>>,
    /// What is committed along.
    pub extras: &'a [Extra<'a>],
    /// The time: rows that happen later wait.
    pub now: Micros,
    /// Set once other definitions took the place of those that the views are of: a view that is new, and counts every event that
    /// comes, must miss none. What goes to tables is refused then.
    pub outdated: Option<&'a AtomicBool>,
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// Rows that are stored now in at least one view.
    pub stored: u64,
    /// Rows that no view stored, because a newer observation is there, or came in the same push.
    pub kept: u64,
    /// Rows that happen later than now: they are stored when they are due.
    pub waiting: u64,
    /// The number of the last record that went to an outbox; `None` where none did.
    pub number: Option<u64>,
}

impl Store {
    /// Writes a push. When it returns, lookups see its rows and it survives what the store's durability says.
    ///
    /// # Errors
    /// As [`Self::write_at`]; [`Error::OutboxFull`] where too much waits for the tables, [`Error::DefinitionsChanged`]. Nothing is
    /// written, unless the disk failed in the end.
    pub fn push(&self, push: &Push<'_, '_>) -> Result<Pushed> {
        let (pushed, ticket) = self.push_unsynced(push)?;
        self.sync(ticket)?;
        Ok(pushed)
    }

    /// The same without waiting for the disk: the push is acknowledged to nobody before [`Self::sync`] returned.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_unsynced(&self, push: &Push<'_, '_>) -> Result<(Pushed, Ticket)> {
        let inner = &*self.inner;
        inner.disk.has_room()?;
        inner.outbox_has_room(push.outgoing)?;
        // In one order for every push, or two could wait for each other's gates.
        let mut order: Vec<usize> = (0..push.views.len()).collect();
        order.sort_unstable_by_key(|&nth| push.views[nth].0.view);
        let known = order
            .iter()
            .map(|&nth| {
                let (id, rows) = &push.views[nth];
                Ok((inner.view(*id)?, inner.layout(id.layout)?, rows))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut parts = known
            .iter()
            .map(|(view, layout, rows)| Part::new(view, layout, rows, push.now))
            .collect::<Result<Vec<_>>>()?;
        let gates: Vec<_> = known.iter().map(|(view, _, _)| view.gate.read()).collect();
        known.iter().try_for_each(|(view, _, _)| inner.still_there(view))?;
        for (part, (view, _, rows)) in parts.iter_mut().zip(&known) {
            part.leave_out(inner.refused(view, rows)?.as_deref());
        }
        let mut held = inner.stripes.lock(parts.iter().flat_map(Part::entities));
        let mut batch = WriteBatch::default();
        for part in &mut parts {
            part.stage(inner, Epochs::of(part.view, Commit::None)?, &mut batch)?;
        }
        if let Some(claim) = push.claim {
            let hashes = |row: usize, out: &mut Vec<u8>| {
                for part in &parts {
                    out.extend_from_slice(&entity_hash(part.entity(row)).to_le_bytes());
                }
            };
            claim.put(inner, push.now, hashes, &mut batch)?;
        }
        for extra in push.extras {
            batch.put(extra_key(extra.name), extra.value);
        }
        let rows = push.views.iter().map(|(_, rows)| rows.event.len()).max().unwrap_or(0);
        let mut pushed = outcome(&parts, rows);
        if batch.is_empty() && push.outgoing.is_empty() {
            return Ok((pushed, inner.feeds.syncs.ticket()));
        }
        parts.iter().for_each(|part| part.note_push(&mut batch));
        held.begin();
        reach(Failpoint::BeforePushBatch);
        let written = inner.write_numbered(push, batch);
        reach(Failpoint::AfterPushBatch);
        // Even a failed write may have reached the log: readers must look again.
        parts.iter().for_each(|part| part.forget(inner));
        pushed.number = written?;
        parts.iter().for_each(|part| part.committed(inner));
        drop(held);
        drop(gates);
        Ok((pushed, inner.feeds.syncs.ticket()))
    }

    /// Returns once what the ticket stands for is on the disk, where the store's durability asks for that. Many share one sync.
    ///
    /// # Errors
    /// A failing disk: whether the push is there after a restart is not known.
    pub fn sync(&self, ticket: Ticket) -> Result<()> {
        let inner = &self.inner;
        if inner.durability == Durability::Fast {
            return Ok(());
        }
        inner.feeds.syncs.wait(ticket, || inner.db.flush_wal(true).map_err(Error::store("syncing the log")))
    }

    /// Syncs of the log that pushes shared, since the store was opened.
    #[cfg(test)]
    pub(crate) fn shared_syncs(&self) -> u64 {
        self.inner.feeds.syncs.runs()
    }
}

impl Inner {
    /// Writes a batch with its records numbered: numbers are in the order of the log. Gives the last one.
    fn write_numbered(&self, push: &Push<'_, '_>, mut batch: WriteBatch) -> Result<Option<u64>> {
        if push.outgoing.is_empty() {
            self.put(batch, false, "writing a push")?;
            return Ok(None);
        }
        let mut next = self.feeds.next.lock();
        // Asked under the lock that numbers are given under: a refresh of a new view counts what has a number by itself.
        if push.outdated.is_some_and(|outdated| outdated.load(Ordering::Acquire)) {
            return Err(Error::DefinitionsChanged);
        }
        let (first, after) = (*next, *next + push.outgoing.len() as u64);
        self.put_outgoing(push.outgoing, first, push.now, &mut batch)?;
        batch.put(MetaKey::Sequence.encode(), encode_next(after));
        // A number whose write failed may be in the log all the same: it is not given again.
        *next = after;
        self.put(batch, false, "writing a push")?;
        self.count_outgoing(push.outgoing, first, push.now);
        Ok(Some(after - 1))
    }
}

/// What became of the rows, over all views.
fn outcome(parts: &[Part<'_>], rows: usize) -> Pushed {
    let waiting = parts.first().map_or(0, Part::waiting);
    let mut stored = vec![false; rows];
    for part in parts {
        part.stored_rows().for_each(|row| stored[row] = true);
    }
    let stored = stored.into_iter().filter(|stored| *stored).count() as u64;
    // Without a view nothing is stored, and nothing newer is either.
    let kept = if parts.is_empty() { 0 } else { rows as u64 - stored - waiting };
    Pushed { stored, kept, waiting, number: None }
}
