//! From entities to columns.
//!
//! Most rows have a value for everything that is asked: those of fixed width are copied row by row to where each output's column
//! lies, by a list made once for each layout ([`Copies`]). Where something is missing or old, [`slot`] holds the statuses' rules.

use std::sync::Arc;

use arrow_array::Array;
use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType;

use super::find::{At, Found};
use super::plan::{Copies, Output, Places, Plan, PlanView};
use super::windows::Computed;
use super::{LookupOptions, Observed};
use crate::default::Default as DefaultValue;
use crate::expiry;
use crate::reply::{Column, Marks, Reply, Slots, Status, ViewTimes};
use crate::row::{self, Header, Origin, RowEncoder, bool_of, text};
use crate::store::Inner;
use crate::{Error, Result};

/// What one view has for one entity row.
enum Seen<'a> {
    Nothing,
    /// Nobody looked.
    Unread,
    Row(SeenRow<'a>),
}

struct SeenRow<'a> {
    row: &'a [u8],
    event: Micros,
    expired: bool,
    /// Which of the view's layouts it was written under.
    layout: usize,
}

impl<'a> Seen<'a> {
    #[inline]
    fn row(&self) -> Option<&SeenRow<'a>> {
        match self {
            Self::Row(row) => Some(row),
            Self::Nothing | Self::Unread => None,
        }
    }
}

/// A view's rows and where their features are.
struct SeenView<'a> {
    rows: Vec<Seen<'a>>,
    layouts: Vec<(u32, Arc<Places>)>,
}

impl<'a> SeenView<'a> {
    fn new(rows: usize) -> Self {
        let mut seen = Self { rows: Vec::new(), layouts: Vec::new() };
        seen.rows.resize_with(rows, || Seen::Nothing);
        seen
    }

    fn put(
        &mut self,
        inner: &Inner,
        plan: &Plan,
        used: &PlanView,
        nth: usize,
        row: &'a [u8],
        now: Micros,
    ) -> Result<()> {
        let header = Header::read(row)?;
        let layout = match self.layouts.iter().position(|(id, _)| *id == header.layout) {
            Some(layout) => layout,
            None => {
                self.layouts.push((header.layout, used.places(inner, used.outputs(plan), header.layout)?));
                self.layouts.len() - 1
            }
        };
        let expired = expiry::expired(header.event, now, used.serve_ttl);
        self.rows[nth] = Seen::Row(SeenRow { row, event: header.event, expired, layout });
        Ok(())
    }
}

/// What one slot of a feature's column holds, and what is known about it.
struct Slot<'a> {
    bytes: Option<&'a [u8]>,
    status: Status,
    reason: u8,
}

/// The answer from what was found in the store, and computed from it.
pub(super) fn answer(
    inner: &Inner,
    plan: &Arc<Plan>,
    found: &Found,
    computed: &[Computed],
    now: Micros,
    options: LookupOptions,
) -> Result<Reply> {
    let rows = found.rows();
    let mut all: Vec<SeenView<'_>> = plan.views.iter().map(|_| SeenView::new(rows)).collect();
    found.each(plan, |view, nth, at| match at {
        At::Row(row) => all[view].put(inner, plan, &plan.views[view], nth, row, now),
        At::Unread => {
            all[view].rows[nth] = Seen::Unread;
            Ok(())
        }
    })?;
    for Computed { view, nth, row } in computed {
        match row {
            Some(row) => all[*view].put(inner, plan, &plan.views[*view], *nth, row, now)?,
            None => all[*view].rows[*nth] = Seen::Unread,
        }
    }
    reply(plan, &all, rows, now, options)
}

/// The answer from observations that are not in the store, one [`Observed`] for each view of the plan.
pub(super) fn answer_observed(
    inner: &Inner,
    plan: &Arc<Plan>,
    observed: &[Observed],
    rows: usize,
    now: Micros,
    options: LookupOptions,
) -> Result<Reply> {
    let stored = plan.views.iter().zip(observed).map(|(used, observed)| observed.encode(inner, used.layout, rows));
    let stored: Vec<Vec<Vec<u8>>> = stored.collect::<Result<_>>()?;
    let mut all: Vec<SeenView<'_>> = plan.views.iter().map(|_| SeenView::new(rows)).collect();
    for ((used, seen), stored) in plan.views.iter().zip(&mut all).zip(&stored) {
        for (nth, row) in stored.iter().enumerate().filter(|(_, row)| !row.is_empty()) {
            seen.put(inner, plan, used, nth, row, now)?;
        }
    }
    reply(plan, &all, rows, now, options)
}

