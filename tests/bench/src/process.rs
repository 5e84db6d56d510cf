//! The processes that a run starts, watches and stops. Changes when they start, announce readiness or end differently.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval, timeout, timeout_at};

use crate::procfs::Family;
use crate::wire::{Connection, Endpoint};

const START_DEADLINE: Duration = Duration::from_secs(20);
const STOP_DEADLINE: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(20);

/// A running child process. Dropping it asks it to end.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose standard error goes to `NAME.log` in `directory`.
    pub(crate) fn start(name: &str, directory: &Path, command: &mut Command) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let errors = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {}", command.as_std().get_program().display()))?;
        Ok(Self { name: name.into(), child, log })
    }

    /// Waits for the line on which a server of this crate says where it listens.
    pub(crate) async fn announced(&mut self) -> Result<Endpoint> {
        let stdout = self.child.stdout.take().context("its output is already taken")?;
        let mut line = String::new();
        let read = timeout(START_DEADLINE, BufReader::new(stdout).read_line(&mut line)).await;
        match read {
            Ok(Ok(count)) if count > 0 => {}
            _ => bail!("{} did not say where it listens; {}", self.name, self.last_words()),
        }
        let port = line.trim().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        Ok(Endpoint::local(port.with_context(|| format!("no port in {line:?}"))?, "/mcp"))
    }

    /// Polls a page until it answers 200, as a process manager would.
    pub(crate) async fn ready(&mut self, page: &Endpoint) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        let mut ticks = interval(POLL);
        let mut last = String::new();
        while Instant::now() < deadline {
            ticks.tick().await;
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}; {}", self.name, self.last_words());
            }
            match timeout_at(deadline, status_of(page)).await {
                Ok(Ok(200)) => return Ok(()),
                Ok(Ok(status)) => last = format!("status {status}"),
                Ok(Err(error)) => last = format!("{error:#}"),
                Err(_) => last = "no answer".into(),
            }
        }
        bail!("{page} was not ready within {START_DEADLINE:?} ({last}); {}", self.last_words())
    }

    /// The process and its children.
    pub(crate) fn family(&self) -> Result<Family> {
        Family::of(self.child.id().with_context(|| format!("{} has ended", self.name))?)
    }

    /// Asks the process to end, and waits for it.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.ask_to_end();
        if timeout(STOP_DEADLINE, self.child.wait()).await.is_err() {
            self.child.kill().await.with_context(|| format!("cannot kill {}", self.name))?;
            bail!("{} did not end within {STOP_DEADLINE:?} of SIGTERM and was killed", self.name);
        }
        Ok(())
    }

    fn ask_to_end(&self) {
        let pid =
            self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // The only failure is that it has ended, which is what was asked for.
            let _ended = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(5)..).unwrap_or_default();
        if tail.is_empty() { "it wrote no error".into() } else { format!("it wrote:\n{}", tail.join("\n")) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.ask_to_end();
    }
}

async fn status_of(page: &Endpoint) -> Result<u16> {
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", page.path(), page.authority());
    Ok(Connection::open(page).await?.exchange(request.as_bytes()).await?.status)
}

/// A port that was free a moment ago, for programs that cannot take one and say which.
pub(crate) fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr()?.port())
}
