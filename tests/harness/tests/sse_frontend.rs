//! Clients of 2024-11-05 at the gateway: their stream is their session, whoever they are and whatever is behind. Changes
//! when that frontend does.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::http::{Url, request};
use bridge_tests::metrics::Metrics;
use bridge_tests::peer::Wire as _;
use bridge_tests::sse_client::initialize;
use bridge_tests::tokens::{self, Issuer};
use bridge_tests::{Config, Era, Gateway, PATIENCE, Peer, SseClient, TestServer};
use serde_json::{Value, json};

const OLDEST: &str = "2024-11-05";

fn tool(name: &str, arguments: &Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

fn status(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Result<u16> {
    Ok(request(method, &Url::parse(url)?, headers, body.as_bytes())?.head.status)
}

const JSON: (&str, &str) = ("Content-Type", "application/json");
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

#[test]
fn a_stream_names_its_endpoint_and_carries_every_answer_as_a_message() -> Result<()> {
    let fixture = TestServer::http(Era::Legacy)?;
    let gateway = Gateway::start(&Config::new().http("fixture", fixture.url()))?;
    gateway.wait_backends("legacy", &["fixture"])?;
    let mut client = Peer::new(SseClient::connect(&gateway.url("/sse"))?);
    let endpoint = client.wire().endpoint().to_owned();
    let token = endpoint.strip_prefix("/messages?sessionId=").context("the usual endpoint")?;
    assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    // Legal before the handshake.
    client.send(&json!({ "jsonrpc": "2.0", "id": "early", "method": "ping" }))?;
    let event = client.wire().next_event()?.context("the answer")?;
    assert_eq!((event.name.as_deref(), event.id), (Some("message"), None));
    assert_eq!(event.data.as_deref(), Some(r#"{"jsonrpc":"2.0","id":"early","result":{}}"#));

    let opened = initialize(&mut client, OLDEST, &json!({}))?;
    assert_eq!(opened["protocolVersion"], OLDEST);
    let listed = client.call("tools/list", &json!({}))?;
    assert!(listed["tools"].as_array().is_some_and(|tools| !tools.is_empty()), "{listed}");
    let called = client.call("tools/call", &tool("test_simple_text", &json!({})))?;
    assert_eq!(text(&called), "This is a simple text response for testing.");
    let unknown = client.request("tools/call", &tool("no_such_tool", &json!({})))?;
    assert_eq!(unknown["error"]["data"]["reason"], "unknown_target", "{unknown}");

    // What is no message is said so on the stream, where all answers are.
    client.wire().send("{ no json")?;
    client.wait(|message| message["error"]["code"] == -32700)?;
    Ok(())
}

#[test]
fn every_legacy_revision_may_be_spoken_and_one_backend_alone_keeps_its_names() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let gateway = Gateway::start(&Config::new().http("fixture", fixture.url()))?;
    gateway.wait_backends("legacy", &["fixture"])?;
    for version in [OLDEST, "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut client = Peer::new(SseClient::connect(&gateway.url("/sse/fixture"))?);
        let opened = initialize(&mut client, version, &json!({}))?;
        assert_eq!(opened["protocolVersion"], version);
        let called = client.call("tools/call", &tool("test_simple_text", &json!({})))?;
        assert_eq!(text(&called), "This is a simple text response for testing.");
    }
    assert_eq!(status("GET", &gateway.url("/sse/nobody"), &[], "")?, 404);
    Ok(())
}

#[test]
fn a_server_asks_reports_and_is_cancelled_over_the_one_stream() -> Result<()> {
    let mut fixture = TestServer::http(Era::Legacy)?;
    let gateway = Gateway::start(&Config::new().http("fixture", fixture.url()))?;
    gateway.wait_backends("legacy", &["fixture"])?;
    let mut client = SseClient::open(&gateway.url("/sse"), OLDEST, &json!({ "sampling": {} }))?;

    let call = client.start("tools/call", &tool("test_sampling", &json!({ "prompt": "the question" })))?;
    let question = client.wait(|message| message["method"] == "sampling/createMessage")?;
    let answer =
        json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "forty-two" } });
    client.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": answer }))?;
    assert_eq!(text(&client.answer(&call)?["result"]), "LLM response: forty-two");

    let mut params = tool("test_tool_with_progress", &json!({}));
    params["_meta"] = json!({ "progressToken": "mine" });
    let call = client.start("tools/call", &params)?;
    ensure!(client.answer(&call)?["result"].is_object());
    for _ in 0..3 {
        let progress = client.wait(|message| message["method"] == "notifications/progress")?;
        assert_eq!(progress["params"]["progressToken"], "mine", "{progress}");
    }

    let call = client.start("tools/call", &tool("sleep", &json!({ "ms": 60_000 })))?;
    fixture.process().wait_line(PATIENCE, |line| line.contains("sleep started").then_some(()))?;
    let params = json!({ "requestId": call, "reason": "enough" });
    client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }))?;
    fixture.process().wait_line(PATIENCE, |line| line.contains("sleep cancelled").then_some(()))?;
    Ok(())
}

