//! Published servers on the network: bridges that put a server of standard streams there, and Python SDKs with a few tools.
//! Changes when another such program joins.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::PATIENCE;
use crate::config::{Backend, Config};
use crate::gateway::Gateway;
use crate::peers::{self, PythonLine};
use crate::process::Process;
use crate::report;
use crate::script::{self, Client};

/// How such a server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP.
    Http,
    /// HTTP+SSE of 2024-11-05.
    Sse,
    /// One message per WebSocket message.
    WebSocket,
}

impl Transport {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Sse => "sse",
            Self::WebSocket => "websocket",
        }
    }
}

/// A published program that gives a server of standard streams another transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bridge {
    /// npm `supergateway`. Over HTTP it keeps sessions, each with a server of its own; over the others all share one.
    Supergateway(Transport),
    /// npm `supergateway` over HTTP as it comes: a server for each request.
    SupergatewayStateless,
    /// npm `mcp-proxy`, over HTTP or HTTP+SSE: all share one server.
    NpmProxy(Transport),
    /// The `mcp-proxy` of Python, over HTTP or HTTP+SSE: all share one server.
    PythonProxy(Transport),
}

/// A running published server and where it is; killed on drop.
#[derive(Debug)]
pub struct Remote {
    _process: Process,
    url: String,
    transport: Transport,
}

impl Remote {
    /// A bridge before the server of this command line.
    pub fn bridge(bridge: Bridge, server: &[String]) -> Result<Self> {
        match bridge {
            Bridge::Supergateway(transport) => supergateway(server, transport, true),
            Bridge::SupergatewayStateless => supergateway(server, Transport::Http, false),
            Bridge::NpmProxy(transport) => npm_proxy(server, transport),
            Bridge::PythonProxy(transport) => python_proxy(server, transport),
        }
    }

    /// Python `mcp` 1.x with the tools of `tests/peers/servers`; legacy.
    pub fn python_v1(transport: Transport) -> Result<Self> {
        let mut command = python_server(PythonLine::V1, "python_v1.py", transport.as_str())?;
        let path = path(transport, "/ws");
        Self::on_chosen_port("python_v1.py", &mut command, transport, path)
    }

    /// `fastmcp` with the tools of `tests/peers/servers`, over HTTP in both eras or over HTTP+SSE.
    pub fn fastmcp(transport: Transport) -> Result<Self> {
        ensure!(transport != Transport::WebSocket, "fastmcp has no WebSocket");
        let mut command = python_server(PythonLine::FastMcp, "fastmcp_server.py", transport.as_str())?;
        Self::on_chosen_port("fastmcp_server.py", &mut command, transport, path(transport, ""))
    }

    /// A Python program that binds a port that the system chooses, and names it.
    fn on_chosen_port(name: &str, command: &mut Command, transport: Transport, path: &str) -> Result<Self> {
        let process = Process::spawn(name, command.env("PYTHONDONTWRITEBYTECODE", "1"))?;
        let port = process.wait_line(PATIENCE, |line| {
            let (_, address) = line.split_once("Uvicorn running on http://127.0.0.1:")?;
            address.split_whitespace().next()?.parse().ok()
        })?;
        Ok(Self::new(process, port, transport, path))
    }

    fn new(process: Process, port: u16, transport: Transport, path: &str) -> Self {
        let scheme = if transport == Transport::WebSocket { "ws" } else { "http" };
        Self { _process: process, url: format!("{scheme}://127.0.0.1:{port}{path}"), transport }
    }

    /// Its endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// It as a backend.
    pub fn backend(&self, name: &str) -> Backend {
        match self.transport {
            Transport::Http => Backend::http(name, &self.url),
            Transport::Sse => Backend::sse(name, &self.url),
            Transport::WebSocket => Backend::websocket(name, &self.url),
        }
    }

    /// It as a backend of which only the URL is known.
    pub fn found_out(&self, name: &str) -> Backend {
        Backend::url(name, &self.url)
    }

