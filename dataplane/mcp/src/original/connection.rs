//! One TCP connection of an original's client, seen from the gateway. Sans-IO: frames and outcomes in, effects out.
//!
//! Changes when the protocol's order of events does. What each event does in dialect G:
//!
//! ```text
//!                     CONNECTED                    NEGOTIATED
//! type 6              ack, or Error and close      Error, stay
//! type 1              Error and close              authenticate, then serve
//! type 2              Error and close              an answer to our question, else Error, stay
//! type 3, 5           Error and close              ignored
//! type 4              Error and close              empty HealthCheck
//! type 7              Error and close              Error, stay
//! undecodable         close                        close
//! 60 s of silence     empty HealthCheck            empty HealthCheck
//! ```
//!
//! In dialect R the same, except that nothing is sent but acks and answers: its reader takes every other frame for a
//! failure. Each of its requests carries its own token.
//!
//! Better than the original, on purpose: notifications are served and a limit that was reached is answered, both without
//! closing; a payload that is no message is answered; a client that sends a real MCP `initialize`, or requests of
//! 2026-07-28, gets notifications and questions as frames of type 1; requests that carry a valid token need no handshake.

mod calls;
mod effect;
mod judge;

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::binary::{BinaryFrame, Dialect, FrameKind, MAX_PAYLOAD};
use super::envelope::wrap_payload;
use super::input::params_token;
use super::negotiation::{self, NoAgreement};
use super::reply;
use crate::envelope::Kind;
use crate::frame::Frame;
use crate::id::Id;
use crate::method::Method;

use calls::Calls;
pub use effect::{Accepted, CloseReason, Denied, Effect, Outcome, Served, Settings};
use judge::{Beside, Judged, judge};

/// The payload that tells a client of dialect G that the gateway leaves.
const SHUTDOWN: &[u8] = br#"{"command":"shutdown","reason":"server shutting down"}"#;

/// The state of one connection. `P` is a principal; two that are equal are the same person.
#[derive(Debug)]
pub struct Connection<P> {
    dialect: Dialect,
    settings: Settings,
    phase: Phase,
    /// The gateway leaves: calls in flight end, no new ones begin.
    leaving: bool,
    /// Whose connection it is, after a handshake with a token.
    identity: Option<Accepted<P>>,
    /// The client understands frames of type 1.
    takes_messages: bool,
    /// The message that waits for its authentication. Nothing is read meanwhile, so messages keep their order.
    waiting: Option<Waiting>,
    /// Requests in flight.
    calls: Calls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connected,
    Negotiated,
    Closed,
}

#[derive(Debug)]
struct Waiting {
    frame: Frame,
    beside: Beside,
    purpose: Purpose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// `initialize` with a token: it makes the connection somebody's, and is not forwarded.
    Handshake,
    /// One message, on a connection that is nobody's.
    Message,
    /// One message of an authenticated connection, with a token of its own.
    Confirmation,
}

type Effects<P> = Vec<Effect<P>>;

impl<P: Clone + PartialEq> Connection<P> {
    /// A connection whose first frame told its dialect.
    pub fn new(dialect: Dialect, settings: Settings) -> Self {
        Self {
            dialect,
            settings,
            phase: Phase::Connected,
            leaving: false,
            identity: None,
            takes_messages: false,
            waiting: None,
            calls: Calls::default(),
        }
    }

    /// Whether it takes a frame now. If not, the driver keeps the rest unread: that is the client's back-pressure.
    pub fn wants_input(&self) -> bool {
        self.phase != Phase::Closed
            && self.waiting.is_none()
            && self.calls.len() < self.settings.max_in_flight
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.calls.len()
    }

    /// Ends a handshake whose token has expired by `now`, since 1970-01-01 UTC; another may follow.
    pub fn expire(&mut self, now: Duration) {
        self.identity.take_if(|accepted| accepted.expires_at <= now);
    }

    /// Whose connection it is, after a handshake with a token.
    pub fn identity(&self) -> Option<&P> {
        self.identity.as_ref().map(|accepted| &accepted.principal)
    }

