//! Where a backend is, and which gateways it belongs to. Changes when a server can be somewhere else.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::choice::choice;
use crate::schema;
use crate::v1alpha1::common::{DNS_LABEL, DNS_SUBDOMAIN, LocalRef, Preserved, Resources, SecretKeyRef};

/// A gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRef {
    /// Name of the McpGateway.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// Its namespace. Default: that of the backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub namespace: Option<String>,
}

/// An endpoint by URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StaticEndpoint {
    /// URL, for example https://mcp.example.com/mcp. Schemes: http, https, ws, wss, tcp, tls.
    pub url: EndpointUrl,
    /// Share of requests with loadBalancing.strategy: Weighted. 0 means none; the other numbers are without effect in this
    /// version: endpoints are taken in turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: Option<u32>,
    /// Zone (topology.kubernetes.io/zone) where it is. Without effect in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub zone: Option<String>,
    /// Endpoints of a greater number are used only when all of smaller numbers are unhealthy. Without that effect in this
    /// version: those of smaller numbers are the first of the turn, and no more. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 15))]
    pub priority: Option<u32>,
}

/// The URL of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EndpointUrl(pub String);

impl JsonSchema for EndpointUrl {
    fn schema_name() -> Cow<'static, str> {
        "EndpointUrl".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": 2048,
            "x-kubernetes-validations": [{
                "rule": "isURL(self) && url(self).getScheme() in ['http', 'https', 'ws', 'wss', 'tcp', 'tls']",
                "message": "must be an absolute URL with one of the schemes http, https, ws, wss, tcp and tls",
            }],
        })
    }
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// Port of the Service, by number or by name.
    #[schemars(schema_with = "schema::port")]
    pub port: IntOrString,
}

/// A program that speaks on its standard streams. It runs in pods of its own, or, where the gateway's stdioPolicy is
/// InProcess, as a child of the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stdio {
    /// Program and arguments. No shell reads them.
    #[schemars(
        length(min = 1, max = 64),
        inner(length(max = 4096)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub command: Vec<String>,
    /// Image with the program. Required unless the gateway runs it in its own pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Secrets for pulling the image. Those of gateways of the same namespace are used, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub image_pull_secrets: Option<Vec<LocalRef>>,
    /// Environment variables of the program. Pods are replaced when a Secret in them changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 128),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub env: Option<Vec<EnvVar>>,
    /// Secrets whose keys are environment variables of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub env_from: Option<Vec<LocalRef>>,
    /// Working directory. Default: that of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub working_dir: Option<String>,
    /// Number of pods. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub replicas: Option<u32>,
    /// PerSession (a process for each session) or Shared (one process for all, for servers without state).
    #[serde(default)]
    pub session_mode: SessionMode,
    /// Sessions of one pod at once; more are refused, with advice to come back. Default: 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_sessions: Option<u32>,
    /// Compute resources of a pod. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// SecurityContext (core/v1) of the container, merged over one that the restricted Pod Security Standard admits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::preserved")]
    pub security_context: Option<Preserved>,
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.value) != has(self.secretRef)", "exactly one of value and secretRef must be set"))]
pub struct EnvVar {
    /// Name of the variable.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z][-._a-zA-Z0-9]*$"))]
    pub name: String,
    /// Value, when it is no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32_768))]
    pub value: Option<String>,
    /// Secret with the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
}

choice! {
    /// How sessions and processes belong together.
    #[derive(Default)]
    pub enum SessionMode {
        /// A process for each session.
        #[default]
        PerSession,
        /// One process for all sessions.
        Shared,
    }
}

/// A service in Consul.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsulService {
    /// Name of the service.
    #[schemars(length(min = 1, max = 128))]
    pub service: String,
    /// Tags that an instance must all have. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = 128)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub tags: Option<Vec<String>>,
}
