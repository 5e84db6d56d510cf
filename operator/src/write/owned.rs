//! Objects of gateways and of stdio backends. Changes when owned objects are treated differently.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use bridge_api::condition::Accepted;
use bridge_api::event::EventReason;
use bridge_api::v1alpha1::gateway::StdioPolicy;
use bridge_api::v1alpha1::{McpBackend, McpGateway};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;
use kube::{Resource as _, ResourceExt as _};

use super::Writer;
use super::backoff::Failure;
use super::pace::Subject;
use crate::apply::{ApplyError, Outcome};
use crate::compile::{Compilation, Finding};
use crate::desired::replicas::{self, Autoscaler, Hold, Scaler};
use crate::desired::{Owned, OwnedKind, adapter, owned};
use crate::engine::View;
use crate::layout;
use crate::world::{ObjectName, World};

impl Writer {
    /// Everything that a gateway owns but its cold-start Secrets; gives what is in the way.
    pub(super) async fn objects(
        &mut self,
        view: &View,
        name: &ObjectName,
        gateway: &Arc<McpGateway>,
    ) -> Result<Option<Finding<Accepted>>, ApplyError> {
        let (world, reference) = (&view.world, gateway.object_ref(&()));
        let workload = ObjectName::new(&*name.namespace, layout::workload(&name.name));
        let deployment: Option<Deployment> = world.owned_as(OwnedKind::Deployment, &workload);
        let autoscaler = autoscaler(world, gateway, &workload);
        let live = deployment.as_ref().map(replicas::live);
        let step = replicas::step(replicas::wanted(&gateway.spec), live, autoscaler);
        if let Hold::Number(number) = step.hold {
            self.applier.hold(&workload, Some(number), gateway.metadata.generation).await?;
        }
        let scaled = step.scaler == Scaler::Apply;
        self.find_monitors(gateway, Instant::now()).await;
        let wanted = owned(gateway, &self.installation, step.replicas, scaled);
        let applied = self.apply_all(world, &wanted, &reference).await?;
        // The number of pods must never be nobody's.
        if step.hold == Hold::Release && !applied.failed {
            self.applier.hold(&workload, None, gateway.metadata.generation).await?;
        }
        let kept: BTreeSet<_> = wanted.iter().map(|desired| (desired.kind, &desired.name)).collect();
        // Cold-start Secrets have a pace of their own.
        let keep = |kind, name: &_| kind == OwnedKind::Secret || kept.contains(&(kind, name));
        self.remove_others(world, &gateway.metadata, &reference, keep).await?;
        self.remove_monitor(gateway, &wanted).await?;
        if let Some(decider) = step.handed {
            let note = format!("the number of pods is now the {decider}'s to decide");
            self.events.send(&reference, EventReason::ScaledBy, &note).await;
        }
        Ok(applied.obstacle)
    }

    /// Applies documents in their order. One that cannot be applied keeps no other from being applied.
    pub(super) async fn apply_all(
        &mut self,
        world: &World,
        wanted: &[Owned],
        of: &ObjectReference,
    ) -> Result<Applied, ApplyError> {
        let mut all = Applied::default();
        for desired in wanted {
            let now = Instant::now();
            let object = (desired.kind, desired.name.clone());
            let attempt = (desired.hash().to_owned(), desired.generation);
            if let Some(Failure { due, obstacle, .. }) = self.backoff.holds(&object, &attempt, now) {
                let (due, obstacle) = (*due, obstacle.clone());
                all.fail(obstacle);
                self.wake_at(due);
                continue;
            }
            let kind = desired.kind.resource().kind;
            let obstacle = match self.applier.apply(desired, world.owned.get(&object), now).await {
                Ok(Outcome::Foreign) => {
                    let message = format!("{kind} {} exists and belongs to somebody else", desired.name);
                    Some(Finding::new(Accepted::NameConflict, message))
                }
                Ok(outcome) => {
                    self.backoff.worked(&object);
                    self.tell(&format!("{kind} {}", desired.name), outcome, of).await;
                    continue;
                }
                Err(error @ (ApplyError::NotLeader | ApplyError::Blind)) => return Err(error),
                Err(error) => {
                    self.metrics.wrote("object", false);
                    tracing::warn!(%error, "cannot write; tried again");
                    error.refusal().map(|why| Finding::new(Accepted::Invalid, why))
                }
            };
            all.fail(obstacle.clone());
            let due = self.backoff.failed((object, attempt), subject(of), obstacle, now);
            self.wake_at(due);
        }
        Ok(all)
    }

    /// Tells what became of an object.
    async fn tell(&mut self, what: &str, outcome: Outcome, of: &ObjectReference) {
        match outcome {
            Outcome::Nothing | Outcome::Foreign => {}
            Outcome::Later(due) => self.wake_at(due),
            Outcome::Applied { correction, yielded } => {
                self.metrics.wrote("object", true);
                if let Some(correction) = correction {
                    self.events.corrected(of, what, &correction).await;
                }
                for (field, message) in yielded {
                    let note = format!("{what}: {field} is left as it is: {message}");
                    self.events.send(of, EventReason::FieldConflict, &note).await;
                }
            }
        }
    }

