//! Holding what lookups see against what they should see.
//!
//! What should be there comes as a [`Load`] that is never put in place. Both sides are walked in key order, side by side.

use std::sync::Arc;

use tidegate_schemas::time::Micros;

use super::load::{NO_EPOCH, Sink};
use super::scan::{Found, Walk};
use super::{Load, Store};
use crate::Result;
use crate::key::{self, KeyValue};
use crate::layout::ViewId;
use crate::lookup::fields::Fields;
use crate::row::{Header, Origin};

/// Differences that are told one by one.
const EXAMPLES: usize = 10;

/// How a view compares with what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parity {
    /// Keys whose times and values are equal.
    pub equal: u64,
    /// Keys with other times or values.
    pub different: u64,
    /// Keys that should be there and are not.
    pub missing: u64,
    /// Keys that are there and should not be.
    pub extra: u64,
    /// Keys with a pushed row that the table does not have yet: counted apart, and equal once it is materialized.
    pub ahead: u64,
    /// Some of the differences.
    pub examples: Vec<Mismatch>,
}

/// One key that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The key's values.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
}

impl Parity {
    /// Whether every key that no push is ahead of is as it should be.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.different + self.missing + self.extra == 0
    }

    /// Tells of a difference, if there is room: its key and what is wrong.
    pub(super) fn example(&mut self, tell: impl FnOnce() -> (String, String)) {
        if self.examples.len() < EXAMPLES {
            let (key, what) = tell();
            self.examples.push(Mismatch { key, what });
        }
    }
}

impl Store {
    /// Collects what a view should hold, for [`Self::compare`]. With [`Load::until`] rows that happen later are passed over.
    ///
    /// # Errors
    /// An unknown view, a folder that can't be made.
    pub fn expected(&self, view: ViewId) -> Result<Load> {
        Load::new(&self.inner, &self.inner.view(view)?, view.layout, NO_EPOCH)
    }

    /// Compares everything that lookups of a view can see with what was collected.
    ///
    /// # Errors
    /// Damaged rows, a failing disk.
    pub fn compare(&self, view: ViewId, mut expected: Load) -> Result<Parity> {
        if self.inner.view(view)?.is_windowed() {
            return self.compare_windows(view, expected);
        }
        let mut comparison = Comparison {
            wanted: expected.fields(),
            until: expected.horizon(),
            walk: Walk::new(&self.inner, view)?,
            there: None,
            parity: Parity::default(),
        };
        comparison.there = comparison.walk.next()?;
        expected.drain(&mut comparison)?;
        comparison.rest()
    }
}

struct Comparison<'s> {
    /// The features of the collected rows.
    wanted: Arc<Fields>,
    /// The time that is compared at.
    until: Micros,
    walk: Walk<'s>,
    /// The next row of the store.
    there: Option<Found>,
    parity: Parity,
}

impl Comparison<'_> {
    /// Passes over rows of the store before an entity.
    fn extra_before(&mut self, entity: &[u8]) -> Result<()> {
        while let Some(found) = self.there.take_if(|found| found.entity.as_slice() < entity) {
            self.extra(&found)?;
            self.there = self.walk.next()?;
        }
        Ok(())
    }

    /// Whether a row came around the table, or was due only after the comparison began.
    fn is_ahead(&self, found: &Found) -> bool {
        found.header.origin == Origin::Push || found.header.event > self.until
    }

    fn extra(&mut self, found: &Found) -> Result<()> {
        if self.is_ahead(found) {
            self.parity.ahead += 1;
            return Ok(());
        }
        self.parity.extra += 1;
        self.example(&found.entity, || "is served and not in the table".to_owned())
    }

    fn rest(mut self) -> Result<Parity> {
        while let Some(found) = self.there.take() {
            self.extra(&found)?;
            self.there = self.walk.next()?;
        }
        Ok(self.parity)
    }

    fn both(&mut self, found: &Found, row: &[u8]) -> Result<()> {
        match self.difference(found, row)? {
            None => self.parity.equal += 1,
            Some(_) if self.is_ahead(found) => self.parity.ahead += 1,
            Some(what) => {
                self.parity.different += 1;
                self.example(&found.entity, || what)?;
            }
        }
        Ok(())
    }

    fn difference(&self, found: &Found, row: &[u8]) -> Result<Option<String>> {
        let wanted = Header::read(row)?;
        if found.header.times() != wanted.times() {
            let (is, should) = (found.header.times(), wanted.times());
            return Ok(Some(format!("has the event and created times {is:?} instead of {should:?}")));
        }
        for nth in 0..self.wanted.len() {
            let is = found.fields.slot(nth, &found.row)?.map(|slot| found.fields.widened(nth, slot));
            if is.as_deref() != self.wanted.slot(nth, row)? {
                return Ok(Some(format!("has another value of `{}`", self.walk.feature(nth))));
            }
        }
        Ok(None)
    }

    fn example(&mut self, entity: &[u8], what: impl FnOnce() -> String) -> Result<()> {
        let key = text_of(entity)?;
        self.parity.example(|| (key, what()));
        Ok(())
    }
}

impl Sink for Comparison<'_> {
    fn put(&mut self, entity: &[u8], row: &[u8]) -> Result<()> {
        self.extra_before(entity)?;
        let Some(found) = self.there.take_if(|found| found.entity == entity) else {
            self.parity.missing += 1;
            return self.example(entity, || "is in the table and not served".to_owned());
        };
        self.both(&found, row)?;
        self.there = self.walk.next()?;
        Ok(())
    }
}

/// An entity's key for people.
pub(super) fn text_of(entity: &[u8]) -> Result<String> {
    let values: Vec<String> = key::decode_entity(entity)?.values.iter().map(text).collect();
    Ok(values.join(", "))
}

fn text(value: &KeyValue) -> String {
    match value {
        KeyValue::Bool(value) => value.to_string(),
        KeyValue::Int32(value) | KeyValue::Date(value) => value.to_string(),
        KeyValue::Int64(value) | KeyValue::Timestamp(value) => value.to_string(),
        KeyValue::String(value) => value.clone(),
        KeyValue::Bytes(value) => format!("{value:02x?}"),
    }
}
