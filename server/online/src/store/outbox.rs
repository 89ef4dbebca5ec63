//! The outbox: pushed rows on their way to their tables. They are written together with the rows that lookups see, and leave once the
//! table has them.
//!
//! ```text
//! key in `outbox`               value
//! feed u32 BE | number u64 BE   format u8 = 1 | incarnation u32 | rows u32 | at i64 | payload (an Arrow IPC stream, not read here)
//!
//! next_chunk     which records are next is written down and synced       their rows are on the disk before they are anywhere else
//! (the table)    one commit with the transaction application = last      a commit of unknown outcome is looked for by it
//! chunk_done     the records and what was written down go
//! ```
//! Killed anywhere in between, the same chunk comes again: the same records under the same transaction, which the table has or has
//! not.

use rocksdb::{ReadOptions, WriteBatch};
use tidegate_schemas::failpoint::{Failpoint, reach};
use tidegate_schemas::time::Micros;

use super::feed::{OUTBOX_PREFIX, encode_next};
use super::{FeedId, Inner, Store};
use crate::codec::Reader;
use crate::layout::MetaKey;
use crate::{Error, Result};

const FORMAT: u8 = 1;

/// Bytes before the payload.
const HEAD: usize = 17;

/// Rows that go to a feed's table with a push.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The feed.
    pub feed: FeedId,
    /// How many rows.
    pub rows: u32,
    /// The rows; read by whoever takes them out.
    pub payload: &'a [u8],
}

/// Which records go to the table in one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkRecord {
    pub(crate) incarnation: u32,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// What waits in a feed's outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Queue {
    pub(super) records: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// When the oldest was pushed, or something before that.
    pub(super) oldest: Option<Micros>,
    /// The number of the newest.
    pub(super) last: u64,
}

impl Queue {
    fn add(&mut self, number: u64, rows: u32, bytes: u64, at: Micros) {
        self.records += 1;
        self.rows += u64::from(rows);
        self.bytes += bytes;
        self.oldest = Some(self.oldest.unwrap_or(at));
        self.last = self.last.max(number);
    }
}

/// A feed and what waits in its outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedStatus {
    /// The feed.
    pub feed: FeedId,
    /// Its project.
    pub project: String,
    /// Its name.
    pub name: String,
    /// Rows that the table does not have yet.
    pub rows: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// When the oldest of them was pushed, about; `None` where there are none.
    pub oldest: Option<Micros>,
    /// The number of the newest record; 0 where nothing came since the store was opened and nothing was left.
    pub last: u64,
}

/// One record of an outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRecord {
    /// Its number.
    pub number: u64,
    /// How many rows.
    pub rows: u32,
    /// When it was pushed.
    pub at: Micros,
    /// The rows, as they were handed over.
    pub payload: Vec<u8>,
}

/// What is left of a record when rows were taken out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Its number.
    pub number: u64,
    /// How many rows are left.
    pub rows: u32,
    /// Those rows; empty where there are none.
    pub payload: Vec<u8>,
}

/// Records that go to the table in one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The feed.
    pub feed: FeedId,
    /// The application of the commit's transaction; its version is `last`.
    pub application: String,
    /// The number of the first record.
    pub first: u64,
    /// The number of the last record.
    pub last: u64,
    /// The records, in the order they were pushed.
    pub records: Vec<OutboxRecord>,
}

impl Store {
    /// All feeds, with what waits in their outboxes.
    #[must_use]
    pub fn feeds(&self) -> Vec<FeedStatus> {
        let known = self.inner.feeds.known.read();
        let status = |(&id, feed): (&u32, &super::feed::Feed)| FeedStatus {
            feed: FeedId(id),
            project: feed.record.project.clone(),
            name: feed.record.name.clone(),
            rows: feed.queue.rows,
            bytes: feed.queue.bytes,
            oldest: feed.queue.oldest,
            last: feed.queue.last,
        };
        let mut feeds: Vec<FeedStatus> = known.iter().map(status).collect();
        feeds.sort_unstable_by_key(|status| status.feed);
        feeds
    }

    /// The number of the newest record of any outbox: what was pushed so far has this or a lower one.
    #[must_use]
    pub fn last_number(&self) -> u64 {
        *self.inner.feeds.next.lock() - 1
    }

