//! Services that are backends because their annotations say so. Changes when discovery of Services does.

use std::collections::{BTreeMap, BTreeSet};

use bridge_api::event::EventReason;
use bridge_api::meta::GATEWAY_UID_LABEL;
use bridge_api::service::{self, Annotated, Reading, ServiceProtocol};
use bridge_api::v1alpha1::McpGateway;
use bridge_api::v1alpha1::backend::BackendProtocol;
use bridge_api::v1alpha1::traffic::TrafficPolicy;
use bridge_snapshot::Target;
use bridge_snapshot::push::{BackendPart, Endpoints};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::Options;
use super::attach::{Intake, Reply};
use super::backend::backend_of;
use super::endpoints::{places, port};
use super::refs::Lookup;
use super::target::Shape;
use super::unused;
use crate::world::{ObjectName, World, class_of};

/// Something that the owner of a Service should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceNote {
    /// Name of the reason, as Events have it.
    pub reason: &'static str,
    /// Whether somebody should look.
    pub warning: bool,
    /// For people.
    pub message: String,
}

impl ServiceNote {
    fn new(reason: EventReason, message: impl Into<String>) -> Self {
        Self { reason: reason.as_str(), warning: reason.is_warning(), message: message.into() }
    }
}

/// The Services of one gateway.
#[derive(Debug, Default)]
pub(super) struct Discovered {
    /// Backends by tool namespace.
    pub(super) backends: BTreeMap<String, Virtual>,
    pub(super) notes: BTreeMap<ObjectName, Vec<ServiceNote>>,
    /// Services that say they are backends, and are not served.
    pub(super) ignored: usize,
}

/// A backend that nobody wrote a resource for.
#[derive(Debug)]
pub(super) struct Virtual {
    /// The Service that decides for the others.
    oldest: ObjectName,
    pub(super) services: usize,
    pub(super) part: BackendPart,
    pub(super) endpoints: Endpoints,
    pub(super) total: usize,
}

struct Candidate<'a> {
    name: &'a ObjectName,
    service: &'a Service,
    annotated: Annotated,
}

/// Reads the Services that the gateway takes. A tool namespace that is in `taken` belongs to an `McpBackend`.
pub(super) fn discover(
    world: &World,
    options: &Options,
    gateway_name: &ObjectName,
    gateway: &McpGateway,
    taken: impl Fn(&str) -> Option<ObjectName>,
) -> Discovered {
    let mut intake = Intake::of(world, gateway_name, gateway);
    let (mut found, mut candidates) = (Discovered::default(), Vec::new());
    for (name, service) in world.services.iter() {
        let Reply::Takes(reading) = intake.ask(name, service) else { continue };
        let Reading { backend, findings } = *reading;
        for finding in findings {
            let message = format!("{}: {}", finding.annotation, finding.problem);
            found.note(name, EventReason::InvalidAnnotation, message);
        }
        match backend {
            Some(_) if service.labels().contains_key(GATEWAY_UID_LABEL) => {
                let message = format!("{}: a gateway is no backend of a gateway", service::ENABLED);
                found.ignore(name, EventReason::InvalidAnnotation, message);
            }
            Some(annotated) => {
                for annotation in unused::of_service(&annotated) {
                    let message = format!("{annotation}: without effect in this version");
                    found.note(name, EventReason::InvalidAnnotation, message);
                }
                candidates.push(Candidate { name, service, annotated });
            }
            None => found.ignored += 1,
        }
    }
    // The oldest Service decides what the others of its tool namespace have to speak.
    candidates.sort_by_key(|candidate| (age(candidate.service), candidate.name.clone()));
    for candidate in candidates {
        found.add(world, options, gateway, candidate, &taken);
    }
    found
}

/// Tells the owners of Services that say they are backends, and that no gateway takes, which one could and does not. The
/// gateways of other installations count: what one of them takes is served.
pub(super) fn tell_refused(
    world: &World,
    class: &str,
    notes: &mut BTreeMap<ObjectName, BTreeSet<ServiceNote>>,
) {
    let mut gateways: Vec<_> = world
        .gateways
        .iter()
        .map(|(name, gateway)| (class_of(gateway) == class, Intake::of(world, name, gateway)))
        .collect();
    for (name, service) in world.services.iter() {
        if notes.contains_key(name) {
            continue;
        }
        let mut refusal = None;
        let taken = gateways.iter_mut().any(|(ours, gateway)| match gateway.ask(name, service) {
            Reply::Takes(_) => true,
            Reply::Passes => false,
            Reply::Refuses(message) => {
                if *ours {
                    refusal.get_or_insert(message);
                }
                false
            }
        });
        if let Some(message) = refusal.filter(|_| !taken) {
            let note = ServiceNote::new(EventReason::NotAllowedByGateway, message);
            notes.entry(name.clone()).or_default().insert(note);
        }
    }
}

impl Discovered {
    fn note(&mut self, service: &ObjectName, reason: EventReason, message: impl Into<String>) {
        self.notes.entry(service.clone()).or_default().push(ServiceNote::new(reason, message));
    }

