//! Status of a backend. Changes when another fact belongs to it.

use bridge_api::condition::{self, Accepted, Available, ConditionType, Degraded, Programmed, Status};
use bridge_api::v1alpha1::McpBackend;
use bridge_api::v1alpha1::backend::{
    AttachedGateway, BackendEndpoints, BackendTools, DetectedProtocol, McpBackendStatus, ProgrammedPods,
    ServerInfo,
};
use bridge_snapshot::push::{BackendReport, Key, Problem, Rejection, ResourceType};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::fleet::Seen;
use super::{Conditions, Fleet, Progress, Published, count, not_in_force};
use crate::compile::{BackendVerdict, StatusOwner, is_insecure};
use crate::desired;
use crate::world::ObjectName;

/// Everything that the status of a backend depends on.
#[derive(Debug, Clone, Copy)]
pub struct BackendFacts<'a> {
    /// The backend, with the status that it has.
    pub backend: &'a McpBackend,
    /// What was compiled.
    pub verdict: &'a BackendVerdict,
    /// The gateways that it asked for.
    pub gateways: &'a [GatewayOfBackend<'a>],
    /// Whether the operator's own view of the cluster is old.
    pub blind: bool,
}

/// One of its gateways.
#[derive(Debug, Clone)]
pub struct GatewayOfBackend<'a> {
    /// Its name.
    pub name: &'a ObjectName,
    /// Its pods; absent when it is not served here.
    pub fleet: Option<&'a Fleet<'a>>,
    /// Whether its pods know the backend.
    pub serves: bool,
}

/// The status; `None` when it is another installation's to write.
pub fn backend(facts: &BackendFacts<'_>, now: &Time) -> Option<McpBackendStatus> {
    let BackendFacts { backend, verdict, .. } = facts;
    let generation = backend.metadata.generation.unwrap_or_default();
    let previous =
        backend.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    if !is_ours(verdict, previous, generation) {
        return None;
    }
    let mut conditions = Conditions::new(generation, previous, now);
    conditions.push(verdict.accepted.reason, &*verdict.accepted.message);
    conditions.push(verdict.resolved.reason, &*verdict.resolved.message);
    let (programmed, message) = programmed(facts);
    conditions.push(programmed, message);
    let (available, message) = availability(facts);
    conditions.push(available, message);
    let (degraded, message) = degraded(backend, verdict);
    conditions.push(degraded, message);
    let seen = facts.seen();
    Some(McpBackendStatus {
        observed_generation: Some(generation),
        conditions: Some(conditions.list),
        protocol: seen.protocol.and_then(detected),
        endpoints: Some(BackendEndpoints {
            total: count(verdict.total),
            ready: count(verdict.ready),
            ejected: i32::try_from(seen.ejected).unwrap_or(i32::MAX),
        }),
        tools: seen.most.map(tools),
        server_info: seen.server.map(|server| ServerInfo {
            name: shown(&server.name, 256),
            version: shown(&server.version, 256),
            protocol_version: shown(&server.protocol, 32),
        }),
        gateways: Some(attached(facts, now)),
    })
}

/// Whether the status is to be written by this installation.
fn is_ours(verdict: &BackendVerdict, previous: &[Condition], generation: i64) -> bool {
    let unsaid = condition::read(previous, ConditionType::Accepted, generation) == Status::Unknown;
    match verdict.status_owner {
        StatusOwner::Us => true,
        StatusOwner::WhoeverIsFirst => unsaid,
        // Whoever serves the gateway may not see the backend. It would have said something else.
        StatusOwner::Others if verdict.accepted.reason == Accepted::ClassMismatch => {
            let said = previous.iter().find(|condition| condition.type_ == ConditionType::Accepted.as_str());
            unsaid || said.is_some_and(|said| ["ClassMismatch", "NoMatchingGateway"].contains(&&*said.reason))
        }
        StatusOwner::Others => false,
    }
}

/// The change with which what pods know of a backend changed last.
pub(super) fn change_of(published: &Published, name: &str) -> u64 {
    let of = |kind| published.changed.get(&Key::new(kind, name)).copied().unwrap_or_default();
    of(ResourceType::Backend).max(of(ResourceType::Endpoints))
}

/// Whether a rejection is about a backend.
pub(super) fn concerns(name: &str, rejection: &Rejection) -> bool {
    matches!(rejection.kind, ResourceType::Backend | ResourceType::Endpoints) && rejection.name == name
}

impl<'a> BackendFacts<'a> {
    /// The pods that know it.
    fn fleets(&self) -> impl Iterator<Item = &'a Fleet<'a>> {
        self.gateways.iter().filter(|gateway| gateway.serves).filter_map(|gateway| gateway.fleet)
    }

    /// What they say about it.
    fn seen(&self) -> Seen<'a> {
        let name = &*self.verdict.tool_namespace;
        self.fleets().map(|fleet| fleet.seen(name)).fold(Seen::default(), Seen::and)
    }
}

