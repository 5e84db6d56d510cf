//! Invariants over a whole snapshot. Changes when a cross-field rule is added.

use std::collections::HashSet;

use crate::{Access, Carries, Snapshot, Target};

/// Why a snapshot cannot run. The text names the part, what is wrong and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// Two parts share a name that must be unique.
    #[error("{kind} `{name}` is defined twice; names must be unique")]
    Duplicate {
        /// Kind of part, for example `backend`.
        kind: &'static str,
        /// The shared name.
        name: String,
    },
    /// A name has characters or a length that are not allowed.
    #[error("{kind} `{name}`: names have 1 to 63 characters of A-Z a-z 0-9 _ . -")]
    BadName {
        /// Kind of part.
        kind: &'static str,
        /// The offending name.
        name: String,
    },
    /// A backend cannot be reached as configured.
    #[error("backend `{name}`: {problem}")]
    Backend {
        /// Backend name.
        name: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// Everybody could connect from the network.
    #[error(
        "listener `{name}` on {address} is reachable from the network without authentication; bind it to 127.0.0.1, \
         add an `auth` section, or write `auth.provider: none`"
    )]
    OpenAccess {
        /// Listener name.
        name: String,
        /// Its address.
        address: String,
    },
}

pub(crate) fn validate(snapshot: &Snapshot) -> Result<(), Vec<Defect>> {
    let mut defects = Vec::new();
    let mut names = HashSet::new();
    let mut namespaces = HashSet::new();
    for backend in &snapshot.backends {
        for (kind, name) in [("backend", &backend.name), ("namespace", &backend.namespace)] {
            if !is_name(name) {
                defects.push(Defect::BadName { kind, name: name.clone() });
            }
        }
        if !names.insert(backend.name.as_str()) {
            defects.push(Defect::Duplicate { kind: "backend", name: backend.name.clone() });
        }
        if !namespaces.insert(backend.namespace.as_str()) {
            defects.push(Defect::Duplicate { kind: "namespace", name: backend.namespace.clone() });
        }
        let lacks_program = |target: &Target| match target {
            Target::Stdio(stdio) => stdio.command.first().is_none_or(String::is_empty),
            _ => false,
        };
        if backend.targets().any(lacks_program) {
            defects.push(Defect::Backend {
                name: backend.name.clone(),
                problem: "`command` is empty; give the program and its arguments as a list".to_owned(),
            });
        }
    }
    let mut listeners = HashSet::new();
    for listener in &snapshot.listeners {
        if !listeners.insert(listener.name.as_str()) {
            defects.push(Defect::Duplicate { kind: "listener", name: listener.name.clone() });
        }
        // Health checks are for everybody, as the health pages are.
        if matches!(snapshot.access, Access::Anonymous { explicit: false })
            && listener.carries() != Carries::TcpHealth
            && !listener.address.ip().is_loopback()
        {
            defects.push(Defect::OpenAccess {
                name: listener.name.clone(),
                address: listener.address.to_string(),
            });
        }
    }
    for local in &snapshot.local {
        if !listeners.insert(local.name.as_str()) {
            defects.push(Defect::Duplicate { kind: "listener", name: local.name.clone() });
        }
    }
    if defects.is_empty() { Ok(()) } else { Err(defects) }
}

fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}
