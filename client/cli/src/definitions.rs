//! Verbs on definitions. [`files`] gathers what paths name; [`saved`] is the plan file; [`changes`] is how changes read.

pub(crate) mod apply;
pub(crate) mod changes;
pub(crate) mod files;
pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod plan;
pub(crate) mod remove;
pub(crate) mod saved;
pub(crate) mod show;
pub(crate) mod validate;
