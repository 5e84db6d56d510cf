//! Servers of which only the URL is known: each kind is found out, shown, and found out again when it changes. Changes when
//! another protocol is looked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use bridge_tests::fake::{Act, Asked, Fake};
use bridge_tests::fake_sse::{FakeSse, push_result};
use bridge_tests::{Backend, Config, Era, Gateway, LegacySession, ModernClient, TestServer, http, peers};
use serde_json::{Value, json};

fn detected(gateway: &Gateway, backend: &str) -> Result<Value> {
    let health = http::get(&gateway.url("/health"))?.json()?;
    let backend = &health["subsystems"]["backends"][backend];
    Ok(json!([backend["protocol"], backend["generations"]]))
}

#[test]
fn each_kind_of_server_is_found_out_and_shown() -> Result<()> {
    let (_everything, sse) = peers::everything_sse()?;
    let (_streamable, streamable) = peers::everything_http()?;
    let modern = TestServer::http(Era::Modern)?;
    let both = TestServer::http(Era::Both)?;
    let config = Config::new()
        .backend(Backend::url("sse", &sse))
        .backend(Backend::url("legacy", &streamable))
        .backend(Backend::url("modern", modern.url()))
        .backend(Backend::url("both", both.url()));
    let gateway = Gateway::start(&config)?;
    gateway.wait_backends("legacy", &["sse", "legacy", "both"])?;
    gateway.wait_backends("modern", &["modern", "both"])?;
    for (backend, shown) in [
        ("sse", json!(["sse", ["legacy"]])),
        ("legacy", json!(["streamable_http", ["legacy"]])),
        ("modern", json!(["streamable_http", ["modern"]])),
        ("both", json!(["streamable_http", ["modern", "legacy"]])),
    ] {
        assert_eq!(detected(&gateway, backend)?, shown, "{backend}");
        let said = |line: &Value| {
            line["msg"] == "protocol detected" && line["backend"] == backend && line["protocol"] == shown[0]
        };
        gateway.wait_log(bridge_tests::PATIENCE, said)?;
    }
    for backend in ["sse", "legacy"] {
        let mut session = LegacySession::open(&gateway.url(&format!("/mcp/{backend}")), &json!({}))?;
        let echo = json!({ "name": "echo", "arguments": { "message": backend } });
        let result = session.request("tools/call", &echo)?.into_result()?;
        assert_eq!(result["content"][0]["text"], format!("Echo: {backend}"));
    }
    let mut client = ModernClient::new(&gateway.url("/mcp/modern"), &json!({}))?;
    client.request("tools/call", &json!({ "name": "whoami" }))?.into_result()?;
    Ok(())
}

#[test]
fn the_address_alone_is_enough_for_the_usual_paths() -> Result<()> {
    let server = FakeSse::start(|asked, streams| push_result(streams, asked, &json!({ "content": [] })))?;
    let config = Config::new().set("service_discovery", "auto_detect_protocols", true.into()).set(
        "service_discovery",
        "static",
        json!({
            "endpoints": { "found": [{ "url": format!("http://{}", server.address()) }] }
        }),
    );
    let gateway = Gateway::start(&config)?;
    gateway.wait_backends("legacy", &["found"])?;
    assert_eq!(detected(&gateway, "found")?, json!(["sse", ["legacy"]]));
    let mut session = LegacySession::open(&gateway.url("/mcp/found"), &json!({}))?;
    session.request("tools/call", &json!({ "name": "work" }))?.into_result()?;
    Ok(())
}

#[test]
fn a_server_that_is_away_or_refuses_credentials_has_said_nothing() -> Result<()> {
    let locked = Fake::start(|_| Act::reply(401, "text/plain", "who are you?"))?;
    let config = Config::new().backend(Backend::url("locked", &locked.url()));
    let gateway = Gateway::start(&config)?;
    let error = LegacySession::open(&gateway.url("/mcp/locked"), &json!({})).err();
    let error = error.map(|error| error.to_string()).unwrap_or_default();
    ensure!(error.contains("backend_credential") && error.contains("credentials"), "{error}");
    assert_eq!(detected(&gateway, "locked")?, json!([null, []]));
    // It was not pestered on other paths.
    assert!(locked.asked().iter().all(|asked| asked.http_method == "POST"), "{:?}", locked.asked());
    Ok(())
}

/// A server's answer to `server/discover`.
fn discovered(asked: &Asked) -> Act {
    let result = json!({
        "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} },
        "ttlMs": 0, "cacheScope": "private",
    });
    Act::result(asked, &result)
}

/// A server's answer to a call, which says how it came.
fn worked(asked: &Asked) -> Act {
    let how = if asked.header("mcp-session-id").is_some() { "in a session" } else { "on its own" };
    Act::result(asked, &json!({ "resultType": "complete", "content": [{ "type": "text", "text": how }] }))
}

fn failed() -> Act {
    Act::reply(500, "text/html", "<h1>Internal Server Error</h1>")
}

fn call(client: &mut ModernClient) -> Result<Value> {
    let result = client.request("tools/call", &json!({ "name": "work" }))?.into_result()?;
    Ok(result["content"][0]["text"].clone())
}

#[test]
fn a_server_that_fails_at_the_newer_opening_is_served_in_the_older_one_until_it_does_not() -> Result<()> {
    let works = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&works);
    let server = Fake::legacy(move |asked| match asked.method() {
        "server/discover" if is_well.load(Ordering::SeqCst) => discovered(asked),
        "server/discover" => failed(),
        _ => worked(asked),
    })?;
    let gateway = Gateway::start(&Config::new().http("fixture", &server.url()))?;
    let mut client = ModernClient::new(&gateway.url("/mcp/fixture"), &json!({}))?;
    assert_eq!(call(&mut client)?, "in a session");
    assert_eq!(detected(&gateway, "fixture")?, json!(["streamable_http", ["legacy"]]));

    // Whatever the trouble was, it is believed no longer than any other.
    works.store(true, Ordering::SeqCst);
    gateway.wait_backends("modern", &["fixture"])?;
    assert_eq!(call(&mut client)?, "on its own");
    Ok(())
}

#[test]
fn a_server_that_fails_at_everything_is_of_no_generation() -> Result<()> {
    let works = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&works);
    let server = Fake::start(move |asked| match asked.method() {
        _ if !is_well.load(Ordering::SeqCst) => failed(),
        "server/discover" => discovered(asked),
        "initialize" => Act::reply(400, "text/plain", "what is that?"),
        _ => worked(asked),
    })?;
    let gateway = Gateway::start(&Config::new().http("fixture", &server.url()))?;
    let mut client = ModernClient::new(&gateway.url("/mcp/fixture"), &json!({}))?;
    let error = client.request("tools/call", &json!({ "name": "work" }))?.into_error()?;
    ensure!(error.data["reason"] == "backend_lost" && error.data["backend"] == "fixture", "{error}");
    server.wait_asked(|asked| asked.method() == "initialize")?;

    // No verdict is left behind.
    works.store(true, Ordering::SeqCst);
    assert_eq!(call(&mut client)?, "on its own");
    Ok(())
}
