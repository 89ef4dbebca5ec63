//! SQL over a project's tables and views: one gate for every door.
//!
//! A statement passes, in this order: `complexity` counts its parts before anything recurses over them · `gate` allows only
//! queries, by statement, plan node and function · `catalog` resolves names to this project's tables and views and to
//! nothing else · `training_set` answers the table function of that name · `parameters` binds `$1` or `?` · `limits` caps
//! rows, bytes and time of the result.

mod catalog;
pub(crate) mod complexity;
mod functions;
mod gate;
mod limits;
mod parameters;
mod training_set;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use futures::future::{BoxFuture, FutureExt};

use crate::error::{Error, Result};
use crate::point_in_time::{Counts, in_order, undealt};
use crate::runtime::Runtime;
use crate::table::Table;
use crate::table::snapshot::Snapshot;
use catalog::{ProjectCatalogs, Tables};
pub(crate) use functions::refusal;
use limits::Limited;
use training_set::{Arguments, Calls, TrainingSetFunction};

/// Training sets within the spines of training sets.
const NESTED_TRAINING_SETS: usize = 3;

/// Different training sets in one statement.
const TRAINING_SETS: usize = 16;

/// The schema a table is listed under. Unqualified names are looked for among the views first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Namespace {
    /// `views`.
    Views,
    /// `sources`.
    Sources,
}

impl Namespace {
    /// The schema's name in SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Views => "views",
            Self::Sources => "sources",
        }
    }
}

/// A table that queries may name.
#[derive(Debug, Clone)]
pub struct NamedTable {
    /// Where it is listed.
    pub namespace: Namespace,
    /// Its name there.
    pub name: String,
    /// Its rows. The newest version is taken when a query first names it, and kept for the life of the [`Sql`].
    pub table: Table,
    /// The columns shown, as (column of the table, name shown), in order; `None` shows all under their own names.
    pub columns: Option<Vec<(String, String)>>,
}

/// A name that has no table now.
#[derive(Debug, Clone)]
pub struct MissingTable {
    /// Where it would be listed.
    pub namespace: Namespace,
    /// Its name there.
    pub name: String,
    /// What a query that names it is told.
    pub why: String,
}

/// A table that queries may name, at one version.
#[derive(Debug, Clone)]
pub struct ShownTable {
    /// Where it is listed.
    pub namespace: Namespace,
    /// Its name there.
    pub name: String,
    /// Its rows.
    pub snapshot: Arc<Snapshot>,
    /// The columns shown, as in [`NamedTable::columns`].
    pub columns: Option<Vec<(String, String)>>,
}

/// A call of `training_set(...)` in a query.
#[derive(Debug, Clone)]
pub struct TrainingSetCall {
    /// The feature service asked for.
    pub service: String,
    /// The rows to label, planned and gated. Its time column is found by the callee.
    pub spine: LogicalPlan,
    /// Whether outputs are named `view__feature`.
    pub full_names: bool,
}

/// Turns a call of `training_set(...)` into the plan of the training set.
pub type TrainingSet = Arc<dyn Fn(TrainingSetCall) -> BoxFuture<'static, Result<LogicalPlan>> + Send + Sync>;

/// Caps on one query's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most rows.
    pub rows: u64,
    /// Most bytes of Arrow buffers.
    pub bytes: u64,
    /// Most time from the call to the last batch.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows: u64::MAX, bytes: u64::MAX, time: Duration::from_secs(24 * 3600) }
    }
}

/// What is known of a statement before it runs.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The result's schema.
    pub schema: SchemaRef,
    /// The parameters in order, named `$1`, `$2` …; a type that can't be inferred is `Null`.
    pub parameters: SchemaRef,
}

/// What is known of a table that queries may name.
#[derive(Debug, Clone)]
pub struct TableInfo {
    /// The schema it is listed under.
    pub namespace: Namespace,
    /// Its name there.
    pub name: String,
    /// Its columns.
    pub columns: SchemaRef,
}

