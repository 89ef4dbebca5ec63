//! Who calls. Every use case takes one; grants and tokens arrive later without changing a signature.

/// On whose behalf a call is made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    name: String,
}

impl Principal {
    /// The owner of an embedded server, who may do everything. Callers reach it over loopback only, unless the server was
    /// started with `--insecure`.
    #[must_use]
    pub fn local_owner() -> Self {
        Self { name: "local".to_owned() }
    }

    /// The name that is written into registry records and logs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}
