//! Which rows of a spine a training set takes, and what it says of them. Every decision is about one row's content, so that the
//! rows of a spine can come in any order, on any thread, in any batches, and equal rows are decided alike.

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use tidegate_schemas::catalog::nearest;
use tidegate_schemas::time::Micros;

use super::functions::{Drawn, Rule, call};
use super::{Error, Result};

/// The column a split adds: `train`, `validation` or `test`; null where the row has no time.
pub const SPLIT: &str = "split";

/// The column a sample adds: one over the fraction kept of rows like this.
pub const SAMPLE_WEIGHT: &str = "sample_weight";

/// Parts of a training set by the time of its rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Split {
    at: Vec<Micros>,
    embargo: Micros,
}

impl Split {
    /// Rows before the first cut are `train`, those before the second `validation`, the others `test`; with one cut there is no
    /// validation. Rows less than or exactly `embargo` microseconds before a cut are left out.
    ///
    /// # Errors
    /// No cut or more than two, cuts that don't ascend, a negative embargo.
    pub fn new(at: Vec<Micros>, embargo: Micros) -> Result<Self> {
        if !(1..=2).contains(&at.len()) {
            return Err(Error::Cuts(at.len()));
        }
        if !at.is_sorted_by(|earlier, later| earlier < later) {
            return Err(Error::CutOrder);
        }
        if embargo < 0 {
            return Err(Error::Embargo);
        }
        Ok(Self { at, embargo })
    }

    /// The cuts, ascending, in UTC microseconds.
    #[must_use]
    pub fn at(&self) -> &[Micros] {
        &self.at
    }

    /// How long before a cut rows are left out, in microseconds.
    #[must_use]
    pub fn embargo(&self) -> Micros {
        self.embargo
    }

    /// The part that a row of this time, in nanoseconds, belongs to.
    pub(super) fn part(&self, nanos: i128) -> &'static str {
        let after = self.at.iter().filter(|cut| nanos >= i128::from(**cut) * 1_000).count();
        match (after, self.at.len()) {
            (0, _) => "train",
            (1, 2) => "validation",
            _ => "test",
        }
    }

    /// Whether a row of this time, in nanoseconds, is too near before a cut.
    pub(super) fn embargoes(&self, nanos: i128) -> bool {
        let embargo = i128::from(self.embargo) * 1_000;
        self.at.iter().map(|cut| i128::from(*cut) * 1_000).any(|cut| cut - embargo <= nanos && nanos < cut)
    }
}

/// A share of a training set's rows, by the value of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    column: String,
    keep: Vec<(String, f64)>,
    seed: i64,
}

impl Sample {
    /// Keeps the given fractions of the rows whose `column` has the given values, written as text; all rows with other values
    /// or null. Which rows, a hash of each row's content and `seed` decides.
    ///
    /// # Errors
    /// No fraction, one that is not above 0 and at most 1, or two for one value.
    pub fn new(column: impl Into<String>, keep: Vec<(String, f64)>, seed: i64) -> Result<Self> {
        if keep.is_empty() {
            return Err(Error::NoFractions);
        }
        for (at, (value, fraction)) in keep.iter().enumerate() {
            if !(*fraction > 0.0 && *fraction <= 1.0) {
                return Err(Error::Fraction { value: value.clone(), fraction: *fraction });
            }
            if keep[..at].iter().any(|(other, _)| other == value) {
                return Err(Error::Twice(value.clone()));
            }
        }
        Ok(Self { column: column.into(), keep, seed })
    }

    /// The column whose values decide.
    #[must_use]
    pub fn column(&self) -> &str {
        &self.column
    }

    /// The fraction kept of the rows with each value.
    #[must_use]
    pub fn keep(&self) -> &[(String, f64)] {
        &self.keep
    }

    /// What makes another sample of the same rows.
    #[must_use]
    pub fn seed(&self) -> i64 {
        self.seed
    }
}

/// A spine with the rows that a split and a sample leave of it, in its order; the columns [`SPLIT`] and [`SAMPLE_WEIGHT`] come
/// after its own.
///
/// # Errors
/// A column that is not there or has another type than the sample's values, a taken name, a type that can't be hashed.
pub fn choose(
    spine: LogicalPlan,
    spine_time: &str,
    split: Option<&Split>,
    sample: Option<&Sample>,
) -> crate::Result<LogicalPlan> {
    let (mut kept, mut added) = (Vec::new(), Vec::new());
    if let Some(split) = split {
        free(&spine, SPLIT)?;
        let time = time(&spine, spine_time)?;
        kept.push(call(Rule::OutsideEmbargo(split.clone()), vec![time.clone()]));
        added.push(call(Rule::Part(split.clone()), vec![time]).alias(SPLIT));
    }
    if let Some(sample) = sample {
        free(&spine, SAMPLE_WEIGHT)?;
        let column = column(&spine, &sample.column)?;
        let field = spine.schema().as_arrow().field(column);
        let drawn = Drawn::new(sample, field.data_type())?;
        let by_name = by_name(&spine);
        let names = by_name.iter().map(|at| spine.schema().field(*at).name().clone()).collect();
        let mut cells = vec![cell(&spine, column)];
        cells.extend(by_name.iter().map(|at| cell(&spine, *at)));
        kept.push(call(Rule::Kept { drawn: drawn.clone(), seed: sample.seed, names }, cells));
        added.push(call(Rule::Weight(drawn), vec![cell(&spine, column)]).alias(SAMPLE_WEIGHT));
    }
    let Some(kept) = kept.into_iter().reduce(Expr::and) else { return Ok(spine) };
    let own: Vec<Expr> = (0..spine.schema().fields().len()).map(|at| cell(&spine, at)).collect();
    Ok(LogicalPlanBuilder::from(spine).filter(kept)?.project(own.into_iter().chain(added))?.build()?)
}

/// The spine's columns in the order of their names, in which a row's content is hashed.
fn by_name(spine: &LogicalPlan) -> Vec<usize> {
    let fields = spine.schema().fields();
    let mut order: Vec<usize> = (0..fields.len()).collect();
    order.sort_by_key(|at| fields[*at].name());
    order
}

fn cell(spine: &LogicalPlan, at: usize) -> Expr {
    Expr::Column(Column::from(spine.schema().qualified_field(at)))
}

fn column(spine: &LogicalPlan, name: &str) -> Result<usize> {
    let names = || spine.schema().fields().iter().map(|field| field.name());
    names().position(|field| field == name).ok_or_else(|| {
        let near = nearest(name, names().map(String::as_str));
        Error::SampleColumn {
            column: name.to_owned(),
            suggestion: near.map_or_else(String::new, |near| format!("; did you mean `{near}`?")),
            available: names().cloned().collect(),
        }
    })
}

fn time(spine: &LogicalPlan, name: &str) -> Result<Expr> {
    let at = column(spine, name).map_err(|_| Error::Time(name.to_owned()))?;
    let data_type = spine.schema().field(at).data_type();
    if !super::functions::is_time(data_type) {
        return Err(Error::Time(name.to_owned()));
    }
    Ok(cell(spine, at))
}

fn free(spine: &LogicalPlan, name: &'static str) -> Result<()> {
    let taken = spine.schema().fields().iter().any(|field| field.name() == name);
    if taken { Err(Error::ColumnTaken(name)) } else { Ok(()) }
}
