//! Crossing between generations. Each pair of generations has one direction; today only equal ones pass.
//!
//! Changes when a direction is translated: `upgrade` (modern client, legacy server) and `downgrade` (legacy client,
//! modern server) become state machines of their own below this module.

use crate::version::Era;

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
