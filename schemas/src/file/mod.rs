//! Definition files: the YAML people write, version 1, and the persisted form of a catalog, which is the same format.
//!
//! A file passes through `yaml` (text to nodes with places), `structure` (nodes against the JSON Schema of `v1`) and
//! `resolve` (names, types and references to domain types). Each stage reports all it finds and hands on what is sound,
//! so that one run shows every problem of every file. `document` and `emit` go the other way. Nothing here opens a file.

mod document;
mod emit;
mod item;
mod resolve;
mod schema;
mod structure;
mod text;
mod v1;
mod yaml;

#[cfg(test)]
mod tests;

use serde::Deserialize as _;

use crate::catalog::Catalog;
use crate::definition::Kind;
use crate::problem::Problem;

use item::{Items, REGISTRY, Read};

/// A definition file as read from disk or from the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Shown in problems; nothing is opened by this name.
    pub path: String,
    /// The bytes, UTF-8 when all is well.
    pub content: Vec<u8>,
}

/// What a set of files defines, read but not yet held against a registry.
///
/// Problems found so far travel along, so that [`crate::plan::merge`] reports them together with those that only the
/// whole catalog shows.
#[derive(Debug, Clone)]
pub struct Definitions {
    /// The project that the files name.
    pub project: String,
    /// In the order given, which is the order of problems.
    paths: Vec<String>,
    read: Read,
}

impl Definitions {
    /// A problem with the computed features of a service, which another part of the program found.
    #[must_use]
    pub fn service_problem(&self, service: &str, message: &str) -> Problem {
        problem(&self.read.items.services, service, &[yaml::Step::Field("computed")], message)
    }

    /// The same with the query of a source.
    #[must_use]
    pub fn query_problem(&self, source: &str, message: &str) -> Problem {
        let place = ["table", "query", "sql"].map(yaml::Step::Field);
        problem(&self.read.items.sources, source, &place, message)
    }
}

