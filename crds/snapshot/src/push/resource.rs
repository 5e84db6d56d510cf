//! The bodies of resources, made of the parts of a [`Snapshot`]. Changes when the configuration of a gateway is cut
//! differently.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Entry, Key, Rejection, RejectionCode, ResourceType};
use crate::{Backend, Secret, Snapshot, Target, UpstreamTls};

/// The name of the one resource of type `gateway`.
pub(super) const GATEWAY: &str = "gateway";

/// A resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// Values that must not be seen, named `namespace/name` as in Kubernetes.
    Secret(String, SecretData),
    /// Where the backend of this name is at the moment.
    Endpoints(String, Endpoints),
    /// A backend; its name is in it.
    Backend(Box<BackendPart>),
    /// A snapshot without backends: everything else.
    Gateway(Box<Snapshot>),
}

/// The values of one Secret, those that are referred to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SecretData {
    /// By key.
    pub data: BTreeMap<String, Secret>,
}

/// Where a backend is at the moment. It takes the place of the backend's own targets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Endpoints {
    /// Places that are ready; none means that the backend cannot be reached now.
    pub targets: Vec<Target>,
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendPart {
    /// As the data plane knows it. Its targets count as long as there are no [`Endpoints`] of its name.
    pub backend: Backend,
    /// Secrets that its targets need.
    #[serde(default)]
    pub credentials: Vec<Credential>,
    /// Place among the backends: smaller numbers first, then names.
    #[serde(default)]
    pub rank: i32,
}

impl BackendPart {
    /// Names of the Secrets that it needs.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let tls = self.backend.tls.iter().flat_map(UpstreamTls::materials);
        let keys = tls.filter_map(|(_, material)| material.secret());
        self.credentials.iter().map(|credential| &*credential.secret).chain(keys)
    }
}

/// A secret value, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Name of the Secret.
    pub secret: String,
    /// Key within it.
    pub key: String,
    /// What stands before the value, for example `Bearer ` and a space.
    #[serde(default)]
    pub prefix: String,
    /// Where it goes.
    pub into: Destination,
}

/// Where a secret value goes, in every target of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// Into a header.
    Header(String),
    /// Into an environment variable of a child process.
    Env(String),
    /// Into the handshake of the binary protocol.
    Token,
}

impl Resource {
    /// What it is called.
    pub fn key(&self) -> Key {
        match self {
            Self::Secret(name, _) => Key::new(ResourceType::Secret, name),
            Self::Endpoints(name, _) => Key::new(ResourceType::Endpoints, name),
            Self::Backend(part) => Key::new(ResourceType::Backend, &*part.backend.name),
            Self::Gateway(_) => Key::new(ResourceType::Gateway, GATEWAY),
        }
    }

    /// As it is sent.
    pub fn encode(&self) -> Result<Entry, serde_json::Error> {
        match self {
            Self::Secret(_, data) => Entry::new(self.key(), data),
            Self::Endpoints(_, endpoints) => Entry::new(self.key(), endpoints),
            Self::Backend(part) => Entry::new(self.key(), part),
            Self::Gateway(snapshot) => Entry::new(self.key(), snapshot),
        }
    }

    /// From what was sent.
    pub fn decode(entry: &Entry) -> Result<Self, Rejection> {
        let name = &entry.key.name;
        let resource = match entry.key.kind {
            ResourceType::Secret => read(entry).map(|data| Self::Secret(name.clone(), data))?,
            ResourceType::Endpoints => {
                read(entry).map(|endpoints| Self::Endpoints(name.clone(), endpoints))?
            }
            ResourceType::Backend => read(entry).map(|part| Self::Backend(Box::new(part)))?,
            ResourceType::Gateway => read(entry).map(|snapshot| Self::Gateway(Box::new(snapshot)))?,
        };
        if resource.key() != entry.key {
            let problem = format!("the body is that of {}", resource.key());
            return Err(Rejection::of(entry, RejectionCode::Invalid, problem));
        }
        Ok(resource)
    }
}

fn read<T: for<'de> Deserialize<'de>>(entry: &Entry) -> Result<T, Rejection> {
    serde_json::from_str(entry.body())
        .map_err(|error| Rejection::of(entry, RejectionCode::Unreadable, without_value(&error.to_string())))
}

/// The text of an error without the value that it quotes, which may be a secret in the wrong place.
fn without_value(problem: &str) -> String {
    match problem.split_once(": ") {
        Some((what @ ("invalid type" | "invalid value" | "invalid length"), rest)) => {
            let expected = rest.rfind(", expected ").and_then(|at| rest.get(at..)).unwrap_or_default();
            format!("{what}{expected}")
        }
        _ => problem.to_owned(),
    }
}
