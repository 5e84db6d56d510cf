//! Bare JSON-RPC over WebSocket: both generations on one connection, through the same stages as HTTP. Changes when such
//! clients are served differently.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::{Config, Era, Gateway, PATIENCE, Peer, TestServer, WebSocket};
use serde_json::{Value, json};

fn call(name: &str, arguments: &Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

/// A gateway with one backend on each transport, both read.
fn both_transports() -> Result<(TestServer, Gateway)> {
    let fixture = TestServer::http(Era::Both)?;
    let stdio = TestServer::stdio(Era::Both)?;
    let gateway = Gateway::start(&Config::new().http("web", fixture.url()).stdio("child", &stdio))?;
    for era in ["legacy", "modern"] {
        gateway.wait_backends(era, &["web", "child"])?;
    }
    Ok((fixture, gateway))
}

fn connect(gateway: &Gateway, path: &str) -> Result<Peer<WebSocket>> {
    Ok(Peer::new(WebSocket::connect(&gateway.url(path))?))
}

#[test]
fn both_generations_work_on_one_connection_over_every_transport() -> Result<()> {
    let (_fixture, gateway) = both_transports()?;
    for path in ["/mcp/web", "/mcp/child"] {
        let mut client = connect(&gateway, path)?;
        ensure!(client.wire().header("sec-websocket-protocol") == Some("mcp"), "subprotocol");
        ensure!(client.call("ping", &json!({}))? == json!({}), "ping before the session");
        let discovered = client.modern("server/discover", &json!({}))?;
        ensure!(discovered["supportedVersions"].to_string().contains("2026-07-28"), "{discovered}");
        let opened = client.initialize(&json!({}))?;
        ensure!(opened["protocolVersion"] == "2025-11-25", "{opened}");
        for message in ["eins", "zwei"] {
            let legacy = client.call("tools/call", &call("echo", &json!({ "message": message })))?;
            ensure!(text(&legacy) == message && legacy.get("resultType").is_none(), "{legacy}");
            let modern = client.modern("tools/call", &call("echo", &json!({ "message": message })))?;
            ensure!(text(&modern) == message && modern["resultType"] == "complete", "{modern}");
        }
        client.wire().close()?;
    }
    Ok(())
}

#[test]
fn any_other_path_serves_all_backends_and_unknown_namespaces_are_refused() -> Result<()> {
    let (_fixture, gateway) = both_transports()?;
    for path in ["/", "/ws", "/mcp", "/some/where?x=1"] {
        let mut client = connect(&gateway, path)?;
        client.initialize(&json!({}))?;
        let listed = client.call("tools/list", &json!({}))?;
        let names: BTreeSet<_> = listed["tools"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tool| tool["name"].as_str())
            .collect();
        ensure!(names.contains("web__echo"), "{path}: {names:?}");
        let echoed = client.call("tools/call", &call("child__echo", &json!({ "message": path })))?;
        ensure!(text(&echoed) == path, "{echoed}");
    }
    let refused = WebSocket::open(&gateway.url("/mcp/nobody"), &[])?.err().context("refused")?;
    ensure!(refused.head.status == 404, "{:?}", refused.head);
    let health = WebSocket::open(&gateway.url("/healthz"), &[])?.err().context("no upgrade")?;
    ensure!(health.head.status == 200, "{:?}", health.head);
    Ok(())
}

#[test]
fn a_thousand_calls_at_once_keep_their_ids() -> Result<()> {
    let (_fixture, gateway) = both_transports()?;
    let mut client = connect(&gateway, "/mcp/web")?;
    client.initialize(&json!({}))?;
    let ids: Vec<Value> = (0..1000)
        .map(|n| if n % 2 == 0 { json!(n + 1_000_000) } else { json!(format!("req.{n}:a")) })
        .collect();
    for id in &ids {
        let params = call("echo", &json!({ "message": format!("for {id}") }));
        client.send(&json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }))?;
    }
    let mut answered = BTreeSet::new();
    for _ in &ids {
        let answer = client.read()?.context("an answer")?;
        let id = &answer["id"];
        ensure!(text(&answer["result"]) == format!("for {id}"), "{answer}");
        ensure!(answered.insert(id.to_string()), "{id} was answered twice");
    }
    ensure!(answered == ids.iter().map(ToString::to_string).collect(), "every id was answered");
    Ok(())
}

