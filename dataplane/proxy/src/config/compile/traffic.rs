//! Limits, sessions, and traffic policy that is not built yet. Changes when one of them starts to work.

use std::time::Duration;

use crate::config::decode::{Context, Located, Problem};
use crate::config::model::Config;
use crate::config::model::policy::{SessionRules, Store};
use crate::config::values::Interval;

/// Deepest nesting that may be configured: readers of JSON use the stack.
const MAX_DEPTH: usize = 512;

pub(super) fn limits(config: &Config, cx: &mut Context<'_>) -> bridge_snapshot::Limits {
    let (limits, server) = (&config.limits, &config.server);
    if limits.max_depth.0 > MAX_DEPTH {
        let found = Some(limits.max_depth.0.to_string());
        let problem = Problem::new("too deep").remedy(format!("allowed: 1 to {MAX_DEPTH}"));
        cx.report(crate::config::Severity::Error, &limits.max_depth.at, problem, found);
    }
    let read_timeout =
        one_of_two(&limits.read_timeout, &server.read_timeout.clone().map(|seconds| seconds.0), cx);
    let idle_timeout =
        one_of_two(&limits.idle_timeout, &server.idle_timeout.clone().map(|seconds| seconds.0), cx);
    bridge_snapshot::Limits {
        max_http_body: limits.max_http_body.0,
        max_message: limits.max_message.0,
        max_backend_message: limits.max_backend_message.0,
        max_depth: limits.max_depth.0,
        read_timeout,
        idle_timeout,
        max_request_duration: limits.max_request_duration.0,
        keep_alive: limits.keep_alive.0,
        catalogue_wait: limits.catalogue_wait.0,
        replay_events: limits.replay_events.0,
        replay_bytes: limits.replay_bytes.0,
        max_listens: limits.max_listens.0,
        parked_ttl: limits.parked_ttl.0,
        max_parked: limits.max_parked.0,
        max_parked_per_principal: limits.max_parked_per_principal.0,
        max_parked_bytes: limits.max_parked_bytes.0,
        max_parked_bytes_per_principal: limits.max_parked_bytes_per_principal.0,
        max_rounds: u32::try_from(limits.max_rounds.0).unwrap_or(u32::MAX),
        drain_timeout: limits.drain_timeout.0,
    }
}

/// The same limit has a key under `limits` and one of the original under `server`.
fn one_of_two(
    ours: &Located<Option<Interval>>,
    theirs: &Located<Duration>,
    cx: &mut Context<'_>,
) -> Duration {
    match ours.value {
        None => theirs.value,
        Some(Interval(limit)) => {
            if theirs.given && theirs.value != limit {
                let problem =
                    Problem::new(format!("`{}` sets the same limit to another value", theirs.at.path));
                cx.error(&ours.at, problem.remedy("keep one of the two"));
            }
            limit
        }
    }
}

pub(super) fn sessions(sessions: &Located<SessionRules>, cx: &mut Context<'_>) -> bridge_snapshot::Sessions {
    if *sessions.provider == Store::Redis {
        let problem = Problem::new("sessions in Redis are not available yet; they are kept in memory");
        cx.warn(&sessions.provider.at, problem);
    }
    bridge_snapshot::Sessions { idle_ttl: sessions.ttl.0, max_sessions: sessions.max_sessions.0 }
}

/// Names what is switched on but not built.
pub(super) fn unavailable(config: &Config, cx: &mut Context<'_>) {
    let mut warn = |on: bool, at, feature: &str| {
        if on {
            cx.warn(
                at,
                Problem::new(format!(
                    "{feature} not available yet; the section is accepted and has no effect"
                )),
            );
        }
    };
    let routing = "load balancing, health checks and circuit breakers are";
    warn(config.routing.is_some(), &config.routing.at, routing);
    let on = config.rate_limit.as_ref().is_some_and(|section| *section.enabled);
    warn(on, &config.rate_limit.at, "rate limiting is");
    let on = config.circuit_breaker.as_ref().is_some_and(|section| *section.enabled);
    warn(on, &config.circuit_breaker.at, "the circuit breaker is");
    let on = config.tracing.as_ref().is_some_and(|section| *section.enabled);
    warn(on, &config.tracing.at, "tracing is");
}
