//! The expressions of a service within a plan: one function of all their inputs that gives a struct of all computed features,
//! and a projection that takes it apart. One call, so that a feature which others use is computed once.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Fields};
use datafusion::common::{Column, Result as PlanResult};
use datafusion::functions::core::expr_ext::FieldAccessor;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::Expressions;
use crate::error::{Error, Result};

/// The struct's name on its way.
const ALL: &str = "__tidegate_computed";

/// Adds the computed features to rows. `inputs` names the columns of `rows` in the order the expressions were compiled for.
///
/// # Errors
/// A column that is not there.
pub fn plan(rows: LogicalPlan, expressions: Arc<Expressions>, inputs: &[String]) -> Result<LogicalPlan> {
    let schema = rows.schema().clone();
    let column = |name: &String| {
        let at = schema.as_arrow().fields().iter().position(|field| field.name() == name);
        let at = at.ok_or_else(|| Error::RequestColumn { column: name.clone() })?;
        Ok(Expr::Column(Column::from(schema.qualified_field(at))))
    };
    let args = inputs.iter().map(column).collect::<Result<Vec<_>>>()?;
    let kept: Vec<Expr> =
        (0..schema.fields().len()).map(|at| Expr::Column(Column::from(schema.qualified_field(at)))).collect();
    let names: Vec<String> = expressions.features().map(|feature| feature.name.clone()).collect();
    let all = ScalarUDF::new_from_impl(Computed::new(expressions)).call(args).alias(ALL);
    let taken = names.iter().map(|name| Expr::Column(Column::new_unqualified(ALL)).field(name.as_str()).alias(name));
    let first = kept.iter().cloned().chain([all]);
    let second = kept.iter().cloned().chain(taken);
    Ok(LogicalPlanBuilder::from(rows).project(first)?.project(second)?.build()?)
}

/// The function.
#[derive(Debug)]
struct Computed {
    expressions: Arc<Expressions>,
    fields: Fields,
    signature: Signature,
}

impl Computed {
    fn new(expressions: Arc<Expressions>) -> Self {
        // Inputs are brought to their types here: a spine's column may be narrower than the request column is defined.
        let signature = Signature::any(expressions.input_types().len(), Volatility::Immutable);
        Self { fields: expressions.fields().into(), expressions, signature }
    }
}

impl PartialEq for Computed {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.expressions, &other.expressions)
    }
}

impl Eq for Computed {}

impl Hash for Computed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.expressions).hash(state);
    }
}

impl ScalarUDFImpl for Computed {
    fn name(&self) -> &'static str {
        "tidegate_computed"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Struct(self.fields.clone()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let rows = args.number_rows;
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let cast = |(value, wanted): (&ColumnarValue, DataType)| -> PlanResult<ArrayRef> {
            let array = value.to_array(rows)?;
            Ok(if *array.data_type() == wanted { array } else { cast_with_options(&array, &wanted, &strict)? })
        };
        let inputs = args.args.iter().zip(self.expressions.input_types()).map(cast).collect::<PlanResult<Vec<_>>>()?;
        let evaluated = self.expressions.evaluate(&inputs, rows)?;
        let columns = evaluated.into_iter().map(|one| one.values).collect();
        Ok(ColumnarValue::Array(Arc::new(StructArray::try_new_with_length(self.fields.clone(), columns, None, rows)?)))
    }
}
