//! Definitions as files or the registry hold them, on their way to the resolver: a version 1 value and where it stands.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::definition::Kind;
use crate::problem::Problem;

use super::structure::Checker;
use super::text::{Place, Text, one_line};
use super::v1;
use super::yaml::{Data, Node, Step};
use super::{PROBLEMS_KEPT, SourceFile, schema, yaml};

/// The file of problems in definitions that no file holds.
pub(crate) const REGISTRY: &str = "registry";

/// Where a definition stands in a file.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    text: Arc<Text>,
    node: Node,
}

/// A definition and where it stands; without an origin it comes from the registry.
#[derive(Debug, Clone)]
pub(crate) struct Item<T> {
    pub value: T,
    pub origin: Option<Origin>,
}

/// What the resolver asks of a definition of any kind.
pub(crate) trait Named {
    const KIND: Kind;
    fn name(&self) -> &str;
}

macro_rules! named {
    ($($type:ident => $kind:ident),*) => {
        $(impl Named for v1::$type {
            const KIND: Kind = Kind::$kind;
            fn name(&self) -> &str {
                &self.name
            }
        })*
    };
}
named!(Entity => Entity, Source => Source, FeatureView => FeatureView, FeatureService => FeatureService);

impl<T: Named> Item<T> {
    /// A problem at what a path inside the definition leads to.
    pub(crate) fn problem(&self, path: &[Step<'_>], message: impl Into<String>, help: Option<String>) -> Problem {
        let message = message.into();
        match &self.origin {
            Some(origin) => origin.text.problem(origin.node.place_of(path), message, help),
            None => Problem {
                file: REGISTRY.to_owned(),
                message: one_line(&format!("{} `{}`: {message}", T::KIND.label(), self.value.name())),
                suggestion: help.as_deref().map(one_line),
                ..Problem::default()
            },
        }
    }

    /// `file:line:column` of the definition, or words for the registry.
    pub(crate) fn site(&self) -> String {
        match &self.origin {
            Some(origin) => {
                let Place { line, column, .. } = origin.node.place_of(&[Step::Field("name")]);
                format!("{}:{line}:{column}", origin.text.path)
            }
            None => "the registry".to_owned(),
        }
    }
}

/// Definitions from any number of files and from the registry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Items {
    pub entities: Vec<Item<v1::Entity>>,
    pub sources: Vec<Item<v1::Source>>,
    pub views: Vec<Item<v1::FeatureView>>,
    pub services: Vec<Item<v1::FeatureService>>,
    /// Names of definitions that are there but were not understood: a reference to one is not a reference to nothing.
    pub broken: BTreeSet<(Kind, String)>,
    /// Parts that were not understood may have defined any name.
    pub incomplete: bool,
}

impl Items {
    /// The definitions of a persisted document.
    pub(crate) fn of_document(document: v1::Document) -> Self {
        fn items<T>(values: Vec<T>) -> Vec<Item<T>> {
            values.into_iter().map(|value| Item { value, origin: None }).collect()
        }
        Self {
            entities: items(document.entities),
            sources: items(document.sources),
            views: items(document.feature_views),
            services: items(document.feature_services),
            ..Self::default()
        }
    }

    /// Adds the definitions of `other` whose names are not taken.
    pub(crate) fn extend_absent(&mut self, other: Self) {
        fn extend<T: Named>(into: &mut Vec<Item<T>>, from: Vec<Item<T>>, broken: &BTreeSet<(Kind, String)>) {
            let mut taken: BTreeSet<String> = into.iter().map(|item| item.value.name().to_owned()).collect();
            taken.extend(broken.iter().filter(|(kind, _)| *kind == T::KIND).map(|(_, name)| name.clone()));
            into.extend(from.into_iter().filter(|item| !taken.contains(item.value.name())));
        }
        extend(&mut self.entities, other.entities, &self.broken);
        extend(&mut self.sources, other.sources, &self.broken);
        extend(&mut self.views, other.views, &self.broken);
        extend(&mut self.services, other.services, &self.broken);
    }
}

/// A `project:` line.
#[derive(Debug, Clone)]
pub(crate) struct ProjectLine {
    pub name: String,
    text: Arc<Text>,
    pub place: Place,
}

impl ProjectLine {
    pub(crate) fn problem(&self, message: impl Into<String>, help: Option<String>) -> Problem {
        self.text.problem(self.place, message, help)
    }

    pub(crate) fn site(&self) -> String {
        format!("{}:{}:{}", self.text.path, self.place.line, self.place.column)
    }
}

/// What a set of files holds, as far as it was understood.
#[derive(Debug, Clone, Default)]
pub(crate) struct Read {
    pub items: Items,
    pub projects: Vec<ProjectLine>,
    /// A project line was there and is among the problems.
    pub project_misread: bool,
    pub problems: Vec<Problem>,
}

