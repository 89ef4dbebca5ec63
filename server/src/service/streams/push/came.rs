//! How rows came, where that was not a push: a topic's messages know their place, some of them are no rows, and where reading has come
//! is written with them.

use super::Quarantined;
use super::quarantine::{Entry, Refused};
use crate::service::Result;

/// How rows came, and what came along.
#[derive(Debug)]
pub(in crate::service) struct Came {
    /// `push`, or how else, for the quarantine table.
    pub(in crate::service) origin: &'static str,
    /// Where each row came from; empty where there is nothing to tell.
    pub(in crate::service) places: Vec<Place>,
    /// The topic of the places.
    pub(in crate::service) topic: String,
    /// What came and is no row.
    pub(in crate::service) poison: Vec<(Place, Entry)>,
    /// What is stored in the same write, by name.
    pub(in crate::service) positions: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A partition and an offset.
pub(in crate::service) type Place = (i32, i64);

impl Default for Came {
    fn default() -> Self {
        Self { origin: "push", places: Vec::new(), topic: String::new(), poison: Vec::new(), positions: Vec::new() }
    }
}

impl Came {
    /// Tells refused rows by their places, and adds what is no row.
    pub(super) fn complete(&self, entries: &mut Vec<Entry>, refused: &[Refused]) {
        for (entry, refused) in entries.iter_mut().zip(refused) {
            if let Some(place) = self.places.get(refused.row) {
                entry.detail = self.placed(*place, &entry.detail);
            }
        }
        entries.extend(
            self.poison
                .iter()
                .map(|(place, entry)| Entry { detail: self.placed(*place, &entry.detail), ..entry.clone() }),
        );
    }

    /// Leaves out what is no row and all the same of an entity that was erased, and counts it.
    pub(super) fn leave_out(&mut self, is_erased: impl Fn(&str) -> Result<bool>) -> Result<usize> {
        let before = self.poison.len();
        let mut kept = Vec::with_capacity(before);
        for (place, entry) in std::mem::take(&mut self.poison) {
            if !is_erased(&entry.content)? {
                kept.push((place, entry));
            }
        }
        self.poison = kept;
        Ok(before - self.poison.len())
    }

    /// Adds what is no row to the count of what could not be taken.
    pub(super) fn count(&self, quarantined: &mut Vec<Quarantined>) {
        for (place, entry) in &self.poison {
            match quarantined.iter_mut().find(|known| known.reason == entry.reason) {
                Some(known) => known.rows += 1,
                None => {
                    let example = self.placed(*place, &entry.detail);
                    quarantined.push(Quarantined { reason: entry.reason, rows: 1, example });
                }
            }
        }
    }

    fn placed(&self, (partition, offset): Place, detail: &str) -> String {
        format!("{}/{partition}/{offset}: {detail}", self.topic)
    }
}
