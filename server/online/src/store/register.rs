//! Registering views: ids are given out once and kept, layouts are added when features change.

use std::sync::Arc;

use rocksdb::WriteBatch;
use tidegate_schemas::failpoint::{Failpoint, reach};
use tidegate_schemas::types::DataType;
use tidegate_schemas::window::Windows;

use super::{Inner, Store, lineage};
use crate::layout::{
    ALL_EPOCHS, Counters, EntityTypeRecord, Layout, LayoutRecord, Loaded, MetaKey, Purge, View, ViewId, ViewLayout,
    ViewRecord, ViewState,
};
use crate::lookup::fields::Fields;
use crate::tiles::TileLayouts;
use crate::tiles::record::encode_aggregates;
use crate::{Error, Result};

/// The epoch of a new view.
const FIRST_EPOCH: u32 = 1;

impl Store {
    /// Makes a view known, or its present features where it is known. Doing it again changes nothing.
    ///
    /// New features make a new layout: rows written before stay readable by feature name. A change of the view's entities or key
    /// types, or from features of a row to windows or back, makes a new view without rows or cursor; the old rows are deleted in the background. A full refresh under way is
    /// cancelled when the layout changes, for its rows would lack the new features.
    ///
    /// # Errors
    /// Duplicate feature names, keys of types that can't be keys, aggregates that can't be computed, a failing disk.
    pub fn register(&self, layout: &ViewLayout) -> Result<ViewId> {
        self.register_renamed(layout, &[])
    }

    /// As [`Self::register`], where features have other names than before: `renamed` pairs new names with old ones. What is
    /// stored under the old name is the new one's.
    ///
    /// # Errors
    /// As [`Self::register`].
    pub fn register_renamed(&self, layout: &ViewLayout, renamed: &[(String, String)]) -> Result<ViewId> {
        check(layout)?;
        let inner = &self.inner;
        let mut counters = inner.counters.lock();
        let mut change = Change { counters: *counters, batch: WriteBatch::default(), purge: None };
        let entity_type = change.entity_type(inner, layout);
        let present = inner.find_view(&layout.project, &layout.view);
        let same = |view: &Arc<View>| view.entity_type == entity_type && view.is_windowed() == layout.is_windowed();
        let (view, layout_id) = match present.filter(same) {
            Some(view) => {
                let next = change.layout(inner, &view, layout, renamed)?;
                inner.adopt_layout(&view, &next, &mut change)?;
                (view.id, next.id)
            }
            None => change.new_view(inner, entity_type, layout)?,
        };
        *counters = change.counters;
        if let Some(purge) = change.purge {
            self.purger.add(purge, None);
        }
        Ok(ViewId { view, layout: layout_id })
    }

    /// Forgets a view: its cursor at once, its rows in the background. `false` where there was none.
    ///
    /// # Errors
    /// A failing disk.
    pub fn remove(&self, project: &str, view: &str) -> Result<bool> {
        let _counters = self.inner.counters.lock();
        let Some(view) = self.inner.find_view(project, view) else { return Ok(false) };
        let mut batch = WriteBatch::default();
        let purge = self.inner.forget_view(&view, &mut batch, |batch| self.inner.commit_metadata(batch))?;
        self.purger.add(purge, None);
        Ok(true)
    }
}

/// A registration being put together; nothing in memory changes before its batch is committed.
struct Change {
    counters: Counters,
    batch: WriteBatch,
    purge: Option<Purge>,
}

fn check(layout: &ViewLayout) -> Result<()> {
    let view = &layout.view;
    if let Some(key) = layout.keys.iter().find(|key| !key.data_type.is_key_type()) {
        return Err(Error::Layout(format!(
            "key `{}` of view `{view}` is {}, which can't be a key; use bool, int32, int64, string, bytes, timestamp or date",
            key.name, key.data_type
        )));
    }
    let mut names: Vec<&str> = layout.features.iter().map(|feature| feature.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::Layout(format!("view `{view}` has two features named `{}`; rename one", pair[0])));
    }
    if layout.is_windowed() && layout.aggregates.len() != layout.features.len() {
        return Err(Error::Layout(format!("some features of view `{view}` are windows and others are not")));
    }
    Windows::new(&layout.aggregates).map_err(|error| Error::Layout(format!("view `{view}`: {error}")))?;
    // Types are stored by name, so each must read back as itself.
    let lost = |data_type: &DataType| data_type.to_string().parse().as_ref() != Ok(data_type);
    match layout.features.iter().find(|feature| lost(&feature.data_type)) {
        Some(feature) => Err(Error::Layout(format!(
            "the type of feature `{}` of view `{view}`, {}, has a name that does not read back; use plain field names",
            feature.name, feature.data_type
        ))),
        None => Ok(()),
    }
}

