//! Features over windows: the function fits the column, the type fits the function, the hop fits the window.

use std::collections::BTreeSet;

use crate::catalog::nearest;
use crate::definition::aggregate::{SHARES, default_hop};
use crate::definition::{Aggregate, Column, Function, Kind, Source};
use crate::duration;
use crate::file::item::Item;
use crate::file::structure::{did_you_mean, with_article};
use crate::file::v1;
use crate::file::yaml::Step::{Field, Index};
use crate::time::Micros;
use crate::types::DataType;

use super::{PROBLEMS_KEPT, Resolver, words};

/// The shortest hop.
const HOP_MIN: Micros = 1_000_000;

/// The longest window: a hundred years.
const WINDOW_MAX: Micros = 36_500 * 86_400_000_000;

/// The values that `last_n` and `top_k` give.
const N_MAX: u32 = 1_000;

/// Different hops in one view.
const HOPS_MAX: usize = 16;

impl Resolver<'_> {
    /// Gathers what is said of the columns of sources, by themselves and by the keys and plain features of views.
    pub(super) fn column_types(&mut self) {
        let items = self.items;
        for source in self.catalog.sources.values() {
            let mut say = |column: &str, data_type: DataType| {
                self.column_types.entry((source.name.clone(), column.to_owned())).or_insert(data_type);
            };
            say(&source.event_time, DataType::Timestamp);
            source.valid_to.iter().chain(&source.created_time).for_each(|time| say(time, DataType::Timestamp));
            source.columns.iter().for_each(|column| say(&column.name, column.data_type.clone()));
        }
        for view in items.views.iter().map(|item| &item.value) {
            let mut say = |column: &str, data_type: DataType| {
                self.column_types.entry((view.source.clone(), column.to_owned())).or_insert(data_type);
            };
            let entities = view.entities.iter().filter_map(|name| self.catalog.entities.get(name));
            for key in entities.flat_map(|entity| &entity.keys) {
                say(view.key_columns.get(&key.name).unwrap_or(&key.name), key.data_type.clone());
            }
            for feature in view.features.iter().filter(|feature| feature.aggregate.is_none()) {
                if let Ok(data_type) = words::data_type(&feature.data_type.0) {
                    say(feature.column.as_ref().unwrap_or(&feature.name), data_type);
                }
            }
        }
    }

    /// Whether a view has windows; reports what such a view can't have.
    pub(super) fn windowed(&mut self, item: &Item<v1::FeatureView>, source: Option<&Source>) -> bool {
        let value = &item.value;
        let windows = value.features.iter().filter(|feature| feature.aggregate.is_some()).count();
        if windows == 0 {
            return false;
        }
        let odd = value.features.iter().position(|feature| feature.aggregate.is_none());
        if let Some(odd) = odd {
            let message =
                format!("feature `{}` has no window, and others of this view have one", value.features[odd].name);
            let help = "give it an `aggregate`, such as `last`, or a view of its own".to_owned();
            self.report(item, &[Field("features"), Index(odd)], message, Some(help));
        }
        for (field, given) in [("ttl", value.ttl.is_some()), ("serve_ttl", value.serve_ttl.is_some())] {
            if given {
                let message = format!("`{field}` means nothing to windows: what is too old has left them");
                self.report(item, &[Field(field)], message, Some("leave it out".to_owned()));
            }
        }
        if value.nulls == Some(v1::Nulls::Skip) {
            let message = "`nulls: skip` means nothing to windows: they leave nulls out";
            self.report(item, &[Field("nulls")], message, Some("leave it out".to_owned()));
        }
        if let Some(source) = source.filter(|source| source.valid_to.is_some()) {
            let message = format!("the rows of source `{}` hold for a time, and windows are over events", source.name);
            let help = "name a source that has an `event_time`".to_owned();
            self.report(item, &[Field("source")], message, Some(help));
        }
        true
    }

    /// An aggregate, checked against the type that the feature is said to have.
    pub(super) fn aggregate(
        &mut self,
        item: &Item<v1::FeatureView>,
        index: usize,
        written: &v1::Aggregate,
        data_type: Option<&DataType>,
    ) -> Option<Aggregate> {
        let before = self.reported;
        if let Some(column) = &item.value.features[index].column {
            let help = format!("write `aggregate: {{fn: …, column: {column}, …}}`");
            let path = [Field("features"), Index(index), Field("column")];
            self.report(item, &path, "the column of an aggregate stands inside it", Some(help));
        }
        let function = self.function(item, index, written);
        let window = self.window(item, index, written);
        let hop = window.and_then(|window| self.hop(item, index, written, window));
        let input = function.and_then(|function| self.input(item, index, written, function));
        if let (Some(function), Some(input), Some(data_type)) = (function, &input, data_type) {
            self.output(item, index, (function, input.as_ref()), data_type);
        }
        let (function, window, hop, input) = (function?, window?, hop?, input?);
        (self.reported == before).then_some(Aggregate { function, input, window, hop })
    }

    /// The function with its parameter.
    fn function(&mut self, item: &Item<v1::FeatureView>, index: usize, written: &v1::Aggregate) -> Option<Function> {
        let n = written.n.and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=N_MAX).contains(n));
        let share = written.p.and_then(share);
        let function = match written.function {
            v1::Function::Count => Some(Function::Count),
            v1::Function::Sum => Some(Function::Sum),
            v1::Function::Mean => Some(Function::Mean),
            v1::Function::Min => Some(Function::Min),
            v1::Function::Max => Some(Function::Max),
            v1::Function::Var => Some(Function::Var),
            v1::Function::Std => Some(Function::Std),
            v1::Function::First => Some(Function::First),
            v1::Function::Last => Some(Function::Last),
            v1::Function::DistinctCount => Some(Function::DistinctCount),
            v1::Function::LastN => n.map(Function::LastN),
            v1::Function::TopK => n.map(Function::TopK),
            v1::Function::Percentile => share.map(Function::Percentile),
        };
        let (takes_n, takes_p) = match written.function {
            v1::Function::LastN | v1::Function::TopK => (true, false),
            v1::Function::Percentile => (false, true),
            _ => (false, false),
        };
        let name = word(written.function);
        self.parameter(item, index, ("n", written.n.is_some(), takes_n && n.is_none()), takes_n, name);
        self.parameter(item, index, ("p", written.p.is_some(), takes_p && share.is_none()), takes_p, name);
        function
    }

    /// A parameter is there where the function takes it, and only there. `(name, given, wrong)`.
    fn parameter(
        &mut self,
        item: &Item<v1::FeatureView>,
        index: usize,
        (name, given, wrong): (&'static str, bool, bool),
        takes: bool,
        function: &str,
    ) {
        let expected = match name {
            "n" => format!("a whole number from 1 to {N_MAX}"),
            _ => format!("a number above 0 and below 1 in steps of {}", 1.0 / f64::from(SHARES)),
        };
        let aggregate = [Field("features"), Index(index), Field("aggregate")];
        let inside = [aggregate[0], aggregate[1], aggregate[2], Field(name)];
        if given && !takes {
            self.report(item, &inside, format!("`{function}` takes no `{name}`"), Some("leave it out".to_owned()));
        } else if given && wrong {
            self.report(item, &inside, format!("`{name}` must be {expected}"), None);
        } else if wrong {
            self.report(item, &aggregate, format!("`{function}` needs `{name}`, {expected}"), None);
        }
    }

    /// The window's length; the inner `None` reaches back to the first observation.
    fn window(
        &mut self,
        item: &Item<v1::FeatureView>,
        index: usize,
        written: &v1::Aggregate,
    ) -> Option<Option<Micros>> {
        let text = &written.window.0;
        let path = [Field("features"), Index(index), Field("aggregate"), Field("window")];
        if text == "all" {
            return Some(None);
        }
        let window = self.positive(item, &path, &v1::DurationText(text.clone()))?;
        if window > WINDOW_MAX {
            let message = format!("a window of {text} is too long; {} is the limit", duration::format(WINDOW_MAX));
            self.report(item, &path, message, Some("write `window: all` for all there is".to_owned()));
            return None;
        }
        Some(Some(window))
    }

    fn hop(
        &mut self,
        item: &Item<v1::FeatureView>,
        index: usize,
        written: &v1::Aggregate,
        window: Option<Micros>,
    ) -> Option<Micros> {
        let aggregate = [Field("features"), Index(index), Field("aggregate")];
        let inside = [aggregate[0], aggregate[1], aggregate[2], Field("hop")];
        let hop = match &written.hop {
            Some(text) => self.positive(item, &inside, text)?,
            None => default_hop(window),
        };
        let shown = duration::format(hop);
        if window.is_none() && written.hop.is_some() {
            let message = "`hop` means nothing to `window: all`, which has no start to round";
            self.report(item, &inside, message, Some("leave it out".to_owned()));
        }
        if hop < HOP_MIN {
            let help = format!("`{}` is the shortest", duration::format(HOP_MIN));
            self.report(item, &inside, format!("a hop of {shown} is too short"), Some(help));
            return None;
        }
        let longest = window.unwrap_or(WINDOW_MAX);
        if hop <= longest {
            return Some(hop);
        }
        let window = duration::format(longest);
        if written.hop.is_some() {
            let message = format!("a hop of {shown} is longer than {window}, the window");
            self.report(item, &inside, message, Some("windows are rounded to the hop: choose a small part".to_owned()));
        } else {
            let message = format!("a window of {window} needs a `hop`: the usual one, {shown}, is longer");
            let help = "windows are rounded to the hop: give a small part of the window".to_owned();
            self.report(item, &aggregate, message, Some(help));
        }
        None
    }

    /// The column with its type; the inner `None` is that of a count of rows.
    fn input(
        &mut self,
        item: &Item<v1::FeatureView>,
        index: usize,
        written: &v1::Aggregate,
        function: Function,
    ) -> Option<Option<Column>> {
        let aggregate = [Field("features"), Index(index), Field("aggregate")];
        let Some(column) = &written.column else {
            if function == Function::Count {
                return Some(None);
            }
            self.report(item, &aggregate, format!("`{}` needs a `column`", function.name()), None);
            return None;
        };
        let inside = [aggregate[0], aggregate[1], aggregate[2], Field("column")];
        self.column_name(item, &inside, column);
        let source = &item.value.source;
        if let Some(data_type) = self.column_types.get(&(source.clone(), column.clone())) {
            return Some(Some(Column { name: column.clone(), data_type: data_type.clone() }));
        }
        // Where something was not understood, it may have said so.
        let unsure = self.items.incomplete || self.items.broken.iter().any(|(kind, _)| *kind == Kind::FeatureView);
        if self.catalog.sources.contains_key(source) && !unsure {
            let of_source = (source.clone(), String::new())..;
            let known = self.column_types.range(of_source).take_while(|((of, _), _)| of == source);
            let known = known.map(|((_, column), _)| column.as_str());
            let near = if self.problems.len() < PROBLEMS_KEPT { nearest(column, known) } else { None };
            let declare = format!("declare it under the `columns` of source `{source}`");
            let help = match near {
                Some(near) => format!("{} If not, {declare}", did_you_mean(near)),
                None => declare,
            };
            self.report(item, &inside, format!("nothing says the type of column `{column}`"), Some(help));
        }
        None
    }

    /// Compares the type a feature is said to have with the one its function gives.
    fn output(
        &mut self,
        item: &Item<v1::FeatureView>,
        index: usize,
        (function, input): (Function, Option<&Column>),
        data_type: &DataType,
    ) {
        let name = function.name();
        let (output, of) = match input {
            Some(input) => (function.output(&input.data_type), format!("of {}", input.data_type)),
            None => (Some(DataType::Int64), "of rows".to_owned()),
        };
        match (output, input) {
            (Some(output), _) if output == *data_type => {}
            (Some(output), _) => {
                let path = [Field("features"), Index(index), Field("type")];
                let message = format!("`{name}` {of} is {output}, not {data_type}");
                let text = output.to_string();
                let text = if text.contains(',') { format!("\"{text}\"") } else { text };
                self.report(item, &path, message, Some(format!("write `type: {text}`")));
            }
            (None, Some(input)) => {
                let path = [Field("features"), Index(index), Field("aggregate"), Field("column")];
                let of = with_article(&input.data_type.to_string());
                let message = format!("column `{}` is {of}, and `{name}` can't be computed of that", input.name);
                self.report(item, &path, message, Some(takes(function).to_owned()));
            }
            (None, None) => {}
        }
    }

    /// Reports a view whose windows have more hops than its stored form can tell apart.
    pub(super) fn hops(&mut self, item: &Item<v1::FeatureView>, aggregates: &[&Aggregate]) {
        let hops: BTreeSet<Micros> = aggregates.iter().map(|aggregate| aggregate.hop).collect();
        if hops.len() > HOPS_MAX {
            let message = format!("the windows of this view have {} hops; {HOPS_MAX} is the limit", hops.len());
            let help = "let windows share hops, or make several views of it".to_owned();
            self.report(item, &[Field("features")], message, Some(help));
        }
    }
}

