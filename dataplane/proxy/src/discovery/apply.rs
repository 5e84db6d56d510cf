//! Changes into effect: resources to one configuration, which replaces the one before as a whole. Changes when a change
//! is put into effect differently.
//!
//! What cannot be served is rejected, and its last good version serves on; the rest of the change does not suffer.

use std::collections::BTreeMap;
use std::sync::Arc;

use bridge_snapshot::push::{
    Assembly, Entry, Key, LeftOut, Rejection, RejectionCode, Resource, ResourceType, assemble,
};
use bridge_snapshot::{Access, ContentHash, Snapshot};

use super::blame::{Fresh, Resources, Trouble, blame};
use super::files::Files;
use crate::run::Server;

/// The resources that are served, decoded.
#[derive(Default)]
pub(super) struct Served {
    resources: Resources,
    /// The gateway's own part among them, as it came.
    gateway: Option<Entry>,
    /// Backends that are configured and cannot be served now, with the reason.
    left_out: BTreeMap<String, String>,
    /// Of the configuration in effect; `None` before there is any.
    pub(super) hash: Option<ContentHash>,
    /// Files that it names, as they were before they were read.
    files: Files,
}

impl Served {
    /// Puts a change into effect and says what of it is not. When nothing can be served, what was served before is.
    pub(super) async fn apply(
        &mut self,
        upsert: &[Entry],
        remove: &[Key],
        server: &mut Server,
    ) -> Vec<Rejection> {
        let (mut fresh, mut rejected) = decode(upsert);
        loop {
            let mut whole = self.resources.clone();
            for key in remove {
                whole.remove(key);
            }
            whole.extend(fresh.iter().map(|(key, (_, resource))| (key.clone(), Arc::clone(resource))));
            // A gateway that has just come is rejected when it needs what is not here; one that serves does without.
            let strict = fresh.keys().any(|key| key.kind == ResourceType::Gateway);
            let trouble = self.effect(&whole, strict, server).await.err();
            let blamed = trouble.as_ref().map(|trouble| blame(trouble, &fresh, &whole)).unwrap_or_default();
            if blamed.is_empty() {
                self.resources = whole;
                let own = fresh.into_values().find(|(entry, _)| entry.key.kind == ResourceType::Gateway);
                self.gateway = own.map(|(entry, _)| entry).or(self.gateway.take());
                if let Some(trouble) = trouble {
                    tracing::error!(%trouble, "configuration cannot be put into effect; the running one stays");
                    // What has just come is not to blame, so it is something here that makes all of it wait.
                    let waits = |entry| Rejection::of(entry, RejectionCode::Unavailable, trouble.to_string());
                    rejected.extend(self.gateway.as_ref().map(waits));
                }
                return rejected;
            }
            for rejection in blamed {
                fresh.remove(&rejection.key());
                rejected.push(rejection);
            }
        }
    }

    /// Reads files that the configuration names again, if they were replaced or `anyway`.
    pub(super) async fn read_again(&mut self, anyway: bool, server: &mut Server) {
        let snapshot = server.snapshot();
        let files = Files::of(&snapshot).await;
        if files == self.files && !anyway {
            return;
        }
        // What cannot be used now is tried again when it is replaced again.
        self.files = files;
        match server.replace(Snapshot::clone(&snapshot)).await {
            Ok(_) => tracing::info!("certificates and keys read again"),
            Err(error) => tracing::error!(%error, "certificates and keys stay as they were"),
        }
    }

    async fn effect(&mut self, whole: &Resources, strict: bool, server: &mut Server) -> Result<(), Trouble> {
        let Assembly { snapshot, left_out, missing } = assemble(whole.values().map(Arc::as_ref));
        let Some(snapshot) = snapshot else {
            tracing::warn!(
                "the gateway's own part of the configuration is not here; nothing changes without it"
            );
            return Ok(());
        };
        match missing.into_iter().next() {
            Some(missing) if strict => return Err(missing.into()),
            Some(missing) => tracing::error!(%missing, "configuration in effect without a part of it"),
            None => {}
        }
        snapshot.validate().map_err(Trouble::Defects)?;
        if let Access::Refuse { reason } = &snapshot.access {
            tracing::error!(%reason, "every request is refused");
        }
        let files = Files::of(&snapshot).await;
        self.hash = Some(server.replace(snapshot).await?);
        self.files = files;
        let left_out = left_out.into_iter().map(|LeftOut { backend, reason }| (backend, reason)).collect();
        for (backend, reason) in &left_out {
            if self.left_out.get(backend) != Some(reason) {
                tracing::warn!(%backend, %reason, "backend left out");
            }
        }
        self.left_out = left_out;
        Ok(())
    }
}

fn decode(upsert: &[Entry]) -> (Fresh, Vec<Rejection>) {
    let (mut fresh, mut rejected) = (Fresh::new(), Vec::new());
    for entry in upsert {
        match Resource::decode(entry) {
            Ok(resource) => drop(fresh.insert(entry.key.clone(), (entry.clone(), Arc::new(resource)))),
            Err(rejection) => rejected.push(rejection),
        }
    }
    (fresh, rejected)
}
