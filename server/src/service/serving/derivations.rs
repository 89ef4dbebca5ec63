//! What the online rows of each view were computed from.
//!
//! A cursor is a version of one table. When a definition names another table, other keys or times, or another column for a
//! feature, the rows that are there mean something else, and a cursor must not vouch for them: the view starts over, and answers
//! NOT_FOUND until it is materialized. The record lives in the online tier's folder, so that it goes where the rows go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::definition::{Feature, FeatureView, Location};
use tidegate_schemas::error::ErrorKind;

use crate::service::{Error, Result};

/// By project, then by view.
type All = BTreeMap<String, BTreeMap<String, Derivation>>;

/// What one view's rows are computed from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::service) struct Derivation {
    table: String,
    event_time: String,
    created_time: Option<String>,
    keys: Vec<String>,
    /// Feature, under the name it had as well, to column; for an aggregate, to what is computed.
    features: BTreeMap<String, String>,
    /// What the tiles of a view with windows hold; empty for any other.
    #[serde(default)]
    windows: BTreeSet<String>,
}

impl Derivation {
    pub(in crate::service) fn of(catalog: &Catalog, view: &FeatureView) -> Self {
        let source = catalog.sources.get(&view.source);
        let table = match source.map(|source| &source.location) {
            None | Some(Location::Managed) => format!("managed {}", view.source),
            Some(Location::Delta(uri)) => format!("delta {uri}"),
            Some(Location::Parquet(uri)) => format!("parquet {uri}"),
            // Covers what it reads, however far up.
            Some(Location::Query(query)) => format!("query {}", query.recipe),
        };
        let column =
            |key: tidegate_schemas::definition::Column| view.key_columns.get(&key.name).cloned().unwrap_or(key.name);
        Self {
            table,
            event_time: source.map(|source| source.event_time.clone()).unwrap_or_default(),
            created_time: source.and_then(|source| source.created_time.clone()),
            keys: catalog.keys(view).into_iter().map(column).collect(),
            features: view.features.iter().flat_map(named).collect(),
            windows: view.features.iter().filter(|f| f.aggregate.is_some()).map(computed).collect(),
        }
    }

    /// Remembers features that are gone: their values are still there, and they may come back from another column.
    pub(in crate::service) fn remember(&mut self, before: &Self) {
        for (feature, column) in &before.features {
            self.features.entry(feature.clone()).or_insert_with(|| column.clone());
        }
    }

    /// Whether it is of a view with windows.
    pub(in crate::service) fn is_windowed(&self) -> bool {
        !self.windows.is_empty()
    }

    /// Whether rows computed from `self` are no rows of `next`. Features that come or go are not: the online tier sees to them;
    /// but tiles hold what was aggregated, and nothing else.
    pub(in crate::service) fn outdated(&self, next: &Self) -> bool {
        let moved = |(name, column): (&String, &String)| next.features.get(name).is_some_and(|other| other != column);
        let Self { table, event_time, created_time, keys, features, windows } = self;
        (table, event_time, created_time, keys) != (&next.table, &next.event_time, &next.created_time, &next.keys)
            || *windows != next.windows
            || features.iter().any(moved)
    }
}

/// A feature's names, each with what its values are computed from.
fn named(feature: &Feature) -> impl Iterator<Item = (String, String)> {
    let names = std::iter::once(&feature.name).chain(&feature.renamed_from);
    names.map(move |name| (name.clone(), computed(feature)))
}

/// What a feature's values are computed from.
fn computed(feature: &Feature) -> String {
    match &feature.aggregate {
        None => feature.column.clone(),
        Some(aggregate) => {
            let of = aggregate.input.as_ref().map_or_else(String::new, |input| format!(" as {}", input.data_type));
            format!("{aggregate}{of}")
        }
    }
}

/// The record of one online tier.
#[derive(Debug)]
pub(in crate::service) struct Derivations {
    file: PathBuf,
}

impl Derivations {
    pub(in crate::service) fn new(online: &Path) -> Self {
        Self { file: online.join("derivations.json") }
    }

