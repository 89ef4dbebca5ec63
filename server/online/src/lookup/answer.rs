//! From entities to columns.
//!
//! Most rows have a value for everything that is asked: those of fixed width are copied row by row to where each output's column
//! lies, by a list made once for each layout ([`Copies`]). Where something is missing or old, [`slot`] holds the statuses' rules.

use std::sync::Arc;

use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType;

use super::LookupOptions;
use super::find::Found;
use super::plan::{Copies, Output, Places, Plan, PlanView};
use crate::default::Default as DefaultValue;
use crate::expiry;
use crate::reply::{Column, Marks, Reply, Slots, Status, ViewTimes};
use crate::row::{self, Header, bool_of, text};
use crate::store::Inner;
use crate::{Error, Result};

/// One row of one view.
struct Seen<'a> {
    row: &'a [u8],
    event: Micros,
    expired: bool,
    /// Which of the view's layouts it was written under.
    layout: usize,
}

/// A view's rows and where their features are.
struct SeenView<'a> {
    rows: Vec<Option<Seen<'a>>>,
    layouts: Vec<(u32, Arc<Places>)>,
}

/// What one slot of a feature's column holds, and what is known about it.
struct Slot<'a> {
    bytes: Option<&'a [u8]>,
    status: Status,
    reason: u8,
}

pub(super) fn answer(
    inner: &Inner,
    plan: &Arc<Plan>,
    found: &Found,
    rows: usize,
    now: Micros,
    options: LookupOptions,
) -> Result<Reply> {
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
    let all = see(inner, plan, found, rows, now)?;
    for (used, seen) in plan.views.iter().zip(&all) {
        let outputs = used.outputs(plan);
        Filling { used, outputs, seen, options, reply: &mut reply }.fill()?;
        if options.include_times {
            reply.views.push(times(used, seen, now));
        }
    }
    Ok(reply)
}

/// The rows of each view.
fn see<'a>(inner: &Inner, plan: &Plan, found: &'a Found, rows: usize, now: Micros) -> Result<Vec<SeenView<'a>>> {
    let mut all: Vec<SeenView<'a>> = Vec::with_capacity(plan.views.len());
    all.resize_with(plan.views.len(), || {
        let mut rows_seen = Vec::new();
        rows_seen.resize_with(rows, || None);
        SeenView { rows: rows_seen, layouts: Vec::new() }
    });
    found.each(plan, |view, nth, row| {
        let (used, seen) = (&plan.views[view], &mut all[view]);
        let header = Header::read(row)?;
        let layout = match seen.layouts.iter().position(|(id, _)| *id == header.layout) {
            Some(layout) => layout,
            None => {
                seen.layouts.push((header.layout, used.places(inner, used.outputs(plan), header.layout)?));
                seen.layouts.len() - 1
            }
        };
        let expired = expiry::expired(header.event, now, used.serve_ttl);
        seen.rows[nth] = Some(Seen { row, event: header.event, expired, layout });
        Ok(())
    })?;
    Ok(all)
}

fn times(used: &PlanView, seen: &SeenView<'_>, now: Micros) -> ViewTimes {
    let event = |seen: &Option<Seen<'_>>| seen.as_ref().map_or(Micros::MIN, |seen| seen.event);
    let age = |seen: &Option<Seen<'_>>| seen.as_ref().map_or(-1, |seen| expiry::age(seen.event, now));
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
    seen: Option<&Seen<'a>>,
    layouts: &[(u32, Arc<Places>)],
    default: Option<&'a DefaultValue>,
    options: LookupOptions,
) -> Result<Slot<'a>> {
    let (bytes, status) = match seen {
        None => (None, Status::NotFound),
        Some(seen) => {
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
            let copies = seen.as_ref().filter(|seen| !seen.expired).and_then(|seen| {
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
        let slot = slot(nth, self.seen.rows[row].as_ref(), &self.seen.layouts, default, self.options)?;
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
