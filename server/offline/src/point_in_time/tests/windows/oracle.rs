//! What a window holds and what is made of it, once more, by brute force over plain values: every row against every event, each
//! function in the words of its definition.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type};
use tidegate_schemas::definition::Function;
use tidegate_schemas::time::{Availability, Micros, UpperBound};

use super::world::{Asked, Cell, Event, World};

/// What a row is to get.
#[derive(Debug, Clone)]
pub(super) enum Expected {
    Null,
    Exactly(Cell),
    All(Vec<Cell>),
    /// To a relative 1e-9.
    Near(f64),
    /// To a relative 1 %.
    Percentile(f64),
    /// A variance of values of about this size, or its root.
    Spread(f64, f64),
    /// The spread of values whose squares are no numbers.
    Any,
}

impl Expected {
    pub(super) fn is(&self, got: &ArrayRef) -> bool {
        if got.is_null(0) {
            return matches!(self, Self::Null | Self::Any);
        }
        let float = || got.as_primitive::<Float64Type>().value(0);
        match self {
            Self::Null => false,
            Self::Exactly(cell) => cells(got) == [cell.clone()] || same_float(cell, got),
            Self::All(list) => {
                let items = got.as_list::<i32>().value(0);
                items.len() == list.len()
                    && list.iter().enumerate().all(|(at, cell)| {
                        let item = items.slice(at, 1);
                        cells(&item) == [cell.clone()] || same_float(cell, &item)
                    })
            }
            Self::Near(value) => near(*value, float(), 1e-9 * value.abs()),
            Self::Percentile(value) => near(*value, float(), 0.01 * value.abs() * (1.0 + 1e-6)),
            Self::Any => true,
            Self::Spread(value, size) => near(*value, float(), 1e-9 * (value.abs() + size * size)),
        }
    }
}

fn near(value: f64, got: f64, tolerance: f64) -> bool {
    value == got || value.is_nan() && got.is_nan() || (value - got).abs() <= tolerance
}

/// Floats are told apart by their bits, NaNs are not.
fn same_float(cell: &Cell, got: &ArrayRef) -> bool {
    let Some(floats) = got.as_primitive_opt::<Float64Type>() else { return false };
    let got = floats.value(0);
    matches!(cell, Cell::Float(value) if value.to_bits() == got.to_bits() || value.is_nan() && got.is_nan())
}

fn cells(array: &ArrayRef) -> Vec<Cell> {
    if let Some(ints) = array.as_primitive_opt::<Int64Type>() {
        return ints.values().iter().map(|value| Cell::Int(*value)).collect();
    }
    if let Some(decimals) = array.as_primitive_opt::<Decimal128Type>() {
        return decimals.values().iter().map(|value| Cell::Decimal(*value)).collect();
    }
    match array.as_string_opt::<i32>() {
        Some(texts) => texts.iter().flatten().map(|text| Cell::Text(text.to_owned())).collect(),
        None => Vec::new(),
    }
}

/// The events that a row sees, and its time; `None` where it matches nothing.
fn seen(world: &World, row: usize) -> Option<(Micros, Vec<&Event>)> {
    let asked = &world.spine[row];
    let t = asked.time.filter(|_| asked.keys.iter().all(Option::is_some))?;
    let mut all = Vec::new();
    for (committed, events) in &world.files {
        for event in events.iter().filter(|event| event.keys == asked.keys) {
            let Some(e) = event.event else { continue };
            let known = match world.availability {
                Availability::Event => Some(e),
                Availability::Created => event.created.map(|c| c.max(e)),
                Availability::Delay(delay) => Some(e + delay),
                Availability::Commit => committed.map(|commit| commit.max(e)),
            };
            let happened = if world.upper == UpperBound::Inclusive { e <= t } else { e < t };
            if happened && known.is_some_and(|k| k <= t && world.as_of.is_none_or(|cut| k <= cut)) {
                all.push(event);
            }
        }
    }
    Some((t, all))
}

fn within(event: &Event, t: Micros, (window, hop): (Option<Micros>, Micros)) -> bool {
    window.is_none_or(|window| event.event.is_some_and(|e| e > (t - window).div_euclid(hop) * hop))
}

/// The event time of the newest event in any of the windows.
pub(super) fn newest(world: &World, row: usize) -> Option<Micros> {
    let (t, seen) = seen(world, row)?;
    let any = |event: &&Event| world.asked.iter().any(|asked| within(event, t, (asked.window, asked.hop)));
    seen.into_iter().filter(any).filter_map(|event| event.event).max()
}

