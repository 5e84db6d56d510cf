//! TLS with real handshakes: a listener's settings against clients, the client side against servers.
#![allow(clippy::unwrap_used, reason = "test code outside of `#[test]` functions")]

#[path = "tls/authority.rs"]
mod authority;
#[path = "tls/client.rs"]
mod client;
#[path = "tls/files.rs"]
mod files;
#[path = "tls/server.rs"]
mod server;
