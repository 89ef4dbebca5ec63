//! The registry: every version of every project's definitions, numbered and never changed.
//!
//! A version is one file, `<project>/<number>.json` ([`record`] draws it), written with put-if-absent: whoever writes number n + 1
//! first wins, and the others are told to plan again. No version is ever rewritten or removed. Readers hold the newest catalog
//! as an `Arc` ([`Registry::cached`]) that is swapped when a newer version is found, whoever wrote it ([`Registry::refresh`]).
//!
//! A damaged file is an error that names it and breaks its own project only.

mod error;
mod record;

pub use error::Error;
pub use record::{About, Record};

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use parking_lot::RwLock;
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::time::Micros;

/// Result of the registry.
pub type Result<T> = std::result::Result<T, Error>;

/// The newest known version of a project.
#[derive(Debug)]
pub struct Versioned {
    /// The version's number.
    pub version: u64,
    /// Its definitions.
    pub catalog: Catalog,
}

/// A version to be written.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// The version it is made from; 0 for a new project. The write succeeds only while this is the newest.
    pub base: u64,
    /// The definitions.
    pub catalog: Catalog,
    /// Who makes it.
    pub principal: String,
    /// Why.
    pub cause: String,
    /// One line for each change.
    pub changes: Vec<String>,
    /// When.
    pub now: Micros,
}

/// All projects' versions.
#[derive(Debug)]
pub struct Registry {
    store: Arc<dyn ObjectStore>,
    /// For messages: where the store's files are.
    root: String,
    /// Where the files are on this machine; they are synced to disk before a version is acknowledged.
    folder: Option<PathBuf>,
    newest: RwLock<BTreeMap<String, Arc<Versioned>>>,
}

impl Registry {
    /// The registry in a local folder, which is created when it is missing.
    ///
    /// # Errors
    /// The folder can't be created or read.
    pub fn open(folder: &FilePath) -> Result<Self> {
        let root = folder.display().to_string();
        let failed = |source: object_store::Error| Error::Storage { root: root.clone(), source };
        std::fs::create_dir_all(folder)
            .map_err(|error| failed(object_store::Error::Generic { store: "folder", source: error.into() }))?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(failed)?;
        Ok(Self { store: Arc::new(store), root, folder: Some(folder.to_owned()), newest: RwLock::default() })
    }

    /// The newest version that was seen, without looking for a newer one.
    #[must_use]
    pub fn cached(&self, project: &str) -> Option<Arc<Versioned>> {
        self.newest.read().get(project).cloned()
    }

    /// The projects that were seen, by name.
    #[must_use]
    pub fn known(&self) -> Vec<String> {
        self.newest.read().keys().cloned().collect()
    }

    /// The newest version there is, or `None` for a project that does not exist.
    ///
    /// # Errors
    /// Storage fails, or the newest version's file is damaged.
    pub async fn current(&self, project: &str) -> Result<Option<Arc<Versioned>>> {
        if project.is_empty() || project.contains('/') {
            return Ok(None);
        }
        let cached = self.cached(project);
        let known = cached.as_ref().map_or(0, |cached| cached.version);
        let newest = match known {
            0 => self.versions(project).await?.last().copied().unwrap_or(0),
            known => self.newest_after(project, known).await?,
        };
        if newest == known {
            return Ok(cached);
        }
        let record = self.record(project, newest).await?;
        Ok(Some(self.remember(newest, record.catalog)))
    }

    /// One version.
    ///
    /// # Errors
    /// There is none, or its file is damaged.
    pub async fn record(&self, project: &str, version: u64) -> Result<Record> {
        let path = file(project, version);
        let bytes = match self.store.get(&path).await {
            Ok(found) => found.bytes().await.map_err(|source| self.storage(source))?,
            Err(object_store::Error::NotFound { .. }) => {
                return Err(Error::NoVersion { project: project.to_owned(), version });
            }
            Err(source) => return Err(self.storage(source)),
        };
        Record::decode(project, version, &bytes).map_err(|why| Error::Corrupt {
            file: format!("{}/{path}", self.root),
            project: project.to_owned(),
            version,
            why,
        })
    }

    /// What each version says about itself, newest first.
    ///
    /// # Errors
    /// Storage fails, or a version's file is damaged.
    pub async fn history(&self, project: &str) -> Result<Vec<About>> {
        let mut history = Vec::new();
        if project.is_empty() || project.contains('/') {
            return Ok(history);
        }
        for version in self.versions(project).await?.into_iter().rev() {
            history.push(self.record(project, version).await?.about);
        }
        Ok(history)
    }

