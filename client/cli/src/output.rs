//! What people and programs read: text, tables, JSON. Nothing else in this package prints.

use std::error::Error as StdError;
use std::io::{self, IsTerminal, Write};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};

use crate::failure::Failure;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub(crate) struct Format {
    /// How to print the results.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Printed::Text)]
    output: Printed,
    /// The same as `--output json`.
    #[arg(long)]
    json: bool,
}

/// Formats of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Printed {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Format {
    /// For programs.
    pub(crate) fn is_json(self) -> bool {
        self.json || self.output == Printed::Json
    }
}

/// Where results go. A reader that went away is an error of kind `BrokenPipe`, never a panic.
pub(crate) struct Output {
    to: Box<dyn Write + Send>,
    terminal: bool,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        Self { to: Box::new(io::stdout()), terminal: io::stdout().is_terminal() }
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.to, "{}", text.as_ref())
    }

    /// Writes a value as indented JSON.
    pub(crate) fn json(&mut self, value: &serde_json::Value) -> io::Result<()> {
        self.line(format!("{value:#}"))
    }

    /// Writes rows under a header; without rows, what `empty` says.
    pub(crate) fn table(&mut self, header: &[&str], rows: Vec<Vec<String>>, empty: &str) -> io::Result<()> {
        if rows.is_empty() {
            return self.line(empty);
        }
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED).set_header(header).add_rows(rows);
        if self.terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        self.line(table.to_string())
    }

    /// The stream itself, for formats that write their own bytes.
    pub(crate) fn writer(&mut self) -> &mut (dyn Write + Send) {
        &mut *self.to
    }
}

/// Says something on standard error, beside the results.
pub(crate) fn note(text: impl AsRef<str>) {
    // Nobody can be told that standard error is gone.
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}

/// Prints a failure with its causes and its remedy.
pub(crate) fn report(failure: &Failure) {
    note(render(failure));
}

pub(crate) fn render(failure: &Failure) -> String {
    let mut text = String::new();
    for problem in &failure.problems {
        text.push_str(&format!("{problem}\n\n"));
    }
    let mut said = failure.to_string();
    text.push_str(&format!("error: {said}"));
    for cause in std::iter::successors(StdError::source(failure), |&cause| cause.source()) {
        let cause = cause.to_string();
        // Many libraries repeat their cause in their own text.
        if !said.contains(&cause) {
            text.push_str(&format!("\ncause: {cause}"));
            said = cause;
        }
    }
    if let Some(help) = &failure.help {
        text.push_str(&format!("\nhelp: {help}"));
    }
    text
}

/// Asks a yes-or-no question on a terminal; `None` when there is nobody to ask.
pub(crate) fn confirm(question: &str) -> Option<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_said_once_with_its_causes_and_remedy() {
        let inner = io::Error::other("disk on fire");
        let failure = Failure::new("can't read a.csv").caused_by(inner).help("put it out");
        assert_eq!(render(&failure), "error: can't read a.csv\ncause: disk on fire\nhelp: put it out");
        let repeating = Failure::new("can't read a.csv: disk on fire").caused_by(io::Error::other("disk on fire"));
        assert_eq!(render(&repeating), "error: can't read a.csv: disk on fire");
    }
}
