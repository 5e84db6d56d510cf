//! The control plane: `McpGateway`, `McpBackend` and annotated Services become pods, and the configuration that they run on.
//!
//! ```text
//!  watch ──▶ world ──▶ compile ──▶ serve (every replica: configuration to pods)
//!                │         └─────▶ status ──▶ apply (the leader: status, owned objects, Events)
//!                └───▶ desired ─────────────▶   ↑
//! ```
//!
//! `compile`, `desired` and `status` are pure: what they decide is a function of the [`world`].

pub mod apply;
pub mod args;
pub mod compile;
pub mod deadline;
pub mod defaults;
pub mod desired;
pub mod engine;
pub mod essential;
pub mod fetch;
pub mod layout;
pub mod lease;
pub mod metrics;
pub mod program;
pub mod rbac;
pub mod run;
pub mod serve;
pub mod start;
pub mod status;
pub mod watch;
pub mod world;
pub mod write;

/// Version of this package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
