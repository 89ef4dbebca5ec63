//! Rows that come one by one: pushed, or read from topics.

pub(super) mod kafka;
pub(super) mod push;
