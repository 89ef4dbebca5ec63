//! Erasing an entity from a managed table: its rows go from every version, its bytes from every file.
//!
//! ```text
//! rewrite   live files that hold a row of it are written anew without those rows, at the same address; one commit
//! delete    the files they replace, and every other file on disk that holds a row of it, whatever version needs it
//! scrub     statistics in the commits of the log that name its key; checkpoints, which are made again
//! ```
//! Each step can be done again: an erasure that was cut short is finished by the next.
//!
//! Versions that needed a deleted file can be read no more. Rows that stay are where they were ([`super::in_place`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, Scalar};
use arrow::compute::kernels::boolean::{and, or};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch, not, prep_null_mask_filter};
use arrow::datatypes::{Field, Schema};
use datafusion::common::ScalarValue;
use deltalake::DeltaTable;
use deltalake::kernel::Transaction;
use deltalake::protocol::DeltaOperation;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt as _};
use serde_json::Value;
use tidegate_schemas::failpoint::{Failpoint, reach};

use super::Guard;
use super::append::Unpublished;
use super::compact::{Replace, replace};
use super::delta::{DeltaSource, delta_error};
use super::in_place::{Anew, ERASE_PREFIX};
use super::read::{ReadOptions, read_file};
use super::snapshot::{DataFile, Snapshot};
use super::stats;
use crate::error::{Error, Result};
use crate::runtime::Runtime;

/// The folder of the log.
const LOG: &str = "_delta_log";

/// Which rows go.
#[derive(Debug, Clone)]
pub struct Erasure {
    /// The erasure's own name, which the log keeps.
    pub id: String,
    /// What tells the rows.
    pub told_by: ToldBy,
}

/// What tells which rows of a table are of an entity.
#[derive(Debug, Clone)]
pub enum ToldBy {
    /// Each way in which the table's columns name the entity: the columns of its key with their values, each one row long. A row
    /// that any of them fits goes.
    Keys(Vec<Vec<(String, ArrayRef)>>),
    /// What some columns say, in whatever form: rows that are refused go.
    Columns(Vec<String>, Guard),
}

/// What an erasure did to a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErasedTable {
    /// The version it made, or the newest there was where no live row was of the entity.
    pub version: i64,
    /// Live rows removed.
    pub rows: u64,
    /// Live files written anew.
    pub files_rewritten: u64,
    /// Files deleted, those replaced included.
    pub files_deleted: u64,
    /// Commits of the log that named its key, and no longer do.
    pub commits_scrubbed: u64,
    /// Versions that can be read no more, as first and last.
    pub versions_lost: Vec<(i64, i64)>,
}

impl Erasure {
    /// A batch without the rows of the entity, and how many those were.
    ///
    /// # Errors
    /// A column of a type that can't be compared.
    pub fn without(&self, batch: &RecordBatch) -> Result<(RecordBatch, u64)> {
        let gone = self.rows(batch)?;
        match gone.true_count() {
            0 => Ok((batch.clone(), 0)),
            rows => Ok((filter_record_batch(batch, &not(&gone)?)?, rows as u64)),
        }
    }

    /// Which rows are of the entity.
    fn rows(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let keys = match &self.told_by {
            ToldBy::Keys(keys) => keys,
            ToldBy::Columns(_, guard) => return Ok(guard.refused(batch).map_err(Error::Incoming)?.into()),
        };
        let mut any = BooleanArray::from(vec![false; batch.num_rows()]);
        for key in keys {
            let mut all = BooleanArray::from(vec![true; batch.num_rows()]);
            for (name, value) in key {
                let same = match batch.column_by_name(name) {
                    Some(column) => equal(column, value)?,
                    None => BooleanArray::from(vec![false; batch.num_rows()]),
                };
                all = and(&all, &same)?;
            }
            any = or(&any, &all)?;
        }
        Ok(any)
    }

