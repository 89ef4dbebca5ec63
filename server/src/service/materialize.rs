//! Materialization as a use case: start or join jobs, and say how far each view has come.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use tidegate_schemas::catalog::{Catalog, nearest};
use tidegate_schemas::definition::FeatureView;
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::Micros;
use tokio::sync::mpsc;

use super::{Error, Principal, Result, Tidegate};
use crate::materialize::{Claim, Job, Subject};
use crate::registry::Versioned;
use crate::shutdown::Stage;

/// Reports that may wait for a slow listener before the job waits too.
const REPORTS: usize = 16;

/// How often, and how far apart, a view that another job has is asked for.
const CLAIM_ATTEMPTS: usize = 40;
const CLAIM_PAUSE: Duration = Duration::from_millis(50);

/// Which views to bring up to date.
#[derive(Debug, Clone, Default)]
pub struct MaterializeRequest {
    /// The project.
    pub project: String,
    /// Empty for all online views.
    pub views: Vec<String>,
    /// Rebuild from the whole table, instead of from the versions added since the cursor.
    pub full: bool,
}

/// Where a job is with one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaterializeProgress {
    /// The view.
    pub view: String,
    /// The last message about this view.
    pub done: bool,
    /// The cursor before this call; absent when there was none.
    pub from_version: Option<i64>,
    /// The table version being reached.
    pub to_version: i64,
    /// Rows read so far.
    pub rows_read: u64,
    /// An estimate from the table's statistics; 0 where unknown.
    pub rows_total: u64,
    /// Rows that replaced what was stored, or were new.
    pub rows_written: u64,
    /// Rows that were no observation: a null key or a null event time.
    pub rows_skipped: u64,
    /// Whether the view is rebuilt from the whole table.
    pub full: bool,
    /// With `done`: a token of everything written so far, for [`super::LookupRequest::after_write`].
    pub write_token: String,
}

/// How far one online view has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewStatus {
    /// The view.
    pub view: String,
    /// The table version reached; absent when nothing was materialized.
    pub cursor: Option<i64>,
    /// The table's current version; absent when it can't be read.
    pub table_version: Option<i64>,
    /// When the last materialization was completed.
    pub materialized_at: Option<Micros>,
    /// The epoch lookups read.
    pub epoch: u32,
    /// A materialization stopped half way and will resume.
    pub in_progress: bool,
}

impl Tidegate {
    /// Brings views up to their tables' current versions, one after the other; the stream ends after one message with `done` for
    /// each view. Dropping the stream stops the work at the next batch; a later call resumes it.
    ///
    /// # Errors
    /// `NotFound` for the project or a view; `Precondition` for a view that is not online or whose job runs already.
    pub async fn materialize(
        &self,
        principal: &Principal,
        request: MaterializeRequest,
    ) -> Result<BoxStream<'static, Result<MaterializeProgress>>> {
        let project = self.project(&request.project).await?;
        let mut jobs = Vec::new();
        for view in online_views(&project.catalog, &request.views)? {
            let mut job = self.job(&project, view).await?;
            job.full = request.full;
            jobs.push(job);
        }
        tracing::info!(principal = principal.name(), project = request.project, views = jobs.len(), "materialize");
        let registration = self.shutdown.register(Stage::Jobs, format!("materialize {}", request.project));
        let (reports, received) = mpsc::channel(REPORTS);
        self.plans.handle().spawn(async move {
            for job in jobs {
                if let Err(error) = job.run(&reports, &registration).await {
                    // Nobody may be listening any more.
                    let _ = reports.send(Err(error)).await;
                    break;
                }
            }
        });
        Ok(tokio_stream::wrappers::ReceiverStream::new(received).boxed())
    }

    /// How far each online view has come; empty `views` for all.
    ///
    /// # Errors
    /// `NotFound` for the project or a view.
    pub async fn materialize_status(
        &self,
        _principal: &Principal,
        project: &str,
        views: &[String],
    ) -> Result<Vec<ViewStatus>> {
        let project = self.project(project).await?;
        let mut statuses = Vec::new();
        for view in online_views(&project.catalog, views)? {
            let id = self.view_id(&project, view)?;
            let cursor = self.online.cursor(id)?;
            statuses.push(ViewStatus {
                view: view.name.clone(),
                cursor: cursor.map(|cursor| cursor.version),
                table_version: self.table_version(&project.catalog, view).await,
                materialized_at: cursor.map(|cursor| cursor.materialized_at),
                epoch: cursor.map_or(0, |cursor| cursor.epoch),
                in_progress: self.online.progress(id)?.is_some(),
            });
        }
        Ok(statuses)
    }

    async fn job(&self, project: &Arc<Versioned>, view: &FeatureView) -> Result<Job> {
        let catalog = &project.catalog;
        let source = catalog
            .sources
            .get(&view.source)
            .ok_or_else(|| Error::internal(format!("view `{}` has no source", view.name)))?;
        let claim = self.claim(&catalog.project, &view.name).await.ok_or_else(|| {
            let message =
                format!("feature view `{}` is being materialized already; wait until that is done", view.name);
            Error::new(ErrorKind::Precondition, message)
        })?;
        let table = self.tables.open(&catalog.project, source).await?;
        let id = self.view_id(project, view)?;
        let subject = Subject { catalog, view, source };
        let (store, plans, telemetry) = (self.online.clone(), self.plans.clone(), self.telemetry.clone());
        let mut job = Job::new(&subject, store, id, table, plans, self.clock.clone(), telemetry, claim);
        job.batch_rows = self.settings.materialize.batch_rows;
        job.settle = self.settle(project, source).filter(|_| view.is_windowed());
        Ok(job)
    }

    /// A job whose caller went away lets go at its next batch: that is waited for, so that interrupting and starting again works.
    pub(super) async fn claim(&self, project: &str, view: &str) -> Option<Claim> {
        for _ in 0..CLAIM_ATTEMPTS {
            if let Some(claim) = self.jobs.claim(project, view) {
                return Some(claim);
            }
            tokio::time::sleep(CLAIM_PAUSE).await;
        }
        self.jobs.claim(project, view)
    }

    async fn table_version(&self, catalog: &Catalog, view: &FeatureView) -> Option<i64> {
        let table = self.tables.open(&catalog.project, catalog.sources.get(&view.source)?).await.ok()?;
        table.snapshot(None).await.ok().map(|snapshot| snapshot.version)
    }
}

/// The views of these names, or all online views.
pub(super) fn online_views<'a>(catalog: &'a Catalog, names: &[String]) -> Result<Vec<&'a Arc<FeatureView>>> {
    if names.is_empty() {
        return Ok(catalog.views.values().filter(|view| view.online).collect());
    }
    let mut views: Vec<&Arc<FeatureView>> = Vec::new();
    for name in names {
        let view = catalog.views.get(name).ok_or_else(|| {
            let near = nearest(name, catalog.views.keys().map(String::as_str));
            let help = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            Error::not_found(format!("no feature view named `{name}` in project `{}`{help}", catalog.project))
        })?;
        if !view.online {
            let message =
                format!("feature view `{name}` is not served online; set `online: true` in its definition first");
            return Err(Error::new(ErrorKind::Precondition, message));
        }
        if views.iter().all(|known| known.name != *name) {
            views.push(view);
        }
    }
    Ok(views)
}
