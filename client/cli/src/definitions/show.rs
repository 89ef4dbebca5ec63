//! `tidegate get` and `tidegate describe`: definitions as lists and as text.

use std::process::ExitCode;

use serde_json::{Value, json};
use tidegate_client::registry::Definition;
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::definition::Kind;
use tidegate_schemas::file;

use crate::failure::Result;
use crate::output::Output;
use crate::{Globals, session};

/// What to list or print.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate get                              # everything
  tidegate get view                         # feature views
  tidegate get view origin_weather          # one, as a definition file
  tidegate get --yaml > features.yaml       # the whole project as definition files")]
pub struct GetArgs {
    /// entity, source, view or service.
    #[arg(value_name = "KIND")]
    kind: Option<Kind>,
    /// Its name.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print definition files instead of a list.
    #[arg(long, conflicts_with = "json")]
    yaml: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What to describe.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate describe view origin_weather
  tidegate describe service late_arrival --json")]
pub struct DescribeArgs {
    /// entity, source, view or service.
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Its name.
    #[arg(value_name = "NAME")]
    name: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn get(args: &GetArgs, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    if args.yaml && args.name.is_none() {
        let catalog = only(session::catalog(&client).await?, args.kind);
        out.line(file::to_yaml(&catalog).trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let kind = args.kind.map_or("", Kind::as_str);
    let definitions = client.get(kind, args.name.as_deref().unwrap_or_default()).await?;
    if args.json {
        out.json(&definitions.iter().map(to_json).collect())?;
    } else if args.name.is_some() {
        for definition in &definitions {
            out.line(definition.yaml.trim_end())?;
        }
    } else {
        let row = |it: &Definition| vec![it.kind.clone(), it.name.clone(), it.description.clone(), it.owner.clone()];
        let rows = definitions.iter().map(row).collect();
        out.table(&["kind", "name", "description", "owner"], rows, "nothing is defined")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A catalog with the definitions of one kind, or of all: a definition file holds one document.
fn only(catalog: Catalog, kind: Option<Kind>) -> Catalog {
    let Some(kind) = kind else { return catalog };
    let empty = Catalog::new(catalog.project);
    match kind {
        Kind::Entity => Catalog { entities: catalog.entities, ..empty },
        Kind::Source => Catalog { sources: catalog.sources, ..empty },
        Kind::FeatureView => Catalog { views: catalog.views, ..empty },
        Kind::FeatureService => Catalog { services: catalog.services, ..empty },
    }
}

pub(crate) async fn describe(args: &DescribeArgs, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let client = session::open(globals).await?;
    for definition in client.get(args.kind.as_str(), &args.name).await? {
        if args.json {
            out.json(&to_json(&definition))?;
            continue;
        }
        out.line(format!("{}/{}", definition.kind, definition.name))?;
        let about = [("description", &definition.description), ("owner", &definition.owner)];
        for (name, value) in about.into_iter().filter(|(_, value)| !value.is_empty()) {
            out.line(format!("{name}: {value}"))?;
        }
        for (name, value) in &definition.facts {
            out.line(format!("{name}: {value}"))?;
        }
        let dependents = match definition.dependents.is_empty() {
            true => "nothing".to_owned(),
            false => definition.dependents.join(", "),
        };
        out.line(format!("used by: {dependents}\n\n{}", definition.yaml.trim_end()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn to_json(definition: &Definition) -> Value {
    let facts: serde_json::Map<String, Value> =
        definition.facts.iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))).collect();
    json!({
        "kind": definition.kind,
        "name": definition.name,
        "description": definition.description,
        "owner": definition.owner,
        "dependents": definition.dependents,
        "facts": facts,
        "yaml": definition.yaml,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_schemas::file::SourceFile;

    #[test]
    fn a_whole_project_is_printed_as_one_file_that_reads_back() {
        let content = include_str!("example/features.yaml");
        let catalog = file::check(&[SourceFile { path: "a.yaml".into(), content: content.into() }]).unwrap();
        let printed = file::to_yaml(&only(catalog.clone(), None));
        let again = file::check(&[SourceFile { path: "b.yaml".into(), content: printed.into() }]).unwrap();
        assert_eq!(again, catalog);
        let sources = only(catalog, Some(Kind::Source));
        assert!(sources.views.is_empty() && sources.sources.contains_key("orders"));
    }
}
