//! What a frontend is to this test: a way to send messages and to get what comes back. Changes when a frontend can do
//! something that none could before.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// How long a message may be awaited. Shorter than elsewhere: a broken cell is to be reported, not waited for.
pub(crate) const WAIT: Duration = Duration::from_secs(20);

/// Something that came from the gateway.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A message, on whatever stream it came.
    Message(Value),
    /// The stream of a request has ended, and its answer was not on it.
    Ended {
        /// The request.
        id: Value,
        /// What was seen instead.
        why: String,
    },
}

/// One client of the gateway over one frontend. Messages are complete and carry what their generation wants in the body;
/// what a transport adds to them (headers, envelopes, frames) is its business.
pub(crate) trait Client: Send {
    /// Sends a request, a notification or a response.
    fn send(&mut self, message: &Value) -> Result<()>;

    /// Gives up a request in the way of this transport and generation.
    fn cancel(&mut self, id: &Value) -> Result<()>;

    /// Where everything arrives, in the order of each stream.
    fn inbox(&self) -> &Receiver<Arrival>;

    /// The next arrival.
    fn receive(&self) -> Result<Arrival> {
        self.inbox().recv_timeout(WAIT).with_context(|| format!("nothing came within {WAIT:?}"))
    }
}
