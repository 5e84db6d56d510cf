//! How requests to one backend are spread, bounded, repeated and checked. A gateway has defaults for it, a backend
//! overrides them field by field. Changes when such a policy is added.

mod inherit;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{TimeSpan, URL_PATH};
use crate::choice::choice;

/// Treatment of the requests to a backend.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// How requests are spread over the endpoints. Without effect in this version: they are taken in turn, and those that failed lately
    /// last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancing: Option<LoadBalancing>,
    /// When an endpoint gets no more requests because it fails. Without effect in this version: one that cannot be reached is tried last,
    /// for a second at first and at most half a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// When a failed request is sent again. Without effect in this version: a request that was never sent goes to another endpoint, and
    /// nothing else is sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// How long the gateway waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// Bounds on what one pod asks of the backend at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_pool: Option<ConnectionPool>,
    /// How endpoints are checked while nobody uses them. Without effect in this version: requests alone tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

/// How requests are spread over endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancing {
    /// How an endpoint is chosen: RoundRobin, LeastConnections, Weighted, Latency, Locality (same zone first) or
    /// ConsistentHash (by session). This version chooses by RoundRobin, whatever is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Share of this backend among those that serve the same tool namespace. 0 means no new sessions. Without effect in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: Option<u32>,
}

choice! {
    /// How an endpoint is chosen.
    pub enum Strategy {
        /// One after the other.
        RoundRobin,
        /// The one with the fewest requests in flight.
        LeastConnections,
        /// In proportion to the weights.
        Weighted,
        /// The one that lately answered fastest.
        Latency,
        /// One in the zone of the pod, if any is healthy.
        Locality,
        /// The same one for the same session.
        ConsistentHash,
    }
}

/// When an endpoint gets no more requests because it fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// Failures in a row that open the circuit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub failure_threshold: Option<u32>,
    /// Successes in a row that close it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub success_threshold: Option<u32>,
    /// Seconds without any request before it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub open_seconds: Option<u32>,
    /// Requests at once while it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub half_open_requests: Option<u32>,
    /// What counts as a failure: Connect, Timeout, ServerError (HTTP 5xx) or Protocol (not MCP). Errors that a tool
    /// reports never count.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub error_classes: Option<Vec<ErrorClass>>,
}

choice! {
    /// A kind of failure of an endpoint.
    pub enum ErrorClass {
        /// No connection, or a broken one.
        Connect,
        /// No answer in time.
        Timeout,
        /// HTTP 5xx.
        ServerError,
        /// An answer that is not MCP.
        Protocol,
    }
}

/// When a failed request is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// Further attempts after the first. 0 switches retries off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub attempts: Option<u32>,
    /// What is tried again: ConnectFailure (the request was never sent), Unavailable (HTTP 503), Timeout, or
    /// IdempotentTools (calls of tools that declare themselves idempotent, too).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub retry_on: Option<Vec<RetryOn>>,
    /// Time between attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// Retries as a percentage of all requests, beyond which nothing is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub budget_percent: Option<u32>,
}

choice! {
    /// What is tried again.
    pub enum RetryOn {
        /// The request was never sent.
        ConnectFailure,
        /// The endpoint said that it does not serve now.
        Unavailable,
        /// No answer in time, where the method is safe to repeat.
        Timeout,
        /// Calls of tools that declare themselves idempotent.
        IdempotentTools,
    }
}

/// Growing time between attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.base) || !has(self.max) || duration(self.base) <= duration(self.max)",
    "base must not be longer than max"
))]
pub struct Backoff {
    /// Time before the first retry, for example 100ms. It doubles each time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<TimeSpan>,
    /// Longest time between two attempts, for example 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<TimeSpan>,
}

/// How long the gateway waits for a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// Time to connect and to agree on a session, for example 5s. Default: 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<TimeSpan>,
    /// Time until the handshake of a session is answered, for example 30s. Without effect in this version: connect bounds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initialize: Option<TimeSpan>,
    /// Time until a request is answered, for example 60s. Progress starts it again. Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<TimeSpan>,
    /// Time after which an unused connection is closed, for example 5m. Without effect in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<TimeSpan>,
}

/// Bounds on what one pod asks of the backend at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.maxIdle) || !has(self.maxConnections) || self.maxIdle <= self.maxConnections",
    "maxIdle must not be greater than maxConnections"
))]
pub struct ConnectionPool {
    /// Requests in flight at once, over however many connections; more are refused as backend_busy. Default: 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_connections: Option<u32>,
    /// Unused connections that are kept open. Without effect in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub max_idle: Option<u32>,
    /// Requests in flight of one session. Without effect in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_per_session: Option<u32>,
    /// Seconds between signs of life on an unused connection. Without effect in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 7200))]
    pub keepalive_seconds: Option<u32>,
}

/// How endpoints are checked while nobody uses them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.path) || (has(self.type) && self.type == 'Http')",
    "path has a meaning with type: Http only"
))]
#[x_kube(validation = (
    "!has(self.timeoutSeconds) || !has(self.intervalSeconds) || self.timeoutSeconds <= self.intervalSeconds",
    "timeoutSeconds must not be greater than intervalSeconds"
))]
pub struct HealthCheck {
    /// What is done: Mcp (a ping within a session that exists; never a new session), Http (a GET of path), Tcp (a
    /// connection) or None.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<HealthCheckType>,
    /// Seconds between checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub interval_seconds: Option<u32>,
    /// Seconds until a check counts as failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 300))]
    pub timeout_seconds: Option<u32>,
    /// Path of the GET. 200 to 399 is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = URL_PATH))]
    pub path: Option<String>,
    /// Failed checks in a row that make an endpoint unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy_threshold: Option<u32>,
}

choice! {
    /// What a health check does.
    pub enum HealthCheckType {
        /// A ping of MCP.
        Mcp,
        /// A GET.
        Http,
        /// A connection.
        Tcp,
        /// Nothing; requests of clients alone tell.
        None,
    }
}
