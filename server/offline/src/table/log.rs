//! The history: what each commit added and removed, and when. It gives every file the address its rows have.
//!
//! A snapshot says which files are live, not which version added them nor in what order. The commit files do. Commits are
//! read newest first until every live file is found; files that an earlier snapshot has keep the place they have there, so that
//! only what came since is read. The newest commits are kept, since a commit never changes. Where the log was cleaned up
//! after a checkpoint, files whose commit is gone come first, ordered by modification time and path: the same snapshot
//! then still gives the same addresses on every machine.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use deltalake::kernel::{Action, Add};
use deltalake::logstore::{get_actions, read_commit_entry};
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt as _};
use parking_lot::Mutex;
use tidegate_schemas::time::Micros;

use super::compact::ADDRESS;
use crate::error::{Error, Result};

/// Commit files read at once.
const CONCURRENT_READS: usize = 16;

/// Commits are kept while they name so many files in all; the oldest go first.
const FILES_KEPT: usize = 1 << 16;

/// What one commit did, as far as it matters here.
#[derive(Debug, Default)]
pub(super) struct Commit {
    /// When it was committed.
    pub(super) committed: Option<Micros>,
    /// Files added, in the order of the commit.
    pub(super) adds: Vec<Added>,
    /// Files removed: path and whether their rows left the table.
    pub(super) removes: HashMap<String, bool>,
    /// Files of the change data feed.
    pub(super) change_files: Vec<ChangeFile>,
    /// Application transactions: application and its version.
    pub(super) transactions: Vec<(String, i64)>,
}

impl Commit {
    /// Whether it added, removed or changed rows.
    pub(super) fn changes_rows(&self) -> bool {
        let added = self.adds.iter().any(|added| added.new_rows);
        added || !self.change_files.is_empty() || self.removes.values().any(|data_change| *data_change)
    }

    /// How many files it names.
    fn files(&self) -> usize {
        self.adds.len() + self.removes.len() + self.change_files.len()
    }
}

/// A file that says which rows a commit changed.
#[derive(Debug, Clone)]
pub(super) struct ChangeFile {
    pub(super) path: String,
    pub(super) size: u64,
    /// Values of partition columns, as text.
    pub(super) partition: HashMap<String, Option<String>>,
}

/// A file that a commit added.
#[derive(Debug)]
pub(super) struct Added {
    pub(super) path: String,
    /// Whether its rows are new to the table.
    pub(super) new_rows: bool,
    /// The address a compaction gave it: that of the last file it replaces.
    pub(super) address: Option<(i64, u32)>,
}

/// Where a file stands in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) version: i64,
    pub(super) order: u32,
    pub(super) committed: Option<Micros>,
    pub(super) compacted: bool,
}

/// A live file, as the snapshot names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LiveFile {
    pub(super) path: String,
    /// Milliseconds, as the log keeps it.
    pub(super) modified: i64,
}

/// The newest of the commits read so far. A commit that is gone stays `None`.
#[derive(Debug, Default)]
pub(super) struct History {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    commits: BTreeMap<i64, Option<Arc<Commit>>>,
    /// What they weigh in all.
    weight: usize,
}

impl Kept {
    fn keep(&mut self, version: i64, commit: Option<Arc<Commit>>) {
        let added = weight(commit.as_deref());
        let before = self.commits.insert(version, commit);
        self.weight = self.weight + added - before.map_or(0, |before| weight(before.as_deref()));
        while self.weight > FILES_KEPT
            && let Some((_, oldest)) = self.commits.pop_first()
        {
            self.weight -= weight(oldest.as_deref());
        }
    }
}

/// A commit that names no file has a place all the same.
fn weight(commit: Option<&Commit>) -> usize {
    1 + commit.map_or(0, Commit::files)
}