/// SQL over one project, at one moment: every query of one `Sql` sees the same versions. Cheap to clone.
#[derive(Clone)]
pub struct Sql {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Arc<Runtime>,
    project: String,
    tables: Arc<Tables>,
    session: SessionContext,
    training_set: Option<TrainingSet>,
}

impl std::fmt::Debug for Sql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sql").field("project", &self.inner.project).finish_non_exhaustive()
    }
}

impl Sql {
    /// A gate onto `tables` under the catalog `project`. Without `training_set` the function of that name is refused.
    ///
    /// # Errors
    /// Two tables share a name in one namespace.
    pub fn new(
        runtime: &Arc<Runtime>,
        project: &str,
        tables: Vec<NamedTable>,
        training_set: Option<TrainingSet>,
    ) -> Result<Self> {
        Self::lacking(runtime, project, tables, Vec::new(), training_set)
    }

    /// The same, with names that are known and have no table now.
    ///
    /// # Errors
    /// As [`Sql::new`].
    pub fn lacking(
        runtime: &Arc<Runtime>,
        project: &str,
        tables: Vec<NamedTable>,
        missing: Vec<MissingTable>,
        training_set: Option<TrainingSet>,
    ) -> Result<Self> {
        Ok(Self::with(runtime, project, Tables::new(tables, missing)?, training_set))
    }

    /// A gate onto tables at versions that are given; the function `training_set` is refused.
    ///
    /// # Errors
    /// As [`Sql::new`].
    pub fn over(runtime: &Arc<Runtime>, project: &str, tables: Vec<ShownTable>) -> Result<Self> {
        Ok(Self::with(runtime, project, Tables::shown(tables)?, None))
    }

    fn with(runtime: &Arc<Runtime>, project: &str, tables: Tables, training_set: Option<TrainingSet>) -> Self {
        let tables = Arc::new(tables);
        let config = runtime
            .config()
            .with_default_catalog_and_schema(project, catalog::UNQUALIFIED)
            .with_information_schema(true);
        let state = runtime.state(config).with_catalog_list(Arc::new(ProjectCatalogs::new(project, tables.clone())));
        let session = SessionContext::new_with_state(state.build());
        let (runtime, project) = (runtime.clone(), project.to_owned());
        Self { inner: Arc::new(Inner { runtime, project, tables, session, training_set }) }
    }

    /// The tables and views with their columns, views first.
    ///
    /// # Errors
    /// A table can't be opened.
    pub async fn tables(&self) -> Result<Vec<TableInfo>> {
        let inner = self.inner.clone();
        self.inner.runtime.run(async move { inner.list().await }).await
    }

    /// Plans a statement without running it.
    ///
    /// # Errors
    /// A statement that is not understood, not allowed, or too complex.
    pub async fn prepare(&self, query: &str) -> Result<Prepared> {
        let (inner, query) = (self.inner.clone(), query.to_owned());
        let prepare = async move {
            let plan = inner.plan(&query, 0).await?;
            let parameters = parameters::of(&plan)?;
            Ok(Prepared { schema: inner.result_schema(&plan)?, parameters })
        };
        self.inner.runtime.run(prepare).await
    }

    /// The logical plan of a query, gated and without parameters: what a training set takes as its spine.
    ///
    /// # Errors
    /// As [`Sql::prepare`]; also if the query has parameters.
    pub async fn logical_plan(&self, query: &str) -> Result<LogicalPlan> {
        let (inner, query) = (self.inner.clone(), query.to_owned());
        self.inner.runtime.run(async move { inner.spine(&query, 0).await }).await
    }

