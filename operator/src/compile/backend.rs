//! One `McpBackend` at one gateway: what the pods get, or why it is left out. Changes when a property of backends reaches
//! the data plane.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bridge_api::condition::{Accepted, ResolvedRefs};
use bridge_api::v1alpha1::backend::{BackendProtocol, SessionMode, Stdio};
use bridge_api::v1alpha1::common::TimeSpan;
use bridge_api::v1alpha1::gateway::StdioPolicy;
use bridge_api::v1alpha1::traffic::TrafficPolicy;
use bridge_api::v1alpha1::{McpBackend, McpBackendSpec, McpGateway};
use bridge_snapshot::push::{BackendPart, Endpoints};
use bridge_snapshot::{EraPolicy, Exposure, Secret, StdioBackend, Target};
use k8s_openapi::api::core::v1::ServicePort;
use kube::ResourceExt as _;

use super::Options;
use super::credentials::{Credentials, Secrets};
use super::endpoints::{Places, places, port};
use super::environment::environment;
use super::filters::exposure;
use super::finding::Problem;
use super::refs::Lookup;
use super::target::{Shape, parse};
use super::tls;
use super::unused::of_backend as unused_fields;
use crate::world::ObjectName;
use crate::{defaults, layout};

/// A backend as the pods get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compiled {
    pub(super) part: BackendPart,
    /// Where it is now; `None` for a child process of the gateway.
    pub(super) endpoints: Option<Endpoints>,
    pub(super) secrets: Secrets,
    /// Endpoints, ready or not.
    pub(super) total: usize,
    /// Versions of the Secrets in the environment of its pods, for a stdio server that has some.
    pub(super) environment: Option<BTreeSet<String>>,
    /// Harmless fields that this version does not act on.
    pub(super) without_effect: Vec<&'static str>,
}

/// The name under which clients know a backend. It is unique at a gateway, so it is the backend's name there.
pub(super) fn tool_namespace(backend: &McpBackend) -> String {
    backend.spec.tool_namespace.clone().unwrap_or_else(|| backend.name_any())
}

pub(super) fn compile(
    lookup: &mut Lookup<'_>,
    options: &Options,
    gateway: &McpGateway,
    backend: &McpBackend,
) -> Result<Compiled, Problem> {
    let spec = &backend.spec;
    let exposure = exposure(spec)?;
    let namespace = backend.namespace().unwrap_or_default();
    let defaults = gateway.spec.routing.as_ref().and_then(|routing| routing.defaults.as_ref());
    let traffic = defaults.map_or_else(|| spec.traffic.clone(), |defaults| spec.traffic.or(defaults));
    let name = tool_namespace(backend);
    let stdio = gateway.spec.stdio_policy.unwrap_or(StdioPolicy::Isolated);
    let without_effect = unused_fields(spec, &traffic, stdio);
    match (&spec.stdio, stdio) {
        (Some(_), StdioPolicy::Forbid) => Err(Problem::spec(
            Accepted::StdioForbidden,
            format_args!("spec.stdioPolicy of gateway {} is Forbid", ObjectName::of(gateway)),
        )),
        // Such a child can do whatever the gateway can.
        (Some(_), StdioPolicy::InProcess) if gateway.namespace() != backend.namespace() => {
            Err(Problem::spec(
                Accepted::StdioForbidden,
                format_args!(
                    "spec.stdioPolicy of gateway {} is InProcess, which is for backends of its own namespace alone",
                    ObjectName::of(gateway)
                ),
            ))
        }
        (Some(child), StdioPolicy::InProcess) => {
            let credentials = Credentials::of_child(lookup, &namespace, child)?;
            let mut part = part(&name, process(child), credentials.list, spec, &traffic);
            part.backend.exposure = exposure;
            let secrets = credentials.secrets;
            Ok(Compiled { part, endpoints: None, secrets, total: 1, environment: None, without_effect })
        }
        (Some(child), StdioPolicy::Isolated) if child.image.is_none() => Err(Problem::spec(
            Accepted::Invalid,
            "spec.stdio.image is required, because the gateway runs such backends in pods of their own",
        )),
        _ => {
            let credentials = Credentials::of(lookup, &namespace, spec)?;
            let environment = spec.stdio.as_ref().map(|stdio| environment(lookup, &namespace, stdio));
            let environment = environment.transpose()?;
            let shape = Shape {
                protocol: spec.protocol,
                path: spec.path.clone(),
                headers: credentials.headers.clone(),
            };
            let mut secrets = credentials.secrets;
            let tls = tls::upstream(lookup, options, &namespace, spec, &mut secrets)?;
            let (targets, total) = targets(lookup, options, &namespace, backend, shape)?;
            let placeholder = targets.first().cloned().unwrap_or_else(|| nowhere(spec.protocol));
            let mut part = part(&name, placeholder, credentials.list, spec, &traffic);
            part.backend.exposure = exposure;
            part.backend.tls = tls;
            let endpoints = Some(Endpoints { targets });
            Ok(Compiled { part: stable(part), endpoints, secrets, total, environment, without_effect })
        }
    }
}

/// Endpoints come and go; the backend itself is to stay the same meanwhile.
fn stable(mut part: BackendPart) -> BackendPart {
    part.backend.target = match part.backend.target {
        Target::Tcp(_) => nowhere(BackendProtocol::TCP),
        Target::WebSocket(_) => nowhere(BackendProtocol::WebSocket),
        Target::Sse(_) => nowhere(BackendProtocol::SSE),
        Target::Detect(_) => nowhere(BackendProtocol::Auto),
        Target::Http(_) | Target::Stdio(_) => nowhere(BackendProtocol::StreamableHTTP),
    };
    part
}