    /// Whether statistics leave it open that a file holds a row of the entity.
    fn may_be_in(&self, file: &DataFile) -> bool {
        let inside = |(name, value): &(String, ArrayRef)| {
            let Some((low, high)) = file.ranges.get(name) else { return true };
            let Ok(value) = cast_with_options(value, &low.data_type(), &SAFE) else { return true };
            let Ok(value) = ScalarValue::try_from_array(&value, 0) else { return true };
            !value.is_null() && *low <= value && value <= *high
        };
        match &self.told_by {
            ToldBy::Keys(keys) => keys.iter().any(|key| key.iter().all(inside)),
            ToldBy::Columns(..) => true,
        }
    }

    /// The columns that tell, of those that a table has.
    fn columns(&self, snapshot: &Snapshot) -> Vec<String> {
        let names: BTreeSet<&String> = match &self.told_by {
            ToldBy::Keys(keys) => keys.iter().flatten().map(|(name, _)| name).collect(),
            ToldBy::Columns(names, _) => names.iter().collect(),
        };
        names.into_iter().filter(|name| snapshot.schema.field_with_name(name).is_ok()).cloned().collect()
    }

    /// What statistics may say of the entity.
    fn bounds(&self, snapshot: &Snapshot) -> Result<Vec<Bound>> {
        let keys = match &self.told_by {
            ToldBy::Keys(keys) => keys,
            ToldBy::Columns(names, _) => return Ok(names.iter().cloned().map(Bound::Any).collect()),
        };
        let mut bounds = Vec::new();
        for (name, value) in keys.iter().flatten() {
            let Ok(field) = snapshot.schema.field_with_name(name) else { continue };
            let value = cast_with_options(value, field.data_type(), &SAFE)?;
            let schema = Arc::new(Schema::new(vec![Field::new(name, field.data_type().clone(), true)]));
            let stats = stats::of(&RecordBatch::try_new(schema, vec![value])?);
            if let (Some(low), Some(high)) = (stats["minValues"].get(name), stats["maxValues"].get(name)) {
                bounds.push(Bound::Of(name.clone(), low.clone(), high.clone()));
            }
        }
        Ok(bounds)
    }
}

/// What goes from the statistics of the log.
#[derive(Debug, Clone)]
enum Bound {
    /// Of a column, where its smallest or largest value is one of these: as statistics give the entity's.
    Of(String, Value, Value),
    /// Whatever they say of a column.
    Any(String),
}

impl Bound {
    fn column(&self) -> &String {
        let (Self::Of(column, ..) | Self::Any(column)) = self;
        column
    }

    fn is(&self, value: &Value) -> bool {
        match self {
            Self::Of(_, low, high) => value == low || value == high,
            Self::Any(_) => true,
        }
    }
}

/// A value that does not fit is equal to none.
const SAFE: CastOptions<'static> =
    CastOptions { safe: true, format_options: arrow::util::display::FormatOptions::new() };

fn equal(column: &ArrayRef, value: &ArrayRef) -> Result<BooleanArray> {
    let value = cast_with_options(value, column.data_type(), &SAFE)?;
    if value.is_null(0) {
        return Ok(BooleanArray::from(vec![false; column.len()]));
    }
    let same = eq(column, &Scalar::new(value))?;
    Ok(if same.null_count() > 0 { prep_null_mask_filter(&same) } else { same })
}

pub(super) async fn erase(table: Arc<DeltaSource>, runtime: &Arc<Runtime>, erasure: Erasure) -> Result<ErasedTable> {
    if !table.writable() {
        return Err(Error::ReadOnly { table: table.name().to_owned() });
    }
    let plan_runtime = runtime.clone();
    runtime.run(async move { Eraser { table, runtime: plan_runtime, erasure }.run().await }).await
}

struct Eraser {
    table: Arc<DeltaSource>,
    runtime: Arc<Runtime>,
    erasure: Erasure,
}

