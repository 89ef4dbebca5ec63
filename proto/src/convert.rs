//! Messages into domain types and back. Domain into wire never fails; wire into domain names the field that is wrong.

use tidegate_schemas::catalog::Selection;
use tidegate_schemas::definition::{Kind, UnknownKind};
use tidegate_schemas::file::SourceFile;
use tidegate_schemas::plan::{Action, Change};
use tidegate_schemas::problem::Problem;

use crate::{flight, online, registry};

/// A message whose fields contradict or are not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// Neither a service nor features.
    #[error("nothing is selected: set `feature_service` or `features`")]
    NoSelection,
    /// A kind this version does not know.
    #[error(transparent)]
    Kind(#[from] UnknownKind),
    /// An enum's number this version does not know.
    #[error("{field} is {value}, which this version does not know; is the other side newer?")]
    Enum {
        /// The message's field.
        field: &'static str,
        /// The number there.
        value: i32,
    },
}

impl ConvertError {
    /// Always the caller's to mend.
    #[must_use]
    pub fn kind(&self) -> tidegate_schemas::error::ErrorKind {
        tidegate_schemas::error::ErrorKind::Invalid
    }
}

/// What a lookup asks for.
///
/// # Errors
/// Nothing is selected.
pub fn lookup_selection(
    wire: Option<online::v1::get_online_features_request::Selection>,
) -> Result<Selection, ConvertError> {
    use online::v1::get_online_features_request::Selection as Wire;
    match wire.ok_or(ConvertError::NoSelection)? {
        Wire::FeatureService(name) => Ok(Selection::Service(name)),
        Wire::Features(features) => Ok(Selection::Features(features.references)),
    }
}

/// A lookup's selection as a message.
#[must_use]
pub fn lookup_selection_to_wire(selection: &Selection) -> online::v1::get_online_features_request::Selection {
    use online::v1::get_online_features_request::Selection as Wire;
    match selection {
        Selection::Service(name) => Wire::FeatureService(name.clone()),
        Selection::Features(references) => {
            Wire::Features(online::v1::FeatureReferences { references: references.clone() })
        }
    }
}

/// What a training set asks for.
///
/// # Errors
/// Nothing is selected.
pub fn training_selection(wire: Option<flight::v1::training_set::Selection>) -> Result<Selection, ConvertError> {
    use flight::v1::training_set::Selection as Wire;
    match wire.ok_or(ConvertError::NoSelection)? {
        Wire::FeatureService(name) => Ok(Selection::Service(name)),
        Wire::Features(features) => Ok(Selection::Features(features.references)),
    }
}

/// A training set's selection as a message.
#[must_use]
pub fn training_selection_to_wire(selection: &Selection) -> flight::v1::training_set::Selection {
    use flight::v1::training_set::Selection as Wire;
    match selection {
        Selection::Service(name) => Wire::FeatureService(name.clone()),
        Selection::Features(references) => {
            Wire::Features(flight::v1::FeatureReferences { references: references.clone() })
        }
    }
}

/// A definition file from a request.
#[must_use]
pub fn source_file(wire: registry::v1::DefinitionFile) -> SourceFile {
    SourceFile { path: wire.path, content: wire.content.into() }
}

/// A definition file as a message.
#[must_use]
pub fn source_file_to_wire(file: &SourceFile) -> registry::v1::DefinitionFile {
    registry::v1::DefinitionFile { path: file.path.clone(), content: file.content.clone().into() }
}

/// A problem from a reply.
#[must_use]
pub fn problem(wire: registry::v1::Problem) -> Problem {
    let registry::v1::Problem { file, line, column, message, snippet, suggestion } = wire;
    let suggestion = Some(suggestion).filter(|text| !text.is_empty());
    Problem { file, line, column, message, snippet, suggestion }
}

/// A problem as a message.
#[must_use]
pub fn problem_to_wire(problem: &Problem) -> registry::v1::Problem {
    let Problem { file, line, column, message, snippet, suggestion } = problem.clone();
    registry::v1::Problem { file, line, column, message, snippet, suggestion: suggestion.unwrap_or_default() }
}

/// A change from a reply.
///
/// # Errors
/// An action or a kind of definition that this version does not know.
pub fn change(wire: registry::v1::Change) -> Result<Change, ConvertError> {
    let registry::v1::Change { action, kind, name, details, breaking, dependents } = wire;
    let action = action_of(action)?;
    let kind: Kind = kind.parse()?;
    Ok(Change { action, kind, name, details, breaking, dependents })
}

fn action_of(value: i32) -> Result<Action, ConvertError> {
    use registry::v1::change::Action as Wire;
    match Wire::try_from(value) {
        Ok(Wire::Create) => Ok(Action::Create),
        Ok(Wire::Update) => Ok(Action::Update),
        Ok(Wire::Delete) => Ok(Action::Delete),
        Ok(Wire::Unspecified) | Err(_) => Err(ConvertError::Enum { field: "action", value }),
    }
}

/// A change as a message.
#[must_use]
pub fn change_to_wire(change: &Change) -> registry::v1::Change {
    use registry::v1::change::Action as Wire;
    let action = match change.action {
        Action::Create => Wire::Create,
        Action::Update => Wire::Update,
        Action::Delete => Wire::Delete,
    };
    registry::v1::Change {
        action: action.into(),
        kind: change.kind.as_str().to_owned(),
        name: change.name.clone(),
        details: change.details.clone(),
        breaking: change.breaking.clone(),
        dependents: change.dependents.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_round_trip() {
        let features = Selection::Features(vec!["weather:temp".into(), "carrier".into()]);
        for selection in [Selection::Service("late_arrival".into()), features] {
            assert_eq!(lookup_selection(Some(lookup_selection_to_wire(&selection))), Ok(selection.clone()));
            assert_eq!(training_selection(Some(training_selection_to_wire(&selection))), Ok(selection));
        }
        assert_eq!(lookup_selection(None), Err(ConvertError::NoSelection));
        assert_eq!(training_selection(None), Err(ConvertError::NoSelection));
    }

    #[test]
    fn changes_round_trip_in_every_action_and_kind() {
        for action in [Action::Create, Action::Update, Action::Delete] {
            for kind in Kind::ALL {
                let sent = Change {
                    action,
                    kind,
                    name: "weather".into(),
                    details: vec!["ttl: 1d -> 2d".into()],
                    breaking: vec!["feature `temp` is gone".into()],
                    dependents: vec!["feature_service/late_arrival".into()],
                };
                assert_eq!(change(change_to_wire(&sent)), Ok(sent));
            }
        }
    }

    #[test]
    fn what_a_newer_side_sends_is_named() {
        let newer = registry::v1::Change { action: 9, kind: "entity".into(), ..registry::v1::Change::default() };
        assert_eq!(change(newer), Err(ConvertError::Enum { field: "action", value: 9 }));
        let newer = registry::v1::Change { action: 1, kind: "stream".into(), ..registry::v1::Change::default() };
        assert!(matches!(change(newer), Err(ConvertError::Kind(_))));
    }

    #[test]
    fn problems_and_files_round_trip() {
        let sent = Problem { file: "a.yaml".into(), line: 3, column: 5, message: "no".into(), ..Problem::default() };
        assert_eq!(problem(problem_to_wire(&sent)), sent);
        let sent = Problem { suggestion: Some("yes".into()), snippet: " 3 | x".into(), ..sent };
        assert_eq!(problem(problem_to_wire(&sent)), sent);
        let file = SourceFile { path: "a.yaml".into(), content: vec![0xff, 0] };
        assert_eq!(source_file(source_file_to_wire(&file)), file);
    }
}
