//! Lookups: the newest served values of a selection for a batch of entity rows.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::ArrayRef;
use parking_lot::{Mutex, RwLock};
use tidegate_online::{LookupFeature, LookupOptions, LookupSpec, LookupView, ViewId, ViewLayout};
use tidegate_schemas::catalog::{Catalog, ResolvedView, Selection};
use tidegate_schemas::definition::{Column, FeatureView};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::failpoint::{Failpoint, reach};
use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType;

pub use tidegate_online::{FeatureReply, Number, Packed, Plan, Reply, Texts, Values, ViewTimes};

use crate::clock::Stopwatch;
use crate::registry::Versioned;
use crate::service::derivations::{Derivation, Derivations};
use crate::service::expressions::{Computed, ComputedColumn};
use crate::service::{Error, Principal, Result, Tidegate, expressions, keys};

/// Of a caller's time, what may pass before the answer must be under way.
const SHARE_OF_PATIENCE: f64 = 0.8;

/// Compiled selections kept for one project; services are few, but references can be combined at will.
const KEPT: usize = 1024;

/// What to look up.
#[derive(Debug, Clone)]
pub struct LookupRequest {
    /// The project.
    pub project: String,
    /// The features.
    pub selection: Selection,
    /// Name outputs `view__feature`.
    pub full_names: bool,
    /// Fill [`Reply::views`].
    pub include_times: bool,
    /// Return values of expired observations; their status stays EXPIRED.
    pub return_expired: bool,
    /// One column for each key, all of one length. Any Arrow type that casts losslessly to the key's type.
    pub keys: Vec<(String, ArrayRef)>,
    /// One column for each that the service's computed features need, as long as the keys.
    pub request: Vec<(String, ArrayRef)>,
    /// How long the caller waits for the answer; `None` for any time.
    pub patience: Option<Duration>,
    /// When that time is nearly over, answer with what there is, and FAILED for the rest.
    pub allow_partial: bool,
    /// See at least the write that this token is of.
    pub after_write: Option<String>,
}

impl LookupRequest {
    /// A lookup of these keys, and nothing beside the values.
    #[must_use]
    pub fn new(project: impl Into<String>, selection: Selection, keys: Vec<(String, ArrayRef)>) -> Self {
        Self {
            project: project.into(),
            selection,
            full_names: false,
            include_times: false,
            return_expired: false,
            keys,
            request: Vec::new(),
            patience: None,
            allow_partial: false,
            after_write: None,
        }
    }

    pub(in crate::service) fn options(&self) -> LookupOptions {
        LookupOptions {
            return_expired: self.return_expired,
            include_times: self.include_times,
            allow_partial: self.allow_partial,
        }
    }
}

/// The answer to a lookup.
#[derive(Debug)]
pub struct LookupReply {
    /// One column for each feature of a view, in the order asked.
    pub answer: Reply,
    /// One for each computed feature; they come after those of the views.
    pub(in crate::service) computed: Vec<ComputedColumn>,
    /// The registry version the answer was resolved against.
    pub catalog_version: u64,
    /// The time it is as of, where it comes from the offline tier.
    pub as_of: Option<Micros>,
}

impl LookupReply {
    /// Whether features were computed for it.
    #[must_use]
    pub fn has_computed(&self) -> bool {
        !self.computed.is_empty()
    }

    /// All features, in the order they are put out.
    pub fn features(&self) -> impl Iterator<Item = FeatureReply<'_>> {
        self.answer.features().chain(self.computed.iter().map(ComputedColumn::feature))
    }
}

/// The time a lookup has.
struct Time(Option<(Stopwatch, Duration)>);

impl Time {
    fn is_over(&self) -> bool {
        self.0.is_some_and(|(watch, most)| watch.elapsed() >= most)
    }
}

/// A selection's compiled lookups, without and with full names.
type ByNames = [Option<Arc<Compiled>>; 2];

/// Compiled lookups by project and selection. Each is good for one catalog version.
pub(in crate::service) struct Lookups {
    by_project: RwLock<HashMap<String, HashMap<Selection, ByNames>>>,
    registered: Mutex<HashMap<String, Arc<ViewIds>>>,
    derivations: Derivations,
}

