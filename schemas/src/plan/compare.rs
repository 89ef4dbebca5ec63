//! Two definitions of one name: what differs, and what of that breaks readers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use crate::catalog::Catalog;
use crate::definition::{
    About, Aggregate, Column, ComputedFeature, Entity, Feature, FeatureService, FeatureView, KafkaTopic, Location,
    OnError, Query, Schedule, Source, StreamFormat, StreamStart, ViewUse,
};
use crate::duration;
use crate::time::{Availability, Micros, Nulls, UpperBound};
use crate::types::DataType;

/// Said of what leaves requests valid and gives them other values.
const CHANGES_TRAINING: &str = "training sets change";

/// The lines of a [`super::Change`].
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub details: Vec<String>,
    pub breaking: Vec<String>,
}

impl Difference {
    /// Notes `what: old -> new` where they differ, and says whether they do.
    fn field<T: PartialEq>(&mut self, what: &str, old: &T, new: &T, show: impl Fn(&T) -> String) -> bool {
        if old != new {
            self.details.push(format!("{what}: {} -> {}", show(old), show(new)));
        }
        old != new
    }

    /// The same for what training sets depend on.
    fn training<T: PartialEq>(&mut self, what: &str, old: &T, new: &T, show: impl Fn(&T) -> String) {
        if old != new {
            self.details.push(format!("{what}: {} -> {} ({CHANGES_TRAINING})", show(old), show(new)));
        }
    }

    fn detail(&mut self, line: impl Into<String>) {
        self.details.push(line.into());
    }

    fn breaks(&mut self, reason: impl Into<String>) {
        self.breaking.push(reason.into());
    }

    fn about(&mut self, old: &About, new: &About) {
        if old.description != new.description {
            self.detail("description changed");
        }
        self.field("owner", &old.owner, &new.owner, |owner| or_none(owner.as_ref()));
        let names: BTreeSet<&String> = old.tags.keys().chain(new.tags.keys()).collect();
        for name in names {
            let (old, new) = (old.tags.get(name), new.tags.get(name));
            self.field(&format!("tag {name}"), &old, &new, |value| or_none(*value));
        }
    }
}

fn or_none<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

pub(super) fn entity(old: &Entity, new: &Entity) -> Difference {
    let mut difference = Difference::default();
    let names = |keys: &[Column]| keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>();
    for key in &old.keys {
        match new.keys.iter().find(|other| other.name == key.name) {
            None => {
                difference.detail(format!("key {} removed", key.name));
                difference.breaks(format!("key `{}` removed: rows are found by it", key.name));
            }
            Some(other) => {
                let what = format!("key {}", key.name);
                if difference.field(&what, &key.data_type, &other.data_type, ToString::to_string) {
                    difference.breaks(format!("the type of key `{}` changed: rows are found by it", key.name));
                }
            }
        }
    }
    for key in new.keys.iter().filter(|key| old.keys.iter().all(|other| other.name != key.name)) {
        difference.detail(format!("key {} added ({})", key.name, key.data_type));
        difference.breaks(format!("key `{}` added: every reader must give it", key.name));
    }
    let (before, after) = (names(&old.keys), names(&new.keys));
    if difference.breaking.is_empty() && difference.field("keys", &before, &after, |names| names.join(", ")) {
        difference.breaks("the order of keys changed: stored rows are kept by it");
    }
    difference.about(&old.about, &new.about);
    difference
}

