//! One worker of a scan: the keys and times of a piece, then what is left of it into slots.
//!
//! Keys come first: of a row whose keys the spine does not have, nothing else is decoded. Columns that pages can be read
//! of (see `pages`) are read row by row; for others the Arrow reader decodes the piece.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, TimeUnit};
use parquet::basic::Type;
use tidegate_schemas::time::{Availability, Micros, UpperBound, knowledge_time};

use super::order::order;
use super::slots::{Created, Offer, Offers, Reached};
use super::{Found, Piece, Scan, repeat};
use crate::point_in_time::columns::{Family, Lane, Rounding, Times, Unit, convert};
use crate::point_in_time::dense::{Dense, physical};
use crate::point_in_time::files::{Fetched, Files, Place};
use crate::point_in_time::ids::Ids;
use crate::point_in_time::pages::{Rows, Values};
use crate::point_in_time::spine::NONE;
use crate::point_in_time::windows::events::Chunk;
use crate::point_in_time::windows::{inputs, reach};
use crate::point_in_time::{Error, Result};
use crate::table::compact::COMMITTED;

/// Rows the Arrow reader decodes at once.
const BATCH_ROWS: usize = 16_384;

/// Observations offered at once: they stay in a core's cache.
const OFFERS: usize = 4_096;

pub(super) struct Worker<'a, C> {
    scan: &'a Scan,
    reached: &'a Reached,
    /// Per group whether the piece's observations may be of use to it; empty where all may.
    asking: Vec<bool>,
    pub(super) found: Found<C>,
    offers: Offers<C>,
}

/// A piece while its columns are read.
struct Reading<'a> {
    piece: &'a Piece,
    places: Places,
    bytes: Arc<Fetched>,
    /// Whether a key may be null.
    nulls: bool,
}

/// Where the columns of phase 1 are in one file.
struct Places {
    keys: Vec<(Place, Family)>,
    event: Place,
    created: Option<Place>,
    valid_to: Option<Place>,
    /// When each row was committed, where a file holds rows of several commits.
    committed: Option<Place>,
    /// The feature that must not be null.
    needed: Option<Place>,
    /// The columns that windows aggregate, each with the type it is read as.
    inputs: Vec<(Place, DataType)>,
}

/// Rows of a piece whose keys the spine has, ascending, each with its group.
#[derive(Default)]
struct Matched {
    rows: Vec<u32>,
    groups: Vec<u32>,
}

impl Matched {
    /// Keeps the rows at the positions that `keep` says. Each is written: no branch that could be guessed wrong.
    fn retain(&mut self, keep: impl Fn(usize, u32) -> bool) {
        let mut left = 0;
        for at in 0..self.rows.len() {
            let group = self.groups[at];
            (self.rows[left], self.groups[left]) = (self.rows[at], group);
            left += usize::from(keep(at, group));
        }
        self.rows.truncate(left);
        self.groups.truncate(left);
    }
}

/// The times of matched rows.
struct Observed {
    event: Times,
    created: Option<Times>,
    valid_to: Option<Times>,
    committed: Option<Times>,
}

impl<'a, C: Created> Worker<'a, C> {
    pub(super) fn new(scan: &'a Scan, reached: &'a Reached) -> Self {
        let wait = Micros::from(scan.view.upper == UpperBound::Exclusive);
        let offers = Offers { offers: Vec::with_capacity(OFFERS), until: Vec::new(), first_row: 0, wait };
        Self { scan, reached, asking: Vec::new(), found: Found::new(scan), offers }
    }

