//! Where the pods of a Service are, from its endpoint slices. Changes when another property of an endpoint counts.

use std::collections::BTreeMap;

use bridge_api::condition::{Accepted, ResolvedRefs};
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::finding::Problem;
use super::refs::Lookup;
use super::target::{Place, is_local};
use crate::world::ObjectName;

/// Places of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Places {
    /// Those that are ready to serve, without duplicates, in a fixed order.
    pub(super) ready: Vec<Place>,
    /// All that there are.
    pub(super) total: usize,
    /// One of them that reaches into pods or nodes.
    local: Option<String>,
}

impl Places {
    /// These, unless one reaches where backends must not. Whoever may write endpoint slices may name any address.
    pub(super) fn checked(self, allow_local: bool) -> Result<Self, Problem> {
        match &self.local {
            Some(address) if !allow_local => Err(Problem::spec(
                Accepted::Invalid,
                format_args!(
                    "an endpoint is {address}; addresses of the pod itself and of its node are not allowed"
                ),
            )),
            _ => Ok(self),
        }
    }
}

/// The port of a Service by number or name. Without either, the one named `mcp`, or the only one.
///
/// A Service that stands for a name outside of the cluster has none: the name could be that of anything.
pub(super) fn port<'a>(
    name: &ObjectName,
    service: &'a Service,
    wanted: Option<&IntOrString>,
) -> Result<&'a ServicePort, Problem> {
    if service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("ExternalName")) {
        let message = format_args!(
            "Service {name} is an ExternalName; write its URL in spec.endpoints of a McpBackend"
        );
        return Err(Problem::spec(Accepted::Invalid, message));
    }
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let found = match wanted {
        Some(IntOrString::Int(number)) => ports.iter().find(|port| port.port == *number),
        Some(IntOrString::String(wanted)) => ports.iter().find(|port| port.name.as_ref() == Some(wanted)),
        None => ports.iter().find(|port| port.name.as_deref() == Some("mcp")).or(match ports {
            [only] => Some(only),
            _ => None,
        }),
    };
    found.ok_or_else(|| {
        let wanted = match wanted {
            Some(IntOrString::Int(number)) => number.to_string(),
            Some(IntOrString::String(wanted)) => wanted.clone(),
            None => "named mcp, and more than one".to_owned(),
        };
        let shown = |port: &ServicePort| {
            port.name.as_ref().map_or_else(|| port.port.to_string(), |name| format!("{name} ({})", port.port))
        };
        let there: Vec<_> = ports.iter().map(shown).collect();
        Problem::reference(
            ResolvedRefs::PortNotFound,
            format_args!("Service {name} has no port {wanted}; it has {}", there.join(", ")),
        )
    })
}

/// Where the endpoints behind `port` of a Service are: those that are ready, else those that leave and still serve.
///
/// A connection that is encrypted goes to the Service itself: the certificates of servers name it, and not their pods.
pub(super) fn places(
    lookup: &mut Lookup<'_>,
    name: &ObjectName,
    port: &ServicePort,
    encrypted: bool,
) -> Places {
    let slices: Vec<_> = lookup.slices(name).filter(|slice| slice.address_type != "FQDN").collect();
    let family = family(lookup.service(name), &slices);
    // An endpoint that moves from one slice to another is in both for a moment.
    let mut found = BTreeMap::new();
    for slice in slices.into_iter().filter(|slice| family == Some(&*slice.address_type)) {
        let Some(number) = target_port(slice, port) else { continue };
        for endpoint in &slice.endpoints {
            let Some(address) = endpoint.addresses.first() else { continue };
            found.insert((address.as_str(), number), State::of(endpoint));
        }
    }
    let of = |state: State| {
        let those = found.iter().filter(|(_, is)| **is == state);
        let those = those.map(|((address, port), _)| {
            let host = if address.contains(':') { format!("[{address}]") } else { (*address).to_owned() };
            Place { host, port: *port, encrypted, path: None }
        });
        those.collect::<Vec<_>>()
    };
    let ready = Some(of(State::Ready)).filter(|ready| !ready.is_empty());
    let mut ready = ready.unwrap_or_else(|| of(State::Leaving));
    let mut total = found.len();
    if encrypted {
        let host = format!("{}.{}.svc", name.name, name.namespace);
        let port = u16::try_from(port.port).unwrap_or_default();
        ready = ready.into_iter().take(1).map(|place| Place { host: host.clone(), port, ..place }).collect();
        total = total.min(1);
    }
    let local = found.keys().find(|(address, _)| is_local(address)).map(|(address, _)| (*address).to_owned());
    Places { ready, total, local }
}

/// What an endpoint is good for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    /// It still serves, for want of another.
    Leaving,
    Away,
}

impl State {
    /// Absent means ready, and serving like ready (discovery.k8s.io/v1, `EndpointConditions`).
    fn of(endpoint: &Endpoint) -> Self {
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
        let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
        let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
        match (ready, serving && terminating) {
            (true, _) => Self::Ready,
            (false, true) => Self::Leaving,
            (false, false) => Self::Away,
        }
    }
}

/// The family of addresses that is used: the first of the Service's own that there are endpoints of. Those of another
/// family are the same pods once more.
fn family<'a>(service: Option<&'a Service>, slices: &[&'a EndpointSlice]) -> Option<&'a str> {
    let there = |family: &str| slices.iter().any(|slice| slice.address_type == family);
    let wanted =
        service.and_then(|service| service.spec.as_ref()?.ip_families.as_ref()).into_iter().flatten();
    let mut wanted = wanted.map(String::as_str).chain(["IPv4", "IPv6"]);
    wanted.find(|family| there(family))
}

/// The number that a port of a Service has on the pods of a slice.
fn target_port(slice: &EndpointSlice, port: &ServicePort) -> Option<u16> {
    let mut ports = slice.ports.iter().flatten();
    let wanted = port.name.as_deref().unwrap_or_default();
    let found = ports.find(|candidate| candidate.name.as_deref().unwrap_or_default() == wanted)?;
    u16::try_from(found.port?).ok()
}
