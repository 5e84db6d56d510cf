//! How compiled configuration gets from the operator to the pods, and how its state gets back. Changes when the protocol
//! does; what is on the wire is in `message.rs`.
//!
//! Both ends are state machines without I/O: messages and time in, messages and decisions out.
//!
//! ```text
//!  operator                                          pod
//!  Publisher (one per gateway)                       Subscriber
//!      │  ◀──────────────── Hello {have, rejected} ─────┤   what the pod serves, by content hash
//!      ├─── Hello {epoch} ─────────────────────────▶    │
//!      ├─── Delta {seq, upsert, remove, digest} ───▶    │   only differences; in parts of about 1 MiB
//!      │  ◀──────────────────────────────── Ack {seq} ──┤   it serves all of it
//!      │  ◀───────────────────── Nack {seq, rejected} ──┤   it serves all but these, and of these the last good
//!      │  ◀───────────────────────── Nack {seq, held} ──┤   it serves none of it yet: send it again later
//!      │  ◀───────────────────────────────── Report ────┤   health, tools, sessions; at most one a second
//!      ├─── Peers {seq, all, upsert, remove} ──────▶    │   the pods of the gateway, beside its configuration
//!      │  ◀─────────────────────────── PeersAck {seq} ──┤   the next one may come
//!      ├─── GoAway {retry_after_ms} ───────────────▶    │   ask another replica
//! ```
//!
//! What holds:
//!
//! - A pod serves either all of a change (but what it rejected) or nothing of it.
//! - At most one change is on its way to a pod. What happens meanwhile is merged into the next one, so a slow pod skips
//!   states and nothing queues up for it.
//! - Within an epoch a pod does not go back to an older revision, unless the operator insists for a minute.
//! - A change that removes most backends is applied only when it is still wanted half a minute later.
//! - Whatever was lost, the next connection sends the difference between what the pod has and what it should have.
//! - A pod that comes or goes is no change of the configuration: it is told in messages of its own, of which at most one is
//!   on its way to a pod. They have no part in digests, revisions, guards, or what is saved.
//!
//! Compression, authentication and signs of life belong to the transport.

mod assemble;
mod catalogue;
mod debounce;
mod entry;
mod guard;
mod message;
mod peers;
mod publisher;
mod report;
mod resource;
mod roster;
mod saved;
mod subscriber;

pub use assemble::{Assembly, LeftOut, Missing, assemble};
pub use debounce::Debounce;
pub use entry::{Digest, Entry, Key, ResourceType, Version};
pub use guard::{RegressionGuard, RemovalGuard, Verdict};
pub use message::{
    Ack, Delta, FromPod, GoAway, Have, Held, HeldReason, Nack, PROTOCOL, PodHello, Rejection, RejectionCode,
    ServerHello, ToPod,
};
pub use peers::{PEERS, Peer, Peers};
pub use publisher::{Effect, Publisher, PublisherSettings, StreamId, StreamState};
pub use report::{BackendReport, ListenerReport, Problem, Report, Server};
pub use resource::{BackendPart, Credential, Destination, Endpoints, Resource, SecretData};
pub use saved::{Damage, Saved};
pub use subscriber::{Change, Identity, Leave, Step, Subscriber, SubscriberSettings};
