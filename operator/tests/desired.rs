//! The objects that a gateway owns: goldens, and what must hold for each. Changes when a gateway owns another object.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, a step that fails is a failed test")]

mod kit;

use std::collections::BTreeSet;

use bridge_api::v1alpha1::{McpBackend, McpGateway};
use bridge_snapshot::push::{Entry, Key, ResourceType, Saved};
use kit::assert_golden;
use mcp_operator::desired::{Installation, Owned, OwnedKind, adapter, owned, snapshots};
use serde_json::{Value, json};

const GATEWAY: &str = include_str!("../../deploy/examples/kubernetes/gateway.yaml");
const BACKENDS: &str = include_str!("../../deploy/examples/kubernetes/backends.yaml");

fn installation() -> Installation {
    Installation {
        name: "mcp-system/mcp-bridge-operator".to_owned(),
        image: "registry.example:5000/mcp-gateway:1.0".to_owned(),
        version: "1.0".to_owned(),
        operators: vec!["mcp-bridge-operator.mcp-system.svc:9443".to_owned()],
        authorities: "AUTHORITIES".to_owned(),
        port: 9443,
        namespace: "mcp-system".to_owned(),
        service_monitors: true,
        confined: false,
    }
}

fn gateway(spec: &Value) -> McpGateway {
    let mut all = json!({"listeners": [{"name": "http", "protocol": "StreamableHTTP", "port": 8080, "tls": {"mode": "Disabled"}}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let object = json!({"metadata": {"name": "main", "namespace": "here", "uid": "u1"}, "spec": all});
    serde_json::from_value(json!({"apiVersion": "mcp.bridge/v1alpha1", "kind": "McpGateway", "metadata": object["metadata"], "spec": object["spec"]})).unwrap()
}

fn objects(spec: &Value) -> Vec<Owned> {
    owned(&gateway(spec), &installation(), Some(2), true)
}

fn find(objects: &[Owned], kind: OwnedKind) -> Option<&Value> {
    objects.iter().find(|owned| owned.kind == kind).map(|owned| &owned.document)
}

fn documents(objects: &[Owned]) -> Value {
    objects.iter().map(|owned| owned.document.clone()).collect()
}

#[test]
fn the_example_owns_what_was_reviewed() {
    let mut gateway: McpGateway = serde_saphyr::from_str(GATEWAY).unwrap();
    gateway.metadata.uid = Some("0000-main".to_owned());
    assert_golden("owned-example.json", &documents(&owned(&gateway, &installation(), None, true)));
}

#[test]
fn a_gateway_with_everything_owns_what_was_reviewed() {
    let spec = json!({
        "image": {"digest": "sha256:00"},
        "imagePullSecrets": [{"name": "pull"}],
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}, "labels": {"l": "m", "mcp.bridge/gateway": "stolen"}, "ipFamilies": ["IPv6", "IPv4"]},
        "networkPolicy": {"enabled": true, "extraEgress": [{"to": []}]},
        "observability": {"metrics": {"port": 9999, "serviceMonitor": {"enabled": true, "interval": "30s", "labels": {"release": "p", "mcp.bridge/gateway": "stolen"}}}, "logging": {"level": "debug", "format": "text"}},
        "drain": {"minSeconds": 0, "timeoutSeconds": 10},
        "disruption": {"minAvailable": "50%"},
        "podTemplate": {"metadata": {"labels": {"team": "x", "mcp.bridge/gateway-uid": "stolen"}}, "spec": {"nodeSelector": {"disk": "ssd"}, "serviceAccountName": "stolen", "volumes": [{"name": "operator-token", "emptyDir": {}}], "containers": [{"name": "gateway", "env": [{"name": "X", "value": "1"}]}]}},
    });
    assert_golden("owned-everything.json", &documents(&objects(&spec)));
}

#[test]
fn a_stdio_backend_gets_pods_of_its_own() {
    let document = BACKENDS.split("\n---\n").last().unwrap();
    let mut backend: McpBackend = serde_saphyr::from_str(document).unwrap();
    backend.metadata.uid = Some("0000-weather".to_owned());
    let objects = adapter(&backend, &[&gateway(&json!({}))], &BTreeSet::new(), &installation());
    assert_golden("owned-adapter.json", &documents(&objects));
}

/// The pod template of a stdio backend in namespace `here`.
fn adapter_pods(stdio: &Value, gateway: &McpGateway, environment: &[&str]) -> Value {
    let mut all = json!({"command": ["x"], "image": "x:1"});
    all.as_object_mut().unwrap().extend(stdio.as_object().unwrap().clone());
    let backend = json!({"apiVersion": "mcp.bridge/v1alpha1", "kind": "McpBackend",
        "metadata": {"name": "b", "namespace": "here", "uid": "u2"}, "spec": {"protocol": "Stdio", "stdio": all}});
    let environment = environment.iter().map(ToString::to_string).collect();
    let objects =
        adapter(&serde_json::from_value(backend).unwrap(), &[gateway], &environment, &installation());
    find(&objects, OwnedKind::Deployment).unwrap()["spec"]["template"].clone()
}

#[test]
fn pods_of_a_stdio_backend_are_replaced_with_what_they_read() {
    let of = |environment: &[&str]| adapter_pods(&json!({}), &gateway(&json!({})), environment);
    assert_ne!(of(&["s u 1"]), of(&["s u 2"]));
    assert_eq!(of(&["s u 1"]), of(&["s u 1"]));
    assert_eq!(of(&[])["metadata"].get("annotations"), None);
}

#[test]
fn a_security_context_of_the_user_keeps_what_it_does_not_say() {
    let own = json!({"securityContext": {"readOnlyRootFilesystem": false}});
    let pods = adapter_pods(&own, &gateway(&json!({})), &[]);
    let expected = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": false});
    assert_eq!(pods["spec"]["containers"][0]["securityContext"], expected);
}

#[test]
fn images_of_a_stdio_backend_are_pulled_with_its_secrets_and_those_of_its_gateway() {
    let own = json!({"imagePullSecrets": [{"name": "own"}]});
    let mut gateway = gateway(&json!({"imagePullSecrets": [{"name": "gateways"}]}));
    let names = |gateway: &McpGateway| adapter_pods(&own, gateway, &[])["spec"]["imagePullSecrets"].clone();
    assert_eq!(names(&gateway), json!([{"name": "gateways"}, {"name": "own"}]));
    gateway.metadata.namespace = Some("elsewhere".to_owned());
    assert_eq!(names(&gateway), json!([{"name": "own"}]), "no pod reads Secrets of another namespace");
}

#[test]
fn a_pod_has_its_time_to_drain_after_its_time_to_wait() {
    for (drain, seconds) in [
        (json!(null), 5 + 60 + 15),
        (json!({"minSeconds": 60, "timeoutSeconds": 60}), 60 + 60 + 15),
        (json!({"minSeconds": 0, "timeoutSeconds": 10}), 10 + 15),
    ] {
        let all = objects(&json!({ "drain": drain }));
        let pod = &find(&all, OwnedKind::Deployment).unwrap()["spec"]["template"]["spec"];
        assert_eq!(pod["terminationGracePeriodSeconds"], seconds, "{drain}");
    }
}

#[test]
fn a_newer_operator_with_the_same_image_replaces_no_pods() {
    let template = |installation: &Installation| {
        let all = owned(&gateway(&json!({})), installation, Some(2), false);
        find(&all, OwnedKind::Deployment).unwrap()["spec"]["template"].clone()
    };
    let newer = Installation { version: "2.0".to_owned(), ..installation() };
    assert_eq!(template(&newer), template(&installation()));
}

#[test]
fn pages_are_open_for_the_families_that_the_gateway_is_to_have() {
    for (families, address) in [
        (json!(null), "[::]:8081"),
        (json!(["IPv4", "IPv6"]), "[::]:8081"),
        (json!(["IPv6"]), "[::]:8081"),
        (json!(["IPv4"]), "0.0.0.0:8081"),
    ] {
        let all = objects(&json!({"service": {"ipFamilies": families}}));
        let text = find(&all, OwnedKind::ConfigMap).unwrap()["data"]["bootstrap.yaml"].as_str().unwrap();
        let file: Value = serde_json::from_str(text).unwrap();
        assert_eq!(file["health"], address, "{families}");
    }
}

#[test]
fn a_pod_template_cannot_take_the_identity_of_the_pods() {
    let template = json!({"podTemplate": {"metadata": {"labels": {"mcp.bridge/gateway-uid": "x"}}, "spec": {"serviceAccountName": "admin", "volumes": [{"name": "operator-token", "hostPath": {"path": "/"}}]}}});
    let all = objects(&template);
    let template = &find(&all, OwnedKind::Deployment).unwrap()["spec"]["template"];
    assert_eq!(template["metadata"]["labels"]["mcp.bridge/gateway-uid"], "u1");
    assert_eq!(template["spec"]["serviceAccountName"], "main-mcpgw");
    let tokens: Vec<_> = template["spec"]["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|volume| volume["name"] == "operator-token")
        .collect();
    assert_eq!(tokens.len(), 1);
    assert!(tokens[0].get("hostPath").is_none() && tokens[0].get("projected").is_some(), "{tokens:?}");
}

#[test]
fn pods_restart_only_for_what_they_read_once() {
    let hash = |spec: &Value, installation: &Installation| {
        let all = owned(&gateway(spec), installation, Some(2), false);
        find(&all, OwnedKind::Deployment).unwrap()["spec"]["template"]["metadata"]["annotations"].to_string()
    };
    let plain = hash(&json!({}), &installation());
    for same in [
        json!({"replicas": 7}),
        json!({"limits": {"maxConnections": 5}}),
        json!({"routing": {"naming": {"mode": "Prefix"}}}),
        json!({"backends": {"namespaces": {"from": "All"}}}),
        json!({"disruption": {"disabled": true}}),
        json!({"auth": {"anonymous": "Allow"}}),
        json!({"auth": {"jwt": {"providers": [{"name": "p", "issuer": "i", "hmacSecretRef": {"name": "s", "key": "k"}}]}}}),
        json!({"listeners": [{"name": "http", "protocol": "StreamableHTTP", "port": 8080, "tls": {"certificateRefs": [{"name": "cert"}], "clientCARef": {"name": "ca"}}}]}),
        json!({"observability": {"logging": {"level": "debug"}}}),
        json!({"rateLimit": {"perUser": {"requestsPerMinute": 1}}}),
    ] {
        assert_eq!(hash(&same, &installation()), plain, "{same}");
    }
    let rotated = Installation { authorities: "OTHER".to_owned(), ..installation() };
    assert_eq!(hash(&json!({}), &rotated), plain, "authorities are read at each connect");
    for different in [
        json!({"resources": {"limits": {"cpu": 1}}}),
        json!({"image": {"tag": "2"}}),
        json!({"observability": {"metrics": {"port": 1}}}),
    ] {
        assert_ne!(hash(&different, &installation()), plain, "{different}");
    }
}

#[test]
fn optional_objects_come_and_go_with_their_reasons() {
    let has = |spec: &Value, kind| find(&objects(spec), kind).is_some();
    assert!(has(&json!({}), OwnedKind::PodDisruptionBudget));
    assert!(
        !has(&json!({"replicas": 1}), OwnedKind::PodDisruptionBudget),
        "it would block the drain of its node"
    );
    assert!(!has(&json!({"disruption": {"disabled": true}}), OwnedKind::PodDisruptionBudget));
    assert!(!has(&json!({}), OwnedKind::HorizontalPodAutoscaler));
    assert!(has(&json!({"autoscaling": {"maxReplicas": 3}}), OwnedKind::HorizontalPodAutoscaler));
    assert!(!has(&json!({}), OwnedKind::NetworkPolicy));
    let monitor = json!({"observability": {"metrics": {"serviceMonitor": {"enabled": true}}}});
    assert!(has(&monitor, OwnedKind::ServiceMonitor));
    let without = Installation { service_monitors: false, ..installation() };
    assert!(find(&owned(&gateway(&monitor), &without, None, true), OwnedKind::ServiceMonitor).is_none());
}

#[test]
fn parts_of_a_snapshot_are_put_together_by_name() {
    let entries: Vec<_> = (0..200)
        .map(|index| {
            Entry::new(Key::new(ResourceType::Endpoints, format!("b{index}")), &"x".repeat(10_000)).unwrap()
        })
        .collect();
    let saved = Saved::new("here/main", "epoch", 7, entries);
    let parts = snapshots(&gateway(&json!({})), &installation(), &saved).unwrap();
    assert!(parts.len() > 1);
    let mut files: Vec<(String, String)> = Vec::new();
    for part in &parts {
        assert!(part.document.to_string().len() < 1_000_000, "one object of etcd");
        for (name, value) in part.document["data"].as_object().unwrap() {
            files.push((name.clone(), value.as_str().unwrap().to_owned()));
        }
    }
    files.sort();
    let text: Vec<u8> = files
        .iter()
        .flat_map(|(_, value)| {
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, value).unwrap()
        })
        .collect();
    let read: Saved = serde_json::from_slice(&text).unwrap();
    assert_eq!((read.verify("here/main"), read), (Ok(()), saved));
    let entries = vec![Entry::new(Key::new(ResourceType::Backend, "b"), &"x".repeat(20_000_000)).unwrap()];
    let error = snapshots(&gateway(&json!({})), &installation(), &Saved::new("here/main", "e", 1, entries))
        .unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
}

#[test]
fn the_roles_are_those_that_were_reviewed() {
    assert_golden("rbac.json", &mcp_operator::rbac::manifests("mcp-system", "mcp-bridge", &[]).into());
}

#[test]
fn whoever_is_confined_to_namespaces_may_do_nothing_elsewhere() {
    let confined = mcp_operator::rbac::manifests("mcp-system", "edge", &["a".to_owned(), "b".to_owned()]);
    let roles = |kind: &str| confined.iter().filter(|role| role["kind"] == kind).collect::<Vec<_>>();
    let cluster = roles("ClusterRole");
    assert_eq!(cluster.len(), 1);
    assert_eq!(cluster[0]["rules"].as_array().unwrap().len(), 1);
    assert_eq!(cluster[0]["rules"][0]["resources"], json!(["tokenreviews"]));
    let of: Vec<_> = roles("Role").iter().map(|role| role["metadata"]["namespace"].clone()).collect();
    assert_eq!(of, ["a", "b", "mcp-system"]);
    let granted = confined.iter().flat_map(|role| role["rules"].as_array().into_iter().flatten());
    let leases: Vec<_> = granted.filter(|rule| rule["resources"] == json!(["leases"])).collect();
    let names: Vec<_> = leases.iter().filter_map(|rule| rule.get("resourceNames")).collect();
    assert_eq!((leases.len(), names), (2, vec![&json!(["mcp-bridge-operator.edge"])]));
    assert_golden("rbac-confined.json", &confined.into());
}
