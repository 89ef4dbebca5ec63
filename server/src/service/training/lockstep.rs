//! Two training sets of one spine, read side by side: their rows correspond, however each is cut into batches. What is held is a
//! batch of each.

use arrow::array::{Array, ArrayRef, RecordBatch};
use futures::StreamExt;
use futures::stream::BoxStream;
use tidegate_offline::training::canonical;

use crate::service::{Batches, Error, Result};

/// Two streams with corresponding rows.
pub(in crate::service) struct Lockstep {
    left: Side,
    right: Side,
}

struct Side {
    stream: BoxStream<'static, Result<RecordBatch>>,
    held: Option<RecordBatch>,
}

impl Lockstep {
    pub(in crate::service) fn new(left: Batches, right: Batches) -> Self {
        let side = |batches: Batches| Side { stream: batches.stream, held: None };
        Self { left: side(left), right: side(right) }
    }

    /// The next rows of both, equally many; `None` at the end of both.
    ///
    /// # Errors
    /// Either stream fails, or one ends before the other.
    pub(in crate::service) async fn next(&mut self) -> Result<Option<(RecordBatch, RecordBatch)>> {
        let (left, right) = tokio::try_join!(self.left.fill(), self.right.fill())?;
        match (left, right) {
            (0, 0) => Ok(None),
            (0, _) | (_, 0) => Err(Error::internal("two reads of one spine have different numbers of rows")),
            (left, right) => {
                let rows = left.min(right);
                Ok(self.left.take(rows).zip(self.right.take(rows)))
            }
        }
    }
}

impl Side {
    /// Holds rows and says how many; 0 at the end.
    async fn fill(&mut self) -> Result<usize> {
        loop {
            if let Some(held) = self.held.as_ref().filter(|held| held.num_rows() > 0) {
                return Ok(held.num_rows());
            }
            match self.stream.next().await {
                Some(batch) => self.held = Some(batch?),
                None => return Ok(0),
            }
        }
    }

    fn take(&mut self, rows: usize) -> Option<RecordBatch> {
        let held = self.held.take()?;
        self.held = Some(held.slice(rows, held.num_rows() - rows));
        Some(held.slice(0, rows))
    }
}

/// The rows where two columns of one length differ, bit for bit.
///
/// # Errors
/// A type that has no canonical bytes.
pub(in crate::service) fn differing(left: &ArrayRef, right: &ArrayRef) -> Result<Vec<usize>> {
    if left.to_data() == right.to_data() {
        return Ok(Vec::new());
    }
    let writer = |column| canonical::writer(column).map_err(tidegate_offline::Error::from);
    let (left_bytes, right_bytes) = (writer(left)?, writer(right)?);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let differs = |row: &usize| {
        a.clear();
        b.clear();
        left_bytes(*row, &mut a);
        right_bytes(*row, &mut b);
        a != b
    };
    Ok((0..left.len()).filter(differs).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Float64Array, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn cut(rows: i64, size: usize) -> Batches {
        let ids: ArrayRef = Arc::new((0..rows).collect::<Int64Array>());
        let whole = RecordBatch::try_from_iter([("id", ids)]).unwrap();
        let rows = whole.num_rows();
        let starts = (0..rows).step_by(size);
        let batches = starts.flat_map(|at| [whole.slice(at, size.min(rows - at)), whole.slice(0, 0)]).collect();
        Batches::from_vec(whole.schema(), batches)
    }

    #[tokio::test]
    async fn rows_correspond_whatever_the_batches() {
        for (left, right) in [(1, 1), (2, 7), (7, 50), (51, 49), (100, 1), (100, 100)] {
            let mut both = Lockstep::new(cut(100, left), cut(100, right));
            let mut seen = 0;
            while let Some((a, b)) = both.next().await.unwrap() {
                assert_eq!(a, b);
                assert_eq!(a["id"].as_primitive::<Int64Type>().value(0), seen);
                seen += a.num_rows() as i64;
            }
            assert_eq!(seen, 100, "{left} and {right}");
        }
        let mut uneven = Lockstep::new(cut(3, 2), cut(4, 2));
        while let Ok(Some(_)) = uneven.next().await {}
        assert!(uneven.next().await.is_err());
    }

    #[test]
    fn values_differ_by_their_bits() {
        let column = |values: Vec<Option<f64>>| -> ArrayRef { Arc::new(Float64Array::from(values)) };
        let left = column(vec![Some(0.0), Some(f64::NAN), None, Some(1.0), None]);
        let right = column(vec![Some(-0.0), Some(f64::NAN), None, Some(2.0), Some(0.0)]);
        assert_eq!(differing(&left, &right).unwrap(), [0, 3, 4]);
        assert_eq!(differing(&left, &left.slice(0, 5)).unwrap(), [0_usize; 0]);
    }
}