/// A target that is never used: the endpoints of the backend take its place. Its port is the discard service.
pub(super) fn nowhere(protocol: BackendProtocol) -> Target {
    let place =
        super::target::Place { host: "endpoints.invalid".to_owned(), port: 9, encrypted: false, path: None };
    Shape { protocol, path: None, headers: BTreeMap::new() }.at(&place)
}

fn targets(
    lookup: &mut Lookup<'_>,
    options: &Options,
    namespace: &str,
    backend: &McpBackend,
    mut shape: Shape,
) -> Result<(Vec<Target>, usize), Problem> {
    let spec = &backend.spec;
    if let Some(all) = &spec.endpoints {
        let (mut ranked, mut total) = (Vec::new(), 0);
        for endpoint in all {
            let (mut place, protocol) = parse(&endpoint.url.0, options.allow_local_endpoints)?;
            place.encrypted = tls::encrypts_url(spec, place.encrypted)?;
            if spec.protocol == BackendProtocol::Auto {
                shape.protocol = protocol.unwrap_or(BackendProtocol::Auto);
            }
            total += 1;
            if endpoint.weight != Some(0) {
                ranked.push((endpoint.priority.unwrap_or(0), shape.at(&place)));
            }
        }
        ranked.sort_by_key(|(priority, _)| *priority);
        return Ok((ranked.into_iter().map(|(_, target)| target).collect(), total));
    }
    if let Some(reference) = &spec.service_ref {
        let name = ObjectName::new(namespace, &*reference.name);
        let service = lookup.service(&name).ok_or_else(|| {
            Problem::reference(
                ResolvedRefs::ServiceNotFound,
                format_args!("spec.serviceRef.name: Service {name} does not exist"),
            )
        })?;
        let port = port(&name, service, Some(&reference.port)).map_err(|problem| match &problem {
            Problem::Reference(found) if found.reason == ResolvedRefs::PortNotFound => {
                problem.at("spec.serviceRef.port")
            }
            _ => problem.at("spec.serviceRef"),
        })?;
        let places = places(lookup, &name, port, tls::encrypts_service(spec));
        let places =
            places.checked(options.allow_local_endpoints).map_err(|problem| problem.at("spec.serviceRef"))?;
        return Ok(at_all(&shape, &places));
    }
    if spec.stdio.is_some() {
        let name = ObjectName::new(namespace, layout::adapter(&backend.name_any()));
        let port = ServicePort {
            name: Some("mcp".to_owned()),
            port: layout::ADAPTER_PORT.into(),
            ..ServicePort::default()
        };
        let places = places(lookup, &name, &port, false);
        let places =
            places.checked(options.allow_local_endpoints).map_err(|problem| problem.at("spec.stdio"))?;
        return Ok(at_all(&shape, &places));
    }
    Err(Problem::spec(
        Accepted::UnsupportedProtocol,
        "spec.consul: the data plane of this version does not ask Consul",
    ))
}

fn at_all(shape: &Shape, places: &Places) -> (Vec<Target>, usize) {
    (places.ready.iter().map(|place| shape.at(place)).collect(), places.total)
}

fn process(child: &Stdio) -> Target {
    let plain = child
        .env
        .iter()
        .flatten()
        .filter_map(|variable| Some((variable.name.clone(), Secret::new(variable.value.as_deref()?))));
    Target::Stdio(StdioBackend {
        command: child.command.clone(),
        working_dir: child.working_dir.as_ref().map(Into::into),
        env: plain.collect(),
        max_processes: usize::try_from(child.max_sessions.unwrap_or(defaults::STDIO_SESSIONS))
            .unwrap_or(usize::MAX),
        shared: child.session_mode == SessionMode::Shared,
    })
}

pub(super) fn part(
    name: &str,
    target: Target,
    credentials: Vec<bridge_snapshot::push::Credential>,
    spec: &McpBackendSpec,
    traffic: &TrafficPolicy,
) -> BackendPart {
    BackendPart {
        backend: backend_of(name, target, traffic),
        credentials,
        // Greater priorities come first.
        rank: -spec.priority.unwrap_or(0),
    }
}

/// A backend with what its traffic policy says.
pub(super) fn backend_of(name: &str, target: Target, traffic: &TrafficPolicy) -> bridge_snapshot::Backend {
    let timeouts = traffic.timeouts.as_ref();
    let time = |chosen: Option<&TimeSpan>, default: Duration| {
        chosen.and_then(TimeSpan::to_duration).unwrap_or(default)
    };
    let connections = traffic.connection_pool.as_ref().and_then(|pool| pool.max_connections);
    bridge_snapshot::Backend {
        name: name.to_owned(),
        namespace: name.to_owned(),
        target,
        alternatives: Vec::new(),
        deserted: false,
        era: EraPolicy::Auto,
        connect_timeout: time(timeouts.and_then(|all| all.connect.as_ref()), defaults::CONNECT_TIMEOUT),
        request_timeout: time(timeouts.and_then(|all| all.request.as_ref()), defaults::REQUEST_TIMEOUT),
        max_concurrency: usize::try_from(connections.unwrap_or(defaults::BACKEND_CONNECTIONS))
            .unwrap_or(usize::MAX),
        exposure: Exposure::default(),
        tls: None,
    }
}
