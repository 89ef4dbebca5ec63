//! The functions once more, from the events themselves.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::StdRng;

use super::super::{Answer, RELATIVE_ERROR, Value};
use crate::definition::{Aggregate, Function};
use crate::time::Micros;

/// One event with a value of each class.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) event: Micros,
    pub(super) created: Option<Micros>,
    i: Option<i64>,
    f: Option<f64>,
    d: Option<i128>,
    s: Option<String>,
}

impl Event {
    pub(super) fn random(rng: &mut StdRng, spread: i64) -> Self {
        let mut some = |of_ten: u32| rng.random_range(0..10) < of_ten;
        let (i, f, d, s, c) = (some(8), some(8), some(8), some(8), some(5));
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 1e300, -1e-300];
        let float = match rng.random_range(0..200) {
            nth @ 0..7 => odd[nth],
            100.. => f64::from(rng.random_range(-3..4)),
            _ => rng.random_range(-1e6..1e6),
        };
        Self {
            event: rng.random_range(-spread..=spread),
            created: c.then(|| rng.random_range(-5..5)),
            i: i.then(|| rng.random_range(-4..5)),
            f: f.then_some(float),
            d: d.then(|| rng.random_range(-100_000..100_000)),
            s: s.then(|| ["", "a", "b", "\0", "tide", "gate"][rng.random_range(0..6)].to_owned()),
        }
    }

    pub(super) fn values(&self) -> [Option<Value<'_>>; 4] {
        [
            self.i.map(Value::Int),
            self.f.map(Value::Float),
            self.d.map(Value::Decimal),
            self.s.as_ref().map(|text| Value::Bytes(text.as_bytes())),
        ]
    }

    fn value(&self, input: &str) -> Option<Value<'_>> {
        self.values()[["i", "f", "d", "s"].iter().position(|name| *name == input)?]
    }
}

/// What a function should give.
#[derive(Debug)]
pub(super) enum Expected {
    Null,
    /// This number, or one nearby.
    Number(Number),
    /// A number this near to this one.
    About(f64),
    /// These values, as text.
    Values(Vec<String>),
}

/// A number to be compared with a tolerance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number(Option<f64>);

impl Number {
    pub(super) fn of(answer: &Answer<'_>) -> Self {
        match answer {
            Answer::Value(value) => Self(value.as_f64()),
            _ => Self(None),
        }
    }

    pub(super) fn is_near(self, other: Self) -> bool {
        match (self.0, other.0) {
            (Some(a), Some(b)) => a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
            (a, b) => a.is_none() && b.is_none(),
        }
    }
}

fn text(value: &Value<'_>) -> String {
    match value {
        Value::Float(value) => format!("{value:?}"),
        Value::Int(value) => value.to_string(),
        Value::Decimal(value) => value.to_string(),
        Value::Bytes(bytes) => format!("{bytes:?}"),
    }
}

fn order(a: &Value<'_>, b: &Value<'_>) -> Ordering {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) if a.is_nan() || b.is_nan() => a.is_nan().cmp(&b.is_nan()),
        (Value::Float(a), Value::Float(b)) => {
            a.partial_cmp(b).expect("numbers").then(b.is_sign_negative().cmp(&a.is_sign_negative()))
        }
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        _ => panic!("values of two classes"),
    }
}

impl Expected {
    pub(super) fn of(events: &[Event], aggregate: &Aggregate, at: Micros) -> Self {
        let Aggregate { function, input, window, hop } = aggregate;
        let tail = window.map(|window| (at - window).div_euclid(*hop) * hop);
        let inside = events.iter().filter(|event| tail.is_none_or(|tail| event.event > tail) && event.event <= at);
        let Some(input) = input else { return Self::Number(Number(Some(inside.count() as f64))) };
        let scale = if input.name == "d" { 100.0 } else { 1.0 };
        let mut values: Vec<(Micros, Option<Micros>, Value<'_>)> = inside
            .filter_map(|event| event.value(&input.name).map(|value| (event.event, event.created, value)))
            .collect();
        if *function == Function::Count {
            return Self::Number(Number(Some(values.len() as f64)));
        }
        if values.is_empty() {
            return Self::Null;
        }
        values.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| order(&a.2, &b.2)));
        let mut sorted: Vec<Value<'_>> = values.iter().map(|(_, _, value)| *value).collect();
        sorted.sort_by(order);
        let texts = |values: &[Value<'_>]| Self::Values(values.iter().map(text).collect());
        let in_time: Vec<Value<'_>> = values.iter().map(|(_, _, value)| *value).collect();
        match function {
            Function::First => texts(&in_time[..1]),
            Function::Last => texts(&in_time[in_time.len() - 1..]),
            Function::LastN(most) => texts(&in_time.into_iter().rev().take(*most as usize).collect::<Vec<_>>()),
            Function::Min => texts(&sorted[..1]),
            Function::Max => texts(&sorted[sorted.len() - 1..]),
            Function::DistinctCount | Function::TopK(_) => Self::of_counts(*function, &sorted),
            Function::Percentile(p) => {
                let rank = (sorted.len() - 1) * *p as usize / 10_000;
                Self::About(sorted[rank].as_f64().expect("a number") / scale)
            }
            _ => Self::of_numbers(*function, &sorted, scale),
        }
    }

