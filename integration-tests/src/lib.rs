//! What whole-system tests share: a real server process on a folder of its own ([`Server`]), and the workloads
//! ([`orders`]) with the model they are checked against.

pub mod orders;
mod server;

pub use server::{Server, binary};
