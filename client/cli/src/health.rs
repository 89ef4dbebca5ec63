//! `health`: whether the server serves, for scripts and container health checks.

use std::process::ExitCode;

use crate::Globals;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::session;

/// Flags of `health`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(after_help = "\
Examples:
  tidegate health
  tidegate health --address http://feature-store:7407")]
pub struct Args {}

pub(crate) async fn run(globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::connect(globals).await?;
    if client.healthy().await? {
        out.line("serving")?;
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(format!("the server at {} does not serve now", client.address()))
        .help("it is starting or stopping: look at its log"))
}
