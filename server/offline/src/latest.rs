//! The newest observation of each key: what a full materialization loads, and what a correction is recomputed from.
//!
//! Two phases, as in the point-in-time join: keys and times of all rows are streamed and a map keeps each key's best rank and
//! where it was found; then the payload of the winners alone is decoded, file by file. When the pool grants too little memory
//! for the map, the keys are split in two by hash and each half is taken in a pass of its own, and so on.
//!
//! A correction asks for some [`Keys`] only, and learns which of them have no row any more.

mod best;
mod keys;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use futures::TryStreamExt;
use tidegate_schemas::time::Micros;
use tokio::sync::mpsc::Sender;

use best::{Best, Candidate, ENTRY_BYTES};
pub use keys::Keys;

use crate::error::{Error, Result};
use crate::runtime::Runtime;
use crate::table::read::{ReadOptions, read_file, schema_of};
use crate::table::snapshot::{DataFile, Snapshot};

/// Most parts the keys are split into.
const MOST_PARTS: u64 = 4096;

/// Memory is reserved this many bytes at a time.
const RESERVE_BYTES: usize = 1 << 20;

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
/// handed over among the others. Order: by file, then by row, within each pass. Memory: keys and ranks of the
/// distinct keys, reserved in the pool; beyond what the pool grants, the keys are taken in several passes. It ends early, without
/// an error, when nobody takes what it finds.
///
/// # Errors
/// A column the snapshot lacks, unreadable files, not enough memory for even a share of the keys.
pub async fn latest(
    runtime: &Runtime,
    snapshot: &Arc<Snapshot>,
    files: &[DataFile],
    spec: &Spec,
    found: Sender<Newest>,
    seen: &Seen,
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
    keys: &mut Keys,
    found: Sender<Newest>,
    seen: &Seen,
) -> Result<()> {
    search(runtime, snapshot, &snapshot.files, spec, Some(keys), found, seen).await
}

async fn search(
    runtime: &Runtime,
    snapshot: &Arc<Snapshot>,
    files: &[DataFile],
    spec: &Spec,
    only: Option<&mut Keys>,
    found: Sender<Newest>,
    seen: &Seen,
) -> Result<()> {
    let options = ReadOptions { columns: Some(spec.columns()), ..ReadOptions::default() };
    let schema = schema_of(snapshot, &options)?;
    for time in [Some(&spec.event_time), spec.created_time.as_ref()].into_iter().flatten() {
        require_time(snapshot, time)?;
    }
    let memory = MemoryConsumer::new(format!("newest rows of {}", snapshot.name)).register(runtime.memory_pool());
    let (later, later_rows) = (Vec::new(), 0);
    Search { snapshot, files, spec, schema, only, memory, seen, later, later_rows }.run(found).await
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
    fn holds(self, key: &[u8]) -> bool {
        self.of == 1 || hash(key) % self.of == self.part
    }

    fn halves(self) -> [Self; 2] {
        [Self { part: self.part, of: self.of * 2 }, Self { part: self.part + self.of, of: self.of * 2 }]
    }
}

fn hash(key: &[u8]) -> u64 {
    let [a, b, c, d] = PART_SEEDS;
    ahash::RandomState::with_seeds(a, b, c, d).hash_one(key)
}

struct Search<'a> {
    snapshot: &'a Arc<Snapshot>,
    files: &'a [DataFile],
    spec: &'a Spec,
    schema: SchemaRef,
    /// The keys to look for; `None` for all.
    only: Option<&'a mut Keys>,
    memory: MemoryReservation,
    seen: &'a Seen,
    /// For each file the rows that happen later than is asked for.
    later: Vec<Vec<u64>>,
    later_rows: usize,
}

