//! The tables behind sources: where they are, whether they may be named, and handles on them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tidegate_offline::table::{Location, Table, absolute_path};
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::definition::{self, Column, Source};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::types::DataType;

use crate::service::erasures::Erasures;
use crate::service::push::QUARANTINE;
use crate::service::{Error, Result};

/// Folder of the tables that queries fill, beside those of managed sources; no source can have its name.
pub(in crate::service) const QUERIES: &str = "_queries";

/// Characters of a recipe that name its table.
const RECIPE_CHARS: usize = 16;

/// Handles on tables by project and source. A handle follows its table; it is replaced when the source moves.
#[derive(Debug)]
pub(in crate::service) struct Tables {
    managed: PathBuf,
    roots: Vec<String>,
    /// What appends and fills must leave out.
    erasures: Erasures,
    open: Mutex<HashMap<(String, String), (Location, Table)>>,
}

impl Tables {
    pub(in crate::service) fn new(managed: PathBuf, roots: Vec<String>, erasures: Erasures) -> Self {
        Self { managed, roots, erasures, open: Mutex::default() }
    }

    /// The handle of a source's table.
    ///
    /// # Errors
    /// Nothing there, or outside the roots.
    pub(in crate::service) async fn open(&self, project: &str, source: &Source) -> Result<Table> {
        if let definition::Location::Query(_) = source.location {
            return self.computed(project, source).await?.ok_or_else(|| not_computed(source));
        }
        let location = self.locate(project, source)?;
        let key = (project.to_owned(), source.name.clone());
        if let Some((known, table)) = self.open.lock().get(&key)
            && *known == location
        {
            return Ok(table.clone());
        }
        let table = match source.location {
            definition::Location::Managed => self.guarded(project, source, &location).await?,
            _ => Table::open(&source.name, &location).await?,
        };
        // Who came first meanwhile has the handle that all share.
        match self.open.lock().entry(key) {
            Entry::Occupied(known) if known.get().0 == location => Ok(known.get().1.clone()),
            entry => Ok(entry.insert_entry((location, table)).get().1.clone()),
        }
    }

    /// A managed table, to be appended to by whoever opens it first.
    async fn guarded(&self, project: &str, source: &Source, location: &Location) -> Result<Table> {
        let table = Table::open_managed(&source.name, location).await?;
        table.guard(self.erasures.guard(project, &source.name));
        Ok(table)
    }

    /// The table of a project's rows that could not be taken; it is made when the first one comes.
    ///
    /// # Errors
    /// The folder can't be used.
    pub(in crate::service) async fn quarantine(&self, project: &str, columns: &[Column]) -> Result<Table> {
        let (location, key) = (self.quarantine_location(project), (project.to_owned(), QUARANTINE.to_owned()));
        if let Some((_, table)) = self.open.lock().get(&key) {
            return Ok(table.clone());
        }
        let required = columns.iter().take(1).map(|column| column.name.clone()).collect();
        let table = Table::open_or_create(QUARANTINE, &location, columns, &required).await?;
        self.open.lock().insert(key, (location, table.clone()));
        Ok(table)
    }

    /// The same where it is there, to be read.
    ///
    /// # Errors
    /// The folder can't be read.
    pub(in crate::service) async fn existing_quarantine(
        &self,
        project: &str,
        columns: &[Column],
    ) -> Result<Option<Table>> {
        match Table::is_at(&self.quarantine_location(project)) {
            true => self.quarantine(project, columns).await.map(Some),
            false => Ok(None),
        }
    }

    /// The table that a query has filled; `None` where it has not yet.
    ///
    /// # Errors
    /// The table can't be opened.
    pub(in crate::service) async fn computed(&self, project: &str, source: &Source) -> Result<Option<Table>> {
        match self.is_there(project, source) {
            true => {
                let table = self.to_fill(project, source, &[]).await?;
                // The version that made it has no rows.
                let filled = table.version() > 0 || table.snapshot(None).await?.version > 0;
                Ok(filled.then_some(table))
            }
            false => Ok(None),
        }
    }

    fn quarantine_location(&self, project: &str) -> Location {
        Location::Delta(self.managed.join(project).join(QUARANTINE))
    }

    /// The table of a query, to be filled; it is made with these columns where it is not there.
    ///
    /// # Errors
    /// The table can't be made or opened.
    pub(in crate::service) async fn to_fill(
        &self,
        project: &str,
        source: &Source,
        columns: &[Column],
    ) -> Result<Table> {
        let location = self.locate(project, source)?;
        let key = (project.to_owned(), source.name.clone());
        let there = Table::is_at(&location);
        if there
            && let Some((known, table)) = self.open.lock().get(&key)
            && *known == location
        {
            return Ok(table.clone());
        }
        let table = Table::open_filled(&source.name, &location, (!there).then_some(columns)).await?;
        table.guard(self.erasures.guard(project, &source.name));
        self.open.lock().insert(key, (location, table.clone()));
        Ok(table)
    }

    /// Whether a managed table's folder is there.
    pub(in crate::service) fn is_there(&self, project: &str, source: &Source) -> bool {
        self.locate(project, source).is_ok_and(|location| Table::is_at(&location))
    }

