//! The coordinates of the table: frontends, transports of backends, and who speaks what. Changes when a frontend or a
//! transport is built.

use std::fmt;

use anyhow::{Context as _, Result};
use bridge_tests::peer::Lines;
use bridge_tests::{Backend, Binary, Era, SseClient, TempDir, TestServer, WebSocket};

use crate::client::Client;
use crate::clients::{Form, HttpClient, PostClient, StandardStreams, WireClient};
use crate::generation::Revision;
use crate::place::Place;

/// The name of the only backend, hence also of its endpoint.
pub(crate) const BACKEND: &str = "fixture";
/// Entries per page of the fixture's lists: few enough for several pages of tools.
const PAGE_SIZE: &str = "20";

/// How a client reaches the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frontend {
    /// Streamable HTTP, the endpoint of one backend.
    Http,
    /// Streamable HTTP, the endpoint of all backends.
    HttpMerged,
    /// HTTP+SSE of 2024-11-05.
    Sse,
    /// WebSocket, on the path of one backend.
    WebSocket,
    /// The gateway's standard input and output.
    Stdio,
    /// A Unix socket.
    Unix,
    /// The original's binary protocol in dialect G, which carries MCP as it is.
    TcpG,
    /// The same in dialect R, whose envelope names the backend.
    TcpR,
    /// WebSocket with the original's envelope.
    Envelope,
    /// A POST of the original's envelope.
    Post,
}

impl Frontend {
    pub(crate) const ALL: [Self; 10] = [
        Self::Http,
        Self::HttpMerged,
        Self::Sse,
        Self::WebSocket,
        Self::Stdio,
        Self::Unix,
        Self::TcpG,
        Self::TcpR,
        Self::Envelope,
        Self::Post,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::HttpMerged => "http-merged",
            Self::Sse => "sse",
            Self::WebSocket => "websocket",
            Self::Stdio => "stdio",
            Self::Unix => "unix",
            Self::TcpG => "tcp-g",
            Self::TcpR => "tcp-r",
            Self::Envelope => "envelope",
            Self::Post => "post",
        }
    }

    /// Whether its clients read answers and nothing else.
    pub(crate) fn is_original(self) -> bool {
        matches!(self, Self::TcpR | Self::Envelope | Self::Post)
    }

    /// The revisions that its clients speak: each frontend has the newest of each generation, one has them all.
    pub(crate) fn revisions(self) -> &'static [Revision] {
        if self == Self::Http { &Revision::ALL } else { &Revision::NEWEST }
    }

    /// Connects a client.
    pub(crate) fn connect(self, place: &Place, revision: Revision) -> Result<Box<dyn Client>> {
        let gateway = &place.gateway;
        let own = || gateway.url(&format!("/mcp/{BACKEND}"));
        Ok(match self {
            Self::Http => Box::new(HttpClient::new(&own(), revision)?),
            Self::HttpMerged => Box::new(HttpClient::new(&gateway.url("/mcp"), revision)?),
            Self::Sse => Box::new(WireClient::new(SseClient::connect(&gateway.url("/sse"))?, Form::Bare)),
            Self::WebSocket => Box::new(WireClient::new(WebSocket::connect(&own())?, Form::Bare)),
            Self::Stdio => Box::new(WireClient::new(StandardStreams::start(place)?, Form::Bare)),
            Self::Unix => Box::new(WireClient::new(Lines::connect(&place.socket)?, Form::Bare)),
            Self::TcpG => {
                let mut connection = Binary::g(gateway.wait_listener("tcp")?)?;
                connection.negotiate()?;
                Box::new(WireClient::new(connection, Form::Bare))
            }
            Self::TcpR => {
                let mut connection = Binary::r(gateway.wait_listener("tcp")?)?;
                connection.negotiate()?;
                Box::new(WireClient::new(connection, Form::Router(BACKEND)))
            }
            Self::Envelope => {
                let socket = WebSocket::connect(&gateway.url("/ws"))?;
                Box::new(WireClient::new(socket, Form::Envelope(BACKEND)))
            }
            Self::Post => Box::new(PostClient::new(&gateway.url("/api/v1/mcp"), BACKEND)?),
        })
    }
}

/// How the gateway reaches a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// A child process.
    Stdio,
    /// Streamable HTTP.
    Http,
    /// HTTP+SSE of 2024-11-05.
    Sse,
    /// WebSocket.
    WebSocket,
    /// The original's binary protocol.
    Tcp,
}

impl Transport {
    pub(crate) const ALL: [Self; 5] = [Self::Stdio, Self::Http, Self::Sse, Self::WebSocket, Self::Tcp];

    /// For names, and as the test server spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Http => "http",
            Self::Sse => "sse",
            Self::WebSocket => "websocket",
            Self::Tcp => "tcp",
        }
    }

    /// Starts a fixture server of one generation on it, unless the gateway does that.
    pub(crate) fn serve(self, era: Era) -> Result<Served> {
        // A gateway may run several processes of a stdio server; they see one world.
        let state = TempDir::new("world")?;
        let world = state.path().to_str().context("a path in UTF-8")?;
        let args = ["--page-size", PAGE_SIZE, "--state-dir", world];
        let (backend, server) = if self == Self::Stdio {
            let mut command = TestServer::stdio(era)?;
            command.extend(args.map(str::to_owned));
            // Each POST of the original's clients has a session, and so a process, of its own.
            let backend = Backend::stdio(BACKEND, &command).config("max_processes", 128.into());
            (backend, None)
        } else {
            let server = TestServer::on(self.as_str(), era, &args)?;
            let protocol = if self == Self::Tcp { "tcp_binary" } else { self.as_str() };
            let backend = Backend::http(BACKEND, server.url()).key("protocol", protocol.into());
            // Nobody expects the newer generation there, so nobody asks for it.
            let backend = if self == Self::Sse { backend.era(era.as_str()) } else { backend };
            (backend, Some(server))
        };
        Ok(Served { backend, _server: server, _state: state })
    }
}

/// A fixture server, or what the gateway needs to start it.
pub(crate) struct Served {
    pub(crate) backend: Backend,
    _server: Option<TestServer>,
    _state: TempDir,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) frontend: Frontend,
    pub(crate) client: Revision,
    pub(crate) transport: Transport,
    pub(crate) server: Era,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (frontend, client) = (self.frontend.as_str(), self.client.as_str());
        let (transport, server) = (self.transport.as_str(), self.server.as_str());
        write!(f, "{frontend} {client} to {transport} {server}")
    }
}
