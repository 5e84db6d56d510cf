//! Who may connect over WebSocket, what a message may cost, and how connections end. Changes when a limit or an end does.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::metrics::Metrics;
use bridge_tests::websocket::CloseCode;
use bridge_tests::{Config, Era, Gateway, PATIENCE, Peer, TestServer, WebSocket};
use serde_json::{Value, json};

fn call(name: &str, arguments: &Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}

fn refused(gateway: &Gateway, headers: &[(&str, &str)]) -> Result<u16> {
    let refused = WebSocket::open(&gateway.url("/mcp"), headers)?.err().context("refused")?;
    Ok(refused.head.status)
}

#[test]
fn the_guard_judges_the_upgrade() -> Result<()> {
    let gateway = Gateway::start(&Config::new())?;
    for foreign in ["https://evil.example", "null"] {
        ensure!(refused(&gateway, &[("Origin", foreign)])? == 403, "{foreign}");
    }
    let local = WebSocket::open(&gateway.url("/mcp"), &[("Origin", "http://localhost:3000")])?;
    ensure!(local.is_ok(), "a local page");
    Ok(())
}

#[test]
fn a_listener_speaks_what_it_is_told_to() -> Result<()> {
    let http = Gateway::start(&Config::new().set("server", "protocol", json!("http")))?;
    let answer = WebSocket::open(&http.url("/mcp"), &[])?.err().context("no upgrade")?;
    ensure!(answer.head.status == 405, "an ordinary GET without a session: {:?}", answer.head);
    let websocket = Gateway::start(&Config::new().set("server", "protocol", json!("websocket")))?;
    ensure!(bridge_tests::http::get(&websocket.url("/mcp"))?.head.status == 404, "no HTTP");
    ensure!(bridge_tests::http::get(&websocket.url("/health"))?.head.status == 200, "but the health page");
    WebSocket::connect(&websocket.url("/mcp"))?;
    Ok(())
}

#[test]
fn a_message_over_the_limit_closes_with_1009() -> Result<()> {
    let gateway = Gateway::start(&Config::new().set("limits", "max_message", json!(4096)))?;
    let mut client = Peer::new(WebSocket::connect(&gateway.url("/mcp"))?);
    client.initialize(&json!({}))?;
    let params = json!({ "padding": "x".repeat(5000) });
    client.start("tools/list", &params)?;
    ensure!(client.read()?.is_none(), "nothing but the close");
    let (code, reason) = client.wire().closed().context("a close frame")?;
    ensure!(*code == CloseCode::Size && reason.contains("4096"), "{code} {reason}");
    Ok(())
}

#[test]
fn pings_are_answered_and_other_frames_ignored() -> Result<()> {
    let gateway = Gateway::start(&Config::new())?;
    let mut client = Peer::new(WebSocket::connect(&gateway.url("/mcp"))?);
    client.wire().ping(b"are you there")?;
    client.wire().send_binary(b"\x00\x01")?;
    ensure!(client.call("ping", &json!({}))? == json!({}), "a binary message changes nothing");
    client.wire().close()?;
    Ok(())
}

#[test]
fn connections_of_both_kinds_share_their_limit() -> Result<()> {
    let config = Config::new().set("server", "max_connections", json!(2));
    let gateway = Gateway::start(&config)?;
    let first = connect_when_free(&gateway)?;
    let _second = connect_when_free(&gateway)?;
    ensure!(refused(&gateway, &[])? == 503, "a third");
    first.cut()?;
    connect_when_free(&gateway)?;
    Ok(())
}

/// Others' slots are given back a moment after their sockets close.
fn connect_when_free(gateway: &Gateway) -> Result<WebSocket> {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        if let Ok(Ok(socket)) = WebSocket::open(&gateway.url("/mcp"), &[]) {
            return Ok(socket);
        }
        ensure!(std::time::Instant::now() < deadline, "no slot became free");
    }
}

