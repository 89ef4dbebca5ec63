//! The use cases, free of any transport: what the doors call and what tests can call without one.
//!
//! [`Tidegate`] holds the parts; each use case is a method in the file of its name, in one of these rooms: `history` has the tables,
//! `training` the training sets, `serving` lookups, `moving` what brings features from the first to the last, `streams` rows that come
//! one by one, `keeping` how long anything stays; `definitions` and `sql` are about all of it. Every method takes the caller's
//! [`Principal`] first and fails with [`Error`]. Tables travel as [`Batches`]. Nothing here knows gRPC, Flight or HTTP.

mod admission;
mod batches;
mod definitions;
mod history;
mod keeping;
mod moving;
mod principal;
mod serving;
mod sql;
mod streams;
mod training;
mod work;

pub use crate::backup::{BackedUpTable, BackedUpView, Manifest};
pub use crate::error::{Error, Result};
pub use crate::jobs::{Cause, Failure, Filter as JobFilter, Job, State as JobState, Watch as JobWatch};
pub use crate::materialize::{MaterializeProgress, Phase};
pub use crate::receipts::{ErasedSource, ErasedView, Receipt, SealedLoss};
pub use crate::sealed::{Options, Origin, Sealed, SealedSpine};
pub use audit::AuditRequest;
pub use backup::{BackupProgress, BackupRequest};
pub use batches::Batches;
pub use definitions::{Applied, ApplyRequest, Definition, Definitions, GetRequest, PlanOutcome, VersionInfo};
pub use erase::{EraseProgress, EraseRequest};
pub use explain::{Candidate, ExplainRequest, Explanation, FeatureSource, Outcome, WindowSource};
pub use freshness::{Freshness, ViewStatus};
pub use ingest::{IngestRequest, Ingested};
pub use materialize::MaterializeRequest;
pub use online::{FeatureReply, LookupReply, LookupRequest, Number, Packed, Plan, Reply, Texts, Values, ViewTimes};
pub use parity::{Mismatch, Parity, ViewParity};
pub use principal::Principal;
pub use push::{Applied as AppliedPush, Flushed, PushOutcome, PushRequest, PushTo, Quarantined};
pub use queries::{LineageStep, Place, SourceRefreshed};
pub use rebuild::RebuildProgress;
pub use retire::{Dropped, Retained};
pub use sealed::{Difference, SealProgress, SealRequest, Verdict, VerifyProgress, What};
pub use sql::{Prepared, TableInfo};
pub use tidegate_offline::point_in_time::Counts;
pub use tidegate_offline::training::{Sample, Split};
pub use training_set::{Spine, SpineUploaded, TrainingSetRequest};

use history::{ingest, queries, tables};
use keeping::{backup, erase, erasures, retire};
use moving::{freshness, materialize, rebuild};
use serving::{derivations, expressions, keys, online, parity};
use streams::push;
use training::{audit, diff, explain, lockstep, sealed, spines, training_set};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::RwLock;
use tidegate_offline::runtime::Runtime;
use tidegate_online::Store;
use tidegate_schemas::catalog::nearest;
use tidegate_schemas::error::ErrorKind;

use crate::clock::Clock;
use crate::config::Config;
use crate::jobs::{Jobs, Scheduler};
use crate::materialize::Claims;
use crate::receipts::Receipts;
use crate::registry::{self, Registry, Versioned};
use crate::sealed::SealedSets;
use crate::shutdown::Shutdown;
use crate::telemetry::Telemetry;
use admission::Admission;
use erasures::Erasures;
use online::Lookups;
use queries::Queries;
use spines::Spines;
use tables::Tables;

/// What [`Tidegate`] is made of.
pub struct Parts {
    /// The clock.
    pub clock: Clock,
    /// Metrics.
    pub telemetry: Arc<Telemetry>,
    /// Definitions.
    pub registry: Registry,
    /// Sealed training sets.
    pub sealed: SealedSets,
    /// Receipts of erasures.
    pub(crate) receipts: Receipts,
    /// Memory, spill space and threads of query plans.
    pub plans: Arc<Runtime>,
    /// The online tier.
    pub online: Arc<Store>,
    /// Materializations that wait, run and ended.
    pub jobs: Jobs,
    /// The switch that stops jobs.
    pub shutdown: Shutdown,
    /// Folder of managed tables.
    pub tables_dir: PathBuf,
    /// Folder of temporary files.
    pub spill_dir: PathBuf,
    /// All settings.
    pub settings: Config,
}

/// The running server's parts and its use cases.
pub struct Tidegate {
    clock: Clock,
    telemetry: Arc<Telemetry>,
    registry: Arc<Registry>,
    sealed: Arc<SealedSets>,
    receipts: Receipts,
    /// Keeps erased entities out of tables.
    erasures: Erasures,
    /// Held by work that concerns the whole data folder.
    lifecycle: Arc<tokio::sync::Mutex<()>>,
    plans: Arc<Runtime>,
    online: Arc<Store>,
    shutdown: Shutdown,
    tables: Arc<Tables>,
    queries: Queries,
    spines: Spines,
    lookups: Lookups,
    jobs: Jobs,
    /// Itself, for work that outlives a call.
    me: OnceLock<Weak<Self>>,
    pushes: push::Pushes,
    scheduler: Scheduler,
    claims: Claims,
    admission: Admission,
    settings: Config,
    /// Projects whose newest version can't be read, with the message that says why.
    broken: RwLock<BTreeMap<String, String>>,
}

