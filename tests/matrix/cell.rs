//! The coordinates of the table: frontends, transports of backends, and who speaks what. Changes when a frontend or a
//! transport is built.

use std::fmt;

use anyhow::{Context as _, Result};
use bridge_tests::{Backend, Era, Gateway, TempDir, TestServer};

use crate::client::Client;
use crate::clients::HttpClient;
use crate::generation::Revision;

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
}

impl Frontend {
    pub(crate) const ALL: [Self; 2] = [Self::Http, Self::HttpMerged];

    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::HttpMerged => "http-merged",
        }
    }

    /// The revisions that its clients speak: each frontend has the newest of each generation, one has them all.
    pub(crate) fn revisions(self) -> &'static [Revision] {
        match self {
            Self::Http => &Revision::ALL,
            Self::HttpMerged => &Revision::NEWEST,
        }
    }

    /// Connects a client.
    pub(crate) fn connect(self, gateway: &Gateway, revision: Revision) -> Result<Box<dyn Client>> {
        Ok(match self {
            Self::Http => Box::new(HttpClient::new(&gateway.url(&format!("/mcp/{BACKEND}")), revision)?),
            Self::HttpMerged => Box::new(HttpClient::new(&gateway.url("/mcp"), revision)?),
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
}

impl Transport {
    pub(crate) const ALL: [Self; 2] = [Self::Stdio, Self::Http];

    /// For names.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Http => "http",
        }
    }

    /// Starts a fixture server of one generation on it, unless the gateway does that.
    pub(crate) fn serve(self, era: Era) -> Result<Served> {
        // A gateway may run several processes of a stdio server; they see one world.
        let state = TempDir::new("world")?;
        let world = state.path().to_str().context("a path in UTF-8")?;
        let args = ["--page-size", PAGE_SIZE, "--state-dir", world];
        let (backend, server) = match self {
            Self::Stdio => {
                let mut command = TestServer::stdio(era)?;
                command.extend(args.map(str::to_owned));
                (Backend::stdio(BACKEND, &command), None)
            }
            Self::Http => {
                let server = TestServer::http_with(era, &args)?;
                (Backend::http(BACKEND, server.url()), Some(server))
            }
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
