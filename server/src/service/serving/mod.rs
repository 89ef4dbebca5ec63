//! Lookups, and what they are computed from.

pub(super) mod as_of;
pub(super) mod derivations;
pub(super) mod expressions;
pub(super) mod keys;
pub(super) mod online;
pub(super) mod parity;
