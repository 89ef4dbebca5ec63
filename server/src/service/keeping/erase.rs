//! Erasing an entity everywhere, with a receipt.
//!
//! ```text
//! grave      from here on nothing of the entity with an earlier event time is taken, on any path; pushes of later ones are refused
//!            until its rows are gone
//! settle     pushes that began before are waited for, and what they left in outboxes goes to its tables
//! tables     its rows go from every version of every managed table, of those that queries fill, and of `_quarantine`
//! online     its rows go from every view
//! views of other entities that those tables feed are computed anew
//! spines     uploaded ones are forgotten; sealed ones lose its rows, and their sets no longer verify
//! receipt
//! ```
//! Any step can be done again: an erasure that was cut short is finished by asking for it again. It goes on when the caller goes
//! away, and no other job moves the project's views meanwhile.

mod quarantine;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::util::display::array_value_to_string;
use futures::StreamExt;
use futures::stream::BoxStream;
use tidegate_offline::table::{ErasedTable, Erasure, Guard, Table, ToldBy};
use tidegate_online::{Commit, EntityKey, Erasing};
use tidegate_schemas::catalog::{Catalog, nearest};
use tidegate_schemas::definition::{Column, FeatureView, Location, Source};
use tidegate_schemas::digest;
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::failpoint::{Failpoint, reach};

use crate::materialize::{Claim, Columns};
use crate::receipts::{ErasedSource, ErasedView, Receipt, SealedLoss};
use crate::registry::Versioned;
use crate::sealed;
use crate::service::push::QUARANTINE;
use crate::service::tables::QUERIES;
use crate::service::work::Reports;
use crate::service::{Error, MaterializeRequest, Principal, Result, Tidegate, erasures, keys};
use crate::shutdown::Registration;
use quarantine::{Suspects, Whose};

/// An entity to erase.
#[derive(Debug, Clone)]
pub struct EraseRequest {
    /// The project.
    pub project: String,
    /// The entity's name.
    pub entity: String,
    /// Its keys by name, one value each. Any Arrow type that casts losslessly to the key's type.
    pub keys: Vec<(String, ArrayRef)>,
}

/// How far an erasure is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EraseProgress {
    /// What is being done, for people.
    Step(String),
    /// It is done; the last report.
    Done(Box<Receipt>),
}

/// An erasure under way.
struct Work {
    service: Arc<Tidegate>,
    principal: Principal,
    project: Arc<Versioned>,
    key: EntityKey,
    receipt: Receipt,
    /// It was erased before, maybe not to the end: rows may have gone from tables that views of others were not computed from since.
    again: bool,
    reports: Reports<EraseProgress>,
    registration: Registration,
    claims: Vec<Claim>,
}

impl Tidegate {
    /// Erases an entity from every view, managed table, spine and log of a project; the stream's last report is the receipt, which
    /// is on disk by then. Rows of it that come later with event times before the erasure are refused.
    ///
    /// # Errors
    /// `NotFound` for the project or the entity; `Invalid` for missing keys, wrong types and more than one row; `Precondition`
    /// while a view of the project is being materialized, or other such work is under way.
    pub async fn erase(
        self: &Arc<Self>,
        principal: &Principal,
        request: EraseRequest,
    ) -> Result<BoxStream<'static, Result<EraseProgress>>> {
        let project = self.project(&request.project).await?;
        let key = entity_key(&project.catalog, &request)?;
        let receipt = Receipt {
            id: uuid::Uuid::new_v4().simple().to_string(),
            project: key.project.clone(),
            entity: key.entity.clone(),
            keys: key.keys.clone(),
            digest: digest::hex(&key.digest()?),
            erased_at: self.clock.now(),
            principal: principal.name().to_owned(),
            views: Vec::new(),
            tables: Vec::new(),
            refreshed: Vec::new(),
            spines: 0,
            sealed: Vec::new(),
            left: Vec::new(),
        };
        let digest = key.digest()?;
        let again = self.online.graves().iter().any(|grave| grave.digest == digest);
        let (service, principal) = (self.clone(), principal.clone());
        self.alone(format!("erase in {}", key.project), move |reports, registration| async move {
            let claims = Vec::new();
            Work { service, principal, project, key, receipt, again, reports, registration, claims }.run().await
        })
    }

    /// The receipts of a project's erasures, oldest first.
    ///
    /// # Errors
    /// `NotFound` for the project; `Corrupt` names a damaged receipt.
    pub async fn erasures(&self, _principal: &Principal, project: &str) -> Result<Vec<Receipt>> {
        let project = self.project(project).await?;
        self.receipts.list(&project.catalog.project).await
    }

    /// Refuses again what receipts say was erased, where the online tier no longer knows: it may have been begun anew.
    pub(in crate::service) async fn dig_graves(&self) -> Result<()> {
        let known: BTreeSet<[u8; 32]> = self.online.graves().into_iter().map(|grave| grave.digest).collect();
        for project in self.receipts.projects().await? {
            for receipt in self.receipts.list(&project).await? {
                let Some(digest) = receipt.digest_bytes().filter(|digest| !known.contains(digest)) else { continue };
                self.online.bury(&tidegate_online::Grave {
                    project: receipt.project,
                    entity: receipt.entity,
                    keys: receipt.keys,
                    digest,
                    at: receipt.erased_at,
                })?;
            }
        }
        Ok(())
    }
}

