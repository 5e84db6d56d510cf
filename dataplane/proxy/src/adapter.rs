//! `mcp-gateway stdio-adapter`: a gateway with one command behind it, made from flags instead of a file. Changes when the
//! pod of a stdio backend needs another setting.
//!
//! It serves whoever reaches it: in a cluster the pods of gateways, which have done the asking for credentials before.

mod install;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bridge_snapshot::{
    Access, Backend, EraPolicy, Limits, Listener, Naming, Protocol, Secret, Sessions, Snapshot, StdioBackend,
    Target,
};
use bridge_transport::stdio::{ProgramError, find_program, is_inherited};
use clap::{Args, ValueEnum};

use crate::config::{self, Loaded, LogFormat, LogLevel, LogSettings, MetricsSettings, ProcessSettings};
use crate::run::{Server, StartError};

pub use install::{InstallError, install};

/// Name and namespace of the one backend.
const NAME: &str = "server";
/// Children beside those of sessions: one for what the server offers to each generation.
const OWN_CHILDREN: usize = 2;
/// How long a server may take to start: some are downloaded first.
const CONNECT_TIMEOUT: Duration = Duration::from_mins(1);
/// Requests in flight at once, over all sessions.
const MAX_CONCURRENCY: usize = 1024;
/// Connections at once: few clients, each with many.
const MAX_CONNECTIONS: usize = 10_000;
/// Time for requests in flight at the end, so that with the end of the children it fits into the 30 seconds that
/// Kubernetes gives a pod.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Serve one stdio server over Streamable HTTP: what runs in the pod of an isolated stdio backend.
#[derive(Debug, Args)]
pub struct StdioAdapter {
    /// Copy this program to PATH and exit.
    #[arg(
        long,
        value_name = "PATH",
        conflicts_with_all = ["listen", "metrics", "session_mode", "max_sessions", "session_ttl", "command"]
    )]
    pub install: Option<PathBuf>,

    /// Where to serve `/mcp`, `/healthz` and `/ready`. Everybody who reaches it is served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Where to serve `/metrics`; nowhere when absent.
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,

    /// Who shares a process of the server.
    #[arg(long, value_name = "MODE", default_value = "per-session")]
    pub session_mode: SessionMode,

    /// Sessions at once; who comes then is told to come back.
    #[arg(long, value_name = "NUMBER", default_value = "50")]
    pub max_sessions: NonZeroUsize,

    /// How long a session is kept that nobody uses, for example 90s or 30m.
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = config::go_duration)]
    pub session_ttl: Duration,

    /// The server: program and arguments.
    #[arg(last = true, required_unless_present = "install", value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Who shares a process of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SessionMode {
    /// Each session has one to itself.
    PerSession,
    /// All share one, which can ask none of them anything.
    Shared,
}

/// What an adapter runs on.
#[derive(Debug)]
pub struct Settings {
    loaded: Loaded,
    /// Variables that are no text, which the server does not get.
    pub unreadable: Vec<String>,
}

impl StdioAdapter {
    /// Makes the configuration. The server gets all of `environment`: it is the server's own, in which nothing is for us.
    pub fn settings(
        &self,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Settings, ProgramError> {
        let (mut env, mut unreadable) = (BTreeMap::new(), Vec::new());
        let mut path = None;
        for (name, value) in environment {
            if name == "PATH" {
                path = Some(value.clone());
            }
            // What every child sees anyway is no secret, and need not be kept out of the log.
            if is_inherited(&name, &value) {
                continue;
            }
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => drop(env.insert(name, Secret::new(value))),
                (Ok(name), Err(_)) => unreadable.push(name),
                (Err(name), _) => unreadable.push(name.to_string_lossy().into_owned()),
            }
        }
        let program = self.command.first().map(OsString::from).unwrap_or_default();
        find_program(&program, path.as_deref(), Path::new("."))?;
        let loaded = Loaded { snapshot: self.snapshot(env), process: self.process(), warnings: Vec::new() };
        Ok(Settings { loaded, unreadable })
    }

    fn snapshot(&self, env: BTreeMap<String, Secret>) -> Snapshot {
        let limits = Limits::default();
        let limits = Limits {
            // The gateway in front has its own, which may be as large as this.
            max_http_body: limits.max_message,
            drain_timeout: DRAIN_TIMEOUT,
            ..limits
        };
        let listener = Listener {
            name: "main".to_owned(),
            address: self.listen,
            protocols: vec![Protocol::StreamableHttp],
            tls: None,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            max_connections: MAX_CONNECTIONS,
            max_connections_per_ip: 0,
        };
        let sessions = self.max_sessions.get();
        let shared = self.session_mode == SessionMode::Shared;
        let stdio = StdioBackend {
            command: self.command.clone(),
            working_dir: None,
            env,
            max_processes: if shared { 1 } else { sessions.saturating_add(OWN_CHILDREN) },
            shared,
        };
        let backend = Backend {
            name: NAME.to_owned(),
            namespace: NAME.to_owned(),
            target: Target::Stdio(stdio),
            alternatives: Vec::new(),
            deserted: false,
            era: EraPolicy::Auto,
            connect_timeout: CONNECT_TIMEOUT,
            // The gateway in front knows how long its clients may wait, and cancels.
            request_timeout: limits.max_request_duration,
            max_concurrency: MAX_CONCURRENCY,
            exposure: bridge_snapshot::Exposure::default(),
            tls: None,
        };
        Snapshot {
            listeners: vec![listener],
            local: Vec::new(),
            backends: vec![backend],
            access: Access::Anonymous { explicit: true },
            naming: Naming::Never,
            limits,
            sessions: Sessions { idle_ttl: self.session_ttl, max_sessions: sessions },
            log_level: None,
            refuse_local: false,
        }
    }

    fn process(&self) -> ProcessSettings {
        ProcessSettings {
            log: LogSettings { level: LogLevel::Info, format: LogFormat::Json, include_caller: false },
            metrics: self.metrics.map(|address| MetricsSettings { address }),
            health: None,
        }
    }
}

impl Settings {
    /// How to log.
    pub fn log(&self) -> LogSettings {
        self.loaded.process.log
    }

    /// Starts to serve.
    pub async fn start(self) -> Result<Server, StartError> {
        Server::start_beside(self.loaded, NAME).await
    }
}

#[cfg(test)]
mod tests;
