//! What resources compile to: goldens of whole worlds, and each reason that compiling can give. Changes when a rule of
//! compiling does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, a step that fails is a failed test")]

mod kit;
#[path = "compile/memo.rs"]
mod memo;
#[path = "compile/places.rs"]
mod places;
#[path = "compile/rotation.rs"]
mod rotation;
#[path = "compile/services.rs"]
mod services;
#[path = "compile/stdio.rs"]
mod stdio;
#[path = "compile/tls.rs"]
mod tls;
#[path = "compile/unused.rs"]
mod unused;

use bridge_api::condition::{Accepted, ResolvedRefs};
use bridge_snapshot::push::{Key, Resource, ResourceType, assemble};
use bridge_snapshot::{Access, Snapshot, Target};
use kit::{assert_golden, compiled, describe};
use mcp_operator::compile::Compilation;
use mcp_operator::world::ObjectName;
use serde_json::{Value, json};

const GATEWAY: &str = include_str!("../../deploy/examples/kubernetes/gateway.yaml");
const BACKENDS: &str = include_str!("../../deploy/examples/kubernetes/backends.yaml");
const SERVICE: &str = include_str!("../../deploy/examples/kubernetes/annotated-service.yaml");
const AROUND: &str = include_str!("worlds/around-the-examples.yaml");
const KINDS: &str = include_str!("worlds/every-kind.yaml");

/// A gateway for everybody in namespace `here`.
const OPEN: &str = "
kind: McpGateway
metadata: {name: main, namespace: here, uid: u1}
spec:
  listeners: [{name: http, protocol: StreamableHTTP, port: 8080, tls: {mode: Disabled}}]
  auth: {anonymous: Allow}
";

fn gateway(spec: &Value) -> String {
    let mut all = json!({
        "listeners": [{"name": "http", "protocol": "StreamableHTTP", "port": 8080, "tls": {"mode": "Disabled"}}],
        "auth": {"anonymous": "Allow"},
    });
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"kind": "McpGateway", "metadata": {"name": "main", "namespace": "here"}, "spec": all}).to_string()
}

fn backend(name: &str, spec: &Value) -> String {
    let mut all = json!({"protocol": "StreamableHTTP"});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    if ["serviceRef", "stdio", "consul"].iter().all(|kind| spec.get(kind).is_none())
        && spec.get("endpoints").is_none()
    {
        all["endpoints"] = json!([{"url": "http://mcp.example.com"}]);
    }
    json!({"kind": "McpBackend", "metadata": {"name": name, "namespace": "here"}, "spec": all}).to_string()
}

fn world(documents: &[&str]) -> Compilation {
    compiled(&documents.join("\n---\n"))
}

fn main_gateway() -> ObjectName {
    ObjectName::new("here", "main")
}

/// The configuration that a pod of `here/main` makes of it.
fn snapshot(compilation: &Compilation) -> Snapshot {
    let plan = &compilation.gateways[&main_gateway()];
    let resources: Vec<_> = plan.entries.values().map(|entry| Resource::decode(entry).unwrap()).collect();
    let assembly = assemble(&resources);
    let snapshot = assembly.snapshot.unwrap();
    assert_eq!(snapshot.validate(), Ok(()));
    snapshot
}

fn accepted(compilation: &Compilation, backend: &str) -> (Accepted, String) {
    let finding = compilation.backends[&ObjectName::new("here", backend)].accepted.clone();
    (finding.reason, finding.message)
}

fn resolved(compilation: &Compilation, backend: &str) -> (ResolvedRefs, String) {
    let finding = compilation.backends[&ObjectName::new("here", backend)].resolved.clone();
    (finding.reason, finding.message)
}

#[test]
fn the_examples_compile_to_what_was_reviewed() {
    let documents = [GATEWAY, BACKENDS, SERVICE, AROUND].join("\n---\n");
    assert_golden("examples.json", &describe(&compiled(&documents)));
}

