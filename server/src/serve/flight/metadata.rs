//! Flight SQL's metadata: what a BI tool shows in its tree. Catalogs are projects, schemas are `sources` and `views`.
//!
//! Each command is answered by one small batch, whose schema is the announced one too. Keys and references are empty: tables of
//! observations have none in SQL's sense.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use arrow_flight::error::FlightError;
use arrow_flight::sql::Command;
use arrow_flight::sql::metadata::{SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables, Nullable, Searchable, SqlInfo,
    SqlSupportedCaseSensitivity, SqlSupportedTransaction, XdbcDataType,
};

use super::call::Call;
use super::encode::wire_schema;
use crate::service::{Error, Result};

/// The schemas every project has, as SQL names them.
const SCHEMAS: [&str; 2] = ["sources", "views"];
/// The types a table can have; [`crate::service::TableInfo::kind`] says which.
const TABLE_TYPES: [&str; 2] = ["TABLE", "VIEW"];

impl Call {
    /// The answer to a metadata command, or `None` for a command that is none.
    pub(super) async fn metadata(&self, command: &Command) -> Result<Option<RecordBatch>> {
        let batch = match command {
            Command::CommandGetCatalogs(query) => self.catalogs(*query).await?,
            Command::CommandGetDbSchemas(query) => self.db_schemas(query.clone()).await?,
            Command::CommandGetTables(query) => self.tables(query.clone()).await?,
            Command::CommandGetTableTypes(query) => table_types(*query)?,
            Command::CommandGetSqlInfo(query) => sql_info(&query.info)?,
            Command::CommandGetXdbcTypeInfo(query) => xdbc_types(query.data_type)?,
            Command::CommandGetPrimaryKeys(_) => RecordBatch::new_empty(Arc::new(primary_keys())),
            Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_) => RecordBatch::new_empty(Arc::new(foreign_keys())),
            _ => return Ok(None),
        };
        Ok(Some(batch))
    }

    async fn catalogs(&self, query: CommandGetCatalogs) -> Result<RecordBatch> {
        let mut builder = query.into_builder();
        for project in self.projects().await? {
            builder.append(project);
        }
        builder.build().map_err(defect)
    }

    async fn db_schemas(&self, query: CommandGetDbSchemas) -> Result<RecordBatch> {
        let projects = self.projects_in(query.catalog.as_deref()).await?;
        let mut builder = query.into_builder();
        for project in &projects {
            for schema in SCHEMAS {
                builder.append(project, schema);
            }
        }
        builder.build().map_err(defect)
    }

    async fn tables(&self, query: CommandGetTables) -> Result<RecordBatch> {
        let projects = self.projects_in(query.catalog.as_deref()).await?;
        let mut builder = query.into_builder();
        for project in &projects {
            for table in self.service.tables(&self.principal, project).await? {
                let columns = wire_schema(&table.columns);
                builder.append(project, &table.schema, &table.name, &table.kind, &columns).map_err(defect)?;
            }
        }
        builder.build().map_err(defect)
    }

    /// The projects to list: a catalog that does not exist has nothing in it, which is no error.
    async fn projects_in(&self, catalog: Option<&str>) -> Result<Vec<String>> {
        let mut projects = self.projects().await?;
        if let Some(catalog) = catalog {
            projects.retain(|project| project == catalog);
        }
        Ok(projects)
    }
}

fn table_types(query: CommandGetTableTypes) -> Result<RecordBatch> {
    let mut builder = query.into_builder();
    for kind in TABLE_TYPES {
        builder.append(kind);
    }
    builder.build().map_err(defect)
}