impl Lookups {
    /// Nothing compiled yet; `online` is the online tier's folder.
    pub(in crate::service) fn new(online: &Path) -> Self {
        Self { by_project: RwLock::default(), registered: Mutex::default(), derivations: Derivations::new(online) }
    }
}

/// The online views of one catalog version, as the online tier knows them.
#[derive(Debug)]
pub(in crate::service) struct ViewIds {
    version: u64,
    by_view: HashMap<String, ViewId>,
    /// Set once those of another version took their place.
    pub(in crate::service) outdated: AtomicBool,
}

impl ViewIds {
    pub(in crate::service) fn of(&self, view: &str) -> Result<ViewId> {
        self.by_view.get(view).copied().ok_or_else(|| not_online(view))
    }
}

/// A selection resolved against one catalog version.
pub(in crate::service) struct Compiled {
    pub(in crate::service) version: u64,
    pub(in crate::service) plan: Arc<Plan>,
    /// The columns a request must bring: name and type, in the order the plan takes them.
    pub(in crate::service) keys: Vec<Column>,
    /// The same for what is computed.
    request: Vec<Column>,
    computed: Option<Computed>,
}

impl Compiled {
    /// The features that are computed from what a request brings and what was found for it; all FAILED where there is no `time`
    /// left.
    pub(in crate::service) fn compute(
        &self,
        answer: &Reply,
        request: &LookupRequest,
        time: bool,
    ) -> Result<Vec<ComputedColumn>> {
        match &self.computed {
            Some(computed) if time => computed.columns(answer, &self.request, &request.request),
            Some(computed) => Ok(computed.failed(answer.rows)),
            None => expressions::none(&request.request),
        }
    }
}

impl Tidegate {
    /// Looks values up. Synchronous and short: it stays on the connection's thread.
    ///
    /// # Errors
    /// `NotFound` for unknown names; `Invalid` for missing or unknown keys and wrong key types, which it names; `Deadline` where
    /// the caller's time is over, `Precondition` for the token of a write that is not here.
    pub fn lookup(&self, _principal: &Principal, request: &LookupRequest) -> Result<LookupReply> {
        let time = self.time_of(request);
        let (_, compiled) = self.resolve_lookup(request)?;
        if let Some(token) = &request.after_write {
            self.online.has_written(token)?;
        }
        let keys = keys::columns(&compiled.keys, &request.keys)?;
        self.row_count(&keys)?;
        let (now, over) = (self.clock.now(), || time.is_over());
        let answer = self.online.lookup_until(&compiled.plan, &keys, now, &request.options(), &over)?;
        let computed = compiled.compute(&answer, request, !request.allow_partial || !over())?;
        let reply = LookupReply { answer, computed, catalog_version: compiled.version, as_of: None };
        self.count(&reply);
        Ok(reply)
    }

    /// The definitions that a lookup reads by, and what it compiles to with them.
    pub(in crate::service) fn resolve_lookup(
        &self,
        request: &LookupRequest,
    ) -> Result<(Arc<Versioned>, Arc<Compiled>)> {
        let project = self.served_project(&request.project)?;
        if let Some(compiled) = self.compiled(&project, request)? {
            return Ok((project, compiled));
        }
        // A newer version came in between: once more with that.
        let project = self.served_project(&request.project)?;
        let compiled = self.compiled(&project, request)?.ok_or_else(definitions_changed)?;
        Ok((project, compiled))
    }

