//! Backups beside the running server.
//!
//! ```text
//! outboxes   held: no pushed row goes to its table
//!   checkpoint of the online tier
//!   records    definitions, receipts, what sealed sets are
//!   tables     their files are held: no compaction and no vacuum until the end
//!   commits    of all tables, those that queries fill before those that they read
//! the other files
//! ```
//! So no table of a backup has a pushed row, or a topic's message, that its online tier does not know of: what comes again after a
//! restore is taken once. Where tables are newer than the online tier all the same, rows were ingested, and its cursors tell.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::stream::BoxStream;
use tidegate_offline::table::HeldFiles;
use tidegate_online::Checkpointed;
use tidegate_schemas::definition::{Location, Source};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::failpoint::{Failpoint, reach};

use crate::backup::copy::{Target, sync_folders};
use crate::backup::{self, BackedUpTable, BackedUpView, MANIFEST, Manifest, ONLINE, RECORDS, TABLES};
use crate::service::erase::blocking;
use crate::service::work::Reports;
use crate::service::{Error, Principal, Result, Tidegate};
use crate::shutdown::Registration;

/// Longest name of a backup.
const NAME_BYTES_MAX: usize = 100;

/// A backup to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRequest {
    /// The folder's name, below `backup.folder` of the settings; empty: one is made of the time.
    pub name: String,
    /// Leave managed tables out.
    pub online_only: bool,
}

/// How far a backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupProgress {
    /// Files and bytes so far.
    Copied {
        /// Files.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// It is whole; the last report.
    Done {
        /// Where it is, on the server.
        path: PathBuf,
        /// What is in it.
        manifest: Box<Manifest>,
    },
}

/// A backup under way.
struct Work {
    service: Arc<Tidegate>,
    /// Where it is put together.
    half: PathBuf,
    /// Where it goes when it is whole.
    whole: PathBuf,
    manifest: Manifest,
    reports: Reports<BackupProgress>,
    registration: Registration,
}

impl Tidegate {
    /// Makes a backup of the data folder as of now: the online tier with its cursors, definitions, sealed sets, receipts, and,
    /// unless they are left out, managed tables. Reads and writes go on. The stream's last report says where it is.
    ///
    /// # Errors
    /// `Invalid` for a name that can't be a folder's, `AlreadyExists` for one that is taken; `Precondition` while a backup or an
    /// erasure is under way; `Exhausted` where the disk is full.
    pub async fn backup(
        self: &Arc<Self>,
        principal: &Principal,
        request: BackupRequest,
    ) -> Result<BoxStream<'static, Result<BackupProgress>>> {
        let now = self.clock.now();
        let name = if request.name.is_empty() { format!("tidegate-{now}") } else { request.name };
        check_name(&name)?;
        let folder = self.backup_folder();
        let (whole, half) = (folder.join(&name), self.half_backup());
        if whole.exists() {
            let message = format!("there is a backup {} already; choose another name", whole.display());
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        tracing::info!(principal = principal.name(), name, online_only = request.online_only, "backup");
        let mut manifest = Manifest::new(now, env!("CARGO_PKG_VERSION"));
        manifest.with_tables = !request.online_only;
        let service = self.clone();
        self.alone(format!("backup {name}"), move |reports, registration| async move {
            Work { service, half, whole, manifest, reports, registration }.run().await
        })
    }

    /// Where a backup is put together: one folder for all of this server's, so that what one that was cut short left is found.
    fn half_backup(&self) -> PathBuf {
        self.backup_folder().join(format!(".{}.half", self.online.identity()))
    }

    /// Deletes what a backup that was cut short left.
    ///
    /// # Errors
    /// It can't be deleted.
    pub(in crate::service) async fn remove_half_backup(&self) -> Result<()> {
        let half = self.half_backup();
        blocking(move || match std::fs::remove_dir_all(&half) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unwritable(&half, error)),
            _ => Ok(()),
        })
        .await
    }

    fn backup_folder(&self) -> PathBuf {
        match self.settings.backup.folder.as_os_str().is_empty() {
            true => self.settings.server.data_dir.join("backups"),
            false => self.settings.backup.folder.clone(),
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if plain && starts && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "`{name}` can't name a backup: use letters, digits, `_`, `-` and `.`, at most {NAME_BYTES_MAX}, and start with a letter or \
         digit; where backups go is the server's setting `backup.folder`"
    )))
}