/// The key of the entity that a request names.
fn entity_key(catalog: &Catalog, request: &EraseRequest) -> Result<EntityKey> {
    let entity = catalog.entities.get(&request.entity).ok_or_else(|| {
        let near = nearest(&request.entity, catalog.entities.keys().map(String::as_str));
        let help = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        Error::not_found(format!("no entity named `{}` in project `{}`{help}", request.entity, catalog.project))
    })?;
    let values = keys::columns(&entity.keys, &request.keys)?;
    if let Some(rows) = values.iter().map(|values| values.len()).find(|rows| *rows != 1) {
        return Err(Error::invalid(format!("{rows} keys were given; erase one entity at a time")));
    }
    if values.iter().any(|values| values.is_null(0)) {
        return Err(Error::invalid("a key is null; nothing has such a key"));
    }
    let (project, entity, keys) = (catalog.project.clone(), entity.name.clone(), entity.keys.clone());
    Ok(EntityKey { project, entity, keys, values })
}

impl Work {
    async fn run(mut self) -> Result<()> {
        self.claim_views().await?;
        if let Err(error) = self.service.remove_half_backup().await {
            self.receipt.left.push(format!("what a backup that was cut short may have left: {}", error.chain()));
        }
        let erasing = self.bury().await?;
        reach(Failpoint::AfterGrave);
        self.settle().await?;
        let thinned = self.erase_tables().await?;
        self.erase_quarantined().await?;
        reach(Failpoint::BeforeOnlineErasure);
        self.erase_online().await?;
        drop(erasing);
        self.advance().await?;
        self.claims.clear();
        self.refresh_others(&thinned).await?;
        self.receipt.spines = self.service.spines.forget(&self.key.project);
        self.erase_sealed().await?;
        reach(Failpoint::BeforeReceipt);
        self.service.receipts.create(&self.receipt).await?;
        tracing::info!(
            principal = self.principal.name(),
            project = self.key.project,
            entity = self.key.entity,
            receipt = self.receipt.id,
            "erased"
        );
        self.reports.send(EraseProgress::Done(Box::new(self.receipt))).await;
        Ok(())
    }