    /// Entity rows of a lookup with these keys.
    ///
    /// # Errors
    /// More than the settings allow: it runs on the connection's thread, and its reply is built in memory.
    pub(in crate::service) fn row_count(&self, keys: &[ArrayRef]) -> Result<usize> {
        let (rows, most) = (keys.first().map_or(1, |key| key.len()), self.settings.online.max_rows);
        if rows > most {
            let message = format!(
                "{rows} entity rows in one lookup are more than {most}; send them in several, or raise `online.max_rows`"
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(rows)
    }

    pub(in crate::service) fn count(&self, reply: &LookupReply) {
        let rows = reply.answer.rows;
        match reply.answer.plain() {
            Some(columns) if !reply.has_computed() => self.telemetry.lookup(rows, columns.map(|_| None)),
            _ => self.telemetry.lookup(rows, reply.features().map(|feature| feature.statuses)),
        }
    }

    fn time_of(&self, request: &LookupRequest) -> Time {
        Time(request.patience.map(|patience| (self.clock.stopwatch(), patience.mul_f64(SHARE_OF_PATIENCE))))
    }

    /// The definitions in memory; a lookup never waits for the registry.
    fn served_project(&self, name: &str) -> Result<Arc<Versioned>> {
        if let Some(project) = self.registry.cached(name) {
            return Ok(project);
        }
        match self.broken.read().get(name) {
            Some(why) => Err(Error::new(ErrorKind::Corrupt, why.clone())),
            None => Err(self.no_project(name, &self.registry.known())),
        }
    }

    fn compiled(&self, project: &Versioned, request: &LookupRequest) -> Result<Option<Arc<Compiled>>> {
        let slot = usize::from(request.full_names);
        if let Some(kept) = self.lookups.by_project.read().get(&request.project)
            && let Some(Some(compiled)) = kept.get(&request.selection).map(|both| &both[slot])
            && compiled.version == project.version
        {
            return Ok(Some(compiled.clone()));
        }
        let Some(ids) = self.view_ids(project)? else { return Ok(None) };
        let compiled = Arc::new(self.compile(project, &ids, request)?);
        let mut by_project = self.lookups.by_project.write();
        let kept = by_project.entry(request.project.clone()).or_default();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.entry(request.selection.clone()).or_default()[slot] = Some(compiled.clone());
        Ok(Some(compiled))
    }

    fn compile(&self, project: &Versioned, ids: &ViewIds, request: &LookupRequest) -> Result<Compiled> {
        let resolved = project.catalog.resolve(&request.selection, request.full_names)?;
        let mut keys: Vec<Column> = Vec::new();
        let mut views = Vec::with_capacity(resolved.views.len());
        for used in &resolved.views {
            let view = ids.of(&used.view.name)?;
            let key_columns =
                used.keys.iter().map(|key| position(&mut keys, &key.spine_column, &key.data_type)).collect();
            views.push(lookup_view(view, used, key_columns));
        }
        let plan = self.online.compile(&LookupSpec { views })?;
        let computed = Computed::of(&self.plans, &resolved)?;
        Ok(Compiled { version: project.version, plan, keys, request: resolved.request, computed })
    }

    /// The online tier's ids of a version's online views; registers them where this version is new to it.
    ///
    /// A registration is an act: it may start a view over. So each version is registered once, in order, and a caller that holds an
    /// older version than the one registered gets `None` and looks again.
    pub(in crate::service) fn view_ids(&self, project: &Versioned) -> Result<Option<Arc<ViewIds>>> {
        let catalog = &project.catalog;
        let mut registered = self.lookups.registered.lock();
        match registered.get(&catalog.project) {
            Some(ids) if ids.version == project.version => return Ok(Some(ids.clone())),
            Some(ids) if ids.version > project.version => return Ok(None),
            _ => {}
        }
        let by_view = self.register(catalog)?;
        let ids = Arc::new(ViewIds { version: project.version, by_view, outdated: AtomicBool::new(false) });
        if let Some(before) = registered.insert(catalog.project.clone(), ids.clone()) {
            before.outdated.store(true, Ordering::Release);
        }
        Ok(Some(ids))
    }

    /// Makes a catalog's online views known to the online tier. A view whose rows would mean something else starts over.
    fn register(&self, catalog: &Catalog) -> Result<HashMap<String, ViewId>> {
        let before = self.lookups.derivations.of(&catalog.project)?;
        let (mut now, mut by_view) = (BTreeMap::new(), HashMap::new());
        for view in catalog.views.values().filter(|view| view.online) {
            let mut derivation = Derivation::of(catalog, view);
            let known = before.get(&view.name);
            if let Some(known) = known.filter(|known| !known.outdated(&derivation)) {
                derivation.remember(known);
            } else if known.is_some() {
                tracing::warn!(
                    project = catalog.project,
                    view = view.name,
                    "reads something else now: materialize it again"
                );
                self.online.remove(&catalog.project, &view.name)?;
            }
            let id = self.online.register_renamed(&layout(catalog, view), &renamed(view))?;
            by_view.insert(view.name.clone(), id);
            now.insert(view.name.clone(), derivation);
        }
        // What is gone may come back: its rows are still there. Tiles are not: they would lack the events that are pushed meanwhile.
        for (name, derivation) in before.iter().filter(|(name, _)| !by_view.contains_key(*name)) {
            match derivation.is_windowed() {
                true => drop(self.online.remove(&catalog.project, name)?),
                false => drop(now.insert(name.clone(), derivation.clone())),
            }
        }
        if now != before {
            reach(Failpoint::AfterRegistration);
            self.lookups.derivations.record(&catalog.project, now)?;
        }
        Ok(by_view)
    }

    /// The online tier's id of one online view.
    pub(in crate::service) fn view_id(&self, project: &Versioned, view: &FeatureView) -> Result<ViewId> {
        self.newest_ids(project)?.of(&view.name)
    }

    /// The ids of the online views of a version that must be the newest.
    pub(in crate::service) fn newest_ids(&self, project: &Versioned) -> Result<Arc<ViewIds>> {
        self.view_ids(project)?.ok_or_else(definitions_changed)
    }

    /// How far a view has come, for people.
    pub(in crate::service) fn online_facts(&self, project: &Versioned, name: &str) -> Vec<(String, String)> {
        let view = project.catalog.views.get(name).filter(|view| view.online);
        let cursor = view.and_then(|view| {
            let id = self.view_id(project, view).ok()?;
            self.online.cursor(id).ok()?
        });
        cursor.map_or_else(Vec::new, |cursor| {
            let at = chrono::DateTime::from_timestamp_micros(cursor.materialized_at);
            let at = at.map_or_else(|| cursor.materialized_at.to_string(), |at| at.to_rfc3339());
            vec![("materialized version".to_owned(), cursor.version.to_string()), ("materialized at".to_owned(), at)]
        })
    }
}

fn lookup_view(view: ViewId, used: &ResolvedView, key_columns: Vec<usize>) -> LookupView {
    let feature = |taken: &tidegate_schemas::catalog::ResolvedFeature| LookupFeature {
        name: taken.feature.name.clone(),
        output: taken.output.clone(),
        default: taken.feature.default.clone(),
    };
    LookupView {
        view,
        key_columns,
        alias: used.alias.clone(),
        features: used.features.iter().map(feature).collect(),
        serve_ttl: used.view.serve_ttl.or(used.view.ttl),
    }
}

fn not_online(view: &str) -> Error {
    let message =
        format!("feature view `{view}` is not served online; set `online: true` in its definition, or leave it out");
    Error::new(ErrorKind::Precondition, message)
}

fn definitions_changed() -> Error {
    Error::new(ErrorKind::Unavailable, "the definitions have just changed; try again")
}

/// Features that had other names, as new and old ones.
fn renamed(view: &FeatureView) -> Vec<(String, String)> {
    let pair =
        |feature: &tidegate_schemas::definition::Feature| Some((feature.name.clone(), feature.renamed_from.clone()?));
    view.features.iter().filter_map(pair).collect()
}

/// The view's rows as the online tier stores them.
fn layout(catalog: &Catalog, view: &FeatureView) -> ViewLayout {
    let feature = |feature: &tidegate_schemas::definition::Feature| Column {
        name: feature.name.clone(),
        data_type: feature.data_type.clone(),
    };
    ViewLayout {
        project: catalog.project.clone(),
        view: view.name.clone(),
        entities: view.entities.clone(),
        keys: catalog.keys(view),
        features: view.features.iter().map(feature).collect(),
        aggregates: view.features.iter().filter_map(|feature| feature.aggregate.clone()).collect(),
    }
}

/// Where a key column stands among those a request brings. One column may be read as two types by two views.
fn position(keys: &mut Vec<Column>, name: &str, data_type: &DataType) -> usize {
    let known = keys.iter().position(|key| key.name == name && key.data_type == *data_type);
    known.unwrap_or_else(|| {
        keys.push(Column { name: name.to_owned(), data_type: data_type.clone() });
        keys.len() - 1
    })
}
