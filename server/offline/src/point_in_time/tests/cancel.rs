//! Dropping the output stops the work, wherever it is, and gives the memory back.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Notify;

use super::named::{batch, ints, spec, table, times, view};
use super::world::session;
use crate::point_in_time::plan;
use crate::table::snapshot::Snapshot;

/// Row groups of the table, a file each.
const FILES: usize = 60;

/// A store that answers at once, as local files in the page cache do, and tells when columns were read for the `wanted`th
/// time.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn ObjectStore>,
    wanted: usize,
    reads: AtomicUsize,
    reached: Notify,
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watched({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if self.reads.fetch_add(1, Ordering::Relaxed) + 1 == self.wanted {
            self.reached.notify_one();
        }
        self.inner.get_ranges(location, ranges).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// How often columns are read by a join that is dropped when they were read for the `wanted`th time.
async fn reads_until_dropped_at(wanted: usize) -> usize {
    let keys: Vec<i64> = (0..20).collect();
    let file = batch(&[("k", ints(&keys)), ("event", times(&keys)), ("value", ints(&keys))]);
    let Snapshot { store, .. } = table(&vec![file.clone(); FILES]).await;
    let watched = Arc::new(Watched { inner: store, wanted, reads: AtomicUsize::new(0), reached: Notify::new() });
    let table = Snapshot { store: watched.clone(), ..table(&vec![file; FILES]).await };
    let session = session(2, 10);
    let spine = session.read_batch(batch(&[("k", ints(&keys)), ("at", times(&keys))])).expect("spine");
    let node = plan(spine.into_unoptimized_plan(), spec(vec![view(&table, &["k"])])).expect("plan");
    let mut stream = session.execute_logical_plan(node).await.expect("frame").execute_stream().await.expect("stream");
    tokio::select! {
        biased;
        () = watched.reached.notified() => {}
        _ = stream.next() => assert_eq!(wanted, usize::MAX, "the join ended first"),
    }
    drop(stream);
    freed(&session).await;
    watched.reads.load(Ordering::Relaxed)
}

async fn freed(session: &SessionContext) {
    for _ in 0..1_000 {
        if session.runtime_env().memory_pool.reserved() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{} bytes stay reserved", session.runtime_env().memory_pool.reserved());
}

#[tokio::test]
async fn in_either_phase() {
    // All files are the same, so that the last one gives every winner: one read for phase 2.
    assert_eq!(reads_until_dropped_at(usize::MAX).await, FILES + 1);
    assert!(reads_until_dropped_at(3).await < FILES / 2, "the scan goes on unseen");
}
