//! Our fixture server as a backend or a peer of tests. Changes with the command line of `mcp-test-server`.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::PATIENCE;
use crate::gateway::binary;
use crate::process::Process;

/// Which generation of the protocol a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// The revisions that open with `initialize`.
    Legacy,
    /// 2026-07-28.
    Modern,
    /// Either, decided per request.
    Both,
}

impl Era {
    /// As the command line spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
            Self::Both => "both",
        }
    }
}

/// A running fixture server on a port; killed on drop.
#[derive(Debug)]
pub struct TestServer {
    process: Process,
    url: String,
}

impl TestServer {
    /// Starts it on a free port.
    pub fn http(era: Era) -> Result<Self> {
        Self::http_on(era, 0)
    }

    /// Starts it on a given port, for instance the one on which an earlier one has just died.
    pub fn http_on(era: Era, port: u16) -> Result<Self> {
        Self::on("http", era, &["--port", &port.to_string()])
    }

    /// Starts it on a free port with further arguments.
    pub fn http_with(era: Era, args: &[&str]) -> Result<Self> {
        Self::on("http", era, args)
    }

    /// Starts it on a free port of another transport: `sse`, `websocket` or `tcp`.
    pub fn on(transport: &str, era: Era, args: &[&str]) -> Result<Self> {
        let mut command = Command::new(binary("mcp-test-server")?);
        command.args(["--transport", transport, "--era", era.as_str()]).args(args);
        let process = Process::spawn("mcp-test-server", &command)?;
        let url = process.wait_line(PATIENCE, |line| {
            let (_, url) = line.split_once("listening on ")?;
            Some(url.trim().to_owned())
        })?;
        Ok(Self { process, url })
    }

    /// The argument vector that runs it on standard streams.
    pub fn stdio(era: Era) -> Result<Vec<String>> {
        let binary = binary("mcp-test-server")?;
        let binary = binary.to_str().context("a target directory with a UTF-8 path")?;
        Ok([binary, "--transport", "stdio", "--era", era.as_str()].map(str::to_owned).into())
    }

    /// Its MCP endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its port.
    pub fn port(&self) -> Result<u16> {
        let authority = crate::http::Url::parse(&self.url)?.authority;
        let (_, port) = authority.rsplit_once(':').context("an endpoint with a port")?;
        port.parse().with_context(|| format!("port of {}", self.url))
    }

    /// The process: its log, signals, exit.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
