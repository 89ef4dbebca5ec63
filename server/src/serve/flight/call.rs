//! One call of the Flight door: who makes it, about which project.
//!
//! Flight SQL has no place for a project. It comes, in this order, from the message itself, from the metadata key `tidegate-project`, from
//! the session cookie that `SetSessionOptions` hands out, or from there being only one.

use std::sync::Arc;

use tidegate_proto::PROJECT_METADATA;
use tidegate_schemas::error::ErrorKind;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::serve::error::status_in_full as status;
use crate::serve::principal;
use crate::service::{Error, Principal, Result, Tidegate};

/// The service as one caller sees it.
pub(super) struct Call {
    pub(super) service: Arc<Tidegate>,
    pub(super) principal: Principal,
    project: Option<String>,
}

impl Call {
    /// The call of a request.
    #[allow(clippy::result_large_err)]
    pub(super) fn new<T>(service: &Arc<Tidegate>, request: &Request<T>) -> std::result::Result<Self, Status> {
        let principal = principal::of(request)?;
        let project = named_project(request.metadata()).map_err(status)?;
        Ok(Self { service: service.clone(), principal, project })
    }

    /// The project: `named` unless it is empty, else what the metadata says, else the only one there is.
    ///
    /// # Errors
    /// None is named, and there is none or more than one.
    pub(super) async fn project(&self, named: &str) -> Result<String> {
        if !named.is_empty() {
            return Ok(named.to_owned());
        }
        if let Some(project) = &self.project {
            return Ok(project.clone());
        }
        let mut projects = self.service.list_projects(&self.principal).await?;
        match projects.len() {
            1 => Ok(projects.remove(0)),
            0 => Err(Error::new(ErrorKind::Precondition, "there is no project yet: apply definitions first")),
            _ => Err(Error::invalid(format!(
                "which project? There are {}. Name one in the gRPC metadata key `{PROJECT_METADATA}` (ADBC: option \
                 `adbc.flight.sql.rpc.call_header.{PROJECT_METADATA}`; JDBC: URL parameter `{PROJECT_METADATA}`)",
                projects.join(", ")
            ))),
        }
    }

    /// The projects a metadata request is about: the one the metadata names, else all.
    pub(super) async fn projects(&self) -> Result<Vec<String>> {
        match &self.project {
            Some(project) => Ok(vec![project.clone()]),
            None => self.service.list_projects(&self.principal).await,
        }
    }

    /// The project the metadata names.
    pub(super) fn named_project(&self) -> Option<&str> {
        self.project.as_deref()
    }
}

/// What the metadata says about the project; the key wins over the cookie.
fn named_project(metadata: &MetadataMap) -> Result<Option<String>> {
    if let Some(value) = metadata.get(PROJECT_METADATA) {
        let text = value
            .to_str()
            .map_err(|_| Error::invalid(format!("the metadata key `{PROJECT_METADATA}` is not ASCII text")))?;
        return Ok(Some(text.trim().to_owned()).filter(|project| !project.is_empty()));
    }
    let cookies = metadata.get_all("cookie").into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    Ok(pairs.find(|(name, value)| *name == PROJECT_METADATA && !value.is_empty()).map(|(_, value)| value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pairs: &[(&'static str, &str)]) -> Option<String> {
        let mut metadata = MetadataMap::new();
        for (key, value) in pairs {
            metadata.append(*key, value.parse().expect("a metadata value"));
        }
        named_project(&metadata).expect("ASCII")
    }

    #[test]
    fn the_key_wins_over_the_cookie() {
        assert_eq!(named(&[]), None);
        assert_eq!(named(&[("tidegate-project", " flights ")]), Some("flights".into()));
        assert_eq!(named(&[("tidegate-project", "")]), None);
        assert_eq!(named(&[("cookie", "a=b; tidegate-project=orders")]), Some("orders".into()));
        assert_eq!(named(&[("cookie", "a=b"), ("cookie", "tidegate-project=orders;c=d")]), Some("orders".into()));
        assert_eq!(
            named(&[("cookie", "tidegate-project=orders"), ("tidegate-project", "flights")]),
            Some("flights".into())
        );
        assert_eq!(named(&[("cookie", "tidegate-project=; x")]), None);
    }
}
