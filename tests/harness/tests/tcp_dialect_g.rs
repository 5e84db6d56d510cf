//! The binary protocol as the original gateway speaks it (dialect G): handshake, requests, health, shutdown. Changes with
//! the order of its events.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};

use anyhow::{Context as _, Result, ensure};
use bridge_tests::binary::kind;
use bridge_tests::metrics::Metrics;
use bridge_tests::process::Signal;
use bridge_tests::tokens::Issuer;
use bridge_tests::{Binary, Config, Era, Gateway, PATIENCE, Peer, TestServer};
use serde_json::{Value, json};

const SECRET: &str = "a secret of thirty-two bytes, ok";

fn config() -> Config {
    Config::new().set("server", "protocol", "both".into())
}

fn tcp(gateway: &Gateway) -> Result<SocketAddr> {
    gateway.wait_listener("tcp")
}

/// A gateway that wants tokens, over a fixture in namespace `k8s`.
fn guarded(changes: &Value) -> Result<(TestServer, Gateway)> {
    let fixture = TestServer::http(Era::Both)?;
    let mut auth = json!({ "provider": "jwt", "jwt": { "secret_key_env": "TCP_TEST_SECRET" } });
    for (key, value) in changes.as_object().into_iter().flatten() {
        auth[key] = value.clone();
    }
    let config = format!("{}auth: {auth}\n", config().http("k8s", fixture.url()).to_yaml());
    let gateway = Gateway::start_with(&config, &[], &[("TCP_TEST_SECRET", SECRET)])?;
    gateway.wait_backends("legacy", &["k8s"])?;
    Ok((fixture, gateway))
}

fn error_text(response: &Value) -> &str {
    response["error"]["message"].as_str().unwrap_or_default()
}

fn echo(text: &str) -> Value {
    json!({ "namespace": "k8s", "name": "echo", "arguments": { "message": text } })
}

#[test]
fn a_client_shakes_hands_lists_calls_and_checks_health() -> Result<()> {
    let (_fixture, gateway) = guarded(&json!({}))?;
    let issuer = Issuer::secret(SECRET);
    let mut client = Binary::g(tcp(&gateway)?)?;
    client.negotiate()?;
    let response = client.call("tools/list", &json!({ "namespace": "k8s" }), &json!({}))?;
    ensure!(response["error"]["code"] == -32603, "{response}");
    ensure!(error_text(&response) == "Unauthorized: must initialize first", "{response}");

    let response = client.initialize(&issuer.token("ann")?)?;
    let session = response["result"]["sessionId"].as_str().context("a session id")?;
    ensure!(session.len() == 32 && session.bytes().all(|byte| byte.is_ascii_hexdigit()), "{response}");
    let expires = response["result"]["expiresAt"].as_str().context("an expiry")?;
    ensure!(expires.starts_with("20") && expires.contains('.') && expires.ends_with('Z'), "{expires}");

    let response = client.call("tools/list", &json!({ "namespace": "k8s" }), &json!({}))?;
    let tools = response["result"]["tools"].as_array().context("tools")?;
    ensure!(tools.iter().any(|tool| tool["name"] == "echo"), "{response}");
    let response = client.call("tools/call", &echo("hallo"), &json!({}))?;
    ensure!(response["result"]["content"][0]["text"] == "hallo", "{response}");

    client.send(kind::HEALTH, b"")?;
    ensure!(client.expect(kind::HEALTH)?.payload.is_empty(), "an empty sign of life");
    client.send(kind::NEGOTIATION, br#"{"max_version":1}"#)?;
    ensure!(client.expect(kind::ERROR)?.payload == b"Version already negotiated");
    client.send(kind::RESPONSE, b"{}")?;
    ensure!(client.expect(kind::ERROR)?.payload == b"Unexpected response message from client");

    let response = client.call("tools/list", &json!({ "namespace": "nowhere" }), &json!({}))?;
    ensure!(response["error"]["code"] == -32603, "{response}");
    ensure!(error_text(&response).starts_with("Routing failed: "), "{response}");
    Ok(())
}

#[test]
fn a_thousand_concurrent_calls_keep_their_ids() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let gateway = Gateway::start(&config().http("k8s", fixture.url()))?;
    gateway.wait_backends("legacy", &["k8s"])?;
    let mut client = Binary::g(tcp(&gateway)?)?;
    client.negotiate()?;
    let mut waiting = BTreeMap::new();
    let mut frames = Vec::new();
    for number in 0..1000 {
        let id = if number % 2 == 0 { json!(number) } else { json!(format!("req.{number}:x")) };
        let text = format!("text {number}");
        let request = json!({ "jsonrpc": "2.0", "method": "tools/call", "params": echo(&text), "id": id });
        frames.extend(client.frame(kind::REQUEST, request.to_string().as_bytes())?);
        waiting.insert(id.to_string(), text);
    }
    client.send_raw(&frames)?;
    for _ in 0..1000 {
        let response = client.response()?;
        let text = waiting.remove(&response["id"].to_string());
        let text = text.with_context(|| format!("answered twice, or never asked: {response}"))?;
        ensure!(response["result"]["content"][0]["text"] == *text, "{response}");
    }
    Ok(())
}

