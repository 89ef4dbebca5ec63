//! Checks and converts incoming rows before any of them is written.
//!
//! [`Rules`] say what a source takes. [`Checker`] first holds a schema against them (missing columns, extra columns, types that
//! can't fit), then each batch (nulls in keys and event times, values that would lose something), and gives back batches
//! with exactly the rules' columns. [`Sifter`] does the same row by row, for those who go on without the bad ones. `convert` holds
//! the conversions: each gives every value exactly or names the row it can't. A [`Rejection`] tells everything found, with the first rows and values and how many more there are.

mod convert;
mod sift;

pub use sift::{Misfit, Sifted, Sifter, Unfit};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use tidegate_schemas::catalog::{Catalog, nearest};
use tidegate_schemas::definition::{Column, Source};

use crate::table::schema::type_name;
pub(crate) use convert::Conversion;

/// Rows told per column and kind of trouble.
const ROWS_TOLD: usize = 3;

/// Characters of a value told.
const VALUE_CHARS: usize = 60;

/// What a source takes in.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The source's name.
    pub table: String,
    /// The table's columns in order.
    pub columns: Vec<Column>,
    /// Columns that hold keys: never null.
    pub keys: BTreeSet<String>,
    /// The event time's column: never null.
    pub event_time: String,
    /// The created time's column, where the source has one.
    pub created_time: Option<String>,
    /// Columns that may be missing, and are null then: those that no view uses.
    pub optional: BTreeSet<String>,
    /// Whether columns that the table doesn't have are dropped instead of refused.
    pub ignore_extra_columns: bool,
}

impl Rules {
    /// The rules of a source as its project defines it.
    #[must_use]
    pub fn of(catalog: &Catalog, source: &Source, ignore_extra_columns: bool) -> Self {
        let columns = catalog.columns(source);
        let keys = catalog.key_columns(source);
        let views = catalog.views.values().filter(|view| view.source == source.name);
        let features: BTreeSet<&String> = views.flat_map(|view| view.features.iter().map(|f| &f.column)).collect();
        let needed = |name: &String| {
            keys.contains(name)
                || features.contains(name)
                || *name == source.event_time
                || source.valid_to.iter().chain(&source.created_time).any(|time| time == name)
        };
        let optional = columns.iter().map(|column| column.name.clone()).filter(|name| !needed(name)).collect();
        Self {
            table: source.name.clone(),
            columns,
            keys,
            event_time: source.event_time.clone(),
            created_time: source.created_time.clone(),
            optional,
            ignore_extra_columns,
        }
    }

    /// The columns that can't be null: what [`crate::table::Table::open_or_create`] calls required.
    #[must_use]
    pub fn required(&self) -> BTreeSet<String> {
        self.keys.iter().chain([&self.event_time]).cloned().collect()
    }
}

/// The Arrow schema of rows that keep the rules.
#[must_use]
pub fn schema_of(rules: &Rules) -> SchemaRef {
    crate::table::schema::defined(&rules.columns, &rules.required())
}

/// Rows or columns that a table can't take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nothing was written to `{table}`: {}", .problems.join("; "))]
pub struct Rejection {
    /// The source's name.
    pub table: String,
    /// Each thing that is wrong, with its remedy where one is known.
    pub problems: Vec<String>,
}

/// Where a column of the table comes from.
#[derive(Debug)]
enum Origin {
    Incoming { index: usize, conversion: Conversion },
    Missing,
}

/// Rows in trouble of one kind: the first few and how many.
#[derive(Debug, Default)]
struct Trouble {
    count: u64,
    first: Vec<String>,
}

impl Trouble {
    fn add(&mut self, told: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < ROWS_TOLD {
            self.first.push(told());
        }
    }

    /// `in row 3, row 9 and 12 more`.
    fn places(&self) -> String {
        let more = self.count - self.first.len() as u64;
        let first = self.first.join(", ");
        if more == 0 { first } else { format!("{first} and {more} more") }
    }
}

