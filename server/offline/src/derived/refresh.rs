//! Bringing the table of a query up to the versions of what it reads: decide, compute, put in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;
use tidegate_schemas::definition::Column;
use tidegate_schemas::digest::Digest;

use super::Query;
use super::columns::Conversions;
use crate::error::{Error, Result};
use crate::query::{Limits, ShownTable};
use crate::runtime::Runtime;
use crate::table::snapshot::{DataFile, Snapshot};
use crate::table::{Filling, Inputs, Since, Table};

/// What a table of a query is computed by.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The project.
    pub project: String,
    /// The query.
    pub sql: String,
    /// The columns that the definitions need of the result.
    pub needed: Vec<Column>,
    /// Columns that rows are sorted by: keys and event time.
    pub order: Vec<String>,
}

/// One thing that the query reads, at the version that it is read at.
#[derive(Debug, Clone)]
pub struct Input {
    /// As the query sees it.
    pub shown: ShownTable,
    /// The table behind it.
    pub table: Table,
}

impl Input {
    /// Its name in the record of versions: `sources.orders`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}.{}", self.shown.namespace.as_str(), self.shown.name)
    }

    fn version(&self) -> i64 {
        self.shown.snapshot.version
    }

    /// What is recorded of the table itself, under a name of its own: another in its place has another.
    fn identity(&self) -> Option<(String, i64)> {
        let [a, b, c, d, e, f, g, h, ..] = digest_of(self.shown.snapshot.id.as_ref()?);
        let number = i64::from_be_bytes([a, b, c, d, e, f, g, h]) & i64::MAX;
        Some((format!("{}/table", self.name()), number))
    }

    /// What is recorded of it with the rows that are computed from it.
    pub fn record(&self) -> impl Iterator<Item = (String, i64)> {
        [(self.name(), self.version())].into_iter().chain(self.identity())
    }
}

fn digest_of(id: &str) -> [u8; 32] {
    let mut digest = Digest::new();
    digest.update(id.as_bytes());
    digest.bytes()
}

/// How far a refresh has come, for whoever watches.
#[derive(Debug, Default)]
pub struct Progress {
    /// Rows computed so far.
    pub rows: AtomicU64,
}

/// What a refresh did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refreshed {
    /// The table's version now.
    pub version: i64,
    /// Whether there was anything to do.
    pub changed: bool,
    /// Whether the rows were computed from everything, and took the place of all there were.
    pub full: bool,
    /// Rows computed.
    pub rows: u64,
    /// The versions that were looked at, by what was read: the table's rows are as the query gives them over these.
    pub inputs: Inputs,
}

/// A refresh that is planned.
#[derive(Debug)]
pub struct Refresh {
    runtime: Arc<Runtime>,
    recipe: Recipe,
    inputs: Vec<Input>,
    query: Query,
    columns: Vec<Column>,
}

/// What there is to do.
enum Step {
    Nothing,
    /// The files with new rows, by input.
    Increment(BTreeMap<String, Vec<DataFile>>),
    Full,
}

impl Refresh {
    /// Plans the query over its inputs at the versions given.
    ///
    /// # Errors
    /// As [`Query::plan`] and [`Query::columns`].
    pub async fn plan(runtime: &Arc<Runtime>, recipe: Recipe, inputs: Vec<Input>) -> Result<Self> {
        let shown = inputs.iter().map(|input| input.shown.clone()).collect();
        let query = Query::plan(runtime, &recipe.project, &recipe.sql, shown).await?;
        let columns = query.columns(&recipe.needed)?;
        Ok(Self { runtime: runtime.clone(), recipe, inputs, query, columns })
    }

    /// The columns of the table that is filled.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Whether the table's rows come from older rows than there are. Nothing is computed.
    ///
    /// # Errors
    /// As [`Table::snapshot`].
    pub async fn is_due(&self, table: &Table) -> Result<bool> {
        let before = table.inputs(self.record().keys()).await?;
        Ok(!matches!(self.next(table, before.as_ref(), false).await?, Step::Nothing))
    }

