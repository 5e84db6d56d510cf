//! WebSocket connections (RFC 6455): JSON texts, one per message, in both directions. Changes when messages travel over
//! WebSocket differently.
//!
//! MCP has no norm for this transport. Peers agree on subprotocol `mcp` and one JSON-RPC message per text message.
//! Handshakes are HTTP requests and so belong to hyper; [`handshake`] knows their headers. [`split`] takes over from
//! there.

pub mod handshake;
mod pulse;
mod socket;

use std::sync::Arc;
use std::time::Duration;

pub use socket::{Reader, SocketError, Writer, close, split};

/// The subprotocol of MCP.
pub const SUBPROTOCOL: &str = "mcp";

/// Bounds of one connection.
#[derive(Clone)]
pub struct Settings {
    /// Largest message from the peer, in bytes.
    pub max_message: usize,
    /// Time between pings. A peer that shows no life for two of them is given up.
    pub ping_interval: Duration,
    /// Who counts.
    pub meter: Option<Arc<dyn Meter>>,
}

/// Counts messages of all kinds.
pub trait Meter: Send + Sync {
    /// A message of `bytes` bytes was read or written.
    fn count(&self, direction: Direction, kind: Kind, bytes: usize);
}

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the peer.
    Inbound,
    /// To the peer.
    Outbound,
}

/// Kind of message (RFC 6455 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A JSON text.
    Text,
    /// Ignored.
    Binary,
    /// Asks for a sign of life.
    Ping,
    /// A sign of life.
    Pong,
    /// The end.
    Close,
}

/// Which end of a connection this is: clients mask what they send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It asked for the upgrade.
    Client,
    /// It was asked.
    Server,
}

/// Why a connection is closed (RFC 6455 section 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Nothing more to say.
    Normal,
    /// This end goes away.
    Away,
    /// The peer broke the protocol.
    Protocol,
    /// The peer sent a text that is none.
    NotText,
    /// The peer's message is too large.
    TooLarge,
    /// The peer may not be here.
    Policy,
}
