//! Sessions of clients before 2026-07-28: their ends, their separation, and what servers ask through them. Changes when
//! sessions hold something else.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bridge_tests::metrics::pause;
use bridge_tests::process::{find_processes, wait_gone};
use bridge_tests::raw::{Request, answer};
use bridge_tests::{Backend, Config, Era, Exchange, Gateway, LegacySession, PATIENCE, TestServer};
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
fn question(exchange: &mut Exchange) -> Result<Value> {
    loop {
        let message = exchange.next_message()?.context("the stream ended without a question")?;
        if message["method"].is_string() && message.get("id").is_some() {
            return Ok(message);
        }
    }
}

fn says(answer: &str) -> Value {
    json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": answer } })
}

#[test]
fn servers_may_ask_the_client_on_every_endpoint() -> Result<()> {
    let (_fixture, gateway, paths) = both_transports()?;
    let capabilities = json!({ "sampling": {}, "elicitation": {}, "roots": {} });
    for path in paths.into_iter().chain(["/mcp"]) {
        for prefix in if path == "/mcp" { &["web__", "child__"][..] } else { &[""] } {
            let mut session = LegacySession::open(&gateway.url(path), &capabilities)?;
            let mut ask = |tool: &str, arguments: Value, result: Value| -> Result<Value> {
                session.on_server_request(move |_, _| result.clone());
                let reply = session.request("tools/call", &call(&format!("{prefix}{tool}"), &arguments))?;
                reply.into_result()
            };
            let sampled = ask("test_sampling", json!({ "prompt": "p" }), says("forty-two"))?;
            assert_eq!(text(&sampled), "LLM response: forty-two", "{path} {prefix}");
            let content = json!({ "username": "ann", "email": "a@b.c" });
            let accepted = json!({ "action": "accept", "content": content });
            let elicited = ask("test_elicitation", json!({ "message": "who?" }), accepted)?;
            assert!(
                text(&elicited).contains("action=accept") && text(&elicited).contains("ann"),
                "{elicited}"
            );
            let declined =
                ask("test_elicitation", json!({ "message": "who?" }), json!({ "action": "decline" }))?;
            assert!(text(&declined).contains("action=decline"), "{declined}");
        }
    }
    Ok(())
}

#[test]
fn two_backends_that_ask_at_once_get_their_own_answers() -> Result<()> {
    let (_fixture, gateway, _) = both_transports()?;
    let mut session = LegacySession::open(&gateway.url("/mcp"), &json!({ "sampling": {} }))?;
    for round in 0..3 {
        let mut asked = Vec::new();
        for backend in ["web", "child"] {
            let prompt = format!("{backend} {round}");
            let started = session.start(
                "tools/call",
                &call(&format!("{backend}__test_sampling"), &json!({ "prompt": prompt })),
            )?;
            asked.push((prompt, started));
        }
        let mut questions = Vec::new();
        for (prompt, (_, exchange)) in &mut asked {
            let question = question(exchange)?;
            ensure!(question["params"].to_string().contains(&**prompt), "{prompt}: {question}");
            questions.push(question["id"].clone());
        }
        assert_ne!(questions[0], questions[1], "both servers number from the start");
        // Answered in the other order.
        for ((prompt, _), number) in asked.iter().zip(&questions).rev() {
            session.answer(number, &says(&format!("for {prompt}")))?;
        }
        for (prompt, (id, exchange)) in asked {
            let result = session.finish(&id, exchange)?.into_result()?;
            assert_eq!(text(&result), format!("LLM response: for {prompt}"));
        }
        // A second answer to the same question finds nobody.
        session.answer(&questions[0], &says("again"))?;
    }
    Ok(())
}

