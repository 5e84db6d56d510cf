//! The messages. Changes when the wire does: a member may be added with a default, a kind of message only when the peer
//! has announced in `features` that it knows it. `tests/push_golden.rs` holds the encoding down.

use serde::{Deserialize, Serialize};

use super::{Digest, Entry, Key, Peers, Report, ResourceType, Version};

/// Bytes of a text for people: as many as an Event of Kubernetes shows.
const LONGEST: usize = 1024;

/// Version of the protocol. Peers of different versions do not talk.
pub const PROTOCOL: u32 = 1;

/// From the operator to a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToPod {
    /// The answer to the pod's.
    Hello(ServerHello),
    /// A change, or a part of one.
    Delta(Delta),
    /// The operator has something else than the pod's first message was about: it shall say hello again and name all.
    Recount,
    /// The pods of the gateway. Only to pods that announce [`PEERS`](super::PEERS).
    Peers(Peers),
    /// The stream is about to end.
    GoAway(GoAway),
}

/// From a pod to the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromPod {
    /// First message of a stream. Later ones name all that the pod has: it was asked to, or lost track of what the operator
    /// believes it has.
    Hello(PodHello),
    /// A change is served, or a part of one has come.
    Ack(Ack),
    /// A change is served in part, or not at all.
    Nack(Nack),
    /// State.
    Report(Report),
    /// A message about the pods of the gateway has come: the next one may.
    PeersAck(Ack),
}

/// Who sends configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerHello {
    /// [`PROTOCOL`] of the operator.
    pub protocol: u32,
    /// Names the history that revisions belong to: another one after a cluster was restored.
    pub epoch: String,
}

/// Who wants configuration, and what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodHello {
    /// [`PROTOCOL`] of the pod.
    pub protocol: u32,
    /// The gateway, as `namespace/name`.
    pub gateway: String,
    /// Name of the pod.
    pub pod: String,
    /// Uid of the pod.
    pub uid: String,
    /// Version of the program.
    pub build: String,
    /// What the program can do beyond version 1 of the protocol.
    #[serde(default)]
    pub features: Vec<String>,
    /// The epoch of what it serves; absent when it serves nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// The revision of what it serves; 0 when it serves nothing yet.
    #[serde(default)]
    pub revision: u64,
    /// Of everything that it was sent: what it serves, and what it rejected instead. Present in the place of `have`: most
    /// pods that come back have all that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What it serves.
    #[serde(default)]
    pub have: Vec<Have>,
    /// What it was sent and does not serve.
    #[serde(default)]
    pub rejected: Vec<Rejection>,
}

/// A resource that a pod has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Have {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: ResourceType,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
}

/// A change, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Position in the stream: 1, 2, 3…
    pub seq: u64,
    /// How far the operator's view of the cluster had come. Comparable between replicas within an epoch.
    pub revision: u64,
    /// Resources that are new or different, in the order of their types.
    #[serde(default)]
    pub upsert: Vec<Entry>,
    /// Resources that are gone.
    #[serde(default)]
    pub remove: Vec<Key>,
    /// Whether the change is complete. The pod applies nothing before.
    pub last: bool,
    /// Of everything that the pod should have after the change.
    pub digest: Digest,
}

/// The answer to a [`Delta`] that is served, or was not the last of its change; to [`Peers`] that have come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Position of the message, among those of its kind.
    pub seq: u64,
}

/// The answer to a [`Delta`] that is served in part or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nack {
    /// Position of the delta.
    pub seq: u64,
    /// What is not served. Everything else of the change is.
    #[serde(default)]
    pub rejected: Vec<Rejection>,
    /// Nothing of the change is served yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// A resource that a pod does not serve. It serves the last good version, if it had one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: ResourceType,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Why, for programs.
    pub code: RejectionCode,
    /// Why, for people: the field and what is allowed. No secrets, at most 1024 bytes.
    pub message: String,
}

impl Rejection {
    /// Of a resource that was sent.
    pub fn of(entry: &Entry, code: RejectionCode, message: impl Into<String>) -> Self {
        let Key { kind, name } = entry.key.clone();
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(LONGEST));
        Self { kind, name, version: entry.version, code, message }
    }

    /// The key of the resource.
    pub fn key(&self) -> Key {
        Key::new(self.kind, &*self.name)
    }
}

/// Why a resource is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectionCode {
    /// It cannot be read: a field is missing or has another type. Operator and pod are of different versions.
    Unreadable,
    /// It contradicts itself or something else.
    Invalid,
    /// It is fine, but not here: a port is taken, a file is missing.
    Unavailable,
    /// A code of a newer version.
    #[serde(other)]
    Other,
}

/// Why nothing of a change is served yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Why.
    pub reason: HeldReason,
    /// Revision of what the pod serves.
    pub revision: u64,
    /// Milliseconds after which the change may be sent again.
    pub retry_after_ms: u64,
}

/// Why nothing of a change is served yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldReason {
    /// The pod serves a later revision.
    Older,
    /// It removes most backends.
    MassRemoval,
    /// A reason of a newer version.
    #[serde(other)]
    Other,
}

/// The stream is about to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoAway {
    /// Milliseconds after which the pod should connect again.
    pub retry_after_ms: u64,
}

impl FromPod {
    /// With texts as short as status can show them, whoever wrote them.
    #[must_use]
    pub(super) fn bounded(mut self) -> Self {
        let rejected = match &mut self {
            Self::Hello(hello) => &mut hello.rejected,
            Self::Nack(nack) => &mut nack.rejected,
            Self::Report(report) => {
                for listener in &mut report.listeners {
                    if let Some(error) = &mut listener.error {
                        shorten(error);
                    }
                }
                return self;
            }
            Self::Ack(_) | Self::PeersAck(_) => return self,
        };
        for rejection in rejected {
            shorten(&mut rejection.message);
        }
        self
    }
}

/// Makes a text one line that an Event of Kubernetes can show.
fn shorten(text: &mut String) {
    text.truncate(text.floor_char_boundary(LONGEST));
    if text.contains(char::is_control) {
        *text = text.replace(char::is_control, " ");
    }
}

macro_rules! as_json {
    ($($type:ident)+) => {
        $(impl $type {
            /// As one text message.
            pub fn to_json(&self) -> Result<String, serde_json::Error> {
                serde_json::to_string(self)
            }

            /// From one text message.
            pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
                serde_json::from_str(text)
            }
        })+
    };
}

as_json!(ToPod FromPod);
