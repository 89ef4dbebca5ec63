//! The newest observation of each key: what a full materialization loads, and what a correction is recomputed from.
//!
//! Two phases, as in the point-in-time join: keys and times of all rows are streamed and a map keeps each key's best rank and
//! where it was found; then the payload of the winners alone is decoded, piece by piece. In the first phase each of a few workers
//! reads all keys and keeps its [`Share`] of them: what costs is finding a key in the map, not decoding it. When the pool grants too
//! little memory for the maps, the shares are taken one after the other, a share that is still too large is halved, and so on.
//!
//! A correction asks for some [`Keys`] only, and learns which of them have no row any more.

mod best;
mod keys;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use futures::TryStreamExt;
use parking_lot::Mutex;
use tidegate_schemas::time::Micros;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use best::{Best, Candidate, ENTRY_BYTES};
pub use keys::Keys;

use crate::error::{Error, Result};
use crate::runtime::Runtime;
use crate::table::read::{ReadOptions, read_file, schema_of};
use crate::table::snapshot::{DataFile, Snapshot};

/// Most parts the keys are split into.
const MOST_PARTS: u64 = 4096;

/// More workers than this would decode the same keys for ever smaller shares.
const MOST_WORKERS: usize = 4;

/// Fewer rows are done by one worker before a second has begun.
const ROWS_WORTH_A_WORKER: u64 = 64 << 10;

/// Winners that are decoded at once: a file with more is shared among the workers.
const PIECE_ROWS: usize = 256 << 10;

/// Memory is reserved this many bytes at a time.
const RESERVE_BYTES: usize = 1 << 20;

/// The bits of a hash that tell its share lie above these.
const SHARE_BITS: u32 = 32;

/// Seeds of the hash that splits keys into parts.
const PART_SEEDS: [u64; 4] = [11, 23, 47, 83];

/// Which columns make up an observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The key columns, in order; none for a global view, which has one newest observation.
    pub keys: Vec<String>,
    /// The event time's column.
    pub event_time: String,
    /// The created time's column, where the source has one.
    pub created_time: Option<String>,
    /// The columns of the features.
    pub features: Vec<String>,
    /// Observations that happen later do not compete; `None` lets all of them.
    pub until: Option<Micros>,
    /// Whether all observations that happen later are handed over too.
    pub later: bool,
}

impl Spec {
    /// The columns of a result, each once.
    fn columns(&self) -> Vec<String> {
        let mut columns: Vec<String> = Vec::new();
        let all = self.keys.iter().chain([&self.event_time]).chain(&self.created_time).chain(&self.features);
        for column in all {
            if !columns.contains(column) {
                columns.push(column.clone());
            }
        }
        columns
    }

    fn ranked_columns(&self) -> Vec<String> {
        self.keys.iter().chain([&self.event_time]).chain(&self.created_time).cloned().collect()
    }
}

/// Observations that were added by one version of the table.
#[derive(Debug, Clone)]
pub struct Newest {
    /// The version.
    pub version: i64,
    /// Columns: keys, event time, created time if there is one, features; each once, named as in the table.
    pub batch: RecordBatch,
}

/// What a search has read.
#[derive(Debug, Default)]
pub struct Seen {
    /// Rows whose keys and times were read.
    pub rows: AtomicU64,
    /// Of those, rows without a key or an event time: no observations.
    pub skipped: AtomicU64,
}

/// Finds, for each key in `files`, the observation that supersedes all others of that key, and hands them over as they are read.
///
/// Rows with a null key or event time are left out. With `until`, those that happen later stand aside, and with `later` they are all
/// handed over among the others. What is found comes in no order. Memory: keys and ranks of the distinct keys,
/// reserved in the pool; beyond what the pool grants, the keys are taken in several passes. It ends early, without an error, when
/// nobody takes what it finds.
///
/// # Errors
/// A column the snapshot lacks, unreadable files, not enough memory for even a share of the keys.
pub async fn latest(
    runtime: &Runtime,
    snapshot: &Arc<Snapshot>,
    files: &[DataFile],
    spec: &Spec,
    found: Sender<Newest>,
    seen: &Arc<Seen>,
) -> Result<()> {
    search(runtime, snapshot, files, spec, None, found, seen).await
}

