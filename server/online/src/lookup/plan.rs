//! Compiling a lookup once, so that a request only encodes, probes and copies.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use ahash::{HashMap, HashMapExt};
use parking_lot::RwLock;
use tidegate_schemas::definition::Column;
use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType;

use super::fields::Fields;
use super::{LookupSpec, LookupView};
use crate::default::Default as DefaultValue;
use crate::layout::View;
use crate::store::{Inner, Store};
use crate::{Error, Result};

/// A compiled lookup. Good until the definitions it was compiled from change.
#[derive(Debug)]
pub struct Plan {
    pub(super) groups: Vec<Group>,
    pub(super) views: Vec<PlanView>,
    /// One for each feature, view by view.
    pub(crate) outputs: Vec<Output>,
    /// Bytes of one row's values of fixed width.
    pub(super) row_width: usize,
    /// How many key columns a request must have.
    pub(super) key_columns: usize,
    derived: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Plan {
    /// The names of the outputs with the types they are defined with.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = (&str, &DataType, &str)> {
        self.outputs.iter().map(|output| (output.name.as_str(), &output.data_type, output.type_name.as_str()))
    }

    /// What a caller derives from the plan, made once and kept with it: one thing of one type.
    pub fn derived<T: Any + Send + Sync>(&self, make: impl FnOnce(&Self) -> T) -> Option<&T> {
        self.derived.get_or_init(|| Arc::new(make(self))).downcast_ref()
    }
}

/// Views that read the same entities: encoded and probed once for all of them.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) entity_type: u32,
    pub(super) keys: Vec<Column>,
    pub(super) key_columns: Vec<usize>,
    /// Positions of its views in the plan, in the order in which an entity's rows are stored.
    pub(super) views: Vec<usize>,
    /// Some of them have rows: the others are windowed.
    pub(super) has_rows: bool,
}

/// One view of a plan.
#[derive(Debug)]
pub(super) struct PlanView {
    pub(super) view: Arc<View>,
    /// The layout it was registered with.
    pub(super) layout: u32,
    pub(super) alias: String,
    pub(super) serve_ttl: Option<Micros>,
    /// Its features are computed from tiles.
    pub(super) windowed: bool,
    /// Names in the view and types.
    pub(super) features: Vec<Column>,
    /// What each is known by in stored rows.
    pub(super) numbers: Vec<u32>,
    /// Number of its first output.
    pub(super) first: usize,
    pub(super) defaults: Vec<Option<DefaultValue>>,
    /// Where the features are, by the layout of the row; filled as layouts are met.
    places: RwLock<HashMap<u32, Arc<Places>>>,
}

/// One column of the answer.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    pub(crate) type_name: String,
    /// Bytes of a value that is answered at fixed width; 0 for any other.
    pub(crate) width: usize,
    /// Bytes of the fixed values of the outputs before it.
    pub(crate) start: usize,
}

/// Bytes of a value that is answered at fixed width.
fn width(data_type: &DataType) -> usize {
    match data_type {
        DataType::Float64 | DataType::Int64 | DataType::Timestamp => 8,
        DataType::Float32 | DataType::Int32 | DataType::Date => 4,
        DataType::Bool => 1,
        _ => 0,
    }
}

/// Where a view's features are in the rows of one layout.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) fields: Fields,
    /// How a row without nulls is copied, where all its features of fixed width are stored as they are answered.
    pub(super) copies: Option<Copies>,
}

/// The short way for most rows: look at a few presence bits, then copy.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// Bytes of the row, and the bits of them that must be set.
    pub(super) presence: Vec<(usize, u8)>,
    /// Values of 8, 4 and 1 bytes.
    pub(super) eights: Vec<CopyOf>,
    pub(super) fours: Vec<CopyOf>,
    pub(super) ones: Vec<CopyOf>,
}

/// From a place in the row to an output.
#[derive(Debug, Clone, Copy)]
pub(super) struct CopyOf {
    pub(super) at: usize,
    pub(super) start: usize,
}

impl Store {
    /// Resolves a lookup against what is registered.
    ///
    /// # Errors
    /// An unknown view or feature, a default that is not of its feature's type, key columns that do not fit the view's keys.
    pub fn compile(&self, spec: &LookupSpec) -> Result<Arc<Plan>> {
        let mut plan = Plan {
            groups: Vec::new(),
            views: Vec::with_capacity(spec.views.len()),
            outputs: Vec::new(),
            row_width: 0,
            key_columns: 0,
            derived: OnceLock::new(),
        };
        for view in &spec.views {
            plan.add(self.inner(), view)?;
        }
        for group in &mut plan.groups {
            group.views.sort_by_key(|&view| plan.views[view].view.id);
        }
        Ok(Arc::new(plan))
    }
}