#[test]
fn a_hundred_calls_at_once_keep_their_ids() -> Result<()> {
    let fixture = TestServer::http(Era::Legacy)?;
    let gateway = Gateway::start(&Config::new().http("fixture", fixture.url()))?;
    gateway.wait_backends("legacy", &["fixture"])?;
    let mut client = SseClient::open(&gateway.url("/sse"), OLDEST, &json!({}))?;
    let mut waiting = BTreeSet::new();
    for number in 0..100 {
        let id = format!("call-{number}");
        let params = tool("echo", &json!({ "message": id }));
        client.send(&json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }))?;
        waiting.insert(id);
    }
    while !waiting.is_empty() {
        let answer = client.wait(|message| message.get("method").is_none())?;
        let id = answer["id"].as_str().context("a string id")?;
        assert!(text(&answer["result"]).contains(id), "{answer}");
        assert!(waiting.remove(id), "{id} was answered twice");
    }
    Ok(())
}

#[test]
fn only_the_token_of_an_open_stream_takes_messages() -> Result<()> {
    let fixture = TestServer::http(Era::Legacy)?;
    let (gateway, metrics) = Metrics::start(&Config::new().http("fixture", fixture.url()))?;
    gateway.wait_backends("legacy", &["fixture"])?;
    let mut client = SseClient::open(&gateway.url("/sse"), OLDEST, &json!({}))?;
    let sessions = "mcp_gateway_sessions_active";
    metrics.wait(sessions, 1)?;
    let endpoint = gateway.url(client.wire().endpoint());
    let wrong = gateway.url("/messages?sessionId=00000000000000000000000000000000");
    for url in [wrong.as_str(), &gateway.url("/messages"), &gateway.url("/messages?other=1")] {
        assert_eq!(status("POST", url, &[JSON], PING)?, 404, "{url}");
    }
    assert_eq!(status("POST", &endpoint, &[JSON], PING)?, 202);
    assert_eq!(status("POST", &endpoint, &[("Content-Type", "text/plain")], PING)?, 415);
    assert_eq!(status("GET", &endpoint, &[], "")?, 405);
    assert_eq!(
        status("POST", &gateway.url("/sse"), &[JSON], PING)?,
        405,
        "how clients of later revisions ask first"
    );
    assert_eq!(status("GET", &gateway.url("/sse"), &[("Accept", "application/json")], "")?, 406);
    for foreign in [("Origin", "https://evil.example"), ("Host", "evil.example")] {
        assert_eq!(status("GET", &gateway.url("/sse"), &[foreign], "")?, 403, "{foreign:?}");
        assert_eq!(status("POST", &endpoint, &[JSON, foreign], PING)?, 403, "{foreign:?}");
    }
    drop(client);
    metrics.wait(sessions, 0)?;
    assert_eq!(status("POST", &endpoint, &[JSON], PING)?, 404);
    Ok(())
}

#[test]
fn a_token_is_worth_nothing_to_another_principal() -> Result<()> {
    let fixture = TestServer::http(Era::Legacy)?;
    let issuer = Issuer::secret("a secret of thirty-two bytes, long");
    let config = tokens::config(json!({ "secret_key_env": "THE_SECRET" })).http("fixture", fixture.url());
    let env = [("THE_SECRET", "a secret of thirty-two bytes, long")];
    let gateway = Gateway::start_with(&config.to_yaml(), &[], &env)?;
    gateway.wait_backends("legacy", &["fixture"])?;
    let bearer = |subject: &str| -> Result<String> { Ok(format!("Bearer {}", issuer.token(subject)?)) };
    let (ann, bob) = (bearer("ann")?, bearer("bob")?);
    assert_eq!(status("GET", &gateway.url("/sse"), &[], "")?, 401);
    let stream = SseClient::connect_with(&gateway.url("/sse"), &[("Authorization", &ann)])?;
    let mut client = Peer::new(stream);
    initialize(&mut client, OLDEST, &json!({}))?;
    let endpoint = gateway.url(client.wire().endpoint());
    assert_eq!(status("POST", &endpoint, &[JSON, ("Authorization", &bob)], PING)?, 404);
    assert_eq!(status("POST", &endpoint, &[JSON], PING)?, 401);
    // Another token of the same party continues.
    let again = bearer("ann")?;
    assert_eq!(status("POST", &endpoint, &[JSON, ("Authorization", &again)], PING)?, 202);
    client.wait(|message| message["id"] == 1 && message["result"].is_object())?;
    Ok(())
}

