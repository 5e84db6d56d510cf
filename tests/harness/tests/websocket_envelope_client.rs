//! A client of the original gateway's envelope from its first message to the gateway's stop. Changes with what such clients
//! do in the course of a connection.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::peer::Wire as _;
use bridge_tests::process::Signal;
use bridge_tests::websocket::CloseCode;
use bridge_tests::{Backend, Config, Era, Gateway, PATIENCE, TestServer, WebSocket, http};
use serde_json::{Value, json};

const AT_ONCE: usize = 1000;

/// What the original's own client puts around a message.
fn send(socket: &mut WebSocket, id: &Value, method: &str, params: &Value) -> Result<()> {
    let envelope = json!({
        "id": id,
        "timestamp": "2025-01-01T00:00:00Z",
        "source": "local-router",
        "target_namespace": "system",
        "mcp_payload": { "jsonrpc": "2.0", "id": id, "method": method, "params": params },
    });
    socket.send(&envelope.to_string())
}

/// The next message, taken out of its envelope, whose id has to be the same.
fn receive(socket: &mut WebSocket) -> Result<Value> {
    let text = socket.read()?.context("the connection ended")?;
    let mut envelope: Value = serde_json::from_str(&text)?;
    ensure!(envelope["source"] == "gateway", "{text:.500}");
    ensure!(envelope["id"] == envelope["mcp_payload"]["id"], "{text:.500}");
    Ok(envelope["mcp_payload"].take())
}

fn ask(socket: &mut WebSocket, id: &str, method: &str, params: &Value) -> Result<Value> {
    send(socket, &json!(id), method, params)?;
    let answer = receive(socket)?;
    ensure!(answer["id"] == id, "{answer}");
    answer.get("result").cloned().with_context(|| format!("no result: {answer}"))
}

#[test]
fn a_client_shakes_hands_lists_calls_a_thousand_times_and_sees_the_gateway_stop() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let backend = Backend::http("main", fixture.url()).key("namespace", json!("system"));
    let mut gateway = Gateway::start(&Config::new().backend(backend))?;
    gateway.wait_backends("legacy", &["main"])?;
    let mut socket = WebSocket::open(&gateway.url("/ws"), &[])?.ok().context("accepted")?;

    let hello = json!({ "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": { "name": "c", "version": "1" } });
    let opened = ask(&mut socket, "init-1", "initialize", &hello)?;
    ensure!(opened["protocolVersion"] == "2024-11-05", "{opened}");
    let listed = ask(&mut socket, "list-1", "tools/list", &json!({}))?;
    let tools = listed["tools"].as_array().context("tools")?;
    ensure!(tools.iter().any(|tool| tool["name"] == "echo"), "{listed}");

    let mut open: BTreeMap<String, Value> = BTreeMap::new();
    for number in 0..AT_ONCE {
        let id = if number % 2 == 0 { json!(number) } else { json!(format!("call-{number}")) };
        let params = json!({ "name": "echo", "arguments": { "message": number.to_string() } });
        send(&mut socket, &id, "tools/call", &params)?;
        open.insert(id.to_string(), json!(number.to_string()));
    }
    for _ in 0..AT_ONCE {
        let answer = receive(&mut socket)?;
        let said = open.remove(&answer["id"].to_string()).with_context(|| format!("not asked: {answer}"))?;
        ensure!(answer["result"]["content"][0]["text"] == said, "{answer}");
    }

    socket.ping(b"still there?")?;
    ensure!(http::get(&gateway.url("/health"))?.head.status == 200, "the port has the health page, too");

    send(
        &mut socket,
        &json!("slow"),
        "tools/call",
        &json!({ "name": "sleep", "arguments": { "ms": 2000 } }),
    )?;
    // Answered after it, so the call is under way.
    ask(&mut socket, "ping-1", "ping", &json!({}))?;
    gateway.process().signal(Signal::TERM)?;
    let last = receive(&mut socket)?;
    ensure!(last["id"] == "slow" && last["result"].is_object(), "{last}");
    ensure!(socket.read()?.is_none(), "nothing comes after the last answer");
    let (code, why) = socket.closed().context("closed with a reason")?;
    ensure!(*code == CloseCode::Away, "{code} {why}");
    ensure!(gateway.process().wait_exit(PATIENCE)?.success(), "a clean stop");
    Ok(())
}
