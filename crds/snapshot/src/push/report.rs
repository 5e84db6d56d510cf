//! What a pod tells of itself. Changes when status needs another fact. A report replaces the one before.

use serde::{Deserialize, Serialize};

/// State of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Sessions of clients.
    #[serde(default)]
    pub sessions: u64,
    /// Requests that had to be given up while the pod left.
    #[serde(default)]
    pub dropped: u64,
    /// Listeners.
    #[serde(default)]
    pub listeners: Vec<ListenerReport>,
    /// Backends.
    #[serde(default)]
    pub backends: Vec<BackendReport>,
}

/// State of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerReport {
    /// Its name.
    pub name: String,
    /// Why it is not open; absent when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// State of a backend, as one pod sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendReport {
    /// Its name.
    pub name: String,
    /// Endpoints.
    #[serde(default)]
    pub endpoints: u32,
    /// Of these, healthy.
    #[serde(default)]
    pub healthy: u32,
    /// Of these, without requests because they failed.
    #[serde(default)]
    pub ejected: u32,
    /// Why none is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// Tools that the server has.
    #[serde(default)]
    pub tools: u32,
    /// Of these, shown to clients.
    #[serde(default)]
    pub exposed: u32,
    /// Of these, left out by a filter.
    #[serde(default)]
    pub filtered: u32,
    /// Of these, left out because several backends have the name.
    #[serde(default)]
    pub conflicts: u32,
    /// What it was found to speak, where that was to be found out: `streamable_http`, `sse` or `websocket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// What it says about itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
}

/// Why no endpoint of a backend is healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// No endpoint answers.
    Unreachable,
    /// The gateway's credential is refused.
    Unauthorized,
    /// The answers are not those of the protocol.
    ProtocolMismatch,
    /// A problem of a newer version.
    #[serde(other)]
    Other,
}

/// What a server says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Server {
    /// Name.
    #[serde(default)]
    pub name: String,
    /// Version.
    #[serde(default)]
    pub version: String,
    /// Revision of MCP that was agreed on.
    #[serde(default)]
    pub protocol: String,
}
