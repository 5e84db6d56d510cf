//! Field by field, what a backend does not say is what its gateway says. Changes when a field is added to a policy.

use super::{
    Backoff, CircuitBreaker, ConnectionPool, HealthCheck, LoadBalancing, Retries, Timeouts, TrafficPolicy,
};

/// Something that takes what it lacks from something of its kind.
trait Inherit: Clone {
    fn or(&self, defaults: &Self) -> Self;
}

/// Both absent is absent; one is that one; of two, the first takes what it lacks from the second.
fn either<T: Inherit>(own: Option<&T>, defaults: Option<&T>) -> Option<T> {
    match (own, defaults) {
        (Some(own), Some(defaults)) => Some(own.or(defaults)),
        (one, other) => one.or(other).cloned(),
    }
}

macro_rules! inherit {
    ($($type:ident { $($value:ident)* $(, parts: $($part:ident)*)? })+) => {
        $(impl Inherit for $type {
            fn or(&self, defaults: &Self) -> Self {
                Self {
                    $($value: self.$value.clone().or_else(|| defaults.$value.clone()),)*
                    $($($part: either(self.$part.as_ref(), defaults.$part.as_ref()),)*)?
                }
            }
        })+
    };
}

inherit! {
    TrafficPolicy {, parts: load_balancing circuit_breaker retries timeouts connection_pool health_check }
    LoadBalancing { strategy weight }
    CircuitBreaker { failure_threshold success_threshold open_seconds half_open_requests error_classes }
    Retries { attempts retry_on budget_percent, parts: backoff }
    Backoff { base max }
    Timeouts { connect initialize request idle }
    ConnectionPool { max_connections max_idle max_per_session keepalive_seconds }
    HealthCheck { kind interval_seconds timeout_seconds path unhealthy_threshold }
}

impl TrafficPolicy {
    /// This policy, with what it does not say taken from `defaults`, field by field. Two fields that the API server
    /// compares within one resource can meet here for the first time, for example a `base` that is longer than an
    /// inherited `max`: whoever compiles the result has to bound the one by the other.
    #[must_use]
    pub fn or(&self, defaults: &Self) -> Self {
        Inherit::or(self, defaults)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(value: Value) -> TrafficPolicy {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_a_backend_does_not_say_is_what_its_gateway_says() {
        let own = policy(json!({
            "loadBalancing": { "weight": 0 },
            "retries": { "attempts": 0, "backoff": { "base": "1s" } },
            "timeouts": { "request": "5s" },
        }));
        let defaults = policy(json!({
            "loadBalancing": { "weight": 7, "strategy": "Latency" },
            "retries": { "attempts": 3, "retryOn": ["Timeout"], "backoff": { "base": "2s", "max": "9s" } },
            "healthCheck": { "type": "None" },
        }));
        let expected = policy(json!({
            "loadBalancing": { "weight": 0, "strategy": "Latency" },
            "retries": { "attempts": 0, "retryOn": ["Timeout"], "backoff": { "base": "1s", "max": "9s" } },
            "timeouts": { "request": "5s" },
            "healthCheck": { "type": "None" },
        }));
        assert_eq!(own.or(&defaults), expected);
        assert_eq!(own.or(&TrafficPolicy::default()), own);
        assert_eq!(TrafficPolicy::default().or(&own), own);
    }
}