#[test]
fn tokens_are_judged_at_the_handshake_and_beside_messages() -> Result<()> {
    let (_fixture, gateway) = guarded(&json!({ "per_message_auth": true }))?;
    let issuer = Issuer::secret(SECRET);
    let mut refused = Binary::g(tcp(&gateway)?)?;
    refused.negotiate()?;
    let response = refused.call("initialize", &json!({ "token": 7 }), &json!({}))?;
    ensure!(error_text(&response).starts_with("Invalid token: "), "{response}");
    let response = refused.initialize(&Issuer::secret("another secret").token("ann")?)?;
    ensure!(error_text(&response) == "Authentication failed", "{response}");
    refused.expect_end()?;

    let mut client = Binary::g(tcp(&gateway)?)?;
    client.negotiate()?;
    client.initialize(&issuer.token("ann")?)?;
    let wrapped = |token: &str, name: &str| {
        let request = json!({ "jsonrpc": "2.0", "method": "tools/call", "params": echo("x"), "id": 2 });
        json!({ "auth_token": token, name: request }).to_string().into_bytes()
    };
    for name in ["message", "request"] {
        client.send(kind::REQUEST, &wrapped(&format!("Bearer {}", issuer.token("ann")?), name))?;
        let response = client.response()?;
        ensure!(response["result"]["content"][0]["text"] == "x", "{response}");
    }
    client.send(kind::REQUEST, &wrapped(&issuer.token("bob")?, "message"))?;
    let response = client.response()?;
    ensure!(error_text(&response) == "Per-message authentication failed", "{response}");
    client.expect_end()
}

#[test]
fn a_shutdown_is_announced_and_waits_for_calls_in_flight() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let gateway = Gateway::start(&config().http("k8s", fixture.url()))?;
    gateway.wait_backends("legacy", &["k8s"])?;
    let mut client = Binary::g(tcp(&gateway)?)?;
    client.negotiate()?;
    let slow = json!({ "namespace": "k8s", "name": "sleep", "arguments": { "ms": 4000 } });
    client.request(&json!(1), "tools/call", &slow, &json!({}))?;
    // Served, once something behind it is answered.
    client.request(&json!(2), "tools/list", &json!({ "namespace": "k8s" }), &json!({}))?;
    ensure!(client.response()?["id"] == 2);
    let mut idle = Binary::g(tcp(&gateway)?)?;
    idle.negotiate()?;
    let mut gateway = gateway;
    gateway.process().signal(Signal::TERM)?;
    let announced = br#"{"command":"shutdown","reason":"server shutting down"}"#;
    for connection in [&mut idle, &mut client] {
        ensure!(connection.expect(kind::CONTROL)?.payload == announced);
    }
    idle.expect_end()?;
    client.request(&json!(3), "tools/list", &json!({ "namespace": "k8s" }), &json!({}))?;
    let response = client.response()?;
    ensure!(response["id"] == 3 && error_text(&response) == "Server shutting down", "{response}");
    ensure!(response["error"]["data"]["retry"] == "safe", "{response}");
    let response = client.response()?;
    ensure!(response["id"] == 1 && response.get("result").is_some(), "{response}");
    client.expect_end()?;
    ensure!(gateway.process().wait_exit(PATIENCE)?.success());
    Ok(())
}

