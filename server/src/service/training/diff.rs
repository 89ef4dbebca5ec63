//! Which values of a sealed training set are others now, and why: both makings run side by side, in the spine's order, a batch of
//! each in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tidegate_offline::point_in_time::View;
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::Micros;

use crate::sealed::Sealed;
use crate::service::lockstep::{Lockstep, differing};
use crate::service::sealed::Again;
use crate::service::training_set::{At, Reading};
use crate::service::work::{self, Reports};
use crate::service::{Batches, Error, Principal, Result, Tidegate};

/// Names of columns that are read and not shown. No definition can have such a name.
const EVENT_TIME: &str = "\u{1}event_time ";

impl Tidegate {
    /// The values of a sealed set that differ in another, or in the same set made of the tables as they are now, by the sealed
    /// definitions. In the order of the rows; each with its reason.
    ///
    /// # Errors
    /// As [`Self::verify`]; `Precondition` for two sets that are not of one spine, or have different columns.
    pub async fn sealed_diff(
        &self,
        principal: &Principal,
        project: &str,
        name: &str,
        against: Option<&str>,
    ) -> Result<Batches> {
        let (before, after) = self.both(principal, project, name, against).await?;
        let left = self.reading_again(&before, At::Versions(&before.set.tables)).await?;
        let right = match against {
            Some(_) => self.reading_again(&after, At::Versions(&after.set.tables)).await?,
            None => self.reading_again(&after, At::Newest).await?,
        };
        let comparison = Comparison::new(&left, &right, &before.set)?;
        let schema = comparison.schema();
        let (left, right) = (with_event_times(left), with_event_times(right));
        let place = self.admission.training_sets.place().await?;
        let rows = Lockstep::new(self.run(project, left).await?, self.run(project, right).await?);
        let batches = work::start(&self.plans, place, async move |reports| {
            before.check_spine()?;
            comparison.run(rows, &reports).await.map_err(|error| before.explain(error))
        });
        Ok(Batches::new(schema, batches))
    }

    /// The schema of [`Self::sealed_diff`].
    ///
    /// # Errors
    /// As [`Self::sealed_diff`].
    pub async fn sealed_diff_schema(&self, principal: &Principal, project: &str, name: &str) -> Result<SchemaRef> {
        let again = self.again(self.sealed_set(principal, project, name).await?).await?;
        let reading = self.reading_again(&again, At::Versions(&again.set.tables)).await?;
        Ok(Comparison::new(&reading, &reading, &again.set)?.schema())
    }

    async fn both(
        &self,
        principal: &Principal,
        project: &str,
        name: &str,
        against: Option<&str>,
    ) -> Result<(Again, Again)> {
        let before = self.again(self.sealed_set(principal, project, name).await?).await?;
        let Some(other) = against else { return Ok((before.clone(), before)) };
        let after = self.again(self.sealed_set(principal, project, other).await?).await?;
        let (a, b) = (&before.set, &after.set);
        let chosen = |set: &Sealed| (set.spine.digest.clone(), set.options.split.clone(), set.options.sample.clone());
        if chosen(a) != chosen(b) {
            let message = format!(
                "sealed sets `{name}` and `{other}` are not of the same spine rows, so their rows don't correspond; compare sets \
                 that were sealed from one spine with one split and sample"
            );
            return Err(Error::new(ErrorKind::Precondition, message));
        }
        Ok((before, after))
    }
}

/// A reading whose views all tell their winner's event time.
pub(in crate::service) fn with_event_times(mut reading: Reading) -> Reading {
    for (at, view) in reading.spec.views.iter_mut().enumerate() {
        view.event_time_output.get_or_insert_with(|| format!("{EVENT_TIME}{at}"));
    }
    reading
}

/// Where the columns that a view adds are in a result that [`with_event_times`] made.
pub(in crate::service) struct ViewColumns {
    /// Of its features, in order.
    pub(in crate::service) features: Vec<usize>,
    /// Of its winner's event time.
    pub(in crate::service) event_time: usize,
    /// Of its status, where the set has one.
    pub(in crate::service) status: Option<usize>,
}

/// Finds them by their names, which are the spine's nowhere.
pub(in crate::service) fn view_columns(reading: &Reading) -> Result<Vec<ViewColumns>> {
    let plan = reading.clone().plan()?;
    let schema = plan.schema().as_arrow();
    let view = |view: &View| -> Result<ViewColumns> {
        let features = view.features.iter().map(|feature| schema.index_of(&feature.output));
        let event_time = view.event_time_output.as_deref().unwrap_or_default();
        Ok(ViewColumns {
            features: features.collect::<std::result::Result<_, _>>()?,
            event_time: schema.index_of(event_time)?,
            status: view.status_output.as_ref().map(|name| schema.index_of(name)).transpose()?,
        })
    };
    reading.spec.views.iter().map(view).collect()
}

