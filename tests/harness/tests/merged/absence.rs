//! Backends that could be missing: of the other generation, forbidden, late, gone, or silent. Changes
//! when absence is handled otherwise.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bridge_tests::fake::{Act, Fake};
use bridge_tests::{
    Backend, Config, Era, Exchange, Gateway, LegacySession, ModernClient, PATIENCE, TestServer,
};
use serde_json::json;

use crate::support::{Client, Several, quiet};

#[test]
fn the_unrenamed_endpoint_serves_the_other_generation() -> Result<()> {
    let several = Several::start()?;
    for (backend, tool) in [("old", "whoami"), ("odd", "work"), ("new", "whoami"), ("odder", "work")] {
        let url = several.gateway.url(&format!("/mcp/{backend}"));
        let session = LegacySession::open(&url, &json!({}))?;
        assert_eq!(session.initialize_result()["protocolVersion"], "2025-11-25", "{backend}");
        let mut client = ModernClient::new(&url, &json!({}))?;
        let discovered = client.request("server/discover", &json!({}))?.into_result()?;
        assert_eq!(discovered["supportedVersions"], json!(["2026-07-28"]), "{backend}");
        for mut client in [Client::Legacy(session), Client::Modern(client)] {
            assert!(client.tools()?.contains(tool), "{backend} renames nothing");
            let result = client.call(tool)?;
            assert!(result["content"][0]["text"].is_string(), "{backend}: {result}");
        }
    }
    Ok(())
}

#[test]
fn a_backend_whose_only_generation_is_forbidden_says_so_and_is_missing_from_the_lists() -> Result<()> {
    let (old, new) = (TestServer::http(Era::Legacy)?, TestServer::http(Era::Modern)?);
    let config = quiet()
        .backend(Backend::http("not-old", old.url()).era("modern"))
        .backend(Backend::http("not-new", new.url()).era("legacy"));
    let gateway = Gateway::start(&config)?;
    for mut client in Client::of_both(&gateway)? {
        assert_eq!(client.tools()?, BTreeSet::new());
    }
    for (backend, only) in [("not-old", "2026-07-28"), ("not-new", "legacy")] {
        let url = gateway.url(&format!("/mcp/{backend}"));
        let mut client = ModernClient::new(&url, &json!({}))?;
        let of_modern = client.request("tools/call", &json!({ "name": "echo" }))?.into_error()?;
        let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } } });
        let response = bridge_tests::raw::Request::post(hello.to_string()).send(&url)?;
        let of_legacy = bridge_tests::raw::answer(&response)?["error"].clone();
        let of_modern =
            json!({ "code": of_modern.code, "message": of_modern.message, "data": of_modern.data });
        for error in [of_modern, of_legacy] {
            assert_eq!(
                (&error["code"], &error["data"]["reason"]),
                (&json!(-32603), &json!("era_mismatch")),
                "{error}"
            );
            let message = error["message"].as_str().unwrap_or_default();
            assert!(message.contains(backend) && message.contains(only), "{error}");
        }
    }
    Ok(())
}

#[test]
fn the_first_list_waits_for_a_slow_server_of_the_other_generation() -> Result<()> {
    let slow = Fake::start(|asked| match asked.method() {
        "initialize" => {
            std::thread::sleep(Duration::from_millis(500));
            let result = json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
                "serverInfo": { "name": "slow", "version": "0" } });
            Act::result(asked, &result)
        }
        "tools/list" => {
            Act::result(asked, &json!({ "tools": [{ "name": "work", "inputSchema": { "type": "object" } }] }))
        }
        _ => Act::reply(202, "text/plain", ""),
    })?;
    let gateway = Gateway::start(&quiet().backend(Backend::http("slow", &slow.url()).era("legacy")))?;
    let mut client = ModernClient::new(&gateway.url("/mcp"), &json!({}))?;
    let tools = client.list("tools/list", "tools")?;
    assert!(tools.iter().any(|tool| tool["name"] == "work"), "{tools:?}");
    Ok(())
}

