//! Training sets: a spine and a selection of features, joined as of each row's time.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use futures::StreamExt;
use tidegate_offline::expressions;
use tidegate_offline::point_in_time::{self, Feature, Key, Spec, View};
use tidegate_offline::query::Limits;
use tidegate_offline::runtime::Runtime;
use tidegate_offline::table::Table;
use tidegate_offline::table::snapshot::Snapshot;
use tidegate_offline::training::{Sample, Split, choose};
use tidegate_schemas::catalog::{Catalog, Resolved, ResolvedView, Selection};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::Micros;

use crate::registry::Versioned;
use crate::sealed::Options;
use crate::service::expressions::Computed;
use crate::service::tables::Tables;
use crate::service::{Batches, Error, Principal, Result, Tidegate, ingest, spines};

/// The spine's time column where a request names none.
const EVENT_TIMESTAMP: &str = "event_timestamp";

/// Where the rows to label are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spine {
    /// Uploaded before: the id of [`SpineUploaded`].
    Uploaded(String),
    /// A query over the project's tables and views.
    Sql(String),
    /// A source or view of the project.
    Table(String),
}

/// What to join to what.
#[derive(Debug, Clone)]
pub struct TrainingSetRequest {
    /// The project.
    pub project: String,
    /// The features.
    pub selection: Selection,
    /// The rows. Ignored by [`Tidegate::exchange`], which brings its own.
    pub spine: Spine,
    /// The spine's time column; empty: `event_timestamp`.
    pub event_time_column: String,
    /// Name outputs `view__feature`.
    pub full_names: bool,
    /// Knowledge cut of the whole read.
    pub as_of: Option<Micros>,
    /// Add `view__event_time` columns.
    pub include_event_times: bool,
    /// Add `view__status` columns.
    pub include_statuses: bool,
    /// Label the spine's rows by time, before anything is joined.
    pub split: Option<Split>,
    /// Keep a share of the spine's rows, before anything is joined.
    pub sample: Option<Sample>,
}

/// An uploaded spine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpineUploaded {
    /// What [`Spine::Uploaded`] takes.
    pub spine_id: String,
    /// Rows kept.
    pub rows: u64,
    /// When the server forgets it.
    pub expires_at: Micros,
}

/// A training set before it is run: the chosen rows of a spine, and the views to join to them.
#[derive(Clone)]
pub(in crate::service) struct Reading {
    pub(in crate::service) spine: LogicalPlan,
    pub(in crate::service) spec: Spec,
    /// What is computed from the joined columns.
    pub(in crate::service) computed: Option<Computed>,
    /// The version of each source's table.
    pub(in crate::service) versions: BTreeMap<String, i64>,
}

/// Which version of each source's table is read.
#[derive(Clone, Copy)]
pub(in crate::service) enum At<'a> {
    /// The newest, looked for once.
    Newest,
    /// Those a sealed set pinned.
    Versions(&'a BTreeMap<String, i64>),
}

impl Reading {
    /// The join as a plan.
    pub(in crate::service) fn plan(self) -> Result<LogicalPlan> {
        let joined = point_in_time::plan(self.spine, self.spec).map_err(tidegate_offline::Error::from)?;
        match self.computed {
            None => Ok(joined),
            Some(Computed { expressions, inputs }) => Ok(expressions::plan(joined, expressions, &inputs)?),
        }
    }
}

impl TrainingSetRequest {
    /// The request without its project, features and spine.
    pub(in crate::service) fn options(&self) -> Options {
        Options {
            event_time_column: self.event_time_column.clone(),
            full_names: self.full_names,
            as_of: self.as_of,
            include_event_times: self.include_event_times,
            include_statuses: self.include_statuses,
            split: self.split.clone(),
            sample: self.sample.clone(),
        }
    }
}

impl Tidegate {
    /// Keeps batches for later training sets of the same principal and project.
    ///
    /// # Errors
    /// `Exhausted` above the configured size; whatever the stream fails with.
    pub async fn upload_spine(&self, principal: &Principal, project: &str, batches: Batches) -> Result<SpineUploaded> {
        self.project(project).await?;
        let spool = self.spines.spool(batches).await?;
        let rows = spool.rows;
        let (spine_id, expires_at) = self.spines.keep(principal, project, spool, self.clock.now());
        Ok(SpineUploaded { spine_id, rows, expires_at })
    }

