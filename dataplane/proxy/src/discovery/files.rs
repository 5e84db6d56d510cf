//! Files that a configuration names and others replace: mounted certificates and keys. Changes when files are noticed
//! differently.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use bridge_snapshot::{Material, Snapshot};

/// What tells one content of a file from another without reading it. Mounts of Kubernetes replace a file by another.
type Trait = (u64, i64, i64, u64);

/// The files, as they were when somebody looked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Files(BTreeMap<PathBuf, Option<Trait>>);

impl Files {
    /// As they are now. Look before they are read: what is replaced meanwhile is then noticed later.
    pub(super) async fn of(snapshot: &Snapshot) -> Self {
        let mut files = BTreeMap::new();
        for file in named(snapshot) {
            let metadata = tokio::fs::metadata(&file).await.ok();
            files.insert(file, metadata.as_ref().map(look));
        }
        Self(files)
    }
}

fn look(metadata: &Metadata) -> Trait {
    (metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len())
}

fn named(snapshot: &Snapshot) -> Vec<PathBuf> {
    let file = |material: &Material| match material {
        Material::File(file) => Some(file.clone()),
        Material::Env(_) | Material::Key { .. } | Material::Value { .. } => None,
    };
    let jwts = snapshot.access.jwts().iter();
    let keys = jwts.flat_map(|jwt| [jwt.secret.as_ref().and_then(file), jwt.public_key_file.clone()]);
    let tls = snapshot.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    tls.flat_map(|tls| [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()])
        .flatten()
        .filter_map(file)
        .chain(keys.flatten())
        .collect()
}