impl Observed {
    /// The rows as they would be stored; an empty one where there is none.
    fn encode(&self, inner: &Inner, layout: u32, rows: usize) -> Result<Vec<Vec<u8>>> {
        let layout = inner.layout(layout)?;
        let columns = self.features.iter().map(|column| column.len()).chain([self.event.len()]);
        if let Some(length) = columns.into_iter().find(|&length| length != rows) {
            return Err(Error::Shape(format!("a column of observations has {length} rows, the lookup has {rows}")));
        }
        let encoder = RowEncoder::new(&layout.features, &layout.shape, &self.features)?;
        let encode = |row| {
            let mut bytes = Vec::new();
            if self.event.is_valid(row) {
                let origin = Origin::Table { version: 0 };
                let header = Header { layout: layout.id, event: self.event.value(row), created: None, origin };
                encoder.encode(&header, row, &mut bytes)?;
            }
            Ok(bytes)
        };
        (0..rows).map(encode).collect()
    }
}

fn reply(plan: &Arc<Plan>, all: &[SeenView<'_>], rows: usize, now: Micros, options: LookupOptions) -> Result<Reply> {
    let mut columns = Vec::new();
    columns.resize_with(plan.outputs.len(), Column::default);
    let mut reply = Reply {
        rows,
        views: Vec::new(),
        plan: plan.clone(),
        fixed: vec![0; plan.row_width * rows],
        columns,
        marks: Marks::default(),
    };
    for (used, seen) in plan.views.iter().zip(all) {
        let outputs = used.outputs(plan);
        Filling { used, outputs, seen, options, reply: &mut reply }.fill()?;
        if options.include_times {
            reply.views.push(times(used, seen, now));
        }
    }
    Ok(reply)
}

fn times(used: &PlanView, seen: &SeenView<'_>, now: Micros) -> ViewTimes {
    let event = |seen: &Seen<'_>| seen.row().map_or(Micros::MIN, |row| row.event);
    let age = |seen: &Seen<'_>| seen.row().map_or(-1, |row| expiry::age(row.event, now));
    ViewTimes {
        view: used.alias.clone(),
        event_times: seen.rows.iter().map(event).collect(),
        ages: seen.rows.iter().map(age).collect(),
    }
}

/// The slot of one row: the statuses' rules in one place.
#[inline]
fn slot<'a>(
    nth: usize,
    seen: &Seen<'a>,
    layouts: &[(u32, Arc<Places>)],
    default: Option<&'a DefaultValue>,
    options: LookupOptions,
) -> Result<Slot<'a>> {
    let (bytes, status) = match seen {
        Seen::Nothing => (None, Status::NotFound),
        Seen::Unread => (None, Status::Failed),
        Seen::Row(seen) => {
            let fields = &layouts[seen.layout].1.fields;
            match fields.slot(nth, seen.row)? {
                _ if fields.is_changed(nth) => (None, Status::Failed),
                Some(bytes) if !seen.expired => {
                    return Ok(Slot { bytes: Some(bytes), status: Status::Present, reason: 0 });
                }
                Some(bytes) => (options.return_expired.then_some(bytes), Status::Expired),
                None if seen.expired => (None, Status::Expired),
                None => (None, Status::Null),
            }
        }
    };
    Ok(match default {
        Some(default) if bytes.is_none() && status != Status::Failed => {
            Slot { bytes: Some(default.bytes()), status: Status::Defaulted, reason: status as u8 }
        }
        _ => Slot { bytes, status, reason: 0 },
    })
}

/// One view's part of a reply.
struct Filling<'f, 'a> {
    used: &'f PlanView,
    outputs: &'f [Output],
    seen: &'f SeenView<'a>,
    options: LookupOptions,
    reply: &'f mut Reply,
}

