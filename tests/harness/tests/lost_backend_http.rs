//! Backends on HTTP that are away, that lie, that break off and that say nothing: the call in question gets a typed
//! error in time, nobody else notices, and nothing needs a restart. Changes when the client half of HTTP changes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bridge_tests::fake::{Act, Asked, Fake, response};
use bridge_tests::process::Signal;
use bridge_tests::raw::{Request, answer, serves};
use bridge_tests::{
    Backend, Config, Era, Gateway, LegacySession, ModernClient, PATIENCE, RpcError, TestServer,
};
use serde_json::{Value, json};

const UNAVAILABLE: i64 = -32004;
const INTERNAL: i64 = -32603;

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
fn a_server_killed_mid_call_fails_that_call_only_and_serves_again_when_it_is_back() -> Result<()> {
    let mut doomed = TestServer::http(Era::Both)?;
    let port = doomed.port()?;
    let other = TestServer::http(Era::Both)?;
    let config = Config::new().http("doomed", doomed.url()).http("other", other.url());
    let gateway = Gateway::start(&config)?;
    let mut legacy = LegacySession::open(&gateway.url("/mcp/doomed"), &json!({}))?;
    let mut modern = ModernClient::new(&gateway.url("/mcp/doomed"), &json!({}))?;
    let mut bystander = ModernClient::new(&gateway.url("/mcp/other"), &json!({}))?;
    let session = legacy.id().map(str::to_owned);
    legacy.request("tools/call", &json!({ "name": "whoami" }))?.into_result()?;

    let (legacy_id, legacy_call) = legacy.start("tools/call", &sleep(60_000))?;
    let (modern_id, modern_call) = modern.start("tools/call", &sleep(60_000))?;
    let (other_id, other_call) = bystander.start("tools/call", &sleep(1_000))?;
    let mut started = 0;
    doomed.process().wait_line(PATIENCE, |line| {
        started += usize::from(line.contains("sleep started"));
        (started == 2).then_some(())
    })?;
    let killed = Instant::now();
    doomed.process().signal(Signal::KILL)?;

    let error = modern_call.finish(&modern_id, |_| Ok(()))?.into_error()?;
    expect(&error, UNAVAILABLE, "backend_lost", "may_have_executed", "doomed")?;
    assert!(killed.elapsed() < Duration::from_secs(1), "modern after {:?}", killed.elapsed());
    let error = legacy.finish(&legacy_id, legacy_call)?.into_error()?;
    expect(&error, UNAVAILABLE, "backend_lost", "may_have_executed", "doomed")?;
    assert!(killed.elapsed() < Duration::from_secs(1), "legacy after {:?}", killed.elapsed());
    let text = other_call.finish(&other_id, |_| Ok(()))?.into_result()?;
    assert_eq!(text["content"][0]["text"], "Slept 1000 ms");

    // Away: nothing was sent, so a repetition is safe.
    for _ in 0..2 {
        let error = legacy.request("tools/call", &json!({ "name": "whoami" }))?.into_error()?;
        expect(&error, UNAVAILABLE, "backend_unavailable", "safe", "doomed")?;
        let error = modern.request("tools/call", &json!({ "name": "whoami" }))?.into_error()?;
        expect(&error, UNAVAILABLE, "backend_unavailable", "safe", "doomed")?;
    }

    let _back = TestServer::http_on(Era::Both, port)?;
    for _ in 0..2 {
        legacy.request("tools/call", &json!({ "name": "whoami" }))?.into_result()?;
        modern.request("tools/call", &json!({ "name": "whoami" }))?.into_result()?;
    }
    assert_eq!(legacy.id().map(str::to_owned), session, "the client's session has lived on");
    Ok(())
}

