//! Catalogs to version 1 documents, the other way from [`super::resolve`].
//!
//! One catalog has one document: definitions sorted by name, what equals its default left out (types, tables and
//! availability are always written). [`canonical_json`] turns it into one byte string, which is what digests are of.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::catalog::Catalog;
use crate::definition::aggregate::{SHARES, default_hop};
use crate::definition::{
    Aggregate, Column, ComputedFeature, Entity, Feature, FeatureService, FeatureView, Function, KafkaTopic, Kind,
    Location, OnError, OnRewrite, Query, Schedule, Source, StreamFormat, StreamStart, ViewUse,
};
use crate::duration;
use crate::time::{Availability, Micros, Nulls, UpperBound};
use crate::types::DataType;

use super::v1;

/// The whole catalog.
pub(crate) fn document(catalog: &Catalog) -> v1::Document {
    v1::Document {
        version: v1::VERSION,
        project: Some(catalog.project.clone()),
        entities: catalog.entities.values().map(|entity| self::entity(entity)).collect(),
        sources: catalog.sources.values().map(|source| self::source(source)).collect(),
        feature_views: catalog.views.values().map(|view| self::view(view)).collect(),
        feature_services: catalog.services.values().map(|service| self::service(service)).collect(),
    }
}

/// One definition; `None` when there is none.
pub(crate) fn definition(catalog: &Catalog, kind: Kind, name: &str) -> Option<v1::Document> {
    let mut document =
        v1::Document { version: v1::VERSION, project: Some(catalog.project.clone()), ..v1::Document::default() };
    match kind {
        Kind::Entity => document.entities.push(entity(catalog.entities.get(name)?)),
        Kind::Source => document.sources.push(source(catalog.sources.get(name)?)),
        Kind::FeatureView => document.feature_views.push(view(catalog.views.get(name)?)),
        Kind::FeatureService => document.feature_services.push(service(catalog.services.get(name)?)),
    }
    Some(document)
}

fn entity(entity: &Entity) -> v1::Entity {
    let key = |key: &Column| v1::Key { name: key.name.clone(), data_type: type_name(&key.data_type) };
    v1::Entity {
        name: entity.name.clone(),
        keys: entity.keys.iter().map(key).collect(),
        description: entity.about.description.clone(),
        owner: entity.about.owner.clone(),
        tags: entity.about.tags.clone(),
    }
}

fn source(source: &Source) -> v1::Source {
    v1::Source {
        name: source.name.clone(),
        table: match &source.location {
            Location::Managed => v1::Table::Managed,
            Location::Delta(uri) => v1::Table::Delta(uri.clone()),
            Location::Parquet(uri) => v1::Table::Parquet(uri.clone()),
            Location::Query(query) => v1::Table::Query(self::query(query)),
        },
        event_time: source.valid_to.is_none().then(|| source.event_time.clone()),
        valid_from: source.valid_to.is_some().then(|| source.event_time.clone()),
        valid_to: source.valid_to.clone(),
        created_time: source.created_time.clone(),
        event_id: source.event_id.clone(),
        columns: source.columns.iter().map(column).collect(),
        on_rewrite: match source.on_rewrite {
            OnRewrite::Refresh => None,
            OnRewrite::Refuse => Some(v1::OnRewrite::Refuse),
        },
        kafka: source.kafka.as_ref().map(kafka),
        description: source.about.description.clone(),
        owner: source.about.owner.clone(),
        tags: source.about.tags.clone(),
    }
}

fn query(query: &Query) -> v1::Query {
    v1::Query { sql: query.sql.clone(), from: query.from.iter().map(ToString::to_string).collect() }
}

fn kafka(topic: &KafkaTopic) -> v1::KafkaTopic {
    v1::KafkaTopic {
        cluster: topic.cluster.clone(),
        topic: topic.topic.clone(),
        format: match &topic.format {
            StreamFormat::Json => None,
            StreamFormat::Avro { schemas } => Some(v1::StreamFormat::Avro(v1::AvroFormat { schemas: schemas.clone() })),
            StreamFormat::Protobuf { descriptors, message } => {
                let (descriptors, message) = (descriptors.clone(), message.clone());
                Some(v1::StreamFormat::Protobuf(v1::ProtobufFormat { descriptors, message }))
            }
        },
        start: match topic.start {
            StreamStart::Earliest => None,
            StreamStart::Latest => Some(v1::StreamStart::Latest),
        },
    }
}