/// Finds the newest observation of some keys in a version; `keys` then knows which of them have none.
///
/// # Errors
/// As [`latest`].
pub async fn latest_of(
    runtime: &Runtime,
    snapshot: &Arc<Snapshot>,
    spec: &Spec,
    keys: &Arc<Keys>,
    found: Sender<Newest>,
    seen: &Arc<Seen>,
) -> Result<()> {
    search(runtime, snapshot, &snapshot.files, spec, Some(keys.clone()), found, seen).await
}

async fn search(
    runtime: &Runtime,
    snapshot: &Arc<Snapshot>,
    files: &[DataFile],
    spec: &Spec,
    only: Option<Arc<Keys>>,
    found: Sender<Newest>,
    seen: &Arc<Seen>,
) -> Result<()> {
    let options = ReadOptions { columns: Some(spec.columns()), ..ReadOptions::default() };
    let schema = schema_of(snapshot, &options)?;
    for time in [Some(&spec.event_time), spec.created_time.as_ref()].into_iter().flatten() {
        require_time(snapshot, time)?;
    }
    let rows: u64 = files.iter().map(|file| file.rows.unwrap_or(ROWS_WORTH_A_WORKER)).sum();
    let workers = (rows / ROWS_WORTH_A_WORKER).clamp(1, runtime.settings().threads.clamp(1, MOST_WORKERS) as u64);
    let search = Search {
        snapshot: snapshot.clone(),
        files: files.into(),
        spec: spec.clone(),
        schema,
        only,
        pool: runtime.memory_pool().clone(),
        seen: seen.clone(),
    };
    Arc::new(search).run(workers, found).await
}

fn require_time(snapshot: &Snapshot, column: &str) -> Result<()> {
    let stored = snapshot.field(column)?.data_type();
    if matches!(stored, DataType::Timestamp(..) | DataType::Date32) {
        return Ok(());
    }
    Err(Error::TypeChanged {
        table: snapshot.name.clone(),
        column: column.to_owned(),
        stored: crate::table::schema::type_name(stored),
        wanted: "timestamp".to_owned(),
    })
}

/// A share of the keys: those whose hash is `part` modulo `of`.
#[derive(Debug, Clone, Copy)]
struct Share {
    part: u64,
    of: u64,
}

impl Share {
    const WHOLE: Self = Self { part: 0, of: 1 };

    /// By bits of the hash that the map does not use.
    #[inline]
    fn holds(self, hash: u64) -> bool {
        self.of == 1 || (hash >> SHARE_BITS) % self.of == self.part
    }

    fn halves(self) -> [Self; 2] {
        [Self { part: self.part, of: self.of * 2 }, Self { part: self.part + self.of, of: self.of * 2 }]
    }
}

/// Hashes keys into shares and within the map.
fn hasher() -> ahash::RandomState {
    let [a, b, c, d] = PART_SEEDS;
    ahash::RandomState::with_seeds(a, b, c, d)
}

/// For each file the rows that won, ascending.
type Winners = Vec<Vec<u64>>;

struct Search {
    snapshot: Arc<Snapshot>,
    files: Arc<[DataFile]>,
    spec: Spec,
    schema: SchemaRef,
    /// The keys to look for; `None` for all.
    only: Option<Arc<Keys>>,
    pool: Arc<dyn MemoryPool>,
    seen: Arc<Seen>,
}

impl Search {
    async fn run(self: Arc<Self>, workers: u64, found: Sender<Newest>) -> Result<()> {
        match self.together(workers).await {
            Ok((winners, memory)) => {
                let listening = self.gather(winners, workers, &found).await;
                drop(memory);
                listening.map(drop)
            }
            Err(error) if exhausted(&error) => self.one_by_one(workers, &found).await,
            Err(error) => Err(error),
        }
    }

