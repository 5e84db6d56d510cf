//! What the gateway shows to a backend, and how the connection is protected. Changes when another kind of proof is
//! added.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::choice::choice;
use crate::v1alpha1::common::{CaRef, HEADER_NAME, HTTP_URL, LocalRef, SecretKeyRef};

/// The rule that a header, if `unless` does not hold, is none that belongs to a connection or to MCP itself.
macro_rules! reserved {
    ($unless:literal, $header:literal) => {
        concat!(
            $unless,
            "!(",
            $header,
            ".lowerAscii() in ['connection', 'content-length', 'content-type', 'host', 'keep-alive', \
             'mcp-protocol-version', 'mcp-session-id', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', \
             'te', 'trailer', 'transfer-encoding', 'upgrade'])"
        )
    };
}

/// Encryption of the connections to a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "(has(self.mode) && self.mode == 'Mutual') == has(self.clientCertRef)",
    "clientCertRef is required with mode: Mutual, and only there"
))]
#[x_kube(validation = (
    "!has(self.insecureSkipVerify) || !self.insecureSkipVerify || !has(self.caRef)",
    "insecureSkipVerify: true checks no certificate; remove it, or caRef"
))]
#[x_kube(validation = (
    "!has(self.mode) || self.mode != 'Disabled' || !(has(self.caRef) || has(self.serverName) || has(self.insecureSkipVerify))",
    "mode: Disabled checks no certificate; remove caRef, serverName and insecureSkipVerify, or the mode"
))]
pub struct BackendTls {
    /// Disabled (plain text), Simple (the server shows a certificate) or Mutual (the gateway, too). Default: as the URL
    /// says, and Simple for a serviceRef.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<BackendTlsMode>,
    /// Authorities that sign the server's certificate. Default: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
    /// Secret of type kubernetes.io/tls with the gateway's own certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_ref: Option<LocalRef>,
    /// Name that the server's certificate must have. Default: the host of the URL, or SERVICE.NAMESPACE.svc for a
    /// serviceRef.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// Whether any certificate is accepted. The operator must allow it, and the status says Degraded. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
}

choice! {
    /// Whether connections are encrypted.
    pub enum BackendTlsMode {
        /// They are not.
        Disabled,
        /// The server shows a certificate.
        Simple,
        /// The gateway shows one, too.
        Mutual,
    }
}

/// What the gateway shows to a backend. The block of the chosen type is required, the others are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "(self.type == 'Bearer') == has(self.bearer)",
    "bearer is required with type: Bearer, and only there"
))]
#[x_kube(validation = (
    "(self.type == 'APIKey') == has(self.apiKey)",
    "apiKey is required with type: APIKey, and only there"
))]
#[x_kube(validation = (
    "(self.type == 'Basic') == has(self.basic)",
    "basic is required with type: Basic, and only there"
))]
#[x_kube(validation = (
    "(self.type == 'OAuth2ClientCredentials') == has(self.oauth2)",
    "oauth2 is required with type: OAuth2ClientCredentials, and only there"
))]
#[x_kube(validation = (
    "(self.type == 'TokenExchange') == has(self.tokenExchange)",
    "tokenExchange is required with type: TokenExchange, and only there"
))]
pub struct BackendAuth {
    /// None, Bearer, APIKey, Basic, OAuth2ClientCredentials, TokenExchange (a token for this backend in exchange for the
    /// client's) or Passthrough (the client's own token; only for backends that may see it). This version does not serve a
    /// backend with one of the last three.
    #[serde(rename = "type", default)]
    pub kind: BackendAuthType,
    /// A token of the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<BearerAuth>,
    /// A key in a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKeyAuth>,
    /// User and password (RFC 7617).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuth>,
    /// A token that the gateway gets for itself (RFC 6749 4.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2Auth>,
    /// A token that the gateway gets for the client (RFC 8693).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_exchange: Option<TokenExchangeAuth>,
}