#[test]
fn a_server_that_forgot_its_sessions_gets_new_ones_unasked() -> Result<()> {
    let mut forgetful = TestServer::http(Era::Legacy)?;
    let port = forgetful.port()?;
    let gateway = Gateway::start(&Config::new().http("forgetful", forgetful.url()))?;
    gateway.wait_backends("legacy", &["forgetful"])?;
    let mut session = LegacySession::open(&gateway.url("/mcp/forgetful"), &json!({}))?;
    let who = json!({ "name": "whoami" });
    let before = session.request("tools/call", &who)?.into_result()?;
    // Restarted between two calls: the gateway cannot know before it asks.
    forgetful.process().signal(Signal::KILL)?;
    forgetful.process().wait_exit(PATIENCE)?;
    let _back = TestServer::http_on(Era::Legacy, port)?;
    let url = gateway.url("/mcp/forgetful");
    let id = session.id().context("session")?;
    let call = |number: u32| -> Result<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": number, "method": "tools/call", "params": who });
        answer(&Request::legacy(id, body.to_string()).send(&url)?)
    };
    let call = &call;
    std::thread::scope(|scope| {
        let calls: Vec<_> = (100..108).map(|number| scope.spawn(move || call(number))).collect();
        for call in calls {
            let answer = call.join().map_err(|_| anyhow!("panic"))??;
            let now = &answer["result"]["structuredContent"];
            ensure!(now["pid"].is_u64() && *now != before["structuredContent"], "{answer}");
        }
        Ok(())
    })?;
    // The catalogue heals, too: a new merged list is the whole one.
    let mut merged = LegacySession::open(&gateway.url("/mcp"), &json!({}))?;
    assert!(merged.list("tools/list", "tools")?.len() > 40);
    Ok(())
}

#[test]
fn a_server_that_was_never_there_is_unavailable_in_both_generations() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    // Bound and not listening: nobody else gets the port, and nobody answers on it.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = nobody.local_addr()?;
    drop(nobody);
    let config =
        Config::new().http("absent", &format!("http://{address}/mcp")).http("fixture", fixture.url());
    let gateway = Gateway::start(&config)?;
    let url = gateway.url("/mcp/absent");

    let error = Request::post(
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}"#,
    )
    .send(&url)?;
    let message = error.json()?;
    assert_eq!(error.head.status, 200);
    assert_eq!(error.head.header("mcp-session-id"), None, "no session was opened");
    let data = json!({ "reason": "backend_unavailable", "retry": "safe", "backend": "absent" });
    assert_eq!((&message["error"]["code"], &message["error"]["data"]), (&json!(UNAVAILABLE), &data));

    let error = ModernClient::new(&url, &json!({}))?.request("tools/list", &json!({}))?.into_error()?;
    expect(&error, UNAVAILABLE, "backend_unavailable", "safe", "absent")?;
    let mut merged = ModernClient::new(&gateway.url("/mcp"), &json!({}))?;
    assert!(merged.list("tools/list", "tools")?.len() > 40, "the other backend's tools");
    Ok(())
}

