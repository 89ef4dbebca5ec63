//! What is wrong in a definition file, where, and what to write instead.

use std::fmt;

/// One thing wrong in a set of definition files.
///
/// [`Display`](fmt::Display) is what people read:
///
/// ```text
/// flights.yaml:12:5: `evnt_time` is not a field of a source
///     12 |     evnt_time: time_hour
///        |     ^^^^^^^^^
///     help: did you mean `event_time`?
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Problem {
    /// The path as the caller named it; `registry` for a definition that no file holds.
    pub file: String,
    /// One-based; 0 where the problem has no place.
    pub line: u32,
    /// One-based, in characters; 0 where the problem has no place.
    pub column: u32,
    /// What is wrong, one line.
    pub message: String,
    /// The offending line with its number and, below it, a caret; empty where the problem has no place.
    pub snippet: String,
    /// What to do, as a sentence such as ``did you mean `event_time`?``.
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message)?,
            line => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.message)?,
        }
        for line in self.snippet.lines() {
            write!(f, "\n    {line}")?;
        }
        match &self.suggestion {
            Some(suggestion) => write!(f, "\n    help: {suggestion}"),
            None => Ok(()),
        }
    }
}

/// All problems as one text, a blank line between them.
#[must_use]
pub fn render(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
}
