//! `McpBackend`: an MCP server behind gateways. Changes when a concern is added; each has a file below.

mod auth;
mod source;
mod status;
mod tools;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use auth::{
    ApiKeyAuth, BackendAuth, BackendAuthType, BackendTls, BackendTlsMode, BasicAuth, BearerAuth,
    ForwardHeader, Headers, OAuth2Auth, SetHeader, TokenExchangeAuth,
};
pub use source::{
    ConsulService, EndpointUrl, EnvVar, GatewayRef, ServiceRef, SessionMode, StaticEndpoint, Stdio,
};
pub use status::{
    AttachedGateway, BackendEndpoints, BackendTools, DetectedProtocol, McpBackendStatus, ProgrammedPods,
    ServerInfo,
};
pub use tools::{Filter, ToolAnnotations, ToolFilter, ToolOverride};

use super::common::URL_PATH;
use super::traffic::TrafficPolicy;
use crate::choice::choice;

/// An MCP server behind gateways. Exactly one of endpoints, serviceRef, stdio and consul says where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "mcp.bridge",
    version = "v1alpha1",
    kind = "McpBackend",
    plural = "mcpbackends",
    namespaced,
    status = "McpBackendStatus",
    derive = "PartialEq",
    shortname = "mcpbe",
    category = "mcp",
    category = "mcp-bridge",
    doc = "An MCP server behind one or more McpGateways.",
    printcolumn = r#"{"name": "Protocol", "type": "string", "jsonPath": ".spec.protocol", "description": "What the server speaks."}"#,
    printcolumn = r#"{"name": "Endpoints", "type": "integer", "jsonPath": ".status.endpoints.ready", "description": "Endpoints that are ready to serve."}"#,
    printcolumn = r#"{"name": "Tools", "type": "integer", "jsonPath": ".status.tools.exposed", "description": "Tools that clients see."}"#,
    printcolumn = r#"{"name": "Accepted", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].status", "description": "Whether the specification is valid and a gateway takes it."}"#,
    printcolumn = r#"{"name": "Available", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Available\")].status", "description": "Whether most pods have a healthy endpoint."}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    validation = ("size(self.metadata.name) <= 57", "metadata.name must have at most 57 characters; the names of the backend's objects are made from it"),
    validation = ("!has(self.spec.stdio) || !self.metadata.name.contains('.')", "metadata.name must have no dot with stdio, because no name of a Service has one"),
    validation = ("has(self.spec.toolNamespace) || !self.metadata.name.contains('.')", "spec.toolNamespace is required when metadata.name has a dot, because tool namespaces have none")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.endpoints), has(self.serviceRef), has(self.stdio), has(self.consul)].filter(x, x).size() == 1",
    "exactly one of endpoints, serviceRef, stdio and consul must say where the server is"
))]
#[x_kube(validation = (
    "(self.protocol == 'Stdio') == has(self.stdio)",
    "stdio is required with protocol: Stdio, and only there"
))]
#[x_kube(validation = (
    "!has(self.stdio) || !has(self.tls)",
    "tls has no meaning with stdio: a child process has no connection"
))]
#[x_kube(validation = (
    "!has(self.tls) || has(self.tls.mode) || !has(self.endpoints) || \
     !(has(self.tls.caRef) || has(self.tls.serverName) || has(self.tls.insecureSkipVerify)) || \
     self.endpoints.all(e, !e.url.startsWith('http://') && !e.url.startsWith('ws://') && !e.url.startsWith('tcp://'))",
    "tls without a mode leaves http://, ws:// and tcp:// in plain text and checks no certificate; write https://, wss:// or tls://, or mode: Simple"
))]
#[x_kube(validation = (
    "!has(self.path) || !(self.protocol in ['TCP', 'Stdio'])",
    "path has no meaning with protocol: TCP or Stdio"
))]
#[x_kube(validation = (
    "!has(self.endpoints) || !(self.protocol in ['StreamableHTTP', 'SSE']) || \
     self.endpoints.all(e, e.url.startsWith('http://') || e.url.startsWith('https://'))",
    "with protocol: StreamableHTTP or SSE each endpoint needs an http:// or https:// URL"
))]
#[x_kube(validation = (
    "!has(self.endpoints) || self.protocol != 'WebSocket' || \
     self.endpoints.all(e, e.url.startsWith('ws://') || e.url.startsWith('wss://'))",
    "with protocol: WebSocket each endpoint needs a ws:// or wss:// URL"
))]
#[x_kube(validation = (
    "!has(self.endpoints) || self.protocol != 'TCP' || \
     self.endpoints.all(e, e.url.startsWith('tcp://') || e.url.startsWith('tls://'))",
    "with protocol: TCP each endpoint needs a tcp:// or tls:// URL"
))]
#[x_kube(validation = (
    "!has(self.endpoints) || self.protocol != 'Auto' || \
     self.endpoints.all(e, !e.url.startsWith('tcp://') && !e.url.startsWith('tls://'))",
    "with protocol: Auto each endpoint needs an http://, https://, ws:// or wss:// URL; for the binary protocol write protocol: TCP"
))]
#[x_kube(validation = (
    "has(self.serviceRef) == has(oldSelf.serviceRef) && has(self.stdio) == has(oldSelf.stdio) && \
     has(self.consul) == has(oldSelf.consul)",
    "the kind of backend (endpoints, serviceRef, stdio or consul) cannot be changed; create another McpBackend"
))]
#[x_kube(validation = (
    "!has(oldSelf.toolNamespace) || has(self.toolNamespace)",
    "toolNamespace cannot be removed, because that would rename tools under their clients"
))]
#[x_kube(validation = (
    "!has(self.auth) || self.auth.type == 'None' || !has(self.headers) || !has(self.headers.set) || \
     self.headers.set.all(h, h.name.lowerAscii() != 'authorization')",
    "headers.set must not contain Authorization when auth.type is not None"
))]
pub struct McpBackendSpec {
    /// Gateways that serve this backend. A gateway of another namespace must admit this one in backends.namespaces.
    /// Default: the gateways of this namespace whose backends.selector matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = (
        "self.all(a, self.exists_one(b, b.name == a.name && \
         (has(b.__namespace__) ? b.__namespace__ : '') == (has(a.__namespace__) ? a.__namespace__ : '')))",
        "each gateway may be named once"
    ))]
    pub gateway_refs: Option<Vec<GatewayRef>>,
    /// What the server speaks: StreamableHTTP, SSE (HTTP+SSE of 2024-11-05), WebSocket, TCP (the binary protocol), Stdio
    /// or Auto (it is asked, once for each set of endpoints).
    pub protocol: BackendProtocol,
    /// Endpoints by URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub endpoints: Option<Vec<StaticEndpoint>>,
    /// A Service of this namespace. Its endpoints are used directly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_ref: Option<ServiceRef>,
    /// A program that speaks on its standard streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdio: Option<Stdio>,
    /// A service in Consul. This version cannot do it, and does not serve the backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consul: Option<ConsulService>,
    /// Path of the server, for endpoints whose URL has none. Default: /mcp for StreamableHTTP, /sse for SSE, / for
    /// WebSocket.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = URL_PATH))]
    pub path: Option<String>,
    /// Name under which clients know the server: the path /mcp/{toolNamespace}, and the prefix of tools. It cannot be
    /// changed once it is set. Default: metadata.name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = (
        "self.matches('^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$')",
        "must be made of a to z, 0 to 9, - and _, and begin and end with a letter or a digit"
    ))]
    #[x_kube(validation = (
        "self == oldSelf",
        "toolNamespace cannot be changed, because that would rename tools under their clients"
    ))]
    pub tool_namespace: Option<String>,
    /// Encryption of the connections. Default: as the URL says, and none to a serviceRef.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<BackendTls>,
    /// What the gateway shows to the server. Without effect with stdio, whose credentials are in stdio.env.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<BackendAuth>,
    /// Headers of the requests. Without effect with stdio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Headers>,
    /// Treatment of requests; what is absent is inherited from the gateway's routing.defaults.
    #[serde(flatten)]
    pub traffic: TrafficPolicy,
    /// Which tools clients see, and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<ToolFilter>,
    /// Which resources clients see, by URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Filter>,
    /// Which prompts clients see, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts: Option<Filter>,
    /// Enabled, Draining (no new sessions), which is without effect in this version, or Disabled (no requests).
    #[serde(default)]
    pub state: BackendState,
    /// Who wins a name of several backends where the gateway's routing.naming.mode is None: the greater number. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: Option<i32>,
}

choice! {
    /// What a server speaks.
    pub enum BackendProtocol {
        /// Streamable HTTP of any revision.
        StreamableHTTP,
        /// HTTP+SSE of 2024-11-05.
        SSE,
        /// JSON-RPC messages on a WebSocket.
        WebSocket,
        /// The original's binary protocol.
        TCP,
        /// Lines on standard streams.
        Stdio,
        /// It is asked.
        Auto,
    }
}

choice! {
    /// Whether a backend gets requests.
    #[derive(Default)]
    pub enum BackendState {
        /// It does.
        #[default]
        Enabled,
        /// Of existing sessions only.
        Draining,
        /// It does not.
        Disabled,
    }
}
