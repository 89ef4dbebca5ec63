//! Whole-system tests: each starts the real binary on a folder of its own and talks to it as users do.

// Tests tell their seeds and counts on standard output, which the harness shows when one fails.
#![allow(clippy::print_stdout)]

mod bad_input;
mod lifecycle;
mod torture;
mod whole_loop;
