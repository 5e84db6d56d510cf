//! Published clients over HTTP+SSE, WebSocket and Unix sockets, each beside its own run over Streamable HTTP. Changes when a published client joins.

use anyhow::{Context as _, Result};
use bridge_tests::script::{self, Client};
use bridge_tests::{Backend, Config, Era, Gateway, TempDir, TestServer, report};
use serde_json::{Value, json};

fn plan() -> Value {
    json!({
        "answers": { "sampling": "forty-two", "elicitation": { "username": "Ann", "email": "ann@example.org" }, "roots": ["file:///srv"] },
        "steps": [
            { "do": "list_tools" },
            { "do": "call_tool", "name": "test_simple_text" },
            { "do": "call_tool", "name": "test_error_handling" },
            { "do": "call_tool", "name": "test_tool_with_progress" },
            { "do": "call_tool", "name": "test_sampling", "arguments": { "prompt": "the question" } },
            { "do": "call_tool", "name": "test_elicitation", "arguments": { "message": "who is there?" } },
            { "do": "read_resource", "uri": "test://static-text" },
            { "do": "list_prompts" },
            { "do": "get_prompt", "name": "test_simple_prompt" },
            { "do": "call_tool", "name": "test_trigger_tool_change" },
            { "do": "await", "method": "notifications/tools/list_changed" },
            { "do": "ping" },
        ],
    })
}

/// The same client over both transports sees the same of the same server.
fn sees_the_same(old: Client, new: Client) -> Result<()> {
    sees_the_same_at("/sse/fixture", old, new)
}

fn sees_the_same_at(path: &str, old: Client, new: Client) -> Result<()> {
    let plan = plan();
    // A server each: the plan leaves its traces in the server.
    let direct = TestServer::http(Era::Legacy)?;
    let behind = TestServer::http(Era::Legacy)?;
    let gateway = Gateway::start(&Config::new().http("fixture", behind.url()))?;
    gateway.wait_backends("legacy", &["fixture"])?;
    let expected = script::run(new, direct.url(), &plan)?;
    let seen = script::run(old, &gateway.url(path), &plan)?;
    assert_eq!(seen["connected"], expected["connected"], "{old:?}");
    let steps = plan["steps"].as_array().context("steps")?;
    for (index, step) in steps.iter().enumerate() {
        assert_eq!(seen["steps"][index], expected["steps"][index], "{old:?}: {step}");
    }
    // Equality alone would also hold for two failures.
    let text = |index: usize| seen["steps"][index]["result"]["content"][0]["text"].clone();
    assert_eq!(text(1), "This is a simple text response for testing.");
    assert!(text(4).as_str().is_some_and(|text| text.contains("forty-two")), "{}", seen["steps"][4]);
    assert!(text(5).as_str().is_some_and(|text| text.contains("Ann")), "{}", seen["steps"][5]);
    Ok(())
}

#[test]
fn rmcp_sees_the_same_on_a_unix_socket() -> Result<()> {
    let plan = plan();
    let direct = TestServer::http(Era::Legacy)?;
    let behind = TestServer::http(Era::Legacy)?;
    let dir = TempDir::new("rmcp")?;
    let socket = dir.path().join("gateway.sock");
    let config = Config::new()
        .set("server", "stdio_frontend", json!({ "socket_path": socket }))
        .http("fixture", behind.url());
    let gateway = Gateway::start(&config)?;
    gateway.wait_backends("legacy", &["fixture"])?;
    let expected = script::run(Client::RmcpLegacy, direct.url(), &plan)?;
    let seen = script::run(Client::RmcpLines, &socket.display().to_string(), &plan)?;
    report::assert_same_steps(&seen, &expected, &plan, "rmcp");
    assert!(report::text(&seen, 4).contains("forty-two") && report::text(&seen, 5).contains("Ann"), "{seen}");
    Ok(())
}

#[test]
fn two_gateways_that_meet_over_sse_lose_nothing_between_them() -> Result<()> {
    let plan = plan();
    let direct = TestServer::http(Era::Legacy)?;
    let behind = TestServer::http(Era::Legacy)?;
    let far = Gateway::start(&Config::new().http("fixture", behind.url()))?;
    far.wait_backends("legacy", &["fixture"])?;
    let far_end = Backend::sse("far", &far.url("/sse/fixture"));
    let near = Gateway::start(&Config::new().backend(far_end))?;
    near.wait_backends("legacy", &["far"])?;
    let expected = script::run(Client::NpmV1, direct.url(), &plan)?;
    let seen = script::run(Client::NpmV1, &near.url("/mcp/far"), &plan)?;
    assert_eq!(seen["connected"], expected["connected"]);
    assert_eq!(seen["steps"], expected["steps"]);
    Ok(())
}

#[test]
fn npm_v1_sees_the_same_over_sse() -> Result<()> {
    sees_the_same(Client::NpmV1Sse, Client::NpmV1)
}

#[test]
fn npm_v1_sees_the_same_over_websocket() -> Result<()> {
    sees_the_same_at("/mcp/fixture", Client::NpmV1WebSocket, Client::NpmV1)
}

#[test]
fn npm_v2_sees_the_same_over_sse() -> Result<()> {
    sees_the_same(Client::NpmV2Sse, Client::NpmV2Legacy)
}

#[test]
fn python_v1_sees_the_same_over_sse() -> Result<()> {
    sees_the_same(Client::PythonV1Sse, Client::PythonV1)
}

#[test]
fn python_v2_sees_the_same_over_sse() -> Result<()> {
    sees_the_same(Client::PythonV2Sse, Client::PythonV2Legacy)
}

#[test]
fn python_v1_sees_the_same_over_websocket() -> Result<()> {
    sees_the_same_at("/mcp/fixture", Client::PythonV1WebSocket, Client::PythonV1)
}

#[test]
fn fastmcp_sees_the_same_over_sse() -> Result<()> {
    sees_the_same(Client::FastMcpSse, Client::FastMcpLegacy)
}
