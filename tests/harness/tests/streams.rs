//! Event streams towards clients: what comes on them, in which order, and what remains of them when a connection breaks.
//! Changes when streaming or resumption changes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bridge_tests::http::{Connection, Response, Url};
use bridge_tests::raw::{Request, answer, refused};
use bridge_tests::sse::Event;
use bridge_tests::{Config, Era, Exchange, Gateway, LegacySession, ModernClient, PATIENCE, TestServer};
use serde_json::{Value, json};

const INVALID_REQUEST: i64 = -32600;

fn call(name: &str, arguments: &Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

/// A gateway with one backend on each transport, both read, and the paths that lead to them.
fn both_transports(config: Config) -> Result<(TestServer, Gateway, [&'static str; 2])> {
    let fixture = TestServer::http(Era::Both)?;
    let stdio = TestServer::stdio(Era::Both)?;
    let gateway = Gateway::start(&config.http("web", fixture.url()).stdio("child", &stdio))?;
    gateway.wait_backends("legacy", &["web", "child"])?;
    gateway.wait_backends("modern", &["web", "child"])?;
    Ok((fixture, gateway, ["/mcp/web", "/mcp/child"]))
}

/// Waits until this has happened in the backend behind a path this often.
fn happened(fixture: &mut TestServer, gateway: &Gateway, path: &str, what: &str, times: usize) -> Result<()> {
    let mut seen = 0;
    if path.ends_with("web") {
        return fixture.process().wait_line(PATIENCE, |line| {
            seen += usize::from(line.contains(what));
            (seen >= times).then_some(())
        });
    }
    let seen = std::cell::Cell::new(0);
    let child = |line: &Value| {
        seen.set(seen.get() + usize::from(line.to_string().contains(what)));
        seen.get() >= times
    };
    gateway.wait_log(PATIENCE, child).map(drop)
}

/// The next event that carries a message.
fn next(exchange: &mut Exchange) -> Result<Option<(Event, Value)>> {
    while let Some(event) = exchange.next_event()? {
        if let Some(data) = event.data.clone().filter(|data| !data.is_empty()) {
            let message = serde_json::from_str(&data).context("event data")?;
            return Ok(Some((event, message)));
        }
    }
    Ok(None)
}

#[test]
fn list_changes_and_updates_arrive_on_the_notification_stream() -> Result<()> {
    let (_fixture, gateway, paths) = both_transports(Config::new())?;
    for path in paths.into_iter().chain(["/mcp"]) {
        let mut session = LegacySession::open(&gateway.url(path), &json!({}))?;
        let mut stream = session.listen()?;
        // Both servers have the same tools, so on the merged endpoint theirs are prefixed.
        let prefix = if path == "/mcp" { "web__" } else { "" };
        let mut expect = |session: &mut LegacySession, tool: &str, method: &str| -> Result<Value> {
            session.request("tools/call", &call(&format!("{prefix}{tool}"), &json!({})))?.into_result()?;
            let begun = Instant::now();
            loop {
                let message = stream.next_message()?.context("the stream stays open")?;
                if message["method"] == method {
                    ensure!(
                        begun.elapsed() < Duration::from_secs(1),
                        "{path} {method}: {:?}",
                        begun.elapsed()
                    );
                    return Ok(message);
                }
                // On the merged endpoint the other generation's reading may come in between.
                ensure!(path == "/mcp", "{path}: {message}");
            }
        };
        let before = session.list("tools/list", "tools")?.len();
        expect(&mut session, "test_trigger_tool_change", "notifications/tools/list_changed")?;
        let after = session.list("tools/list", "tools")?.len();
        ensure!(before.abs_diff(after) == 1, "{path}: {before} tools became {after}");
        expect(&mut session, "test_trigger_prompt_change", "notifications/prompts/list_changed")?;

        session
            .request("resources/subscribe", &json!({ "uri": "test://watched-resource" }))?
            .into_result()?;
        let updated =
            expect(&mut session, "test_trigger_resource_update", "notifications/resources/updated")?;
        assert_eq!(updated["params"]["uri"], "test://watched-resource");
        session
            .request("resources/unsubscribe", &json!({ "uri": "test://watched-resource" }))?
            .into_result()?;
        let update = call(&format!("{prefix}test_trigger_resource_update"), &json!({}));
        session.request("tools/call", &update)?.into_result()?;
        // Something that comes for certain, after what must not come.
        let seen = expect(&mut session, "test_trigger_prompt_change", "notifications/prompts/list_changed");
        if path != "/mcp" {
            seen.context("nothing but the list change after unsubscribing")?;
        }
    }
    Ok(())
}

#[test]
fn subscriptions_outlive_their_backend() -> Result<()> {
    let mut fixture = TestServer::http(Era::Legacy)?;
    let port = fixture.port()?;
    let gateway = Gateway::start(&Config::new().http("web", fixture.url()))?;
    let mut session = LegacySession::open(&gateway.url("/mcp/web"), &json!({}))?;
    let mut stream = session.listen()?;
    session.request("logging/setLevel", &json!({ "level": "error" }))?.into_result()?;
    session.request("resources/subscribe", &json!({ "uri": "test://watched-resource" }))?.into_result()?;
    fixture.process().signal(bridge_tests::process::Signal::KILL)?;
    fixture.process().wait_exit(PATIENCE)?;
    let _back = TestServer::http_on(Era::Legacy, port)?;
    session.request("tools/call", &call("test_trigger_resource_update", &json!({})))?.into_result()?;
    let message = stream.next_message()?.context("the stream stays open")?;
    assert_eq!(message["method"], "notifications/resources/updated");
    // The level was set again as well: nothing is logged at info.
    let logged = session.request("tools/call", &json!({ "name": "test_tool_with_logging" }))?;
    assert_eq!(logged.notifications("notifications/message").len(), 0);
    session.request("tools/call", &call("test_trigger_resource_update", &json!({})))?.into_result()?;
    assert_eq!(stream.next_message()?.context("open")?["method"], "notifications/resources/updated");
    Ok(())
}

#[test]
fn a_call_whose_stream_broke_is_resumed_to_its_answer() -> Result<()> {
    let (mut fixture, gateway, paths) =
        both_transports(Config::new().set("limits", "keep_alive", json!("200ms")))?;
    for path in paths {
        let mut session = LegacySession::open(&gateway.url(path), &json!({}))?;
        // A backend that shows nothing until it answers: the keep-alive opens the stream.
        let (id, mut exchange) = session.start("tools/call", &call("sleep", &json!({ "ms": 2_000 })))?;
        let primed = exchange.next_event()?.context("a priming event")?;
        assert_eq!(primed.data.as_deref(), Some(""), "{path}");
        let start = primed.id.context("an id to resume from")?;
        drop(exchange);
        let mut resumed = session.resume(&start)?;
        let (event, message) = next(&mut resumed)?.context("the answer")?;
        assert_eq!((&message["id"], text(&message["result"])), (&id, "Slept 2000 ms"), "{path}");
        assert!(next(&mut resumed)?.is_none(), "and nothing else");
        // Lost again: the answer is still there, but not for somebody who has had it.
        let again = next(&mut session.resume(&start)?)?.context("the answer again")?;
        assert_eq!(again.1, message);
        assert!(next(&mut session.resume(&event.id.context("id")?)?)?.is_none());
    }
    happened(&mut fixture, &gateway, "/mcp/web", "sleep started", 1)?;
    let cancelled = fixture.process().log().iter().filter(|line| line.contains("sleep cancelled")).count();
    assert_eq!(cancelled, 0, "a legacy client that drops its stream has not cancelled");
    Ok(())
}

#[test]
fn a_resumed_stream_gives_the_missing_events_once_and_only_its_own() -> Result<()> {
    let (_fixture, gateway, paths) = both_transports(Config::new())?;
    for path in paths {
        let mut session = LegacySession::open(&gateway.url(path), &json!({}))?;
        let progress =
            |token: &str| json!({ "name": "test_tool_with_progress", "_meta": { "progressToken": token } });
        let (one_id, mut one) = session.start("tools/call", &progress("one"))?;
        let (two_id, mut two) = session.start("tools/call", &progress("two"))?;
        let (first, message) = next(&mut one)?.context("progress")?;
        assert_eq!(message["params"]["progressToken"], "one");
        drop(one);
        let mut messages = vec![message];
        let mut ids = BTreeSet::from([first.id.clone().context("id")?]);
        let mut last = first.id.context("id")?;
        // Broken after each event.
        while messages.last().is_none_or(|message| message.get("method").is_some()) {
            let mut resumed = session.resume(&last)?;
            let (event, message) = next(&mut resumed)?.with_context(|| format!("{path}: after {last}"))?;
            last = event.id.context("id")?;
            ensure!(ids.insert(last.clone()), "{path}: {last} twice");
            messages.push(message);
        }
        let progress: Vec<_> =
            messages.iter().filter_map(|message| message["params"]["progress"].as_f64()).collect();
        assert_eq!(progress, [0.0, 50.0, 100.0], "{path}");
        assert!(messages.iter().all(|message| message["params"]["progressToken"] != "two"));
        assert_eq!(messages.last().context("an answer")?["id"], one_id);

        let mut others = Vec::new();
        while let Some((_, message)) = next(&mut two)? {
            others.push(message);
        }
        assert_eq!((others.len(), &others[3]["id"]), (4, &two_id), "{path}: {others:?}");
    }
    Ok(())
}

#[test]
fn an_event_id_of_nobody_of_the_future_or_of_another_session_resumes_nothing() -> Result<()> {
    let (_fixture, gateway, _) = both_transports(Config::new())?;
    let url = gateway.url("/mcp/web");
    let mut ann = LegacySession::open(&url, &json!({}))?;
    let (_, mut exchange) = ann.start("tools/call", &call("sleep", &json!({ "ms": 1 })))?;
    let mut of_ann = exchange.next_event()?.context("a priming event")?.id.context("id")?;
    while let Some(event) = exchange.next_event()? {
        of_ann = event.id.context("id")?;
    }
    let bob = LegacySession::open(&url, &json!({}))?;
    for id in
        [&*of_ann, "0-5", "0-18446744073709551615", "1-", "-", "", "nonsense", "1-1-1", "é", "4294967296-1"]
    {
        let request = Request::legacy(bob.id().context("session")?, "").method("GET");
        let parsed = Url::parse(&url)?;
        let mut connection = Connection::open_url(&parsed)?;
        connection.send(&request.with("Last-Event-ID", id).bytes(&parsed))?;
        let head = connection.read_head()?;
        ensure!(head.status == 400, "Last-Event-ID {id:?} got {}", head.status);
        let response = Response { head, body: connection.read_body()? };
        refused(&gateway, &format!("Last-Event-ID {id:?}"), &response, 400, INVALID_REQUEST)?;
    }
    // None of that has moved bob's own stream.
    let mut stream = bob.listen()?;
    ann.request("tools/call", &call("test_trigger_tool_change", &json!({})))?.into_result()?;
    assert_eq!(stream.next_message()?.context("open")?["method"], "notifications/tools/list_changed");
    Ok(())
}

#[test]
fn the_notification_stream_is_resumed_and_taken_over() -> Result<()> {
    let (_fixture, gateway, _) = both_transports(Config::new())?;
    let url = gateway.url("/mcp/web");
    let session = LegacySession::open(&url, &json!({}))?;
    let mut other = LegacySession::open(&url, &json!({}))?;
    let mut trigger = |tool: &str| other.request("tools/call", &call(tool, &json!({})))?.into_result();
    let mut first = session.listen()?;
    trigger("test_trigger_tool_change")?;
    let (seen, message) = next(&mut first)?.context("a change")?;
    assert_eq!(message["method"], "notifications/tools/list_changed");
    drop(first);
    // While nobody reads.
    trigger("test_trigger_prompt_change")?;
    trigger("test_trigger_resource_change")?;
    let mut resumed = session.resume(&seen.id.context("id")?)?;
    let mut methods = Vec::new();
    for _ in 0..2 {
        let (_, message) = next(&mut resumed)?.context("what was missed")?;
        methods.push(message["method"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(methods, ["notifications/prompts/list_changed", "notifications/resources/list_changed"]);
    // A newer stream takes over: each message goes to one stream only.
    let mut second = session.listen()?;
    assert!(next(&mut resumed)?.is_none(), "the older stream ends");
    trigger("test_trigger_tool_change")?;
    assert_eq!(next(&mut second)?.context("open")?.1["method"], "notifications/tools/list_changed");
    Ok(())
}

#[test]
fn streams_look_as_proxies_and_clients_need_them() -> Result<()> {
    let (_fixture, gateway, paths) =
        both_transports(Config::new().set("limits", "keep_alive", json!("100ms")))?;
    for path in paths {
        for (version, primes) in [("2025-11-25", true), ("2025-06-18", false), ("2025-03-26", false)] {
            let mut session = LegacySession::open_as(&gateway.url(path), version, &json!({}))?;
            let mut stream = session.listen()?;
            let head = stream.head()?.clone();
            assert_eq!(head.header("content-type"), Some("text/event-stream"));
            assert_eq!(head.header("x-accel-buffering"), Some("no"));
            assert!(head.header("cache-control").is_some_and(|value| value.contains("no-cache")), "{head:?}");
            assert_eq!(head.header("content-length"), None);
            let (_, mut exchange) = session.start("tools/call", &call("sleep", &json!({ "ms": 700 })))?;
            let mut events = Vec::new();
            while let Some(event) = exchange.next_event()? {
                events.push(event);
            }
            assert!(exchange.comments() >= 2, "{path} {version}: {} comments", exchange.comments());
            let empty = events.iter().filter(|event| event.data.as_deref().is_none_or(str::is_empty)).count();
            assert_eq!(empty, usize::from(primes), "{path} {version}: {events:?}");
            assert!(events.iter().all(|event| event.id.is_some()), "{path} {version}: {events:?}");
        }
        // Clients of 2026-07-28 cannot resume, so their streams have no ids.
        let mut client = ModernClient::new(&gateway.url(path), &json!({}))?;
        let (_, mut exchange) = client.start("tools/call", &call("sleep", &json!({ "ms": 700 })))?;
        while let Some(event) = exchange.next_event()? {
            assert_eq!((event.id, event.retry), (None, None));
        }
        // Over HTTP the fixture itself holds even the head of its answer back.
        let wanted = if path == "/mcp/child" { 2 } else { 0 };
        assert!(exchange.comments() >= wanted, "{path}: {} comments", exchange.comments());
    }
    Ok(())
}

#[test]
fn a_server_that_sends_its_client_away_finds_it_back() -> Result<()> {
    let (_fixture, gateway, _) = both_transports(Config::new())?;
    let call = call("test_reconnection", &json!({}));
    for version in ["2025-11-25", "2025-06-18"] {
        let mut session = LegacySession::open_as(&gateway.url("/mcp/web"), version, &json!({}))?;
        let (id, mut exchange) = session.start("tools/call", &call)?;
        let (mut last, mut retry) = (None, None);
        let answer = loop {
            match exchange.next_event()? {
                Some(event) => {
                    last = event.id.or(last);
                    retry = event.retry.or(retry);
                    if let Some(data) = event.data.filter(|data| !data.is_empty()) {
                        break serde_json::from_str::<Value>(&data)?;
                    }
                }
                None => {
                    // Only a client that knows how is sent away.
                    ensure!(version == "2025-11-25", "{version} was sent away");
                    ensure!(retry.is_some(), "without saying for how long");
                    exchange = session.resume(last.as_deref().context("an id to come back with")?)?;
                }
            }
        };
        assert_eq!(
            (&answer["id"], text(&answer["result"])),
            (&id, "Reconnection test completed."),
            "{version}"
        );
    }
    Ok(())
}

#[test]
fn a_modern_client_that_closes_its_stream_has_cancelled() -> Result<()> {
    let (mut fixture, gateway, paths) =
        both_transports(Config::new().set("limits", "keep_alive", json!("300ms")))?;
    let mut rounds = 0;
    for path in paths {
        // Before anything was written, and on an open stream; alone, and beside another call.
        for wait in [false, true] {
            let mut client = ModernClient::new(&gateway.url(path), &json!({}))?;
            let (keep_id, keep) = client.start("tools/call", &call("sleep", &json!({ "ms": 1_500 })))?;
            let (_, mut leave) = client.start("tools/call", &call("sleep", &json!({ "ms": 60_000 })))?;
            rounds += 1;
            let of_path = if path == "/mcp/web" { rounds } else { rounds - 2 };
            happened(&mut fixture, &gateway, path, "sleep started", 2 * of_path)?;
            // Over HTTP the fixture itself holds even the head of its answer back.
            if wait && path == "/mcp/child" {
                assert!(leave.is_stream()?);
            }
            let left = Instant::now();
            drop(leave);
            happened(&mut fixture, &gateway, path, "sleep cancelled", of_path)?;
            assert!(left.elapsed() < Duration::from_secs(1), "{path}: {:?}", left.elapsed());
            let slept = keep.finish(&keep_id, |_| Ok(()))?.into_result()?;
            assert_eq!(text(&slept), "Slept 1500 ms", "{path}: the other call goes on");
        }
    }
    Ok(())
}

#[test]
fn large_answers_pass_whole_on_every_way() -> Result<()> {
    let (_fixture, gateway, paths) = both_transports(Config::new())?;
    let json_server = json_fixture()?;
    let alone = Gateway::start(&Config::new().http("json", &json_server.1))?;
    let ways = paths.map(|path| gateway.url(path)).into_iter().chain([alone.url("/mcp/json")]);
    for url in ways {
        let mut session = LegacySession::open(&url, &json!({}))?;
        let mut client = ModernClient::new(&url, &json!({}))?;
        // Around the sizes at which answers are held, buffered, and moved in pieces.
        for bytes in [0, 1, 4_000, 65_000, 65_536, 66_000, 131_072, 3_000_000] {
            let call = call("big", &json!({ "bytes": bytes }));
            for reply in [session.request("tools/call", &call)?, client.request("tools/call", &call)?] {
                let result = reply.into_result()?;
                ensure!(text(&result).len() == bytes, "{url} {bytes}: {}", text(&result).len());
                ensure!(text(&result).bytes().all(|byte| byte == b'x'));
            }
        }
    }
    Ok(())
}

/// The fixture server answering modern requests with JSON instead of streams.
fn json_fixture() -> Result<(bridge_tests::Process, String)> {
    let mut command = std::process::Command::new(bridge_tests::gateway::binary("mcp-test-server")?);
    command.args(["--transport", "http", "--era", "both", "--reply", "json", "--port", "0"]);
    let process = bridge_tests::Process::spawn("mcp-test-server", &command)?;
    let url =
        process.wait_line(PATIENCE, |line| Some(line.split_once("listening on ")?.1.trim().to_owned()))?;
    Ok((process, url))
}

#[test]
fn what_need_not_change_passes_byte_for_byte() -> Result<()> {
    use bridge_tests::fake::{Act, Fake, response};
    // Spellings that a re-encoding would lose.
    let spelled =
        r#"{ "z":1.0,"a" : 1e2, "b":"\u00e9\/","c":[ ],"d":12345678901234567890,"e":{"y":-0,"x":null} }"#;
    let fake = Fake::legacy(move |asked| {
        let id = &asked.message["id"];
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"structuredContent":{spelled}}}}}"#
        );
        match asked.message["params"]["arguments"]["as"].as_str() {
            Some("events") => {
                let events = format!("event: message\r\ndata: {body}\r\n\r\n");
                Act::Send(response(200, &[("Content-Type", "text/event-stream")], &events))
            }
            _ => Act::Send(response(200, &[("Content-Type", "application/json; charset=utf-8")], &body)),
        }
    })?;
    let backend = bridge_tests::Backend::http("fake", &fake.url()).era("legacy");
    let gateway = Gateway::start(&Config::new().backend(backend))?;
    let session = LegacySession::open(&gateway.url("/mcp/fake"), &json!({}))?;
    for form in ["json", "events"] {
        let arguments = format!(r#"{{ "as":"{form}" , "n": 1.50,"s":"\u0061\/" }}"#);
        let body = format!(
            r#"{{"jsonrpc": "2.0","method":"tools/call", "id":"\u0061","params":{{"name":"work","arguments":{arguments},"x-unknown":[1.0]}} ,"extra":{{}}}}"#
        );
        let request = Request::legacy(session.id().context("session")?, body);
        let response = request.send(&gateway.url("/mcp/fake"))?;
        let got = String::from_utf8(response.body.clone())?;
        ensure!(got.contains(spelled), "{form}: {got}");
        ensure!(answer(&response)?["id"] == "a", "{form}");
        let asked = fake.wait_asked(|asked| asked.message["params"]["arguments"]["as"] == form)?;
        ensure!(asked.message["extra"] == json!({}) && asked.message["params"]["x-unknown"] == json!([1.0]));
    }
    Ok(())
}
