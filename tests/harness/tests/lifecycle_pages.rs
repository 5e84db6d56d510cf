//! What the process tells its operators: metrics, health, logs; and what it never tells. Changes when one of the pages
//! does.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bridge_tests::http::{Connection, Url, get};
use bridge_tests::metrics::{Metrics, pause};
use bridge_tests::raw::Request;
use bridge_tests::{
    Backend, Config, Era, Gateway, LegacySession, ModernClient, PATIENCE, TempDir, TestServer,
};
use serde_json::{Value, json};

fn echo(text: &str) -> Value {
    json!({ "name": "echo", "arguments": { "message": text } })
}

#[test]
fn metrics_count_what_happened_under_the_names_of_the_original() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let stdio = TestServer::stdio(Era::Both)?;
    let config = Config::new()
        .http("web", fixture.url())
        .stdio("child", &stdio)
        .http("dead", "http://127.0.0.1:1/mcp")
        .set("server", "max_connections_per_ip", json!(8));
    let (gateway, metrics) = Metrics::start(&config)?;
    gateway.wait_backends("legacy", &["web", "child"])?;
    gateway.wait_backends("modern", &["web", "child"])?;
    let count = |series: &str| metrics.value(series);
    let before = count("mcp_gateway_connections_total")?;

    let mut modern = ModernClient::new(&gateway.url("/mcp/web"), &json!({}))?;
    let mut legacy = LegacySession::open(&gateway.url("/mcp/child"), &json!({}))?;
    for _ in 0..7 {
        modern.request("tools/call", &echo("x"))?.into_result()?;
        legacy.request("tools/call", &echo("x"))?.into_result()?;
    }
    for _ in 0..3 {
        ModernClient::new(&gateway.url("/mcp/dead"), &json!({}))?
            .request("tools/call", &echo("x"))?
            .into_error()?;
    }
    ModernClient::new(&gateway.url("/mcp"), &json!({}))?
        .request("tools/call", &json!({ "name": "nobody" }))?;
    legacy.request("made/up", &json!({}))?;
    Request::post("{").send(&gateway.url("/mcp"))?;
    Request::post("{}").with("Origin", "http://evil.example").send(&gateway.url("/mcp"))?;
    get(&gateway.url("/no/such/path"))?;

    assert_eq!(count(r#"mcp_gateway_requests_total{method="tools/call",status="success"}"#)?, 14);
    assert_eq!(count(r#"mcp_gateway_requests_total{method="tools/call",status="error"}"#)?, 4);
    assert_eq!(count(r#"mcp_gateway_requests_total{method="initialize",status="success"}"#)?, 1);
    assert_eq!(
        count(r#"mcp_gateway_request_duration_seconds_count{method="tools/call",status="success"}"#)?,
        14
    );
    assert_eq!(count(r#"mcp_gateway_routing_errors_total{reason="backend_unavailable"}"#)?, 3);
    assert_eq!(count(r#"mcp_gateway_routing_errors_total{reason="unknown_target"}"#)?, 1);
    assert_eq!(count(r#"mcp_gateway_errors_by_type_total{type="bad_message"}"#)?, 1);
    assert_eq!(count(r#"mcp_gateway_errors_by_type_total{type="foreign_origin"}"#)?, 1);
    assert_eq!(count(r#"mcp_gateway_errors_by_type_total{type="unknown_path"}"#)?, 1);
    assert!(count("mcp_gateway_connections_total")? >= before + 20);
    // The other backend is the same server, which lists as much.
    let tools = i64::try_from(legacy.list("tools/list", "tools")?.len())?;
    assert!(tools > 40, "{tools} tools");
    metrics.wait("mcp_gateway_sessions_active", 1)?;
    metrics.wait("mcp_gateway_requests_in_flight", 0)?;
    metrics.wait("mcp_gateway_connections_active", 0)?;
    metrics.wait(r#"mcp_gateway_backend_tools{backend="web",era="legacy"}"#, tools)?;

    let url = Url::parse(&gateway.url("/mcp"))?;
    let mut held: Vec<_> = (0..8).map(|_| Connection::open_url(&url)).collect::<Result<_>>()?;
    metrics.wait("mcp_gateway_connections_active", 8)?;
    let mut ninth = Connection::open_url(&url)?;
    assert_eq!(ninth.read_head()?.status, 429);
    assert_eq!(count("mcp_gateway_connections_rejected_total")?, 1);
    held.clear();
    metrics.wait("mcp_gateway_connections_active", 0)?;

    // Nothing that a client invents becomes a label.
    let text = metrics.text()?;
    for invented in ["made/up", "nobody", "/no/such/path", "evil.example"] {
        assert!(!text.contains(invented), "{invented} in {text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("mcp_gateway_") || line.starts_with("process_"), "{line}");
    }
    legacy.delete()?;
    metrics.wait("mcp_gateway_sessions_active", 0)
}

#[test]
fn health_judges_backends_and_readiness_does_not() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let config = Config::new().http("dead", "http://127.0.0.1:1/mcp").http("web", fixture.url());
    let (gateway, metrics) = Metrics::start(&config)?;
    gateway.wait_backends("modern", &["web"])?;
    let deadline = Instant::now() + PATIENCE;
    let page = loop {
        let page = get(&metrics.url("/health"))?;
        let body = page.json()?;
        if body["subsystems"]["backends"]["dead"]["state"] == "unhealthy"
            && body["subsystems"]["backends"]["web"]["state"] == "healthy"
        {
            break page;
        }
        ensure!(Instant::now() < deadline, "{body}");
        pause(Duration::from_millis(20));
    };
    let body = page.json()?;
    assert_eq!(page.head.status, 200, "one backend of two is enough to be useful");
    assert_eq!((&body["endpoints"], &body["healthy_endpoints"]), (&json!(2), &json!(1)), "{body}");
    assert_eq!(get(&gateway.url("/health"))?.head.status, 200);
    drop(fixture);

    let (_alone, metrics) = Metrics::start(&Config::new().http("dead", "http://127.0.0.1:1/mcp"))?;
    let deadline = Instant::now() + PATIENCE;
    while get(&metrics.url("/health"))?.head.status != 503 {
        ensure!(Instant::now() < deadline, "every backend is dead, and /health is content");
        pause(Duration::from_millis(20));
    }
    assert_eq!(get(&metrics.url("/ready"))?.head.status, 200);
    assert_eq!(get(&metrics.url("/healthz"))?.head.status, 200);
    Ok(())
}

#[test]
fn secrets_are_told_to_backends_and_to_nobody_else() -> Result<()> {
    let (header, from_env, variable) = ("hunter2-header", "hunter3-from-env", "hunter4-variable");
    let fake = bridge_tests::fake::Fake::legacy(|_| {
        // A server that throws the secret back in an error page.
        bridge_tests::fake::Act::reply(500, "text/html", "<h1>bad token hunter2-header</h1>")
    })?;
    let server = TestServer::stdio(Era::Both)?;
    let mut chatty = vec!["sh", "-c", "echo \"my token is $TOKEN\" >&2; echo \"$TOKEN\"; exec \"$@\"", "sh"];
    chatty.extend(server.iter().map(String::as_str));
    let config = Config::new()
        .backend(
            Backend::http("web", &fake.url())
                .era("legacy")
                .config("headers", json!({ "Authorization": header, "X-Key": { "env": "WEB_KEY" } })),
        )
        .backend(
            Backend::http("dead", "http://127.0.0.1:1/mcp")
                .config("headers", json!({ "Authorization": header })),
        )
        .backend(Backend::stdio("child", &chatty).env("TOKEN", variable))
        .backend(Backend::stdio("missing", &["/no/such/program"]).env("TOKEN", variable));
    let dir = TempDir::new("secrets")?;
    drop(dir);
    let gateway =
        Gateway::start_with(&config.to_yaml(), &["--log-level", "trace"], &[("WEB_KEY", from_env)])?;
    let mut seen = String::new();
    let mut session = LegacySession::open(&gateway.url("/mcp/web"), &json!({}))?;
    seen.push_str(&session.request("tools/call", &json!({ "name": "work" }))?.message.to_string());
    for name in ["dead", "missing", "child", "web"] {
        let mut client = ModernClient::new(&gateway.url(&format!("/mcp/{name}")), &json!({}))?;
        let reply = client.request("tools/call", &json!({ "name": "work" }))?;
        seen.push_str(&reply.message.to_string());
    }
    let mut child = LegacySession::open(&gateway.url("/mcp/child"), &json!({}))?;
    let names = child.request("tools/call", &json!({ "name": "env_names" }))?.into_result()?;
    assert!(names.to_string().contains("TOKEN"), "{names}");
    seen.push_str(&String::from_utf8_lossy(&get(&gateway.url("/health"))?.body));
    gateway.rewrite_config(&config.clone().set("limits", "keep_alive", json!("16s")).to_yaml())?;
    gateway.wait_log(PATIENCE, |line| line["msg"] == "configuration loaded")?;
    gateway.wait_log(PATIENCE, |line| line.to_string().contains("my token is"))?;

    let asked = fake.wait_asked(|asked| asked.method() == "tools/call")?;
    assert_eq!((asked.header("authorization"), asked.header("x-key")), (Some(header), Some(from_env)));
    let id = session.id().context("session")?.to_owned();
    let mut gateway = gateway;
    seen.push_str(&gateway.process().log().join("\n"));
    for secret in [header, from_env, variable, &id, child.id().context("session")?] {
        assert!(!seen.contains(secret), "{secret} was told: {}", around(&seen, secret));
    }
    Ok(())
}

fn around<'a>(text: &'a str, what: &str) -> &'a str {
    let at = text.find(what).unwrap_or_default();
    let start = text[..at].rfind('\n').unwrap_or_default();
    text[start..].trim_start().lines().next().unwrap_or_default()
}

#[test]
fn a_secret_in_the_wrong_place_is_not_quoted() -> Result<()> {
    let dir = TempDir::new("misplaced")?;
    let secret = "hunter2";
    for backend in [
        json!({ "name": "a", "protocol": "http", "config": { "base_url": format!("http://user:{secret}@host.example/mcp") } }),
        json!({ "name": "a", "protocol": "http", "config": { "base_url": "http://h.example", "headers": { "X": [secret] } } }),
        json!({ "name": "a", "protocol": "http", "config": { "base_url": "http://h.example", "headers": { "X": format!("{secret}\nY: z") } } }),
        json!({ "name": "a", "protocol": "stdio", "config": { "command": ["cat"], "env": { "T": { "value": secret } } } }),
        json!({ "name": "a", "protocol": "stdio", "config": { "command": format!("server --token={secret}") } }),
    ] {
        let text = format!("version: 1\nserver: {{ host: 127.0.0.1 }}\nbackends:\n  - {backend}\n");
        let file = dir.write("gateway.yaml", &text)?;
        let mut command = std::process::Command::new(bridge_tests::gateway::binary("mcp-gateway")?);
        command.args(["check", "--config"]).arg(&file);
        let process = bridge_tests::Process::spawn("check", &command)?;
        process.wait_exit(PATIENCE)?;
        let said = process.log().join("\n");
        ensure!(!said.is_empty() && !said.contains(secret), "{said}");
    }
    Ok(())
}