/// Holds incoming rows against [`Rules`].
#[derive(Debug)]
pub struct Checker {
    table: String,
    incoming: Schema,
    schema: SchemaRef,
    origins: Vec<Origin>,
    required: BTreeSet<String>,
    rows: u64,
    nulls: BTreeMap<usize, Trouble>,
    misfits: BTreeMap<usize, Trouble>,
}

impl Checker {
    /// Holds a schema against the rules.
    ///
    /// # Errors
    /// Every missing, extra or unfitting column, in one message.
    pub fn new(rules: &Rules, incoming: &Schema) -> Result<Self, Rejection> {
        let required = rules.required();
        let mut problems = duplicates(incoming);
        let mut origins = Vec::with_capacity(rules.columns.len());
        for column in &rules.columns {
            match origin(rules, column, incoming) {
                Ok(origin) => origins.push(origin),
                Err(problem) => problems.push(problem),
            }
        }
        if !rules.ignore_extra_columns {
            problems.extend(extra(rules, incoming));
        }
        if !problems.is_empty() {
            return Err(Rejection { table: rules.table.clone(), problems });
        }
        Ok(Self {
            table: rules.table.clone(),
            incoming: incoming.clone(),
            schema: crate::table::schema::defined(&rules.columns, &required),
            origins,
            required,
            rows: 0,
            nulls: BTreeMap::new(),
            misfits: BTreeMap::new(),
        })
    }

    /// The schema of checked batches: the rules' columns in order.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Holds the next batch against the rules and converts it. What is wrong with its values is counted, told by
    /// [`Checker::finish`], and leaves the returned batch empty.
    ///
    /// # Errors
    /// The batch has another schema than was announced.
    pub fn check(&mut self, batch: &RecordBatch) -> Result<RecordBatch, Rejection> {
        self.same_schema(batch)?;
        let mut columns = Vec::with_capacity(self.origins.len());
        let mut sound = true;
        for (at, origin) in self.origins.iter().enumerate() {
            let field = self.schema.field(at);
            let Origin::Incoming { index, conversion } = origin else {
                columns.push(new_null_array(field.data_type(), batch.num_rows()));
                continue;
            };
            let given = batch.column(*index);
            let (converted, misfits) = conversion.apply(given);
            let first_row = self.rows + 1;
            for row in &misfits {
                let told = || format!("row {}: {}", first_row + *row as u64, value(given, *row));
                self.misfits.entry(at).or_default().add(told);
            }
            sound &= misfits.is_empty();
            if self.required.contains(field.name()) && given.logical_null_count() > 0 {
                sound = false;
                let nulls = given.logical_nulls();
                let null_rows = (0..given.len()).filter(|row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(*row)));
                for row in null_rows {
                    self.nulls.entry(at).or_default().add(|| format!("row {}", first_row + row as u64));
                }
            }
            columns.push(converted);
        }
        self.rows += batch.num_rows() as u64;
        if !sound {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| self.reject(vec![error.to_string()]))
    }

    /// Ends the check; gives the number of rows.
    ///
    /// # Errors
    /// Values did not fit, or nulls were found in keys or the event time: where and how many.
    pub fn finish(self) -> Result<u64, Rejection> {
        let misfit = |(at, trouble): (&usize, &Trouble)| {
            let field = self.schema.field(*at);
            let name = match &self.origins[*at] {
                Origin::Incoming { conversion, .. } => conversion.target(),
                Origin::Missing => type_name(field.data_type()),
            };
            let (count, places) = (trouble.count, trouble.places());
            format!("column `{}` has {count} {} that {name} can't hold exactly ({places})", field.name(), values(count))
        };
        let null = |(at, trouble): (&usize, &Trouble)| {
            let (count, places) = (trouble.count, trouble.places());
            let name = self.schema.field(*at).name();
            format!("column `{name}` must not be null and has {count} {} ({places}); drop or fill them", nulls(count))
        };
        let problems: Vec<String> = self.nulls.iter().map(null).chain(self.misfits.iter().map(misfit)).collect();
        if problems.is_empty() { Ok(self.rows) } else { Err(self.reject(problems)) }
    }

    fn same_schema(&self, batch: &RecordBatch) -> Result<(), Rejection> {
        let given = batch.schema();
        let same = |(a, b): (&Arc<Field>, &Arc<Field>)| a.name() == b.name() && a.data_type() == b.data_type();
        let (announced, given) = (self.incoming.fields(), given.fields());
        if announced.len() == given.len() && announced.iter().zip(given).all(same) {
            return Ok(());
        }
        Err(self.reject(vec!["a batch has other columns than the first one; send batches of one schema".to_owned()]))
    }

    fn reject(&self, problems: Vec<String>) -> Rejection {
        Rejection { table: self.table.clone(), problems }
    }
}

