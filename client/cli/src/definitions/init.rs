//! `tidegate init`: a small working example to start from.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tidegate_schemas::file;

use crate::failure::{Failure, Result};
use crate::output::Output;

/// Where to write.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate init                             # writes ./features
  tidegate init ml/definitions")]
pub struct Args {
    /// The folder to write into; created when it is not there.
    #[arg(default_value = "features", value_name = "DIR")]
    folder: PathBuf,
}

/// The files written, in the order written. Tested to be valid.
const FILES: [(&str, &str); 2] =
    [("features.yaml", include_str!("example/features.yaml")), ("orders.csv", include_str!("example/orders.csv"))];

/// The JSON Schema that the example's first line points editors to.
const SCHEMA: &str = "tidegate.schema.json";

pub(crate) fn run(args: &Args, out: &mut Output) -> Result<ExitCode> {
    let folder = &args.folder;
    refuse_existing(folder)?;
    fs::create_dir_all(folder).map_err(|error| Failure::io("create", folder, error))?;
    let schema = format!("{:#}\n", file::json_schema());
    for (name, content) in FILES.into_iter().chain([(SCHEMA, schema.as_str())]) {
        write_new(&folder.join(name), content)?;
        out.line(format!("wrote {}", folder.join(name).display()))?;
    }
    let at = folder.display();
    out.line(format!(
        "\nnext:\n  tidegate validate {at}\n  tidegate serve                # in another terminal\n  tidegate apply {at}\n  \
         tidegate ingest orders {at}/orders.csv\n  tidegate materialize\n  tidegate lookup reorder --key customer=ann"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Looks before anything is written, so that a folder is filled whole or left as it is.
fn refuse_existing(folder: &Path) -> Result<()> {
    let names = FILES.into_iter().map(|(name, _)| name).chain([SCHEMA]);
    match names.map(|name| folder.join(name)).find(|path| path.exists()) {
        None => Ok(()),
        Some(path) => Err(Failure::new(format!("{} exists already; nothing was written", path.display()))
            .help("name another folder: `tidegate init DIR`")),
    }
}

fn write_new(path: &Path, content: &str) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(content.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::new(format!("{} exists already; it was left as it is", path.display())),
        _ => Failure::io("write", path, error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_schemas::catalog::Selection;
    use tidegate_schemas::file::SourceFile;

    #[test]
    fn the_example_is_valid_and_its_service_resolves() {
        let files = [SourceFile { path: "features.yaml".into(), content: FILES[0].1.into() }];
        let catalog = file::check(&files).unwrap_or_else(|it| panic!("{}", tidegate_schemas::problem::render(&it)));
        let resolved = catalog.resolve(&Selection::Service("reorder".into()), false).unwrap();
        assert_eq!(resolved.views.len(), 1);
        let source = &catalog.sources["orders"];
        let header = FILES[1].1.lines().next().unwrap();
        let columns: Vec<String> = catalog.columns(source).into_iter().map(|column| column.name).collect();
        for name in header.split(',') {
            assert!(columns.contains(&name.to_owned()), "`{name}` of orders.csv is no column of the source");
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("orders.csv");
        fs::write(&kept, "mine").unwrap();
        let args = Args { folder: folder.path().to_owned() };
        assert!(run(&args, &mut Output::stdout()).unwrap_err().to_string().contains("exists already"));
        assert_eq!(fs::read_to_string(&kept).unwrap(), "mine");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
