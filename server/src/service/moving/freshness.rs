//! How far the online tier is behind the tables.
//!
//! A view is behind by the versions that changed rows after its cursor, and for as long as the oldest of them has been there. A commit
//! that only rewrites files, as a compaction does, puts nobody behind.

use tidegate_offline::table::Waiting;
use tidegate_online::Cursor;
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::definition::{FeatureView, Schedule};
use tidegate_schemas::duration;
use tidegate_schemas::time::Micros;

use crate::jobs::Need;
use crate::registry::Versioned;
use crate::service::materialize::online_views;
use crate::service::{Principal, Result, Tidegate};

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
    /// A materialization stopped half way. The next one goes on where an increment stopped; a rebuild begins anew.
    pub in_progress: bool,
    /// How far behind it is.
    pub freshness: Freshness,
    /// When it is materialized by itself, for people; empty when never.
    pub schedule: String,
    /// The job that waits or runs.
    pub job: Option<u64>,
}

/// How far behind a view is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freshness {
    /// Versions that changed rows and are not reflected; absent where the table has no history or can't be read.
    pub versions: Option<u64>,
    /// How long the oldest of them has been there; absent where that is not known.
    pub behind: Option<Micros>,
    /// How far behind it may be.
    pub objective: Option<Micros>,
}

impl Freshness {
    /// That of a view which can't be looked at.
    pub(in crate::service) fn unknown(view: &FeatureView) -> Self {
        Self { objective: view.freshness, ..Self::default() }
    }

    /// Whether the objective is met; absent where there is none, or nothing to tell it by.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        Some(self.behind? <= self.objective?)
    }
}

/// What a view's table has that the view has not.
#[derive(Debug, Clone)]
pub(in crate::service) struct Lag {
    cursor: Option<Cursor>,
    /// Absent for a table without history.
    waiting: Option<Waiting>,
    newest: i64,
    interrupted: bool,
    /// The table is another than the one that was read, or has gone back: nothing of it is served.
    replaced: bool,
}

impl Lag {
    /// Whether there is anything to do.
    pub(in crate::service) fn need(&self) -> Need {
        let outdated = self.cursor.is_none_or(|cursor| !cursor.layout_current);
        let waiting = self.waiting.is_none_or(|waiting| waiting.versions > 0);
        Need { work: outdated || waiting || self.interrupted || self.replaced, newest: self.newest }
    }

    /// For people and metrics.
    pub(in crate::service) fn freshness(&self, view: &FeatureView, now: Micros) -> Freshness {
        let behind = |waiting: Waiting| match waiting.versions {
            0 => Some(0),
            _ => waiting.oldest.map(|oldest| now.saturating_sub(oldest).max(0)),
        };
        Freshness {
            versions: self.waiting.map(|waiting| waiting.versions),
            behind: self.waiting.and_then(behind),
            objective: view.freshness,
        }
    }
}

impl Tidegate {
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
            statuses.push(self.view_status(&project, view).await?);
        }
        Ok(statuses)
    }

    async fn view_status(&self, project: &Versioned, view: &FeatureView) -> Result<ViewStatus> {
        let id = self.view_id(project, view)?;
        let cursor = self.online.cursor(id)?;
        // A table that can't be read is told as such; the view's own state is still known.
        let lag = self.lag(project, view).await.ok();
        let last = self.jobs.last(&project.catalog.project, &view.name);
        Ok(ViewStatus {
            view: view.name.clone(),
            cursor: cursor.map(|cursor| cursor.version),
            table_version: self.table_version(&project.catalog, view).await,
            materialized_at: cursor.map(|cursor| cursor.materialized_at),
            epoch: cursor.map_or(0, |cursor| cursor.epoch),
            in_progress: self.online.progress(id)?.is_some(),
            freshness: lag.map_or_else(|| Freshness::unknown(view), |lag| lag.freshness(view, self.clock.now())),
            schedule: view.schedule.as_ref().map(schedule_text).unwrap_or_default(),
            job: last.filter(|job| job.state.is_active()).map(|job| job.id),
        })
    }

    /// What a view's table has that the view has not.
    pub(in crate::service) async fn lag(&self, project: &Versioned, view: &FeatureView) -> Result<Lag> {
        let id = self.view_id(project, view)?;
        let missing = || crate::service::Error::internal(format!("view `{}` has no source", view.name));
        let source = project.catalog.sources.get(&view.source).ok_or_else(missing)?;
        let (cursor, interrupted) = (self.online.cursor(id)?, self.online.progress(id)?.is_some());
        // What a query reads may be ahead of its rows, which then are the view's first need.
        let to_compute =
            Waiting { versions: u64::from(self.queries.is_due(&project.catalog, &source.name).await?), oldest: None };
        if to_compute.versions > 0 && self.tables.computed(&project.catalog.project, source).await?.is_none() {
            return Ok(Lag { cursor, waiting: Some(to_compute), newest: 0, interrupted, replaced: false });
        }
        let table = self.tables.open(&project.catalog.project, source).await?;
        let newest = table.snapshot(None).await?;
        let noted = self.online.table_of(id)?;
        let another = noted.is_some() && noted != newest.id;
        let replaced = cursor.is_some_and(|cursor| another || cursor.version > newest.version);
        let mut waiting = match cursor.filter(|_| !replaced) {
            _ if !table.has_history() => None,
            Some(cursor) => Some(table.waiting_since(cursor.version, &newest).await?),
            // Nothing of it was read: all that it has waits, whatever the log says of how it came.
            None => Some(newest.waiting()),
        };
        if let Some(waiting) = waiting.as_mut() {
            waiting.versions = (waiting.versions + to_compute.versions).max(u64::from(replaced));
        }
        Ok(Lag { cursor, waiting, newest: newest.version, interrupted, replaced })
    }

    async fn table_version(&self, catalog: &Catalog, view: &FeatureView) -> Option<i64> {
        let table = self.tables.open(&catalog.project, catalog.sources.get(&view.source)?).await.ok()?;
        table.snapshot(None).await.ok().map(|snapshot| snapshot.version)
    }
}

/// A schedule as its definition writes it.
fn schedule_text(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Every(length) => format!("every {}", duration::format(*length)),
        Schedule::Cron(expression) => format!("cron {expression}"),
        Schedule::OnCommit => "on commit".to_owned(),
    }
}
