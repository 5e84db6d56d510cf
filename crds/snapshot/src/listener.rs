//! Listeners: where clients connect. Changes when a frontend or a TLS setting is added.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Material;

/// One listening socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Unique name for logs and metrics.
    pub name: String,
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Protocols served on it; clients are told apart per connection or request.
    pub protocols: Vec<Protocol>,
    /// TLS settings; plain text when absent.
    pub tls: Option<Tls>,
    /// `Origin` values that browsers may present: exact `scheme://host[:port]`, or `*`.
    /// Loopback origins are always allowed on a loopback address.
    pub allowed_origins: Vec<String>,
    /// `Host` values accepted besides the address itself; empty means any when not bound to loopback.
    pub allowed_hosts: Vec<String>,
    /// Open connections at once.
    pub max_connections: usize,
    /// Open connections of one peer address at once; 0 means no limit.
    pub max_connections_per_ip: usize,
}

/// A frontend protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Streamable HTTP of both generations on `/mcp` and `/mcp/{namespace}`.
    StreamableHttp,
    /// WebSocket by an upgrade on any path; `/mcp/{namespace}` is one backend, any other path all of them.
    WebSocket {
        /// Time between pings.
        ping_interval: Duration,
    },
    /// The original's binary protocol, both dialects. A listener of it serves nothing else.
    TcpBinary {
        /// Clients without TLS are served, too, on a listener that has TLS.
        plain_too: bool,
    },
    /// Health checks in the binary protocol. A listener of them serves nothing else.
    TcpHealth,
    /// HTTP+SSE of 2024-11-05: event streams on `/sse` and `/sse/{namespace}`, messages on `/messages`, and the same on
    /// the paths named here.
    Sse(SsePaths),
}

/// What a connection of a listener carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// HTTP, and what comes of it.
    Http,
    /// The binary protocol.
    TcpBinary,
    /// Health checks in the binary protocol.
    TcpHealth,
}

/// Further paths of HTTP+SSE, and how its streams are kept open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SsePaths {
    /// Path of the event stream, and below it of one backend's. Begins with a slash.
    pub stream: String,
    /// Path for messages. Begins with a slash.
    pub messages: String,
    /// Comment interval; `Limits::keep_alive` when absent.
    pub keep_alive: Option<Duration>,
}

impl Default for SsePaths {
    fn default() -> Self {
        Self { stream: "/sse".to_owned(), messages: "/messages".to_owned(), keep_alive: None }
    }
}

/// A place on this machine where clients speak newline-framed JSON-RPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalListener {
    /// Unique name for logs.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// Clients at once.
    pub max_clients: usize,
}

/// Where local clients speak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Standard input and output of the gateway: one client, whoever started it.
    StandardStreams,
    /// A Unix socket that only its owner may open (mode 0600).
    UnixSocket(PathBuf),
}

impl Listener {
    /// What its connections carry.
    pub fn carries(&self) -> Carries {
        match self.protocols.first() {
            Some(Protocol::TcpBinary { .. }) => Carries::TcpBinary,
            Some(Protocol::TcpHealth) => Carries::TcpHealth,
            _ => Carries::Http,
        }
    }

    /// Whether clients without TLS are served although there is TLS.
    pub fn takes_plain_too(&self) -> bool {
        self.protocols.contains(&Protocol::TcpBinary { plain_too: true })
    }

    /// Whether Streamable HTTP is served.
    pub fn serves_http(&self) -> bool {
        self.protocols.contains(&Protocol::StreamableHttp)
    }

    /// The time between pings, where WebSocket is served.
    pub fn websocket(&self) -> Option<Duration> {
        self.protocols.iter().find_map(|protocol| match protocol {
            Protocol::WebSocket { ping_interval } => Some(*ping_interval),
            _ => None,
        })
    }

    /// The paths of HTTP+SSE, where it is served.
    pub fn sse(&self) -> Option<&SsePaths> {
        self.protocols.iter().find_map(|protocol| match protocol {
            Protocol::Sse(paths) => Some(paths),
            _ => None,
        })
    }
}

/// TLS of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// PEM certificate chain, leaf first.
    pub certificate: Material,
    /// PEM private key.
    pub key: Material,
    /// PEM certificates that sign client certificates.
    pub client_ca: Option<Material>,
    /// Whether clients present certificates.
    pub client_auth: ClientAuth,
    /// Oldest version offered.
    pub min_version: TlsVersion,
}

/// Whether clients present certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// Not asked for.
    #[default]
    None,
    /// Asked for, verified when presented.
    Request,
    /// Required and verified.
    Require,
}

/// A TLS protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[default]
    #[serde(rename = "1.3")]
    V13,
}
