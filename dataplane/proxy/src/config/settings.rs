//! What the process itself needs besides the snapshot. Changes when a process-wide setting is added.

use std::net::SocketAddr;

use super::{LogFormat, LogLevel};

/// Settings of the process. The time for in-flight requests at shutdown is `Snapshot::limits.drain_timeout`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSettings {
    /// The log.
    pub log: LogSettings,
    /// Where metrics are served; nowhere when absent.
    pub metrics: Option<MetricsSettings>,
    /// Where `/healthz`, `/ready` and `/health` are served besides the metrics port; nowhere else when absent.
    pub health: Option<SocketAddr>,
}

/// The log, on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// Least severe level that is logged.
    pub level: LogLevel,
    /// Form of a line.
    pub format: LogFormat,
    /// Whether lines name the place in the source.
    pub include_caller: bool,
}

/// The metrics page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Address and port. Every path but those of the health pages answers with metrics.
    pub address: SocketAddr,
}
