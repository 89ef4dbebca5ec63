//! The `tidegate` binary: `serve` and `config` here, the client's verbs beside them.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate_server::app::main()
}
