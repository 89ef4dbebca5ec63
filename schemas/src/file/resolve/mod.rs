//! Definitions to domain types: names, references, types and everything else that a schema can't say.
//!
//! Kinds are resolved in the order in which they may refer to one another: entities, sources (with [`feeds`]), views
//! ([`views`], with [`aggregates`] and [`upkeep`]; then [`columns`] across the views of a source, [`queries`] across the
//! sources and what commits are waited for), services ([`services`]). A definition with a problem is left out of the
//! catalog but its name stays known, so that one mistake is one problem.

mod aggregates;
mod columns;
mod defaults;
mod feeds;
mod queries;
mod services;
mod upkeep;
mod views;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::{Catalog, nearest};
use crate::definition::{About, Column, Entity, Kind, Location, OnRewrite, Source};
use crate::problem::Problem;
use crate::types::DataType;

use super::PROBLEMS_KEPT;
use super::item::{Item, Items, Named};
use super::structure::did_you_mean;
use super::v1;
use super::yaml::Step::{self, Field, Index};

pub(crate) use words::name_fault;

/// Keys of an entity, and entities of a view.
const KEYS_MAX: usize = 32;

/// Resolves definitions; the catalog is whole only when there are no problems.
pub(crate) fn resolve(project: &str, items: &Items) -> (Catalog, Vec<Problem>) {
    let mut resolver = Resolver {
        items,
        known: known_names(items),
        catalog: Catalog::new(project),
        column_types: BTreeMap::new(),
        problems: Vec::new(),
        reported: 0,
    };
    resolver.entities();
    resolver.sources();
    resolver.column_types();
    resolver.views();
    resolver.columns();
    resolver.queries();
    resolver.commits();
    resolver.services();
    (resolver.catalog, resolver.problems)
}

/// All names there are, understood or not.
fn known_names(items: &Items) -> BTreeSet<(Kind, String)> {
    fn names<T: Named>(items: &[Item<T>]) -> impl Iterator<Item = (Kind, String)> {
        items.iter().map(|item| (T::KIND, item.value.name().to_owned()))
    }
    let understood =
        names(&items.entities).chain(names(&items.sources)).chain(names(&items.views)).chain(names(&items.services));
    understood.chain(items.broken.iter().cloned()).collect()
}

struct Resolver<'a> {
    items: &'a Items,
    known: BTreeSet<(Kind, String)>,
    catalog: Catalog,
    /// What is said of the columns of sources other than by aggregates, by source and column.
    column_types: BTreeMap<(String, String), DataType>,
    problems: Vec<Problem>,
    /// How many problems there were, kept or not.
    reported: usize,
}

