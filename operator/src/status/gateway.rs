//! Status of a gateway. Changes when another fact belongs to it.

use bridge_api::condition::{Accepted, Degraded, Ready, ResolvedRefs, SessionStorage};
use bridge_api::meta::GATEWAY_UID_LABEL;
use bridge_api::v1alpha1::McpGateway;
use bridge_api::v1alpha1::gateway::{
    AddressType, BackendCounts, DiscoveryCounts, GatewayAddress, GatewayConfig, GatewayEndpoints,
    GatewayTools, ListenerStatus, McpGatewayStatus, ServiceType,
};
use bridge_snapshot::push::ResourceType;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::{Conditions, Fleet, count, not_in_force};
use crate::compile::{Finding, GatewayPlan};
use crate::desired::replicas::{Wanted, wanted};

/// Everything that the status of a gateway depends on.
#[derive(Debug, Clone, Copy)]
pub struct GatewayFacts<'a> {
    /// The gateway, with the status that it has.
    pub gateway: &'a McpGateway,
    /// What was compiled.
    pub plan: &'a GatewayPlan,
    /// Its pods, what they say, and what was published for them.
    pub fleet: &'a Fleet<'a>,
    /// Its Deployment.
    pub deployment: Option<&'a Deployment>,
    /// Its Service for clients.
    pub service: Option<&'a Service>,
    /// Why one of its objects cannot be applied, if a person has to do something about it.
    pub conflict: Option<&'a Finding<Accepted>>,
    /// Whether somebody else's autoscaler scales the Deployment.
    pub scaled_by_others: bool,
    /// Whether the operator's own view of the cluster is old.
    pub blind: bool,
}

/// The status. `now` is used for conditions that change with it, and for nothing else.
pub fn gateway(facts: &GatewayFacts<'_>, now: &Time) -> McpGatewayStatus {
    let GatewayFacts { gateway, plan, .. } = facts;
    let generation = gateway.metadata.generation.unwrap_or_default();
    let previous =
        gateway.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let progress = facts.fleet.progress();
    let mut conditions = Conditions::new(generation, previous, now);
    match facts.conflict {
        // What is wrong with the specification may be why an object is refused, and names the field.
        Some(conflict) if plan.accepted.holds() => conditions.push(conflict.reason, &*conflict.message),
        _ => conditions.push(plan.accepted.reason, &*plan.accepted.message),
    }
    conditions.push(plan.resolved.reason, &*plan.resolved.message);
    let (programmed, message) = progress.finding(facts.blind);
    let message = match facts.fleet.stopped() {
        [] => message,
        lost => format!(
            "{message}; a change of who gets in goes to no other pod for some minutes, because pods were lost with it: {}",
            lost.join(", ")
        ),
    };
    conditions.push(programmed, message);
    let (ready, message) = readiness(facts);
    conditions.push(ready, message);
    let (storage, message) = session_storage(facts);
    conditions.push(storage, message);
    let (degraded, message) = degraded(facts);
    conditions.push(degraded, message);
    let deployment = facts.deployment.and_then(|deployment| deployment.status.as_ref());
    let attached = plan.attached.len();
    let summary = format!("{}/{}", progress.serving, progress.ready);
    McpGatewayStatus {
        observed_generation: Some(generation),
        conditions: Some(conditions.list),
        replicas: Some(deployment.and_then(|status| status.replicas).unwrap_or_default()),
        ready_replicas: Some(deployment.and_then(|status| status.ready_replicas).unwrap_or_default()),
        selector: Some(format!("{GATEWAY_UID_LABEL}={}", gateway.uid().unwrap_or_default())),
        addresses: addresses(facts.service),
        listeners: Some(listeners(facts, now)),
        backends: Some(BackendCounts {
            attached: count(attached + plan.left_out),
            accepted: count(attached),
            programmed: programmed_backends(facts),
            available: available_backends(facts),
        }),
        endpoints: Some(GatewayEndpoints {
            total: count(plan.attached.values().map(|backend| backend.total).sum()),
            ready: count(plan.attached.values().map(|backend| backend.ready).sum()),
        }),
        discovery: Some(DiscoveryCounts { services: count(plan.services), ignored: count(plan.ignored) }),
        tools: Some(tools(facts)),
        config: Some(GatewayConfig {
            version: version(facts),
            hash: Some(facts.fleet.digest().to_owned()),
            pods: count(progress.ready),
            acked: count(progress.serving),
            nacked: count(progress.refusals.len()),
            summary: Some(summary),
            laggards: Some(progress.laggards()),
        }),
    }
}

