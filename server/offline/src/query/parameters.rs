//! Parameters `$1` … or `?`: their inferred types, and the values bound to them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Value, ValueWithSpan, VisitMut, VisitorMut};

use crate::error::{Error, Result};

/// Most parameters.
const MOST: usize = 1_000;

/// Numbers the `?` of a statement: the first becomes `$1`.
pub(super) fn number(statement: &mut Statement) -> Result<()> {
    let mut numbering = Numbering::default();
    let sql = match statement {
        Statement::Statement(sql) => sql,
        Statement::Explain(explain) => match explain.statement.as_mut() {
            Statement::Statement(sql) => sql,
            _ => return Ok(()),
        },
        _ => return Ok(()),
    };
    let _ = sql.visit(&mut numbering);
    if numbering.unnumbered > 0 && numbering.numbered {
        return Err(Error::Parameters("use either `?` or `$1`, `$2` … for parameters, not both".to_owned()));
    }
    Ok(())
}

#[derive(Default)]
struct Numbering {
    unnumbered: usize,
    numbered: bool,
}

impl VisitorMut for Numbering {
    type Break = ();

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        if let Value::Placeholder(name) = &mut value.value {
            if name == "?" {
                self.unnumbered += 1;
                *name = format!("${}", self.unnumbered);
            } else {
                self.numbered = true;
            }
        }
        ControlFlow::Continue(())
    }
}

/// The parameters of a plan in order: `$1`, `$2` …; a type that can't be inferred is `Null`.
pub(super) fn of(plan: &LogicalPlan) -> Result<SchemaRef> {
    let mut types: BTreeMap<usize, Option<DataType>> = BTreeMap::new();
    for (name, data_type) in plan.get_parameter_types()? {
        let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
        match number.filter(|number| (1..=MOST).contains(number)) {
            Some(number) => types.insert(number, data_type),
            None => return Err(Error::Parameters(format!("`{name}` is no parameter; use `?` or `$1`, `$2` …"))),
        };
    }
    let count = types.last_key_value().map_or(0, |(last, _)| *last);
    let field = |number: usize| {
        let data_type = types.remove(&number).flatten().unwrap_or(DataType::Null);
        Field::new(format!("${number}"), data_type, true)
    };
    Ok(Arc::new(Schema::new((1..=count).map(field).collect::<Vec<_>>())))
}

/// The plan with the values of a one-row batch in place of its parameters.
pub(super) fn bind(plan: LogicalPlan, values: Option<&RecordBatch>) -> Result<LogicalPlan> {
    let parameters = of(&plan)?;
    let given = values.map_or(0, RecordBatch::num_columns);
    let wanted = parameters.fields().len();
    if given != wanted {
        return Err(Error::Parameters(format!("the query has {wanted} parameters and {given} values were given")));
    }
    let Some(values) = values.filter(|_| wanted > 0) else { return Ok(plan) };
    if values.num_rows() != 1 {
        return Err(Error::Parameters(format!("parameters are one row of values, not {}", values.num_rows())));
    }
    let value = |(column, field): (&arrow::array::ArrayRef, &Arc<Field>)| {
        let value = ScalarValue::try_from_array(column, 0)?;
        let value = match field.data_type() {
            DataType::Null => value,
            known => value.cast_to(known).map_err(|_| {
                Error::Parameters(format!(
                    "parameter {} is {known} and the value given is {}",
                    field.name(),
                    value.data_type()
                ))
            })?,
        };
        Ok(ScalarAndMetadata::from(value))
    };
    let values = values.columns().iter().zip(parameters.fields()).map(value).collect::<Result<Vec<_>>>()?;
    Ok(plan.with_param_values(ParamValues::List(values))?)
}