impl<'a> Resolver<'a> {
    fn report<T: Named>(
        &mut self,
        item: &Item<T>,
        path: &[Step<'_>],
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.reported += 1;
        if self.problems.len() < PROBLEMS_KEPT {
            self.problems.push(item.problem(path, message, help));
        }
    }

    /// The definitions of one kind, each name once and a valid one.
    fn named<T: Named>(&mut self, items: &'a [Item<T>]) -> Vec<&'a Item<T>> {
        let mut first: BTreeMap<&str, &Item<T>> = BTreeMap::new();
        for item in items {
            let name = item.value.name();
            if let Some(other) = first.get(name) {
                let message =
                    format!("{} `{name}` is defined twice; the first is at {}", T::KIND.label(), other.site());
                self.report(item, &[Field("name")], message, Some("rename or remove one of them".to_owned()));
                continue;
            }
            if let Some((message, help)) = name_fault(name) {
                self.report(item, &[Field("name")], message, help);
            }
            first.insert(name, item);
        }
        let mut kept: Vec<&Item<T>> = first.into_values().collect();
        kept.retain(|item| name_fault(item.value.name()).is_none());
        kept
    }

    /// Whether a name that a definition mentions is one there is; reports it when it is not.
    fn refer<T: Named>(&mut self, item: &Item<T>, path: &[Step<'_>], kind: Kind, name: &str) -> bool {
        if self.known.contains(&(kind, name.to_owned())) {
            return true;
        }
        if !self.items.incomplete {
            let candidates = self.known.iter().filter(|(of, _)| *of == kind).map(|(_, name)| name.as_str());
            let help = if self.problems.len() < PROBLEMS_KEPT { nearest(name, candidates) } else { None };
            let help = help.map(did_you_mean);
            self.report(item, path, format!("there is no {} `{name}`", kind.label()), help);
        }
        false
    }

    /// A type, or a problem where it stands.
    fn data_type<T: Named>(&mut self, item: &Item<T>, path: &[Step<'_>], name: &v1::TypeName) -> Option<DataType> {
        match words::data_type(&name.0) {
            Ok(data_type) => Some(data_type),
            Err((message, help)) => {
                self.report(item, path, message, help);
                None
            }
        }
    }

    fn column_name<T: Named>(&mut self, item: &Item<T>, path: &[Step<'_>], name: &str) {
        if let Some(message) = words::column_fault(name) {
            self.report(item, path, message, None);
        }
    }

    fn entities(&mut self) {
        let items = self.items;
        for item in self.named(&items.entities) {
            let before = self.reported;
            let keys = self.entity_keys(item);
            if self.reported == before {
                let value = &item.value;
                let about = about(&value.description, &value.owner, &value.tags);
                let entity = Entity { name: value.name.clone(), keys, about };
                self.catalog.entities.insert(value.name.clone(), Arc::new(entity));
            }
        }
    }

    fn entity_keys(&mut self, item: &Item<v1::Entity>) -> Vec<Column> {
        if item.value.keys.is_empty() {
            self.report(item, &[Field("keys")], "an entity needs at least one key", None);
        }
        if item.value.keys.len() > KEYS_MAX {
            let message = format!("{} keys are too many; {KEYS_MAX} is the limit", item.value.keys.len());
            self.report(item, &[Field("keys")], message, None);
            return Vec::new();
        }
        let mut keys: Vec<Column> = Vec::new();
        for (index, key) in item.value.keys.iter().enumerate() {
            let at = |field| [Field("keys"), Index(index), Field(field)];
            if let Some((message, help)) = name_fault(&key.name) {
                self.report(item, &at("name"), message, help);
            }
            if keys.iter().any(|other| other.name == key.name) {
                let message = format!("key `{}` is given twice", key.name);
                self.report(item, &at("name"), message, Some("rename or remove one of them".to_owned()));
            }
            let Some(data_type) = self.data_type(item, &at("type"), &key.data_type) else { continue };
            if !data_type.is_key_type() {
                let message = format!("`{data_type}` can't be the type of a key");
                let help = "keys are bool, int32, int64, string, bytes, timestamp or date".to_owned();
                self.report(item, &at("type"), message, Some(help));
            }
            keys.push(Column { name: key.name.clone(), data_type });
        }
        keys
    }

    fn sources(&mut self) {
        let items = self.items;
        for item in self.named(&items.sources) {
            let before = self.reported;
            let value = &item.value;
            let location = self.location(item);
            let event_time = self.event_time(item);
            self.later_times(item, event_time.as_deref());
            self.event_id(item);
            let columns = self.source_columns(item);
            let kafka = value.kafka.as_ref().and_then(|topic| self.kafka(item, topic));
            if self.reported == before
                && let Some(event_time) = event_time
            {
                let source = Source {
                    name: value.name.clone(),
                    location,
                    event_time,
                    valid_to: value.valid_to.clone(),
                    created_time: value.created_time.clone(),
                    event_id: value.event_id.clone(),
                    columns,
                    on_rewrite: match value.on_rewrite {
                        None | Some(v1::OnRewrite::Refresh) => OnRewrite::Refresh,
                        Some(v1::OnRewrite::Refuse) => OnRewrite::Refuse,
                    },
                    kafka,
                    about: about(&value.description, &value.owner, &value.tags),
                };
                self.catalog.sources.insert(value.name.clone(), Arc::new(source));
            }
        }
    }

    /// The column of the event time, or of the start of validity that stands for it.
    fn event_time(&mut self, item: &Item<v1::Source>) -> Option<String> {
        let value = &item.value;
        let fields = [("event_time", &value.event_time), ("valid_from", &value.valid_from)];
        for (field, column) in fields {
            column.iter().for_each(|column| self.column_name(item, &[Field(field)], column));
        }
        match (&value.event_time, &value.valid_from, &value.valid_to) {
            (None, None, None) => {
                let message = format!("source `{}` lacks `event_time`", value.name);
                let help = "name the column that says when a row was so; where rows hold for a time, `valid_from` and \
                            `valid_to` instead";
                self.report(item, &[], message, Some(help.to_owned()));
            }
            (Some(_), Some(_), _) => {
                let message = "`valid_from` stands for the event time: a source has one of them";
                let help = "leave `event_time` out; the time that rows were written is `created_time`";
                self.report(item, &[Field("event_time")], message, Some(help.to_owned()));
            }
            (_, None, Some(_)) => {
                let help = "name the column of its start as `valid_from`, instead of `event_time`";
                self.report(item, &[Field("valid_to")], "`valid_to` needs `valid_from`", Some(help.to_owned()));
            }
            (None, Some(_), None) => {
                let help = "name the column of its end as `valid_to`; where rows have none, write `event_time` instead";
                self.report(item, &[Field("valid_from")], "`valid_from` needs `valid_to`", Some(help.to_owned()));
            }
            (Some(_), None, None) | (None, Some(_), Some(_)) => {}
        }
        value.event_time.clone().or_else(|| value.valid_from.clone())
    }

    /// The columns of the end of validity and of the created time: each another one than those before.
    fn later_times(&mut self, item: &Item<v1::Source>, event_time: Option<&str>) {
        let value = &item.value;
        let start = if value.valid_from.is_some() { "start of validity" } else { "event time" };
        if let Some(end) = &value.valid_to {
            self.column_name(item, &[Field("valid_to")], end);
            if event_time == Some(end) {
                let message = format!("`{end}` is the {start} and can't be the end of validity as well");
                let help = "name the column that says until when a row holds".to_owned();
                self.report(item, &[Field("valid_to")], message, Some(help));
            }
        }
        let Some(created) = &value.created_time else { return };
        self.column_name(item, &[Field("created_time")], created);
        let taken = match () {
            () if event_time == Some(created) => start,
            () if value.valid_to.as_ref() == Some(created) => "end of validity",
            () => return,
        };
        let message = format!("`{created}` is the {taken} and can't be the created time as well");
        let help = "leave `created_time` out unless another column says when rows were written".to_owned();
        self.report(item, &[Field("created_time")], message, Some(help));
    }

    fn location(&mut self, item: &Item<v1::Source>) -> Location {
        let (form, uri) = match &item.value.table {
            v1::Table::Managed => return Location::Managed,
            v1::Table::Delta(uri) => ("delta", uri),
            v1::Table::Parquet(uri) => ("parquet", uri),
            v1::Table::Query(query) => return Location::Query(self.query(item, query)),
        };
        self.uri(item, &[Field("table"), Field(form)], uri);
        if form == "delta" { Location::Delta(uri.clone()) } else { Location::Parquet(uri.clone()) }
    }

    fn uri(&mut self, item: &Item<v1::Source>, path: &[Step<'_>], uri: &str) {
        if !(uri.starts_with('/') || uri.contains("://")) || uri.trim() != uri {
            let message = format!("`{uri}` is neither an absolute path nor a URI");
            let help = "write it in full, such as `/data/events` or `file:///data/events`".to_owned();
            self.report(item, path, message, Some(help));
        }
    }

    fn source_columns(&mut self, item: &Item<v1::Source>) -> Vec<Column> {
        let mut columns: Vec<Column> = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, column) in item.value.columns.iter().enumerate() {
            let at = |field| [Field("columns"), Index(index), Field(field)];
            self.column_name(item, &at("name"), &column.name);
            if !seen.insert(&column.name) {
                let message = format!("column `{}` is given twice", column.name);
                self.report(item, &at("name"), message, Some("remove one of them".to_owned()));
            }
            if let Some(data_type) = self.data_type(item, &at("type"), &column.data_type) {
                columns.push(Column { name: column.name.clone(), data_type });
            }
        }
        columns
    }
}

fn about(description: &Option<String>, owner: &Option<String>, tags: &BTreeMap<String, String>) -> About {
    About { description: description.clone(), owner: owner.clone(), tags: tags.clone() }
}
