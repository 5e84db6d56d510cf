//! Content hashes of configuration. Changes when the hash or its input encoding changes.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// SHA-256 over the canonical JSON encoding. Fields are written in declaration order and maps are sorted, so the same
/// configuration gives the same hash everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentHash(String);

impl ContentHash {
    pub(crate) fn of<T: Serialize>(value: &T) -> Self {
        let mut hasher = Sha256::new();
        // The snapshot types have string keys and no fallible encoders, so this cannot fail; if that ever changes,
        // the error text still separates the broken value from a valid one.
        match serde_json::to_vec(value) {
            Ok(bytes) => hasher.update(&bytes),
            Err(error) => hasher.update(format!("unencodable: {error}")),
        }
        let digest = hasher.finalize();
        let nibbles = digest.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]);
        Self(nibbles.filter_map(|nibble| char::from_digit(u32::from(nibble), 16)).collect())
    }

    /// Hexadecimal digest, 64 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 characters, for logs.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
