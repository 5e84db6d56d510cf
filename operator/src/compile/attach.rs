//! Which gateways a backend or a Service belongs to: the handshake in which one names, and the other admits. Changes when
//! the rules of the handshake do.

use std::collections::BTreeMap;

use bridge_api::condition::Accepted;
use bridge_api::meta::DEFAULT_CLASS;
use bridge_api::service::{self, GatewayName, Reading};
use bridge_api::v1alpha1::{McpBackend, McpGateway};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;

use super::admit::{Admitted, Labels};
use super::finding::Finding;
use crate::world::{ObjectName, World, class_of};

/// What a gateway says to a backend that names it.
pub(super) type Answer = Result<(), Finding<Accepted>>;

/// The gateways that a backend named, or that chose it, with their answers. Gateways of other classes answer nothing
/// unless they are named.
pub(super) fn of_backend(world: &World, class: &str, backend: &McpBackend) -> BTreeMap<ObjectName, Answer> {
    let own = backend.namespace().unwrap_or_default();
    let Some(references) = backend.spec.gateway_refs.as_ref().filter(|refs| !refs.is_empty()) else {
        let chosen = world
            .gateways_in(&own)
            .filter(|(_, gateway)| class_of(gateway) == class && selects(gateway, backend));
        return chosen.map(|(name, _)| (name.clone(), Ok(()))).collect();
    };
    let names = references
        .iter()
        .map(|reference| ObjectName::new(reference.namespace.as_deref().unwrap_or(&own), &*reference.name));
    names.map(|name| (name.clone(), answer(world, class, &own, &name))).collect()
}

/// The class whose installation speaks of what is nobody's.
pub(super) fn speaker(world: &World) -> &str {
    let classes = world.gateways.values().map(|gateway| class_of(gateway));
    classes.min_by_key(|class| (*class != DEFAULT_CLASS, *class)).unwrap_or(DEFAULT_CLASS)
}

/// Of several installations, the one that writes the status of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatusOwner {
    /// This one.
    #[default]
    Us,
    /// Another one, which serves the gateway that the backend names first or that chose it.
    Others,
    /// Nobody serves it: the one that is first says so.
    WhoeverIsFirst,
}

/// Who writes the status of a backend. All installations decide from the same objects, so that one does.
pub(super) fn status_owner(
    world: &World,
    (class, speaker): (&str, &str),
    backend: &McpBackend,
) -> StatusOwner {
    let own = backend.namespace().unwrap_or_default();
    let first = match backend.spec.gateway_refs.as_ref().filter(|refs| !refs.is_empty()) {
        Some(references) => references.iter().find_map(|reference| {
            let namespace = reference.namespace.as_deref().unwrap_or(&own);
            world.gateways.get(&ObjectName::new(namespace, &*reference.name))
        }),
        None => {
            let mut near = world.gateways_in(&own).map(|(_, gateway)| gateway);
            near.find(|gateway| selects(gateway, backend))
        }
    };
    match first {
        Some(gateway) if class_of(gateway) == class => StatusOwner::Us,
        Some(_) => StatusOwner::Others,
        None if speaker == class => StatusOwner::Us,
        None => StatusOwner::WhoeverIsFirst,
    }
}

/// Whether a gateway chooses a backend of its own namespace that names none.
fn selects(gateway: &McpGateway, backend: &McpBackend) -> bool {
    let selection = gateway.spec.backends.as_ref().and_then(|backends| backends.selector.as_ref());
    selection.is_none_or(|wanted| Labels::of(wanted).are_in(backend.labels()))
}

