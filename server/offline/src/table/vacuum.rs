//! Deleting the files that compactions and rewrites left behind.
//!
//! Delta's own vacuum finds them; nothing is committed, so the table keeps its version. Files that no version names, of
//! appends that broke off, go as well once they are old enough not to belong to one that is under way.

use std::collections::BTreeSet;

use chrono::Duration;
use deltalake::operations::vacuum::{Clock, VacuumMode};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt as _};
use tidegate_schemas::failpoint::{Failpoint, reach};
use tidegate_schemas::time::Micros;

use super::delta::{DeltaSource, delta_error};
use crate::error::{Error, Result};

/// A write is not under way for longer.
const WRITE_MICROS: Micros = 3_600_000_000;

/// What a vacuum leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vacuum {
    /// The time, in UTC microseconds.
    pub now: Micros,
    /// Files that were live so many microseconds ago or later stay.
    pub older_than: Micros,
    /// Versions whose files stay.
    pub keep: BTreeSet<i64>,
    /// Deletes nothing.
    pub dry_run: bool,
}

/// What a vacuum deleted, or would have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vacuumed {
    /// The newest version.
    pub version: i64,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

#[derive(Debug)]
struct At(Micros);

impl Clock for At {
    fn current_timestamp_millis(&self) -> i64 {
        self.0.div_euclid(1_000)
    }
}

pub(super) async fn vacuum(table: &DeltaSource, vacuum: &Vacuum) -> Result<Vacuumed> {
    if !table.writable() {
        return Err(Error::ReadOnly { table: table.name().to_owned() });
    }
    // The files of a compaction that is under way are not the table's yet.
    let _one = table.compacting.lock().await;
    let (delta, snapshot) = table.newest().await?;
    let keep: Vec<u64> = vacuum.keep.iter().filter_map(|version| u64::try_from(*version).ok()).collect();
    let mode = if vacuum.older_than >= WRITE_MICROS { VacuumMode::Full } else { VacuumMode::Lite };
    let plan = delta
        .vacuum()
        .with_mode(mode)
        .with_retention_period(Duration::microseconds(vacuum.older_than))
        .with_enforce_retention_duration(false)
        .with_keep_versions(&keep)
        .with_clock(std::sync::Arc::new(At(vacuum.now)))
        .with_dry_run(true);
    let (_, plan) = plan.await.map_err(|error| delta_error(table.name(), "looking for old files", error))?;
    let mut done = Vacuumed { version: snapshot.version, files: 0, bytes: 0 };
    for path in plan.files_deleted {
        done.add(table, &path, vacuum.dry_run).await?;
    }
    Ok(done)
}

impl Vacuumed {
    /// Deletes a file that is still there.
    async fn add(&mut self, table: &DeltaSource, path: &str, dry_run: bool) -> Result<()> {
        let failed = |source| Error::Storage { table: table.name().to_owned(), doing: "deleting old files", source };
        let path = Path::parse(path).map_err(|source| failed(source.into()))?;
        let found = match table.store().head(&path).await {
            Err(StoreError::NotFound { .. }) => return Ok(()),
            found => found.map_err(failed)?,
        };
        if !dry_run {
            table.store().delete(&path).await.map_err(failed)?;
            reach(Failpoint::MidVacuum);
        }
        (self.files, self.bytes) = (self.files + 1, self.bytes + found.size);
        Ok(())
    }
}
