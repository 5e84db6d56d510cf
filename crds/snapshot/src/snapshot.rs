//! The snapshot itself. Changes when the data plane needs another kind of configuration.

use serde::{Deserialize, Serialize};

use crate::{
    Access, Backend, ContentHash, Defect, Limits, Listener, LocalListener, LogLevel, Material, Naming,
    Sessions, validate,
};

/// Everything that decides how requests are served. Immutable once built; replaced as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// Where clients on the same machine connect.
    #[serde(default)]
    pub local: Vec<LocalListener>,
    /// MCP servers in configuration order, which is also the order of merged lists.
    pub backends: Vec<Backend>,
    /// Who may use the gateway.
    pub access: Access,
    /// Renaming on the merged endpoint.
    pub naming: Naming,
    /// Bounds.
    pub limits: Limits,
    /// Legacy sessions.
    pub sessions: Sessions,
    /// Least severe level that is logged; whoever starts the process decides when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
    /// Connections to backends do not lead to the machine itself, its link, or the metadata service of a cloud, whatever
    /// a name resolves to: for backends whose authors must not reach what only the gateway can.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refuse_local: bool,
}

impl Snapshot {
    /// Hash over the whole content; equal snapshots have equal hashes on every machine.
    pub fn content_hash(&self) -> ContentHash {
        ContentHash::of(self)
    }

    /// Names of the Secrets that its own part needs: its listeners, and whoever lets clients in.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let tls = self.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        let certificates =
            tls.flat_map(|tls| [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()]).flatten();
        let keys = self.access.jwts().iter().filter_map(|jwt| jwt.secret.as_ref());
        certificates.chain(keys).filter_map(Material::secret)
    }

    /// Checks what no single field can: names, references, reachability without authentication.
    pub fn validate(&self) -> Result<(), Vec<Defect>> {
        validate::validate(self)
    }
}
