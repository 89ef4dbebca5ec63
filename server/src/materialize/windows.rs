//! What is special about views whose features are windows: every event counts, and counts once.
//!
//! ```text
//! increments     pass over files that brought what was pushed: each event counted when it was pushed
//! a refresh      first the store begins, so that what is pushed from then on counts in the next epoch;
//!                then what was pushed before is brought to the table;
//!                then the version that this made is read, all events of it
//! ```
//! What was pushed to lookups alone is in no table: a refresh ends it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures::StreamExt;
use futures::future::BoxFuture;
use tidegate_offline::latest::Seen;
use tidegate_offline::table::Changes;
use tidegate_offline::table::read::{ReadOptions, read_file};
use tidegate_offline::table::snapshot::{DataFile, Snapshot};
use tidegate_online::{Counted, Load, Store, ViewId};
use tidegate_schemas::time::Micros;
use tokio::sync::mpsc;

use super::decide::{Work, everything};
use super::rows::{Columns, Observations};
use super::run::Job;
use crate::error::{Error, Result};

/// Begins a refresh of a view, brings all that was pushed before to its table, and gives the version that has that and nothing of
/// what was pushed since.
pub type Settle = Arc<dyn Fn(Begin) -> BoxFuture<'static, Result<(Load, i64)>> + Send + Sync>;

/// A refresh that is to begin.
#[derive(Debug, Clone)]
pub struct Begin {
    store: Arc<Store>,
    view: ViewId,
    target: i64,
    now: Micros,
}

impl Begin {
    /// Begins it. From here on what is pushed counts in the next epoch. May wait for the disk.
    ///
    /// # Errors
    /// As [`Store::begin_full`].
    pub fn begin(&self) -> Result<Load> {
        Ok(self.store.begin_full(self.view, self.target, self.now)?)
    }
}

/// The files of an increment that a windowed view has yet to count, or `None` where it has counted some of a file's rows and not
/// others.
pub(super) fn uncounted(store: &Store, changes: Changes) -> Option<Vec<DataFile>> {
    let mut counted = HashSet::new();
    for chunk in &changes.chunks {
        match store.counted(&chunk.application, chunk.first, chunk.last) {
            Counted::All => drop(counted.insert(chunk.version)),
            Counted::None => {}
            Counted::Some => return None,
        }
    }
    Some(changes.added.into_iter().filter(|file| !counted.contains(&file.added_version)).collect())
}

impl Job {
    /// Begins the rebuild of a windowed view, and says what to read.
    pub(super) async fn begin_windows(&self, known: &Work, now: Micros) -> Result<(Load, Work)> {
        let begin = Begin { store: self.store.clone(), view: self.id, target: known.target(), now };
        let (load, version) = match &self.settle {
            Some(settle) => settle(begin).await.map(|(load, version)| (load, Some(version)))?,
            // Nobody pushes to a table that is only read.
            None => (blocking(move || begin.begin()).await?, None),
        };
        let snapshot = self.table.snapshot(version).await?;
        self.columns.expect_of(&snapshot)?;
        Ok((load, everything(snapshot)))
    }
}

/// Runs what may wait for the disk.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal("a refresh could not begin").with_source(error))?
}

/// Sends all events of some files with the version that added them, in the form that `form` gives them; ends early when nobody takes
/// more.
///
/// # Errors
/// Files that can't be read, values that no longer fit the definitions.
pub(crate) async fn events<T: Send>(
    snapshot: &Arc<Snapshot>,
    files: &[DataFile],
    columns: &Columns,
    seen: &Seen,
    form: fn(i64, Observations) -> T,
    out: &mpsc::Sender<T>,
) -> Result<()> {
    let options = ReadOptions { columns: Some(columns.names()), ..ReadOptions::default() };
    for file in files {
        let mut batches = read_file(snapshot, file, &options)?;
        while let Some(batch) = batches.next().await {
            let batch = batch?.batch;
            let observations = columns.read(&batch)?;
            seen.rows.fetch_add(batch.num_rows() as u64, Relaxed);
            seen.skipped.fetch_add(observations.skipped, Relaxed);
            if out.send(form(file.added_version, observations)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
