//! Files that are written anew where they stand: rows keep their order, their address and the time of their commit, so that nothing is
//! new in them for who has read the old ones.
//!
//! The commit of such files is marked by a transaction, so that readers who follow the log tell it from other changes.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::{Field, Schema, SchemaRef};
use futures::TryStreamExt;

use super::append::Unpublished;
use super::compact::{ADDRESS, committed_field};
use super::delta::DeltaSource;
use super::read::{ReadOptions, read_file};
use super::snapshot::{DataFile, Snapshot};
use super::write::FileWriter;
use crate::error::Result;
use crate::runtime::Runtime;

/// Application of the transaction of a commit that only removes the rows of an erased entity.
pub(super) const ERASE_PREFIX: &str = "tidegate.erase/";

/// Application of the transaction of a commit that only widens columns.
pub(super) const WIDEN: &str = "tidegate.widen";

/// Whether a commit with these transactions has its files in the place of others.
pub(super) fn is_marked(transactions: &[(String, i64)]) -> bool {
    transactions.iter().any(|(application, _)| application.starts_with(ERASE_PREFIX) || application == WIDEN)
}

/// Files of a snapshot, written anew.
pub(super) struct Anew<'a> {
    pub(super) table: &'a DeltaSource,
    pub(super) runtime: &'a Runtime,
    pub(super) snapshot: &'a Arc<Snapshot>,
    /// The columns that the new files have: the snapshot's, maybe wider.
    pub(super) columns: &'a SchemaRef,
}

impl Anew<'_> {
    /// Writes a file's rows without those that `gone` marks, adds the new files to `files`, and counts the rows left out.
    pub(super) async fn write(
        &self,
        file: &DataFile,
        gone: impl Fn(&RecordBatch) -> Result<Option<BooleanArray>>,
        files: &mut Unpublished,
    ) -> Result<u64> {
        let (stored, wanted) = (with_commits(&self.snapshot.schema), with_commits(self.columns));
        let store = self.table.store().clone();
        let mut writer = FileWriter::new(self.runtime, self.table.name(), wanted, Vec::new(), store);
        let options = ReadOptions { commits: true, ..ReadOptions::default() };
        let (mut rows, mut left_out, kept_before) = (read_file(self.snapshot, file, &options)?, 0, files.adds.len());
        while let Some(found) = rows.try_next().await? {
            let gone = gone(&found.batch)?;
            let commits: ArrayRef = Arc::new(TimestampMicrosecondArray::from(found.commits).with_timezone("UTC"));
            let columns = found.batch.columns().iter().cloned().chain([commits]).collect();
            let mut batch = RecordBatch::try_new(relaxed(&stored), columns)?;
            if let Some(gone) = gone {
                left_out += gone.true_count() as u64;
                batch = filter_record_batch(&batch, &not(&gone)?)?;
            }
            if batch.num_rows() > 0 {
                let written = writer.write(&batch).await;
                files.adds.truncate(kept_before);
                files.adds.extend_from_slice(writer.written());
                written?;
            }
        }
        let finished = writer.finish().await;
        files.adds.truncate(kept_before);
        match finished {
            Ok(adds) => files.adds.extend(adds),
            Err((error, adds)) => {
                files.adds.extend(adds);
                return Err(error);
            }
        }
        let address = format!("{}/{}", file.added_version, file.order);
        for add in &mut files.adds[kept_before..] {
            add.tags = Some(HashMap::from([(ADDRESS.to_owned(), Some(address.clone()))]));
        }
        Ok(left_out)
    }
}

fn with_commits(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().cloned().chain([Arc::new(committed_field())]).collect::<Vec<_>>()))
}

/// Every column may be null: files may hold nulls where the log promises none.
fn relaxed(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}