#[test]
fn the_end_of_the_stream_ends_the_session_its_calls_and_its_child() -> Result<()> {
    let server = TestServer::stdio(Era::Legacy)?;
    let gateway = Gateway::start(&Config::new().stdio("child", &server))?;
    gateway.wait_backends("legacy", &["child"])?;
    let mut client = SseClient::open(&gateway.url("/sse/child"), OLDEST, &json!({}))?;
    client.start("tools/call", &tool("sleep", &json!({ "ms": 60_000 })))?;
    gateway.wait_log(PATIENCE, |line| line.to_string().contains("sleep started"))?;
    // The gateway's own child stays.
    drop(client);
    gateway.wait_log(PATIENCE, |line| line["msg"] == "child ended")?;
    Ok(())
}

#[test]
fn a_client_that_does_not_read_slows_only_itself_and_loses_nothing() -> Result<()> {
    let fixture = TestServer::http(Era::Legacy)?;
    let gateway = Gateway::start(&Config::new().http("fixture", fixture.url()))?;
    gateway.wait_backends("legacy", &["fixture"])?;
    let mut slow = SseClient::open(&gateway.url("/sse"), OLDEST, &json!({}))?;
    let mut other = SseClient::open(&gateway.url("/sse"), OLDEST, &json!({}))?;
    // More than sockets, queue and one burst hold.
    let message = "x".repeat(500_000);
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(slow.start("tools/call", &tool("echo", &json!({ "message": message })))?);
    }
    let called = other.call("tools/call", &tool("test_simple_text", &json!({})))?;
    assert_eq!(text(&called), "This is a simple text response for testing.");
    for id in ids {
        ensure!(text(&slow.answer(&id)?["result"]).contains(&message), "answer {id}");
    }
    Ok(())
}

#[test]
fn a_gateway_that_leaves_finishes_calls_and_then_ends_the_stream() -> Result<()> {
    let mut fixture = TestServer::http(Era::Legacy)?;
    let gateway = Gateway::start(&Config::new().http("fixture", fixture.url()))?;
    gateway.wait_backends("legacy", &["fixture"])?;
    let mut client = SseClient::open(&gateway.url("/sse"), OLDEST, &json!({}))?;
    let idle = SseClient::open(&gateway.url("/sse"), OLDEST, &json!({}))?;
    let call = client.start("tools/call", &tool("sleep", &json!({ "ms": 1_000 })))?;
    fixture.process().wait_line(PATIENCE, |line| line.contains("sleep started").then_some(()))?;
    let stopped = std::thread::scope(|scope| -> Result<_> {
        let stopping = scope.spawn(|| gateway.stop(PATIENCE));
        assert_eq!(text(&client.answer(&call)?["result"]), "Slept 1000 ms");
        while client.read()?.is_some() {}
        stopping.join().map_err(|_| anyhow::anyhow!("panic"))?
    })?;
    assert!(stopped.success(), "{stopped}");
    drop(idle);
    Ok(())
}

#[test]
fn silence_is_broken_by_comments() -> Result<()> {
    let fixture = TestServer::http(Era::Legacy)?;
    let config = Config::new().set("limits", "keep_alive", "1s".into()).http("fixture", fixture.url());
    let gateway = Gateway::start(&config)?;
    gateway.wait_backends("legacy", &["fixture"])?;
    let mut client = SseClient::open(&gateway.url("/sse"), OLDEST, &json!({}))?;
    let slept = client.call("tools/call", &tool("sleep", &json!({ "ms": 3_500 })))?;
    assert_eq!(text(&slept), "Slept 3500 ms");
    let comments = client.wire().comments();
    assert!(comments >= 2, "{comments} comments");
    Ok(())
}
