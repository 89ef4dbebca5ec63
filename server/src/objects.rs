//! Files that are written once: what the registry and the sealed sets keep their records in.
//!
//! A record is created with put-if-absent, so that of two writers one is told; on a local folder it is on disk when
//! [`Objects::create`] returns. The store is `object_store`'s, so the same code serves a folder and a bucket.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tidegate_schemas::failpoint::{Failpoint, reach};
use tokio::io::AsyncWriteExt;

type Result<T> = std::result::Result<T, Error>;

/// A place of files that are written once.
#[derive(Debug)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    root: String,
    /// Where the files are on this machine, if they are.
    folder: Option<PathBuf>,
}

impl Objects {
    /// A local folder, which is created when it is missing.
    pub(crate) fn open(folder: &FilePath) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(io)?;
        let store = LocalFileSystem::new_with_prefix(folder)?;
        Ok(Self { store: Arc::new(store), root: folder.display().to_string(), folder: Some(folder.to_owned()) })
    }

    /// Where the files are, for messages.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// A file's bytes, or `None` where there is none.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>> {
        match self.store.get(path).await {
            Ok(found) => found.bytes().await.map(Some),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn exists(&self, path: &Path) -> Result<bool> {
        match self.store.head(path).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a file unless there is one; says whether it did.
    pub(crate) async fn create(&self, path: &Path, bytes: Vec<u8>) -> Result<bool> {
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(path, bytes.into(), create).await {
            Ok(_) => {
                reach(Failpoint::MidRecord);
                self.sync(path).map(|()| true)
            }
            Err(Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Copies a local file in, whatever its size.
    pub(crate) async fn upload(&self, path: &Path, from: &FilePath) -> Result<()> {
        let mut file = tokio::fs::File::open(from).await.map_err(io)?;
        let mut writer = BufWriter::new(self.store.clone(), path.clone());
        tokio::io::copy(&mut file, &mut writer).await.map_err(io)?;
        writer.shutdown().await.map_err(io)?;
        self.sync(path)
    }

    /// Copies a file out to a local one, whatever its size.
    pub(crate) async fn download(&self, path: &Path, to: &FilePath) -> Result<()> {
        let mut file = tokio::fs::File::create(to).await.map_err(io)?;
        let mut chunks = self.store.get(path).await?.into_stream();
        while let Some(chunk) = chunks.try_next().await? {
            file.write_all(&chunk).await.map_err(io)?;
        }
        file.flush().await.map_err(io)
    }

    pub(crate) async fn delete(&self, path: &Path) -> Result<()> {
        match self.store.delete(path).await {
            Err(Error::NotFound { .. }) => Ok(()),
            done => done,
        }
    }

    /// The `.json` files below a folder, by name without the ending.
    pub(crate) async fn names(&self, below: &Path) -> Result<Vec<String>> {
        let listed = self.store.list_with_delimiter(Some(below)).await?;
        let name = |meta: &object_store::ObjectMeta| Some(meta.location.filename()?.strip_suffix(".json")?.to_owned());
        let mut names: Vec<String> = listed.objects.iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    /// The folders at the top, by name.
    pub(crate) async fn folders(&self) -> Result<Vec<String>> {
        let listed = self.store.list_with_delimiter(None).await?;
        let name = |path: &Path| path.parts().next().map(|part| part.as_ref().to_owned());
        let mut folders: Vec<String> = listed.common_prefixes.iter().filter_map(name).collect();
        folders.sort();
        Ok(folders)
    }

    /// Brings a local file and the folders that name it to disk.
    fn sync(&self, path: &Path) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let file = folder.join(path.as_ref());
        let places = file.ancestors().take_while(|place| place.starts_with(folder));
        places.into_iter().try_for_each(|place| std::fs::File::open(place)?.sync_all()).map_err(io)
    }
}

fn io(error: std::io::Error) -> Error {
    Error::Generic { store: "folder", source: error.into() }
}