    /// Deletes what belongs to `owner` and is not to be kept any more.
    pub(super) async fn remove_others(
        &mut self,
        world: &World,
        owner: &ObjectMeta,
        of: &ObjectReference,
        keep: impl Fn(OwnedKind, &ObjectName) -> bool,
    ) -> Result<(), ApplyError> {
        let namespace = owner.namespace.as_deref().unwrap_or_default();
        for kind in OwnedKind::ALL {
            let ours = of_owner(world, kind, namespace, owner.uid.as_deref().unwrap_or_default());
            for (name, object) in ours.filter(|(name, _)| !keep(kind, name)) {
                let now = Instant::now();
                let key = (kind, name.clone());
                let attempt = (object.resource_version().unwrap_or_default(), owner.generation);
                if let Some(Failure { due, .. }) = self.backoff.holds(&key, &attempt, now) {
                    let due = *due;
                    self.wake_at(due);
                    continue;
                }
                match self.applier.delete(kind, name, (object, owner.generation)).await {
                    Ok(()) => {
                        tracing::info!(?kind, %name, "deleted, because nothing asks for it");
                        self.backoff.worked(&key);
                    }
                    Err(error @ (ApplyError::NotLeader | ApplyError::Blind)) => return Err(error),
                    Err(error) => {
                        self.metrics.wrote("object", false);
                        tracing::warn!(%error, "cannot delete; tried again");
                        let due = self.backoff.failed((key, attempt), subject(of), None, now);
                        self.wake_at(due);
                    }
                }
            }
        }
        Ok(())
    }

    /// The pods of a stdio backend, as long as a gateway wants it to have some.
    pub(super) async fn adapter(
        &mut self,
        view: &View,
        compilation: &Compilation,
        backend: &Arc<McpBackend>,
    ) -> Result<(), ApplyError> {
        let name = ObjectName::of(&**backend);
        if backend.spec.stdio.is_none() || backend.metadata.deletion_timestamp.is_some() {
            self.stuck.remove(&name);
            return Ok(());
        }
        let accepted = compilation.backends.get(&name).into_iter().flat_map(|verdict| &verdict.gateways);
        let gateways = accepted.filter(|(_, accepted)| accepted.holds());
        let gateways =
            gateways.filter_map(|(gateway, _)| view.world.gateways.get(gateway).map(AsRef::as_ref));
        let gateways: Vec<&McpGateway> = gateways
            .filter(|gateway| {
                gateway.spec.stdio_policy.unwrap_or(StdioPolicy::Isolated) == StdioPolicy::Isolated
            })
            .collect();
        let verdict = compilation.backends.get(&name);
        let wanted = match verdict.and_then(|verdict| verdict.environment.as_ref()) {
            _ if gateways.is_empty() => Vec::new(),
            Some(environment) => adapter(backend, &gateways, environment, &self.installation),
            // New pods could not start; those that run stay until what they refer to is there again.
            None => return Ok(()),
        };
        let reference = backend.object_ref(&());
        match self.apply_all(&view.world, &wanted, &reference).await?.obstacle {
            Some(obstacle) => drop(self.stuck.insert(name, obstacle)),
            None => drop(self.stuck.remove(&name)),
        }
        let kept: BTreeSet<_> = wanted.iter().map(|desired| (desired.kind, &desired.name)).collect();
        let keep = |kind, name: &_| kept.contains(&(kind, name));
        self.remove_others(&view.world, &backend.metadata, &reference, keep).await
    }
}

/// What became of several objects.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// What a person has to do something about, if anything: the first of them.
    pub(super) obstacle: Option<Finding<Accepted>>,
    /// Whether one of them could not be applied.
    failed: bool,
}

impl Applied {
    fn fail(&mut self, obstacle: Option<Finding<Accepted>>) {
        self.failed = true;
        if self.obstacle.is_none() {
            self.obstacle = obstacle;
        }
    }
}

fn subject(of: &ObjectReference) -> Subject {
    let kind = if of.kind.as_deref() == Some("McpGateway") { "McpGateway" } else { "McpBackend" };
    (kind, ObjectName::new(of.namespace.clone().unwrap_or_default(), of.name.clone().unwrap_or_default()))
}

/// The objects of one kind that an owner has in its namespace.
pub(super) fn of_owner<'a>(
    world: &'a World,
    kind: OwnedKind,
    namespace: &'a str,
    uid: &'a str,
) -> impl Iterator<Item = (&'a ObjectName, &'a Arc<DynamicObject>)> {
    world
        .owned
        .range((kind, ObjectName::new(namespace, ""))..)
        .take_while(move |((of, name), _)| *of == kind && name.namespace == namespace)
        .filter(move |(_, object)| object.owner_references().iter().any(|owner| owner.uid == uid))
        .map(|((_, name), object)| (name, object))
}

/// Whose autoscaler scales the Deployment.
pub(super) fn autoscaler(world: &World, gateway: &McpGateway, workload: &ObjectName) -> Autoscaler {
    let uid = gateway.uid().unwrap_or_default();
    let of_ours = world.autoscalers.iter().filter(|(name, autoscaler)| {
        let target = autoscaler.spec.as_ref().map(|spec| &spec.scale_target_ref);
        name.namespace == workload.namespace
            && target.is_some_and(|target| target.kind == "Deployment" && target.name == workload.name)
    });
    let mut found = Autoscaler::Absent;
    for (_, autoscaler) in of_ours {
        if !autoscaler.owner_references().iter().any(|owner| owner.uid == uid) {
            return Autoscaler::Foreign;
        }
        found = Autoscaler::Ours;
    }
    found
}
