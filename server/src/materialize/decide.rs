//! What a view needs: nothing, the files added since its cursor, or everything.

use std::sync::Arc;

use tidegate_offline::table::snapshot::{DataFile, Snapshot};
use tidegate_online::{Cursor, Progress};

use super::run::Job;
use super::windows;
use crate::service::Result;

/// Files to read, in address order, and where to begin.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) files: Vec<DataFile>,
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
}

/// The next thing to do, or `None` when the view is at the table's newest version.
///
/// Of a windowed view the snapshot of a rebuild is what it is now: what is read is settled once the rebuild has begun.
pub(super) async fn next(job: &Job, full: bool) -> Result<Option<Work>> {
    let Job { store, table, .. } = job;
    let view = job.id;
    let newest = table.snapshot(None).await?;
    let cursor = store.cursor(view)?;
    let left = store.progress(view)?;
    // A rebuild that was interrupted begins anew.
    let full = full || left.is_some_and(|progress| progress.full);
    // Rows were written before the view had its present features, or for a table that has gone back since.
    let usable = |cursor: &Cursor| !full && cursor.layout_current && cursor.version <= newest.version;
    let Some(cursor) = cursor.filter(usable) else {
        return Ok(Some(everything(newest)));
    };
    if let Some(progress) = left.filter(|progress| cursor.version < progress.target_version)
        && let Ok(snapshot) = table.snapshot(Some(progress.target_version)).await
    {
        return Ok(Some(since(job, cursor.version, snapshot, Some(progress), newest).await?));
    }
    if cursor.version == newest.version {
        return Ok(None);
    }
    Ok(Some(since(job, cursor.version, newest.clone(), None, newest).await?))
}

async fn since(
    job: &Job,
    cursor: i64,
    target: Arc<Snapshot>,
    resume: Option<Progress>,
    newest: Arc<Snapshot>,
) -> Result<Work> {
    let changes = job.table.added_since(cursor, target.version).await?;
    if changes.rewritten {
        return Ok(everything(newest));
    }
    let files = match job.columns.is_windowed() {
        true => windows::uncounted(&job.store, changes),
        false => Some(changes.files),
    };
    Ok(match files {
        Some(files) => Work { snapshot: target, files, full: false, resume },
        None => everything(newest),
    })
}

pub(super) fn everything(snapshot: Arc<Snapshot>) -> Work {
    Work { files: snapshot.files.clone(), snapshot, full: true, resume: None }
}
