//! Filling a new epoch: rows are sorted outside the database, written into files of its own kind, and taken in as they are.
//!
//! ```text
//! parts     one for each thread that adds: rows → a buffer; a full one is sorted and set aside as a run
//! finish    buffers only: sorted at once, then each thread merges a range of the keys
//!           runs: merged by one thread                       → files in key order, one row for each key
//! taken in  the files become the database's; nothing is logged, and nothing rewritten until they are merged
//! ```
//! Nothing here is seen by lookups or by writes. The folder goes when the load does, and what a killed process left goes at the
//! next opening. `buffer` holds rows in memory, `runs` on the disk, `files` are what comes out.

mod buffer;
mod files;
mod runs;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use rocksdb::WriteBatch;
use tidegate_schemas::time::Micros;

use super::write::Incoming;
use super::{Inner, Rows, open, pending};
use crate::key;
use crate::layout::{Layout, View, ViewState};
use crate::lookup::fields::Fields;
use crate::merge::Times;
use crate::row::{Header, Origin, RowEncoder};
use crate::{Error, Result};
use buffer::Buffer;
use files::Files;

/// Bytes of rows that all parts gather before they are set aside as runs.
const BUFFER_BYTES: usize = 128 << 20;

/// An epoch that no view has: that of a load which is compared and never put in place.
pub(super) const NO_EPOCH: u32 = 0;

/// The folder of loads in the store's.
pub(super) const FOLDER: &str = "load";

/// A full refresh being put together. Dropping it leaves the view as it was.
pub struct Load {
    target: Target,
    folder: PathBuf,
    buffer_bytes: usize,
    parts_made: usize,
    /// Where [`Load::add`] adds.
    own: Option<Part>,
    filled: Vec<Part>,
    /// Writes that the view had counted when it began.
    pub(super) pushes_before: u64,
    pushed_up_to: u64,
    /// The table that its rows are of.
    pub(super) table: Option<String>,
}

/// Rows of a load that one thread adds.
pub struct Part {
    target: Target,
    buffer: Buffer,
    buffer_bytes: usize,
    runs: Vec<PathBuf>,
    /// What its runs are named by.
    run: PathBuf,
    rows: u64,
    waiting: u64,
}

/// Where rows go.
#[derive(Clone)]
struct Target {
    inner: Arc<Inner>,
    view: Arc<View>,
    layout: Arc<Layout>,
    epoch: u32,
    /// Rows with a later event time wait.
    until: Micros,
    /// Graves there were when it began.
    graves: u64,
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load").field("view", &self.target.view.name).field("rows", &self.rows()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("view", &self.target.view.name).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Load {
    pub(super) fn new(inner: &Arc<Inner>, view: &Arc<View>, layout: u32, epoch: u32) -> Result<Self> {
        let nth = inner.loads.fetch_add(1, Relaxed);
        let folder = inner.path.join(FOLDER).join(nth.to_string());
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let (layout, until) = (inner.layout(layout)?, Micros::MAX);
        let graves = inner.graves.dug();
        let target = Target { inner: inner.clone(), view: view.clone(), layout, epoch, until, graves };
        let (pushes_before, pushed_up_to) = (view.pushes.load(Acquire), *inner.feeds.next.lock() - 1);
        let (buffer_bytes, parts_made, own, filled) = (BUFFER_BYTES, 0, None, Vec::new());
        let table = None;
        Ok(Self { target, folder, buffer_bytes, parts_made, own, filled, pushes_before, pushed_up_to, table })
    }

    /// Lets rows that happen later wait until they are due, instead of competing with what holds now.
    #[must_use]
    pub fn until(mut self, now: Micros) -> Self {
        self.target.until = now;
        self
    }

    /// The time after which rows wait.
    pub(super) fn horizon(&self) -> Micros {
        self.target.until
    }

    /// Sets rows aside as often as so many bytes are gathered.
    #[cfg(test)]
    pub(crate) fn with_buffer(mut self, buffer_bytes: usize) -> Self {
        self.buffer_bytes = buffer_bytes;
        self
    }

    /// Parts to be filled at the same time, and to be given back with [`Self::join`].
    pub fn parts(&mut self, count: usize) -> Vec<Part> {
        let bytes = self.buffer_bytes / count.max(1);
        (0..count.max(1)).map(|_| self.part(bytes)).collect()
    }

    fn part(&mut self, buffer_bytes: usize) -> Part {
        self.parts_made += 1;
        let run = self.folder.join(format!("part-{}", self.parts_made));
        let (target, buffer, runs) = (self.target.clone(), Buffer::default(), Vec::new());
        Part { target, buffer, buffer_bytes, runs, run, rows: 0, waiting: 0 }
    }

