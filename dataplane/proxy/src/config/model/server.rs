//! `server`: listeners and their bounds. Changes when a frontend gets keys.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::decode::{CommaList, FromText, Problem};
use crate::config::shape::Status::{NoEffect, NotYet, Works};
use crate::config::shape::{Shape, choice, section};
use crate::config::values::{Count, Host, Port, Positive, Seconds, Size};

section! {
    /// Where clients connect.
    pub(crate) struct Server {
        /// IP address of all listeners: `127.0.0.1` for this machine only, `0.0.0.0` for every network.
        host: Host = Host(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), Works;
        /// Port of the main listener; `0` lets the system choose. Streamable HTTP is on `/mcp` and `/mcp/{namespace}`,
        /// HTTP+SSE on `/sse` and `/sse/{namespace}`, WebSocket on any path.
        port: Port = Port(8443), Works;
        /// What is served: `web` is all that shares the main port, `both` is WebSocket and TCP, `universal` is everything.
        protocol: FrontendSet = FrontendSet::Web, Works;
        /// What is served, as a list; wins over `protocol`.
        protocols: Option<CommaList<FrontendProtocol>>, Works;
        /// Time between the pings to WebSocket clients. One that answers none of two is given up.
        ping_interval: Seconds = Seconds(Duration::from_secs(30)), Works;
        /// Port of the Prometheus metrics; `0` turns it off. `9090` when left out, unless `metrics.port` says otherwise.
        metrics_port: Option<Port>, Works;
        /// Port of `/healthz`, `/ready` and `/health`; `0` turns it off. The metrics port has these pages, too.
        health_port: Port = Port(8080), Works;
        /// Connections at once, per listener.
        max_connections: Positive = Positive(50_000), Works;
        /// Connections at once from one peer address, per listener; `0` is no limit.
        max_connections_per_ip: Count = Count(1000), Works;
        /// Time a client has to send the head of a request, and then its body.
        read_timeout: Seconds = Seconds(Duration::from_secs(10)), Works;
        /// Idle time after which a kept connection closes.
        idle_timeout: Seconds = Seconds(Duration::from_mins(2)), Works;
        /// Port of the TCP binary listener, where `protocol` asks for one; 1000 above `port` when left out. With `tls` it serves
        /// clients with and without it, unless client certificates are asked for.
        tcp_port: Option<Port>, Works;
        /// Port of health checks in the TCP binary protocol, plain and for everybody; off when left out or `0`.
        tcp_health_port: Option<Port>, Works;
        /// `Origin` values that browsers may send, as `scheme://host[:port]`, or `*` for any. On loopback addresses the
        /// loopback origins are always allowed.
        allowed_origins: Option<CommaList<WebOrigin>>, Works;
        /// `Host` values that requests may name besides the listener's own address. When empty, any is accepted unless the
        /// listener is on a loopback address.
        allowed_hosts: CommaList<String>, Works;
        /// Encryption of the main listener.
        tls: Tls, Works;
        /// Clients on this machine: on standard input and output, or on a Unix socket.
        stdio_frontend: Option<StdioFrontend>, Works;
        /// More listeners. One at the address of another adds its protocol there.
        frontends: Vec<crate::config::decode::Located<Frontend>>, Works;
    } accepts {
        /// Buffer per connection.
        connection_buffer_size: Size, NoEffect("buffers grow with the message, up to `limits.max_http_body`");
        /// Time a client has to take an answer.
        write_timeout: Seconds, NotYet("a time limit on slow readers is");
    }
}

choice! {
    /// Protocols of the main listener.
    pub(crate) enum FrontendSet {
        /// Streamable HTTP, WebSocket and HTTP+SSE.
        Web = "web" | "",
        /// Streamable HTTP.
        Http = "http" | "streamable_http",
        /// WebSocket.
        WebSocket = "websocket",
        /// TCP binary.
        Tcp = "tcp",
        /// WebSocket and TCP binary.
        Both = "both",
        /// Everything.
        Universal = "universal",
        /// Standard input and output.
        Stdio = "stdio",
    }
}

