//! Filling a new epoch: rows are sorted outside the database, written into files of its own kind, and taken in as they are.
//!
//! ```text
//! add       rows → a buffer; a full one is sorted and set aside as a run
//! finish    one buffer: sorted in memory · several runs: merged → files in key order, one row for each key
//! taken in  the files become the database's; nothing is logged, and nothing rewritten until they are merged
//! ```
//! Nothing here is seen by lookups or by writes. The folder goes when the load does, and what a killed process left goes at the
//! next opening.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use rocksdb::{Options, SstFileWriter, WriteBatch};
use tidegate_schemas::failpoint::{Failpoint, reach};
use tidegate_schemas::time::Micros;

use super::write::Incoming;
use super::{Inner, Rows, open, pending};
use crate::key;
use crate::layout::{Layout, View, ViewState};
use crate::lookup::fields::Fields;
use crate::merge::Times;
use crate::row::{Header, Origin, RowEncoder};
use crate::{Error, Result};

/// Bytes of rows gathered before they are set aside as a run.
const BUFFER_BYTES: usize = 128 << 20;

/// Bytes of one finished file, about: what the database makes itself.
const FILE_BYTES: usize = 64 << 20;

/// An epoch that no view has: that of a load which is compared and never put in place.
pub(super) const NO_EPOCH: u32 = 0;

/// The folder of loads in the store's.
pub(super) const FOLDER: &str = "load";

/// A full refresh being put together. Dropping it leaves the view as it was.
pub struct Load {
    inner: Arc<Inner>,
    pub(super) view: Arc<View>,
    layout: Arc<Layout>,
    pub(super) epoch: u32,
    /// Rows with a later event time wait.
    pub(super) until: Micros,
    folder: PathBuf,
    buffer: Buffer,
    buffer_bytes: usize,
    runs: Vec<PathBuf>,
    rows: u64,
    waiting: u64,
    /// Writes that the view had counted when it began.
    pub(super) pushes_before: u64,
    pushed_up_to: u64,
    /// Graves there were when it began.
    graves: u64,
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load").field("view", &self.view.name).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Load {
    pub(super) fn new(inner: &Arc<Inner>, view: &Arc<View>, layout: u32, epoch: u32) -> Result<Self> {
        let nth = inner.loads.fetch_add(1, Relaxed);
        let folder = inner.path.join(FOLDER).join(nth.to_string());
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        Ok(Self {
            inner: inner.clone(),
            view: view.clone(),
            layout: inner.layout(layout)?,
            epoch,
            until: Micros::MAX,
            folder,
            buffer: Buffer::default(),
            buffer_bytes: BUFFER_BYTES,
            runs: Vec::new(),
            rows: 0,
            waiting: 0,
            pushes_before: view.pushes.load(Acquire),
            pushed_up_to: *inner.feeds.next.lock() - 1,
            graves: inner.graves.dug(),
        })
    }

    /// Lets rows that happen later wait until they are due, instead of competing with what holds now.
    #[must_use]
    pub fn until(mut self, now: Micros) -> Self {
        self.until = now;
        self
    }

    /// Sets rows aside as often as so many bytes are gathered.
    #[cfg(test)]
    pub(crate) fn with_buffer(mut self, buffer_bytes: usize) -> Self {
        self.buffer_bytes = buffer_bytes;
        self
    }

