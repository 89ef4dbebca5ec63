//! A project's definitions together, and the resolution of what a reader asks for.

mod recipes;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::definition::{
    Column, ComputedFeature, Entity, Feature, FeatureService, FeatureView, Location, Relation, Source, ViewUse,
};
use crate::types::DataType;

/// All definitions of one project. Every name that one definition mentions exists.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalog {
    /// The project's name.
    pub project: String,
    /// Entities by name.
    pub entities: BTreeMap<String, Arc<Entity>>,
    /// Sources by name.
    pub sources: BTreeMap<String, Arc<Source>>,
    /// Feature views by name.
    pub views: BTreeMap<String, Arc<FeatureView>>,
    /// Feature services by name.
    pub services: BTreeMap<String, Arc<FeatureService>>,
}

/// One key of a used view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedKey {
    /// The key's name in its entity.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// The column of the source that holds it.
    pub source_column: String,
    /// The column of the spine, or of a lookup's request, that holds it.
    pub spine_column: String,
}

/// One feature of a used view.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedFeature {
    /// The definition.
    pub feature: Feature,
    /// The name of the output column.
    pub output: String,
}

/// A view as a reader uses it: keys mapped, features chosen, outputs named.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedView {
    /// The view's alias, or its name: the prefix of full names.
    pub alias: String,
    /// The definition.
    pub view: Arc<FeatureView>,
    /// The source it reads.
    pub source: Arc<Source>,
    /// The keys in order: the view's entities' keys, concatenated.
    pub keys: Vec<ResolvedKey>,
    /// The features taken, in order.
    pub features: Vec<ResolvedFeature>,
}

/// What a service consists of.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceParts {
    pub(crate) uses: Vec<ViewUse>,
    pub(crate) request: Vec<Column>,
    pub(crate) computed: Vec<ComputedFeature>,
}

/// What a reader asked for, resolved against a catalog.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The uses in the order asked.
    pub views: Vec<ResolvedView>,
    /// Columns that a request brings and a spine has, for the computed features.
    pub request: Vec<Column>,
    /// Features computed from the others, in order.
    pub computed: Vec<ComputedFeature>,
}

/// What a reader asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selection {
    /// A feature service by name.
    Service(String),
    /// References: `view` for all of a view's features, or `view:feature`.
    Features(Vec<String>),
}

/// Why a selection can't be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No such definition.
    #[error("no {kind} named `{name}` in project `{project}`{}", suggest(.suggestion.as_deref()))]
    Unknown {
        /// `feature service`, `feature view`, `feature` …
        kind: &'static str,
        /// What was asked.
        name: String,
        /// Where.
        project: String,
        /// The nearest name there is.
        suggestion: Option<String>,
    },
    /// Two outputs would carry one name.
    #[error("these features would share an output name: {}; ask for full names, or give the views aliases", .0.join(", "))]
    Clash(Vec<String>),
    /// Nothing was asked for.
    #[error("no features asked for: name a feature service, or features as `view:feature`")]
    Empty,
}

fn suggest(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// The name nearest to `name` by Damerau-Levenshtein distance, if any is near enough to be a slip.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let reach = (name.chars().count() / 3).max(1) + 1;
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= reach)
        .min()
        .map(|(_, candidate)| candidate)
}

impl Catalog {
    /// An empty catalog.
    #[must_use]
    pub fn new(project: impl Into<String>) -> Self {
        Self { project: project.into(), ..Self::default() }
    }

    /// The keys of a view: its entities' keys in order.
    #[must_use]
    pub fn keys(&self, view: &FeatureView) -> Vec<Column> {
        view.entities.iter().filter_map(|name| self.entities.get(name)).flat_map(|e| e.keys.clone()).collect()
    }