    /// The token of the handshake has expired, and nothing is in flight: the connection ends.
    pub fn expired(&mut self) -> Effects<P> {
        let mut effects = Vec::new();
        if self.phase != Phase::Closed {
            self.signal(FrameKind::Error, "Token expired", &mut effects);
            self.close(CloseReason::TokenExpired, &mut effects);
        }
        effects
    }

    /// Takes a frame from the client.
    pub fn receive(&mut self, frame: &BinaryFrame) -> Effects<P> {
        let mut effects = Vec::new();
        if self.phase == Phase::Closed {
            return effects;
        }
        if !self.wants_input() {
            self.close(CloseReason::Overrun, &mut effects);
            return effects;
        }
        match (self.phase, frame.kind) {
            (Phase::Connected, FrameKind::VersionNegotiation) => {
                self.negotiate(&frame.payload, &mut effects);
            }
            (Phase::Connected, _) => self.too_early(frame, &mut effects),
            (_, FrameKind::Request) => self.message(&frame.payload, &mut effects),
            (_, FrameKind::Response) => self.response(&frame.payload, &mut effects),
            (_, FrameKind::HealthCheck) => self.signal(FrameKind::HealthCheck, "", &mut effects),
            (_, FrameKind::VersionNegotiation) => {
                self.signal(FrameKind::Error, "Version already negotiated", &mut effects);
            }
            (_, FrameKind::VersionAck) => {
                self.signal(FrameKind::Error, "Unexpected version ack from client", &mut effects);
            }
            (_, FrameKind::Control | FrameKind::Error) => {}
        }
        effects
    }

