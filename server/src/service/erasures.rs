//! What keeps erased entities out of managed tables: every append asks which of its rows are of one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch, is_not_null, kernels::boolean::and};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use tidegate_offline::table::Guard;
use tidegate_online::Store;
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::definition::{Column, FeatureView};

use super::{Error, Result};
use crate::registry::Registry;

/// Knows the definitions and the graves.
#[derive(Debug, Clone)]
pub(super) struct Erasures {
    registry: Arc<Registry>,
    store: Arc<Store>,
}

impl Erasures {
    pub(super) fn new(registry: Arc<Registry>, store: Arc<Store>) -> Self {
        Self { registry, store }
    }

    /// What appends to a source's table must leave out, whatever they were checked against.
    pub(super) fn guard(&self, project: &str, source: &str) -> Guard {
        let (erasures, project, source) = (self.clone(), project.to_owned(), source.to_owned());
        Guard::new(move |batch| Ok(erasures.refused(&project, &source, batch)?))
    }

    /// Refuses a batch that has rows of erased entities with times before the erasure.
    ///
    /// # Errors
    /// `Invalid` names the rows, counted from `first`, and never the key.
    pub(super) fn check(&self, project: &str, source: &str, batch: &RecordBatch, first: u64) -> Result<()> {
        let refused = self.refused(project, source, batch)?;
        let rows: Vec<u64> = (first..).zip(refused).filter(|(_, refused)| *refused).map(|(row, _)| row + 1).collect();
        let [told, ..] = rows.as_slice() else { return Ok(()) };
        let more = if rows.len() == 1 { String::new() } else { format!(" and {} more", rows.len() - 1) };
        Err(Error::invalid(format!(
            "row {told}{more} of source `{source}` is of an entity that was erased after the row's event time, so nothing was \
             written; leave its rows out: `tidegate erasures` lists what was erased"
        )))
    }

    /// Which rows of a batch are of erased entities. Rows without a key or a time are of none.
    fn refused(&self, project: &str, source: &str, batch: &RecordBatch) -> Result<Vec<bool>> {
        let mut refused = vec![false; batch.num_rows()];
        let buried = self.store.buried(project);
        let Some(known) = self.registry.cached(project).filter(|_| !buried.is_empty()) else { return Ok(refused) };
        let Some(event_time) = known.catalog.sources.get(source).map(|source| source.event_time.clone()) else {
            return Ok(refused);
        };
        for (entity, keys) in buried {
            for columns in ways(&known.catalog, source, &entity, &keys) {
                self.mark(project, &entity, &columns, &event_time, batch, &mut refused)?;
            }
        }
        Ok(refused)
    }

    fn mark(
        &self,
        project: &str,
        entity: &str,
        columns: &[String],
        event_time: &str,
        batch: &RecordBatch,
        refused: &mut [bool],
    ) -> Result<()> {
        let needed: Option<Vec<&ArrayRef>> =
            columns.iter().map(String::as_str).chain([event_time]).map(|name| batch.column_by_name(name)).collect();
        let Some(needed) = needed else { return Ok(()) };
        let mut whole = BooleanArray::from(vec![true; batch.num_rows()]);
        for column in &needed {
            whole = and(&whole, &is_not_null(column)?)?;
        }
        let present = filter_record_batch(batch, &whole)?;
        let column = |name: &str| {
            let column = present.column_by_name(name).cloned();
            column.ok_or_else(|| Error::internal(format!("column `{name}` got lost")))
        };
        let keys = columns.iter().map(|name| column(name)).collect::<Result<Vec<_>>>()?;
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let event = cast(&column(event_time)?, &micros)?;
        let event = event.as_primitive::<TimestampMicrosecondType>();
        let time = |row: usize| event.is_valid(row).then(|| event.value(row));
        let found = self.store.is_erased(project, entity, &keys, time)?;
        let rows = (0..batch.num_rows()).filter(|&row| whole.value(row));
        rows.zip(found).filter(|(_, found)| *found).for_each(|(row, _)| refused[row] = true);
        Ok(())
    }
}

/// The ways in which a source's columns name an entity: for each view of it the columns of the entity's keys, in order.
pub(super) fn ways(catalog: &Catalog, source: &str, entity: &str, keys: &[Column]) -> Vec<Vec<String>> {
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
