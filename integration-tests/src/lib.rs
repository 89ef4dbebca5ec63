//! What whole-system tests share: a real server process on a folder of its own ([`Server`]), and the workloads
//! ([`orders`], [`tallies`] for windows over them) with the models they are checked against.

pub mod orders;
mod server;
pub mod tallies;

pub use server::{Server, binary};
