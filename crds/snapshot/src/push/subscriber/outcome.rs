//! What the driver of a pod's end tells it and is told. Changes when the driver has something else to do.

use std::time::Duration;

use crate::push::{Entry, FromPod, HeldReason, Key};

/// Who the pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The gateway, as `namespace/name`.
    pub gateway: String,
    /// Name of the pod.
    pub pod: String,
    /// Uid of the pod.
    pub uid: String,
    /// Version of the program.
    pub build: String,
    /// What the program can do beyond version 1 of the protocol.
    pub features: Vec<String>,
}

/// What can be chosen.
#[derive(Debug, Clone)]
pub struct SubscriberSettings {
    /// How long an older revision waits.
    pub regression_patience: Duration,
    /// How long a mass removal waits.
    pub removal_patience: Duration,
    /// Shortest time between two reports.
    pub report_interval: Duration,
}

impl Default for SubscriberSettings {
    fn default() -> Self {
        Self {
            regression_patience: Duration::from_mins(1),
            removal_patience: Duration::from_secs(30),
            report_interval: Duration::from_secs(1),
        }
    }
}

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send a message.
    Send(FromPod),
    /// Put a change into effect, then say so with [`Subscriber::settle`](super::Subscriber::settle).
    Apply(Change),
    /// End the stream and connect again.
    Leave(Leave),
}

/// A change to put into effect: all of it, but what turns out to be unusable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Resources that are new or different, in the order of their types.
    pub upsert: Vec<Entry>,
    /// Resources that are gone.
    pub remove: Vec<Key>,
    /// The guard that had to give way, if one had: a reason for a warning.
    pub despite: Option<HeldReason>,
}

/// Why a stream has to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leave {
    /// The operator asked for it; connect again after this time.
    Asked(Duration),
    /// The operator speaks another version of the protocol.
    Protocol(u32),
    /// The operator does not keep to the protocol, or something on the way changes messages. The text says how.
    Misbehaviour(&'static str),
}