    /// The schema [`Self::training_set`] will have, nullability included.
    ///
    /// # Errors
    /// As [`Self::training_set`].
    pub async fn training_set_schema(&self, principal: &Principal, request: &TrainingSetRequest) -> Result<SchemaRef> {
        let project = self.project(&request.project).await?;
        let spine = self.spine(principal, &project, &request.spine).await?;
        let plan = self.training_plan(&project.catalog, request, spine).await?;
        Ok(self.sql_session(&project).await?.schema_of(&plan)?)
    }

    /// The training set: the spine's columns in the spine's order, then each view's features.
    ///
    /// # Errors
    /// `NotFound` for unknown names; `Invalid` for a spine without the time or key columns, or with key types that don't fit.
    pub async fn training_set(&self, principal: &Principal, request: &TrainingSetRequest) -> Result<Batches> {
        let project = self.project(&request.project).await?;
        let spine = self.spine(principal, &project, &request.spine).await?;
        self.run_training_set(principal, &project, request, spine).await
    }

    /// Upload and training set in one: the spine is forgotten when the result is dropped.
    ///
    /// # Errors
    /// As [`Self::upload_spine`] and [`Self::training_set`].
    pub async fn exchange(
        &self,
        principal: &Principal,
        request: &TrainingSetRequest,
        spine: Batches,
    ) -> Result<Batches> {
        let project = self.project(&request.project).await?;
        // Names and types are checked before the spine is read.
        project.catalog.resolve(&request.selection, request.full_names)?;
        let spool = self.spines.spool(spine).await?;
        self.run_training_set(principal, &project, request, spines::scan(Arc::new(spool))?).await
    }

    async fn run_training_set(
        &self,
        principal: &Principal,
        project: &Arc<Versioned>,
        request: &TrainingSetRequest,
        spine: LogicalPlan,
    ) -> Result<Batches> {
        let place = self.admission.training_sets.place().await?;
        let plan = self.training_plan(&project.catalog, request, spine).await?;
        let (stream, counts) = self.sql_session(project).await?.run_counted(plan, &Limits::default()).await?;
        let telemetry = self.telemetry.clone();
        tracing::debug!(principal = principal.name(), project = request.project, "training set");
        let rows = counted(stream, move |rows| telemetry.training_rows(rows)).with_counts(counts);
        Ok(self.admission.attended(place, &self.plans, rows))
    }

    /// The plan that yields a spine's rows.
    pub(in crate::service) async fn spine(
        &self,
        principal: &Principal,
        project: &Arc<Versioned>,
        spine: &Spine,
    ) -> Result<LogicalPlan> {
        match spine {
            Spine::Uploaded(id) => {
                let name = &project.catalog.project;
                spines::scan(self.spines.find(principal, name, id, self.clock.now())?)
            }
            Spine::Sql(query) => Ok(self.sql_session(project).await?.logical_plan(query).await?),
            Spine::Table(name) => {
                let source = ingest::target(&project.catalog, name)?;
                let query = format!("SELECT * FROM sources.{}", quoted(&source.name));
                Ok(self.sql_session(project).await?.logical_plan(&query).await?)
            }
        }
    }

    async fn training_plan(
        &self,
        catalog: &Catalog,
        request: &TrainingSetRequest,
        spine: LogicalPlan,
    ) -> Result<LogicalPlan> {
        let resolved = catalog.resolve(&request.selection, request.full_names)?;
        join(&self.plans, &self.tables, catalog, &resolved, &request.options(), spine).await
    }
}

/// Joins a spine to what was resolved, every table at its newest version, taken once.
pub(in crate::service) async fn join(
    plans: &Runtime,
    tables: &Tables,
    catalog: &Catalog,
    resolved: &Resolved,
    options: &Options,
    spine: LogicalPlan,
) -> Result<LogicalPlan> {
    reading(plans, tables, catalog, resolved, options, spine, At::Newest).await?.plan()
}

/// Chooses a spine's rows, and takes every table that the views need at one version.
pub(in crate::service) async fn reading(
    plans: &Runtime,
    tables: &Tables,
    catalog: &Catalog,
    resolved: &Resolved,
    options: &Options,
    spine: LogicalPlan,
    at: At<'_>,
) -> Result<Reading> {
    let (spec, versions) = spec(tables, catalog, resolved, options, spine.schema().as_arrow(), at).await?;
    let spine = choose(spine, &spec.spine_time, options.split.as_ref(), options.sample.as_ref())?;
    Ok(Reading { spine, spec, computed: Computed::of(plans, resolved)?, versions })
}

