//! The revisions that clients speak. Changes when a revision is added to the table.

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revision {
    /// The newest that opens with `initialize`.
    Legacy,
    /// 2026-07-28.
    Modern,
}

impl Revision {
    /// As the protocol spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "2025-11-25",
            Self::Modern => "2026-07-28",
        }
    }
}
