//! Sessions, and what one client may take. Changes when shared state or a limit is added.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::choice::choice;
use crate::v1alpha1::common::{CaRef, SecretKeyRef};

/// Where sessions of clients are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Redis that all pods share. Without effect in this version: each pod keeps its sessions in memory, and a session ends with its pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
    /// Seconds without a request after which a session ends. Default: 1800.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 604_800))]
    pub ttl_seconds: Option<u32>,
}

/// A Redis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "self.mode != 'Standalone' || size(self.addresses) == 1",
    "mode: Standalone needs exactly one address"
))]
#[x_kube(validation = (
    "(self.mode == 'Sentinel') == has(self.masterName)",
    "masterName is required with mode: Sentinel, and only there"
))]
#[x_kube(validation = (
    "self.mode != 'Cluster' || !has(self.db) || self.db == 0",
    "a Redis Cluster has database 0 only"
))]
pub struct Redis {
    /// Standalone, Sentinel (addresses are those of the sentinels) or Cluster (any of its nodes).
    pub mode: RedisMode,
    /// Addresses as host:port.
    #[schemars(
        length(min = 1, max = 16),
        inner(length(max = 261), regex(pattern = r"^(\[[0-9a-fA-F:.]+\]|[^:/ ]+):[0-9]{1,5}$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub addresses: Vec<String>,
    /// Name of the master that the sentinels watch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub master_name: Option<String>,
    /// Number of the database. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1023))]
    pub db: Option<u32>,
    /// User of Redis' access control lists. Default: the default user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub username: Option<String>,
    /// Password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeyRef>,
    /// Encryption. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<RedisTls>,
    /// Beginning of all keys, so that several gateways can share a Redis; ends with a colon. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = "^[^ {}]*:$"))]
    pub key_prefix: Option<String>,
}

choice! {
    /// How Redis is run.
    pub enum RedisMode {
        /// One server.
        Standalone,
        /// A master that sentinels watch.
        Sentinel,
        /// Shards.
        Cluster,
    }
}

/// Encryption of the connections to Redis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisTls {
    /// Whether connections are encrypted. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Authorities that sign the server's certificate. Default: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
    /// Name that the certificate must have. Default: the host of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
}

/// How much clients may ask. Nothing of it is enforced in this version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// New connections from one address per minute. Without effect in this version; limits.maxConnectionsPerIP bounds those that are open.
    #[serde(rename = "perIPConnections", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub per_ip_connections: Option<u32>,
    /// Requests of one user. Without effect in this version: there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_user: Option<Rate>,
    /// Requests of all users together. Without effect in this version: there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global: Option<Rate>,
    /// Where requests are counted: Redis (over all pods) or Memory (each pod grants its share). Without effect in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<RateStore>,
}

/// A rate of requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// Requests per minute.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub requests_per_minute: u32,
    /// Requests beyond the even rate that are let through at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub burst: Option<u32>,
}

choice! {
    /// Where requests are counted.
    pub enum RateStore {
        /// Over all pods.
        Redis,
        /// In each pod.
        Memory,
    }
}

/// Bounds on what one pod holds. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.maxConnectionsPerIP) || !has(self.maxConnections) || self.maxConnectionsPerIP <= self.maxConnections",
    "maxConnectionsPerIP must not be greater than maxConnections"
))]
pub struct Limits {
    /// Connections at once of each listener of a pod. Default: 50000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: Option<u32>,
    /// Connections at once from one address to each listener of a pod. Default: 1000.
    #[serde(rename = "maxConnectionsPerIP", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections_per_ip: Option<u32>,
    /// Bytes of one HTTP request. Default: 1048576.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub http_body_bytes: Option<u32>,
    /// Bytes of one WebSocket message. One bound counts for both kinds of messages: the greater one of this and
    /// tcpPayloadBytes, or the one that is written. Default: 10485760.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub web_socket_message_bytes: Option<u32>,
    /// Bytes of one message of the binary protocol. One bound counts for both kinds of messages: the greater one of this
    /// and webSocketMessageBytes, or the one that is written. Default: 10485760.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub tcp_payload_bytes: Option<u32>,
    /// Sessions at once; more are refused, with advice to come back. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_sessions: Option<u32>,
}
