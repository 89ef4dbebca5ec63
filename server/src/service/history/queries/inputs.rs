//! What a query reads: sources as their definitions have them, views as SQL shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_offline::derived::Input;
use tidegate_offline::query::{Namespace, ShownTable};
use tidegate_offline::table::Table;
use tidegate_offline::table::snapshot::Snapshot;
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::definition::{Column, Location, Query, Relation, Source};

use crate::service::sql::shown_columns;
use crate::service::tables::Tables;
use crate::service::{Error, Result};

/// Everything that a query reads, at the newest versions.
pub(super) async fn newest(tables: &Tables, catalog: &Catalog, query: &Query) -> Result<Vec<Input>> {
    let mut known: BTreeMap<&str, (Table, Arc<Snapshot>)> = BTreeMap::new();
    let mut inputs = Vec::with_capacity(query.from.len());
    for relation in &query.from {
        let source = source(catalog, relation)?;
        if !known.contains_key(source.name.as_str()) {
            let table = tables.open(&catalog.project, source).await?;
            let snapshot = table.snapshot(None).await?;
            known.insert(&source.name, (table, as_defined(catalog, source, snapshot)));
        }
        let (table, snapshot) = &known[source.name.as_str()];
        inputs.push(Input { shown: shown(catalog, relation, snapshot.clone()), table: table.clone() });
    }
    Ok(inputs)
}

/// Everything that a query reads, without rows. `computed` are the columns of the queries among it.
pub(super) async fn columns_only(
    tables: &Tables,
    catalog: &Catalog,
    query: &Query,
    computed: &BTreeMap<String, Vec<Column>>,
) -> Result<Vec<ShownTable>> {
    let mut all = Vec::with_capacity(query.from.len());
    for relation in &query.from {
        let source = source(catalog, relation)?;
        let snapshot = match &source.location {
            Location::Managed => Arc::new(Snapshot::empty(&source.name, &catalog.columns(source))),
            Location::Query(_) => {
                let columns = computed
                    .get(&source.name)
                    .ok_or_else(|| Error::internal(format!("the columns of query `{}` are not known", source.name)))?;
                Arc::new(Snapshot::empty(&source.name, columns))
            }
            Location::Delta(_) | Location::Parquet(_) => {
                tables.open(&catalog.project, source).await?.snapshot(None).await?
            }
        };
        all.push(shown(catalog, relation, snapshot));
    }
    Ok(all)
}

fn source<'a>(catalog: &'a Catalog, relation: &Relation) -> Result<&'a Source> {
    let source = catalog.source_of(relation).and_then(|name| catalog.sources.get(name));
    source.map(AsRef::as_ref).ok_or_else(|| Error::internal(format!("a query reads `{relation}`, which is not there")))
}

/// A managed table may have columns that its definition no longer has; a query reads those it has.
fn as_defined(catalog: &Catalog, source: &Source, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
    match source.location {
        Location::Managed => Arc::new(snapshot.with_columns(&catalog.columns(source))),
        Location::Delta(_) | Location::Parquet(_) | Location::Query(_) => snapshot,
    }
}

fn shown(catalog: &Catalog, relation: &Relation, snapshot: Arc<Snapshot>) -> ShownTable {
    let (namespace, columns) = match relation {
        Relation::Source(_) => (Namespace::Sources, None),
        Relation::View(name) => (Namespace::Views, catalog.views.get(name).map(|view| shown_columns(catalog, view))),
    };
    ShownTable { namespace, name: relation.name().to_owned(), snapshot, columns }
}
