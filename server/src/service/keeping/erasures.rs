//! What keeps erased entities out of managed tables: every append asks which of its rows are of one. Writes ask before they begin,
//! and are refused while an entity of theirs is being erased.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::kernels::boolean::and;
use arrow::compute::{CastOptions, cast_with_options, filter, is_not_null};
use arrow::datatypes::TimestampMicrosecondType;
use serde_json::Value;
use tidegate_offline::table::Guard;
use tidegate_online::{Standing, Store};
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::definition::{Column, FeatureView};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType;

use crate::registry::Registry;
use crate::service::{Error, Result};

/// Knows the definitions and the graves.
#[derive(Debug, Clone)]
pub(in crate::service) struct Erasures {
    registry: Arc<Registry>,
    store: Arc<Store>,
}

impl Erasures {
    pub(in crate::service) fn new(registry: Arc<Registry>, store: Arc<Store>) -> Self {
        Self { registry, store }
    }

    /// What must not come into a source's table, whatever it was checked against.
    pub(in crate::service) fn guard(&self, project: &str, source: &str) -> Guard {
        let (erasures, project, source) = (self.clone(), project.to_owned(), source.to_owned());
        Guard::new(move |batch| Ok(erasures.refused(&project, &source, batch)?))
    }

    /// Refuses a batch that has rows of erased entities with times before the erasure.
    ///
    /// # Errors
    /// `Invalid` names the rows, counted from `first`, and never the key; `Unavailable` as [`Self::refused_now`].
    pub(in crate::service) fn check(&self, project: &str, source: &str, batch: &RecordBatch, first: u64) -> Result<()> {
        let refused = self.refused_now(project, source, batch, first + 1)?;
        let rows: Vec<u64> = (first..).zip(refused).filter(|(_, refused)| *refused).map(|(row, _)| row + 1).collect();
        let [told, ..] = rows.as_slice() else { return Ok(()) };
        let more = if rows.len() == 1 { String::new() } else { format!(" and {} more", rows.len() - 1) };
        Err(Error::invalid(format!(
            "row {told}{more} of source `{source}` is of an entity that was erased after the row's event time, so nothing was \
             written; leave its rows out: `tidegate erasures` lists what was erased"
        )))
    }

    /// Which rows of a batch are of erased entities and happened before they were erased, as far as is known: a row whose time can't be
    /// told did. Rows without a key are of none. Keys may have the types that they came with.
    pub(in crate::service) fn refused(&self, project: &str, source: &str, batch: &RecordBatch) -> Result<Vec<bool>> {
        let standings = self.standings(project, source, batch)?;
        Ok(standings.into_iter().map(|standing| standing == Standing::Erased).collect())
    }

