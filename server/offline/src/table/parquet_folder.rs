//! A folder of Parquet files as a table: read only, one version, files ordered by path.
//!
//! The columns are those of all files together; a file that lacks one reads as nulls. Every snapshot lists the folder anew;
//! footers of unchanged files are remembered.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use parking_lot::Mutex;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, arrow_reader::ArrowReaderOptions};

use super::local::LocalFiles;
use super::object::StoredFile;
use super::read::file_error;
use super::schema;
use super::snapshot::{DataFile, Snapshot};
use crate::error::{Error, Result};

/// Footers read at once.
const CONCURRENT_READS: usize = 16;

/// A folder of Parquet files.
#[derive(Debug)]
pub(super) struct ParquetFolder {
    name: String,
    path: PathBuf,
    store: Arc<dyn ObjectStore>,
    footers: Mutex<HashMap<Path, (ObjectMeta, Footer)>>,
}

/// What a footer says.
#[derive(Debug, Clone)]
struct Footer {
    rows: u64,
    schema: SchemaRef,
}

impl ParquetFolder {
    pub(super) async fn open(name: &str, path: &FilePath) -> Result<Self> {
        if !path.is_dir() {
            return Err(Error::TableMissing { table: name.to_owned(), path: path.to_owned() });
        }
        if path.join("_delta_log").is_dir() {
            return Err(Error::WrongFormat {
                table: name.to_owned(),
                path: path.to_owned(),
                expected: "a plain folder of Parquet files but a Delta table",
            });
        }
        let store = LocalFiles::below(path).map_err(|source| Error::Storage {
            table: name.to_owned(),
            doing: "opening",
            source,
        })?;
        let folder =
            Self { name: name.to_owned(), path: path.to_owned(), store: Arc::new(store), footers: Mutex::default() };
        folder.snapshot(None).await?;
        Ok(folder)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn snapshot(&self, version: Option<i64>) -> Result<Arc<Snapshot>> {
        if let Some(version) = version.filter(|version| *version != 0) {
            return Err(Error::VersionMissing { table: self.name.clone(), version, latest: 0 });
        }
        if !self.path.is_dir() {
            return Err(Error::TableMissing { table: self.name.clone(), path: self.path.clone() });
        }
        let listed = self.list().await?;
        if listed.is_empty() {
            return Err(Error::WrongFormat {
                table: self.name.clone(),
                path: self.path.clone(),
                expected: "a folder with Parquet files (*.parquet)",
            });
        }
        let footers = futures::stream::iter(listed).map(|file| self.footer(file)).buffered(CONCURRENT_READS);
        let footers: Vec<(ObjectMeta, Footer)> = footers.try_collect().await?;
        let schema = self.merge(&footers)?;
        let files = footers.iter().enumerate().map(|(order, (file, footer))| data_file(order, file, footer)).collect();
        *self.footers.lock() = footers.into_iter().map(|(file, of)| (file.location.clone(), (file, of))).collect();
        let (name, store) = (self.name.clone(), self.store.clone());
        Ok(Arc::new(Snapshot { name, id: None, version: 0, schema, files, store }))
    }

    /// The Parquet files by path. Hidden files and those of unfinished writes are passed over, as everywhere.
    async fn list(&self) -> Result<Vec<ObjectMeta>> {
        let failed = |source| Error::Storage { table: self.name.clone(), doing: "listing the files", source };
        let mut files: Vec<ObjectMeta> = self.store.list(None).try_collect().await.map_err(failed)?;
        let hidden = |path: &Path| path.parts().any(|part| part.as_ref().starts_with(['.', '_']));
        files.retain(|file| file.location.extension() == Some("parquet") && !hidden(&file.location));
        files.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(files)
    }

    async fn footer(&self, file: ObjectMeta) -> Result<(ObjectMeta, Footer)> {
        if let Some((known, footer)) = self.footers.lock().get(&file.location)
            && known.size == file.size
            && known.last_modified == file.last_modified
        {
            return Ok((file, footer.clone()));
        }
        let reader = StoredFile { store: self.store.clone(), path: file.location.clone(), size: file.size };
        let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, ArrowReaderOptions::new())
            .await
            .map_err(|error| file_error(&self.name, &blank(&file), error))?;
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or_default();
        let footer = Footer { rows, schema: schema::normal_schema(builder.schema()) };
        Ok((file, footer))
    }

    /// The columns of all files, in the order first seen; of two types that read as each other the wider one.
    fn merge(&self, footers: &[(ObjectMeta, Footer)]) -> Result<SchemaRef> {
        let mut fields: Vec<Field> = Vec::new();
        for (file, footer) in footers {
            for field in footer.schema.fields() {
                let Some(known) = fields.iter_mut().find(|known| known.name() == field.name()) else {
                    fields.push(field.as_ref().clone().with_nullable(true));
                    continue;
                };
                let Some(wider) = wider(known.data_type(), field.data_type()) else {
                    return Err(Error::TypeChanged {
                        table: format!("{}` (file `{}", self.name, file.location),
                        column: field.name().clone(),
                        stored: schema::type_name(field.data_type()),
                        wanted: schema::type_name(known.data_type()),
                    });
                };
                *known = known.clone().with_data_type(wider);
            }
        }
        Ok(Arc::new(Schema::new(fields)))
    }
}

fn wider(a: &DataType, b: &DataType) -> Option<DataType> {
    if schema::reads_as(a, b) { Some(b.clone()) } else { schema::reads_as(b, a).then(|| a.clone()) }
}

fn blank(file: &ObjectMeta) -> DataFile {
    DataFile {
        path: file.location.clone(),
        size: file.size,
        rows: None,
        added_version: 0,
        order: 0,
        committed: None,
        compacted: false,
        partition: BTreeMap::new(),
        ranges: BTreeMap::new(),
        deleted_rows: None,
    }
}

fn data_file(order: usize, file: &ObjectMeta, footer: &Footer) -> DataFile {
    DataFile { rows: Some(footer.rows), order: u32::try_from(order).unwrap_or(u32::MAX), ..blank(file) }
}