    /// The client of the npm SDK 1.x, which has all transports, that reaches it directly.
    pub fn npm_v1(&self) -> Client {
        match self.transport {
            Transport::Http => Client::NpmV1,
            Transport::Sse => Client::NpmV1Sse,
            Transport::WebSocket => Client::NpmV1WebSocket,
        }
    }
}

/// Runs a plan with the npm SDK 1.x: directly, then through a gateway that knows this server as `far`. The user must see the
/// same; gives the gateway and what was seen through it.
///
/// # Panics
/// When the two differ.
pub fn assert_same_behind_a_gateway(remote: &Remote, plan: &Value) -> Result<(Gateway, Value)> {
    let direct = script::run(remote.npm_v1(), remote.url(), plan)?;
    let gateway = Gateway::start(&Config::new().backend(remote.backend("far")))?;
    gateway.wait_backends("legacy", &["far"])?;
    let through = script::run(Client::NpmV1, &gateway.url("/mcp/far"), plan)?;
    report::assert_same(&through["connected"], &direct["connected"], "connected");
    report::assert_same_steps(&through, &direct, plan, "steps");
    Ok((gateway, through))
}

/// `fastmcp` on standard streams, with the tools of `tests/peers/servers`; both eras.
pub fn fastmcp_stdio() -> Result<Vec<String>> {
    let command = python_server(PythonLine::FastMcp, "fastmcp_server.py", "stdio")?;
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| Ok(word.to_str().context("a path that is UTF-8")?.to_owned())).collect()
}

fn python_server(line: PythonLine, script: &str, mode: &str) -> Result<Command> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers/servers");
    let mut command = Command::new(peers::python(line)?);
    command.arg("-B").arg(scripts.join(script)).arg(mode);
    Ok(command)
}

/// Where all of them serve what is not WebSocket.
fn path(transport: Transport, websocket: &'static str) -> &'static str {
    match transport {
        Transport::Http => "/mcp",
        Transport::Sse => "/sse",
        Transport::WebSocket => websocket,
    }
}

/// Its server leads a process group of its own; it ends when its standard input does, thus with the bridge.
fn supergateway(server: &[String], transport: Transport, stateful: bool) -> Result<Remote> {
    let (node, script) = (peers::node()?, peers::npm("supergateway/dist/index.js")?);
    let server = shell(server)?;
    let output = match transport {
        Transport::Http => "streamableHttp",
        Transport::Sse => "sse",
        Transport::WebSocket => "ws",
    };
    let (process, port) = peers::on_free_port("supergateway", "Listening on port", |port| {
        let mut command = Command::new(&node);
        command.args([&script, "--stdio", &server, "--outputTransport", output, "--port", &port.to_string()]);
        if transport == Transport::Http && stateful {
            command.arg("--stateful");
        }
        command
    })?;
    Ok(Remote::new(process, port, transport, path(transport, "/message")))
}

fn npm_proxy(server: &[String], transport: Transport) -> Result<Remote> {
    ensure!(transport != Transport::WebSocket, "mcp-proxy has no WebSocket");
    let (node, script) = (peers::node()?, peers::npm("mcp-proxy/dist/bin/mcp-proxy.mjs")?);
    let (process, port) = peers::on_free_port("npm mcp-proxy", "starting server on port", |port| {
        let mut command = Command::new(&node);
        command.args([&script, "--host", "127.0.0.1", "--port", &port.to_string(), "--"]).args(server);
        command
    })?;
    Ok(Remote::new(process, port, transport, path(transport, "")))
}

fn python_proxy(server: &[String], transport: Transport) -> Result<Remote> {
    ensure!(transport != Transport::WebSocket, "mcp-proxy has no WebSocket");
    let mut command = Command::new(peers::python(PythonLine::V1)?);
    command.args(["-m", "mcp_proxy", "--host", "127.0.0.1", "--port", "0", "--"]).args(server);
    Remote::on_chosen_port("PyPI mcp-proxy", &mut command, transport, path(transport, ""))
}

/// A command line for a shell.
fn shell(command: &[String]) -> Result<String> {
    ensure!(command.iter().all(|word| !word.contains('\'')), "a quote in {command:?}");
    Ok(command.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "))
}
