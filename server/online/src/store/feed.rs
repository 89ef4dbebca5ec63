//! Feeds: the streams of pushed rows that go to one table each, and the numbers their writes get.
//!
//! ```text
//! key in `default`        value: format u8 = 1, then
//! 'f' feed u32 BE         project · name · chunk u8 (0 none) [· incarnation u32 · first u64 · last u64]
//! 'i'                     (incarnation · last u64)…, oldest first; the last one is the present one, and its number means nothing
//! 's'                     next u64                                             the number of the next record of any outbox
//! 'o' name                bytes of whoever writes it                           what is committed together with rows: offsets
//! ```
//! An **incarnation** is this store from its making, or from being put back from a backup, to its end. A number of an outbox means
//! something within its incarnation alone: a store that was put back gives some numbers a second time.

use ahash::{HashMap, HashMapExt};
use parking_lot::{Mutex, RwLock};
use rocksdb::WriteBatch;

use super::outbox::{ChunkRecord, Queue};
use super::{Inner, Store};
use crate::codec::{Reader, put_length, put_text};
use crate::layout::MetaKey;
use crate::{Error, Result};

const FORMAT: u8 = 1;

/// What application transactions of outbox commits begin with; the incarnation and the feed's name follow.
pub const OUTBOX_PREFIX: &str = "tidegate.outbox/";

/// A registered feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeedId(pub(super) u32);

/// A feed as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FeedRecord {
    pub(crate) project: String,
    pub(crate) name: String,
    pub(crate) chunk: Option<ChunkRecord>,
}

/// One life of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incarnation {
    pub(crate) id: String,
    /// The last number it gave out, for one that is over.
    pub(crate) last: u64,
}

/// A feed in memory.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) record: FeedRecord,
    pub(super) queue: Queue,
}

/// All feeds, and who may number records.
#[derive(Debug)]
pub(crate) struct Feeds {
    pub(super) known: RwLock<HashMap<u32, Feed>>,
    pub(super) incarnations: RwLock<Vec<Incarnation>>,
    /// The next number. Held while a push is written: numbers are given in the order of the log.
    pub(super) next: Mutex<u64>,
    pub(super) syncs: super::sync::Syncs,
}

/// What the metadata says of feeds.
#[derive(Debug, Default)]
pub(super) struct FoundFeeds {
    pub(super) feeds: Vec<(u32, FeedRecord)>,
    pub(super) incarnations: Vec<Incarnation>,
    pub(super) next: u64,
}

/// What the rows of an outbox commit are to this store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It took all of them itself, before they reached the table.
    All,
    /// It never saw them.
    None,
    /// It took some of them: those up to the moment of the backup it was put back from.
    Some,
}

impl FeedRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        put_text(&mut out, &self.project);
        put_text(&mut out, &self.name);
        match &self.chunk {
            None => out.push(0),
            Some(chunk) => {
                out.push(1);
                out.extend_from_slice(&chunk.incarnation.to_le_bytes());
                out.extend_from_slice(&chunk.first.to_le_bytes());
                out.extend_from_slice(&chunk.last.to_le_bytes());
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = record(bytes, "a feed")?;
        let (project, name) = (reader.text()?, reader.text()?);
        let chunk = match reader.u8()? {
            0 => None,
            _ => Some(ChunkRecord { incarnation: reader.u32()?, first: reader.u64()?, last: reader.u64()? }),
        };
        reader.end()?;
        Ok(Self { project, name, chunk })
    }
}

/// The incarnations as stored.
pub(crate) fn encode_incarnations(incarnations: &[Incarnation]) -> Vec<u8> {
    let mut out = vec![FORMAT];
    put_length(&mut out, incarnations.len());
    for incarnation in incarnations {
        put_text(&mut out, &incarnation.id);
        out.extend_from_slice(&incarnation.last.to_le_bytes());
    }
    out
}

/// Reads what [`encode_incarnations`] wrote.
pub(crate) fn decode_incarnations(bytes: &[u8]) -> Result<Vec<Incarnation>> {
    let mut reader = record(bytes, "the incarnations")?;
    let count = reader.u32()?;
    let read =
        (0..count).map(|_| Ok(Incarnation { id: reader.text()?, last: reader.u64()? })).collect::<Result<_>>()?;
    reader.end()?;
    Ok(read)
}

/// The next number as stored.
pub(crate) fn encode_next(next: u64) -> Vec<u8> {
    [[FORMAT].as_slice(), &next.to_le_bytes()].concat()
}

/// Reads what [`encode_next`] wrote.
pub(crate) fn decode_next(bytes: &[u8]) -> Result<u64> {
    let mut reader = record(bytes, "the number of the next record")?;
    let next = reader.u64()?;
    reader.end()?;
    Ok(next)
}