/// What a server may answer to a call, and what the client must be told.
fn lies() -> Vec<(&'static str, Act, i64, &'static str, &'static str)> {
    let events = [("Content-Type", "text/event-stream")];
    let chunked = |content_type: &str, body: &str| {
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n");
        format!("{head}{:x}\r\n{body}\r\n", body.len()).into_bytes()
    };
    let half = r#"{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"hal"#;
    let truncated =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{half}");
    let json = |body: &str| Act::reply(200, "application/json", body);
    let (protocol, lost) = (INTERNAL, UNAVAILABLE);
    vec![
        ("words", json("hello"), protocol, "backend_protocol", "may_have_executed"),
        ("nothing", json(""), protocol, "backend_protocol", "may_have_executed"),
        ("half a message", json(half), protocol, "backend_protocol", "may_have_executed"),
        ("no message", json(r#"{"ok":true}"#), protocol, "backend_protocol", "may_have_executed"),
        ("a list", json("[]"), protocol, "backend_protocol", "may_have_executed"),
        (
            "a request",
            json(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#),
            protocol,
            "backend_protocol",
            "may_have_executed",
        ),
        (
            "the answer to another",
            json(r#"{"jsonrpc":"2.0","id":"stranger","result":{}}"#),
            protocol,
            "backend_protocol",
            "may_have_executed",
        ),
        (
            "html",
            Act::reply(200, "text/html", "<html>hi</html>"),
            protocol,
            "backend_protocol",
            "may_have_executed",
        ),
        ("html, called json", json("<html>hi</html>"), protocol, "backend_protocol", "may_have_executed"),
        (
            "202 to a request",
            Act::reply(202, "text/plain", ""),
            protocol,
            "backend_protocol",
            "may_have_executed",
        ),
        (
            "a redirect",
            Act::Send(response(302, &[("Location", "http://127.0.0.1:1/")], "")),
            protocol,
            "backend_protocol",
            "may_have_executed",
        ),
        ("401", Act::reply(401, "text/plain", "who?"), lost, "backend_credential", "safe"),
        ("429", Act::reply(429, "text/plain", "slowly"), lost, "backend_unavailable", "safe"),
        ("503", Act::reply(503, "text/html", "<h1>later</h1>"), lost, "backend_unavailable", "safe"),
        (
            "500 html",
            Act::reply(500, "text/html", "<h1>oops</h1>"),
            lost,
            "backend_lost",
            "may_have_executed",
        ),
        ("502", Act::reply(502, "text/html", "<h1>proxy</h1>"), lost, "backend_lost", "may_have_executed"),
        (
            "cut by length",
            Act::SendAndClose(truncated.into_bytes()),
            lost,
            "backend_lost",
            "may_have_executed",
        ),
        (
            "cut in chunks",
            Act::SendAndClose(chunked("application/json", half)),
            lost,
            "backend_lost",
            "may_have_executed",
        ),
        ("nothing but the end", Act::SendAndClose(Vec::new()), lost, "backend_lost", "may_have_executed"),
        (
            "no HTTP",
            Act::SendAndClose(b"SSH-2.0-OpenSSH\r\n".to_vec()),
            lost,
            "backend_lost",
            "may_have_executed",
        ),
        ("an empty stream", Act::Send(response(200, &events, "")), lost, "backend_lost", "may_have_executed"),
        (
            "a stream without answer",
            Act::Send(response(
                200,
                &events,
                ": hi\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n",
            )),
            lost,
            "backend_lost",
            "may_have_executed",
        ),
        (
            "a stream of words",
            Act::Send(response(200, &events, "data: hello\n\n")),
            lost,
            "backend_lost",
            "may_have_executed",
        ),
        (
            "a stream cut off",
            Act::SendAndClose(chunked("text/event-stream", "data: {\"jsonrpc\"")),
            lost,
            "backend_lost",
            "may_have_executed",
        ),
    ]
}

#[test]
fn whatever_a_server_answers_the_client_gets_json_rpc() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let serve = |asked: &Asked| {
        let which = asked.message["params"]["arguments"]["which"].as_u64().unwrap_or(0);
        lies().into_iter().nth(usize::try_from(which).unwrap_or(0)).map_or_else(Act::hang, |lie| lie.1)
    };
    let (legacy, modern) = (Fake::legacy(serve)?, Fake::modern(serve)?);
    let config = Config::new()
        .backend(Backend::http("old", &legacy.url()).era("legacy"))
        .backend(Backend::http("new", &modern.url()).era("modern"))
        .http("fixture", fixture.url());
    let gateway = Gateway::start(&config)?;
    let mut old = LegacySession::open(&gateway.url("/mcp/old"), &json!({}))?;
    let mut new = ModernClient::new(&gateway.url("/mcp/new"), &json!({}))?;
    for (which, (what, _, code, reason, retry)) in lies().into_iter().enumerate() {
        let call = json!({ "name": "work", "arguments": { "which": which } });
        let begun = Instant::now();
        let error = old.request("tools/call", &call).with_context(|| format!("legacy: {what}"))?.into_error();
        expect(&error.with_context(|| format!("legacy: {what}"))?, code, reason, retry, "old")
            .with_context(|| format!("legacy: {what}"))?;
        let error = new.request("tools/call", &call).with_context(|| format!("modern: {what}"))?.into_error();
        expect(&error.with_context(|| format!("modern: {what}"))?, code, reason, retry, "new")
            .with_context(|| format!("modern: {what}"))?;
        assert!(begun.elapsed() < Duration::from_secs(3), "{what} took {:?}", begun.elapsed());
        serves(&gateway)?;
    }
    Ok(())
}
