//! Compiling a lookup once, so that a request only encodes, probes and copies.

use std::sync::Arc;

use ahash::{HashMap, HashMapExt};
use parking_lot::RwLock;
use tidegate_schemas::definition::Column;
use tidegate_schemas::time::Micros;

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
    /// How many key columns a request must have.
    pub(super) key_columns: usize,
}

/// Views that read the same entities: encoded and probed once for all of them.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) entity_type: u32,
    pub(super) keys: Vec<Column>,
    pub(super) key_columns: Vec<usize>,
    /// Positions of its views in the plan.
    pub(super) views: Vec<usize>,
}

/// One view of a plan.
#[derive(Debug)]
pub(super) struct PlanView {
    pub(super) view: Arc<View>,
    pub(super) alias: String,
    pub(super) group: usize,
    pub(super) serve_ttl: Option<Micros>,
    /// Names in the view and types.
    pub(super) features: Vec<Column>,
    pub(super) outputs: Vec<String>,
    pub(super) defaults: Vec<Option<DefaultValue>>,
    /// Where the features are, by the layout of the row; filled as layouts are met.
    fields: RwLock<HashMap<u32, Arc<Fields>>>,
}

impl Store {
    /// Resolves a lookup against what is registered.
    ///
    /// # Errors
    /// An unknown view or feature, a default that is not of its feature's type, key columns that do not fit the view's keys.
    pub fn compile(&self, spec: &LookupSpec) -> Result<Plan> {
        let mut plan = Plan { groups: Vec::new(), views: Vec::with_capacity(spec.views.len()), key_columns: 0 };
        for view in &spec.views {
            plan.add(self.inner(), view)?;
        }
        Ok(plan)
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
            let found = layout.features.iter().find(|feature| feature.name == *name).cloned();
            found.ok_or_else(|| Error::UnknownFeature { view: view.name.clone(), feature: name.clone() })
        };
        let features = spec.features.iter().map(|asked| feature(&asked.name)).collect::<Result<Vec<_>>>()?;
        let default = |(asked, feature): (&super::LookupFeature, &Column)| {
            let parse = |value| DefaultValue::parse(&feature.name, &feature.data_type, value);
            asked.default.as_ref().map(parse).transpose()
        };
        let defaults = spec.features.iter().zip(&features).map(default).collect::<Result<_>>()?;
        let group = self.group(&view, &spec.key_columns);
        self.groups[group].views.push(self.views.len());
        self.key_columns = spec.key_columns.iter().map(|column| column + 1).fold(self.key_columns, usize::max);
        self.views.push(PlanView {
            view,
            alias: spec.alias.clone(),
            group,
            serve_ttl: spec.serve_ttl,
            features,
            outputs: spec.features.iter().map(|asked| asked.output.clone()).collect(),
            defaults,
            fields: RwLock::new(HashMap::new()),
        });
        Ok(())
    }

    fn group(&mut self, view: &View, key_columns: &[usize]) -> usize {
        let same = |group: &Group| group.entity_type == view.entity_type && group.key_columns == key_columns;
        self.groups.iter().position(same).unwrap_or_else(|| {
            let (keys, key_columns) = (view.keys.clone(), key_columns.to_vec());
            self.groups.push(Group { entity_type: view.entity_type, keys, key_columns, views: Vec::new() });
            self.groups.len() - 1
        })
    }
}

impl PlanView {
    /// Where the features are in rows of a layout.
    pub(super) fn fields(&self, inner: &Inner, layout: u32) -> Result<Arc<Fields>> {
        if let Some(fields) = self.fields.read().get(&layout) {
            return Ok(fields.clone());
        }
        let fields = Arc::new(Fields::new(inner.layout(layout)?, &self.features));
        self.fields.write().insert(layout, fields.clone());
        Ok(fields)
    }
}
