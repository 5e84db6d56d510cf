//! Which backends a gateway has, how they are found, and how requests get to them. Changes when a source of backends
//! or a rule of naming is added.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::choice::choice;
use crate::schema;
use crate::v1alpha1::common::{CaRef, HTTP_URL, Namespaces, SecretKeyRef};
use crate::v1alpha1::traffic::{Strategy, TrafficPolicy};

/// How requests get to backends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Routing {
    /// How an endpoint is chosen, unless the backend says otherwise: RoundRobin, LeastConnections, Weighted, Latency,
    /// Locality or ConsistentHash. This version chooses by RoundRobin, whatever is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Names of tools and prompts on the endpoint of all backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub naming: Option<Naming>,
    /// What lists say while a backend is away: FailOpen (what the others have) or FailClosed (an error), which is without
    /// effect in this version. Default: FailOpen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_mode: Option<FailureMode>,
    /// Treatment of requests, unless the backend says otherwise. Each field is inherited for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defaults: Option<TrafficPolicy>,
}

/// Names on the endpoint of all backends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Naming {
    /// When a name gets its backend's tool namespace as a prefix: Prefix (always), Conditional (when several backends
    /// have it) or None. Default: Conditional.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<NamingMode>,
    /// What stands between prefix and name. Without effect in this version: it is two underscores.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4), regex(pattern = "^[A-Za-z0-9_.-]+$"))]
    pub separator: Option<String>,
    /// What happens to a name that several backends have and that gets no prefix: FirstWins (the one of the highest
    /// priority is shown) or Reject (none of them), which is without effect in this version. Default: FirstWins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_conflict: Option<OnConflict>,
}

choice! {
    /// When a name gets a prefix.
    pub enum NamingMode {
        /// Always.
        Prefix,
        /// When several backends have it.
        Conditional,
        /// Never.
        None,
    }
}

choice! {
    /// What happens to a name of several backends.
    pub enum OnConflict {
        /// None of them is shown.
        Reject,
        /// The one of the highest priority is shown.
        FirstWins,
    }
}

choice! {
    /// What lists say while a backend is away.
    pub enum FailureMode {
        /// What the others have.
        FailOpen,
        /// An error.
        FailClosed,
    }
}

/// Which `McpBackend`s a gateway takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendSelection {
    /// Labels of the McpBackends without gatewayRefs that are taken. Default: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub selector: Option<LabelSelector>,
    /// Namespaces whose McpBackends may name this gateway in gatewayRefs. Default: its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Namespaces>,
}

/// Where backends are found that have no `McpBackend`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Discovery {
    /// Services with the annotation mcp.bridge/enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<ServiceDiscovery>,
    /// Services in Consul. Without effect in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consul: Option<ConsulDiscovery>,
}

/// Discovery of annotated Services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDiscovery {
    /// Whether annotated Services become backends. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Namespaces whose Services are taken. Default: the gateway's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Namespaces>,
    /// Labels that Services must have, too, in the gateway's own namespace as in others. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub selector: Option<LabelSelector>,
    /// Whether a Service without the annotation mcp.bridge/protocol is asked what it speaks: Streamable HTTP first, then
    /// HTTP+SSE. If not, it speaks Streamable HTTP, as with http in the annotation; auto there has it asked even so.
    /// Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detect_protocols: Option<bool>,
    /// Whether the label mcp.bridge/enabled is ignored and only the annotation counts. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotation_only: Option<bool>,
}

/// Discovery in Consul.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.caRef) || self.address.startsWith('https://')",
    "caRef has a meaning with an https:// address only"
))]
pub struct ConsulDiscovery {
    /// URL of Consul, for example https://consul.consul:8501.
    #[schemars(length(max = 2048), regex(pattern = HTTP_URL))]
    pub address: String,
    /// Beginning of the names of the services that are taken. Default: mcp/.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub service_prefix: Option<String>,
    /// Data centre. Default: that of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub datacenter: Option<String>,
    /// Token for Consul's access control lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeyRef>,
    /// Authorities that sign Consul's certificate. Default: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
}

choice! {
    /// What backends of `protocol: Stdio` may do on a gateway.
    pub enum StdioPolicy {
        /// Nothing.
        Forbid,
        /// Run in pods of their own.
        Isolated,
        /// Run as children of the gateway's pods.
        InProcess,
    }
}
