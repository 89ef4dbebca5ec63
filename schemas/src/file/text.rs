//! A definition file's text, and problems that point into it.

use crate::problem::Problem;

use super::SourceFile;

/// Files beyond this are refused unread; definitions are written by people.
pub(crate) const BYTES_MAX: usize = 4 << 20;

/// Characters of a message.
const MESSAGE_WIDTH: usize = 500;

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
    /// Where each line starts and ends, so that a file of nothing but problems is still read in one pass.
    lines: Vec<(usize, usize)>,
}

impl Text {
    fn new(path: String, content: String) -> Self {
        let lines = lines(&content);
        Self { path, content, lines }
    }

    /// Decodes a file.
    pub(crate) fn decode(file: &SourceFile) -> Result<Self, Problem> {
        let path = file.path.clone();
        let refuse = |place: Place, message: String, suggestion: &str| {
            let readable = String::from_utf8_lossy(&file.content[..file.content.len().min(BYTES_MAX)]).into_owned();
            Text::new(path.clone(), readable).problem(place, message, Some(suggestion.to_owned()))
        };
        if file.content.len() > BYTES_MAX {
            let message = format!("the file has {} bytes; {BYTES_MAX} is the limit", file.content.len());
            return Err(refuse(Place::default(), message, "split it into several files"));
        }
        let bytes = file.content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&file.content);
        match std::str::from_utf8(bytes) {
            Ok(content) => Ok(Self::new(path, content.to_owned())),
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
            message: one_line(&message.into()),
            snippet: self.snippet(place),
            suggestion: suggestion.as_deref().map(one_line),
        }
    }

    /// `12 |     evnt_time: x` and a line of carets below it.
    fn snippet(&self, place: Place) -> String {
        let Some(&(start, end)) = place.line.checked_sub(1).and_then(|index| self.lines.get(index)) else {
            return String::new();
        };
        let line = &self.content[start..end];
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

/// A message as one line of bounded length: it quotes files, and what they hold must not reach a terminal as it is.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars().take(MESSAGE_WIDTH) {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    if text.chars().nth(MESSAGE_WIDTH).is_some() {
        line.push('…');
    }
    line
}

/// The lines as YAML counts them: ended by LF, CR LF or CR.
fn lines(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let (mut lines, mut start, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        let length = match (bytes[at], bytes.get(at + 1)) {
            (b'\r', Some(b'\n')) => 2,
            (b'\r' | b'\n', _) => 1,
            _ => {
                at += 1;
                continue;
            }
        };
        lines.push((start, at));
        at += length;
        start = at;
    }
    lines.push((start, bytes.len()));
    lines
}

/// The place just after a text.
fn end_of(text: &str) -> Place {
    let lines = lines(text);
    let column = lines.last().map_or(0, |(start, end)| text[*start..*end].chars().count()) + 1;
    Place { line: lines.len(), column, width: 1 }
}