    /// Adds rows, in any order. Of several with one key the one that supersedes the others is kept; among equals the last. Of a
    /// windowed view they are events, all of which are kept. Rows that happen later than [`Self::until`] says wait until they are
    /// due, all of them.
    ///
    /// # Errors
    /// Columns of wrong number, length or type, null keys or event times, values their type can't hold; no room on the disk.
    /// [`Error::NoRefresh`] when it was dropped meanwhile.
    pub fn add(&mut self, rows: Rows<'_>) -> Result<()> {
        let layout = self.layout.incoming();
        let encoder = RowEncoder::new(&layout.features, &layout.shape, rows.features)?;
        let incoming = Incoming::new(&self.view, &rows)?;
        let refused = self.inner.refused(&self.view, &rows)?;
        // Memory that was never touched costs more than what is done in it: one piece, used again for each run.
        self.buffer
            .bytes
            .reserve_exact(self.buffer_bytes.min(BUFFER_BYTES).saturating_sub(self.buffer.bytes.capacity()));
        let mut later = Vec::new();
        for row in (0..incoming.len()).filter(|&row| refused.as_ref().is_none_or(|refused| !refused[row])) {
            let (event, created) = incoming.times(row);
            if event > self.until {
                later.push(row);
                continue;
            }
            let header = Header { layout: self.layout.id, event, created, origin: rows.origin };
            self.buffer.push(incoming.entity(row), |out| encoder.encode(&header, row, out))?;
        }
        self.rows += (incoming.len() - later.len()) as u64;
        self.waiting += later.len() as u64;
        if !later.is_empty() && self.epoch != NO_EPOCH {
            let headers = later.iter().map(|&row| {
                let (event, created) = incoming.times(row);
                (row, Header { layout: self.layout.id, event, created, origin: rows.origin })
            });
            self.put_waiting(headers, &incoming, &encoder)?;
        }
        if self.buffer.bytes.len() >= self.buffer_bytes {
            self.set_aside()?;
        }
        Ok(())
    }

    /// Rows that are not due wait in the epoch being built. That is seen by nobody before the epoch is.
    fn put_waiting(
        &self,
        headers: impl Iterator<Item = (usize, Header)>,
        incoming: &Incoming,
        encoder: &RowEncoder<'_>,
    ) -> Result<()> {
        let (mut key, mut bytes, mut batch) = (Vec::new(), Vec::new(), WriteBatch::default());
        let place = self.view.is_windowed().then(|| self.inner.waiting_place(Origin::Table { version: 0 }));
        for (row, header) in headers {
            pending::encode_key(self.view.id, self.epoch, incoming.entity(row), header.times(), &mut key);
            if let Some(place) = place {
                place.put(row, &mut key);
            }
            bytes.clear();
            encoder.encode(&header, row, &mut bytes)?;
            batch.put_cf(self.inner.pending()?, &key, &bytes);
        }
        // What came after a load was dropped would stay for ever.
        let _gate = self.view.gate.read();
        self.is_of(&self.view.state.read())?;
        self.inner.disk.has_room()?;
        self.inner.db.write(batch).map_err(Error::store("writing waiting rows"))
    }

    /// Rows that wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    pub(super) fn layout(&self) -> u32 {
        self.layout.id
    }

    /// Its epoch, if the view is still waiting for this load and no other.
    pub(super) fn is_of(&self, state: &ViewState) -> Result<u32> {
        // It may hold rows of an entity that was erased since.
        let whole = self.graves == self.inner.graves.dug();
        let building = state.record.building.filter(|&building| building == self.epoch && whole);
        building.ok_or_else(|| Error::NoRefresh(self.view.name.clone()))
    }

    /// The same question, to be asked while the load is read.
    pub(super) fn standing(&self) -> impl Fn(&ViewState) -> Result<()> + use<> {
        let (epoch, name) = (self.epoch, self.view.name.clone());
        move |state| match state.record.building {
            Some(building) if building == epoch => Ok(()),
            _ => Err(Error::NoRefresh(name.clone())),
        }
    }

    /// The number of the last outbox record of a push that came before the load began. One of a higher number came after, and counts
    /// in the epoch that is built.
    #[must_use]
    pub fn pushed_up_to(&self) -> u64 {
        self.pushed_up_to
    }

    /// Rows added so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    fn set_aside(&mut self) -> Result<()> {
        self.inner.disk.has_room()?;
        let path = self.folder.join(format!("run-{}", self.runs.len()));
        let mut write = || {
            let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
            for (entity, row) in self.buffer.sorted() {
                let lengths = [entity.len() as u32, row.len() as u32];
                lengths.iter().try_for_each(|length| file.write_all(&length.to_le_bytes()))?;
                file.write_all(entity)?;
                file.write_all(row)?;
            }
            file.flush()
        };
        write().map_err(failed(&path))?;
        self.buffer.clear();
        self.runs.push(path);
        Ok(())
    }

    /// The files in key order, and how many rows they hold.
    pub(super) fn finish(&mut self) -> Result<(Vec<PathBuf>, u64)> {
        self.inner.disk.has_room()?;
        let options = open::row_options(&self.inner.settings, &self.inner.block_cache);
        let folder = self.folder.clone();
        let mut files = Files::new(&options, &folder, key::suffix(self.view.id, self.epoch));
        self.drain(&mut files)?;
        files.end()
    }

    /// Hands over one row for each entity, in their order. Nothing is left.
    pub(super) fn drain(&mut self, sink: &mut impl Sink) -> Result<()> {
        let mut newest = Newest::default();
        self.each(|entity, row| newest.take(entity, row, sink))?;
        newest.end(sink)
    }

    /// Hands over all rows in the order of their entities, those of one entity as they came in. Nothing is left.
    pub(super) fn each(&mut self, mut take: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        if !self.runs.is_empty() && !self.buffer.entries.is_empty() {
            self.set_aside()?;
        }
        if !self.runs.is_empty() {
            return merge(&std::mem::take(&mut self.runs), take);
        }
        let mut sorted = std::mem::take(&mut self.buffer);
        sorted.sorted().try_for_each(|(entity, row)| take(entity, row))
    }

    /// Where the features are in its rows.
    pub(super) fn fields(&self) -> Arc<Fields> {
        Arc::new(Fields::of(self.layout.clone(), &self.layout))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %error, "a load's folder stays until the next start");
        }
    }
}

