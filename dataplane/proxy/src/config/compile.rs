//! From the typed file to a snapshot and process settings. Changes when the snapshot gets a part that the file sets.

mod access;
mod backends;
mod listeners;
mod local;
mod served;
mod targets;
mod tcp;
mod traffic;
mod url;

use std::path::PathBuf;

use bridge_snapshot::{Defect, Snapshot};

use super::decode::{At, Context, Problem};
use super::model::{Config, Naming};
use super::settings::ProcessSettings;

/// What compiling gives.
pub(crate) struct Compiled {
    pub(crate) snapshot: Snapshot,
    pub(crate) process: ProcessSettings,
    /// Files that the configuration names, for checks against this machine.
    pub(crate) files: Vec<FileUse>,
}

/// A file or directory that the configuration names.
#[derive(Debug, Clone)]
pub(crate) struct FileUse {
    pub(crate) at: At,
    pub(crate) path: PathBuf,
    pub(crate) role: Role,
}

/// What a named file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The listener cannot start without it.
    Tls,
    /// Without it every request is refused.
    PublicKey,
    /// Only its backend fails without it.
    WorkingDir,
    /// A program, found through `PATH` when it has no slash; only its backend fails without it.
    Program,
}

/// Places of named parts, so that a defect of the snapshot can say where it comes from.
#[derive(Default)]
struct Places(Vec<(&'static str, String, At)>);

impl Places {
    fn note(&mut self, kind: &'static str, name: &str, at: &At) {
        self.0.push((kind, name.to_owned(), at.clone()));
    }

    fn last(&self, kind: &str, name: &str) -> At {
        let found = self.0.iter().rev().find(|(a, b, _)| *a == kind && b == name);
        found.map_or_else(At::root, |(_, _, at)| at.clone())
    }
}

/// Compiles, recording what is wrong. The result is only meaningful when no error was recorded.
pub(crate) fn compile(config: &Config, cx: &mut Context<'_>) -> Compiled {
    let mut places = Places::default();
    let mut files = Vec::new();
    let access = access::compile(&config.auth, &mut files, cx);
    let listeners = listeners::compile(&config.server, &mut places, &mut files, cx);
    let local = local::compile(&config.server, &mut places, cx);
    let process = listeners::process(config, &listeners, cx);
    let backends = backends::compile(config, &mut places, &mut files, cx);
    traffic::unavailable(config, cx);
    let snapshot = Snapshot {
        listeners: listeners.into_iter().map(|located| located.value).collect(),
        local,
        backends,
        access,
        naming: match *config.naming {
            Naming::Never => bridge_snapshot::Naming::Never,
            Naming::OnConflict => bridge_snapshot::Naming::OnConflict,
            Naming::Always => bridge_snapshot::Naming::Always,
        },
        limits: traffic::limits(config, cx),
        sessions: traffic::sessions(&config.sessions, cx),
        log_level: None,
        refuse_local: false,
    };
    let sound = cx.errors() == 0;
    if let Err(defects) = snapshot.validate() {
        for defect in defects {
            // After another error the address or the policy may be a stand-in that nobody wrote.
            if !sound && matches!(defect, Defect::OpenAccess { .. }) {
                continue;
            }
            cx.error(&place(&defect, &places), Problem::new(defect.to_string()));
        }
    }
    Compiled { snapshot, process, files }
}

fn place(defect: &Defect, places: &Places) -> At {
    match defect {
        Defect::Duplicate { kind, name } | Defect::BadName { kind, name } => places.last(kind, name),
        Defect::Backend { name, .. } => places.last("backend", name),
        Defect::OpenAccess { name, .. } => places.last("address", name),
    }
}
