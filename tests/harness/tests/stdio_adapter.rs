//! A stdio server behind the adapter that runs in its pod: clients of both generations, sessions and their bound. Changes
//! when the adapter serves differently.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bridge_tests::http::{Response, Url, get, request};
use bridge_tests::metrics::pause;
use bridge_tests::process::wait_gone;
use bridge_tests::raw::ACCEPT;
use bridge_tests::{Adapter, Era, LegacySession, ModernClient, PATIENCE, TestServer};
use serde_json::{Value, json};

fn pid(result: &Value) -> Result<i32> {
    let pid = result["structuredContent"]["pid"].as_i64().with_context(|| format!("whoami said {result}"))?;
    Ok(pid.try_into()?)
}

fn legacy_pid(session: &mut LegacySession) -> Result<i32> {
    pid(&session.request("tools/call", &json!({ "name": "whoami" }))?.into_result()?)
}

/// An `initialize` as it is answered.
fn initialize(url: &str) -> Result<Response> {
    let params = json!({
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "one-more", "version": "1" },
    });
    let message = json!({ "jsonrpc": "2.0", "id": "first", "method": "initialize", "params": params });
    let headers = [("Content-Type", "application/json"), ("Accept", ACCEPT)];
    request("POST", &Url::parse(url)?, &headers, message.to_string().as_bytes())
}

#[test]
fn clients_of_both_generations_reach_a_server_of_any_unchanged() -> Result<()> {
    for era in [Era::Legacy, Era::Modern, Era::Both] {
        let adapter = Adapter::start(&[], &TestServer::stdio(era)?)?;
        let mut session = LegacySession::open(&adapter.url(), &json!({}))?;
        // As the server says it, and not a gateway for it.
        ensure!(session.initialize_result()["serverInfo"]["name"] == "mcp-test-server", "{era:?}");
        ensure!(session.list("tools/list", "tools")?.len() > 40, "{era:?}");
        legacy_pid(&mut session)?;
        let mut client = ModernClient::new(&adapter.url(), &json!({}))?;
        let hello = client.request("server/discover", &json!({}))?.into_result()?;
        let info = &hello["_meta"]["io.modelcontextprotocol/serverInfo"];
        ensure!(info["name"] == "mcp-test-server", "{era:?}: {hello}");
        ensure!(client.list("tools/list", "tools")?.len() > 40, "{era:?}");
        pid(&client.request("tools/call", &json!({ "name": "whoami" }))?.into_result()?)?;
    }
    Ok(())
}

#[test]
fn a_server_can_ask_the_client_of_its_session() -> Result<()> {
    let adapter = Adapter::start(&[], &TestServer::stdio(Era::Legacy)?)?;
    let mut session = LegacySession::open(&adapter.url(), &json!({ "sampling": {} }))?;
    session.on_server_request(|method, _| {
        assert_eq!(method, "sampling/createMessage");
        json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "forty-two" } })
    });
    let call = json!({ "name": "test_sampling", "arguments": { "prompt": "how many?" } });
    let result = session.request("tools/call", &call)?.into_result()?;
    ensure!(result.to_string().contains("forty-two"), "{result}");
    Ok(())
}

#[test]
fn each_session_has_a_process_and_a_place_to_itself_until_it_ends() -> Result<()> {
    let adapter = Adapter::start(&["--max-sessions=2"], &TestServer::stdio(Era::Legacy)?)?;
    let mut sessions =
        [LegacySession::open(&adapter.url(), &json!({}))?, LegacySession::open(&adapter.url(), &json!({}))?];
    let pids = [legacy_pid(&mut sessions[0])?, legacy_pid(&mut sessions[1])?];
    assert_ne!(pids[0], pids[1]);

    let refused = initialize(&adapter.url())?;
    assert_eq!(refused.head.status, 503);
    let wait: u64 = refused.head.header("retry-after").context("Retry-After")?.parse()?;
    assert!((1..=60).contains(&wait), "{wait}");
    let error = &refused.json()?["error"];
    assert_eq!((&error["data"]["reason"], &error["data"]["retry"]), (&json!("exhausted"), &json!("safe")));
    // Those who have a place are served on.
    assert_eq!(legacy_pid(&mut sessions[0])?, pids[0]);

    sessions[0].delete()?;
    wait_gone(&pids[..1], PATIENCE)?;
    let deadline = Instant::now() + PATIENCE;
    while initialize(&adapter.url())?.head.status != 200 {
        ensure!(Instant::now() < deadline, "no place became free after the session had ended");
        pause(Duration::from_millis(20));
    }
    assert_eq!(legacy_pid(&mut sessions[1])?, pids[1]);
    Ok(())
}

#[test]
fn a_session_that_nobody_uses_gives_up_its_place() -> Result<()> {
    let flags = ["--max-sessions=1", "--session-ttl=100ms"];
    let adapter = Adapter::start(&flags, &TestServer::stdio(Era::Legacy)?)?;
    let left = {
        let mut session = LegacySession::open(&adapter.url(), &json!({}))?;
        legacy_pid(&mut session)?
    };
    wait_gone(&[left], PATIENCE)?;
    assert_eq!(initialize(&adapter.url())?.head.status, 200);
    Ok(())
}

#[test]
fn modern_clients_share_processes_within_the_same_bound() -> Result<()> {
    let adapter = Adapter::start(&["--max-sessions=1"], &TestServer::stdio(Era::Legacy)?)?;
    let mut pids = Vec::new();
    for _ in 0..4 {
        let mut client = ModernClient::new(&adapter.url(), &json!({}))?;
        pids.push(pid(&client.request("tools/call", &json!({ "name": "whoami" }))?.into_result()?)?);
    }
    pids.dedup();
    assert_eq!(pids.len(), 1, "{pids:?}");
    Ok(())
}

#[test]
fn it_is_ready_once_its_server_has_answered_and_alive_before() -> Result<()> {
    let mute = Adapter::spawn(&["--metrics=127.0.0.1:0"], &["sleep", "1000"], &[])?;
    let address = bridge_tests::gateway::wait_listening(&mute, "main")?;
    assert_eq!(get(&format!("http://{address}/healthz"))?.head.status, 200);
    assert_eq!(get(&format!("http://{address}/ready"))?.head.status, 503);

    let mut adapter = Adapter::start(&["--metrics=127.0.0.1:0"], &TestServer::stdio(Era::Legacy)?)?;
    let metrics = bridge_tests::gateway::wait_listening(adapter.process(), "metrics")?;
    let page = get(&format!("http://{metrics}/metrics"))?;
    let page = String::from_utf8_lossy(&page.body);
    assert!(page.contains("process_start_time_seconds") && page.contains("mcp_"), "{page}");
    Ok(())
}
