//! Sessions of clients before 2026-07-28: their ends, their separation, and what servers ask through them. Changes when
//! sessions hold something else.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bridge_tests::metrics::pause;
use bridge_tests::process::{find_processes, wait_gone};
use bridge_tests::raw::Request;
use bridge_tests::{Config, Era, Gateway, LegacySession, PATIENCE, TestServer};
use serde_json::{Value, json};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

fn call(name: &str, arguments: &Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

/// A gateway with one backend on each transport, and the paths that lead to them.
fn both_transports() -> Result<(TestServer, Gateway, [&'static str; 2])> {
    let fixture = TestServer::http(Era::Both)?;
    let stdio = TestServer::stdio(Era::Both)?;
    let gateway = Gateway::start(&Config::new().http("web", fixture.url()).stdio("child", &stdio))?;
    Ok((fixture, gateway, ["/mcp/web", "/mcp/child"]))
}

#[test]
fn a_deleted_session_is_gone_here_and_at_its_backends() -> Result<()> {
    let (_fixture, gateway, paths) = both_transports()?;
    for path in paths.into_iter().chain(["/mcp"]) {
        let url = gateway.url(path);
        let mut session = LegacySession::open(&url, &json!({}))?;
        let tool = if path == "/mcp" { "child__whoami" } else { "whoami" };
        let who = session.request("tools/call", &json!({ "name": tool }))?.into_result()?;
        let mut stream = session.listen()?;
        assert_eq!(session.delete()?.head.status, 204);
        while stream.next_event()?.is_some() {}
        assert_eq!(session.delete()?.head.status, 404);
        let response = Request::legacy(session.id().context("session")?, PING).send(&url)?;
        assert_eq!(response.head.status, 404);
        if path != "/mcp/web" {
            let pid = who["structuredContent"]["pid"].as_i64().context("pid")?;
            wait_gone(&[i32::try_from(pid)?], PATIENCE).context("its child")?;
        }
    }
    Ok(())
}

#[test]
fn a_call_in_flight_ends_with_its_session() -> Result<()> {
    let (mut fixture, gateway, paths) = both_transports()?;
    for path in paths {
        let mut session = LegacySession::open(&gateway.url(path), &json!({}))?;
        let (id, exchange) = session.start("tools/call", &call("sleep", &json!({ "ms": 60_000 })))?;
        if path == "/mcp/web" {
            fixture.process().wait_line(PATIENCE, |line| line.contains("sleep started").then_some(()))?;
        } else {
            gateway.wait_log(PATIENCE, |line| line.to_string().contains("sleep started"))?;
        }
        let deleted = Instant::now();
        assert_eq!(session.delete()?.head.status, 204);
        let error = session.finish(&id, exchange)?.into_error()?;
        assert_eq!((error.code, &error.data["reason"]), (-32004, &json!("backend_lost")), "{path}: {error}");
        assert_eq!(error.data["retry"], "may_have_executed");
        assert!(deleted.elapsed() < Duration::from_secs(3), "{path}: {:?}", deleted.elapsed());
    }
    Ok(())
}

#[test]
fn an_unused_session_expires_and_a_used_one_does_not() -> Result<()> {
    let server = TestServer::stdio(Era::Both)?;
    let config = Config::new().stdio("child", &server).set("sessions", "ttl", json!("1s"));
    let gateway = Gateway::start(&config)?;
    let url = gateway.url("/mcp/child");
    let mut unused = LegacySession::open(&url, &json!({}))?;
    let child = unused.request("tools/call", &json!({ "name": "whoami" }))?.into_result()?;
    let child = i32::try_from(child["structuredContent"]["pid"].as_i64().context("pid")?)?;
    let listening = LegacySession::open(&url, &json!({}))?;
    let mut stream = listening.listen()?;
    let mut waiting = LegacySession::open(&url, &json!({}))?;
    let (id, exchange) = waiting.start("tools/call", &call("sleep", &json!({ "ms": 60_000 })))?;

    wait_gone(&[child], Duration::from_secs(30)).context("the child of a session that nobody uses")?;
    let response = Request::legacy(unused.id().context("session")?, PING).send(&url)?;
    assert_eq!(response.head.status, 404);
    waiting.notify("notifications/cancelled", &json!({ "requestId": id }))?;
    drop(exchange);
    assert!(waiting.request("ping", &json!({}))?.into_result().is_ok(), "the wait was use");
    assert!(
        listening.notify("notifications/initialized", &json!({}))?.head.status == 202,
        "so was the stream"
    );
    assert!(stream.is_stream()?);
    Ok(())
}

#[test]
fn sessions_are_bounded_and_an_end_makes_room() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let config = Config::new().http("web", fixture.url()).set("sessions", "max_sessions", json!(2));
    let gateway = Gateway::start(&config)?;
    for path in ["/mcp", "/mcp/web"] {
        let url = gateway.url(path);
        let (first, second) =
            (LegacySession::open(&url, &json!({}))?, LegacySession::open(&url, &json!({}))?);
        let initialize = json!({
            "jsonrpc": "2.0", "id": 7, "method": "initialize",
            "params": { "protocolVersion": "2025-11-25", "capabilities": {} },
        });
        let response = Request::post(initialize.to_string()).send(&url)?;
        let message = response.json()?;
        assert_eq!((response.head.status, &message["id"]), (503, &json!(7)), "{message}");
        assert_eq!(message["error"]["data"], json!({ "reason": "exhausted", "retry": "safe" }));
        first.delete()?;
        LegacySession::open(&url, &json!({}))?.delete()?;
        second.delete()?;
    }
    Ok(())
}

#[test]
fn ids_and_tokens_of_every_spelling_come_back_as_they_were() -> Result<()> {
    let (_fixture, gateway, paths) = both_transports()?;
    let ids = [
        "0",
        "-1",
        "9007199254740993",
        "18446744073709551617",
        "\"\"",
        "\"1\"",
        "\"\\u0061\\/\"",
        "\"é💡\"",
        "\"a\\\"b\\\\c\\n\"",
    ];
    for path in paths {
        let session = LegacySession::open(&gateway.url(path), &json!({}))?;
        let id_of_session = session.id().context("session")?;
        for (number, id) in ids.iter().enumerate() {
            // Numbers beyond 64 bits are legal JSON that published SDKs do not read; strings are safe everywhere.
            if path == "/mcp/web" && id.len() > 19 {
                continue;
            }
            let token = if number % 2 == 0 { format!("\"t{number}\\u00e9\"") } else { number.to_string() };
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"test_tool_with_progress","_meta":{{"progressToken":{token}}}}}}}"#
            );
            let response = Request::legacy(id_of_session, body).send(&gateway.url(path))?;
            let text = String::from_utf8(response.body)?;
            let value = |raw: &str| serde_json::from_str::<Value>(raw);
            let messages: Vec<Value> = text
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .filter(|data| !data.trim().is_empty())
                .map(value)
                .collect::<Result<_, _>>()?;
            let progress: Vec<_> =
                messages.iter().filter(|message| message["method"] == "notifications/progress").collect();
            assert_eq!(progress.len(), 3, "{path} {id}: {text}");
            for message in &progress {
                assert_eq!(message["params"]["progressToken"], value(&token)?, "{path} {id}");
            }
            assert_eq!(messages.last().context("an answer")?["id"], value(id)?, "{path}");
            if path == "/mcp/child" {
                // The gateway's own numbers were on that wire: the client sees its own spelling again.
                assert!(text.contains(&format!(r#""id":{id}"#)), "{id}: {text}");
                assert!(text.contains(&format!(r#""progressToken":{token}"#)), "{token}: {text}");
            }
        }
    }
    Ok(())
}

#[test]
fn two_sessions_never_see_each_other() -> Result<()> {
    let (_fixture, gateway, paths) = both_transports()?;
    for path in paths {
        let url = gateway.url(path);
        let talk = |name: &'static str| -> Result<()> {
            let mut session = LegacySession::open(&url, &json!({ "sampling": {} }))?;
            session.on_server_request(move |_, params| {
                let asked = params["messages"][0]["content"]["text"].as_str().unwrap_or_default();
                json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": format!("{name} was asked {asked}") } })
            });
            let mut stream = session.listen()?;
            session.request("logging/setLevel", &json!({ "level": "info" }))?.into_result()?;
            let mut logs = 0;
            for round in 0..8 {
                let token = format!("{name}-{round}");
                let progress =
                    json!({ "name": "test_tool_with_progress", "_meta": { "progressToken": token } });
                let reply = session.request("tools/call", &progress)?;
                let seen = reply.notifications("notifications/progress");
                ensure!(seen.len() == 3, "{token}: {seen:?}");
                ensure!(seen.iter().all(|one| one["params"]["progressToken"] == *token), "{token}: {seen:?}");

                let sampled =
                    session.request("tools/call", &call("test_sampling", &json!({ "prompt": token })))?;
                let sampled = sampled.into_result()?;
                ensure!(text(&sampled) == format!("LLM response: {name} was asked {token}"), "{sampled}");

                let logged = session.request("tools/call", &json!({ "name": "test_tool_with_logging" }))?;
                logs += logged.notifications("notifications/message").len();
            }
            session.delete()?;
            // A server may log beside the call instead of on its stream.
            while let Some(message) = stream.next_message()? {
                ensure!(message["method"] == "notifications/message", "{name}: beside its calls: {message}");
                logs += 1;
            }
            ensure!(logs == 24, "{name} got {logs} logs of 8 calls that log 3 times each");
            Ok(())
        };
        std::thread::scope(|scope| {
            let talks: Vec<_> =
                ["ann", "bob", "eve"].into_iter().map(|name| scope.spawn(move || talk(name))).collect();
            talks.into_iter().try_for_each(|talk| talk.join().map_err(|_| anyhow!("panic"))?)
        })
        .with_context(|| path.to_owned())?;
    }
    Ok(())
}

/// Reads until the server asks something, and returns the question.
#[test]
fn a_cancellation_reaches_the_backend_under_the_right_number() -> Result<()> {
    let (mut fixture, gateway, paths) = both_transports()?;
    for path in paths.into_iter().chain(["/mcp"]) {
        let mut session = LegacySession::open(&gateway.url(path), &json!({}))?;
        let tool = if path == "/mcp" { "child__sleep" } else { "sleep" };
        let logged = |gateway: &Gateway, fixture: &mut TestServer, what: &str, times: usize| -> Result<()> {
            if path == "/mcp/web" {
                let mut seen = 0;
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
        };
        let rounds = usize::from(path == "/mcp");
        let (keep_id, keep) = session.start("tools/call", &call(tool, &json!({ "ms": 1_500 })))?;
        let (cancel_id, mut cancelled) =
            session.start("tools/call", &call(tool, &json!({ "ms": 60_000 })))?;
        logged(&gateway, &mut fixture, "sleep started", 2 + 2 * rounds)?;
        // One that means nothing first.
        session.notify("notifications/cancelled", &json!({ "requestId": "nobody" }))?;
        session.notify("notifications/cancelled", &json!({ "requestId": cancel_id, "reason": "enough" }))?;
        logged(&gateway, &mut fixture, "sleep cancelled", 1 + rounds)?;
        let slept = session.finish(&keep_id, keep)?.into_result()?;
        assert_eq!(text(&slept), "Slept 1500 ms", "{path}: the other call goes on");
        // The cancelled call's stream does not stay open for ever.
        let ended = Instant::now();
        while let Ok(Some(_)) = cancelled.next_message() {}
        assert!(ended.elapsed() < Duration::from_secs(10), "{path}: {:?}", ended.elapsed());
    }
    Ok(())
}

#[test]
fn a_session_that_goes_costs_its_children() -> Result<()> {
    let dir = bridge_tests::TempDir::new("sessions")?;
    let marker = dir.path().to_str().context("UTF-8")?;
    let server = TestServer::stdio(Era::Both)?;
    let mut command = vec!["sh", "-c", "sh -c 'sleep 1000; :' \"$0\" & exec \"$@\"", marker];
    command.extend(server.iter().map(String::as_str));
    let gateway = Gateway::start(&Config::new().stdio("child", &command))?;
    gateway.wait_backends("legacy", &["child"])?;
    gateway.wait_backends("modern", &["child"])?;
    let count = || -> Result<usize> {
        Ok(find_processes(|line| line.starts_with("sh -c sleep") && line.contains(marker))?.len())
    };
    let idle = count()?;
    let sessions: Vec<_> =
        (0..6).map(|_| LegacySession::open(&gateway.url("/mcp/child"), &json!({}))).collect::<Result<_>>()?;
    assert_eq!(count()?, idle + 6);
    for session in &sessions {
        session.delete()?;
    }
    let deadline = Instant::now() + PATIENCE;
    while count()? != idle {
        ensure!(Instant::now() < deadline, "{} processes remain of {idle}", count()?);
        pause(Duration::from_millis(20));
    }
    Ok(())
}
