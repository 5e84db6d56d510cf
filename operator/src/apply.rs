//! Objects to the API server by server-side apply, and only those that differ. Changes when applying does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bridge_api::meta::{HANDOVER_MANAGER, MANAGER, SNAPSHOT_MANAGER};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::DynamicObject;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::desired::{Owned, OwnedKind};
use crate::lease::Claim;
use crate::watch::pulse::Pulse;
use crate::world::ObjectName;

/// What to do about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is as it should be.
    Nothing,
    /// Apply the document.
    Apply,
    /// It is somebody else's, and stays so.
    Foreign,
}

/// Compares what is wanted with what there is.
pub fn decide(desired: &Owned, live: Option<&DynamicObject>) -> Decision {
    let Some(live) = live else { return Decision::Apply };
    if !live.owner_references().iter().any(|owner| owner.uid == desired.owner) {
        return Decision::Foreign;
    }
    let live = serde_json::to_value(live).unwrap_or_default();
    let wanted = desired.document.as_object().into_iter().flatten();
    // Items of lists do not say what they are. A document from which something was taken away has another hash.
    let mut wanted = wanted.filter(|(member, _)| !["apiVersion", "kind"].contains(&member.as_str()));
    if wanted.all(|(member, value)| live.get(member).is_some_and(|there| contains(there, value))) {
        Decision::Nothing
    } else {
        Decision::Apply
    }
}

/// Whether `live` says everything that `wanted` says. Lists are compared item by item; the API server may add members to
/// items, and items of its own to no list of ours.
pub fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(member, value)| {
            live.get(member).is_some_and(|there| contains(there, value)) || is_empty(value)
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len()
                && wanted.iter().all(|item| live.iter().any(|candidate| contains(candidate, item)))
        }
        (live, wanted) => live == wanted || same_quantity(live, wanted),
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// The API server writes quantities as text.
fn same_quantity(live: &Value, wanted: &Value) -> bool {
    matches!((live, wanted), (Value::String(live), Value::Number(wanted)) if *live == wanted.to_string())
}

/// Why an object was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Another replica writes.
    #[error("this replica may not write any more")]
    NotLeader,
    /// What is known of the cluster is too old to write by.
    #[error("this replica does not see the cluster")]
    Blind,
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

/// Applies objects.
pub struct Applier {
    client: Client,
    claim: watch::Receiver<Claim>,
    pulse: Pulse,
    /// What an object was when applying changed nothing: its document and its resource version. The API server writes some
    /// values in another way than we do, for example `0.5` CPUs, and is not to be asked again and again.
    settled: HashMap<(OwnedKind, ObjectName), (String, String)>,
}

impl std::fmt::Debug for Applier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Applier")
    }
}

impl Applier {
    /// Through this client, as long as the claim holds and the cluster is seen.
    pub fn new(client: Client, claim: watch::Receiver<Claim>, pulse: Pulse) -> Self {
        Self { client, claim, pulse, settled: HashMap::new() }
    }

    /// Makes an object what it should be. `cached` is what a watch knows of it; an object that no watch knows is looked at
    /// first, so that nothing of somebody else's is taken over.
    pub async fn apply(
        &mut self,
        desired: &Owned,
        cached: Option<&Arc<DynamicObject>>,
    ) -> Result<Decision, ApplyError> {
        let api = self.api(desired.kind, &desired.name);
        let fail = |source| fail(desired.kind, &desired.name, source);
        let looked_at = match cached {
            Some(_) => None,
            None => api.get_opt(&desired.name.name).await.map_err(fail)?,
        };
        let live = cached.map(AsRef::as_ref).or(looked_at.as_ref());
        let decision = decide(desired, live);
        if decision != Decision::Apply {
            return Ok(decision);
        }
        let key = (desired.kind, desired.name.clone());
        let before = live.and_then(ResourceExt::resource_version).unwrap_or_default();
        let hash = desired.hash().to_owned();
        if self.settled.get(&key).is_some_and(|(of, version)| (of, version) == (&hash, &before)) {
            return Ok(Decision::Nothing);
        }
        self.check()?;
        let manager = if desired.kind == OwnedKind::Secret { SNAPSHOT_MANAGER } else { MANAGER };
        // The object is ours or does not exist, so whoever wrote to our fields is overruled.
        let params = PatchParams::apply(manager).force();
        let applied =
            api.patch(&desired.name.name, &params, &Patch::Apply(&desired.document)).await.map_err(fail)?;
        if applied.resource_version().as_ref() == Some(&before) {
            self.settled.insert(key, (hash, before));
        }
        Ok(Decision::Apply)
    }

    /// Owns the number of pods as the second manager, or lets go of it.
    pub async fn hold(&self, deployment: &ObjectName, number: Option<u32>) -> Result<(), ApplyError> {
        let kind = OwnedKind::Deployment;
        let resource = kind.resource();
        let mut document = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": { "name": deployment.name, "namespace": deployment.namespace },
        });
        if let (Some(number), Some(document)) = (number, document.as_object_mut()) {
            document.insert("spec".to_owned(), json!({ "replicas": number }));
        }
        self.check()?;
        let params = PatchParams::apply(HANDOVER_MANAGER).force();
        let (api, patch) = (self.api(kind, deployment), Patch::Apply(&document));
        let patched = api.patch(&deployment.name, &params, &patch).await;
        patched.map(drop).map_err(|source| fail(kind, deployment, source))
    }

    /// Deletes exactly the object that was seen.
    pub async fn delete(
        &self,
        kind: OwnedKind,
        name: &ObjectName,
        seen: &DynamicObject,
    ) -> Result<(), ApplyError> {
        self.check()?;
        let preconditions = Preconditions { uid: seen.uid(), resource_version: None };
        let params = DeleteParams::background().preconditions(preconditions);
        match self.api(kind, name).delete(&name.name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
            Err(source) => Err(fail(kind, name, source)),
        }
    }

    /// Whether this replica may write at this moment.
    pub fn check(&self) -> Result<(), ApplyError> {
        let now = Instant::now();
        if !self.claim.borrow().holds(now) {
            return Err(ApplyError::NotLeader);
        }
        if self.pulse.sight(now).is_blind() { Err(ApplyError::Blind) } else { Ok(()) }
    }

    fn api(&self, kind: OwnedKind, name: &ObjectName) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &name.namespace, &kind.resource())
    }
}

fn fail(kind: OwnedKind, name: &ObjectName, source: kube::Error) -> ApplyError {
    ApplyError::Api { kind, name: name.clone(), source: Box::new(source) }
}
