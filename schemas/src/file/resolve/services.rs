//! Feature services: what they use is there, includes end, and every output and spine column has one meaning.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::catalog::{ResolvedView, nearest};
use crate::definition::{Column, ComputedFeature, FeatureService, Kind, OnError, ViewUse};
use crate::file::item::Item;
use crate::file::structure::{did_you_mean, quoted};
use crate::file::v1;
use crate::file::yaml::Step::{self, Field, Index, Key};
use crate::types::DataType;

use super::{Resolver, about, name_fault};

/// How deep services may include services.
const INCLUDES_MAX: usize = 32;

/// Circles searched for; a set of files with more includes that lead into circles has been told enough.
const SEARCHES_MAX: usize = 1_000;

/// What the columns of a request and the computed features are found under in expressions, beside the views.
const SCOPES: [&str; 2] = ["request", "computed"];

/// Names shown of a longer list.
const SHOWN_MAX: usize = 5;

impl Resolver<'_> {
    pub(super) fn services(&mut self) {
        let items = self.items;
        let named = self.named(&items.services);
        let includes: BTreeMap<&str, &[String]> =
            named.iter().map(|item| (item.value.name.as_str(), item.value.includes.as_slice())).collect();
        let depths = depths(&includes);
        let mut includes = Includes { all: includes, depths, searches_left: SEARCHES_MAX };
        let (start, mut circling, mut sound) = (self.reported, None, Vec::new());
        for item in named {
            let before = self.reported;
            let service = self.service(item);
            self.includes(item, &mut includes);
            let depth = includes.depths.get(item.value.name.as_str()).copied();
            circling = circling.or(depth.is_none().then_some(item));
            // Those above it are too deep because this one is.
            if depth == Some(INCLUDES_MAX + 1) {
                let message = format!("services include services more than {INCLUDES_MAX} deep");
                self.report(item, &[Field("includes")], message, Some("list the views themselves".to_owned()));
            }
            if self.reported == before
                && depth.is_some_and(|depth| depth <= INCLUDES_MAX)
                && let Some(service) = service
            {
                self.catalog.services.insert(service.name.clone(), Arc::new(service.clone()));
                sound.push((item, service));
            }
        }
        if let (true, Some(item)) = (self.reported == start, circling) {
            // The searches ran out before they met the circle; without this it would be left out without a word.
            let message = format!("the includes of service `{}` lead into a circle", item.value.name);
            self.report(item, &[Field("includes")], message, None);
        }
        for (item, service) in sound {
            self.outputs(item, &service);
        }
    }

    /// A service, or `None` when a view it uses is not sound.
    fn service(&mut self, item: &Item<v1::FeatureService>) -> Option<FeatureService> {
        let value = &item.value;
        if value.views.is_empty() && value.includes.is_empty() {
            let help = "list what it takes under `views`, or other services under `includes`".to_owned();
            self.report(item, &[], format!("feature service `{}` asks for nothing", value.name), Some(help));
        }
        let uses: Vec<Option<ViewUse>> = (0..value.views.len()).map(|index| self.view_use(item, index)).collect();
        let (request, computed) = (self.request(item), self.computed(item));
        Some(FeatureService {
            name: value.name.clone(),
            includes: value.includes.clone(),
            uses: uses.into_iter().collect::<Option<_>>()?,
            full_names: value.full_names,
            request: request?,
            computed: computed?,
            about: about(&value.description, &value.owner, &value.tags),
        })
    }

    fn view_use(&mut self, item: &Item<v1::FeatureService>, index: usize) -> Option<ViewUse> {
        let used = &item.value.views[index];
        let at = |field| [Field("views"), Index(index), Field(field)];
        if let Some(alias) = &used.alias
            && let Some((message, help)) = name_fault(alias)
        {
            self.report(item, &at("alias"), message, help);
        }
        for (key, column) in &used.keys {
            self.column_name(item, &[Field("views"), Index(index), Field("keys"), Field(key)], column);
        }
        let known = self.refer(item, &at("view"), Kind::FeatureView, &used.view);
        let view = self.catalog.views.get(&used.view).filter(|_| known).cloned()?;
        let keys: Vec<Column> = self.catalog.keys(&view);
        for key in used.keys.keys() {
            let path = [Field("views"), Index(index), Field("keys"), Key(key)];
            self.known_key(item, &path, key, Some(&keys), &format!("feature view `{}`", view.name));
        }
        let names = || view.features.iter().map(|feature| feature.name.as_str());
        let known: BTreeSet<&str> = names().collect();
        let mut seen = BTreeSet::new();
        for (nth, name) in used.features.iter().flatten().enumerate() {
            let path = [Field("views"), Index(index), Field("features"), Index(nth)];
            if !known.contains(name.as_str()) {
                let message = format!("feature view `{}` has no feature `{name}`", view.name);
                let shown: Vec<&str> = names().take(SHOWN_MAX).collect();
                let help = match nearest(name, names()) {
                    Some(near) => did_you_mean(near),
                    None if shown.len() == view.features.len() => format!("it has {}", quoted(&shown, "and")),
                    None => format!("it has {} and others", shown.join(", ")),
                };
                self.report(item, &path, message, Some(help));
            } else if !seen.insert(name) {
                self.report(item, &path, format!("feature `{name}` is given twice"), Some("remove one".to_owned()));
            }
        }
        Some(ViewUse {
            view: used.view.clone(),
            features: used.features.clone(),
            alias: used.alias.clone().filter(|alias| *alias != used.view),
            keys: used.keys.iter().filter(|(key, column)| key != column).map(|(k, v)| (k.clone(), v.clone())).collect(),
        })
    }

    /// The columns a request brings.
    fn request(&mut self, item: &Item<v1::FeatureService>) -> Option<Vec<Column>> {
        let mut columns: Vec<Option<Column>> = Vec::new();
        for (index, column) in item.value.request.iter().enumerate() {
            let at = |field| [Field("request"), Index(index), Field(field)];
            if let Some((message, help)) = name_fault(&column.name) {
                self.report(item, &at("name"), message, help);
            }
            if item.value.request[..index].iter().any(|other| other.name == column.name) {
                let message = format!("request column `{}` is given twice", column.name);
                self.report(item, &at("name"), message, Some("remove one".to_owned()));
            }
            let data_type = self.data_type(item, &at("type"), &column.data_type);
            columns.push(data_type.map(|data_type| Column { name: column.name.clone(), data_type }));
        }
        columns.into_iter().collect()
    }

    /// The features computed from the others; what their expressions mean is for the engine to say.
    fn computed(&mut self, item: &Item<v1::FeatureService>) -> Option<Vec<ComputedFeature>> {
        let mut features: Vec<Option<ComputedFeature>> = Vec::new();
        for (index, feature) in item.value.computed.iter().enumerate() {
            let at = |field| [Field("computed"), Index(index), Field(field)];
            if let Some((message, help)) = name_fault(&feature.name) {
                self.report(item, &at("name"), message, help);
            }
            if feature.expression.trim().is_empty() {
                let help =
                    "write SQL over features and request columns, such as `amount / view.mean_amount`".to_owned();
                self.report(item, &at("expression"), "the expression is empty".to_owned(), Some(help));
            }
            let data_type = self.data_type(item, &at("type"), &feature.data_type);
            features.push(data_type.map(|data_type| ComputedFeature {
                name: feature.name.clone(),
                data_type,
                expression: feature.expression.clone(),
                on_error: match feature.on_error {
                    None | Some(v1::OnError::Failed) => OnError::Failed,
                    Some(v1::OnError::Null) => OnError::Null,
                },
                description: feature.description.clone(),
            }));
        }
        features.into_iter().collect()
    }

    /// Included services are there, each once, and never lead back here.
    fn includes(&mut self, item: &Item<v1::FeatureService>, includes: &mut Includes<'_>) {
        let name = item.value.name.as_str();
        let mut seen = BTreeSet::new();
        for (index, included) in item.value.includes.iter().enumerate() {
            let path = [Field("includes"), Index(index)];
            if !seen.insert(included) {
                self.report(
                    item,
                    &path,
                    format!("service `{included}` is included twice"),
                    Some("remove one".to_owned()),
                );
            } else if self.refer(item, &path, Kind::FeatureService, included)
                && let Some(way) = includes.way_back(included, name)
            {
                // One problem for each circle: at its first service by name.
                if way.iter().all(|other| name <= other.as_str()) {
                    let circle = format!("{name} -> {}", way.join(" -> "));
                    let help = Some("take one of these includes away".to_owned());
                    self.report(item, &path, format!("service `{name}` includes itself: {circle}"), help);
                }
            }
        }
    }

    /// With everything it includes, a service has no two outputs, and no two spine columns, of one name.
    fn outputs(&mut self, item: &Item<v1::FeatureService>, service: &FeatureService) {
        let mut outputs: BTreeMap<String, String> = BTreeMap::new();
        let mut spine: BTreeMap<String, (DataType, String)> = BTreeMap::new();
        let mut aliases: BTreeSet<String> = BTreeSet::new();
        let mut views = Vec::new();
        let parts = self.catalog.service_parts(service);
        for used in parts.uses {
            let own = service.uses.iter().position(|own| *own == used);
            let path: Vec<Step<'_>> = match own {
                Some(index) => vec![Field("views"), Index(index)],
                None => vec![Field("includes")],
            };
            let Ok(view) = self.catalog.resolve_use(&used, service.full_names) else { return };
            if !aliases.insert(view.alias.clone()) {
                let message = format!("`{}` is used twice under one name", view.alias);
                self.report(item, &path, message, Some("give one of the uses an `alias`".to_owned()));
                continue;
            }
            self.clashes(item, &path, &view, &mut outputs);
            for key in &view.keys {
                let by = (key.data_type.clone(), view.alias.clone());
                let (data_type, other) = spine.entry(key.spine_column.clone()).or_insert(by);
                if *data_type != key.data_type {
                    let message = format!(
                        "spine column `{}` would be {} for `{}` and {data_type} for `{other}`",
                        key.spine_column, key.data_type, view.alias
                    );
                    let help = "map one of the keys to a column of its own under `keys`".to_owned();
                    self.report(item, &path, message, Some(help));
                }
            }
            views.push((path, view));
        }
        self.computed_names(item, &parts.request, &parts.computed, &mut outputs, &mut spine, &aliases);
        for (path, view) in views {
            for feature in view.features.iter().filter(|feature| spine.contains_key(&feature.output)) {
                let message = format!("output `{}` of `{}` has the name of a spine column", feature.output, view.alias);
                let help = "set `full_names: true`, or rename the feature".to_owned();
                self.report(item, &path, message, Some(help));
            }
        }
    }

    /// Request columns are spine columns; computed features are outputs, and found under `computed` in expressions.
    fn computed_names(
        &mut self,
        item: &Item<v1::FeatureService>,
        request: &[Column],
        computed: &[ComputedFeature],
        outputs: &mut BTreeMap<String, String>,
        spine: &mut BTreeMap<String, (DataType, String)>,
        aliases: &BTreeSet<String>,
    ) {
        if !computed.is_empty()
            && let Some(taken) = SCOPES.iter().find(|scope| aliases.contains(**scope))
        {
            let message = format!("a view named `{taken}` can't be used beside computed features, which use that name");
            self.report(item, &[Field("computed")], message, Some("give its use an `alias`".to_owned()));
        }
        for column in request {
            let by = (column.data_type.clone(), "the request".to_owned());
            let (data_type, other) = spine.entry(column.name.clone()).or_insert(by);
            if *data_type != column.data_type {
                let (name, wanted) = (&column.name, &column.data_type);
                let message = format!("request column `{name}` is {wanted} here and {data_type} for `{other}`");
                self.report(item, &[Field("request")], message, Some("rename one of them".to_owned()));
            }
        }
        for feature in computed {
            if let Some(other) = outputs.insert(feature.name.clone(), "computed".to_owned()) {
                let message = format!("computed feature `{}` has the name of an output of `{other}`", feature.name);
                self.report(item, &[Field("computed")], message, Some("rename it".to_owned()));
            } else if spine.contains_key(&feature.name) {
                let message = format!("computed feature `{}` has the name of a spine column", feature.name);
                self.report(item, &[Field("computed")], message, Some("rename it".to_owned()));
            }
        }
    }

    fn clashes(
        &mut self,
        item: &Item<v1::FeatureService>,
        path: &[Step<'_>],
        view: &ResolvedView,
        outputs: &mut BTreeMap<String, String>,
    ) {
        let mut clashing: Vec<(&str, String)> = Vec::new();
        for feature in &view.features {
            match outputs.get(&feature.output) {
                Some(other) => clashing.push((&feature.output, other.clone())),
                None => drop(outputs.insert(feature.output.clone(), view.alias.clone())),
            }
        }
        if let Some((_, other)) = clashing.first() {
            let names: Vec<&str> = clashing.iter().map(|(name, _)| *name).take(SHOWN_MAX).collect();
            let more = if clashing.len() > SHOWN_MAX { " and others" } else { "" };
            let message = format!("`{}` and `{other}` both give {}{more}", view.alias, quoted(&names, "and"));
            let help = "set `full_names: true`, or name the wanted `features` of each view".to_owned();
            self.report(item, path, message, Some(help));
        }
    }
}

