//! Definitions: plan, apply, get, delete, history, rollback.

use std::sync::Arc;

use tidegate_schemas::catalog::{Catalog, nearest};
use tidegate_schemas::definition::{About, Kind, Location, Source};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::file::{self, SourceFile};
use tidegate_schemas::plan::{self, Action, Change};
use tidegate_schemas::problem::Problem;
use tidegate_schemas::time::Micros;

use super::queries::Checked;
use super::{Error, Principal, Result, Tidegate, expressions};
use crate::registry::{self, NewVersion, Versioned};

/// How often an apply that names no base version starts over when another writer comes first.
const ATTEMPTS: usize = 5;

/// What applying files would do.
#[derive(Debug, Clone)]
pub struct PlanOutcome {
    /// The project the files are for.
    pub project: String,
    /// The version the plan was made against; 0 for a new project.
    pub base_version: u64,
    /// One for each definition that would change.
    pub changes: Vec<Change>,
    /// What is wrong with the files; when there is any, `changes` is empty.
    pub problems: Vec<Problem>,
    /// SHA-256 of the definitions the plan leads to; empty when there are problems.
    pub target_digest: String,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
}

/// Definition files to make the next version.
#[derive(Debug, Clone, Default)]
pub struct ApplyRequest {
    /// The files.
    pub files: Vec<SourceFile>,
    /// Also remove what the files do not mention.
    pub prune: bool,
    /// The version the plan was made against; absent applies to whatever is there.
    pub base_version: Option<u64>,
    /// Refuse unless the definitions lead to this digest; empty does not ask.
    pub expected_digest: String,
    /// Apply although readers break.
    pub allow_breaking: bool,
}

/// A new version, or the current one when nothing changed.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The project.
    pub project: String,
    /// Its version now.
    pub version: u64,
    /// What changed; empty when the definitions were there already.
    pub changes: Vec<Change>,
}

/// Which definitions to show.
#[derive(Debug, Clone, Default)]
pub struct GetRequest {
    /// The project.
    pub project: String,
    /// `entity`, `source`, `feature_view` or `feature_service`; empty for all.
    pub kind: String,
    /// Empty for all names.
    pub name: String,
    /// 0 for the newest.
    pub version: u64,
}

/// Definitions of one version.
#[derive(Debug, Clone)]
pub struct Definitions {
    /// The version they are of.
    pub version: u64,
    /// In the order entities, sources, views, services; by name within.
    pub definitions: Vec<Definition>,
}

/// One definition as text, with what is known beside it.
#[derive(Debug, Clone)]
pub struct Definition {
    /// `entity`, `source`, `feature_view` or `feature_service`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// As a definition file of version 1.
    pub yaml: String,
    /// Its description, empty without one.
    pub description: String,
    /// Its owner, empty without one.
    pub owner: String,
    /// What depends on it, as `feature_service/late_arrival`.
    pub dependents: Vec<String>,
    /// Facts such as `table version` or `materialized at`, as name and value.
    pub facts: Vec<(String, String)>,
}

/// One version of a project's definitions.
#[derive(Debug, Clone)]
pub struct VersionInfo {
    /// Its number, from 1.
    pub version: u64,
    /// UTC microseconds.
    pub created_at: Micros,
    /// Who made it.
    pub principal: String,
    /// `apply`, `delete feature_view order_stats`, `rollback to 3`.
    pub cause: String,
    /// One line for each change.
    pub changes: Vec<String>,
}

/// A catalog that is to be a project's next version.
struct Next {
    base: Option<Arc<Versioned>>,
    catalog: Catalog,
    changes: Vec<Change>,
    cause: String,
    allow_breaking: bool,
}

impl Tidegate {
    /// Checks files and compares them with the registry. Problems in the files are part of the outcome.
    ///
    /// # Errors
    /// The registry can't be read.
    pub async fn plan(&self, _principal: &Principal, files: &[SourceFile], prune: bool) -> Result<PlanOutcome> {
        let failed = |project: String, base_version: u64, problems: Vec<Problem>| PlanOutcome {
            project,
            base_version,
            changes: Vec::new(),
            problems,
            target_digest: String::new(),
            warnings: Vec::new(),
        };
        let definitions = match file::load(files) {
            Ok(definitions) => definitions,
            Err(problems) => return Ok(failed(String::new(), 0, problems)),
        };
        let base = self.registry.current(&definitions.project).await?;
        let (base_version, old) = base_of(base.as_deref(), &definitions.project);
        let catalog = match plan::merge(&old, &definitions, prune) {
            Ok(catalog) => catalog,
            Err(problems) => return Ok(failed(definitions.project, base_version, problems)),
        };
        let checked = self.queries.check(&catalog).await;
        let mut problems = expressions::problems(&self.plans, &catalog, &definitions);
        problems.extend(query_problems(&definitions, &checked));
        if !problems.is_empty() {
            return Ok(failed(definitions.project, base_version, problems));
        }
        Ok(PlanOutcome {
            base_version,
            changes: plan::diff(&old, &catalog),
            problems: Vec::new(),
            target_digest: file::digest(&catalog),
            warnings: self.warnings(&old, &catalog, &checked).await,
            project: catalog.project,
        })
    }

