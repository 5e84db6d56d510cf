//! Connections that carry whole messages both ways, bare or in the original gateway's envelope. Changes when such a
//! connection carries messages otherwise.

use anyhow::{Context as _, Result, ensure};
use bridge_tests::peer::Wire;
use serde_json::{Value, json};

use crate::client::{Arrival, Client};

/// What is around each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Nothing.
    Bare,
    /// `{id, timestamp, source, target_namespace, mcp_payload}`, addressed to this namespace.
    Envelope(&'static str),
    /// The same to the gateway, from which nothing but `mcp_payload` comes.
    Router(&'static str),
}

/// The original's envelope around a message.
pub(crate) fn wrap(message: &Value, namespace: &str) -> String {
    let id = message.get("id").cloned().unwrap_or_else(|| json!("notification"));
    let envelope = json!({
        "id": id,
        "timestamp": "2026-11-26T00:00:00Z",
        "source": "matrix",
        "target_namespace": namespace,
        "mcp_payload": message,
    });
    envelope.to_string()
}

/// A client on one connection.
pub(crate) struct WireClient<W> {
    wire: W,
    form: Form,
}

impl<W: Wire> WireClient<W> {
    pub(crate) fn new(wire: W, form: Form) -> Self {
        Self { wire, form }
    }
}

impl<W: Wire + Send> Client for WireClient<W> {
    fn send(&mut self, message: &Value) -> Result<()> {
        match self.form {
            Form::Bare => self.wire.send(&message.to_string()),
            Form::Envelope(namespace) | Form::Router(namespace) => self.wire.send(&wrap(message, namespace)),
        }
    }

    fn cancel(&mut self, id: &Value) -> Result<()> {
        let params = json!({ "requestId": id });
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }))
    }

    fn receive(&mut self) -> Result<Arrival> {
        let text = self.wire.read()?.context("the connection ended")?;
        let mut message: Value =
            serde_json::from_str(&text).with_context(|| format!("not JSON: {text:.500}"))?;
        if let Form::Envelope(_) = self.form {
            ensure!(message["source"] == "gateway" && message["timestamp"].is_string(), "{text:.500}");
            let id = message["mcp_payload"].get("id");
            ensure!(id.is_none_or(|id| *id == message["id"]), "{text:.500}");
        }
        if self.form != Form::Bare {
            message = message["mcp_payload"].take();
        }
        Ok(Arrival::Message(message))
    }
}
