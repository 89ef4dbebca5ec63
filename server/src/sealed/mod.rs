//! Sealed training sets: what each was made of, kept so that it can be made again and compared.
//!
//! A set is a record, `<project>/<name>.json` ([`record`] draws it), and the rows of its spine, `<project>/spines/<id>.arrow`. A
//! record is written with put-if-absent once everything it names is there, and never changes; deleting it frees its name. A
//! spine without a record is what a stop left behind.
//!
//! Nothing here runs a join: [`crate::service`] makes and compares sets.

mod error;
mod record;

pub use error::Error;
pub use record::{Options, Origin, Sealed, SealedSpine};

use std::path::Path as FilePath;

use object_store::path::Path;
use tidegate_schemas::catalog::nearest;

use crate::objects::Objects;

/// Result of the store of sealed sets.
pub type Result<T> = std::result::Result<T, Error>;

/// Longest name of a set.
const NAME_BYTES_MAX: usize = 100;

/// All projects' sealed sets.
#[derive(Debug)]
pub struct SealedSets {
    files: Objects,
}

impl SealedSets {
    /// The sets in a local folder, which is created when it is missing.
    ///
    /// # Errors
    /// The folder can't be created or read.
    pub fn open(folder: &FilePath) -> Result<Self> {
        let root = folder.display().to_string();
        let files = Objects::open(folder).map_err(|source| Error::Storage { root, source })?;
        Ok(Self { files })
    }

    /// Whether a set of this name could be made now.
    ///
    /// # Errors
    /// The name can't be one, or is taken.
    pub async fn check_free(&self, project: &str, name: &str) -> Result<()> {
        check_name(name)?;
        match self.files.exists(&record_file(project, name)).await.map_err(|source| self.storage(source))? {
            true => Err(Error::Taken { project: project.to_owned(), name: name.to_owned() }),
            false => Ok(()),
        }
    }

    /// A set by its name.
    ///
    /// # Errors
    /// There is none, or its record is damaged.
    pub async fn get(&self, project: &str, name: &str) -> Result<Sealed> {
        check_name(name)?;
        match self.find(project, name).await? {
            Some(found) => Ok(found),
            None => Err(self.unknown(project, name).await?),
        }
    }

    /// All sets of a project, oldest first.
    ///
    /// # Errors
    /// Storage fails, or a record is damaged.
    pub async fn list(&self, project: &str) -> Result<Vec<Sealed>> {
        let mut sets = Vec::new();
        for name in self.names(project).await? {
            sets.extend(self.find(project, &name).await?);
        }
        sets.sort_by(|a, b| (a.created_at, &a.name).cmp(&(b.created_at, &b.name)));
        Ok(sets)
    }

    /// Keeps a spine's rows; `id` is what the record will say.
    pub(crate) async fn put_spine(&self, project: &str, id: &str, from: &FilePath) -> Result<()> {
        self.files.upload(&spine_file(project, id), from).await.map_err(|source| self.storage(source))
    }

    /// Copies a set's spine to a local file.
    pub(crate) async fn get_spine(&self, set: &Sealed, to: &FilePath) -> Result<()> {
        match self.files.download(&spine_file(&set.project, &set.spine.id), to).await {
            Err(object_store::Error::NotFound { .. }) => Err(Error::Corrupt {
                file: format!("{}/{}", self.files.root(), record_file(&set.project, &set.name)),
                name: set.name.clone(),
                why: "the rows of its spine are gone".to_owned(),
            }),
            done => done.map_err(|source| self.storage(source)),
        }
    }

    /// Forgets a spine that no record names.
    pub(crate) async fn drop_spine(&self, project: &str, id: &str) {
        if let Err(error) = self.files.delete(&spine_file(project, id)).await {
            tracing::warn!(project, id, %error, "a spine that nobody needs stays behind");
        }
    }

    /// Writes a record. What it names must be there.
    pub(crate) async fn create(&self, set: &Sealed) -> Result<()> {
        check_name(&set.name)?;
        match self.files.create(&record_file(&set.project, &set.name), set.encode()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Taken { project: set.project.clone(), name: set.name.clone() }),
            Err(source) => Err(self.storage(source)),
        }
    }

    /// Forgets a set; also one whose record is damaged.
    pub(crate) async fn delete(&self, project: &str, name: &str) -> Result<()> {
        let spine = match self.get(project, name).await {
            Ok(set) => Some(set.spine.id),
            Err(Error::Corrupt { .. }) => None,
            Err(error) => return Err(error),
        };
        // The record first: without it the spine is nobody's, and the other way round the set would be broken.
        self.files.delete(&record_file(project, name)).await.map_err(|source| self.storage(source))?;
        if let Some(id) = spine {
            self.drop_spine(project, &id).await;
        }
        Ok(())
    }

    async fn find(&self, project: &str, name: &str) -> Result<Option<Sealed>> {
        let path = record_file(project, name);
        let Some(bytes) = self.files.get(&path).await.map_err(|source| self.storage(source))? else { return Ok(None) };
        let corrupt =
            |why| Error::Corrupt { file: format!("{}/{path}", self.files.root()), name: name.to_owned(), why };
        Sealed::decode(project, name, &bytes).map(Some).map_err(corrupt)
    }

    async fn names(&self, project: &str) -> Result<Vec<String>> {
        self.files.names(&Path::from(project)).await.map_err(|source| self.storage(source))
    }

    async fn unknown(&self, project: &str, name: &str) -> Result<Error> {
        let names = self.names(project).await?;
        let near = nearest(name, names.iter().map(String::as_str));
        let help = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        Ok(Error::Unknown { project: project.to_owned(), name: name.to_owned(), help })
    }

    fn storage(&self, source: object_store::Error) -> Error {
        Error::Storage { root: self.files.root().to_owned(), source }
    }
}

fn check_name(name: &str) -> Result<()> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if plain && starts && name.len() <= NAME_BYTES_MAX { Ok(()) } else { Err(Error::Name(name.to_owned())) }
}

fn record_file(project: &str, name: &str) -> Path {
    Path::from_iter([project, format!("{name}.json").as_str()])
}

fn spine_file(project: &str, id: &str) -> Path {
    Path::from_iter([project, "spines", format!("{id}.arrow").as_str()])
}

#[cfg(test)]
mod tests;
