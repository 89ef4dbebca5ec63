//! Parity: whether lookups answer what the table says, key by key, at the version that was materialized.

use std::sync::Arc;

use futures::stream::BoxStream;
use tidegate_offline::latest::{Newest, Seen, latest};
use tidegate_offline::table::snapshot::Snapshot;
use tidegate_online::{Load, ViewId};
use tidegate_schemas::definition::FeatureView;
use tidegate_schemas::error::ErrorKind;
use tokio::sync::mpsc;

pub use tidegate_online::{Mismatch, Parity};

use crate::materialize::{Claim, Columns, Observations, events};
use crate::registry::Versioned;
use crate::service::materialize::online_views;
use crate::service::work;
use crate::service::{Error, Principal, Result, Tidegate};

/// Batches between the threads that read and the one that sorts.
const BATCHES_AHEAD: usize = 4;

/// How one view compares with its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewParity {
    /// The view.
    pub view: String,
    /// The table version compared with: the one materialized.
    pub version: i64,
    /// What came out.
    pub parity: Parity,
}

/// A view to compare, and with what.
struct Subject {
    view: String,
    id: ViewId,
    version: i64,
    snapshot: Arc<Snapshot>,
    columns: Columns,
    /// No job moves it meanwhile.
    claim: Claim,
}

impl Tidegate {
    /// Compares every row that lookups see with the newest observation of its key in the table, or what they answer of windows with
    /// the events there, at the version each view was materialized to; one report for each view. Empty `views` for all online ones.
    ///
    /// # Errors
    /// `NotFound` for the project or a view; `Precondition` for a view that was never materialized, is being materialized, or whose
    /// table no longer has that version.
    pub async fn parity(
        &self,
        _principal: &Principal,
        project: &str,
        views: &[String],
    ) -> Result<BoxStream<'static, Result<ViewParity>>> {
        let project = self.project(project).await?;
        // Before the claims: who waits for a place keeps no job waiting.
        let place = self.admission.training_sets.place().await?;
        let mut subjects = Vec::new();
        for view in online_views(&project.catalog, views)? {
            subjects.push(self.subject(&project, view).await?);
        }
        let (store, plans, clock) = (self.online.clone(), self.plans.clone(), self.clock.clone());
        Ok(work::start(&self.plans, place, async move |reports| {
            for Subject { view, id, version, snapshot, columns, claim } in subjects {
                // What is due by now is served, and nothing else is compared.
                let now = clock.now();
                let releasing = store.clone();
                let released = tokio::task::spawn_blocking(move || releasing.release_due(now)).await;
                released.map_err(|error| Error::internal("a release panicked").with_source(error))??;
                let expected = store.expected(id)?.until(now);
                let collected = match columns.is_windowed() {
                    true => collect_events(expected, columns, &snapshot).await?,
                    false => {
                        let (found, newest) = mpsc::channel(BATCHES_AHEAD);
                        let (spec, seen) = (columns.latest(now, false), Arc::new(Seen::default()));
                        let (collected, ()) = tokio::try_join!(collect(expected, columns, newest), async {
                            Ok(latest(&plans, &snapshot, &snapshot.files, &spec, found, &seen).await?)
                        })?;
                        collected
                    }
                };
                let store = store.clone();
                let compared = tokio::task::spawn_blocking(move || store.compare(id, collected)).await;
                let parity =
                    compared.map_err(|error| Error::internal("a comparison panicked").with_source(error))??;
                drop(claim);
                reports.send(ViewParity { view, version, parity }).await;
            }
            Ok(())
        }))
    }

    async fn subject(&self, project: &Versioned, view: &FeatureView) -> Result<Subject> {
        let catalog = &project.catalog;
        let missing = || Error::internal(format!("view `{}` has no source", view.name));
        let source = catalog.sources.get(&view.source).ok_or_else(missing)?;
        let claim = self.claim(&catalog.project, &view.name).await.ok_or_else(|| {
            let message = format!("feature view `{}` is being materialized; wait until that is done", view.name);
            Error::new(ErrorKind::Precondition, message)
        })?;
        let id = self.view_id(project, view)?;
        let Some(cursor) = self.online.cursor(id)? else {
            let message = format!("feature view `{}` was never materialized; materialize it first", view.name);
            return Err(Error::new(ErrorKind::Precondition, message));
        };
        let table = self.tables.open(&catalog.project, source).await?;
        let snapshot = table.snapshot(Some(cursor.version)).await.map_err(|error| {
            let message = format!(
                "the table of feature view `{}` no longer has version {}, which was materialized; materialize it again",
                view.name, cursor.version
            );
            Error::new(ErrorKind::Precondition, message).with_source(error)
        })?;
        let columns = Columns::of(catalog, view, source);
        Ok(Subject { view: view.name.clone(), id, version: cursor.version, snapshot, columns, claim })
    }
}

/// Sorts all events of a windowed view's table, on a thread that may wait for the disk.
async fn collect_events(mut expected: Load, columns: Columns, snapshot: &Arc<Snapshot>) -> Result<Load> {
    let (steps, mut taken) = mpsc::channel::<(i64, Observations)>(BATCHES_AHEAD);
    let sorted = tokio::task::spawn_blocking(move || {
        while let Some((version, events)) = taken.blocking_recv() {
            expected.add(events.added(version))?;
        }
        Ok::<_, Error>(expected)
    });
    let pair = |version, events| (version, events);
    let read = events(snapshot, &snapshot.files, &columns, &Seen::default(), pair, &steps).await;
    drop(steps);
    let sorted = sorted.await.map_err(|error| Error::internal("a comparison panicked").with_source(error))??;
    read.map(|()| sorted)
}

/// Sorts what comes, on a thread that may wait for the disk.
async fn collect(mut expected: Load, columns: Columns, mut newest: mpsc::Receiver<Newest>) -> Result<Load> {
    let sorted = tokio::task::spawn_blocking(move || {
        while let Some(Newest { version, batch }) = newest.blocking_recv() {
            expected.add(columns.read(&batch)?.added(version))?;
        }
        Ok(expected)
    });
    sorted.await.map_err(|error| Error::internal("a comparison panicked").with_source(error))?
}
