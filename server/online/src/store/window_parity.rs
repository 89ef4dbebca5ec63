//! Holding what lookups of a windowed view answer against what its events say, both at one time.
//!
//! What should be there comes as a [`Load`] of events that is never put in place: each entity's are folded, and its features compared
//! with those of the tiles that are stored. Float results may differ by a billionth, which is what their sums in another order may
//! come to.

use std::sync::Arc;

use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType;

use super::parity::{Parity, text_of};
use super::tiles::{TileWalk, WalkedEntity};
use super::{Load, Store};
use crate::layout::{Layout, ViewId};
use crate::tiles::Tiled;
use crate::tiles::fold::{EntityTiles, Events};
use crate::{Error, Result};

/// By this share float results may differ.
const TOLERANCE: f64 = 1e-9;

/// What one entity has for each feature.
type Slots = Vec<Option<Vec<u8>>>;

impl Store {
    /// As [`Self::compare`], of a windowed view, at the time that the events were collected at.
    pub(super) fn compare_windows(&self, view: ViewId, mut expected: Load) -> Result<Parity> {
        let inner = &self.inner;
        let (layout, tiled) = (inner.layout(view.layout)?, inner.tiled(view.layout)?);
        let view = inner.view(view)?;
        let mark = view.mark();
        if mark.tiles != Some(layout.id) {
            return Err(Error::Outdated(view.name.clone()));
        }
        let events = Events::new(tiled.inputs.clone(), tiled.clone());
        let mut walk = inner.walk_tiles(&view, mark.epoch, tiled.clone())?;
        let there = walk.next()?;
        let (at, parity) = (expected.horizon(), Parity::default());
        let nothing = EntityTiles::new().slots(&layout, &tiled, at)?;
        let mut comparison = Comparison { layout, tiled, at, nothing, walk, there, parity };
        let (mut entity, mut folded) = (Vec::new(), EntityTiles::new());
        expected.each(|next, event| {
            if next != entity {
                comparison.entity(&entity, &std::mem::take(&mut folded))?;
                entity = next.to_vec();
            }
            events.fold(event, &mut folded)
        })?;
        comparison.entity(&entity, &folded)?;
        comparison.rest()
    }
}

struct Comparison<'s> {
    layout: Arc<Layout>,
    tiled: Arc<Tiled>,
    at: Micros,
    /// What an entity without events has.
    nothing: Slots,
    walk: TileWalk<'s>,
    /// The next entity of the store.
    there: Option<WalkedEntity>,
    parity: Parity,
}

impl Comparison<'_> {
    /// Compares an entity that has events.
    fn entity(&mut self, entity: &[u8], folded: &EntityTiles) -> Result<()> {
        if folded.is_empty() {
            return Ok(());
        }
        while let Some(found) = self.there.take_if(|found| found.entity.as_slice() < entity) {
            self.extra(&found)?;
            self.there = self.walk.next()?;
        }
        let should = folded.slots(&self.layout, &self.tiled, self.at)?;
        let Some(found) = self.there.take_if(|found| found.entity == entity) else {
            return match self.difference(&self.nothing, &should) {
                None => self.count_equal(),
                Some(_) => {
                    self.parity.missing += 1;
                    self.example(entity, "has events in the table and none that are served".to_owned())
                }
            };
        };
        let is = found.tiles.slots(&self.layout, &self.tiled, self.at)?;
        match self.difference(&is, &should) {
            None => self.count_equal()?,
            Some(_) if found.pushed => self.parity.ahead += 1,
            Some(feature) => {
                self.parity.different += 1;
                self.example(entity, format!("has another value of `{feature}`"))?;
            }
        }
        self.there = self.walk.next()?;
        Ok(())
    }

    fn count_equal(&mut self) -> Result<()> {
        self.parity.equal += 1;
        Ok(())
    }

    /// An entity whose events are served and not in the table.
    fn extra(&mut self, found: &WalkedEntity) -> Result<()> {
        let is = found.tiles.slots(&self.layout, &self.tiled, self.at)?;
        match self.difference(&is, &self.nothing) {
            None => Ok(()),
            Some(_) if found.pushed => {
                self.parity.ahead += 1;
                Ok(())
            }
            Some(_) => {
                self.parity.extra += 1;
                self.example(&found.entity, "has events that are served and not in the table".to_owned())
            }
        }
    }

    fn rest(mut self) -> Result<Parity> {
        while let Some(found) = self.there.take() {
            self.extra(&found)?;
            self.there = self.walk.next()?;
        }
        Ok(self.parity)
    }

    /// The name of a feature that differs.
    fn difference(&self, is: &Slots, should: &Slots) -> Option<String> {
        let mut features = self.layout.features.iter().zip(is.iter().zip(should));
        features
            .find(|(feature, (is, should))| !same(&feature.data_type, is.as_deref(), should.as_deref()))
            .map(|(feature, _)| feature.name.clone())
    }

    fn example(&mut self, entity: &[u8], what: String) -> Result<()> {
        let key = text_of(entity)?;
        self.parity.example(|| (key, what));
        Ok(())
    }
}

fn same(data_type: &DataType, is: Option<&[u8]>, should: Option<&[u8]>) -> bool {
    let number = |slot: &[u8]| slot.try_into().ok().map(f64::from_le_bytes);
    match (data_type, is, should) {
        (DataType::Float64, Some(is), Some(should)) if is != should => match (number(is), number(should)) {
            (Some(is), Some(should)) => (is - should).abs() <= TOLERANCE * is.abs().max(should.abs()),
            _ => false,
        },
        _ => is == should,
    }
}