impl Search<'_> {
    async fn run(mut self, found: Sender<Newest>) -> Result<()> {
        let mut shares = vec![Share { part: 0, of: 1 }];
        while let Some(share) = shares.pop() {
            let winners = match self.winners(share).await {
                Ok(winners) => winners,
                Err(error) if exhausted(&error) && share.of < MOST_PARTS => {
                    self.memory.free();
                    shares.extend(share.halves());
                    continue;
                }
                Err(error) => return Err(error),
            };
            let listening = self.gather(winners, &found).await?;
            self.memory.free();
            if !listening {
                break;
            }
        }
        Ok(())
    }

    /// Phase 1: for each file the rows that won, ascending.
    async fn winners(&mut self, share: Share) -> Result<Vec<Vec<u64>>> {
        let (mut best, mut skipped) = (Best::new(self.files), 0);
        (self.later, self.later_rows) = (vec![Vec::new(); self.files.len()], 0);
        self.seen.rows.store(0, Relaxed);
        let columns = self.spec.ranked_columns();
        let options = ReadOptions { columns: Some(columns), ..ReadOptions::default() };
        let key_types = self.spec.keys.iter().map(|key| self.snapshot.field(key));
        let fields =
            key_types.map(|field| Ok(SortField::new(field?.data_type().clone()))).collect::<Result<Vec<_>>>()?;
        let converter = RowConverter::new(fields)?;
        for index in 0..self.files.len() {
            let mut rows = read_file(self.snapshot, &self.files[index], &options)?;
            while let Some(found) = rows.try_next().await? {
                skipped += self.take(&mut best, share, index, &converter, &found.batch, &found.rows)?;
                self.seen.rows.fetch_add(found.rows.len() as u64, Relaxed);
            }
        }
        self.seen.skipped.store(skipped, Relaxed);
        let mut winners = best.winners();
        winners.iter_mut().zip(std::mem::take(&mut self.later)).for_each(|(rows, later)| rows.extend(later));
        winners.iter_mut().for_each(|rows| rows.sort_unstable());
        Ok(winners)
    }

    fn take(
        &mut self,
        best: &mut Best<'_>,
        share: Share,
        index: usize,
        converter: &RowConverter,
        batch: &RecordBatch,
        rows: &[u64],
    ) -> Result<u64> {
        let key_count = self.spec.keys.len();
        let keys: &[ArrayRef] = &batch.columns()[..key_count];
        let encoded = if key_count == 0 { None } else { Some(converter.convert_columns(keys)?) };
        let events = micros(batch.column(key_count))?;
        let created = batch.columns().get(key_count + 1).map(micros).transpose()?;
        let events = events.as_primitive::<TimestampMicrosecondType>();
        let created = created.as_ref().map(|times| times.as_primitive::<TimestampMicrosecondType>());
        let mut skipped = 0;
        for (at, &row) in rows.iter().enumerate() {
            if events.is_null(at) || keys.iter().any(|key| key.is_null(at)) {
                skipped += 1;
                continue;
            }
            let row_key = encoded.as_ref().map(|encoded| encoded.row(at));
            let key: &[u8] = row_key.as_ref().map_or(&[], AsRef::as_ref);
            if !share.holds(key) {
                continue;
            }
            if self.spec.until.is_some_and(|until| events.value(at) > until) {
                if self.spec.later {
                    self.later[index].push(row);
                    self.later_rows += 1;
                    self.reserve(best.len(), key.len())?;
                }
                continue;
            }
            // A key of which all rows happen later is not met.
            if self.only.as_mut().is_some_and(|only| !only.meet(key)) {
                continue;
            }
            let candidate = Candidate {
                event: events.value(at),
                created: created.filter(|times| times.is_valid(at)).map(|times| times.value(at)),
                file: index,
                row,
            };
            best.take(key, candidate, |known| self.reserve(known, key.len()))?;
        }
        Ok(skipped)
    }

    /// Reserves for one more key, a good deal at a time.
    fn reserve(&mut self, known: usize, key_bytes: usize) -> Result<()> {
        let wanted = (known + 1) * (ENTRY_BYTES + key_bytes) + self.later_rows * size_of::<u64>();
        if wanted > self.memory.size() {
            self.memory.try_grow((wanted - self.memory.size()).max(RESERVE_BYTES))?;
        }
        Ok(())
    }

    /// Phase 2: the payload of the winners; `false` when nobody listens any more.
    async fn gather(&self, winners: Vec<Vec<u64>>, found: &Sender<Newest>) -> Result<bool> {
        for (file, rows) in self.files.iter().zip(winners) {
            if rows.is_empty() {
                continue;
            }
            let options =
                ReadOptions { columns: Some(self.spec.columns()), rows: Some(rows.into()), ..ReadOptions::default() };
            let mut batches = read_file(self.snapshot, file, &options)?;
            while let Some(read) = batches.try_next().await? {
                let batch = RecordBatch::try_new(self.schema.clone(), read.batch.columns().to_vec())?;
                if found.send(Newest { version: file.added_version, batch }).await.is_err() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

fn micros(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(cast(column, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?)
}

fn exhausted(error: &Error) -> bool {
    error.kind() == tidegate_schemas::error::ErrorKind::Exhausted
}

#[cfg(test)]
mod tests;
