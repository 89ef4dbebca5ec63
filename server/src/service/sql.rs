//! SQL over a project's tables, views and training sets: queries only.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidegate_offline::query::{Limits, MissingTable, NamedTable, Namespace, Sql, TrainingSet, TrainingSetCall};
use tidegate_schemas::catalog::{Catalog, Selection};
use tidegate_schemas::definition::{FeatureView, Location, Source};
use tidegate_schemas::error::ErrorKind;

use super::training_set::{counted, join};
use super::{Batches, Error, Principal, Result, Tidegate};
use crate::registry::Versioned;
use crate::sealed::Options;

/// What a query gives and takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The result's schema.
    pub schema: SchemaRef,
    /// The parameters' schema: field i for `$i+1`. Empty without parameters.
    pub parameters: SchemaRef,
}

/// A table SQL can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// `views` or `sources`.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `TABLE` for a source, `VIEW` for a feature view.
    pub kind: String,
    /// Its columns.
    pub columns: SchemaRef,
}

impl Tidegate {
    /// Checks a query without running it.
    ///
    /// # Errors
    /// `Invalid` for what does not parse or resolve; `Forbidden` for anything but a query.
    pub async fn sql_prepare(&self, _principal: &Principal, project: &str, query: &str) -> Result<Prepared> {
        let project = self.project(project).await?;
        let prepared = self.sql_session(&project).await?.prepare(query).await?;
        Ok(Prepared { schema: prepared.schema, parameters: prepared.parameters })
    }

    /// Runs a query, with the values of its parameters as one row.
    ///
    /// # Errors
    /// As [`Self::sql_prepare`]; `Invalid` for missing parameters.
    pub async fn sql(
        &self,
        principal: &Principal,
        project: &str,
        query: &str,
        parameters: Option<RecordBatch>,
    ) -> Result<Batches> {
        let project = self.project(project).await?;
        let place = self.admission.queries.place().await?;
        let session = self.sql_session(&project).await?;
        let stream = session.execute(query, parameters, &self.sql_limits()).await?;
        tracing::debug!(principal = principal.name(), project = project.catalog.project, "query");
        let telemetry = self.telemetry.clone();
        let rows = counted(stream, move |rows| telemetry.sql_rows(rows));
        Ok(self.admission.attended(place, &self.plans, rows))
    }

    /// The tables SQL can read, by schema and name.
    ///
    /// # Errors
    /// `NotFound` for the project.
    pub async fn tables(&self, _principal: &Principal, project: &str) -> Result<Vec<TableInfo>> {
        let project = self.project(project).await?;
        let tables = self.sql_session(&project).await?.tables().await?;
        let info = |table: tidegate_offline::query::TableInfo| TableInfo {
            schema: table.namespace.as_str().to_owned(),
            name: table.name,
            kind: if table.namespace == Namespace::Views { "VIEW" } else { "TABLE" }.to_owned(),
            columns: table.columns,
        };
        Ok(tables.into_iter().map(info).collect())
    }

    /// A gate onto one project's tables as they are now. Its sources and views, and nothing else, have names in it.
    pub(super) async fn sql_session(&self, project: &Arc<Versioned>) -> Result<Sql> {
        let catalog = &project.catalog;
        let mut tables = Vec::with_capacity(catalog.sources.len() + catalog.views.len());
        let mut missing = Vec::new();
        for source in catalog.sources.values() {
            // A table that is gone takes its own name away, not the others'.
            let table = match self.tables.open(&catalog.project, source).await {
                Ok(table) => table,
                Err(error) => {
                    missing.extend(without_table(catalog, source, &error));
                    continue;
                }
            };
            for view in catalog.views.values().filter(|view| view.source == source.name) {
                tables.push(NamedTable {
                    namespace: Namespace::Views,
                    name: view.name.clone(),
                    table: table.clone(),
                    columns: Some(shown_columns(catalog, view)),
                });
            }
            let name = source.name.clone();
            tables.push(NamedTable { namespace: Namespace::Sources, name, table, columns: None });
        }
        if let Some(table) = self.quarantine_table(&catalog.project).await? {
            let name = table.name().to_owned();
            tables.push(NamedTable { namespace: Namespace::Sources, name, table, columns: None });
        }
        let training_set = Some(self.training_set_function(project));
        Ok(Sql::lacking(&self.plans, &catalog.project, tables, missing, training_set)?)
    }

    /// What `training_set('service', 'SELECT …')` in a query does.
    fn training_set_function(&self, project: &Arc<Versioned>) -> TrainingSet {
        let (plans, tables, project) = (self.plans.clone(), self.tables.clone(), project.clone());
        Arc::new(move |call: TrainingSetCall| {
            let (plans, tables, project) = (plans.clone(), tables.clone(), project.clone());
            Box::pin(async move {
                let options = Options { full_names: call.full_names, ..Options::default() };
                let joined = async {
                    let resolved = project.catalog.resolve(&Selection::Service(call.service), options.full_names)?;
                    join(&plans, &tables, &project.catalog, &resolved, &options, call.spine).await
                };
                joined.await.map_err(|error: Error| tidegate_offline::Error::Sql(error.chain()))
            })
        })
    }

    pub(super) fn sql_limits(&self) -> Limits {
        let rows = match self.settings.sql.max_rows {
            0 => u64::MAX,
            some => some as u64,
        };
        Limits { rows, time: self.settings.sql.timeout, ..Limits::default() }
    }
}

/// The names that a table that can't be opened would have; whoever uses one is told why it has none.
fn without_table(catalog: &Catalog, source: &Source, error: &Error) -> Vec<MissingTable> {
    if error.kind != ErrorKind::Precondition || !matches!(source.location, Location::Query(_)) {
        tracing::warn!(project = catalog.project, error = error.chain(), "a table can't be queried");
    }
    let views = catalog.views.values().filter(|view| view.source == source.name);
    let names = views.map(|view| (Namespace::Views, &view.name)).chain([(Namespace::Sources, &source.name)]);
    names.map(|(namespace, name)| MissingTable { namespace, name: name.clone(), why: error.chain() }).collect()
}

/// A view in SQL: its keys, the times, its features, each under the definition's name; where those are over windows, the
/// columns that they are computed from.
pub(super) fn shown_columns(catalog: &Catalog, view: &FeatureView) -> Vec<(String, String)> {
    let mut shown: Vec<(String, String)> = Vec::new();
    let mut show = |column: &str, name: &str| {
        if shown.iter().all(|(_, taken)| taken != name) {
            shown.push((column.to_owned(), name.to_owned()));
        }
    };
    for key in catalog.keys(view) {
        show(view.key_columns.get(&key.name).unwrap_or(&key.name), &key.name);
    }
    if let Some(source) = catalog.sources.get(&view.source) {
        show(&source.event_time, &source.event_time);
        for time in source.valid_to.iter().chain(&source.created_time) {
            show(time, time);
        }
    }
    if view.is_windowed() {
        view.inputs().iter().for_each(|input| show(&input.name, &input.name));
        return shown;
    }
    for feature in &view.features {
        show(&feature.column, &feature.name);
    }
    shown
}