    /// Takes a part whose rows are all there. Rows of one key that are in several parts must differ in their times, and all events
    /// of a windowed view be in one part.
    pub fn join(&mut self, part: Part) {
        self.filled.push(part);
    }

    /// Adds rows, in any order. Of several with one key the one that supersedes the others is kept; among equals the last.
    ///
    /// # Errors
    /// As [`Part::add`].
    pub fn add(&mut self, rows: Rows<'_>) -> Result<()> {
        let mut own = self.own.take().unwrap_or_else(|| self.part(self.buffer_bytes));
        let added = own.add(rows);
        self.own = Some(own);
        added
    }

    pub(super) fn view(&self) -> &Arc<View> {
        &self.target.view
    }

    pub(super) fn epoch(&self) -> u32 {
        self.target.epoch
    }

    pub(super) fn layout(&self) -> u32 {
        self.target.layout.id
    }

    /// Its epoch, if the view is still waiting for this load and no other.
    pub(super) fn is_of(&self, state: &ViewState) -> Result<u32> {
        self.target.is_of(state)
    }

    /// The same question, to be asked while the load is read.
    pub(super) fn standing(&self) -> impl Fn(&ViewState) -> Result<()> + use<> {
        let target = self.target.clone();
        move |state| target.is_of(state).map(drop)
    }

    /// The number of the last outbox record of a push that came before the load began. One of a higher number came after, and counts
    /// in the epoch that is built.
    #[must_use]
    pub fn pushed_up_to(&self) -> u64 {
        self.pushed_up_to
    }

    /// Rows that wait.
    pub(super) fn waiting(&self) -> u64 {
        self.filled.iter().chain(&self.own).map(|part| part.waiting).sum()
    }

    /// Rows added so far, without those of parts that were not given back.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.filled.iter().chain(&self.own).map(|part| part.rows).sum()
    }

    /// The files in key order, and how many rows they hold.
    pub(super) fn finish(&mut self) -> Result<(Vec<PathBuf>, u64)> {
        let inner = self.target.inner.clone();
        inner.disk.has_room()?;
        let (rows, suffix) = (self.rows(), key::suffix(self.target.view.id, self.epoch()));
        let gathered = self.gathered()?;
        let files = |range: usize| {
            let options = open::row_options(&inner.settings, &inner.block_cache);
            (options, self.folder.join(format!("range-{range}")))
        };
        let finished = match gathered {
            Gathered::Runs(paths) => {
                let (options, name) = files(0);
                let (mut files, mut newest) = (Files::new(&options, &name, suffix), Newest::default());
                runs::merge(&paths, |entity, row| newest.take(entity, row, &mut files))?;
                newest.end(&mut files)?;
                vec![files.end()?]
            }
            Gathered::Buffers(buffers) => {
                let ranges = buffer::ranges(&buffers, if rows < FEW_ROWS { 1 } else { buffers.len() });
                let write = |(nth, range): (usize, &buffer::Range)| {
                    let (options, name) = files(nth);
                    let (mut files, mut newest) = (Files::new(&options, &name, suffix), Newest::default());
                    buffer::merge(&buffers, range, |entity, row| newest.take(entity, row, &mut files))?;
                    newest.end(&mut files)?;
                    files.end()
                };
                at_once(ranges.iter().enumerate().collect(), write).into_iter().collect::<Result<_>>()?
            }
        };
        let rows = finished.iter().map(|(_, rows)| rows).sum();
        Ok((finished.into_iter().flat_map(|(paths, _)| paths).collect(), rows))
    }

    /// Hands over one row for each entity, in their order. Nothing is left.
    pub(super) fn drain(&mut self, sink: &mut impl Sink) -> Result<()> {
        let mut newest = Newest::default();
        self.each(|entity, row| newest.take(entity, row, sink))?;
        newest.end(sink)
    }

    /// Hands over all rows in the order of their entities, those of one entity and part as they came in. Nothing is left.
    pub(super) fn each(&mut self, take: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        match self.gathered()? {
            Gathered::Runs(paths) => runs::merge(&paths, take),
            Gathered::Buffers(buffers) => buffer::merge(&buffers, &buffer::Range::default(), take),
        }
    }

    /// All rows that were added, sorted part by part.
    fn gathered(&mut self) -> Result<Gathered> {
        let mut parts: Vec<Part> = self.own.take().into_iter().chain(self.filled.drain(..)).collect();
        if parts.iter().all(|part| part.runs.is_empty()) {
            let buffers = parts.into_iter().map(|part| part.buffer).filter(|buffer| !buffer.is_empty()).collect();
            let sorted = |mut buffer: Buffer| {
                buffer.sort();
                buffer
            };
            return Ok(Gathered::Buffers(at_once(buffers, sorted)));
        }
        parts.iter_mut().filter(|part| !part.buffer.is_empty()).try_for_each(Part::set_aside)?;
        Ok(Gathered::Runs(parts.into_iter().flat_map(|part| part.runs).collect()))
    }

    /// Where the features are in its rows.
    pub(super) fn fields(&self) -> Arc<Fields> {
        Arc::new(Fields::of(self.target.layout.clone(), &self.target.layout))
    }
}