/// What clients ask about the server; empty `wanted` for everything it says.
fn sql_info(wanted: &[u32]) -> Result<RecordBatch> {
    let mut infos = SqlInfoDataBuilder::new();
    infos.append(SqlInfo::FlightSqlServerName, "Tidegate");
    infos.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    infos.append(SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    // Of SQL: rows also come in by DoPut and bulk ingestion.
    infos.append(SqlInfo::FlightSqlServerReadOnly, true);
    infos.append(SqlInfo::FlightSqlServerSql, true);
    infos.append(SqlInfo::FlightSqlServerSubstrait, false);
    infos.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    infos.append(SqlInfo::FlightSqlServerCancel, false);
    infos.append(SqlInfo::FlightSqlServerBulkIngestion, true);
    infos.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    for ddl in [SqlInfo::SqlDdlCatalog, SqlInfo::SqlDdlSchema, SqlInfo::SqlDdlTable] {
        infos.append(ddl, false);
    }
    infos
        .append(SqlInfo::SqlIdentifierCase, i64::from(SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32));
    infos.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    infos.append(
        SqlInfo::SqlQuotedIdentifierCase,
        i64::from(SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32),
    );
    infos.append(SqlInfo::SqlAllTablesAreSelectable, true);
    infos.append(SqlInfo::SqlSupportsColumnAliasing, true);
    infos.append(SqlInfo::SqlNullPlusNullIsNull, true);
    infos.append(SqlInfo::SqlSupportsTableCorrelationNames, true);
    infos.append(SqlInfo::SqlSupportsExpressionsInOrderBy, true);
    infos.append(SqlInfo::SqlSupportsOrderByUnrelated, true);
    infos.append(SqlInfo::SqlSupportsNonNullableColumns, true);
    infos.append(SqlInfo::SqlCatalogTerm, "project");
    infos.append(SqlInfo::SqlSchemaTerm, "schema");
    infos.append(SqlInfo::SqlCatalogAtStart, true);
    infos.append(SqlInfo::SqlTransactionsSupported, false);
    infos.append(SqlInfo::SqlBatchUpdatesSupported, false);
    infos.append(SqlInfo::SqlSavepointsSupported, false);
    let infos = infos.build().map_err(defect)?;
    infos.record_batch(wanted.iter().copied()).map_err(defect)
}

/// The types SQL results have, by ODBC's numbers.
fn xdbc_types(only: Option<i32>) -> Result<RecordBatch> {
    let mut types = XdbcTypeInfoDataBuilder::new();
    let numeric = |name: &str, of: XdbcDataType, bits: i32| XdbcTypeInfo {
        column_size: Some(bits),
        num_prec_radix: Some(2),
        unsigned_attribute: Some(false),
        ..plain(name, of)
    };
    let quoted = |name: &str, of: XdbcDataType, prefix: &str| XdbcTypeInfo {
        literal_prefix: Some(prefix.to_owned()),
        literal_suffix: Some("'".to_owned()),
        case_sensitive: true,
        ..plain(name, of)
    };
    // In the order of their numbers, as the protocol asks.
    types.append(plain("BOOLEAN", XdbcDataType::XdbcBit));
    types.append(numeric("BIGINT", XdbcDataType::XdbcBigint, 64));
    types.append(quoted("BYTEA", XdbcDataType::XdbcVarbinary, "X'"));
    types.append(XdbcTypeInfo {
        column_size: Some(38),
        num_prec_radix: Some(10),
        ..plain("DECIMAL", XdbcDataType::XdbcDecimal)
    });
    types.append(numeric("INTEGER", XdbcDataType::XdbcInteger, 32));
    types.append(numeric("REAL", XdbcDataType::XdbcReal, 24));
    types.append(numeric("DOUBLE", XdbcDataType::XdbcDouble, 53));
    types.append(quoted("VARCHAR", XdbcDataType::XdbcVarchar, "'"));
    types.append(quoted("DATE", XdbcDataType::XdbcDate, "DATE '"));
    types.append(quoted("TIMESTAMP", XdbcDataType::XdbcTimestamp, "TIMESTAMP '"));
    types.build().and_then(|types| types.record_batch(only)).map_err(defect)
}

fn plain(name: &str, data_type: XdbcDataType) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_owned(),
        local_type_name: Some(name.to_owned()),
        data_type,
        sql_data_type: data_type,
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Full,
        auto_increment: Some(false),
        ..XdbcTypeInfo::default()
    }
}

fn primary_keys() -> Schema {
    Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ])
}

fn foreign_keys() -> Schema {
    Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ])
}

fn defect(error: FlightError) -> Error {
    Error::internal("the metadata can't be encoded").with_source(error)
}

#[cfg(test)]
mod tests;
