//! The `requestState` that a parked call gives to its client: sealed, so that only this gateway can make one, and bound to
//! the principal and the request. Changes when a handle carries something else.
//!
//! Source: MCP 2026-07-28, "Multi round-trip requests: security" (integrity, principal, expiry, digest of the request).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge_policy::principal::Principal;
use sha2::{Digest as _, Sha256};

/// What else the tag covers: a handle of another purpose does not open here.
const PURPOSE: &[u8] = b"mcp-bridge request state 1";
const NONCE: usize = 12;
/// Length of nonce, handle and tag.
const SEALED: usize = NONCE + (2 + 8 + 8 + 16 + 32) + 16;

/// What a handle says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(super) kind: Kind,
    /// The wait of a call, in that process; a call that asks again waits under another number.
    pub(super) wait: u64,
    pub(super) expires: SystemTime,
    /// Digest of the principal.
    pub(super) principal: [u8; 16],
    /// Digest of backend, method and params.
    pub(super) request: [u8; 32],
}

/// What a retry with the handle means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The call waits for answers.
    Waiting,
    /// The call has ended and is to be made again, after this many URLs were visited.
    Again {
        /// Number of URLs.
        urls: u8,
    },
}

/// Seals and opens handles.
pub(crate) struct HandleKey {
    key: RandomizedNonceKey,
    /// The process; in front of each handle, so that one of an earlier process is told from one that was changed.
    incarnation: u64,
}

/// What a client gave back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened {
    Handle(Handle),
    /// Made by another process, or changed to look so.
    Foreign,
    /// Not a handle.
    Bad,
}

impl HandleKey {
    pub(crate) fn new(key: &[u8; 32], incarnation: u64) -> Result<Self, Unspecified> {
        Ok(Self { key: RandomizedNonceKey::new(&AES_256_GCM, key)?, incarnation })
    }

    /// The text for the client.
    pub(super) fn seal(&self, handle: &Handle) -> Result<String, Unspecified> {
        let mut sealed = handle.encode();
        let nonce = self.key.seal_in_place_append_tag(Aad::from(PURPOSE), &mut sealed)?;
        let mut out = self.incarnation.to_be_bytes().to_vec();
        out.extend_from_slice(nonce.as_ref());
        out.extend_from_slice(&sealed);
        Ok(URL_SAFE_NO_PAD.encode(out))
    }

    /// Reads what a client gave back.
    pub(super) fn open(&self, text: &str) -> Opened {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(text) else { return Opened::Bad };
        match bytes.split_first_chunk::<8>() {
            Some((by, sealed)) if u64::from_be_bytes(*by) == self.incarnation => {
                self.unseal(sealed).map_or(Opened::Bad, Opened::Handle)
            }
            Some((_, sealed)) if sealed.len() == SEALED => Opened::Foreign,
            _ => Opened::Bad,
        }
    }

    fn unseal(&self, bytes: &[u8]) -> Option<Handle> {
        let (nonce, sealed) = bytes.split_at_checked(NONCE)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let plain = self.key.open_in_place(nonce, Aad::from(PURPOSE), &mut sealed).ok()?;
        Handle::decode(plain)
    }
}

/// A digest of who is calling: two principals never share one.
pub(super) fn principal_digest(principal: &Principal) -> [u8; 16] {
    let mut hash = Sha256::new();
    if let Some((issuer, subject)) = principal.identity() {
        // With its length, so that no two pairs read the same.
        hash.update(issuer.len().to_be_bytes());
        hash.update(issuer);
        hash.update(subject);
    }
    let mut short = [0; 16];
    short.copy_from_slice(hash.finalize().get(..16).unwrap_or(&[0; 16]));
    short
}

impl Handle {
    fn encode(&self) -> Vec<u8> {
        let expires = self.expires.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let (kind, urls) = match self.kind {
            Kind::Waiting => (0, 0),
            Kind::Again { urls } => (1, urls),
        };
        let mut out = vec![kind, urls];
        out.extend_from_slice(&self.wait.to_be_bytes());
        out.extend_from_slice(&u64::try_from(expires).unwrap_or(u64::MAX).to_be_bytes());
        out.extend_from_slice(&self.principal);
        out.extend_from_slice(&self.request);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<2>()?;
        let (wait, rest) = rest.split_first_chunk::<8>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (principal, rest) = rest.split_first_chunk::<16>()?;
        let request = <[u8; 32]>::try_from(rest).ok()?;
        let kind = match head {
            [0, _] => Kind::Waiting,
            [1, urls] => Kind::Again { urls: *urls },
            _ => return None,
        };
        Some(Self {
            kind,
            wait: u64::from_be_bytes(*wait),
            expires: UNIX_EPOCH.checked_add(Duration::from_millis(u64::from_be_bytes(*expires)))?,
            principal: *principal,
            request,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle() -> Handle {
        Handle {
            kind: Kind::Again { urls: 3 },
            wait: u64::MAX,
            expires: UNIX_EPOCH + Duration::from_millis(1_790_000_000_123),
            principal: principal_digest(&Principal::anonymous()),
            request: [9; 32],
        }
    }

    #[test]
    fn only_the_key_that_sealed_a_handle_opens_it() {
        let ours = HandleKey::new(&[1; 32], 1).unwrap();
        let (theirs, later) = (HandleKey::new(&[2; 32], 1).unwrap(), HandleKey::new(&[3; 32], 2).unwrap());
        let text = ours.seal(&handle()).unwrap();
        assert_eq!(ours.open(&text), Opened::Handle(handle()));
        assert_eq!(theirs.open(&text), Opened::Bad);
        assert_eq!(later.open(&text), Opened::Foreign);
        assert_ne!(
            ours.seal(&handle()).unwrap(),
            text,
            "a handle reveals nothing, not even that it was seen"
        );
    }

    #[test]
    fn a_changed_handle_does_not_open() {
        let key = HandleKey::new(&[1; 32], 1).unwrap();
        let text = key.seal(&handle()).unwrap();
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let opened = key.open(std::str::from_utf8(&changed).unwrap());
            assert!(!matches!(opened, Opened::Handle(_)), "byte {at}");
        }
        for bad in ["", "x", "AAAA", &text[..text.len() - 4], &format!("{text}AAAA"), "not base64 at all!"] {
            assert_eq!(key.open(bad), Opened::Bad, "{bad}");
        }
    }
}