pub(super) fn source(old: &Source, new: &Source) -> Difference {
    let mut difference = Difference::default();
    if let (Location::Query(old), Location::Query(new)) = (&old.location, &new.location) {
        query(&mut difference, old, new);
    } else if difference.field("table", &old.location, &new.location, location) {
        difference.breaks("the rows are read from another table");
    }
    if difference.field("event_time", &old.event_time, &new.event_time, Clone::clone) {
        difference.breaks("the event time is another column: what is seen at a time changes");
    }
    if difference.field("valid_to", &old.valid_to, &new.valid_to, |time| or_none(time.as_ref())) {
        difference.breaks("the end of validity is another column: what is seen at a time changes");
    }
    if difference.field("created_time", &old.created_time, &new.created_time, |time| or_none(time.as_ref())) {
        difference.breaks("the created time is another column: what is known at a time changes");
    }
    difference.field("event_id", &old.event_id, &new.event_id, |column| or_none(column.as_ref()));
    difference.field("on_rewrite", &old.on_rewrite, &new.on_rewrite, |word| word.as_str().to_owned());
    difference.field("kafka", &old.kafka, &new.kafka, |topic| or_none(topic.as_ref().map(kafka)));
    let from = |source: &Source| source.kafka.as_ref().map(|topic| (topic.cluster.clone(), topic.topic.clone()));
    if old.kafka.is_some() && new.kafka.is_some() && from(old) != from(new) {
        difference.detail("the new topic is read from its start, the old one no more");
    }
    let types = |source: &Source| -> BTreeMap<String, String> {
        source.columns.iter().map(|column| (column.name.clone(), column.data_type.to_string())).collect()
    };
    let (before, after) = (types(old), types(new));
    for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        match (before.get(name), after.get(name)) {
            (Some(_), None) => difference.detail(format!("column {name} no longer listed")),
            (None, Some(data_type)) => difference.detail(format!("column {name} added ({data_type})")),
            (Some(old), Some(new)) => {
                if difference.field(&format!("column {name}"), old, new, Clone::clone) {
                    difference.breaks(format!("the type of column `{name}` changed: the table has the old one"));
                }
            }
            (None, None) => {}
        }
    }
    if difference.details.is_empty() && old.columns != new.columns {
        difference.detail("columns reordered");
    }
    difference.about(&old.about, &new.about);
    difference
}

fn location(location: &Location) -> String {
    match location {
        Location::Managed => "managed".to_owned(),
        Location::Delta(uri) => format!("delta {uri}"),
        Location::Parquet(uri) => format!("parquet {uri}"),
        Location::Query(query) => format!("query of {}", relations(query)),
    }
}

fn query(difference: &mut Difference, old: &Query, new: &Query) {
    if old.sql != new.sql {
        difference.detail("query changed");
        difference.breaks("the rows are computed by another query");
    }
    if !difference.field("from", &relations(old), &relations(new), Clone::clone)
        && old.sql == new.sql
        && old.recipe != new.recipe
    {
        difference.detail("what it reads is computed otherwise, and its rows are computed anew");
    }
}

fn relations(query: &Query) -> String {
    let names: Vec<String> = query.from.iter().map(ToString::to_string).collect();
    format!("[{}]", names.join(", "))
}

fn kafka(topic: &KafkaTopic) -> String {
    let format = match &topic.format {
        StreamFormat::Json => "json".to_owned(),
        StreamFormat::Avro { schemas } => format!("avro {schemas}"),
        StreamFormat::Protobuf { descriptors, message } => format!("protobuf {message} {descriptors}"),
    };
    let start = match topic.start {
        StreamStart::Earliest => "earliest",
        StreamStart::Latest => "latest",
    };
    format!("{}/{} as {format} from {start}", topic.cluster, topic.topic)
}

pub(super) fn view(old: &FeatureView, new: &FeatureView) -> Difference {
    let mut difference = Difference::default();
    if difference.field("entities", &old.entities, &new.entities, |names| format!("[{}]", names.join(", "))) {
        difference.breaks("the entities changed: readers give other keys");
    }
    if difference.field("source", &old.source, &new.source, Clone::clone) {
        difference.breaks("the features are read from another source");
    }
    if difference.field("key_columns", &old.key_columns, &new.key_columns, mapping) {
        difference.breaks("the keys are read from other columns");
    }
    features(&mut difference, (&old.features, &new.features), old.online && new.online);
    difference.training("ttl", &old.ttl, &new.ttl, length);
    difference.field("serve_ttl", &old.serve_ttl, &new.serve_ttl, length);
    difference.training("availability", &old.availability, &new.availability, availability);
    difference.training("bounds.upper", &old.upper, &new.upper, |upper| match upper {
        UpperBound::Inclusive => "inclusive".to_owned(),
        UpperBound::Exclusive => "exclusive".to_owned(),
    });
    difference.training("nulls", &old.nulls, &new.nulls, |nulls| match nulls {
        Nulls::Keep => "keep".to_owned(),
        Nulls::Skip => "skip".to_owned(),
    });
    if difference.field("online", &old.online, &new.online, ToString::to_string) && old.online {
        difference.breaks("the view is no longer served");
    }
    difference
        .field("schedule", &old.schedule, &new.schedule, |schedule| or_none(schedule.as_ref().map(self::schedule)));
    difference.field("freshness", &old.freshness, &new.freshness, |length| or_none(length.map(duration::format)));
    retention(&mut difference, old, new);
    windows(&mut difference, old, new);
    difference.about(&old.about, &new.about);
    difference
}

