//! Objects to the API server by server-side apply, and only those that differ. Changes when applying does.

mod compare;
mod drift;
mod error;
mod fence;
mod yielded;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_api::meta::{APPLIED_HASH, HANDOVER_MANAGER, MANAGER, SNAPSHOT_MANAGER};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::DynamicObject;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::desired::{Owned, OwnedKind};
use crate::layout;
use crate::lease::Claim;
use crate::watch::pulse::Pulse;
use crate::world::{ObjectName, World};

pub use compare::contains;
pub use drift::Correction;
pub use error::ApplyError;

use compare::{changed_on_the_way, differences};
use drift::Drift;
use fence::is_newer;
use yielded::Yielded;

/// Kind and name of an owned object.
pub(crate) type Object = (OwnedKind, ObjectName);

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

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was as it should be.
    Nothing,
    /// It is somebody else's, and stays so.
    Foreign,
    /// The document was applied.
    Applied {
        /// Somebody had changed what the operator owns, or did so on the way.
        correction: Option<Correction>,
        /// Fields that somebody else owns and keeps, with what the API server says of them.
        yielded: BTreeMap<String, String>,
    },
    /// Somebody changes it again and again, and it is put right at this time.
    Later(Instant),
}

/// Compares what is wanted with what there is.
pub fn decide(desired: &Owned, live: Option<&DynamicObject>) -> Decision {
    let Some(live) = live else { return Decision::Apply };
    if !live.owner_references().iter().any(|owner| owner.uid == desired.owner) {
        return Decision::Foreign;
    }
    let live = serde_json::to_value(live).unwrap_or_default();
    // A document from which something was taken away has another hash.
    let wanted = desired.substance();
    if wanted
        .as_object()
        .into_iter()
        .flatten()
        .all(|(member, value)| live.get(member).is_some_and(|there| contains(there, value)))
    {
        Decision::Nothing
    } else {
        Decision::Apply
    }
}

/// An object that no watch knows is looked at again after so long.
const LOOK: Duration = Duration::from_mins(10);

/// An object that somebody wrote to at the same time is compared again after so long.
const AGAIN: Duration = Duration::from_millis(250);

/// Applies objects.
pub struct Applier {
    client: Client,
    claim: watch::Receiver<Claim>,
    pulse: Pulse,
    /// Objects about which nothing is left to do until a watch shows another version: the document, and the version that is
    /// shown. A watch lags behind what was written, and the API server writes some values in another way than we do, for
    /// example `0.5` CPUs.
    settled: HashMap<Object, (String, String)>,
    /// What an object that no watch knows was to be when it was last looked at and was so, and when that was.
    looked: HashMap<Object, (String, Instant)>,
    /// Hashes of the documents that were applied last, while nobody else writes.
    written: HashMap<Object, String>,
    drift: Drift,
    yielded: Yielded,
}

impl std::fmt::Debug for Applier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Applier")
    }
}

impl Applier {
    /// Through this client, as long as the claim holds and the cluster is seen.
    pub fn new(client: Client, claim: watch::Receiver<Claim>, pulse: Pulse) -> Self {
        Self {
            client,
            claim,
            pulse,
            settled: HashMap::new(),
            looked: HashMap::new(),
            written: HashMap::new(),
            drift: Drift::default(),
            yielded: Yielded::default(),
        }
    }

