//! What annotated Services compile to, and which namespaces are admitted. Changes when discovery does.

use super::*;

fn annotated(name: &str, created: &str, extra: &Value) -> String {
    let mut annotations = json!({"mcp.bridge/enabled": "true", "mcp.bridge/namespace": "search", "mcp.bridge/protocol": "http"});
    annotations.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let metadata =
        json!({"name": name, "namespace": "here", "creationTimestamp": created, "annotations": annotations});
    let service = json!({"kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}});
    let labels = json!({"kubernetes.io/service-name": name});
    let address = format!("10.0.0.{}", name.len());
    let slice = json!({"kind": "EndpointSlice", "addressType": "IPv4", "ports": [{"port": 8080}],
        "metadata": {"name": name, "namespace": "here", "labels": labels}, "endpoints": [{"addresses": [address]}]});
    format!("{service}\n---\n{slice}")
}

/// Reasons and words that the owner of a Service is told.
fn notes(compilation: &Compilation, service: &str) -> Vec<String> {
    let notes = compilation.services.get(&ObjectName::new("here", service)).into_iter().flatten();
    notes.map(|note| format!("{}: {}", note.reason, note.message)).collect()
}

#[test]
fn services_of_one_name_are_one_backend_as_long_as_they_speak_the_same() {
    let (first, second) = (
        annotated("a", "2026-01-01T00:00:00Z", &json!({})),
        annotated("bb", "2026-01-02T00:00:00Z", &json!({})),
    );
    let other = annotated("ccc", "2026-01-03T00:00:00Z", &json!({"mcp.bridge/protocol": "ws"}));
    let compilation = world(&[OPEN, &first, &second, &other]);
    let backends = snapshot(&compilation).backends;
    assert_eq!((backends.len(), &*backends[0].namespace, backends[0].targets().count()), (1, "search", 2));
    assert_eq!(notes(&compilation, "a"), ["DiscoveredService: served as search"]);
    assert!(notes(&compilation, "ccc")[0].contains("here/a is older"), "{:?}", notes(&compilation, "ccc"));
    let plan = &compilation.gateways[&main_gateway()];
    assert_eq!((plan.services, plan.ignored), (2, 1));
}

#[test]
fn a_service_gives_way_to_a_backend_and_says_what_is_wrong_with_it() {
    let service = |extra: &Value| annotated("a", "2026-01-01T00:00:00Z", extra);
    let taken = world(&[OPEN, &service(&json!({})), &backend("search", &json!({}))]);
    assert!(
        notes(&taken, "a")[0].starts_with("ShadowedByBackend: McpBackend here/search"),
        "{:?}",
        notes(&taken, "a")
    );
    for (extra, served, told) in [
        (json!({"mcp.bridge/weight": "many"}), 1, "InvalidAnnotation: mcp.bridge/weight"),
        (json!({"mcp.bridge/namespace": "A B"}), 0, "InvalidAnnotation: mcp.bridge/namespace"),
        (json!({"mcp.bridge/port": "nowhere"}), 0, "RefInvalid: Service here/a has no port nowhere"),
        (json!({"mcp.bridge/gateway": "elsewhere"}), 0, ""),
        (json!({"mcp.bridge/gateway": "here/main"}), 1, "DiscoveredService"),
        (json!({"mcp.bridge/enabled": "yes"}), 0, ""),
    ] {
        let compilation = world(&[OPEN, &service(&extra)]);
        assert_eq!(snapshot(&compilation).backends.len(), served, "{extra}");
        let told_of = notes(&compilation, "a");
        assert!(
            told_of.iter().any(|note| note.starts_with(told)) || told.is_empty() && told_of.is_empty(),
            "{extra}: {told_of:?}"
        );
    }
    let closed = gateway(&json!({"discovery": {"services": {"enabled": false}}}));
    assert_eq!(snapshot(&world(&[&closed, &service(&json!({}))])).backends.len(), 0);
}

#[test]
fn services_of_another_namespace_get_no_share_of_a_teams_calls() {
    let all = gateway(&json!({"discovery": {"services": {"namespaces": {"from": "All"}}}}));
    let theirs = annotated("bb", "2026-01-02T00:00:00Z", &json!({})).replace("\"here\"", "\"there\"");
    let compilation = world(&[&all, &annotated("a", "2026-01-01T00:00:00Z", &json!({})), &theirs]);
    let backends = snapshot(&compilation).backends;
    assert_eq!((backends.len(), backends[0].targets().count()), (1, 1));
    let told = &compilation.services[&ObjectName::new("there", "bb")];
    assert!(told.iter().any(|note| note.warning && note.message.contains("Service here/a")), "{told:?}");
    assert_eq!(compilation.gateways[&main_gateway()].ignored, 1);
}

#[test]
fn a_gateway_does_not_find_itself_or_another() {
    let mut own: Value = serde_json::from_str(
        annotated("a", "2026-01-01T00:00:00Z", &json!({})).split("\n---\n").next().unwrap(),
    )
    .unwrap();
    own["metadata"]["labels"] = json!({"mcp.bridge/gateway-uid": "u1"});
    let compilation = world(&[OPEN, &own.to_string()]);
    assert_eq!(snapshot(&compilation).backends.len(), 0);
    assert!(
        notes(&compilation, "a")[0].contains("a gateway is no backend"),
        "{:?}",
        notes(&compilation, "a")
    );
}

#[test]
fn a_service_with_a_name_or_an_address_out_of_reach_is_not_served() {
    let service = annotated("a", "2026-01-01T00:00:00Z", &json!({}));
    for (from, to, words) in [
        ("10.0.0.1", "169.254.169.254", "addresses of the pod itself"),
        (r#""spec":{"#, r#""spec":{"type":"ExternalName","externalName":"x","#, "is an ExternalName"),
    ] {
        let compilation = world(&[OPEN, &service.replace(from, to)]);
        assert_eq!(snapshot(&compilation).backends.len(), 0, "{to}");
        let told = notes(&compilation, "a");
        assert!(told.iter().any(|note| note.starts_with("RefInvalid") && note.contains(words)), "{told:?}");
    }
}

#[test]
fn a_gateway_takes_from_the_namespaces_that_it_selects() {
    let spec = json!({
        "backends": {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"tenant": "yes"}}}},
        "discovery": {"services": {"namespaces": {"from": "All"}}},
    });
    let namespace = |name: &str, tenant: &str| {
        json!({"kind": "Namespace", "metadata": {"name": name, "labels": {"tenant": tenant}}}).to_string()
    };
    let there = |namespace: &str| {
        json!({"kind": "McpBackend", "metadata": {"name": "b", "namespace": namespace},
            "spec": {"gatewayRefs": [{"name": "main", "namespace": "here"}], "protocol": "StreamableHTTP",
                "toolNamespace": namespace, "endpoints": [{"url": "http://b.example.com"}]}})
        .to_string()
    };
    let service = annotated("a", "2026-01-01T00:00:00Z", &json!({})).replace("\"here\"", "\"anywhere\"");
    let documents = [
        &gateway(&spec),
        &namespace("in", "yes"),
        &namespace("out", "no"),
        &there("in"),
        &there("out"),
        &service,
    ];
    let compilation = world(&documents.map(String::as_str));
    let served: Vec<_> =
        snapshot(&compilation).backends.into_iter().map(|backend| backend.namespace).collect();
    assert_eq!(served, ["in", "search"]);
    let verdict = &compilation.backends[&ObjectName::new("out", "b")];
    assert_eq!(verdict.accepted.reason, Accepted::NotAllowedByGateway);
}
