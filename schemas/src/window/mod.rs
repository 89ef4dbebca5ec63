//! Windows: aggregates of events over time, from partial aggregates that both tiers make, keep and merge alike.
//!
//! Parts, in the order data moves: [`Windows`] says what a view's aggregates need · a [`Group`] of aggregates with one hop has a
//! pyramid of tiles · [`cover`](Group::cover) says which tiles make up a window · a [`Tile`] holds one [`Partial`] for each
//! [`Spec`] of its group, takes [`Value`]s in, merges, and has bytes (`codec`) · [`Windows::finish`] makes the aggregate of a
//! merged partial.
//!
//! ```text
//! event  -> tiles_of(e): one tile of each level        add(values)
//! window -> cover(w, t): few tiles in order of time    merge one after the other, then finish
//! ```
//! Nothing here does I/O or knows the clock. The value at `t` covers events with `round_down(t - window, hop) < e <= t`, if no tile
//! holds an event later than `t`: the tile of the head is taken whole.

mod bins;
mod codec;
mod cover;
mod distinct;
mod double;
mod partial;
mod ranked;
mod run;
mod top;
mod value;

#[cfg(test)]
mod tests;

pub use bins::RELATIVE_ERROR;
pub use codec::BadTile;
pub use cover::{Cover, TileId, base_tile, tail};
pub use distinct::EXACT as DISTINCT_EXACT;
pub use partial::{Kind, Partial, Spec};
pub use run::Run;
pub use top::KEPT as TOP_KEPT;
pub use value::{Class, Value};

use crate::definition::{Aggregate, Column, FeatureView, Function};
use crate::time::Micros;
use crate::types::DataType;

/// An aggregate that can't be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{function} can't be computed of {}", .input.as_ref().map_or_else(|| "events".to_owned(), DataType::to_string))]
pub struct Unsupported {
    /// The function.
    pub function: Function,
    /// The type of its input.
    pub input: Option<DataType>,
}

/// The aggregates of a view, taken apart into what is kept of its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    inputs: Vec<Column>,
    groups: Vec<Group>,
    features: Vec<Feature>,
}

/// Aggregates that share tiles: those of one hop, or those of all time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The width of a base tile; `None` for the one tile of all time.
    pub hop: Option<Micros>,
    /// The level of the largest tiles.
    pub top: u8,
    /// The partial aggregates of a tile, in order.
    pub specs: Vec<Spec>,
}

/// How one feature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// The function.
    pub function: Function,
    /// The group its tiles are of.
    pub group: usize,
    /// Which of a tile's partials.
    pub partial: usize,
    /// The window; `None` is everything.
    pub window: Option<Micros>,
}

/// An aggregate's value. A view's type of the feature says what its class stands for.
#[derive(Debug, Clone)]
pub enum Answer<'a> {
    /// There is none: the window is empty, or holds too little.
    Null,
    /// A sum that its type can't hold. Readers give no value for it.
    OutOfRange,
    /// One value.
    Value(Value<'a>),
    /// Several, none of them null.
    List(Vec<Value<'a>>),
}

impl Answer<'_> {
    fn int(value: i128) -> Self {
        i64::try_from(value).map_or(Self::OutOfRange, |value| Self::Value(Value::Int(value)))
    }

    /// What is computed is one NaN, whichever came of the order of the terms.
    fn float(value: f64) -> Self {
        Self::Value(Value::Float(if value.is_nan() { f64::NAN } else { value }))
    }

    fn decimal(value: i128) -> Self {
        match value.unsigned_abs() < 10_u128.pow(DECIMAL_DIGITS) {
            true => Self::Value(Value::Decimal(value)),
            false => Self::OutOfRange,
        }
    }
}

/// The digits of the widest decimal.
const DECIMAL_DIGITS: u32 = 38;

impl Windows {
    /// What the features of a view need; `None` for a view without aggregates.
    ///
    /// # Errors
    /// A function that can't be computed of its input's type.
    pub fn of(view: &FeatureView) -> Result<Option<Self>, Unsupported> {
        let aggregates: Option<Vec<&Aggregate>> =
            view.features.iter().map(|feature| feature.aggregate.as_ref()).collect();
        aggregates.map(Self::new).transpose()
    }

