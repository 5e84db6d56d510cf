//! Where the published peers are and how each is started. Changes with the lock files under `tests/peers`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::PATIENCE;
use crate::process::Process;

/// A line of published Python SDKs, each in an environment of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PythonLine {
    /// `mcp` 1.x: legacy only.
    V1,
    /// `mcp` 2.x: both eras.
    V2,
    /// `fastmcp`, on `mcp` 2.x: both eras.
    FastMcp,
}

impl PythonLine {
    fn dir(self) -> &'static str {
        match self {
            Self::V1 => "pypi/mcp-1",
            Self::V2 => "pypi/mcp-2",
            Self::FastMcp => "pypi/fastmcp",
        }
    }
}

/// The Node.js runtime that all npm peers use.
pub fn node() -> Result<String> {
    installed("node")
}

/// The Python interpreter of one SDK line.
pub fn python(line: PythonLine) -> Result<String> {
    installed(&format!("{}/bin/python", line.dir()))
}

/// A file of an npm package, for example `@modelcontextprotocol/sdk/package.json`.
pub fn npm(path: &str) -> Result<String> {
    installed(&format!("npm/node_modules/{path}"))
}

/// `server-everything` on standard streams: 13 tools, resources, prompts, sampling, elicitation; legacy.
pub fn everything() -> Result<Vec<String>> {
    node_server("server-everything", &["stdio"])
}

/// `server-filesystem` on standard streams, allowed into one directory; legacy.
pub fn filesystem(dir: &Path) -> Result<Vec<String>> {
    node_server("server-filesystem", &[utf8(dir)?])
}

/// `server-memory` on standard streams; legacy. Its file is named by the variable `MEMORY_FILE_PATH`.
pub fn memory() -> Result<Vec<String>> {
    node_server("server-memory", &[])
}

/// `mcp-server-time` on standard streams; both eras.
pub fn time() -> Result<Vec<String>> {
    Ok(vec![installed("pypi/mcp-2/bin/mcp-server-time")?, "--local-timezone".into(), "UTC".into()])
}

/// `mcp-server-git` on standard streams, for one repository; both eras.
pub fn git(repository: &Path) -> Result<Vec<String>> {
    Ok(vec![installed("pypi/mcp-2/bin/mcp-server-git")?, "--repository".into(), utf8(repository)?.to_owned()])
}

/// `server-everything` on Streamable HTTP, ready for requests, and its endpoint; legacy.
pub fn everything_http() -> Result<(Process, String)> {
    everything_on("streamableHttp", "listening on port", "/mcp")
}

/// `server-everything` on HTTP+SSE, ready for requests, and its event stream; legacy.
pub fn everything_sse() -> Result<(Process, String)> {
    everything_on("sse", "running on port", "/sse")
}

fn everything_on(transport: &str, ready: &str, path: &str) -> Result<(Process, String)> {
    let server = node_server("server-everything", &[transport])?;
    let (process, port) = on_free_port("server-everything", ready, |port| {
        let mut command = Command::new(&server[0]);
        command.args(&server[1..]).env("PORT", port.to_string());
        command
    })?;
    Ok((process, format!("http://127.0.0.1:{port}{path}")))
}

/// Starts a program that must be told its port. It is there once it has printed `ready` and can be connected to.
pub(crate) fn on_free_port(
    name: &str,
    ready: &str,
    command: impl Fn(u16) -> Command,
) -> Result<(Process, u16)> {
    // A port found free may be taken before the program binds it: only then try another.
    let mut refusal = None;
    for _ in 0..5 {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let process = Process::spawn(name, &command(port))?;
        match process.wait_line(PATIENCE, |line| line.contains(ready).then_some(())) {
            Ok(()) if connects(&process, port)? => return Ok((process, port)),
            Ok(()) => refusal = Some(process.complain("ended before it listened")),
            Err(error) => refusal = Some(error),
        }
    }
    Err(refusal.context("no attempt was made")?)
}

/// Whether the program takes connections; some announce themselves just before they do.
fn connects(process: &Process, port: u16) -> Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    while process.exit().is_none() {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(true);
        }
        ensure!(Instant::now() < deadline, process.complain(&format!("does not listen on {port}")));
        std::thread::yield_now();
    }
    Ok(false)
}

fn node_server(package: &str, args: &[&str]) -> Result<Vec<String>> {
    let script = npm(&format!("@modelcontextprotocol/{package}/dist/index.js"))?;
    let mut command = vec![node()?, script];
    command.extend(args.iter().map(|&arg| arg.to_owned()));
    Ok(command)
}

fn installed(path: &str) -> Result<String> {
    let path = target_dir()?.join("peers").join(path);
    ensure!(path.exists(), "{} does not exist; `make peers` installs the published peers", path.display());
    Ok(utf8(&path)?.to_owned())
}

/// Cargo's target directory, where peers are installed and reports are written.
pub fn target_dir() -> Result<PathBuf> {
    let program = std::env::current_exe().context("the path of this test program")?;
    // target/debug/deps/TEST-HASH → target
    let target = program.ancestors().nth(3);
    Ok(target.with_context(|| format!("{} is not in target/PROFILE/deps", program.display()))?.to_owned())
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
