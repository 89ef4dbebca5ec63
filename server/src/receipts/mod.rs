//! Receipts of erasures: what was removed where, kept as long as the data folder.
//!
//! One file for each, `<project>/<id>.json` ([`record`] draws it), written with put-if-absent and never changed. A receipt holds a
//! digest of the key and not the key, and enough to refuse the entity again where the online tier is begun anew.

mod record;

pub use record::{ErasedSource, ErasedView, Receipt, SealedLoss};

use std::path::Path as FilePath;

use object_store::path::Path;
use tidegate_schemas::error::ErrorKind;

use crate::error::{Error, Result};
use crate::objects::Objects;

/// All projects' receipts.
#[derive(Debug)]
pub(crate) struct Receipts {
    files: Objects,
}

impl Receipts {
    /// The receipts in a local folder, which is created when it is missing.
    ///
    /// # Errors
    /// The folder can't be created or read.
    pub(crate) fn open(folder: &FilePath) -> Result<Self> {
        let failed = |source| storage(&folder.display().to_string(), source);
        Ok(Self { files: Objects::open(folder).map_err(failed)? })
    }

    /// Keeps a receipt.
    pub(crate) async fn create(&self, receipt: &Receipt) -> Result<()> {
        match self.files.create(&file(&receipt.project, &receipt.id), receipt.encode()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::internal(format!("there is a receipt {} already", receipt.id))),
            Err(source) => Err(storage(self.files.root(), source)),
        }
    }

    /// A project's receipts, oldest first.
    pub(crate) async fn list(&self, project: &str) -> Result<Vec<Receipt>> {
        let names = self.files.names(&Path::from(project)).await;
        let mut receipts = Vec::new();
        for id in names.map_err(|source| storage(self.files.root(), source))? {
            let path = file(project, &id);
            let found = self.files.get(&path).await.map_err(|source| storage(self.files.root(), source))?;
            let Some(bytes) = found else { continue };
            receipts.push(Receipt::decode(&bytes).map_err(|why| {
                let message =
                    format!("the receipt {}/{path} is damaged ({why}); restore it from a backup", self.files.root());
                Error::new(ErrorKind::Corrupt, message)
            })?);
        }
        receipts.sort_by(|a, b| (a.erased_at, &a.id).cmp(&(b.erased_at, &b.id)));
        Ok(receipts)
    }

    /// The projects that have any.
    pub(crate) async fn projects(&self) -> Result<Vec<String>> {
        self.files.folders().await.map_err(|source| storage(self.files.root(), source))
    }
}

fn file(project: &str, id: &str) -> Path {
    Path::from_iter([project, format!("{id}.json").as_str()])
}

fn storage(root: &str, source: object_store::Error) -> Error {
    let message =
        format!("the receipts in {root} can't be read or written; check that the folder is writable and has space");
    Error::new(ErrorKind::Unavailable, message).with_source(source)
}
