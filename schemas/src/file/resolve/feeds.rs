//! Where a source's rows come from, beyond a path: a query, a topic; and what tells its events apart.

use std::collections::BTreeSet;

use crate::catalog::nearest;
use crate::definition::{KafkaTopic, Kind, Query, Relation, StreamFormat, StreamStart};
use crate::file::item::Item;
use crate::file::structure::did_you_mean;
use crate::file::v1;
use crate::file::yaml::Step::{Field, Index};

use super::{PROBLEMS_KEPT, Resolver};

/// The length of a query.
const SQL_MAX: usize = 65_536;

/// The length of a topic's name, as Kafka has it.
const TOPIC_MAX: usize = 249;

/// How SQL tells sources and views apart, and what else such a name may be.
const QUALIFIED: [(&str, Kind, Kind); 2] =
    [("sources.", Kind::Source, Kind::FeatureView), ("views.", Kind::FeatureView, Kind::Source)];

impl Resolver<'_> {
    /// The columns of the times were checked before.
    pub(super) fn event_id(&mut self, item: &Item<v1::Source>) {
        let value = &item.value;
        let Some(column) = &value.event_id else { return };
        self.column_name(item, &[Field("event_id")], column);
        let mut times = [&value.event_time, &value.valid_from, &value.valid_to, &value.created_time].into_iter();
        if times.any(|time| time.as_ref() == Some(column)) {
            let message = format!("`{column}` is a time of the source and can't tell its events apart");
            let help = "name a column that no two events share, or leave `event_id` out".to_owned();
            self.report(item, &[Field("event_id")], message, Some(help));
        }
    }

    pub(super) fn query(&mut self, item: &Item<v1::Source>, query: &v1::Query) -> Query {
        let path = [Field("table"), Field("query"), Field("sql")];
        if query.sql.trim().is_empty() {
            let help = "write a `SELECT` that gives the source's columns".to_owned();
            self.report(item, &path, "the query is empty", Some(help));
        } else if query.sql.len() > SQL_MAX {
            let message = format!("a query of {} bytes is too long; {SQL_MAX} is the limit", query.sql.len());
            self.report(item, &path, message, None);
        }
        if query.from.is_empty() {
            let path = [Field("table"), Field("query"), Field("from")];
            self.report(item, &path, "a query reads at least one source or feature view", None);
        }
        let mut seen = BTreeSet::new();
        let mut from = Vec::new();
        for (index, name) in query.from.iter().enumerate() {
            let Some(relation) = self.relation(item, index, name) else { continue };
            if seen.insert(relation.clone()) {
                from.push(relation);
            } else {
                let path = [Field("table"), Field("query"), Field("from"), Index(index)];
                self.report(item, &path, format!("`{name}` is listed twice"), Some("remove one".to_owned()));
            }
        }
        Query { sql: query.sql.clone(), from, recipe: String::new() }
    }

    /// What a name that a query reads stands for; both kinds are known by name before either is resolved.
    fn relation(&mut self, item: &Item<v1::Source>, index: usize, text: &str) -> Option<Relation> {
        let path = [Field("table"), Field("query"), Field("from"), Index(index)];
        for (prefix, kind, other) in QUALIFIED {
            let Some(name) = text.strip_prefix(prefix) else { continue };
            let is = |kind| self.known.contains(&(kind, name.to_owned()));
            if !is(kind) && is(other) {
                let message = format!("`{name}` is a {}, not a {}", other.label(), kind.label());
                self.report(item, &path, message, Some(format!("write `{name}`")));
                return None;
            }
            return self.refer(item, &path, kind, name).then(|| match kind {
                Kind::FeatureView => Relation::View(name.to_owned()),
                _ => Relation::Source(name.to_owned()),
            });
        }
        let is = |kind| self.known.contains(&(kind, text.to_owned()));
        match (is(Kind::Source), is(Kind::FeatureView)) {
            (true, false) => return Some(Relation::Source(text.to_owned())),
            (false, true) => return Some(Relation::View(text.to_owned())),
            (true, true) => {
                let message = format!("`{text}` is the name of a source and of a feature view");
                let help = format!("write `sources.{text}` or `views.{text}`");
                self.report(item, &path, message, Some(help));
            }
            (false, false) if self.items.incomplete => {}
            (false, false) => {
                let both = |(kind, _): &&(Kind, String)| matches!(kind, Kind::Source | Kind::FeatureView);
                let candidates = self.known.iter().filter(both).map(|(_, name)| name.as_str());
                let near = if self.problems.len() < PROBLEMS_KEPT { nearest(text, candidates) } else { None };
                let help = near.map(did_you_mean);
                self.report(item, &path, format!("there is no source or feature view `{text}`"), help);
            }
        }
        None
    }

    pub(super) fn kafka(&mut self, item: &Item<v1::Source>, topic: &v1::KafkaTopic) -> Option<KafkaTopic> {
        let before = self.reported;
        if item.value.table != v1::Table::Managed {
            let message = "messages are written to managed tables; this one is only read";
            let help = "leave `table` out, or give the topic a source of its own".to_owned();
            self.report(item, &[Field("kafka")], message, Some(help));
        }
        for (field, name, max) in
            [("cluster", &topic.cluster, super::words::NAME_MAX), ("topic", &topic.topic, TOPIC_MAX)]
        {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if name.is_empty() || name.len() > max || !name.chars().all(plain) {
                let message = format!("`{}` can't be the name of a {field}", name.escape_debug());
                let help = format!("names are up to {max} letters, digits, `.`, `_` and `-`");
                self.report(item, &[Field("kafka"), Field(field)], message, Some(help));
            }
        }
        let format = match &topic.format {
            None | Some(v1::StreamFormat::Json) => StreamFormat::Json,
            Some(v1::StreamFormat::Avro(avro)) => {
                self.uri(item, &[Field("kafka"), Field("format"), Field("avro"), Field("schemas")], &avro.schemas);
                StreamFormat::Avro { schemas: avro.schemas.clone() }
            }
            Some(v1::StreamFormat::Protobuf(protobuf)) => {
                let at = |field| [Field("kafka"), Field("format"), Field("protobuf"), Field(field)];
                self.uri(item, &at("descriptors"), &protobuf.descriptors);
                if !is_message_name(&protobuf.message) {
                    let message = format!("`{}` is not the full name of a message", protobuf.message.escape_debug());
                    let help = "write it with its package, such as `shop.v1.Order`".to_owned();
                    self.report(item, &at("message"), message, Some(help));
                }
                StreamFormat::Protobuf { descriptors: protobuf.descriptors.clone(), message: protobuf.message.clone() }
            }
        };
        let start = match topic.start {
            None | Some(v1::StreamStart::Earliest) => StreamStart::Earliest,
            Some(v1::StreamStart::Latest) => StreamStart::Latest,
        };
        let (cluster, topic) = (topic.cluster.clone(), topic.topic.clone());
        (self.reported == before).then_some(KafkaTopic { cluster, topic, format, start })
    }
}

/// Identifiers with dots between them.
fn is_message_name(name: &str) -> bool {
    name.split('.').all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}