    /// The records that go to the feed's table next: up to a number, and of at most so many bytes unless a single one is larger; `None`
    /// where none wait. Until [`Self::chunk_done`] it is the same chunk, also after a restart.
    ///
    /// # Errors
    /// Damaged records, a failing disk.
    pub fn next_chunk(&self, feed: FeedId, bytes_max: u64, up_to: u64) -> Result<Option<Chunk>> {
        let inner = &self.inner;
        if let Some(record) = inner.chunk_of(feed)? {
            let records = inner.records(feed, record.first, record.last, u64::MAX)?;
            return Ok(Some(inner.chunk(feed, record, records.into_iter().map(|(_, record)| record).collect())?));
        }
        let mut records = inner.records(feed, 0, up_to, bytes_max)?;
        let Some(incarnation) = records.first().map(|(incarnation, _)| *incarnation) else { return Ok(None) };
        records.retain(|(of, _)| *of == incarnation);
        let records: Vec<OutboxRecord> = records.into_iter().map(|(_, record)| record).collect();
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(None) };
        let record = ChunkRecord { incarnation, first: first.number, last: last.number };
        inner.note_chunk(feed, Some(record))?;
        reach(Failpoint::AfterChunkNoted);
        Ok(Some(inner.chunk(feed, record, records)?))
    }

    /// The table has the chunk: its records leave.
    ///
    /// # Errors
    /// A failing disk. The chunk comes again, and the table is found to have it.
    pub fn chunk_done(&self, chunk: &Chunk) -> Result<()> {
        let inner = &self.inner;
        let mut known = inner.feeds.known.write();
        let feed = known.get_mut(&chunk.feed.0).ok_or_else(|| unknown(chunk.feed))?;
        let record = super::feed::FeedRecord { chunk: None, ..feed.record.clone() };
        let mut batch = WriteBatch::default();
        let (from, to) = (key(chunk.feed, chunk.first), key(chunk.feed, chunk.last.saturating_add(1)));
        batch.delete_range_cf(inner.outbox()?, from, to);
        batch.put(MetaKey::Feed(chunk.feed.0).encode(), record.encode());
        inner.put(batch, false, "emptying an outbox")?;
        feed.record = record;
        let queue = &mut feed.queue;
        let bytes: u64 = chunk.records.iter().map(|record| (HEAD + record.payload.len()) as u64).sum();
        queue.records = queue.records.saturating_sub(chunk.records.len() as u64);
        queue.rows = queue.rows.saturating_sub(chunk.records.iter().map(|record| u64::from(record.rows)).sum());
        queue.bytes = queue.bytes.saturating_sub(bytes);
        if queue.records == 0 {
            queue.oldest = None;
        } else if let Some(newest) = chunk.records.last() {
            // What is left was pushed later.
            queue.oldest = Some(newest.at);
        }
        reach(Failpoint::AfterChunkDone);
        Ok(())
    }

    /// Puts what the table can take of a feed's records in their place, and what it can't take elsewhere, in one write. A record keeps
    /// its number, also where nothing is left of it, and a chunk that is on its way its bounds. Never refused for want of room: what
    /// it takes it frees, about, and without it the outbox might never be emptied.
    ///
    /// # Errors
    /// There is no such record; a failing disk.
    pub fn split_records(&self, feed: FeedId, left: &[Left], elsewhere: &[Outgoing<'_>], now: Micros) -> Result<()> {
        let inner = &self.inner;
        let mut next = inner.feeds.next.lock();
        let mut known = inner.feeds.known.write();
        let mut batch = WriteBatch::default();
        let (mut rows, mut bytes) = (0, 0);
        for left in left {
            let found = inner.records(feed, left.number, left.number, u64::MAX)?.pop();
            let gone = || Error::Shape(format!("the outbox has no record {}; it reached the table", left.number));
            let (incarnation, before) = found.ok_or_else(gone)?;
            let value = encode(incarnation, left.rows, before.at, &left.payload);
            batch.put_cf(inner.outbox()?, key(feed, left.number), value);
            rows += u64::from(before.rows.saturating_sub(left.rows));
            bytes += before.payload.len().saturating_sub(left.payload.len()) as u64;
        }
        let (first, after) = (*next, *next + elsewhere.len() as u64);
        inner.put_outgoing(elsewhere, first, now, &mut batch)?;
        batch.put(MetaKey::Sequence.encode(), encode_next(after));
        *next = after;
        inner.commit_metadata(batch)?;
        if let Some(feed) = known.get_mut(&feed.0) {
            feed.queue.rows = feed.queue.rows.saturating_sub(rows);
            feed.queue.bytes = feed.queue.bytes.saturating_sub(bytes);
        }
        drop(known);
        inner.count_outgoing(elsewhere, first, now);
        Ok(())
    }

    /// The records of a feed that the table does not have yet, in order.
    #[cfg(test)]
    pub(crate) fn outbox_records(&self, feed: FeedId) -> Result<Vec<OutboxRecord>> {
        Ok(self.inner.records(feed, 0, u64::MAX, u64::MAX)?.into_iter().map(|(_, record)| record).collect())
    }
}

