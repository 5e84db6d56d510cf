//! Compiling again what is mostly as before: the outcome is that of compiling everything, and costs what is different.

use std::sync::Arc;

use bridge_snapshot::push::{Key, ResourceType};
use mcp_operator::compile::{Compilation, Memo, compile};
use mcp_operator::world::{ObjectName, Slices, World};
use serde_json::json;

use super::kit::{self, describe};

const START: &str = r#"
kind: McpGateway
metadata: {name: main, namespace: here, uid: u1}
spec:
  listeners: [{name: http, protocol: StreamableHTTP, port: 8080, tls: {mode: Disabled}}]
  auth: {jwt: {providers: [{name: p, issuer: i, hmacSecretRef: {name: jwt, key: k}}]}}
---
kind: McpBackend
metadata: {name: plain, namespace: here}
spec: {protocol: StreamableHTTP, endpoints: [{url: "http://a.example.com"}]}
---
kind: McpBackend
metadata: {name: secret, namespace: here}
spec:
  protocol: StreamableHTTP
  endpoints: [{url: "https://b.example.com"}]
  auth: {type: Bearer, bearer: {secretRef: {name: token, key: k}}}
  tls: {mode: Simple, caRef: {name: ca}}
---
kind: McpBackend
metadata: {name: service, namespace: here}
spec: {protocol: StreamableHTTP, serviceRef: {name: tools, port: http}}
"#;

const SERVICE: &str = "
kind: Service
metadata: {name: tools, namespace: here}
spec: {ports: [{name: http, port: 80}]}
";

fn slice(address: &str) -> String {
    json!({"kind": "EndpointSlice", "metadata": {"name": "tools-1", "namespace": "here", "labels": {"kubernetes.io/service-name": "tools"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [address]}], "ports": [{"name": "http", "port": 8080}]})
    .to_string()
}

fn secret(name: &str, value: &str) -> String {
    json!({"kind": "Secret", "metadata": {"name": name, "namespace": "here"}, "stringData": {"k": value}})
        .to_string()
}

fn put(world: &mut World, yaml: &str) {
    kit::add(world, &serde_saphyr::from_str(yaml).unwrap());
}

fn compiled_again(world: &World, memo: &mut Memo) -> Compilation {
    let (again, anew) = (
        compile(world, &kit::options(), memo).unwrap(),
        compile(world, &kit::options(), &mut Memo::default()).unwrap(),
    );
    assert_eq!(describe(&again), describe(&anew));
    assert_eq!(again.references, anew.references);
    again
}

/// Where a body is in memory: nobody else has encoded it meanwhile.
fn body(compilation: &Compilation, kind: ResourceType, name: &str) -> *const u8 {
    let plan = &compilation.gateways[&ObjectName::new("here", "main")];
    plan.entries[&Key::new(kind, name)].body().as_ptr()
}

#[test]
fn everything_that_an_outcome_depends_on_makes_another_one() {
    let (mut world, mut memo) = (kit::world(START), Memo::default());
    let certificate = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem();
    let map = json!({"kind": "ConfigMap", "metadata": {"name": "ca", "namespace": "here"}, "data": {"ca.crt": certificate}});
    let gateway = |policy: &str| {
        let start = START.split("\n---").next().unwrap();
        format!("{start}\n  routing: {{defaults: {{timeouts: {{request: {policy}}}}}}}\n")
    };
    let plain = START.split("\n---\n").nth(1).unwrap();
    let steps = [
        plain.replace("a.example.com", "c.example.com"),
        SERVICE.to_owned(),
        slice("10.0.0.1"),
        slice("10.0.0.2"),
        secret("jwt", "0123456789abcdef0123456789abcdef"),
        secret("token", "one"),
        map.to_string(),
        secret("token", "two"),
        gateway("5s"),
        gateway("6s"),
        SERVICE.replace("name: http", "name: other"),
    ];
    let mut before = describe(&compiled_again(&world, &mut memo));
    for step in steps {
        put(&mut world, &step);
        let after = describe(&compiled_again(&world, &mut memo));
        assert_ne!(after, before, "{step} changes nothing");
        before = after;
    }
    for name in ["token", "jwt"] {
        world.secrets.remove(&ObjectName::new("here", name));
        compiled_again(&world, &mut memo);
    }
    *world.slices = Slices::default();
    compiled_again(&world, &mut memo);
    world.backends.remove(&ObjectName::new("here", "plain"));
    compiled_again(&world, &mut memo);
    world.gateways.clear();
    compiled_again(&world, &mut memo);
}

#[test]
fn what_is_as_before_is_not_compiled_again() {
    let (mut world, mut memo) = (kit::world(START), Memo::default());
    for document in [SERVICE.to_owned(), slice("10.0.0.1")] {
        put(&mut world, &document);
    }
    let before = compiled_again(&world, &mut memo);
    put(&mut world, &slice("10.0.0.2"));
    // Its own status makes an object another one, and its specification the same.
    for backend in world.backends.values_mut() {
        *backend = Arc::new((**backend).clone());
    }
    let after = compiled_again(&world, &mut memo);
    let same = |kind, name| body(&before, kind, name) == body(&after, kind, name);
    assert!(same(ResourceType::Backend, "plain") && same(ResourceType::Endpoints, "plain"));
    assert!(!same(ResourceType::Endpoints, "service"), "its pod has another address");
}

#[test]
fn a_service_comes_and_goes_with_its_labels_its_namespace_and_what_the_gateway_asks_for() {
    const GATEWAY: &str = "
kind: McpGateway
metadata: {name: main, namespace: here, uid: u1}
spec:
  listeners: [{name: http, protocol: StreamableHTTP, port: 8080, tls: {mode: Disabled}}]
  discovery: {services: {namespaces: {from: Names, names: ['team-*']}, selector: {matchLabels: {tier: gold}}}}
";
    let service = |tier: &str| {
        json!({"kind": "Service", "spec": {"ports": [{"name": "mcp", "port": 80}]},
            "metadata": {"name": "tools", "namespace": "team-a", "labels": {"tier": tier},
                "annotations": {"mcp.bridge/enabled": "true", "mcp.bridge/namespace": "tools"}}})
        .to_string()
    };
    let (mut world, mut memo) = (kit::world(GATEWAY), Memo::default());
    for (step, served) in [
        (service("gold"), 1),
        (service("silver"), 0),
        (GATEWAY.replace("gold", "silver"), 1),
        (GATEWAY.replace("gold", "silver").replace("team-*", "*-b"), 0),
        (GATEWAY.replace("gold", "silver").replace("team-*", "*-a"), 1),
        (service("gold"), 0),
    ] {
        put(&mut world, &step);
        let compilation = compiled_again(&world, &mut memo);
        assert_eq!(compilation.gateways[&ObjectName::new("here", "main")].services, served, "{step}");
    }
}
