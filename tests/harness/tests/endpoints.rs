//! Backends with several endpoints: conversations are spread over them, stay where they opened, and move on when their
//! endpoint is away. Changes when endpoints are chosen differently.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use bridge_tests::process::Signal;
use bridge_tests::{Backend, Config, Era, Gateway, LegacySession, ModernClient, PATIENCE, TestServer, http};
use serde_json::{Value, json};

fn who() -> Value {
    json!({ "name": "whoami" })
}

/// The process that answered.
fn pid(result: &Value) -> Result<u64> {
    result["structuredContent"]["pid"].as_u64().with_context(|| format!("whoami said {result}"))
}

fn several(servers: &[&TestServer]) -> Config {
    let urls: Vec<_> = servers.iter().map(|server| server.url()).collect();
    let backend = json!({ "name": "several", "protocol": "http", "config": { "endpoints": urls } });
    Config::new().backend(Backend::http("several", "").key("config", backend["config"].clone()))
}

#[test]
fn sessions_are_spread_over_the_endpoints_and_each_stays_at_its_own() -> Result<()> {
    let servers =
        [TestServer::http(Era::Legacy)?, TestServer::http(Era::Legacy)?, TestServer::http(Era::Legacy)?];
    let gateway = Gateway::start(&several(&servers.iter().collect::<Vec<_>>()))?;
    gateway.wait_backends("legacy", &["several"])?;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(LegacySession::open(&gateway.url("/mcp/several"), &json!({}))?);
    }
    let mut at = BTreeMap::new();
    for session in &mut sessions {
        let first = pid(&session.request("tools/call", &who())?.into_result()?)?;
        for _ in 0..3 {
            assert_eq!(pid(&session.request("tools/call", &who())?.into_result()?)?, first);
        }
        *at.entry(first).or_insert(0) += 1;
    }
    assert_eq!(at.values().copied().collect::<Vec<_>>(), [2, 2, 2], "{at:?}");
    Ok(())
}

#[test]
fn a_session_whose_endpoint_is_away_goes_on_at_another_without_an_error() -> Result<()> {
    let mut first = TestServer::http(Era::Both)?;
    let second = TestServer::http(Era::Both)?;
    let gateway = Gateway::start(&several(&[&first, &second]))?;
    gateway.wait_backends("legacy", &["several"])?;
    let url = gateway.url("/mcp/several");
    let mut sessions = [LegacySession::open(&url, &json!({}))?, LegacySession::open(&url, &json!({}))?];
    let mut modern = ModernClient::new(&url, &json!({}))?;
    let mut pids = Vec::new();
    for session in &mut sessions {
        pids.push(pid(&session.request("tools/call", &who())?.into_result()?)?);
    }
    assert_ne!(pids[0], pids[1], "one session at each");
    modern.request("tools/call", &who())?.into_result()?;

    first.process().signal(Signal::KILL)?;
    first.process().wait_exit(PATIENCE)?;
    for session in &mut sessions {
        let now = pid(&session.request("tools/call", &who())?.into_result()?)?;
        assert!(pids.contains(&now));
    }
    modern.request("tools/call", &who())?.into_result()?;
    // New ones do not even try it while it is known to be away.
    for _ in 0..4 {
        let mut session = LegacySession::open(&url, &json!({}))?;
        session.request("tools/call", &who())?.into_result()?;
    }
    let health = http::get(&gateway.url("/health"))?.json()?;
    let backend = &health["subsystems"]["backends"]["several"];
    assert_eq!((&backend["endpoints"], &backend["failing_endpoints"]), (&json!(2), &json!(1)), "{health}");
    assert_eq!(backend["healthy"], true, "{health}");
    Ok(())
}

#[test]
fn an_endpoint_that_was_never_there_delays_nobody_and_is_used_when_it_comes() -> Result<()> {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?;
    let absent = nobody.local_addr()?.port();
    drop(nobody);
    let present = TestServer::http(Era::Legacy)?;
    let urls = [format!("http://127.0.0.1:{absent}/mcp"), present.url().to_owned()];
    let backend = Backend::http("several", &urls[0]).config("endpoints", json!([urls[1]]));
    let gateway = Gateway::start(&Config::new().backend(backend))?;
    gateway.wait_backends("legacy", &["several"])?;
    let open = || LegacySession::open(&gateway.url("/mcp/several"), &json!({}));
    for _ in 0..4 {
        open()?.request("tools/call", &who())?.into_result()?;
    }
    let _late = TestServer::http_on(Era::Legacy, absent)?;
    let here = pid(&open()?.request("tools/call", &who())?.into_result()?)?;
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let now = pid(&open()?.request("tools/call", &who())?.into_result()?)?;
        if now != here {
            return Ok(());
        }
        anyhow::ensure!(std::time::Instant::now() < deadline, "the endpoint that came back is never used");
    }
}