    /// The logical plan of a `SELECT` without parameters.
    ///
    /// # Errors
    /// As [`Sql::prepare`]; also for what is no `SELECT`, or has parameters.
    pub(crate) async fn select(&self, query: &str) -> Result<LogicalPlan> {
        let (inner, query) = (self.inner.clone(), query.to_owned());
        let select = async move {
            let plan = inner.plan(&query, 0).await?;
            if !parameters::of(&plan)?.fields().is_empty() {
                return Err(Error::Parameters(
                    "a query of a source has no parameters; write the values out".to_owned(),
                ));
            }
            match plan {
                LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_) => {
                    Err(Error::Sql("a query of a source is a SELECT".to_owned()))
                }
                plan => Ok(plan),
            }
        };
        self.inner.runtime.run(select).await
    }

    /// The schema of a plan's result as [`Sql::run`] streams it, nullability included.
    ///
    /// # Errors
    /// The plan's types don't fit together.
    pub fn schema_of(&self, plan: &LogicalPlan) -> Result<SchemaRef> {
        self.inner.result_schema(plan)
    }

    /// Runs a query on the plan threads. `parameters` has one row, its columns in the order of `$1`, `$2` ….
    ///
    /// # Errors
    /// As [`Sql::prepare`], or parameters that don't fit; on the stream: what a value makes fail, and the limits.
    pub async fn execute(
        &self,
        query: &str,
        parameters: Option<RecordBatch>,
        limits: &Limits,
    ) -> Result<SendableRecordBatchStream> {
        let (inner, query, limits) = (self.inner.clone(), query.to_owned(), *limits);
        let start = async move {
            let plan = inner.plan(&query, 0).await?;
            let plan = parameters::bind(plan, parameters.as_ref())?;
            inner.start(plan, limits).await
        };
        let stream = self.inner.runtime.run(start).await?;
        Ok(self.inner.runtime.detach(stream))
    }

    /// Runs a plan that [`Sql::logical_plan`] or the point-in-time join made, on the plan threads. The rows of a join, and what is
    /// computed from them, come in the order of its spine.
    ///
    /// # Errors
    /// The plan can't be made executable; on the stream: what a value makes fail, and the limits.
    pub async fn run(&self, plan: LogicalPlan, limits: &Limits) -> Result<SendableRecordBatchStream> {
        Ok(self.run_counted(plan, limits).await?.0)
    }

    /// The same, with what the plan's point-in-time joins count.
    ///
    /// # Errors
    /// As [`Sql::run`].
    pub async fn run_counted(&self, plan: LogicalPlan, limits: &Limits) -> Result<(SendableRecordBatchStream, Counts)> {
        let (inner, limits) = (self.inner.clone(), *limits);
        let start = async move { inner.start_with(&undealt(&inner.session.state()), plan, limits).await };
        let (stream, counts) = self.inner.runtime.run(start).await?;
        Ok((self.inner.runtime.detach(stream), counts))
    }

    /// The same with the rows in the order that the join takes a spine's in: one thread, nothing dealt out.
    ///
    /// # Errors
    /// As [`Sql::run`].
    pub async fn run_in_order(&self, plan: LogicalPlan, limits: &Limits) -> Result<SendableRecordBatchStream> {
        let (inner, limits) = (self.inner.clone(), *limits);
        let start = async move {
            let state = in_order(&inner.session.state());
            inner.start_with(&state, plan, limits).await
        };
        let (stream, _) = self.inner.runtime.run(start).await?;
        Ok(self.inner.runtime.detach(stream))
    }
}

impl Inner {
    async fn list(&self) -> Result<Vec<TableInfo>> {
        let mut listed = Vec::new();
        for (namespace, name) in self.tables.names() {
            if let Some(table) = self.tables.provider(*namespace, name).await? {
                listed.push(TableInfo { namespace: *namespace, name: name.clone(), columns: table.schema() });
            }
        }
        Ok(listed)
    }

    /// A gated plan. Training sets it names are resolved one after the other, and the planning begun again.
    async fn plan(&self, query: &str, depth: usize) -> Result<LogicalPlan> {
        complexity::check(query)?;
        let mut statement = gate::parse(query)?;
        parameters::number(&mut statement)?;
        let calls = Arc::new(Calls::default());
        let state = self.planning_state(&calls);
        for _ in 0..=TRAINING_SETS {
            let planned = state.statement_to_plan(statement.clone()).await;
            let met = calls.take_met();
            match planned {
                Ok(plan) => {
                    gate::allow_plan(&plan, &self.project)?;
                    return Ok(plan);
                }
                Err(error) if met.is_empty() => return Err(self.not_planned(error)),
                Err(_) => {
                    for call in met {
                        let plan = self.training_set(&call, depth).await?;
                        calls.resolve(call, plan);
                    }
                }
            }
        }
        Err(Error::TooComplex { what: "training sets", limit: TRAINING_SETS })
    }

