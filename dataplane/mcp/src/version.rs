//! Protocol revisions and the two generations. Changes when a revision is published.

use std::fmt;

/// A generation of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Era {
    /// Revisions that open with `initialize`.
    Legacy,
    /// Stateless revisions in which every request describes itself.
    Modern,
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Legacy => "legacy (2024-11-05 to 2025-11-25)",
            Self::Modern => "modern (2026-07-28)",
        })
    }
}

/// A published revision, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP+SSE.
    V2024_11_05,
    /// Streamable HTTP, batching.
    V2025_03_26,
    /// Batching gone, version header.
    V2025_06_18,
    /// SSE polling, URL elicitation.
    V2025_11_25,
    /// Stateless.
    V2026_07_28,
}

impl Version {
    /// All revisions, oldest first.
    pub const ALL: [Self; 5] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];
    /// The newest revision that opens with `initialize`.
    pub const NEWEST_LEGACY: Self = Self::V2025_11_25;
    /// The newest stateless revision.
    pub const NEWEST_MODERN: Self = Self::V2026_07_28;

    /// The revision that `text` names, if it is a published one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Its generation.
    pub fn era(self) -> Era {
        if self == Self::V2026_07_28 { Era::Modern } else { Era::Legacy }
    }

    /// What to answer to an `initialize` that asks for `requested`: the same revision when it is a legacy one that we
    /// know, else our newest legacy one; a stateless revision is never negotiated by handshake.
    pub fn negotiate(requested: Option<&str>) -> Self {
        requested
            .and_then(Self::parse)
            .filter(|version| version.era() == Era::Legacy)
            .unwrap_or(Self::NEWEST_LEGACY)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_never_ends_in_a_stateless_revision() {
        assert_eq!(Version::negotiate(Some("2026-07-28")), Version::V2025_11_25);
        assert_eq!(Version::negotiate(Some("1999-01-01")), Version::V2025_11_25);
        assert_eq!(Version::negotiate(None), Version::V2025_11_25);
        assert_eq!(Version::negotiate(Some("2024-11-05")), Version::V2024_11_05);
    }
}