    /// Takes the outcome of [`Effect::Authenticate`].
    pub fn authenticated(&mut self, outcome: Result<Accepted<P>, Denied>) -> Effects<P> {
        let mut effects = Vec::new();
        let Some(Waiting { frame, beside, purpose }) = self.waiting.take() else { return effects };
        match (purpose, outcome) {
            (Purpose::Handshake, Ok(accepted)) => {
                let seconds = accepted.expires_at.as_secs();
                let expires = reply::timestamp_nanos(seconds, accepted.expires_at.subsec_nanos());
                let session = Value::from(self.settings.session_id.as_str());
                let result = format!(r#"{{"expiresAt":"{expires}","sessionId":{session}}}"#);
                self.identity = Some(accepted);
                let id = frame.raw_id().unwrap_or(b"null");
                effects.push(self.answer(id, reply::result(id, result.as_bytes())));
            }
            (Purpose::Message, Ok(accepted)) => {
                self.serve(frame, beside, accepted.principal, true, &mut effects);
            }
            (Purpose::Confirmation, Ok(accepted)) if self.is(&accepted.principal) => {
                self.serve(frame, beside, accepted.principal, true, &mut effects);
            }
            (purpose, _) => self.deny(purpose, &frame, &mut effects),
        }
        self.settle(&mut effects);
        effects
    }

    /// Takes the end of the oldest request with this id. One that has ended, or was cancelled, is ignored.
    pub fn finished(&mut self, id: &Id, outcome: Outcome) -> Effects<P> {
        let mut effects = Vec::new();
        let Some(id) = self.calls.end(id) else { return effects };
        effects.push(match outcome {
            Outcome::Answer(answer) => self.answer(&id, answer),
            Outcome::Failure(text, data) => {
                self.answer(&id, reply::tcp_error(Some(&id), &text, data.as_ref()))
            }
        });
        self.settle(&mut effects);
        effects
    }

    /// A notification or question of the gateway or a backend, as a frame; `None` when this client would not understand
    /// it.
    pub fn notice(&self, message: Bytes) -> Option<BinaryFrame> {
        let takes = self.takes_messages && self.phase == Phase::Negotiated && message.len() <= MAX_PAYLOAD;
        takes.then(|| BinaryFrame::new(FrameKind::Request, message))
    }

    /// No complete frame has come for the time that the protocol allows.
    pub fn idle(&mut self) -> Effects<P> {
        let mut effects = Vec::new();
        if self.phase != Phase::Closed {
            self.signal(FrameKind::HealthCheck, "", &mut effects);
        }
        effects
    }

    /// The gateway leaves.
    pub fn shut_down(&mut self) -> Effects<P> {
        let mut effects = Vec::new();
        if self.phase != Phase::Closed && !self.leaving {
            self.leaving = true;
            self.signal(FrameKind::Control, SHUTDOWN, &mut effects);
            self.settle(&mut effects);
        }
        effects
    }

    fn negotiate(&mut self, offer: &[u8], effects: &mut Effects<P>) {
        match negotiation::agree(offer) {
            Ok(version) => {
                self.phase = Phase::Negotiated;
                let ack = BinaryFrame::new(FrameKind::VersionAck, negotiation::ack(version));
                effects.push(Effect::Send(ack));
            }
            Err(NoAgreement::Undecodable) => self.close(CloseReason::Undecodable, effects),
            Err(error @ NoAgreement::NoOverlap { .. }) => {
                self.signal(FrameKind::Error, error.to_string(), effects);
                self.close(CloseReason::NoCommonVersion, effects);
            }
        }
    }

    fn too_early(&mut self, frame: &BinaryFrame, effects: &mut Effects<P>) {
        const TEXT: &str = "Version negotiation required";
        self.signal(FrameKind::Error, TEXT, effects);
        if self.dialect == Dialect::R
            && frame.kind == FrameKind::Request
            && let Some(id) = judge(self.dialect, &frame.payload, &self.settings.limits).id()
        {
            effects.push(self.answer(&id, reply::tcp_error(Some(&id), TEXT, None)));
        }
        self.close(CloseReason::NotNegotiated, effects);
    }

    fn message(&mut self, payload: &Bytes, effects: &mut Effects<P>) {
        match judge(self.dialect, payload, &self.settings.limits) {
            Judged::Undecodable => self.close(CloseReason::Undecodable, effects),
            Judged::Ignored => {}
            Judged::Invalid { id, text } => {
                let answer = reply::tcp_error(id.as_deref(), &text, None);
                effects.push(self.answer(id.as_deref().unwrap_or(b"null"), answer));
                // In dialect R others wait on the same connection.
                if self.dialect == Dialect::G {
                    self.close(CloseReason::InvalidRequest, effects);
                }
            }
            Judged::Message { frame, .. } if frame.is_response() => self.answered(frame, effects),
            Judged::Message { frame, beside } => self.authenticate(frame, beside, effects),
        }
    }

    /// A frame of type 2: legal only as the answer to a question of ours.
    fn response(&mut self, payload: &Bytes, effects: &mut Effects<P>) {
        if self.takes_messages
            && let Ok(frame) = Frame::parse(payload.clone(), &self.settings.limits)
            && frame.is_response()
        {
            self.answered(frame, effects);
        } else {
            self.signal(FrameKind::Error, "Unexpected response message from client", effects);
        }
    }

    /// An answer to a question carries no token; it counts for the connection's own principal, or for whoever may come
    /// without one.
    fn answered(&mut self, frame: Frame, effects: &mut Effects<P>) {
        if self.takes_messages {
            self.authenticate(frame, Beside::default(), effects);
        }
    }

    fn authenticate(&mut self, frame: Frame, beside: Beside, effects: &mut Effects<P>) {
        let is_request = frame.kind() == Kind::Request;
        let id = frame.raw_id().unwrap_or(b"null");
        if self.leaving && is_request {
            let data = serde_json::json!({ "reason": "shutting_down", "retry": "safe" });
            let answer = reply::tcp_error(Some(id), "Server shutting down", Some(&data));
            return effects.push(self.answer(id, answer));
        }
        let mut token = beside.token.clone();
        let purpose = match &self.identity {
            Some(_) if token.is_some() && self.settings.per_message_auth => Purpose::Confirmation,
            Some(accepted) => {
                let principal = accepted.principal.clone();
                return self.serve(frame, beside, principal, false, effects);
            }
            None if self.dialect == Dialect::G && is_request && frame.method() == Method::Initialize => {
                match params_token(&frame) {
                    Ok(None) => Purpose::Message,
                    Ok(handshake) => {
                        token = handshake;
                        Purpose::Handshake
                    }
                    Err(error) => {
                        let answer = reply::tcp_error(Some(id), &error.to_string(), None);
                        return effects.push(self.answer(id, answer));
                    }
                }
            }
            None => Purpose::Message,
        };
        self.waiting = Some(Waiting { frame, beside, purpose });
        effects.push(Effect::Authenticate(token));
    }

    fn deny(&mut self, purpose: Purpose, frame: &Frame, effects: &mut Effects<P>) {
        // Nobody waits for an answer to anything else.
        if frame.kind() != Kind::Request {
            return;
        }
        let text = match (purpose, self.dialect) {
            (Purpose::Handshake, _) => "Authentication failed",
            (Purpose::Confirmation, _) => "Per-message authentication failed",
            (Purpose::Message, Dialect::R) => "Unauthorized: a valid auth_token is needed",
            (Purpose::Message, Dialect::G) if frame.method() == Method::Initialize => {
                "Invalid token: `params.token` is missing"
            }
            (Purpose::Message, Dialect::G) => "Unauthorized: must initialize first",
        };
        let id = frame.raw_id().unwrap_or(b"null");
        effects.push(self.answer(id, reply::tcp_error(Some(id), text, None)));
        if purpose != Purpose::Message {
            self.close(CloseReason::AuthenticationFailed, effects);
        }
    }

    fn serve(
        &mut self,
        frame: Frame,
        beside: Beside,
        principal: P,
        is_judged: bool,
        effects: &mut Effects<P>,
    ) {
        if self.dialect == Dialect::G && speaks_mcp(&frame) {
            self.takes_messages = true;
        }
        match frame.kind() {
            Kind::Request => self.calls.begin(&frame),
            Kind::Notification if frame.method() == Method::Cancelled => self.calls.cancel(&frame),
            _ => {}
        }
        let Beside { named, token } = beside;
        let is_mcp = self.takes_messages;
        effects.push(Effect::Serve(Served { frame, named, token, is_judged, principal, is_mcp }));
    }

    fn is(&self, principal: &P) -> bool {
        self.identity.as_ref().is_some_and(|accepted| accepted.principal == *principal)
    }

    /// A response as a frame. `id` is whom it is for, should it be too large to be sent.
    fn answer(&self, id: &[u8], message: Bytes) -> Effect<P> {
        let wrapped = |message: Bytes| match self.dialect {
            Dialect::G => message,
            Dialect::R => wrap_payload(&message),
        };
        let mut payload = wrapped(message);
        if payload.len() > MAX_PAYLOAD {
            let text = "Response exceeds the protocol's limit of 10485760 bytes";
            payload = wrapped(reply::tcp_error(Some(id), text, None));
        }
        Effect::Send(BinaryFrame::new(FrameKind::Response, payload))
    }

    /// A frame beside the requests, which only clients of dialect G understand.
    fn signal(&self, kind: FrameKind, payload: impl Into<Bytes>, effects: &mut Effects<P>) {
        if self.dialect == Dialect::G {
            effects.push(Effect::Send(BinaryFrame::new(kind, payload)));
        }
    }

    fn settle(&mut self, effects: &mut Effects<P>) {
        if self.leaving && self.calls.is_empty() && self.waiting.is_none() {
            self.close(CloseReason::ShuttingDown, effects);
        }
    }

    fn close(&mut self, reason: CloseReason, effects: &mut Effects<P>) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.waiting = None;
            self.calls.clear();
            effects.push(Effect::Close(reason));
        }
    }
}

/// Whether a request shows a client of the protocol itself, in either generation.
fn speaks_mcp(frame: &Frame) -> bool {
    let Some(params) = &frame.envelope().params else { return false };
    params.meta.protocol_version.is_some()
        || (frame.method() == Method::Initialize && params.members.protocol_version.is_some())
}

#[cfg(test)]
mod tests;