fn schedule(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Every(micros) => format!("every {}", duration::format(*micros)),
        Schedule::Cron(expression) => format!("cron {expression}"),
        Schedule::OnCommit => "on_commit".to_owned(),
    }
}

/// What a lookup would still have used may go only when that is said twice.
fn retention(difference: &mut Difference, old: &FeatureView, new: &FeatureView) {
    if !difference.field("retention", &old.retention, &new.retention, length) {
        return;
    }
    let lasts = |retention: Option<Micros>| retention.unwrap_or(Micros::MAX);
    if lasts(new.retention) > lasts(old.retention) {
        difference.detail("served rows that were deleted come back with a full refresh");
        return;
    }
    difference.detail("served rows older than the retention are deleted");
    if lasts(new.retention) < lasts(new.serve_ttl) && !new.is_windowed() {
        difference.breaks("lookups no longer find the rows that the retention deletes");
    }
}

/// What is kept of events is what the aggregates needed; others need all events again.
fn windows(difference: &mut Difference, old: &FeatureView, new: &FeatureView) {
    let aggregates = |view: &FeatureView| -> BTreeSet<String> {
        view.features.iter().filter_map(|feature| feature.aggregate.as_ref().map(stored)).collect()
    };
    if old.online && new.online && aggregates(old) != aggregates(new) {
        difference.detail("what is served starts over, empty until the view is materialized");
    }
}

fn stored(aggregate: &Aggregate) -> String {
    let of = aggregate.input.as_ref().map(|input| input.data_type.to_string());
    format!("{aggregate} {}", or_none(of))
}

fn length(micros: &Option<Micros>) -> String {
    micros.map_or_else(|| "unbounded".to_owned(), duration::format)
}

fn availability(availability: &Availability) -> String {
    match availability {
        Availability::Event => "event".to_owned(),
        Availability::Created => "created".to_owned(),
        Availability::Commit => "commit".to_owned(),
        Availability::Delay(micros) => format!("delay {}", duration::format(*micros)),
    }
}