/// Removes what loads of an earlier process left.
pub(super) fn clean(store: &Path) -> Result<()> {
    let folder = store.join(FOLDER);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(&folder)(error)),
        _ => Ok(()),
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| match source.kind() {
        std::io::ErrorKind::StorageFull => Error::LoadFull { path: path.clone(), source },
        _ => Error::Folder { path: path.clone(), source },
    }
}

/// Where sorted rows go.
pub(super) trait Sink {
    /// Takes the row of an entity; entities come in order, each once.
    fn put(&mut self, entity: &[u8], row: &[u8]) -> Result<()>;
}

/// Encoded entities and rows, end to end, with what sorts them beside.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// One row of a buffer: the entity's bytes, then the row's.
#[derive(Clone, Copy)]
struct Entry {
    /// The first eight bytes after the entity type, as a number: most comparisons end here.
    head: u64,
    start: usize,
    entity: u32,
    row: u32,
}

impl Buffer {
    fn push(&mut self, entity: &[u8], encode: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(entity);
        if let Err(error) = encode(&mut self.bytes) {
            self.bytes.truncate(start);
            return Err(error);
        }
        let mut head = [0; 8];
        let rest = entity.get(key::ENTITY_TYPE..).unwrap_or_default();
        let length = rest.len().min(8);
        head[..length].copy_from_slice(&rest[..length]);
        let row = u32::try_from(self.bytes.len() - start - entity.len());
        let row = row.map_err(|_| Error::Shape("a row's values are longer than 4 GiB".to_owned()))?;
        self.entries.push(Entry { head: u64::from_be_bytes(head), start, entity: entity.len() as u32, row });
        Ok(())
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    /// Rows of one entity stay in the order they came in.
    fn sort(&mut self) {
        let bytes = &self.bytes;
        let entity = |entry: &Entry| &bytes[entry.start..entry.start + entry.entity as usize];
        self.entries.sort_unstable_by(|a, b| {
            a.head.cmp(&b.head).then_with(|| entity(a).cmp(entity(b))).then_with(|| a.start.cmp(&b.start))
        });
    }

    fn sorted(&mut self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.sort();
        self.entries.iter().map(|entry| {
            let (start, end) = (entry.start, entry.start + entry.entity as usize);
            (&self.bytes[start..end], &self.bytes[end..end + entry.row as usize])
        })
    }
}

/// Passes on one row for each entity, of rows that come in the entities' order.
#[derive(Default)]
struct Newest {
    entity: Vec<u8>,
    row: Vec<u8>,
    times: Option<Times>,
}

impl Newest {
    fn take(&mut self, entity: &[u8], row: &[u8], sink: &mut impl Sink) -> Result<()> {
        let times = Header::read(row)?.times();
        match self.times {
            Some(before) if self.entity == entity && times < before => return Ok(()),
            Some(_) if self.entity == entity => {}
            _ => {
                self.end(sink)?;
                self.entity.clear();
                self.entity.extend_from_slice(entity);
            }
        }
        self.row.clear();
        self.row.extend_from_slice(row);
        self.times = Some(times);
        Ok(())
    }

