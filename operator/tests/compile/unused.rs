//! What this version does not do is named.

use serde_json::{Value, json};

use super::{ObjectName, backend, gateway, main_gateway, snapshot, world};

fn of_backend(spec: &Value) -> Vec<&'static str> {
    let compiled = world(&[&gateway(&json!({})), &backend("b", spec)]);
    compiled.backends[&ObjectName::new("here", "b")].not_in_force.iter().copied().collect()
}

fn of_gateway(spec: &Value) -> Vec<&'static str> {
    world(&[&gateway(spec)]).gateways[&main_gateway()].not_in_force.iter().copied().collect()
}

#[test]
fn fields_of_backends_without_effect_are_named() {
    let endpoint = |extra: Value| {
        let mut endpoint = json!({"url": "http://mcp.example.com"});
        endpoint.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({ "endpoints": [endpoint] })
    };
    for (spec, field) in [
        (
            json!({"connectionPool": {"keepaliveSeconds": 5}}),
            "connectionPool.maxIdle, .maxPerSession, .keepaliveSeconds",
        ),
        (endpoint(json!({"weight": 3})), "endpoints[].weight other than 0"),
        (endpoint(json!({"priority": 1})), "endpoints[].priority"),
        (json!({"loadBalancing": {"strategy": "Latency"}}), "loadBalancing.strategy"),
        (json!({"loadBalancing": {"weight": 1}}), "loadBalancing.weight"),
        (json!({"circuitBreaker": {}}), "circuitBreaker"),
        (json!({"timeouts": {"idle": "1s"}}), "timeouts.initialize, .idle"),
    ] {
        assert_eq!(of_backend(&spec), [field], "{spec}");
    }
    for spec in [
        json!({}),
        json!({"loadBalancing": {"strategy": "RoundRobin"}}),
        endpoint(json!({"weight": 0})),
        endpoint(json!({"weight": 100})),
        json!({"timeouts": {"request": "1s", "connect": "1s"}, "connectionPool": {"maxConnections": 1}}),
    ] {
        assert_eq!(of_backend(&spec), [] as [&str; 0], "{spec}");
    }
}

#[test]
fn fields_of_gateways_without_effect_are_named() {
    for (spec, field) in [
        (json!({"rateLimit": {"perIPConnections": 60}}), "rateLimit.perIPConnections"),
        (json!({"rateLimit": {"perUser": {"requestsPerMinute": 60}}}), "rateLimit.perUser"),
        (
            json!({"auth": {"anonymous": "Allow", "perMessage": {"enabled": true}}}),
            "auth.perMessage without auth.jwt",
        ),
        (
            json!({"limits": {"webSocketMessageBytes": 2048, "tcpPayloadBytes": 4096}}),
            "the smaller one of limits.webSocketMessageBytes and limits.tcpPayloadBytes",
        ),
        (json!({"routing": {"naming": {"onConflict": "Reject"}}}), "routing.naming.onConflict: Reject"),
        (json!({"routing": {"naming": {"separator": "."}}}), "routing.naming.separator"),
        (json!({"routing": {"failureMode": "FailClosed"}}), "routing.failureMode: FailClosed"),
    ] {
        assert_eq!(of_gateway(&spec), [field], "{spec}");
    }
    for spec in [
        json!({"routing": {"naming": {"onConflict": "FirstWins", "separator": "__"}, "failureMode": "FailOpen"}}),
        json!({"limits": {"webSocketMessageBytes": 2048}}),
    ] {
        assert_eq!(of_gateway(&spec), [] as [&str; 0], "{spec}");
    }
}

#[test]
fn a_rate_of_new_connections_is_no_bound_on_open_ones() {
    let compiled = world(&[&gateway(&json!({"rateLimit": {"perIPConnections": 60}}))]);
    assert_eq!(snapshot(&compiled).listeners[0].max_connections_per_ip, 1000);
}

#[test]
fn annotations_without_effect_are_told() {
    let annotations = json!({"mcp.bridge/enabled": "true", "mcp.bridge/namespace": "s", "mcp.bridge/tools": "[\"a\"]",
        "mcp.bridge/weight": "5", "mcp.bridge/health-check-path": "/h", "mcp.bridge/health-check-interval": "5s"});
    let service = json!({"kind": "Service", "spec": {"ports": [{"port": 80}]},
        "metadata": {"name": "s", "namespace": "here", "annotations": annotations}});
    let compiled = world(&[&gateway(&json!({})), &service.to_string()]);
    let told: Vec<_> =
        compiled.services[&ObjectName::new("here", "s")].iter().map(|note| &*note.message).collect();
    for annotation in ["tools", "weight", "health-check-path", "health-check-interval"] {
        let note = format!("mcp.bridge/{annotation}: without effect in this version");
        assert!(told.contains(&&*note), "{told:?}");
    }
}