fn answer(world: &World, class: &str, own: &str, name: &ObjectName) -> Answer {
    let refuse = |reason, message: &str| {
        Err(Finding::new(reason, format_args!("spec.gatewayRefs: gateway {name} {message}")))
    };
    match world.gateways.get(name) {
        None => refuse(Accepted::NoMatchingGateway, "does not exist"),
        Some(gateway) if class_of(gateway) != class => {
            refuse(Accepted::ClassMismatch, "belongs to another installation")
        }
        Some(gateway) => {
            let admitted = gateway.spec.backends.as_ref().and_then(|backends| backends.namespaces.as_ref());
            if Admitted::of(world, &name.namespace, admitted).has(own) {
                return Ok(());
            }
            refuse(
                Accepted::NotAllowedByGateway,
                &format!("does not admit the namespace {own} in spec.backends.namespaces"),
            )
        }
    }
}

/// The Services that a gateway takes.
#[derive(Debug)]
pub(super) struct Intake<'a> {
    gateway: &'a ObjectName,
    enabled: bool,
    annotation_only: bool,
    namespaces: Admitted<'a>,
    labels: Option<Labels>,
    /// What holds for the namespace that was asked about before: Services come namespace by namespace.
    last: Option<(&'a str, bool)>,
}

/// What a gateway says to a Service.
#[derive(Debug)]
pub(super) enum Reply {
    /// Nothing: it is no backend, or of others.
    Passes,
    /// It names the gateway, or is where that takes Services, and is not taken: the field and why, for its owner.
    Refuses(String),
    /// It is taken, as what it says of itself.
    Takes(Box<Reading>),
}

impl<'a> Intake<'a> {
    pub(super) fn of(world: &'a World, name: &'a ObjectName, gateway: &'a McpGateway) -> Self {
        let services = gateway.spec.discovery.as_ref().and_then(|discovery| discovery.services.as_ref());
        let namespaces = services.and_then(|services| services.namespaces.as_ref());
        Self {
            gateway: name,
            enabled: services.and_then(|services| services.enabled).unwrap_or(true),
            annotation_only: services.and_then(|services| services.annotation_only).unwrap_or(false),
            namespaces: Admitted::of(world, &name.namespace, namespaces),
            labels: services.and_then(|services| services.selector.as_ref()).map(Labels::of),
            last: None,
        }
    }

    /// Whether the gateway takes a Service, and what that one says of itself.
    pub(super) fn ask(&mut self, name: &'a ObjectName, service: &Service) -> Reply {
        let admitted = self.enabled && self.admits(&name.namespace);
        // Whoever names no gateway may mean another one. Most are of others, so this is asked before anything is read.
        if !admitted && !service.annotations().contains_key(service::GATEWAY) {
            return Reply::Passes;
        }
        let reading = service::read(service.annotations(), service.labels(), self.annotation_only);
        let meant = reading.backend.as_ref().and_then(|annotated| annotated.gateway.as_ref());
        let is_own = |meant: &GatewayName| {
            let namespace = meant.namespace.as_deref().unwrap_or(&name.namespace);
            (namespace, &*meant.name) == (&*self.gateway.namespace, &*self.gateway.name)
        };
        if reading == Reading::default() || !meant.map_or(admitted, is_own) {
            return Reply::Passes;
        }
        let refuse =
            |field, problem: &str| Reply::Refuses(format!("{field}: gateway {} {problem}", self.gateway));
        if !self.enabled {
            return refuse(
                service::GATEWAY,
                "takes no Services: its spec.discovery.services.enabled is false",
            );
        }
        if !admitted {
            let problem = "does not admit this namespace in its spec.discovery.services.namespaces";
            return refuse(service::GATEWAY, problem);
        }
        if self.labels.as_ref().is_some_and(|wanted| !wanted.are_in(service.labels())) {
            let problem = "takes no Service with these labels: see its spec.discovery.services.selector";
            return refuse("metadata.labels", problem);
        }
        Reply::Takes(reading.into())
    }

    fn admits(&mut self, namespace: &'a str) -> bool {
        if let Some((_, admitted)) = self.last.filter(|(last, _)| *last == namespace) {
            return admitted;
        }
        let admitted = self.namespaces.has(namespace);
        self.last = Some((namespace, admitted));
        admitted
    }
}
