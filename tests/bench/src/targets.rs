//! What is measured: how each target is started in front of the backend. Changes when a target is added.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::process::Command;

use crate::calls::Mode;
use crate::process::{Process, free_port};
use crate::procfs::Family;
use crate::wire::Endpoint;

/// What can stand between the client and the backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Nothing.
    Direct,
    /// nginx with one worker process and upstream keep-alive.
    Nginx,
    /// Bare hyper with one worker thread.
    HyperOne,
    /// Bare hyper with as many worker threads as the gateway: the base of all ratios.
    Hyper,
    /// Bare hyper that parses both bodies into JSON trees.
    HyperParse,
    /// The gateway.
    Gateway,
}

impl Kind {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Self; 6] =
        [Self::Direct, Self::Nginx, Self::HyperOne, Self::Hyper, Self::HyperParse, Self::Gateway];

    /// The name in the report.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Direct => "direct call",
            Self::Nginx => "nginx",
            Self::HyperOne => "bare hyper, 1 worker",
            Self::Hyper => "bare hyper",
            Self::HyperParse => "bare hyper + JSON parse both ways",
            Self::Gateway => "mcp-gateway",
        }
    }

    /// The endpoints that are measured on this target.
    pub(crate) fn paths(self) -> &'static [&'static str] {
        if self == Self::Gateway { &["/mcp/bench", "/mcp"] } else { &["/mcp"] }
    }
}

/// Where things are, and how many workers they get.
pub(crate) struct Setting {
    pub(crate) directory: PathBuf,
    pub(crate) gateway: PathBuf,
    pub(crate) workers: Option<usize>,
}

/// A running target.
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) endpoint: Endpoint,
    pub(crate) resident_at_start: Option<u64>,
    pub(crate) threads: Option<u64>,
    process: Option<Process>,
}

impl Target {
    /// Starts a target in front of `backend` and waits until it answers. `None`: nginx is not installed.
    pub(crate) async fn start(kind: Kind, backend: &Endpoint, setting: &Setting) -> Result<Option<Self>> {
        let started = match kind {
            Kind::Direct => None,
            Kind::Nginx => match nginx(backend, &setting.directory).await? {
                Some(started) => Some(started),
                None => return Ok(None),
            },
            Kind::HyperOne => Some(hyper("hyper-one", backend, setting, Some(1), false).await?),
            Kind::Hyper => Some(hyper("hyper", backend, setting, setting.workers, false).await?),
            Kind::HyperParse => Some(hyper("hyper-parse", backend, setting, setting.workers, true).await?),
            Kind::Gateway => Some(gateway(backend, setting).await?),
        };
        let Some((process, endpoint)) = started else {
            let (endpoint, process) = (backend.clone(), None);
            return Ok(Some(Self { kind, endpoint, resident_at_start: None, threads: None, process }));
        };
        let family = process.family()?;
        let (resident_at_start, threads) = (Some(family.resident()?), Some(family.threads()?));
        Ok(Some(Self { kind, endpoint, resident_at_start, threads, process: Some(process) }))
    }

    /// The process that is measured; none for direct calls.
    pub(crate) fn family(&self) -> Result<Option<Family>> {
        self.process.as_ref().map(Process::family).transpose()
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> Result<()> {
        match self.process {
            Some(process) => process.stop().await,
            None => Ok(()),
        }
    }
}

/// Starts the far end.
pub(crate) async fn backend(directory: &Path) -> Result<(Process, Endpoint)> {
    let mut command = own_command(&["backend"])?;
    let mut process = Process::start("backend", directory, &mut command)?;
    let endpoint = process.announced().await?;
    Ok((process, endpoint))
}

/// What `nginx -v` says; `None` when it is not installed.
pub(crate) fn nginx_version() -> Option<String> {
    // Debian keeps it in sbin, which is not on every user's path.
    ["nginx", "/usr/sbin/nginx"].into_iter().find_map(|program| {
        let output = std::process::Command::new(program).arg("-v").output().ok()?;
        Some(String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("nginx version: ").to_owned())
    })
}

fn own_command(arguments: &[&str]) -> Result<Command> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.args(arguments).arg("--die-with-parent");
    Ok(command)
}

fn limit_workers(command: &mut Command, workers: Option<usize>) {
    if let Some(workers) = workers {
        command.env("TOKIO_WORKER_THREADS", workers.to_string());
    }
}

async fn hyper(
    name: &str,
    backend: &Endpoint,
    setting: &Setting,
    workers: Option<usize>,
    parse: bool,
) -> Result<(Process, Endpoint)> {
    let mut command = own_command(&["proxy", "--to", &backend.to_string()])?;
    if parse {
        command.arg("--parse");
    }
    limit_workers(&mut command, workers);
    let mut process = Process::start(name, &setting.directory, &mut command)?;
    let endpoint = process.announced().await?;
    Ok((process, endpoint))
}

async fn nginx(backend: &Endpoint, directory: &Path) -> Result<Option<(Process, Endpoint)>> {
    if nginx_version().is_none() {
        return Ok(None);
    }
    let port = free_port()?;
    let home = directory.join("nginx");
    fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
    let config = home.join("nginx.conf");
    let shown = home.display();
    let authority = backend.authority();
    fs::write(
        &config,
        format!(
            "daemon off;
worker_processes 1;
pid {shown}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {shown}/body;
    proxy_temp_path {shown}/proxy;
    fastcgi_temp_path {shown}/fastcgi;
    uwsgi_temp_path {shown}/uwsgi;
    scgi_temp_path {shown}/scgi;
    keepalive_requests 1000000000;
    upstream backend {{
        server {authority};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
"
        ),
    )
    .with_context(|| format!("cannot write {}", config.display()))?;
    let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let mut command = Command::new(program);
    command.arg("-e").arg("stderr").arg("-p").arg(&home).arg("-c").arg(&config);
    let mut process = Process::start("nginx", directory, &mut command)?;
    let endpoint = Endpoint::local(port, "/mcp");
    process.ready(&endpoint.with_path("/health")).await?;
    Ok(Some((process, endpoint)))
}

async fn gateway(backend: &Endpoint, setting: &Setting) -> Result<(Process, Endpoint)> {
    let program = &setting.gateway;
    anyhow::ensure!(
        program.is_file(),
        "{} does not exist: build it with `cargo build --release -p mcp-gateway`",
        program.display()
    );
    let port = free_port()?;
    let config = setting.directory.join(format!("gateway-{port}.yaml"));
    fs::write(
        &config,
        format!(
            "version: 1
server: {{ host: 127.0.0.1, port: {port}, metrics_port: 0, health_port: 0, tls: {{ enabled: false }} }}
logging: {{ level: warn, format: json }}
backends:
  - name: bench
    protocol: http
    config: {{ base_url: \"{backend}\", era: auto }}
"
        ),
    )
    .with_context(|| format!("cannot write {}", config.display()))?;
    let mut command = Command::new(program);
    command.arg("--config").arg(&config);
    limit_workers(&mut command, setting.workers);
    let mut process = Process::start("gateway", &setting.directory, &mut command)?;
    let endpoint = Endpoint::local(port, "/mcp");
    process.ready(&endpoint.with_path("/ready")).await?;
    Ok((process, endpoint))
}

/// The traffic that is measured on every target.
pub(crate) const MODES: [Mode; 2] = [Mode::Legacy, Mode::Modern];
