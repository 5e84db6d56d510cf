//! Spelling of names that the gateway makes up.
//! Changes when what LLM APIs accept as a tool name changes.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Several LLM APIs refuse longer tool names.
pub(super) const MAX_CHARS: usize = 64;

/// Between prefix and name.
const JOINT: &str = "__";

/// `_` and eight hexadecimal digits.
const HASH_CHARS: usize = 9;

/// The name that is shown when nothing else asks for it: the original, shortened when it is too long.
pub(super) fn candidate(name: &str) -> Cow<'_, str> {
    if name.chars().count() <= MAX_CHARS {
        return Cow::Borrowed(name);
    }
    Cow::Owned(hashed(&sanitised(name), &["", name], 0))
}

/// `prefix__name` in at most 64 characters of `A-Za-z0-9_-`. A hash of both is appended when that spelling could also
/// stand for something else: when characters were replaced, when it was cut, when the boundary is unclear, and when
/// `salt` says that it is taken.
pub(super) fn generate(prefix: &str, name: &str, salt: u64) -> String {
    let (safe_prefix, safe_name) = (sanitised(prefix), sanitised(name));
    let joined = format!("{safe_prefix}{JOINT}{safe_name}");
    let exact = safe_prefix == prefix && safe_name == name && !name.is_empty() && has_clear_end(prefix);
    if exact && salt == 0 && joined.len() <= MAX_CHARS {
        return joined;
    }
    hashed(&joined, &[prefix, name], salt)
}

/// Whether the first joint in `prefix__name` is always the one after the prefix.
fn has_clear_end(prefix: &str) -> bool {
    !prefix.is_empty() && !prefix.ends_with('_') && !prefix.contains(JOINT)
}

fn sanitised(text: &str) -> Cow<'_, str> {
    let safe = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if text.chars().all(safe) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if safe(c) { c } else { '_' }).collect())
}

/// `text` is ASCII.
fn hashed(text: &str, of: &[&str], salt: u64) -> String {
    let mut hash = Sha256::new();
    for part in of {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(salt.to_be_bytes());
    let mut out: String = text.chars().take(MAX_CHARS - HASH_CHARS).collect();
    out.push('_');
    for byte in hash.finalize().iter().take(4) {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// The beginnings of all generated names. A backend's own name that lies in it is never shown bare: it could be taken
/// for another backend's, now or once that backend is back.
pub(super) struct PrefixSpace(HashSet<String>);

impl PrefixSpace {
    pub(super) fn of<'a>(prefixes: impl Iterator<Item = &'a str>) -> Self {
        let start = |prefix| -> String {
            format!("{}{JOINT}", sanitised(prefix)).chars().take(MAX_CHARS - HASH_CHARS).collect()
        };
        Self(prefixes.map(start).collect())
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        let ends = name.match_indices('_').map(|(at, _)| at + 1).chain([MAX_CHARS - HASH_CHARS]);
        ends.into_iter().any(|end| name.get(..end).is_some_and(|start| self.0.contains(start)))
    }
}
