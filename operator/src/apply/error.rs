//! Why something was not written, and what of it a person should read. Changes when a write fails in another way.

use crate::desired::OwnedKind;
use crate::world::ObjectName;

/// Longest text about a refusal, in bytes.
const REFUSAL: usize = 1024;

/// Why an object was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Another replica writes.
    #[error("this replica may not write any more")]
    NotLeader,
    /// What is known of the cluster is too old to write by.
    #[error("this replica does not see the cluster")]
    Blind,
    /// This replica knows an older version of the owner than the one that the object was made from.
    #[error("{kind:?} {name} was made from a newer version of its owner than this replica knows")]
    Outdated {
        /// Kind of the object.
        kind: OwnedKind,
        /// Its name.
        name: ObjectName,
    },
    /// A status was refused, or the API server was not reached.
    #[error("status of {name}: {source}")]
    Status {
        /// The object.
        name: ObjectName,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The API server refused, or was not reached.
    #[error("{kind:?} {name}: {source}")]
    Api {
        /// Kind of the object.
        kind: OwnedKind,
        /// Its name.
        name: ObjectName,
        /// What the API server said.
        source: Box<kube::Error>,
    },
}

impl ApplyError {
    /// What the API server says of a document that it does not take, however often it is sent: for whoever wrote the
    /// specification.
    pub fn refusal(&self) -> Option<String> {
        let Self::Api { kind, name, source } = self else { return None };
        let kube::Error::Api(status) = &**source else { return None };
        // The answer to a document that does not fit the schema of its kind.
        let unfit = status.code == 500 && status.message.starts_with("failed to create typed patch object");
        if !unfit && !matches!(status.code, 400 | 403 | 413 | 422) {
            return None;
        }
        // It may quote what is secret.
        let why = if *kind == OwnedKind::Secret { &status.reason } else { &status.message };
        let kind = kind.resource().kind;
        let mut text = format!("{kind} {name} is refused: {why}").replace(char::is_control, " ");
        text.truncate(text.floor_char_boundary(REFUSAL));
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn refusal(kind: OwnedKind, code: u16, message: &str) -> Option<String> {
        let status: Status =
            serde_json::from_value(json!({ "code": code, "reason": "Why", "message": message })).unwrap();
        let source = Box::new(kube::Error::Api(Box::new(status)));
        ApplyError::Api { kind, name: ObjectName::new("here", "x"), source }.refusal()
    }

    #[test]
    fn what_is_no_use_to_send_again_is_told_in_bounds_and_without_secrets() {
        let told = |code, message| refusal(OwnedKind::Deployment, code, message);
        for code in [400, 403, 413, 422] {
            assert_eq!(told(code, "spec.a:\nno").unwrap(), "Deployment here/x is refused: spec.a: no");
        }
        for code in [401, 404, 409, 429, 500, 503] {
            assert_eq!(told(code, "not now"), None);
        }
        let unfit = "failed to create typed patch object (here/x; apps/v1, Kind=Deployment): .spec.a: field not declared in schema";
        assert!(told(500, unfit).is_some());
        assert!(told(422, &"ä".repeat(5000)).unwrap().len() <= REFUSAL);
        let secret = refusal(OwnedKind::Secret, 422, "data: Invalid value: hunter2").unwrap();
        assert_eq!(secret, "Secret here/x is refused: Why");
    }
}
