//! TLS of connections to a backend. Changes when such a setting is added.

use serde::{Deserialize, Serialize};

use crate::Material;

/// Whom the gateway trusts as a server, and what it shows. It counts where a target is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamTls {
    /// PEM certificates that sign the server's; those of the system when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<Material>,
    /// What the gateway shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<TlsIdentity>,
    /// The name that the certificate must have, and that the handshake asks for; the target's host when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Any certificate will do. Whoever is in between can read and change everything.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_verify: bool,
}

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsIdentity {
    /// PEM certificate chain, leaf first.
    pub certificate: Material,
    /// PEM private key.
    pub key: Material,
}

impl UpstreamTls {
    /// Everything in it that may be a value of a Secret, with the field that it stands in.
    pub fn materials(&self) -> impl Iterator<Item = (&'static str, &Material)> {
        let identity = self.identity.as_ref();
        [
            ("tls.ca", self.ca.as_ref()),
            ("tls.identity.certificate", identity.map(|identity| &identity.certificate)),
            ("tls.identity.key", identity.map(|identity| &identity.key)),
        ]
        .into_iter()
        .filter_map(|(field, material)| Some((field, material?)))
    }

    /// The same, to be filled in.
    pub fn materials_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Material)> {
        let (certificate, key) =
            self.identity.as_mut().map(|identity| (&mut identity.certificate, &mut identity.key)).unzip();
        [("tls.ca", self.ca.as_mut()), ("tls.identity.certificate", certificate), ("tls.identity.key", key)]
            .into_iter()
            .filter_map(|(field, material)| Some((field, material?)))
    }
}
