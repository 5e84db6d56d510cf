//! What is to be written to one client: a bounded queue of whole messages. Changes when messages wait differently.

use std::sync::Arc;

use bridge_runtime::drain::InFlight;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::Dialect;

/// Messages that wait for a slow client; whoever has more for it waits.
const QUEUE: usize = 32;

/// A message for the client. The gateway counts what it answers as in flight until this is dropped, so drop it once it is
/// written.
pub(crate) struct Outbound {
    /// JSON text.
    pub(crate) message: Bytes,
    /// How the request was spoken that this answers.
    pub(crate) dialect: Dialect,
    /// Raw id of that request, in the original's dialect: its envelopes repeat it.
    pub(crate) id: Option<Bytes>,
    #[allow(dead_code, reason = "held for its Drop")]
    held: Option<Arc<InFlight>>,
}

/// Where a transport takes messages from.
pub(crate) struct Outbox(mpsc::Receiver<Outbound>);

#[derive(Clone)]
pub(super) struct Sender(mpsc::Sender<Outbound>);

pub(super) fn channel() -> (Sender, Outbox) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Sender(sender), Outbox(receiver))
}

impl Outbound {
    /// A message for a client of MCP.
    pub(crate) fn mcp(message: Bytes) -> Self {
        Self { message, dialect: Dialect::Mcp, id: None, held: None }
    }

    /// An answer for a client of the original.
    pub(crate) fn original(id: Option<&[u8]>, message: Bytes) -> Self {
        Self { message, dialect: Dialect::Original, id: id.map(Bytes::copy_from_slice), held: None }
    }

    /// An answer to a request with this id.
    pub(super) fn answer(dialect: Dialect, id: Option<&[u8]>, message: Bytes) -> Self {
        match dialect {
            Dialect::Mcp => Self::mcp(message),
            Dialect::Original => Self::original(id, message),
        }
    }

    /// Counts the request as in flight until this is written.
    pub(super) fn holding(self, held: Option<&Arc<InFlight>>) -> Self {
        Self { held: held.cloned(), ..self }
    }
}

impl Sender {
    /// Waits for room. A transport that has ended takes nothing, and nobody is left to tell.
    pub(super) async fn send(&self, outbound: Outbound) {
        drop(self.0.send(outbound).await);
    }
}

impl Outbox {
    /// The next message, waited for. `None` when the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Outbound> {
        self.0.recv().await
    }

    /// The next message, if one waits.
    pub(crate) fn waiting(&mut self) -> Option<Outbound> {
        self.0.try_recv().ok()
    }
}