/// Which services include which.
struct Includes<'a> {
    all: BTreeMap<&'a str, &'a [String]>,
    /// How deep each goes; those that lead into a circle are not here.
    depths: BTreeMap<String, usize>,
    searches_left: usize,
}

impl Includes<'_> {
    /// The shortest way from an included service back to the one that includes it.
    fn way_back(&mut self, included: &str, to: &str) -> Option<Vec<String>> {
        if self.depths.contains_key(included) {
            return None;
        }
        self.searches_left = self.searches_left.checked_sub(1)?;
        way(&self.all, included, to)
    }
}

/// The shortest way along includes, both ends named.
fn way(includes: &BTreeMap<&str, &[String]>, from: &str, to: &str) -> Option<Vec<String>> {
    let mut came: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([includes.get_key_value(from).map(|(name, _)| *name)?]);
    while let Some(at) = queue.pop_front() {
        if at == to {
            let mut way = vec![at.to_owned()];
            let mut at = at;
            while at != from {
                at = came.get(at)?;
                way.push(at.to_owned());
            }
            way.reverse();
            return Some(way);
        }
        for next in includes.get(at).copied().unwrap_or_default() {
            if next != from && !came.contains_key(next.as_str()) {
                came.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    None
}

/// How deep the includes of each service go; services that lead into a circle have no depth.
fn depths(includes: &BTreeMap<&str, &[String]>) -> BTreeMap<String, usize> {
    let mut depths: BTreeMap<String, usize> = BTreeMap::new();
    let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
    let mut included_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut ready: VecDeque<&str> = VecDeque::new();
    for (name, below) in includes {
        let below: BTreeSet<&str> = below.iter().map(String::as_str).filter(|n| includes.contains_key(n)).collect();
        waiting.insert(name, below.len());
        below.iter().for_each(|next| included_by.entry(next).or_default().push(name));
        if below.is_empty() {
            ready.push_back(name);
        }
    }
    while let Some(name) = ready.pop_front() {
        let depth = includes[name].iter().filter_map(|next| depths.get(next)).max().map_or(0, |below| below + 1);
        depths.insert(name.to_owned(), depth);
        for above in included_by.get(name).into_iter().flatten() {
            let left = waiting.entry(above).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 {
                ready.push_back(above);
            }
        }
    }
    depths
}
