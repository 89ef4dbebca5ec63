//! Which of a piece's observations are offered, and in which order.

use tidegate_schemas::time::{Availability, Micros, UpperBound};

use super::Scan;
use super::slots::{Created, Slots};
use crate::point_in_time::columns::Times;
use crate::point_in_time::radix;

/// Observations looked at to see how a piece lies, and how many there must then be to a key.
const RUNS_SAMPLED: usize = 1_024;
const RUN_ROWS: usize = 4;

/// Bytes of slots that stay in a core's cache.
const CACHE_BYTES: usize = 1 << 20;

/// The observations that may be of use, as (group, position): by group where the slots don't fit a core's cache, so that
/// memory is walked and not jumped about in.
pub(super) fn order<C: Created>(scan: &Scan, groups: &[u32], events: &Times) -> Vec<(u32, u32)> {
    let mut order: Vec<(u32, u32)> = match events {
        Times { values, nulls: None } if by_event_alone(scan) && in_runs(groups) => seen_last(scan, groups, values),
        _ => groups.iter().copied().zip(0..).collect(),
    };
    let sorted = || order.is_sorted_by_key(|(group, _)| *group);
    if Slots::<C>::bytes(&scan.index) > CACHE_BYTES && !sorted() {
        radix::sort(&mut order, |(group, _)| u64::from(*group));
    }
    order
}

/// Whether what a reader sees of observations goes by event time alone.
fn by_event_alone(scan: &Scan) -> bool {
    scan.view.availability == Availability::Event && scan.view.valid_to.is_none() && scan.as_of.is_none()
}

/// Whether observations lie by key, many to each.
fn in_runs(groups: &[u32]) -> bool {
    let first = &groups[..groups.len().min(RUNS_SAMPLED)];
    first.len() >= first.chunk_by(|a, b| a == b).count() * RUN_ROWS
}

/// Of observations that lie by key, those that some slot may see last: between two slots of a group, the last by event time
/// with all that tie with it. Where a run's times are in no order, or its group has as many slots, all of it.
fn seen_last(scan: &Scan, groups: &[u32], events: &[Micros]) -> Vec<(u32, u32)> {
    let wait = Micros::from(scan.view.upper == UpperBound::Exclusive);
    let (mut order, mut first) = (Vec::new(), 0);
    for run in groups.chunk_by(|a, b| a == b) {
        let (group, rows) = (run[0], first..first + run.len());
        first = rows.end;
        let times = scan.index.times_of(group);
        if run.len() < times.len() * 2 || !events[rows.clone()].is_sorted() {
            order.extend(rows.map(|at| (group, at as u32)));
            continue;
        }
        let mut next = rows.start;
        for time in times {
            let in_time = |event: &Micros| event.checked_add(wait).is_some_and(|seen| seen <= *time);
            let end = next + events[next..rows.end].partition_point(in_time);
            if end > next {
                let last = events[end - 1];
                let tied = events[next..end].iter().rev().take_while(|event| **event == last).count();
                order.extend((end - tied..end).map(|at| (group, at as u32)));
                next = end;
            }
        }
    }
    order
}