#[test]
fn every_kind_of_backend_compiles_to_what_was_reviewed() {
    let compilation = compiled(KINDS);
    assert_golden("every-kind.json", &describe(&compilation));
    let resources: Vec<_> = compilation.gateways[&main_gateway()]
        .entries
        .values()
        .map(|entry| Resource::decode(entry).unwrap())
        .collect();
    let assembly = assemble(&resources);
    assert_eq!(assembly.left_out, [], "each backend has its endpoints and Secrets");
    assert_eq!(assembly.snapshot.unwrap().validate(), Ok(()));
}

#[test]
fn equal_worlds_give_equal_bytes() {
    let documents = [GATEWAY, BACKENDS, SERVICE, AROUND].join("\n---\n");
    let mut backwards: Vec<_> = documents.split("\n---\n").collect();
    backwards.reverse();
    let name = ObjectName::new("mcp-system", "main");
    assert_eq!(compiled(&documents).gateways[&name].entries, world(&backwards).gateways[&name].entries);
}

#[test]
fn an_endpoint_that_goes_leaves_the_backend_as_it_is() {
    let service = "kind: Service\nmetadata: {name: s, namespace: here}\nspec: {ports: [{port: 80}]}";
    let slice = |ready: bool| {
        json!({"kind": "EndpointSlice", "addressType": "IPv4", "ports": [{"port": 8080}],
            "metadata": {"name": "s-1", "namespace": "here", "labels": {"kubernetes.io/service-name": "s"}},
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]})
        .to_string()
    };
    let b = backend("b", &json!({"serviceRef": {"name": "s", "port": 80}}));
    let (before, after) =
        (world(&[OPEN, &b, service, &slice(true)]), world(&[OPEN, &b, service, &slice(false)]));
    let entry =
        |world: &Compilation, kind| world.gateways[&main_gateway()].entries[&Key::new(kind, "b")].clone();
    assert_eq!(entry(&before, ResourceType::Backend), entry(&after, ResourceType::Backend));
    assert_eq!(entry(&after, ResourceType::Endpoints).body(), r#"{"targets":[]}"#);
    let verdict = &after.backends[&ObjectName::new("here", "b")];
    assert_eq!((verdict.ready, verdict.total), (0, 1));
}

#[test]
fn each_reason_of_accepted_comes_with_its_cause() {
    let elsewhere = "kind: McpGateway\nmetadata: {name: shut, namespace: there}\nspec: {listeners: [{name: a, protocol: TCP, port: 1, tls: {mode: Disabled}}]}";
    let foreign = "kind: McpGateway\nmetadata: {name: foreign, namespace: here}\nspec: {className: other, listeners: [{name: a, protocol: TCP, port: 1, tls: {mode: Disabled}}]}";
    let refers =
        |name: &str, namespace: &str| json!({"gatewayRefs": [{"name": name, "namespace": namespace}]});
    let stdio = json!({"protocol": "Stdio", "stdio": {"command": ["x"]}});
    let open = gateway(&json!({}));
    let forbids = gateway(&json!({"stdioPolicy": "Forbid"}));
    let cases = [
        (&open, json!({}), Accepted::Accepted, ""),
        (
            &open,
            refers("shut", "there"),
            Accepted::NotAllowedByGateway,
            "there/shut does not admit the namespace here",
        ),
        (&open, refers("none", "here"), Accepted::NoMatchingGateway, "here/none does not exist"),
        (&open, refers("foreign", "here"), Accepted::ClassMismatch, "another installation"),
        (
            &open,
            json!({"tools": {"includeRegex": ["("]}}),
            Accepted::InvalidRegex,
            "spec.tools.includeRegex: `(`",
        ),
        (&open, json!({"prompts": {"excludeRegex": ["a)|(?:b"]}}), Accepted::InvalidRegex, "spec.prompts"),
        (
            &open,
            json!({"tools": {"requiredScopes": {"t": ["a b"]}}}),
            Accepted::Invalid,
            "spec.tools.requiredScopes: `a b`",
        ),
        (
            &open,
            json!({"tools": {"overrides": [{"name": "a", "rename": "c"}, {"name": "b", "rename": "c"}]}}),
            Accepted::Invalid,
            "spec.tools.overrides: two tools are renamed to `c`",
        ),
        (&open, json!({"consul": {"service": "x"}}), Accepted::UnsupportedProtocol, "spec.consul"),
        (&open, json!({"auth": {"type": "Passthrough"}}), Accepted::Invalid, "spec.auth.type: Passthrough"),
        (
            &open,
            json!({"tls": {"insecureSkipVerify": true}}),
            Accepted::Invalid,
            "spec.tls.insecureSkipVerify: the operator does not allow it",
        ),
        (&open, stdio.clone(), Accepted::Invalid, "spec.stdio.image is required"),
        (&forbids, stdio, Accepted::StdioForbidden, "spec.stdioPolicy of gateway here/main is Forbid"),
    ];
    for (gateway, spec, reason, message) in cases {
        let found = accepted(&world(&[gateway, elsewhere, foreign, &backend("b", &spec)]), "b");
        assert_eq!(found.0, reason, "{spec}: {}", found.1);
        assert!(found.1.contains(message), "{spec}: {}", found.1);
    }
}

