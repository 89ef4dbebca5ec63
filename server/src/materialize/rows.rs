//! A batch of a table as rows of the online tier.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch, is_not_null, kernels::boolean::and};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType, TimestampSecondType};
use tidegate_offline::latest;
use tidegate_offline::table::snapshot::Snapshot;
use tidegate_online::{Origin, Rows};
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::definition::{Column, Feature, FeatureView, Source};
use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType as Defined;

use crate::error::{Error, Result};

/// Which columns of a table make up a view's rows.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    /// Key columns with the types the online tier has.
    keys: Vec<(String, DataType)>,
    event: String,
    created: Option<String>,
    features: Vec<(String, DataType)>,
    /// All of them, as the definitions have them.
    defined: Vec<Column>,
    windowed: bool,
}

/// Rows of the online tier; all columns have one length.
#[derive(Debug)]
pub(crate) struct Observations {
    pub(crate) keys: Vec<ArrayRef>,
    pub(crate) event: TimestampMicrosecondArray,
    pub(crate) created: Option<TimestampMicrosecondArray>,
    pub(crate) features: Vec<ArrayRef>,
    /// Rows left out: a null key or a null event time.
    pub(crate) skipped: u64,
}

/// Keys without observations; all columns have one length.
#[derive(Debug)]
pub(crate) struct KeyColumns {
    pub(crate) columns: Vec<ArrayRef>,
    pub(crate) rows: usize,
}

impl Observations {
    /// As the online tier takes them: rows that a version of the table added.
    pub(crate) fn added(&self, version: i64) -> Rows<'_> {
        Rows {
            keys: &self.keys,
            event: &self.event,
            created: self.created.as_ref(),
            features: &self.features,
            origin: Origin::Table { version },
        }
    }
}

impl Columns {
    pub(crate) fn of(catalog: &Catalog, view: &FeatureView, source: &Source) -> Self {
        let column = |key: Column| Column { name: view.key_columns.get(&key.name).cloned().unwrap_or(key.name), ..key };
        let keys: Vec<Column> = catalog.keys(view).into_iter().map(column).collect();
        let time = |name: &String| Column { name: name.clone(), data_type: Defined::Timestamp };
        let plain = |f: &Feature| Column { name: f.column.clone(), data_type: f.data_type.clone() };
        // Of windows what is read is what they are computed from.
        let features = match view.is_windowed() {
            true => view.inputs(),
            false => view.features.iter().map(plain).collect(),
        };
        let times = std::iter::once(&source.event_time).chain(&source.created_time).map(time);
        Self {
            defined: keys.iter().cloned().chain(times).chain(features.iter().cloned()).collect(),
            keys: keys.into_iter().map(|key| (key.name, key.data_type.to_arrow())).collect(),
            event: source.event_time.clone(),
            created: source.created_time.clone(),
            features: features.into_iter().map(|f| (f.name, f.data_type.to_arrow())).collect(),
            windowed: view.is_windowed(),
        }
    }

    /// A table that others write may have changed since the definitions were applied; a lossy cast could make one entity another.
    ///
    /// # Errors
    /// A column is missing or has another type.
    pub(crate) fn expect_of(&self, snapshot: &Snapshot) -> Result<()> {
        Ok(snapshot.expect(&self.defined)?)
    }

    /// Whether rows are events that all count, instead of values of which the newest does.
    pub(crate) fn is_windowed(&self) -> bool {
        self.windowed
    }

    /// The columns to read, each once.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let keys = self.keys.iter().map(|(name, _)| name);
        let features = self.features.iter().map(|(name, _)| name);
        for name in keys.chain([&self.event]).chain(&self.created).chain(features) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// What the newest observation of each key at a time is found by, and whether those that happen later are wanted too.
    pub(crate) fn latest(&self, until: Micros, later: bool) -> latest::Spec {
        let names = |columns: &[(String, DataType)]| columns.iter().map(|(name, _)| name.clone()).collect();
        latest::Spec {
            keys: names(&self.keys),
            event_time: self.event.clone(),
            created_time: self.created.clone(),
            features: names(&self.features),
            until: Some(until),
            later,
        }
    }

    /// No rows at all, for a write that only moves the cursor.
    pub(crate) fn none(&self) -> Observations {
        let empty = |columns: &[(String, DataType)]| {
            columns.iter().map(|(_, data_type)| arrow::array::new_empty_array(data_type)).collect()
        };
        let times = || TimestampMicrosecondArray::from(Vec::<i64>::new()).with_timezone("UTC");
        Observations {
            keys: empty(&self.keys),
            event: times(),
            created: self.created.as_ref().map(|_| times()),
            features: empty(&self.features),
            skipped: 0,
        }
    }

    /// The observations of a batch.
    pub(crate) fn read(&self, batch: &RecordBatch) -> Result<Observations> {
        let kept = self.observations(batch)?;
        let take = |(name, data_type): &(String, DataType)| cast(column(&kept, name)?, data_type, name);
        Ok(Observations {
            keys: self.keys.iter().map(take).collect::<Result<_>>()?,
            event: micros(column(&kept, &self.event)?, &self.event)?,
            created: self.created.as_ref().map(|name| micros(column(&kept, name)?, name)).transpose()?,
            features: self.features.iter().map(take).collect::<Result<_>>()?,
            skipped: (batch.num_rows() - kept.num_rows()) as u64,
        })
    }

    /// Key columns as the online tier takes them.
    pub(super) fn keys_of(&self, batch: &RecordBatch) -> Result<KeyColumns> {
        let take = |(name, data_type): &(String, DataType)| cast(column(batch, name)?, data_type, name);
        Ok(KeyColumns { columns: self.keys.iter().map(take).collect::<Result<_>>()?, rows: batch.num_rows() })
    }

    /// The batch without rows whose key or event time is null.
    fn observations(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let needed = self.keys.iter().map(|(name, _)| name).chain([&self.event]);
        let mut keep: Option<BooleanArray> = None;
        for name in needed {
            let array = column(batch, name)?;
            if array.null_count() > 0 {
                let present = is_not_null(array)?;
                keep = Some(match keep {
                    Some(so_far) => and(&so_far, &present)?,
                    None => present,
                });
            }
        }
        Ok(match keep {
            Some(keep) => filter_record_batch(batch, &keep)?,
            None => batch.clone(),
        })
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| Error::internal(format!("column `{name}` was not read")))
}

fn cast(array: &ArrayRef, to: &DataType, name: &str) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &strict).map_err(|error| {
        Error::invalid(format!(
            "column `{name}` has a value that is no {to}: {error}; correct the definition or the table"
        ))
    })
}

/// Times as microseconds. Finer ones round up, as in every read of the table: rounding never makes a value older than it is.
fn micros(array: &ArrayRef, name: &str) -> Result<TimestampMicrosecondArray> {
    let times: PrimitiveArray<TimestampMicrosecondType> = match array.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let nanos = array.as_primitive::<TimestampNanosecondType>();
            nanos.unary(|value| value.div_euclid(1000) + i64::from(value.rem_euclid(1000) != 0))
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            let seconds = array.as_primitive::<TimestampSecondType>();
            seconds.unary(|value| value.saturating_mul(1_000_000))
        }
        _ => {
            let utc = DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")));
            cast(array, &utc, name)?.as_primitive::<TimestampMicrosecondType>().clone()
        }
    };
    Ok(times.with_timezone("UTC"))
}