/// Of the configuration. Replicas count differently, so what another has written for the same configuration stays.
fn version(facts: &GatewayFacts<'_>) -> Option<i64> {
    let written = facts.gateway.status.as_ref().and_then(|status| status.config.as_ref());
    let same = written.filter(|config| config.hash.as_deref() == Some(facts.fleet.digest()));
    same.and_then(|config| config.version).or_else(|| i64::try_from(facts.fleet.revision()).ok())
}

fn readiness(facts: &GatewayFacts<'_>) -> (Ready, String) {
    let Some(deployment) = facts.deployment else { return (Ready::Pending, "no Deployment yet".to_owned()) };
    let desired = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.as_ref();
    let available = status.and_then(|status| status.available_replicas).unwrap_or_default();
    let count = format!("{available}/{desired} pods are available");
    if available < (desired - 1).max(1) {
        let conditions = status.and_then(|status| status.conditions.as_ref());
        let progressing = conditions.into_iter().flatten().any(|condition| {
            condition.type_ == "Progressing"
                && condition.status == "True"
                && condition.reason.as_deref() != Some("NewReplicaSetAvailable")
        });
        let starting = desired > 0 && (progressing || conditions.is_none());
        return (if starting { Ready::Pending } else { Ready::DeploymentUnavailable }, count);
    }
    if let Some(why) = &facts.plan.refuses {
        return (Ready::Refusing, why.clone());
    }
    for (name, verdict) in &facts.plan.listeners {
        let (reason, message) = listener_readiness(facts, name, verdict.resolved.reason);
        if reason == Ready::ListenerNotReady {
            return (reason, format!("spec.listeners[{name}]: {message}"));
        }
    }
    let kind = facts.gateway.spec.service.as_ref().and_then(|service| service.kind);
    if kind == Some(ServiceType::LoadBalancer) && addresses(facts.service).is_none_or(|all| all.is_empty()) {
        return (Ready::NoAddress, "the load balancer has no address yet".to_owned());
    }
    if facts.scaled_by_others {
        return (Ready::Ready, format!("{count}; somebody else's HorizontalPodAutoscaler decides how many"));
    }
    (Ready::Ready, count)
}

fn session_storage(facts: &GatewayFacts<'_>) -> (SessionStorage, String) {
    let several = match wanted(&facts.gateway.spec) {
        Wanted::Fixed(number) => number > 1 || facts.scaled_by_others,
        Wanted::Scaled(_) => true,
    };
    if several {
        let message = "sessions end with their pod, and this version has no other place for them: run one pod, or keep client affinity";
        return (SessionStorage::InMemoryWithReplicas, message.to_owned());
    }
    (SessionStorage::NotNeeded, String::new())
}

fn degraded(facts: &GatewayFacts<'_>) -> (Degraded, String) {
    let mut stale = facts.fleet.stale();
    if !stale.is_empty() {
        stale.truncate(10);
        return (Degraded::StaleConfig, format!("behind for more than five minutes: {}", stale.join(", ")));
    }
    if facts.plan.left_out > 0 {
        return (Degraded::PartialBackends, format!("{} backends are not served", facts.plan.left_out));
    }
    if !facts.plan.insecure.is_empty() {
        return (Degraded::InsecureSettings, facts.plan.insecure.join("; "));
    }
    if !facts.plan.not_in_force.is_empty() {
        return (Degraded::FieldsNotInForce, not_in_force(&facts.plan.not_in_force));
    }
    (Degraded::AsExpected, String::new())
}

