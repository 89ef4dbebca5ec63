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

/// Where work says how far it is. Nobody may be listening any more: then the work is being stopped.
#[derive(Debug)]
pub(super) struct Reports<T>(mpsc::Sender<Result<T>>);

impl<T: Send> Reports<T> {
    /// Hands a report over, waiting for room.
    pub(super) async fn send(&self, report: T) {
        let _ = self.0.send(Ok(report)).await;
    }
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
    let (reports, received) = mpsc::channel(REPORTS);
    let work = AssertUnwindSafe(work(Reports(reports.clone()))).catch_unwind();
    let mut tasks = JoinSet::new();
    let run = async move {
        let _place = place;
        let done = work.await.unwrap_or_else(|_| Err(Error::internal("the work panicked; please report it")));
        if let Err(error) = done {
            let _ = reports.send(Err(error)).await;
        }
    };
    tasks.spawn_on(run, &plans.handle());
    let owned = move |report| {
        // The stream owns the task, which ends with it.
        let _ = &tasks;
        report
    };
    ReceiverStream::new(received).map(owned).boxed()
}
