//! Tables that a query fills from other tables.
//!
//! In the order things happen: a [`Query`] is planned over what it may read and nothing else, and `rules` refuse what would
//! give other rows the next time · `columns` hold its result against what the definitions need · `shape` tells whether new
//! rows of what is read only mean new rows of the result · `lineage` says which columns each column is computed from ·
//! [`Refresh`] brings the table up to the versions of its inputs.
//!
//! ```text
//! nothing     no input has new rows since the versions recorded with the table's rows
//! increment   rows were only added, and each row of the result comes from one row read: the query runs over the new files
//! full        anything else: the query runs over everything, and its result takes the place of all rows in one commit
//! ```
//! The rows and the record of the versions they come from are one commit, so that doing it again after a crash does nothing twice.

mod columns;
mod lineage;
mod refresh;
mod rules;
mod shape;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;
use tidegate_schemas::definition::Column;

use crate::error::{Error, Result};
use crate::query::{ShownTable, Sql};
use crate::runtime::Runtime;
pub use lineage::{ColumnLineage, Lineage, Origin};
pub use refresh::{Input, Progress, Recipe, Refresh, Refreshed};

/// The query of a source, planned.
#[derive(Debug, Clone)]
pub struct Query {
    sql: Sql,
    plan: LogicalPlan,
    schema: SchemaRef,
}

impl Query {
    /// Plans a query over tables at the versions given; without rows these do as well as with them.
    ///
    /// # Errors
    /// What the SQL gate refuses, names that are not there, and functions or orders that give other rows each time.
    pub async fn plan(runtime: &Arc<Runtime>, project: &str, query: &str, tables: Vec<ShownTable>) -> Result<Self> {
        let sql = Sql::over(runtime, project, tables)?;
        let plan = sql.select(query).await?;
        if let Some(why) = rules::refusal(&plan)? {
            return Err(Error::Sql(why));
        }
        let schema = sql.schema_of(&plan)?;
        Ok(Self { sql, plan, schema })
    }

    /// The columns of the table that it fills: those that the definitions need with the types they have there, all others with
    /// the types they come with.
    ///
    /// # Errors
    /// All that does not fit, in one message: columns that are missing or have other types, names or types a table can't have.
    pub fn columns(&self, needed: &[Column]) -> Result<Vec<Column>> {
        columns::of(&self.schema, needed)
    }

    /// Whether each row of the result comes from one row of one of the tables read, whatever other rows there are.
    #[must_use]
    pub fn is_row_by_row(&self) -> bool {
        shape::is_row_by_row(&self.plan)
    }

    /// Which columns read each column of the result is computed from.
    ///
    /// # Errors
    /// A plan that is not understood.
    pub fn lineage(&self) -> Result<Lineage> {
        lineage::of(&self.plan)
    }
}
