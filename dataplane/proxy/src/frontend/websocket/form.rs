//! Bare JSON-RPC or the original gateway's envelope: told apart by a client's first message, answered in the form
//! received. Changes when clients are told apart differently.
//!
//! ```text
//! unknown ──bare message──▶ bare
//!    └────── envelope ────▶ enveloped (a bare message in between is taken as one)
//! ```

use bridge_mcp::error::code;
use bridge_mcp::limits::Limits;
use bridge_mcp::original::envelope::{self, Defect, Envelope, Form};
use bridge_mcp::original::input::{Namespace, Token};
use bridge_mcp::original::reply;
use bridge_policy::principal::Principal;
use bridge_policy::route::Scope;
use bytes::Bytes;

use crate::frontend::connection::{Connection, Destination, Dialect, Inbound, Outbound, Sender};

/// How this client speaks, as far as it is known.
#[derive(Default)]
pub(super) struct Reading(Option<Dialect>);

impl Reading {
    /// Hands one message of the client to its connection.
    pub(super) async fn take(
        &mut self,
        text: Bytes,
        scope: &Scope,
        principal: &Principal,
        connection: &Connection,
    ) {
        match self.read(text, &connection.limits()) {
            Ok(Form::Bare(message)) => {
                let destination = Destination::Scope(scope);
                connection
                    .receive(Inbound {
                        message,
                        destination,
                        sender: Sender::Connection(principal),
                        token: None,
                        id: None,
                        unasked: true,
                    })
                    .await;
            }
            Ok(Form::Wrapped(Envelope { id, namespace, token, payload })) => {
                // A path that names a backend has chosen already.
                let chosen = match scope {
                    Scope::One(namespace) => Namespace::parse(namespace).ok(),
                    Scope::Merged => namespace,
                };
                let inbound = Inbound {
                    message: payload,
                    destination: Destination::Original { target: chosen.as_ref() },
                    sender: Sender::Connection(principal),
                    token: token.as_ref().map(Token::expose),
                    id: id.as_deref(),
                    unasked: true,
                };
                connection.receive(inbound).await;
            }
            Err(answer) => connection.answer(answer).await,
        }
    }

    fn read(&mut self, text: Bytes, limits: &Limits) -> Result<Form, Outbound> {
        if self.0 == Some(Dialect::Mcp) {
            return Ok(Form::Bare(text));
        }
        match envelope::read(&text, limits) {
            // Whoever parses the message says what is wrong with it.
            Err(error) if matches!(error.defect, Defect::Scan(_)) => Ok(Form::Bare(text)),
            Err(error) => {
                let id = error.id.as_deref();
                Err(Outbound::original(id, reply::error(id, code::INVALID_REQUEST, &error.to_string(), None)))
            }
            Ok(form) => {
                self.0.get_or_insert(match form {
                    Form::Bare(_) => Dialect::Mcp,
                    Form::Wrapped(_) => Dialect::Original,
                });
                Ok(form)
            }
        }
    }
}

/// A message as this client reads it.
pub(super) fn written(outbound: Outbound, unix_seconds: u64) -> Bytes {
    match outbound.dialect {
        Dialect::Mcp => outbound.message,
        Dialect::Original => envelope::wrap(outbound.id.as_deref(), &outbound.message, unix_seconds),
    }
}
