//! Tables: what they are and where, rows in, how they lie on disk, and the ones that queries make.

pub(super) mod ingest;
pub(super) mod layout;
pub(super) mod queries;
pub(super) mod tables;
