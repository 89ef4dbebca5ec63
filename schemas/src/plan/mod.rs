//! What applying definitions would do: [`merge`] makes the next catalog, [`diff`] says how it differs from the present
//! one, which readers break, and what depends on what changes.
//!
//! A reader is whoever asks for training sets or lookups by the names and types there are now. A change *breaks* when such
//! a reader would fail or silently read something else; it *changes training sets* when the same request would give other
//! values. The first is in [`Change::breaking`], the second a note in [`Change::details`].

mod compare;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::catalog::{Catalog, nearest};
use crate::definition::{Kind, Location, Relation, Source};
use crate::error::ErrorKind;
use crate::file::{self, Definitions};
use crate::problem::Problem;

use compare::Difference;

/// What happens to a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is new.
    Create,
    /// It stays, changed.
    Update,
    /// It goes.
    Delete,
}

impl Action {
    /// `+`, `~` or `-`.
    #[must_use]
    pub const fn symbol(self) -> char {
        match self {
            Self::Create => '+',
            Self::Update => '~',
            Self::Delete => '-',
        }
    }
}

/// One definition's difference between two catalogs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happens.
    pub action: Action,
    /// To what kind of definition.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// One line for each difference, such as `ttl: 1d -> 2d`.
    pub details: Vec<String>,
    /// Why readers of what exists would break; empty when they would not.
    pub breaking: Vec<String>,
    /// What depends on it at present, directly or not, as `feature_service/late_arrival`.
    pub dependents: Vec<String>,
}

/// The definitions that differ, in the order entities, sources, views, services, each by name. Empty when none do.
#[must_use]
pub fn diff(old: &Catalog, new: &Catalog) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut kind = Differ { old, changes: &mut changes };
    kind.of(Kind::Entity, &old.entities, &new.entities, compare::entity);
    kind.of(Kind::Source, &old.sources, &new.sources, compare::source);
    kind.of(Kind::FeatureView, &old.views, &new.views, compare::view);
    kind.of(Kind::FeatureService, &old.services, &new.services, |o, n| compare::service((old, o), (new, n)));
    changes
}

struct Differ<'a> {
    old: &'a Catalog,
    changes: &'a mut Vec<Change>,
}

impl Differ<'_> {
    fn of<T: PartialEq>(
        &mut self,
        kind: Kind,
        old: &BTreeMap<String, Arc<T>>,
        new: &BTreeMap<String, Arc<T>>,
        compare: impl Fn(&T, &T) -> Difference,
    ) {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let (action, difference) = match (old.get(name), new.get(name)) {
                (None, Some(_)) => (Action::Create, Difference::default()),
                (Some(_), None) => (Action::Delete, self.deletion(kind, name)),
                (Some(old), Some(new)) if old != new => (Action::Update, compare(old, new)),
                _ => continue,
            };
            self.changes.push(Change {
                action,
                kind,
                name: name.clone(),
                details: difference.details,
                breaking: difference.breaking,
                dependents: if action == Action::Create { Vec::new() } else { dependents(self.old, kind, name) },
            });
        }
    }

    /// Views and services are asked for by name; entities and sources only through what depends on them.
    fn deletion(&self, kind: Kind, name: &str) -> Difference {
        let mut difference = Difference::default();
        let asked_for = matches!(kind, Kind::FeatureView | Kind::FeatureService);
        if asked_for || !dependents(self.old, kind, name).is_empty() {
            difference.breaking.push(format!("{} `{name}` goes away", kind.label()));
        }
        difference
    }
}

/// What depends on a definition, directly or not, as `feature_service/late_arrival`: views first, each kind by name.
#[must_use]
pub fn dependents(catalog: &Catalog, kind: Kind, name: &str) -> Vec<String> {
    let mut found: BTreeSet<(Kind, String)> = BTreeSet::new();
    let mut queue = vec![(kind, name.to_owned())];
    while let Some((kind, name)) = queue.pop() {
        for next in direct_dependents(catalog, kind, &name) {
            if found.insert(next.clone()) {
                queue.push(next);
            }
        }
    }
    found.remove(&(kind, name.to_owned()));
    found.into_iter().map(|(kind, name)| format!("{kind}/{name}")).collect()
}

fn direct_dependents(catalog: &Catalog, kind: Kind, name: &str) -> Vec<(Kind, String)> {
    let views = catalog.views.values();
    let services = catalog.services.values();
    let view = |name: &String| (Kind::FeatureView, name.clone());
    let service = |name: &String| (Kind::FeatureService, name.clone());
    match kind {
        Kind::Entity => {
            views.filter(|v| v.entities.iter().any(|entity| entity == name)).map(|v| view(&v.name)).collect()
        }
        Kind::Source => {
            let of_source = views.filter(|v| v.source == name).map(|v| view(&v.name));
            readers(catalog, &Relation::Source(name.to_owned())).chain(of_source).collect()
        }
        Kind::FeatureView => {
            let using = services.filter(|s| s.uses.iter().any(|used| used.view == name)).map(|s| service(&s.name));
            readers(catalog, &Relation::View(name.to_owned())).chain(using).collect()
        }
        Kind::FeatureService => {
            services.filter(|s| s.includes.iter().any(|other| other == name)).map(|s| service(&s.name)).collect()
        }
    }
}

