//! The names a query can resolve: this project's views and sources, and no other.
//!
//! One catalog, named as the project, with the schemas `views` and `sources`. Unqualified names go to a third schema that is
//! not listed and looks among the views first. A table is opened when a query first names it; from then on this catalog gives
//! the same version, to a source and to the views on it alike.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, TableReference};
use datafusion::datasource::{TableType, ViewTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlanBuilder, ident};
use tokio::sync::Mutex;

use super::{MissingTable, NamedTable, Namespace, ShownTable};
use crate::error::{Error, Result};
use crate::table::Table;
use crate::table::snapshot::Snapshot;

/// The schema that unqualified names are looked for in.
pub(super) const UNQUALIFIED: &str = "tables";

/// The one catalog.
#[derive(Debug)]
pub(super) struct ProjectCatalogs {
    project: String,
    tables: Arc<Tables>,
}

/// All tables by namespace and name.
#[derive(Debug, Default)]
pub(super) struct Tables {
    by_name: BTreeMap<(Namespace, String), Entry>,
    /// Why names have no table now.
    missing: BTreeMap<(Namespace, String), String>,
    snapshots: Mutex<HashMap<String, Arc<Snapshot>>>,
}

/// What stands behind a name.
#[derive(Debug)]
struct Entry {
    rows: Rows,
    /// The columns shown, and under which names; `None` for all.
    columns: Option<Vec<(String, String)>>,
}

#[derive(Debug)]
enum Rows {
    /// The newest version when it is first asked for.
    Newest(Table),
    /// One version.
    At(Arc<Snapshot>),
}

impl Tables {
    pub(super) fn new(tables: Vec<NamedTable>, missing: Vec<MissingTable>) -> Result<Self> {
        let missing = missing.into_iter().map(|it| ((it.namespace, it.name), it.why)).collect();
        let mut all = Self { missing, ..Self::default() };
        for NamedTable { namespace, name, table, columns } in tables {
            all.insert(namespace, name, Entry { rows: Rows::Newest(table), columns })?;
        }
        Ok(all)
    }

    pub(super) fn shown(tables: Vec<ShownTable>) -> Result<Self> {
        let mut all = Self::default();
        for ShownTable { namespace, name, snapshot, columns } in tables {
            all.insert(namespace, name, Entry { rows: Rows::At(snapshot), columns })?;
        }
        Ok(all)
    }

    fn insert(&mut self, namespace: Namespace, name: String, entry: Entry) -> Result<()> {
        if self.by_name.contains_key(&(namespace, name.clone())) {
            return Err(Error::Internal(format!("`{}.{name}` is there twice", namespace.as_str())));
        }
        self.by_name.insert((namespace, name), entry);
        Ok(())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &(Namespace, String)> {
        self.by_name.keys()
    }

    /// There is no such table; is there one of nearly that name?
    pub(super) fn unknown(&self, name: &str) -> Error {
        let names = self.names().map(|(_, known)| known.as_str());
        let suggestion = tidegate_schemas::catalog::nearest(name, names).map(str::to_owned);
        Error::UnknownTable { name: name.to_owned(), suggestion }
    }

    /// A table as queries see it.
    pub(super) async fn provider(&self, namespace: Namespace, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let full_name = (namespace, name.to_owned());
        if let Some(why) = self.missing.get(&full_name) {
            return Err(Error::Sql(why.clone()));
        }
        let Some(entry) = self.by_name.get(&full_name) else { return Ok(None) };
        let snapshot = self.snapshot(&entry.rows).await?;
        let provider = snapshot.provider();
        let Some(columns) = &entry.columns else { return Ok(Some(provider)) };
        for (column, _) in columns {
            snapshot.field(column)?;
        }
        let shown = columns.iter().map(|(column, name)| ident(column).alias(name));
        // The scan below is known by this name to whoever asks where columns come from.
        let scanned = TableReference::partial(namespace.as_str(), name);
        let plan = LogicalPlanBuilder::scan(scanned, provider_as_source(provider), None)?.project(shown)?.build()?;
        Ok(Some(Arc::new(ViewTable::new(plan, None))))
    }

    async fn snapshot(&self, rows: &Rows) -> Result<Arc<Snapshot>> {
        let table = match rows {
            Rows::At(snapshot) => return Ok(snapshot.clone()),
            Rows::Newest(table) => table,
        };
        let mut known = self.snapshots.lock().await;
        let source = table.name();
        if let Some(snapshot) = known.get(source) {
            return Ok(snapshot.clone());
        }
        let snapshot = table.snapshot(None).await?;
        known.insert(source.to_owned(), snapshot.clone());
        Ok(snapshot)
    }
}

impl ProjectCatalogs {
    pub(super) fn new(project: &str, tables: Arc<Tables>) -> Self {
        Self { project: project.to_owned(), tables }
    }
}

impl CatalogProviderList for ProjectCatalogs {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![self.project.clone()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == self.project).then(|| Arc::new(ProjectCatalog { tables: self.tables.clone() }) as _)
    }
}

#[derive(Debug)]
struct ProjectCatalog {
    tables: Arc<Tables>,
}

impl CatalogProvider for ProjectCatalog {
    fn schema_names(&self) -> Vec<String> {
        [Namespace::Views, Namespace::Sources].map(|namespace| namespace.as_str().to_owned()).to_vec()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let (lookup, listed): (&'static [Namespace], bool) = match name {
            "views" => (&[Namespace::Views], true),
            "sources" => (&[Namespace::Sources], true),
            UNQUALIFIED => (&[Namespace::Views, Namespace::Sources], false),
            _ => return None,
        };
        Some(Arc::new(ProjectSchema { tables: self.tables.clone(), lookup, listed }))
    }
}

/// The tables of some namespaces, the first one first.
#[derive(Debug)]
struct ProjectSchema {
    tables: Arc<Tables>,
    lookup: &'static [Namespace],
    listed: bool,
}

#[async_trait]
impl SchemaProvider for ProjectSchema {
    fn table_names(&self) -> Vec<String> {
        if !self.listed {
            return Vec::new();
        }
        self.tables
            .names()
            .filter(|(namespace, _)| self.lookup.contains(namespace))
            .map(|(_, name)| name.clone())
            .collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        for namespace in self.lookup {
            if let Some(table) = self.tables.provider(*namespace, name).await? {
                return Ok(Some(table));
            }
        }
        Ok(None)
    }

    /// Told without opening the table.
    async fn table_type(&self, name: &str) -> Result<Option<TableType>, DataFusionError> {
        let of = |namespace: &Namespace| {
            let table = self.tables.by_name.get(&(*namespace, name.to_owned()))?;
            Some(if table.columns.is_some() { TableType::View } else { TableType::Base })
        };
        Ok(self.lookup.iter().find_map(of))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.names().any(|(namespace, known)| known == name && self.lookup.contains(namespace))
    }
}
