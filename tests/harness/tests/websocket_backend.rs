//! Servers behind WebSocket, in both generations. The server is another gateway, whose WebSocket frontend is tested on its
//! own. Changes when such servers are reached differently.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::{
    Backend, Config, Era, Gateway, LegacySession, ModernClient, PATIENCE, Peer, TestServer, WebSocket,
};
use serde_json::{Value, json};

fn call(name: &str, arguments: &Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

fn websocket(name: &str, far: &Gateway) -> Backend {
    let url = far.url("/mcp/fixture").replacen("http://", "ws://", 1);
    Backend::http(name, &url).key("protocol", json!("websocket"))
}

/// A fixture behind a gateway behind a gateway that reaches it over WebSocket.
fn chain() -> Result<(TestServer, Gateway, Gateway)> {
    let fixture = TestServer::http(Era::Both)?;
    let far = Gateway::start(&Config::new().http("fixture", fixture.url()))?;
    far.wait_backends("legacy", &["fixture"])?;
    far.wait_backends("modern", &["fixture"])?;
    let near = Gateway::start(&Config::new().backend(websocket("far", &far)))?;
    near.wait_backends("legacy", &["far"])?;
    near.wait_backends("modern", &["far"])?;
    Ok((fixture, far, near))
}

#[test]
fn both_generations_list_and_call() -> Result<()> {
    let (_fixture, _far, near) = chain()?;
    let mut legacy = LegacySession::open(&near.url("/mcp/far"), &json!({}))?;
    let tools = legacy.list("tools/list", "tools")?;
    ensure!(tools.iter().any(|tool| tool["name"] == "test_image_content"), "{} tools", tools.len());
    let echoed = legacy.request("tools/call", &call("echo", &json!({ "message": "alt" })))?.into_result()?;
    ensure!(text(&echoed) == "alt" && echoed.get("resultType").is_none(), "{echoed}");
    let mut modern = ModernClient::new(&near.url("/mcp/far"), &json!({}))?;
    let echoed = modern.request("tools/call", &call("echo", &json!({ "message": "neu" })))?.into_result()?;
    ensure!(text(&echoed) == "neu" && echoed["resultType"] == "complete", "{echoed}");
    let health = bridge_tests::http::get(&near.url("/health"))?.json()?.to_string();
    ensure!(health.contains("websocket"), "the health page names the protocol: {health}");
    Ok(())
}

#[test]
fn questions_progress_and_large_answers_come_through() -> Result<()> {
    let (_fixture, _far, near) = chain()?;
    let mut session = LegacySession::open(&near.url("/mcp/far"), &json!({ "sampling": {} }))?;
    session.on_server_request(|method, _| {
        assert_eq!(method, "sampling/createMessage");
        json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "from the model" } })
    });
    let sampled =
        session.request("tools/call", &call("test_sampling", &json!({ "prompt": "p" })))?.into_result()?;
    ensure!(sampled.to_string().contains("from the model"), "{sampled}");
    let big = session.request("tools/call", &call("big", &json!({ "bytes": 3_000_000 })))?.into_result()?;
    ensure!(text(&big).len() == 3_000_000, "{} bytes", text(&big).len());
    Ok(())
}

#[test]
fn a_hundred_calls_at_once_share_a_connection() -> Result<()> {
    let (_fixture, _far, near) = chain()?;
    let mut client = Peer::new(WebSocket::connect(&near.url("/mcp/far"))?);
    let mut ids = BTreeSet::new();
    for n in 0..100 {
        let id = client.start_modern("tools/call", &call("echo", &json!({ "message": n.to_string() })))?;
        ids.insert(id.to_string());
    }
    for _ in 0..100 {
        let answer = client.read()?.context("an answer")?;
        ensure!(ids.remove(&answer["id"].to_string()), "{answer}");
        let n = answer["id"].as_i64().context("a number")? - 1;
        ensure!(text(&answer["result"]) == n.to_string(), "{answer}");
    }
    Ok(())
}

#[test]
fn a_modern_client_that_leaves_cancels_at_the_far_end() -> Result<()> {
    let (mut fixture, _far, near) = chain()?;
    let mut modern = ModernClient::new(&near.url("/mcp/far"), &json!({}))?;
    let (_, exchange) = modern.start("tools/call", &call("sleep", &json!({ "ms": 600_000 })))?;
    fixture.process().wait_line(PATIENCE, |line| line.contains("sleep started").then_some(()))?;
    drop(exchange);
    fixture.process().wait_line(PATIENCE, |line| line.contains("sleep cancelled").then_some(()))?;
    Ok(())
}

#[test]
fn a_lost_connection_is_a_typed_error_and_the_next_call_opens_another() -> Result<()> {
    let (mut fixture, mut far, near) = chain()?;
    let mut session = LegacySession::open(&near.url("/mcp/far"), &json!({}))?;
    let (id, exchange) = session.start("tools/call", &call("sleep", &json!({ "ms": 600_000 })))?;
    fixture.process().wait_line(PATIENCE, |line| line.contains("sleep started").then_some(()))?;
    let port = far.address().port();
    far.process().signal(bridge_tests::process::Signal::KILL)?;
    far.process().wait_exit(PATIENCE)?;
    let lost = session.finish(&id, exchange)?;
    let data = &lost.message["error"]["data"];
    ensure!(data["reason"] == "backend_lost" && data["retry"] == "may_have_executed", "{}", lost.message);
    let down = session.request("tools/call", &call("echo", &json!({ "message": "down" })))?;
    ensure!(down.message["error"]["data"]["reason"] == "backend_unavailable", "{}", down.message);

    let config = Config::new().set("server", "port", json!(port)).http("fixture", fixture.url());
    let again = Gateway::start(&config)?;
    again.wait_backends("legacy", &["fixture"])?;
    let echoed =
        session.request("tools/call", &call("echo", &json!({ "message": "back" })))?.into_result()?;
    ensure!(text(&echoed) == "back", "{echoed}");
    Ok(())
}

#[test]
fn headers_of_the_configuration_go_with_the_handshake_and_a_refusal_is_said() -> Result<()> {
    let fake = bridge_tests::fake::Fake::start(|_| bridge_tests::fake::Act::reply(403, "text/plain", "no"))?;
    let url = fake.url().replacen("http://", "ws://", 1);
    let backend = Backend::http("far", &url)
        .key("protocol", json!("websocket"))
        .config("headers", json!({ "Authorization": "Bearer hunter2" }));
    let near = Gateway::start(&Config::new().backend(backend))?;
    let asked = fake.wait_asked(|asked| asked.header("upgrade") == Some("websocket"))?;
    ensure!(asked.header("authorization") == Some("Bearer hunter2"), "{asked:?}");
    ensure!(asked.header("sec-websocket-protocol") == Some("mcp"), "{asked:?}");
    let mut modern = ModernClient::new(&near.url("/mcp/far"), &json!({}))?;
    let refused = modern.request("tools/call", &call("echo", &json!({ "message": "x" })))?;
    ensure!(refused.message.get("error").is_some(), "{}", refused.message);
    ensure!(!near_log(&near)?.contains("hunter2"), "secrets stay out of the log");
    Ok(())
}

fn near_log(gateway: &Gateway) -> Result<String> {
    gateway
        .wait_log(PATIENCE, |line| line["msg"] == "websocket connection not opened")
        .map(|line| line.to_string())
}
