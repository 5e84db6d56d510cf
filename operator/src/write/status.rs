//! Status to the API server, no more often than somebody would read it. Changes when status is written differently.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

use bridge_api::GROUP;
use bridge_api::condition::ConditionType;
use bridge_api::event::EventReason;
use bridge_api::meta::STATUS_MANAGER;
use bridge_api::v1alpha1::{McpBackend, McpGateway};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::{Value, json};

use super::Writer;
use super::owned::autoscaler;
use super::pace::Urgency;
use crate::apply::ApplyError;
use crate::compile::{BackendVerdict, Compilation};
use crate::desired::OwnedKind;
use crate::desired::replicas::Autoscaler;
use crate::engine::View;
use crate::layout;
use crate::status::{
    BackendFacts, Fleet, GatewayFacts, GatewayOfBackend, Lag, Lags, PodFacts, Published, backend, behind,
    gateway,
};
use crate::world::ObjectName;

/// Numbers that move all the time, as pointers into a status.
const COUNTERS: [&str; 4] = ["/tools", "/config/version", "/config/hash", "/endpoints/ejected"];

/// Pods that have left and are remembered, so that it is told once.
const DRAINED: usize = 1000;

/// A status that differs from the one that the API server has.
pub(super) struct Pending {
    kind: &'static str,
    name: ObjectName,
    /// Of the object that it was computed from.
    version: Option<String>,
    reference: ObjectReference,
    urgency: Urgency,
    status: Value,
    before: Vec<Condition>,
    after: Vec<Condition>,
}

/// What is known of the pods of all gateways.
#[derive(Default)]
pub(super) struct Said(BTreeMap<ObjectName, (PodFacts, Lags)>);

impl Said {
    /// The pods of each gateway, looked through once.
    pub(super) fn fleets<'a>(&'a self, view: &'a View) -> BTreeMap<&'a ObjectName, Fleet<'a>> {
        let fleets = self.0.iter().filter_map(|(name, (facts, lags))| {
            let uid = view.world.gateways.get(name)?.metadata.uid.as_deref().unwrap_or_default();
            let published = view.published.get(name)?;
            Some((name, Fleet::new(view.world.pods_of(uid), facts, lags, published)))
        });
        fleets.collect()
    }
}

impl Writer {
    /// What pods say, and how long they have been behind. A pod that has been so for a while is worth an Event.
    pub(super) async fn listen(&mut self, view: &View, compilation: &Compilation, now: Instant) -> Said {
        let mut said = Said::default();
        for name in compilation.gateways.keys() {
            let Some(object) = view.world.gateways.get(name) else { continue };
            let facts = view.pods_of(name, now);
            let nothing = Published::default();
            let published = view.published.get(name).map_or(&nothing, AsRef::as_ref);
            let uid = object.uid().unwrap_or_default();
            let late = behind(view.world.pods_of(&uid), &facts, published);
            let (lags, next) = self.clock.observe(name, &late, now);
            if let Some(next) = next {
                self.wake_at(next);
            }
            let noted = lags.values().filter(|lag| **lag >= Lag::Noted).count();
            if noted == 0 {
                self.noted.remove(name);
            } else if self.noted.insert(name.clone()) && self.applier.check().is_ok() {
                let note = format!("ready pods that have been behind for more than 30 seconds: {noted}");
                self.events.send(&object.object_ref(&()), EventReason::StaleConfig, &note).await;
            }
            self.tell_drained(name, &facts).await;
            said.0.insert(name.clone(), (facts, lags));
        }
        said
    }