    /// Makes the files' definitions the next version, creates or extends their managed tables and registers online layouts.
    ///
    /// # Errors
    /// `Invalid` with `problems` for bad files; `Precondition` for breaking changes without `allow_breaking`; `Conflict` when another version
    /// appeared since `base_version`.
    pub async fn apply(&self, principal: &Principal, request: ApplyRequest) -> Result<Applied> {
        let definitions = file::load(&request.files).map_err(Error::problems)?;
        let mut attempt = 1;
        loop {
            let base = self.registry.current(&definitions.project).await?;
            let (base_version, old) = base_of(base.as_deref(), &definitions.project);
            if let Some(planned) = request.base_version.filter(|planned| *planned != base_version) {
                return Err(moved_on(&definitions.project, planned, base_version));
            }
            let catalog = plan::merge(&old, &definitions, request.prune).map_err(Error::problems)?;
            let mut problems = expressions::problems(&self.plans, &catalog, &definitions);
            problems.extend(query_problems(&definitions, &self.queries.check(&catalog).await));
            if !problems.is_empty() {
                return Err(Error::problems(problems));
            }
            check_digest(&catalog, &request.expected_digest)?;
            let changes = plan::diff(&old, &catalog);
            let cause = "apply".to_owned();
            let next = Next { base, catalog, changes, cause, allow_breaking: request.allow_breaking };
            match self.make(principal, next).await {
                Err(error)
                    if error.kind == ErrorKind::Conflict && request.base_version.is_none() && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// Definitions by kind and name, as text.
    ///
    /// # Errors
    /// `NotFound` for a project, version, kind or name that does not exist.
    pub async fn get(&self, _principal: &Principal, request: &GetRequest) -> Result<Definitions> {
        let current = self.project(&request.project).await?;
        if request.version == 0 || request.version == current.version {
            return self.describe(&current, request).await;
        }
        let catalog = self.registry.record(&request.project, request.version).await?.catalog;
        self.describe(&Versioned { version: request.version, catalog }, request).await
    }

    /// Removes one definition. Tables and stored values stay.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` names what still depends on it.
    pub async fn delete(&self, principal: &Principal, project: &str, kind: &str, name: &str) -> Result<Applied> {
        let kind = parse_kind(kind)?;
        let base = self.existing(project).await?;
        let removed = plan::remove(&base.catalog, kind, name);
        let catalog = removed.map_err(|error| Error::new(error.kind(), error.to_string()))?;
        let changes = plan::diff(&base.catalog, &catalog);
        let cause = format!("delete {kind} {name}");
        // Nothing depends on it, and its removal was asked for by name.
        self.make(principal, Next { base: Some(base), catalog, changes, cause, allow_breaking: true }).await
    }

    /// All versions, newest first.
    ///
    /// # Errors
    /// `NotFound` for a project that does not exist.
    pub async fn history(&self, _principal: &Principal, project: &str) -> Result<Vec<VersionInfo>> {
        let history = self.registry.history(project).await?;
        if history.is_empty() {
            return Err(self.no_project(project, &self.registry.projects().await?));
        }
        let info = |about: registry::About| VersionInfo {
            version: about.version,
            created_at: about.created_at,
            principal: about.principal,
            cause: about.cause,
            changes: about.changes,
        };
        Ok(history.into_iter().map(info).collect())
    }

    /// Makes an old version's definitions the next version.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` for breaking changes without `allow_breaking`.
    pub async fn rollback(
        &self,
        principal: &Principal,
        project: &str,
        to_version: u64,
        allow_breaking: bool,
    ) -> Result<Applied> {
        let base = self.existing(project).await?;
        let catalog = self.registry.record(project, to_version).await?.catalog;
        let changes = plan::diff(&base.catalog, &catalog);
        let cause = format!("rollback to {to_version}");
        self.make(principal, Next { base: Some(base), catalog, changes, cause, allow_breaking }).await
    }

    /// The projects there are, by name.
    ///
    /// # Errors
    /// The registry can't be read.
    pub async fn list_projects(&self, _principal: &Principal) -> Result<Vec<String>> {
        Ok(self.registry.projects().await?)
    }

    /// Checks, prepares tables, and writes the version. Tables only ever gain columns by being prepared, so a write that loses the
    /// race leaves nothing behind that harms.
    async fn make(&self, principal: &Principal, next: Next) -> Result<Applied> {
        let Next { base, catalog, changes, cause, allow_breaking } = next;
        let project = catalog.project.clone();
        if let Some(base) = base.as_ref().filter(|_| changes.is_empty()) {
            return Ok(Applied { project, version: base.version, changes });
        }
        if !allow_breaking {
            refuse_breaking(&changes)?;
        }
        let (base_version, old) = base_of(base.as_deref(), &project);
        self.check_topics(&old, &catalog)?;
        let changed = |source: &&Arc<Source>| needs_preparing(&old, &catalog, source);
        self.queries.check(&catalog).await.refuse(|name| catalog.sources.get(name).as_ref().is_some_and(changed))?;
        for source in catalog.sources.values().filter(changed) {
            self.tables.prepare(&catalog, source).await?;
        }
        let new = NewVersion {
            base: base_version,
            catalog,
            principal: principal.name().to_owned(),
            cause,
            changes: changes.iter().map(one_line).collect(),
            now: self.clock.now(),
        };
        let made = self.registry.commit(new).await?;
        self.telemetry.catalog_version(&project, made.version);
        // Only now, for it may start views over; if it fails, the next use of the views tries again and says why.
        if let Err(error) = self.view_ids(&made) {
            tracing::error!(project, error = error.chain(), "online layouts");
        }
        tracing::info!(principal = principal.name(), project, version = made.version, "definitions applied");
        Ok(Applied { project, version: made.version, changes })
    }

    async fn existing(&self, project: &str) -> Result<Arc<Versioned>> {
        match self.registry.current(project).await? {
            Some(found) => Ok(found),
            None => Err(self.no_project(project, &self.registry.projects().await?)),
        }
    }

    /// What apply would refuse about tables, told early.
    async fn warnings(&self, old: &Catalog, new: &Catalog, checked: &Checked) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Err(error) = self.check_topics(old, new) {
            warnings.push(format!("apply will be refused: {}", error.chain()));
        }
        for (source, error) in &checked.unknown {
            warnings.push(format!("the query of source `{source}` can't be looked at: {}", error.chain()));
        }
        for source in new.sources.values().filter(|source| needs_preparing(old, new, source)) {
            if source.location != Location::Managed
                && let Err(error) = self.tables.prepare(new, source).await
            {
                warnings.push(format!("apply will be refused: {}", error.chain()));
            }
        }
        warnings
    }

    async fn describe(&self, project: &Versioned, request: &GetRequest) -> Result<Definitions> {
        let catalog = &project.catalog;
        let kinds = match request.kind.as_str() {
            "" => Kind::ALL.to_vec(),
            kind => vec![parse_kind(kind)?],
        };
        let mut definitions = Vec::new();
        for kind in kinds {
            for (name, about) in listed(catalog, kind) {
                if request.name.is_empty() || request.name == name {
                    definitions.push(Definition {
                        kind: kind.to_string(),
                        yaml: file::definition_to_yaml(catalog, kind, &name).unwrap_or_default(),
                        description: about.description.unwrap_or_default(),
                        owner: about.owner.unwrap_or_default(),
                        dependents: plan::dependents(catalog, kind, &name),
                        facts: self.facts(project, kind, &name, !request.name.is_empty()).await,
                        name,
                    });
                }
            }
        }
        if definitions.is_empty() && !request.name.is_empty() {
            return Err(no_definition(catalog, request));
        }
        Ok(Definitions { version: project.version, definitions })
    }

    /// What is known beside a definition. The table is asked only when one definition is meant.
    async fn facts(&self, project: &Versioned, kind: Kind, name: &str, ask_table: bool) -> Vec<(String, String)> {
        let catalog = &project.catalog;
        let mut facts = Vec::new();
        let source = match kind {
            Kind::Source => catalog.sources.get(name),
            Kind::FeatureView => catalog.views.get(name).and_then(|view| catalog.sources.get(&view.source)),
            Kind::Entity | Kind::FeatureService => None,
        };
        if let Some(source) = source.filter(|_| ask_table)
            && let Ok(table) = self.tables.open(&catalog.project, source).await
            && let Ok(snapshot) = table.snapshot(None).await
        {
            facts.push(("table version".to_owned(), snapshot.version.to_string()));
            facts.extend(snapshot.rows().map(|rows| ("table rows".to_owned(), rows.to_string())));
        }
        if let Some(source) = source.filter(|source| ask_table && matches!(source.location, Location::Query(_))) {
            let rows = match self.queries.is_due(catalog, &source.name).await {
                Ok(false) => "as the query gives them".to_owned(),
                Ok(true) => format!("behind what the query reads; `tidegate refresh {}` computes them", source.name),
                Err(error) => error.chain(),
            };
            facts.push(("rows".to_owned(), rows));
        }
        if kind == Kind::FeatureView {
            facts.extend(self.online_facts(project, name));
        }
        facts
    }
}

/// What is wrong with queries, each where its source is defined.
fn query_problems(definitions: &file::Definitions, checked: &Checked) -> Vec<Problem> {
    checked.wrong.iter().map(|(source, error)| definitions.query_problem(source, &error.chain())).collect()
}

fn base_of(base: Option<&Versioned>, project: &str) -> (u64, Catalog) {
    base.map_or_else(|| (0, Catalog::new(project)), |base| (base.version, base.catalog.clone()))
}

fn moved_on(project: &str, planned: u64, now: u64) -> Error {
    let message =
        format!("the plan was made against version {planned} of project `{project}`, which is at {now}; plan again");
    Error::new(ErrorKind::Conflict, message)
}

fn check_digest(catalog: &Catalog, expected: &str) -> Result<()> {
    if expected.is_empty() || file::digest(catalog) == expected {
        return Ok(());
    }
    let message = "the definitions no longer lead to what was planned; plan again and apply that";
    Err(Error::new(ErrorKind::Conflict, message))
}

fn refuse_breaking(changes: &[Change]) -> Result<()> {
    let reasons: Vec<String> = changes
        .iter()
        .flat_map(|change| change.breaking.iter().map(move |why| format!("{}/{}: {why}", change.kind, change.name)))
        .collect();
    if reasons.is_empty() {
        return Ok(());
    }
    let message =
        format!("readers of what exists would break ({}); allow breaking changes if that is meant", reasons.join("; "));
    Err(Error::new(ErrorKind::Precondition, message))
}

/// Whether a source's table must be created, extended or checked before a version is written.
fn needs_preparing(old: &Catalog, new: &Catalog, source: &Source) -> bool {
    old.sources.get(&source.name).is_none_or(|before| {
        before.location != source.location
            || before.event_time != source.event_time
            || old.columns(before) != new.columns(source)
    })
}

fn one_line(change: &Change) -> String {
    let action = match change.action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
    };
    format!("{action} {}/{}", change.kind, change.name)
}

fn parse_kind(kind: &str) -> Result<Kind> {
    Kind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(|| {
        let kinds = Kind::ALL.map(Kind::as_str).join(", ");
        Error::invalid(format!("`{kind}` is not a kind of definition; the kinds are {kinds}"))
    })
}

/// Names of one kind in order, with what people wrote about them.
fn listed(catalog: &Catalog, kind: Kind) -> Vec<(String, About)> {
    fn all<T>(of: &std::collections::BTreeMap<String, Arc<T>>, about: impl Fn(&T) -> &About) -> Vec<(String, About)> {
        of.iter().map(|(name, definition)| (name.clone(), about(definition).clone())).collect()
    }
    match kind {
        Kind::Entity => all(&catalog.entities, |entity| &entity.about),
        Kind::Source => all(&catalog.sources, |source| &source.about),
        Kind::FeatureView => all(&catalog.views, |view| &view.about),
        Kind::FeatureService => all(&catalog.services, |service| &service.about),
    }
}

fn no_definition(catalog: &Catalog, request: &GetRequest) -> Error {
    let names: Vec<String> =
        Kind::ALL.into_iter().flat_map(|kind| listed(catalog, kind)).map(|(name, _)| name).collect();
    let near = nearest(&request.name, names.iter().map(String::as_str));
    let help = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let kind = if request.kind.is_empty() { "definition" } else { &request.kind };
    Error::not_found(format!("no {kind} named `{}` in project `{}`{help}", request.name, catalog.project))
}