    /// Says what comes next. Whoever listens slowly misses some: nothing waits for it.
    fn step(&self, what: impl Into<String>) -> Result<()> {
        if self.registration.is_stopping() {
            let message =
                "the server stops before the entity is erased everywhere; ask for it again and it is finished";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        self.reports.try_send(EraseProgress::Step(what.into()));
        Ok(())
    }

    /// Keeps jobs off all views of the project: none may be half way with rows of the entity.
    async fn claim_views(&mut self) -> Result<()> {
        for view in self.project.catalog.views.values().filter(|view| view.online) {
            let claim = self.service.claim(&self.key.project, &view.name).await.ok_or_else(|| {
                let message = format!("feature view `{}` is being materialized; erase when that is done", view.name);
                Error::new(ErrorKind::Precondition, message)
            })?;
            self.claims.push(claim);
        }
        Ok(())
    }

    async fn bury(&mut self) -> Result<Erasing> {
        // Jobs may have been waited for.
        self.receipt.erased_at = self.service.clock.now();
        let (store, grave) = (self.service.online.clone(), self.key.grave(self.receipt.erased_at)?);
        blocking(move || Ok(store.begin_erasure(grave)?)).await
    }

    /// Waits for pushes that began before the grave was dug, and brings what waits to its tables: no row of the entity is left in an
    /// outbox.
    async fn settle(&self) -> Result<()> {
        self.service.settle_pushes().await?;
        let catalog = &self.project.catalog;
        for source in catalog.sources.values().filter(|source| source.location == Location::Managed) {
            let ways = erasures::ways(catalog, &source.name, &self.key.entity, &self.key.keys);
            if !ways.is_empty() && self.service.tables.is_there(&self.key.project, source) {
                self.flush(&source.name).await?;
            }
        }
        // Last: what tables can't take goes there.
        self.flush(QUARANTINE).await
    }

    async fn flush(&self, name: &str) -> Result<()> {
        let up_to = self.service.online.last_number();
        let feed = self.service.online.feed(&self.key.project, name)?;
        self.service.flush_feed(&self.project, name, feed, up_to).await.map(drop)
    }

    /// Removes the entity from the managed tables; names the sources that lost rows, now or when it was erased before.
    async fn erase_tables(&mut self) -> Result<BTreeSet<String>> {
        let mut thinned = BTreeSet::new();
        let project = self.project.clone();
        // Tables of queries come last: what they are computed from no longer has the entity by then.
        let queried = |source: &Source| matches!(source.location, Location::Query(_));
        let (computed, own): (Vec<_>, Vec<_>) = project.catalog.sources.values().partition(|source| queried(source));
        for source in own.into_iter().chain(computed) {
            let ways = erasures::ways(&self.project.catalog, &source.name, &self.key.entity, &self.key.keys);
            if ways.is_empty() {
                continue;
            }
            if source.location != Location::Managed && !queried(source) {
                self.receipt.left.push(format!(
                    "source `{}` is a table that Tidegate only reads; erase the entity there with the tool that owns it",
                    source.name
                ));
                continue;
            }
            if !self.service.tables.is_there(&self.key.project, source) {
                continue;
            }
            self.step(format!("table {}", source.name))?;
            let done = self.erase_table(source, &ways).await?;
            if done.rows > 0 || self.again {
                thinned.insert(source.name.clone());
            }
            self.receipt.tables.push(erased_source(&source.name, done));
        }
        self.name_unknown_tables();
        self.forget_old_recipes()?;
        Ok(thinned)
    }

    async fn erase_table(&self, source: &Source, ways: &[Vec<String>]) -> Result<ErasedTable> {
        let table = match source.location {
            // It may be there and not filled.
            Location::Query(_) => self.service.tables.to_fill(&self.key.project, source, &[]).await?,
            _ => self.service.tables.open(&self.key.project, source).await?,
        };
        self.erase_rows(&table, self.told_by(ways)).await
    }

    async fn erase_rows(&self, table: &Table, told_by: ToldBy) -> Result<ErasedTable> {
        let erasure = Erasure { id: self.receipt.id.clone(), told_by };
        Ok(table.erase(&self.service.plans, erasure).await?)
    }

    fn told_by(&self, ways: &[Vec<String>]) -> ToldBy {
        let way = |columns: &Vec<String>| columns.iter().cloned().zip(self.key.values.iter().cloned()).collect();
        ToldBy::Keys(ways.iter().map(way).collect())
    }

    /// Removes the entity's rows from the quarantine table, and then those of which it can't be told whose they are.
    async fn erase_quarantined(&mut self) -> Result<()> {
        let Some(table) = self.service.quarantine_table(&self.key.project).await? else { return Ok(()) };
        self.step(format!("table {QUARANTINE}"))?;
        let suspects = Suspects::new(&self.project.catalog, &self.key)?;
        for whose in [Whose::Its, Whose::Unclear] {
            let suspects = suspects.clone();
            let guard = Guard::new(move |batch| Ok(suspects.find(batch, whose)?));
            let columns = Suspects::COLUMNS.map(str::to_owned).to_vec();
            let done = self.erase_rows(&table, ToldBy::Columns(columns, guard)).await?;
            if whose == Whose::Unclear && done.rows > 0 {
                self.receipt.left.push(format!(
                    "nothing in `{QUARANTINE}`; {} of its rows went of which it can't be told whose they were",
                    done.rows
                ));
            }
            if done.rows > 0 || done.files_deleted > 0 {
                self.receipt.tables.push(erased_source(QUARANTINE, done));
            }
        }
        Ok(())
    }

    /// Folders of tables that no definition explains.
    fn name_unknown_tables(&mut self) {
        for name in self.service.tables.folders(&self.key.project) {
            if name == QUERIES || name == QUARANTINE {
                continue;
            }
            let known = self.project.catalog.sources.get(&name);
            if known.is_none_or(|source| source.location != Location::Managed) {
                self.receipt.left.push(format!(
                    "no definition says which columns of the table tables/{}/{name} are keys; define its source and erase again, \
                     or delete the folder",
                    self.key.project
                ));
            }
        }
    }

    /// Rows of queries that are no longer defined are read by nobody.
    fn forget_old_recipes(&self) -> Result<()> {
        let forgotten = self.service.tables.forget_old_recipes(&self.project.catalog);
        forgotten.map_err(|error| Error::internal("tables of older queries can't be deleted").with_source(error))
    }

    async fn erase_online(&mut self) -> Result<()> {
        self.step("online tier")?;
        let (store, key) = (self.service.online.clone(), self.key.clone());
        let erased = blocking(move || Ok(store.erase(&key)?)).await?;
        self.receipt.views =
            erased.into_iter().map(|erased| ErasedView { view: erased.view, rows: erased.rows }).collect();
        Ok(())
    }

    /// Views of the entity that were at the version before the erasure's are at its version now: nothing else is new in it.
    async fn advance(&self) -> Result<()> {
        let catalog = &self.project.catalog;
        let now = self.service.clock.now();
        for table in self.receipt.tables.iter().filter(|table| table.rows > 0) {
            let Some(source) = catalog.sources.get(&table.source) else { continue };
            let of_entity = |view: &&Arc<FeatureView>| {
                view.online && view.source == table.source && view.entities.contains(&self.key.entity)
            };
            for view in catalog.views.values().filter(of_entity) {
                let (store, id) = (self.service.online.clone(), self.service.view_id(&self.project, view)?);
                let version = table.version;
                // One that a refresh was broken off of is refreshed anew.
                let behind =
                    store.cursor(id)?.is_none_or(|cursor| cursor.version != version - 1 || !cursor.layout_current);
                if behind || store.progress(id)?.is_some() {
                    continue;
                }
                let none = Columns::of(catalog, view, source).none();
                let commit = Commit::Cursor { version, now };
                blocking(move || Ok(store.write(id, none.added(version), commit).map(drop)?)).await?;
            }
        }
        Ok(())
    }

    /// Views of other entities whose newest rows may have been the erased entity's.
    async fn refresh_others(&mut self, thinned: &BTreeSet<String>) -> Result<()> {
        let others = |view: &&Arc<FeatureView>| {
            view.online && thinned.contains(&view.source) && !view.entities.contains(&self.key.entity)
        };
        let views: Vec<String> =
            self.project.catalog.views.values().filter(others).map(|view| view.name.clone()).collect();
        if views.is_empty() {
            return Ok(());
        }
        self.step(format!("computing {} anew", views.join(", ")))?;
        let project = self.key.project.clone();
        let request = MaterializeRequest { project, views: views.clone(), full: true, detach: false };
        let mut reports = self.service.materialize(&self.principal, request).await?;
        while let Some(report) = reports.next().await {
            report?;
        }
        self.receipt.refreshed = views;
        Ok(())
    }

    async fn erase_sealed(&mut self) -> Result<()> {
        let lost: BTreeMap<String, Vec<(i64, i64)>> =
            self.receipt.tables.iter().map(|table| (table.source.clone(), table.versions_lost.clone())).collect();
        for set in self.service.sealed.list(&self.key.project).await? {
            let gone = |(source, version): (&String, &i64)| {
                let ranges = lost.get(source).map(Vec::as_slice).unwrap_or_default();
                ranges.iter().any(|(first, last)| (first..=last).contains(&version)).then(|| source.clone())
            };
            let mut why: Vec<String> =
                set.tables.iter().filter_map(gone).map(|source| format!("rows of table `{source}` are gone")).collect();
            let rows = self.erase_spine(&set).await?;
            if rows > 0 {
                why.push("rows of its spine are gone".to_owned());
            }
            if self.is_named_by(&set) {
                self.receipt
                    .left
                    .push(format!("the query that sealed set `{}` was made by names a key; delete the set", set.name));
            }
            if !why.is_empty() {
                self.receipt.sealed.push(SealedLoss { name: set.name, rows, why: why.join(", ") });
            }
        }
        Ok(())
    }

    /// Whether the text of a set's query has the key in it.
    fn is_named_by(&self, set: &sealed::Sealed) -> bool {
        let sealed::Origin::Sql(query) = &set.spine.origin else { return false };
        let text = |values: &ArrayRef| array_value_to_string(values, 0).unwrap_or_default();
        // Short numbers are in every query.
        self.key.values.iter().map(text).all(|text| text.len() >= 4 && query.contains(&text))
    }

    /// Removes the entity's rows from the spine of a sealed set, and counts them.
    async fn erase_spine(&self, set: &sealed::Sealed) -> Result<u64> {
        let ways = self.spine_ways(set).await?;
        if ways.is_empty() {
            return Ok(0);
        }
        let spool = self.service.spines.empty()?;
        self.service.sealed.get_spine(set, spool.path()).await?;
        let spool = spool.open(set.spine.rows)?;
        let erasure = Erasure { id: self.receipt.id.clone(), told_by: self.told_by(&ways) };
        let left = self.service.spines.empty()?;
        let (left, rows) = blocking(move || {
            let mut rows = 0;
            spool.filter_into(&left, |batch| {
                let (kept, erased) = erasure.without(batch)?;
                rows += erased;
                Ok(kept)
            })?;
            Ok((left, rows))
        })
        .await?;
        if rows > 0 {
            self.step(format!("sealed set {}", set.name))?;
            self.service.sealed.put_spine(&set.project, &set.spine.id, left.path()).await?;
        }
        Ok(rows)
    }

    /// The columns of a set's spine that name the entity, by the definitions it was made from.
    async fn spine_ways(&self, set: &sealed::Sealed) -> Result<Vec<Vec<String>>> {
        let catalog = self.service.registry.record(&set.project, set.definitions_version).await?.catalog;
        let resolved = catalog.resolve(&set.selection, set.options.full_names)?;
        let mut ways: Vec<Vec<String>> = Vec::new();
        for used in resolved.views.iter().filter(|used| used.view.entities.contains(&self.key.entity)) {
            let column = |key: &Column| {
                let found = used.keys.iter().find(|known| known.name == key.name);
                found.map(|known| known.spine_column.clone())
            };
            let way: Option<Vec<String>> = self.key.keys.iter().map(column).collect();
            if let Some(way) = way.filter(|way| !ways.contains(way)) {
                ways.push(way);
            }
        }
        Ok(ways)
    }
}

fn erased_source(source: &str, done: ErasedTable) -> ErasedSource {
    ErasedSource {
        source: source.to_owned(),
        version: done.version,
        rows: done.rows,
        files_rewritten: done.files_rewritten,
        files_deleted: done.files_deleted,
        commits_scrubbed: done.commits_scrubbed,
        versions_lost: done.versions_lost,
    }
}

/// Runs what waits for the disk on a thread that may.
pub(in crate::service) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal("a step panicked").with_source(error))?
}

#[cfg(test)]
mod tests;
