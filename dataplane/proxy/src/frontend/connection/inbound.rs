//! What a transport hands in with a message, and what the core makes of it: as whom it is served, and by which backends.
//!
//! Changes when messages carry something else beside them.

use bridge_mcp::error::code;
use bridge_mcp::frame::{Frame, FrameError};
use bridge_mcp::original::input::{self, Namespace};
use bridge_mcp::original::{reply, route};
use bridge_policy::principal::Principal;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_policy::route::Scope;
use bytes::Bytes;

use crate::access::{self, Credentials};
use crate::gateway::{Gateway, Plan};

/// One message from the client.
pub(crate) struct Inbound<'a> {
    /// JSON text.
    pub(crate) message: Bytes,
    /// Which backends it is for.
    pub(crate) destination: Destination<'a>,
    /// Who is known to have sent it.
    pub(crate) sender: Sender<'a>,
    /// The token that came with the message.
    pub(crate) token: Option<&'a str>,
    /// Raw id beside the message, for an error when its own cannot be read.
    pub(crate) id: Option<&'a [u8]>,
    /// Whether a session is opened for a client that does not ask for one: the original needed none.
    pub(crate) unasked: bool,
}

/// Who is known to have sent a message.
#[derive(Clone, Copy)]
pub(crate) enum Sender<'a> {
    /// Nobody yet: the message authenticates for itself.
    Unknown,
    /// Whoever opened the connection.
    Connection(&'a Principal),
    /// This one: a credential of this very message was verified.
    Verified(&'a Principal),
}

/// Which backends a message is for.
#[derive(Clone, Copy)]
pub(crate) enum Destination<'a> {
    /// As the connection was opened.
    Scope(&'a Scope),
    /// As clients of the original gateway say it: by the message, or by a namespace beside it.
    Original {
        /// `target_namespace` of an envelope, `params.namespace` of a binary frame.
        target: Option<&'a Namespace>,
    },
}

/// How a message is spoken, and so how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// MCP: clients open their sessions themselves, and read notifications and requests.
    Mcp,
    /// The original gateway's: requests and their answers, nothing else, and sessions without `initialize`.
    Original,
}

impl Inbound<'_> {
    pub(super) fn dialect(&self) -> Dialect {
        match self.destination {
            Destination::Scope(_) => Dialect::Mcp,
            Destination::Original { .. } => Dialect::Original,
        }
    }

    /// As whom the message is served. Judged for each message: tokens expire, and policies are reloaded.
    pub(super) fn principal(&self, gateway: &Gateway, plan: &Plan) -> Result<Principal, Refusal> {
        let credentials = Credentials::from_token(self.token);
        match self.sender {
            Sender::Unknown => access::authenticate(gateway, plan, credentials),
            Sender::Connection(principal) => {
                access::authenticate_message(gateway, plan, principal, credentials)
            }
            Sender::Verified(principal) => Ok(principal.clone()),
        }
    }

    /// The answer to something that is no message.
    pub(super) fn malformed(&self, error: &FrameError) -> Bytes {
        match (self.dialect(), error) {
            (Dialect::Mcp, _) => error.response(),
            (Dialect::Original, FrameError::Shape { id: Some(id), .. }) => refused(Some(id), error),
            (Dialect::Original, _) => refused(self.id, error),
        }
    }
}

/// The original knows one code for all that it cannot read.
fn refused(id: Option<&[u8]>, error: &FrameError) -> Bytes {
    reply::error(id, code::INVALID_REQUEST, &error.to_string(), None)
}

impl Destination<'_> {
    /// The endpoint that serves `frame`.
    pub(super) fn scope(self, plan: &Plan, frame: &Frame) -> Result<Scope, Refusal> {
        let scope = match self {
            Self::Scope(scope) => scope.clone(),
            Self::Original { target } => {
                input::check(frame).map_err(|error| Refusal::new(Reason::BadMessage, error.to_string()))?;
                match route::decide(target, frame, |namespace| plan.cluster(namespace).is_some()) {
                    route::Destination::Merged => Scope::Merged,
                    route::Destination::Namespace(namespace) => Scope::One(namespace.as_str().to_owned()),
                }
            }
        };
        match &scope {
            Scope::One(namespace) if plan.cluster(namespace).is_none() => {
                let text = format!("no backend has namespace `{namespace}`");
                Err(Refusal::new(Reason::BackendUnavailable, text))
            }
            _ => Ok(scope),
        }
    }

    /// The endpoint of the whole connection, where it has one.
    pub(super) fn fixed(self) -> Option<Scope> {
        match self {
            Self::Scope(scope) => Some(scope.clone()),
            Self::Original { .. } => None,
        }
    }
}
