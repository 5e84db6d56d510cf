//! Which generation a client's message belongs to. Decided for each message, never for a connection.
//!
//! Changes when a revision changes how requests describe themselves. Source: MCP 2026-07-28 "Versioning" and the
//! compatibility sections of the transports.

use crate::envelope::Kind;
use crate::error::code;
use crate::frame::Frame;
use crate::method::Method;
use crate::version::{Era, Version};

/// What travelled beside the message; stdio-like transports have none of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside<'a> {
    /// `MCP-Protocol-Version`.
    pub version_header: Option<&'a str>,
    /// `Mcp-Session-Id` was sent, or a session is open on the connection.
    pub has_session: bool,
    /// The message came over a connection of the client's own, where nothing travels beside it.
    pub on_connection: bool,
}

/// How to treat a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detected {
    /// Self-describing; its headers and `_meta` are still to be checked.
    Modern,
    /// Belongs to the session that it names.
    LegacySession,
    /// Opens a session.
    LegacyOpening,
    /// A `ping` before the session that the connection is going to open (MCP "Lifecycle: initialization").
    LegacyPing,
    /// Cannot be served; answer 400 with this code and text.
    Refused {
        /// JSON-RPC error code.
        code: i64,
        /// What to tell the client.
        message: String,
    },
}

/// Decides for one message.
pub fn detect(frame: &Frame, beside: Beside<'_>) -> Detected {
    let meta_version = frame.envelope().params.as_ref().and_then(|params| params.meta.protocol_version);
    if meta_version.is_some() {
        return Detected::Modern;
    }
    if let Some(named) = beside.version_header {
        match Version::parse(named) {
            Some(version) if version.era() == Era::Modern => return Detected::Modern,
            Some(_) => {}
            None => {
                return refused(
                    code::INVALID_REQUEST,
                    format!("unsupported MCP-Protocol-Version; served are {}", served()),
                );
            }
        }
    }
    if frame.kind() == Kind::Request && frame.method() == Method::Initialize {
        return Detected::LegacyOpening;
    }
    if beside.has_session {
        return Detected::LegacySession;
    }
    if beside.on_connection && frame.kind() == Kind::Request && frame.method() == Method::Ping {
        return Detected::LegacyPing;
    }
    let opening = if beside.on_connection { "" } else { " and then `Mcp-Session-Id`" };
    refused(
        code::INVALID_REQUEST,
        format!(
            "no session and no protocol metadata: send `initialize` first{opening}, or describe each request in \
             `params._meta` (2026-07-28)"
        ),
    )
}

/// The revisions served, newest first, for error texts.
pub fn served() -> String {
    let names: Vec<_> = Version::ALL.iter().rev().map(|version| version.as_str()).collect();
    names.join(", ")
}

fn refused(code: i64, message: String) -> Detected {
    Detected::Refused { code, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use bytes::Bytes;

    const MODERN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    const INITIALIZE: &str =
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#;
    const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

    fn of(text: &'static str, version_header: Option<&str>, has_session: bool) -> Detected {
        let frame = Frame::parse(Bytes::from_static(text.as_bytes()), &Limits::client(4096, 16)).unwrap();
        detect(&frame, Beside { version_header, has_session, on_connection: false })
    }

    fn on_connection(text: &'static str, has_session: bool) -> Detected {
        let frame = Frame::parse(Bytes::from_static(text.as_bytes()), &Limits::client(4096, 16)).unwrap();
        detect(&frame, Beside { has_session, on_connection: true, ..Beside::default() })
    }

    #[test]
    fn metadata_decides_before_anything_else() {
        assert_eq!(of(MODERN, None, false), Detected::Modern);
        assert_eq!(of(MODERN, Some("2025-06-18"), true), Detected::Modern);
    }

    #[test]
    fn a_modern_header_makes_a_modern_request_even_without_metadata() {
        assert_eq!(of(LIST, Some("2026-07-28"), false), Detected::Modern);
        assert_eq!(of(INITIALIZE, Some("2026-07-28"), false), Detected::Modern);
    }

    #[test]
    fn an_unknown_version_is_refused() {
        assert!(matches!(
            of(LIST, Some("1999-01-01"), true),
            Detected::Refused { code: code::INVALID_REQUEST, .. }
        ));
    }

    #[test]
    fn sessions_and_openings_are_legacy() {
        assert_eq!(of(INITIALIZE, None, false), Detected::LegacyOpening);
        assert_eq!(of(LIST, Some("2025-06-18"), true), Detected::LegacySession);
        assert_eq!(of(LIST, None, true), Detected::LegacySession);
        assert!(matches!(of(LIST, None, false), Detected::Refused { .. }));
    }

    #[test]
    fn a_connection_may_be_pinged_before_its_session_and_serves_both_generations() {
        const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        assert_eq!(on_connection(PING, false), Detected::LegacyPing);
        assert_eq!(on_connection(PING, true), Detected::LegacySession);
        assert_eq!(on_connection(MODERN, true), Detected::Modern);
        assert_eq!(on_connection(INITIALIZE, true), Detected::LegacyOpening);
        let Detected::Refused { message, .. } = on_connection(LIST, false) else { panic!("refused") };
        assert!(!message.contains("Mcp-Session-Id"), "there are no headers here: {message}");
        assert!(matches!(of(PING, None, false), Detected::Refused { .. }));
    }
}
