//! SHA-256, as digests are made and written everywhere: lower-case hex.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// A digest under way.
#[derive(Debug, Clone, Default)]
pub struct Digest(Sha256);

impl Digest {
    /// A digest of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes more bytes; where one call ends and the next begins makes no difference.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The 32 bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    /// The 32 bytes as 64 lower-case hex digits.
    #[must_use]
    pub fn hex(self) -> String {
        hex(&self.bytes())
    }
}

/// The digest of some bytes, in lower-case hex.
#[must_use]
pub fn of(bytes: &[u8]) -> String {
    let mut digest = Digest::new();
    digest.update(bytes);
    digest.hex()
}

/// Bytes as lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing into a string can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_sha_256_in_hex() {
        assert_eq!(of(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let mut parts = Digest::new();
        parts.update(b"a");
        parts.update(b"bc");
        assert_eq!(parts.hex(), of(b"abc"));
    }
}
