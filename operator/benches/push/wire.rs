//! What the process of the pods is told, and what it answers: one line of JSON each. Changes when it measures more.

use serde::{Deserialize, Serialize};

use crate::cluster::Who;

/// First line.
#[derive(Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) port: u16,
    pub(crate) authority: String,
    pub(crate) pods: Vec<Who>,
}

/// What all pods do next. Each order is answered when the last pod has done it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Connect, and serve at least so many resources.
    Connect(usize),
    /// Lose the stream, come back, and be greeted.
    Reconnect,
    /// Be ready to count. Answered twice: ready, then when so many resources that bear the mark are acknowledged.
    Expect(String, usize),
    /// Take so many bytes per pod, so many times, from the plain server on this port whose authority this is.
    Floor { port: u16, authority: String, bytes: usize, rounds: usize },
}

/// What came of it.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Payload of messages that pods got, bytes of all of them together.
    pub(crate) received: u64,
    /// Payload of messages that pods sent, bytes.
    pub(crate) sent: u64,
    /// Messages that pods got.
    pub(crate) messages: u64,
    /// Connections that failed and were tried again.
    pub(crate) retries: u64,
}