    /// What is recorded of a project's views.
    ///
    /// # Errors
    /// The record can't be read.
    pub(in crate::service) fn of(&self, project: &str) -> Result<BTreeMap<String, Derivation>> {
        Ok(self.read()?.remove(project).unwrap_or_default())
    }

    /// Replaces what is recorded of a project's views. Callers take turns.
    ///
    /// # Errors
    /// The record can't be read or written.
    pub(in crate::service) fn record(&self, project: &str, views: BTreeMap<String, Derivation>) -> Result<()> {
        let mut all = self.read()?;
        all.insert(project.to_owned(), views);
        let text = serde_json::to_vec_pretty(&all).map_err(|error| self.failed(error.into()))?;
        let half = self.file.with_extension("half");
        // Complete and on disk before it takes the old one's place.
        std::fs::write(&half, text)
            .and_then(|()| std::fs::File::open(&half)?.sync_all())
            .and_then(|()| std::fs::rename(&half, &self.file))
            .and_then(|()| std::fs::File::open(self.file.parent().unwrap_or(Path::new(".")))?.sync_all())
            .map_err(|error| self.failed(error))
    }

    fn read(&self) -> Result<All> {
        match std::fs::read(&self.file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| self.failed(error.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(All::new()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: std::io::Error) -> Error {
        let message = format!(
            "{} can't be read or written; check the disk, or remove the folder around it and materialize again",
            self.file.display()
        );
        let kind =
            if error.kind() == std::io::ErrorKind::InvalidData { ErrorKind::Corrupt } else { ErrorKind::Unavailable };
        Error::new(kind, message).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_schemas::file::{SourceFile, check};

    use super::*;

    /// What the rows of a view with these features are computed from.
    fn of(features: &str) -> Derivation {
        let content = format!(
            "version: 1\nproject: p\nentities: [{{name: user, keys: [{{name: id, type: int64}}]}}]\n\
             sources: [{{name: s, event_time: t, columns: [{{name: x, type: int64}}, {{name: y, type: int64}}]}}]\n\
             feature_views: [{{name: v, entities: [user], source: s, features: [{features}]}}]\n"
        );
        let catalog = check(&[SourceFile { path: "a.yaml".to_owned(), content: content.into_bytes() }]).unwrap();
        Derivation::of(&catalog, &catalog.views["v"])
    }

    #[test]
    fn rows_stand_as_long_as_they_mean_the_same() {
        let check = |before: &str, after: &str, expect: bool| {
            assert_eq!(of(before).outdated(&of(after)), expect, "{before} -> {after}");
        };
        let x = "{name: x, type: int64}";
        check(x, "{name: x, type: int64}, {name: y, type: int64}", false);
        check(x, "{name: x, column: y, type: int64}", true);
        check(x, "{name: z, column: x, type: int64, renamed_from: x}", false);
        check(x, "{name: z, column: y, type: int64, renamed_from: x}", true);
        check(x, "{name: x, type: int64, aggregate: {fn: sum, column: x, window: 7d}}", true);

        let sum = "{name: a, type: int64, aggregate: {fn: sum, column: x, window: 7d}}";
        check(sum, "{name: b, type: int64, aggregate: {fn: sum, column: x, window: 7d}}", false);
        check(sum, "{name: a, type: int64, aggregate: {fn: sum, column: x, window: 7d, hop: 1m}}", true);
        check(sum, "{name: a, type: int64, aggregate: {fn: sum, column: y, window: 7d}}", true);
        let count = "{name: n, type: int64, aggregate: {fn: count, window: 7d}}";
        check(sum, &format!("{sum}, {count}"), true);
        check(&format!("{sum}, {count}"), &format!("{count}, {sum}"), false);
    }

    /// Records of a build that knew no windows are read as they are.
    #[test]
    fn older_records_are_understood() {
        let plain = of("{name: x, type: int64}");
        let mut record = serde_json::to_value(&plain).unwrap();
        record.as_object_mut().unwrap().remove("windows");
        assert_eq!(serde_json::from_value::<Derivation>(record).unwrap(), plain);
    }
}
