//! Feature views.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::nearest;
use crate::definition::{Aggregate, Column, Feature, FeatureView, Kind, Location, Source};
use crate::duration;
use crate::file::item::Item;
use crate::file::structure::{did_you_mean, quoted};
use crate::file::v1;
use crate::file::yaml::Step::{Field, Index, Key};
use crate::time::{Availability, Micros, Nulls, UpperBound};

use super::{KEYS_MAX, Resolver, about, defaults, name_fault};

/// Features that full names would make clash with `view__event_time` and `view__status`.
const RESERVED_FEATURES: [&str; 2] = ["event_time", "status"];

impl Resolver<'_> {
    pub(super) fn views(&mut self) {
        let items = self.items;
        for item in self.named(&items.views) {
            let before = self.reported;
            let view = self.view(item);
            if self.reported == before
                && let Some(view) = view
            {
                self.catalog.views.insert(view.name.clone(), Arc::new(view));
            }
        }
    }

    /// A view, or `None` when something it refers to is not there or not sound; checks all it can either way.
    fn view(&mut self, item: &Item<v1::FeatureView>) -> Option<FeatureView> {
        let value = &item.value;
        let keys = self.view_keys(item);
        let known_source = self.refer(item, &[Field("source")], Kind::Source, &value.source);
        let source = self.catalog.sources.get(&value.source).filter(|_| known_source).cloned();
        let key_columns = self.key_columns(item, keys.as_deref(), source.as_deref());
        let features = self.features(item, keys.as_deref(), source.as_deref());
        let ttl = self.ttl(item, "ttl", value.ttl.as_ref());
        let serve_ttl = self.ttl(item, "serve_ttl", value.serve_ttl.as_ref()).or(ttl);
        let availability = self.availability(item, source.as_deref());
        let upper = match value.bounds.as_ref().map(|bounds| bounds.upper) {
            None | Some(v1::Upper::Inclusive) => UpperBound::Inclusive,
            Some(v1::Upper::Exclusive) => UpperBound::Exclusive,
        };
        let nulls = match value.nulls {
            None | Some(v1::Nulls::Keep) => Nulls::Keep,
            Some(v1::Nulls::Skip) => Nulls::Skip,
        };
        if !self.windowed(item, source.as_deref()) {
            self.servable(item, nulls, source.as_deref());
        }
        let upkeep = self.upkeep(item, serve_ttl, &features);
        (keys.is_some() && source.is_some()).then(|| FeatureView {
            name: value.name.clone(),
            entities: value.entities.clone(),
            source: value.source.clone(),
            key_columns,
            features,
            ttl,
            serve_ttl,
            availability,
            upper,
            nulls,
            online: value.online,
            schedule: upkeep.schedule,
            freshness: upkeep.freshness,
            retention: upkeep.retention,
            about: about(&value.description, &value.owner, &value.tags),
        })
    }

    /// Reports what makes a served view one that lookups would answer wrongly: they hold the newest row of an entity alone.
    fn servable(&mut self, item: &Item<v1::FeatureView>, nulls: Nulls, source: Option<&Source>) {
        if !item.value.online {
            return;
        }
        let help = "write `online: false`, which leaves the view to training sets";
        if nulls == Nulls::Skip {
            let message = "a view with `nulls: skip` can't be served: lookups know the newest observation alone";
            self.report(item, &[Field("nulls")], message, Some(help.to_owned()));
        }
        if let Some(source) = source.filter(|source| source.valid_to.is_some()) {
            let message = format!("the rows of source `{}` end, and lookups would serve them after that", source.name);
            self.report(item, &[Field("source")], message, Some(help.to_owned()));
        }
    }

    /// The keys of the view's entities; `None` when one of those is not there or not sound.
    fn view_keys(&mut self, item: &Item<v1::FeatureView>) -> Option<Vec<Column>> {
        if item.value.entities.len() > KEYS_MAX {
            let message = format!("{} entities are too many; {KEYS_MAX} is the limit", item.value.entities.len());
            self.report(item, &[Field("entities")], message, None);
            return None;
        }
        let mut keys: Vec<Column> = Vec::new();
        let mut complete = true;
        for (index, name) in item.value.entities.iter().enumerate() {
            let at = [Field("entities"), Index(index)];
            if item.value.entities[..index].contains(name) {
                self.report(item, &at, format!("entity `{name}` is given twice"), Some("remove one".to_owned()));
                continue;
            }
            let known = self.refer(item, &at, Kind::Entity, name);
            let Some(entity) = self.catalog.entities.get(name).filter(|_| known).cloned() else {
                complete = false;
                continue;
            };
            for key in &entity.keys {
                if keys.iter().any(|other| other.name == key.name) {
                    let message =
                        format!("key `{}` of entity `{name}` is a key of another of these entities", key.name);
                    self.report(item, &at, message, Some("give the keys different names".to_owned()));
                }
                keys.push(key.clone());
            }
        }
        complete.then_some(keys)
    }

    /// The columns of keys that are not named alike.
    fn key_columns(
        &mut self,
        item: &Item<v1::FeatureView>,
        keys: Option<&[Column]>,
        source: Option<&Source>,
    ) -> BTreeMap<String, String> {
        let mapping = &item.value.key_columns;
        let mut mapped = BTreeMap::new();
        for (key, column) in mapping {
            self.known_key(item, &[Field("key_columns"), Key(key)], key, keys, "the view's entities");
            self.column_name(item, &[Field("key_columns"), Field(key)], column);
            if key != column {
                mapped.insert(key.clone(), column.clone());
            }
        }
        let mut by_column: BTreeMap<&str, &str> = BTreeMap::new();
        for key in keys.unwrap_or_default() {
            let column = mapped.get(&key.name).map_or(key.name.as_str(), String::as_str);
            let path = [Field("key_columns"), Field(key.name.as_str())];
            let path = if mapping.contains_key(&key.name) { &path[..] } else { &[Field("entities")][..] };
            let time = source.and_then(|source| time_column(source, column));
            if let Some(time) = time {
                let message = format!("column `{column}` is the source's {time} and can't hold key `{}`", key.name);
                self.report(item, path, message, None);
            }
            if let Some(other) = by_column.insert(column, &key.name)
                && other != key.name
            {
                let message = format!("keys `{other}` and `{}` are both read from column `{column}`", key.name);
                let help = "map them to different columns under `key_columns`".to_owned();
                self.report(item, path, message, Some(help));
            }
        }
        mapped
    }

    /// Reports a key that none of the entities has.
    pub(super) fn known_key<T: crate::file::item::Named>(
        &mut self,
        item: &Item<T>,
        path: &[crate::file::yaml::Step<'_>],
        key: &str,
        keys: Option<&[Column]>,
        of: &str,
    ) {
        let Some(keys) = keys else { return };
        if keys.iter().any(|known| known.name == key) {
            return;
        }
        let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        let help = match nearest(key, names.iter().copied()) {
            Some(near) => did_you_mean(near),
            None if names.is_empty() => "the view has no entities, so it has no keys".to_owned(),
            None => format!("the keys are {}", quoted(&names, "and")),
        };
        self.report(item, path, format!("`{key}` is not a key of {of}"), Some(help));
    }

    fn features(
        &mut self,
        item: &Item<v1::FeatureView>,
        keys: Option<&[Column]>,
        source: Option<&Source>,
    ) -> Vec<Feature> {
        if item.value.features.is_empty() {
            self.report(item, &[Field("features")], "a feature view needs at least one feature", None);
        }
        let mut seen = BTreeSet::new();
        let mut features = Vec::new();
        for (index, feature) in item.value.features.iter().enumerate() {
            if !seen.insert(feature.name.as_str()) {
                let path = [Field("features"), Index(index), Field("name")];
                let message = format!("feature `{}` is given twice in this view", feature.name);
                self.report(item, &path, message, Some("rename or remove one of them".to_owned()));
            }
            self.feature_name(item, index, keys, source);
            features.extend(self.feature(item, index, source));
        }
        self.older_names(item);
        let aggregates: Vec<&Aggregate> = features.iter().filter_map(|feature| feature.aggregate.as_ref()).collect();
        self.hops(item, &aggregates);
        features
    }

    /// A feature's name becomes a column beside the spine's keys and times.
    fn feature_name(
        &mut self,
        item: &Item<v1::FeatureView>,
        index: usize,
        keys: Option<&[Column]>,
        source: Option<&Source>,
    ) {
        let name = &item.value.features[index].name;
        let path = [Field("features"), Index(index), Field("name")];
        let rename = || Some(format!("give it another name and write `column: {name}`"));
        if let Some((message, help)) = name_fault(name) {
            let help = help.map(|help| format!("{help}, and `column:` for the column as it is"));
            self.report(item, &path, message, help);
        } else if keys.unwrap_or_default().iter().any(|key| key.name == *name) {
            self.report(item, &path, format!("feature `{name}` has the name of a key of this view"), rename());
        } else if let Some(time) = source.and_then(|source| time_column(source, name)) {
            self.report(item, &path, format!("feature `{name}` has the name of the source's {time}"), rename());
        } else if RESERVED_FEATURES.contains(&name.as_str()) {
            let message = format!("`{name}` can't be a feature's name: `{}__{name}` has a meaning", item.value.name);
            self.report(item, &path, message, rename());
        }
    }

    /// The names that features had: none is a feature's now, and no two had the same.
    fn older_names(&mut self, item: &Item<v1::FeatureView>) {
        let features = &item.value.features;
        let present: BTreeSet<&str> = features.iter().map(|feature| feature.name.as_str()).collect();
        let mut first: BTreeMap<&str, &str> = BTreeMap::new();
        for (index, feature) in features.iter().enumerate() {
            let Some(older) = &feature.renamed_from else { continue };
            let path = [Field("features"), Index(index), Field("renamed_from")];
            if let Some((message, help)) = name_fault(older) {
                self.report(item, &path, message, help);
            } else if *older == feature.name {
                let help = "leave `renamed_from` out, or name what the feature was called before".to_owned();
                self.report(item, &path, format!("`{older}` is the feature's present name"), Some(help));
            } else if present.contains(older.as_str()) {
                let message = format!("feature `{older}` is still there, so `{}` can't have its values", feature.name);
                let help = "remove that feature, or leave `renamed_from` out".to_owned();
                self.report(item, &path, message, Some(help));
            } else if let Some(other) = first.insert(older, &feature.name) {
                let message = format!("`{other}` was renamed from `{older}` as well");
                self.report(item, &path, message, Some("one feature can have those values".to_owned()));
            }
        }
    }

    fn feature(&mut self, item: &Item<v1::FeatureView>, index: usize, source: Option<&Source>) -> Option<Feature> {
        let feature = &item.value.features[index];
        let at = |field| [Field("features"), Index(index), Field(field)];
        if let Some(column) = &feature.column {
            self.column_name(item, &at("column"), column);
        }
        let data_type = self.data_type(item, &at("type"), &feature.data_type);
        let aggregate = match &feature.aggregate {
            Some(written) => Some(self.aggregate(item, index, written, data_type.as_ref())?),
            None => None,
        };
        let data_type = data_type?;
        let default = feature.default.as_ref().map(|value| defaults::canonical(value, &data_type));
        let default = default.transpose().map_err(|message| self.report(item, &at("default"), message, None)).ok()?;
        let column = match aggregate.as_ref().map(|aggregate| &aggregate.input) {
            Some(Some(input)) => input.name.clone(),
            Some(None) => source.map(|source| source.event_time.clone()).unwrap_or_default(),
            None => feature.column.clone().unwrap_or_else(|| feature.name.clone()),
        };
        Some(Feature {
            name: feature.name.clone(),
            column,
            data_type,
            aggregate,
            renamed_from: feature.renamed_from.clone(),
            default,
            description: feature.description.clone(),
        })
    }

    fn ttl(
        &mut self,
        item: &Item<v1::FeatureView>,
        field: &'static str,
        text: Option<&v1::DurationText>,
    ) -> Option<Micros> {
        match duration::parse(&text?.0) {
            Ok(0) => {
                let message = format!("{field}: {} is not unbounded", text?.0);
                self.report(item, &[Field(field)], message, Some(format!("leave {field} out for unbounded")));
                None
            }
            Ok(micros) => Some(micros),
            Err(error) => {
                self.report(item, &[Field(field)], format!("{field}: {error}"), None);
                None
            }
        }
    }

    fn availability(&mut self, item: &Item<v1::FeatureView>, source: Option<&Source>) -> Availability {
        let path = [Field("availability")];
        let created = source.and_then(|source| source.created_time.as_ref());
        match &item.value.availability {
            None if created.is_some() => Availability::Created,
            None | Some(v1::Availability::Event) => Availability::Event,
            Some(v1::Availability::Created) => {
                if let (Some(source), None) = (source, created) {
                    let message =
                        format!("source `{}` has no created time, so nothing would ever be known", source.name);
                    let help = "give the source a `created_time`, or choose `event`, `commit` or `{delay: …}`";
                    self.report(item, &path, message, Some(help.to_owned()));
                }
                Availability::Created
            }
            Some(v1::Availability::Commit) => {
                let without = match source.map(|source| &source.location) {
                    Some(Location::Parquet(_)) => Some("a folder of Parquet files has no commits"),
                    Some(Location::Query(_)) => Some("what a query gives has no commits of its own"),
                    Some(Location::Managed | Location::Delta(_)) | None => None,
                };
                if let Some(without) = without {
                    let message = format!("{without} to take the time from");
                    let help = "choose `event`, `created` or `{delay: …}`, or make the table a Delta table";
                    self.report(item, &path, message, Some(help.to_owned()));
                }
                Availability::Commit
            }
            Some(v1::Availability::Delay(text)) => match duration::parse(&text.0) {
                Ok(micros) => Availability::Delay(micros),
                Err(error) => {
                    self.report(item, &[Field("availability"), Field("delay")], format!("delay: {error}"), None);
                    Availability::Event
                }
            },
        }
    }
}

/// What a column is to its source's time, if anything.
pub(super) fn time_column(source: &Source, column: &str) -> Option<&'static str> {
    if column == source.event_time {
        Some(if source.valid_to.is_some() { "start of validity" } else { "event time" })
    } else if source.valid_to.as_deref() == Some(column) {
        Some("end of validity")
    } else if source.created_time.as_deref() == Some(column) {
        Some("created time")
    } else {
        None
    }
}