section! {
    /// Encryption of a listener.
    pub(crate) struct Tls {
        /// Whether the listener is encrypted: `true` for the main one and `false` for others when left out.
        enabled: Option<bool>, Works;
        /// PEM file with the certificate, followed by its intermediates.
        cert_file: PathBuf = PathBuf::from("/etc/mcp-gateway/tls/tls.crt"), Works;
        /// PEM file with the private key.
        key_file: PathBuf = PathBuf::from("/etc/mcp-gateway/tls/tls.key"), Works;
        /// PEM file with the authorities that sign client certificates.
        ca_file: Option<PathBuf>, Works;
        /// Whether clients present a certificate: `none`, `request` (verified when presented), or `require`.
        client_auth: ClientAuth = ClientAuth::None, Works;
        /// Oldest TLS version that is offered.
        min_version: TlsVersion = TlsVersion(bridge_snapshot::TlsVersion::V12), Works;
    } accepts {
        /// Cipher suites.
        cipher_suites: CommaList<String>, NoEffect("the TLS library offers only strong suites");
    }
}

choice! {
    /// Client certificates.
    pub(crate) enum ClientAuth {
        /// Not asked for.
        None = "none",
        /// Asked for.
        Request = "request",
        /// Required.
        Require = "require",
    }
}

/// Oldest TLS version; the original knows several spellings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TlsVersion(pub(crate) bridge_snapshot::TlsVersion);

impl FromText for TlsVersion {
    fn text_shape() -> Shape {
        let schema = serde_json::json!({ "enum": ["1.2", "1.3", 1.2, 1.3, "TLS1.2", "TLS1.3", ""] });
        Shape::Text { name: "choice", schema }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "1.2" | "TLS1.2" => Ok(Self(bridge_snapshot::TlsVersion::V12)),
            "1.3" | "TLS1.3" | "" => Ok(Self(bridge_snapshot::TlsVersion::V13)),
            _ => Err(Problem::new("not a TLS version").remedy("allowed: \"1.2\", \"1.3\"")),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        match self.0 {
            bridge_snapshot::TlsVersion::V12 => "1.2".into(),
            bridge_snapshot::TlsVersion::V13 => "1.3".into(),
        }
    }
}

/// An origin as browsers send it, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebOrigin(pub(crate) String);

impl FromText for WebOrigin {
    fn text_shape() -> Shape {
        Shape::Text { name: "origin", schema: serde_json::json!({ "type": "string" }) }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        let remedy =
            "allowed: `scheme://host[:port]` without a path, for example `https://app.example.com`, or `*`";
        let refused = || Problem::new("not an origin").remedy(remedy);
        if text == "*" {
            return Ok(Self(text.to_owned()));
        }
        let (scheme, authority) = text.split_once("://").ok_or_else(refused)?;
        let valid = !scheme.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
            && !authority.contains('@')
            && authority.parse::<http::uri::Authority>().is_ok();
        if valid { Ok(Self(text.to_ascii_lowercase())) } else { Err(refused()) }
    }

    fn to_json(&self) -> serde_json::Value {
        self.0.as_str().into()
    }
}

section! {
    /// Clients on this machine. They need no token, so they are served only where nobody does.
    pub(crate) struct StdioFrontend {
        /// Whether it is on.
        enabled: bool = true, Works;
        /// Where clients speak; standard input and output when the list is empty.
        modes: Vec<crate::config::decode::Located<StdioMode>>, Works;
        /// Path of a Unix socket, as one more mode.
        socket_path: Option<PathBuf>, Works;
        /// Bounds on clients.
        process_management: StdioClients, Works;
    }
}

section! {
    /// One place where local clients speak.
    pub(crate) struct StdioMode {
        /// Required. `stdin_stdout` or `unix_socket`.
        r#type: Option<StdioPlace>, Works;
        /// Path of the Unix socket; required there.
        path: Option<PathBuf>, Works;
        /// Whether it is on.
        enabled: bool = true, Works;
    } accepts {
        /// Mode of the socket file.
        permissions: String, NoEffect("only the owner may open the socket: mode 0600");
    }
}