    /// Offers every observation of a piece.
    pub(super) async fn piece(&mut self, piece: &Piece) -> Result<()> {
        let (scan, files) = (self.scan, &self.scan.files);
        let places = self.places(piece.file)?;
        let nulls = places.keys.iter().any(|(place, _)| self.may_hold_nulls(piece, place));
        if !self.ask(piece) && !nulls {
            scan.metrics.row_groups_pruned.add(usize::from(piece.rows.start == 0));
            return Ok(());
        }
        let mut stored: Vec<usize> = places.all().filter_map(Place::stored).collect();
        stored.sort_unstable();
        stored.dedup();
        let bytes = Arc::new(files.fetch(piece.file, piece.group, &stored).await?);
        let reading = Reading { piece, places, bytes, nulls };
        scan.metrics.rows_decoded.add(piece.rows.len());
        let mut matched = self.matched(&reading)?;
        if !self.asking.is_empty() {
            matched.retain(|_, group| self.asking[group as usize]);
        }
        if let Some(groups) = &scan.groups {
            matched.retain(|_, group| groups.contains(&group));
        }
        drop_deleted(files.files[piece.file].data.deleted_rows.as_deref(), &reading, files, &mut matched);
        self.drop_nulls(&reading, &mut matched)?;
        if matched.rows.is_empty() {
            return Ok(());
        }
        let rows = Rows::Some(&matched.rows);
        let times = |place: &Option<Place>| place.as_ref().map(|it| self.times(&reading, it, &rows)).transpose();
        let observed = Observed {
            event: self.times(&reading, &reading.places.event, &rows)?,
            created: times(&reading.places.created)?,
            valid_to: times(&reading.places.valid_to)?,
            committed: times(&reading.places.committed)?,
        };
        if matches!(self.found, Found::Events(..)) {
            self.collect(&reading, &matched, &observed)?;
        } else {
            self.offer(&reading, &matched, &observed);
        }
        self.found.account()
    }

    /// Marks the groups that the piece's observations may be of use to; says whether there are any.
    fn ask(&mut self, piece: &Piece) -> bool {
        self.asking.clear();
        let latest = self.scan.index.latest();
        // Looking at every group costs more than it saves where there are many more of them than observations.
        let Some((first, last)) = piece.events.filter(|_| latest.len() <= piece.rows.len().saturating_mul(4)) else {
            return true;
        };
        let asks = |(group, latest): (usize, &Micros)| *latest >= first && self.reached.get(group) <= last;
        self.asking.extend(latest.iter().enumerate().map(asks));
        let any = self.asking.contains(&true);
        if !self.asking.contains(&false) {
            self.asking.clear();
        }
        any
    }

    /// Takes out the rows where the feature that is looked for is null.
    fn drop_nulls(&self, reading: &Reading<'_>, matched: &mut Matched) -> Result<()> {
        let Some(place) = reading.places.needed.as_ref().filter(|_| !matched.rows.is_empty()) else { return Ok(()) };
        let array = self.array(reading, place, &Rows::Some(&matched.rows))?;
        matched.retain(|at, _| array.is_valid(at));
        Ok(())
    }

    fn places(&self, file: usize) -> Result<Places> {
        let (view, files) = (&self.scan.view, &self.scan.files);
        let mut keys = Vec::with_capacity(view.keys.len());
        for key in &view.keys {
            let family = files.schema.field_with_name(&key.table_column).ok().and_then(|f| Family::of(f.data_type()));
            // Planning refused keys without a family.
            let Some(family) = family else { continue };
            keys.push((files.place(file, &key.table_column)?, family));
        }
        let place = |column: &Option<String>| column.as_ref().map(|column| files.place(file, column)).transpose();
        Ok(Places {
            keys,
            event: files.place(file, &view.event_time)?,
            created: place(&view.created_time)?,
            valid_to: place(&view.valid_to)?,
            committed: (view.availability == Availability::Commit && files.files[file].data.compacted)
                .then(|| files.place(file, COMMITTED))
                .transpose()?,
            needed: place(&self.scan.needed)?,
            inputs: inputs(view)
                .into_iter()
                .map(|(column, data_type)| Ok((files.place(file, &column)?, data_type)))
                .collect::<Result<_>>()?,
        })
    }

    /// Narrows the piece's rows key by key.
    fn matched(&self, reading: &Reading<'_>) -> Result<Matched> {
        let all = reading.piece.rows.clone();
        if reading.places.keys.is_empty() {
            return Ok(Matched { rows: all.clone().map(|row| row as u32).collect(), groups: vec![0; all.len()] });
        }
        // Rows with a null key are counted, also those that other keys rule out.
        let counted = reading.nulls;
        let mut matched = Matched::default();
        let mut null_keys = vec![false; if counted { all.len() } else { 0 }];
        for at in 0..reading.places.keys.len() {
            let narrowed = at > 0 && !counted;
            if narrowed && matched.rows.is_empty() {
                break;
            }
            let rows = if narrowed { Rows::Some(&matched.rows) } else { Rows::All(all.clone()) };
            let mut ids = self.ids(reading, at, &rows)?;
            if counted && let Some(nulls) = ids.nulls.finish() {
                null_keys.iter_mut().enumerate().for_each(|(row, null)| *null |= nulls.is_null(row));
            }
            matched = match (at, narrowed) {
                (0, _) => keep(all.clone().map(|row| row as u32), ids.values.into_iter()),
                (_, true) => self.pair(at, &matched, ids.values),
                (_, false) => {
                    let of_matched = matched.rows.iter().map(|row| ids.values[*row as usize - all.start]);
                    self.pair(at, &matched, of_matched.collect())
                }
            };
        }
        self.scan.metrics.null_keys.add(null_keys.iter().filter(|null| **null).count());
        Ok(matched)
    }

