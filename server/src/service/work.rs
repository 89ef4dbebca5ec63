//! Long work on the plan threads, told of as it goes.

use std::panic::AssertUnwindSafe;

use futures::stream::{BoxStream, StreamExt};
use futures::{Future, FutureExt};
use tidegate_offline::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use super::admission::Place;
use super::{Error, Result};

/// Reports ahead of whoever reads them.
const REPORTS: usize = 4;

/// Where work says how far it is. Nobody may be listening any more.
#[derive(Debug)]
pub(super) struct Reports<T>(mpsc::Sender<Result<T>>);

impl<T> Clone for Reports<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send> Reports<T> {
    /// With room for so many that nobody has read yet.
    pub(super) fn ahead(count: usize) -> (Self, ReceiverStream<Result<T>>) {
        let (reports, received) = mpsc::channel(count);
        (Self(reports), ReceiverStream::new(received))
    }

    /// Hands a report over, waiting for room.
    pub(super) async fn send(&self, report: T) {
        let _ = self.0.send(Ok(report)).await;
    }

    /// Hands a report over from a thread that may wait; drops it where there is no room.
    pub(super) fn try_send(&self, report: T) {
        let _ = self.0.try_send(Ok(report));
    }

    /// Hands over what the work failed with, if it did, as the last of all.
    pub(super) async fn end(self, done: Result<()>) {
        if let Err(error) = done {
            let _ = self.0.send(Err(error)).await;
        }
    }
}

/// Does work; a panic is an error like any other.
pub(super) async fn contained(work: impl Future<Output = Result<()>>) -> Result<()> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.unwrap_or_else(|_| Err(Error::internal("the work panicked; please report it with the server's log")))
}

/// Starts work that has a place on the plan threads; its error is the last item. Dropping the stream stops the work.
pub(super) fn start<T, F>(
    plans: &Runtime,
    place: Place,
    work: impl FnOnce(Reports<T>) -> F,
) -> BoxStream<'static, Result<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (reports, received) = Reports::ahead(REPORTS);
    let work = contained(work(reports.clone()));
    let mut tasks = JoinSet::new();
    let run = async move {
        let done = work.await;
        drop(place);
        reports.end(done).await;
    };
    tasks.spawn_on(run, &plans.handle());
    let owned = move |report| {
        // The stream owns the task, which ends with it.
        let _ = &tasks;
        report
    };
    received.map(owned).boxed()
}
