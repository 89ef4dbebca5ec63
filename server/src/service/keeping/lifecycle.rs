//! Work that changes what the data folder holds as a whole, one at a time: backups and erasures, which would else see each other
//! half done.

use futures::StreamExt;
use futures::stream::BoxStream;
use tidegate_schemas::error::ErrorKind;

use crate::service::work::{Reports, contained};
use crate::service::{Error, Result, Tidegate};
use crate::shutdown::{Registration, Stage};

/// Reports that may wait for a slow listener before the work waits too.
const REPORTS: usize = 16;

impl Tidegate {
    /// Starts work that ends whether or not anybody listens; its error is the last item.
    ///
    /// # Errors
    /// `Precondition` while other such work is under way.
    pub(in crate::service) fn alone<T, F>(
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
        let (reports, received) = Reports::ahead(REPORTS);
        let work = contained(work(reports.clone(), registration));
        self.plans.handle().spawn(async move {
            let done = work.await;
            drop(alone);
            reports.end(done).await;
        });
        Ok(received.boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tests::bench::Bench;

    #[tokio::test(flavor = "multi_thread")]
    async fn work_that_panics_is_told_of_and_lets_others_go_on() {
        let bench = Bench::new().await;
        let panics = |reports: Reports<u8>, _registration| async move {
            reports.send(1).await;
            panic!("a fault in the work");
        };
        let told: Vec<_> = bench.service.alone("panics".to_owned(), panics).unwrap().collect().await;
        let [Ok(1), Err(error)] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(error.kind, ErrorKind::Internal);
        let ends = |_: Reports<u8>, _registration| async { Ok(()) };
        let told: Vec<_> = bench.service.alone("ends".to_owned(), ends).unwrap().collect().await;
        assert!(told.is_empty(), "{told:?}");
    }
}