impl History {
    /// The commits `from..=to`, oldest first; `None` where the commit file is gone.
    pub(super) async fn commits(
        &self,
        table: &str,
        store: &Arc<dyn ObjectStore>,
        from: i64,
        to: i64,
    ) -> Result<Vec<(i64, Option<Arc<Commit>>)>> {
        let mut found: BTreeMap<i64, Option<Arc<Commit>>> = {
            let kept = self.kept.lock();
            let of = |version| Some((version, kept.commits.get(&version)?.clone()));
            (from..=to).filter_map(of).collect()
        };
        let missing: Vec<i64> = (from..=to).filter(|version| !found.contains_key(version)).collect();
        let reads = missing.into_iter().map(|version| async move {
            Ok::<_, Error>((version, read_commit(table, store, version).await?.map(Arc::new)))
        });
        let read: Vec<_> = futures::stream::iter(reads).buffer_unordered(CONCURRENT_READS).try_collect().await?;
        let mut kept = self.kept.lock();
        for (version, commit) in read {
            kept.keep(version, commit.clone());
            found.insert(version, commit);
        }
        Ok(found.into_iter().collect())
    }

    /// Forgets all commits: they were another table's.
    pub(super) fn forget(&self) {
        *self.kept.lock() = Kept::default();
    }

    /// The place of each live file of `version`; `before` has those of an earlier version.
    pub(super) async fn places(
        &self,
        table: &str,
        store: &Arc<dyn ObjectStore>,
        version: i64,
        live: &[LiveFile],
        before: Option<Before>,
    ) -> Result<HashMap<String, Place>> {
        let (since, before) = before.map_or((-1, HashMap::new()), |before| (before.version, before.places));
        let wanted = live.iter().map(|file| file.path.as_str()).collect();
        let mut search = Search { wanted, found: HashMap::with_capacity(live.len()), oldest_read: version + 1 };
        let goes_on = self.search(table, store, since + 1, version, &mut search).await?;
        search.take_from(before);
        if goes_on {
            self.search(table, store, 0, since, &mut search).await?;
        }
        let Search { wanted, mut found, oldest_read } = search;
        found.extend(place_unknown(live, &wanted, oldest_read - 1));
        Ok(found)
    }

    /// Looks for files in the commits `from..=to`, newest first; `false` where one of them is gone.
    async fn search(
        &self,
        table: &str,
        store: &Arc<dyn ObjectStore>,
        from: i64,
        to: i64,
        search: &mut Search<'_>,
    ) -> Result<bool> {
        let mut newest = to;
        while !search.wanted.is_empty() && newest >= from {
            let oldest = (newest - CONCURRENT_READS as i64 + 1).max(from);
            for (at, commit) in self.commits(table, store, oldest, newest).await?.into_iter().rev() {
                let Some(commit) = commit else { return Ok(false) };
                search.take(at, &commit);
            }
            newest = oldest - 1;
        }
        Ok(true)
    }
}

/// The places of an earlier version's files.
pub(super) struct Before {
    pub(super) version: i64,
    pub(super) places: HashMap<String, Place>,
}

/// A search for the commits that added files.
struct Search<'a> {
    wanted: HashSet<&'a str>,
    found: HashMap<String, Place>,
    oldest_read: i64,
}

impl Search<'_> {
    fn take(&mut self, at: i64, commit: &Commit) {
        self.oldest_read = at;
        for (order, added) in commit.adds.iter().enumerate() {
            // A commit that removes and adds the same path only marks rows of it as deleted: the rows that stay are
            // as old as they were.
            if commit.removes.contains_key(&added.path) || !self.wanted.remove(added.path.as_str()) {
                continue;
            }
            let own = (at, u32::try_from(order).unwrap_or(u32::MAX));
            let (version, order) = added.address.unwrap_or(own);
            let (committed, compacted) = (commit.committed, added.address.is_some());
            self.found.insert(added.path.clone(), Place { version, order, committed, compacted });
        }
    }

    /// What no later commit added has the place that it had.
    fn take_from(&mut self, mut before: HashMap<String, Place>) {
        for path in std::mem::take(&mut self.wanted) {
            if let Some((path, place)) = before.remove_entry(path) {
                self.found.insert(path, place);
            } else {
                self.wanted.insert(path);
            }
        }
    }
}

