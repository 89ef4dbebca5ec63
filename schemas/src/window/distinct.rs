//! How many different values there are: exact up to [`EXACT`], an estimate beyond, by a theta sketch.
//!
//! Kept are the smallest hashes of the values, and the first that is left out. Which those are depends on the set of values alone,
//! so the order of values and of merges makes no difference.

use datasketches::hash::value::raw_bytes;
use datasketches::theta::{CompactThetaSketch, ThetaSketch, ThetaSketchBuilder, ThetaUnion, ThetaUnionBuilder};

use super::value::Value;

/// The logarithm of [`EXACT`].
const LG_EXACT: u8 = 11;

/// Up to so many values the count is exact; beyond, its standard error is 2.2 %.
pub const EXACT: u64 = 1 << LG_EXACT;

/// A set of values as up to three sketches, whose union it is: each is what one way of growing leaves behind.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    /// What was read or cloned.
    base: Option<CompactThetaSketch>,
    /// Values that were added.
    fresh: Option<ThetaSketch>,
    /// Sets that were merged.
    merged: Option<ThetaUnion>,
}

impl Clone for Distinct {
    fn clone(&self) -> Self {
        Self { base: self.settled(), fresh: None, merged: None }
    }
}

impl Distinct {
    pub(super) fn add(&mut self, value: Value<'_>) {
        let Some(fresh) = grown(&mut self.fresh, || ThetaSketchBuilder::default().lg_k(LG_EXACT).build().ok()) else {
            return;
        };
        let mut update = |bytes: &[u8]| fresh.update(raw_bytes::from_slice(bytes));
        match value {
            Value::Int(value) => update(&value.to_le_bytes()),
            // One NaN is as good as another; 0.0 and -0.0 are two values, as in their order.
            Value::Float(value) if value.is_nan() => update(&f64::NAN.to_bits().to_le_bytes()),
            Value::Float(value) => update(&value.to_bits().to_le_bytes()),
            Value::Decimal(value) => update(&value.to_le_bytes()),
            Value::Bytes(bytes) => update(bytes),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let Some(merged) = grown(&mut self.merged, union) else { return };
        other.put_into(merged);
    }

    pub(super) fn count(&self) -> i64 {
        self.settled().map_or(0, |sketch| sketch.estimate().round() as i64)
    }

    /// The set's bytes; none for the empty one.
    pub(super) fn serialize(&self) -> Vec<u8> {
        self.settled().map_or_else(Vec::new, |sketch| sketch.serialize())
    }

    /// Reads what [`Self::serialize`] wrote; `None` for anything else.
    pub(super) fn deserialize(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let sketch = CompactThetaSketch::deserialize(bytes).ok()?;
        let whole = sketch.num_retained() as u64 <= EXACT;
        whole.then_some(Self { base: Some(sketch), fresh: None, merged: None })
    }

    /// The set as one sketch of at most [`EXACT`] hashes; `None` for the empty set.
    fn settled(&self) -> Option<CompactThetaSketch> {
        match (&self.base, &self.fresh, &self.merged) {
            (None, None, None) => None,
            (Some(base), None, None) => Some(base.clone()),
            (None, None, Some(merged)) => Some(merged.to_sketch(true)),
            _ => {
                let mut all = union()?;
                self.put_into(&mut all);
                Some(all.to_sketch(true))
            }
        }
    }

    /// All sketches hash with one seed, which is what an update could fail over.
    fn put_into(&self, union: &mut ThetaUnion) {
        let merged = self.merged.as_ref().map(|merged| merged.to_sketch(true));
        for sketch in self.base.iter().chain(&merged) {
            let _ = union.update(sketch);
        }
        if let Some(fresh) = &self.fresh {
            let _ = union.update(fresh);
        }
    }
}

/// Building fails for sizes out of range only.
fn union() -> Option<ThetaUnion> {
    ThetaUnionBuilder::default().lg_k(LG_EXACT).build().ok()
}

fn grown<T>(place: &mut Option<T>, make: impl FnOnce() -> Option<T>) -> Option<&mut T> {
    if place.is_none() {
        *place = make();
    }
    place.as_mut()
}