impl Eraser {
    async fn run(self) -> Result<ErasedTable> {
        let _no_compaction = self.table.compacting.lock().await;
        let _no_append = self.table.appending.write().await;
        let before = self.table.snapshot(None).await?;
        let (held, mut done) = self.rewrite(&before).await?;
        reach(Failpoint::AfterErasureCommit);
        let after = self.table.snapshot(None).await?;
        done.version = after.version;
        let mut deleted: BTreeSet<Path> = held.into_iter().map(|file| file.path).collect();
        deleted.extend(self.old_files(&after).await?);
        for path in &deleted {
            self.delete(path).await?;
        }
        reach(Failpoint::BeforeScrub);
        done.files_deleted = deleted.len() as u64;
        done.versions_lost = self.lost(&deleted, after.version).await?;
        done.commits_scrubbed = self.scrub(&after).await?;
        self.renew_checkpoints().await?;
        self.table.reload().await?;
        Ok(done)
    }

    /// Writes the live files that hold rows of the entity anew, and says which those were.
    async fn rewrite(&self, snapshot: &Arc<Snapshot>) -> Result<(Vec<DataFile>, ErasedTable)> {
        let (mut held, mut done) = (Vec::new(), ErasedTable::default());
        for file in snapshot.files.iter().filter(|file| self.erasure.may_be_in(file)) {
            if self.holds(snapshot, file).await? {
                held.push(file.clone());
            }
        }
        if held.is_empty() {
            return Ok((held, done));
        }
        let mut files = Unpublished::new(self.table.store());
        let anew = Anew { table: &self.table, runtime: &self.runtime, snapshot, columns: &snapshot.schema };
        for file in &held {
            let gone = |batch: &RecordBatch| Ok(Some(self.erasure.rows(batch)?));
            done.rows += anew.write(file, gone, &mut files).await?;
        }
        done.files_rewritten = held.len() as u64;
        let how = Replace {
            operation: DeltaOperation::Delete { predicate: None },
            transactions: vec![Transaction::new(format!("{ERASE_PREFIX}{}", self.erasure.id), snapshot.version + 1)],
            data_change: true,
            columns: None,
        };
        replace(&self.table, snapshot, &held, files, how).await?;
        Ok((held, done))
    }

