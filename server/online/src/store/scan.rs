//! Reading a view back, in key order: for checks, tests and tools, not for serving.

use std::hash::Hasher;
use std::sync::Arc;

use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{ArrayRef, PrimitiveArray};
use rocksdb::{DB, DBRawIteratorWithThreadMode, ReadOptions};
use tidegate_schemas::definition::Column;
use tidegate_schemas::types::DataType;

use super::{Digest, Inner, Scanned, Store};
use crate::key::{self, KeyValue};
use crate::layout::{Layout, View, ViewId};
use crate::lookup::fields::Fields;
use crate::row::{self, Header};
use crate::{Error, Result};

/// A view's visible state, a chunk of rows at a time, as of one moment.
pub struct Scan<'s> {
    walk: Walk<'s>,
    view: Arc<View>,
    rows: usize,
}

/// One stored row of a scan.
pub(super) struct Found {
    pub(super) entity: Vec<u8>,
    pub(super) row: Vec<u8>,
    pub(super) header: Header,
    pub(super) fields: Arc<Fields>,
}

/// The rows of one view and epoch.
pub(super) struct Walk<'s> {
    inner: &'s Inner,
    layout: Arc<Layout>,
    fields: Vec<(u32, Arc<Fields>)>,
    prefix: [u8; 4],
    suffix: [u8; key::SUFFIX],
    iterator: DBRawIteratorWithThreadMode<'s, DB>,
}

impl std::fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("view", &self.view.name).finish_non_exhaustive()
    }
}

impl Store {
    /// Reads what lookups of the view can see, `rows` at a time. Values are those of the layout the view was registered with;
    /// features that a row lacks are null.
    ///
    /// # Errors
    /// An unknown view, a failing disk.
    pub fn scan(&self, view: ViewId, rows: usize) -> Result<Scan<'_>> {
        Ok(Scan { walk: Walk::new(&self.inner, view)?, view: self.inner.view(view)?, rows: rows.max(1) })
    }

    /// Summarises what lookups of the view can see.
    ///
    /// # Errors
    /// An unknown view, damaged rows, a failing disk.
    pub fn digest(&self, view: ViewId) -> Result<Digest> {
        let mut walk = Walk::new(&self.inner, view)?;
        let mut digest = Digest { rows: 0, hash: 0 };
        while let Some(found) = walk.next()? {
            // Keys of zero: the same in every process. Rows come in key order, so chaining is enough.
            let mut hasher = std::hash::DefaultHasher::new();
            hasher.write_u64(digest.hash);
            hasher.write(&found.entity);
            hasher.write_i64(found.header.event);
            hasher.write_i64(found.header.created.unwrap_or(0));
            hasher.write_u8(u8::from(found.header.created.is_some()));
            for nth in 0..found.fields.len() {
                let slot = found.fields.slot(nth, &found.row)?;
                hasher.write_usize(slot.map_or(usize::MAX, <[u8]>::len));
                hasher.write(slot.unwrap_or(&[]));
            }
            digest = Digest { rows: digest.rows + 1, hash: hasher.finish() };
        }
        Ok(digest)
    }
}

