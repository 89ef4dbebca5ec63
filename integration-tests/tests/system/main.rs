//! Whole-system tests: each starts the real binary on a folder of its own and talks to it as users do.

// Test code panics where it can't go on.
#![allow(missing_docs)]

mod bad_input;
mod crash;
mod whole_loop;