fn programmed(facts: &BackendFacts<'_>) -> (Programmed, String) {
    let mut all = Progress::default();
    for part in facts.fleets().map(|fleet| fleet.progress_of(&facts.verdict.tool_namespace)) {
        all.pods += part.pods;
        all.ready += part.ready;
        all.serving += part.serving;
        all.coming += part.coming;
        all.lost.extend(part.lost);
        all.behind.extend(part.behind);
        all.refusals.extend(part.refusals);
    }
    if facts.gateways.iter().any(|gateway| gateway.serves) {
        return all.finding(facts.blind);
    }
    (Programmed::Pending, "no gateway serves it".to_owned())
}

fn attached(facts: &BackendFacts<'_>, now: &Time) -> Vec<AttachedGateway> {
    let generation = facts.backend.metadata.generation.unwrap_or_default();
    let before = facts.backend.status.as_ref().and_then(|status| status.gateways.as_deref());
    let all = facts.verdict.gateways.iter().take(16).map(|(name, accepted)| {
        let previous = before
            .into_iter()
            .flatten()
            .find(|gateway| (&gateway.namespace, &gateway.name) == (&name.namespace, &name.name));
        let previous = previous.and_then(|gateway| gateway.conditions.as_deref()).unwrap_or_default();
        let mut conditions = Conditions::new(generation, previous, now);
        conditions.push(accepted.reason, &*accepted.message);
        let of = facts.gateways.iter().find(|gateway| gateway.name == name && gateway.serves);
        let progress = of.and_then(|gateway| Some(gateway.fleet?.progress_of(&facts.verdict.tool_namespace)));
        if let Some(progress) = &progress {
            let (programmed, message) = progress.finding(facts.blind);
            conditions.push(programmed, message);
        }
        AttachedGateway {
            namespace: name.namespace.clone(),
            name: name.name.clone(),
            conditions: Some(conditions.list),
            config: progress.map(|progress| ProgrammedPods {
                acked: count(progress.serving),
                pods: count(progress.ready),
            }),
        }
    });
    all.collect()
}

fn availability(facts: &BackendFacts<'_>) -> (Available, String) {
    if !facts.gateways.iter().any(|gateway| gateway.serves) {
        return (Available::Pending, "no gateway serves it".to_owned());
    }
    if facts.verdict.ready == 0 {
        return (Available::NoEndpoints, format!("0/{} endpoints are ready", facts.verdict.total));
    }
    let seen = facts.seen();
    if seen.pods == 0 {
        return (Available::Pending, "no ready pod has reported yet".to_owned());
    }
    let message = format!("{}/{} pods have a healthy endpoint", seen.healthy, seen.pods);
    if seen.healthy * 2 > seen.pods {
        return (Available::Available, message);
    }
    match seen.problem {
        Some(Problem::Unauthorized) => {
            let message = format!("{message}: the server refuses what spec.auth and spec.headers give it");
            (Available::AuthenticationFailed, message)
        }
        Some(Problem::ProtocolMismatch) => (Available::ProtocolMismatch, message),
        Some(Problem::Unreachable | Problem::Other) => (Available::AllEndpointsUnhealthy, message),
        // Not tried yet, which is no failure.
        None => (Available::Pending, "pods have not tried an endpoint yet".to_owned()),
    }
}

fn degraded(backend: &McpBackend, verdict: &BackendVerdict) -> (Degraded, String) {
    if verdict.accepted.holds() && backend.spec.tls.as_ref().is_some_and(is_insecure) {
        let message = "spec.tls.insecureSkipVerify: whoever is in between can pass for the server";
        return (Degraded::InsecureSettings, message.to_owned());
    }
    let capped =
        backend.spec.stdio.as_ref().filter(|stdio| {
            stdio.replicas.is_some_and(|replicas| replicas > desired::adapter_replicas(stdio))
        });
    if capped.is_some() {
        let message = "spec.stdio.replicas: one process is shared by all sessions, so one pod runs";
        return (Degraded::StdioReplicaCapped, message.to_owned());
    }
    if !verdict.not_in_force.is_empty() {
        return (Degraded::FieldsNotInForce, not_in_force(&verdict.not_in_force));
    }
    (Degraded::AsExpected, String::new())
}

fn tools(report: &BackendReport) -> BackendTools {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    BackendTools {
        discovered: number(report.tools),
        exposed: number(report.exposed),
        filtered: number(report.filtered),
    }
}

fn detected(protocol: &str) -> Option<DetectedProtocol> {
    match protocol {
        "streamable_http" => Some(DetectedProtocol::StreamableHTTP),
        "sse" => Some(DetectedProtocol::SSE),
        "websocket" => Some(DetectedProtocol::WebSocket),
        _ => None,
    }
}

/// Text of a server, as long as the schema allows.
fn shown(text: &str, most: usize) -> Option<String> {
    let text: String = text.chars().take(most).collect();
    (!text.is_empty()).then_some(text)
}
