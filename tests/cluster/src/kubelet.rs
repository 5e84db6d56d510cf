//! The process kubelet: runs pods as processes of this machine. Changes when a node does something more.
//!
//! | part | file |
//! |---|---|
//! | a node, its lease, its pods | `node.rs` |
//! | the life of a pod | `pod.rs` |
//! | the life of a container | `container.rs` |
//! | the status of a pod | `status.rs` |
//! | networks and root file systems | `sandbox.rs` |
//! | volumes | `volumes.rs`, `payload.rs`, `token.rs` |
//! | environment and command line | `environment.rs`, `fields.rs` |
//! | probes | `probe.rs` |
//! | logs, commands, metrics for the API server | `server.rs`, `attach.rs`, `exec.rs`, `usage.rs` |

mod attach;
mod container;
mod environment;
mod exec;
mod fields;
pub(crate) mod node;
mod payload;
mod pod;
mod probe;
mod sandbox;
mod server;
mod status;
mod token;
pub(crate) mod usage;
mod volumes;

pub(crate) use attach::pairs as query;
