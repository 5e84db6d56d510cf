//! A gateway that an operator configures, and resources for it. Changes with the bootstrap file and the resources.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bridge_snapshot::push::{BackendPart, Resource, SecretData};
use bridge_snapshot::{
    Access, Backend, EraPolicy, Exposure, HttpBackend, Limits, Listener, Material, Naming, Protocol, Secret,
    Sessions, Snapshot, Target,
};
use serde_json::{Value, json};

use crate::gateway::{binary, wait_listening};
use crate::process::{Process, Signal};
use crate::{Operator, PATIENCE, TempDir, http};

/// The gateway that the pods of tests are of.
pub const GATEWAY: &str = "mcp-system/main";

/// What outlives the containers of a pod: its mounts.
#[derive(Debug)]
pub struct Mounts {
    dir: TempDir,
}

/// A running pod; killed on drop.
#[derive(Debug)]
pub struct Pod {
    process: Process,
    health: SocketAddr,
}

impl Mounts {
    /// Mounts that lead to these operators, and trust this authority.
    pub fn new(operators: &[String], authority: &str) -> Result<Self> {
        let dir = TempDir::new("pod")?;
        let mounts = Self { dir };
        mounts.trust(authority)?;
        mounts.hand("first-token")?;
        std::fs::create_dir(mounts.path("state"))?;
        let bootstrap = json!({
            "gateway": GATEWAY,
            "operators": operators,
            "ca_file": mounts.path("ca.crt"),
            "token_file": mounts.path("token"),
            "state_dir": mounts.path("state"),
            "cold_start": mounts.path("snapshot"),
            "metrics": "127.0.0.1:0",
            "log_level": "debug",
        });
        mounts.dir.write("bootstrap.yaml", &bootstrap.to_string())?;
        Ok(mounts)
    }

    /// Mounts that lead to this operator.
    pub fn of(operator: &Operator) -> Result<Self> {
        Self::new(&[operator.address()], operator.authority())
    }

    /// Replaces the authority.
    pub fn trust(&self, authority: &str) -> Result<()> {
        self.dir.write("ca.crt", authority).map(drop)
    }

    /// Replaces the token.
    pub fn hand(&self, token: &str) -> Result<()> {
        self.dir.write("token", &format!("{token}\n")).map(drop)
    }

    /// The configuration for a cold start, as one file.
    pub fn cold_start(&self, text: &str) -> Result<()> {
        self.dir.write("snapshot", text).map(drop)
    }

    /// The last good configuration, once it is there.
    pub fn last_known_good(&self) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match std::fs::read_to_string(self.path("state/last-known-good.json")) {
                Ok(text) => return Ok(text),
                Err(error) => ensure!(Instant::now() < deadline, "the last good configuration: {error}"),
            }
            crate::metrics::pause(Duration::from_millis(20));
        }
    }

    /// A path in the mounts.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Pod {
    /// Starts a container of the pod; waits for its health page only.
    pub fn start(mounts: &Mounts) -> Result<Self> {
        Self::start_as(0, mounts)
    }

    /// The same for the pod with this number: `main-N` with the uid `uid-N`.
    pub fn start_as(number: usize, mounts: &Mounts) -> Result<Self> {
        let mut command = Command::new(binary("mcp-gateway")?);
        command.arg("--cluster-config").arg(mounts.path("bootstrap.yaml"));
        command.env("POD_NAME", format!("main-{number}")).env("POD_UID", format!("uid-{number}"));
        let process = Process::spawn("mcp-gateway", &command)?;
        let health = wait_listening(&process, "metrics")?;
        Ok(Self { process, health })
    }

    /// The process: its log, signals, exit.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Waits until it is ready; gives the address for clients.
    pub fn wait_ready(&self) -> Result<String> {
        let address = wait_listening(&self.process, "main")?;
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready()? {
            ensure!(Instant::now() < deadline, "the pod listens and is not ready");
            crate::metrics::pause(Duration::from_millis(20));
        }
        Ok(format!("http://{address}"))
    }

    /// Whether it wants traffic.
    pub fn is_ready(&self) -> Result<bool> {
        Ok(http::get(&format!("http://{}/ready", self.health))?.head.status == 200)
    }

    /// The health report.
    pub fn health(&self) -> Result<Value> {
        http::get(&format!("http://{}/health", self.health))?.json()
    }

    /// The metrics page.
    pub fn metrics(&self) -> Result<String> {
        Ok(String::from_utf8(http::get(&format!("http://{}/metrics", self.health))?.body)?)
    }

    /// Waits for a structured log line that satisfies `wanted`.
    pub fn wait_log(&self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        self.process.wait_line(PATIENCE, |line| serde_json::from_str(line).ok().filter(&wanted))
    }

    /// Asks it to leave and waits until it has.
    pub fn stop(&self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        let exit = self.process.wait_exit(PATIENCE)?;
        ensure!(exit.success(), "{}", self.process.complain(&format!("ended with {exit}")));
        Ok(())
    }
}

/// A snapshot with one open listener on a free port.
pub fn snapshot() -> Snapshot {
    Snapshot {
        listeners: vec![listener("main")],
        local: Vec::new(),
        backends: Vec::new(),
        access: Access::Anonymous { explicit: true },
        naming: Naming::default(),
        limits: Limits::default(),
        sessions: Sessions::default(),
        log_level: None,
        refuse_local: false,
    }
}

/// A listener for HTTP on a free port.
pub fn listener(name: &str) -> Listener {
    Listener {
        name: name.to_owned(),
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        protocols: vec![Protocol::StreamableHttp],
        tls: None,
        allowed_origins: Vec::new(),
        allowed_hosts: Vec::new(),
        max_connections: 1000,
        max_connections_per_ip: 0,
    }
}

/// The gateway's own resource.
pub fn gateway(snapshot: Snapshot) -> Resource {
    Resource::Gateway(Box::new(snapshot))
}

/// A backend of the same namespace at a Streamable HTTP endpoint.
pub fn backend(name: &str, url: &str) -> Resource {
    Resource::Backend(Box::new(part(name, url)))
}

/// The same, to be changed.
pub fn part(name: &str, url: &str) -> BackendPart {
    let backend = Backend {
        name: name.to_owned(),
        namespace: name.to_owned(),
        target: Target::Http(HttpBackend { url: url.to_owned(), headers: std::collections::BTreeMap::new() }),
        alternatives: Vec::new(),
        deserted: false,
        era: EraPolicy::Auto,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_mins(1),
        max_concurrency: 100,
        exposure: Exposure::default(),
        tls: None,
    };
    BackendPart { backend, credentials: Vec::new(), rank: 0 }
}

/// A Secret with these values.
pub fn secret(name: &str, data: &[(&str, &str)]) -> Resource {
    let value = |(key, value): &(&str, &str)| ((*key).to_owned(), Secret::new(*value));
    Resource::Secret(name.to_owned(), SecretData { data: data.iter().map(value).collect() })
}

/// A value of a Secret.
pub fn material(secret: &str, key: &str) -> Material {
    Material::Key { secret: secret.to_owned(), key: key.to_owned() }
}
