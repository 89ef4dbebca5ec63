//! Rows one by one: what fits goes on, what does not is told with its reason. For streams, where one bad row must not hold up the others.

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::sync::Arc;

use super::{Checker, Origin, Rejection, Rules, value};

/// Why a row can't be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unfit {
    /// A key is null.
    NullKey,
    /// The event time is null.
    NullTime,
    /// A value that its column can't hold exactly.
    Value,
}

/// A row that can't be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Its number in the batch.
    pub row: usize,
    /// Why.
    pub unfit: Unfit,
    /// Which column, and which value.
    pub detail: String,
}

/// A batch with its bad rows told apart.
#[derive(Debug)]
pub struct Sifted {
    /// All rows, with the rules' columns; what does not fit is null.
    pub batch: RecordBatch,
    /// The rows to leave out, each once, ascending.
    pub misfits: Vec<Misfit>,
}

/// Holds batches of one schema against [`Rules`], row by row.
#[derive(Debug)]
pub struct Sifter {
    checker: Checker,
    keys: Vec<bool>,
    event_time: String,
    loose: SchemaRef,
}

impl Sifter {
    /// Holds a schema against the rules.
    ///
    /// # Errors
    /// Every missing, extra or unfitting column, in one message.
    pub fn new(rules: &Rules, incoming: &Schema) -> Result<Self, Rejection> {
        let checker = Checker::new(rules, incoming)?;
        let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
        let loose = Arc::new(Schema::new(checker.schema().fields().iter().map(nullable).collect::<Vec<_>>()));
        let keys = loose.fields().iter().map(|field| rules.keys.contains(field.name())).collect();
        Ok(Self { checker, keys, event_time: rules.event_time.clone(), loose })
    }

    /// Converts a batch, and tells which of its rows can't be taken.
    ///
    /// # Errors
    /// The batch has another schema than was announced.
    pub fn sift(&self, batch: &RecordBatch) -> Result<Sifted, Rejection> {
        self.checker.same_schema(batch)?;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.checker.origins.len());
        let mut misfits: Vec<Misfit> = Vec::new();
        for (at, origin) in self.checker.origins.iter().enumerate() {
            let field = self.loose.field(at);
            let Origin::Incoming { index, conversion } = origin else {
                columns.push(new_null_array(field.data_type(), batch.num_rows()));
                continue;
            };
            let given = batch.column(*index);
            let (converted, unfit) = conversion.apply(given);
            misfits.extend(unfit.into_iter().map(|row| Misfit {
                row,
                unfit: Unfit::Value,
                detail: format!(
                    "column `{}` can't hold {} exactly as {}",
                    field.name(),
                    value(given, row),
                    conversion.target()
                ),
            }));
            misfits.extend(self.nulls(at, given));
            columns.push(converted);
        }
        misfits.sort_by_key(|misfit| misfit.row);
        misfits.dedup_by_key(|misfit| misfit.row);
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(self.loose.clone(), columns, &options)
            .map_err(|error| self.checker.reject(vec![error.to_string()]))?;
        Ok(Sifted { batch, misfits })
    }

    /// Nulls where none may be.
    fn nulls(&self, at: usize, given: &ArrayRef) -> Vec<Misfit> {
        let name = self.loose.field(at).name();
        let unfit = match () {
            () if self.keys[at] => Unfit::NullKey,
            () if *name == self.event_time => Unfit::NullTime,
            () => return Vec::new(),
        };
        let Some(nulls) = given.logical_nulls().filter(|nulls| nulls.null_count() > 0) else { return Vec::new() };
        let rows = (0..nulls.len()).filter(|row| nulls.is_null(*row));
        rows.map(|row| Misfit { row, unfit, detail: format!("column `{name}` is null") }).collect()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Float64Array, Int64Array, StringArray};
    use arrow::datatypes::Int32Type;
    use tidegate_schemas::definition::Column;

    use super::*;

    fn rules() -> Rules {
        let column = |(name, data_type): (&str, &str)| Column {
            name: name.to_owned(),
            data_type: data_type.parse().expect("a type"),
        };
        Rules {
            table: "t".to_owned(),
            columns: [("user", "string"), ("at", "timestamp"), ("n", "int32")].map(column).to_vec(),
            keys: ["user".to_owned()].into(),
            event_time: "at".to_owned(),
            created_time: None,
            optional: ["n".to_owned()].into(),
            ignore_extra_columns: false,
        }
    }

    fn batch(times: Vec<Option<&str>>, n: ArrayRef) -> RecordBatch {
        let users: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c"), Some("d")]));
        let times: ArrayRef = Arc::new(StringArray::from(times));
        RecordBatch::try_from_iter([("user", users), ("at", times), ("n", n)]).expect("a batch")
    }

    #[test]
    fn each_bad_row_is_told_once_and_the_others_go_on() {
        let n: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), Some(1 << 40), None]));
        let batch = batch(vec![Some("2024-01-01"), None, Some("2024-01-01"), Some("someday")], n);
        let sifted = Sifter::new(&rules(), &batch.schema()).expect("the schema fits").sift(&batch).expect("sifted");
        let told: Vec<(usize, Unfit)> = sifted.misfits.iter().map(|misfit| (misfit.row, misfit.unfit)).collect();
        assert_eq!(told, [(1, Unfit::NullKey), (2, Unfit::Value), (3, Unfit::Value)]);
        assert_eq!(sifted.misfits[1].detail, "column `n` can't hold `1099511627776` exactly as int32");
        assert_eq!(sifted.misfits[2].detail, "column `at` can't hold `someday` exactly as timestamp");
        assert_eq!(sifted.batch.num_rows(), 4);
        assert_eq!(sifted.batch.column(2).as_primitive::<Int32Type>().value(0), 1);
    }

    #[test]
    fn a_schema_that_can_never_fit_is_refused_whole() {
        let n: ArrayRef = Arc::new(Float64Array::from(vec![1.0; 4]));
        let fits = batch(vec![None; 4], n);
        assert!(Sifter::new(&rules(), &fits.schema()).is_ok());
        let lacks = fits.project(&[0, 2]).expect("two columns");
        let refused = Sifter::new(&rules(), &lacks.schema()).expect_err("no event time");
        assert!(refused.to_string().contains("event time column `at`"), "{refused}");
    }
}
