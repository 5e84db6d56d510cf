//! Status to the API server, no more often than somebody would read it. Changes when status is written differently.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_api::GROUP;
use bridge_api::condition::ConditionType;
use bridge_api::meta::STATUS_MANAGER;
use bridge_api::v1alpha1::{McpBackend, McpGateway};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::owned::autoscaler;
use super::{STALE, Writer};
use crate::apply::ApplyError;
use crate::compile::Compilation;
use crate::desired::OwnedKind;
use crate::desired::replicas::Autoscaler;
use crate::engine::View;
use crate::layout;
use crate::status::{BackendFacts, GatewayFacts, GatewayOfBackend, PodFacts, Published, backend, gateway};
use crate::world::ObjectName;

/// Numbers are written at most so often. Conditions are written at once.
const NUMBERS: Duration = Duration::from_secs(2);

impl Writer {
    pub(super) async fn gateway_status(
        &mut self,
        view: &View,
        compilation: &Compilation,
        name: &ObjectName,
        object: &Arc<McpGateway>,
    ) -> Result<(), ApplyError> {
        let Some(plan) = compilation.gateways.get(name) else { return Ok(()) };
        let uid = object.uid().unwrap_or_default();
        let pods: Vec<&Pod> = view.world.pods_of(&uid).collect();
        let workload = ObjectName::new(&*name.namespace, layout::workload(&name.name));
        let deployment: Option<Deployment> = view.world.owned_as(OwnedKind::Deployment, &workload);
        let service: Option<Service> = view.world.owned_as(OwnedKind::Service, name);
        let (nothing, said) = (Published::default(), view.pods_of(name, Instant::now()));
        let mut facts = GatewayFacts {
            gateway: object,
            plan,
            published: view.published.get(name).map_or(&nothing, AsRef::as_ref),
            pods: &pods,
            facts: &said,
            deployment: deployment.as_ref(),
            service: service.as_ref(),
            conflict: self.conflicts.get(name).map(String::as_str),
            scaled_by_others: autoscaler(&view.world, object, &workload) == Autoscaler::Foreign,
            stale: false,
            blind: !view.sight.is_clear(),
        };
        let now = Time(Timestamp::now());
        let mut status = gateway(&facts, &now);
        let behind = status
            .config
            .as_ref()
            .and_then(|config| config.laggards.as_ref())
            .is_some_and(|all| !all.is_empty());
        if behind {
            let since = *self.behind.entry(name.clone()).or_insert_with(Instant::now);
            if since.elapsed() >= STALE {
                facts.stale = true;
                status = gateway(&facts, &now);
            } else {
                self.wake_at(since + STALE);
            }
        } else {
            self.behind.remove(name);
        }
        let before = object.status.as_ref();
        let conditions = before.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let after = status.conditions.clone().unwrap_or_default();
        if self.write("McpGateway", &**object, before, &status, conditions_differ(conditions, &after)).await?
        {
            self.events.conditions(&**object, conditions, &after).await;
        }
        Ok(())
    }

    pub(super) async fn backend(
        &mut self,
        view: &View,
        compilation: &Compilation,
        said: &BTreeMap<ObjectName, PodFacts>,
        name: &ObjectName,
    ) -> Result<(), ApplyError> {
        let (Some(object), Some(verdict)) = (view.world.backends.get(name), compilation.backends.get(name))
        else {
            return Ok(());
        };
        if object.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        if view.sight.is_clear() {
            self.adapter(view, compilation, object).await?;
        }
        let (nothing, nobody) = (Published::default(), PodFacts::new());
        let gateways: Vec<_> = verdict
            .gateways
            .keys()
            .map(|gateway| {
                let uid =
                    view.world.gateways.get(gateway).and_then(|gateway| gateway.metadata.uid.as_deref());
                let plan = compilation.gateways.get(gateway);
                let attached = plan.and_then(|plan| plan.attached.get(&verdict.tool_namespace));
                GatewayOfBackend {
                    name: gateway,
                    published: view.published.get(gateway).map_or(&nothing, AsRef::as_ref),
                    pods: view.world.pods_of(uid.unwrap_or_default()).collect(),
                    facts: said.get(gateway).unwrap_or(&nobody),
                    serves: attached.is_some_and(|attached| attached.backend.as_ref() == Some(name)),
                }
            })
            .collect();
        let facts =
            BackendFacts { backend: object, verdict, gateways: &gateways, blind: !view.sight.is_clear() };
        let Some(status) = backend(&facts, &Time(Timestamp::now())) else { return Ok(()) };
        let before = object.status.as_ref();
        let conditions = before.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let after = status.conditions.clone().unwrap_or_default();
        if self.write("McpBackend", &**object, before, &status, conditions_differ(conditions, &after)).await?
        {
            self.events.conditions::<McpBackend>(object, conditions, &after).await;
        }
        Ok(())
    }

    /// Writes a status that differs. Whether it did.
    async fn write<K, S: Serialize>(
        &mut self,
        kind: &'static str,
        object: &K,
        before: Option<&S>,
        after: &S,
        urgent: bool,
    ) -> Result<bool, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let name = ObjectName::of(object);
        let after = serde_json::to_value(after).unwrap_or_default();
        if before.is_some_and(|before| serde_json::to_value(before).is_ok_and(|before| before == after)) {
            return Ok(false);
        }
        let (key, now) = ((kind, name.clone()), Instant::now());
        if let Some(at) = self.written.get(&key).filter(|at| !urgent && now < **at + NUMBERS) {
            let due = *at + NUMBERS;
            self.wake_at(due);
            return Ok(false);
        }
        self.applier.check()?;
        let document: Value = json!({
            "apiVersion": format!("{GROUP}/v1alpha1"),
            "kind": kind,
            "metadata": { "name": name.name, "namespace": name.namespace },
            "status": after,
        });
        let api: Api<K> = Api::namespaced(self.client.clone(), &name.namespace);
        let params = PatchParams::apply(STATUS_MANAGER).force();
        match api.patch_status(&name.name, &params, &Patch::Apply(&document)).await {
            Ok(_) => {}
            // It was deleted; the watch will say so.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(false),
            Err(source) => return Err(ApplyError::Status { name, source: Box::new(source) }),
        }
        self.metrics.wrote("status", true);
        self.written.insert(key, now);
        Ok(true)
    }
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
