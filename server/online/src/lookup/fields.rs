//! Where features are in rows that were written under some layout: by number, so that rows outlive changes of their view, and a name
//! that is used again does not answer with what it stood for before.

use std::sync::Arc;

use tidegate_schemas::definition::Column;
use tidegate_schemas::types::DataType;

use crate::Result;
use crate::layout::Layout;

/// Features as found in the rows of one layout.
#[derive(Debug)]
pub(crate) struct Fields {
    stored: Arc<Layout>,
    sources: Vec<Source>,
}

/// Where one feature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// In this column.
    Same(usize),
    /// In this column, as a narrower integer.
    NarrowInt(usize),
    /// In this column, as a narrower float.
    NarrowFloat(usize),
    /// The rows were written before the feature was there.
    Absent,
    /// The rows have it with a type that does not widen to the present one.
    Changed,
}

impl Source {
    /// Where a column is that rows have at a place, or nowhere.
    fn of(stored: &Layout, at: Option<usize>, wanted: &Column) -> Self {
        let Some(at) = at else { return Self::Absent };
        match (&stored.features[at].data_type, &wanted.data_type) {
            (stored, wanted) if stored == wanted => Self::Same(at),
            (DataType::String, DataType::Json) | (DataType::Json, DataType::String) => Self::Same(at),
            (DataType::Int32, DataType::Int64) => Self::NarrowInt(at),
            (DataType::Float32, DataType::Float64) => Self::NarrowFloat(at),
            _ => Self::Changed,
        }
    }
}

impl Fields {
    /// Finds columns by their names in rows written under `stored`.
    pub(crate) fn new(stored: Arc<Layout>, wanted: &[Column]) -> Self {
        let at = |wanted: &Column| stored.features.iter().position(|feature| feature.name == wanted.name);
        let sources = wanted.iter().map(|wanted| Source::of(&stored, at(wanted), wanted)).collect();
        Self { stored, sources }
    }

    /// Finds the features of a layout in rows written under another, whatever they were called then.
    pub(crate) fn of(stored: Arc<Layout>, wanted: &Layout) -> Self {
        Self::numbered(stored, wanted.features.iter().zip(wanted.numbers.iter().copied()))
    }

    /// Finds features by their numbers in rows written under `stored`.
    pub(crate) fn numbered<'c>(stored: Arc<Layout>, wanted: impl IntoIterator<Item = (&'c Column, u32)>) -> Self {
        let at = |number: u32| stored.numbers.iter().position(|stored| *stored == number);
        let sources = wanted.into_iter().map(|(wanted, number)| Source::of(&stored, at(number), wanted)).collect();
        Self { stored, sources }
    }

    pub(crate) fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether the rows have all of them.
    pub(crate) fn is_whole(&self) -> bool {
        !self.sources.iter().any(|source| matches!(source, Source::Absent | Source::Changed))
    }

    /// Whether the rows have this feature with a type that can't be read as the present one.
    #[inline]
    pub(crate) fn is_changed(&self, nth: usize) -> bool {
        self.sources[nth] == Source::Changed
    }

    /// Where a feature that is stored at fixed width and as it is answered lies in a row: its offset, and the byte and bit that say
    /// whether it is there.
    pub(crate) fn as_answered(&self, nth: usize) -> Option<(usize, usize, u8)> {
        match self.sources[nth] {
            Source::Same(at) => self.stored.shape.fixed(at),
            _ => None,
        }
    }

    /// The stored bytes of a feature, of the type it was stored with.
    #[inline]
    pub(crate) fn slot<'a>(&self, nth: usize, row: &'a [u8]) -> Result<Option<&'a [u8]>> {
        match self.sources[nth] {
            Source::Same(at) | Source::NarrowInt(at) | Source::NarrowFloat(at) => self.stored.shape.slot(row, at),
            Source::Absent | Source::Changed => Ok(None),
        }
    }

    /// A feature's bytes as of the present type.
    pub(crate) fn widened(&self, nth: usize, slot: &[u8]) -> Vec<u8> {
        match (self.sources[nth], <[u8; 4]>::try_from(slot)) {
            (Source::NarrowInt(_), Ok(bytes)) => i64::from(i32::from_le_bytes(bytes)).to_le_bytes().to_vec(),
            (Source::NarrowFloat(_), Ok(bytes)) => f64::from(f32::from_le_bytes(bytes)).to_le_bytes().to_vec(),
            _ => slot.to_vec(),
        }
    }
}
