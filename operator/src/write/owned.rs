//! Objects of gateways and of stdio backends. Changes when owned objects are treated differently.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_api::event::EventReason;
use bridge_api::v1alpha1::gateway::StdioPolicy;
use bridge_api::v1alpha1::{McpBackend, McpGateway};
use bridge_snapshot::push::Saved;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource as _, ResourceExt as _};

use super::Writer;
use crate::apply::{ApplyError, Outcome};
use crate::compile::Compilation;
use crate::desired::replicas::{self, Autoscaler, Hold, Scaler};
use crate::desired::{Owned, OwnedKind, adapter, owned, snapshots};
use crate::engine::View;
use crate::layout;
use crate::world::{ObjectName, World};

/// Cold-start Secrets are written at most so often.
const SAVE: Duration = Duration::from_secs(30);

impl Writer {
    /// Everything that a gateway owns but its cold-start Secrets.
    pub(super) async fn objects(
        &mut self,
        view: &View,
        name: &ObjectName,
        gateway: &Arc<McpGateway>,
    ) -> Result<(), ApplyError> {
        let world = &view.world;
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
        let conflict = self.apply_all(world, &wanted, &gateway.object_ref(&())).await?;
        match conflict {
            Some(conflict) => drop(self.conflicts.insert(name.clone(), conflict)),
            None => drop(self.conflicts.remove(name)),
        }
        if step.hold == Hold::Release {
            self.applier.hold(&workload, None, gateway.metadata.generation).await?;
        }
        self.remove_others(world, &gateway.metadata, &wanted).await?;
        self.remove_monitor(gateway, &wanted).await?;
        if let Some(decider) = step.handed {
            let note = format!("the number of pods is now the {decider}'s to decide");
            self.events.send(&gateway.object_ref(&()), EventReason::ScaledBy, &note).await;
        }
        Ok(())
    }

    /// Applies documents in their order; what stands in the way, if anything does.
    async fn apply_all(
        &mut self,
        world: &World,
        wanted: &[Owned],
        of: &ObjectReference,
    ) -> Result<Option<String>, ApplyError> {
        let mut conflict = None;
        for desired in wanted {
            let cached = world.owned.get(&(desired.kind, desired.name.clone()));
            let kind = desired.kind.resource().kind;
            match self.applier.apply(desired, cached, Instant::now()).await? {
                Outcome::Nothing => {}
                Outcome::Applied { correction, yielded } => {
                    self.metrics.wrote("object", true);
                    if let Some(correction) = correction {
                        self.events.corrected(of, &format!("{kind} {}", desired.name), &correction).await;
                    }
                    for (field, message) in yielded {
                        let note = format!("{kind} {}: {field} is left as it is: {message}", desired.name);
                        self.events.send(of, EventReason::FieldConflict, &note).await;
                    }
                }
                Outcome::Later(due) => self.wake_at(due),
                Outcome::Foreign => {
                    let message = format!("{kind} {} exists and belongs to somebody else", desired.name);
                    conflict.get_or_insert(message);
                }
            }
        }
        Ok(conflict)
    }

    /// Deletes what belongs to `owner` and is not wanted any more.
    async fn remove_others(
        &mut self,
        world: &World,
        owner: &ObjectMeta,
        wanted: &[Owned],
    ) -> Result<(), ApplyError> {
        let kept: BTreeSet<_> = wanted.iter().map(|desired| (desired.kind, &desired.name)).collect();
        for ((kind, name), object) in &world.owned {
            let ours =
                object.owner_references().iter().any(|reference| Some(&reference.uid) == owner.uid.as_ref());
            // Cold-start Secrets have a pace of their own.
            if ours && *kind != OwnedKind::Secret && !kept.contains(&(*kind, name)) {
                tracing::info!(?kind, %name, "deleted, because nothing asks for it");
                self.applier.delete(*kind, name, (object, owner.generation)).await?;
            }
        }
        Ok(())
    }

    /// The cold-start Secrets, when what they hold has changed and the last change is long enough ago.
    pub(super) async fn save(
        &mut self,
        view: &View,
        name: &ObjectName,
        gateway: &McpGateway,
    ) -> Result<(), ApplyError> {
        let Some((epoch, revision, entries)) =
            view.saved.get(name).filter(|(.., entries)| !entries.is_empty())
        else {
            return Ok(());
        };
        let now = Instant::now();
        let saved = Saved::new(name.to_string(), &**epoch, *revision, entries.to_vec());
        if let Some((digest, at)) = self.saved.get(name) {
            if *digest == saved.digest {
                return Ok(());
            }
            if now < *at + SAVE {
                let due = *at + SAVE;
                self.wake_at(due);
                return Ok(());
            }
        }
        let parts = match snapshots(gateway, &self.installation, &saved) {
            Ok(parts) => parts,
            Err(error) => {
                tracing::error!(gateway = %name, %error, "no cold start");
                return Ok(());
            }
        };
        self.apply_all(&view.world, &parts, &gateway.object_ref(&())).await?;
        let kept: BTreeSet<_> = parts.iter().map(|part| &part.name).collect();
        let uid = gateway.uid().unwrap_or_default();
        for ((kind, part), object) in &view.world.owned {
            let ours = object.owner_references().iter().any(|reference| reference.uid == uid);
            if ours && *kind == OwnedKind::Secret && !kept.contains(part) {
                self.applier.delete(*kind, part, (object, gateway.metadata.generation)).await?;
            }
        }
        self.saved.insert(name.clone(), (saved.digest, now));
        Ok(())
    }

    /// The pods of a stdio backend, as long as a gateway wants it to have some.
    pub(super) async fn adapter(
        &mut self,
        view: &View,
        compilation: &Compilation,
        backend: &Arc<McpBackend>,
    ) -> Result<(), ApplyError> {
        if backend.spec.stdio.is_none() || backend.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let name = ObjectName::of(&**backend);
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
        if let Some(conflict) = self.apply_all(&view.world, &wanted, &backend.object_ref(&())).await? {
            tracing::warn!(backend = %name, conflict, "a stdio backend cannot run");
        }
        self.remove_others(&view.world, &backend.metadata, &wanted).await
    }
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
