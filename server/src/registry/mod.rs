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
use std::path::Path as FilePath;
use std::sync::Arc;

use object_store::path::Path;
use parking_lot::RwLock;
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::time::Micros;

use crate::objects::Objects;

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
    files: Objects,
    newest: RwLock<BTreeMap<String, Arc<Versioned>>>,
}

impl Registry {
    /// The registry in a local folder, which is created when it is missing.
    ///
    /// # Errors
    /// The folder can't be created or read.
    pub fn open(folder: &FilePath) -> Result<Self> {
        let root = folder.display().to_string();
        let files = Objects::open(folder).map_err(|source| Error::Storage { root, source })?;
        Ok(Self { files, newest: RwLock::default() })
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
        let found = self.files.get(&path).await.map_err(|source| self.storage(source))?;
        let bytes = found.ok_or_else(|| Error::NoVersion { project: project.to_owned(), version })?;
        Record::decode(project, version, &bytes).map_err(|why| Error::Corrupt {
            file: format!("{}/{path}", self.files.root()),
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
        match self.files.create(&file(&project, version), record.encode()).await {
            Ok(true) => Ok(self.remember(version, record.catalog)),
            Ok(false) => Err(Error::Conflict { project, version }),
            Err(source) => Err(self.storage(source)),
        }
    }

    /// The projects there are, by name.
    ///
    /// # Errors
    /// Storage fails.
    pub async fn projects(&self) -> Result<Vec<String>> {
        self.files.folders().await.map_err(|source| self.storage(source))
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
        let names = self.files.names(&Path::from(project)).await.map_err(|source| self.storage(source))?;
        let mut versions: Vec<u64> = names.iter().filter_map(|number| number.parse().ok()).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// The newest number, when `known` is one.
    async fn newest_after(&self, project: &str, known: u64) -> Result<u64> {
        let mut newest = known;
        loop {
            match self.files.exists(&file(project, newest + 1)).await.map_err(|source| self.storage(source))? {
                true => newest += 1,
                false => return Ok(newest),
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

    fn storage(&self, source: object_store::Error) -> Error {
        Error::Storage { root: self.files.root().to_owned(), source }
    }
}

/// Numbers are padded so that files sort by version.
fn file(project: &str, version: u64) -> Path {
    Path::from_iter([project, format!("{version:020}.json").as_str()])
}

#[cfg(test)]
mod tests;