    /// What these aggregates, one for each feature, need.
    ///
    /// # Errors
    /// A function that can't be computed of its input's type.
    pub fn new<'a>(aggregates: impl IntoIterator<Item = &'a Aggregate>) -> Result<Self, Unsupported> {
        let mut windows = Self { inputs: Vec::new(), groups: Vec::new(), features: Vec::new() };
        for aggregate in aggregates {
            let feature = windows.feature(aggregate)?;
            windows.features.push(feature);
        }
        Ok(windows)
    }

    fn feature(&mut self, aggregate: &Aggregate) -> Result<Feature, Unsupported> {
        let Aggregate { function, input, window, hop } = aggregate;
        let data_type = input.as_ref().map(|input| &input.data_type);
        let fits = match data_type {
            None => *function == Function::Count,
            Some(data_type) => function.output(data_type).is_some(),
        };
        if !fits {
            return Err(Unsupported { function: *function, input: data_type.cloned() });
        }
        let spec = Spec {
            kind: Kind::of(*function),
            input: input.as_ref().map(|input| position_or_push(&mut self.inputs, input)),
            class: data_type.and_then(Class::of).unwrap_or(Class::Bytes),
            scale: if let Some(DataType::Decimal(_, scale)) = data_type { *scale } else { 0 },
        };
        let hop = window.map(|_| (*hop).max(1));
        let group = self.groups.iter().position(|group| group.hop == hop).unwrap_or_else(|| {
            self.groups.push(Group { hop, top: 0, specs: Vec::new() });
            self.groups.len() - 1
        });
        let tiles = &mut self.groups[group];
        if let (Some(window), Some(hop)) = (window, hop) {
            tiles.top = tiles.top.max(cover::top_level(window / hop));
        }
        let partial = position_or_push(&mut tiles.specs, &spec);
        Ok(Feature { function: *function, group, partial, window: *window })
    }

    /// The columns that events bring, each once.
    #[must_use]
    pub fn inputs(&self) -> &[Column] {
        &self.inputs
    }

    /// The kinds of tiles there are.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// How each feature is made, in the order of the aggregates.
    #[must_use]
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// The tiles that make up a feature's window at a time.
    #[must_use]
    pub fn cover(&self, feature: usize, at: Micros) -> Cover {
        let Feature { group, window, .. } = self.features[feature];
        self.groups[group].cover(window, at)
    }

    /// The value of a feature, from its partial merged over its window.
    #[must_use]
    pub fn finish<'a>(&self, feature: usize, merged: &'a Partial) -> Answer<'a> {
        let Feature { group, partial, function, .. } = self.features[feature];
        merged.finish(&self.groups[group].specs[partial], function)
    }

    /// The spec of a feature's partial.
    #[must_use]
    pub fn spec(&self, feature: usize) -> &Spec {
        let Feature { group, partial, .. } = self.features[feature];
        &self.groups[group].specs[partial]
    }
}

fn position_or_push<T: PartialEq + Clone>(list: &mut Vec<T>, item: &T) -> usize {
    list.iter().position(|known| known == item).unwrap_or_else(|| {
        list.push(item.clone());
        list.len() - 1
    })
}

impl Group {
    /// The tiles an event belongs to: one of each level.
    pub fn tiles_of(&self, event: Micros) -> impl Iterator<Item = TileId> + use<> {
        let base = self.hop.map_or(0, |hop| base_tile(event, hop));
        (0..=self.top).map(move |level| cover::at_level(base, level))
    }

    /// The tiles of a window at a time, in the order of time; each level is taken in at most twice.
    ///
    /// The window is one of the group's: a longer one takes more tiles than it has to.
    #[must_use]
    pub fn cover(&self, window: Option<Micros>, at: Micros) -> Cover {
        match (self.hop, window) {
            (Some(hop), Some(window)) => Cover::of_window(window, hop, self.top, at),
            _ => Cover::of_everything(),
        }
    }

    /// The tile of no events.
    #[must_use]
    pub fn tile(&self) -> Tile {
        Tile { partials: self.specs.iter().map(Spec::empty).collect() }
    }

    /// Reads what [`Tile::encode`] wrote for a group with the same specs.
    ///
    /// # Errors
    /// [`BadTile`] for any other bytes.
    pub fn decode(&self, bytes: &[u8]) -> Result<Tile, BadTile> {
        Ok(Tile { partials: codec::decode(&self.specs, bytes)? })
    }
}

/// The partial aggregates of the events of one tile: one for each spec of its group, in order.
#[derive(Debug, Clone)]
pub struct Tile {
    /// The partials.
    pub partials: Vec<Partial>,
}

impl Tile {
    /// Takes an event in, which brings a value for each input of the view, `None` where it is null.
    pub fn add(&mut self, group: &Group, event: Micros, created: Option<Micros>, values: &[Option<Value<'_>>]) {
        for (partial, spec) in self.partials.iter_mut().zip(&group.specs) {
            let value = spec.input.and_then(|input| values.get(input).copied().flatten());
            partial.add(spec, event, created, value);
        }
    }

    /// Takes another tile of the same group in.
    pub fn merge(&mut self, group: &Group, other: &Self) {
        for ((partial, spec), other) in self.partials.iter_mut().zip(&group.specs).zip(&other.partials) {
            partial.merge(spec, other);
        }
    }

    /// Appends the tile's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        codec::encode(&self.partials, out);
    }
}
