//! The feature language: what a project defines and what a reader asks for.
//!
//! Names and types ([`types`]), definitions ([`definition`]), a project's catalog ([`catalog`]), the time rule ([`time`]) and
//! the one way to make a digest ([`digest`]) that every tier shares, and so are the points at which tests make a process end
//! ([`failpoint`]). Nothing here does I/O, reads the clock, or knows a storage engine or a wire.

pub mod catalog;
pub mod definition;
pub mod digest;
pub mod duration;
pub mod error;
pub mod failpoint;
pub mod file;
pub mod plan;
pub mod problem;
pub mod time;
pub mod types;
pub mod window;
