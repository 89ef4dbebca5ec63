//! How changes read: one block for each definition, breaking ones marked.

use std::io;

use serde_json::{Value, json};
use tidegate_schemas::plan::{Action, Change};

use crate::output::Output;

/// Writes changes with their details, what they break, and what depends on them.
pub(crate) fn print(out: &mut Output, changes: &[Change]) -> io::Result<()> {
    for change in changes {
        let (sign, _) = action(change.action);
        let mark = if change.breaking.is_empty() { "" } else { "  BREAKING" };
        out.line(format!("{sign} {}/{}{mark}", change.kind, change.name))?;
        for detail in &change.details {
            out.line(format!("    {detail}"))?;
        }
        for reason in &change.breaking {
            out.line(format!("    breaks: {reason}"))?;
        }
        if !change.dependents.is_empty() {
            out.line(format!("    used by: {}", change.dependents.join(", ")))?;
        }
    }
    Ok(())
}

/// Such as `2 to create, 1 to update`.
pub(crate) fn summary(changes: &[Change]) -> String {
    let count = |wanted: Action| changes.iter().filter(|change| change.action == wanted).count();
    let parts: Vec<String> = [Action::Create, Action::Update, Action::Delete]
        .into_iter()
        .map(|wanted| (count(wanted), action(wanted).1))
        .filter(|(count, _)| *count > 0)
        .map(|(count, verb)| format!("{count} to {verb}"))
        .collect();
    parts.join(", ")
}

pub(crate) fn breaking(changes: &[Change]) -> usize {
    changes.iter().filter(|change| !change.breaking.is_empty()).count()
}

pub(crate) fn to_json(changes: &[Change]) -> Value {
    let one = |change: &Change| {
        json!({
            "action": action(change.action).1,
            "kind": change.kind.as_str(),
            "name": change.name,
            "details": change.details,
            "breaking": change.breaking,
            "dependents": change.dependents,
        })
    };
    changes.iter().map(one).collect()
}

const fn action(action: Action) -> (char, &'static str) {
    match action {
        Action::Create => ('+', "create"),
        Action::Update => ('~', "update"),
        Action::Delete => ('-', "delete"),
    }
}
