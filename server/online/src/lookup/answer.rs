//! From entities to columns: statuses first, then one pass for each feature.

use std::sync::Arc;

use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType;

use super::LookupOptions;
use super::fields::Fields;
use super::find::Found;
use super::plan::{Plan, PlanView};
use crate::default::Default as DefaultValue;
use crate::expiry;
use crate::reply::{FeatureReply, Reply, Status, Values, ViewTimes};
use crate::row::{self, Header, bool_of, fixed, text};
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
    layouts: Vec<(u32, Arc<Fields>)>,
}

/// What one slot of a feature's column holds, and what is known about it.
struct Slot<'a> {
    bytes: Option<&'a [u8]>,
    status: Status,
    reason: u8,
}

pub(super) fn answer(
    inner: &Inner,
    plan: &Plan,
    found: &Found,
    rows: usize,
    now: Micros,
    options: LookupOptions,
) -> Result<Reply> {
    let mut reply = Reply {
        rows,
        features: Vec::with_capacity(plan.views.iter().map(|used| used.features.len()).sum()),
        views: Vec::new(),
    };
    for (nth, used) in plan.views.iter().enumerate() {
        let seen = see(inner, used, nth, found, rows, now)?;
        for feature in 0..used.features.len() {
            reply.features.push(column(used, feature, &seen, options)?);
        }
        if options.include_times {
            reply.views.push(times(used, &seen, now));
        }
    }
    Ok(reply)
}

fn see<'a>(
    inner: &Inner,
    used: &PlanView,
    nth: usize,
    found: &'a Found,
    rows: usize,
    now: Micros,
) -> Result<SeenView<'a>> {
    let mut seen = SeenView { rows: Vec::with_capacity(rows), layouts: Vec::new() };
    let (view, epoch) = (used.view.id, found.marks[nth].epoch);
    for row in 0..rows {
        let Some(row) = found.entity(used.group, row).row(view, epoch) else {
            seen.rows.push(None);
            continue;
        };
        let header = Header::read(row)?;
        let layout = match seen.layouts.iter().position(|(id, _)| *id == header.layout) {
            Some(layout) => layout,
            None => {
                seen.layouts.push((header.layout, used.fields(inner, header.layout)?));
                seen.layouts.len() - 1
            }
        };
        let expired = expiry::expired(header.event, now, used.serve_ttl);
        seen.rows.push(Some(Seen { row, event: header.event, expired, layout }));
    }
    Ok(seen)
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
    layouts: &[(u32, Arc<Fields>)],
    default: Option<&'a DefaultValue>,
    options: LookupOptions,
) -> Result<Slot<'a>> {
    let (bytes, status) = match seen {
        None => (None, Status::NotFound),
        Some(seen) => {
            let fields = &layouts[seen.layout].1;
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

fn column(used: &PlanView, nth: usize, seen: &SeenView<'_>, options: LookupOptions) -> Result<FeatureReply> {
    let rows = seen.rows.len();
    let default = used.defaults[nth].as_ref();
    let mut slots: Vec<Option<&[u8]>> = Vec::with_capacity(rows);
    let (mut statuses, mut reasons, mut presence) = (vec![0_u8; rows], Vec::new(), vec![0_u8; rows.div_ceil(8)]);
    let (mut all_present, mut all_held) = (true, true);
    for (row, seen_row) in seen.rows.iter().enumerate() {
        let slot = slot(nth, seen_row.as_ref(), &seen.layouts, default, options)?;
        statuses[row] = slot.status as u8;
        all_present &= slot.status == Status::Present;
        all_held &= slot.bytes.is_some();
        presence[row / 8] |= u8::from(slot.bytes.is_some()) << (row % 8);
        if slot.reason != 0 {
            reasons.resize(rows, 0);
            reasons[row] = slot.reason;
        }
        slots.push(slot.bytes);
    }
    let data_type = &used.features[nth].data_type;
    Ok(FeatureReply {
        name: used.outputs[nth].clone(),
        data_type: data_type.clone(),
        values: values(data_type, &slots)?,
        presence: (!all_held).then_some(presence),
        statuses: (!all_present).then_some(statuses),
        reasons: (!reasons.is_empty()).then_some(reasons),
    })
}

fn values(data_type: &DataType, slots: &[Option<&[u8]>]) -> Result<Values> {
    Ok(match data_type {
        DataType::Float64 => Values::Doubles(each(slots, float)?),
        DataType::Float32 => Values::Floats(each(slots, |slot| Ok(f32::from_le_bytes(fixed(slot)?)))?),
        DataType::Int64 | DataType::Timestamp => Values::Int64s(each(slots, integer)?),
        DataType::Int32 | DataType::Date => Values::Int32s(each(slots, |slot| Ok(i32::from_le_bytes(fixed(slot)?)))?),
        DataType::Bool => Values::Bools(each(slots, bool_of)?),
        DataType::String | DataType::Json => Values::Strings(each(slots, |slot| Ok(text(slot)?.to_owned()))?),
        DataType::Bytes => Values::Bytes(each(slots, |slot| Ok(slot.to_vec()))?),
        DataType::Decimal(..) | DataType::List(_) | DataType::Vector(_) | DataType::Struct(_) | DataType::Map(_) => {
            Values::Arrow(row::to_arrow(data_type, slots)?)
        }
    })
}

#[inline]
fn each<T: Default>(slots: &[Option<&[u8]>], read: impl Fn(&[u8]) -> Result<T>) -> Result<Vec<T>> {
    slots.iter().map(|slot| slot.map_or_else(|| Ok(T::default()), &read)).collect()
}

/// A float64, or a float32 stored before the feature was widened.
#[inline]
fn float(slot: &[u8]) -> Result<f64> {
    match slot.len() {
        4 => Ok(f64::from(f32::from_le_bytes(fixed(slot)?))),
        8 => Ok(f64::from_le_bytes(fixed(slot)?)),
        length => Err(Error::corrupt(format!("a float has {length} bytes"))),
    }
}

/// An int64, or an int32 stored before the feature was widened.
#[inline]
fn integer(slot: &[u8]) -> Result<i64> {
    match slot.len() {
        4 => Ok(i64::from(i32::from_le_bytes(fixed(slot)?))),
        8 => Ok(i64::from_le_bytes(fixed(slot)?)),
        length => Err(Error::corrupt(format!("an integer has {length} bytes"))),
    }
}
