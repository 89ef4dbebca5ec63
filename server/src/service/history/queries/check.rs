//! Queries held against what they read, before definitions become a version. Nothing is computed.

use std::collections::BTreeMap;

use tidegate_offline::derived;
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::definition::Column;

use super::{Queries, in_order, inputs};
use crate::service::{Error, Result};

/// What is known of a catalog's queries.
#[derive(Debug, Default)]
pub(in crate::service) struct Checked {
    /// Sources whose queries can't be as they are, and why.
    pub(in crate::service) wrong: Vec<(String, Error)>,
    /// Sources that could not be looked at, for a table that they read can't be opened, or is of a query that is wrong itself.
    pub(in crate::service) unknown: Vec<(String, Error)>,
    /// The queries that are well, planned.
    pub(super) planned: BTreeMap<String, derived::Query>,
    /// The columns that they give.
    columns: BTreeMap<String, Vec<Column>>,
}

impl Queries {
    /// Plans all queries of a catalog over the columns of what they read.
    pub(in crate::service) async fn check(&self, catalog: &Catalog) -> Checked {
        let mut checked = Checked::default();
        for name in catalog.sources.keys() {
            for (source, query) in in_order(catalog, name) {
                if checked.knows(&source.name) {
                    continue;
                }
                let tables = inputs::columns_only(&self.tables, catalog, query, &checked.columns).await;
                let tables = match tables {
                    Ok(tables) => tables,
                    Err(error) => {
                        checked.unknown.push((source.name.clone(), error));
                        continue;
                    }
                };
                let planned = derived::Query::plan(&self.plans, &catalog.project, &query.sql, tables).await;
                let columns = planned.and_then(|query| Ok((query.columns(&catalog.columns(source))?, query)));
                match columns {
                    Ok((columns, query)) => {
                        checked.columns.insert(source.name.clone(), columns);
                        checked.planned.insert(source.name.clone(), query);
                    }
                    Err(error) => checked.wrong.push((source.name.clone(), error.into())),
                }
            }
        }
        checked
    }
}

impl Checked {
    fn knows(&self, source: &str) -> bool {
        let named = |(name, _): &(String, Error)| name == source;
        self.planned.contains_key(source) || self.wrong.iter().any(named) || self.unknown.iter().any(named)
    }

    /// Refuses a catalog with a query that is wrong, or one of those `changed` that nobody could look at.
    ///
    /// # Errors
    /// The first of them.
    pub(in crate::service) fn refuse(self, changed: impl Fn(&str) -> bool) -> Result<()> {
        let unknown = self.unknown.into_iter().filter(|(source, _)| changed(source));
        match self.wrong.into_iter().chain(unknown).next() {
            None => Ok(()),
            Some((source, mut error)) => {
                error.message = format!("the query of source `{source}`: {}", error.message);
                Err(error)
            }
        }
    }
}
