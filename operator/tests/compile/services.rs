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

/// The tool namespaces that the gateway serves with this discovery of Services, and what the owner of one is told.
fn discovered(discovery: &Value, documents: &[&str], service: &str) -> (Vec<String>, Vec<String>) {
    let gateway = gateway(&json!({"discovery": {"services": discovery}}));
    let all: Vec<_> = [&*gateway].into_iter().chain(documents.iter().copied()).collect();
    let compilation = world(&all);
    let served = snapshot(&compilation).backends.into_iter().map(|backend| backend.namespace);
    (served.collect(), notes(&compilation, service))
}

fn labelled(name: &str, labels: &Value, extra: &Value) -> String {
    let documents = annotated(name, "2026-01-01T00:00:00Z", extra);
    let (service, slice) = documents.split_once("\n---\n").unwrap();
    let mut service: Value = serde_json::from_str(service).unwrap();
    service["metadata"]["labels"] = labels.clone();
    format!("{service}\n---\n{slice}")
}

#[test]
fn a_gateway_takes_the_services_with_the_labels_that_it_selects() {
    let exact = json!({"selector": {"matchLabels": {"tier": "gold"}}});
    let several = json!({"selector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["gold", "x"]}]}});
    let broken =
        json!({"selector": {"matchExpressions": [{"key": "tier", "operator": "Near", "values": ["gold"]}]}});
    let refusal = "NotAllowedByGateway: metadata.labels: gateway here/main takes no Service with these labels: see its \
                   spec.discovery.services.selector";
    let taken = "DiscoveredService: served as search";
    for (discovery, labels, served) in [
        (&exact, json!({"tier": "gold", "other": "x"}), true),
        (&exact, json!({"tier": "silver"}), false),
        (&exact, json!({}), false),
        (&several, json!({"tier": "x"}), true),
        (&json!({"selector": {}}), json!({}), true),
        (&broken, json!({"tier": "gold"}), false),
    ] {
        let (found, told) = discovered(discovery, &[&labelled("a", &labels, &json!({}))], "a");
        assert_eq!(found.len(), usize::from(served), "{discovery} {labels}");
        assert_eq!(told, [if served { taken } else { refusal }], "{discovery} {labels}");
    }
}

#[test]
fn a_gateway_takes_services_of_namespaces_by_name_and_by_pattern() {
    let discovery = json!({"namespaces": {"from": "Names", "names": ["team-*", "ops"]}});
    let namespaces = ["here", "my-team-a", "ops", "ops-2", "team-", "team-a", "team-b"];
    let services = namespaces.map(|namespace| {
        let service = annotated(
            "a",
            "2026-01-01T00:00:00Z",
            &json!({"mcp.bridge/namespace": namespace.trim_end_matches('-')}),
        );
        service.replace("\"namespace\":\"here\"", &format!("\"namespace\":\"{namespace}\""))
    });
    let (found, _) = discovered(&discovery, &services.each_ref().map(String::as_str), "a");
    assert_eq!(found, ["here", "ops", "team", "team-a", "team-b"]);
}

#[test]
fn a_gateway_admits_backends_of_namespaces_by_name_and_by_pattern() {
    let gateway = gateway(&json!({"backends": {"namespaces": {"from": "Names", "names": ["team-*"]}}}));
    for (namespace, reason) in [("team-a", Accepted::Accepted), ("teams", Accepted::NotAllowedByGateway)] {
        let mut backend: Value = serde_json::from_str(&backend("b", &json!({}))).unwrap();
        backend["metadata"]["namespace"] = namespace.into();
        backend["spec"]["gatewayRefs"] = json!([{"name": "main", "namespace": "here"}]);
        let compilation = world(&[&gateway, &backend.to_string()]);
        assert_eq!(compilation.backends[&ObjectName::new(namespace, "b")].accepted.reason, reason);
    }
}

#[test]
fn a_service_that_says_nothing_of_its_protocol_is_asked_unless_the_gateway_says_otherwise() {
    let kind = |discovery: Value, protocol: Value| {
        let mut service: Value = serde_json::from_str(
            annotated("a", "2026-01-01T00:00:00Z", &json!({})).split("\n---\n").next().unwrap(),
        )
        .unwrap();
        service["metadata"]["annotations"]["mcp.bridge/protocol"] = protocol;
        let annotations = service["metadata"]["annotations"].as_object_mut().unwrap();
        annotations.retain(|_, value| !value.is_null());
        let slice = annotated("a", "2026-01-01T00:00:00Z", &json!({}));
        let gateway = gateway(&json!({"discovery": {"services": discovery}}));
        let compilation = world(&[&gateway, &service.to_string(), slice.split_once("\n---\n").unwrap().1]);
        match snapshot(&compilation).backends[0].targets().next().unwrap() {
            Target::Detect(_) => "asked",
            Target::Http(_) => "http",
            _ => "other",
        }
    };
    let off = || json!({"detectProtocols": false});
    assert_eq!(kind(json!({}), Value::Null), "asked");
    assert_eq!(kind(json!({"detectProtocols": true}), Value::Null), "asked");
    assert_eq!(kind(off(), Value::Null), "http");
    assert_eq!(kind(off(), "auto".into()), "asked", "the Service has the last word");
    assert_eq!(kind(off(), "grpc".into()), "asked", "a wrong word is no wish for http");
    assert_eq!(kind(off(), "ws".into()), "other");
    assert_eq!(kind(json!({}), "http".into()), "http");
}

#[test]
fn a_service_hears_from_the_gateway_that_it_names_and_of_others_only_when_none_takes_it() {
    let names =
        |gateway: &str| annotated("a", "2026-01-01T00:00:00Z", &json!({"mcp.bridge/gateway": gateway}));
    let off = json!({"enabled": false});
    let (served, told) = discovered(&off, &[&names("main")], "a");
    assert_eq!(served, [] as [&str; 0]);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("NotAllowedByGateway: mcp.bridge/gateway: gateway here/main takes no Services"),
        "{told:?}"
    );
    let unnamed = annotated("a", "2026-01-01T00:00:00Z", &json!({}));
    assert_eq!(discovered(&off, &[&unnamed], "a").1, [] as [&str; 0], "it may mean another one");

    // A Service elsewhere.
    let there = names("here/main").replace("\"namespace\":\"here\"", "\"namespace\":\"there\"");
    let compilation = world(&[OPEN, &there]);
    let told = &compilation.services[&ObjectName::new("there", "a")];
    assert!(
        told.iter().all(|note| note.warning && note.message.contains("does not admit this namespace")),
        "{told:?}"
    );
    assert_eq!(compilation.gateways[&main_gateway()].ignored, 0, "strangers do not change its status");

    // Another gateway takes what this one refuses, also one of another installation.
    let gold = json!({"selector": {"matchLabels": {"tier": "gold"}}});
    let silver = labelled("a", &json!({"tier": "silver"}), &json!({}));
    for class in [Value::Null, "other".into()] {
        let mut other: Value = serde_json::from_str(&gateway(&json!({"className": class}))).unwrap();
        other["metadata"]["name"] = "any".into();
        let (_, told) = discovered(&gold, &[&silver, &other.to_string()], "a");
        assert!(told.iter().all(|note| note.starts_with("DiscoveredService")), "{class}: {told:?}");
    }
}
