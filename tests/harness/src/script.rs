//! Runs a published client on a plan and gives its report. Changes with the plan format (`tests/peers/clients/README.md`).

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::gateway::binary;
use crate::peers::{self, PythonLine};
use crate::process::Process;

/// A whole plan may take this long.
const PLAN_TIME: Duration = Duration::from_mins(2);

/// A published client in one of its protocol modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// npm `@modelcontextprotocol/sdk` 1.x.
    NpmV1,
    /// npm `@modelcontextprotocol/client` 2.x as it comes: legacy.
    NpmV2Legacy,
    /// npm `@modelcontextprotocol/client` 2.x pinned to 2026-07-28.
    NpmV2Modern,
    /// Python `mcp` 1.x.
    PythonV1,
    /// Python `mcp` 2.x with the handshake.
    PythonV2Legacy,
    /// Python `mcp` 2.x pinned to 2026-07-28.
    PythonV2Modern,
    /// npm `@modelcontextprotocol/sdk` 1.x over HTTP+SSE.
    NpmV1Sse,
    /// npm `@modelcontextprotocol/client` 2.x over HTTP+SSE.
    NpmV2Sse,
    /// Python `mcp` 1.x over HTTP+SSE.
    PythonV1Sse,
    /// Python `mcp` 2.x over HTTP+SSE.
    PythonV2Sse,
    /// npm `@modelcontextprotocol/sdk` 1.x over WebSocket.
    NpmV1WebSocket,
    /// Python `mcp` 1.x over WebSocket.
    PythonV1WebSocket,
    /// `fastmcp` with the handshake.
    FastMcpLegacy,
    /// `fastmcp` as it comes: probes and must end up on 2026-07-28.
    FastMcpModern,
    /// `fastmcp` over HTTP+SSE.
    FastMcpSse,
    /// The crate `rmcp` as it comes: legacy.
    RmcpLegacy,
    /// The crate `rmcp` on 2026-07-28.
    RmcpModern,
    /// The crate `rmcp` with one message a line on a Unix socket, whose path takes the URL's place; legacy.
    RmcpLines,
}

impl Client {
    /// Those of Streamable HTTP.
    pub const ALL: [Self; 6] = [
        Self::NpmV1,
        Self::NpmV2Legacy,
        Self::NpmV2Modern,
        Self::PythonV1,
        Self::PythonV2Legacy,
        Self::PythonV2Modern,
    ];

    /// Those of HTTP+SSE.
    pub const SSE: [Self; 4] = [Self::NpmV1Sse, Self::NpmV2Sse, Self::PythonV1Sse, Self::PythonV2Sse];

    /// Whether it speaks 2026-07-28.
    pub fn is_modern(self) -> bool {
        matches!(self, Self::NpmV2Modern | Self::PythonV2Modern | Self::FastMcpModern | Self::RmcpModern)
    }

    fn command(self) -> Result<Command> {
        let (program, script, mode) = match self {
            Self::NpmV1 => (peers::node()?, "npm-v1.mjs", "legacy"),
            Self::NpmV2Legacy => (peers::node()?, "npm-v2.mjs", "legacy"),
            Self::NpmV2Modern => (peers::node()?, "npm-v2.mjs", "modern"),
            Self::PythonV1 => (peers::python(PythonLine::V1)?, "python_v1.py", "legacy"),
            Self::PythonV2Legacy => (peers::python(PythonLine::V2)?, "python_v2.py", "legacy"),
            Self::PythonV2Modern => (peers::python(PythonLine::V2)?, "python_v2.py", "modern"),
            Self::NpmV1Sse => (peers::node()?, "npm-v1.mjs", "sse"),
            Self::NpmV1WebSocket => (peers::node()?, "npm-v1.mjs", "websocket"),
            Self::NpmV2Sse => (peers::node()?, "npm-v2.mjs", "sse"),
            Self::PythonV1Sse => (peers::python(PythonLine::V1)?, "python_v1.py", "sse"),
            Self::PythonV2Sse => (peers::python(PythonLine::V2)?, "python_v2.py", "sse"),
            Self::PythonV1WebSocket => (peers::python(PythonLine::V1)?, "python_v1.py", "websocket"),
            Self::FastMcpLegacy => (peers::python(PythonLine::FastMcp)?, "fastmcp_client.py", "legacy"),
            Self::FastMcpModern => (peers::python(PythonLine::FastMcp)?, "fastmcp_client.py", "modern"),
            Self::FastMcpSse => (peers::python(PythonLine::FastMcp)?, "fastmcp_client.py", "sse"),
            Self::RmcpLegacy => return rmcp("legacy"),
            Self::RmcpModern => return rmcp("modern"),
            Self::RmcpLines => return rmcp("lines"),
        };
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers/clients");
        let mut command = Command::new(program);
        command.arg(scripts.join(script)).arg(mode);
        command.env("BRIDGE_NPM", peers::npm("")?).env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    }
}

fn rmcp(mode: &str) -> Result<Command> {
    let mut command = Command::new(binary("rmcp-client")?);
    command.arg(mode);
    Ok(command)
}

/// Connects `client` to `url`, runs the steps of `plan` and returns the report: `{"connected": {...}, "steps": [...],
/// "events": [...]}`. A client that fails as a whole, not one whose step failed, is an error.
pub fn run(client: Client, url: &str, plan: &Value) -> Result<Value> {
    let mut command = client.command()?;
    command.arg(url).arg(plan.to_string());
    let process = Process::spawn(&format!("{client:?}"), &command)?;
    let exit = process.wait_exit(PLAN_TIME)?;
    let report = process.log().iter().find_map(|line| {
        let report = line.strip_prefix("REPORT ")?;
        Some(serde_json::from_str(report).with_context(|| format!("report {report}")))
    });
    ensure!(exit.success(), process.complain(&format!("ended with {exit}")));
    report.with_context(|| process.complain("printed no report"))?
}