    /// The same before rows are taken, the first of which is told as `first`: what comes to an entity that is being erased would be taken for what was there before.
    ///
    /// # Errors
    /// `Unavailable` where a row is of such an entity; nothing of what comes with it may be written.
    pub(in crate::service) fn refused_now(
        &self,
        project: &str,
        source: &str,
        batch: &RecordBatch,
        first: u64,
    ) -> Result<Vec<bool>> {
        let standings = self.standings(project, source, batch)?;
        let mut told = (first..).zip(&standings);
        match told.find(|(_, standing)| **standing == Standing::BeingErased) {
            None => Ok(standings.into_iter().map(|standing| standing == Standing::Erased).collect()),
            Some((row, _)) => {
                let message = format!(
                    "row {row} for source `{source}` is of an entity that is being erased, so nothing was written; send it again \
                     when that is done, or leave out the entity's rows"
                );
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }

    fn standings(&self, project: &str, source: &str, batch: &RecordBatch) -> Result<Vec<Standing>> {
        let mut standings = vec![Standing::Free; batch.num_rows()];
        let buried = self.store.buried(project);
        let Some(known) = self.registry.cached(project).filter(|_| !buried.is_empty()) else { return Ok(standings) };
        let Some(event_time) = known.catalog.sources.get(source).map(|source| source.event_time.clone()) else {
            return Ok(standings);
        };
        let event = batch.column_by_name(&event_time).and_then(|times| lenient(times, &DataType::Timestamp));
        for (entity, keys) in buried {
            for columns in ways(&known.catalog, source, &entity, &keys) {
                let cast = |(name, key): (&String, &Column)| lenient(batch.column_by_name(name)?, &widest(key));
                let columns: Option<Vec<ArrayRef>> = columns.iter().zip(&keys).map(cast).collect();
                if let Some(columns) = columns {
                    self.mark((project, &entity), &columns, event.as_ref(), &mut standings)?;
                }
            }
        }
        Ok(standings)
    }

    /// Whether a row that is a JSON object and nothing better is of one.
    ///
    /// # Errors
    /// As [`Self::refused_now`].
    pub(in crate::service) fn is_refused(&self, project: &str, source: &str, row: &str) -> Result<bool> {
        let Ok(Value::Object(fields)) = serde_json::from_str(row) else { return Ok(false) };
        let columns: Vec<(String, ArrayRef)> =
            fields.into_iter().filter_map(|(name, value)| Some((name, column(&value)?))).collect();
        if columns.is_empty() {
            return Ok(false);
        }
        Ok(self.refused_now(project, source, &RecordBatch::try_from_iter(columns)?, 0)?.contains(&true))
    }

    fn mark(
        &self,
        (project, entity): (&str, &str),
        keys: &[ArrayRef],
        event: Option<&ArrayRef>,
        standings: &mut [Standing],
    ) -> Result<()> {
        let mut whole = BooleanArray::from(vec![true; standings.len()]);
        for key in keys {
            whole = and(&whole, &is_not_null(key)?)?;
        }
        let present = keys.iter().map(|key| Ok(filter(key, &whole)?)).collect::<Result<Vec<_>>>()?;
        let event = event.map(|event| filter(event, &whole)).transpose()?;
        let event = event.as_ref().map(|event| event.as_primitive::<TimestampMicrosecondType>());
        let time = |row: usize| {
            let known = event.filter(|event| event.is_valid(row));
            Some(known.map_or(Micros::MIN, |event| event.value(row)))
        };
        let found = self.store.standings(project, entity, &present, time)?;
        let rows = (0..standings.len()).filter(|&row| whole.value(row));
        // One that was erased stays so, whatever its other entities are.
        rows.zip(found).for_each(|(row, found)| standings[row] = standings[row].max(found));
        Ok(())
    }
}

/// A column as another type, null where a value is none of it; `None` where the types have nothing in common.
fn lenient(column: &ArrayRef, to: &DataType) -> Option<ArrayRef> {
    cast_with_options(column, &to.to_arrow(), &CastOptions { safe: true, ..CastOptions::default() }).ok()
}

/// The type that holds a key whatever it was when it was erased.
fn widest(key: &Column) -> DataType {
    match &key.data_type {
        DataType::Int32 => DataType::Int64,
        other => other.clone(),
    }
}

/// A plain value of JSON as a column: numbers may be times.
fn column(value: &Value) -> Option<ArrayRef> {
    match value.as_i64() {
        Some(number) => Some(Arc::new(Int64Array::from(vec![number]))),
        None => Some(Arc::new(StringArray::from(vec![text(value)?]))),
    }
}

/// A plain value of JSON as text.
pub(in crate::service) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The ways in which a source's columns name an entity: for each view of it the columns of the entity's keys, in order.
pub(in crate::service) fn ways(catalog: &Catalog, source: &str, entity: &str, keys: &[Column]) -> Vec<Vec<String>> {
    let mut ways: Vec<Vec<String>> = Vec::new();
    let of_source = |view: &&Arc<FeatureView>| view.source == source && view.entities.iter().any(|name| name == entity);
    for view in catalog.views.values().filter(of_source) {
        let column = |key: &Column| view.key_columns.get(&key.name).unwrap_or(&key.name).clone();
        let way = keys.iter().map(column).collect();
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways
}