fn view(view: &FeatureView) -> v1::FeatureView {
    v1::FeatureView {
        name: view.name.clone(),
        entities: view.entities.clone(),
        source: view.source.clone(),
        key_columns: view.key_columns.clone(),
        ttl: view.ttl.map(duration_text),
        serve_ttl: view.serve_ttl.filter(|serve_ttl| Some(*serve_ttl) != view.ttl).map(duration_text),
        availability: Some(match view.availability {
            Availability::Event => v1::Availability::Event,
            Availability::Created => v1::Availability::Created,
            Availability::Commit => v1::Availability::Commit,
            Availability::Delay(micros) => v1::Availability::Delay(duration_text(micros)),
        }),
        bounds: match view.upper {
            UpperBound::Inclusive => None,
            UpperBound::Exclusive => Some(v1::Bounds { upper: v1::Upper::Exclusive }),
        },
        nulls: match view.nulls {
            Nulls::Keep => None,
            Nulls::Skip => Some(v1::Nulls::Skip),
        },
        online: view.online,
        schedule: view.schedule.as_ref().map(|schedule| match schedule {
            Schedule::OnCommit => v1::Schedule::OnCommit,
            Schedule::Every(micros) => v1::Schedule::Every(duration_text(*micros)),
            Schedule::Cron(expression) => v1::Schedule::Cron(expression.clone()),
        }),
        freshness: view.freshness.map(duration_text),
        retention: view.retention.map(duration_text),
        features: view.features.iter().map(feature).collect(),
        description: view.about.description.clone(),
        owner: view.about.owner.clone(),
        tags: view.about.tags.clone(),
    }
}

fn feature(feature: &Feature) -> v1::Feature {
    let column = Some(&feature.column).filter(|column| feature.aggregate.is_none() && **column != feature.name);
    v1::Feature {
        name: feature.name.clone(),
        data_type: type_name(&feature.data_type),
        column: column.cloned(),
        aggregate: feature.aggregate.as_ref().map(aggregate),
        renamed_from: feature.renamed_from.clone(),
        default: feature.default.clone(),
        description: feature.description.clone(),
    }
}

fn aggregate(aggregate: &Aggregate) -> v1::Aggregate {
    let hop = Some(aggregate.hop).filter(|hop| *hop != default_hop(aggregate.window));
    v1::Aggregate {
        function: match aggregate.function {
            Function::Count => v1::Function::Count,
            Function::Sum => v1::Function::Sum,
            Function::Mean => v1::Function::Mean,
            Function::Min => v1::Function::Min,
            Function::Max => v1::Function::Max,
            Function::Var => v1::Function::Var,
            Function::Std => v1::Function::Std,
            Function::First => v1::Function::First,
            Function::Last => v1::Function::Last,
            Function::LastN(_) => v1::Function::LastN,
            Function::DistinctCount => v1::Function::DistinctCount,
            Function::Percentile(_) => v1::Function::Percentile,
            Function::TopK(_) => v1::Function::TopK,
        },
        column: aggregate.input.as_ref().map(|input| input.name.clone()),
        window: v1::WindowText(aggregate.window.map_or_else(|| "all".to_owned(), duration::format)),
        hop: hop.map(duration_text),
        n: match aggregate.function {
            Function::LastN(n) | Function::TopK(n) => Some(n.into()),
            _ => None,
        },
        p: match aggregate.function {
            Function::Percentile(share) => Some(f64::from(share) / f64::from(SHARES)),
            _ => None,
        },
    }
}

fn service(service: &FeatureService) -> v1::FeatureService {
    v1::FeatureService {
        name: service.name.clone(),
        includes: service.includes.clone(),
        full_names: service.full_names,
        views: service.uses.iter().map(view_use).collect(),
        request: service.request.iter().map(column).collect(),
        computed: service.computed.iter().map(computed).collect(),
        description: service.about.description.clone(),
        owner: service.about.owner.clone(),
        tags: service.about.tags.clone(),
    }
}

fn computed(feature: &ComputedFeature) -> v1::Computed {
    v1::Computed {
        name: feature.name.clone(),
        data_type: type_name(&feature.data_type),
        expression: feature.expression.clone(),
        on_error: match feature.on_error {
            OnError::Failed => None,
            OnError::Null => Some(v1::OnError::Null),
        },
        description: feature.description.clone(),
    }
}

fn view_use(used: &ViewUse) -> v1::ViewUse {
    v1::ViewUse {
        view: used.view.clone(),
        features: used.features.clone(),
        alias: used.alias.clone(),
        keys: used.keys.clone(),
    }
}

fn column(column: &Column) -> v1::Column {
    v1::Column { name: column.name.clone(), data_type: type_name(&column.data_type) }
}

fn type_name(data_type: &DataType) -> v1::TypeName {
    v1::TypeName(data_type.to_string())
}

fn duration_text(micros: Micros) -> v1::DurationText {
    v1::DurationText(duration::format(micros))
}

/// JSON without spaces, fields sorted: the same bytes whatever order the map in memory keeps.
pub(crate) fn canonical_json(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (index, (name, value)) in fields.iter().collect::<BTreeMap<_, _>>().into_iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                // Writing into a string can't fail.
                let _ = write!(out, "{}:", Value::from(name.as_str()));
                write_canonical(value, out);
            }
            out.push('}');
        }
        scalar => {
            let _ = write!(out, "{scalar}");
        }
    }
}

/// The same value with its fields sorted, for output that people compare.
pub(crate) fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> =
                fields.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            fields.into_iter().collect()
        }
        scalar => scalar,
    }
}