    fn of_counts(function: Function, sorted: &[Value<'_>]) -> Self {
        let mut counts: Vec<(Value<'_>, usize)> = Vec::new();
        for value in sorted {
            match counts.last_mut() {
                Some((last, count)) if order(last, value).is_eq() => *count += 1,
                _ => counts.push((*value, 1)),
            }
        }
        let Function::TopK(most) = function else { return Self::Number(Number(Some(counts.len() as f64))) };
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| order(&a.0, &b.0)));
        Self::Values(counts.iter().take(most as usize).map(|(value, _)| text(value)).collect())
    }

    /// Large terms first, so that nothing small is lost before they have cancelled.
    fn of_numbers(function: Function, sorted: &[Value<'_>], scale: f64) -> Self {
        let numbers: Vec<f64> = sorted.iter().map(|value| value.as_f64().expect("a number")).collect();
        if numbers.iter().any(|number| !number.is_finite()) {
            return Self::of_odd_numbers(function, &numbers);
        }
        let sum = |terms: &[f64]| {
            // 1e300 cancels with nothing; the rest is a sum of multiples of one power of two, small enough to be exact.
            let mut parts: BTreeMap<i32, f64> = BTreeMap::new();
            terms.iter().for_each(|term| *parts.entry((term.abs().log10() / 10.0) as i32).or_default() += term);
            parts.values().sum::<f64>()
        };
        let (count, total) = (numbers.len() as f64, sum(&numbers));
        Self::Number(Number(Some(match function {
            Function::Sum if scale == 1.0 => total,
            // The digits of a decimal.
            Function::Sum => total.round(),
            Function::Mean => total / count / scale,
            _ if numbers.len() < 2 => return Self::Null,
            _ if numbers.iter().any(|number| number.abs() > 1e100) => {
                // Squares are out of range.
                f64::NAN
            }
            _ => {
                let mean = total / count;
                let squares: Vec<f64> = numbers.iter().map(|number| (number - mean) * (number - mean)).collect();
                let variance = sum(&squares) / (count - 1.0) / scale / scale;
                if function == Function::Std { variance.sqrt() } else { variance }
            }
        })))
    }

    fn of_odd_numbers(function: Function, numbers: &[f64]) -> Self {
        match function {
            Function::Sum | Function::Mean => Self::Number(Number(Some(numbers.iter().sum()))),
            _ if numbers.len() < 2 => Self::Null,
            _ => Self::Number(Number(Some(f64::NAN))),
        }
    }

    pub(super) fn is_met_by(&self, answer: &Answer<'_>) -> bool {
        match (self, answer) {
            (Self::Null, Answer::Null) => true,
            (Self::Number(expected), answer @ Answer::Value(_)) => expected.is_near(Number::of(answer)),
            (Self::About(expected), answer @ Answer::Value(_)) => {
                let Number(Some(found)) = Number::of(answer) else { return false };
                let near = (found - expected).abs() <= RELATIVE_ERROR * 1.001 * expected.abs();
                near || found == *expected || (found.is_nan() && expected.is_nan())
            }
            (Self::Values(expected), Answer::Value(value)) => expected[..] == [text(value)],
            (Self::Values(expected), Answer::List(values)) => *expected == values.iter().map(text).collect::<Vec<_>>(),
            _ => false,
        }
    }
}
