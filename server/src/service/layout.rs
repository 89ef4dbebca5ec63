//! How tables lie on disk: looking at it, and putting it in order.

use std::sync::Arc;

use tidegate_offline::table::{Compacted, Layout, TableStats};
use tidegate_schemas::definition::{FeatureView, Location, Source};
use tidegate_schemas::error::ErrorKind;

use super::{Error, Principal, Result, Tidegate, ingest};
use crate::registry::Versioned;

impl Tidegate {
    /// Merges the small files of a managed table, sorted by the keys of a view and event time. `name` is a view, or a source,
    /// which its first view by name then gives the keys. Returns the source's name and what was done.
    ///
    /// What an online view has yet to materialize is left alone, so that it need not read the whole table again.
    ///
    /// # Errors
    /// `NotFound` for the name; `Precondition` for a source that is not managed; `Conflict` where the table changed meanwhile.
    pub async fn compact_table(&self, principal: &Principal, project: &str, name: &str) -> Result<(String, Compacted)> {
        let project = self.project(project).await?;
        let source = ingest::target(&project.catalog, name)?;
        if source.location != Location::Managed {
            let message = format!(
                "source `{}` is a table that Tidegate only reads; compact it with the tool that owns it, or make the source \
                 `table: managed`",
                source.name
            );
            return Err(Error::new(ErrorKind::Precondition, message));
        }
        let keys = table_keys(&project, source, name);
        let layout = Layout { keys, event_time: source.event_time.clone(), up_to: self.reached(&project, source) };
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

    /// The version that every online view on a source has materialized; `None` where none has begun.
    fn reached(&self, project: &Versioned, source: &Source) -> Option<i64> {
        let views = project.catalog.views.values().filter(|view| view.source == source.name && view.online);
        let cursor = |view: &Arc<FeatureView>| {
            let id = self.view_id(project, view).ok()?;
            self.online.cursor(id).ok().flatten()
        };
        views.filter_map(cursor).map(|cursor| cursor.version).min()
    }
}

/// The key columns of the table, in the order of the view's entities; none where the source has no view.
fn table_keys(project: &Versioned, source: &Source, name: &str) -> Vec<String> {
    let views = &project.catalog.views;
    let view = views.get(name).or_else(|| views.values().find(|view| view.source == source.name));
    let Some(view) = view else { return Vec::new() };
    let keys = project.catalog.keys(view);
    keys.iter().map(|key| view.key_columns.get(&key.name).unwrap_or(&key.name).clone()).collect()
}