    /// The columns a source's table has, in order: keys, event time, end of validity, created time, then what its
    /// views and the source name.
    ///
    /// This is the schema of a managed table, and what an existing table must hold.
    #[must_use]
    pub fn columns(&self, source: &Source) -> Vec<Column> {
        let mut columns: Vec<Column> = Vec::new();
        let mut add = |name: &str, data_type: &DataType| {
            if columns.iter().all(|column| column.name != name) {
                columns.push(Column { name: name.to_owned(), data_type: data_type.clone() });
            }
        };
        let views = || self.views.values().filter(|view| view.source == source.name);
        for view in views() {
            for key in self.keys(view) {
                add(view.key_columns.get(&key.name).unwrap_or(&key.name), &key.data_type);
            }
        }
        add(&source.event_time, &DataType::Timestamp);
        for time in source.valid_to.iter().chain(&source.created_time) {
            add(time, &DataType::Timestamp);
        }
        for input in views().flat_map(|view| view.inputs()) {
            add(&input.name, &input.data_type);
        }
        for column in &source.columns {
            add(&column.name, &column.data_type);
        }
        columns
    }

    /// The sources with tables of their own that a source's rows come from: itself, or what its query reads, each once.
    #[must_use]
    pub fn tables_behind(&self, source: &Source) -> Vec<Arc<Source>> {
        let (mut seen, mut queue, mut found) = (BTreeSet::new(), VecDeque::from([source.name.as_str()]), Vec::new());
        while let Some(name) = queue.pop_front() {
            let Some(source) = self.sources.get(name).filter(|_| seen.insert(name)) else { continue };
            match &source.location {
                Location::Query(query) => queue.extend(query.from.iter().filter_map(|read| self.source_of(read))),
                Location::Managed | Location::Delta(_) | Location::Parquet(_) => found.push(source.clone()),
            }
        }
        found
    }

    /// The name of the source whose rows a query reads there.
    #[must_use]
    pub fn source_of<'a>(&'a self, relation: &'a Relation) -> Option<&'a str> {
        match relation {
            Relation::Source(name) => Some(name),
            Relation::View(name) => self.views.get(name).map(|view| view.source.as_str()),
        }
    }

    /// The source columns that hold keys in any view: a row with a null in one of them is refused.
    #[must_use]
    pub fn key_columns(&self, source: &Source) -> BTreeSet<String> {
        let of_view = |view: &Arc<FeatureView>| -> Vec<String> {
            let column = |key: Column| view.key_columns.get(&key.name).cloned().unwrap_or(key.name);
            self.keys(view).into_iter().map(column).collect()
        };
        self.views.values().filter(|view| view.source == source.name).flat_map(of_view).collect()
    }

    /// Resolves what a reader asks for.
    ///
    /// # Errors
    /// A name that does not exist, or outputs that clash while `full_names` is off.
    pub fn resolve(&self, selection: &Selection, full_names: bool) -> Result<Resolved, ResolveError> {
        let (parts, full_names) = match selection {
            Selection::Service(name) => {
                let service = self
                    .services
                    .get(name)
                    .ok_or_else(|| self.unknown("feature service", name, self.services.keys().map(String::as_str)))?;
                (self.service_parts(service), full_names || service.full_names)
            }
            Selection::Features(references) => {
                (ServiceParts { uses: self.reference_uses(references)?, ..ServiceParts::default() }, full_names)
            }
        };
        let ServiceParts { uses, request, computed } = parts;
        if uses.is_empty() {
            return Err(ResolveError::Empty);
        }
        let views = uses.iter().map(|used| self.resolve_use(used, full_names)).collect::<Result<Vec<_>, _>>()?;
        check_clashes(&views, &computed)?;
        Ok(Resolved { views, request, computed })
    }

