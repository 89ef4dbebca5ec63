//! Partial aggregates: what of some events is kept so that with the same of others it gives the aggregate of both.

use std::cmp::Ordering;

use super::Answer;
use super::bins::Bins;
use super::distinct::Distinct;
use super::double::Double;
use super::ranked::{Candidate, Ranked, keep_last};
use super::top::Counts;
use super::value::{Class, Held, Value};
use crate::definition::Function;
use crate::time::Micros;

/// What kind of partial aggregate a function is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// How many events; with an input, those in which it is not null.
    Count,
    /// Count and sum: sum, mean.
    Sum,
    /// Count, sum and sum of squares: variance and standard deviation.
    Moments,
    /// The smallest value.
    Min,
    /// The greatest value.
    Max,
    /// The first value.
    First,
    /// The last value.
    Last,
    /// The last so many values.
    LastN(u32),
    /// The set of values.
    Distinct,
    /// Counts of values by bin.
    Bins,
    /// Counts of values.
    Top,
}

impl Kind {
    /// The kind a function is made from.
    #[must_use]
    pub fn of(function: Function) -> Self {
        match function {
            Function::Count => Self::Count,
            Function::Sum | Function::Mean => Self::Sum,
            Function::Var | Function::Std => Self::Moments,
            Function::Min => Self::Min,
            Function::Max => Self::Max,
            Function::First => Self::First,
            Function::Last => Self::Last,
            Function::LastN(most) => Self::LastN(most),
            Function::DistinctCount => Self::Distinct,
            Function::Percentile(_) => Self::Bins,
            Function::TopK(_) => Self::Top,
        }
    }
}

/// One partial aggregate of a tile: its kind and what it is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spec {
    /// What is kept.
    pub kind: Kind,
    /// Which of the view's inputs; `None` counts events.
    pub input: Option<usize>,
    /// What the input's values are held as.
    pub class: Class,
    /// The digits after the point of a decimal input; 0 for any other.
    pub scale: i8,
}

/// A partial aggregate. Merging is associative and commutative; but for the rounding of float sums it makes no difference in which
/// order events come. Beyond [`super::TOP_KEPT`] different values the counts of [`Kind::Top`] are approximate.
#[derive(Debug, Clone)]
pub struct Partial(pub(super) State);

/// The state behind a partial aggregate. Kinds of one shape share it.
#[derive(Debug, Clone)]
pub(super) enum State {
    Count(u64),
    /// A sum at the end of its range stays there: it has no value any more.
    Exact {
        count: u64,
        sum: i128,
    },
    Float {
        count: u64,
        sum: Double,
    },
    Moments {
        count: u64,
        sum: Double,
        squares: Double,
    },
    /// Min, Max.
    Extreme(Option<Held>),
    /// First, Last.
    Edge(Option<Box<Ranked>>),
    /// In order, the last one last.
    Latest(Vec<Ranked>),
    Distinct(Box<Distinct>),
    Bins(Bins),
    Top(Counts),
}

impl Spec {
    /// The partial aggregate of no events.
    #[must_use]
    pub fn empty(&self) -> Partial {
        Partial(match (self.kind, self.class) {
            (Kind::Count, _) => State::Count(0),
            (Kind::Sum, Class::Float) => State::Float { count: 0, sum: Double::default() },
            (Kind::Sum, _) => State::Exact { count: 0, sum: 0 },
            (Kind::Moments, _) => State::Moments { count: 0, sum: Double::default(), squares: Double::default() },
            (Kind::Min | Kind::Max, _) => State::Extreme(None),
            (Kind::First | Kind::Last, _) => State::Edge(None),
            (Kind::LastN(_), _) => State::Latest(Vec::new()),
            (Kind::Distinct, _) => State::Distinct(Box::default()),
            (Kind::Bins, _) => State::Bins(Bins::default()),
            (Kind::Top, _) => State::Top(Counts::default()),
        })
    }