/// A function's name as files have it.
fn word(function: v1::Function) -> &'static str {
    match function {
        v1::Function::Count => "count",
        v1::Function::Sum => "sum",
        v1::Function::Mean => "mean",
        v1::Function::Min => "min",
        v1::Function::Max => "max",
        v1::Function::Var => "var",
        v1::Function::Std => "std",
        v1::Function::First => "first",
        v1::Function::Last => "last",
        v1::Function::LastN => "last_n",
        v1::Function::DistinctCount => "distinct_count",
        v1::Function::Percentile => "percentile",
        v1::Function::TopK => "top_k",
    }
}

/// A share in whole [`SHARES`], if it is some of them and not all.
// Checked to be a whole number in range before it is cast.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn share(p: f64) -> Option<u32> {
    let shares = p * f64::from(SHARES);
    let whole = shares.round();
    let fits = (shares - whole).abs() < 1e-6 && whole >= 1.0 && whole < f64::from(SHARES);
    fits.then_some(whole as u32)
}

/// What a function that not every type suits takes.
fn takes(function: Function) -> &'static str {
    match function {
        Function::Sum | Function::Mean | Function::Var | Function::Std | Function::Percentile(_) => {
            "it takes int32, int64, float32, float64 and decimal"
        }
        Function::Min | Function::Max => "it takes no lists, vectors, structs, maps and json",
        _ => "it takes no lists, vectors, structs and maps",
    }
}
