//! Where the pods of a Service are, from its endpoint slices. Changes when another property of an endpoint counts.

use bridge_api::condition::ResolvedRefs;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::finding::Problem;
use super::refs::Lookup;
use super::target::Place;
use crate::world::ObjectName;

/// Places of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Places {
    /// Those that are ready to serve, without duplicates, in a fixed order.
    pub(super) ready: Vec<Place>,
    /// All that there are.
    pub(super) total: usize,
}

/// The port of a Service by number or name. Without either, the one named `mcp`, or the only one.
pub(super) fn port<'a>(
    name: &ObjectName,
    service: &'a Service,
    wanted: Option<&IntOrString>,
) -> Result<&'a ServicePort, Problem> {
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

/// Where the endpoints behind `port` of a Service are.
///
/// A connection that is encrypted goes to the Service itself: the certificates of servers name it, and not their pods.
pub(super) fn places(
    lookup: &mut Lookup<'_>,
    name: &ObjectName,
    port: &ServicePort,
    encrypted: bool,
) -> Places {
    let slices = lookup.slices(name).filter(|slice| slice.address_type != "FQDN");
    let (mut ready, mut total) = (Vec::new(), 0);
    for slice in slices {
        let Some(number) = target_port(slice, port) else { continue };
        for endpoint in &slice.endpoints {
            total += 1;
            let conditions = endpoint.conditions.as_ref();
            // Absent means ready (discovery.k8s.io/v1, EndpointConditions).
            let is_ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
            let Some(address) = endpoint.addresses.first().filter(|_| is_ready) else { continue };
            let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
            ready.push(Place { host, port: number, encrypted, path: None });
        }
    }
    ready.sort_by(|a, b| (&a.host, a.port).cmp(&(&b.host, b.port)));
    ready.dedup();
    if encrypted && !ready.is_empty() {
        let host = format!("{}.{}.svc", name.name, name.namespace);
        let port = u16::try_from(port.port).unwrap_or_default();
        ready = vec![Place { host, port, encrypted, path: None }];
    }
    Places { ready, total }
}

/// The number that a port of a Service has on the pods of a slice.
fn target_port(slice: &EndpointSlice, port: &ServicePort) -> Option<u16> {
    let mut ports = slice.ports.iter().flatten();
    let wanted = port.name.as_deref().unwrap_or_default();
    let found = ports.find(|candidate| candidate.name.as_deref().unwrap_or_default() == wanted)?;
    u16::try_from(found.port?).ok()
}