/// The sources whose queries read something.
fn readers<'a>(catalog: &'a Catalog, relation: &Relation) -> impl Iterator<Item = (Kind, String)> + use<'a> {
    let relation = relation.clone();
    let reads = move |source: &&Arc<Source>| match &source.location {
        Location::Query(query) => query.from.contains(&relation),
        Location::Managed | Location::Delta(_) | Location::Parquet(_) => false,
    };
    catalog.sources.values().filter(reads).map(|source| (Kind::Source, source.name.clone()))
}

/// The catalog that `old` becomes when the files are applied: what they define replaces what has the same name; what they
/// do not mention stays, or goes with `prune`. References are checked on the whole.
///
/// # Errors
/// Everything wrong with the files, alone or together with what stays, in the order of files and lines.
pub fn merge(old: &Catalog, new: &Definitions, prune: bool) -> Result<Catalog, Vec<Problem>> {
    file::resolve_onto(new, (!prune).then_some(old))
}

/// Why a definition can't be removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// There is none.
    #[error("no {} named `{name}` in project `{project}`{}", kind.label(), suggest(suggestion.as_deref()))]
    Unknown {
        /// The kind asked for.
        kind: Kind,
        /// The name asked for.
        name: String,
        /// Where.
        project: String,
        /// The nearest name there is.
        suggestion: Option<String>,
    },
    /// Something depends on it.
    #[error("{} `{name}` is used by {}; change or delete what uses it first", kind.label(), dependents.join(", "))]
    InUse {
        /// The kind asked for.
        kind: Kind,
        /// The name asked for.
        name: String,
        /// What depends on it, directly or not.
        dependents: Vec<String>,
    },
    /// What stays would not be sound without it.
    #[error("{} `{name}` can't be removed: without it, {problem}", kind.label())]
    Needed {
        /// The kind asked for.
        kind: Kind,
        /// The name asked for.
        name: String,
        /// What would be wrong, and what to do about it.
        problem: String,
    },
}

fn suggest(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

impl RemoveError {
    /// What a caller should do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown { .. } => ErrorKind::NotFound,
            Self::InUse { .. } | Self::Needed { .. } => ErrorKind::Precondition,
        }
    }
}

/// The catalog without one definition.
///
/// # Errors
/// There is none of that name, something depends on it, or it alone says what others need, such as the type of a column.
pub fn remove(catalog: &Catalog, kind: Kind, name: &str) -> Result<Catalog, RemoveError> {
    fn take<T>(definitions: &mut BTreeMap<String, Arc<T>>, name: &str) -> Result<(), Option<String>> {
        let suggestion = || nearest(name, definitions.keys().map(String::as_str)).map(str::to_owned);
        let suggestion = if definitions.contains_key(name) { None } else { suggestion() };
        definitions.remove(name).map(drop).ok_or(suggestion)
    }
    let mut rest = catalog.clone();
    let taken = match kind {
        Kind::Entity => take(&mut rest.entities, name),
        Kind::Source => take(&mut rest.sources, name),
        Kind::FeatureView => take(&mut rest.views, name),
        Kind::FeatureService => take(&mut rest.services, name),
    };
    if let Err(suggestion) = taken {
        let (name, project) = (name.to_owned(), catalog.project.clone());
        return Err(RemoveError::Unknown { kind, name, project, suggestion });
    }
    let dependents = dependents(catalog, kind, name);
    if !dependents.is_empty() {
        return Err(RemoveError::InUse { kind, name: name.to_owned(), dependents });
    }
    match file::from_document(&file::to_document(&rest)) {
        Ok(_) => Ok(rest),
        Err(problems) => {
            let first = problems.into_iter().next().unwrap_or_default();
            let help = first.suggestion.map_or_else(String::new, |help| format!("; {help}"));
            Err(RemoveError::Needed { kind, name: name.to_owned(), problem: format!("{}{help}", first.message) })
        }
    }
}

impl fmt::Display for Change {
    /// The definition on a line of its own, details, breaks and dependents indented below it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.action.symbol(), self.kind, self.name)?;
        for detail in &self.details {
            write!(f, "\n    {detail}")?;
        }
        for reason in &self.breaking {
            write!(f, "\n    breaking: {reason}")?;
        }
        if !self.dependents.is_empty() {
            write!(f, "\n    used by: {}", self.dependents.join(", "))?;
        }
        Ok(())
    }
}

/// A list of changes as plain text, one block for each and a summary; `no changes` for none.
#[must_use]
pub fn render(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "no changes".to_owned();
    }
    let blocks: Vec<String> = changes.iter().map(ToString::to_string).collect();
    format!("{}\n{}", blocks.join("\n"), summary(changes))
}

/// One line: `1 to create, 2 to update, 0 to delete; 1 breaking`.
#[must_use]
pub fn summary(changes: &[Change]) -> String {
    let count = |action: Action| changes.iter().filter(|change| change.action == action).count();
    let (create, update, delete) = (count(Action::Create), count(Action::Update), count(Action::Delete));
    let breaking = changes.iter().filter(|change| !change.breaking.is_empty()).count();
    let note = if breaking == 0 { String::new() } else { format!("; {breaking} breaking") };
    format!("{create} to create, {update} to update, {delete} to delete{note}")
}