/// Places for files whose commit is gone: all in the version before the oldest commit there is.
fn place_unknown(live: &[LiveFile], unknown: &HashSet<&str>, version: i64) -> Vec<(String, Place)> {
    let mut files: Vec<&LiveFile> = live.iter().filter(|file| unknown.contains(file.path.as_str())).collect();
    files.sort_by_key(|file| (file.modified, &file.path));
    let place = |(order, file): (usize, &LiveFile)| {
        let order = u32::try_from(order).unwrap_or(u32::MAX);
        let committed = file.modified.checked_mul(1000);
        let place = Place { version: version.max(0), order, committed, compacted: false };
        (file.path.clone(), place)
    };
    files.into_iter().enumerate().map(place).collect()
}

async fn read_commit(table: &str, store: &Arc<dyn ObjectStore>, version: i64) -> Result<Option<Commit>> {
    let failed = |source| Error::Delta { table: table.to_owned(), doing: "reading the log", source: Box::new(source) };
    let number = u64::try_from(version).map_err(|_| Error::Internal(format!("version {version} of a log")))?;
    let Some(bytes) = read_commit_entry(store.as_ref(), number).await.map_err(failed)? else {
        return Ok(None);
    };
    let mut commit = Commit::default();
    for action in get_actions(number, &bytes).map_err(failed)? {
        match action {
            Action::Add(Add { path, data_change, tags, .. }) => {
                let address = tags.as_ref().and_then(|tags| address(tags.get(ADDRESS)?.as_deref()?));
                commit.adds.push(Added { path, new_rows: data_change, address });
            }
            Action::Remove(remove) => {
                commit.removes.insert(remove.path, remove.data_change);
            }
            Action::Cdc(file) => commit.change_files.push(ChangeFile {
                path: file.path,
                size: u64::try_from(file.size).unwrap_or_default(),
                partition: file.partition_values,
            }),
            Action::Txn(transaction) => commit.transactions.push((transaction.app_id, transaction.version)),
            Action::CommitInfo(info) => {
                commit.committed = info.in_commit_timestamp.or(info.timestamp).and_then(|ms| ms.checked_mul(1000));
            }
            _ => {}
        }
    }
    if commit.committed.is_none() {
        commit.committed = modified(store, version).await;
    }
    Ok(Some(commit))
}

/// `version/order`, as a compaction tags its files.
fn address(tag: &str) -> Option<(i64, u32)> {
    let (version, order) = tag.split_once('/')?;
    Some((version.parse().ok()?, order.parse().ok()?))
}

/// When the commit file was written: what counts where the commit itself does not say.
async fn modified(store: &Arc<dyn ObjectStore>, version: i64) -> Option<Micros> {
    let path = commit_path(version);
    store.head(&path).await.ok().map(|file| file.last_modified.timestamp_micros())
}

/// The path of a commit in the table's store.
pub(super) fn commit_path(version: i64) -> object_store::path::Path {
    object_store::path::Path::from(format!("_delta_log/{version:020}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_history_has_an_end() {
        let commit = |files: usize| {
            let change = |nth: usize| ChangeFile { path: nth.to_string(), size: 0, partition: HashMap::new() };
            Some(Arc::new(Commit { change_files: (0..files).map(change).collect(), ..Commit::default() }))
        };
        let mut kept = Kept::default();
        for version in 0..100 {
            kept.keep(version, commit(FILES_KEPT / 10));
            kept.keep(version, None);
            kept.keep(version, commit(FILES_KEPT / 10));
        }
        assert_eq!(kept.commits.keys().copied().collect::<Vec<_>>(), (91..100).collect::<Vec<_>>());
        kept.keep(100, commit(2 * FILES_KEPT));
        assert!(kept.commits.is_empty() && kept.weight == 0, "one that is too large is not kept");
    }
}