/// What was resolved as the join reads it, with the version of each source's table.
pub(in crate::service) async fn spec(
    tables: &Tables,
    catalog: &Catalog,
    resolved: &Resolved,
    options: &Options,
    spine: &Schema,
    at: At<'_>,
) -> Result<(Spec, BTreeMap<String, i64>)> {
    let spine_time = time_column(spine, &options.event_time_column)?;
    let mut snapshots: BTreeMap<&str, Arc<Snapshot>> = BTreeMap::new();
    let mut views = Vec::with_capacity(resolved.views.len());
    for used in &resolved.views {
        let source = used.source.name.as_str();
        if !snapshots.contains_key(source) {
            let table = tables.open(&catalog.project, &used.source).await?;
            snapshots.insert(source, snapshot(&table, source, at).await?);
        }
        views.push(view(used, snapshots[source].clone(), options));
    }
    let versions = snapshots.into_iter().map(|(source, snapshot)| (source.to_owned(), snapshot.version)).collect();
    Ok((Spec { spine_time, views, as_of: options.as_of }, versions))
}

async fn snapshot(table: &Table, source: &str, at: At<'_>) -> Result<Arc<Snapshot>> {
    let At::Versions(versions) = at else { return Ok(table.snapshot(None).await?) };
    let Some(version) = versions.get(source) else {
        return Err(Error::internal(format!("the seal pins no version of source `{source}`")));
    };
    table.snapshot(Some(*version)).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let message = format!(
                "the set was sealed at version {version} of the table of source `{source}`, which is gone: it was vacuumed, or \
                 the table was made anew; restore it from a backup, or delete the seal"
            );
            Error::new(ErrorKind::Precondition, message).with_source(error)
        }
        _ => error.into(),
    })
}

fn view(used: &ResolvedView, snapshot: Arc<Snapshot>, options: &Options) -> View {
    let key = |key: &tidegate_schemas::catalog::ResolvedKey| Key {
        spine_column: key.spine_column.clone(),
        table_column: key.source_column.clone(),
    };
    let feature = |taken: &tidegate_schemas::catalog::ResolvedFeature| Feature {
        column: taken.feature.column.clone(),
        output: taken.output.clone(),
        data_type: taken.feature.data_type.to_arrow(),
        aggregate: taken.feature.aggregate.clone(),
    };
    View {
        alias: used.alias.clone(),
        snapshot,
        keys: used.keys.iter().map(key).collect(),
        event_time: used.source.event_time.clone(),
        valid_to: used.source.valid_to.clone(),
        created_time: used.source.created_time.clone(),
        availability: used.view.availability,
        upper: used.view.upper,
        ttl: used.view.ttl,
        nulls: used.view.nulls,
        features: used.features.iter().map(feature).collect(),
        event_time_output: options.include_event_times.then(|| format!("{}__event_time", used.alias)),
        status_output: options.include_statuses.then(|| format!("{}__status", used.alias)),
    }
}

/// The column asked for; without one `event_timestamp`, or the spine's only column of times.
pub(in crate::service) fn time_column(spine: &Schema, asked: &str) -> Result<String> {
    if !asked.is_empty() {
        return Ok(asked.to_owned());
    }
    if spine.field_with_name(EVENT_TIMESTAMP).is_ok() {
        return Ok(EVENT_TIMESTAMP.to_owned());
    }
    let times: Vec<&str> = spine
        .fields()
        .iter()
        .filter(|field| matches!(field.data_type(), DataType::Timestamp(..)))
        .map(|field| field.name().as_str())
        .collect();
    match times.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(Error::invalid(format!(
            "the spine has no column `{EVENT_TIMESTAMP}`; add one, or name the time each row is labelled at as the event time \
             column"
        ))),
        several => Err(Error::invalid(format!(
            "the spine has several columns of times ({}) and none is `{EVENT_TIMESTAMP}`; name the one each row is labelled at \
             as the event time column",
            several.join(", ")
        ))),
    }
}

/// A name as SQL takes it, whatever it holds.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A plan's stream as ours, its rows counted as they pass.
pub(in crate::service) fn counted(
    stream: SendableRecordBatchStream,
    count: impl Fn(usize) + Send + 'static,
) -> Batches {
    let schema = stream.schema();
    let stream = stream.map(move |batch| {
        let batch = batch.map_err(tidegate_offline::Error::from)?;
        count(batch.num_rows());
        Ok(batch)
    });
    Batches::new(schema, stream)
}