fn values(count: u64) -> &'static str {
    if count == 1 { "value" } else { "values" }
}

fn nulls(count: u64) -> &'static str {
    if count == 1 { "null" } else { "nulls" }
}

fn duplicates(incoming: &Schema) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let twice = incoming.fields().iter().filter(|field| !seen.insert(field.name()));
    twice.map(|field| format!("column `{}` is there twice", field.name())).collect()
}

/// Where a column comes from, or what is wrong.
fn origin(rules: &Rules, column: &Column, incoming: &Schema) -> Result<Origin, String> {
    let name = &column.name;
    let Some((index, field)) = incoming.fields().find(name) else {
        if rules.optional.contains(name) {
            return Ok(Origin::Missing);
        }
        let role = match () {
            () if rules.keys.contains(name) => "key ",
            () if *name == rules.event_time => "event time ",
            () if Some(name) == rules.created_time.as_ref() => "created time ",
            () => "",
        };
        let unknown = incoming.fields().iter().map(|field| field.name().as_str()).filter(|given| !known(rules, given));
        let suggestion = nearest(name, unknown).map_or_else(String::new, |near| format!("; is `{near}` meant?"));
        return Err(format!("{role}column `{name}` ({}) is missing{suggestion}", column.data_type));
    };
    match Conversion::find(field.data_type(), &column.data_type) {
        Some(conversion) => Ok(Origin::Incoming { index, conversion }),
        None => {
            let given = type_name(field.data_type());
            Err(format!("column `{name}` is {given}, which can't become {} without loss", column.data_type))
        }
    }
}

fn known(rules: &Rules, name: &str) -> bool {
    rules.columns.iter().any(|column| column.name == name)
}

fn extra(rules: &Rules, incoming: &Schema) -> Option<String> {
    let extra: Vec<&str> =
        incoming.fields().iter().map(|field| field.name().as_str()).filter(|name| !known(rules, name)).collect();
    if extra.is_empty() {
        return None;
    }
    let missing =
        || rules.columns.iter().map(|column| column.name.as_str()).filter(|name| incoming.index_of(name).is_err());
    let told = |name: &&str| match nearest(name, missing()) {
        Some(near) => format!("`{name}` (did you mean `{near}`?)"),
        None => format!("`{name}`"),
    };
    let names = extra.iter().take(ROWS_TOLD * 4).map(told).collect::<Vec<_>>().join(", ");
    let more = extra.len().saturating_sub(ROWS_TOLD * 4);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    Some(format!("the table has no columns {names}{more}; define them, or ask for extra columns to be ignored"))
}

fn value(column: &ArrayRef, row: usize) -> String {
    let Ok(text) = array_value_to_string(column, row) else { return "a value".to_owned() };
    let cut: String = text.chars().take(VALUE_CHARS).collect();
    if cut.len() < text.len() { format!("`{cut}…`") } else { format!("`{cut}`") }
}

#[cfg(test)]
mod tests;
