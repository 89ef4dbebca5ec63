//! Stopping in order: whoever must be waited for registers under a name and a [`Stage`]; stages stop one after the other, and
//! [`Shutdown::finish`] says whom it waits for.
//!
//! Order: jobs stop at their next batch (so that no door waits for one) → doors stop accepting and finish what they serve →
//! stores flush and close.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// When something stops; stages stop in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Materialization and other work that goes on, or begins anew, in the next process.
    Jobs,
    /// gRPC, Flight and HTTP.
    Doors,
    /// What doors and jobs write to.
    Stores,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Jobs, Self::Doors, Self::Stores];

    fn name(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Doors => "doors",
            Self::Stores => "stores",
        }
    }
}

/// The switch that stops a server, shared by all its parts.
#[derive(Debug, Clone)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    requested: CancellationToken,
    tokens: [CancellationToken; 3],
    running: Mutex<BTreeMap<u64, (Stage, String)>>,
    next: Mutex<u64>,
    changed: watch::Sender<()>,
}

/// Somebody to wait for: until it is dropped.
#[derive(Debug)]
pub struct Registration {
    inner: Arc<Inner>,
    id: u64,
    stage: Stage,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A switch nobody has thrown.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner {
            requested: CancellationToken::new(),
            tokens: std::array::from_fn(|_| CancellationToken::new()),
            running: Mutex::default(),
            next: Mutex::default(),
            changed: watch::Sender::new(()),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Throws the switch. Returns at once; [`Self::finish`] does the stopping.
    pub fn request(&self, reason: &str) {
        if !self.inner.requested.is_cancelled() {
            tracing::info!(reason, "stopping");
        }
        self.inner.requested.cancel();
    }

    /// Whether the server is stopping.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.inner.requested.is_cancelled()
    }

    /// Resolves when the switch is thrown, before any stage has stopped.
    pub fn requested(&self) -> impl Future<Output = ()> + Send + 'static {
        self.inner.requested.clone().cancelled_owned()
    }

    /// Names somebody to wait for when `stage` stops.
    #[must_use]
    pub fn register(&self, stage: Stage, name: impl Into<String>) -> Registration {
        let id = {
            let mut next = self.inner.next.lock();
            *next += 1;
            *next
        };
        self.inner.running.lock().insert(id, (stage, name.into()));
        Registration { inner: self.inner.clone(), id, stage }
    }

    /// Stops the stages in order, each within `grace`, and returns the names of those that did not stop in time.
    pub async fn finish(&self, grace: Duration) -> Vec<String> {
        self.request("finish");
        let mut late = Vec::new();
        for stage in Stage::ALL {
            self.inner.tokens[stage as usize].cancel();
            late.extend(self.wait_for(stage, grace).await);
        }
        late
    }

    async fn wait_for(&self, stage: Stage, grace: Duration) -> Vec<String> {
        let mut changed = self.inner.changed.subscribe();
        let waiting = self.inner.names(stage);
        if waiting.is_empty() {
            return waiting;
        }
        tracing::info!(stage = stage.name(), waiting_for = waiting.join(", "), "stopping");
        let all_gone = async { while !self.inner.names(stage).is_empty() && changed.changed().await.is_ok() {} };
        let in_time = tokio::time::timeout(grace, all_gone).await.is_ok();
        let left = self.inner.names(stage);
        if !in_time {
            tracing::warn!(stage = stage.name(), left = left.join(", "), "did not stop in time; going on without");
        }
        left
    }
}

impl Inner {
    fn names(&self, stage: Stage) -> Vec<String> {
        self.running.lock().values().filter(|(of, _)| *of == stage).map(|(_, name)| name.clone()).collect()
    }
}

impl Registration {
    /// Resolves when this registration's stage is told to stop.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        self.inner.tokens[self.stage as usize].clone().cancelled_owned()
    }

    /// Whether this registration's stage was told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.inner.tokens[self.stage as usize].is_cancelled()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.inner.running.lock().remove(&self.id);
        self.inner.changed.send_replace(());
    }
}

/// Throws the switch on SIGTERM or SIGINT. A second signal ends the process at once: the stores recover from that.
///
/// # Errors
/// The signal handlers can't be installed.
pub fn on_signals(shutdown: &Shutdown) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = term.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        shutdown.request(next().await);
        let again = next().await;
        tracing::warn!(signal = again, "second signal: ending without waiting");
        std::process::exit(130);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stages_stop_in_order_and_laggards_are_named() {
        let shutdown = Shutdown::new();
        let job = shutdown.register(Stage::Jobs, "materialize flights");
        let door = shutdown.register(Stage::Doors, "grpc");
        let stuck = shutdown.register(Stage::Stores, "online store");
        let order = Arc::new(Mutex::new(Vec::new()));
        for (name, registration) in [("job", job), ("door", door)] {
            let order = order.clone();
            tokio::spawn(async move {
                registration.stopping().await;
                order.lock().push(name);
                drop(registration);
            });
        }
        let late = shutdown.finish(Duration::from_millis(100)).await;
        assert_eq!(late, ["online store"]);
        assert_eq!(*order.lock(), ["job", "door"]);
        assert!(stuck.is_stopping());
    }
}
