//! How a verb fails: one sentence, its causes, and what to do.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

use tidegate_client::Error as ClientError;
use tidegate_schemas::problem::Problem;

pub(crate) type Result<T> = std::result::Result<T, Failure>;

type BoxError = Box<dyn StdError + Send + Sync>;

/// A failed verb. [`crate::output::report`] prints it.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    source: Option<BoxError>,
    /// What to do, as a sentence.
    pub(crate) help: Option<String>,
    /// What is wrong with definition files.
    pub(crate) problems: Vec<Problem>,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None, help: None, problems: Vec::new() }
    }

    pub(crate) fn caused_by(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn with_problems(mut self, problems: Vec<Problem>) -> Self {
        self.problems = problems;
        self
    }

    /// Definition files that are not right.
    pub(crate) fn of_problems(problems: Vec<Problem>) -> Self {
        let message = match problems.len() {
            1 => "the definitions have a problem".to_owned(),
            count => format!("the definitions have {count} problems"),
        };
        Self::new(message).with_problems(problems)
    }

    /// A file that could not be read or written.
    pub(crate) fn io(doing: &str, path: &Path, error: io::Error) -> Self {
        Self::new(format!("can't {doing} {}", path.display())).caused_by(error)
    }

    pub(crate) fn is_broken_pipe(&self) -> bool {
        let source = self.source.as_deref().and_then(|source| source.downcast_ref::<io::Error>());
        source.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            // What the reader of the rows said is the failure; that the upload stopped follows from it.
            ClientError::Input(source) => match source.downcast::<Self>() {
                Ok(failure) => failure.and_nothing_was_written(),
                Err(source) => Self::new("the rows to send could not be read; nothing was written").caused_by(source),
            },
            error => Self {
                help: help_for(&error),
                problems: error.problems().to_vec(),
                message: error.to_string(),
                source: sources(&error),
            },
        }
    }
}

impl Failure {
    fn and_nothing_was_written(mut self) -> Self {
        self.message.push_str("; nothing was written");
        self
    }
}

fn help_for(error: &ClientError) -> Option<String> {
    match error {
        ClientError::Connect { .. } => {
            Some("start one with `tidegate serve`, or name another with --address or TIDEGATE_ADDRESS".to_owned())
        }
        ClientError::Server { problems_omitted: omitted @ 1.., .. } => {
            Some(format!("{omitted} more problems did not fit into the answer; `tidegate plan` shows all of them"))
        }
        ClientError::NoProject => Some("name one with --project or TIDEGATE_PROJECT".to_owned()),
        _ => None,
    }
}

/// The chain below an error, kept as text.
fn sources(error: &dyn StdError) -> Option<BoxError> {
    let texts: Vec<String> =
        std::iter::successors(error.source(), |&source| source.source()).map(ToString::to_string).collect();
    tidegate_client::Cause::chain(texts).map(Into::into)
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new("can't write the output").caused_by(error)
    }
}

impl From<arrow::error::ArrowError> for Failure {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::new("Arrow data could not be handled").caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_failed_is_the_failure() {
        let read = Failure::new("w.csv:17: column 3 `temp`: `hot` is no float64").help("mend it");
        let failure = Failure::from(ClientError::Input(Box::new(read)));
        assert_eq!(failure.to_string(), "w.csv:17: column 3 `temp`: `hot` is no float64; nothing was written");
        assert_eq!(failure.help.as_deref(), Some("mend it"));
    }

    #[test]
    fn only_a_broken_pipe_is_no_failure() {
        let piped = |kind| Failure::from(io::Error::from(kind)).is_broken_pipe();
        assert!(piped(io::ErrorKind::BrokenPipe));
        assert!(!piped(io::ErrorKind::PermissionDenied));
    }

    #[test]
    fn problems_that_did_not_fit_are_counted() {
        let error = ClientError::Server {
            kind: tidegate_schemas::error::ErrorKind::Invalid,
            message: "the definitions have problems".into(),
            problems: vec![Problem::default()],
            problems_omitted: 3,
            source: None,
        };
        let failure = Failure::from(error);
        assert_eq!(failure.problems.len(), 1);
        assert!(failure.help.is_some_and(|help| help.starts_with("3 more problems")));
    }
}
