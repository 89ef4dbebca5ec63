//! A plan kept in a file: the definition files themselves, the version they were held against, and what they lead to, so that
//! `apply` does exactly what `plan` showed or nothing.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tidegate_schemas::file::SourceFile;

use crate::failure::{Failure, Result};

/// The key that makes a JSON file a plan, and the version of its format.
const MARK: &str = "tidegate_plan";
const FORMAT: u64 = 1;

/// A saved plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SavedPlan {
    pub(crate) project: String,
    pub(crate) base_version: u64,
    pub(crate) target_digest: String,
    pub(crate) prune: bool,
    pub(crate) files: Vec<SourceFile>,
}

impl SavedPlan {
    /// Writes the plan where nothing half-written can be read.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let partial = path.with_extension("partial");
        let text = format!("{:#}\n", self.to_json()?);
        fs::write(&partial, text)
            .and_then(|()| fs::rename(&partial, path))
            .map_err(|error| Failure::io("write", path, error))
    }

    /// Reads a plan; `None` when the file is something else, such as a definition file.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        let content = fs::read(path).map_err(|error| Failure::io("read", path, error))?;
        let Ok(value) = serde_json::from_slice::<Value>(&content) else { return Ok(None) };
        match value.get(MARK) {
            None => Ok(None),
            Some(version) if version.as_u64() == Some(FORMAT) => {
                let damaged = || Failure::new(format!("{} is a damaged plan", path.display())).help("plan again");
                from_json(&value).map(Some).ok_or_else(damaged)
            }
            Some(version) => {
                let message =
                    format!("{} is a plan of format {version}, which this tidegate does not know", path.display());
                Err(Failure::new(message).help("plan again with this tidegate"))
            }
        }
    }

    fn to_json(&self) -> Result<Value> {
        let file = |file: &SourceFile| {
            let text = std::str::from_utf8(&file.content)
                .map_err(|error| Failure::new(format!("{} is not UTF-8", file.path)).caused_by(error))?;
            Ok(json!({ "path": file.path, "content": text }))
        };
        Ok(json!({
            MARK: FORMAT,
            "project": self.project,
            "base_version": self.base_version,
            "target_digest": self.target_digest,
            "prune": self.prune,
            "files": self.files.iter().map(file).collect::<Result<Vec<_>>>()?,
        }))
    }
}

fn from_json(value: &Value) -> Option<SavedPlan> {
    let file = |value: &Value| {
        let text = |key: &str| Some(value.get(key)?.as_str()?.to_owned());
        Some(SourceFile { path: text("path")?, content: text("content")?.into_bytes() })
    };
    Some(SavedPlan {
        project: value.get("project")?.as_str()?.to_owned(),
        base_version: value.get("base_version")?.as_u64()?,
        target_digest: value.get("target_digest")?.as_str()?.to_owned(),
        prune: value.get("prune")?.as_bool()?,
        files: value.get("files")?.as_array()?.iter().map(file).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> SavedPlan {
        SavedPlan {
            project: "flights".into(),
            base_version: 7,
            target_digest: "ab".repeat(32),
            prune: true,
            files: vec![SourceFile { path: "features/a.yaml".into(), content: "version: 1 # é\n".into() }],
        }
    }

    #[test]
    fn a_plan_is_read_back_as_it_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.plan");
        plan().write(&path).unwrap();
        assert_eq!(SavedPlan::read(&path).unwrap(), Some(plan()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing but the plan is left");
    }

    #[test]
    fn other_files_are_no_plans_and_other_formats_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let check = |content: &str| {
            fs::write(&path, content).unwrap();
            SavedPlan::read(&path)
        };
        assert_eq!(check("version: 1\n").unwrap(), None);
        assert_eq!(check("{\"version\": 1}").unwrap(), None);
        assert!(check("{\"tidegate_plan\": 2}").unwrap_err().to_string().contains("format 2"));
        assert!(check("{\"tidegate_plan\": 1}").unwrap_err().to_string().contains("damaged"));
    }
}
