//! One TCP connection to a server of dialect G, seen from the gateway. Sans-IO: frames and messages in, effects out.
//!
//! Changes when the protocol's order of events does.
//!
//! ```text
//! OFFERED ──ack──▶ (GREETED ──result──▶) OPEN ──shutdown, loss──▶ CLOSED
//! ```
//!
//! With a token the handshake of the original comes first, and is over before any message is taken. Messages with a method
//! travel as frames of type 1, responses as type 2. A server's `HealthCheck` is not answered: a server answers each of ours,
//! so two that answer each other would never stop.

use bytes::Bytes;
use serde_json::Value;

use super::binary::{BinaryFrame, FrameKind};
use super::input::Token;
use super::negotiation::{self, OFFER};
use crate::envelope::Kind;
use crate::frame::Frame;
use crate::limits::Limits;
use crate::scan::Scanner;

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write a frame.
    Send(BinaryFrame),
    /// Messages may be sent from now on.
    Open,
    /// A message from the server.
    Deliver(Bytes),
    /// The server leaves: it finishes what is in flight and takes nothing more.
    Leaving,
    /// Close the connection; it is of no use any more.
    Close(ClientError),
}

/// Why a connection to a server is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The server agreed on no version of ours, or answered with something else.
    #[error("no agreement on a protocol version")]
    Negotiation,
    /// The server refused the token.
    #[error("the server refused the gateway's token")]
    Refused,
    /// Nothing came for twice the time after which the server was asked for a sign of life.
    #[error("the server is silent")]
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Offered,
    Greeted,
    Open,
    Closed,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Client {
    phase: Phase,
    token: Option<Token>,
    limits: Limits,
    /// A sign of life was asked for, and nothing has come since.
    asked: bool,
}

impl Client {
    /// A connection that was just opened, and what to send first. `limits` are those of one message from the server.
    pub fn connect(token: Option<Token>, limits: Limits) -> (Self, BinaryFrame) {
        let offer = BinaryFrame::new(FrameKind::VersionNegotiation, OFFER);
        (Self { phase: Phase::Offered, token, limits, asked: false }, offer)
    }

    /// Whether messages may be sent.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Takes a frame from the server.
    pub fn receive(&mut self, frame: BinaryFrame) -> Option<Effect> {
        self.asked = false;
        match (self.phase, frame.kind) {
            (Phase::Closed, _) | (_, FrameKind::HealthCheck) => None,
            (Phase::Offered, FrameKind::VersionAck) if negotiation::is_agreed(&frame.payload) => {
                Some(self.greet())
            }
            (Phase::Offered, _) => Some(self.close(ClientError::Negotiation)),
            (Phase::Greeted, FrameKind::Response) => {
                let accepted =
                    Frame::parse(frame.payload, &self.limits).is_ok_and(|frame| frame.kind() == Kind::Result);
                if !accepted {
                    return Some(self.close(ClientError::Refused));
                }
                self.phase = Phase::Open;
                Some(Effect::Open)
            }
            (Phase::Greeted, FrameKind::Error) => Some(self.close(ClientError::Refused)),
            (Phase::Open, FrameKind::Request | FrameKind::Response) => Some(Effect::Deliver(frame.payload)),
            (_, FrameKind::Control) if is_shutdown(&frame.payload) => Some(Effect::Leaving),
            _ => None,
        }
    }

    /// A message of ours as a frame.
    pub fn frame(message: Bytes) -> BinaryFrame {
        let kind = if has_method(&message) { FrameKind::Request } else { FrameKind::Response };
        BinaryFrame::new(kind, message)
    }

    /// No frame has come for the time that the protocol allows.
    pub fn idle(&mut self) -> Option<Effect> {
        match self.phase {
            Phase::Closed => None,
            Phase::Offered | Phase::Greeted => Some(self.close(ClientError::Silent)),
            Phase::Open if self.asked => Some(self.close(ClientError::Silent)),
            Phase::Open => {
                self.asked = true;
                Some(Effect::Send(BinaryFrame::new(FrameKind::HealthCheck, "")))
            }
        }
    }

    fn greet(&mut self) -> Effect {
        let Some(token) = self.token.take() else {
            self.phase = Phase::Open;
            return Effect::Open;
        };
        self.phase = Phase::Greeted;
        let token = Value::from(token.expose());
        let request = format!(
            r#"{{"jsonrpc":"2.0","method":"initialize","params":{{"token":{token}}},"id":"init-1"}}"#
        );
        Effect::Send(BinaryFrame::new(FrameKind::Request, request))
    }

    fn close(&mut self, error: ClientError) -> Effect {
        self.phase = Phase::Closed;
        Effect::Close(error)
    }
}

/// Whether it is a request or a notification; a response has no method.
fn has_method(message: &[u8]) -> bool {
    let limits = Limits { max_bytes: usize::MAX, max_depth: usize::MAX, unique_keys: false };
    let mut found = false;
    let scanned = Scanner::new(message, &limits).and_then(|mut scanner| {
        scanner.object(|scanner, key| {
            found |= key.of(message) == b"\"method\"";
            scanner.value().map(drop)
        })
    });
    scanned.is_ok() && found
}

fn is_shutdown(control: &[u8]) -> bool {
    serde_json::from_slice::<Value>(control).is_ok_and(|control| control["command"] == "shutdown")
}

#[cfg(test)]
mod tests;
