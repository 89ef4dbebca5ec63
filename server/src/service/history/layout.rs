//! How tables lie on disk: looking at it, and putting it in order.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_offline::table::{Compacted, Layout, TableStats, Vacuum, Vacuumed};
use tidegate_schemas::definition::{FeatureView, Location, Source};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::Micros;

use crate::registry::Versioned;
use crate::service::{Error, Principal, Result, Tidegate, ingest};

/// How long files stay that newer versions do without, where nothing is said: seven days.
const VACUUM_OLDER_THAN: Micros = 7 * 24 * 3_600_000_000;

impl Tidegate {
    /// Merges the small files of a managed table, sorted by the keys of a view and event time. `name` is a view, or a source,
    /// which its first view by name then gives the keys. Keys that another view of the source does not have are left out:
    /// rows that tie in its own would change their order. Returns the source's name and what was done.
    ///
    /// What an online view has yet to materialize is left alone, so that it need not read the whole table again.
    ///
    /// # Errors
    /// `NotFound` for the name; `Precondition` for a source that is not managed; `Conflict` where the table changed meanwhile.
    pub async fn compact_table(&self, principal: &Principal, project: &str, name: &str) -> Result<(String, Compacted)> {
        let project = self.project(project).await?;
        let source = ingest::target(&project.catalog, name)?;
        if !matches!(source.location, Location::Managed | Location::Query(_)) {
            let message = format!(
                "source `{}` is a table that Tidegate only reads; compact it with the tool that owns it, or make the source \
                 `table: managed`",
                source.name
            );
            return Err(Error::new(ErrorKind::Precondition, message));
        }
        let keys = shared_keys(&project, source, name);
        let layout =
            Layout { keys, event_time: source.event_time.clone(), up_to: self.reached(&project, source).await };
        let table = self.tables.open(&project.catalog.project, source).await?;
        let (plans, on) = (self.plans.clone(), self.plans.clone());
        let done = plans.run(async move { table.compact(&on, layout).await }).await?;
        tracing::info!(
            principal = principal.name(),
            project = project.catalog.project,
            source = source.name,
            files_before = done.files_before,
            files_after = done.files_after,
            version = done.version,
            "compacted"
        );
        Ok((source.name.clone(), done))
    }

    /// Deletes the files of a managed table that no version to be kept needs: the newest, those that were live `older_than`
    /// microseconds ago or later (seven days where it is unset), and those of sealed training sets. Returns the source's
    /// name, what was deleted, and the versions kept for seals.
    ///
    /// # Errors
    /// `NotFound` for the name; `Invalid` for a negative time; `Precondition` for a source that is not managed; `Corrupt`
    /// names a sealed set whose record can't be read.
    pub async fn vacuum_table(
        &self,
        principal: &Principal,
        project: &str,
        name: &str,
        older_than: Option<Micros>,
        dry_run: bool,
    ) -> Result<(String, Vacuumed, BTreeSet<i64>)> {
        let older_than = older_than.unwrap_or(VACUUM_OLDER_THAN);
        if older_than < 0 {
            return Err(Error::invalid("files can't be kept for less than no time: give a length such as 7d"));
        }
        let project = self.project(project).await?;
        let source = ingest::target(&project.catalog, name)?;
        let mut keep = self.sealed_versions(&project.catalog.project, &source.name).await?;
        let table = self.tables.open(&project.catalog.project, source).await?;
        if let Location::Query(_) = source.location {
            // A seal may be of the table of an earlier recipe, which this leaves alone.
            let newest = table.snapshot(None).await?.version;
            keep.retain(|version| *version <= newest);
        }
        let vacuum = Vacuum { now: self.clock.now(), older_than, keep: keep.clone(), dry_run };
        let done = self.plans.clone().run(async move { table.vacuum(&vacuum).await }).await?;
        tracing::info!(
            principal = principal.name(),
            project = project.catalog.project,
            source = source.name,
            files = done.files,
            bytes = done.bytes,
            dry_run,
            "vacuumed"
        );
        Ok((source.name.clone(), done, keep))
    }

    /// How the table of a source or view lies, with the overlap of its keys and its event time. Returns the source's name too.
    ///
    /// # Errors
    /// `NotFound` for the name; a table that is gone.
    pub async fn table_stats(&self, _principal: &Principal, project: &str, name: &str) -> Result<(String, TableStats)> {
        let project = self.project(project).await?;
        let source = ingest::target(&project.catalog, name)?;
        let mut columns = table_keys(&project, source, name);
        columns.push(source.event_time.clone());
        let table = self.tables.open(&project.catalog.project, source).await?;
        Ok((source.name.clone(), table.snapshot(None).await?.stats(&columns)))
    }

    /// The version that every online view on a source has materialized, and every query that reads it has computed; `None` where
    /// none has begun.
    async fn reached(&self, project: &Versioned, source: &Source) -> Option<i64> {
        let views = views_of(project, source).filter(|view| view.online);
        let cursor = |view: &Arc<FeatureView>| {
            let id = self.view_id(project, view).ok()?;
            self.online.cursor(id).ok().flatten()
        };
        let materialized = views.filter_map(cursor).map(|cursor| cursor.version).min();
        let computed = self.queries.reached(&project.catalog, source).await;
        materialized.into_iter().chain(computed).min()
    }
}

/// Of a view's key columns those that all views of the source have.
fn shared_keys(project: &Versioned, source: &Source, name: &str) -> Vec<String> {
    let others: Vec<Vec<String>> = views_of(project, source).map(|view| key_columns(project, view)).collect();
    let mut keys = table_keys(project, source, name);
    keys.retain(|key| others.iter().all(|other| other.contains(key)));
    keys
}

fn views_of<'a>(project: &'a Versioned, source: &'a Source) -> impl Iterator<Item = &'a Arc<FeatureView>> {
    project.catalog.views.values().filter(|view| view.source == source.name)
}

fn key_columns(project: &Versioned, view: &FeatureView) -> Vec<String> {
    let keys = project.catalog.keys(view);
    keys.iter().map(|key| view.key_columns.get(&key.name).unwrap_or(&key.name).clone()).collect()
}

/// The key columns of the table, in the order of the view's entities; none where the source has no view.
fn table_keys(project: &Versioned, source: &Source, name: &str) -> Vec<String> {
    let view = project.catalog.views.get(name).or_else(|| views_of(project, source).next());
    view.map(|view| key_columns(project, view)).unwrap_or_default()
}