impl<'f> Filling<'f, '_> {
    fn fill(mut self) -> Result<()> {
        for (row, seen) in self.seen.rows.iter().enumerate() {
            let copies = seen.row().filter(|seen| !seen.expired).and_then(|seen| {
                let copies = self.seen.layouts[seen.layout].1.copies.as_ref()?;
                Some((seen.row, copies))
            });
            let copied = copies.is_some_and(|(bytes, copies)| copy(copies, bytes, row, self.reply));
            if !copied {
                self.fixed(row)?;
            }
        }
        let others = self.outputs.iter().enumerate().filter(|(_, output)| output.width == 0);
        for (nth, output) in others {
            self.other(nth, &output.data_type)?;
        }
        Ok(())
    }

    /// The values of fixed width of one row, one by one.
    fn fixed(&mut self, row: usize) -> Result<()> {
        for (nth, output) in self.outputs.iter().enumerate().filter(|(_, output)| output.width > 0) {
            let Some(bytes) = self.slot(nth, row)? else { continue };
            let at = output.start * self.reply.rows + row * output.width;
            put(&output.data_type, bytes, &mut self.reply.fixed[at..at + output.width])?;
        }
        Ok(())
    }

    /// A column of any other type.
    fn other(&mut self, nth: usize, data_type: &DataType) -> Result<()> {
        let rows = self.reply.rows;
        let slots = (0..rows).map(|row| self.slot(nth, row)).collect::<Result<Vec<Option<&[u8]>>>>()?;
        let column = match data_type {
            DataType::String | DataType::Json | DataType::Bytes => {
                let mut bytes = Vec::with_capacity(slots.iter().flatten().map(|slot| slot.len()).sum());
                let mut ends = Vec::with_capacity(rows);
                for slot in slots {
                    let slot = slot.unwrap_or_default();
                    if *data_type != DataType::Bytes {
                        text(slot)?;
                    }
                    bytes.extend_from_slice(slot);
                    ends.push(bytes.len());
                }
                Slots::Text(bytes, ends)
            }
            _ => Slots::Arrow(row::to_arrow(data_type, &slots)?),
        };
        self.reply.columns[self.used.first + nth].slots = column;
        Ok(())
    }

    /// The bytes of a slot; what is known about it is noted.
    fn slot(&mut self, nth: usize, row: usize) -> Result<Option<&'f [u8]>> {
        let default = self.used.defaults[nth].as_ref();
        let slot = slot(nth, &self.seen.rows[row], &self.seen.layouts, default, self.options)?;
        if slot.status != Status::Present {
            self.note(self.used.first + nth, row, &slot);
        }
        Ok(slot.bytes)
    }

    fn note(&mut self, output: usize, row: usize, slot: &Slot<'_>) {
        let Reply { rows, columns, marks, .. } = self.reply;
        let (at, all, column) = (output * *rows + row, columns.len() * *rows, &mut columns[output]);
        let set = |marks: &mut Vec<u8>, usual: u8, value: u8| {
            marks.resize(all, usual);
            marks[at] = value;
        };
        column.has_statuses = true;
        set(&mut marks.statuses, Status::Present as u8, slot.status as u8);
        if slot.reason != 0 {
            column.has_reasons = true;
            set(&mut marks.reasons, 0, slot.reason);
        }
        if slot.bytes.is_none() {
            column.has_holes = true;
            set(&mut marks.held, 1, 0);
        }
    }
}

/// Copies a row's values of fixed width, if all are there; `false` leaves the row to be looked at value by value.
#[inline]
fn copy(copies: &Copies, row: &[u8], nth: usize, reply: &mut Reply) -> bool {
    if !copies.presence.iter().all(|&(byte, bits)| row.get(byte).is_some_and(|found| found & bits == bits)) {
        return false;
    }
    let (rows, fixed) = (reply.rows, &mut reply.fixed[..]);
    for copy in &copies.eights {
        let (Some(from), to) = (row.get(copy.at..copy.at + 8), copy.start * rows + nth * 8) else { return false };
        fixed[to..to + 8].copy_from_slice(from);
    }
    for copy in &copies.fours {
        let (Some(from), to) = (row.get(copy.at..copy.at + 4), copy.start * rows + nth * 4) else { return false };
        fixed[to..to + 4].copy_from_slice(from);
    }
    for copy in &copies.ones {
        let Some(from) = row.get(copy.at).filter(|from| **from <= 1) else { return false };
        fixed[copy.start * rows + nth] = *from;
    }
    true
}

/// Writes a value at its output's width; integers and floats may have been stored narrower, before the feature was widened.
fn put(data_type: &DataType, bytes: &[u8], out: &mut [u8]) -> Result<()> {
    match (data_type, bytes) {
        (DataType::Bool, _) => out[0] = u8::from(bool_of(bytes)?),
        (DataType::Float64, &[a, b, c, d]) => {
            out.copy_from_slice(&f64::from(f32::from_le_bytes([a, b, c, d])).to_le_bytes());
        }
        (DataType::Int64, &[a, b, c, d]) => {
            out.copy_from_slice(&i64::from(i32::from_le_bytes([a, b, c, d])).to_le_bytes());
        }
        _ if bytes.len() == out.len() => out.copy_from_slice(bytes),
        _ => return Err(Error::corrupt(format!("a value of {data_type} has {} bytes", bytes.len()))),
    }
    Ok(())
}
