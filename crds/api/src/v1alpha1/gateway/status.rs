//! What the operator says about a gateway. Changes when it says something else.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::choice::choice;
use crate::schema;

/// What is known about a gateway. Written by the operator alone.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct McpGatewayStatus {
    /// Generation of the specification that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, ResolvedRefs, Programmed, Ready, SessionStorage and Degraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Option<Vec<Condition>>,
    /// Pods that exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Pods that serve clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Labels of the pods, as text, for autoscalers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// Where clients connect to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub addresses: Option<Vec<GatewayAddress>>,
    /// State of each listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub listeners: Option<Vec<ListenerStatus>>,
    /// Backends, counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backends: Option<BackendCounts>,
    /// Endpoints of all backends, counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<GatewayEndpoints>,
    /// Annotated Services, counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<DiscoveryCounts>,
    /// Tools of all backends, counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<GatewayTools>,
    /// The configuration that pods get, and how many have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<GatewayConfig>,
}

/// An address of the Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayAddress {
    /// IPAddress or Hostname.
    #[serde(rename = "type")]
    pub kind: AddressType,
    /// The address.
    #[schemars(length(max = 253))]
    pub value: String,
}

choice! {
    /// What an address is.
    pub enum AddressType {
        /// A number.
        IPAddress,
        /// A name.
        Hostname,
    }
}

/// State of a listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// Name of the listener.
    #[schemars(length(max = 15))]
    pub name: String,
    /// Backends that it serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached_backends: Option<i32>,
    /// ResolvedRefs and Ready of the listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Option<Vec<Condition>>,
}

/// Backends by how far they came.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendCounts {
    /// Backends that want to be served here.
    pub attached: i32,
    /// Of these, with a valid specification.
    pub accepted: i32,
    /// Of these, known to every ready pod.
    pub programmed: i32,
    /// Of these, with a healthy endpoint on most pods.
    pub available: i32,
}

/// Endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayEndpoints {
    /// All of them.
    pub total: i32,
    /// Of these, ready to serve.
    pub ready: i32,
}

/// Annotated Services.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveryCounts {
    /// Services that are served.
    pub services: i32,
    /// Services that are not, because of an invalid annotation or a McpBackend of the same name.
    pub ignored: i32,
}

/// Tools.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayTools {
    /// Tools that backends have.
    pub discovered: i32,
    /// Of these, shown to clients.
    pub exposed: i32,
    /// Of these, left out by a filter.
    pub filtered: i32,
    /// Of these, left out because several backends have the name.
    pub conflicts: i32,
}

/// The configuration that pods get.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayConfig {
    /// Revision at the replica of the operator that wrote this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Digest over all of it; equal configurations have equal digests.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub hash: Option<String>,
    /// Ready pods.
    pub pods: i32,
    /// Of these, which serve it.
    pub acked: i32,
    /// Of these, which refused a part of it and serve the last good version of that part.
    pub nacked: i32,
    /// acked/pods, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub summary: Option<String>,
    /// Some of the pods that lag behind, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 10),
        inner(length(max = 253)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub laggards: Option<Vec<String>>,
}
