//! Where features come from, column by column, down to the columns of tables. Computed when it is asked for, kept nowhere.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidegate_offline::derived::{Lineage, Origin};
use tidegate_offline::query::Namespace;
use tidegate_schemas::catalog::{Catalog, nearest};
use tidegate_schemas::definition::{FeatureView, Kind, Location};

use super::check::Checked;
use crate::service::{Error, Principal, Result, Tidegate};

/// A column of a source, or a key, time or feature of a view.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// [`Kind::Source`] or [`Kind::FeatureView`].
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The column; empty where all rows of a query are meant.
    pub column: String,
}

/// How one place is computed from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineageStep {
    /// The place.
    pub to: Place,
    /// What it is computed from; none for a constant or a count of rows. Where [`Place::column`] of `to` is empty, what decides which
    /// rows the query gives.
    pub from: Vec<Place>,
    /// How: `column`, `query`, `rows`, or an aggregate such as `sum of amount over 7d`.
    pub by: String,
}

/// The lineage of each query, or why it is not known.
type Lineages = BTreeMap<String, std::result::Result<Lineage, String>>;

impl Tidegate {
    /// Where a view's features come from: first the features in order, then all between them and the columns of tables, each place
    /// once. A place without a step of its own is a column of a table.
    ///
    /// # Errors
    /// `NotFound` for the view; `Precondition` for a query that can't be planned as things are.
    pub async fn lineage(&self, _principal: &Principal, project: &str, view: &str) -> Result<Vec<LineageStep>> {
        let project = self.project(project).await?;
        let catalog = &project.catalog;
        let found = catalog.views.get(view).ok_or_else(|| {
            let near = nearest(view, catalog.views.keys().map(String::as_str));
            let help = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            Error::not_found(format!("no feature view named `{view}` in project `{}`{help}", catalog.project))
        })?;
        let queries = lineages(self.queries.check(catalog).await)?;
        Ok(follow(catalog, &queries, found))
    }
}

fn lineages(checked: Checked) -> Result<Lineages> {
    let mut all = Lineages::new();
    for (source, query) in &checked.planned {
        all.insert(source.clone(), Ok(query.lineage()?));
    }
    for (source, error) in checked.wrong.into_iter().chain(checked.unknown) {
        all.insert(source, Err(error.chain()));
    }
    Ok(all)
}

fn follow(catalog: &Catalog, queries: &Lineages, view: &FeatureView) -> Vec<LineageStep> {
    let feature = |name: &String| Place { kind: Kind::FeatureView, name: view.name.clone(), column: name.clone() };
    let mut queue: VecDeque<Place> = view.features.iter().map(|it| feature(&it.name)).collect();
    let (mut seen, mut steps) = (BTreeSet::new(), Vec::new());
    while let Some(place) = queue.pop_front() {
        if !seen.insert(place.clone()) {
            continue;
        }
        let step = match place.kind {
            Kind::FeatureView => catalog.views.get(&place.name).map(|view| of_view(catalog, view, place)),
            _ => of_source(catalog, queries, place),
        };
        let Some(step) = step else { continue };
        queue.extend(step.from.iter().cloned());
        // What decides which rows there are is told once for each query, after what is computed from them.
        if step.by == BY_QUERY && !step.to.column.is_empty() {
            queue.push_back(Place { column: String::new(), ..step.to.clone() });
        }
        steps.push(step);
    }
    steps
}

const BY_QUERY: &str = "query";

/// A view's key, time or feature is a column of its source, or computed over windows from one.
fn of_view(catalog: &Catalog, view: &FeatureView, to: Place) -> LineageStep {
    let source = |column: &str| Place { kind: Kind::Source, name: view.source.clone(), column: column.to_owned() };
    let feature = view.features.iter().find(|feature| feature.name == to.column);
    let (from, by) = match feature.map(|feature| (&feature.aggregate, &feature.column)) {
        Some((Some(aggregate), _)) => {
            (aggregate.input.iter().map(|input| source(&input.name)).collect(), aggregate.to_string())
        }
        Some((None, column)) => (vec![source(column)], "column".to_owned()),
        None => {
            let key = catalog.keys(view).into_iter().find(|key| key.name == to.column);
            let column = key.and_then(|key| view.key_columns.get(&key.name)).unwrap_or(&to.column);
            (vec![source(column)], "column".to_owned())
        }
    };
    LineageStep { to, from, by }
}

/// A column of a query, or its rows; `None` for a column of a table.
fn of_source(catalog: &Catalog, queries: &Lineages, to: Place) -> Option<LineageStep> {
    let source = catalog.sources.get(&to.name)?;
    let Location::Query(query) = &source.location else { return None };
    let lineage = match queries.get(&to.name)? {
        Ok(lineage) => lineage,
        Err(why) => {
            // As much as can be told without the plan.
            let all = |relation| Some(Place { column: String::new(), ..place_of(relation) });
            let from = query.from.iter().filter_map(all).collect();
            return Some(LineageStep { to, from, by: format!("a query that can't be planned: {why}") });
        }
    };
    if to.column.is_empty() {
        let from: Vec<Place> = lineage.rows.iter().map(place).collect();
        return (!from.is_empty()).then(|| LineageStep { to, from, by: "rows".to_owned() });
    }
    let column = lineage.columns.iter().find(|column| column.column == to.column)?;
    Some(LineageStep { from: column.from.iter().map(place).collect(), to, by: BY_QUERY.to_owned() })
}

fn place_of(relation: &tidegate_schemas::definition::Relation) -> Place {
    Place { kind: relation.kind(), name: relation.name().to_owned(), column: String::new() }
}

fn place(origin: &Origin) -> Place {
    let kind = match origin.namespace {
        Namespace::Views => Kind::FeatureView,
        Namespace::Sources => Kind::Source,
    };
    Place { kind, name: origin.name.clone(), column: origin.column.clone() }
}
