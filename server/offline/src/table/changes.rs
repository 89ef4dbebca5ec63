//! What became of a table's rows between two versions: files whose rows are new, and rows whose keys are to be looked at again.
//!
//! ```text
//! a commit that                                   added             removed
//! adds files                                      the files         –
//! removes files                                   –                 their rows
//! rewrites files                                  the new files     the old files' rows
//! changes a file's deletion vector                –                 the rows it has and the older one had not
//! has change data                                 –                 the rows of its change files, and nothing else of it
//! moves rows, as a compaction does                –                 –
//! removes an erased entity, or widens a column    –                 –
//! ```
//! Removed rows need not be gone: a rewritten file has most of its rows again. Whoever reads their keys and then the newest row of
//! each finds what is there now. A file that came and went in between counts as removed, for its rows may live on in another.
//!
//! Nothing is guessed: where a commit, a version or a file is gone that would be needed, that is what comes back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::common::ScalarValue;
use object_store::path::Path;

use super::append::{self, ChunkCommit};
use super::delta::DeltaSource;
use super::log::{ChangeFile, Commit};
use super::snapshot::{DataFile, Snapshot};
use super::{Source, Table, in_place};
use crate::error::{Error, Result};

/// What became of a table's rows.
#[derive(Debug, Clone)]
pub enum Since {
    /// All of it is known.
    Known(Changes),
    /// It can't be told any more.
    Lost(Lost),
}

/// What brings who has read one version to another.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Files whose rows are new, in address order; all of them live.
    pub added: Vec<DataFile>,
    /// Rows whose keys are to be looked at again.
    pub removed: Vec<Removed>,
    /// Which of the versions hold rows of an outbox and nothing else: the files they added are all of that chunk.
    pub chunks: Vec<ChunkCommit>,
}

/// Rows that were removed from a table or changed in it.
#[derive(Debug, Clone)]
pub struct Removed {
    /// The file they are in, which need not be live.
    pub file: DataFile,
    /// Their numbers in it, ascending; `None` for all.
    pub rows: Option<Arc<[u64]>>,
}

/// Why it can't be told what became of a table's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The commit of this version is gone from the log.
    Commit(i64),
    /// This version can't be read any more.
    Version(i64),
}

impl Changes {
    /// Rows to be looked at again, as far as it is known.
    #[must_use]
    pub fn rows_removed(&self) -> u64 {
        let count = |removed: &Removed| match &removed.rows {
            Some(rows) => rows.len() as u64,
            None => removed.file.rows.unwrap_or(0),
        };
        self.removed.iter().map(count).sum()
    }
}

/// How far behind a reader of a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Later versions that changed rows.
    pub versions: u64,
    /// When the first of them was committed, where that is known.
    pub oldest: Option<tidegate_schemas::time::Micros>,
}

impl Table {
    /// What became of the rows between two versions. A folder of Parquet files has no history, so nothing can be told.
    ///
    /// # Errors
    /// As [`Table::snapshot`].
    pub async fn changes(&self, from: i64, to: i64) -> Result<Since> {
        match &self.source {
            Source::Delta(table) => table.changes(from, to).await,
            Source::Parquet(_) => Ok(Since::Lost(Lost::Commit(to))),
        }
    }

    /// What came between a version and a snapshot.
    ///
    /// # Errors
    /// As [`Table::snapshot`].
    pub async fn waiting_since(&self, version: i64, newest: &Snapshot) -> Result<Waiting> {
        match &self.source {
            Source::Delta(table) => table.waiting_since(version, newest.version).await,
            Source::Parquet(_) => Ok(Waiting::default()),
        }
    }
}

/// What the commits in between say of files, by path.
#[derive(Default)]
struct Said {
    /// Files with new rows that no change data tells of.
    new: BTreeSet<String>,
    /// Files that were taken out with their rows.
    gone: BTreeSet<String>,
    /// Files with another deletion vector.
    marked: BTreeSet<String>,
    /// The version that added a file.
    added_by: HashMap<String, i64>,
    change_files: Vec<(i64, ChangeFile)>,
}

impl Said {
    /// What commits after `from` say.
    fn of(commits: &[(i64, Arc<Commit>)], from: i64) -> Self {
        let mut said = Self::default();
        for (version, commit) in commits {
            match in_place::is_marked(&commit.transactions) {
                true => said.follow_in_place(commit, from),
                false => said.take(*version, commit),
            }
        }
        said
    }

    /// Rows that stay are as they were; who erased others has seen to them. Of a file that holds only what came after `from` the
    /// new one has what is new.
    fn follow_in_place(&mut self, commit: &Commit, from: i64) {
        for path in commit.removes.keys() {
            self.new.remove(path);
            self.added_by.remove(path);
        }
        for added in &commit.adds {
            if let Some((version, _)) = added.address.filter(|(version, _)| *version > from) {
                self.new.insert(added.path.clone());
                self.added_by.insert(added.path.clone(), version);
            }
        }
    }

    fn take(&mut self, version: i64, commit: &Commit) {
        // Change data says all about the rows of its commit.
        let told = !commit.change_files.is_empty();
        self.change_files.extend(commit.change_files.iter().map(|file| (version, file.clone())));
        for added in &commit.adds {
            if commit.removes.contains_key(&added.path) {
                if !told {
                    self.marked.insert(added.path.clone());
                }
                continue;
            }
            self.added_by.insert(added.path.clone(), version);
            if added.new_rows && !told {
                self.new.insert(added.path.clone());
            }
        }
        let again = |path: &String| commit.adds.iter().any(|added| added.path == *path);
        let gone = commit.removes.iter().filter(|(path, data_change)| **data_change && !told && !again(path));
        self.gone.extend(gone.map(|(path, _)| path.clone()));
    }
}

