//! Crossing between generations: one translator per direction, as pure functions and state machines over bytes.
//! Changes when the generations get another direction between them.
//!
//! [`to_legacy`] serves a client of 2026-07-28 from a server that opens with `initialize`; [`to_modern`] serves a client
//! with a session from a server of 2026-07-28. Both edit the original text: members that need no change keep their
//! spelling and order. What has no form on the other side is listed in [`losses`], from which `docs/bridging.md` is
//! written.

mod canonical;
mod capabilities;
mod content;
mod members;
mod question;
mod reply;

pub mod losses;
pub mod to_legacy;
pub mod to_modern;

use crate::version::Era;

/// What the specification keeps for itself in `_meta` (MCP, "General fields").
const RESERVED: &str = "io.modelcontextprotocol/";

/// Whether a key of `_meta` is the specification's own.
fn is_reserved(key: &str) -> bool {
    key.starts_with(RESERVED)
}

/// How a request gets from a client's generation to a server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crossing {
    /// Same generation: forwarded as it is.
    None,
    /// Modern client, legacy server.
    Upgrade,
    /// Legacy client, modern server.
    Downgrade,
}

impl Crossing {
    /// The crossing between two generations.
    pub fn between(client: Era, server: Era) -> Self {
        match (client, server) {
            (Era::Modern, Era::Legacy) => Self::Upgrade,
            (Era::Legacy, Era::Modern) => Self::Downgrade,
            (Era::Legacy, Era::Legacy) | (Era::Modern, Era::Modern) => Self::None,
        }
    }

    /// Whether this gateway can do it.
    pub fn is_supported(self) -> bool {
        self == Self::None
    }
}