    /// Brings the table up to the inputs; with `full` from everything, whatever it has. Dropping the future stops it and leaves
    /// the table as it was.
    ///
    /// # Errors
    /// What the query fails with, values that a column can't hold, [`Error::Contended`] where somebody else fills the table.
    pub async fn run(self, table: &Table, full: bool, progress: &Arc<Progress>) -> Result<Refreshed> {
        let (record, inputs) = (self.record(), self.versions());
        let before = table.inputs(record.keys()).await?;
        let (query, replace) = match self.next(table, before.as_ref(), full).await? {
            Step::Nothing => {
                let version = table.version();
                return Ok(Refreshed { version, changed: false, full: false, rows: 0, inputs });
            }
            Step::Increment(news) => (self.over(&news).await?, false),
            Step::Full => (self.query.clone(), true),
        };
        let rows = self.rows(&query, progress).await?;
        let (columns, order) = (self.columns, self.recipe.order);
        let filling = Filling { inputs: record, before, columns, order, replace };
        let filled = table.fill(&self.runtime, filling, rows).await?;
        Ok(Refreshed { version: filled.version, changed: true, full: replace, rows: filled.rows, inputs })
    }

    fn versions(&self) -> Inputs {
        self.inputs.iter().map(|input| (input.name(), input.version())).collect()
    }

    /// What goes with the rows.
    fn record(&self) -> Inputs {
        self.inputs.iter().flat_map(Input::record).collect()
    }

    async fn next(&self, table: &Table, before: Option<&Inputs>, full: bool) -> Result<Step> {
        let Some(before) = before.filter(|_| !full) else { return Ok(Step::Full) };
        if !table.snapshot(None).await?.has_columns(&self.columns) {
            return Ok(Step::Full);
        }
        let mut news = BTreeMap::new();
        for input in &self.inputs {
            let from = before.get(&input.name()).copied().unwrap_or(-1);
            if input.identity().is_some_and(|(name, table)| before.get(&name) != Some(&table)) {
                return Ok(Step::Full);
            }
            match added(input, from).await? {
                Some(files) => news.insert(input.name(), files),
                None => return Ok(Step::Full),
            };
        }
        match news.values().all(Vec::is_empty) {
            true => Ok(Step::Nothing),
            false if self.query.is_row_by_row() => Ok(Step::Increment(news)),
            false => Ok(Step::Full),
        }
    }

    /// The query over the new files alone.
    async fn over(&self, news: &BTreeMap<String, Vec<DataFile>>) -> Result<Query> {
        let shown = self.inputs.iter().map(|input| {
            let files = news.get(&input.name()).cloned().unwrap_or_default();
            let snapshot = Snapshot { files, ..input.shown.snapshot.as_ref().clone() };
            ShownTable { snapshot: Arc::new(snapshot), ..input.shown.clone() }
        });
        Query::plan(&self.runtime, &self.recipe.project, &self.recipe.sql, shown.collect()).await
    }

    /// The result's rows as the table takes them. Where rows correspond to rows read, they come in that order: of two that tie
    /// the later stays the later.
    async fn rows(&self, query: &Query, progress: &Arc<Progress>) -> Result<SendableRecordBatchStream> {
        let conversions = Conversions::new(&query.schema, &self.columns)?;
        let (plan, limits) = (query.plan.clone(), Limits::default());
        let stream = match query.is_row_by_row() {
            true => query.sql.run_in_order(plan, &limits).await?,
            false => query.sql.run(plan, &limits).await?,
        };
        let (schema, progress) = (conversions.schema().clone(), progress.clone());
        let converted = stream.and_then(move |batch| {
            progress.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
            std::future::ready(conversions.apply(&batch).map_err(DataFusionError::from))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, converted)))
    }
}

/// The files whose rows came after a version; `None` where rows were removed or changed since, or nothing tells.
async fn added(input: &Input, from: i64) -> Result<Option<Vec<DataFile>>> {
    if !input.table.has_history() || from > input.version() {
        return Ok(None);
    }
    match input.table.changes(from, input.version()).await {
        Ok(Since::Known(changes)) => Ok(changes.removed.is_empty().then_some(changes.added)),
        // The version that was read before is gone: what came since can't be told.
        Ok(Since::Lost(_)) | Err(Error::VersionMissing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