#[test]
fn several_calls_of_one_session_may_ask_at_once() -> Result<()> {
    let (_fixture, gateway, paths) = both_transports()?;
    for path in paths {
        let mut session = LegacySession::open(&gateway.url(path), &json!({ "sampling": {} }))?;
        let mut stream = session.listen()?;
        let prompts = ["first", "second", "third"];
        let calls: Vec<_> = prompts
            .iter()
            .map(|prompt| session.start("tools/call", &call("test_sampling", &json!({ "prompt": prompt }))))
            .collect::<Result<_>>()?;
        let finished = std::thread::scope(|scope| -> Result<Vec<Value>> {
            let (questions_in, questions) = std::sync::mpsc::channel();
            // A question names no call, so it may come on any stream of the session.
            let watch =
                |mut exchange: Exchange, questions: std::sync::mpsc::Sender<Value>| -> Result<Value> {
                    while let Some(message) = exchange.next_message()? {
                        if message["method"].is_string() && message.get("id").is_some() {
                            questions.send(message)?;
                        } else if message.get("result").is_some() || message.get("error").is_some() {
                            return Ok(message);
                        }
                    }
                    Err(anyhow!("no answer"))
                };
            let watchers: Vec<_> = calls
                .into_iter()
                .map(|(_, exchange)| {
                    let questions = questions_in.clone();
                    scope.spawn(move || watch(exchange, questions))
                })
                .collect();
            let standalone = questions_in.clone();
            scope.spawn(move || {
                while let Ok(Some(message)) = stream.next_message() {
                    let _ = standalone.send(message);
                }
            });
            drop(questions_in);
            for _ in prompts {
                let question = questions.recv_timeout(PATIENCE).context("a question")?;
                let prompt =
                    question["params"]["messages"][0]["content"]["text"].as_str().unwrap_or_default();
                session.answer(&question["id"], &says(&format!("for {prompt}")))?;
            }
            let answers = watchers.into_iter().map(|watcher| watcher.join().map_err(|_| anyhow!("panic"))?);
            let answers = answers.collect::<Result<_>>();
            session.delete()?;
            answers
        })?;
        for (prompt, message) in prompts.iter().zip(finished) {
            assert_eq!(text(&message["result"]), format!("LLM response: for {prompt}"), "{path}");
        }
    }
    Ok(())
}

#[test]
fn a_question_in_a_batch_is_answered_beside_it() -> Result<()> {
    let (_fixture, gateway, paths) = both_transports()?;
    for path in paths {
        let url = gateway.url(path);
        let session = LegacySession::open_as(&url, "2025-03-26", &json!({ "sampling": {} }))?;
        let mut stream = session.listen()?;
        let batch = json!([
            { "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call("test_sampling", &json!({ "prompt": "p" })) },
            { "jsonrpc": "2.0", "id": 2, "method": "ping" },
        ]);
        let request = Request::legacy(session.id().context("session")?, batch.to_string());
        let answers = std::thread::scope(|scope| {
            let sent = scope.spawn(|| request.send(&url));
            let question = question(&mut stream)?;
            session.answer(&question["id"], &says("beside"))?;
            sent.join().map_err(|_| anyhow!("panic"))?
        })?;
        let answers = answer(&answers)?;
        assert_eq!(text(&answers[0]["result"]), "LLM response: beside", "{path}: {answers}");
    }
    Ok(())
}

#[test]
fn what_a_server_asks_before_the_client_listens_waits_for_it() -> Result<()> {
    // As `server-filesystem` does: it wants to know the roots as soon as it is initialized.
    let script = r#"while read -r line; do
        case "$line" in
            *'"initialize"'*) echo '{"jsonrpc":"2.0","id":"mcp-bridge-initialize","result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"0"}}}' | sed "s/\"mcp-bridge-initialize\"/$(echo "$line" | sed 's/.*"id":\([^,]*\),.*/\1/')/" ;;
            *'notifications/initialized'*) echo '{"jsonrpc":"2.0","id":"r1","method":"roots/list"}' ;;
            *'"roots"'*) echo "answered: $line" >&2 ;;
        esac
    done"#;
    let curious = Backend::stdio("curious", &["sh", "-c", script]).era("legacy");
    let gateway = Gateway::start(&Config::new().backend(curious))?;
    let session = LegacySession::open(&gateway.url("/mcp/curious"), &json!({ "roots": {} }))?;
    let mut stream = session.listen()?;
    let question = question(&mut stream)?;
    assert_eq!((&question["id"], &question["method"]), (&json!("r1"), &json!("roots/list")));
    session.answer(&question["id"], &json!({ "roots": [{ "uri": "file:///here" }] }))?;
    gateway.wait_log(PATIENCE, |line| {
        let line = line.to_string();
        line.contains("answered") && line.contains("file:///here")
    })?;
    Ok(())
}

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