    /// All shares at once; the memory is held for the winners' sake.
    async fn together(self: &Arc<Self>, workers: u64) -> Result<(Winners, Vec<MemoryReservation>)> {
        let mut tasks = JoinSet::new();
        for part in 0..workers {
            let search = self.clone();
            tasks.spawn(async move { search.winners(Share { part, of: workers }).await });
        }
        let (mut winners, mut memory) = (vec![Vec::new(); self.files.len()], Vec::new());
        while let Some(found) = tasks.join_next().await {
            let (found, reserved) = match found.map_err(panicked)? {
                Ok(found) => found,
                Err(error) => {
                    // What the others hold is free before anything else is tried.
                    tasks.shutdown().await;
                    return Err(error);
                }
            };
            winners.iter_mut().zip(found).for_each(|(all, more)| all.extend(more));
            memory.push(reserved);
        }
        winners.iter_mut().for_each(|rows: &mut Vec<u64>| rows.sort_unstable());
        Ok((winners, memory))
    }

    /// Shares one after the other, each as large as memory allows.
    async fn one_by_one(self: &Arc<Self>, workers: u64, found: &Sender<Newest>) -> Result<()> {
        let mut shares = Vec::from(Share::WHOLE.halves());
        while let Some(share) = shares.pop() {
            let (mut winners, memory) = match self.clone().winners(share).await {
                Ok(winners) => winners,
                Err(error) if exhausted(&error) && share.of < MOST_PARTS => {
                    shares.extend(share.halves());
                    continue;
                }
                Err(error) => return Err(error),
            };
            winners.iter_mut().for_each(|rows| rows.sort_unstable());
            let listening = self.gather(winners, workers, found).await?;
            drop(memory);
            if !listening {
                break;
            }
        }
        Ok(())
    }

    /// Phase 1 for a share of the keys: for each file the rows that won, in no order.
    async fn winners(self: Arc<Self>, share: Share) -> Result<(Winners, MemoryReservation)> {
        let memory = MemoryConsumer::new(format!("newest rows of {}", self.snapshot.name)).register(&self.pool);
        let mut best = Best::new(&self.files, share.of, hasher());
        let mut taking = Taking { search: &self, share, best: &mut best, memory, later: Vec::new(), skipped: 0 };
        // Every worker reads the same rows: one of them tells how many there are.
        let tells = share.part == 0;
        if tells {
            self.seen.rows.store(0, Relaxed);
        }
        let options = ReadOptions { columns: Some(self.spec.ranked_columns()), ..ReadOptions::default() };
        let key_types = self.spec.keys.iter().map(|key| self.snapshot.field(key));
        let fields =
            key_types.map(|field| Ok(SortField::new(field?.data_type().clone()))).collect::<Result<Vec<_>>>()?;
        let converter = RowConverter::new(fields)?;
        for (index, file) in self.files.iter().enumerate() {
            let mut rows = read_file(&self.snapshot, file, &options)?;
            while let Some(found) = rows.try_next().await? {
                taking.take(index, &converter, &found.batch, &found.rows)?;
                if tells {
                    self.seen.rows.fetch_add(found.rows.len() as u64, Relaxed);
                }
            }
        }
        let Taking { memory, later, skipped, .. } = taking;
        if tells {
            self.seen.skipped.store(skipped, Relaxed);
        }
        let mut winners = best.winners();
        later.into_iter().for_each(|(file, row)| winners[file].push(row));
        Ok((winners, memory))
    }

    /// Phase 2: the payload of the winners; `false` when nobody listens any more.
    async fn gather(self: &Arc<Self>, winners: Winners, workers: u64, found: &Sender<Newest>) -> Result<bool> {
        let pieces = winners
            .iter()
            .enumerate()
            .flat_map(|(file, rows)| rows.chunks(PIECE_ROWS).map(move |rows| Piece { file, rows: rows.into() }));
        let pieces = Arc::new(Mutex::new(pieces.collect::<VecDeque<Piece>>()));
        drop(winners);
        let mut tasks = JoinSet::new();
        for _ in 0..workers {
            let (search, pieces, found) = (self.clone(), pieces.clone(), found.clone());
            tasks.spawn(async move {
                loop {
                    let next = pieces.lock().pop_front();
                    let Some(piece) = next else { return Ok(true) };
                    if !search.decode(piece, &found).await? {
                        return Ok::<bool, Error>(false);
                    }
                }
            });
        }
        let mut listening = true;
        while let Some(ended) = tasks.join_next().await {
            listening &= ended.map_err(panicked)??;
        }
        Ok(listening)
    }

