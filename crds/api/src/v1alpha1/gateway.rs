//! `McpGateway`: a set of pods where MCP clients connect. Changes when a concern is added; each has a file below.

mod auth;
mod listener;
mod observability;
mod routing;
mod session;
mod status;
mod workload;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use auth::{
    Action, Auth, Authorization, AuthorizationRule, CertificateIdentity, ClaimNames, Jwt, JwtProvider, Mtls,
    PerMessage,
};
pub use listener::{Listener, ListenerProtocol, ListenerTls, ListenerTlsMode, TlsVersion};
pub use observability::{LogFormat, LogLevel, Logging, Metrics, Observability, ServiceMonitor, Tracing};
pub use routing::{
    BackendSelection, ConsulDiscovery, Discovery, FailureMode, Naming, NamingMode, OnConflict, Routing,
    ServiceDiscovery, StdioPolicy,
};
pub use session::{Limits, Rate, RateLimit, RateStore, Redis, RedisMode, RedisTls, Session};
pub use status::{
    AddressType, BackendCounts, DiscoveryCounts, GatewayAddress, GatewayConfig, GatewayEndpoints,
    GatewayTools, ListenerStatus, McpGatewayStatus,
};
pub use workload::{
    Autoscaling, Disruption, Drain, GatewayService, Image, IpFamily, NetworkPolicy, PullPolicy, ServiceType,
    SessionAffinity, TrafficScope,
};

use super::common::{LocalRef, Preserved, Resources};
use crate::schema;

/// A set of pods where MCP clients connect, with everything around them: Service, autoscaler, disruption budget.
/// Backends attach to it as McpBackends or as annotated Services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "mcp.bridge",
    version = "v1alpha1",
    kind = "McpGateway",
    plural = "mcpgateways",
    namespaced,
    status = "McpGatewayStatus",
    derive = "PartialEq",
    shortname = "mcpgw",
    category = "mcp",
    category = "mcp-bridge",
    selectable = ".spec.className",
    doc = "A set of pods where MCP clients connect. Backends attach to it as McpBackends or as annotated Services.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn = r#"{"name": "Replicas", "type": "integer", "jsonPath": ".status.readyReplicas", "description": "Pods that serve clients."}"#,
    printcolumn = r#"{"name": "Backends", "type": "integer", "jsonPath": ".status.backends.programmed", "description": "Backends that every ready pod knows."}"#,
    printcolumn = r#"{"name": "Tools", "type": "integer", "jsonPath": ".status.tools.exposed", "description": "Tools that clients see."}"#,
    printcolumn = r#"{"name": "Programmed", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Programmed\")].status", "description": "Whether every ready pod has the configuration."}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status", "description": "Whether clients are served."}"#,
    printcolumn = r#"{"name": "Config", "type": "string", "jsonPath": ".status.config.summary", "priority": 1, "description": "Pods that have the configuration, of all ready pods."}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    validation = ("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')", "metadata.name must begin with a letter and have no dot, because a Service gets the same name"),
    validation = ("size(self.metadata.name) <= 46", "metadata.name must have at most 46 characters; the names of the gateway's objects are made from it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!(has(self.replicas) && has(self.autoscaling))", "replicas and autoscaling are mutually exclusive"))]
#[x_kube(validation = (
    "self.listeners.all(a, self.listeners.exists_one(b, b.port == a.port))",
    "each listener needs a port of its own; the default is 8443"
))]
#[x_kube(validation = (
    "!has(self.observability) || !has(self.observability.metrics) || !has(self.observability.metrics.port) || \
     self.listeners.all(l, l.port != self.observability.metrics.port)",
    "observability.metrics.port is the port of a listener, too"
))]
#[x_kube(validation = (
    "!has(self.auth) || !has(self.auth.mtls) || \
     self.listeners.exists(l, has(l.tls) && has(l.tls.mode) && l.tls.mode == 'Mutual')",
    "auth.mtls needs a listener with tls.mode: Mutual"
))]
#[x_kube(validation = (
    "!has(self.rateLimit) || !has(self.rateLimit.store) || self.rateLimit.store != 'Redis' || \
     (has(self.session) && has(self.session.redis))",
    "rateLimit.store: Redis needs session.redis"
))]
#[x_kube(validation = (
    "has(self.className) == has(oldSelf.className)",
    "className cannot be added or removed; create another McpGateway"
))]
pub struct McpGatewaySpec {
    /// Installation of the operator that serves this gateway; others ignore it. It cannot be changed. Default:
    /// mcp-bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = super::common::DNS_LABEL))]
    #[x_kube(validation = ("self == oldSelf", "className cannot be changed; create another McpGateway"))]
    pub class_name: Option<String>,
    /// Number of pods. Not together with autoscaling. Default: 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<u32>,
    /// Number of pods by load. Not together with replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Image of the pods. Default: the one of the operator's own version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// Secrets for pulling the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub image_pull_secrets: Option<Vec<LocalRef>>,
    /// Ports for clients.
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub listeners: Vec<Listener>,
    /// The Service for clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<GatewayService>,
    /// How clients prove who they are. Default: nobody is let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// What a client may do, once it is known. This version cannot apply rules: with rules, or with defaultAction: Deny, all
    /// clients are refused. Default: everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    /// Where sessions of clients are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// How much clients may ask. Nothing of it is enforced in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Bounds on what one pod holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// How requests get to backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
    /// Which McpBackends are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backends: Option<BackendSelection>,
    /// Where backends are found that have no McpBackend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,
    /// What backends with protocol: Stdio may do: Forbid (nothing), Isolated (run in pods of their own) or InProcess (run
    /// as children of the gateway, if they are of its own namespace). A child in process runs as the gateway's user in its
    /// container: it can read the credentials of all backends and the keys of clients' tokens, and stdio.image, replicas,
    /// resources and securityContext do not count. Default: Isolated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdio_policy: Option<StdioPolicy>,
    /// How a pod leaves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// How many pods may leave at once for the sake of the cluster. Default: maxUnavailable: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disruption: Option<Disruption>,
    /// Who may connect to the pods, and where they may connect to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicy>,
    /// Metrics, traces and logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability: Option<Observability>,
    /// Compute resources of a pod. Default: requests of cpu: 100m and memory: 128Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// A PodTemplateSpec (core/v1) that is merged into the pods' own by strategic rules. It cannot change the labels
    /// that select the pods, the container named gateway, or the volume of its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::preserved")]
    pub pod_template: Option<Preserved>,
}
