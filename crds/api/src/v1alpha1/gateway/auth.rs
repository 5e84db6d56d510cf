//! Who may use a gateway, and what for. Changes when another kind of proof or rule is added.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::choice::choice;
use crate::schema;
use crate::v1alpha1::common::{CaRef, DNS_LABEL, HTTP_URL, SecretKeyRef};

/// How clients prove who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Signed tokens (RFC 7519).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
    /// Client certificates. Needs a listener with tls.mode: Mutual. This version cannot apply it, and refuses all clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtls: Option<Mtls>,
    /// A token in each message of a connection, not only at its beginning. Without effect but with jwt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_message: Option<PerMessage>,
    /// Clients that prove nothing: Deny or Allow. This version cannot apply Allow together with jwt, and refuses all clients
    /// then. Default: Deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<Action>,
}

/// Signed tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Jwt {
    /// Issuers that are trusted. A token must satisfy one of them.
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub providers: Vec<JwtProvider>,
}

/// An issuer of tokens. Exactly one of jwksURL, discovery and hmacSecretRef says where its keys are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.jwksURL), has(self.discovery) && self.discovery, has(self.hmacSecretRef)].filter(x, x).size() == 1",
    "exactly one of jwksURL, discovery: true and hmacSecretRef must say where the keys are"
))]
#[x_kube(validation = (
    "!has(self.discovery) || !self.discovery || self.issuer.startsWith('https://')",
    "discovery: true needs an issuer that is an https:// URL"
))]
pub struct JwtProvider {
    /// Name, for messages and metrics.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// The iss that tokens must have.
    #[schemars(length(min = 1, max = 2048))]
    pub issuer: String,
    /// Audiences of which a token must name one in its aud. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 16),
        inner(length(min = 1, max = 512)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub audiences: Option<Vec<String>>,
    /// URL of the issuer's keys (RFC 7517). This version cannot apply it, and refuses all clients.
    #[serde(rename = "jwksURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = HTTP_URL))]
    pub jwks_url: Option<String>,
    /// Whether the URL of the keys is found at the issuer, by OpenID Connect Discovery. This version cannot apply it, and refuses all clients.
    /// Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<bool>,
    /// Shared secret of HS256, HS384 and HS512, at least 32 bytes. Every byte of the value counts, also a newline at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hmac_secret_ref: Option<SecretKeyRef>,
    /// Names of the claims that say who the client is and what it may do. This version cannot apply it, and refuses all clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<ClaimNames>,
}

/// Names of claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimNames {
    /// Claim that identifies the client. Default: sub.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub subject: Option<String>,
    /// Claim with the scopes, as a list or as words of one text. Default: scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub scopes: Option<String>,
    /// Claim that overrides rateLimit.perUser, with the members requestsPerMinute and burst. Default: rate_limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub rate_limit: Option<String>,
}

/// Client certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mtls {
    /// Authorities whose certificates identify a client.
    pub ca_ref: CaRef,
    /// What of the certificate is the client's name: CN, SAN_URI or SAN_DNS. Default: SAN_URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<CertificateIdentity>,
}

choice! {
    /// What of a certificate is the client's name.
    pub enum CertificateIdentity {
        /// The common name of the subject.
        CommonName = "CN",
        /// The first URI among the alternative names, for example a SPIFFE id.
        SanUri = "SAN_URI",
        /// The first DNS name among the alternative names.
        SanDns = "SAN_DNS",
    }
}

/// A token in each message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PerMessage {
    /// Whether each message of a connection carries a token. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Seconds for which a token that was accepted is not verified again. Default: 300.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub cache_seconds: Option<u32>,
}

choice! {
    /// Whether something is let through.
    pub enum Action {
        /// It is not.
        Deny,
        /// It is.
        Allow,
    }
}

/// What a client may do, once it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    /// What happens when no rule matches: Allow or Deny. Default: Allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_action: Option<Action>,
    /// Rules in order; the first that matches decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub rules: Option<Vec<AuthorizationRule>>,
}

/// A rule about requests. It matches when everything that it says holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.scopes) || has(self.claims) || has(self.backends) || has(self.tools)",
    "a rule needs at least one of scopes, claims, backends and tools; use defaultAction for all requests"
))]
pub struct AuthorizationRule {
    /// Scopes that the client must all have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 32),
        inner(length(min = 1, max = 256)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub scopes: Option<Vec<String>>,
    /// Claims that the client must have, each with one of the listed values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::string_lists::<16, 16>")]
    pub claims: Option<BTreeMap<String, Vec<String>>>,
    /// Tool namespaces of the backends that are meant. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 63)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub backends: Option<Vec<String>>,
    /// Names of the tools that are meant, as the backend spells them. Default: every request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 128),
        inner(length(min = 1, max = 256)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub tools: Option<Vec<String>>,
    /// What happens to such a request: Allow or Deny.
    pub action: Action,
}