fn listeners(facts: &GatewayFacts<'_>, now: &Time) -> Vec<ListenerStatus> {
    let generation = facts.gateway.metadata.generation.unwrap_or_default();
    let before = facts.gateway.status.as_ref().and_then(|status| status.listeners.as_deref());
    let statuses = facts.plan.listeners.iter().map(|(name, verdict)| {
        let previous = before.into_iter().flatten().find(|listener| listener.name == *name);
        let previous = previous.and_then(|listener| listener.conditions.as_deref()).unwrap_or_default();
        let mut conditions = Conditions::new(generation, previous, now);
        conditions.push(verdict.resolved.reason, &*verdict.resolved.message);
        let (reason, message) = listener_readiness(facts, name, verdict.resolved.reason);
        conditions.push(reason, message);
        ListenerStatus {
            name: name.clone(),
            attached_backends: Some(count(facts.plan.attached.len())),
            conditions: Some(conditions.list),
        }
    });
    statuses.collect()
}

fn listener_readiness(facts: &GatewayFacts<'_>, name: &str, resolved: ResolvedRefs) -> (Ready, String) {
    if resolved != ResolvedRefs::ResolvedRefs {
        return (Ready::ListenerNotReady, "its certificates cannot be used".to_owned());
    }
    let (mut open, mut ready) = (0, 0);
    for (pod, fact) in facts.fleet.ready() {
        ready += 1;
        let Some(fact) = fact else { continue };
        let report = fact.report.as_ref();
        let named = report.and_then(|report| report.listeners.iter().find(|one| one.name == name));
        // A pod that refuses the gateway's part of the configuration has the listeners of the last good one.
        let refusal = fact.rejected.iter().find(|one| one.kind == ResourceType::Gateway);
        let error = match named {
            Some(listener) => listener.error.as_ref(),
            None => refusal.map(|rejection| &rejection.message),
        };
        if let Some(error) = error {
            return (Ready::ListenerNotReady, format!("{}: {error}", pod.name_any()));
        }
        open += usize::from(named.is_some());
    }
    if open == ready && ready > 0 {
        (Ready::Ready, String::new())
    } else {
        (Ready::Pending, format!("open on {open} of {ready} ready pods"))
    }
}

fn addresses(service: Option<&Service>) -> Option<Vec<GatewayAddress>> {
    let service = service?;
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref());
    let entries =
        ingress.into_iter().flatten().filter_map(|ingress| match (&ingress.ip, &ingress.hostname) {
            (Some(ip), _) => Some(GatewayAddress { kind: AddressType::IPAddress, value: ip.clone() }),
            (None, Some(name)) => Some(GatewayAddress { kind: AddressType::Hostname, value: name.clone() }),
            (None, None) => None,
        });
    let mut all: Vec<_> = entries.collect();
    if service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) != Some("LoadBalancer") {
        let value = format!("{}.{}.svc", service.name_any(), service.namespace().unwrap_or_default());
        all.push(GatewayAddress { kind: AddressType::Hostname, value });
    }
    Some(all)
}

/// Backends that every ready pod serves as they are now.
fn programmed_backends(facts: &GatewayFacts<'_>) -> i32 {
    let programmed = facts.plan.attached.keys().filter(|name| {
        let progress = facts.fleet.progress_of(name);
        progress.ready > 0 && progress.serving == progress.ready
    });
    count(programmed.count())
}

fn available_backends(facts: &GatewayFacts<'_>) -> i32 {
    count(facts.plan.attached.keys().filter(|name| facts.fleet.is_available(name)).count())
}

fn tools(facts: &GatewayFacts<'_>) -> GatewayTools {
    let totals = facts.fleet.totals();
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    GatewayTools {
        discovered: number(totals.discovered),
        exposed: number(totals.exposed),
        filtered: number(totals.filtered),
        conflicts: number(totals.conflicts),
    }
}
