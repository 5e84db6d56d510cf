//! Pagination cursors of merged lists: opaque to clients, refused when they are not ours or not of this list.
//! Changes when what a cursor must remember changes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::merge::{ListKind, MergedList};

/// Secret that marks cursors as ours. All replicas that serve one endpoint need the same.
#[derive(Clone)]
pub struct CursorKey([u8; 32]);

impl CursorKey {
    /// A key from 32 random or derived bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CursorKey(..)")
    }
}

/// A place in a merged list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Which list.
    pub kind: ListKind,
    /// Which state of it.
    pub generation: u64,
    /// First item of the next page.
    pub offset: u64,
}

/// Why a cursor is refused; answered with `-32602` (MCP "Pagination").
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// Not a cursor that this gateway made.
    #[error("cursor was not issued by this gateway; start the list over without one")]
    Foreign,
    /// Made for another list.
    #[error("cursor belongs to another list; start the list over without one")]
    OtherList,
    /// The list is not the one any more that the first pages came from.
    #[error("the list has changed since this cursor was issued; start it over without one")]
    Stale,
}

/// Kind, generation, offset.
const PAYLOAD: usize = 17;
/// 128 bits of the checksum.
const TAG: usize = 16;

impl Cursor {
    /// Writes it as URL-safe text.
    pub fn encode(&self, key: &CursorKey) -> String {
        let kind =
            ListKind::ALL.iter().zip(0u8..).find(|(kind, _)| **kind == self.kind).map_or(0, |(_, at)| at);
        let mut bytes = Vec::with_capacity(PAYLOAD + TAG);
        bytes.push(kind);
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(&self.offset.to_be_bytes());
        let tag = tag(key, &bytes);
        bytes.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor that a client sent back.
    pub fn decode(text: &str, key: &CursorKey) -> Result<Self, CursorError> {
        // Longer than any cursor of ours: not worth decoding.
        if text.len() > 2 * (PAYLOAD + TAG) {
            return Err(CursorError::Foreign);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError::Foreign)?;
        let (payload, sent) = bytes.split_last_chunk::<TAG>().ok_or(CursorError::Foreign)?;
        // Compared in constant time, so that a tag cannot be found byte by byte.
        let differs = tag(key, payload).iter().zip(sent).fold(0, |all, (a, b)| all | (a ^ b));
        if differs != 0 {
            return Err(CursorError::Foreign);
        }
        let (kind, rest) = payload.split_first().ok_or(CursorError::Foreign)?;
        let (generation, rest) = rest.split_first_chunk().ok_or(CursorError::Foreign)?;
        let offset = rest.try_into().map_err(|_| CursorError::Foreign)?;
        Ok(Self {
            kind: *ListKind::ALL.get(usize::from(*kind)).ok_or(CursorError::Foreign)?,
            generation: u64::from_be_bytes(*generation),
            offset: u64::from_be_bytes(offset),
        })
    }

    /// The cursor of the page of `list` that starts at item `offset`.
    pub fn at(list: &MergedList, offset: usize) -> Self {
        Self { kind: list.kind(), generation: list.generation(), offset: offset as u64 }
    }

    /// The item of `list` where the page starts.
    pub fn offset_in(&self, list: &MergedList) -> Result<usize, CursorError> {
        if self.kind != list.kind() {
            return Err(CursorError::OtherList);
        }
        if self.generation != list.generation() {
            return Err(CursorError::Stale);
        }
        usize::try_from(self.offset).map_err(|_| CursorError::Foreign)
    }
}

/// The hashed text has one length only, so that no longer one can be derived from it.
fn tag(key: &CursorKey, payload: &[u8]) -> [u8; TAG] {
    let digest =
        Sha256::new().chain_update(key.0).chain_update(b"list cursor").chain_update(payload).finalize();
    let mut tag = [0; TAG];
    tag.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSOR: Cursor = Cursor { kind: ListKind::Prompts, generation: 0x0123_4567_89ab_cdef, offset: 300 };

    fn key(byte: u8) -> CursorKey {
        CursorKey::new([byte; 32])
    }

    #[test]
    fn a_cursor_reads_back() {
        let text = CURSOR.encode(&key(1));
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
        assert_eq!(Cursor::decode(&text, &key(1)), Ok(CURSOR));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let text = CURSOR.encode(&key(1));
        assert_eq!(Cursor::decode(&text, &key(2)), Err(CursorError::Foreign));
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
            let mut changed = text.clone();
            changed.replace_range(at..=at, other);
            assert_eq!(Cursor::decode(&changed, &key(1)), Err(CursorError::Foreign), "{changed}");
        }
        for foreign in ["", "bogus!!", "!!!", "AAAA", &text[1..], &format!("{text}="), &text.repeat(100)] {
            assert_eq!(Cursor::decode(foreign, &key(1)), Err(CursorError::Foreign), "{foreign}");
        }
    }

    #[test]
    fn a_cursor_fits_one_state_of_one_list() {
        let list = MergedList::build(ListKind::Prompts, &[], None);
        let cursor = Cursor::at(&list, 7);
        assert_eq!(cursor.offset_in(&list), Ok(7));
        let tools = MergedList::build(ListKind::Tools, &[], None);
        assert_eq!(cursor.offset_in(&tools), Err(CursorError::OtherList));
        assert_eq!(CURSOR.offset_in(&list), Err(CursorError::Stale));
    }

    #[test]
    fn the_key_is_never_printed() {
        assert_eq!(format!("{:?}", key(7)), "CursorKey(..)");
    }
}
