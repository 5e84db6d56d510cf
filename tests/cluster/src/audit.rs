//! The audit log: who asked the API server for what. Changes when a test asks it another question.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// One request of a service account or a node.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` ...
    pub verb: String,
    /// Who asked.
    pub user: User,
    /// What for; nothing for paths that are no resources.
    pub object_ref: Option<Object>,
    /// What became of it.
    pub response_status: Option<Outcome>,
    /// Its time, RFC 3339 with microseconds.
    pub request_received_timestamp: String,
    #[serde(rename = "requestURI")]
    /// Path and query.
    pub request_uri: String,
    /// What the program calls itself.
    #[serde(default)]
    pub user_agent: String,
}

/// Who asked.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// `system:serviceaccount:NAMESPACE:NAME` or `system:node:NAME`.
    pub username: String,
    /// What else its token says.
    #[serde(default)]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What a request is about.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Object {
    /// API group; empty for the core.
    pub api_group: String,
    /// Plural name.
    pub resource: String,
    /// `status`, `scale`, `token` ...
    pub subresource: String,
    /// Empty for the whole cluster.
    pub namespace: String,
    /// Empty for a collection.
    pub name: String,
}

/// What became of a request.
#[derive(Clone, Debug, Deserialize)]
pub struct Outcome {
    /// HTTP status.
    pub code: u16,
}

impl Request {
    /// Whether roles did not allow it.
    pub fn denied(&self) -> bool {
        self.response_status.as_ref().is_some_and(|status| status.code == 403)
    }

    /// Whether it would change something.
    pub fn writes(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// The pod that asked, if its token is bound to one.
    pub fn pod(&self) -> Option<&str> {
        self.user.extra.get("authentication.kubernetes.io/pod-name")?.first().map(String::as_str)
    }

    /// Whether it did what it asked for.
    pub fn succeeded(&self) -> bool {
        self.response_status.as_ref().is_some_and(|status| (200..300).contains(&status.code))
    }

    /// Whether this service account asked.
    pub fn is_of(&self, namespace: &str, account: &str) -> bool {
        self.user.username == format!("system:serviceaccount:{namespace}:{account}")
    }
}

/// Reads a log that may be written to at the same time: an unfinished last line is left for later.
pub(crate) fn read(path: &Path) -> Result<Vec<Request>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}
