//! Process-level test harness: starts the real programs with real peers and speaks to them over real sockets. Changes
//! when a test needs another kind of program or client.
//!
//! Everything here blocks the calling thread and nothing needs an async runtime: a test is a plain `#[test]` function,
//! and concurrency is `std::thread::scope`. Every wait ends at an event (a log line, a byte, an exit) or fails at its
//! deadline with the log of the program it waited for.
//!
//! | to get | use |
//! |---|---|
//! | a running gateway | [`Config`] and [`Gateway::start`] |
//! | our fixture server, HTTP or stdio | [`TestServer::http`], [`TestServer::stdio`] |
//! | a stdio server in a pod of its own | [`Adapter::start`] |
//! | five published servers and places for them to work in | [`Published`] |
//! | any one published server | [`peers`] gives its command line |
//! | a published server or bridge on the network | [`Remote`] |
//! | a published client | [`script::run`] with a plan; [`report`] compares what it saw |
//! | a legacy MCP session | [`LegacySession::open`] |
//! | 2026-07-28 requests | [`ModernClient::new`] |
//! | a client that stays connected | [`WebSocket::connect`], [`SseClient::connect`], [`peer::Lines`], [`peer::Pipes`], each as a [`Peer`] |
//! | a client of the original on TCP | [`Binary::g`], [`Binary::r`] |
//! | exact bytes on a socket | [`http::Connection`] |
//! | tokens, good and bad | [`tokens::Issuer`] |
//! | a gateway that an operator configures | [`Operator::start`] and [`Pod::start`] |
//! | any other program | [`Process::spawn`] |
//!
//! ```no_run
//! use bridge_tests::{Config, Era, Gateway, LegacySession, TestServer};
//! use serde_json::json;
//! # fn main() -> anyhow::Result<()> {
//! let fixture = TestServer::http(Era::Both)?;
//! let gateway = Gateway::start(&Config::new().http("fixture", fixture.url()))?;
//! let mut session = LegacySession::open(&gateway.url("/mcp"), &json!({}))?;
//! let tools = session.request("tools/list", &json!({}))?.into_result()?;
//! assert!(tools["tools"].is_array());
//! # Ok(()) }
//! ```

pub mod adapter;
pub mod binary;
pub mod cargo;
pub mod config;
pub mod exchange;
pub mod fake;
pub mod fake_sse;
pub mod gateway;
pub mod http;
pub mod legacy;
pub mod metrics;
pub mod modern;
pub mod operator;
pub mod peer;
pub mod peers;
pub mod pod;
pub mod process;
pub mod published;
pub mod raw;
pub mod remote;
pub mod report;
pub mod script;
pub mod server;
pub mod sse;
pub mod sse_client;
pub mod temp;
pub mod tokens;
pub mod websocket;

pub use adapter::Adapter;
pub use binary::Binary;
pub use config::{Backend, Config};
pub use exchange::{Exchange, Reply, RpcError};
pub use gateway::Gateway;
pub use legacy::LegacySession;
pub use modern::ModernClient;
pub use operator::Operator;
pub use peer::Peer;
pub use pod::Pod;
pub use process::Process;
pub use published::Published;
pub use remote::Remote;
pub use server::{Era, TestServer};
pub use sse_client::SseClient;
pub use temp::TempDir;
pub use websocket::WebSocket;

/// How long any single wait may take before it fails: generous, because a loaded two-core machine starts Node slowly.
/// A test that asserts a shorter time measures it itself.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_mins(1);