#[test]
fn the_health_port_answers_one_check_per_connection() -> Result<()> {
    let config = config().set("server", "tcp_health_port", free_port()?.into());
    let gateway = Gateway::start(&config)?;
    let health = gateway.wait_listener("tcp-health")?;
    let check = |payload: &[u8]| -> Result<Value> {
        let mut client = Binary::g(health)?;
        client.send(kind::HEALTH, payload)?;
        let answer = client.expect(kind::HEALTH)?.json()?;
        client.expect_end()?;
        Ok(answer)
    };
    ensure!(check(br#"{"check":"simple"}"#)? == json!({ "healthy": true }));
    let whole = check(b"")?;
    ensure!(whole["healthy"] == true && whole["timestamp"].is_u64(), "{whole}");
    for name in ["service_discovery", "endpoints", "tcp_service"] {
        let check = &whole["checks"][name];
        ensure!(check["healthy"] == true && check["message"].is_string(), "{name}: {whole}");
        ensure!(check["last_check"].is_string(), "{name}: {whole}");
    }
    let mut other = Binary::g(health)?;
    other.send(kind::REQUEST, b"{}")?;
    other.expect_end()?;
    Ok(())
}

#[test]
fn a_client_of_the_protocol_itself_gets_questions_and_notifications() -> Result<()> {
    let stdio = TestServer::stdio(Era::Both)?;
    let gateway = Gateway::start(&config().stdio("child", &stdio))?;
    for era in ["legacy", "modern"] {
        gateway.wait_backends(era, &["child"])?;
    }
    let mut wire = Binary::g(tcp(&gateway)?)?;
    wire.negotiate()?;
    let mut client = Peer::new(wire);
    let discovered = client.modern("server/discover", &json!({}))?;
    ensure!(discovered["supportedVersions"].to_string().contains("2026-07-28"), "{discovered}");
    let opened = client.initialize(&json!({ "sampling": {} }))?;
    ensure!(opened["protocolVersion"] == "2025-11-25", "{opened}");
    let id =
        client.start("tools/call", &json!({ "name": "test_sampling", "arguments": { "prompt": "how?" } }))?;
    let question = client.wait(|message| message["method"] == "sampling/createMessage")?;
    let answer = json!({
        "role": "assistant", "model": "m", "content": { "type": "text", "text": "so" },
    });
    client.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": answer }))?;
    let answered = client.answer(&id)?;
    ensure!(answered.to_string().contains("so"), "{answered}");
    Ok(())
}

#[test]
fn the_metrics_count_what_tcp_clients_do() -> Result<()> {
    let (gateway, metrics) = Metrics::start(&config())?;
    let mut client = Binary::g(tcp(&gateway)?)?;
    client.negotiate()?;
    client.send(kind::HEALTH, b"")?;
    client.expect(kind::HEALTH)?;
    let mut wrong = Binary::g(tcp(&gateway)?)?;
    wrong.send_raw(b"GET / HTTP/1.1\r\n\r\n")?;
    wrong.expect_end()?;
    for (series, value) in [
        ("mcp_gateway_tcp_connections_total", 2),
        ("mcp_gateway_tcp_connections_active", 1),
        (r#"mcp_gateway_tcp_messages_total{direction="inbound",type="version_negotiation"}"#, 1),
        (r#"mcp_gateway_tcp_messages_total{direction="outbound",type="version_ack"}"#, 1),
        (r#"mcp_gateway_tcp_messages_total{direction="inbound",type="health_check"}"#, 1),
        (r#"mcp_gateway_tcp_bytes_total{direction="inbound"}"#, 104),
        (r#"mcp_gateway_tcp_bytes_total{direction="outbound"}"#, 44),
        (r#"mcp_gateway_tcp_protocol_errors_total{error_type="receive_error"}"#, 1),
    ] {
        metrics.wait(series, value)?;
    }
    ensure!(metrics.text()?.contains("mcp_gateway_tcp_message_duration_seconds_bucket{message_type="));
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
