//! A session reaches nothing by itself; a detached stream stops when dropped; a panic stays with its query.

use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

use super::*;
use crate::fixtures::runtime;

#[tokio::test]
async fn a_session_reaches_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.parquet");
    std::fs::write(&file, b"PAR1").unwrap();
    let session = runtime(folder.path()).session();
    let read = session.read_parquet(file.display().to_string(), Default::default()).await;
    assert!(read.unwrap_err().to_string().contains("no file or URL"), "the registry answers for file://");
    assert!(session.sql(&format!("SELECT * FROM '{}'", file.display())).await.is_err());
}

#[tokio::test]
async fn dropping_a_detached_stream_drops_what_feeds_it() {
    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime(folder.path());
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = Flag(dropped.clone());
    let schema = Arc::new(Schema::empty());
    let batch = RecordBatch::new_empty(schema.clone());
    let endless = futures::stream::repeat_with(move || {
        let _held = &flag;
        Ok(batch.clone())
    });
    let mut stream = runtime.detach(Box::pin(RecordBatchStreamAdapter::new(schema, endless)));
    assert!(stream.next().await.is_some());
    drop(stream);
    for _ in 0..1000 {
        if dropped.load(Ordering::SeqCst) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the stream is still polled");
}

#[tokio::test]
async fn a_panic_is_an_error_of_its_query() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime(folder.path());
    let schema = Arc::new(Schema::empty());
    let broken = futures::stream::poll_fn(|_| -> std::task::Poll<Option<_>> { panic!("as a kernel would") });
    let mut stream = runtime.detach(Box::pin(RecordBatchStreamAdapter::new(schema, broken)));
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("a plan panicked"), "{error}");
    let answer = runtime.run(async { Ok(41 + 1) }).await.unwrap();
    assert_eq!(answer, 42);
}