impl<'s> Walk<'s> {
    pub(super) fn new(inner: &'s Inner, view: ViewId) -> Result<Self> {
        let (layout_id, view) = (view.layout, inner.view(view)?);
        let layout = inner.layout(layout_id)?;
        let prefix = key::entity_type_prefix(view.entity_type);
        loop {
            let mark = view.mark();
            let mut options = ReadOptions::default();
            options.set_total_order_seek(true);
            options.fill_cache(false);
            let mut iterator = inner.db.raw_iterator_cf_opt(inner.rows()?, options);
            iterator.seek(prefix);
            // An epoch that was replaced before the iterator stood may be half deleted.
            if view.mark() == mark {
                let suffix = key::suffix(view.id, mark.epoch);
                return Ok(Self { inner, layout, fields: Vec::new(), prefix, suffix, iterator });
            }
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Found>> {
        while let Some((found, row)) = self.iterator.item().filter(|(found, _)| found.starts_with(&self.prefix)) {
            if !found.ends_with(&self.suffix) {
                self.iterator.next();
                continue;
            }
            let (entity, _, _) = key::split(found)?;
            let (entity, row, header) = (entity.to_vec(), row.to_vec(), Header::read(row)?);
            self.iterator.next();
            let fields = self.fields(header.layout)?;
            return Ok(Some(Found { entity, row, header, fields }));
        }
        self.iterator.status().map_err(Error::store("scanning rows"))?;
        Ok(None)
    }

    /// The name of a feature of the layout that is walked by.
    pub(super) fn feature(&self, nth: usize) -> &str {
        &self.layout.features[nth].name
    }

    fn fields(&mut self, stored: u32) -> Result<Arc<Fields>> {
        if let Some((_, fields)) = self.fields.iter().find(|(id, _)| *id == stored) {
            return Ok(fields.clone());
        }
        let fields = Arc::new(Fields::of(self.inner.layout(stored)?, &self.layout));
        self.fields.push((stored, fields.clone()));
        Ok(fields)
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Scanned>;

    fn next(&mut self) -> Option<Self::Item> {
        let chunk: Result<Vec<Found>> = std::iter::from_fn(|| self.walk.next().transpose()).take(self.rows).collect();
        match chunk {
            Ok(chunk) if chunk.is_empty() => None,
            Ok(chunk) => Some(columns(&self.view.keys, &self.walk.layout.features, &chunk)),
            Err(error) => Some(Err(error)),
        }
    }
}

/// Where columns are in incoming rows of a stored layout.
pub(super) fn fields(inner: &Inner, stored: u32, wanted: &Layout) -> Result<Arc<Fields>> {
    let stored = inner.layout(stored)?;
    Ok(Arc::new(match (&stored.tiles, &wanted.tiles) {
        (Some(stored), Some(wanted)) => Fields::new(stored.inputs.clone(), &wanted.inputs.features),
        _ => Fields::of(stored, wanted),
    }))
}

/// Stored rows as columns.
pub(super) fn columns(keys: &[Column], features: &[Column], chunk: &[Found]) -> Result<Scanned> {
    let times = |time: fn(&Header) -> Option<i64>| -> PrimitiveArray<TimestampMicrosecondType> {
        let times: PrimitiveArray<TimestampMicrosecondType> = chunk.iter().map(|found| time(&found.header)).collect();
        times.with_timezone("UTC")
    };
    let feature = |(nth, feature): (usize, &Column)| {
        let slot = |found: &Found| -> Result<Option<Vec<u8>>> {
            Ok(found.fields.slot(nth, &found.row)?.map(|slot| found.fields.widened(nth, slot)))
        };
        let slots = chunk.iter().map(slot).collect::<Result<Vec<_>>>()?;
        row::to_arrow(&feature.data_type, &slots.iter().map(Option::as_deref).collect::<Vec<_>>())
    };
    Ok(Scanned {
        keys: key_columns(keys, chunk)?,
        event: times(|header| Some(header.event)),
        created: times(|header| header.created),
        origin: chunk.iter().map(|found| found.header.origin).collect(),
        features: features.iter().enumerate().map(feature).collect::<Result<_>>()?,
    })
}

/// Keys go through the bytes that rows store values of their types as.
fn key_columns(keys: &[Column], chunk: &[Found]) -> Result<Vec<ArrayRef>> {
    let mut columns: Vec<Vec<Vec<u8>>> = keys.iter().map(|_| Vec::with_capacity(chunk.len())).collect();
    for found in chunk {
        let entity = key::decode_entity(&found.entity)?;
        if entity.values.len() != keys.len() {
            return Err(Error::corrupt(format!("an entity has {} keys, expected {}", entity.values.len(), keys.len())));
        }
        for ((column, key), value) in columns.iter_mut().zip(keys).zip(entity.values) {
            column.push(value_bytes(value, &key.data_type)?);
        }
    }
    let column = |(key, slots): (&Column, &Vec<Vec<u8>>)| {
        row::to_arrow(&key.data_type, &slots.iter().map(|slot| Some(slot.as_slice())).collect::<Vec<_>>())
    };
    keys.iter().zip(&columns).map(column).collect()
}

fn value_bytes(value: KeyValue, data_type: &DataType) -> Result<Vec<u8>> {
    Ok(match (value, data_type) {
        (KeyValue::Bool(value), DataType::Bool) => vec![u8::from(value)],
        (KeyValue::Int32(value), DataType::Int32) | (KeyValue::Date(value), DataType::Date) => {
            value.to_le_bytes().to_vec()
        }
        (KeyValue::Int64(value), DataType::Int64) | (KeyValue::Timestamp(value), DataType::Timestamp) => {
            value.to_le_bytes().to_vec()
        }
        (KeyValue::String(value), DataType::String) => value.into_bytes(),
        (KeyValue::Bytes(value), DataType::Bytes) => value,
        (_, data_type) => return Err(Error::corrupt(format!("an entity's key is not {data_type}"))),
    })
}