    fn end(&mut self, sink: &mut impl Sink) -> Result<()> {
        match self.times.take() {
            Some(_) => sink.put(&self.entity, &self.row),
            None => Ok(()),
        }
    }
}

/// Finished files, one after the other.
struct Files<'a> {
    writer: SstFileWriter<'a>,
    folder: &'a Path,
    suffix: [u8; key::SUFFIX],
    key: Vec<u8>,
    rows: u64,
    /// Bytes put into the file that is open.
    bytes: usize,
    paths: Vec<PathBuf>,
}

impl<'a> Files<'a> {
    fn new(options: &'a Options, folder: &'a Path, suffix: [u8; key::SUFFIX]) -> Self {
        let writer = SstFileWriter::create(options);
        Self { writer, folder, suffix, key: Vec::new(), rows: 0, bytes: 0, paths: Vec::new() }
    }

    fn close(&mut self) -> Result<()> {
        self.bytes = 0;
        self.writer.finish().map_err(Error::store("finishing a file"))
    }

    fn end(mut self) -> Result<(Vec<PathBuf>, u64)> {
        if self.bytes > 0 {
            self.close()?;
        }
        Ok((self.paths, self.rows))
    }
}

impl Sink for Files<'_> {
    fn put(&mut self, entity: &[u8], row: &[u8]) -> Result<()> {
        if self.bytes == 0 {
            let path = self.folder.join(format!("{}.sst", self.paths.len()));
            self.writer.open(&path).map_err(Error::store("beginning a file"))?;
            self.paths.push(path);
        }
        self.key.clear();
        self.key.extend_from_slice(entity);
        self.key.extend_from_slice(&self.suffix);
        self.writer.put(&self.key, row).map_err(Error::store("writing a file"))?;
        reach(Failpoint::MidLoad);
        self.rows += 1;
        self.bytes += self.key.len() + row.len();
        if self.bytes >= FILE_BYTES { self.close() } else { Ok(()) }
    }
}

/// A run being read: where it stands.
struct Run {
    file: BufReader<File>,
    path: PathBuf,
    nth: usize,
    entity: Vec<u8>,
    row: Vec<u8>,
}

impl Run {
    fn open(nth: usize, path: &Path) -> Result<Self> {
        let file = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed(path))?);
        Ok(Self { file, path: path.to_owned(), nth, entity: Vec::new(), row: Vec::new() })
    }

    /// Goes to the next row; `false` after the last.
    fn advance(&mut self) -> Result<bool> {
        let mut read = || {
            if self.file.fill_buf()?.is_empty() {
                return Ok(false);
            }
            let mut length = || {
                let mut bytes = [0; 4];
                self.file.read_exact(&mut bytes).map(|()| u32::from_le_bytes(bytes) as usize)
            };
            let (entity, row) = (length()?, length()?);
            self.entity.resize(entity, 0);
            self.row.resize(row, 0);
            self.file.read_exact(&mut self.entity)?;
            self.file.read_exact(&mut self.row)?;
            Ok(true)
        };
        read().map_err(failed(&self.path))
    }
}

/// The heap gives the greatest first: the lowest entity, and of one entity the earliest run.
impl Ord for Run {
    fn cmp(&self, other: &Self) -> Ordering {
        (&other.entity, other.nth).cmp(&(&self.entity, self.nth))
    }
}

impl PartialOrd for Run {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Run {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Run {}

fn merge(paths: &[PathBuf], mut take: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
    let mut runs = BinaryHeap::with_capacity(paths.len());
    for (nth, path) in paths.iter().enumerate() {
        let mut run = Run::open(nth, path)?;
        if run.advance()? {
            runs.push(run);
        }
    }
    while let Some(mut run) = runs.peek_mut() {
        take(&run.entity, &run.row)?;
        if !run.advance()? {
            PeekMut::pop(run);
        }
    }
    Ok(())
}