/// A problem with a definition, where it stands.
fn problem<T: item::Named>(items: &[item::Item<T>], name: &str, place: &[yaml::Step<'_>], message: &str) -> Problem {
    match items.iter().find(|item| item.value.name() == name) {
        Some(item) => item.problem(place, message, None),
        None => {
            let message = format!("{} `{name}`: {message}", T::KIND.label());
            Problem { file: item::REGISTRY.to_owned(), message, ..Problem::default() }
        }
    }
}

/// Reads files; hand the result to [`crate::plan::merge`] with the project's present catalog.
///
/// # Errors
/// Only when no project can be told from the files; the problems then say all that is wrong with them.
pub fn load(files: &[SourceFile]) -> Result<Definitions, Vec<Problem>> {
    let mut read = Read::default();
    files.iter().for_each(|file| read.file(file));
    let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
    let Some(first) = read.projects.first().cloned() else {
        let mut problems = read.problems;
        if !read.items.incomplete && !read.project_misread {
            let message = "no file names the project";
            let help = Some("add a line such as `project: flights`".to_owned());
            let file = paths.first().map_or_else(|| "definitions".to_owned(), String::clone);
            problems.push(Problem { file, message: message.to_owned(), suggestion: help, ..Problem::default() });
        }
        // What is referred to may be in the registry of the project that is not known.
        read.items.incomplete = true;
        problems.extend(resolve::resolve("", &read.items).1);
        return Err(in_order(problems, &paths));
    };
    if let Some((message, help)) = resolve::name_fault(&first.name) {
        read.problems.push(first.problem(message, help));
    }
    for other in read.projects.iter().filter(|other| other.name != first.name) {
        let message = format!("project `{}` here, but `{}` at {}", other.name, first.name, first.site());
        let help = "apply one project at a time".to_owned();
        read.problems.push(other.problem(message, Some(help)));
    }
    Ok(Definitions { project: first.name, paths, read })
}

/// Reads and checks files that stand alone, such as a folder that holds a whole project.
///
/// # Errors
/// Everything wrong with them.
pub fn check(files: &[SourceFile]) -> Result<Catalog, Vec<Problem>> {
    let definitions = load(files)?;
    crate::plan::merge(&Catalog::new(definitions.project.clone()), &definitions, true)
}

/// The catalog that definitions make together with those of `base` that they do not replace.
pub(crate) fn resolve_onto(definitions: &Definitions, base: Option<&Catalog>) -> Result<Catalog, Vec<Problem>> {
    let mut items = definitions.read.items.clone();
    if let Some(base) = base {
        items.extend_absent(Items::of_document(document::document(base)));
    }
    let (catalog, found) = resolve::resolve(&definitions.project, &items);
    let problems: Vec<Problem> = definitions.read.problems.iter().cloned().chain(found).collect();
    if problems.is_empty() { Ok(catalog) } else { Err(in_order(problems, &definitions.paths)) }
}

/// Problems told of one file; a file with more is not what it claims to be.
const PROBLEMS_SHOWN: usize = 100;

/// Problems that each stage keeps of one set of files.
const PROBLEMS_KEPT: usize = 1_000;

/// By file as given, then by line; each once, and no more of a file than people read.
fn in_order(mut problems: Vec<Problem>, paths: &[String]) -> Vec<Problem> {
    let nth = |file: &str| paths.iter().position(|path| path == file).unwrap_or(paths.len());
    problems.sort_by_cached_key(|problem| {
        (nth(&problem.file), problem.line == 0, problem.line, problem.column, problem.message.clone())
    });
    problems.dedup();
    let mut shown: Vec<Problem> = Vec::new();
    for of_file in problems.chunk_by(|one, other| one.file == other.file) {
        shown.extend(of_file.iter().take(PROBLEMS_SHOWN).cloned());
        if let (true, Some(first)) = (of_file.len() > PROBLEMS_SHOWN, of_file.first()) {
            let message = "more problems in this file are not shown".to_owned();
            shown.push(Problem { file: first.file.clone(), message, ..Problem::default() });
        }
    }
    shown
}

/// The persisted form: a version 1 document in canonical form (sorted by name, defaults left out).
#[must_use]
pub fn to_document(catalog: &Catalog) -> serde_json::Value {
    // The types hold nothing that JSON can't.
    serde_json::to_value(document::document(catalog)).unwrap_or_default()
}

/// Reads a persisted catalog back.
///
/// # Errors
/// A version this build does not know, or a document that is not what [`to_document`] writes.
pub fn from_document(document: &serde_json::Value) -> Result<Catalog, Vec<Problem>> {
    let refuse = |message: String| vec![Problem { file: REGISTRY.to_owned(), message, ..Problem::default() }];
    let version = document.get("version").and_then(serde_json::Value::as_i64);
    match version {
        Some(v1::VERSION) => {}
        Some(other) => {
            let message = format!("the definitions are of version {other}; this build reads version {}", v1::VERSION);
            return Err(refuse(message));
        }
        None => return Err(refuse("the definitions have no version; they are not what Tidegate wrote".to_owned())),
    }
    let document = v1::Document::deserialize(document)
        .map_err(|error| refuse(format!("the definitions are not what Tidegate wrote: {error}")))?;
    let project = document.project.clone().unwrap_or_default();
    let (catalog, problems) = resolve::resolve(&project, &Items::of_document(document));
    if problems.is_empty() { Ok(catalog) } else { Err(problems) }
}

/// SHA-256 of the canonical form, in lower-case hex.
#[must_use]
pub fn digest(catalog: &Catalog) -> String {
    let bytes = document::canonical_json(&to_document(catalog));
    crate::digest::of(bytes.as_bytes())
}

/// A whole catalog as a definition file.
#[must_use]
pub fn to_yaml(catalog: &Catalog) -> String {
    emit::yaml(&document::document(catalog))
}

/// One definition as a definition file, or `None` when there is none of that kind and name.
#[must_use]
pub fn definition_to_yaml(catalog: &Catalog, kind: Kind, name: &str) -> Option<String> {
    Some(emit::yaml(&document::definition(catalog, kind, name)?))
}

/// The JSON Schema of definition files, for editors; also committed as `schemas/definitions.schema.json`.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    document::sorted(schema::schema().clone())
}
