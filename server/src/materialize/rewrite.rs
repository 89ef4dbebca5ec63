//! Tables that were rewritten in a way that can't be followed, and what a source says is to be done then.

use std::fmt;

use tidegate_offline::table::Lost;
use tidegate_schemas::definition::OnRewrite;
use tidegate_schemas::error::ErrorKind;

use crate::error::{Error, Result};

/// Why what became of a table since a view's cursor can't be followed row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rewrite {
    /// Another table is in the place of the one that was read.
    Replaced,
    /// The table has gone back to a version before the cursor.
    WentBack {
        /// Its newest version.
        newest: i64,
    },
    /// The log or the files of versions in between are gone.
    Vacuumed {
        /// What is missing.
        what: String,
    },
    /// Rows were removed or changed that windows have counted: they can't be taken out of a tile again.
    Counted,
    /// So much of it was removed or changed that reading all of it is less work.
    Large {
        /// Rows to be looked at again, as far as they were counted.
        rows: u64,
    },
}

impl From<Lost> for Rewrite {
    fn from(lost: Lost) -> Self {
        let what = match lost {
            Lost::Commit(version) => format!("the commit of version {version} is gone from its log"),
            Lost::Version(version) => format!("version {version} can't be read any more"),
        };
        Self::Vacuumed { what }
    }
}

impl fmt::Display for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replaced => f.write_str("another table is in its place"),
            Self::WentBack { newest } => write!(f, "it has gone back to version {newest}"),
            Self::Vacuumed { what } => write!(f, "what came since can't be told: {what}"),
            Self::Counted => f.write_str("rows that its windows counted were removed or changed"),
            Self::Large { rows } => write!(f, "{rows} of its rows were removed or rewritten"),
        }
    }
}

impl Rewrite {
    /// Whether to read the whole table again.
    ///
    /// # Errors
    /// `Precondition` where the source says to refuse.
    pub(super) fn settle(&self, view: &str, table: &str, cursor: i64, policy: OnRewrite) -> Result<()> {
        match policy {
            OnRewrite::Refresh => {
                tracing::warn!(view, table, cursor, why = %self, "the table was rewritten; the view is rebuilt");
                Ok(())
            }
            OnRewrite::Refuse => {
                let message = format!(
                    "feature view `{view}` has version {cursor} of table `{table}`, and {self}; its source says \
                     `on_rewrite: refuse`, so nothing was changed: look at the table, then materialize the view with \
                     `--full`, or set `on_rewrite: refresh`"
                );
                Err(Error::new(ErrorKind::Precondition, message))
            }
        }
    }
}
