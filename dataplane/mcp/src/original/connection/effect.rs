//! What goes into the machine of a connection and comes out of it. Changes when its driver has to do something else.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::frame::Frame;
use crate::limits::Limits;
use crate::original::binary::BinaryFrame;
use crate::original::input::{Namespace, Token};

/// What a connection is bound by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of one JSON-RPC message.
    pub limits: Limits,
    /// Requests in flight; while there are as many, no frame is taken.
    pub max_in_flight: usize,
    /// Whether a token beside a message of an authenticated connection is verified (`auth.per_message_auth`).
    pub per_message_auth: bool,
    /// What the handshake of dialect G tells as `sessionId`: 32 hexadecimal digits. It opens nothing.
    pub session_id: String,
}

/// What the driver has to do, in this order.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "taken apart at once")]
pub enum Effect<P> {
    /// Write a frame.
    Send(BinaryFrame),
    /// Find out whose token it is; without one, whether anybody may come. Then call [`super::Connection::authenticated`].
    Authenticate(Option<Token>),
    /// Give a message to the backends.
    Serve(Served<P>),
    /// Close the connection once everything before is written, and drop its calls.
    Close(CloseReason),
}

/// A message to be served.
#[derive(Debug)]
pub struct Served<P> {
    /// The message. A request is answered with [`super::Connection::finished`] under its id.
    pub frame: Frame,
    /// The namespace that the client named beside it.
    pub named: Option<Namespace>,
    /// The token that came with it.
    pub token: Option<Token>,
    /// It was authenticated for itself just now: [`Effect::Authenticate`] was about it.
    pub is_judged: bool,
    /// On whose behalf.
    pub principal: P,
    /// The client has shown that it speaks the protocol itself, and gets its notifications and questions.
    pub is_mcp: bool,
}

/// A token that was accepted.
#[derive(Debug, Clone)]
pub struct Accepted<P> {
    /// Whose it is.
    pub principal: P,
    /// Until when, since 1970-01-01 UTC.
    pub expires_at: Duration,
}

/// The token is not accepted, or there is none and one is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied;

/// How a request ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// With a response.
    Answer(Bytes),
    /// With an error of the gateway: its text and what else the client should know.
    Failure(String, Option<Value>),
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// A payload is not what its frame promises.
    #[error("undecodable payload")]
    Undecodable,
    /// Something else came before the negotiation.
    #[error("no version negotiation")]
    NotNegotiated,
    /// No version in common.
    #[error("no version in common")]
    NoCommonVersion,
    /// A request broke a limit or is no request.
    #[error("invalid request")]
    InvalidRequest,
    /// A token was refused.
    #[error("authentication failed")]
    AuthenticationFailed,
    /// The token of the handshake is void.
    #[error("token expired")]
    TokenExpired,
    /// The gateway leaves and nothing is in flight.
    #[error("shutting down")]
    ShuttingDown,
    /// The driver gave a frame that it had to keep.
    #[error("more frames than the connection takes")]
    Overrun,
}
