//! What the operator says about a backend. Changes when it says something else.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::choice::choice;
use crate::schema;

/// What is known about a backend. Written by the operator alone.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct McpBackendStatus {
    /// Generation of the specification that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, ResolvedRefs, Programmed, Available and Degraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Option<Vec<Condition>>,
    /// What the server was found to speak, with protocol: Auto.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<DetectedProtocol>,
    /// Endpoints, counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<BackendEndpoints>,
    /// Tools, counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<BackendTools>,
    /// What the server says about itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_info: Option<ServerInfo>,
    /// State at each gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace", "name"])
    )]
    pub gateways: Option<Vec<AttachedGateway>>,
}

choice! {
    /// What a server was found to speak.
    pub enum DetectedProtocol {
        /// Streamable HTTP.
        StreamableHTTP,
        /// HTTP+SSE of 2024-11-05.
        SSE,
        /// JSON-RPC messages on a WebSocket.
        WebSocket,
    }
}

/// Endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendEndpoints {
    /// All of them.
    pub total: i32,
    /// Of these, ready to serve.
    pub ready: i32,
    /// Of these, without requests because they failed.
    pub ejected: i32,
}

/// Tools.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendTools {
    /// Tools that the server has.
    pub discovered: i32,
    /// Of these, shown to clients.
    pub exposed: i32,
    /// Of these, left out by the filter.
    pub filtered: i32,
}

/// What a server says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerInfo {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub name: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub version: Option<String>,
    /// Revision of MCP that was agreed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub protocol_version: Option<String>,
}

/// State of a backend at one gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachedGateway {
    /// Namespace of the gateway.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Name of the gateway.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Accepted and Programmed at this gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Option<Vec<Condition>>,
    /// Pods that have this backend's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<ProgrammedPods>,
}

/// Pods of a gateway that have a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgrammedPods {
    /// Pods that serve it.
    pub acked: i32,
    /// Ready pods.
    pub pods: i32,
}
