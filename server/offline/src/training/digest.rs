//! A table's fingerprint: one SHA-256 for each column, and one of them all.
//!
//! A column's digest is of its values' canonical bytes, row after row. The table's digest is of its row count and then, for each
//! column in order, its name, its type's name and its digest. So a table that differs says in which columns.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use tidegate_schemas::digest::Digest;

use super::{Result, canonical};

/// Canonical bytes held before they are hashed.
const CHUNK_BYTES: usize = 64 << 10;

/// A fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDigest {
    /// Rows hashed.
    pub rows: u64,
    /// Of the whole table, 64 hex digits.
    pub digest: String,
    /// Of each column, in order.
    pub columns: Vec<ColumnDigest>,
}

/// A column's fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDigest {
    /// Its name.
    pub name: String,
    /// Its type's name.
    pub data_type: String,
    /// Of its values in row order, 64 hex digits.
    pub digest: String,
}

/// A fingerprint under way.
#[derive(Debug)]
pub struct Digester {
    rows: u64,
    columns: Vec<(String, String, Digest)>,
    chunk: Vec<u8>,
}

impl Digester {
    /// The fingerprint of a table with these columns and no row yet.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        let column = |field: &arrow::datatypes::FieldRef| {
            (field.name().clone(), canonical::type_name(field.data_type()), Digest::new())
        };
        Self { rows: 0, columns: schema.fields().iter().map(column).collect(), chunk: Vec::new() }
    }

    /// Takes rows. How they are cut into batches makes no difference.
    ///
    /// # Errors
    /// A column of a type without a byte form.
    pub fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        for ((_, _, digest), column) in self.columns.iter_mut().zip(batch.columns()) {
            let write = canonical::writer(column)?;
            for row in 0..batch.num_rows() {
                write(row, &mut self.chunk);
                if self.chunk.len() >= CHUNK_BYTES {
                    digest.update(&self.chunk);
                    self.chunk.clear();
                }
            }
            digest.update(&self.chunk);
            self.chunk.clear();
        }
        Ok(())
    }

    /// The fingerprint of all rows taken.
    #[must_use]
    pub fn finish(self) -> TableDigest {
        let mut whole = Digest::new();
        whole.update(&self.rows.to_le_bytes());
        let mut columns = Vec::with_capacity(self.columns.len());
        for (name, data_type, digest) in self.columns {
            let (digest, mut names) = (digest.bytes(), Vec::new());
            canonical::text(&name, &mut names);
            canonical::text(&data_type, &mut names);
            whole.update(&names);
            whole.update(&digest);
            columns.push(ColumnDigest { name, data_type, digest: tidegate_schemas::digest::hex(&digest) });
        }
        TableDigest { rows: self.rows, digest: whole.hex(), columns }
    }
}
