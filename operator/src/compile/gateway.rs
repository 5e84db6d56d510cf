//! A gateway without its backends. Changes when a property of the whole gateway reaches the data plane.

use std::collections::BTreeMap;
use std::time::Duration;

use bridge_api::condition::{Accepted, ResolvedRefs};
use bridge_api::v1alpha1::McpGateway;
use bridge_api::v1alpha1::gateway::{Action, LogLevel, NamingMode};
use bridge_snapshot::{Limits, Naming, Sessions, Snapshot};

use super::Options;
use super::access::access;
use super::credentials::Secrets;
use super::finding::{Finding, Problem, without_effect};
use super::listeners::{ListenerVerdict, listener};
use super::refs::Lookup;
use super::unused::of_gateway as unused_fields;
use crate::{defaults, layout};

/// A gateway without its backends, and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) snapshot: Snapshot,
    /// Certificates and keys that it refers to.
    pub(super) secrets: Secrets,
    pub(super) accepted: Finding<Accepted>,
    pub(super) resolved: Finding<ResolvedRefs>,
    pub(super) listeners: BTreeMap<String, ListenerVerdict>,
    pub(super) insecure: Vec<String>,
    pub(super) without_effect: Vec<&'static str>,
}

pub(super) fn base(
    lookup: &mut Lookup<'_>,
    options: &Options,
    namespace: &str,
    gateway: &McpGateway,
) -> Base {
    let spec = &gateway.spec;
    let (mut open, mut listeners, mut secrets) = (Vec::new(), BTreeMap::new(), Secrets::new());
    for wanted in &spec.listeners {
        let (compiled, verdict) = listener(lookup, namespace, spec, wanted, &mut secrets);
        open.extend(compiled);
        listeners.insert(wanted.name.clone(), verdict);
    }
    let (access, problem) = access(lookup, namespace, spec, &mut secrets);
    let mut ineffective: Vec<_> =
        listeners.values().flat_map(|verdict| verdict.without_effect.iter().copied()).collect();
    ineffective.dedup();
    ineffective.extend(unused_fields(gateway));
    let (mut accepted, mut resolved) = (
        Finding::new(Accepted::Accepted, without_effect(&ineffective).unwrap_or_default()),
        Finding::new(ResolvedRefs::ResolvedRefs, ""),
    );
    if let Some((name, unusable)) = listeners.iter().find(|(_, verdict)| !verdict.resolved.holds()) {
        let message = format!("spec.listeners[{name}]: {}", unusable.resolved.message);
        resolved = Finding::new(unusable.resolved.reason, message);
    }
    match problem.or_else(|| taken(gateway)) {
        Some(Problem::Spec(finding)) => accepted = finding,
        Some(Problem::Reference(finding)) => resolved = finding,
        None => {}
    }
    let mut insecure: Vec<_> = listeners.values().filter_map(|verdict| verdict.insecure.clone()).collect();
    if spec.auth.as_ref().and_then(|auth| auth.anonymous) == Some(Action::Allow) {
        insecure.push("spec.auth.anonymous is Allow".to_owned());
    }
    let snapshot = Snapshot {
        listeners: open,
        local: Vec::new(),
        backends: Vec::new(),
        access,
        naming: naming(gateway),
        limits: limits(gateway),
        sessions: sessions(gateway),
        log_level: Some(log_level(gateway)),
        refuse_local: !options.allow_local_endpoints,
    };
    Base { snapshot, secrets, accepted, resolved, listeners, insecure, without_effect: ineffective }
}

/// A listener in the place of a page that every pod has.
fn taken(gateway: &McpGateway) -> Option<Problem> {
    let metrics = gateway.spec.observability.as_ref().and_then(|all| all.metrics.as_ref()?.port);
    let pages = [("metrics", metrics.unwrap_or(defaults::METRICS_PORT)), ("health", layout::HEALTH_PORT)];
    gateway.spec.listeners.iter().find_map(|listener| {
        let (page, port) =
            pages.iter().find(|(page, port)| listener.name == *page || listener.port == *port)?;
        Some(Problem::spec(
            Accepted::Invalid,
            format_args!(
                "spec.listeners[{}]: the name {page} and the port {port} belong to a page of the pods",
                listener.name
            ),
        ))
    })
}

fn log_level(gateway: &McpGateway) -> bridge_snapshot::LogLevel {
    let observability = gateway.spec.observability.as_ref();
    match observability.and_then(|all| all.logging.as_ref()?.level).unwrap_or(LogLevel::Info) {
        LogLevel::Trace => bridge_snapshot::LogLevel::Trace,
        LogLevel::Debug => bridge_snapshot::LogLevel::Debug,
        LogLevel::Info => bridge_snapshot::LogLevel::Info,
        LogLevel::Warn => bridge_snapshot::LogLevel::Warn,
        LogLevel::Error => bridge_snapshot::LogLevel::Error,
    }
}

fn naming(gateway: &McpGateway) -> Naming {
    let naming = gateway.spec.routing.as_ref().and_then(|routing| routing.naming.as_ref());
    match naming.and_then(|naming| naming.mode).unwrap_or(NamingMode::Conditional) {
        NamingMode::Prefix => Naming::Always,
        NamingMode::Conditional => Naming::OnConflict,
        NamingMode::None => Naming::Never,
    }
}

fn limits(gateway: &McpGateway) -> Limits {
    let own = gateway.spec.limits.as_ref();
    let bytes = |chosen: Option<u32>, default: usize| {
        chosen.map_or(default, |chosen| usize::try_from(chosen).unwrap_or(default))
    };
    let drain = gateway.spec.drain.as_ref().and_then(|drain| drain.timeout_seconds);
    let defaults = Limits::default();
    // One bound for the messages of all connections: the larger one, so that neither frontend gets less than it may.
    let message = own.and_then(|own| own.web_socket_message_bytes.max(own.tcp_payload_bytes));
    Limits {
        max_http_body: bytes(own.and_then(|own| own.http_body_bytes), defaults.max_http_body),
        max_message: bytes(message, defaults.max_message),
        drain_timeout: Duration::from_secs(drain.unwrap_or(defaults::DRAIN_TIMEOUT).into()),
        ..defaults
    }
}

fn sessions(gateway: &McpGateway) -> Sessions {
    let ttl = gateway.spec.session.as_ref().and_then(|session| session.ttl_seconds);
    let most = gateway.spec.limits.as_ref().and_then(|limits| limits.max_sessions);
    let defaults = Sessions::default();
    Sessions {
        idle_ttl: ttl.map_or(defaults::SESSION_TTL, |seconds| Duration::from_secs(seconds.into())),
        max_sessions: most
            .map_or(defaults.max_sessions, |most| usize::try_from(most).unwrap_or(defaults.max_sessions)),
    }
}