    /// The unit of a decimal's digits.
    fn unit(&self) -> f64 {
        10_f64.powi(self.scale.into())
    }

    /// Which of two values is the more extreme, or the further from the middle of time, as this kind has it.
    pub(super) fn wins(&self, order: Ordering) -> bool {
        match self.kind {
            Kind::Min | Kind::First => order.is_lt(),
            _ => order.is_gt(),
        }
    }
}

impl Partial {
    /// Takes an event in. A null value is none, except that events are counted without looking at one.
    #[inline]
    pub fn add(&mut self, spec: &Spec, event: Micros, created: Option<Micros>, value: Option<Value<'_>>) {
        let value = match (value, &mut self.0) {
            (value, State::Count(count)) => {
                *count += u64::from(spec.input.is_none() || value.is_some());
                return;
            }
            (None, _) => return,
            (Some(value), _) => value,
        };
        match &mut self.0 {
            State::Count(_) => {}
            State::Exact { count, sum } => {
                *count += 1;
                *sum = plus(*sum, whole(value));
            }
            State::Float { count, sum } => {
                *count += 1;
                *sum = sum.plus(Double::of(value.as_f64().unwrap_or_default()));
            }
            State::Moments { count, sum, squares } => {
                let value = match value {
                    Value::Float(value) => Double::of(value),
                    value => Double::of_int(whole(value)),
                };
                *count += 1;
                *sum = sum.plus(value);
                *squares = squares.plus(value.times(value));
            }
            State::Extreme(held) => {
                if held.as_ref().is_none_or(|held| spec.wins(value.order(&held.value()))) {
                    *held = Some(Held::of(value));
                }
            }
            State::Edge(edge) => take_edge(spec, edge, &Candidate { event, created, value }),
            State::Latest(last) => keep_last(last, Candidate { event, created, value }, most(spec)),
            State::Distinct(set) => set.add(value),
            State::Bins(bins) => bins.add(value.as_f64().unwrap_or_default() / spec.unit()),
            State::Top(counts) => counts.add(value),
        }
    }

    /// Takes another partial aggregate of the same spec in.
    #[inline]
    pub fn merge(&mut self, spec: &Spec, other: &Self) {
        match (&mut self.0, &other.0) {
            (State::Count(count), State::Count(more)) => *count += more,
            (State::Exact { count, sum }, State::Exact { count: more, sum: other }) => {
                *count += more;
                *sum = plus(*sum, *other);
            }
            (State::Float { count, sum }, State::Float { count: more, sum: other }) => {
                *count += more;
                *sum = sum.plus(*other);
            }
            (
                State::Moments { count, sum, squares },
                State::Moments { count: more, sum: other, squares: other_squares },
            ) => {
                *count += more;
                *sum = sum.plus(*other);
                *squares = squares.plus(*other_squares);
            }
            (State::Extreme(held), State::Extreme(Some(other)))
                if held.as_ref().is_none_or(|held| spec.wins(other.value().order(&held.value()))) =>
            {
                *held = Some(other.clone());
            }
            (State::Edge(edge), State::Edge(Some(other))) => take_edge(spec, edge, &other.candidate()),
            (State::Latest(last), State::Latest(other)) => {
                other.iter().for_each(|other| keep_last(last, other.candidate(), most(spec)));
            }
            (State::Distinct(set), State::Distinct(other)) => set.merge(other),
            (State::Bins(bins), State::Bins(other)) => bins.merge(other),
            (State::Top(counts), State::Top(other)) => counts.merge(other),
            // Nothing to take in, or partials of two specs, which no caller has together.
            _ => {}
        }
    }