    /// What a service consists of, with what the services it includes consist of, each service once.
    pub(crate) fn service_parts(&self, service: &FeatureService) -> ServiceParts {
        #[derive(Default)]
        struct Walk<'a> {
            seen: BTreeSet<&'a str>,
            taken: BTreeSet<&'a ViewUse>,
            parts: ServiceParts,
        }
        fn walk<'a>(catalog: &'a Catalog, service: &'a FeatureService, into: &mut Walk<'a>) {
            if !into.seen.insert(&service.name) {
                return;
            }
            for included in service.includes.iter().filter_map(|name| catalog.services.get(name)) {
                walk(catalog, included, into);
            }
            for used in &service.uses {
                if into.taken.insert(used) {
                    into.parts.uses.push(used.clone());
                }
            }
            for column in &service.request {
                if !into.parts.request.contains(column) {
                    into.parts.request.push(column.clone());
                }
            }
            into.parts.computed.extend(service.computed.iter().cloned());
        }
        let mut found = Walk::default();
        walk(self, service, &mut found);
        found.parts
    }

    /// References gathered by view, views in the order first named.
    fn reference_uses(&self, references: &[String]) -> Result<Vec<ViewUse>, ResolveError> {
        let mut uses: Vec<ViewUse> = Vec::new();
        for reference in references {
            let (view, feature) = match reference.split_once(':') {
                Some((view, feature)) => (view, Some(feature.to_owned())),
                None => (reference.as_str(), None),
            };
            let at = uses.iter().position(|used| used.view == view).unwrap_or_else(|| {
                let features = feature.is_some().then(Vec::new);
                uses.push(ViewUse { view: view.to_owned(), features, alias: None, keys: BTreeMap::new() });
                uses.len() - 1
            });
            match (feature, &mut uses[at].features) {
                (Some(feature), Some(features)) if !features.contains(&feature) => features.push(feature),
                (None, features) => *features = None,
                _ => {}
            }
        }
        Ok(uses)
    }

    pub(crate) fn resolve_use(&self, used: &ViewUse, full_names: bool) -> Result<ResolvedView, ResolveError> {
        let unknown_view = || self.unknown("feature view", &used.view, self.views.keys().map(String::as_str));
        let view = self.views.get(&used.view).ok_or_else(unknown_view)?;
        let source = self
            .sources
            .get(&view.source)
            .ok_or_else(|| self.unknown("source", &view.source, self.sources.keys().map(String::as_str)))?;
        let alias = used.alias.clone().unwrap_or_else(|| view.name.clone());
        let features = match &used.features {
            None => view.features.iter().collect(),
            Some(names) => names.iter().map(|name| self.feature(view, name)).collect::<Result<Vec<_>, _>>()?,
        };
        let output = |feature: &Feature| match full_names {
            true => format!("{alias}__{}", feature.name),
            false => feature.name.clone(),
        };
        let features = features
            .into_iter()
            .map(|feature| ResolvedFeature { output: output(feature), feature: feature.clone() })
            .collect();
        let key = |key: Column| ResolvedKey {
            source_column: view.key_columns.get(&key.name).unwrap_or(&key.name).clone(),
            spine_column: used.keys.get(&key.name).unwrap_or(&key.name).clone(),
            name: key.name,
            data_type: key.data_type,
        };
        let keys = self.keys(view).into_iter().map(key).collect();
        Ok(ResolvedView { alias, view: view.clone(), source: source.clone(), keys, features })
    }

    fn feature<'a>(&self, view: &'a FeatureView, name: &str) -> Result<&'a Feature, ResolveError> {
        view.features.iter().find(|feature| feature.name == name).ok_or_else(|| {
            let names = view.features.iter().map(|feature| feature.name.as_str());
            let suggestion = nearest(name, names).map(|near| format!("{}:{near}", view.name));
            let name = format!("{}:{name}", view.name);
            ResolveError::Unknown { kind: "feature", name, project: self.project.clone(), suggestion }
        })
    }

    fn unknown<'a>(
        &self,
        kind: &'static str,
        name: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> ResolveError {
        let suggestion = nearest(name, candidates).map(str::to_owned);
        ResolveError::Unknown { kind, name: name.to_owned(), project: self.project.clone(), suggestion }
    }
}

fn check_clashes(views: &[ResolvedView], computed: &[ComputedFeature]) -> Result<(), ResolveError> {
    let mut by_output: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for view in views {
        for feature in &view.features {
            let from = format!("{}:{}", view.alias, feature.feature.name);
            by_output.entry(&feature.output).or_default().push(from);
        }
    }
    for feature in computed {
        by_output.entry(&feature.name).or_default().push(format!("computed:{}", feature.name));
    }
    let clashes: Vec<String> = by_output.into_values().filter(|from| from.len() > 1).flatten().collect();
    if clashes.is_empty() { Ok(()) } else { Err(ResolveError::Clash(clashes)) }
}