fn mapping(mapping: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = mapping.iter().map(|(key, column)| format!("{key}: {column}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn features(difference: &mut Difference, (old, new): (&[Feature], &[Feature]), served: bool) {
    let in_new = |name: &str| new.iter().find(|feature| feature.name == name);
    let in_old = |name: &str| old.iter().find(|feature| feature.name == name);
    let mut renamed: BTreeSet<&str> = BTreeSet::new();
    for feature in old {
        let name = &feature.name;
        if let Some(other) = in_new(name) {
            self::feature(difference, feature, other, served);
            continue;
        }
        let added = || new.iter().filter(|f| in_old(&f.name).is_none() && !renamed.contains(f.name.as_str()));
        let same = |other: &&Feature| {
            let read =
                |feature: &Feature| (feature.column.clone(), feature.data_type.clone(), feature.aggregate.clone());
            other.renamed_from.is_none() && read(other) == read(feature)
        };
        let named = added().find(|other| other.renamed_from.as_ref() == Some(name));
        match named.or_else(|| added().find(same)) {
            Some(heir) => {
                renamed.insert(&heir.name);
                difference.detail(format!("feature {name} renamed to {}", heir.name));
                difference.breaks(format!("feature `{name}` is now `{}`", heir.name));
                if named.is_some() {
                    self::feature(difference, feature, &Feature { renamed_from: None, ..heir.clone() }, served);
                    if served
                        && (&heir.data_type, &heir.column, &heir.aggregate)
                            == (&feature.data_type, &feature.column, &None)
                    {
                        difference.detail(format!("served values of {name} are those of {}", heir.name));
                    }
                } else if served && feature.aggregate.is_none() {
                    difference
                        .detail(format!("served values stay behind; `renamed_from: {name}` would take them along"));
                }
            }
            None => {
                difference.detail(format!("feature {name} removed"));
                difference.breaks(format!("feature `{name}` removed"));
                if served {
                    difference
                        .detail(format!("served values of {name} are read no more, also where the name comes back"));
                }
            }
        }
    }
    for feature in new.iter().filter(|f| in_old(&f.name).is_none() && !renamed.contains(f.name.as_str())) {
        difference.detail(format!("feature {} added ({})", feature.name, feature.data_type));
        if served && feature.aggregate.is_none() {
            difference.detail(format!(
                "served rows have no {} until they are materialized again, which the next run does in full",
                feature.name
            ));
        }
    }
    let shared = |features: &[Feature], other: &dyn Fn(&str) -> bool| -> Vec<String> {
        features.iter().map(|feature| feature.name.clone()).filter(|name| other(name)).collect()
    };
    if shared(old, &|name| in_new(name).is_some()) != shared(new, &|name| in_old(name).is_some()) {
        difference.detail("features reordered: the order of output columns changes");
    }
}

fn feature(difference: &mut Difference, old: &Feature, new: &Feature, served: bool) {
    let name = &old.name;
    let what = format!("feature {name}");
    if difference.field(&format!("{what} type"), &old.data_type, &new.data_type, ToString::to_string) {
        difference.breaks(format!("the type of feature `{name}` changed"));
        if served && new.aggregate.is_none() {
            difference.detail(match widens(&old.data_type, &new.data_type) {
                true => format!("served values of {name} are read as {}", new.data_type),
                false => format!(
                    "served values of {name} fail until they are materialized again, which the next run does in full"
                ),
            });
        }
    }
    match (&old.aggregate, &new.aggregate) {
        (None, None) => {
            difference.training(&format!("{what} column"), &old.column, &new.column, Clone::clone);
            if served && old.column != new.column {
                difference.detail("what is served starts over, empty until the view is materialized");
            }
        }
        (Some(old), Some(new)) => aggregate(difference, &what, old, new),
        (before, after) => {
            difference.field(&format!("{what} aggregate"), before, after, |aggregate| or_none(aggregate.as_ref()));
            difference.breaks(match after {
                Some(_) => format!("feature `{name}` is computed over a window now"),
                None => format!("feature `{name}` is no longer computed over a window"),
            });
        }
    }
    difference
        .field(&format!("{what} renamed_from"), &old.renamed_from, &new.renamed_from, |name| or_none(name.as_ref()));
    difference.field(&format!("{what} default"), &old.default, &new.default, |value| or_none(value.as_ref()));
    if old.description != new.description {
        difference.detail(format!("{what} description changed"));
    }
}

/// Whether stored values of one type are read as another.
fn widens(stored: &DataType, wanted: &DataType) -> bool {
    matches!(
        (stored, wanted),
        (DataType::Int32, DataType::Int64)
            | (DataType::Float32, DataType::Float64)
            | (DataType::String, DataType::Json)
            | (DataType::Json, DataType::String)
    )
}

fn aggregate(difference: &mut Difference, what: &str, old: &Aggregate, new: &Aggregate) {
    let types = |aggregate: &Aggregate| aggregate.input.as_ref().map(|input| input.data_type.clone());
    if old.to_string() == new.to_string() {
        difference.training(&format!("{what} input"), &types(old), &types(new), |of| or_none(of.as_ref()));
    } else {
        difference.training(&format!("{what} aggregate"), old, new, ToString::to_string);
    }
}

/// A service breaks its readers where an output goes or changes its type, or where a spine needs another column.
pub(super) fn service(old: (&Catalog, &FeatureService), new: (&Catalog, &FeatureService)) -> Difference {
    let mut difference = Difference::default();
    let ((_, before), (_, after)) = (old, new);
    difference.field("includes", &before.includes, &after.includes, |names| format!("[{}]", names.join(", ")));
    difference.field("full_names", &before.full_names, &after.full_names, ToString::to_string);
    for used in before.uses.iter().filter(|used| !after.uses.contains(used)) {
        difference.detail(format!("no longer uses {}", use_text(used)));
    }
    for used in after.uses.iter().filter(|used| !before.uses.contains(used)) {
        difference.detail(format!("uses {}", use_text(used)));
    }
    computed(&mut difference, before, after);
    if difference.details.is_empty() && before.uses != after.uses {
        difference.detail("views reordered: the order of output columns changes");
    }
    let (was, is) = (Interface::of(old.0, before), Interface::of(new.0, after));
    for (output, (data_type, from)) in &was.outputs {
        match is.outputs.get(output) {
            None => difference.breaks(format!("output `{output}` goes away")),
            Some((other, _)) if other != data_type => {
                difference.breaks(format!("the type of output `{output}` changes: {data_type} -> {other}"));
            }
            Some((_, other)) if other != from => {
                difference.breaks(format!("output `{output}` is now `{other}`, was `{from}`"));
            }
            Some(_) => {}
        }
    }
    for column in is.spine.difference(&was.spine) {
        difference.breaks(format!("spines and lookups now need column `{column}`"));
    }
    difference.about(&before.about, &after.about);
    difference
}

fn computed(difference: &mut Difference, before: &FeatureService, after: &FeatureService) {
    let text = |feature: &ComputedFeature| {
        let on_error = match feature.on_error {
            OnError::Failed => "",
            OnError::Null => ", null on error",
        };
        format!("{} as {}{on_error}", feature.expression, feature.data_type)
    };
    for old in &before.computed {
        match after.computed.iter().find(|new| new.name == old.name) {
            None => difference.detail(format!("no longer computes `{}`", old.name)),
            Some(new) => {
                difference.field(&format!("computed `{}`", old.name), old, new, text);
            }
        }
    }
    for new in after.computed.iter().filter(|new| before.computed.iter().all(|old| old.name != new.name)) {
        difference.detail(format!("computes `{}`: {}", new.name, text(new)));
    }
    if difference.details.is_empty() && before.computed != after.computed {
        difference.detail("computed features reordered");
    }
}

fn use_text(used: &ViewUse) -> String {
    let features = used.features.as_ref().map_or_else(String::new, |names| format!(" [{}]", names.join(", ")));
    let alias = used.alias.as_ref().map_or_else(String::new, |alias| format!(" as {alias}"));
    let keys = if used.keys.is_empty() { String::new() } else { format!(" with keys {}", mapping(&used.keys)) };
    format!("{}{features}{alias}{keys}", used.view)
}

/// What readers of a service rely on.
#[derive(Default)]
struct Interface {
    /// By name: the type, and the feature it is with the spine columns it is found by.
    outputs: BTreeMap<String, (String, String)>,
    spine: BTreeSet<String>,
}

impl Interface {
    fn of(catalog: &Catalog, service: &FeatureService) -> Self {
        let mut interface = Self::default();
        let parts = catalog.service_parts(service);
        for feature in &parts.computed {
            let output = (feature.data_type.to_string(), "computed".to_owned());
            interface.outputs.insert(feature.name.clone(), output);
        }
        interface.spine.extend(parts.request.iter().map(|column| column.name.clone()));
        for used in parts.uses {
            let Ok(view) = catalog.resolve_use(&used, service.full_names) else { continue };
            let by: Vec<&str> = view.keys.iter().map(|key| key.spine_column.as_str()).collect();
            for feature in &view.features {
                let from = format!("{}:{} by ({})", view.view.name, feature.feature.name, by.join(", "));
                interface.outputs.insert(feature.output.clone(), (feature.feature.data_type.to_string(), from));
            }
            interface.spine.extend(view.keys.iter().map(|key| key.spine_column.clone()));
        }
        interface
    }
}
