//! The fast path against the naive reference and a brute-force oracle, on random worlds; the bugs other stores had, by
//! name; and what a user sees of errors, plans and metrics.

mod cancel;
pub(super) mod named;
pub(super) mod oracle;
pub(super) mod random;
mod rules;
mod windows;
pub(super) mod world;
