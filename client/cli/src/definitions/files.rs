//! The definition files that paths name: a file itself, a folder all its `*.yaml` and `*.yml`, subfolders included.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_schemas::file::SourceFile;

use crate::failure::{Failure, Result};

/// Reads the files that `paths` name, each once, in the order named, folders sorted by name.
pub(crate) fn gather(paths: &[PathBuf]) -> Result<Vec<SourceFile>> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = found.len();
            walk(path, &mut found)?;
            if found.len() == before {
                return Err(Failure::new(format!("{} holds no *.yaml or *.yml file", path.display()))
                    .help("`tidegate init` writes an example to start from"));
            }
        } else {
            found.push(path.clone());
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    found.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<SourceFile> {
    let content = fs::read(path).map_err(|error| Failure::io("read", path, error))?;
    Ok(SourceFile { path: path.display().to_string(), content })
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |error| Failure::io("list", folder, error);
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        entries.push(entry.map_err(failed)?.path());
    }
    entries.sort();
    for path in entries {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_its_yaml_files_in_order_and_each_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        for name in ["b.yml", "a.yaml", "sub/c.yaml", "notes.txt", ".hidden.yaml"] {
            fs::write(at(name), name).unwrap();
        }
        let got = gather(&[folder.path().to_owned(), at("a.yaml")]).unwrap();
        let names: Vec<String> = got.into_iter().map(|file| String::from_utf8(file.content).unwrap()).collect();
        assert_eq!(names, ["a.yaml", "b.yml", "sub/c.yaml"]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = gather(&[folder.path().to_owned()]).unwrap_err();
        assert!(empty.to_string().contains("holds no"));
        let missing = gather(&[folder.path().join("x.yaml")]).unwrap_err();
        assert!(missing.to_string().contains("x.yaml"));
    }
}
