//! Which gateways a backend or a Service belongs to: the handshake in which one names, and the other admits. Changes when
//! the rules of the handshake do.

use std::collections::BTreeMap;

use bridge_api::condition::Accepted;
use bridge_api::meta::DEFAULT_CLASS;
use bridge_api::service::Annotated;
use bridge_api::v1alpha1::common::{Namespaces, NamespacesFrom};
use bridge_api::v1alpha1::{McpBackend, McpGateway};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};

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
    selection.is_none_or(|wanted| matches(wanted, backend.labels()))
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
            if admits(world, &name.namespace, admitted, own) {
                return Ok(());
            }
            refuse(
                Accepted::NotAllowedByGateway,
                &format!("does not admit the namespace {own} in spec.backends.namespaces"),
            )
        }
    }
}

/// Whether a gateway serves an annotated Service of `namespace`.
pub(super) fn takes_service(
    world: &World,
    name: &ObjectName,
    gateway: &McpGateway,
    namespace: &str,
    annotated: &Annotated,
) -> bool {
    let services = gateway.spec.discovery.as_ref().and_then(|discovery| discovery.services.as_ref());
    let enabled = services.and_then(|services| services.enabled).unwrap_or(true);
    let admitted = services.and_then(|services| services.namespaces.as_ref());
    let named = annotated.gateway.as_ref().is_none_or(|wanted| {
        wanted.name == name.name && wanted.namespace.as_deref().unwrap_or(namespace) == name.namespace
    });
    enabled && named && admits(world, &name.namespace, admitted, namespace)
}

/// Whether a gateway in `own` admits `namespace`. Its own namespace is always admitted.
fn admits(world: &World, own: &str, admitted: Option<&Namespaces>, namespace: &str) -> bool {
    let (from, selector) =
        admitted.map_or((NamespacesFrom::Same, None), |all| (all.from, all.selector.as_ref()));
    let labels = world.namespaces.get(namespace);
    match from {
        _ if own == namespace => true,
        NamespacesFrom::Same => false,
        NamespacesFrom::All => true,
        NamespacesFrom::Selector => {
            selector.zip(labels).is_some_and(|(selector, labels)| matches(selector, labels))
        }
    }
}

/// Whether labels satisfy a selector. One that cannot be read selects nothing.
fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}