/// Fewer rows are written by one thread before others have started.
const FEW_ROWS: u64 = 64 << 10;

/// What the parts of a load hold.
enum Gathered {
    /// All in memory, each buffer sorted.
    Buffers(Vec<Buffer>),
    /// All on the disk.
    Runs(Vec<PathBuf>),
}

/// Does the same to several things, each on a thread of its own; results in their order.
fn at_once<T: Send, R: Send>(things: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    if things.len() < 2 {
        return things.into_iter().map(work).collect();
    }
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = things.into_iter().map(|thing| scope.spawn(move || work(thing))).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

impl Target {
    /// The epoch, if the view is still waiting for this load and no other.
    fn is_of(&self, state: &ViewState) -> Result<u32> {
        // It may hold rows of an entity that was erased since.
        let whole = self.graves == self.inner.graves.dug();
        let building = state.record.building.filter(|&building| building == self.epoch && whole);
        building.ok_or_else(|| Error::NoRefresh(self.view.name.clone()))
    }

    /// Rows that are not due wait in the epoch being built. That is seen by nobody before the epoch is.
    fn put_waiting(
        &self,
        headers: impl Iterator<Item = (usize, Header)>,
        incoming: &Incoming,
        encoder: &RowEncoder<'_>,
    ) -> Result<()> {
        let Self { inner, view, .. } = self;
        let (mut key, mut bytes, mut batch) = (Vec::new(), Vec::new(), WriteBatch::default());
        let place = view.is_windowed().then(|| inner.waiting_place(Origin::Table { version: 0 }));
        for (row, header) in headers {
            pending::encode_key(view.id, self.epoch, incoming.entity(row), header.times(), &mut key);
            if let Some(place) = place {
                place.put(row, &mut key);
            }
            bytes.clear();
            encoder.encode(&header, row, &mut bytes)?;
            batch.put_cf(inner.pending()?, &key, &bytes);
        }
        // What came after a load was dropped would stay for ever.
        let _gate = view.gate.read();
        self.is_of(&view.state.read())?;
        inner.disk.has_room()?;
        inner.put(batch, false, "writing waiting rows")
    }
}

impl Part {
    /// Adds rows, in any order. Of several with one key the one that supersedes the others is kept; among equals the last. Of a
    /// windowed view they are events, all of which are kept. Rows that happen later than [`Load::until`] says wait until they are
    /// due, all of them.
    ///
    /// # Errors
    /// Columns of wrong number, length or type, null keys or event times, values their type can't hold; no room on the disk.
    /// [`Error::NoRefresh`] when it was dropped meanwhile.
    pub fn add(&mut self, rows: Rows<'_>) -> Result<()> {
        let Target { inner, view, layout, epoch, until, .. } = &self.target;
        let columns = layout.incoming();
        let encoder = RowEncoder::new(&columns.features, &columns.shape, rows.features)?;
        let incoming = Incoming::new(view, &rows)?;
        let refused = inner.refused(view, &rows)?;
        let header = |row| {
            let (event, created) = incoming.times(row);
            Header { layout: layout.id, event, created, origin: rows.origin }
        };
        // Memory that was never touched costs more than what is done in it: one piece, used again for each run.
        self.buffer.reserve(self.buffer_bytes.min(BUFFER_BYTES));
        let mut later = Vec::new();
        for row in (0..incoming.len()).filter(|&row| refused.as_ref().is_none_or(|refused| !refused[row])) {
            let header = header(row);
            if header.event > *until {
                later.push(row);
                continue;
            }
            self.buffer.push(incoming.entity(row), |out| encoder.encode(&header, row, out))?;
            self.rows += 1;
        }
        self.waiting += later.len() as u64;
        if !later.is_empty() && *epoch != NO_EPOCH {
            self.target.put_waiting(later.iter().map(|&row| (row, header(row))), &incoming, &encoder)?;
        }
        if self.buffer.len_bytes() >= self.buffer_bytes {
            self.set_aside()?;
        }
        Ok(())
    }

    fn set_aside(&mut self) -> Result<()> {
        self.target.inner.disk.has_room()?;
        let path = self.run.with_extension(format!("run-{}", self.runs.len()));
        self.buffer.sort();
        runs::write(&path, &mut self.buffer)?;
        self.runs.push(path);
        Ok(())
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
