//! The feature language: what a project defines and what a reader asks for.
//!
//! Names and types ([`types`]), definitions ([`definition`]), a project's catalog ([`catalog`]) and the time rule ([`time`])
//! that every tier shares. Nothing here does I/O, reads the clock, or knows a storage engine or a wire.

pub mod catalog;
pub mod definition;
pub mod duration;
pub mod error;
pub mod file;
pub mod plan;
pub mod problem;
pub mod time;
pub mod types;