impl DeltaSource {
    pub(super) async fn changes(&self, from: i64, to: i64) -> Result<Since> {
        let target = self.snapshot(Some(to)).await?;
        let mut log = Vec::new();
        for (version, commit) in self.history.commits(self.name(), self.store(), (from + 1).max(0), to).await? {
            match commit {
                Some(commit) => log.push((version, commit)),
                None => return Ok(Since::Lost(Lost::Commit(version))),
            }
        }
        let said = Said::of(&log, from);
        let before = match self.before(from, &said).await? {
            Ok(before) => before,
            Err(lost) => return Ok(Since::Lost(lost)),
        };
        let live: HashMap<&str, &DataFile> = target.files.iter().map(|file| (file.path.as_ref(), file)).collect();
        let mut removed = Vec::new();
        let not_live = |path: &&String| !live.contains_key(path.as_str());
        let passed = said.new.iter().chain(&said.marked).filter(not_live);
        let away: BTreeSet<&String> = said.gone.iter().chain(passed).collect();
        for path in away {
            match self.file_once(path, &before, &said).await? {
                Ok(file) => removed.push(Removed { file, rows: None }),
                Err(lost) => return Ok(Since::Lost(lost)),
            }
        }
        let marked = said.marked.iter().filter_map(|path| newly_deleted(live.get(path.as_str())?, before.get(path)));
        removed.extend(marked);
        for (version, file) in &said.change_files {
            removed.push(Removed { file: change_data(file, *version, &target)?, rows: None });
        }
        let added = target.files.iter().filter(|file| said.new.contains(file.path.as_ref())).cloned().collect();
        let chunks = log.iter().filter_map(|(version, commit)| append::chunk_of(*version, &commit.transactions));
        Ok(Since::Known(Changes { added, removed, chunks: chunks.collect() }))
    }

    /// The files of the version that was read, where anything asks for them.
    async fn before(&self, from: i64, said: &Said) -> Result<std::result::Result<HashMap<String, DataFile>, Lost>> {
        if from < 0 || said.gone.is_empty() && said.marked.is_empty() {
            return Ok(Ok(HashMap::new()));
        }
        match self.snapshot(Some(from)).await {
            Ok(before) => Ok(Ok(before.files.iter().map(|file| (file.path.to_string(), file.clone())).collect())),
            Err(Error::VersionMissing { .. }) => Ok(Err(Lost::Version(from))),
            Err(error) => Err(error),
        }
    }

    /// A file that is not live any more, as it was when it was read, or came.
    async fn file_once(
        &self,
        path: &str,
        before: &HashMap<String, DataFile>,
        said: &Said,
    ) -> Result<std::result::Result<DataFile, Lost>> {
        if let Some(file) = before.get(path) {
            return Ok(Ok(file.clone()));
        }
        let Some(&version) = said.added_by.get(path) else {
            return Err(Error::Internal(format!("file {path} went and never came")));
        };
        match self.snapshot(Some(version)).await {
            Ok(then) => {
                let file = then.files.iter().find(|file| file.path.as_ref() == path).cloned();
                Ok(file.ok_or(Lost::Version(version)))
            }
            Err(Error::VersionMissing { .. }) => Ok(Err(Lost::Version(version))),
            Err(error) => Err(error),
        }
    }

    async fn waiting_since(&self, version: i64, newest: i64) -> Result<Waiting> {
        let mut waiting = Waiting::default();
        for (_, commit) in self.commits((version + 1).max(0), newest).await? {
            // What a commit did that is gone from the log is not known; that it may have changed rows is.
            if commit.as_ref().is_none_or(|commit| commit.changes_rows()) {
                waiting.versions += 1;
                waiting.oldest = waiting.oldest.or(commit.and_then(|commit| commit.committed));
            }
        }
        Ok(waiting)
    }
}

/// The rows that a live file's deletion vector has now and had not then.
fn newly_deleted(now: &DataFile, then: Option<&DataFile>) -> Option<Removed> {
    let before = then.and_then(|file| file.deleted_rows.clone()).unwrap_or_else(|| Arc::from([]));
    let deleted = now.deleted_rows.as_ref()?;
    let rows: Vec<u64> = deleted.iter().copied().filter(|row| before.binary_search(row).is_err()).collect();
    // They are to be read although they are deleted.
    let file = DataFile { deleted_rows: None, ..now.clone() };
    (!rows.is_empty()).then(|| Removed { file, rows: Some(rows.into()) })
}

/// A change file as a file to be read.
fn change_data(file: &ChangeFile, version: i64, snapshot: &Snapshot) -> Result<DataFile> {
    let mut partition = BTreeMap::new();
    for (column, value) in &file.partition {
        let data_type = snapshot.field(column)?.data_type();
        let value = match value.as_ref().filter(|text| !text.is_empty()) {
            Some(text) => ScalarValue::try_from_string(text.clone(), data_type)?,
            None => ScalarValue::try_from(data_type)?,
        };
        partition.insert(column.clone(), value);
    }
    Ok(DataFile {
        path: Path::parse(&file.path).unwrap_or_else(|_| Path::from(file.path.as_str())),
        size: file.size,
        rows: None,
        added_version: version,
        order: 0,
        committed: None,
        compacted: false,
        partition,
        ranges: BTreeMap::new(),
        deleted_rows: None,
    })
}
