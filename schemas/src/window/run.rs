//! Many values at once, for partial aggregates to which neither their order nor their times make a difference.

use super::double::Double;
use super::partial::{Partial, Spec, State};
use super::value::{Held, Value};

/// Values of one input that lie side by side, none of them null.
#[derive(Debug, Clone, Copy)]
pub enum Run<'a> {
    /// Of [`super::Class::Int`].
    Int(&'a [i64]),
    /// Of [`super::Class::Float`].
    Float(&'a [f64]),
}

impl Partial {
    /// Takes values in, as [`Self::add`] takes each; false, and nothing is done, where each has to be taken with its times or is kept.
    #[inline]
    pub fn add_run(&mut self, spec: &Spec, run: Run<'_>) -> bool {
        match (&mut self.0, run) {
            (State::Count(count), run) => *count += run.len() as u64,
            (State::Exact { count, sum }, Run::Int(values)) => {
                *count += values.len() as u64;
                // So many of 64 bits don't reach the end of 128.
                *sum = super::partial::plus(*sum, values.iter().map(|value| i128::from(*value)).sum());
            }
            (State::Float { count, sum }, Run::Float(values)) => {
                *count += values.len() as u64;
                *sum = values.iter().fold(*sum, |sum, value| sum.plus(Double::of(*value)));
            }
            (State::Moments { count, sum, squares }, Run::Float(values)) => {
                *count += values.len() as u64;
                for value in values.iter().map(|value| Double::of(*value)) {
                    *sum = sum.plus(value);
                    *squares = squares.plus(value.times(value));
                }
            }
            (State::Extreme(held), run) => {
                if let Some(value) = run.most(|value, best| spec.wins(value.order(best)))
                    && held.as_ref().is_none_or(|held| spec.wins(value.order(&held.value())))
                {
                    *held = Some(Held::of(value));
                }
            }
            _ => return false,
        }
        true
    }
}

impl Run<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Int(values) => values.len(),
            Self::Float(values) => values.len(),
        }
    }

    /// The value that wins against all others.
    #[inline]
    fn most(&self, wins: impl Fn(&Value<'_>, &Value<'_>) -> bool) -> Option<Value<'static>> {
        let better = |best, value| if wins(&value, &best) { value } else { best };
        match self {
            Self::Int(values) => values.iter().map(|value| Value::Int(*value)).reduce(better),
            Self::Float(values) => values.iter().map(|value| Value::Float(*value)).reduce(better),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Class, Kind};
    use super::*;

    #[test]
    fn a_run_is_its_values_one_by_one() {
        let floats = [0.1, -0.0, f64::NAN, 3e200, -7.5, f64::INFINITY, 0.0, 0.1];
        let ints = [3, i64::MIN, 0, -7, i64::MAX, 3, i64::MAX];
        let kinds = [Kind::Count, Kind::Sum, Kind::Moments, Kind::Min, Kind::Max, Kind::Last, Kind::Distinct];
        for (kind, class) in kinds.into_iter().flat_map(|kind| [(kind, Class::Int), (kind, Class::Float)]) {
            let spec = Spec { kind, input: Some(0), class, scale: 0 };
            for length in 0..ints.len() {
                let (mut whole, mut each) = (spec.empty(), spec.empty());
                let taken = match class {
                    Class::Int => whole.add_run(&spec, Run::Int(&ints[..length])),
                    _ => whole.add_run(&spec, Run::Float(&floats[..length])),
                };
                for at in (0..length).filter(|_| taken) {
                    let value = if class == Class::Int { Value::Int(ints[at]) } else { Value::Float(floats[at]) };
                    each.add(&spec, 0, None, Some(value));
                }
                assert_eq!(format!("{whole:?}"), format!("{each:?}"), "{kind:?} of {length} {class:?}");
            }
        }
    }
}
