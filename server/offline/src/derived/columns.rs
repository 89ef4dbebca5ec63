//! The columns of a query's result as columns of a table.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType as Arrow, Field, Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use tidegate_schemas::catalog::nearest;
use tidegate_schemas::definition::Column;
use tidegate_schemas::types::DataType;

use crate::error::{Error, Result};
use crate::ingest::Conversion;
use crate::table::schema::{reads_as, type_name};

/// What Delta tables don't have in the names of columns.
const NOT_IN_NAMES: &[char] = &[' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

/// Names that Tidegate keeps for columns of its own.
const OWN_NAMES: &str = "__tidegate";

/// The table's columns for a result of this schema.
pub(super) fn of(result: &SchemaRef, needed: &[Column]) -> Result<Vec<Column>> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    let mut columns = Vec::with_capacity(result.fields().len());
    for field in result.fields() {
        if !seen.insert(field.name()) {
            problems.push(format!("it gives two columns `{0}`; name one of them otherwise with AS", field.name()));
            continue;
        }
        match column(field, needed) {
            Ok(column) => columns.push(column),
            Err(problem) => problems.push(problem),
        }
    }
    for missing in needed.iter().filter(|column| result.field_with_name(&column.name).is_err()) {
        let names = result.fields().iter().map(|field| field.name().as_str());
        let help = nearest(&missing.name, names).map_or_else(String::new, |near| format!("; is `{near}` meant?"));
        problems.push(format!("it gives no column `{}` ({}){help}", missing.name, missing.data_type));
    }
    if problems.is_empty() { Ok(columns) } else { Err(Error::Sql(problems.join("; "))) }
}

fn column(field: &Field, needed: &[Column]) -> Result<Column, String> {
    let (name, found) = (field.name(), field.data_type());
    if name.is_empty() || name.contains(NOT_IN_NAMES) || name.starts_with(OWN_NAMES) {
        return Err(format!("it gives a column `{name}`, which can't be the name of one; name it with AS"));
    }
    match needed.iter().find(|column| column.name == *name) {
        Some(column) if fits(found, &column.data_type) => Ok(column.clone()),
        Some(column) => Err(format!(
            "it gives `{name}` as {}, and the definitions need {}; write CAST({name} AS …), or change the definitions",
            type_name(found),
            column.data_type
        )),
        None => match DataType::from_arrow(found) {
            Some(data_type) => Ok(Column { name: name.clone(), data_type }),
            None => Err(format!("it gives `{name}` as {}, which tables can't hold; cast it", type_name(found))),
        },
    }
}

/// Whether every value fits, lengths of vectors apart.
fn fits(found: &Arrow, wanted: &DataType) -> bool {
    let times = matches!(found, Arrow::Timestamp(..)) && *wanted == DataType::Timestamp;
    times || reads_as(found, &wanted.to_arrow())
}

/// How the columns of a result become those of the table.
#[derive(Debug, Clone)]
pub(super) struct Conversions {
    schema: SchemaRef,
    columns: Vec<Conversion>,
}

impl Conversions {
    /// From a result's schema, in whose order the columns are.
    pub(super) fn new(result: &SchemaRef, columns: &[Column]) -> Result<Self> {
        let conversion = |(field, column): (&Arc<Field>, &Column)| {
            Conversion::find(field.data_type(), &column.data_type)
                .ok_or_else(|| Error::Internal(format!("column `{}` can't become {}", column.name, column.data_type)))
        };
        let fields: Vec<Field> =
            columns.iter().map(|column| Field::new(&column.name, column.data_type.to_arrow(), true)).collect();
        let columns = result.fields().iter().zip(columns).map(conversion).collect::<Result<_>>()?;
        Ok(Self { schema: Arc::new(Schema::new(fields)), columns })
    }

    /// The schema of converted batches.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// A batch of the result as rows of the table.
    pub(super) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for ((conversion, given), field) in self.columns.iter().zip(batch.columns()).zip(self.schema.fields()) {
            let (converted, misfits) = conversion.apply(given);
            if let Some(row) = misfits.first() {
                let value = array_value_to_string(given, *row).unwrap_or_else(|_| "a value".to_owned());
                let shown: String = value.chars().take(60).collect();
                return Err(Error::Sql(format!(
                    "column `{}` has `{shown}`, which {} can't hold exactly; convert it in the query",
                    field.name(),
                    conversion.target()
                )));
            }
            columns.push(converted);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}
