//! Backends on HTTP+SSE of 2024-11-05: published and scripted ones, with the faults of their stream and of their POSTs.
//! Changes when that transport is spoken differently.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bridge_tests::fake::{Act, Asked, Fake, Streams};
use bridge_tests::fake_sse::{FIXED, FakeSse, push_result, stream_of, taken};
use bridge_tests::{Backend, Config, Gateway, LegacySession, ModernClient, PATIENCE, RpcError, http, peers};
use serde_json::{Value, json};

const WORK: &str = "work";

fn work(task: &str) -> Value {
    json!({ "name": WORK, "arguments": { "task": task } })
}

/// What a POST of `tools/call` asks for.
fn task(asked: &Asked) -> &str {
    asked.message["params"]["arguments"]["task"].as_str().unwrap_or_default()
}

fn done(streams: &Streams, asked: &Asked) -> Act {
    push_result(streams, asked, &json!({ "content": [{ "type": "text", "text": task(asked) }] }))
}

fn serve(server: &FakeSse) -> Result<Gateway> {
    let gateway = Gateway::start(&Config::new().backend(Backend::sse("old", &server.url())))?;
    gateway.wait_backends("legacy", &["old"])?;
    Ok(gateway)
}

fn open(gateway: &Gateway) -> Result<LegacySession> {
    LegacySession::open(&gateway.url("/mcp/old"), &json!({}))
}

fn expect(error: &RpcError, code: i64, reason: &str, retry: &str) -> Result<()> {
    let data = json!({ "reason": reason, "retry": retry, "backend": "old" });
    ensure!(error.code == code && error.data == data, "expected {code} with {data}, got {error}");
    ensure!(!error.message.contains("127.0.0.1"), "{error}");
    Ok(())
}

#[test]
fn a_published_server_lists_works_and_asks_the_client() -> Result<()> {
    let (_everything, url) = peers::everything_sse()?;
    let gateway = Gateway::start(&Config::new().backend(Backend::sse("everything", &url)))?;
    gateway.wait_backends("legacy", &["everything"])?;
    let mut merged = LegacySession::open(&gateway.url("/mcp"), &json!({}))?;
    let tools = merged.list("tools/list", "tools")?;
    assert!(tools.iter().any(|tool| tool["name"] == "echo"), "{tools:?}");
    // This server has its sampling tool for clients that can sample only, which the merged list does not know.
    let mut session = LegacySession::open(&gateway.url("/mcp/everything"), &json!({ "sampling": {} }))?;
    let echo = json!({ "name": "echo", "arguments": { "message": "by the old transport" } });
    let result = session.request("tools/call", &echo)?.into_result()?;
    assert_eq!(result["content"][0]["text"], "Echo: by the old transport");

    session.on_server_request(|method, params| {
        assert_eq!(method, "sampling/createMessage", "{params}");
        json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "forty-two" } })
    });
    let ask = json!({ "name": "trigger-sampling-request", "arguments": { "prompt": "the question" } });
    let result = session.request("tools/call", &ask)?.into_result()?;
    assert!(result.to_string().contains("forty-two"), "{result}");

    let meta = json!({ "progressToken": "mine" });
    let long = json!({
        "name": "trigger-long-running-operation", "arguments": { "duration": 1, "steps": 3 }, "_meta": meta,
    });
    let reply = session.request("tools/call", &long)?;
    let progress =
        reply.earlier.iter().filter(|message| message["params"]["progressToken"] == "mine").count();
    assert_eq!(progress, 3, "{:?}", reply.earlier);
    Ok(())
}

#[test]
fn a_modern_client_uses_a_published_server_and_answers_its_questions() -> Result<()> {
    let (_everything, url) = peers::everything_sse()?;
    let gateway = Gateway::start(&Config::new().backend(Backend::sse("everything", &url)))?;
    gateway.wait_backends("legacy", &["everything"])?;
    let mut client = ModernClient::new(&gateway.url("/mcp/everything"), &json!({ "sampling": {} }))?;
    let echo = json!({ "name": "echo", "arguments": { "message": "across" } });
    let result = client.request("tools/call", &echo)?.into_result()?;
    assert_eq!(result["content"][0]["text"], "Echo: across");
    let ask = json!({ "name": "trigger-sampling-request", "arguments": { "prompt": "the question" } });
    let answer =
        json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "forty-two" } });
    let result = client.request_with_input("tools/call", &ask, |_, _| answer.clone())?.into_result()?;
    assert!(result.to_string().contains("forty-two"), "{result}");
    Ok(())
}

#[test]
fn messages_go_to_the_endpoint_that_the_stream_names_in_the_order_that_servers_need() -> Result<()> {
    let server = FakeSse::start(|asked, streams| done(streams, asked))?;
    let gateway = serve(&server)?;
    let mut session = open(&gateway)?;
    session.request("tools/call", &work("a"))?.into_result()?;
    let asked = server.asked();
    let call = asked.iter().find(|asked| asked.method() == "tools/call").context("the call")?;
    let number = stream_of(call);
    let of_session: Vec<_> =
        asked.iter().filter(|asked| asked.http_method == "POST" && stream_of(asked) == number).collect();
    let methods: Vec<_> = of_session.iter().map(|asked| asked.method()).collect();
    assert_eq!(methods, ["initialize", "notifications/initialized", "tools/call"]);
    for asked in of_session {
        assert!(asked.path.starts_with("/messages?sessionId="), "{asked:?}");
        assert_eq!(asked.header("content-type"), Some("application/json"));
    }
    let stream = asked.iter().find(|asked| asked.http_method == "GET").context("the stream")?;
    assert_eq!(stream.header("accept"), Some("text/event-stream"));
    Ok(())
}

