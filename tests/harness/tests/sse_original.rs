//! Clients of the original gateway's HTTP+SSE frontend: envelopes in, bare answers on the one stream of their user. Changes
//! when that frontend does.

use anyhow::{Context as _, Result};
use bridge_tests::exchange::Exchange;
use bridge_tests::http::{Response, Url, request};
use bridge_tests::sse_client::initialize;
use bridge_tests::{Config, Era, Gateway, Peer, SseClient, TestServer};
use serde_json::{Value, json};

struct Original {
    _fixture: TestServer,
    _gateway: Gateway,
    base: String,
}

fn start() -> Result<Original> {
    let fixture = TestServer::http(Era::Legacy)?;
    let frontend = json!({ "name": "old", "protocol": "sse", "config": { "port": 0 } });
    let config = Config::new().set("server", "frontends", json!([frontend])).http("fixture", fixture.url());
    let gateway = Gateway::start(&config)?;
    gateway.wait_backends("legacy", &["fixture"])?;
    let address = gateway.listener("old").context("the frontend's address")?;
    Ok(Original { _fixture: fixture, _gateway: gateway, base: format!("http://{address}") })
}

impl Original {
    fn stream(&self) -> Result<Exchange> {
        let url = Url::parse(&format!("{}/events", self.base))?;
        let mut stream = Exchange::start("GET", &url, &[], b"")?;
        // By its name it is no message to such a client, and by its text no JSON: the original's comments were as little.
        let first = stream.next_event()?.context("the first event")?;
        assert_eq!(first.name.as_deref(), Some("endpoint"));
        Ok(stream)
    }

    fn post(&self, body: &Value) -> Result<Response> {
        let url = Url::parse(&format!("{}/api/v1/request", self.base))?;
        request("POST", &url, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }
}

fn envelope(payload: &Value) -> Value {
    json!({
        "id": "outer", "timestamp": "2026-11-26T00:00:00Z", "source": "test", "target_namespace": "fixture",
        "auth_token": "", "mcp_payload": payload,
    })
}

#[test]
fn an_envelope_is_answered_with_a_bare_response_on_the_stream_without_a_handshake() -> Result<()> {
    let original = start()?;
    let mut stream = original.stream()?;
    let params = json!({ "name": "test_simple_text", "arguments": {} });
    let call = json!({ "jsonrpc": "2.0", "id": "call-1", "method": "tools/call", "params": params });
    assert_eq!(original.post(&envelope(&call))?.head.status, 202);
    let event = stream.next_event()?.context("the answer")?;
    assert_eq!((&event.name, &event.id), (&None, &None));
    let answer: Value = serde_json::from_str(&event.data.context("data")?)?;
    assert_eq!(answer["id"], "call-1");
    assert_eq!(answer["result"]["content"][0]["text"], "This is a simple text response for testing.");
    // Bare messages are taken, too.
    assert_eq!(
        original.post(&json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }))?.head.status,
        202
    );
    let event = stream.next_event()?.context("the list")?;
    let answer: Value = serde_json::from_str(&event.data.context("data")?)?;
    assert!(answer["id"] == 2 && answer["result"]["tools"].is_array(), "{answer}");
    Ok(())
}

#[test]
fn a_message_is_never_given_to_one_of_several_streams() -> Result<()> {
    let original = start()?;
    let call = envelope(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }));
    let none = original.post(&call)?;
    assert_eq!(none.head.status, 404);
    assert_eq!(none.json()?["error"]["message"], "stream not found");
    let first = original.stream()?;
    assert_eq!(original.post(&call)?.head.status, 202);
    let _second = original.stream()?;
    assert_eq!(original.post(&call)?.head.status, 404, "either could be meant");
    drop(first);
    Ok(())
}

#[test]
fn clients_of_mcp_use_the_same_paths_by_the_endpoint_that_their_stream_names() -> Result<()> {
    let original = start()?;
    let stream = SseClient::connect(&format!("{}/events/fixture", original.base))?;
    assert!(stream.endpoint().starts_with("/api/v1/request?sessionId="), "{}", stream.endpoint());
    let mut client = Peer::new(stream);
    initialize(&mut client, "2024-11-05", &json!({}))?;
    let call = json!({ "name": "test_simple_text", "arguments": {} });
    let result = client.call("tools/call", &call)?;
    assert_eq!(result["content"][0]["text"], "This is a simple text response for testing.");
    // The usual paths are there, too.
    SseClient::open(&format!("{}/sse", original.base), "2024-11-05", &json!({})).map(drop)
}

#[test]
fn what_is_no_envelope_is_refused_at_once() -> Result<()> {
    let original = start()?;
    let _stream = original.stream()?;
    let refused = original.post(&json!({ "mcp_payload": "text" }))?;
    assert_eq!(refused.head.status, 400);
    assert!(refused.json()?["error"]["message"].as_str().is_some_and(|text| text.contains("mcp_payload")));
    Ok(())
}