impl Inner {
    /// Refuses rows that the outbox has no room for.
    ///
    /// # Errors
    /// [`Error::OutboxFull`].
    pub(super) fn outbox_has_room(&self, outgoing: &[Outgoing<'_>]) -> Result<()> {
        let bytes: u64 = outgoing.iter().map(|outgoing| (HEAD + outgoing.payload.len()) as u64).sum();
        let waiting = self.outbox_bytes();
        let limit = self.settings.outbox_bytes;
        // Into an empty one goes whatever comes, or it never would.
        match bytes > 0 && waiting > 0 && waiting.saturating_add(bytes) > limit {
            true => Err(Error::OutboxFull { waiting, limit }),
            false => Ok(()),
        }
    }

    fn outbox_bytes(&self) -> u64 {
        self.feeds.known.read().values().map(|feed| feed.queue.bytes).sum()
    }

    /// Adds records to a batch, numbered from `next` on.
    pub(super) fn put_outgoing(
        &self,
        outgoing: &[Outgoing<'_>],
        next: u64,
        now: Micros,
        batch: &mut WriteBatch,
    ) -> Result<()> {
        let family = self.outbox()?;
        let incarnation = self.feeds.incarnations.read().len().saturating_sub(1) as u32;
        for (outgoing, number) in outgoing.iter().zip(next..) {
            batch.put_cf(family, key(outgoing.feed, number), encode(incarnation, outgoing.rows, now, outgoing.payload));
        }
        Ok(())
    }

    /// Notes records that were written.
    pub(super) fn count_outgoing(&self, outgoing: &[Outgoing<'_>], next: u64, now: Micros) {
        let mut known = self.feeds.known.write();
        for (outgoing, number) in outgoing.iter().zip(next..) {
            if let Some(feed) = known.get_mut(&outgoing.feed.0) {
                feed.queue.add(number, outgoing.rows, (HEAD + outgoing.payload.len()) as u64, now);
            }
        }
    }

    /// Counts what an earlier process left.
    pub(super) fn count_outboxes(&self) -> Result<()> {
        let mut known = self.feeds.known.write();
        let mut iterator = self.db.raw_iterator_cf_opt(self.outbox()?, read_options());
        iterator.seek_to_first();
        while let Some((found, value)) = iterator.item() {
            let (feed, number) = split(found)?;
            let (_, record) = decode(number, value)?;
            let feed = known.get_mut(&feed).ok_or_else(|| unknown(FeedId(feed)))?;
            feed.queue.add(number, record.rows, value.len() as u64, record.at);
            iterator.next();
        }
        iterator.status().map_err(Error::store("reading the outbox"))
    }

    fn chunk_of(&self, feed: FeedId) -> Result<Option<ChunkRecord>> {
        let known = self.feeds.known.read();
        Ok(known.get(&feed.0).ok_or_else(|| unknown(feed))?.record.chunk)
    }

    fn note_chunk(&self, feed: FeedId, chunk: Option<ChunkRecord>) -> Result<()> {
        let mut known = self.feeds.known.write();
        let found = known.get_mut(&feed.0).ok_or_else(|| unknown(feed))?;
        let record = super::feed::FeedRecord { chunk, ..found.record.clone() };
        let mut batch = WriteBatch::default();
        batch.put(MetaKey::Feed(feed.0).encode(), record.encode());
        self.commit_metadata(batch)?;
        found.record = record;
        Ok(())
    }

    fn chunk(&self, feed: FeedId, record: ChunkRecord, records: Vec<OutboxRecord>) -> Result<Chunk> {
        let name = self.feeds.known.read().get(&feed.0).map(|feed| feed.record.name.clone());
        let name = name.ok_or_else(|| unknown(feed))?;
        let incarnations = self.feeds.incarnations.read();
        let incarnation = incarnations.get(record.incarnation as usize).ok_or_else(|| {
            Error::corrupt(format!("a record is of incarnation {}, which is not in the metadata", record.incarnation))
        })?;
        let application = format!("{OUTBOX_PREFIX}{}/{name}", incarnation.id);
        Ok(Chunk { feed, application, first: record.first, last: record.last, records })
    }

    /// Records with their incarnations, from one number to another, until so many bytes are read.
    fn records(&self, feed: FeedId, first: u64, last: u64, bytes_max: u64) -> Result<Vec<(u32, OutboxRecord)>> {
        let mut options = read_options();
        options.set_iterate_range(rocksdb::PrefixRange(feed.0.to_be_bytes()));
        let mut iterator = self.db.raw_iterator_cf_opt(self.outbox()?, options);
        iterator.seek(key(feed, first));
        let (mut records, mut bytes) = (Vec::new(), 0_u64);
        while let Some((found, value)) = iterator.item() {
            let (_, number) = split(found)?;
            bytes = bytes.saturating_add(value.len() as u64);
            if number > last || (bytes > bytes_max && !records.is_empty()) {
                break;
            }
            records.push(decode(number, value)?);
            iterator.next();
        }
        iterator.status().map_err(Error::store("reading the outbox"))?;
        Ok(records)
    }
}

fn read_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options
}

fn unknown(feed: FeedId) -> Error {
    Error::corrupt(format!("the outbox has records of feed {}, which is not in the metadata", feed.0))
}

fn key(feed: FeedId, number: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&feed.0.to_be_bytes());
    key[4..].copy_from_slice(&number.to_be_bytes());
    key
}

fn split(key: &[u8]) -> Result<(u32, u64)> {
    let mut reader = Reader::new(key, "the key of an outbox record");
    let (feed, number) = (u32::from_be_bytes(reader.array()?), u64::from_be_bytes(reader.array()?));
    reader.end()?;
    Ok((feed, number))
}

fn encode(incarnation: u32, rows: u32, at: Micros, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + payload.len());
    out.push(FORMAT);
    out.extend_from_slice(&incarnation.to_le_bytes());
    out.extend_from_slice(&rows.to_le_bytes());
    out.extend_from_slice(&at.to_le_bytes());
    out.extend_from_slice(payload);
    out
}

fn decode(number: u64, value: &[u8]) -> Result<(u32, OutboxRecord)> {
    let mut reader = Reader::new(value, "an outbox record");
    match reader.u8()? {
        FORMAT => {}
        format => return Err(Error::corrupt(format!("an outbox record has format {format}, expected {FORMAT}"))),
    }
    let (incarnation, rows, at) = (reader.u32()?, reader.u32()?, reader.i64()?);
    let payload = value.get(HEAD..).unwrap_or_default().to_vec();
    Ok((incarnation, OutboxRecord { number, rows, at, payload }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_records_are_frozen() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let frozen =
            "the bytes of outboxes are frozen: folders in use have them. Give records a new format number instead";
        assert_eq!(hex(&key(FeedId(258), 3)), "000001020000000000000003", "{frozen}");
        let record = encode(1, 2, -3, b"rows");
        assert_eq!(hex(&record), "010100000002000000fdffffffffffffff726f7773", "{frozen}");
        let read = OutboxRecord { number: 9, rows: 2, at: -3, payload: b"rows".to_vec() };
        assert_eq!(decode(9, &record).expect("a record"), (1, read));
        assert!(decode(9, &record[..12]).is_err() && decode(9, b"\x02").is_err() && split(b"short").is_err());
    }
}