    /// Makes an object what it should be, at `now`. `cached` is what a watch knows of it; an object that no watch knows is looked at
    /// first, so that nothing of somebody else's is taken over.
    pub async fn apply(
        &mut self,
        desired: &Owned,
        cached: Option<&Arc<DynamicObject>>,
        now: Instant,
    ) -> Result<Outcome, ApplyError> {
        let fail = |source| fail(desired.kind, &desired.name, source);
        let key = (desired.kind, desired.name.clone());
        let hash = desired.hash().to_owned();
        // What is asked for once about an object that no watch knows must not be asked at every change of anything.
        let unwatched = is_unwatched(desired.kind);
        if unwatched && self.looked.get(&key).is_some_and(|(of, at)| *of == hash && now < *at + LOOK) {
            return Ok(Outcome::Nothing);
        }
        let looked_at = match cached {
            Some(_) => None,
            None => self.look(desired.kind, &desired.name).await?,
        };
        let live = cached.map(AsRef::as_ref).or(looked_at.as_ref());
        let wanted = self.yielded.without(desired);
        match decide(&wanted, live) {
            Decision::Nothing => {
                if unwatched {
                    self.looked.insert(key, (hash, now));
                }
                return Ok(Outcome::Nothing);
            }
            Decision::Foreign => return Ok(Outcome::Foreign),
            Decision::Apply => {}
        }
        let settled =
            cached.and_then(|cached| cached.resource_version()).map(|version| (hash.clone(), version));
        if settled.is_some() && self.settled.get(&key) == settled.as_ref() {
            return Ok(Outcome::Nothing);
        }
        let changed = live.map(|live| self.changed_by_others(&wanted, live)).unwrap_or_default();
        if let Some(due) = self.drift.wait(&key, &changed, now) {
            return Ok(Outcome::Later(due));
        }
        // A watch lags behind what this or another replica has written, so the object itself is asked.
        let newest = match cached {
            Some(_) => self.look(desired.kind, &desired.name).await?,
            None => looked_at,
        };
        match decide(&wanted, newest.as_ref()) {
            Decision::Foreign => return Ok(Outcome::Foreign),
            Decision::Nothing => {
                self.settled.extend(settled.map(|settled| (key, settled)));
                return Ok(Outcome::Nothing);
            }
            Decision::Apply => {}
        }
        let changed =
            newest.as_ref().map(|newest| self.changed_by_others(&wanted, newest)).unwrap_or_default();
        if let Some(newest) = &newest {
            fence(desired.kind, &desired.name, desired.generation, newest)?;
        }
        self.check()?;
        let (applied, yielded) = match self.send(&wanted, newest.as_ref()).await {
            // Somebody wrote since it was looked at.
            Err(kube::Error::Api(status)) if status.code == 409 => return Ok(Outcome::Later(now + AGAIN)),
            sent => sent.map_err(fail)?,
        };
        if unwatched {
            self.looked.insert(key.clone(), (hash.clone(), now));
        }
        self.settled.extend(settled.map(|settled| (key.clone(), settled)));
        self.written.insert(key.clone(), hash);
        let answer = serde_json::to_value(&applied).unwrap_or_default();
        let overruled = changed_on_the_way(&answer, &self.yielded.without(desired).substance());
        if !overruled.is_empty() {
            let correction = Some(self.drift.overruled(&key, &overruled, now));
            return Ok(Outcome::Applied { correction, yielded });
        }
        let before = newest.as_ref().and_then(ResourceExt::resource_version);
        if applied.resource_version() == before {
            return Ok(Outcome::Applied { correction: None, yielded });
        }
        // What was sent was for this version alone, so no change of somebody's is counted twice.
        let correction = (!changed.is_empty()).then(|| self.drift.corrected(&key, &changed, now));
        Ok(Outcome::Applied { correction, yielded })
    }

