//! The revisions that clients speak. Changes when a revision is added to the table.

use serde_json::{Value, json};

/// What a client speaks. The order is that of publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Revision {
    /// The first: no audio, no resource links, no structured output, no elicitation.
    V2024_11_05,
    /// With audio.
    V2025_03_26,
    /// With resource links, structured output and forms.
    V2025_06_18,
    /// The newest that opens with `initialize`: with pages to visit and all kinds of fields.
    V2025_11_25,
    /// The generation without sessions.
    V2026_07_28,
}

impl Revision {
    /// The newest of each generation, which every frontend is tried with.
    pub(crate) const NEWEST: [Self; 2] = [Self::V2025_11_25, Self::V2026_07_28];
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];

    /// As the protocol spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Whether it opens with `initialize`.
    pub(crate) fn is_legacy(self) -> bool {
        self < Self::V2026_07_28
    }

    /// All that a client of it can do for a server.
    pub(crate) fn capabilities(self) -> Value {
        match self {
            Self::V2024_11_05 | Self::V2025_03_26 => json!({ "sampling": {}, "roots": {} }),
            Self::V2025_06_18 => json!({ "sampling": {}, "roots": {}, "elicitation": {} }),
            Self::V2025_11_25 | Self::V2026_07_28 => {
                json!({ "sampling": {}, "roots": {}, "elicitation": { "form": {}, "url": {} } })
            }
        }
    }
}