impl Change {
    fn put(&mut self, key: MetaKey, value: &[u8]) {
        self.batch.put(key.encode(), value);
    }

    fn entity_type(&mut self, inner: &Inner, layout: &ViewLayout) -> u32 {
        let record = EntityTypeRecord {
            project: layout.project.clone(),
            entities: layout.entities.clone(),
            key_types: layout.keys.iter().map(|key| key.data_type.clone()).collect(),
        };
        let known = inner.entity_types.read().iter().find(|(_, known)| **known == record).map(|(&id, _)| id);
        known.unwrap_or_else(|| {
            let id = self.counters.entity_type;
            self.counters.entity_type += 1;
            self.put(MetaKey::EntityType(id), &record.encode());
            id
        })
    }

    /// The layout that follows the view's present one.
    fn layout(
        &mut self,
        inner: &Inner,
        view: &View,
        layout: &ViewLayout,
        renamed: &[(String, String)],
    ) -> Result<Arc<Layout>> {
        let present = inner.layout(view.state.read().record.layout)?;
        let layouts = inner.layouts.read();
        let of_view = || layouts.values().filter(|known| known.view == view.id);
        let numbers = lineage::follow(&present, &layout.features, renamed, lineage::unused(of_view()));
        let same = |known: &&Arc<Layout>| {
            let aggregates = known.tiles.as_ref().map_or(&[][..], |tiled| &tiled.aggregates);
            (&known.features, &known.numbers, aggregates) == (&layout.features, &numbers, &layout.aggregates[..])
        };
        Ok(match of_view().find(same) {
            Some(known) => known.clone(),
            None => self.new_layout(view.id, layout, numbers)?,
        })
    }

    fn new_layout(&mut self, view: u32, layout: &ViewLayout, numbers: Vec<u32>) -> Result<Arc<Layout>> {
        let id = self.counters.layout;
        self.counters.layout += 1;
        let record = LayoutRecord { view, features: layout.features.clone() };
        self.put(MetaKey::Layout(id), &record.encode());
        self.put(MetaKey::Numbers(id), &lineage::encode(&numbers));
        if layout.is_windowed() {
            self.put(MetaKey::Aggregates(id), &encode_aggregates(&layout.aggregates));
        }
        let aggregates = layout.is_windowed().then(|| layout.aggregates.clone());
        Ok(Arc::new(Layout::new(id, record, numbers, aggregates)?))
    }

    /// A view with new ids, in place of one of the same name.
    fn new_view(&mut self, inner: &Inner, entity_type: u32, layout: &ViewLayout) -> Result<(u32, u32)> {
        let id = self.counters.view;
        self.counters.view += 1;
        let first = self.new_layout(id, layout, lineage::first(&layout.features))?;
        let layout_id = first.id;
        let record = ViewRecord {
            project: layout.project.clone(),
            name: layout.view.clone(),
            entity_type,
            key_names: layout.keys.iter().map(|key| key.name.clone()).collect(),
            layout: layout_id,
            epoch: FIRST_EPOCH,
            building: None,
            next_epoch: FIRST_EPOCH + 1,
        };
        self.put(MetaKey::View(id), &record.encode());
        let tiles = layout.is_windowed().then_some(TileLayouts { present: layout_id, building: None });
        if let Some(tiles) = &tiles {
            self.put(MetaKey::Tiles(id), &tiles.encode());
        }
        self.put(MetaKey::Counters, &self.counters.encode());
        match inner.find_view(&layout.project, &layout.view) {
            Some(old) => {
                let mut batch = std::mem::take(&mut self.batch);
                self.purge = Some(inner.forget_view(&old, &mut batch, |batch| inner.commit_metadata(batch))?);
            }
            None => inner.commit_metadata(std::mem::take(&mut self.batch))?,
        }
        let state = ViewState { record, cursor: None, progress: None, loaded: Loaded::Nothing, flipped_at: 0, tiles };
        inner.remember(id, state, first, layout);
        Ok((id, layout_id))
    }
}