fn record<'a>(bytes: &'a [u8], what: &'static str) -> Result<Reader<'a>> {
    let mut reader = Reader::new(bytes, what);
    match reader.u8()? {
        FORMAT => Ok(reader),
        format => Err(Error::corrupt(format!("{what} has format {format}, expected {FORMAT}"))),
    }
}

impl Feeds {
    pub(super) fn new(found: FoundFeeds) -> Self {
        let feed = |(id, record)| (id, Feed { record, queue: Queue::default() });
        let mut known = HashMap::new();
        known.extend(found.feeds.into_iter().map(feed));
        Self {
            known: RwLock::new(known),
            incarnations: RwLock::new(found.incarnations),
            next: Mutex::new(found.next.max(1)),
            syncs: super::sync::Syncs::default(),
        }
    }
}

impl Store {
    /// Makes the feed of a source known. Doing it again changes nothing.
    ///
    /// # Errors
    /// A failing disk.
    pub fn feed(&self, project: &str, name: &str) -> Result<FeedId> {
        let inner = &self.inner;
        if let Some(id) = inner.find_feed(project, name) {
            return Ok(id);
        }
        let mut known = inner.feeds.known.write();
        if let Some(id) = known.iter().find(|(_, feed)| feed.is(project, name)).map(|(&id, _)| FeedId(id)) {
            return Ok(id);
        }
        let id = known.keys().max().map_or(1, |last| last + 1);
        let record = FeedRecord { project: project.to_owned(), name: name.to_owned(), chunk: None };
        let mut batch = WriteBatch::default();
        batch.put(MetaKey::Feed(id).encode(), record.encode());
        inner.commit_metadata(batch)?;
        known.insert(id, Feed { record, queue: Queue::default() });
        Ok(FeedId(id))
    }

    /// What the rows of a commit with this application transaction are to this store. `first` and `last` are the numbers of the
    /// records it holds; a transaction that is no outbox's was never seen here.
    ///
    /// A materialization that adds rows up, instead of keeping the newest, passes over the files of a commit that is
    /// [`Counted::All`], reads those of [`Counted::None`], and begins anew at [`Counted::Some`].
    #[must_use]
    pub fn counted(&self, application: &str, first: u64, last: u64) -> Counted {
        let id = application.strip_prefix(OUTBOX_PREFIX).and_then(|rest| rest.split('/').next());
        let incarnations = self.inner.feeds.incarnations.read();
        let place = incarnations.iter().position(|known| Some(known.id.as_str()) == id);
        match place.map(|place| (place + 1 == incarnations.len(), incarnations[place].last)) {
            None => Counted::None,
            Some((true, _)) => Counted::All,
            Some((false, counted)) if last <= counted => Counted::All,
            Some((false, counted)) if first > counted => Counted::None,
            Some((false, _)) => Counted::Some,
        }
    }

    /// Begins a new incarnation: to be called once when the store was put back from a backup, with an id that was never used.
    ///
    /// # Errors
    /// A failing disk.
    #[cfg(test)]
    pub(crate) fn renew(&self, id: &str) -> Result<()> {
        self.inner.begin_incarnation(id)
    }

    /// What was committed last under a name together with rows ([`super::Extra`]).
    ///
    /// # Errors
    /// A failing disk.
    pub fn extra(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.inner.db.get(extra_key(name)).map_err(Error::store("reading what was committed with rows"))
    }
}

/// The key of what is committed under a name.
pub(super) fn extra_key(name: &[u8]) -> Vec<u8> {
    [b"o".as_slice(), name].concat()
}

impl Feed {
    fn is(&self, project: &str, name: &str) -> bool {
        self.record.project == project && self.record.name == name
    }
}

impl Inner {
    fn find_feed(&self, project: &str, name: &str) -> Option<FeedId> {
        let known = self.feeds.known.read();
        known.iter().find(|(_, feed)| feed.is(project, name)).map(|(&id, _)| FeedId(id))
    }

    /// Sees to it that the incarnation is this database's: it is another when it is new, or was put back from a backup.
    pub(super) fn own_incarnation(&self) -> Result<()> {
        let known = self.feeds.incarnations.read().iter().any(|known| known.id == self.identity);
        if known { Ok(()) } else { self.begin_incarnation(&self.identity) }
    }

    /// The one before ends with the last number that was given.
    fn begin_incarnation(&self, id: &str) -> Result<()> {
        let next = self.feeds.next.lock();
        let mut incarnations = self.feeds.incarnations.write();
        let mut renewed = incarnations.clone();
        if let Some(over) = renewed.last_mut() {
            over.last = *next - 1;
        }
        renewed.push(Incarnation { id: id.to_owned(), last: 0 });
        let mut batch = WriteBatch::default();
        batch.put(MetaKey::Incarnations.encode(), encode_incarnations(&renewed));
        self.commit_metadata(batch)?;
        *incarnations = renewed;
        Ok(())
    }
}
