//! Fields that this version does not act on, and may leave alone without danger: status names them. Changes when the data
//! plane learns to do what one of them says.

use bridge_api::service::{self, Annotated};
use bridge_api::v1alpha1::backend::{BackendState, StaticEndpoint, Stdio};
use bridge_api::v1alpha1::gateway::{FailureMode, OnConflict, StdioPolicy};
use bridge_api::v1alpha1::traffic::{Strategy, TrafficPolicy};
use bridge_api::v1alpha1::{McpBackendSpec, McpGateway};

/// What stands between a prefix and a name.
const SEPARATOR: &str = "__";
/// What a weight is that is not written.
const WEIGHT: u32 = 100;

/// Of a backend, with the traffic policy that counts for it.
pub(super) fn of_backend(
    spec: &McpBackendSpec,
    traffic: &TrafficPolicy,
    policy: StdioPolicy,
) -> Vec<&'static str> {
    let timeouts = traffic.timeouts.as_ref();
    let pool = traffic.connection_pool.as_ref();
    let endpoint = |unused: fn(&StaticEndpoint) -> bool| spec.endpoints.iter().flatten().any(unused);
    let balancing = traffic.load_balancing.as_ref();
    let fields = [
        (spec.headers.as_ref().is_some_and(|all| all.forward.is_some()), "headers.forward"),
        (spec.stdio.is_some() && spec.headers.is_some(), "headers with stdio"),
        (spec.stdio.is_some() && spec.auth.is_some(), "auth with stdio"),
        (spec.state == BackendState::Draining, "state: Draining"),
        (endpoint(|all| all.weight.is_some_and(is_share)), "endpoints[].weight other than 0"),
        (endpoint(|all| all.priority.is_some()), "endpoints[].priority"),
        (endpoint(|all| all.zone.is_some()), "endpoints[].zone"),
        (balancing.is_some_and(|all| is_other(all.strategy)), "loadBalancing.strategy"),
        (
            balancing.is_some_and(|all| all.weight.is_some_and(|weight| weight != WEIGHT)),
            "loadBalancing.weight",
        ),
        (traffic.circuit_breaker.is_some(), "circuitBreaker"),
        (traffic.retries.is_some(), "retries"),
        (traffic.health_check.is_some(), "healthCheck"),
        (
            timeouts.is_some_and(|all| all.initialize.is_some() || all.idle.is_some()),
            "timeouts.initialize, .idle",
        ),
        (
            pool.is_some_and(|all| {
                all.max_idle.is_some() || all.max_per_session.is_some() || all.keepalive_seconds.is_some()
            }),
            "connectionPool.maxIdle, .maxPerSession, .keepaliveSeconds",
        ),
    ];
    let child = spec.stdio.as_ref().filter(|_| policy == StdioPolicy::InProcess).map(of_child);
    named(&fields).chain(child.into_iter().flatten()).collect()
}

/// Of a child process of the gateway, which has no pod of its own.
fn of_child(stdio: &Stdio) -> Vec<&'static str> {
    let fields = [
        (stdio.image.is_some(), "stdio.image"),
        (stdio.image_pull_secrets.is_some(), "stdio.imagePullSecrets"),
        (stdio.replicas.is_some(), "stdio.replicas"),
        (stdio.resources.is_some(), "stdio.resources"),
        (stdio.security_context.is_some(), "stdio.securityContext"),
    ];
    named(&fields).collect()
}

/// Of a gateway.
pub(super) fn of_gateway(gateway: &McpGateway) -> Vec<&'static str> {
    let spec = &gateway.spec;
    let rate = spec.rate_limit.as_ref();
    let routing = spec.routing.as_ref();
    let naming = routing.and_then(|routing| routing.naming.as_ref());
    let observability = spec.observability.as_ref();
    let limits = spec.limits.as_ref();
    let auth = spec.auth.as_ref();
    let bytes = limits.and_then(|all| all.web_socket_message_bytes.zip(all.tcp_payload_bytes));
    let fields = [
        (spec.session.as_ref().is_some_and(|session| session.redis.is_some()), "session.redis"),
        (
            auth.is_some_and(|auth| auth.per_message.is_some() && auth.jwt.is_none()),
            "auth.perMessage without auth.jwt",
        ),
        (rate.is_some_and(|rate| rate.per_ip_connections.is_some()), "rateLimit.perIPConnections"),
        (rate.is_some_and(|rate| rate.per_user.is_some()), "rateLimit.perUser"),
        (rate.is_some_and(|rate| rate.global.is_some()), "rateLimit.global"),
        (rate.is_some_and(|rate| rate.store.is_some()), "rateLimit.store"),
        (
            bytes.is_some_and(|(socket, tcp)| socket != tcp),
            "the smaller one of limits.webSocketMessageBytes and limits.tcpPayloadBytes",
        ),
        (routing.is_some_and(|routing| is_other(routing.strategy)), "routing.strategy"),
        (
            routing.is_some_and(|routing| routing.failure_mode == Some(FailureMode::FailClosed)),
            "routing.failureMode: FailClosed",
        ),
        (
            naming.is_some_and(|naming| naming.separator.as_deref().is_some_and(|text| text != SEPARATOR)),
            "routing.naming.separator",
        ),
        (
            naming.is_some_and(|naming| naming.on_conflict == Some(OnConflict::Reject)),
            "routing.naming.onConflict: Reject",
        ),
        (spec.discovery.as_ref().is_some_and(|all| all.consul.is_some()), "discovery.consul"),
        (observability.is_some_and(|all| all.tracing.is_some()), "observability.tracing"),
    ];
    named(&fields).collect()
}

/// Of the annotations of a Service.
pub(super) fn of_service(annotated: &Annotated) -> Vec<&'static str> {
    let annotations = [
        (!annotated.tools.is_empty(), service::TOOLS),
        (annotated.weight.is_some_and(is_share), service::WEIGHT),
        (annotated.health_check_path.is_some(), service::HEALTH_CHECK_PATH),
        (annotated.health_check_interval.is_some(), service::HEALTH_CHECK_INTERVAL),
    ];
    named(&annotations).collect()
}

/// Endpoints are taken in turn; other ways to choose one are not there yet.
fn is_other(strategy: Option<Strategy>) -> bool {
    strategy.is_some_and(|strategy| strategy != Strategy::RoundRobin)
}

/// Whether a weight is more than a yes or no.
const fn is_share(weight: u32) -> bool {
    weight != 0 && weight != WEIGHT
}

fn named(fields: &[(bool, &'static str)]) -> impl Iterator<Item = &'static str> {
    fields.iter().filter_map(|(set, field)| set.then_some(*field))
}
