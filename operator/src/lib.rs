//! The control plane: `McpGateway`, `McpBackend` and annotated Services become pods, and the configuration that they run on.
//!
//! ```text
//!  watch ──▶ world ──▶ compile ──▶ serve (every replica: configuration to pods)
//!                │         └─────▶ status ──▶ apply (the leader: status, owned objects, Events)
//!                └───▶ desired ─────────────▶   ↑
//! ```
//!
//! `compile`, `desired` and `status` are pure: what they decide is a function of the [`world`].

pub mod compile;
pub mod defaults;
pub mod desired;
pub mod layout;
pub mod world;