    fn ignore(&mut self, service: &ObjectName, reason: EventReason, message: impl Into<String>) {
        self.ignored += 1;
        self.note(service, reason, message);
    }

    fn add(
        &mut self,
        world: &World,
        options: &Options,
        gateway: &McpGateway,
        candidate: Candidate<'_>,
        taken: &impl Fn(&str) -> Option<ObjectName>,
    ) {
        let Candidate { name, service, annotated } = candidate;
        let tool_namespace = annotated.namespace.clone();
        if let Some(backend) = taken(&tool_namespace) {
            let message = format!(
                "McpBackend {backend} has the tool namespace {tool_namespace}; the Service is not served"
            );
            return self.ignore(name, EventReason::ShadowedByBackend, message);
        }
        let (protocol, encrypted) = protocol(annotated.protocol.unwrap_or(unsaid(gateway)));
        let port = match port(name, service, annotated.port.as_ref()) {
            Ok(port) => port,
            Err(problem) => return self.ignore(name, EventReason::RefInvalid, problem.message()),
        };
        let shape = Shape { protocol, path: annotated.path.clone(), headers: BTreeMap::new() };
        // Discovery is not remembered, so nobody needs to know what was looked up.
        let places = places(&mut Lookup::new(world), name, port, encrypted);
        let places = match places.checked(options.allow_local_endpoints) {
            Ok(places) => places,
            Err(problem) => return self.ignore(name, EventReason::RefInvalid, problem.message()),
        };
        // No share of the requests means no endpoint.
        let served = if annotated.weight == Some(0) { &[][..] } else { &places.ready };
        let targets: Vec<Target> = served.iter().map(|place| shape.at(place)).collect();
        let message = format!("served as {tool_namespace}");
        match self.backends.get_mut(&tool_namespace) {
            // Calls to one team's servers are for that team alone.
            Some(first) if first.oldest.namespace != name.namespace => {
                let problem = format!(
                    "{}: Service {} of another Kubernetes namespace is older and has {tool_namespace}; the Service is not \
                     served",
                    service::NAMESPACE,
                    first.oldest
                );
                self.ignore(name, EventReason::InvalidAnnotation, problem);
            }
            Some(first) if !same_kind(&first.part.backend.target, &shape) => {
                let problem = format!(
                    "{}: Service {} is older, has the same {} and speaks another protocol; the Service is not served",
                    service::PROTOCOL,
                    first.oldest,
                    service::NAMESPACE
                );
                self.ignore(name, EventReason::InvalidAnnotation, problem);
            }
            Some(first) => {
                first.services += 1;
                first.endpoints.targets.extend(targets);
                first.total += places.total;
                self.note(name, EventReason::DiscoveredService, message);
            }
            None => {
                let defaults = gateway.spec.routing.as_ref().and_then(|routing| routing.defaults.clone());
                let traffic: TrafficPolicy = defaults.unwrap_or_default();
                let backend = backend_of(&tool_namespace, super::backend::nowhere(protocol), &traffic);
                let compiled = BackendPart { backend, credentials: Vec::new(), rank: 0 };
                let endpoints = Endpoints { targets };
                let (oldest, total) = (name.clone(), places.total);
                self.backends.insert(
                    tool_namespace,
                    Virtual { oldest, services: 1, part: compiled, endpoints, total },
                );
                self.note(name, EventReason::DiscoveredService, message);
            }
        }
    }
}

fn same_kind(target: &Target, shape: &Shape) -> bool {
    std::mem::discriminant(target) == std::mem::discriminant(&super::backend::nowhere(shape.protocol))
}

/// What a Service speaks that does not say.
fn unsaid(gateway: &McpGateway) -> ServiceProtocol {
    let services = gateway.spec.discovery.as_ref().and_then(|discovery| discovery.services.as_ref());
    let detects = services.and_then(|services| services.detect_protocols).unwrap_or(true);
    if detects { ServiceProtocol::Auto } else { ServiceProtocol::Http }
}

/// What a Service speaks, and whether the connection is encrypted.
fn protocol(chosen: ServiceProtocol) -> (BackendProtocol, bool) {
    match chosen {
        ServiceProtocol::Http => (BackendProtocol::StreamableHTTP, false),
        ServiceProtocol::Https => (BackendProtocol::StreamableHTTP, true),
        ServiceProtocol::Ws => (BackendProtocol::WebSocket, false),
        ServiceProtocol::Wss => (BackendProtocol::WebSocket, true),
        ServiceProtocol::Sse => (BackendProtocol::SSE, false),
        ServiceProtocol::Tcp => (BackendProtocol::TCP, false),
        ServiceProtocol::Auto => (BackendProtocol::Auto, false),
    }
}

/// Older objects sort first; those without a time of creation last.
pub(super) fn age(object: &impl kube::ResourceExt) -> (bool, Option<Time>) {
    let created = object.creation_timestamp();
    (created.is_none(), created)
}
