//! The original gateway's envelope over WebSocket, byte by byte: its clients connect unchanged. Changes when the envelope is
//! served differently.

use anyhow::{Context as _, Result, ensure};
use bridge_tests::peer::Wire as _;
use bridge_tests::{Backend, Config, Era, Gateway, Peer, TestServer, WebSocket};
use serde_json::{Value, json};

/// A gateway whose two backends have namespaces of the original's kind.
fn gateway() -> Result<(TestServer, Gateway)> {
    let fixture = TestServer::http(Era::Both)?;
    let config = Config::new()
        .backend(Backend::http("main", fixture.url()).key("namespace", json!("system")))
        .backend(Backend::http("k8s", fixture.url()));
    let gateway = Gateway::start(&config)?;
    gateway.wait_backends("legacy", &["main", "k8s"])?;
    Ok((fixture, gateway))
}

fn connect(gateway: &Gateway) -> Result<WebSocket> {
    WebSocket::open(&gateway.url("/ws"), &[])?.ok().context("accepted")
}

/// Cuts the timestamp out and checks its form.
fn without_time(text: &str) -> Result<String> {
    let (before, rest) = text.split_once("\"timestamp\":\"").context("a timestamp")?;
    let (time, after) = rest.split_once('"').context("a whole timestamp")?;
    let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    ensure!(form == "0000-00-00T00:00:00Z", "{time}");
    Ok(format!("{before}\"timestamp\":\"\"{after}"))
}

fn ask(socket: &mut WebSocket, text: &str) -> Result<String> {
    socket.send(text)?;
    socket.read()?.context("an answer")
}

#[test]
fn a_call_in_an_envelope_is_answered_in_one_without_a_session() -> Result<()> {
    let (_fixture, gateway) = gateway()?;
    let mut socket = connect(&gateway)?;
    ensure!(socket.header("sec-websocket-protocol").is_none(), "none was offered");
    let call = r#"{"id":7,"timestamp":"2025-01-01T00:00:00Z","source":"local-router","target_namespace":"system","auth_token":"<jwt>","mcp_payload":{"jsonrpc":"2.0","method":"tools/call","params":{"name":"echo","arguments":{"message":"x"}},"id":7}}"#;
    let answer = without_time(&ask(&mut socket, call)?)?;
    let start = r#"{"id":7,"timestamp":"","source":"gateway","mcp_payload":{"#;
    ensure!(answer.starts_with(start), "{answer}");
    let read: Value = serde_json::from_str(&answer)?;
    ensure!(read["mcp_payload"]["result"]["content"][0]["text"] == "x", "{answer}");
    ensure!(read["mcp_payload"]["id"] == 7, "{answer}");
    let ping = r#"{"id":"p.1:x","source":"local-router","mcp_payload":{"jsonrpc":"2.0","method":"ping","id":"p.1:x"}}"#;
    let answer = without_time(&ask(&mut socket, ping)?)?;
    let expected = r#"{"id":"p.1:x","timestamp":"","source":"gateway","mcp_payload":{"jsonrpc":"2.0","id":"p.1:x","result":{}}}"#;
    ensure!(answer == expected, "{answer}");
    Ok(())
}

