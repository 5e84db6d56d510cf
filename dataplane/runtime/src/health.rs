//! The health pages. Changes when a page or its body changes.
//!
//! `/healthz`: the process runs. `/ready`: it wants traffic; backends have no say in it. `/health`: a report for people
//! and monitors, which does judge the backends.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::readiness::{Readiness, State};
use crate::timestamp;

/// What is known about a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendState {
    /// Not tried yet, or started only on demand. Counts neither as healthy nor as failing.
    Unknown,
    /// The last contact succeeded.
    Healthy,
    /// The last contact failed.
    Unhealthy,
}

impl BackendState {
    /// The word used on the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One backend on the page. The page needs no authentication: no addresses with credentials, no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendHealth {
    /// Configured name.
    pub name: String,
    /// Routing key.
    pub namespace: String,
    /// What is known.
    pub state: BackendState,
    /// Why it is in that state, when that helps a reader.
    pub reason: Option<String>,
    /// How it is spoken to, once that is known.
    pub protocol: Option<&'static str>,
    /// Protocol generations in which it was read.
    pub generations: Vec<&'static str>,
    /// Places where it is reached.
    pub endpoints: usize,
    /// Places that could not be reached lately.
    pub failing_endpoints: usize,
}

/// Where the configuration comes from, when that is not a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Whether there is any.
    pub healthy: bool,
    /// Its origin in a word.
    pub source: Option<&'static str>,
    /// The same for people, with how fresh it is.
    pub message: String,
    /// The other pods of the same gateway; `None` when nobody has said which there are.
    pub peers: Option<OtherPods>,
}

/// Other pods of the same gateway. No addresses, as everywhere on this page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherPods {
    /// How many there are.
    pub count: usize,
    /// Names of some of them.
    pub some: Vec<String>,
}

/// Who knows the backends.
pub trait HealthSource: Send + Sync {
    /// All configured backends, in the order they shall appear. Called once per page view; must not block.
    fn backends(&self) -> Vec<BackendHealth>;

    /// Where they come from; `None` for a file.
    fn configuration(&self) -> Option<Configuration> {
        None
    }
}

/// An answer to one page view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthReply {
    /// HTTP status: 200 or 503.
    pub status: u16,
    /// `Content-Type` header.
    pub content_type: &'static str,
    /// Body.
    pub body: String,
}

/// Answers the health pages; cheap to clone.
#[derive(Clone)]
pub struct Health {
    readiness: Readiness,
    source: Arc<dyn HealthSource>,
    version: &'static str,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

impl Health {
    /// `version` is the program's, shown in the report.
    pub fn new(readiness: Readiness, source: Arc<dyn HealthSource>, version: &'static str) -> Self {
        Self { readiness, source, version }
    }

    /// The page at `path` (without query), or `None` when that is no health page.
    pub fn respond(&self, path: &str, now: SystemTime) -> Option<HealthReply> {
        match path {
            "/healthz" => Some(plain(200, "OK")),
            "/ready" => Some(match self.readiness.state() {
                State::Ready => plain(200, "Ready"),
                State::Starting(_) | State::Draining => plain(503, "Not ready"),
            }),
            "/health" => Some(self.report(now)),
            _ => None,
        }
    }

    fn report(&self, now: SystemTime) -> HealthReply {
        let backends = self.source.backends();
        let readiness = self.readiness.state();
        let timestamp = timestamp::rfc3339(now);
        let healthy_endpoints = count(&backends, BackendState::Healthy);
        let failing = count(&backends, BackendState::Unhealthy);
        let ready = readiness == State::Ready;
        let reachable = backends.is_empty() || failing < backends.len();
        let healthy = ready && reachable;

        let ready_text = match &readiness {
            State::Ready => "accepting traffic".to_owned(),
            State::Starting(pending) => format!("starting, waiting for {}", pending.join(", ")),
            State::Draining => "draining".to_owned(),
        };
        let endpoints_text = match (backends.len(), failing) {
            (0, _) => "no backend is configured".to_owned(),
            (all, 0) => {
                format!("{healthy_endpoints} of {all} backends are known to be healthy, none is failing")
            }
            (all, failing) => format!("{failing} of {all} backends are failing"),
        };
        let message = if !ready {
            ready_text.clone()
        } else if !reachable {
            "every backend is failing".to_owned()
        } else if failing > 0 {
            endpoints_text.clone()
        } else {
            "all systems operational".to_owned()
        };

        let mut namespaces: Vec<&str> = backends.iter().map(|backend| backend.namespace.as_str()).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        let check = |healthy: bool, message: &str| json!({"healthy": healthy, "message": message, "timestamp": timestamp});
        let per_backend: Map<String, Value> =
            backends.iter().map(|backend| (backend.name.clone(), describe(backend))).collect();
        let mut subsystems = json!({
            "readiness": {"healthy": ready, "message": ready_text},
            "backends": per_backend,
        });
        let discovery = match self.source.configuration() {
            None => check(true, "backends come from the configuration"),
            Some(Configuration { healthy, source, message, peers }) => {
                subsystems["configuration"] =
                    json!({"healthy": healthy, "source": source, "message": message});
                if let Some(OtherPods { count, some }) = peers {
                    let message = format!("{count} other pods of this gateway are known");
                    subsystems["peers"] =
                        json!({"healthy": true, "message": message, "count": count, "pods": some});
                }
                check(healthy, &message)
            }
        };
        let status = if healthy { "healthy" } else { "unhealthy" };
        // Both published shapes of the original's page in one object: monitors were written against either.
        let body = json!({
            "healthy": healthy,
            "status": status,
            "message": message,
            "endpoints": backends.len(),
            "healthy_endpoints": healthy_endpoints,
            "namespaces": namespaces,
            "checks": {
                "service_discovery": discovery,
                "endpoints": check(reachable, &endpoints_text),
            },
            "timestamp": timestamp,
            "version": self.version,
            "subsystems": subsystems,
            "details": {
                "endpoints": backends.len(),
                "healthy_endpoints": healthy_endpoints,
                "namespaces": namespaces,
                "subsystems": subsystems,
            },
        });
        HealthReply {
            status: if healthy { 200 } else { 503 },
            content_type: "application/json",
            body: body.to_string(),
        }
    }
}

fn count(backends: &[BackendHealth], state: BackendState) -> usize {
    backends.iter().filter(|backend| backend.state == state).count()
}

fn describe(backend: &BackendHealth) -> Value {
    json!({
        "healthy": backend.state != BackendState::Unhealthy,
        "state": backend.state.as_str(),
        "namespace": backend.namespace,
        "reason": backend.reason,
        "protocol": backend.protocol,
        "generations": backend.generations,
        "endpoints": backend.endpoints,
        "failing_endpoints": backend.failing_endpoints,
    })
}

fn plain(status: u16, body: &str) -> HealthReply {
    HealthReply { status, content_type: "text/plain; charset=utf-8", body: body.to_owned() }
}

#[cfg(test)]
#[path = "health/tests.rs"]
mod tests;