/// One column held against its counterpart.
struct Compared {
    name: String,
    left: usize,
    right: usize,
    event_times: (usize, usize),
    /// Whether values are made of many observations.
    windowed: bool,
    source: String,
    versions: (i64, i64),
}

/// Two makings of one spine, and what is shown of their differences.
struct Comparison {
    compared: Vec<Compared>,
    /// Keys and time: fields of the result, and where they are in the spine.
    spine: Vec<(Field, usize)>,
    sealed_at: Micros,
}

/// One value that differs.
struct Found {
    row: usize,
    column: usize,
}

impl Comparison {
    fn new(left: &Reading, right: &Reading, sealed: &Sealed) -> Result<Self> {
        let (before, mut after) = (columns(left)?, by_name(columns(right)?));
        let mut compared = Vec::with_capacity(before.len());
        let mut missing = Vec::new();
        for (name, left) in before {
            match after.remove(&name) {
                Some(right) => compared.push(Compared {
                    left: left.at,
                    right: right.at,
                    event_times: (left.event_time, right.event_time),
                    windowed: left.windowed,
                    source: left.source,
                    versions: (left.version, right.version),
                    name,
                }),
                None => missing.push(name),
            }
        }
        missing.extend(after.into_keys());
        if !missing.is_empty() {
            let message =
                format!("one of the two sets has no column {}; compare sets of the same features", missing.join(", "));
            return Err(Error::new(ErrorKind::Precondition, message));
        }
        Ok(Self { compared, spine: spine_fields(left), sealed_at: sealed.created_at })
    }

    fn schema(&self) -> SchemaRef {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let spine: Fields = self.spine.iter().map(|(field, _)| field.clone()).collect();
        Arc::new(Schema::new(vec![
            Field::new("row", DataType::UInt64, false),
            Field::new("spine", DataType::Struct(spine), false),
            Field::new("feature", DataType::Utf8, false),
            Field::new("before", DataType::Utf8, true),
            Field::new("after", DataType::Utf8, true),
            Field::new("reason", DataType::Utf8, false),
            Field::new("event_time_before", time.clone(), true),
            Field::new("event_time_after", time, true),
            Field::new("source", DataType::Utf8, false),
            Field::new("version_before", DataType::Int64, false),
            Field::new("version_after", DataType::Int64, false),
        ]))
    }

    async fn run(&self, mut rows: Lockstep, reports: &Reports<RecordBatch>) -> Result<()> {
        let mut first_row = 0;
        while let Some((left, right)) = rows.next().await? {
            let found = self.find(&left, &right)?;
            if !found.is_empty() {
                reports.send(self.show(&found, &left, &right, first_row)?).await;
            }
            first_row += left.num_rows() as u64;
        }
        Ok(())
    }

