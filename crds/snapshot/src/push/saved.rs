//! What a pod starts from when no operator answers: its last good configuration, or the cold-start Secret. Changes when
//! such a file needs another fact.

use serde::{Deserialize, Serialize};

use super::{Digest, Entry};

/// A whole configuration with what makes it trustworthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The gateway, as `namespace/name`.
    pub gateway: String,
    /// History that the revision belongs to.
    pub epoch: String,
    /// Revision of the configuration.
    pub revision: u64,
    /// Of the entries.
    pub digest: Digest,
    /// Every resource.
    pub entries: Vec<Entry>,
}

/// A saved configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It is that of another gateway.
    #[error("saved for gateway `{found}`, not for `{expected}`")]
    OtherGateway {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// It was not written completely, or was changed.
    #[error("the content does not belong to its digest; it was not written completely, or was changed")]
    Content,
}

impl Saved {
    /// Of these entries.
    pub fn new(
        gateway: impl Into<String>,
        epoch: impl Into<String>,
        revision: u64,
        entries: Vec<Entry>,
    ) -> Self {
        let digest = digest(&entries);
        Self { gateway: gateway.into(), epoch: epoch.into(), revision, digest, entries }
    }

    /// Checks that it is whole, and that of `gateway`.
    pub fn verify(&self, gateway: &str) -> Result<(), Damage> {
        if self.gateway != gateway {
            return Err(Damage::OtherGateway { found: self.gateway.clone(), expected: gateway.to_owned() });
        }
        let whole = self.entries.iter().all(Entry::is_intact) && digest(&self.entries) == self.digest;
        if whole { Ok(()) } else { Err(Damage::Content) }
    }
}

fn digest(entries: &[Entry]) -> Digest {
    let mut digest = Digest::default();
    for entry in entries {
        digest.toggle(&entry.key, entry.version);
    }
    digest
}