#[test]
fn a_stream_that_ends_mid_call_fails_the_call_within_a_second_and_the_next_one_works() -> Result<()> {
    let server = FakeSse::start(|asked, streams| match task(asked) {
        "hang" => taken(),
        _ => done(streams, asked),
    })?;
    let gateway = serve(&server)?;
    let mut session = open(&gateway)?;
    let (id, call) = session.start("tools/call", &work("hang"))?;
    server.wait_asked(|asked| task(asked) == "hang")?;
    let ended = Instant::now();
    server.streams.end();
    let error = session.finish(&id, call)?.into_error()?;
    expect(&error, -32004, "backend_lost", "may_have_executed")?;
    assert!(ended.elapsed() < Duration::from_secs(1), "after {:?}", ended.elapsed());
    let result = session.request("tools/call", &work("again"))?.into_result()?;
    assert_eq!(result["content"][0]["text"], "again");
    Ok(())
}

#[test]
fn an_answer_right_before_the_end_of_the_stream_is_not_lost() -> Result<()> {
    let server = FakeSse::start(|asked, streams| {
        let act = done(streams, asked);
        streams.end();
        act
    })?;
    let gateway = serve(&server)?;
    for _ in 0..10 {
        let mut session = open(&gateway)?;
        let result = session.request("tools/call", &work("last words"))?.into_result()?;
        assert_eq!(result["content"][0]["text"], "last words");
    }
    Ok(())
}

#[test]
fn a_post_that_fails_gives_its_call_an_error_that_says_whether_to_repeat_it() -> Result<()> {
    let server = FakeSse::start(|asked, streams| match task(asked) {
        "too large" => Act::reply(413, "text/plain", "too large"),
        "busy" => Act::reply(503, "text/plain", "later"),
        "broken" => Act::reply(500, "text/plain", "oops"),
        "cut" => Act::SendAndClose(Vec::new()),
        "forgotten" => Act::reply(404, "text/plain", "no such session"),
        "in the answer" => {
            let result = json!({ "content": [{ "type": "text", "text": "in the answer" }] });
            Act::result(asked, &result)
        }
        _ => done(streams, asked),
    })?;
    let gateway = serve(&server)?;
    let mut session = open(&gateway)?;
    for (task, code, reason, retry) in [
        ("too large", -32603, "backend_protocol", "may_have_executed"),
        ("busy", -32004, "backend_unavailable", "safe"),
        ("broken", -32004, "backend_lost", "may_have_executed"),
        ("cut", -32004, "backend_lost", "may_have_executed"),
        ("forgotten", -32004, "backend_unavailable", "safe"),
    ] {
        let error = session.request("tools/call", &work(task))?.into_error()?;
        expect(&error, code, reason, retry).with_context(|| task.to_owned())?;
        let result = session.request("tools/call", &work("next"))?.into_result()?;
        assert_eq!(result["content"][0]["text"], "next", "after {task}");
    }
    let result = session.request("tools/call", &work("in the answer"))?.into_result()?;
    assert_eq!(result["content"][0]["text"], "in the answer");
    // Only the forgotten session was opened anew.
    let asked = server.asked();
    let opened = asked.iter().filter(|asked| asked.method() == "initialize").count();
    assert_eq!(opened, 3, "the gateway's own, the client's, and the client's second");
    Ok(())
}

#[test]
fn an_endpoint_of_another_origin_is_refused_and_nothing_is_sent_there() -> Result<()> {
    let other = Fake::start(|_| taken())?;
    let foreign = format!("event: endpoint\ndata: http://{}/messages\n\n", other.address());
    let server = FakeSse::beginning(move |_| foreign.clone(), |_, _| taken())?;
    let gateway = Gateway::start(&Config::new().backend(Backend::sse("old", &server.url())))?;
    let error = LegacySession::open(&gateway.url("/mcp/old"), &json!({})).err().context("refused")?;
    assert!(error.to_string().contains("backend_protocol"), "{error:#}");
    let settled = |line: &Value| line["msg"] == "not offered" && line["reason"] == "backend_protocol";
    gateway.wait_log(PATIENCE, settled)?;
    let health = http::get(&gateway.url("/health"))?.json()?;
    let reason = &health["subsystems"]["backends"]["old"]["reason"];
    assert!(reason.as_str().is_some_and(|reason| reason.contains("another origin")), "{health}");
    assert_eq!(other.asked().len(), 0, "{:?}", other.asked());
    Ok(())
}

#[test]
fn a_server_that_names_no_endpoint_is_served_at_the_configured_one() -> Result<()> {
    // The first MCP gateways sent nothing but answers on their streams.
    let server = FakeSse::beginning(|_| String::new(), |asked, streams| done(streams, asked))?;
    let base = format!("http://{}", server.address());
    let backend = Backend::sse("old", &base)
        .config("stream_endpoint", "/sse".into())
        .config("request_endpoint", FIXED.into());
    let gateway = Gateway::start(&Config::new().backend(backend))?;
    // One stream at a time, because such a server has one answer path for all.
    gateway.wait_backends("legacy", &["old"])?;
    let asked = server.wait_asked(|asked| asked.method() == "tools/list")?;
    assert_eq!(asked.path, FIXED);
    Ok(())
}

#[test]
fn many_calls_at_once_get_their_own_answers() -> Result<()> {
    let server = FakeSse::start(|asked, streams| done(streams, asked))?;
    let gateway = serve(&server)?;
    let mut session = open(&gateway)?;
    let start = |number: usize| session.start("tools/call", &work(&number.to_string()));
    let calls = (0..100).map(start).collect::<Result<Vec<_>>>()?;
    for (number, (id, call)) in calls.into_iter().enumerate() {
        let result = session.finish(&id, call)?.into_result()?;
        assert_eq!(result["content"][0]["text"], number.to_string());
    }
    Ok(())
}