#[test]
fn what_clients_see_of_a_backend_reaches_its_pods() {
    let tools = json!({
        "include": ["a", "b"], "excludeRegex": ["b.*"], "requiredScopes": {"a": ["s"]},
        "overrides": [{"name": "a", "rename": "c", "annotations": {"readOnlyHint": true}}],
    });
    let compilation = world(&[OPEN, &backend("b", &json!({"tools": tools, "prompts": {"include": []}}))]);
    assert_eq!(accepted(&compilation, "b"), (Accepted::Accepted, String::new()));
    let exposure = serde_json::to_value(&snapshot(&compilation).backends[0].exposure).unwrap();
    let expected = json!({
        "tools": {"include": [{"exact": "a"}, {"exact": "b"}], "exclude": [{"regex": "b.*"}]},
        "prompts": {"include": []},
        "required_scopes": {"a": ["s"]},
        "overrides": {"a": {"name": "c", "annotations": {"readOnlyHint": true}}},
    });
    assert_eq!(exposure, expected);
}

#[test]
fn the_older_backend_keeps_a_tool_namespace() {
    let named = |name: &str, created: &str| {
        let mut value: Value = serde_json::from_str(&backend(name, &json!({"toolNamespace": "t"}))).unwrap();
        value["metadata"]["creationTimestamp"] = created.into();
        value.to_string()
    };
    let compilation =
        world(&[OPEN, &named("a", "2026-01-02T00:00:00Z"), &named("b", "2026-01-01T00:00:00Z")]);
    assert_eq!(accepted(&compilation, "b").0, Accepted::Accepted);
    let (reason, message) = accepted(&compilation, "a");
    assert_eq!(reason, Accepted::ToolNamespaceConflict);
    assert!(message.contains("here/b is older"), "{message}");
    assert_eq!(snapshot(&compilation).backends.len(), 1);
}

#[test]
fn each_reason_of_resolved_refs_comes_with_its_cause() {
    let secret = "kind: Secret\nmetadata: {name: s, namespace: here}\nstringData: {token: abc}";
    let service =
        "kind: Service\nmetadata: {name: svc, namespace: here}\nspec: {ports: [{port: 80, name: web}]}";
    let bearer = |name: &str, key: &str| json!({"auth": {"type": "Bearer", "bearer": {"secretRef": {"name": name, "key": key}}}});
    let cases = [
        (bearer("s", "token"), ResolvedRefs::ResolvedRefs, ""),
        (bearer("none", "token"), ResolvedRefs::SecretNotFound, "Secret here/none"),
        (bearer("s", "none"), ResolvedRefs::KeyNotFound, "under the key none"),
        (
            json!({"serviceRef": {"name": "none", "port": 80}}),
            ResolvedRefs::ServiceNotFound,
            "Service here/none",
        ),
        (
            json!({"serviceRef": {"name": "svc", "port": "mcp"}}),
            ResolvedRefs::PortNotFound,
            "it has web (80)",
        ),
    ];
    for (spec, reason, message) in cases {
        let compilation = world(&[OPEN, secret, service, &backend("b", &spec)]);
        let found = resolved(&compilation, "b");
        assert_eq!(found.0, reason, "{spec}: {}", found.1);
        assert!(found.1.contains(message), "{spec}: {}", found.1);
        let served = snapshot(&compilation).backends.len();
        assert_eq!(served, usize::from(reason == ResolvedRefs::ResolvedRefs), "{spec}");
    }
}

