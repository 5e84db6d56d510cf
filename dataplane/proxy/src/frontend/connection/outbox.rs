//! What is to be written to one client: a bounded queue of whole messages. Changes when messages wait differently.

use std::sync::Arc;

use bridge_runtime::drain::InFlight;
use bytes::Bytes;
use tokio::sync::mpsc;

/// Messages that wait for a slow client; whoever has more for it waits.
const QUEUE: usize = 32;

/// A message for the client. The gateway counts what it answers as in flight until this is dropped, so drop it once it is
/// written.
pub(crate) struct Outbound {
    /// JSON text.
    pub(crate) message: Bytes,
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

impl Sender {
    /// Waits for room. A transport that has ended takes nothing, and nobody is left to tell.
    pub(super) async fn send(&self, message: Bytes, held: Option<&Arc<InFlight>>) {
        drop(self.0.send(Outbound { message, held: held.cloned() }).await);
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
