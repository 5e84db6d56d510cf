//! Clients of one generation at servers of the other: what each side would have without a gateway, it has through it.

use anyhow::{Context as _, Result, ensure};
use bridge_tests::{Config, Era, Gateway, LegacySession, ModernClient, TestServer};
use serde_json::{Value, json};

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

/// Answers what a server may ask.
fn answer(request: &Value) -> Value {
    match request["method"].as_str().unwrap_or_default() {
        "elicitation/create" => {
            let content =
                json!({ "username": "ann", "email": "a@b.c", "name": "ann", "color": "red", "ok": true });
            json!({ "action": "accept", "content": content })
        }
        "sampling/createMessage" => {
            json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "forty-two" } })
        }
        _ => json!({ "roots": [{ "uri": "file:///r", "name": "r" }] }),
    }
}

fn everything() -> Value {
    json!({ "sampling": {}, "elicitation": { "form": {}, "url": {} }, "roots": {} })
}

/// A gateway with a server of one generation on each transport.
fn both_transports(era: Era) -> Result<(TestServer, Gateway, [&'static str; 2])> {
    let fixture = TestServer::http(era)?;
    let stdio = TestServer::stdio(era)?;
    let gateway = Gateway::start(&Config::new().http("web", fixture.url()).stdio("child", &stdio))?;
    let offered = if era == Era::Legacy { "legacy" } else { "modern" };
    gateway.wait_backends(offered, &["web", "child"])?;
    Ok((fixture, gateway, ["/mcp/web", "/mcp/child"]))
}

#[test]
fn a_modern_client_uses_legacy_servers() -> Result<()> {
    let (_fixture, gateway, paths) = both_transports(Era::Legacy)?;
    for path in paths.into_iter().chain(["/mcp"]) {
        let prefix = if path == "/mcp" { "web__" } else { "" };
        let mut client = ModernClient::new(&gateway.url(path), &everything())?;
        let discovered = client.request("server/discover", &json!({}))?.into_result()?;
        ensure!(
            discovered["resultType"] == "complete" && discovered["capabilities"]["tools"].is_object(),
            "{discovered}"
        );
        let tools = client.list("tools/list", "tools")?;
        ensure!(
            tools.iter().any(|tool| tool["name"] == format!("{prefix}test_simple_text")),
            "{path}: {tools:?}"
        );
        let tool = |name: &str, arguments: Value| json!({ "name": format!("{prefix}{name}"), "arguments": arguments });
        let plain = client.request("tools/call", &tool("test_simple_text", json!({})))?.into_result()?;
        assert_eq!(plain["resultType"], "complete", "{path}: {plain}");
        assert_eq!(text(&plain), "This is a simple text response for testing.", "{path}");
        let mut ask = |name: &str, arguments: Value| -> Result<Value> {
            let reply = client
                .request_with_input("tools/call", &tool(name, arguments), |_, request| answer(request))?;
            reply.into_result()
        };
        let sampled = ask("test_sampling", json!({ "prompt": "p" }))?;
        assert_eq!(text(&sampled), "LLM response: forty-two", "{path}");
        let elicited = ask("test_elicitation", json!({ "message": "who?" }))?;
        assert!(text(&elicited).contains("ann"), "{path}: {elicited}");
        let two_rounds = ask("test_input_required_result_multi_round", json!({}))?;
        assert_eq!(text(&two_rounds), "ann likes red", "{path}");
        let at_once = ask("test_input_required_result_multiple_inputs", json!({}))?;
        assert_eq!(text(&at_once), "forty-two ann; roots: file:///r", "{path}");
        let read =
            client.request("resources/read", &json!({ "uri": "test://static-text" }))?.into_result()?;
        assert!(read["contents"][0]["text"].is_string() && read["ttlMs"] == 0, "{path}: {read}");
    }
    Ok(())
}

#[test]
fn a_legacy_client_uses_modern_servers() -> Result<()> {
    let (_fixture, gateway, paths) = both_transports(Era::Modern)?;
    for path in paths.into_iter().chain(["/mcp"]) {
        let prefix = if path == "/mcp" { "web__" } else { "" };
        let mut session = LegacySession::open(&gateway.url(path), &everything())?;
        ensure!(
            session.initialize_result()["capabilities"]["tools"].is_object(),
            "{}",
            session.initialize_result()
        );
        let tools = session.list("tools/list", "tools")?;
        ensure!(
            tools.iter().any(|tool| tool["name"] == format!("{prefix}test_simple_text")),
            "{path}: {tools:?}"
        );
        let tool = |name: &str, arguments: Value| json!({ "name": format!("{prefix}{name}"), "arguments": arguments });
        let plain = session.request("tools/call", &tool("test_simple_text", json!({})))?.into_result()?;
        assert!(plain.get("resultType").is_none(), "{path}: {plain}");
        assert_eq!(text(&plain), "This is a simple text response for testing.", "{path}");
        session.on_server_request(|method, _| answer(&json!({ "method": method })));
        let mut ask = |name: &str, arguments: Value| -> Result<Value> {
            session.request("tools/call", &tool(name, arguments))?.into_result()
        };
        assert_eq!(
            text(&ask("test_sampling", json!({ "prompt": "p" }))?),
            "LLM response: forty-two",
            "{path}"
        );
        assert!(text(&ask("test_elicitation", json!({ "message": "who?" }))?).contains("ann"), "{path}");
        assert_eq!(
            text(&ask("test_input_required_result_multi_round", json!({}))?),
            "ann likes red",
            "{path}"
        );
        let at_once = ask("test_input_required_result_multiple_inputs", json!({}))?;
        assert_eq!(text(&at_once), "forty-two ann; roots: file:///r", "{path}");
        let read =
            session.request("resources/read", &json!({ "uri": "test://static-text" }))?.into_result()?;
        assert!(read.get("ttlMs").is_none() && read["contents"][0]["text"].is_string(), "{path}: {read}");
    }
    Ok(())
}

#[test]
fn a_listen_at_a_legacy_server_hears_changes_and_updates() -> Result<()> {
    let (_fixture, gateway, _) = both_transports(Era::Legacy)?;
    let mut client = ModernClient::new(&gateway.url("/mcp/web"), &json!({}))?;
    let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": ["test://watched-resource"] });
    let (acknowledged, mut stream) = client.listen(&filter)?;
    assert_eq!(acknowledged["params"]["notifications"], filter, "{acknowledged}");
    let call = |name: &str| json!({ "name": name, "arguments": {} });
    client.request("tools/call", &call("test_trigger_tool_change"))?.into_result()?;
    let change = stream.next_message()?.context("the listen ended")?;
    assert_eq!(change["method"], "notifications/tools/list_changed", "{change}");
    Ok(())
}
