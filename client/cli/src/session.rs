//! The connection of one verb, and the project it is about.

use tidegate_client::{Client, ClientOptions};
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::file::{self, SourceFile};

use crate::Globals;
use crate::failure::{Failure, Result};

/// Connects without choosing a project.
pub(crate) async fn connect(globals: &Globals) -> Result<Client> {
    Ok(Client::connect(ClientOptions::new(&globals.address)).await?)
}

/// Connects and chooses the project: the one named, else the only one there is.
pub(crate) async fn open(globals: &Globals) -> Result<Client> {
    let client = connect(globals).await?;
    if let Some(project) = &globals.project {
        return Ok(client.with_project(project));
    }
    let projects = client.list_projects().await?;
    let project = only(projects)?;
    Ok(client.with_project(project))
}

fn only(mut projects: Vec<String>) -> Result<String> {
    match (projects.pop(), projects.as_slice()) {
        (Some(only), []) => Ok(only),
        (None, _) => Err(Failure::new("the server has no project yet")
            .help("apply definitions first: `tidegate init`, then `tidegate apply features`")),
        (Some(last), others) => {
            let names: Vec<&str> = others.iter().map(String::as_str).chain([last.as_str()]).collect();
            let message = format!("the server has more than one project: {}", names.join(", "));
            Err(Failure::new(message).help("choose one with --project or TIDEGATE_PROJECT"))
        }
    }
}

/// The project's definitions, read as the server's files.
pub(crate) async fn catalog(client: &Client) -> Result<Catalog> {
    let definitions = client.get("", "").await?;
    let files: Vec<SourceFile> = definitions
        .into_iter()
        .map(|it| SourceFile { path: format!("{}/{}", it.kind, it.name), content: it.yaml.into_bytes() })
        .collect();
    if files.is_empty() {
        return Ok(Catalog::new(client.project()?));
    }
    file::check(&files).map_err(|problems| {
        Failure::new("the server's definitions can't be read by this client; is it older than the server?")
            .with_problems(problems)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_project_is_chosen_and_more_are_listed() {
        let check = |names: &[&str]| only(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(check(&["flights"]).unwrap(), "flights");
        assert!(check(&[]).unwrap_err().to_string().contains("no project yet"));
        assert!(check(&["a", "b", "c"]).unwrap_err().to_string().ends_with("a, b, c"));
    }
}