    /// What differs, by row and then in the order of the columns.
    fn find(&self, left: &RecordBatch, right: &RecordBatch) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for (column, of) in self.compared.iter().enumerate() {
            let rows = differing(left.column(of.left), right.column(of.right))?;
            found.extend(rows.into_iter().map(|row| Found { row, column }));
        }
        found.sort_by_key(|found| (found.row, found.column));
        Ok(found)
    }

    fn show(&self, found: &[Found], left: &RecordBatch, right: &RecordBatch, first_row: u64) -> Result<RecordBatch> {
        let of = |found: &Found| &self.compared[found.column];
        let event_time = |batch: &RecordBatch, column: usize, row: usize| {
            let times = batch.column(column).as_primitive::<TimestampMicrosecondType>();
            times.is_valid(row).then(|| times.value(row))
        };
        let before: Vec<Option<Micros>> = found.iter().map(|f| event_time(left, of(f).event_times.0, f.row)).collect();
        let after: Vec<Option<Micros>> = found.iter().map(|f| event_time(right, of(f).event_times.1, f.row)).collect();
        type Times<'a> = (&'a Option<Micros>, &'a Option<Micros>);
        let reason = |(found, (before, after)): (&Found, Times<'_>)| self.reason(of(found), *before, *after);
        let reasons = found.iter().zip(before.iter().zip(&after)).map(reason);
        let rows = UInt64Array::from_iter_values(found.iter().map(|found| first_row + found.row as u64));
        let places = UInt64Array::from_iter_values(found.iter().map(|found| found.row as u64));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows),
            Arc::new(self.spine_rows(left, &places)?),
            Arc::new(found.iter().map(|found| Some(of(found).name.as_str())).collect::<StringArray>()),
            texts(found, left, |column| self.compared[column].left)?,
            texts(found, right, |column| self.compared[column].right)?,
            Arc::new(reasons.map(Some).collect::<StringArray>()),
            Arc::new(TimestampMicrosecondArray::from(before.clone()).with_timezone("UTC")),
            Arc::new(TimestampMicrosecondArray::from(after.clone()).with_timezone("UTC")),
            Arc::new(found.iter().map(|found| Some(of(found).source.as_str())).collect::<StringArray>()),
            Arc::new(found.iter().map(|found| of(found).versions.0).collect::<Int64Array>()),
            Arc::new(found.iter().map(|found| of(found).versions.1).collect::<Int64Array>()),
        ];
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }

    fn spine_rows(&self, batch: &RecordBatch, places: &UInt64Array) -> Result<StructArray> {
        let field = |(field, at): &(Field, usize)| -> Result<_> {
            Ok((Arc::new(field.clone()), take(batch.column(*at), places, None)?))
        };
        let columns = self.spine.iter().map(field).collect::<Result<Vec<_>>>()?;
        Ok(StructArray::from(columns))
    }

    /// Why a value is another one, told by the event times of the two observations it came from, of windows the newest ones.
    fn reason(&self, of: &Compared, before: Option<Micros>, after: Option<Micros>) -> &'static str {
        match after {
            // None is less than any time.
            _ if after < before => "removed",
            _ if after == before && of.windowed => "other events",
            _ if after == before => "correction",
            // It had happened when the set was sealed, and the table did not have it yet.
            Some(at) if at <= self.sealed_at => "late arrival",
            _ => "new observation",
        }
    }
}

/// Values as text; null stays null.
fn texts(found: &[Found], batch: &RecordBatch, at: impl Fn(usize) -> usize) -> Result<ArrayRef> {
    let options = FormatOptions::default().with_display_error(true);
    let mut formatters: BTreeMap<usize, ArrayFormatter<'_>> = BTreeMap::new();
    let mut texts = Vec::with_capacity(found.len());
    for Found { row, column } in found {
        let values = batch.column(at(*column));
        if !formatters.contains_key(column) {
            formatters.insert(*column, ArrayFormatter::try_new(values, &options)?);
        }
        texts.push(values.is_valid(*row).then(|| formatters[column].value(*row).to_string()));
    }
    Ok(Arc::new(StringArray::from(texts)))
}

/// A column that a view adds.
struct Added {
    at: usize,
    event_time: usize,
    windowed: bool,
    source: String,
    version: i64,
}

fn by_name(columns: Vec<(String, Added)>) -> BTreeMap<String, Added> {
    columns.into_iter().collect()
}

/// The columns that a reading adds to its spine as asked for, by name.
fn columns(reading: &Reading) -> Result<Vec<(String, Added)>> {
    let places = view_columns(&with_event_times(reading.clone()))?;
    let mut columns = Vec::new();
    for (view, at) in reading.spec.views.iter().zip(places) {
        let added = |place: usize| Added {
            at: place,
            event_time: at.event_time,
            windowed: view.is_windowed(),
            source: view.snapshot.name.clone(),
            version: view.snapshot.version,
        };
        let features = view.features.iter().zip(&at.features);
        columns.extend(features.map(|(feature, place)| (feature.output.clone(), added(*place))));
        columns.extend(view.event_time_output.iter().map(|name| (name.clone(), added(at.event_time))));
        columns.extend(view.status_output.iter().zip(at.status).map(|(name, place)| (name.clone(), added(place))));
    }
    Ok(columns)
}

/// What tells a reader which row is meant: the keys of all views, and the time.
fn spine_fields(reading: &Reading) -> Vec<(Field, usize)> {
    let spine = reading.spine.schema().as_arrow();
    let keys = reading.spec.views.iter().flat_map(|view| &view.keys).map(|key| key.spine_column.as_str());
    let mut fields: Vec<(Field, usize)> = Vec::new();
    for name in keys.chain([reading.spec.spine_time.as_str()]) {
        let known = fields.iter().any(|(field, _)| field.name() == name);
        if let Some((at, field)) = spine.fields().find(name).filter(|_| !known) {
            fields.push((field.as_ref().clone().with_nullable(true), at));
        }
    }
    fields
}
