//! Backends: the MCP servers behind the gateway. Changes when a new way to reach a server is added.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Exposure, Secret, UpstreamTls};

/// One MCP server (or one command that starts one).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Unique name, 1 to 63 characters of `[A-Za-z0-9_.-]`. It appears in logs, metrics and renamed tools.
    pub name: String,
    /// Routing key of the unrenamed endpoint `/mcp/{namespace}`. Several backends may not share one yet.
    pub namespace: String,
    /// How the server is reached.
    pub target: Target,
    /// Other places where the same server is reached. A conversation opens at one of them or at `target`, in turn, and
    /// stays there.
    pub alternatives: Vec<Target>,
    /// It is reached nowhere now; `target` only says what kind of server it is. What it offered stays listed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deserted: bool,
    /// Which protocol generation to speak to it.
    pub era: EraPolicy,
    /// How long to wait for a connection or a child's first answer.
    pub connect_timeout: Duration,
    /// How long one request may take until its answer; streams may be kept alive by progress up to
    /// `Limits::max_request_duration`.
    pub request_timeout: Duration,
    /// Requests in flight to this backend at once; more are refused with a retryable error.
    pub max_concurrency: usize,
    /// What of it clients see, and what they need to use it.
    #[serde(default, skip_serializing_if = "Exposure::is_open")]
    pub exposure: Exposure,
    /// Whom it is trusted to be, and what it is shown, where a target is encrypted; the system decides when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
}

impl Backend {
    /// Every place where it is reached.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        let all = std::iter::once(&self.target).chain(&self.alternatives);
        all.filter(|_| !self.deserted)
    }

    /// Whether `other` is the same server under the same rules, wherever the two are reached and whatever they are shown
    /// there. What was learnt from one then holds for the other.
    pub fn is_same_server(&self, other: &Self) -> bool {
        let Self { name, namespace, target: _, alternatives: _, deserted: _, exposure, tls, .. } = self;
        let Self { era, connect_timeout, request_timeout, max_concurrency, .. } = self;
        let has_like = |backend: &Self, target: &Target| {
            std::iter::once(&backend.target).chain(&backend.alternatives).any(|its| its.is_like(target))
        };
        (name, namespace, exposure, tls) == (&other.name, &other.namespace, &other.exposure, &other.tls)
            && (era, connect_timeout, request_timeout, max_concurrency)
                == (&other.era, &other.connect_timeout, &other.request_timeout, &other.max_concurrency)
            && self.targets().all(|target| has_like(other, target))
            && other.targets().all(|target| has_like(self, target))
    }
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Target {
    /// A child process that speaks newline-framed JSON-RPC on stdin and stdout.
    Stdio(StdioBackend),
    /// A Streamable HTTP endpoint.
    Http(HttpBackend),
    /// An HTTP+SSE server of 2024-11-05.
    Sse(SseBackend),
    /// An HTTP server that is asked which of the two it is.
    Detect(DetectBackend),
    /// A WebSocket server: one JSON-RPC message per text message.
    WebSocket(WebSocketBackend),
    /// A server of the original's binary protocol, dialect G.
    Tcp(TcpBackend),
}

impl Target {
    /// Whether it is the place where `other` is, whatever is shown there. A command is what it is started with.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Http(one), Self::Http(other)) => one.url == other.url,
            (Self::Sse(one), Self::Sse(other)) => one.is_same_place(other),
            (Self::Detect(one), Self::Detect(other)) => {
                one.http.url == other.http.url && one.sse.is_same_place(&other.sse)
            }
            (Self::WebSocket(one), Self::WebSocket(other)) => one.url == other.url,
            (Self::Tcp(one), Self::Tcp(other)) => {
                (&one.host, one.port, one.tls) == (&other.host, other.port, other.tls)
            }
            _ => self == other,
        }
    }

    /// Whether one server may be at both.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Stdio(one), Self::Stdio(other)) => one == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl SseBackend {
    fn is_same_place(&self, other: &Self) -> bool {
        (&self.url, &self.request_url) == (&other.url, &other.request_url)
    }
}

/// A child process. It is started without a shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StdioBackend {
    /// Program and arguments, at least one element.
    pub command: Vec<String>,
    /// Working directory; the gateway's own when absent.
    pub working_dir: Option<PathBuf>,
    /// Variables added to the child's minimal environment.
    pub env: BTreeMap<String, Secret>,
    /// Children of this backend at once, over all sessions.
    pub max_processes: usize,
    /// One child serves all clients. It can ask none of them anything, and none sees what it logs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

/// A Streamable HTTP endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpBackend {
    /// Absolute `http` or `https` URL of the MCP endpoint itself, path included.
    pub url: String,
    /// Headers added to every request, for example a static credential.
    pub headers: BTreeMap<String, Secret>,
}

/// An HTTP+SSE server of 2024-11-05: of the legacy generation, unless the backend's policy says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SseBackend {
    /// Absolute `http` or `https` URL of the event stream.
    pub url: String,
    /// Absolute URL for messages, used when the server's stream names none.
    pub request_url: Option<String>,
    /// Headers added to every request, for example a static credential.
    pub headers: BTreeMap<String, Secret>,
}

/// One server of which only the address is known: Streamable HTTP is tried first, then HTTP+SSE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectBackend {
    /// Where it is if it speaks Streamable HTTP.
    pub http: HttpBackend,
    /// Where it is if it speaks HTTP+SSE.
    pub sse: SseBackend,
}

/// A WebSocket server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebSocketBackend {
    /// Absolute `ws` or `wss` URL.
    pub url: String,
    /// Headers added to every handshake, for example a static credential.
    pub headers: BTreeMap<String, Secret>,
}

/// A server of the original's binary protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpBackend {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether the connection is encrypted; the certificate must be valid for `host`.
    pub tls: bool,
    /// What the handshake shows; without one there is no handshake.
    pub token: Option<Secret>,
}

/// Which protocol generation to speak to a backend (protocol page 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EraPolicy {
    /// Probe with `server/discover`, then with `initialize`.
    #[default]
    Auto,
    /// `initialize` only (2024-11-05 to 2025-11-25).
    Legacy,
    /// Stateless requests only (2026-07-28).
    Modern,
}

/// When names of tools and prompts get their backend's name as a prefix on the merged endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Naming {
    /// Never; of several owners the first backend in configuration order wins, the rest is reported.
    Never,
    /// Only names that more than one backend offers.
    #[default]
    OnConflict,
    /// Every name.
    Always,
}