    async fn decode(&self, piece: Piece, found: &Sender<Newest>) -> Result<bool> {
        let file = &self.files[piece.file];
        let options =
            ReadOptions { columns: Some(self.spec.columns()), rows: Some(piece.rows), ..ReadOptions::default() };
        let mut batches = read_file(&self.snapshot, file, &options)?;
        while let Some(read) = batches.try_next().await? {
            let batch = RecordBatch::try_new(self.schema.clone(), read.batch.columns().to_vec())?;
            if found.send(Newest { version: file.added_version, batch }).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Winners of one file.
struct Piece {
    file: usize,
    rows: Arc<[u64]>,
}

/// One worker's part of the first phase.
struct Taking<'a> {
    search: &'a Search,
    share: Share,
    best: &'a mut Best,
    memory: MemoryReservation,
    /// Rows that happen later than is asked for, by file.
    later: Vec<(usize, u64)>,
    skipped: u64,
}

impl Taking<'_> {
    fn take(&mut self, file: usize, converter: &RowConverter, batch: &RecordBatch, rows: &[u64]) -> Result<()> {
        let key_count = self.search.spec.keys.len();
        let keys: &[ArrayRef] = &batch.columns()[..key_count];
        let encoded = if key_count == 0 { None } else { Some(converter.convert_columns(keys)?) };
        let events = micros(batch.column(key_count))?;
        let created = batch.columns().get(key_count + 1).map(micros).transpose()?;
        let events = events.as_primitive::<TimestampMicrosecondType>();
        let created = created.as_ref().map(|times| times.as_primitive::<TimestampMicrosecondType>());
        for (at, &row) in rows.iter().enumerate() {
            if events.is_null(at) || keys.iter().any(|key| key.is_null(at)) {
                self.skipped += 1;
                continue;
            }
            let row_key = encoded.as_ref().map(|encoded| encoded.row(at));
            let key: &[u8] = row_key.as_ref().map_or(&[], AsRef::as_ref);
            let hash = self.best.hash(key);
            if !self.share.holds(hash) {
                continue;
            }
            if self.search.spec.until.is_some_and(|until| events.value(at) > until) {
                if self.search.spec.later {
                    self.later.push((file, row));
                    self.reserve(self.best.len(), key.len())?;
                }
                continue;
            }
            // A key of which all rows happen later is not met.
            if self.search.only.as_ref().is_some_and(|only| !only.meet(key)) {
                continue;
            }
            let candidate = Candidate {
                event: events.value(at),
                created: created.filter(|times| times.is_valid(at)).map(|times| times.value(at)),
                file,
                row,
            };
            let (memory, later) = (&self.memory, self.later.len());
            self.best.take(hash, key, candidate, |known| reserve(memory, known, key.len(), later))?;
        }
        Ok(())
    }

    fn reserve(&self, known: usize, key_bytes: usize) -> Result<()> {
        reserve(&self.memory, known, key_bytes, self.later.len())
    }
}

/// Reserves for one more key and the later rows, a good deal at a time.
fn reserve(memory: &MemoryReservation, known: usize, key_bytes: usize, later: usize) -> Result<()> {
    let wanted = (known + 1) * (ENTRY_BYTES + key_bytes) + later * size_of::<(usize, u64)>();
    if wanted > memory.size() {
        memory.try_grow((wanted - memory.size()).max(RESERVE_BYTES))?;
    }
    Ok(())
}

fn panicked(error: tokio::task::JoinError) -> Error {
    Error::Internal(format!("a search for the newest rows panicked: {error}"))
}

fn micros(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(cast(column, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?)
}

fn exhausted(error: &Error) -> bool {
    error.kind() == tidegate_schemas::error::ErrorKind::Exhausted
}

#[cfg(test)]
mod tests;