    /// Whether a file has a row of the entity.
    async fn holds(&self, snapshot: &Arc<Snapshot>, file: &DataFile) -> Result<bool> {
        let columns = Some(self.erasure.columns(snapshot));
        let options = ReadOptions { columns, ..ReadOptions::default() };
        // Rows that a deletion vector hides are bytes in the file like others.
        let all = DataFile { deleted_rows: None, ..file.clone() };
        let mut rows = read_file(snapshot, &all, &options)?;
        while let Some(found) = rows.try_next().await? {
            if self.erasure.rows(&found.batch)?.true_count() > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Files on disk that are of no newest version and hold a row of the entity, or can't be read: what a broken-off write left.
    async fn old_files(&self, live: &Arc<Snapshot>) -> Result<Vec<Path>> {
        let known: BTreeSet<&Path> = live.files.iter().map(|file| &file.path).collect();
        let listed: Vec<_> = self.table.store().list(None).try_collect().await.map_err(self.failed("listing files"))?;
        let mut found = Vec::new();
        for meta in listed {
            let name = meta.location.filename().unwrap_or_default();
            if meta.location.prefix_matches(&Path::from(LOG)) || known.contains(&meta.location) {
                continue;
            }
            let file = DataFile {
                path: meta.location.clone(),
                size: meta.size,
                rows: None,
                added_version: 0,
                order: 0,
                committed: None,
                compacted: false,
                partition: BTreeMap::new(),
                ranges: BTreeMap::new(),
                deleted_rows: None,
            };
            let holds = match name.ends_with(".parquet") {
                true => self.holds(live, &file).await.unwrap_or(true),
                // Half a file of a write that was killed.
                false => name.ends_with(".tmp"),
            };
            if holds {
                found.push(meta.location);
            }
        }
        Ok(found)
    }

    async fn delete(&self, path: &Path) -> Result<()> {
        match self.table.store().delete(path).await {
            Err(StoreError::NotFound { .. }) => Ok(()),
            done => done.map_err(self.failed("deleting files of an erased entity")),
        }
    }

    /// The versions in which a deleted file was live, up to the newest.
    async fn lost(&self, deleted: &BTreeSet<Path>, newest: i64) -> Result<Vec<(i64, i64)>> {
        let names: BTreeSet<&str> = deleted.iter().map(AsRef::as_ref).collect();
        let commits = self.table.commits(0, newest).await?;
        let (mut live, mut lost): (BTreeSet<String>, Vec<(i64, i64)>) = (BTreeSet::new(), Vec::new());
        for (version, commit) in commits {
            // What the log no longer tells may have needed any of them.
            let Some(commit) = commit else {
                extend(&mut lost, version);
                continue;
            };
            live.retain(|path| !commit.removes.contains_key(path));
            let added = commit.adds.iter().filter(|added| names.contains(added.path.as_str()));
            live.extend(added.map(|added| added.path.clone()));
            if !live.is_empty() {
                extend(&mut lost, version);
            }
        }
        Ok(lost)
    }

    /// Takes the entity's key out of the statistics of every commit.
    async fn scrub(&self, snapshot: &Snapshot) -> Result<u64> {
        let bounds = self.erasure.bounds(snapshot)?;
        let _no_commit = self.table.committing.lock().await;
        let listed: Vec<_> = self
            .table
            .store()
            .list(Some(&Path::from(LOG)))
            .try_collect()
            .await
            .map_err(self.failed("listing the log"))?;
        let mut scrubbed = 0;
        // Half commits of writes that were killed; none is under way.
        for meta in listed.iter().filter(|meta| meta.location.as_ref().ends_with(".tmp")) {
            self.delete(&meta.location).await?;
        }
        for meta in listed.into_iter().filter(|meta| meta.location.as_ref().ends_with(".json")) {
            let read = self.table.store().get(&meta.location).await.map_err(self.failed("reading the log"))?;
            let bytes = read.bytes().await.map_err(self.failed("reading the log"))?;
            let Some(clean) = std::str::from_utf8(&bytes).ok().and_then(|text| scrubbed_commit(text, &bounds)) else {
                continue;
            };
            let written = self.table.store().put(&meta.location, clean.into_bytes().into()).await;
            written.map_err(self.failed("rewriting the log"))?;
            scrubbed += 1;
        }
        Ok(scrubbed)
    }

    /// Checkpoints hold statistics of the files that were live: they are deleted and the newest is made again, where the commits
    /// tell everything without them; else it is made first.
    async fn renew_checkpoints(&self) -> Result<()> {
        let store = self.table.store();
        let listed: Vec<_> =
            store.list(Some(&Path::from(LOG))).try_collect().await.map_err(self.failed("listing the log"))?;
        let first = listed.iter().any(|meta| meta.location == super::log::commit_path(0));
        let is_checkpoint = |path: &Path| {
            let name = path.filename().unwrap_or_default();
            name.contains(".checkpoint.") || name == "_last_checkpoint" || path.as_ref().contains("/_sidecars/")
        };
        let old: Vec<Path> =
            listed.into_iter().map(|meta| meta.location).filter(|location| is_checkpoint(location)).collect();
        if old.is_empty() {
            return Ok(());
        }
        let made = if first { Vec::new() } else { self.checkpoint().await? };
        for path in old.iter().filter(|path| !made.contains(path)) {
            self.delete(path).await?;
        }
        if first {
            self.checkpoint().await?;
        }
        Ok(())
    }

    /// Makes a checkpoint of the newest version, and names the files that belong to it.
    async fn checkpoint(&self) -> Result<Vec<Path>> {
        let failed = |source| delta_error(self.table.name(), "writing a checkpoint", source);
        let mut delta = DeltaTable::new(self.table.log_store());
        delta.load().await.map_err(failed)?;
        deltalake::checkpoints::create_checkpoint(&delta, None).await.map_err(failed)?;
        let version = delta.version().unwrap_or_default();
        let names = [format!("{version:020}.checkpoint.parquet"), "_last_checkpoint".to_owned()];
        Ok(names.into_iter().map(|name| Path::from_iter([LOG, name.as_str()])).collect())
    }

    fn failed(&self, doing: &'static str) -> impl Fn(StoreError) -> Error + '_ {
        move |source| Error::Storage { table: self.table.name().to_owned(), doing, source }
    }
}

/// Adds a version to ascending ranges.
fn extend(ranges: &mut Vec<(i64, i64)>, version: i64) {
    match ranges.last_mut().filter(|(_, last)| *last + 1 == version) {
        Some((_, last)) => *last = version,
        None => ranges.push((version, version)),
    }
}

/// A commit without the bounds that are the entity's key; `None` where it has none of them.
fn scrubbed_commit(text: &str, bounds: &[Bound]) -> Option<String> {
    let mut changed = false;
    let lines: Vec<String> = text
        .lines()
        .map(|line| match scrubbed_line(line, bounds) {
            Some(clean) => {
                changed = true;
                clean
            }
            None => line.to_owned(),
        })
        .collect();
    changed.then(|| lines.join("\n") + "\n")
}

fn scrubbed_line(line: &str, bounds: &[Bound]) -> Option<String> {
    let mut action: Value = serde_json::from_str(line).ok()?;
    let mut stats: Value = serde_json::from_str(action.get("add")?.get("stats")?.as_str()?).ok()?;
    let mut changed = false;
    for bound in bounds {
        let column = bound.column();
        let of = |stats: &Value, which: &str| stats.get(which).and_then(|values| values.get(column)).cloned();
        let (is_low, is_high) = (of(&stats, "minValues"), of(&stats, "maxValues"));
        let names = |value: &Option<Value>| value.as_ref().is_some_and(|value| bound.is(value));
        if !names(&is_low) && !names(&is_high) {
            continue;
        }
        for which in ["minValues", "maxValues"] {
            if let Some(values) = stats.get_mut(which).and_then(Value::as_object_mut) {
                values.remove(column);
            }
        }
        changed = true;
    }
    if !changed {
        return None;
    }
    action["add"]["stats"] = Value::String(stats.to_string());
    Some(action.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_bounds_that_are_the_key_leave_a_commit() {
        let bounds = vec![Bound::Of("user".to_owned(), json!("bob"), json!("bob"))];
        let add = |low: &str, high: &str| {
            let stats =
                json!({"numRecords": 2, "minValues": {"user": low, "n": 1}, "maxValues": {"user": high, "n": 2}});
            json!({"add": {"path": "a.parquet", "stats": stats.to_string()}}).to_string()
        };
        let other = json!({"commitInfo": {"note": "bob"}}).to_string();
        assert_eq!(scrubbed_commit(&format!("{other}\n{}\n", add("alice", "carol")), &bounds), None);
        for line in [add("bob", "carol"), add("alice", "bob"), add("bob", "bob")] {
            let clean = scrubbed_commit(&format!("{line}\n"), &bounds).expect("scrubbed");
            assert!(!clean.contains("bob") && clean.contains("numRecords"), "{clean}");
            assert!(clean.contains(r#"\"n\":1"#) || clean.contains(r#"\"n\": 1"#), "{clean}");
        }
        let any = vec![Bound::Any("user".to_owned())];
        let clean = scrubbed_commit(&format!("{}\n", add("alice", "carol")), &any).expect("scrubbed");
        assert!(!clean.contains("alice") && !clean.contains("carol") && clean.contains("numRecords"), "{clean}");
    }

    #[test]
    fn versions_that_follow_are_one_range() {
        let mut ranges = Vec::new();
        [1, 2, 3, 5, 6, 9].into_iter().for_each(|version| extend(&mut ranges, version));
        assert_eq!(ranges, [(1, 3), (5, 6), (9, 9)]);
    }
}