#[test]
fn progress_logs_and_questions_come_before_the_answer() -> Result<()> {
    let (_fixture, gateway) = both_transports()?;
    for path in ["/mcp/web", "/mcp/child"] {
        let mut client = connect(&gateway, path)?;
        client.initialize(&json!({ "sampling": {} }))?;
        let mut params = call("test_tool_with_progress", &json!({}));
        params["_meta"] = json!({ "progressToken": "p" });
        let id = client.start("tools/call", &params)?;
        let first = client.read()?.context("a message")?;
        ensure!(first["method"] == "notifications/progress", "{path}: {first}");
        ensure!(first["params"]["progressToken"] == "p", "{first}");
        ensure!(client.answer(&id)?.get("result").is_some(), "{path}: the answer");

        let id = client.start("tools/call", &call("test_sampling", &json!({ "prompt": "hi" })))?;
        let question = client.wait(|message| message["method"] == "sampling/createMessage")?;
        let reply =
            json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "hello" } });
        client.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": reply }))?;
        let answer = client.answer(&id)?;
        ensure!(answer["result"].to_string().contains("hello"), "{path}: {answer}");
    }
    Ok(())
}

#[test]
fn a_cancelled_call_is_cancelled_at_its_backend_in_either_generation() -> Result<()> {
    let (mut fixture, gateway) = both_transports()?;
    let mut client = connect(&gateway, "/mcp/web")?;
    client.initialize(&json!({}))?;
    for (round, modern) in [false, true].into_iter().enumerate() {
        let params = call("sleep", &json!({ "ms": 600_000 }));
        let id = if modern {
            client.start_modern("tools/call", &params)?
        } else {
            client.start("tools/call", &params)?
        };
        happened(&mut fixture, "sleep started", round + 1)?;
        client.notify("notifications/cancelled", &json!({ "requestId": id, "reason": "enough" }))?;
        happened(&mut fixture, "sleep cancelled", round + 1)?;
    }
    ensure!(client.call("ping", &json!({}))? == json!({}), "no answer to what was cancelled came before");
    Ok(())
}

#[test]
fn leaving_in_mid_call_ends_the_session_and_cancels_the_modern_call() -> Result<()> {
    let (mut fixture, gateway) = both_transports()?;
    let mut client = connect(&gateway, "/mcp/web")?;
    client.initialize(&json!({}))?;
    client.start_modern("tools/call", &call("sleep", &json!({ "ms": 600_000 })))?;
    happened(&mut fixture, "sleep started", 1)?;
    drop(client);
    happened(&mut fixture, "sleep cancelled", 1)?;
    Ok(())
}

#[test]
fn a_listen_is_tagged_and_ends_with_its_cancellation() -> Result<()> {
    let (_fixture, gateway) = both_transports()?;
    let mut client = connect(&gateway, "/mcp")?;
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let id = client.start_modern("subscriptions/listen", &filter)?;
    let tag = "io.modelcontextprotocol/subscriptionId";
    let first = client.read()?.context("the acknowledgement")?;
    ensure!(first["method"] == "notifications/subscriptions/acknowledged", "{first}");
    ensure!(first["params"]["_meta"][tag] == id, "{first}");
    client.modern("tools/call", &call("web__test_trigger_tool_change", &json!({})))?;
    let news = client.wait(|message| message["method"] == "notifications/tools/list_changed")?;
    ensure!(news["params"]["_meta"][tag] == id, "{news}");
    client.notify("notifications/cancelled", &json!({ "requestId": id }))?;
    client.modern("tools/call", &call("web__test_trigger_tool_change", &json!({})))?;
    let next = client.modern("server/discover", &json!({}))?;
    ensure!(next["resultType"] == "complete", "{next}");
    Ok(())
}

/// Waits until this has happened in the HTTP fixture this often.
fn happened(fixture: &mut TestServer, what: &str, times: usize) -> Result<()> {
    let mut seen = 0;
    fixture.process().wait_line(PATIENCE, |line| {
        seen += usize::from(line.contains(what));
        (seen >= times).then_some(())
    })
}
