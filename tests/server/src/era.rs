//! Protocol generations: what each mode serves, and how a server of that age refuses the other.
//! Changes when a revision is added.

use std::borrow::Cow;

use clap::ValueEnum;
use rmcp::RoleServer;
use rmcp::model::{ErrorCode, ErrorData, ProtocolVersion};
use rmcp::service::RequestContext;
use serde_json::json;

/// Prefix of the request metadata that only 2026-07-28 and later define.
pub(crate) const MODERN_META_PREFIX: &str = "io.modelcontextprotocol/";

/// Which generations this process serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Era {
    /// Revisions with an `initialize` handshake (2024-11-05 to 2025-11-25).
    Legacy,
    /// Revisions where each request describes itself (2026-07-28).
    Modern,
    /// Both, told apart per request.
    Both,
}

impl Era {
    /// The revisions of this mode, oldest first.
    pub(crate) fn versions(self) -> Cow<'static, [ProtocolVersion]> {
        match self {
            Self::Legacy => {
                Cow::Borrowed(ProtocolVersion::known_up_to(&ProtocolVersion::LATEST_WITH_INITIALIZE))
            }
            Self::Modern => Cow::Owned(
                ProtocolVersion::KNOWN_VERSIONS.iter().filter(|v| !v.has_initialize()).cloned().collect(),
            ),
            Self::Both => Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS),
        }
    }
}

/// True when the request follows the modern rules: no session to call back on, input by `input_required`.
pub(crate) fn is_modern(context: &RequestContext<RoleServer>) -> bool {
    context.meta.protocol_version().is_some()
        || context.protocol_version().is_some_and(|version| !version.has_initialize())
}

/// The error of a modern-only server to `initialize`. It names the versions because an old client can show nothing else.
pub(crate) fn handshake_refused(requested: &str) -> ErrorData {
    let supported = Era::Modern.versions();
    let names: Vec<&str> = supported.iter().map(ProtocolVersion::as_str).collect();
    ErrorData::new(
        ErrorCode::UNSUPPORTED_PROTOCOL_VERSION,
        format!("this server has no handshake; it supports {}", names.join(", ")),
        Some(json!({ "supported": names, "requested": requested })),
    )
}

/// The error for a method that this generation does not know.
pub(crate) fn unknown_method(method: &str) -> ErrorData {
    ErrorData::new(ErrorCode::METHOD_NOT_FOUND, format!("method not found: {method}"), None)
}
