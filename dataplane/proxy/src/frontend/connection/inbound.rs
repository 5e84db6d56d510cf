//! What a transport hands in with a message, and what the core makes of it: as whom it is served, and by which backends.
//!
//! Changes when messages carry something else beside them.

use std::sync::Arc;

use bridge_mcp::frame::Frame;
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
    /// As whom the connection authenticated; `None` where each message does so for itself.
    pub(crate) principal: Option<&'a Principal>,
    /// The token that came with the message.
    pub(crate) token: Option<&'a str>,
}

/// Which backends a message is for.
#[derive(Clone, Copy)]
pub(crate) enum Destination<'a> {
    /// As the connection was opened.
    Scope(&'a Scope),
    /// As clients of the original gateway say it: by the message, or by a namespace beside it.
    Original {
        /// `target_namespace` of an envelope, `params.namespace` of a binary frame.
        target: Option<&'a str>,
    },
}

impl Inbound<'_> {
    /// As whom the message is served. Judged for each message: tokens expire, and policies are reloaded.
    pub(super) fn principal(&self, gateway: &Gateway, plan: &Plan) -> Result<Principal, Refusal> {
        let credentials = Credentials::from_token(self.token);
        match self.principal {
            Some(connection) => access::authenticate_message(gateway, plan, connection, credentials),
            None => access::authenticate(gateway, plan, credentials),
        }
    }
}

impl Destination<'_> {
    /// The endpoint that serves `frame`.
    pub(super) fn scope(self, plan: &Arc<Plan>, _frame: &Frame) -> Result<Scope, Refusal> {
        let scope = match self {
            Self::Scope(scope) => scope.clone(),
            Self::Original { target } => match target {
                Some(namespace) => Scope::One(namespace.to_owned()),
                None => Scope::Merged,
            },
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