impl Read {
    /// Reads one file after those read before.
    pub(crate) fn file(&mut self, file: &SourceFile) {
        let mut problems = Vec::new();
        self.read(file, &mut problems);
        problems.truncate(PROBLEMS_KEPT);
        self.problems.append(&mut problems);
    }

    fn read(&mut self, file: &SourceFile, problems: &mut Vec<Problem>) {
        let text = match Text::decode(file) {
            Ok(text) => Arc::new(text),
            Err(problem) => {
                problems.push(problem);
                self.items.incomplete = true;
                return;
            }
        };
        let Some(document) = yaml::parse(&text, problems) else {
            self.items.incomplete = true;
            return;
        };
        if !problems.is_empty() {
            // Duplicate keys hide what stands below the second one.
            self.items.incomplete = true;
        }
        let mut checker = Checker::new(schema::schema(), &text);
        if let Data::Map(entries) = &document.data {
            if self.version(&document, &text, &mut checker) {
                checker.document_fields(&document);
                for (key, value) in entries {
                    self.section(&key.name, value, &text, &mut checker);
                }
            }
        } else {
            let message = format!("a definition file is a mapping of sections, found {}", document.describe());
            let help = "start it with `version: 1`".to_owned();
            checker.problems.push(text.problem(document.place, message, Some(help)));
            self.items.incomplete = true;
        }
        problems.append(&mut checker.problems);
    }

    /// Whether the file is of the version that the rest of the checks are about.
    fn version(&mut self, document: &Node, text: &Arc<Text>, checker: &mut Checker<'_>) -> bool {
        let Some(node) = document.get("version") else { return true };
        if matches!(node.data, Data::Integer(version) if version != v1::VERSION) {
            let message = format!("version {} is not one this build reads", node.to_json());
            let help = format!("it reads version {}", v1::VERSION);
            checker.problems.push(text.problem(node.place, message, Some(help)));
            self.items.incomplete = true;
            return false;
        }
        true
    }

    fn section(&mut self, name: &str, node: &Node, text: &Arc<Text>, checker: &mut Checker<'_>) {
        match Kind::ALL.into_iter().find(|kind| kind.section() == name) {
            Some(kind) => self.definitions(kind, node, text, checker),
            None => {
                let Some(schema) = checker.property(name) else {
                    // An unknown section may be a known one misspelled.
                    self.items.incomplete = true;
                    return;
                };
                checker.check(node, schema, &format!("`{name}`"));
                match (name, &node.data) {
                    ("project", Data::Text(name)) => {
                        let (text, place) = (text.clone(), node.place);
                        self.projects.push(ProjectLine { name: name.clone(), text, place });
                    }
                    ("project", _) => self.project_misread = true,
                    _ => {}
                }
            }
        }
    }

    fn definitions(&mut self, kind: Kind, node: &Node, text: &Arc<Text>, checker: &mut Checker<'_>) {
        let (Data::List(nodes), Some(item_schema)) = (&node.data, checker.item(kind.section())) else {
            if let Some(schema) = checker.property(kind.section()) {
                checker.check(node, schema, &format!("`{}`", kind.section()));
            }
            self.items.incomplete = true;
            return;
        };
        for node in nodes {
            let before = checker.reported;
            checker.check(node, item_schema, &format!("an item of `{}`", kind.section()));
            let taken = checker.reported == before && self.take(kind, node, text, checker);
            if !taken {
                match node.text("name") {
                    Some(name) => drop(self.items.broken.insert((kind, name.to_owned()))),
                    None => self.items.incomplete = true,
                }
            }
        }
    }

    /// Takes a definition that the schema accepts.
    fn take(&mut self, kind: Kind, node: &Node, text: &Arc<Text>, checker: &mut Checker<'_>) -> bool {
        fn item<T: DeserializeOwned>(
            into: &mut Vec<Item<T>>,
            node: &Node,
            text: &Arc<Text>,
        ) -> Result<(), serde_json::Error> {
            let value = serde_json::from_value(node.to_json())?;
            into.push(Item { value, origin: Some(Origin { text: text.clone(), node: node.clone() }) });
            Ok(())
        }
        let taken = match kind {
            Kind::Entity => item(&mut self.items.entities, node, text),
            Kind::Source => item(&mut self.items.sources, node, text),
            Kind::FeatureView => item(&mut self.items.views, node, text),
            Kind::FeatureService => item(&mut self.items.services, node, text),
        };
        // The schema is generated from the types, so this is for what it can't express.
        taken.map_err(|error| checker.problems.push(text.problem(node.place, error.to_string(), None))).is_ok()
    }
}