impl Work {
    async fn run(mut self) -> Result<()> {
        self.service.remove_half_backup().await?;
        let half = self.half.clone();
        blocking(move || std::fs::create_dir_all(&half).map_err(|error| unwritable(&half, error))).await?;
        let done = self.fill().await;
        if done.is_err() {
            let _ = self.service.remove_half_backup().await;
        }
        done
    }

    async fn fill(&mut self) -> Result<()> {
        // Who compacts is waited for before pushes wait.
        drop(self.hold().await?);
        let outboxes = self.service.pushes.hold_outboxes().await;
        self.checkpoint().await?;
        reach(Failpoint::MidBackup);
        for name in RECORDS {
            self.bring(name.into(), is_json).await?;
        }
        let held = self.hold().await?;
        self.commits().await?;
        drop(outboxes);
        self.know_online().await?;
        for name in RECORDS {
            self.bring(name.into(), |path| !is_json(path)).await?;
        }
        if self.manifest.with_tables {
            self.bring(TABLES.into(), |path| !is_commit(path)).await?;
        }
        drop(held);
        let (half, whole, manifest) = (self.half.clone(), self.whole.clone(), self.manifest.clone());
        blocking(move || {
            let path = half.join(MANIFEST);
            let write = || {
                std::fs::write(&path, manifest.encode())?;
                std::fs::File::open(&path)?.sync_all()
            };
            write().map_err(|error| unwritable(&half, error))?;
            sync_folders(&half)?;
            reach(Failpoint::BeforeBackupName);
            std::fs::rename(&half, &whole).map_err(|error| unwritable(&whole, error))?;
            if let Some(parent) = whole.parent() {
                std::fs::File::open(parent)
                    .and_then(|folder| folder.sync_all())
                    .map_err(|error| unwritable(parent, error))?;
            }
            Ok(())
        })
        .await?;
        let (path, manifest) = (self.whole.clone(), Box::new(self.manifest.clone()));
        self.reports.send(BackupProgress::Done { path, manifest }).await;
        Ok(())
    }

