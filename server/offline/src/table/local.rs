//! Local files: writes survive power loss, reads of parts of a file reuse memory.
//!
//! A file is synced before its name appears, its folder after. The plain local store renames or links a file that may still
//! be in memory only; after a power cut the log could then hold an empty commit.
//!
//! Parts of a file are read on the thread that asks, into [`Buffer`]s: files in the page cache are read at the speed of
//! memory, where a hop to another thread and fresh memory for each part cost as much as the reading. Plans have threads of
//! their own, so what waits for a disk is a plan. Everything else is the plain store's.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tidegate_schemas::failpoint::{Failpoint, reach};

use crate::buffers::Buffer;

/// The name of this store in errors.
const STORE: &str = "LocalFiles";

/// Local files, from the root of the file system or from a folder.
#[derive(Debug, Default)]
pub(super) struct LocalFiles {
    files: Arc<LocalFileSystem>,
}

impl LocalFiles {
    /// Files below a folder, which must exist.
    pub(super) fn below(folder: &FilePath) -> Result<Self> {
        Ok(Self { files: Arc::new(LocalFileSystem::new_with_prefix(folder)?) })
    }
}

impl std::fmt::Display for LocalFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{STORE}({})", self.files)
    }
}

#[async_trait]
impl ObjectStore for LocalFiles {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let target = self.files.path_to_filesystem(location)?;
        let replace = match options.mode {
            PutMode::Create => false,
            PutMode::Overwrite => true,
            PutMode::Update(_) => return self.files.put_opts(location, payload, options).await,
        };
        let location = location.clone();
        let write = move || write_synced(&target, &payload, replace).map_err(|source| io_error(&location, source));
        tokio::task::spawn_blocking(write).await.map_err(|source| Error::JoinError { source })??;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let path = self.files.path_to_filesystem(location)?;
        read(&path, ranges).map_err(|source| io_error(location, source))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }
}

fn read(path: &FilePath, ranges: &[Range<u64>]) -> std::io::Result<Vec<Bytes>> {
    let file = File::open(path)?;
    let part = |range: &Range<u64>| {
        let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(std::io::Error::other)?;
        // What a footer claims may be more than there is, and more than memory.
        if range.end > file.metadata()?.len() {
            let short = format!("bytes {} to {} are asked for of a file that ends before", range.start, range.end);
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, short));
        }
        let mut buffer = Buffer::of(length);
        file.read_exact_at(&mut buffer, range.start)?;
        Ok(Bytes::from_owner(buffer))
    };
    ranges.iter().map(part).collect()
}

/// Writes beside the target, syncs, then gives the file its name.
fn write_synced(target: &FilePath, payload: &PutPayload, replace: bool) -> std::io::Result<()> {
    let folder = target.parent().ok_or_else(|| std::io::Error::other("a file needs a folder"))?;
    fs::create_dir_all(folder)?;
    let staged = staging_path(target);
    let written = stage(&staged, payload).and_then(|()| {
        reach(Failpoint::BeforeRename);
        match replace {
            true => fs::rename(&staged, target),
            // Unlike a rename, a link fails where the name is taken: that is the compare-and-set of the log.
            false => fs::hard_link(&staged, target),
        }
    });
    if !replace || written.is_err() {
        let _ = fs::remove_file(&staged);
    }
    written?;
    File::open(folder)?.sync_all()
}

fn stage(staged: &FilePath, payload: &PutPayload) -> std::io::Result<()> {
    let mut file = File::create_new(staged)?;
    for part in payload {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// A name that listings of the log and of tables pass over.
fn staging_path(target: &FilePath) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{}.tmp", uuid::Uuid::new_v4().simple()))
}

fn io_error(location: &Path, source: std::io::Error) -> Error {
    let path = location.to_string();
    match source.kind() {
        std::io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: Box::new(source) },
        std::io::ErrorKind::NotFound => Error::NotFound { path, source: Box::new(source) },
        std::io::ErrorKind::PermissionDenied => Error::PermissionDenied { path, source: Box::new(source) },
        _ => Error::Generic { store: STORE, source: Box::new(source) },
    }
}
