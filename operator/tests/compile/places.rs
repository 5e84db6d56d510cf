//! Where the endpoints of a backend may be, and which of a Service's are used.

use bridge_api::condition::Accepted;
use serde_json::{Value, json};

use super::{Compilation, OPEN, ObjectName, accepted, backend, main_gateway, snapshot, world};

/// Slices of the Service `s`: family, endpoints.
fn slices(all: &[(&str, Value)]) -> String {
    let slices = all.iter().enumerate().map(|(index, (family, endpoints))| {
        json!({"kind": "EndpointSlice", "addressType": family, "ports": [{"port": 8080}], "endpoints": endpoints,
            "metadata": {"name": format!("s-{index}"), "namespace": "here", "labels": {"kubernetes.io/service-name": "s"}}})
        .to_string()
    });
    slices.collect::<Vec<_>>().join("\n---\n")
}

fn service(spec: &Value) -> String {
    let mut all = json!({"ports": [{"port": 80}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"kind": "Service", "metadata": {"name": "s", "namespace": "here"}, "spec": all}).to_string()
}

fn refers(tls: &Value) -> String {
    backend("b", &json!({"serviceRef": {"name": "s", "port": 80}, "tls": tls}))
}

/// The endpoints that pods get, and how many are ready of how many.
fn served(compilation: &Compilation) -> (Vec<String>, (usize, usize)) {
    let verdict = &compilation.backends[&ObjectName::new("here", "b")];
    let snapshot = snapshot(compilation);
    let url = |target: &bridge_snapshot::Target| match target {
        bridge_snapshot::Target::Http(http) => http.url.clone(),
        other => panic!("{other:?}"),
    };
    let urls = snapshot.backends.iter().flat_map(|backend| backend.targets().map(url).collect::<Vec<_>>());
    (urls.collect(), (verdict.ready, verdict.total))
}

fn ready(addresses: &[&str]) -> Value {
    addresses.iter().map(|address| json!({"addresses": [address]})).collect()
}

#[test]
fn each_pod_of_two_families_is_one_endpoint() {
    let both = [("IPv6", ready(&["fd00::1", "fd00::2"])), ("IPv4", ready(&["10.0.0.1", "10.0.0.2"]))];
    let of = |families: Value, slices: String| {
        served(&world(&[OPEN, &service(&json!({ "ipFamilies": families })), &slices, &refers(&Value::Null)]))
    };
    let (urls, counts) = of(json!(["IPv6", "IPv4"]), slices(&both));
    assert_eq!(urls, ["http://[fd00::1]:8080/mcp", "http://[fd00::2]:8080/mcp"]);
    assert_eq!(counts, (2, 2));
    let (urls, counts) = of(json!(["IPv4", "IPv6"]), slices(&both));
    assert_eq!((urls.len(), counts), (2, (2, 2)));
    assert!(urls[0].starts_with("http://10.0.0.1:"), "{urls:?}");
    let (urls, counts) = of(json!(["IPv4"]), slices(&both[..1]));
    assert_eq!((urls.len(), counts), (2, (2, 2)), "there is no other family");
    let moving = [("IPv4", ready(&["10.0.0.1"])), ("IPv4", ready(&["10.0.0.1", "10.0.0.2"]))];
    assert_eq!(of(json!(["IPv4"]), slices(&moving)).1, (2, 2), "one is in two slices");
}

#[test]
fn an_encrypted_service_is_one_endpoint() {
    let three = slices(&[("IPv4", ready(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]))]);
    let compiled = world(&[OPEN, &service(&json!({})), &three, &refers(&json!({"mode": "Simple"}))]);
    assert_eq!(served(&compiled), (vec!["https://s.here.svc:80/mcp".to_owned()], (1, 1)));
}

#[test]
fn those_that_leave_serve_when_nobody_else_does() {
    let endpoint = |address: &str, ready: bool, serving: bool, terminating: bool| {
        json!({"addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating}})
    };
    let leaving = endpoint("10.0.0.1", false, true, true);
    let others = [endpoint("10.0.0.2", false, false, true), endpoint("10.0.0.3", false, false, false)];
    let of = |endpoints: Vec<Value>| {
        let slices = slices(&[("IPv4", endpoints.into())]);
        served(&world(&[OPEN, &service(&json!({})), &slices, &refers(&Value::Null)]))
    };
    let mut all = vec![leaving];
    all.extend(others);
    assert_eq!(of(all.clone()), (vec!["http://10.0.0.1:8080/mcp".to_owned()], (1, 3)));
    all.push(endpoint("10.0.0.4", true, true, false));
    assert_eq!(of(all), (vec!["http://10.0.0.4:8080/mcp".to_owned()], (1, 4)));
}

#[test]
fn a_service_does_not_lead_to_nodes_or_out_of_the_cluster() {
    for (family, address) in
        [("IPv4", "169.254.169.254"), ("IPv4", "168.63.129.16"), ("IPv6", "fd00:ec2::254")]
    {
        for tls in [Value::Null, json!({"mode": "Simple"})] {
            let slices = slices(&[(family, ready(&[address, "10.0.0.1", "fd00::1"]))]);
            let compiled = world(&[OPEN, &service(&json!({})), &slices, &refers(&tls)]);
            let (reason, message) = accepted(&compiled, "b");
            assert_eq!(reason, Accepted::Invalid, "{address} {tls}");
            assert!(message.starts_with("spec.serviceRef: an endpoint is"), "{message}");
        }
    }
    let name = json!({"type": "ExternalName", "externalName": "metadata.example.com"});
    for tls in [Value::Null, json!({"mode": "Simple"})] {
        let (reason, message) = accepted(&world(&[OPEN, &service(&name), &refers(&tls)]), "b");
        assert_eq!(reason, Accepted::Invalid);
        assert!(message.contains("Service here/s is an ExternalName"), "{message}");
    }
}

#[test]
fn a_defective_backend_leaves_its_name_to_the_next_one_and_not_to_a_service() {
    let named = |name: &str, created: &str, spec: Value| {
        let mut value: Value = serde_json::from_str(&backend(name, &spec)).unwrap();
        value["spec"]["toolNamespace"] = "t".into();
        value["metadata"]["creationTimestamp"] = created.into();
        value.to_string()
    };
    let defective = named("a", "2026-01-01T00:00:00Z", json!({"tools": {"includeRegex": ["("]}}));
    let good = named("b", "2026-01-02T00:00:00Z", json!({}));
    let compiled = world(&[OPEN, &defective, &good]);
    assert_eq!(
        (accepted(&compiled, "a").0, accepted(&compiled, "b").0),
        (Accepted::InvalidRegex, Accepted::Accepted)
    );
    assert_eq!(snapshot(&compiled).backends.len(), 1);
    let bearer = json!({"type": "Bearer", "bearer": {"secretRef": {"name": "none", "key": "k"}}});
    let waiting = named("a", "2026-01-01T00:00:00Z", json!({ "auth": bearer }));
    let compiled = world(&[OPEN, &waiting, &good]);
    assert_eq!(accepted(&compiled, "b").0, Accepted::ToolNamespaceConflict, "it comes with its Secret");
    let annotated = json!({"kind": "Service", "spec": {"ports": [{"port": 80}]}, "metadata": {"name": "s", "namespace": "here",
        "annotations": {"mcp.bridge/enabled": "true", "mcp.bridge/namespace": "t"}}});
    let compiled = world(&[OPEN, &defective, &annotated.to_string()]);
    assert_eq!(snapshot(&compiled).backends.len(), 0, "its filters do not hold for the Service");
    assert_eq!(compiled.gateways[&main_gateway()].ignored, 1);
}