choice! {
    /// What is shown to a backend.
    #[derive(Default)]
    pub enum BackendAuthType {
        /// Nothing.
        #[default]
        None,
        /// A token of the gateway.
        Bearer,
        /// A key in a header.
        APIKey,
        /// User and password.
        Basic,
        /// A token that the gateway gets for itself.
        OAuth2ClientCredentials,
        /// A token that the gateway gets for the client.
        TokenExchange,
        /// The client's own token.
        Passthrough,
    }
}

/// A token of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BearerAuth {
    /// Secret with the token.
    pub secret_ref: SecretKeyRef,
}

/// A key in a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    reserved!("!has(self.header) || ", "self.header"),
    "this header belongs to the connection or to MCP and cannot carry a key"
))]
pub struct ApiKeyAuth {
    /// Secret with the key.
    pub secret_ref: SecretKeyRef,
    /// Header that carries it. Default: X-API-Key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = HEADER_NAME))]
    pub header: Option<String>,
}

/// User and password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// Secret of type kubernetes.io/basic-auth: its keys username and password.
    pub secret_ref: LocalRef,
}

/// A token that the gateway gets for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2Auth {
    /// URL where tokens are given out.
    #[serde(rename = "tokenURL")]
    #[schemars(length(max = 2048), regex(pattern = HTTP_URL))]
    pub token_url: String,
    /// The gateway's name at the issuer.
    #[serde(rename = "clientID")]
    #[schemars(length(min = 1, max = 512))]
    pub client_id: String,
    /// Secret with the gateway's password at the issuer.
    pub client_secret_ref: SecretKeyRef,
    /// Scopes that are asked for. Default: the issuer's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 256)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub scopes: Option<Vec<String>>,
    /// Audience that is asked for. Default: the issuer's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub audience: Option<String>,
}

/// A token that the gateway gets for the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.clientID) == has(self.clientSecretRef)",
    "clientID and clientSecretRef need each other"
))]
pub struct TokenExchangeAuth {
    /// URL where tokens are exchanged.
    #[serde(rename = "tokenURL")]
    #[schemars(length(max = 2048), regex(pattern = HTTP_URL))]
    pub token_url: String,
    /// Audience of the new token: the backend.
    #[schemars(length(min = 1, max = 512))]
    pub audience: String,
    /// The gateway's name at the issuer. Default: it shows none.
    #[serde(rename = "clientID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub client_id: Option<String>,
    /// Secret with the gateway's password at the issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<SecretKeyRef>,
    /// Scopes that are asked for. Default: the issuer's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 256)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub scopes: Option<Vec<String>>,
}

/// Headers of the requests to a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Headers {
    /// Headers that every request has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub set: Option<Vec<SetHeader>>,
    /// Headers that are taken over from the client's request. Without effect in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub forward: Option<Vec<ForwardHeader>>,
}

/// A header with a value of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.value) != has(self.secretRef)", "exactly one of value and secretRef must be set"))]
#[x_kube(validation = (
    reserved!("", "self.name"),
    "this header belongs to the connection or to MCP and cannot be set"
))]
pub struct SetHeader {
    /// Name of the header.
    #[schemars(length(min = 1, max = 128), regex(pattern = HEADER_NAME))]
    pub name: String,
    /// Value, when it is no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), regex(pattern = r"^[^\r\n]*$"))]
    pub value: Option<String>,
    /// Secret with the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
}

/// A header that is taken over from the client's request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    reserved!("", "self.name"),
    "this header belongs to the connection or to MCP and cannot be forwarded"
))]
#[x_kube(validation = (
    reserved!("!has(self.__as__) || ", "self.__as__"),
    "a header cannot be forwarded as one that belongs to the connection or to MCP"
))]
#[x_kube(validation = (
    "self.name.lowerAscii() != 'authorization'",
    "the client's credential is forwarded by auth.type: Passthrough only"
))]
pub struct ForwardHeader {
    /// Name of the client's header.
    #[schemars(length(min = 1, max = 128), regex(pattern = HEADER_NAME))]
    pub name: String,
    /// Name that the backend sees. Default: the same.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = HEADER_NAME))]
    pub renamed: Option<String>,
}
