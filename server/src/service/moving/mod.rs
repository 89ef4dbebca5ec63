//! Features on their way from tables to lookups: who asks for it, when it is time, and from nothing.

pub(super) mod freshness;
pub(super) mod jobs;
pub(super) mod materialize;
pub(super) mod rebuild;