    /// Sends a document, for exactly the object that was seen. The object is ours or does not exist, so whoever wrote to
    /// our fields is overruled, but for what may be left to others.
    async fn send(
        &mut self,
        wanted: &Owned,
        seen: Option<&DynamicObject>,
    ) -> Result<(DynamicObject, BTreeMap<String, String>), kube::Error> {
        let manager = if wanted.kind == OwnedKind::Secret { SNAPSHOT_MANAGER } else { MANAGER };
        let (api, name) = (self.api(wanted.kind, &wanted.name), &*wanted.name.name);
        let version = seen.and_then(ResourceExt::resource_version);
        let at = |mut document: Value| {
            if let Some(version) = &version {
                document["metadata"]["resourceVersion"] = version.clone().into();
            }
            document
        };
        let (mut document, mut left) = (at(wanted.document.clone()), BTreeMap::new());
        if Yielded::may(wanted.kind) {
            let patched = api.patch(name, &PatchParams::apply(manager), &Patch::Apply(&document)).await;
            match patched {
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    left = self.yielded.learn(wanted, &status);
                    document = at(self.yielded.without(wanted).document);
                }
                other => return other.map(|applied| (applied, left)),
            }
        }
        let params = PatchParams::apply(manager).force();
        api.patch(name, &params, &Patch::Apply(&document)).await.map(|applied| (applied, left))
    }

    /// An object as the API server has it.
    pub async fn look(
        &self,
        kind: OwnedKind,
        name: &ObjectName,
    ) -> Result<Option<DynamicObject>, ApplyError> {
        let found = self.api(kind, name).get_opt(&name.name).await;
        found.map_err(|source| fail(kind, name, source))
    }

    /// Owns the number of pods as the second manager, or lets go of it, as this generation of the owner wants it.
    pub async fn hold(
        &self,
        deployment: &ObjectName,
        number: Option<u32>,
        generation: Option<i64>,
    ) -> Result<(), ApplyError> {
        let kind = OwnedKind::Deployment;
        let newest = self.look(kind, deployment).await?;
        if let Some(newest) = &newest {
            fence(kind, deployment, generation, newest)?;
        }
        let version = newest.as_ref().and_then(ResourceExt::resource_version);
        let resource = kind.resource();
        let mut document = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {
                "name": deployment.name, "namespace": deployment.namespace, "resourceVersion": version,
            },
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

    /// Deletes exactly the object that was seen, which this generation of its owner does not want.
    pub async fn delete(
        &self,
        kind: OwnedKind,
        name: &ObjectName,
        (seen, generation): (&DynamicObject, Option<i64>),
    ) -> Result<(), ApplyError> {
        fence(kind, name, generation, seen)?;
        self.check()?;
        let preconditions = Preconditions { uid: seen.uid(), resource_version: seen.resource_version() };
        let params = DeleteParams::background().preconditions(preconditions);
        match self.api(kind, name).delete(&name.name, &params).await {
            Ok(_) => Ok(()),
            // It was changed or deleted; the watch will say so.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(source) => Err(fail(kind, name, source)),
        }
    }

    /// Fields of ours that are not as they were applied. A document that is new is no quarrel with anybody.
    fn changed_by_others(&self, wanted: &Owned, live: &DynamicObject) -> Vec<String> {
        let (hash, key) = (wanted.hash(), (wanted.kind, wanted.name.clone()));
        // Somebody who applies all of an older document applies its hash as well.
        let was_applied = live.annotations().get(APPLIED_HASH).is_some_and(|of| of == hash)
            || self.written.get(&key).is_some_and(|of| of == hash);
        if !was_applied {
            return Vec::new();
        }
        differences(&serde_json::to_value(live).unwrap_or_default(), &wanted.substance())
    }

    /// Forgets what another replica may have changed in the meantime.
    pub fn follow(&mut self) {
        self.looked.clear();
        self.written.clear();
    }

    /// Forgets objects that are gone.
    pub fn retain(&mut self, world: &World) {
        let exists = |object: &Object| {
            let (kind, name) = object;
            let gateway = layout::gateway(&name.name).filter(|_| is_unwatched(*kind));
            let gateway = gateway.map(|gateway| ObjectName::new(&*name.namespace, gateway));
            gateway
                .map_or_else(|| world.owned.contains_key(object), |name| world.gateways.contains_key(&name))
        };
        self.settled.retain(|object, _| exists(object));
        self.looked.retain(|object, _| exists(object));
        self.written.retain(|object, _| exists(object));
        self.drift.retain(exists);
        self.yielded.retain(exists);
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

/// Whether no watch knows objects of a kind.
const fn is_unwatched(kind: OwnedKind) -> bool {
    matches!(kind, OwnedKind::ServiceAccount | OwnedKind::ServiceMonitor)
}

/// Refuses to write over what came from a newer generation of the same owner.
fn fence(
    kind: OwnedKind,
    name: &ObjectName,
    generation: Option<i64>,
    live: &DynamicObject,
) -> Result<(), ApplyError> {
    if is_newer(live, generation) {
        return Err(ApplyError::Outdated { kind, name: name.clone() });
    }
    Ok(())
}

fn fail(kind: OwnedKind, name: &ObjectName, source: kube::Error) -> ApplyError {
    ApplyError::Api { kind, name: name.clone(), source: Box::new(source) }
}

#[cfg(test)]
mod tests;