    fn pair(&self, at: usize, matched: &Matched, mut ids: Vec<u32>) -> Matched {
        self.scan.index.pair(at, &matched.groups, &mut ids);
        keep(matched.rows.iter().copied(), ids.into_iter())
    }

    fn may_hold_nulls(&self, Piece { file, group, .. }: &Piece, place: &Place) -> bool {
        match place {
            Place::Constant(value) => value.is_null(0),
            Place::Stored(column) => self.scan.files.files[*file].null_count(*group, *column) != Some(0),
        }
    }

    /// The id of key column number `at` in each of the rows, or [`NONE`].
    fn ids(&self, reading: &Reading<'_>, at: usize, rows: &Rows<'_>) -> Result<Values<u32>> {
        let (files, Piece { file, group, .. }) = (&self.scan.files, reading.piece);
        let (place, family) = &reading.places.keys[at];
        let (ids, mut out) = (self.scan.index.ids(at), Values::with_capacity(rows.len()));
        if let Place::Stored(column) = place
            && let Some(physical) = word_type(files.stored_type(*file, *column), *family)
            && let Some(mut chunk) = files.chunk(*file, *group, *column, Some(physical), &reading.bytes)?
        {
            let read = match (ids, physical) {
                (Ids::Dense(ids), Type::INT32) => {
                    chunk.numbers(rows, NONE, |value: i32| ids.find(value.into()), &mut out)
                }
                (Ids::Dense(ids), _) => chunk.numbers(rows, NONE, |value: i64| ids.find(value), &mut out),
                (Ids::Hashed(ids), Type::INT32) => {
                    chunk.numbers(rows, NONE, |value: i32| ids.find(value.into()), &mut out)
                }
                (Ids::Hashed(ids), _) => chunk.numbers(rows, NONE, |value: i64| ids.find(value), &mut out),
                (Ids::Interned(ids), _) => chunk.texts(rows, NONE, |text| ids.find(text), &mut out),
            };
            read.map_err(|error| files.broken(&files.files[*file], error))?;
            return Ok(out);
        }
        let array = self.array(reading, place, rows)?;
        let lane = Lane::read(&array, *family).map_err(|error| files.broken(&files.files[*file], error))?;
        ids.find(&lane, &mut out.values);
        match lane.nulls() {
            Some(nulls) => out.nulls.append_buffer(nulls),
            None => out.nulls.append_n_non_nulls(lane.len()),
        }
        Ok(out)
    }

    /// A time column at some rows.
    fn times(&self, reading: &Reading<'_>, place: &Place, rows: &Rows<'_>) -> Result<Times> {
        let (files, Piece { file, group, .. }) = (&self.scan.files, reading.piece);
        if let Place::Stored(column) = place
            && let stored = files.stored_type(*file, *column)
            && let Some(unit) = Unit::of(stored)
            && let Some(mut chunk) = files.chunk(*file, *group, *column, physical(stored), &reading.bytes)?
        {
            let mut out = Values::with_capacity(rows.len());
            let micros = |value: i64| unit.to_micros(value, Rounding::Up);
            let read = match physical(stored) {
                Some(Type::INT32) => chunk.numbers(rows, 0, |days: i32| micros(days.into()), &mut out),
                _ if unit == Unit::Micros => chunk.numbers(rows, 0, |value: i64| value, &mut out),
                _ => chunk.numbers(rows, 0, micros, &mut out),
            };
            read.map_err(|error| files.broken(&files.files[*file], error))?;
            return Ok(Times { values: out.values.into(), nulls: out.nulls.finish() });
        }
        let array = self.array(reading, place, rows)?;
        Times::read(&array, Rounding::Up).ok_or_else(|| Error::TimeType {
            place: format!("view `{}`: file `{}`", self.scan.view.alias, files.files[*file].data.path),
            column: self.scan.view.event_time.clone(),
            data_type: array.data_type().clone(),
        })
    }

