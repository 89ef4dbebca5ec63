//! What is kept, and for how long: erasures, retention, dropped views, backups.

pub(super) mod backup;
pub(super) mod erase;
pub(super) mod erasures;
pub(super) mod lifecycle;
pub(super) mod retire;
