//! Finds the observations with one row's keys in a view's files: keys and times of all rows, and the features of those that
//! match where nulls are skipped or windows add them up.

use arrow::array::{Array, ArrayRef, RecordBatch};
use futures::TryStreamExt;
use tidegate_schemas::time::{Address, Rank, knowledge_time};

use super::tally::{Seen, Tally};
use crate::error::Result;
use crate::point_in_time::columns::{Family, Lane, Rounding, Times, convert};
use crate::point_in_time::{Feature, Key, View};
use crate::table::read::{FileBatch, ReadOptions, read_file};

/// Matching rows held before their features are read.
const CHUNK_ROWS: usize = 1 << 16;

/// The keys looked for, each as a lane of one value.
struct Wanted(Vec<(Family, Lane)>);

impl Wanted {
    fn read(spine: &RecordBatch, view: &View) -> Result<Self> {
        let key = |key: &Key| {
            let in_table = view.snapshot.field(&key.table_column)?.data_type();
            let (family, array) = (Family::of(in_table), spine.column_by_name(&key.spine_column));
            let (Some(family), Some(array)) = (family, array) else { unreachable!("the plan's check knows both") };
            Ok((family, Lane::read(array, family)?))
        };
        Ok(Self(view.keys.iter().map(key).collect::<Result<_>>()?))
    }
}

/// The search through one view's files.
pub(super) struct Matches<'a> {
    view: &'a View,
    wanted: Wanted,
    /// Keys and times.
    ranked: Vec<String>,
    /// Rows with these keys and a null event time.
    pub(super) without_event_time: u64,
}

impl<'a> Matches<'a> {
    /// A search for the keys of the one row of `spine`.
    ///
    /// # Errors
    /// A key that its family can't hold.
    pub(super) fn new(view: &'a View, spine: &RecordBatch) -> Result<Self> {
        let keys = view.keys.iter().map(|key| &key.table_column);
        let times = [Some(&view.event_time), view.created_time.as_ref(), view.valid_to.as_ref()];
        let ranked = keys.chain(times.into_iter().flatten()).cloned().collect();
        Ok(Self { view, wanted: Wanted::read(spine, view)?, ranked, without_event_time: 0 })
    }

    /// Puts one file's observations into the tally.
    ///
    /// # Errors
    /// A file that is gone or can't be read.
    pub(super) async fn file(&mut self, file: usize, tally: &mut Tally) -> Result<()> {
        let snapshot = &self.view.snapshot;
        let options = ReadOptions { columns: Some(self.ranked.clone()), commits: true, ..ReadOptions::default() };
        let mut rows = read_file(snapshot, &snapshot.files[file], &options)?;
        let mut usable = Vec::new();
        while let Some(found) = rows.try_next().await? {
            self.batch(file, &found, tally, &mut usable)?;
            if usable.len() >= CHUNK_ROWS {
                self.features(std::mem::take(&mut usable), tally).await?;
            }
        }
        self.features(usable, tally).await
    }

    fn batch(&mut self, file: usize, found: &FileBatch, tally: &mut Tally, usable: &mut Vec<Seen>) -> Result<()> {
        let view = self.view;
        let lanes = self.lanes(&found.batch)?;
        let events = self.times(&found.batch, &view.event_time)?;
        let created = view.created_time.as_ref().map(|name| self.times(&found.batch, name)).transpose()?;
        let ends = view.valid_to.as_ref().map(|name| self.times(&found.batch, name)).transpose()?;
        let data = &view.snapshot.files[file];
        for (at, &row) in found.rows.iter().enumerate() {
            if !lanes.iter().zip(&self.wanted.0).all(|(lane, (_, wanted))| same(lane, at, wanted)) {
                continue;
            }
            if events.is_null(at) {
                self.without_event_time += 1;
                continue;
            }
            let value = |times: &Option<Times>| times.as_ref().filter(|t| !t.is_null(at)).map(|t| t.values[at]);
            let (event, created) = (events.values[at], value(&created));
            let address = Address { version: data.added_version, file: data.order, row };
            let known = knowledge_time(view.availability, event, created, found.commits[at]);
            let seen = Seen { rank: Rank { event, created, address }, known, valid_to: value(&ends), file };
            if tally.add(seen) && tally.needs_features() {
                usable.push(seen);
            }
        }
        Ok(())
    }

    fn lanes(&self, batch: &RecordBatch) -> Result<Vec<Lane>> {
        let lane = |(column, (family, _)): (&ArrayRef, &(Family, Lane))| Ok(Lane::read(column, *family)?);
        batch.columns().iter().zip(&self.wanted.0).map(lane).collect()
    }

    fn times(&self, batch: &RecordBatch, name: &str) -> Result<Times> {
        let times = batch.column_by_name(name).and_then(|array| Times::read(array, Rounding::Up));
        times.ok_or_else(|| crate::Error::Internal(format!("column `{name}` is no time any more")))
    }

    /// Ranks the features of observations of one file, given in file order.
    async fn features(&self, usable: Vec<Seen>, tally: &mut Tally) -> Result<()> {
        let Some(first) = usable.first() else { return Ok(()) };
        let (file, mut next) = (first.file, 0);
        let rows: Vec<u64> = usable.iter().map(|seen| seen.rank.address.row).collect();
        let mut batches = payload(self.view, file, rows)?;
        while let Some(found) = batches.try_next().await? {
            let columns = feature_columns(self.view, &found.batch)?;
            if let Some(held) = &mut tally.windows {
                let events = &usable[next..next + found.batch.num_rows()];
                held.add(events, &columns)?;
                next += events.len();
                continue;
            }
            for at in 0..found.batch.num_rows() {
                let seen = usable[next];
                next += 1;
                for (feature, _) in columns.iter().enumerate().filter(|(_, column)| column.is_valid(at)) {
                    tally.add_value(feature, seen);
                }
            }
        }
        Ok(())
    }
}

fn same(lane: &Lane, at: usize, wanted: &Lane) -> bool {
    if lane.nulls().is_some_and(|nulls| nulls.is_null(at)) {
        return false;
    }
    match (lane, wanted) {
        (Lane::Words(values, _), Lane::Words(wanted, _)) => values[at] == wanted[0],
        (Lane::Text(values), Lane::Text(wanted)) => values.value(at) == wanted.value(0),
        (Lane::Bytes(values), Lane::Bytes(wanted)) => values.value(at) == wanted.value(0),
        _ => false,
    }
}

/// Streams the columns of a view's features, each once, of some rows of a file, ascending.
pub(super) fn payload(
    view: &View,
    file: usize,
    rows: Vec<u64>,
) -> Result<futures::stream::BoxStream<'static, Result<FileBatch>>> {
    let mut columns: Vec<String> = view.features.iter().map(|feature| feature.column.clone()).collect();
    columns.sort_unstable();
    columns.dedup();
    let options = ReadOptions { columns: Some(columns), rows: Some(rows.into()), ..ReadOptions::default() };
    read_file(&view.snapshot, &view.snapshot.files[file], &options)
}

/// The features of a batch of [`payload`], in output order and of their own types.
pub(super) fn feature_columns(view: &View, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let column = |feature: &Feature| {
        let found = batch.column_by_name(&feature.column);
        let found = found.ok_or_else(|| crate::Error::Internal(format!("column `{}` was not read", feature.column)))?;
        Ok(convert(found, &feature.data_type)?)
    };
    view.features.iter().map(column).collect()
}
