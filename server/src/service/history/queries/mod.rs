//! Sources that are queries: their tables, computed from what they read.
//!
//! [`Queries::refresh`] brings the table of one up to date, those it reads first · `check` holds the queries of a catalog against
//! what they read before it becomes a version · `inputs` is what a query reads, with rows or without · `lineage` follows
//! features down to the columns of tables. Each recipe has a table of its own, so that rows computed by one are never read as
//! those of another; which versions its rows come from is recorded with them.

mod check;
mod inputs;
mod lineage;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_offline::derived::{self, Input, Progress, Recipe, Refresh};
use tidegate_offline::runtime::Runtime;
use tidegate_offline::table::Inputs;
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::definition::{Location, Query, Source};
use tidegate_schemas::error::ErrorKind;

use crate::service::tables::Tables;
use crate::service::{Error, Principal, Result, Tidegate, ingest};
pub(in crate::service) use check::Checked;
pub use lineage::{LineageStep, Place};

/// What a refresh did to the table of one query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRefreshed {
    /// The source that the query is.
    pub source: String,
    /// What was done.
    pub refreshed: derived::Refreshed,
}

/// What computes the tables of queries.
#[derive(Debug)]
pub(in crate::service) struct Queries {
    plans: Arc<Runtime>,
    tables: Arc<Tables>,
    turns: Mutex<HashMap<(String, String), Turn>>,
}

/// One refresh of a table at a time; who comes later finds it done.
type Turn = Arc<tokio::sync::Mutex<()>>;

impl Tidegate {
    /// Brings the table of a query up to the newest versions of what it reads, after those of the queries that it reads. `name` is
    /// a source or a view; of one that is no query, nothing comes back. With `full` the named one is computed from everything.
    /// Dropping the future stops the work at the table under way, which stays as it was.
    ///
    /// # Errors
    /// `NotFound` for the name; what a query fails with.
    pub async fn refresh(
        &self,
        principal: &Principal,
        project: &str,
        name: &str,
        full: bool,
    ) -> Result<Vec<SourceRefreshed>> {
        let project = self.project(project).await?;
        let source = ingest::target(&project.catalog, name)?;
        tracing::info!(
            principal = principal.name(),
            project = project.catalog.project,
            source = source.name,
            "refresh"
        );
        self.queries.refresh(&project.catalog, &source.name, full).await
    }
}

impl Queries {
    pub(in crate::service) fn new(plans: Arc<Runtime>, tables: Arc<Tables>) -> Self {
        Self { plans, tables, turns: Mutex::default() }
    }

    /// Brings a source's table up to date, and before it those of the queries it reads; tables that are no queries are left alone.
    ///
    /// # Errors
    /// What a query fails with, with the source's name.
    pub(in crate::service) async fn refresh(
        &self,
        catalog: &Catalog,
        source: &str,
        full: bool,
    ) -> Result<Vec<SourceRefreshed>> {
        let mut done = Vec::new();
        for (above, query) in in_order(catalog, source) {
            let full = full && above.name == source;
            let refreshed = self.refresh_one(catalog, above, query, full).await.map_err(|error| about(above, error))?;
            if refreshed.changed {
                tracing::info!(
                    project = catalog.project,
                    source = above.name,
                    version = refreshed.version,
                    full = refreshed.full,
                    rows = refreshed.rows,
                    "refreshed"
                );
            }
            done.push(SourceRefreshed { source: above.name.clone(), refreshed });
        }
        Ok(done)
    }

    /// Whether the table of a query, or of one it reads, is behind what it is computed from.
    ///
    /// # Errors
    /// As [`Self::refresh`].
    pub(in crate::service) async fn is_due(&self, catalog: &Catalog, source: &str) -> Result<bool> {
        for (above, query) in in_order(catalog, source) {
            let Some(table) = self.tables.computed(&catalog.project, above).await? else { return Ok(true) };
            // The same versions of the same tables need no plan to tell.
            let newest = inputs::newest(&self.tables, catalog, query).await?;
            let record: Inputs = newest.iter().flat_map(Input::record).collect();
            if newest.iter().all(|input| input.table.has_history())
                && table.inputs(record.keys()).await? == Some(record)
            {
                continue;
            }
            let refresh = self.planned(catalog, above, query).await.map_err(|error| about(above, error))?;
            if refresh.is_due(&table).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The version of a source's table that all tables computed from it have reached; `None` where none is, or none has begun.
    pub(in crate::service) async fn reached(&self, catalog: &Catalog, source: &Source) -> Option<i64> {
        let mut reached: Option<i64> = None;
        for reader in catalog.sources.values() {
            let Location::Query(query) = &reader.location else { continue };
            let names: Vec<String> = query
                .from
                .iter()
                .filter(|relation| catalog.source_of(relation) == Some(source.name.as_str()))
                .map(ToString::to_string)
                .collect();
            if names.is_empty() {
                continue;
            }
            let Ok(Some(table)) = self.tables.computed(&catalog.project, reader).await else { continue };
            let Ok(Some(inputs)) = table.inputs(names.iter()).await else { continue };
            reached = inputs.values().copied().chain(reached).min();
        }
        reached
    }

    async fn refresh_one(
        &self,
        catalog: &Catalog,
        source: &Source,
        query: &Query,
        full: bool,
    ) -> Result<derived::Refreshed> {
        let turn = self.turns.lock().entry((catalog.project.clone(), source.name.clone())).or_default().clone();
        let _turn = turn.lock().await;
        let refresh = self.planned(catalog, source, query).await?;
        let table = self.tables.to_fill(&catalog.project, source, refresh.columns()).await?;
        Ok(refresh.run(&table, full, &Arc::new(Progress::default())).await?)
    }

    /// The query over what it reads at the newest versions, each looked for once.
    async fn planned(&self, catalog: &Catalog, source: &Source, query: &Query) -> Result<Refresh> {
        let inputs = inputs::newest(&self.tables, catalog, query).await?;
        let (needed, keys) = (catalog.columns(source), catalog.key_columns(source));
        let keys = needed.iter().map(|column| &column.name).filter(|name| keys.contains(*name));
        let order = keys.chain([&source.event_time]).cloned().collect();
        let recipe = Recipe { project: catalog.project.clone(), sql: query.sql.clone(), needed, order };
        Ok(Refresh::plan(&self.plans, recipe, inputs).await?)
    }
}

/// The queries that a source's rows come from, each after those it reads; the last is the source itself, if it is one.
fn in_order<'a>(catalog: &'a Catalog, source: &str) -> Vec<(&'a Source, &'a Query)> {
    fn visit<'a>(
        catalog: &'a Catalog,
        name: &str,
        seen: &mut BTreeSet<&'a str>,
        found: &mut Vec<(&'a Source, &'a Query)>,
    ) {
        let Some((name, source)) = catalog.sources.get_key_value(name) else { return };
        let source: &Source = source;
        let Location::Query(query) = &source.location else { return };
        if !seen.insert(name) {
            return;
        }
        for read in query.from.iter().filter_map(|relation| catalog.source_of(relation)) {
            visit(catalog, read, seen, found);
        }
        found.push((source, query));
    }
    let mut found = Vec::new();
    visit(catalog, source, &mut BTreeSet::new(), &mut found);
    found
}

/// An error with the source that it is about. What is wrong with a query is told apart from a wrong request.
fn about(source: &Source, mut error: Error) -> Error {
    error.message = format!("the query of source `{}`: {}", source.name, error.message);
    if matches!(error.kind, ErrorKind::Invalid | ErrorKind::Forbidden) {
        error.kind = ErrorKind::Precondition;
    }
    error
}