#[test]
fn each_message_chooses_its_namespace() -> Result<()> {
    let (_fixture, gateway) = gateway()?;
    let mut socket = connect(&gateway)?;
    let mut of = |target: Option<&str>, method: &str, params: &Value| -> Result<Value> {
        let mut envelope = json!({ "id": 1, "mcp_payload": { "jsonrpc": "2.0", "id": 1, "method": method, "params": params } });
        if let Some(target) = target {
            envelope["target_namespace"] = target.into();
        }
        let answer: Value = serde_json::from_str(&ask(&mut socket, &envelope.to_string())?)?;
        Ok(answer["mcp_payload"].clone())
    };
    let opened = of(
        Some("system"),
        "initialize",
        &json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "r", "version": "1" } }),
    )?;
    ensure!(opened["result"]["protocolVersion"] == "2025-06-18", "{opened}");
    let echo = json!({ "name": "echo", "arguments": { "message": "m" } });
    for target in ["system", "k8s"] {
        let answer = of(Some(target), "tools/call", &echo)?;
        ensure!(answer["result"]["content"][0]["text"] == "m", "{target}: {answer}");
    }
    let unnamed = of(None, "tools/list", &json!({ "namespace": "k8s" }))?;
    ensure!(unnamed["result"]["tools"].to_string().contains("\"echo\""), "{unnamed}");
    let unknown = of(Some("gone"), "tools/list", &json!({}))?;
    ensure!(unknown["error"]["code"] == -32004, "{unknown}");
    ensure!(unknown["error"]["data"]["retry"] == "safe", "{unknown}");
    Ok(())
}

#[test]
fn mistakes_are_answered_in_the_original_s_words() -> Result<()> {
    let (_fixture, gateway) = gateway()?;
    let mut socket = connect(&gateway)?;
    ask(&mut socket, r#"{"id":1,"mcp_payload":{"jsonrpc":"2.0","id":1,"method":"ping"}}"#)?;
    for (text, id) in [
        (r#"{"id":2,"mcp_payload":7}"#, json!(2)),
        (r#"{"id":"a","mcp_payload":{"jsonrpc":"1.0","id":"a","method":"ping"}}"#, json!("a")),
        (r#"{"id":3,"mcp_payload":{"jsonrpc":"2.0","id":{},"method":"ping"}}"#, json!(3)),
        (r#"{"id":4,"mcp_payload":{"jsonrpc":"2.0","id":"","method":"ping"}}"#, json!("")),
        (
            r#"{"id":5,"target_namespace":"a b","mcp_payload":{"jsonrpc":"2.0","id":5,"method":"ping"}}"#,
            json!(5),
        ),
    ] {
        let answer: Value = serde_json::from_str(&ask(&mut socket, text)?)?;
        ensure!(answer["source"] == "gateway" && answer["id"] == id, "{text}: {answer}");
        ensure!(answer["mcp_payload"]["error"]["code"] == -32600, "{text}: {answer}");
        ensure!(answer["mcp_payload"]["id"] == id, "{text}: {answer}");
    }
    Ok(())
}

#[test]
fn notifications_stay_unanswered_and_only_answers_come() -> Result<()> {
    let (_fixture, gateway) = gateway()?;
    let mut socket = connect(&gateway)?;
    let note = r#"{"id":null,"mcp_payload":{"jsonrpc":"2.0","method":"notifications/initialized"}}"#;
    socket.send(note)?;
    let progress = r#"{"id":1,"target_namespace":"k8s","mcp_payload":{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"test_tool_with_progress","arguments":{},"_meta":{"progressToken":1}}}}"#;
    let answer: Value = serde_json::from_str(&ask(&mut socket, progress)?)?;
    ensure!(answer["mcp_payload"].get("result").is_some(), "the first message is the answer: {answer}");
    // Nobody could answer this question, so the server is told at once.
    let asking = r#"{"id":2,"target_namespace":"k8s","mcp_payload":{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"test_sampling","arguments":{"prompt":"p"}}}}"#;
    let answer: Value = serde_json::from_str(&ask(&mut socket, asking)?)?;
    ensure!(answer["id"] == 2, "{answer}");
    Ok(())
}

#[test]
fn load_scripts_that_send_bare_messages_without_a_handshake_are_served() -> Result<()> {
    let (_fixture, gateway) = gateway()?;
    let mut client = Peer::new(connect(&gateway)?);
    let listed = client.call("tools/list", &json!({}))?;
    ensure!(listed["tools"].to_string().contains("k8s__echo"), "{listed}");
    client.initialize(&json!({}))?;
    ensure!(client.call("tools/list", &json!({}))?["tools"].is_array(), "after a late handshake");
    Ok(())
}
