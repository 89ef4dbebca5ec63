//! Sealed training sets: making one, making it again, comparing the two, and what others must keep for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use tidegate_offline::query::{Limits, Sql};
use tidegate_offline::training::digest::{ColumnDigest, Digester, TableDigest};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::file;

use crate::registry::Versioned;
use crate::sealed::{Options, Origin, Sealed, SealedSpine};
use crate::service::spines::{self, Spool};
use crate::service::training_set::{At, Reading, counted, reading, time_column};
use crate::service::work::{self, Reports};
use crate::service::{Batches, Error, Principal, Result, Spine, Tidegate, TrainingSetRequest};

/// What this server writes into seals.
const ENGINE: &str = env!("CARGO_PKG_VERSION");

/// A training set to seal.
#[derive(Debug, Clone)]
pub struct SealRequest {
    /// The name it will have in its project.
    pub name: String,
    /// What to make.
    pub training_set: TrainingSetRequest,
}

/// How far a seal is.
#[derive(Debug, Clone)]
pub enum SealProgress {
    /// Rows made so far.
    Rows(u64),
    /// It is written; the last report.
    Done(Box<Sealed>),
}

/// How far a verification is.
#[derive(Debug, Clone)]
pub enum VerifyProgress {
    /// Rows made so far.
    Rows {
        /// So many.
        rows: u64,
        /// Of so many.
        total: u64,
    },
    /// What came out; the last report.
    Done(Verdict),
}

/// Whether a set is what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The rows and the digest found.
    pub found: TableDigest,
    /// What is not as it was; empty when the set is the same, bit for bit.
    pub differences: Vec<Difference>,
    /// The version of this server.
    pub engine: String,
}

/// One thing that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Of what kind.
    pub what: What,
    /// The column; empty for a number of rows.
    pub column: String,
    /// As sealed.
    pub sealed: String,
    /// As found.
    pub found: String,
}

/// What can differ between two makings of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The number of rows.
    Rows,
    /// A column is gone.
    ColumnMissing,
    /// A column is new.
    ColumnAdded,
    /// A column's type.
    Type,
    /// A column's values.
    Values,
}

impl What {
    /// A word for messages and the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::ColumnMissing => "column missing",
            Self::ColumnAdded => "column added",
            Self::Type => "type",
            Self::Values => "values",
        }
    }
}

/// A set that can be made again: its definitions as they were, and its spine.
#[derive(Clone)]
pub(in crate::service) struct Again {
    pub(in crate::service) set: Sealed,
    pub(in crate::service) definitions: Arc<Versioned>,
    pub(in crate::service) spine: Arc<Spool>,
}

