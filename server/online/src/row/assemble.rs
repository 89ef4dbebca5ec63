//! Rows from values that have their stored form already.

use super::{HEADER, Header, Place, Shape};
use crate::{Error, Result};

impl Shape {
    /// A row of one value for each column, `None` where it is null.
    ///
    /// # Errors
    /// [`Error::Shape`] for a value whose width is not its column's, and for a row beyond 4 GiB.
    pub(crate) fn assemble(&self, header: &Header, values: &[Option<Vec<u8>>]) -> Result<Vec<u8>> {
        let mut row = Vec::with_capacity(self.variable);
        header.write(&mut row);
        row.resize(self.variable, 0);
        for (nth, (place, value)) in self.places.iter().zip(values).enumerate() {
            if value.is_some() {
                row[HEADER + nth / 8] |= 1 << (nth % 8);
            }
            match (*place, value) {
                (Place::Fixed(offset, width), Some(value)) if value.len() == width => {
                    row[offset..offset + width].copy_from_slice(value);
                }
                (Place::Fixed(..), Some(value)) => {
                    return Err(Error::Shape(format!("a value of {} bytes is not as wide as its column", value.len())));
                }
                (Place::Fixed(..), None) => {}
                (Place::Variable(index), value) => {
                    row.extend_from_slice(value.as_deref().unwrap_or_default());
                    let end = u32::try_from(row.len() - self.variable)
                        .map_err(|_| Error::Shape("a row's values are longer than 4 GiB".to_owned()))?;
                    let at = self.ends + 4 * index;
                    row[at..at + 4].copy_from_slice(&end.to_le_bytes());
                }
            }
        }
        Ok(row)
    }
}