    /// The checkpoint. What rows were computed from is copied before it: an older record makes a view start over, a newer one would
    /// vouch for rows that mean something else.
    async fn checkpoint(&mut self) -> Result<()> {
        let (store, half) = (self.service.online.clone(), self.half.clone());
        let checkpoint: Checkpointed = blocking(move || {
            let beside: Vec<PathBuf> = std::fs::read_dir(store.path())
                .map_err(|error| unwritable(store.path(), error))?
                .filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())))
                .filter(|name| name.extension().is_some_and(|extension| extension == "json"))
                .collect();
            let kept = half.join(ONLINE).with_extension("before");
            let copied = |name: &PathBuf| {
                std::fs::create_dir_all(&kept)?;
                std::fs::copy(store.path().join(name), kept.join(name))
            };
            beside.iter().try_for_each(|name| copied(name).map(drop)).map_err(|error| unwritable(&kept, error))?;
            let checkpoint = store.checkpoint(&half.join(ONLINE))?;
            for name in &beside {
                let (from, to) = (kept.join(name), half.join(ONLINE).join(name));
                std::fs::rename(&from, &to).map_err(|error| unwritable(&to, error))?;
            }
            if !beside.is_empty() {
                std::fs::remove_dir(&kept).map_err(|error| unwritable(&kept, error))?;
            }
            Ok(checkpoint)
        })
        .await?;
        self.manifest.store = checkpoint.identity;
        self.manifest.sequence = checkpoint.sequence;
        self.manifest.views = self.cursors();
        Ok(())
    }

    /// Digests the checkpoint's files.
    async fn know_online(&mut self) -> Result<()> {
        let (half, told) = (self.half.clone(), self.told());
        let files = blocking(move || {
            let target = Target { folder: &half, told: &told };
            let listed = backup::copy::listed(&half, Path::new(ONLINE))?;
            Ok(listed.iter().map(|path| target.known(path)).collect::<backup::Result<Vec<_>>>()?)
        })
        .await?;
        self.manifest.files.extend(files);
        Ok(())
    }

    /// How far views have come: at least what the checkpoint has.
    fn cursors(&self) -> Vec<BackedUpView> {
        let mut views = Vec::new();
        for (project, view) in self.service.online.view_names() {
            let id = self.service.online.find(&project, &view);
            let cursor = id.and_then(|id| self.service.online.cursor(id).ok().flatten());
            views.extend(cursor.map(|cursor| BackedUpView { project, view, version: cursor.version }));
        }
        views
    }

    /// The tables of the data folder that the backup is to have.
    fn written(&self) -> Vec<(String, Arc<Source>)> {
        let mut written = Vec::new();
        for project in self.service.registry.known().into_iter().filter(|_| self.manifest.with_tables) {
            let Some(known) = self.service.registry.cached(&project) else { continue };
            let there = |source: &&Arc<Source>| {
                matches!(source.location, Location::Managed | Location::Query(_))
                    && self.service.tables.is_there(&project, source)
            };
            written
                .extend(known.catalog.sources.values().filter(there).map(|source| (project.clone(), source.clone())));
        }
        written
    }

    /// Keeps the files of those tables, and of those that queries fill, until it is dropped.
    async fn hold(&self) -> Result<Vec<HeldFiles>> {
        let mut held = Vec::new();
        for (project, source) in self.written() {
            let table = match source.location {
                Location::Query(_) => self.service.tables.to_fill(&project, &source, &[]).await?,
                _ => self.service.tables.open(&project, &source).await?,
            };
            held.extend(table.hold_files().await);
        }
        Ok(held)
    }

    /// The commits of all tables, and which version of the managed ones they make at least.
    async fn commits(&mut self) -> Result<()> {
        for project in self.service.registry.known() {
            let Some(known) = self.service.registry.cached(&project) else { continue };
            for source in known.catalog.sources.values() {
                if let Location::Delta(place) | Location::Parquet(place) = &source.location {
                    self.manifest.outside.push(format!("{project}/{}: {place}", source.name));
                }
            }
        }
        if !self.manifest.with_tables {
            return Ok(());
        }
        let mut managed = self.written();
        managed.retain(|(_, source)| source.location == Location::Managed);
        for (project, source) in &managed {
            let table = self.service.tables.open(project, source).await?;
            let version = table.snapshot(None).await?.version;
            let (project, source) = (project.clone(), source.name.clone());
            self.manifest.tables.push(BackedUpTable { project, source, version });
        }
        let folders: Vec<PathBuf> =
            managed.iter().map(|(project, source)| Path::new(TABLES).join(project).join(&source.name)).collect();
        let others = folders.clone();
        let is_other = move |path: &Path| is_commit(path) && !others.iter().any(|folder| path.starts_with(folder));
        self.bring(TABLES.into(), is_other).await?;
        for folder in folders {
            self.bring(folder, is_commit).await?;
        }
        Ok(())
    }

    async fn bring(&mut self, name: PathBuf, chosen: impl Fn(&Path) -> bool + Send + 'static) -> Result<()> {
        if self.registration.is_stopping() {
            return Err(Error::new(ErrorKind::Unavailable, "the server stops, and nothing of the backup is kept"));
        }
        let (data, half, told) = (self.data(), self.half.clone(), self.told());
        let files = blocking(move || {
            let mut files = Vec::new();
            Target { folder: &half, told: &told }.bring(&data, &name, chosen, &mut files)?;
            Ok(files)
        })
        .await?;
        self.manifest.files.extend(files);
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.service.settings.server.data_dir.clone()
    }

    /// Counts from what was brought before.
    fn told(&self) -> impl Fn(u64) + Send + 'static {
        let (reports, files, bytes) = (self.reports.clone(), self.manifest.files.len() as u64, self.manifest.bytes());
        let so_far = parking_lot::Mutex::new((files, bytes));
        move |more| {
            let mut so_far = so_far.lock();
            so_far.0 += 1;
            so_far.1 += more;
            reports.try_send(BackupProgress::Copied { files: so_far.0, bytes: so_far.1 });
        }
    }
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

fn is_commit(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "_delta_log")
}

fn unwritable(path: &Path, source: std::io::Error) -> Error {
    let kind = match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("the backup can't be written at {}; check its space and permissions", path.display()))
        .with_source(source)
}

impl From<backup::Error> for Error {
    fn from(error: backup::Error) -> Self {
        match error {
            backup::Error::Io { path, source, .. } => unwritable(&path, source),
            other => Self::new(ErrorKind::Unavailable, other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
