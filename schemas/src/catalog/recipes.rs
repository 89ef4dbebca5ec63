//! What decides which rows a query gives, as one digest: its text, and the same of all that it reads, however far up.
//!
//! Rows that were computed by one recipe are never read as those of another.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::Catalog;
use crate::definition::{FeatureView, Location, Relation};
use crate::digest;

/// Recipes that are known, by source.
type Known = BTreeMap<String, String>;

impl Catalog {
    /// Fills in the recipes of all queries. They read no circles.
    pub(crate) fn fill_in_recipes(&mut self) {
        let mut known = Known::new();
        let names: Vec<String> = self.sources.keys().cloned().collect();
        for name in &names {
            let recipe = self.recipe(name, &mut known);
            if let Some(source) = self.sources.get_mut(name)
                && let Location::Query(query) = &source.location
                && query.recipe != recipe
            {
                let mut query = query.clone();
                query.recipe = recipe;
                Arc::make_mut(source).location = Location::Query(query);
            }
        }
    }

    /// What a source's rows are: for a table its place, for a query its recipe.
    fn recipe(&self, name: &str, known: &mut Known) -> String {
        if let Some(recipe) = known.get(name) {
            return recipe.clone();
        }
        let recipe = match self.sources.get(name).map(|source| &source.location) {
            None | Some(Location::Managed) => format!("managed {name}"),
            Some(Location::Delta(uri)) => format!("delta {uri}"),
            Some(Location::Parquet(uri)) => format!("parquet {uri}"),
            Some(Location::Query(query)) => {
                let mut text = format!("query of {} bytes\n{}\n", query.sql.len(), query.sql);
                for relation in &query.from {
                    let of = self.source_of(relation).unwrap_or_default().to_owned();
                    let rows = self.recipe(&of, known);
                    // Writing into a string can't fail.
                    let _ = writeln!(text, "{relation} = {} of {rows}", self.shown(relation));
                }
                digest::of(text.as_bytes())
            }
        };
        known.insert(name.to_owned(), recipe.clone());
        recipe
    }

    /// Which columns a relation shows, and under which names.
    fn shown(&self, relation: &Relation) -> String {
        let Relation::View(name) = relation else { return "all columns".to_owned() };
        self.views.get(name).map(|view| self.shown_of(view)).unwrap_or_default()
    }

    fn shown_of(&self, view: &FeatureView) -> String {
        let times = self.sources.get(&view.source).map(|source| {
            let times = std::iter::once(&source.event_time).chain(&source.valid_to).chain(&source.created_time);
            times.map(|time| format!("{time:?}")).collect::<Vec<_>>().join(" ")
        });
        let keys = self.keys(view).into_iter().map(|key| {
            let column = view.key_columns.get(&key.name).unwrap_or(&key.name);
            format!("{column:?} as {:?}", key.name)
        });
        let features = view.features.iter().map(|feature| format!("{:?} as {:?}", feature.column, feature.name));
        let shown: Vec<String> = keys.chain(times).chain(features).collect();
        format!("({})", shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{SourceFile, check};

    const DEFINITIONS: &str = "version: 1
project: p
entities: [{name: user, keys: [{name: id, type: int64}]}]
sources:
  - {name: events, event_time: t, columns: [{name: x, type: int64}, {name: y, type: int64}]}
  - {name: large, event_time: t, table: {query: {sql: SELECT * FROM events WHERE x > 5, from: [events]}}}
  - {name: again, event_time: t, table: {query: {sql: SELECT * FROM stats, from: [stats]}}}
  - {name: apart, event_time: t, table: {query: {sql: SELECT * FROM events, from: [events]}}}
feature_views:
  - {name: stats, entities: [user], source: large, features: [{name: f, column: x, type: int64}]}
  - {name: of_again, entities: [user], source: again, features: [{name: f, type: int64}]}
  - {name: of_apart, entities: [user], source: apart, features: [{name: x, type: int64}]}
";

    fn recipes(definitions: &str) -> BTreeMap<String, String> {
        let file = SourceFile { path: "a.yaml".to_owned(), content: definitions.as_bytes().to_vec() };
        let catalog = check(&[file]).unwrap();
        let recipe = |source: &crate::definition::Source| match &source.location {
            Location::Query(query) => Some((source.name.clone(), query.recipe.clone())),
            _ => None,
        };
        catalog.sources.values().filter_map(|source| recipe(source)).collect()
    }

    /// The sources whose recipes a change of the definitions changes.
    #[track_caller]
    fn check_changed(from: &str, to: &str, expect: &[&str]) {
        assert!(DEFINITIONS.contains(from), "{from}");
        let (before, after) = (recipes(DEFINITIONS), recipes(&DEFINITIONS.replace(from, to)));
        let changed: Vec<&str> = before
            .iter()
            .filter(|(name, recipe)| after.get(*name) != Some(*recipe))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(changed, expect, "{from} -> {to}");
    }

    #[test]
    fn recipes_change_with_all_that_is_read() {
        let of = recipes(DEFINITIONS);
        assert!(of.len() == 3 && of.values().all(|recipe| recipe.len() == 64), "{of:?}");
        check_changed("x > 5", "x > 6", &["again", "large"]);
        check_changed("{name: f, column: x, type: int64}", "{name: f, column: y, type: int64}", &["again"]);
        check_changed("SELECT * FROM events,", "'SELECT id, t, x FROM events',", &["apart"]);
        check_changed("{name: x, type: int64}, ", "{name: x, type: int64}, {name: z, type: int64}, ", &[]);
        check_changed("{name: events,", "{name: events, table: {delta: /lake/events},", &["again", "apart", "large"]);
        check_changed("source: large, features", "source: large, ttl: 7d, features", &[]);
    }
}
