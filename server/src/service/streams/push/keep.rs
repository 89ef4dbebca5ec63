//! What pushes need as time goes by: rows that became due are released, outboxes go to their tables.

use std::sync::Arc;
use std::time::Duration;

use tidegate_online::FeedStatus;

use crate::service::{Result, Tidegate};
use crate::shutdown::Registration;

/// How often it is looked what became due.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long after a failure.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Tidegate {
    /// Releases what is due until jobs stop. Rows are seen within a moment of their time, never before.
    pub async fn release_pushes(self: Arc<Self>, registration: Registration) {
        let mut stopping = std::pin::pin!(registration.stopping());
        let mut pause = LOOK_EVERY;
        loop {
            tokio::select! {
                () = &mut stopping => break,
                () = tokio::time::sleep(pause) => {}
            }
            pause = LOOK_EVERY;
            if let Err(error) = self.release_due().await {
                tracing::warn!(error = error.chain(), "rows that are due wait on");
                pause = LOOK_AGAIN;
            }
        }
    }

    /// Brings outboxes to their tables until jobs stop. What is left is brought after the next start.
    pub async fn flush_pushes(self: Arc<Self>, registration: Registration) {
        let mut stopping = std::pin::pin!(registration.stopping());
        loop {
            tokio::select! {
                () = &mut stopping => break,
                () = self.pushes.flush.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY * 5) => {}
            }
            for status in self.online.feeds() {
                if self.is_due(&status) {
                    // What is cut short is begun again after the next start, by the same name.
                    tokio::select! {
                        () = &mut stopping => return,
                        () = self.flush_due(&status) => {}
                    }
                }
            }
            // A table that many push to gets files of some size.
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Releases the rows that are due now.
    ///
    /// # Errors
    /// A failing disk, no room on it.
    pub(crate) async fn release_due(&self) -> Result<()> {
        let (store, now) = (self.online.clone(), self.clock.now());
        let released = tokio::task::spawn_blocking(move || store.release_due(now)).await;
        let released =
            released.map_err(|error| crate::service::Error::internal("a release panicked").with_source(error))??;
        if released.rows > 0 {
            self.telemetry.released(released.rows);
        }
        Ok(())
    }

    async fn flush_due(&self, status: &FeedStatus) {
        let flushed = async {
            let project = self.project(&status.project).await?;
            // What is pushed meanwhile has its turn later, or a busy source would keep all others waiting.
            self.flush_feed(&project, &status.name, status.feed, self.online.last_number()).await
        };
        match flushed.await {
            Ok(_) => {
                self.pushes.failed.lock().remove(&status.feed);
            }
            Err(error) => {
                self.pushes.failed.lock().insert(status.feed, self.clock.now());
                tracing::warn!(
                    project = status.project,
                    source = status.name,
                    rows = status.rows,
                    error = error.chain(),
                    "pushed rows stay in the outbox and are tried again"
                );
            }
        }
    }
}
