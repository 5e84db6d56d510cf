use super::*;

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A Service that is one, with further annotations.
fn service(further: &[(&str, &str)]) -> Reading {
    let mut annotations = map(&[(ENABLED, "true"), (NAMESPACE, "tools")]);
    annotations.extend(map(further));
    read(&annotations, &BTreeMap::new(), false)
}

/// The problem with the one wrong value of a Service that is served nevertheless.
fn problem(name: &str, value: &str) -> String {
    let Reading { backend, findings } = service(&[(name, value)]);
    assert!(backend.is_some(), "{name}: {value}");
    let [Finding { annotation, problem }] = &*findings else { panic!("{name}: {value}: {findings:?}") };
    assert_eq!(annotation, name);
    problem.clone()
}

#[test]
fn a_service_is_a_backend_when_it_says_so_exactly() {
    let on = map(&[(ENABLED, "true"), (NAMESPACE, "tools")]);
    let namespace = map(&[(NAMESPACE, "tools")]);
    let none = BTreeMap::new();
    let served =
        |annotations, labels, annotation_only| read(annotations, labels, annotation_only).backend.is_some();
    assert!(served(&on, &none, true));
    assert!(served(&namespace, &on, false), "by label");
    assert!(!served(&namespace, &on, true), "labels do not count");
    let off = map(&[(ENABLED, "false"), (NAMESPACE, "tools")]);
    assert!(!served(&off, &on, false), "who writes an annotation means it");
    for value in ["True", "1", "yes", "", " true"] {
        let off = map(&[(ENABLED, value), (NAMESPACE, "tools")]);
        assert_eq!(read(&off, &none, false), Reading::default(), "{value}");
    }
}

#[test]
fn a_service_without_a_tool_namespace_is_left_out() {
    let missing = read(&map(&[(ENABLED, "true")]), &BTreeMap::new(), false);
    assert_eq!(missing.backend, None);
    assert_eq!(missing.findings[0].problem, "missing; the Service is not served");
    for wrong in ["", "-a", "a-", "A", "a.b", &"a".repeat(64)] {
        let reading = service(&[(NAMESPACE, wrong)]);
        assert_eq!((reading.backend, reading.findings.len()), (None, 1), "{wrong}");
    }
    assert!(service(&[(NAMESPACE, &"a".repeat(63))]).backend.is_some());
}

#[test]
fn everything_that_can_be_said_is_read() {
    let Reading { backend, findings } = service(&[
        (
            TOOLS,
            r#"["plain", {"name": "full", "description": "d", "inputSchema": {"type":"object"}, "x": 1}]"#,
        ),
        (PROTOCOL, "wss"),
        (PATH, "/mcp"),
        (PORT, "8443"),
        (WEIGHT, "0"),
        (HEALTH_CHECK_PATH, "/healthz"),
        (HEALTH_CHECK_INTERVAL, "1m"),
        (GATEWAY, "mcp-system/main"),
        ("other.example/namespace", "x"),
    ]);
    assert_eq!(findings, []);
    let tool = |name: &str, description: Option<&str>, schema: Option<&str>| DeclaredTool {
        name: name.to_owned(),
        description: description.map(ToOwned::to_owned),
        input_schema: schema.map(ToOwned::to_owned),
    };
    let expected = Annotated {
        namespace: "tools".to_owned(),
        tools: vec![tool("plain", None, None), tool("full", Some("d"), Some(r#"{"type":"object"}"#))],
        protocol: Some(ServiceProtocol::Wss),
        path: Some("/mcp".to_owned()),
        port: Some(IntOrString::Int(8443)),
        weight: Some(0),
        health_check_path: Some("/healthz".to_owned()),
        health_check_interval: Some(TimeSpan::new("1m")),
        gateway: Some(GatewayName { namespace: Some("mcp-system".to_owned()), name: "main".to_owned() }),
    };
    assert_eq!(backend, Some(expected));
    let named = service(&[(PORT, "mcp-http"), (GATEWAY, "main")]).backend.unwrap();
    assert_eq!(named.port, Some(IntOrString::String("mcp-http".to_owned())));
    assert_eq!(named.gateway.unwrap().namespace, None);
}

#[test]
fn a_wrong_value_is_named_and_hides_nothing_else() {
    assert_eq!(
        problem(PROTOCOL, "grpc"),
        "allowed are http, https, ws, wss, sse, tcp and auto; `auto` counts"
    );
    let auto = service(&[(PROTOCOL, "grpc"), (PATH, "/a")]).backend.unwrap();
    assert_eq!((auto.protocol, auto.path.as_deref()), (Some(ServiceProtocol::Auto), Some("/a")));
    for tools in ["search", r#"{"name":"a"}"#, "[1]", r#"[{"description":"d"}]"#, "[\"a\""] {
        assert!(problem(TOOLS, tools).ends_with("; no tool is declared"), "{tools}");
    }
    for path in ["", "mcp", "/a b", "/a?b"] {
        problem(PATH, path);
        problem(HEALTH_CHECK_PATH, path);
    }
    for port in ["", "0", "65536", "-1", "8080x_", "averyveryverylongname", "-a"] {
        problem(PORT, port);
    }
    for weight in ["", "-1", "1001", "10%"] {
        problem(WEIGHT, weight);
    }
    for interval in ["", "30", "0s", "999ms", "2h"] {
        problem(HEALTH_CHECK_INTERVAL, interval);
    }
    for gateway in ["", "/", "a/", "/a", "a/b/c", "A"] {
        problem(GATEWAY, gateway);
    }
    assert_eq!(problem("mcp.bridge/wieght", "1"), "no such annotation; it has no effect");
}