impl Inner {
    pub(super) fn find_view(&self, project: &str, name: &str) -> Option<Arc<View>> {
        self.views.read().values().find(|view| view.project == project && view.name == name).cloned()
    }

    /// Makes a layout the view's present one.
    fn adopt_layout(&self, view: &View, next: &Arc<Layout>, change: &mut Change) -> Result<()> {
        let id = next.id;
        if view.state.read().record.layout == id {
            return Ok(());
        }
        let _gate = view.gate.write();
        let mut state = view.state.read().clone();
        state.record.layout = id;
        if state.record.building.is_some() {
            change.purge = self.drop_building(view, &mut state, &mut change.batch)?;
            change.batch.delete(MetaKey::Progress(view.id).encode());
            state.progress = None;
        }
        change.put(MetaKey::View(view.id), &state.record.encode());
        change.put(MetaKey::Counters, &change.counters.encode());
        self.commit_metadata(std::mem::take(&mut change.batch))?;
        self.layouts.write().entry(id).or_insert_with(|| next.clone());
        *view.state.write() = state;
        Ok(())
    }

    /// Whether rows of every layout since `oldest` have all features of the present one, with types that read as theirs.
    pub(super) fn reads_whole(&self, view: u32, oldest: u32, present: u32) -> bool {
        let layouts = self.layouts.read();
        let Some(wanted) = layouts.get(&present) else { return false };
        if wanted.tiles.is_some() {
            return oldest == present;
        }
        let since = oldest.min(present);
        let mut stored = layouts.values().filter(|stored| stored.view == view && stored.id >= since);
        layouts.contains_key(&oldest) && stored.all(|stored| Fields::of(stored.clone(), wanted).is_whole())
    }

    /// Adds a committed view to what is in memory.
    fn remember(&self, id: u32, state: ViewState, first: Arc<Layout>, layout: &ViewLayout) {
        let key_types: Vec<DataType> = layout.keys.iter().map(|key| key.data_type.clone()).collect();
        let entity = EntityTypeRecord {
            project: layout.project.clone(),
            entities: layout.entities.clone(),
            key_types: key_types.clone(),
        };
        self.entity_types.write().insert(state.record.entity_type, entity);
        self.layouts.write().insert(first.id, first);
        self.views.write().insert(id, Arc::new(View::new(id, &key_types, state)));
    }

    /// Removes a view's metadata and notes its rows for deletion, with whatever else is in the batch.
    fn forget_view(
        &self,
        view: &View,
        batch: &mut WriteBatch,
        commit: impl FnOnce(WriteBatch) -> Result<()>,
    ) -> Result<Purge> {
        let _gate = view.gate.write();
        let layouts: Vec<u32> =
            self.layouts.read().values().filter(|layout| layout.view == view.id).map(|layout| layout.id).collect();
        let purge = Purge { view: view.id, epoch: ALL_EPOCHS, entity_type: view.entity_type };
        let keys = [
            MetaKey::View(view.id),
            MetaKey::Cursor(view.id),
            MetaKey::Progress(view.id),
            MetaKey::Pushed(view.id),
            MetaKey::Table(view.id),
            MetaKey::Retained(view.id),
        ];
        for key in keys {
            batch.delete(key.encode());
        }
        for id in layouts {
            batch.delete(MetaKey::Layout(id).encode());
            batch.delete(MetaKey::Numbers(id).encode());
            batch.delete(MetaKey::Aggregates(id).encode());
        }
        batch.delete(MetaKey::Tiles(view.id).encode());
        batch.put(purge.key().encode(), purge.encode());
        self.drop_all_waiting(view.id, batch)?;
        commit(std::mem::take(batch))?;
        self.views.write().remove(&view.id);
        self.retention.forget(view.id);
        self.layouts.write().retain(|_, layout| layout.view != view.id);
        Ok(purge)
    }

    /// Commits metadata; always synced, for it is rare and everything hangs on it.
    pub(super) fn commit_metadata(&self, batch: WriteBatch) -> Result<()> {
        reach(Failpoint::BeforeMetadata);
        let outcome = self.put(batch, true, "writing metadata");
        reach(Failpoint::AfterMetadata);
        outcome
    }
}
