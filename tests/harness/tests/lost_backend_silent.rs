//! HTTP servers that say nothing, too little or too late: nobody else waits for them, and whoever asked is told.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use bridge_tests::fake::{Act, Asked, Fake};
use bridge_tests::process::Signal;
use bridge_tests::{
    Backend, Config, Era, Gateway, LegacySession, ModernClient, PATIENCE, RpcError, TestServer,
};
use serde_json::{Value, json};

const UNAVAILABLE: i64 = -32004;
const TIMEOUT: i64 = -32005;

fn sleep(ms: u64) -> Value {
    json!({ "name": "sleep", "arguments": { "ms": ms } })
}

fn expect(error: &RpcError, code: i64, reason: &str, retry: &str, backend: &str) -> Result<()> {
    let data = json!({ "reason": reason, "retry": retry, "backend": backend });
    ensure!(error.code == code && error.data == data, "expected {code} with {data}, got {error}");
    // A client learns the configured name and nothing of the inside.
    ensure!(!error.message.contains("127.0.0.1"), "{error}");
    Ok(())
}

#[test]
fn a_server_that_says_nothing_is_given_up_and_told_so() -> Result<()> {
    let (legacy, modern) = (Fake::legacy(|_| Act::hang())?, Fake::modern(|_| Act::hang())?);
    let limit = |backend: Backend| backend.config("request_timeout", json!("700ms"));
    let config = Config::new()
        .backend(limit(Backend::http("old", &legacy.url()).era("legacy")))
        .backend(limit(Backend::http("new", &modern.url()).era("modern")));
    let gateway = Gateway::start(&config)?;

    let mut old = LegacySession::open(&gateway.url("/mcp/old"), &json!({}))?;
    let begun = Instant::now();
    let error = old.request("tools/call", &json!({ "name": "work" }))?.into_error()?;
    expect(&error, TIMEOUT, "backend_timeout", "may_have_executed", "old")?;
    // The cancellation is not answered either, and nobody waits for that.
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let call = legacy.wait_asked(|asked| asked.method() == "tools/call")?;
    let cancelled = legacy.wait_asked(|asked| asked.method() == "notifications/cancelled")?;
    assert_eq!(cancelled.message["params"]["requestId"], call.message["id"]);

    let mut new = ModernClient::new(&gateway.url("/mcp/new"), &json!({}))?;
    let begun = Instant::now();
    let error = new.request("tools/call", &json!({ "name": "work" }))?.into_error()?;
    expect(&error, TIMEOUT, "backend_timeout", "may_have_executed", "new")?;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    modern.wait_abandoned(1)?;
    Ok(())
}

#[test]
fn a_body_that_stops_in_the_middle_is_given_up() -> Result<()> {
    let stuck = |_: &Asked| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        Act::SendAndHang(format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"a\":\r\n").into_bytes())
    };
    let legacy = Fake::legacy(stuck)?;
    let config = Config::new()
        .backend(Backend::http("old", &legacy.url()).era("legacy").config("request_timeout", json!("700ms")));
    let gateway = Gateway::start(&config)?;
    let mut old = LegacySession::open(&gateway.url("/mcp/old"), &json!({}))?;
    let begun = Instant::now();
    let error = old.request("tools/call", &json!({ "name": "work" }))?.into_error()?;
    expect(&error, TIMEOUT, "backend_timeout", "may_have_executed", "old")?;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    Ok(())
}

#[test]
fn a_silent_server_does_not_hold_up_notifications_levels_or_the_end_of_a_session() -> Result<()> {
    let silent = Fake::legacy(|_| Act::hang())?;
    let config = Config::new()
        .backend(Backend::http("silent", &silent.url()).era("legacy").config("request_timeout", json!("1s")));
    let gateway = Gateway::start(&config)?;
    for path in ["/mcp/silent", "/mcp"] {
        let mut session = LegacySession::open(&gateway.url(path), &json!({}))?;
        session.request("tools/call", &json!({ "name": "work" }))?.into_error()?;
        let begun = Instant::now();
        assert_eq!(session.notify("notifications/roots/list_changed", &json!({}))?.head.status, 202);
        session.request("logging/setLevel", &json!({ "level": "info" }))?;
        assert_eq!(session.delete()?.head.status, 204);
        assert!(begun.elapsed() < Duration::from_secs(8), "{path}: {:?}", begun.elapsed());
    }
    Ok(())
}

