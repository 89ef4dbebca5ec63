//! Ingest: record batches into a managed table, all or nothing, once per batch id.

use arrow::array::RecordBatch;
use futures::StreamExt;
use futures::stream::BoxStream;
use tidegate_offline::ingest::Rules;
use tidegate_offline::table::{AppendRequest, Incoming};
use tidegate_schemas::catalog::{Catalog, nearest};
use tidegate_schemas::definition::{Location, Source};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::failpoint::{Failpoint, reach};

use crate::service::{Batches, Error, Principal, Result, Tidegate};

/// Where batches go.
#[derive(Debug, Clone, Default)]
pub struct IngestRequest {
    /// The project.
    pub project: String,
    /// A source, or a view whose source is meant.
    pub target: String,
    /// The same id is accepted once; empty: the server makes one.
    pub batch_id: String,
    /// Drop columns the table does not have, instead of refusing them.
    pub ignore_extra_columns: bool,
}

/// What an ingest did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// The source written to.
    pub source: String,
    /// The table version that holds the rows.
    pub version: i64,
    /// Rows appended, by this call or by the first with the same id.
    pub rows: u64,
    /// The id had been ingested before; nothing was written now.
    pub already_ingested: bool,
    /// The id, given or made.
    pub batch_id: String,
    /// Columns that were dropped.
    pub ignored_columns: Vec<String>,
}

impl Tidegate {
    /// Appends batches to the table of a managed source.
    ///
    /// # Errors
    /// `NotFound` for the target; `Precondition` for a source that is not managed; `Invalid` names column, row and value of what
    /// does not fit, and nothing is written.
    pub async fn ingest(&self, principal: &Principal, request: IngestRequest, batches: Batches) -> Result<Ingested> {
        let project = self.project(&request.project).await?;
        let source = target(&project.catalog, &request.target)?;
        if let Location::Query(_) = source.location {
            let message = format!("source `{}` is a query; write to the sources that it reads", source.name);
            return Err(Error::new(ErrorKind::Precondition, message));
        }
        if source.location != Location::Managed {
            let message = format!(
                "source `{}` is a table that Tidegate only reads; write it with the tool that owns it, or make the source \
                 `table: managed`",
                source.name
            );
            return Err(Error::new(ErrorKind::Precondition, message));
        }
        let table = self.tables.open(&request.project, source).await?;
        let rules = Rules::of(&project.catalog, source, request.ignore_extra_columns);
        let ignored_columns = extra_columns(&rules, &batches);
        let batch_id = match request.batch_id.as_str() {
            "" => uuid::Uuid::new_v4().to_string(),
            given => given.to_owned(),
        };
        let append = AppendRequest { batch_id: batch_id.clone(), rules };
        let checked = self.without_erased(&request.project, &source.name, batches.stream);
        let incoming = Incoming { schema: batches.schema, batches: checked };
        let plans = self.plans.clone();
        let appended = self.plans.run(async move { table.append(&plans, append, incoming).await }).await?;
        reach(Failpoint::BeforeIngestAck);
        if !appended.already {
            self.telemetry.ingested(&request.project, &source.name, appended.rows);
        }
        tracing::info!(
            principal = principal.name(),
            project = request.project,
            source = source.name,
            rows = appended.rows,
            version = appended.version,
            already = appended.already,
            "ingested"
        );
        Ok(Ingested {
            source: source.name.clone(),
            version: appended.version,
            rows: appended.rows,
            already_ingested: appended.already,
            batch_id,
            ignored_columns,
        })
    }
}

impl Tidegate {
    /// The batches, until one has rows of an entity that was erased.
    fn without_erased(
        &self,
        project: &str,
        source: &str,
        batches: BoxStream<'static, Result<RecordBatch>>,
    ) -> BoxStream<'static, std::result::Result<RecordBatch, Box<dyn std::error::Error + Send + Sync>>> {
        let (erasures, project, source, mut rows) = (self.erasures.clone(), project.to_owned(), source.to_owned(), 0);
        let check = move |batch: Result<RecordBatch>| {
            let batch = batch?;
            erasures.check(&project, &source, &batch, rows)?;
            rows += batch.num_rows() as u64;
            Ok(batch)
        };
        batches.map(check).boxed()
    }
}

/// The source of that name, or the source of the view of that name.
pub(in crate::service) fn target<'a>(catalog: &'a Catalog, name: &str) -> Result<&'a Source> {
    let of_view = || catalog.views.get(name).and_then(|view| catalog.sources.get(&view.source));
    catalog.sources.get(name).or_else(of_view).map(AsRef::as_ref).ok_or_else(|| {
        let names = catalog.sources.keys().chain(catalog.views.keys()).map(String::as_str);
        let help = nearest(name, names).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        Error::not_found(format!("no source or feature view named `{name}` in project `{}`{help}", catalog.project))
    })
}

/// The columns that the rules drop.
fn extra_columns(rules: &Rules, batches: &Batches) -> Vec<String> {
    let known = |name: &str| rules.columns.iter().any(|column| column.name == name);
    let names = batches.schema.fields().iter().map(|field| field.name());
    names.filter(|name| rules.ignore_extra_columns && !known(name)).cloned().collect()
}
