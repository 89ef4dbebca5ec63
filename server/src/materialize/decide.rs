//! What a view needs: nothing, what came since its cursor, or everything.

use std::sync::Arc;

use tidegate_offline::latest::Keys;
use tidegate_offline::table::snapshot::{DataFile, Snapshot};
use tidegate_offline::table::{Changes, Since};
use tidegate_online::{Cursor, Progress};

use super::rewrite::Rewrite;
use super::run::Job;
use super::windows;
use crate::error::Result;

/// Rows that may be looked at again whatever the table's size: reading keys of few files costs little.
const ROWS_FEW: u64 = 10_000;

/// Beyond this share of the table's rows, reading all of it is less work.
const SHARE_MAX: f64 = 0.25;

/// Most keys put right in one go.
const KEYS_MAX: usize = 4_000_000;

/// Files to read, in address order, keys to put right, and where to begin.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) files: Vec<DataFile>,
    /// Keys of rows that were removed or changed.
    pub(super) keys: Option<Keys>,
    /// Rebuild in a new epoch.
    pub(super) full: bool,
    /// What an interrupted run left behind.
    pub(super) resume: Option<Progress>,
}

impl Work {
    /// The table version that is reached.
    pub(super) fn target(&self) -> i64 {
        self.snapshot.version
    }

    /// Rows of the files, as far as the log says.
    pub(super) fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows.unwrap_or(0)).sum()
    }

    /// Bytes of the files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// The next thing to do, or `None` when the view is at the table's newest version.
///
/// Of a windowed view the snapshot of a rebuild is what it is now: what is read is settled once the rebuild has begun.
pub(super) async fn next(job: &Job, full: bool) -> Result<Option<Work>> {
    let newest = job.table.snapshot(None).await?;
    let left = job.store.progress(job.id)?;
    // A rebuild that was interrupted begins anew.
    let full = full || left.is_some_and(|progress| progress.full);
    // Rows may have been written before the view had its present features.
    let usable = |cursor: &Cursor| !full && cursor.layout_current;
    let Some(cursor) = job.store.cursor(job.id)?.filter(usable) else {
        return Ok(Some(everything(newest)));
    };
    if let Some(rewrite) = replaced(job, cursor.version, &newest)? {
        return rebuild(job, cursor.version, &rewrite, newest).map(Some);
    }
    if let Some(progress) = left.filter(|progress| cursor.version < progress.target_version) {
        match resumable(job, &progress).await? {
            Some(snapshot) => return Ok(Some(since(job, cursor.version, snapshot, Some(progress), newest).await?)),
            // Some events are counted, and nothing tells any more which.
            None if job.columns.is_windowed() => return Ok(Some(everything(newest))),
            None => {}
        }
    }
    if cursor.version == newest.version {
        return Ok(None);
    }
    Ok(Some(since(job, cursor.version, newest.clone(), None, newest).await?))
}

/// Whether the cursor counts the versions of another table, or of one that has gone back since.
fn replaced(job: &Job, cursor: i64, newest: &Snapshot) -> Result<Option<Rewrite>> {
    let noted = job.store.table_of(job.id)?;
    if noted.is_some() && noted != newest.id {
        return Ok(Some(Rewrite::Replaced));
    }
    Ok((cursor > newest.version).then_some(Rewrite::WentBack { newest: newest.version }))
}

/// The version that an interrupted run went for, while all it would read is there.
async fn resumable(job: &Job, left: &Progress) -> Result<Option<Arc<Snapshot>>> {
    match job.table.snapshot(Some(left.target_version)).await {
        Ok(snapshot) => Ok(snapshot.is_whole().await?.then_some(snapshot)),
        Err(tidegate_offline::Error::VersionMissing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn since(
    job: &Job,
    cursor: i64,
    target: Arc<Snapshot>,
    resume: Option<Progress>,
    newest: Arc<Snapshot>,
) -> Result<Work> {
    let changes = match job.table.changes(cursor, target.version).await? {
        Since::Known(changes) => changes,
        Since::Lost(lost) => return rebuild(job, cursor, &lost.into(), newest),
    };
    if job.columns.is_windowed() {
        if !changes.removed.is_empty() {
            return rebuild(job, cursor, &Rewrite::Counted, newest);
        }
        return Ok(match windows::uncounted(&job.store, changes) {
            Some(files) => Work { snapshot: target, files, keys: None, full: false, resume },
            None => everything(newest),
        });
    }
    if changes.removed.is_empty() {
        return Ok(Work { snapshot: target, files: changes.added, keys: None, full: false, resume });
    }
    // A row that waits and was removed must not come: a rebuild sets anew what waits.
    if job.store.table_rows_wait(job.id)? {
        return Ok(everything(newest));
    }
    match keys(job, &target, &changes).await? {
        Ok(keys) => Ok(Work { snapshot: target, files: changes.added, keys: Some(keys), full: false, resume }),
        Err(rewrite) => rebuild(job, cursor, &rewrite, newest),
    }
}

/// The keys of removed rows.
async fn keys(job: &Job, target: &Arc<Snapshot>, changes: &Changes) -> Result<std::result::Result<Keys, Rewrite>> {
    let removed = changes.rows_removed();
    let most = (target.rows().unwrap_or(u64::MAX) as f64 * SHARE_MAX) as u64;
    if removed > most.max(ROWS_FEW) {
        return Ok(Err(Rewrite::Large { rows: removed }));
    }
    let (plans, target, spec, removed) =
        (job.plans.clone(), target.clone(), job.columns.latest(job.clock.now(), false), changes.removed.clone());
    let on = job.plans.clone();
    let found = on.run(async move { Keys::of(&plans, &target, &removed, &spec, KEYS_MAX).await }).await;
    match found {
        Ok(Some(keys)) => Ok(Ok(keys)),
        Ok(None) => Ok(Err(Rewrite::Large { rows: KEYS_MAX as u64 })),
        Err(tidegate_offline::Error::FileMissing { file, .. }) => {
            Ok(Err(Rewrite::Vacuumed { what: format!("data file {file} is gone") }))
        }
        Err(error) => Err(error.into()),
    }
}

/// Everything, if the source allows it.
fn rebuild(job: &Job, cursor: i64, rewrite: &Rewrite, newest: Arc<Snapshot>) -> Result<Work> {
    rewrite.settle(&job.view, job.table.name(), cursor, job.on_rewrite)?;
    Ok(everything(newest))
}

pub(super) fn everything(snapshot: Arc<Snapshot>) -> Work {
    Work { files: snapshot.files.clone(), snapshot, keys: None, full: true, resume: None }
}