impl Plan {
    fn add(&mut self, inner: &Inner, spec: &LookupView) -> Result<()> {
        let view = inner.view(spec.view)?;
        let layout = inner.layout(spec.view.layout)?;
        if spec.key_columns.len() != view.keys.len() {
            let (given, needed) = (spec.key_columns.len(), view.keys.len());
            return Err(Error::Shape(format!(
                "view `{}` has {needed} keys, {given} key columns were named",
                view.name
            )));
        }
        let feature = |name: &String| {
            let found = layout.features.iter().zip(&layout.numbers).find(|(feature, _)| feature.name == *name);
            let found = found.map(|(feature, number)| (feature.clone(), *number));
            found.ok_or_else(|| Error::UnknownFeature { view: view.name.clone(), feature: name.clone() })
        };
        let features = spec.features.iter().map(|asked| feature(&asked.name)).collect::<Result<Vec<_>>>()?;
        let (features, numbers): (Vec<Column>, Vec<u32>) = features.into_iter().unzip();
        let default = |(asked, feature): (&super::LookupFeature, &Column)| {
            let parse = |value| DefaultValue::parse(&feature.name, &feature.data_type, value);
            asked.default.as_ref().map(parse).transpose()
        };
        let defaults = spec.features.iter().zip(&features).map(default).collect::<Result<_>>()?;
        let group = self.group(&view, &spec.key_columns);
        let windowed = layout.tiles.is_some();
        self.groups[group].views.push(self.views.len());
        self.groups[group].has_rows |= !windowed;
        self.key_columns = spec.key_columns.iter().map(|column| column + 1).fold(self.key_columns, usize::max);
        let first = self.outputs.len();
        for (asked, feature) in spec.features.iter().zip(&features) {
            let width = width(&feature.data_type);
            self.outputs.push(Output {
                name: asked.output.clone(),
                data_type: feature.data_type.clone(),
                type_name: feature.data_type.to_string(),
                width,
                start: self.row_width,
            });
            self.row_width += width;
        }
        self.views.push(PlanView {
            view,
            layout: layout.id,
            alias: spec.alias.clone(),
            serve_ttl: spec.serve_ttl,
            windowed,
            features,
            numbers,
            first,
            defaults,
            places: RwLock::new(HashMap::new()),
        });
        Ok(())
    }

    /// The lowest and the highest id of a group's views.
    pub(super) fn view_ids(&self, group: usize) -> (u32, u32) {
        let id = |view: Option<&usize>| view.map_or(0, |&view| self.views[view].view.id);
        let views = &self.groups[group].views;
        (id(views.first()), id(views.last()))
    }

    fn group(&mut self, view: &View, key_columns: &[usize]) -> usize {
        let same = |group: &Group| group.entity_type == view.entity_type && group.key_columns == key_columns;
        self.groups.iter().position(same).unwrap_or_else(|| {
            let (keys, key_columns) = (view.keys.clone(), key_columns.to_vec());
            let views = Vec::new();
            self.groups.push(Group { entity_type: view.entity_type, keys, key_columns, views, has_rows: false });
            self.groups.len() - 1
        })
    }
}

impl PlanView {
    /// Its outputs among the plan's.
    pub(super) fn outputs<'p>(&self, plan: &'p Plan) -> &'p [Output] {
        &plan.outputs[self.first..self.first + self.features.len()]
    }

    /// Where the features are in rows of a layout; `outputs` are the view's.
    pub(super) fn places(&self, inner: &Inner, outputs: &[Output], layout: u32) -> Result<Arc<Places>> {
        if let Some(places) = self.places.read().get(&layout) {
            return Ok(places.clone());
        }
        let fields = Fields::numbered(inner.layout(layout)?, self.features.iter().zip(self.numbers.iter().copied()));
        let copies = copies(&fields, outputs);
        let places = Arc::new(Places { fields, copies });
        self.places.write().insert(layout, places.clone());
        Ok(places)
    }
}

fn copies(fields: &Fields, outputs: &[Output]) -> Option<Copies> {
    let mut copies = Copies::default();
    for (nth, output) in outputs.iter().enumerate().filter(|(_, output)| output.width > 0) {
        let (at, byte, bit) = fields.as_answered(nth)?;
        match copies.presence.iter_mut().find(|(known, _)| *known == byte) {
            Some((_, bits)) => *bits |= bit,
            None => copies.presence.push((byte, bit)),
        }
        let copy = CopyOf { at, start: output.start };
        match output.width {
            8 => copies.eights.push(copy),
            4 => copies.fours.push(copy),
            _ => copies.ones.push(copy),
        }
    }
    Some(copies)
}
