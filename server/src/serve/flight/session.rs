//! Flight's session options: the one there is chooses the project, for clients that can't send a metadata key.
//!
//! The session lives with the client: setting the option answers with a cookie that names the project, and [`super::call`] reads it
//! back. The server keeps nothing, so any replica understands it.

use std::collections::HashMap;

use prost::Message;
use tidegate_proto::PROJECT_METADATA;
use tonic::metadata::MetadataValue;

use super::call::Call;
use crate::service::{Error, Result};

/// Names of the actions, as Flight prescribes them.
pub(super) const SET: &str = "SetSessionOptions";
pub(super) const GET: &str = "GetSessionOptions";
pub(super) const CLOSE: &str = "CloseSession";

/// The option that names the project, as ADBC and JDBC call it.
const CATALOG: &str = "catalog";

/// The values of Flight's enumerations used here.
const INVALID_NAME: i32 = 1;
const INVALID_VALUE: i32 = 2;
const CLOSED: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct SetRequest {
    #[prost(map = "string, message", tag = "1")]
    session_options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, Message)]
struct OptionValue {
    // The other types an option may have are skipped: this server has no such option.
    #[prost(string, optional, tag = "1")]
    string_value: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct SetResult {
    #[prost(map = "string, message", tag = "1")]
    errors: HashMap<String, OptionError>,
}

#[derive(Clone, PartialEq, Message)]
struct OptionError {
    #[prost(int32, tag = "1")]
    value: i32,
}

#[derive(Clone, PartialEq, Message)]
struct GetResult {
    #[prost(map = "string, message", tag = "1")]
    session_options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, Message)]
struct CloseResult {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// An action's answer, and the cookie that goes with it.
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    pub(super) cookie: Option<MetadataValue<tonic::metadata::Ascii>>,
}

impl Call {
    /// Sets options: `catalog` to a project that exists, nothing else.
    pub(super) async fn set_session_options(&self, body: &[u8]) -> Result<Answer> {
        let request = SetRequest::decode(body)
            .map_err(|error| Error::invalid("the session options can't be read").with_source(error))?;
        let mut answer = Answer { body: Vec::new(), cookie: None };
        let mut errors = HashMap::new();
        for (name, value) in request.session_options {
            if name != CATALOG {
                errors.insert(name, OptionError { value: INVALID_NAME });
                continue;
            }
            let projects = self.service.list_projects(&self.principal).await?;
            match value.string_value.filter(|project| projects.contains(project)) {
                Some(project) => answer.cookie = cookie(&project),
                None => drop(errors.insert(name, OptionError { value: INVALID_VALUE })),
            }
        }
        answer.body = SetResult { errors }.encode_to_vec();
        Ok(answer)
    }

    /// The options as this call carries them.
    pub(super) fn get_session_options(&self) -> Answer {
        let option = self
            .named_project()
            .map(|project| (CATALOG.to_owned(), OptionValue { string_value: Some(project.to_owned()) }));
        Answer { body: GetResult { session_options: option.into_iter().collect() }.encode_to_vec(), cookie: None }
    }
}

/// Ends a session: there is nothing to end but the client's cookie.
pub(super) fn close() -> Answer {
    Answer { body: CloseResult { status: CLOSED }.encode_to_vec(), cookie: cookie("") }
}

fn cookie(project: &str) -> Option<MetadataValue<tonic::metadata::Ascii>> {
    format!("{PROJECT_METADATA}={project}").parse().ok()
}