    /// A column at some rows, by the Arrow reader.
    fn array(&self, reading: &Reading<'_>, place: &Place, rows: &Rows<'_>) -> Result<ArrayRef> {
        let (files, Piece { file, group, .. }) = (&self.scan.files, reading.piece);
        let broken = |error| files.broken(&files.files[*file], error);
        let column = match place {
            Place::Constant(value) => return repeat(value, rows.len()).map_err(broken),
            Place::Stored(column) => *column,
        };
        let selection = rows.selection(files.files[*file].group_rows(*group) as usize);
        let bytes = reading.bytes.as_ref().clone();
        let mut reader = files.read(*file, *group, &[column], bytes, selection, BATCH_ROWS)?;
        let mut arrays = Vec::new();
        while let Some(batch) = files.next(*file, &mut reader)? {
            arrays.push(batch.column(0).clone());
        }
        arrow::compute::concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>()).map_err(broken)
    }

    /// Offers the matched observations.
    fn offer(&mut self, reading: &Reading<'_>, matched: &Matched, observed: &Observed) {
        let scan = self.scan;
        let file = &scan.files.files[reading.piece.file];
        self.offers.first_row = file.first_row + file.group_starts[reading.piece.group] + 1;
        let cut = scan.as_of.unwrap_or(Micros::MAX);
        let availability = scan.view.availability;
        let (mut late, mut no_event, mut no_created) = (0, 0, 0);
        for (group, at) in order::<C>(scan, &matched.groups, &observed.event) {
            let at = at as usize;
            let Some(event) = observed.event.get(at) else {
                no_event += 1;
                continue;
            };
            let created = observed.created.as_ref().and_then(|created| created.get(at));
            no_created += usize::from(availability == Availability::Created && created.is_none());
            let committed = observed.committed.as_ref().map_or(file.data.committed, |committed| committed.get(at));
            // The first moment at which a reader sees it; none when that is never.
            let Some(happened) = event.checked_add(self.offers.wait) else { continue };
            let known = knowledge_time(availability, event, created, committed);
            let Some(known) = known.filter(|known| *known <= cut) else {
                late += usize::from(happened <= scan.index.latest()[group as usize]);
                continue;
            };
            let (seen, created) = (known.max(happened), C::of(created));
            self.offers.offers.push(Offer { group, row: matched.rows[at], seen, event, created });
            if let Some(valid_to) = &observed.valid_to {
                self.offers.until.push(valid_to.get(at));
            }
            if self.offers.offers.len() == OFFERS {
                late += self.flush();
            }
        }
        late += self.flush();
        scan.metrics.not_yet_known.add(late);
        scan.metrics.null_event_times.add(no_event);
        scan.metrics.null_created_times.add(no_created);
    }

    /// Keeps the matched observations that some row of the spine may count, with the columns to aggregate.
    fn collect(&mut self, reading: &Reading<'_>, matched: &Matched, observed: &Observed) -> Result<()> {
        let (scan, index) = (self.scan, &self.scan.index);
        let file = &scan.files.files[reading.piece.file];
        let (availability, cut) = (scan.view.availability, scan.as_of.unwrap_or(Micros::MAX));
        let reach = reach(&scan.view).unwrap_or(Micros::MAX);
        // From here on an event is in reach of whichever group: looking that up is a look at memory.
        let near = scan.window.latest.saturating_sub(reach);
        let (mut chunk, mut rows) = (Chunk::with_room(matched.rows.len(), &scan.view), Vec::new());
        let (mut late, mut no_event, mut no_created) = (0, 0, 0);
        for (at, (row, group)) in matched.rows.iter().zip(&matched.groups).enumerate() {
            let Some(event) = observed.event.get(at) else {
                no_event += 1;
                continue;
            };
            let created = observed.created.as_ref().and_then(|created| created.get(at));
            no_created += usize::from(availability == Availability::Created && created.is_none());
            let committed = observed.committed.as_ref().map_or(file.data.committed, |committed| committed.get(at));
            let Some(happened) = event.checked_add(self.offers.wait) else { continue };
            let latest = index.latest()[*group as usize];
            let known = knowledge_time(availability, event, created, committed).filter(|known| *known <= cut);
            let Some(seen) = known.map(|known| known.max(happened)).filter(|seen| *seen <= latest) else {
                late += usize::from(happened <= latest);
                continue;
            };
            if event >= near || event >= index.earliest(*group).saturating_sub(reach) {
                rows.push(*row);
                chunk.push(*group, seen, event, created);
            }
        }
        scan.metrics.not_yet_known.add(late);
        scan.metrics.null_event_times.add(no_event);
        scan.metrics.null_created_times.add(no_created);
        if rows.is_empty() {
            return Ok(());
        }
        let input = |(place, data_type)| self.input(reading, place, data_type, &Rows::Some(&rows));
        chunk.inputs = reading.places.inputs.iter().map(|(place, of)| input((place, of))).collect::<Result<_>>()?;
        scan.metrics.events.add(rows.len());
        if let Found::Events(collected, _) = &mut self.found {
            collected.push(chunk);
        }
        Ok(())
    }

    /// A column at some rows as another type.
    fn input(&self, reading: &Reading<'_>, place: &Place, of: &DataType, rows: &Rows<'_>) -> Result<ArrayRef> {
        let (files, Piece { file, group, .. }) = (&self.scan.files, reading.piece);
        let broken = |error| files.broken(&files.files[*file], error);
        if let Place::Stored(column) = place {
            let mut dense = Dense::new(of, rows.len());
            let physical = dense.physical(files.stored_type(*file, *column));
            if let Some(mut chunk) = files.chunk(*file, *group, *column, physical, &reading.bytes)? {
                dense.read(&mut chunk, rows).map_err(|error| files.broken(&files.files[*file], error))?;
                let arrays = dense.finish().map_err(broken)?;
                return arrow::compute::concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>()).map_err(broken);
            }
        }
        convert(&self.array(reading, place, rows)?, of).map_err(broken)
    }

    fn flush(&mut self) -> usize {
        let late = self.found.offer_all(&self.scan.index, &self.offers, self.reached);
        self.offers.offers.clear();
        self.offers.until.clear();
        late
    }
}

