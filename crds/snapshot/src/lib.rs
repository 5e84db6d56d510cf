//! The compiled configuration: the one contract between whoever writes configuration (a YAML file today, the
//! operator later) and the data plane that runs it.
//!
//! What is absent on purpose: no I/O, no clock, no environment, no Kubernetes types, no secrets in `Debug`.

mod backend;
mod exposure;
mod hash;
mod listener;
mod log;
mod material;
mod policy;
pub mod push;
mod secret;
mod snapshot;
mod upstream_tls;
mod validate;

pub use backend::{
    Backend, DetectBackend, EraPolicy, HttpBackend, Naming, SseBackend, StdioBackend, Target, TcpBackend,
    WebSocketBackend,
};
pub use exposure::{Annotations, Exposure, Filter, Pattern, ToolOverride};
pub use hash::ContentHash;
pub use listener::{
    Carries, ClientAuth, Listener, LocalListener, Place, Protocol, SsePaths, Tls, TlsVersion,
};
pub use log::LogLevel;
pub use material::Material;
pub use policy::{Access, Jwt, Limits, Sessions};
pub use secret::Secret;
pub use snapshot::Snapshot;
pub use upstream_tls::{TlsIdentity, UpstreamTls};
pub use validate::Defect;