#[test]
fn a_listener_without_a_usable_certificate_stays_shut() {
    let listeners = json!({"listeners": [
        {"name": "http", "protocol": "StreamableHTTP", "port": 8080, "tls": {"mode": "Disabled"}},
        {"name": "ws", "protocol": "WebSocket", "port": 8443, "tls": {"certificateRefs": [{"name": "cert"}]}},
    ]});
    let secret = |certificate: &str| {
        json!({"kind": "Secret", "metadata": {"name": "cert", "namespace": "here"},
            "stringData": {"tls.crt": certificate, "tls.key": "no key"}})
        .to_string()
    };
    for (around, reason) in [
        (String::new(), ResolvedRefs::SecretNotFound),
        (secret(""), ResolvedRefs::KeyNotFound),
        (secret("no certificate"), ResolvedRefs::InvalidCertificate),
    ] {
        let compilation = world(&[&gateway(&listeners), &around]);
        let plan = &compilation.gateways[&main_gateway()];
        assert_eq!(plan.listeners["ws"].resolved.reason, reason, "{}", plan.listeners["ws"].resolved.message);
        assert_eq!(plan.resolved.reason, reason);
        let open: Vec<_> =
            snapshot(&compilation).listeners.into_iter().map(|listener| listener.name).collect();
        assert_eq!(open, ["http"]);
    }
}

#[test]
fn a_token_may_be_for_any_of_several_audiences_and_of_any_provider() {
    let secret = "kind: Secret\nmetadata: {name: jwt, namespace: here}\nstringData: {key: 0123456789abcdef0123456789abcdef}";
    let provider = json!({
        "name": "p", "issuer": "i", "audiences": ["a", "b"], "hmacSecretRef": {"name": "jwt", "key": "key"},
    });
    let partner = json!({"name": "q", "issuer": "j", "hmacSecretRef": {"name": "jwt", "key": "key"}});
    let spec = json!({"auth": {"jwt": {"providers": [provider, partner]}}});
    let access = snapshot(&world(&[&gateway(&spec), secret])).access;
    let ways = access.jwts().iter().map(|jwt| (jwt.issuer.as_deref(), jwt.audience.as_deref()));
    let expected = [(Some("i"), Some("a")), (Some("i"), Some("b")), (Some("j"), None)];
    assert_eq!(ways.collect::<Vec<_>>(), expected, "{access:?}");
    assert!(access.jwts().iter().all(|jwt| jwt.secret.is_some()));
}

#[test]
fn a_policy_that_cannot_be_applied_refuses_everybody() {
    let provider = |extra: Value| {
        let mut provider =
            json!({"name": "p", "issuer": "i", "hmacSecretRef": {"name": "jwt", "key": "key"}});
        provider.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"auth": {"jwt": {"providers": [provider]}}})
    };
    let jwks =
        json!({"auth": {"jwt": {"providers": [{"name": "p", "issuer": "i", "jwksURL": "https://i/keys"}]}}});
    let rules = json!({"authorization": {"rules": [{"tools": ["t"], "action": "Deny"}]}});
    let cases = [
        (json!({"auth": null}), Accepted::Accepted, "nobody is let in"),
        (provider(json!({})), Accepted::Invalid, "has 5 bytes; at least 32"),
        (
            provider(json!({"claims": {"subject": "email"}})),
            Accepted::Invalid,
            ".claims: this version cannot",
        ),
        (jwks, Accepted::Invalid, "jwksURL"),
        (rules, Accepted::Invalid, "spec.authorization.rules"),
        (json!({"auth": {"mtls": {"caRef": {"name": "c"}}}}), Accepted::Invalid, "spec.auth.mtls"),
    ];
    let secret = "kind: Secret\nmetadata: {name: jwt, namespace: here}\nstringData: {key: short}";
    for (spec, reason, words) in cases {
        let compilation = world(&[&gateway(&spec), secret]);
        let access = snapshot(&compilation).access;
        let Access::Refuse { reason: why } = access else { panic!("{spec}: {access:?}") };
        assert!(why.contains(words), "{spec}: {why}");
        assert_eq!(compilation.gateways[&main_gateway()].accepted.reason, reason, "{spec}");
    }
    let compilation = world(&[&gateway(&provider(json!({})))]);
    assert!(matches!(snapshot(&compilation).access, Access::Refuse { .. }));
    assert_eq!(compilation.gateways[&main_gateway()].resolved.reason, ResolvedRefs::SecretNotFound);
}

