//! `mcp-gateway stdio-adapter` as a test sees it. Changes with its flags or its log line `listening`.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::gateway::{binary, wait_listening};
use crate::metrics::pause;
use crate::process::Process;
use crate::{PATIENCE, http};

/// A running adapter; killed with its server's processes on drop.
#[derive(Debug)]
pub struct Adapter {
    process: Process,
    address: SocketAddr,
}

impl Adapter {
    /// Starts it on a free port with these flags and waits until it is ready.
    pub fn start<S: AsRef<str>>(flags: &[&str], command: &[S]) -> Result<Self> {
        let process = Self::spawn(flags, command, &[])?;
        let address = wait_listening(&process, "main")?;
        let adapter = Self { process, address };
        let deadline = Instant::now() + PATIENCE;
        while http::get(&adapter.page("/ready"))?.head.status != 200 {
            ensure!(Instant::now() < deadline, adapter.process.complain("did not become ready"));
            pause(Duration::from_millis(20));
        }
        Ok(adapter)
    }

    /// Starts it and waits for nothing.
    pub fn spawn<S: AsRef<str>>(flags: &[&str], command: &[S], env: &[(&str, &str)]) -> Result<Process> {
        let mut adapter = Command::new(binary("mcp-gateway")?);
        adapter.args(["stdio-adapter", "--listen=127.0.0.1:0"]).args(flags).arg("--");
        adapter.args(command.iter().map(AsRef::as_ref)).envs(env.iter().copied());
        Process::spawn("stdio-adapter", &adapter)
    }

    /// Its MCP endpoint.
    pub fn url(&self) -> String {
        self.page("/mcp")
    }

    /// A URL on its listener; `path` starts with a slash.
    pub fn page(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The process: its log, signals, exit.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