impl Places {
    fn all(&self) -> impl Iterator<Item = &Place> {
        let keys = self.keys.iter().map(|(place, _)| place);
        keys.chain([&self.event])
            .chain(&self.created)
            .chain(&self.valid_to)
            .chain(&self.committed)
            .chain(&self.needed)
            .chain(self.inputs.iter().map(|(place, _)| place))
    }
}

/// The rows that have a group. Each is written and then kept or not: no branch that could be guessed wrong.
fn keep(rows: impl ExactSizeIterator<Item = u32>, groups: impl Iterator<Item = u32>) -> Matched {
    let mut matched = Matched { rows: vec![0; rows.len()], groups: vec![0; rows.len()] };
    let mut left = 0;
    for (row, group) in rows.zip(groups) {
        (matched.rows[left], matched.groups[left]) = (row, group);
        left += usize::from(group != NONE);
    }
    matched.rows.truncate(left);
    matched.groups.truncate(left);
    matched
}

/// The physical type of a key column whose plain values are the words or texts of `family`; `None` for others.
fn word_type(stored: &DataType, family: Family) -> Option<Type> {
    let plain = match family {
        Family::Integer => matches!(stored, DataType::Int32 | DataType::Int64),
        Family::Date => stored == &DataType::Date32,
        Family::Timestamp => matches!(stored, DataType::Timestamp(TimeUnit::Microsecond, _)),
        Family::Nanos => matches!(stored, DataType::Timestamp(TimeUnit::Nanosecond, _)),
        Family::Text => matches!(stored, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
        Family::Bytes => matches!(stored, DataType::Binary | DataType::LargeBinary | DataType::BinaryView),
        Family::Unsigned | Family::Boolean => false,
    };
    if plain { physical(stored) } else { None }
}

/// Takes out the rows of a deletion vector.
fn drop_deleted(deleted: Option<&[u64]>, reading: &Reading<'_>, files: &Files, matched: &mut Matched) {
    let Some(deleted) = deleted else { return };
    let start = files.files[reading.piece.file].group_starts[reading.piece.group];
    let mut deleted = deleted[deleted.partition_point(|row| *row < start)..].iter().map(|row| row - start).peekable();
    let is_deleted = |row: u32| {
        while deleted.next_if(|deleted| *deleted < row.into()).is_some() {}
        deleted.peek() == Some(&row.into())
    };
    let gone: Vec<bool> = matched.rows.iter().copied().map(is_deleted).collect();
    matched.retain(|at, _| !gone[at]);
}