    /// Writes the version after `new.base`.
    ///
    /// # Errors
    /// [`Error::Conflict`] when that number is taken: nothing was written.
    pub async fn commit(&self, new: NewVersion) -> Result<Arc<Versioned>> {
        let version = new.base + 1;
        let about =
            About { version, created_at: new.now, principal: new.principal, cause: new.cause, changes: new.changes };
        let record = Record { about, catalog: new.catalog };
        let project = record.catalog.project.clone();
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&file(&project, version), record.encode().into(), create).await {
            Ok(_) => {
                self.sync(&project, version)?;
                Ok(self.remember(version, record.catalog))
            }
            Err(object_store::Error::AlreadyExists { .. }) => Err(Error::Conflict { project, version }),
            Err(source) => Err(self.storage(source)),
        }
    }

    /// The projects there are, by name.
    ///
    /// # Errors
    /// Storage fails.
    pub async fn projects(&self) -> Result<Vec<String>> {
        let listed = self.store.list_with_delimiter(None).await.map_err(|source| self.storage(source))?;
        let name = |path: &Path| path.parts().next().map(|part| part.as_ref().to_owned());
        let mut projects: Vec<String> = listed.common_prefixes.iter().filter_map(name).collect();
        projects.sort();
        Ok(projects)
    }

    /// Looks for versions written by others. Returns the projects whose newest version changed, and what failed by project; a
    /// project that fails keeps the version it had.
    ///
    /// # Errors
    /// The projects can't be listed.
    pub async fn refresh(&self) -> Result<(Vec<Arc<Versioned>>, Vec<Error>)> {
        let (mut changed, mut failed) = (Vec::new(), Vec::new());
        for project in self.projects().await? {
            let before = self.cached(&project).map(|cached| cached.version);
            match self.current(&project).await {
                Ok(Some(now)) if Some(now.version) != before => changed.push(now),
                Ok(_) => {}
                Err(error) => failed.push(error),
            }
        }
        Ok((changed, failed))
    }

    /// The numbers there are, ascending.
    async fn versions(&self, project: &str) -> Result<Vec<u64>> {
        let files = self.store.list(Some(&Path::from(project)));
        let mut versions: Vec<u64> = files
            .try_filter_map(|meta| async move {
                let name = meta.location.filename().and_then(|name| name.strip_suffix(".json"));
                Ok(name.and_then(|number| number.parse::<u64>().ok()))
            })
            .try_collect()
            .await
            .map_err(|source| self.storage(source))?;
        versions.sort_unstable();
        Ok(versions)
    }

    /// The newest number, when `known` is one.
    async fn newest_after(&self, project: &str, known: u64) -> Result<u64> {
        let mut newest = known;
        loop {
            match self.store.head(&file(project, newest + 1)).await {
                Ok(_) => newest += 1,
                Err(object_store::Error::NotFound { .. }) => return Ok(newest),
                Err(source) => return Err(self.storage(source)),
            }
        }
    }

    /// Swaps the newest version in, unless a newer one came in between.
    fn remember(&self, version: u64, catalog: Catalog) -> Arc<Versioned> {
        let versioned = Arc::new(Versioned { version, catalog });
        let mut newest = self.newest.write();
        let slot = newest.entry(versioned.catalog.project.clone()).or_insert_with(|| versioned.clone());
        if slot.version < version {
            *slot = versioned.clone();
        }
        versioned
    }

    /// Brings a local file and the folders that name it to disk.
    fn sync(&self, project: &str, version: u64) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let file = folder.join(file(project, version).as_ref());
        let places = [Some(file.as_path()), file.parent(), Some(folder)];
        let synced = places.into_iter().flatten().try_for_each(|place| std::fs::File::open(place)?.sync_all());
        synced.map_err(|error| self.storage(object_store::Error::Generic { store: "folder", source: error.into() }))
    }

    fn storage(&self, source: object_store::Error) -> Error {
        Error::Storage { root: self.root.clone(), source }
    }
}

/// Numbers are padded so that files sort by version.
fn file(project: &str, version: u64) -> Path {
    Path::from_iter([project, format!("{version:020}.json").as_str()])
}

#[cfg(test)]
mod tests;