impl Tidegate {
    /// Makes a training set and keeps what it takes to make it again. The stream's last report is the seal, which is on disk by
    /// then; dropping the stream earlier leaves none.
    ///
    /// # Errors
    /// `AlreadyExists` for a taken name, `Invalid` for one that can't be; else as [`Self::training_set`].
    pub async fn seal(
        &self,
        principal: &Principal,
        request: SealRequest,
    ) -> Result<BoxStream<'static, Result<SealProgress>>> {
        let SealRequest { name, training_set: request } = request;
        let project = self.project(&request.project).await?;
        self.sealed.check_free(&request.project, &name).await?;
        project.catalog.resolve(&request.selection, request.full_names)?;
        let spool = self.spooled(principal, &project, &request.spine).await?;
        let plan = spines::scan(spool.clone())?;
        let event_time_column = time_column(plan.schema().as_arrow(), &request.event_time_column)?;
        let options = Options { event_time_column, ..request.options() };
        let reading = self.sealed_reading(&project, &request, &options, spool.clone()).await?;
        let spine = SealedSpine {
            origin: match request.spine {
                Spine::Uploaded(_) => Origin::Uploaded,
                Spine::Sql(query) => Origin::Sql(query),
                Spine::Table(name) => Origin::Table(name),
            },
            id: uuid::Uuid::new_v4().simple().to_string(),
            rows: spool.rows,
            digest: String::new(),
        };
        let mut set = Sealed {
            project: request.project,
            name,
            created_at: self.clock.now(),
            principal: principal.name().to_owned(),
            engine: ENGINE.to_owned(),
            definitions_version: project.version,
            definitions_digest: file::digest(&project.catalog),
            selection: request.selection,
            options,
            spine,
            tables: reading.versions.clone(),
            result: TableDigest { rows: 0, digest: String::new(), columns: Vec::new() },
        };
        tracing::info!(principal = principal.name(), project = set.project, name = set.name, "seal");
        let place = self.admission.training_sets.place().await?;
        let (rows, sets) = (self.run(&set.project, reading).await?, self.sealed.clone());
        Ok(work::start(&self.plans, place, async move |reports| {
            set.spine.digest = spool.digest()?.digest;
            set.result = fingerprint(rows, &reports, SealProgress::Rows).await?;
            sets.put_spine(&set.project, &set.spine.id, spool.path()).await?;
            if let Err(error) = sets.create(&set).await {
                sets.drop_spine(&set.project, &set.spine.id).await;
                return Err(error.into());
            }
            reports.send(SealProgress::Done(Box::new(set))).await;
            Ok(())
        }))
    }

    /// The sealed sets of a project, oldest first.
    ///
    /// # Errors
    /// `NotFound` for the project; `Corrupt` names a damaged record.
    pub async fn sealed(&self, _principal: &Principal, project: &str) -> Result<Vec<Sealed>> {
        let project = self.project(project).await?;
        Ok(self.sealed.list(&project.catalog.project).await?)
    }

    /// One sealed set.
    ///
    /// # Errors
    /// `NotFound` for the project or the set.
    pub async fn sealed_set(&self, _principal: &Principal, project: &str, name: &str) -> Result<Sealed> {
        let project = self.project(project).await?;
        Ok(self.sealed.get(&project.catalog.project, name).await?)
    }

    /// Forgets a sealed set: its name and the table versions it pinned are free.
    ///
    /// # Errors
    /// `NotFound` for the project or the set.
    pub async fn unseal(&self, principal: &Principal, project: &str, name: &str) -> Result<()> {
        let project = self.project(project).await?;
        self.sealed.delete(&project.catalog.project, name).await?;
        tracing::info!(principal = principal.name(), project = project.catalog.project, name, "seal deleted");
        Ok(())
    }

    /// The versions of a source's table that sealed sets need: a vacuum keeps the files of all of them.
    ///
    /// # Errors
    /// `Corrupt` names a damaged record: until it is mended or deleted, nothing is known to be free.
    pub async fn sealed_versions(&self, project: &str, source: &str) -> Result<BTreeSet<i64>> {
        let sets = self.sealed.list(project).await?;
        Ok(sets.iter().filter_map(|set| set.tables.get(source).copied()).collect())
    }

    /// Makes a sealed set again, from the definitions, table versions and spine it was made of, and compares. The stream's last
    /// report is the verdict.
    ///
    /// # Errors
    /// `NotFound` for the set; `Precondition` names a table version that is gone; `Corrupt` for a damaged record or spine.
    pub async fn verify(
        &self,
        principal: &Principal,
        project: &str,
        name: &str,
    ) -> Result<BoxStream<'static, Result<VerifyProgress>>> {
        let again = self.again(self.sealed_set(principal, project, name).await?).await?;
        let place = self.admission.training_sets.place().await?;
        let rows = self.run(project, self.reading_again(&again, At::Versions(&again.set.tables)).await?).await?;
        Ok(work::start(&self.plans, place, async move |reports| {
            again.check_spine()?;
            let total = again.set.result.rows;
            let found = fingerprint(rows, &reports, |rows| VerifyProgress::Rows { rows, total }).await;
            let found = found.map_err(|error| again.explain(error))?;
            let differences = differences(&again.set.result, &found);
            reports.send(VerifyProgress::Done(Verdict { found, differences, engine: ENGINE.to_owned() })).await;
            Ok(())
        }))
    }

    /// The rows of a sealed set, made again.
    ///
    /// # Errors
    /// As [`Self::verify`]. Rows are not held against the seal's digest.
    pub async fn sealed_rows(&self, principal: &Principal, project: &str, name: &str) -> Result<Batches> {
        let again = self.again(self.sealed_set(principal, project, name).await?).await?;
        let reading = self.reading_again(&again, At::Versions(&again.set.tables)).await?;
        let place = self.admission.training_sets.place().await?;
        let Batches { schema, stream, counts } = self.run(project, reading).await?;
        let rows = Batches::new(schema, stream.map(move |batch| batch.map_err(|error| again.explain(error))));
        Ok(self.admission.attended(place, &self.plans, Batches { counts, ..rows }))
    }

    /// The schema of [`Self::sealed_rows`].
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub async fn sealed_schema(
        &self,
        principal: &Principal,
        project: &str,
        name: &str,
    ) -> Result<arrow::datatypes::SchemaRef> {
        let again = self.again(self.sealed_set(principal, project, name).await?).await?;
        let reading = self.reading_again(&again, At::Versions(&again.set.tables)).await?;
        Ok(self.plain_session(project)?.schema_of(&reading.plan()?)?)
    }

    /// What a set is made of, brought together.
    pub(in crate::service) async fn again(&self, set: Sealed) -> Result<Again> {
        let catalog = self.registry.record(&set.project, set.definitions_version).await?.catalog;
        if file::digest(&catalog) != set.definitions_digest {
            let message = format!(
                "sealed set `{}` was made from other definitions than version {} of project `{}` holds; restore the registry",
                set.name, set.definitions_version, set.project
            );
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let spool = self.spines.empty()?;
        self.sealed.get_spine(&set, spool.path()).await?;
        let spool = spool.open(set.spine.rows).map_err(|error| damaged_spine(&set, Some(error)))?;
        let definitions = Arc::new(Versioned { version: set.definitions_version, catalog });
        Ok(Again { set, definitions, spine: Arc::new(spool) })
    }

    /// A set's join by its own definitions and spine, at some versions of its tables.
    pub(in crate::service) async fn reading_again(&self, again: &Again, at: At<'_>) -> Result<Reading> {
        let (catalog, options) = (&again.definitions.catalog, &again.set.options);
        let resolved = catalog.resolve(&again.set.selection, options.full_names)?;
        let spine = spines::scan(again.spine.clone())?;
        let reading = reading(&self.plans, &self.tables, catalog, &resolved, options, spine, at).await;
        reading.map_err(|error| again.explain(error))
    }

    /// Runs a join outside of SQL.
    pub(in crate::service) async fn run(&self, project: &str, reading: Reading) -> Result<Batches> {
        let (stream, counts) = self.plain_session(project)?.run_counted(reading.plan()?, &Limits::default()).await?;
        let telemetry = self.telemetry.clone();
        Ok(counted(stream, move |rows| telemetry.training_rows(rows)).with_counts(counts))
    }

    fn plain_session(&self, project: &str) -> Result<Sql> {
        Ok(Sql::new(&self.plans, project, Vec::new(), None)?)
    }

    /// A spine's rows on disk, where they came from a query or a table after running that.
    pub(in crate::service) async fn spooled(
        &self,
        principal: &Principal,
        project: &Arc<Versioned>,
        spine: &Spine,
    ) -> Result<Arc<Spool>> {
        if let Spine::Uploaded(id) = spine {
            return self.spines.find(principal, &project.catalog.project, id, self.clock.now());
        }
        let plan = self.spine(principal, project, spine).await?;
        let rows = counted(self.sql_session(project).await?.run_in_order(plan, &Limits::default()).await?, |_| {});
        Ok(Arc::new(self.spines.spool(rows).await?))
    }

    async fn sealed_reading(
        &self,
        project: &Versioned,
        request: &TrainingSetRequest,
        options: &Options,
        spool: Arc<Spool>,
    ) -> Result<Reading> {
        let resolved = project.catalog.resolve(&request.selection, request.full_names)?;
        reading(&self.plans, &self.tables, &project.catalog, &resolved, options, spines::scan(spool)?, At::Newest).await
    }
}