    /// What the planner says of a missing table names our inner schemas; users know the table by what they wrote.
    fn not_planned(&self, error: DataFusionError) -> Error {
        let missing = match error.find_root() {
            DataFusionError::Plan(text) => text.strip_prefix("table '").and_then(|rest| rest.split_once("' not found")),
            _ => None,
        };
        let ours = missing.and_then(|(name, _)| name.strip_prefix(&self.project)?.strip_prefix('.')?.split_once('.'));
        match ours {
            Some((_, name)) => self.tables.unknown(name),
            None => not_planned(error),
        }
    }

    /// A session state that writes the calls of one planning down.
    fn planning_state(&self, calls: &Arc<Calls>) -> SessionState {
        let mut state = self.session.state();
        if self.training_set.is_some() {
            state.register_udtf(training_set::NAME, Arc::new(TrainingSetFunction { calls: calls.clone() }));
        }
        state
    }

    async fn training_set(&self, call: &Arguments, depth: usize) -> Result<LogicalPlan> {
        let Some(training_set) = &self.training_set else {
            return Err(Error::Refused { what: training_set::NAME.to_owned() });
        };
        if depth >= NESTED_TRAINING_SETS {
            return Err(Error::TooComplex { what: "training sets within each other", limit: NESTED_TRAINING_SETS });
        }
        let spine = self.spine(&call.spine, depth + 1).await?;
        training_set(TrainingSetCall { service: call.service.clone(), spine, full_names: call.full_names }).await
    }

    /// Boxed, because a spine may name a training set whose spine …
    fn spine<'a>(&'a self, query: &'a str, depth: usize) -> BoxFuture<'a, Result<LogicalPlan>> {
        async move {
            let plan = self.plan(query, depth).await?;
            if !parameters::of(&plan)?.fields().is_empty() {
                return Err(Error::Parameters("the query of a spine can't have parameters".to_owned()));
            }
            match plan {
                LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_) => {
                    Err(Error::Sql("a spine is a SELECT".to_owned()))
                }
                plan => Ok(plan),
            }
        }
        .boxed()
    }

    /// The result's schema after types were made to fit; what metadata functions added is left out.
    fn result_schema(&self, plan: &LogicalPlan) -> Result<SchemaRef> {
        let state = self.session.state();
        let analyzed = state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {})?;
        let fields = analyzed.schema().as_arrow().fields().clone();
        Ok(Arc::new(Schema::new(fields)))
    }

    async fn start(&self, plan: LogicalPlan, limits: Limits) -> Result<SendableRecordBatchStream> {
        Ok(self.start_with(&self.session.state(), plan, limits).await?.0)
    }

    async fn start_with(
        &self,
        state: &SessionState,
        plan: LogicalPlan,
        limits: Limits,
    ) -> Result<(SendableRecordBatchStream, Counts)> {
        let schema = self.result_schema(&plan)?;
        let physical = state.create_physical_plan(&plan).await?;
        let counts = Counts::of(physical.clone());
        let stream = execute_stream(physical, state.task_ctx())?;
        Ok((Box::pin(Limited::new(stream, schema, limits)), counts))
    }
}

/// An error of planning is about the statement, unless it is one of ours from below.
fn not_planned(error: DataFusionError) -> Error {
    match Error::from(error) {
        Error::Plan(error) if is_about_statement(&error) => Error::Sql(gate::told(&error)),
        other => other,
    }
}

fn is_about_statement(error: &DataFusionError) -> bool {
    use DataFusionError as E;
    matches!(error.find_root(), E::Plan(_) | E::SchemaError(..) | E::SQL(..) | E::NotImplemented(_) | E::Diagnostic(..))
}

#[cfg(test)]
mod tests;
