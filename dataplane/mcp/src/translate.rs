//! Crossing between generations: one translator per direction, as pure functions and state machines over bytes.
//! Changes when the generations get another direction between them.
//!
//! [`to_legacy`] serves a client of 2026-07-28 from a server that opens with `initialize`; [`to_modern`] serves a client
//! with a session from a server of 2026-07-28. Both edit the original text: members that need no change keep their
//! spelling and order. What has no form on the other side is listed in [`losses`], from which `docs/bridging.md` is
//! written.

mod annotated;
mod canonical;
mod capabilities;
mod content;
mod members;
mod question;
mod reply;

pub mod losses;
pub mod to_legacy;
pub mod to_modern;

pub use annotated::without_invalid_tools;

/// What the specification keeps for itself in `_meta` (MCP, "General fields").
const RESERVED: &str = "io.modelcontextprotocol/";

/// Whether a key of `_meta` is the specification's own.
fn is_reserved(key: &str) -> bool {
    key.starts_with(RESERVED)
}
