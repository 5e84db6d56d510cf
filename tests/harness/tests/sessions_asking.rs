//! What servers ask their clients in the course of a session: each client answers for itself, each server gets its own
//! answers.

use anyhow::{Context as _, Result, anyhow, ensure};
use bridge_tests::raw::{Request, answer};
use bridge_tests::{Backend, Config, Era, Exchange, Gateway, LegacySession, PATIENCE, TestServer};
use serde_json::{Value, json};

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
    // A client need not have a notification stream.
    for (path, listens) in paths.into_iter().flat_map(|path| [(path, true), (path, false)]) {
        let mut session = LegacySession::open(&gateway.url(path), &json!({ "sampling": {} }))?;
        let stream = listens.then(|| session.listen()).transpose()?;
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
                let mut stream = stream;
                while let Some(Ok(Some(message))) = stream.as_mut().map(Exchange::next_message) {
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
            assert_eq!(text(&message["result"]), format!("LLM response: for {prompt}"), "{path} {listens}");
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