impl Tidegate {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts {
            clock,
            telemetry,
            registry,
            sealed,
            receipts,
            plans,
            online,
            jobs,
            shutdown,
            tables_dir,
            spill_dir,
            settings,
        } = parts;
        let registry = Arc::new(registry);
        let erasures = Erasures::new(registry.clone(), online.clone());
        let tables = Arc::new(Tables::new(tables_dir, settings.tables.roots.clone(), erasures.clone()));
        Self {
            clock,
            telemetry,
            registry,
            sealed: Arc::new(sealed),
            receipts,
            lifecycle: Arc::default(),
            queries: Queries::new(plans.clone(), tables.clone()),
            plans,
            lookups: Lookups::new(online.path()),
            online,
            shutdown,
            tables,
            erasures,
            spines: Spines::new(spill_dir.join("spines"), &settings.spines),
            me: OnceLock::new(),
            pushes: push::Pushes::new(&settings.push),
            jobs,
            scheduler: Scheduler::default(),
            claims: Claims::default(),
            admission: Admission::new(&settings.plans),
            settings,
            broken: RwLock::default(),
        }
    }

    /// The parts, to be shared: work that outlives a call finds them again.
    #[must_use]
    pub fn share(self) -> Arc<Self> {
        let shared = Arc::new(self);
        // It is new: nobody has said so before.
        let _ = shared.me.set(Arc::downgrade(&shared));
        shared
    }

    /// The clock every door measures with.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Metrics: doors count their calls here.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// All metrics in the OpenMetrics text format ([`crate::telemetry::CONTENT_TYPE`]).
    #[must_use]
    pub fn metrics(&self) -> String {
        let stats = self.online.stats();
        self.telemetry.cache(&stats);
        self.telemetry.outbox(&self.online.feeds(), self.clock.now());
        self.telemetry.encode()
    }

    /// Brings what must be known before anything is written into memory: refuses again what was erased.
    ///
    /// # Errors
    /// Receipts can't be read, or one is damaged.
    pub async fn prepare(&self) -> Result<()> {
        self.dig_graves().await
    }

    /// Reads every project's newest definitions. A project whose files are damaged is logged and answers with that error; the
    /// others are served.
    ///
    /// # Errors
    /// The registry can't be listed.
    pub async fn load_definitions(&self) -> Result<()> {
        let (changed, failed) = self.registry.refresh().await?;
        self.note_broken(&failed);
        for project in changed {
            self.adopt(&project).await;
        }
        Ok(())
    }

    /// Looks for versions written by other processes and forgets spines whose time is over.
    pub async fn look_around(&self) {
        if let Err(error) = self.load_definitions().await {
            tracing::warn!(error = error.chain(), "can't look for new definitions");
        }
        self.spines.forget_expired(self.clock.now());
    }

    /// Brings tables and online layouts in line with a version that another process wrote, or that a stop cut short.
    async fn adopt(&self, project: &Versioned) {
        self.telemetry.catalog_version(&project.catalog.project, project.version);
        tracing::info!(project = project.catalog.project, version = project.version, "definitions");
        if let Err(error) = self.view_ids(project) {
            tracing::error!(project = project.catalog.project, error = error.chain(), "online layouts");
        }
        for source in project.catalog.sources.values() {
            if !self.tables.is_there(&project.catalog.project, source) && self.was_materialized(project, &source.name) {
                // An empty table in its place would empty the online tier too.
                tracing::error!(
                    project = project.catalog.project,
                    source = source.name,
                    "the table is gone and its rows are still served: put its folder back, or delete the source"
                );
                continue;
            }
            if source.location == tidegate_schemas::definition::Location::Managed
                && let Err(error) = self.tables.prepare(&project.catalog, source).await
            {
                tracing::error!(
                    project = project.catalog.project,
                    source = source.name,
                    error = error.chain(),
                    "table"
                );
            }
        }
    }

    /// Whether a view of this source has rows online.
    fn was_materialized(&self, project: &Versioned, source: &str) -> bool {
        let mut views = project.catalog.views.values().filter(|view| view.source == source && view.online);
        views.any(|view| {
            let cursor = self.view_id(project, view).ok().and_then(|id| self.online.cursor(id).ok().flatten());
            cursor.is_some()
        })
    }

    fn note_broken(&self, failed: &[registry::Error]) {
        let mut broken = BTreeMap::new();
        for error in failed {
            if let registry::Error::Corrupt { project, .. } = error {
                broken.insert(project.clone(), error.to_string());
            }
        }
        let mut known = self.broken.write();
        for (project, message) in &broken {
            if known.get(project) != Some(message) {
                tracing::error!(project, message, "registry");
            }
        }
        *known = broken;
    }

    /// The newest known definitions of a project.
    async fn project(&self, name: &str) -> Result<Arc<Versioned>> {
        if let Some(known) = self.registry.cached(name) {
            return Ok(known);
        }
        match self.registry.current(name).await? {
            Some(found) => Ok(found),
            None => Err(self.no_project(name, &self.registry.projects().await?)),
        }
    }

    fn no_project(&self, name: &str, projects: &[String]) -> Error {
        if name.is_empty() {
            return Error::not_found("the request names no project; say which is meant");
        }
        let help = match (nearest(name, projects.iter().map(String::as_str)), projects) {
            (Some(near), _) => format!("; did you mean `{near}`?"),
            (None, []) => "; there is none yet: apply definitions first".to_owned(),
            (None, _) => "; `tidegate projects` lists those there are".to_owned(),
        };
        Error::new(ErrorKind::NotFound, format!("no project named `{name}`{help}"))
    }
}

#[cfg(test)]
pub(crate) mod tests;
