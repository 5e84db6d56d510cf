//! What carried a message, as far as its service depends on it. Changes when something else can.

use std::sync::Arc;

use bridge_mcp::detect::Beside;
use bridge_transport::frontend::request::text;
use http::HeaderMap;

use super::Context;
use crate::session::{LogBounds, OwnSessions, Session};

/// Where a message came from.
#[derive(Clone, Copy)]
pub(crate) enum Carrier<'a> {
    /// An HTTP request: headers repeat parts of the message, and one of them names the session.
    Http(&'a HeaderMap),
    /// A connection of the client's own: nothing travels beside the message, and its sessions are the connection's.
    Connection(&'a OwnSessions),
}

impl<'a> Carrier<'a> {
    /// What the decision about the generation may depend on.
    pub(super) fn beside(self, context: &Context) -> Beside<'a> {
        match self {
            Self::Http(headers) => Beside {
                version_header: text(headers, "mcp-protocol-version"),
                has_session: headers.contains_key("mcp-session-id"),
                on_connection: false,
            },
            Self::Connection(sessions) => Beside {
                version_header: None,
                has_session: sessions.get(&context.scope, &context.principal).is_some(),
                on_connection: true,
            },
        }
    }

    /// The headers, where there are any.
    pub(super) fn headers(self) -> Option<&'a HeaderMap> {
        match self {
            Self::Http(headers) => Some(headers),
            Self::Connection(_) => None,
        }
    }

    /// The open session that the message belongs to.
    pub(super) fn session(self, context: &Context) -> Option<Arc<Session>> {
        match self {
            Self::Http(headers) => {
                let id = text(headers, "mcp-session-id")?;
                context.gateway.sessions.get(id, &context.principal, &context.scope)
            }
            Self::Connection(sessions) => sessions.get(&context.scope, &context.principal),
        }
    }

    /// How much of its streams a session keeps. A connection takes its streams along when it ends.
    pub(super) fn log_bounds(self, context: &Context) -> LogBounds {
        let limits = &context.plan.snapshot.limits;
        LogBounds {
            events: limits.replay_events,
            bytes: limits.replay_bytes,
            ended: match self {
                Self::Http(_) => LogBounds::ENDED,
                Self::Connection(_) => 0,
            },
        }
    }
}
