//! YAML text to a tree of nodes that know their places.
//!
//! Built from the parser's events rather than with its loader, so that nesting and the copies that aliases make are
//! bounded, one run reports every duplicate key, and keys keep their places.

use std::collections::BTreeMap;

use saphyr::Scalar;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use crate::problem::Problem;

use super::text::{Place, Text};

/// Lists and mappings inside one another.
const DEPTH_MAX: usize = 64;

/// Nodes that all aliases of a file may stand for together.
const ALIASED_NODES_MAX: usize = 10_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub place: Place,
    pub data: Data,
}

/// A mapping's key and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub place: Place,
    pub name: String,
}

/// A value, scalars resolved by YAML's core schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// One step from a node to a node inside it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'a> {
    /// A mapping's value.
    Field(&'a str),
    /// A mapping's key itself.
    Key(&'a str),
    /// A list's item.
    Index(usize),
}

impl Node {
    /// The value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).map(|(_, value)| value)
    }

    fn entry(&self, name: &str) -> Option<(&Key, &Node)> {
        let Data::Map(entries) = &self.data else { return None };
        entries.iter().find(|(key, _)| key.name == name).map(|(key, value)| (key, value))
    }

    /// The text of a field that holds text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match &self.get(name)?.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The place of what a path leads to, or of the last node on the way that is there.
    pub(crate) fn place_of(&self, path: &[Step<'_>]) -> Place {
        let mut node = self;
        for step in path {
            let next = match (step, &node.data) {
                (Step::Key(name), _) => return node.entry(name).map_or(node.place, |(key, _)| key.place),
                (Step::Field(name), _) => node.get(name),
                (Step::Index(index), Data::List(items)) => items.get(*index),
                (Step::Index(_), _) => None,
            };
            let Some(next) = next else { return node.place };
            node = next;
        }
        node.place
    }

    /// The value as JSON; infinities and NaN, which JSON lacks, become null.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.data {
            Data::Null => serde_json::Value::Null,
            Data::Bool(value) => (*value).into(),
            Data::Integer(value) => (*value).into(),
            Data::Float(value) => (*value).into(),
            Data::Text(value) => value.clone().into(),
            Data::List(items) => items.iter().map(Self::to_json).collect(),
            Data::Map(entries) => entries.iter().map(|(key, value)| (key.name.clone(), value.to_json())).collect(),
        }
    }

    /// The value in a sentence: ``the number 3``, ``the text `x` ``, `a list`.
    pub(crate) fn describe(&self) -> String {
        match &self.data {
            Data::Null => "nothing".to_owned(),
            Data::Bool(value) => format!("`{value}`"),
            Data::Integer(value) => format!("the number {value}"),
            Data::Float(value) => format!("the number {value}"),
            Data::Text(value) if value.chars().count() <= 40 => format!("the text `{}`", value.escape_debug()),
            Data::Text(_) => "a long text".to_owned(),
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// Reads a file's one document; `None` when it is no document that could be looked at further.
pub(crate) fn parse(text: &Text, problems: &mut Vec<Problem>) -> Option<Node> {
    let mut builder = Builder { text, problems, frames: Vec::new(), anchors: BTreeMap::new(), aliased: 0, root: None };
    match builder.run() {
        Ok(()) => {}
        Err(problem) => {
            builder.problems.push(*problem);
            return None;
        }
    }
    let root = builder.root.take();
    if root.as_ref().is_none_or(|node| node.data == Data::Null) {
        let message = "the file is empty";
        let help = "a definition file starts with `version: 1`";
        problems.push(text.problem(Place { line: 1, column: 1, width: 1 }, message, Some(help.to_owned())));
        return None;
    }
    root
}

/// A finished anchor's value, and how many nodes it is.
struct Anchored {
    node: Node,
    nodes: usize,
}

/// A list or mapping being read.
struct Frame {
    place: Place,
    anchor: usize,
    nodes: usize,
    kind: FrameKind,
}

enum FrameKind {
    List(Vec<Node>),
    /// `key` is the one whose value comes next; `None` inside for a key that can't be one.
    Map {
        entries: Vec<(Key, Node)>,
        lines: BTreeMap<String, usize>,
        key: Option<Option<Key>>,
    },
}

struct Builder<'a> {
    text: &'a Text,
    problems: &'a mut Vec<Problem>,
    frames: Vec<Frame>,
    anchors: BTreeMap<usize, Anchored>,
    aliased: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    /// Reads all events; an error ends the reading of this file.
    fn run(&mut self) -> Result<(), Box<Problem>> {
        let text = self.text;
        let mut parser = Parser::new_from_str(&text.content);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| Box::new(self.syntax(*error.marker(), error.info())))?;
            if let Event::DocumentStart(_) = event {
                documents += 1;
                if documents > 1 {
                    let help = "put it in a file of its own".to_owned();
                    return Err(self.fatal(place(span), "a second document starts here; a file holds one", Some(help)));
                }
            }
            self.take(event, span)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Problem>> {
        let place = place(span);
        match event {
            Event::Scalar(value, style, anchor, tag) => {
                self.refuse_tag(place, tag.is_some());
                let data = scalar(value, style);
                self.finish(Node { place, data }, anchor, 1);
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(place, tag.is_some());
                self.open(place, anchor, FrameKind::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(place, tag.is_some());
                let kind = FrameKind::Map { entries: Vec::new(), lines: BTreeMap::new(), key: None };
                self.open(place, anchor, kind)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(place, anchor)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn open(&mut self, place: Place, anchor: usize, kind: FrameKind) -> Result<(), Box<Problem>> {
        if self.frames.len() >= DEPTH_MAX {
            let message = format!("lists and mappings are nested more than {DEPTH_MAX} deep");
            return Err(self.fatal(place, message, None));
        }
        self.frames.push(Frame { place: Place { width: 1, ..place }, anchor, nodes: 1, kind });
        Ok(())
    }

    fn close(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        let (place, data) = match frame.kind {
            FrameKind::List(items) => (frame.place, Data::List(items)),
            FrameKind::Map { entries, .. } => {
                // A block mapping starts at its first key: underline that.
                let first = entries.first().map(|(key, _)| key.place);
                let same = first.filter(|first| (first.line, first.column) == (frame.place.line, frame.place.column));
                (same.unwrap_or(frame.place), Data::Map(entries))
            }
        };
        self.finish(Node { place, data }, frame.anchor, frame.nodes);
    }

    /// A value is complete: it becomes an item, a key, a key's value or the document.
    fn finish(&mut self, node: Node, anchor: usize, nodes: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes });
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return;
        };
        frame.nodes += nodes;
        match &mut frame.kind {
            FrameKind::List(items) => items.push(node),
            FrameKind::Map { key: slot @ None, lines, .. } => {
                let key = key_of(self.text, node, lines).map_err(|problem| self.problems.push(problem));
                *slot = Some(key.ok());
            }
            FrameKind::Map { entries, key, .. } => {
                if let Some(key) = key.take().flatten() {
                    // An empty value has no place of its own.
                    let place = if node.data == Data::Null { key.place } else { node.place };
                    entries.push((key, Node { place, ..node }));
                }
            }
        }
    }

    fn alias(&mut self, place: Place, anchor: usize) -> Result<(), Box<Problem>> {
        let Some(Anchored { node, nodes }) = self.anchors.get(&anchor) else {
            let message = "this alias stands inside the value that it names, which would never end";
            return Err(self.fatal(place, message, Some("write the value out".to_owned())));
        };
        self.aliased += nodes;
        if self.aliased > ALIASED_NODES_MAX {
            let message = format!("the aliases of this file stand for more than {ALIASED_NODES_MAX} values");
            return Err(self.fatal(place, message, Some("write the values out".to_owned())));
        }
        let (node, nodes) = (node.clone(), *nodes);
        self.finish(node, 0, nodes);
        Ok(())
    }

    fn refuse_tag(&mut self, place: Place, tagged: bool) {
        if tagged {
            let message = "YAML tags (`!name`) mean nothing in a definition file";
            self.problems.push(self.text.problem(place, message, Some("remove the tag".to_owned())));
        }
    }

    fn fatal(&self, place: Place, message: impl Into<String>, suggestion: Option<String>) -> Box<Problem> {
        Box::new(self.text.problem(place, message, suggestion))
    }

    fn syntax(&self, marker: Marker, info: &str) -> Problem {
        let help = if info.contains("tab") { Some("indent with spaces") } else { None };
        let at = Place { line: marker.line(), column: marker.col() + 1, width: 1 };
        self.text.problem(at, format!("not YAML: {info}"), help.map(str::to_owned))
    }
}

/// A key, unless it is no text or was there before.
fn key_of(text: &Text, node: Node, lines: &mut BTreeMap<String, usize>) -> Result<Key, Problem> {
    let place = node.place;
    let name = match node.data {
        Data::Text(name) => name,
        // Numbers and booleans are good keys of a mapping of names; they are spelled as they stand.
        Data::Integer(value) => value.to_string(),
        Data::Bool(value) => value.to_string(),
        _ => return Err(text.problem(place, format!("a field's name must be text, found {}", node.describe()), None)),
    };
    match lines.get(&name) {
        Some(line) => {
            let message = format!("`{name}` is given twice; the first is on line {line}");
            Err(text.problem(place, message, Some("keep one of them".to_owned())))
        }
        None => {
            lines.insert(name.clone(), place.line);
            Ok(Key { place, name })
        }
    }
}

fn scalar(value: std::borrow::Cow<'_, str>, style: ScalarStyle) -> Data {
    match Scalar::parse_from_cow_and_metadata(value, style, None) {
        None | Some(Scalar::Null) => Data::Null,
        Some(Scalar::Boolean(value)) => Data::Bool(value),
        Some(Scalar::Integer(value)) => Data::Integer(value),
        Some(Scalar::FloatingPoint(value)) => Data::Float(value.into_inner()),
        Some(Scalar::String(value)) => Data::Text(value.into_owned()),
    }
}

fn place(span: Span) -> Place {
    let one_line = span.start.line() == span.end.line();
    let width = if one_line { span.end.col().saturating_sub(span.start.col()).max(1) } else { 1 };
    Place { line: span.start.line(), column: span.start.col() + 1, width }
}
