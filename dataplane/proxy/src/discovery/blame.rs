//! Whose fault it is that a configuration cannot be put into effect. Changes when a configuration can fail in another
//! way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bridge_snapshot::Defect;
use bridge_snapshot::push::{Entry, Key, Missing, Rejection, RejectionCode, Resource, ResourceType};

use crate::run::StartError;

/// Resources by key.
pub(super) type Resources = BTreeMap<Key, Arc<Resource>>;

/// Resources that have just come, as they came.
pub(super) type Fresh = BTreeMap<Key, (Entry, Arc<Resource>)>;

/// Why a configuration cannot be put into effect.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It contradicts itself. At least one defect.
    #[error("{}", join(.0))]
    Defects(Vec<Defect>),
    /// It needs a Secret that is not here.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A part of it cannot be built.
    #[error(transparent)]
    Start(#[from] StartError),
}

fn join(defects: &[Defect]) -> String {
    defects.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Resources to be rejected among those that have just come: at least one, if there are any. `whole` has them and all
/// others. What is rejected as unavailable may be fine, and is tried again.
pub(super) fn blame(trouble: &Trouble, fresh: &Fresh, whole: &Resources) -> Vec<Rejection> {
    let mut rejections: Vec<Rejection> = Vec::new();
    match trouble {
        Trouble::Defects(defects) => {
            for defect in defects {
                let found = keys_of(defect, fresh, whole);
                let text = defect.to_string();
                rejections.extend(reject(&found, fresh, RejectionCode::Invalid, &text));
            }
        }
        Trouble::Start(StartError::Backend(error)) => {
            let found = of_backend(&error.backend, fresh, whole);
            rejections.extend(reject(&found, fresh, RejectionCode::Invalid, &error.to_string()));
        }
        Trouble::Missing(_) | Trouble::Start(_) => {}
    }
    if rejections.is_empty() {
        rejections = blame_the_rest(trouble, fresh, whole);
    }
    rejections.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    rejections.dedup_by(|a, b| (a.kind, &a.name) == (b.kind, &b.name));
    rejections
}

/// What is left: the gateway, if it has just come, or else a Secret that it needs, or else everything. A Secret has the
/// wrong content; what is not here for the gateway may come.
fn blame_the_rest(trouble: &Trouble, fresh: &Fresh, whole: &Resources) -> Vec<Rejection> {
    let own = fresh.keys().filter(|key| key.kind == ResourceType::Gateway).cloned().collect();
    let of_gateway = match trouble {
        Trouble::Defects(_) => RejectionCode::Invalid,
        Trouble::Missing(_) | Trouble::Start(_) => RejectionCode::Unavailable,
    };
    let found = [
        (own, of_gateway),
        (secrets_of_gateway(fresh, whole), RejectionCode::Invalid),
        (fresh.keys().cloned().collect(), RejectionCode::Unavailable),
    ];
    let found: Option<(Vec<Key>, _)> = found.into_iter().find(|(keys, _): &(Vec<Key>, _)| !keys.is_empty());
    found.map(|(keys, code)| reject(&keys, fresh, code, &trouble.to_string())).unwrap_or_default()
}

/// The Secrets that the gateway's own part needs, of what has just come.
fn secrets_of_gateway(fresh: &Fresh, whole: &Resources) -> Vec<Key> {
    let gateways = whole.values().filter_map(|resource| match &**resource {
        Resource::Gateway(snapshot) => Some(snapshot),
        _ => None,
    });
    let secrets: BTreeSet<_> = gateways.flat_map(|snapshot| snapshot.secrets()).collect();
    fresh
        .keys()
        .filter(|key| key.kind == ResourceType::Secret && secrets.contains(&*key.name))
        .cloned()
        .collect()
}

fn reject(keys: &[Key], fresh: &Fresh, code: RejectionCode, text: &str) -> Vec<Rejection> {
    let entries = keys.iter().filter_map(|key| fresh.get(key));
    entries.map(|(entry, _)| Rejection::of(entry, code, text)).collect()
}

/// What makes a backend what it is, of what has just come: itself and its endpoints, or else its secrets.
fn of_backend(name: &str, fresh: &Fresh, whole: &Resources) -> Vec<Key> {
    let itself = [ResourceType::Backend, ResourceType::Endpoints].map(|kind| Key::new(kind, name));
    let found: Vec<_> = itself.iter().filter(|key| fresh.contains_key(key)).cloned().collect();
    if !found.is_empty() {
        return found;
    }
    let [backend, _] = itself;
    let Some(Resource::Backend(part)) = whole.get(&backend).map(Arc::as_ref) else { return found };
    let secrets = part.secrets().map(|name| Key::new(ResourceType::Secret, name));
    let found: BTreeSet<_> = secrets.filter(|key| fresh.contains_key(key)).collect();
    found.into_iter().collect()
}

fn keys_of(defect: &Defect, fresh: &Fresh, whole: &Resources) -> Vec<Key> {
    let backends = |wanted: &dyn Fn(&bridge_snapshot::Backend) -> bool| -> Vec<Key> {
        let of = |(key, resource): (&Key, &Arc<Resource>)| match &**resource {
            Resource::Backend(part) if wanted(&part.backend) => Some(key.clone()),
            _ => None,
        };
        whole.iter().filter_map(of).collect()
    };
    match defect {
        Defect::Duplicate { kind: "namespace", name } => {
            let mut owners = backends(&|backend| backend.namespace == *name);
            // Whoever had it keeps it; among those that come at once, the first by name.
            if owners.iter().all(|key| fresh.contains_key(key)) && !owners.is_empty() {
                owners.remove(0);
            }
            owners.retain(|key| fresh.contains_key(key));
            owners
        }
        Defect::BadName { kind: "backend" | "namespace", name } => {
            backends(&|backend| backend.name == *name || backend.namespace == *name)
        }
        Defect::Backend { name, .. } => of_backend(name, fresh, whole),
        Defect::Duplicate { .. } | Defect::BadName { .. } | Defect::OpenAccess { .. } => Vec::new(),
    }
}