#[test]
fn a_backend_does_not_lead_to_the_pod_itself() {
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "169.254.169.254",
        "[::ffff:127.0.0.1]",
        "127.1",
        "0x7f000001",
        "2130706433",
        "0.0.0.0",
        "a.localhost.",
        "metadata.google.internal",
        "metadata",
        "METADATA.goog.",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
    ] {
        let spec = json!({"endpoints": [{"url": format!("http://{host}:80/mcp")}]});
        let (reason, message) = accepted(&world(&[OPEN, &backend("b", &spec)]), "b");
        assert_eq!(reason, Accepted::Invalid, "{host}");
        assert!(message.contains("not allowed"), "{message}");
    }
    let spec = json!({"endpoints": [{"url": "http://user:hunter2@mcp.example.com/mcp"}]});
    let (reason, message) = accepted(&world(&[OPEN, &backend("b", &spec)]), "b");
    assert_eq!(reason, Accepted::Invalid);
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn what_a_backend_does_not_say_is_inherited() {
    let defaults = json!({"routing": {"defaults": {"timeouts": {"connect": "1s", "request": "9s"}}}});
    let spec = json!({"timeouts": {"request": "2s"}, "connectionPool": {"maxConnections": 7}});
    let compilation = world(&[&gateway(&defaults), &backend("b", &spec)]);
    let served = &snapshot(&compilation).backends[0];
    assert_eq!((served.connect_timeout.as_secs(), served.request_timeout.as_secs()), (1, 2));
    assert_eq!(served.max_concurrency, 7);
    assert!(matches!(&served.target, Target::Http(http) if http.url == "http://mcp.example.com:80/mcp"));
}

#[test]
fn a_secret_is_in_its_resource_and_nowhere_else() {
    let secret =
        "kind: Secret\nmetadata: {name: s, namespace: here}\nstringData: {token: hunter2, other: unused9}";
    let spec = json!({"auth": {"type": "Bearer", "bearer": {"secretRef": {"name": "s", "key": "token"}}}});
    let compilation = world(&[OPEN, secret, &backend("b", &spec)]);
    for (key, entry) in &compilation.gateways[&main_gateway()].entries {
        assert_eq!(entry.body().contains("hunter2"), key.kind == ResourceType::Secret, "{key}");
        assert!(!entry.body().contains("unused9"), "{key}");
    }
    assert!(!format!("{compilation:?}").contains("hunter2"));
    let served = &snapshot(&compilation).backends[0];
    assert!(
        matches!(&served.target, Target::Http(http) if http.headers["authorization"].expose() == "Bearer hunter2")
    );
}

#[test]
fn a_listener_does_not_take_the_place_of_a_page() {
    for listener in [
        json!({"name": "web", "port": 8081}),
        json!({"name": "web", "port": 9090}),
        json!({"name": "health", "port": 1}),
    ] {
        let mut all = json!({"protocol": "StreamableHTTP", "tls": {"mode": "Disabled"}});
        all.as_object_mut().unwrap().extend(listener.as_object().unwrap().clone());
        let compilation = world(&[&gateway(&json!({"listeners": [all]}))]);
        let accepted = &compilation.gateways[&main_gateway()].accepted;
        assert_eq!(accepted.reason, Accepted::Invalid, "{listener}");
        assert!(accepted.message.contains("spec.listeners["), "{}", accepted.message);
    }
}
