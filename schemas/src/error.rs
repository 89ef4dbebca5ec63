//! The kinds of failure a caller can meet; each tells the caller what to do. The wire codes are in `tidegate-proto`.

/// What a caller should do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong: mend it.
    Invalid,
    /// It names something that does not exist.
    NotFound,
    /// Something with that name is already there.
    AlreadyExists,
    /// Another change came first: look again and retry from the start.
    Conflict,
    /// The system is not in the state this needs: do what the message says first.
    Precondition,
    /// Say who you are.
    Unauthenticated,
    /// You may not.
    Forbidden,
    /// Out of memory, disk or quota: ask for less, or later.
    Exhausted,
    /// Not ready or shutting down: retry with backoff.
    Unavailable,
    /// Took longer than allowed.
    Deadline,
    /// The caller went away.
    Cancelled,
    /// This server can't do that.
    Unsupported,
    /// Stored bytes are not what was written.
    Corrupt,
    /// A defect of ours.
    Internal,
}

impl ErrorKind {
    /// All kinds, for tables that must cover every one.
    pub const ALL: [Self; 14] = [
        Self::Invalid,
        Self::NotFound,
        Self::AlreadyExists,
        Self::Conflict,
        Self::Precondition,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::Exhausted,
        Self::Unavailable,
        Self::Deadline,
        Self::Cancelled,
        Self::Unsupported,
        Self::Corrupt,
        Self::Internal,
    ];
}
