//! A definition file's text, and problems that point into it.

use crate::problem::Problem;

use super::SourceFile;

/// Files beyond this are refused unread; definitions are written by people.
pub(crate) const BYTES_MAX: usize = 4 << 20;

/// Characters of a source line that a snippet shows.
const SNIPPET_WIDTH: usize = 100;

/// Where something stands in a file: one-based line and column in characters, and how many characters it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub line: usize,
    pub column: usize,
    pub width: usize,
}

/// A decoded file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub path: String,
    pub content: String,
}

impl Text {
    /// Decodes a file.
    pub(crate) fn decode(file: &SourceFile) -> Result<Self, Problem> {
        let path = file.path.clone();
        let refuse = |place: Place, message: String, suggestion: &str| {
            let readable = String::from_utf8_lossy(&file.content[..file.content.len().min(BYTES_MAX)]).into_owned();
            Text { path: path.clone(), content: readable }.problem(place, message, Some(suggestion.to_owned()))
        };
        if file.content.len() > BYTES_MAX {
            let message = format!("the file has {} bytes; {BYTES_MAX} is the limit", file.content.len());
            return Err(refuse(Place::default(), message, "split it into several files"));
        }
        let bytes = file.content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&file.content);
        match std::str::from_utf8(bytes) {
            Ok(content) => Ok(Self { path, content: content.to_owned() }),
            Err(error) => {
                let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
                let place = end_of(&before);
                Err(refuse(place, format!("the file is not UTF-8: byte 0x{byte:02x}"), "save the file as UTF-8"))
            }
        }
    }

    /// A problem at a place; one without a line has no snippet.
    pub(crate) fn problem(&self, place: Place, message: impl Into<String>, suggestion: Option<String>) -> Problem {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Problem {
            file: self.path.clone(),
            line: number(place.line),
            column: number(place.column),
            message: message.into(),
            snippet: self.snippet(place),
            suggestion,
        }
    }

    /// `12 |     evnt_time: x` and a line of carets below it.
    fn snippet(&self, place: Place) -> String {
        let Some(line) = place.line.checked_sub(1).and_then(|index| lines(&self.content).nth(index)) else {
            return String::new();
        };
        let column = place.column.max(1) - 1;
        let skipped = if column < SNIPPET_WIDTH * 3 / 4 { 0 } else { column - SNIPPET_WIDTH / 2 };
        let shown: String =
            line.chars().skip(skipped).take(SNIPPET_WIDTH).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let (shown, indent) = (shown.trim_end(), column - skipped);
        let room = shown.chars().count().saturating_sub(indent).max(1);
        let carets = "^".repeat(place.width.clamp(1, room));
        let number = place.line.to_string();
        format!("{number} | {shown}\n{:pad$} | {:indent$}{carets}", "", "", pad = number.len())
    }
}

/// The lines as YAML counts them: ended by LF, CR LF or CR.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// The place just after a text.
fn end_of(text: &str) -> Place {
    let last = lines(text).last().unwrap_or_default();
    Place { line: lines(text).count(), column: last.chars().count() + 1, width: 1 }
}
