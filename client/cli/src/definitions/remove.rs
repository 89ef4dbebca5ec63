//! `tidegate delete`.

use std::process::ExitCode;

use tidegate_schemas::definition::Kind;

use crate::failure::Result;
use crate::output::Output;
use crate::{Globals, session};

/// What to remove.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate delete service late_arrival
  tidegate delete view origin_weather       # refused while a service uses it; says which")]
pub struct Args {
    /// entity, source, view or service.
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Its name.
    #[arg(value_name = "NAME")]
    name: String,
}

pub(crate) async fn run(args: &Args, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    let applied = client.delete(args.kind.as_str(), &args.name).await?;
    let what = format!("{}/{}", args.kind, args.name);
    out.line(format!("deleted {what}: project `{}` is now at version {}", applied.project, applied.version))?;
    Ok(ExitCode::SUCCESS)
}
