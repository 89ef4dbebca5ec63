//! Nodes against the JSON Schema: unknown fields, missing fields, wrong types, words that are not among the choices.
//!
//! The schema is the one generated from [`super::v1`], so what this accepts is what those types read, and what editors
//! complain about is what this complains about. It knows the keywords that those types produce: `$ref`, `type`,
//! `properties`, `required`, `additionalProperties`, `items`, `minItems`, `const`, `enum`, `oneOf`, `anyOf`. Patterns
//! are for editors; the resolver has better words for names and durations.

use serde_json::{Map, Value};

use crate::catalog::nearest;
use crate::problem::Problem;

use super::PROBLEMS_KEPT;
use super::text::{Place, Text};
use super::yaml::{Data, Key, Node};

/// A schema with its references followed.
type Schema<'a> = &'a Map<String, Value>;

/// Checks nodes of one file.
pub(crate) struct Checker<'a> {
    root: &'a Value,
    text: &'a Text,
    pub problems: Vec<Problem>,
    /// How many problems there were, kept or not.
    pub reported: usize,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(root: &'a Value, text: &'a Text) -> Self {
        Self { root, text, problems: Vec::new(), reported: 0 }
    }

    /// The schema of a property of the document.
    pub(crate) fn property(&self, name: &str) -> Option<&'a Value> {
        self.root.pointer("/properties")?.get(name)
    }

    /// The schema of the items of a property of the document.
    pub(crate) fn item(&self, section: &str) -> Option<&'a Value> {
        self.property(section)?.get("items")
    }

    /// Refuses the fields of the document that the schema lacks, and misses those it requires.
    pub(crate) fn document_fields(&mut self, document: &Node) {
        if let (Data::Map(entries), Some(schema)) = (&document.data, self.root.as_object()) {
            self.fields(document, entries, schema, "the file");
        }
    }

    /// Checks a node; `what` names it in messages, as in ``"`ttl`"``.
    pub(crate) fn check(&mut self, node: &Node, schema: &'a Value, what: &str) {
        let Some(schema) = self.follow(schema) else { return };
        if node.data == Data::Null {
            self.report(node.place, format!("{what} has no value"), Some("write one, or leave it out".to_owned()));
            return;
        }
        let branches = self.branches(schema);
        if !branches.is_empty() {
            self.choice(node, &branches, schema, what);
            return;
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("object") => self.object(node, schema, what),
            Some("array") => self.list(node, schema, what),
            Some("string") => self.scalar(node, matches!(node.data, Data::Text(_)), schema, "text", what),
            Some("integer") => self.scalar(node, matches!(node.data, Data::Integer(_)), schema, "a whole number", what),
            Some("number") => {
                let fits = matches!(node.data, Data::Integer(_) | Data::Float(_));
                self.scalar(node, fits, schema, "a number", what);
            }
            Some("boolean") => {
                self.scalar(node, matches!(node.data, Data::Bool(_)), schema, "`true` or `false`", what);
            }
            _ => self.anything(node, what),
        }
    }

    fn follow(&self, schema: &'a Value) -> Option<Schema<'a>> {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.root.pointer(reference.trim_start_matches('#'))?.as_object(),
            None => schema.as_object(),
        }
    }

    /// The alternatives of a schema that offers some.
    fn branches(&self, schema: Schema<'a>) -> Vec<Schema<'a>> {
        if schema.contains_key("enum") {
            return vec![schema];
        }
        let listed = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array);
        listed.into_iter().flatten().filter_map(|branch| self.follow(branch)).collect()
    }

    fn object(&mut self, node: &Node, schema: Schema<'a>, what: &str) {
        let Data::Map(entries) = &node.data else {
            let message = format!("{what} must be {}, found {}", expected_object(schema), node.describe());
            self.report(node.place, message, None);
            return;
        };
        self.fields(node, entries, schema, what);
        for (key, value) in entries {
            let property = schema.get("properties").and_then(|properties| properties.get(&key.name));
            let inner = property.or_else(|| schema.get("additionalProperties").filter(|other| other.is_object()));
            if let Some(inner) = inner {
                self.check(value, inner, &format!("`{}`", key.name));
            }
        }
    }

    /// Unknown and missing fields of a mapping.
    fn fields(&mut self, node: &Node, entries: &[(Key, Node)], schema: Schema<'a>, what: &str) {
        let names: Vec<&str> = property_names(schema);
        let of = title(schema).map_or_else(|| what.to_owned(), with_article);
        if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
            for (key, value) in entries.iter().filter(|(key, _)| !names.contains(&key.name.as_str())) {
                self.report(
                    key.place,
                    format!("`{}` is not a field of {of}", key.name),
                    Some(instead(&key.name, value, &names)),
                );
            }
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let missing = required.filter_map(Value::as_str).filter(|name| node.get(name).is_none());
        let missing: Vec<String> = missing.map(|name| format!("`{name}`")).collect();
        if !missing.is_empty() {
            let of = title(schema).unwrap_or(what);
            let of = match node.text("name") {
                Some(name) => format!("{of} `{name}`"),
                None => format!("this {of}"),
            };
            self.report(node.place, format!("{of} lacks {}", joined(&missing, "and")), None);
        }
    }

    fn list(&mut self, node: &Node, schema: Schema<'a>, what: &str) {
        let inner = schema.get("items");
        let Data::List(items) = &node.data else {
            let of_text = inner.and_then(|inner| self.follow(inner)?.get("type")).is_some_and(|of| of == "string");
            let help = match &node.data {
                Data::Text(text) if text.len() <= 40 && of_text => Some(format!("write `[{text}]`")),
                Data::Map(_) => Some("start each item with `- `".to_owned()),
                _ => None,
            };
            self.report(node.place, format!("{what} must be a list, found {}", node.describe()), help);
            return;
        };
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        if (items.len() as u64) < least {
            self.report(node.place, format!("{what} must not be empty"), None);
        }
        if let Some(inner) = inner {
            for item in items {
                self.check(item, inner, &format!("an item of {what}"));
            }
        }
    }

    fn scalar(&mut self, node: &Node, fits: bool, schema: Schema<'a>, expected: &str, what: &str) {
        if !fits {
            let such_as = example(schema).map_or_else(String::new, |example| format!(" such as `{example}`"));
            let help = match (&node.data, expected) {
                (Data::Integer(_) | Data::Float(_) | Data::Bool(_), "text") if such_as.is_empty() => {
                    Some("put it in quotes".to_owned())
                }
                (Data::Text(text), "`true` or `false`") => yes_or_no(text).map(|word| format!("write `{word}`")),
                _ => None,
            };
            let message = format!("{what} must be {expected}{such_as}, found {}", node.describe());
            self.report(node.place, message, help);
        } else if let Some(wanted) = schema.get("const")
            && *wanted != node.to_json()
        {
            self.report(node.place, format!("{what} must be {wanted}, found {}", node.describe()), None);
        }
    }

    /// A value of any shape: only what JSON can't hold is refused.
    fn anything(&mut self, node: &Node, what: &str) {
        match &node.data {
            Data::Float(value) if !value.is_finite() => {
                self.report(node.place, format!("{what} must be a finite number, found {}", node.describe()), None);
            }
            Data::List(items) => items.iter().for_each(|item| self.anything(item, what)),
            Data::Map(entries) => entries.iter().for_each(|(_, value)| self.anything(value, what)),
            _ => {}
        }
    }

    /// One of several words, or of several mappings with one field each.
    fn choice(&mut self, node: &Node, branches: &[Schema<'a>], schema: Schema<'a>, what: &str) {
        let words: Vec<&str> = branches.iter().flat_map(|branch| words(branch)).collect();
        let forms: Vec<(&str, &'a Value)> = branches.iter().flat_map(|branch| properties(branch)).collect();
        match &node.data {
            Data::Text(text) if words.contains(&text.as_str()) => {}
            Data::Map(entries) if !forms.is_empty() => self.form(node, entries, &forms, what),
            Data::Text(text) if forms.iter().any(|(name, _)| name == text) => {
                let message = format!("{what} `{text}` needs a value");
                self.report(node.place, message, Some(format!("write `{{{text}: …}}`")));
            }
            data => {
                let message = format!("{what} must be {}, found {}", choices(&words, &forms, schema), node.describe());
                let near = match data {
                    Data::Text(text) => match foreign_word(text).filter(|ours| words.contains(ours)) {
                        None => nearest(text, words.iter().copied()),
                        ours => ours,
                    },
                    _ => None,
                };
                self.report(node.place, message, near.map(did_you_mean));
            }
        }
    }

    fn form(&mut self, node: &Node, entries: &[(Key, Node)], forms: &[(&str, &'a Value)], what: &str) {
        let names: Vec<&str> = forms.iter().map(|(name, _)| *name).collect();
        let mut known = 0;
        for (key, value) in entries {
            match forms.iter().find(|(name, _)| *name == key.name) {
                Some((name, schema)) => {
                    known += 1;
                    self.check(value, schema, &format!("`{name}`"));
                }
                None => self.report(
                    key.place,
                    format!("`{}` is not a form of {what}", key.name),
                    Some(instead(&key.name, value, &names)),
                ),
            }
        }
        if entries.is_empty() || known > 1 {
            self.report(node.place, format!("{what} takes one of {}", quoted(&names, "and")), None);
        }
    }

    fn report(&mut self, place: Place, message: String, suggestion: Option<String>) {
        self.reported += 1;
        if self.problems.len() < PROBLEMS_KEPT {
            self.problems.push(self.text.problem(place, message, suggestion));
        }
    }
}

/// The words a branch accepts.
fn words(branch: Schema<'_>) -> Vec<&str> {
    let listed = branch.get("enum").and_then(Value::as_array).into_iter().flatten();
    listed.chain(branch.get("const")).filter_map(Value::as_str).collect()
}

fn properties(schema: Schema<'_>) -> Vec<(&str, &Value)> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flatten().map(|(name, schema)| (name.as_str(), schema)).collect()
}

fn property_names(schema: Schema<'_>) -> Vec<&str> {
    let mut names: Vec<&str> = properties(schema).into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names
}

fn title(schema: Schema<'_>) -> Option<&str> {
    schema.get("title").and_then(Value::as_str)
}

fn example(schema: Schema<'_>) -> Option<&str> {
    schema.get("examples")?.get(0)?.as_str()
}

fn expected_object(schema: Schema<'_>) -> String {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    match required.filter_map(Value::as_str).collect::<Vec<_>>().as_slice() {
        [] => "a mapping of names to values".to_owned(),
        names => format!("a mapping with {}", quoted(names, "and")),
    }
}

fn choices(words: &[&str], forms: &[(&str, &Value)], schema: Schema<'_>) -> String {
    let words = words.iter().map(|word| format!("`{word}`"));
    let forms = forms.iter().map(|(name, _)| format!("`{{{name}: …}}`"));
    let all: Vec<String> = words.chain(forms).collect();
    match all.as_slice() {
        [] => title(schema).map_or_else(|| "something else".to_owned(), with_article),
        _ => joined(&all, "or"),
    }
}

/// What to write in place of an unknown field.
fn instead(name: &str, value: &Node, names: &[&str]) -> String {
    if value.data == Data::Null && (name.ends_with('>') || name.ends_with(')')) {
        return "inside `{ }` a comma ends the value: put a type that has one in quotes".to_owned();
    }
    match nearest(name, names.iter().copied()) {
        Some(near) => did_you_mean(near),
        None => format!("the fields are {}", quoted(names, "and")),
    }
}

/// ``did you mean `x`?``
pub(crate) fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

/// `` `a`, `b` and `c` ``
pub(crate) fn quoted(names: &[&str], last: &str) -> String {
    joined(&names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>(), last)
}

fn joined(parts: &[String], last: &str) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

pub(crate) fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// What YAML 1.1 took for a boolean.
fn yes_or_no(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "on" => Some(true),
        "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

/// Our word for what is called otherwise elsewhere.
fn foreign_word(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "avg" | "average" => "mean",
        "stddev" | "stdev" | "stddev_samp" => "std",
        "variance" | "var_samp" => "var",
        "count_distinct" | "nunique" | "approx_distinct" | "unique_count" => "distinct_count",
        "quantile" | "approx_percentile" => "percentile",
        "latest" | "newest" => "last",
        "oldest" => "first",
        "mode" | "histogram" => "top_k",
        _ => return None,
    })
}