#[test]
fn a_backend_that_comes_late_appears_and_is_announced() -> Result<()> {
    // Somebody must have had the port, so that it is free now.
    let early = TestServer::http(Era::Both)?;
    let (url, port) = (early.url().to_owned(), early.port()?);
    drop(early);
    let config = quiet()
        .http("late", &url)
        .backend(Backend::http("odd", &Fake::legacy(|_| Act::hang())?.url()).era("legacy"));
    let gateway = Gateway::start(&config)?;
    let mut session = LegacySession::open(&gateway.url("/mcp"), &json!({}))?;
    let mut client = ModernClient::new(&gateway.url("/mcp"), &json!({}))?;
    let has_echo = |tools: Vec<serde_json::Value>| tools.iter().any(|tool| tool["name"] == "echo");
    assert!(
        !has_echo(session.list("tools/list", "tools")?) && !has_echo(client.list("tools/list", "tools")?)
    );
    let error = client.request("tools/call", &json!({ "name": "echo" }))?.into_error()?;
    assert!(error.code == -32602 && error.message.contains("not available now"), "{error}");
    let mut stream = session.listen()?;
    let (_, mut listen) = client.listen(&json!({ "toolsListChanged": true }))?;

    let _late = TestServer::http_on(Era::Both, port)?;

    wait_for_tools(&mut stream)?;
    assert!(has_echo(session.list("tools/list", "tools")?));
    wait_for_tools(&mut listen)?;
    assert!(has_echo(client.list("tools/list", "tools")?));
    let call = json!({ "name": "echo", "arguments": { "message": "here" } });
    for reply in [session.request("tools/call", &call)?, client.request("tools/call", &call)?] {
        assert_eq!(reply.into_result()?["content"][0]["text"], "here");
    }
    Ok(())
}

/// Reads up to the news of changed tools; news of other lists may come before.
fn wait_for_tools(stream: &mut Exchange) -> Result<()> {
    loop {
        let message = stream.next_message()?.context("the stream ended")?;
        if message["method"] == "notifications/tools/list_changed" {
            return Ok(());
        }
    }
}

#[test]
fn a_silent_backend_delays_the_first_lists_only_and_empties_none() -> Result<()> {
    let silent = Fake::start(|_| Act::hang())?;
    let config = Config::new()
        .set("limits", "catalogue_wait", json!("1s"))
        .http("silent", &silent.url())
        .stdio("child", &TestServer::stdio(Era::Both)?);
    let gateway = Gateway::start(&config)?;
    gateway.wait_backends("legacy", &["child"])?;
    gateway.wait_backends("modern", &["child"])?;
    silent.wait_asked(|asked| asked.method() == "initialize")?;
    let asked = Instant::now();
    let mut clients = Client::of_both(&gateway)?;
    for client in &mut clients {
        assert!(client.tools()?.contains("echo"));
    }
    ensure!(asked.elapsed() < Duration::from_secs(3), "the first lists took {:?}", asked.elapsed());
    let again = Instant::now();
    for client in &mut clients {
        assert!(client.tools()?.contains("echo"));
        client.call("whoami")?;
    }
    ensure!(again.elapsed() < Duration::from_secs(1), "later lists took {:?}", again.elapsed());
    Ok(())
}

#[test]
fn a_backend_that_dies_keeps_its_names_and_harms_no_other() -> Result<()> {
    let mut dying = TestServer::http(Era::Both)?;
    let config = Config::new().http("dying", dying.url()).stdio("child", &TestServer::stdio(Era::Both)?);
    let gateway = Gateway::start(&config)?;
    let mut clients = Client::of_both(&gateway)?;
    let before: Vec<_> = clients.iter_mut().map(Client::tools).collect::<Result<_>>()?;
    assert!(
        before.iter().all(|tools| tools.contains("dying__echo") && tools.contains("child__echo")),
        "{before:?}"
    );

    dying.process().signal(bridge_tests::process::Signal::KILL)?;
    dying.process().wait_exit(PATIENCE)?;

    for (client, before) in clients.iter_mut().zip(before) {
        let started = Instant::now();
        let error = client.request("tools/call", &json!({ "name": "dying__whoami" }))?.into_error()?;
        assert_eq!(error.data["backend"], "dying", "{error}");
        assert_eq!(client.tools()?, before, "names do not change because a backend is away");
        client.call("child__whoami")?;
        ensure!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    Ok(())
}
