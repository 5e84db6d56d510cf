//! Where clients connect. Changes when a frontend or one of its settings is added.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::choice::choice;
use crate::v1alpha1::common::{CaRef, DNS_LABEL, LocalRef, URL_PATH};

/// One port for clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.protocol != 'TCP' || !has(self.path)", "path has no meaning with protocol: TCP"))]
#[x_kube(validation = (
    "has(self.tls)",
    "tls is required: name a certificate in certificateRefs, or write mode: Disabled to serve in plain text"
))]
pub struct Listener {
    /// Name of the listener and of its port on Service and pods.
    #[schemars(length(min = 1, max = 15), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// What clients speak: WebSocket, StreamableHTTP (HTTP+SSE of 2024-11-05 on /sse, too), SSE (that alone) or TCP (the
    /// binary protocol).
    pub protocol: ListenerProtocol,
    /// Port on the Service and on the pods.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Path that is served. Without effect in this version but with protocol: SSE. Default: / for WebSocket, /mcp for StreamableHTTP, /sse
    /// for SSE.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = URL_PATH))]
    pub path: Option<String>,
    /// Encryption. Required; write mode: Disabled to serve in plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Web pages that may connect, as scheme://host or scheme://host:port, or * for all of them. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 64),
        inner(length(max = 256), regex(pattern = r"^(\*|[a-z][a-z0-9+.-]*://[^/ ]+)$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub allowed_origins: Option<Vec<String>>,
}

fn default_port() -> u16 {
    8443
}

choice! {
    /// What clients speak.
    pub enum ListenerProtocol {
        /// JSON-RPC messages, bare or in the original's envelopes.
        WebSocket,
        /// Streamable HTTP of every revision.
        StreamableHTTP,
        /// HTTP+SSE of 2024-11-05.
        SSE,
        /// The original's binary protocol.
        TCP,
    }
}

/// Encryption of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.mode) || self.mode != 'Mutual' || has(self.clientCARef)",
    "mode: Mutual needs clientCARef, the authorities that sign client certificates"
))]
#[x_kube(validation = (
    "(has(self.mode) && self.mode == 'Disabled') || (has(self.certificateRefs) && size(self.certificateRefs) > 0)",
    "certificateRefs needs at least one Secret unless mode is Disabled"
))]
#[x_kube(validation = (
    "!has(self.mode) || self.mode != 'Disabled' || (!has(self.certificateRefs) && !has(self.clientCARef))",
    "mode: Disabled uses no certificates; remove certificateRefs and clientCARef, or the mode"
))]
pub struct ListenerTls {
    /// Disabled (plain text), Terminate, or Mutual (clients show certificates, too). Default: Terminate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<ListenerTlsMode>,
    /// Secrets of type kubernetes.io/tls. This version shows the first one, whatever the name that a client asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub certificate_refs: Option<Vec<LocalRef>>,
    /// Authorities that sign client certificates.
    #[serde(rename = "clientCARef", skip_serializing_if = "Option::is_none")]
    pub client_ca_ref: Option<CaRef>,
    /// Oldest version that is spoken: 1.2 or 1.3. Default: 1.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// Cipher suites by their IANA names, in order of preference. Without effect in this version: the library chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 32),
        inner(length(max = 64), regex(pattern = "^TLS_[A-Z0-9_]+$")),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub cipher_suites: Option<Vec<String>>,
}

choice! {
    /// Whether a listener encrypts.
    pub enum ListenerTlsMode {
        /// Plain text.
        Disabled,
        /// TLS ends at the gateway.
        Terminate,
        /// TLS ends at the gateway, and clients show certificates.
        Mutual,
    }
}

choice! {
    /// A version of TLS.
    pub enum TlsVersion {
        /// RFC 5246.
        V12 = "1.2",
        /// RFC 8446.
        V13 = "1.3",
    }
}