    /// The folders of managed tables that a project has, with or without a definition.
    pub(in crate::service) fn folders(&self, project: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.managed.join(project)).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut names: Vec<String> = folders.map(|folder| folder.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Deletes the tables of queries, and of versions of them, that the catalog does not have.
    ///
    /// # Errors
    /// A folder can't be read or deleted.
    pub(in crate::service) fn forget_old_recipes(&self, catalog: &Catalog) -> std::io::Result<()> {
        let root = self.managed.join(&catalog.project).join(QUERIES);
        let here = |source: &std::sync::Arc<Source>| self.locate(&catalog.project, source).ok();
        let kept: Vec<PathBuf> =
            catalog.sources.values().filter_map(here).map(|location| location.path().to_owned()).collect();
        for source in subfolders(&root)? {
            for recipe in subfolders(&source)? {
                if !kept.contains(&recipe) {
                    std::fs::remove_dir_all(&recipe)?;
                }
            }
        }
        Ok(())
    }

    /// Creates or extends a managed table; for any other, checks that it has what the definitions name.
    ///
    /// # Errors
    /// A column's type differs, a column is missing, or as [`Self::open`].
    pub(in crate::service) async fn prepare(&self, catalog: &Catalog, source: &Source) -> Result<()> {
        let columns = catalog.columns(source);
        if source.location == definition::Location::Managed {
            let location = self.locate(&catalog.project, source)?;
            let mut required = catalog.key_columns(source);
            required.insert(source.event_time.clone());
            if !Table::is_at(&location) {
                self.open.lock().remove(&(catalog.project.clone(), source.name.clone()));
                Table::open_or_create(&source.name, &location, &columns, &required).await?;
            }
            // The handle that all share: who appends, compacts or erases has its locks.
            let table = self.open(&catalog.project, source).await?;
            return Ok(table.extend(&columns, &required).await?);
        }
        if matches!(source.location, definition::Location::Query(_)) {
            // Made when it is first filled; what it reads is held against its query before.
            return Ok(());
        }
        let table = self.open(&catalog.project, source).await?;
        let snapshot = table.snapshot(None).await?;
        for column in &columns {
            let Ok(stored) = snapshot.schema.field_with_name(&column.name) else {
                let names = snapshot.schema.fields().iter().map(|field| field.name().as_str());
                let near = tidegate_schemas::catalog::nearest(&column.name, names);
                let help = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                let message = format!("the table of source `{}` has no column `{}`{help}", source.name, column.name);
                return Err(Error::new(ErrorKind::Precondition, message));
            };
            if !reads_as(stored.data_type(), &column.data_type) {
                let message = format!(
                    "the table of source `{}` stores `{}` as {}, and the definitions say {}; change the definitions",
                    source.name,
                    column.name,
                    stored.data_type(),
                    column.data_type
                );
                return Err(Error::new(ErrorKind::Precondition, message));
            }
        }
        Ok(())
    }

    /// Where a source's rows are.
    fn locate(&self, project: &str, source: &Source) -> Result<Location> {
        match &source.location {
            definition::Location::Managed => Ok(Location::Delta(self.managed.join(project).join(&source.name))),
            definition::Location::Delta(uri) => self.inside_roots(source, uri).map(Location::Delta),
            definition::Location::Parquet(uri) => self.inside_roots(source, uri).map(Location::Parquet),
            // Rows of one recipe are not those of another.
            definition::Location::Query(query) => {
                let recipe: String = query.recipe.chars().take(RECIPE_CHARS).collect();
                Ok(Location::Delta(self.managed.join(project).join(QUERIES).join(&source.name).join(recipe)))
            }
        }
    }

    /// The real path behind a URI, links followed, when a configured root holds it.
    ///
    /// # Errors
    /// Nothing there, or outside the roots.
    pub(in crate::service) fn inside_roots(&self, source: &Source, uri: &str) -> Result<PathBuf> {
        let asked = absolute_path(uri)?;
        let real = asked.canonicalize().ok();
        let holds = |root: &String| {
            let root = absolute_path(root).ok().and_then(|root| root.canonicalize().ok());
            root.is_some_and(|root| real.as_deref().unwrap_or(&asked).starts_with(root))
        };
        if !self.roots.iter().any(holds) {
            let message = format!(
                "source `{}` names {uri}, which is outside the folders this server may read; ask its operator to add the \
                 folder to [tables] roots",
                source.name
            );
            return Err(Error::new(ErrorKind::Forbidden, message));
        }
        real.ok_or_else(|| missing(source, &asked))
    }
}

fn not_computed(source: &Source) -> Error {
    let message = format!(
        "source `{0}` is a query whose rows were not computed yet: `tidegate refresh {0}` computes them, as does materializing a \
         view of it",
        source.name
    );
    Error::new(ErrorKind::Precondition, message)
}

/// The folders in a folder; none where it is missing.
fn subfolders(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths = entries.map(|entry| Ok(entry?.path()));
    paths.filter(|path| path.as_ref().map_or(true, |path| path.is_dir())).collect()
}

fn missing(source: &Source, path: &Path) -> Error {
    let message = format!("source `{}`: there is nothing at {}; correct its location", source.name, path.display());
    Error::new(ErrorKind::Precondition, message)
}

/// Whether a stored column reads as a defined type without loss.
fn reads_as(stored: &arrow::datatypes::DataType, wanted: &DataType) -> bool {
    let Some(found) = DataType::from_arrow(stored) else { return false };
    found == *wanted
        || matches!(
            (&found, wanted),
            (DataType::Int32, DataType::Int64)
                | (DataType::Int32 | DataType::Float32, DataType::Float64)
                | (DataType::String, DataType::Json)
        )
        || matches!((&found, wanted), (DataType::List(item), DataType::Vector(_)) if **item == DataType::Float32)
}
