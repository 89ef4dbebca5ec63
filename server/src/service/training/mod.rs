//! Training sets: a spine joined with features as of each row's time, sealed, compared, audited and explained.

pub(super) mod audit;
pub(super) mod diff;
pub(super) mod explain;
pub(super) mod lockstep;
pub(super) mod sealed;
pub(super) mod spines;
pub(super) mod training_set;
