//! Work that changes what the data folder holds as a whole, one at a time: backups and erasures, which would else see each other
//! half done.

use futures::StreamExt;
use futures::stream::BoxStream;
use tidegate_schemas::error::ErrorKind;
use tokio::sync::mpsc;

use super::{Error, Result, Tidegate};
use crate::shutdown::{Registration, Stage};

/// Reports that may wait for a slow listener before the work waits too.
const REPORTS: usize = 16;

/// Where work says how far it is. It goes on when nobody listens any more.
#[derive(Debug, Clone)]
pub(super) struct Reports<T>(mpsc::Sender<Result<T>>);

impl<T: Send> Reports<T> {
    /// Hands a report over, waiting for room.
    pub(super) async fn send(&self, report: T) {
        let _ = self.0.send(Ok(report)).await;
    }

    /// Hands a report over from a thread that may wait; drops it where there is no room.
    pub(super) fn try_send(&self, report: T) {
        let _ = self.0.try_send(Ok(report));
    }
}

impl Tidegate {
    /// Starts work that ends whether or not anybody listens; its error is the last item.
    ///
    /// # Errors
    /// `Precondition` while other such work is under way.
    pub(super) fn alone<T, F>(
        &self,
        name: String,
        work: impl FnOnce(Reports<T>, Registration) -> F,
    ) -> Result<BoxStream<'static, Result<T>>>
    where
        T: Send + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let alone = self.lifecycle.clone().try_lock_owned().map_err(|_| {
            let message = "a backup or an erasure is under way; wait until it is done and try again";
            Error::new(ErrorKind::Precondition, message)
        })?;
        let registration = self.shutdown.register(Stage::Jobs, name);
        let (reports, received) = mpsc::channel(REPORTS);
        let work = work(Reports(reports.clone()), registration);
        self.plans.handle().spawn(async move {
            let done = work.await;
            drop(alone);
            if let Err(error) = done {
                let _ = reports.send(Err(error)).await;
            }
        });
        Ok(tokio_stream::wrappers::ReceiverStream::new(received).boxed())
    }
}