impl Again {
    /// Refuses rows that are not those that were sealed. Reads them all.
    pub(in crate::service) fn check_spine(&self) -> Result<()> {
        match self.spine.digest() {
            Ok(found) if found.digest == self.set.spine.digest => Ok(()),
            Ok(_) => Err(damaged_spine(&self.set, None)),
            Err(error) => Err(damaged_spine(&self.set, Some(error))),
        }
    }

    /// An error of a run, with the set it is about.
    pub(in crate::service) fn explain(&self, mut error: Error) -> Error {
        error.message = format!("sealed set `{}`: {}", self.set.name, error.message);
        error
    }
}

fn damaged_spine(set: &Sealed, source: Option<Error>) -> Error {
    let message = format!(
        "the stored spine of sealed set `{}` is not what was sealed: an entity was erased from it since, or it is damaged; delete \
         the set, or restore it from a backup",
        set.name
    );
    let error = Error::new(ErrorKind::Corrupt, message);
    match source {
        Some(source) => error.with_source(source),
        None => error,
    }
}

/// The fingerprint of all rows of a stream.
async fn fingerprint<T: Send>(rows: Batches, reports: &Reports<T>, report: impl Fn(u64) -> T) -> Result<TableDigest> {
    let mut digester = Digester::new(&rows.schema);
    let (mut stream, mut seen) = (rows.stream, 0);
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        digester.update(&batch).map_err(tidegate_offline::Error::from)?;
        seen += batch.num_rows() as u64;
        reports.send(report(seen)).await;
    }
    Ok(digester.finish())
}

/// What a making of a set has other than the seal says.
fn differences(sealed: &TableDigest, found: &TableDigest) -> Vec<Difference> {
    let difference = |what, column: &str, sealed: &str, found: &str| Difference {
        what,
        column: column.to_owned(),
        sealed: sealed.to_owned(),
        found: found.to_owned(),
    };
    let mut all = Vec::new();
    if sealed.rows != found.rows {
        all.push(difference(What::Rows, "", &sealed.rows.to_string(), &found.rows.to_string()));
    }
    let by_name = |of: &[ColumnDigest]| -> BTreeMap<String, ColumnDigest> {
        of.iter().map(|column| (column.name.clone(), column.clone())).collect()
    };
    let (before, now) = (by_name(&sealed.columns), by_name(&found.columns));
    for was in &sealed.columns {
        match now.get(&was.name) {
            None => all.push(difference(What::ColumnMissing, &was.name, &was.data_type, "")),
            Some(is) if is.data_type != was.data_type => {
                all.push(difference(What::Type, &was.name, &was.data_type, &is.data_type));
            }
            Some(is) if is.digest != was.digest => {
                all.push(difference(What::Values, &was.name, &was.digest, &is.digest));
            }
            Some(_) => {}
        }
    }
    for is in found.columns.iter().filter(|is| !before.contains_key(&is.name)) {
        all.push(difference(What::ColumnAdded, &is.name, "", &is.data_type));
    }
    all
}

#[cfg(test)]
mod tests;