#[test]
fn lists_are_whole_and_quick_while_others_are_dead_or_hang_from_the_start() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let silent = Fake::start(|_| Act::hang())?;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = Config::new()
        .http("silent", &silent.url())
        .http("dead", &format!("http://{nobody}/mcp"))
        .http("fixture", fixture.url())
        .stdio("mute", &["sleep", "1000"])
        .stdio("missing", &["/no/such/program"])
        .set("limits", "catalogue_wait", json!("1s"));
    let gateway = Gateway::start(&config)?;
    // Whoever comes first may wait until everybody had a chance, and no longer.
    let begun = Instant::now();
    let mut legacy = LegacySession::open(&gateway.url("/mcp"), &json!({}))?;
    let mut modern = ModernClient::new(&gateway.url("/mcp"), &json!({}))?;
    assert!(legacy.list("tools/list", "tools")?.len() > 40);
    assert!(modern.list("tools/list", "tools")?.len() > 40);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    // From then on they cost nothing.
    let begun = Instant::now();
    for _ in 0..20 {
        assert!(legacy.list("tools/list", "tools")?.len() > 40);
        assert!(modern.list("prompts/list", "prompts")?.len() >= 5);
        let call = json!({ "name": "echo", "arguments": { "message": "hi" } });
        assert_eq!(modern.request("tools/call", &call)?.into_result()?["content"][0]["text"], "hi");
        LegacySession::open(&gateway.url("/mcp"), &json!({}))?;
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    Ok(())
}

#[test]
fn many_calls_to_a_server_that_accepts_and_says_nothing_fail_together() -> Result<()> {
    let silent = Fake::start(|_| Act::hang())?;
    let backend = |era| Backend::http(era, &silent.url()).era(era).config("connect_timeout", json!("1s"));
    let gateway = Gateway::start(&Config::new().backend(backend("legacy")).backend(backend("modern")))?;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..10)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = ModernClient::new(&gateway.url("/mcp/modern"), &json!({}))?;
                    client.request("tools/call", &json!({ "name": "work" }))?.into_error()
                })
            })
            .collect();
        for call in calls {
            let error = call.join().map_err(|_| anyhow!("panic"))??;
            ensure!(error.code == UNAVAILABLE, "{error}");
        }
        Ok(())
    })?;
    assert!(begun.elapsed() < Duration::from_secs(4), "one after the other: {:?}", begun.elapsed());
    Ok(())
}

#[test]
fn a_frozen_server_leaves_its_tools_listed_and_the_others_alone() -> Result<()> {
    let mut frozen = TestServer::http(Era::Both)?;
    let other = TestServer::http(Era::Both)?;
    let config = Config::new()
        .backend(Backend::http("frozen", frozen.url()).config("request_timeout", json!("1s")))
        .http("other", other.url());
    let gateway = Gateway::start(&config)?;
    gateway.wait_backends("legacy", &["frozen", "other"])?;
    gateway.wait_backends("modern", &["frozen", "other"])?;
    let mut client = ModernClient::new(&gateway.url("/mcp"), &json!({}))?;
    let tools = client.list("tools/list", "tools")?.len();
    frozen.process().signal(Signal::STOP)?;
    let begun = Instant::now();
    assert_eq!(client.list("tools/list", "tools")?.len(), tools);
    let call = json!({ "name": "other__echo", "arguments": { "message": "hi" } });
    assert_eq!(client.request("tools/call", &call)?.into_result()?["content"][0]["text"], "hi");
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    let call = json!({ "name": "frozen__echo", "arguments": { "message": "hi" } });
    let error = client.request("tools/call", &call)?.into_error()?;
    expect(&error, TIMEOUT, "backend_timeout", "may_have_executed", "frozen")?;
    frozen.process().signal(Signal::CONT)?;
    assert_eq!(client.request("tools/call", &call)?.into_result()?["content"][0]["text"], "hi");
    Ok(())
}

#[test]
fn calls_over_the_limit_of_a_backend_are_told_to_come_back() -> Result<()> {
    let mut fixture = TestServer::http(Era::Both)?;
    let config =
        Config::new().backend(Backend::http("narrow", fixture.url()).config("max_concurrency", json!(2)));
    let gateway = Gateway::start(&config)?;
    let url = gateway.url("/mcp/narrow");
    let mut modern = ModernClient::new(&url, &json!({}))?;
    let mut legacy = LegacySession::open(&url, &json!({}))?;
    let first = modern.start("tools/call", &sleep(60_000))?;
    let second = legacy.start("tools/call", &sleep(2_000))?;
    let mut started = 0;
    fixture.process().wait_line(PATIENCE, |line| {
        started += usize::from(line.contains("sleep started"));
        (started == 2).then_some(())
    })?;
    let error = modern.request("tools/call", &sleep(1))?.into_error()?;
    expect(&error, UNAVAILABLE, "backend_busy", "safe", "narrow")?;
    let error = legacy.request("tools/call", &sleep(1))?.into_error()?;
    expect(&error, UNAVAILABLE, "backend_busy", "safe", "narrow")?;
    // Both ways to end a call make room: its answer, and its client's leaving.
    legacy.finish(&second.0, second.1)?.into_result()?;
    legacy.request("tools/call", &sleep(1))?.into_result()?;
    drop(first);
    fixture.process().wait_line(PATIENCE, |line| line.contains("sleep cancelled").then_some(()))?;
    let deadline = Instant::now() + PATIENCE;
    while modern.request("tools/call", &sleep(1))?.into_result().is_err() {
        ensure!(Instant::now() < deadline, "no room after the client has left");
    }
    Ok(())
}
