//! Definition files: what is read, and what is said of those that can't be.
//!
//! The cases are data: `tests/*.txt` hold files and the problems people see, snippet and help included. To add one, write
//! its files and run the tests with `UPDATE_EXPECT=1`; then read what was filled in.

use super::*;

mod cases;
mod catalogs;
mod mutations;

/// One file of definitions.
fn file(path: &str, content: impl AsRef<[u8]>) -> SourceFile {
    SourceFile { path: path.to_owned(), content: content.as_ref().to_vec() }
}

/// Reads a file that is good.
fn good(content: &str) -> Catalog {
    super::check(&[file("good.yaml", content)]).unwrap_or_else(|found| panic!("{}", crate::problem::render(&found)))
}

/// Compares what is said of files with what should be.
fn check(files: &[SourceFile], expect: &str) {
    let got = match super::check(files) {
        Ok(_) => "no problems".to_owned(),
        Err(problems) => crate::problem::render(&problems),
    };
    assert_eq!(got, expect, "\n--- got ---\n{got}\n--- expected ---\n{expect}\n");
}

/// Uses every field of the language.
const EVERYTHING: &str = include_str!("tests/everything.yaml");