    /// Whether it is that of no events at all, as far as can be told from it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            State::Count(count)
            | State::Exact { count, .. }
            | State::Float { count, .. }
            | State::Moments { count, .. } => *count == 0,
            State::Extreme(held) => held.is_none(),
            State::Edge(edge) => edge.is_none(),
            State::Latest(last) => last.is_empty(),
            State::Distinct(set) => set.count() == 0,
            State::Bins(bins) => bins.0.is_empty(),
            State::Top(counts) => counts.0.is_empty(),
        }
    }

    /// The aggregate itself, for a function that is made from this kind.
    pub(super) fn finish(&self, spec: &Spec, function: Function) -> Answer<'_> {
        match (&self.0, function) {
            (State::Count(count), _) => Answer::int(i128::from(*count)),
            (State::Exact { count: 0, .. } | State::Float { count: 0, .. }, _) => Answer::Null,
            (State::Exact { count, sum }, Function::Mean) if !at_end(*sum) => {
                Answer::float(*sum as f64 / *count as f64 / spec.unit())
            }
            (State::Exact { sum, .. }, _) if spec.class == Class::Decimal => Answer::decimal(*sum),
            (State::Exact { sum, .. }, _) => Answer::int(*sum),
            (State::Float { count, sum }, Function::Mean) => Answer::float(sum.value() / *count as f64),
            (State::Float { sum, .. }, _) => Answer::float(sum.value()),
            (State::Moments { count, sum, squares }, function) => match variance(*count, *sum, *squares) {
                None => Answer::Null,
                Some(variance) if function == Function::Std => Answer::float(variance.sqrt() / spec.unit()),
                Some(variance) => Answer::float(variance / spec.unit() / spec.unit()),
            },
            (State::Extreme(held), _) => held.as_ref().map_or(Answer::Null, |held| Answer::Value(held.value())),
            (State::Edge(edge), _) => edge.as_ref().map_or(Answer::Null, |edge| Answer::Value(edge.held.value())),
            (State::Latest(last), _) if last.is_empty() => Answer::Null,
            (State::Latest(last), _) => Answer::List(last.iter().rev().map(|last| last.held.value()).collect()),
            (State::Distinct(set), _) => match set.count() {
                0 => Answer::Null,
                count => Answer::int(count.into()),
            },
            (State::Bins(bins), Function::Percentile(p)) => bins.percentile(p).map_or(Answer::Null, Answer::float),
            (State::Top(counts), Function::TopK(most)) if !counts.0.is_empty() => {
                let top = counts.top(usize::try_from(most).unwrap_or(usize::MAX));
                Answer::List(top.into_iter().map(|at| counts.0[at].0.value()).collect())
            }
            _ => Answer::Null,
        }
    }
}

fn whole(value: Value<'_>) -> i128 {
    match value {
        Value::Int(value) => value.into(),
        Value::Decimal(value) => value,
        Value::Float(_) | Value::Bytes(_) => 0,
    }
}

pub(super) fn plus(sum: i128, more: i128) -> i128 {
    match (at_end(sum), at_end(more)) {
        (true, _) => sum,
        (_, true) => more,
        _ => sum.saturating_add(more),
    }
}

fn at_end(sum: i128) -> bool {
    sum == i128::MAX || sum == i128::MIN
}

fn most(spec: &Spec) -> usize {
    match spec.kind {
        Kind::LastN(most) => usize::try_from(most).unwrap_or(usize::MAX),
        _ => 1,
    }
}

fn take_edge(spec: &Spec, edge: &mut Option<Box<Ranked>>, candidate: &Candidate<'_>) {
    match edge {
        Some(held) if spec.wins(candidate.order(&held.candidate())) => **held = candidate.held(),
        Some(_) => {}
        None => *edge = Some(Box::new(candidate.held())),
    }
}

/// The variance of a sample, as in SQL; none of fewer than two values.
fn variance(count: u64, sum: Double, squares: Double) -> Option<f64> {
    if count < 2 {
        return None;
    }
    let count = count as f64;
    let about_mean = squares.minus(sum.times(sum).over(count)).value();
    // What twice the precision leaves of equal values.
    let noise = squares.value() * f64::EPSILON * f64::EPSILON * count;
    Some(if about_mean.abs() <= noise { 0.0 } else { about_mean / (count - 1.0) })
}
