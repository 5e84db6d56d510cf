//! The real gateway binary as a test sees it. Changes with its command line, its log lines `listening` and `catalogue
//! read`, or its health endpoints.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::config::Config;
use crate::process::{Process, Signal};
use crate::temp::TempDir;
use crate::{PATIENCE, http};

/// A running gateway, ready for requests; killed with all its children on drop.
#[derive(Debug)]
pub struct Gateway {
    // Declared before the directory: the process goes first, then the file it reads.
    process: Process,
    main: SocketAddr,
    dir: TempDir,
}

impl Gateway {
    /// Starts it with this configuration and waits until it listens and says that it is ready.
    pub fn start(config: &Config) -> Result<Self> {
        Self::start_with(&config.to_yaml(), &[], &[])
    }

    /// Starts it with a configuration text, further arguments and environment variables.
    pub fn start_with(config: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Self> {
        let dir = TempDir::new("gateway")?;
        let file = dir.write("gateway.yaml", config)?;
        let process = Self::spawn(&file, args, env)?;
        let deadline = Instant::now() + PATIENCE;
        let main = process.wait_line(PATIENCE, |line| listening(line, "main"))?;
        let gateway = Self { process, main, dir };
        gateway.wait_ready(deadline)?;
        Ok(gateway)
    }

    /// Starts the binary with a configuration file and waits for nothing: for tests of refused configurations and of
    /// the start itself.
    pub fn spawn(config: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<Process> {
        let mut command = Command::new(binary("mcp-gateway")?);
        command.arg("--config").arg(config).args(args).envs(env.iter().copied());
        Process::spawn("mcp-gateway", &command)
    }

    /// The address of the main listener.
    pub fn address(&self) -> SocketAddr {
        self.main
    }

    /// The address of a further listener (`health`, `metrics`), if it has announced one.
    pub fn listener(&self, name: &str) -> Option<SocketAddr> {
        self.process.log().iter().find_map(|line| listening(line, name))
    }

    /// The same, waited for.
    pub fn wait_listener(&self, name: &str) -> Result<SocketAddr> {
        wait_listening(&self.process, name)
    }

    /// A URL on the main listener; `path` starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.main)
    }

    /// The same URL by the name `localhost`, for peers that compare host names.
    pub fn localhost_url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.main.port())
    }

    /// The process: its log, signals, exit.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("gateway.yaml")
    }

    /// Replaces the configuration file in one step, which the gateway notices by itself.
    pub fn rewrite_config(&self, config: &str) -> Result<()> {
        self.dir.write("gateway.yaml", config).map(drop)
    }

    /// Waits until it has read what these backends offer in one era (`legacy` or `modern`), so that they are in its lists.
    pub fn wait_backends(&self, era: &str, names: &[&str]) -> Result<()> {
        for name in names {
            self.wait_log(PATIENCE, |line| {
                let its_era = line["era"].as_str().is_some_and(|spoken| spoken.starts_with(era));
                line["msg"] == "catalogue read" && line["backend"] == *name && its_era
            })?;
        }
        Ok(())
    }

    /// Waits for a structured log line that satisfies `wanted`.
    pub fn wait_log(&self, within: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        self.process.wait_line(within, |line| serde_json::from_str(line).ok().filter(&wanted))
    }

    /// Asks it to stop with SIGTERM and waits until it has.
    pub fn stop(&self, within: Duration) -> Result<std::process::ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.wait_exit(within)
    }

    fn wait_ready(&self, deadline: Instant) -> Result<()> {
        loop {
            let response =
                http::get(&self.url("/ready")).map_err(|error| self.process.complain(&error.to_string()))?;
            if response.head.status == 200 {
                return Ok(());
            }
            ensure!(response.head.status == 503, "/ready answered {}", response.head.status);
            if Instant::now() >= deadline {
                return Err(self.process.complain("did not become ready"));
            }
            // What makes it ready it also logs, hence any new line is a reason to ask again; so is a short pause.
            let seen = self.process.log().len();
            let mut count = 0;
            let _ = self.process.wait_line(Duration::from_millis(50), |_| {
                count += 1;
                (count > seen).then_some(())
            });
        }
    }
}

/// Waits until a gateway that was started by hand has announced a listener, and gives its address.
pub fn wait_listening(process: &Process, name: &str) -> Result<SocketAddr> {
    process.wait_line(PATIENCE, |line| listening(line, name))
}

/// The path of one of this workspace's programs: beside the running test or program, where Cargo builds both.
pub fn binary(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe().context("the path of this program")?;
    // target/debug/deps/TEST-HASH or target/debug/PROGRAM → target/debug
    let dir =
        program.parent().map(|dir| if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir });
    let Some(dir) = dir else { bail!("{} is not in a target directory", program.display()) };
    let path = dir.join(name);
    ensure!(
        path.is_file(),
        "{} does not exist; `make test` builds it, or `cargo build -p {name}`",
        path.display()
    );
    Ok(path)
}

/// Reads the structured line by which a listener announces its address.
fn listening(line: &str, listener: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let field = |name: &str| line.get(name).or_else(|| line.get("fields")?.get(name))?.as_str();
    if field("msg").or_else(|| field("message")) != Some("listening") || field("listener") != Some(listener) {
        return None;
    }
    field("address")?.parse().ok()
}