choice! {
    /// Where local clients speak.
    pub(crate) enum StdioPlace {
        /// Standard input and output of the gateway.
        Streams = "stdin_stdout" | "stdio",
        /// A Unix socket.
        UnixSocket = "unix_socket",
        /// A pair of named pipes.
        NamedPipes = "named_pipes",
    }
}

section! {
    /// Bounds on local clients.
    pub(crate) struct StdioClients {
        /// Clients of one Unix socket at once.
        max_concurrent_clients: Positive = Positive(100), Works;
    } accepts {
        /// Idle time after which a client is left.
        client_timeout: Seconds, NoEffect("clients stay for as long as they are connected");
        /// Whether clients need a token.
        auth_required: bool, NoEffect("`auth` holds for all clients");
    }
}

section! {
    /// One more listener.
    pub(crate) struct Frontend {
        /// Name in logs and metrics.
        name: Option<String>, Works;
        /// Required. `http`, `websocket`, `sse`, `tcp_binary` or `stdio`.
        protocol: Option<FrontendProtocol>, Works;
        /// Whether it is on.
        enabled: bool = true, Works;
        /// Settings of the protocol.
        config: FrontendConfig, Works;
    }
}

choice! {
    /// Protocols of additional listeners.
    pub(crate) enum FrontendProtocol {
        /// Streamable HTTP.
        Http = "http" | "streamable_http",
        /// WebSocket.
        WebSocket = "websocket" | "ws",
        /// Server-sent events of 2024-11-05.
        Sse = "sse",
        /// TCP binary.
        TcpBinary = "tcp_binary" | "tcp",
        /// Standard input and output.
        Stdio = "stdio",
    }
}

section! {
    /// Settings of one more listener.
    pub(crate) struct FrontendConfig {
        /// IP address; that of `server.host` when left out.
        host: Option<Host>, Works;
        /// Required, but for `websocket` (8443), `sse` (8081), `tcp_binary` (8444), and `stdio`, which has none. `0` lets the
        /// system choose.
        port: Option<Port>, Works;
        /// Path of an `http` endpoint. Only `/mcp` and `/api/v1/mcp` are available, and always served.
        request_path: Option<String>, Works;
        /// Other name of `request_path`. WebSocket clients may use any path.
        path: Option<String>, Works;
        /// Port of the health check of a `tcp_binary` frontend; off when left out or `0`.
        health_port: Option<Port>, Works;
        /// Connections at once.
        max_connections: Option<Positive>, Works;
        /// `Origin` values, as in `server.allowed_origins`, which holds when this is left out.
        allowed_origins: Option<CommaList<WebOrigin>>, Works;
        /// Time between pings of a `websocket` frontend; `server.ping_interval` when left out.
        ping_interval: Option<Seconds>, Works;
        /// Places of a `stdio` frontend, as in `server.stdio_frontend`.
        modes: Vec<crate::config::decode::Located<StdioMode>>, Works;
        /// Whether a `stdio` frontend is on.
        enabled: bool = true, Works;
        /// Bounds of a `stdio` frontend.
        process_management: StdioClients, Works;
        /// Encryption. At the address of another listener its settings hold, unless `enabled` is written out.
        tls: Tls, Works;
        /// Path of the event stream of an `sse` frontend, `/events` when left out; `/sse` is always there, too.
        stream_endpoint: Option<String>, Works;
        /// Path for messages of an `sse` frontend, `/api/v1/request` when left out; `/messages` is always there, too.
        request_endpoint: Option<String>, Works;
        /// Time between keep-alive comments of an `sse` frontend; `limits.keep_alive` when left out.
        keep_alive: Option<Seconds>, Works;
    } accepts {
        /// Largest request.
        max_request_size: Size, NoEffect("`limits.max_http_body` holds for all listeners");
        /// Time to send a request.
        read_timeout: Seconds, NoEffect("`server.read_timeout` holds for all listeners");
        /// Time to take an answer.
        write_timeout: Seconds, NotYet("a time limit on slow readers is");
    }
}