    /// Tells of pods that have left, once each.
    async fn tell_drained(&mut self, gateway: &ObjectName, facts: &PodFacts) {
        for (uid, fact) in facts {
            let Some((pod, report)) = fact.parted.as_ref().zip(fact.report.as_ref()) else { continue };
            if self.drained.contains(uid) || self.applier.check().is_err() {
                continue;
            }
            self.drained.push_back(uid.clone());
            if self.drained.len() > DRAINED {
                self.drained.pop_front();
            }
            let reference = ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                namespace: Some(gateway.namespace.clone()),
                name: Some(pod.clone()),
                uid: Some(uid.clone()),
                ..ObjectReference::default()
            };
            let (reason, note) = match report.dropped {
                0 => (EventReason::Drained, "it left with nothing open".to_owned()),
                dropped => (
                    EventReason::DrainTimeout,
                    format!("it left and gave up {dropped} requests that took too long"),
                ),
            };
            self.events.send(&reference, reason, &note).await;
        }
    }

    pub(super) fn gateway_status(
        &self,
        view: &View,
        compilation: &Compilation,
        fleets: &BTreeMap<&ObjectName, Fleet<'_>>,
        name: &ObjectName,
    ) -> Option<Pending> {
        let (object, plan) = (view.world.gateways.get(name)?, compilation.gateways.get(name)?);
        let object = &*self.unseen.newest("McpGateway", object);
        let workload = ObjectName::new(&*name.namespace, layout::workload(&name.name));
        let deployment: Option<Deployment> = view.world.owned_as(OwnedKind::Deployment, &workload);
        let service: Option<Service> = view.world.owned_as(OwnedKind::Service, name);
        let facts = GatewayFacts {
            gateway: object,
            plan,
            fleet: fleets.get(name)?,
            deployment: deployment.as_ref(),
            service: service.as_ref(),
            conflict: self.conflicts.get(name),
            scaled_by_others: autoscaler(&view.world, object, &workload) == Autoscaler::Foreign,
            blind: !view.sight.is_clear(),
        };
        let status = gateway(&facts, &Time(Timestamp::now()));
        let before = object.status.as_ref();
        let conditions = before.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let after = status.conditions.clone().unwrap_or_default();
        pending("McpGateway", object, (before, &status), (conditions, after))
    }

    pub(super) fn backend_status(
        &self,
        view: &View,
        compilation: &Compilation,
        fleets: &BTreeMap<&ObjectName, Fleet<'_>>,
        name: &ObjectName,
    ) -> Option<Pending> {
        let (object, verdict) = (view.world.backends.get(name)?, compilation.backends.get(name)?);
        if object.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let verdict = &*match self.stuck.get(name) {
            Some(accepted) => Cow::Owned(BackendVerdict { accepted: accepted.clone(), ..verdict.clone() }),
            None => Cow::Borrowed(verdict),
        };
        let object = &*self.unseen.newest("McpBackend", object);
        let gateways: Vec<_> = verdict
            .gateways
            .keys()
            .map(|gateway| {
                let plan = compilation.gateways.get(gateway);
                let attached = plan.and_then(|plan| plan.attached.get(&verdict.tool_namespace));
                GatewayOfBackend {
                    name: gateway,
                    fleet: fleets.get(gateway),
                    serves: attached.is_some_and(|attached| attached.backend.as_ref() == Some(name)),
                }
            })
            .collect();
        let facts =
            BackendFacts { backend: object, verdict, gateways: &gateways, blind: !view.sight.is_clear() };
        let status = backend(&facts, &Time(Timestamp::now()))?;
        let before = object.status.as_ref();
        let conditions = before.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let after = status.conditions.clone().unwrap_or_default();
        pending("McpBackend", object, (before, &status), (conditions, after))
    }

    /// Writes what differs, the most urgent first, as fast as the API server shall bear.
    pub(super) async fn write_all(&mut self, mut all: Vec<Pending>) {
        all.sort_by_key(|pending| pending.urgency);
        for pending in all {
            let now = Instant::now();
            match self.pace.take(&(pending.kind, pending.name.clone()), pending.urgency, now) {
                Ok(()) => {
                    let written = self.write(&pending, now).await;
                    self.done("status", &pending.name, written);
                }
                Err(due) => self.wake_at(due),
            }
        }
    }

    /// Writes a status, to exactly the object that it was computed from: neither another replica's newer status nor one of a
    /// newer spec is written over, however late the request arrives.
    async fn write(&mut self, pending: &Pending, now: Instant) -> Result<(), ApplyError> {
        let Pending { kind, name, version, .. } = pending;
        self.applier.check()?;
        let document: Value = json!({
            "apiVersion": format!("{GROUP}/v1alpha1"),
            "kind": kind,
            "metadata": { "name": name.name, "namespace": name.namespace, "resourceVersion": version },
            "status": pending.status,
        });
        let resource = match *kind {
            "McpGateway" => ApiResource::erase::<McpGateway>(&()),
            _ => ApiResource::erase::<McpBackend>(&()),
        };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &name.namespace, &resource);
        let params = PatchParams::apply(STATUS_MANAGER).force();
        match api.patch_status(&name.name, &params, &Patch::Apply(&document)).await {
            Ok(written) => self.unseen.wrote((kind, name.clone()), version.as_deref(), &written),
            // It was changed or deleted; the watch will say so.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
            Err(source) => return Err(ApplyError::Status { name: name.clone(), source: Box::new(source) }),
        }
        self.metrics.wrote("status", true);
        self.events.conditions(&pending.reference, &pending.before, &pending.after, now).await;
        Ok(())
    }
}

/// A status to write, if it differs from the one before.
fn pending<K: Resource<DynamicType = ()>, S: Serialize + PartialEq>(
    kind: &'static str,
    object: &K,
    (before, after): (Option<&S>, &S),
    (old, new): (&[Condition], Vec<Condition>),
) -> Option<Pending> {
    // Most are, and encoding them would be most of the work.
    if before == Some(after) {
        return None;
    }
    let status = serde_json::to_value(after).unwrap_or_default();
    let before = before.map(|before| serde_json::to_value(before).unwrap_or_default());
    if before.as_ref() == Some(&status) {
        return None;
    }
    let urgency = if conditions_differ(old, &new) {
        Urgency::Conditions
    } else if before.is_some_and(|before| without_counters(before) == without_counters(status.clone())) {
        Urgency::Counters
    } else {
        Urgency::Numbers
    };
    let (name, reference, version) =
        (ObjectName::of(object), object.object_ref(&()), object.resource_version());
    Some(Pending { kind, name, version, reference, urgency, status, before: old.to_vec(), after: new })
}

fn without_counters(mut status: Value) -> Value {
    for counter in COUNTERS {
        if let Some(value) = status.pointer_mut(counter) {
            *value = Value::Null;
        }
    }
    status
}

/// Whether a reader would decide differently.
fn conditions_differ(before: &[Condition], after: &[Condition]) -> bool {
    let of = |all: &[Condition], type_: ConditionType| {
        let found = all.iter().find(|condition| condition.type_ == type_.as_str());
        found.map(|condition| {
            (condition.status.clone(), condition.reason.clone(), condition.observed_generation)
        })
    };
    ConditionType::ALL.iter().any(|type_| of(before, *type_) != of(after, *type_))
}