pub(super) fn expected(world: &World, asked: &Asked, row: usize) -> Expected {
    let Some((t, seen)) = seen(world, row) else { return Expected::Null };
    let events: Vec<&Event> = seen.into_iter().filter(|event| within(event, t, (asked.window, asked.hop))).collect();
    let Some(input) = asked.input else { return count(events.len()) };
    let created = |event: &Event| event.created.filter(|_| world.has_created);
    let mut values: Vec<(Option<Micros>, Option<Micros>, Cell)> = events
        .into_iter()
        .filter_map(|event| Some((event.event, created(event), event.cell(input)?.clone())))
        .collect();
    if asked.function == Function::Count {
        return count(values.len());
    }
    if values.is_empty() {
        return Expected::Null;
    }
    values.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| order(&a.2, &b.2)));
    let in_time: Vec<Cell> = values.into_iter().map(|(.., cell)| cell).collect();
    let mut by_size = in_time.clone();
    by_size.sort_by(order);
    match asked.function {
        Function::Min => Expected::Exactly(by_size[0].clone()),
        Function::Max => Expected::Exactly(by_size[by_size.len() - 1].clone()),
        Function::First => Expected::Exactly(in_time[0].clone()),
        Function::Last => Expected::Exactly(in_time[in_time.len() - 1].clone()),
        Function::LastN(n) => Expected::All(in_time.into_iter().rev().take(n as usize).collect()),
        Function::DistinctCount => count(runs(&by_size).len()),
        Function::TopK(k) => {
            let mut runs = runs(&by_size);
            runs.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            Expected::All(runs.into_iter().take(k as usize).map(|(cell, _)| cell).collect())
        }
        Function::Percentile(share) => {
            let rank = (by_size.len() - 1) * share as usize / 10_000;
            Expected::Percentile(number(&by_size[rank]))
        }
        Function::Count | Function::Sum | Function::Mean | Function::Var | Function::Std => {
            numeric(asked.function, &in_time)
        }
    }
}

fn count(count: usize) -> Expected {
    Expected::Exactly(Cell::Int(count as i64))
}

fn numeric(function: Function, cells: &[Cell]) -> Expected {
    let numbers: Vec<f64> = cells.iter().map(number).collect();
    let (n, sum) = (numbers.len() as f64, exact_sum(&numbers));
    match (function, &cells[0]) {
        (Function::Sum, Cell::Int(_)) => Expected::Exactly(Cell::Int(numbers.iter().sum::<f64>() as i64)),
        (Function::Sum, Cell::Decimal(_)) => {
            let digits = |cell: &Cell| if let Cell::Decimal(digits) = cell { *digits } else { 0 };
            Expected::Exactly(Cell::Decimal(cells.iter().map(digits).sum()))
        }
        (Function::Sum, _) => Expected::Spread(sum, size(&numbers).sqrt()),
        (Function::Mean, _) => Expected::Spread(sum / n, size(&numbers).sqrt()),
        _ if numbers.len() < 2 => Expected::Null,
        _ if numbers.iter().any(|number| !number.is_finite() || number.abs() > 1e100) => Expected::Any,
        _ => {
            let mean = sum / n;
            let variance = numbers.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0);
            match function {
                Function::Std => Expected::Spread(variance.sqrt(), size(&numbers).sqrt()),
                _ => Expected::Spread(variance, size(&numbers)),
            }
        }
    }
}

/// The largest magnitude, which says what rounding may come to.
fn size(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0, |size: f64, number| size.max(number.abs()))
}

/// From small to large, so that little is lost.
fn exact_sum(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    sorted.iter().sum()
}

fn number(cell: &Cell) -> f64 {
    match cell {
        Cell::Int(value) => *value as f64,
        Cell::Float(value) => *value,
        Cell::Decimal(digits) => *digits as f64 / 100.0,
        Cell::Text(_) => f64::NAN,
    }
}

/// Numbers by size with -0.0 below 0.0 and NaN greatest, text by its bytes.
fn order(a: &Cell, b: &Cell) -> Ordering {
    match (a, b) {
        (Cell::Int(a), Cell::Int(b)) => a.cmp(b),
        (Cell::Decimal(a), Cell::Decimal(b)) => a.cmp(b),
        (Cell::Text(a), Cell::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Cell::Float(a), Cell::Float(b)) if a.is_nan() || b.is_nan() => a.is_nan().cmp(&b.is_nan()),
        (Cell::Float(a), Cell::Float(b)) => a.total_cmp(b),
        _ => unreachable!("cells of one column"),
    }
}

/// The different values of a sorted list, and how often each occurs.
fn runs(sorted: &[Cell]) -> Vec<(Cell, usize)> {
    sorted.chunk_by(|a, b| order(a, b).is_eq()).map(|run| (run[0].clone(), run.len())).collect()
}