#[test]
fn a_client_that_reads_slowly_slows_itself_only() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let gateway = Gateway::start(&Config::new().http("web", fixture.url()))?;
    gateway.wait_backends("legacy", &["web"])?;
    let mut slow = Peer::new(WebSocket::connect(&gateway.url("/mcp/web"))?);
    slow.initialize(&json!({}))?;
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(slow.start("tools/call", &call("big", &json!({ "bytes": 1_000_000 })))?);
    }
    let mut quick = Peer::new(WebSocket::connect(&gateway.url("/mcp/web"))?);
    quick.initialize(&json!({}))?;
    let echoed = quick.call("tools/call", &call("echo", &json!({ "message": "quick" })))?;
    ensure!(echoed["content"][0]["text"] == "quick", "{echoed}");
    for id in &ids {
        let answer = slow.answer(id)?;
        let text = answer["result"]["content"][0]["text"].as_str().context("a text")?;
        ensure!(text.len() == 1_000_000, "{} bytes", text.len());
    }
    Ok(())
}

#[test]
fn a_drain_lets_a_call_finish_refuses_others_and_closes() -> Result<()> {
    let mut fixture = TestServer::http(Era::Both)?;
    let gateway = Gateway::start(&Config::new().http("web", fixture.url()))?;
    gateway.wait_backends("legacy", &["web"])?;
    let mut client = Peer::new(WebSocket::connect(&gateway.url("/mcp/web"))?);
    client.initialize(&json!({}))?;
    let id = client.start("tools/call", &call("sleep", &json!({ "ms": 1500 })))?;
    fixture.process().wait_line(PATIENCE, |line| line.contains("sleep started").then_some(()))?;
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| gateway.stop(PATIENCE));
        gateway.wait_log(PATIENCE, |line| line["msg"] == "draining")?;
        let late = client.request("tools/list", &json!({}))?;
        ensure!(late["error"]["data"]["reason"] == "shutting_down", "{late}");
        let answer = client.answer(&id)?;
        ensure!(answer["result"].to_string().contains("Slept"), "{answer}");
        ensure!(client.read()?.is_none(), "then it closes");
        let (code, _) = client.wire().closed().context("a close frame")?;
        ensure!(*code == CloseCode::Away, "{code}");
        let exit = stopping.join().map_err(|_| anyhow::anyhow!("stopping panicked"))??;
        ensure!(exit.success(), "{exit}");
        Ok(())
    })
}

#[test]
fn messages_and_bytes_are_counted() -> Result<()> {
    let (gateway, metrics) = Metrics::start(&Config::new())?;
    let mut client = Peer::new(WebSocket::connect(&gateway.url("/mcp"))?);
    client.call("ping", &json!({}))?;
    let messages = |direction: &str, kind: &str| {
        format!("mcp_gateway_websocket_messages_total{{direction=\"{direction}\",type=\"{kind}\"}}")
    };
    metrics.wait(&messages("inbound", "text"), 1)?;
    metrics.wait(&messages("outbound", "text"), 1)?;
    ensure!(metrics.value("mcp_gateway_websocket_bytes_total{direction=\"inbound\"}")? > 20, "bytes");
    client.wire().close()?;
    metrics.wait(&messages("inbound", "close"), 1)?;
    metrics.wait("mcp_gateway_connections_active", 0)?;
    Ok(())
}

#[test]
fn a_peer_that_answers_no_ping_is_given_up() -> Result<()> {
    let config = Config::new().set("server", "ping_interval", json!("200ms"));
    let (gateway, metrics) = Metrics::start(&config)?;
    // It never reads, so it never answers.
    let _silent = WebSocket::connect(&gateway.url("/mcp"))?;
    metrics.wait("mcp_gateway_connections_active", 1)?;
    metrics.wait("mcp_gateway_connections_active", 0)?;
    Ok(())
}

#[test]
fn the_end_of_the_connection_ends_its_sessions() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let (gateway, metrics) = Metrics::start(&Config::new().http("web", fixture.url()))?;
    gateway.wait_backends("legacy", &["web"])?;
    let mut client = Peer::new(WebSocket::connect(&gateway.url("/mcp/web"))?);
    client.initialize(&json!({}))?;
    metrics.wait("mcp_gateway_sessions_active", 1)?;
    client.start("tools/call", &call("sleep", &json!({ "ms": 600_000 })))?;
    drop(client);
    metrics.wait("mcp_gateway_sessions_active", 0)?;
    ensure!(gateway.stop(Duration::from_secs(20))?.success(), "nothing holds the stop up");
    Ok(())
}
