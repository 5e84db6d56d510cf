//! Servers of which only the URL is known: each kind is found out, shown, and found out again when it changes. Changes when
//! another protocol is looked for.

use anyhow::{Result, ensure};
use bridge_tests::fake::{Act, Fake};
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
    ensure!(error.contains("backend_unavailable") && error.contains("credentials"), "{error}");
    assert_eq!(detected(&gateway, "locked")?, json!([null, []]));
    // It was not pestered on other paths.
    assert!(locked.asked().iter().all(|asked| asked.http_method == "POST"), "{:?}", locked.asked());
    Ok(())
}
