//! What compiling says about stdio servers: who may have them where, and what their pods read.

use bridge_api::condition::{Accepted, ResolvedRefs};
use mcp_operator::world::ObjectName;
use serde_json::{Value, json};

use super::{accepted, backend, gateway, main_gateway, resolved, snapshot, world};

fn server(extra: &Value) -> Value {
    let mut stdio = json!({"command": ["x"], "image": "x:1"});
    stdio.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({"protocol": "Stdio", "stdio": stdio})
}

fn secret(version: &str, data: &Value) -> String {
    let metadata = json!({"name": "s", "namespace": "here", "uid": "u", "resourceVersion": version});
    json!({"kind": "Secret", "metadata": metadata, "stringData": data}).to_string()
}

#[test]
fn a_child_of_the_gateway_is_of_its_own_namespace() {
    let all = json!({"stdioPolicy": "InProcess", "backends": {"namespaces": {"from": "All"}}});
    let mut spec = server(&json!({}));
    spec["gatewayRefs"] = json!([{"name": "main", "namespace": "here"}]);
    let own = backend("b", &spec);
    let other = own.replace(r#""namespace":"here"},"spec"#, r#""namespace":"there"},"spec"#).replace(
        r#""metadata":{"name":"b","namespace":"here"}"#,
        r#""metadata":{"name":"b","namespace":"there"}"#,
    );
    assert_ne!(own, other);
    let compiled = world(&[&gateway(&all), &other]);
    let verdict = &compiled.backends[&ObjectName::new("there", "b")];
    assert_eq!(verdict.accepted.reason, Accepted::StdioForbidden, "{}", verdict.accepted.message);
    assert_eq!(snapshot(&compiled).backends.len(), 0);
    assert_eq!(snapshot(&world(&[&gateway(&all), &own])).backends.len(), 1);
}

#[test]
fn what_a_child_of_the_gateway_cannot_have_is_named() {
    let extra =
        json!({"replicas": 2, "resources": {"limits": {"cpu": 1}}, "securityContext": {"runAsUser": 1}});
    let fields = |policy: &str| {
        let compiled = world(&[&gateway(&json!({ "stdioPolicy": policy })), &backend("b", &server(&extra))]);
        compiled.backends[&ObjectName::new("here", "b")].not_in_force.clone()
    };
    let named = fields("InProcess");
    for field in ["stdio.image", "stdio.replicas", "stdio.resources", "stdio.securityContext"] {
        assert!(named.contains(field), "{field}: {named:?}");
    }
    assert_eq!(fields("Isolated").len(), 0);
}

#[test]
fn what_pods_of_their_own_read_is_looked_up_and_not_sent() {
    let env = json!([{"name": "A", "secretRef": {"name": "s", "key": "a"}}]);
    for (extra, there, reason, words) in [
        (
            json!({ "env": env }),
            None,
            ResolvedRefs::SecretNotFound,
            "spec.stdio.env[A].secretRef: Secret here/s",
        ),
        (json!({ "env": env }), Some(json!({"b": "x"})), ResolvedRefs::KeyNotFound, "has no key a"),
        (json!({"envFrom": [{"name": "s"}]}), None, ResolvedRefs::SecretNotFound, "spec.stdio.envFrom"),
        (json!({ "env": env }), Some(json!({"a": ""})), ResolvedRefs::ResolvedRefs, ""),
    ] {
        let there = there.map(|data| secret("1", &data)).unwrap_or_default();
        let compiled = world(&[&gateway(&json!({})), &backend("b", &server(&extra)), &there]);
        let found = resolved(&compiled, "b");
        assert_eq!(found.0, reason, "{extra}: {}", found.1);
        assert!(found.1.contains(words), "{}", found.1);
        let good = reason == ResolvedRefs::ResolvedRefs;
        assert_eq!(compiled.backends[&ObjectName::new("here", "b")].environment.is_some(), good);
    }
    let compiled = |version: &str| {
        let spec = server(&json!({ "env": env, "envFrom": [{"name": "s"}] }));
        world(&[&gateway(&json!({})), &backend("b", &spec), &secret(version, &json!({"a": "hunter2"}))])
    };
    let (before, after) = (compiled("1"), compiled("2"));
    let of =
        |all: &super::Compilation| all.backends[&ObjectName::new("here", "b")].environment.clone().unwrap();
    assert_ne!(of(&before), of(&after), "a new value is a new version");
    assert_eq!(before.gateways[&main_gateway()].entries, after.gateways[&main_gateway()].entries);
    assert!(!format!("{before:?}").contains("hunter2"));
    assert_eq!(accepted(&before, "b"), (Accepted::Accepted, String::new()));
}
