//! The process from its start to its end: what it prints, how it refuses to start, how it leaves. Changes when the program
//! gets another phase of life.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bridge_tests::http::{Connection, Url, get};
use bridge_tests::metrics::Metrics;
use bridge_tests::process::{Process, Signal};
use bridge_tests::raw::{Request, answer};
use bridge_tests::{
    Backend, Config, Era, Exchange, Gateway, LegacySession, ModernClient, PATIENCE, TempDir, TestServer,
};
use serde_json::{Value, json};

const UNAVAILABLE: i64 = -32004;
/// An exit that takes longer is not graceful but stuck.
const EXIT: Duration = Duration::from_secs(15);

fn sleep(ms: u64) -> Value {
    json!({ "name": "sleep", "arguments": { "ms": ms } })
}

fn run(args: &[&str]) -> Result<(i32, String)> {
    run_with(args, &[])
}

fn run_with(args: &[&str], env: &[(&str, &str)]) -> Result<(i32, String)> {
    let mut command = std::process::Command::new(bridge_tests::gateway::binary("mcp-gateway")?);
    command.args(args).envs(env.iter().copied()).env_remove("CONFIG_PATH");
    let process = Process::spawn("mcp-gateway", &command)?;
    let exit = process.wait_exit(PATIENCE)?;
    Ok((exit.code().context("an exit code")?, process.log().join("\n")))
}

#[test]
fn the_command_line_answers_without_starting_anything() -> Result<()> {
    let (code, text) = run(&["--version"])?;
    assert_eq!(code, 0);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines[0], lines.len()), ("mcp-gateway", 4));
    assert!(lines[1].starts_with("Version: v"), "{text}");

    let (code, text) = run(&["schema"])?;
    assert_eq!(code, 0);
    let schema: Value = serde_json::from_str(&text)?;
    assert!(schema["properties"]["backends"].is_object(), "{text}");

    for (args, wanted) in [
        (&["--no-such-flag"][..], "--no-such-flag"),
        (&["no-such-command"], "no-such-command"),
        (&["--log-level", "loud"], "trace, debug, info, warn, error"),
    ] {
        let (code, text) = run(args)?;
        assert_eq!(code, 2, "{args:?}");
        assert!(text.contains(wanted), "{text}");
    }
    let (code, text) = run(&["--help"])?;
    assert!(
        code == 0 && text.contains("check") && text.contains("schema") && text.contains("--welcome"),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_wrong_file_is_refused_with_its_place() -> Result<()> {
    let dir = TempDir::new("wrong")?;
    let missing = dir.path().join("missing.yaml");
    let missing = missing.to_str().context("UTF-8")?;
    let (code, text) = run(&["--config", missing])?;
    assert_eq!(code, 2);
    assert!(text.contains(missing), "{text}");

    for (content, place, wanted) in [
        ("version: 1\nserver:\n  port: many\n", "3:9", "many"),
        ("version: 1\nbackends:\n  - name: a\n    protocol: carrier-pigeon\n", "4:15", "stdio"),
        ("version: 1\nlimits:\n  max_depth: 9000\n", "3:14", "512"),
        ("version: 1\n  server: [\n", "2:", "yaml"),
        (
            "version: 1\nbackends:\n  - name: a\n    protocol: stdio\n    config: { command: \"mcp --x\" }\n",
            "5:24",
            "list",
        ),
    ] {
        let file = dir.write("gateway.yaml", content)?;
        let file = file.to_str().context("UTF-8")?;
        let started = Instant::now();
        let (code, text) = run(&["--config", file])?;
        assert_eq!(code, 2, "{content}");
        assert!(text.contains(&format!("{file}:{place}")) && text.contains(wanted), "{content} gave {text}");
        assert!(started.elapsed() < Duration::from_secs(5));
        let (code, text) = run(&["check", "--config", file])?;
        assert_eq!(code, 1, "{content}");
        assert!(text.contains(&format!("{file}:{place}")), "{text}");
    }
    let config = Config::new().http("x", "http://127.0.0.1:1/mcp").to_yaml();
    let file = dir.write("gateway.yaml", &config)?;
    let (code, text) = run(&["check", "--config", file.to_str().context("UTF-8")?])?;
    assert_eq!(code, 0, "{text}");
    Ok(())
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let dir = TempDir::new("taken")?;
    for key in ["port", "metrics_port", "health_port"] {
        let file = dir.write("gateway.yaml", &Config::new().set("server", key, port.into()).to_yaml())?;
        let (code, text) = run(&["--config", file.to_str().context("UTF-8")?])?;
        assert_eq!(code, 2, "{key}: {text}");
        assert!(text.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{key}: {text}");
    }
    Ok(())
}

/// Calls in flight at both kinds of backend in both generations, and a gateway with its health pages.
struct Busy {
    gateway: Gateway,
    metrics: Metrics,
    calls: Vec<(Value, Exchange)>,
    _sessions: Vec<LegacySession>,
    _fixture: TestServer,
}

impl Busy {
    fn start(ms: u64, config: Config) -> Result<Self> {
        let mut fixture = TestServer::http(Era::Both)?;
        let stdio = TestServer::stdio(Era::Both)?;
        let (gateway, metrics) = Metrics::start(&config.http("web", fixture.url()).stdio("child", &stdio))?;
        let (mut calls, mut sessions) = (Vec::new(), Vec::new());
        for path in ["/mcp/web", "/mcp/child"] {
            let mut session = LegacySession::open(&gateway.url(path), &json!({}))?;
            calls.push(session.start("tools/call", &sleep(ms))?);
            sessions.push(session);
            calls.push(ModernClient::new(&gateway.url(path), &json!({}))?.start("tools/call", &sleep(ms))?);
        }
        for (log, of) in [(true, "child"), (false, "web")] {
            let mut seen = 0;
            let mut both = |line: &str| {
                seen += usize::from(line.contains("sleep started"));
                (seen == 2).then_some(())
            };
            if log {
                let seen = std::cell::RefCell::new(&mut both);
                gateway.wait_log(PATIENCE, |line| (seen.borrow_mut())(&line.to_string()).is_some())?;
            } else {
                fixture.process().wait_line(PATIENCE, &mut both).context(of)?;
            }
        }
        Ok(Self { gateway, metrics, calls, _sessions: sessions, _fixture: fixture })
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.gateway.process().signal(signal)
    }
}

#[test]
fn a_graceful_stop_answers_what_it_has_and_refuses_what_comes() -> Result<()> {
    let mut busy = Busy::start(2_000, Config::new())?;
    let url = busy.gateway.url("/mcp");
    let merged = LegacySession::open(&url, &json!({}))?;
    let mut notifications = merged.listen()?;
    let (_, mut listen) =
        ModernClient::new(&url, &json!({}))?.listen(&json!({ "toolsListChanged": true }))?;
    let (_, mut listen_one) = ModernClient::new(&busy.gateway.url("/mcp/web"), &json!({}))?
        .listen(&json!({ "toolsListChanged": true }))?;
    let parsed = Url::parse(&url)?;
    let mut idle = Connection::open_url(&parsed)?;
    idle.send(&Request::modern("server/discover", &json!({}))?.bytes(&parsed))?;
    assert_eq!(idle.read_response()?.head.status, 200);
    assert_eq!(get(&busy.metrics.url("/ready"))?.head.status, 200);

    let stopped = Instant::now();
    busy.signal(Signal::TERM)?;
    busy.gateway.wait_log(PATIENCE, |line| line["msg"] == "draining")?;

    // Probes see it leave, on every port.
    assert_eq!(get(&busy.metrics.url("/ready"))?.head.status, 503);
    assert_eq!(get(&busy.gateway.url("/ready"))?.head.status, 503);
    assert_eq!(get(&busy.gateway.url("/healthz"))?.head.status, 200);
    assert_eq!(get(&busy.metrics.url("/health"))?.head.status, 503);

    // Whatever is new goes elsewhere; nothing of it was executed.
    let refusal = json!({ "reason": "shutting_down", "retry": "safe" });
    let initialize = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": { "protocolVersion": "2025-11-25", "capabilities": {} },
    });
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    for request in [
        Request::modern("tools/call", &sleep(1))?,
        Request::post(initialize.to_string()),
        Request::legacy(merged.id().context("session")?, list),
    ] {
        let response = request.send(&url)?;
        let message = answer(&response)?;
        assert_eq!((response.head.status, &message["error"]["data"]), (503, &refusal), "{request:?}");
        assert_eq!((&message["error"]["code"], &message["id"]), (&json!(UNAVAILABLE), &json!(1)));
    }
    // Streams that would never end by themselves have ended, the modern ones with their answer.
    while notifications.next_event()?.is_some() {}
    for listen in [&mut listen, &mut listen_one] {
        let mut end = Value::Null;
        while let Some(message) = listen.next_message()? {
            end = message;
        }
        assert_eq!((&end["id"], &end["result"]["resultType"]), (&json!(1), &json!("complete")), "{end}");
    }
    assert!(idle.is_closed_by_peer()?, "an idle connection ends at once");
    assert!(stopped.elapsed() < Duration::from_millis(1_800), "all this while calls were in flight");

    for (id, call) in busy.calls {
        let slept = call.finish(&id, |_| Ok(()))?.into_result()?;
        assert_eq!(slept["content"][0]["text"], "Slept 2000 ms");
    }
    let exit = busy.gateway.process().wait_exit(EXIT)?;
    assert_eq!(exit.code(), Some(0));
    assert!(stopped.elapsed() < Duration::from_secs(10), "{:?}", stopped.elapsed());
    Ok(())
}

#[test]
fn an_answer_to_a_question_still_gets_through_while_leaving() -> Result<()> {
    let stdio = TestServer::stdio(Era::Both)?;
    let gateway = Gateway::start(&Config::new().stdio("child", &stdio))?;
    let mut session = LegacySession::open(&gateway.url("/mcp/child"), &json!({ "sampling": {} }))?;
    let call = json!({ "name": "test_sampling", "arguments": { "prompt": "p" } });
    let (id, mut exchange) = session.start("tools/call", &call)?;
    let question = exchange.next_message()?.context("a question")?;
    assert_eq!(question["method"], "sampling/createMessage");
    let mut gateway = gateway;
    gateway.process().signal(Signal::TERM)?;
    gateway.wait_log(PATIENCE, |line| line["msg"] == "draining")?;
    let content = json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "late" } });
    session.answer(&question["id"], &content)?;
    let result = exchange.finish(&id, |_| Ok(()))?.into_result()?;
    assert_eq!(result["content"][0]["text"], "LLM response: late");
    assert_eq!(gateway.process().wait_exit(EXIT)?.code(), Some(0));
    Ok(())
}

#[test]
fn the_last_answers_are_written_before_the_end() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    for round in 0..5 {
        let mut gateway = Gateway::start(&Config::new().http("web", fixture.url()))?;
        let url = gateway.url("/mcp/web");
        let calls: Vec<_> = (0..20)
            .map(|_| {
                let call = json!({ "name": "big", "arguments": { "bytes": 300_000 } });
                ModernClient::new(&url, &json!({}))?.start("tools/call", &call)
            })
            .collect::<Result<_>>()?;
        gateway.process().signal(if round % 2 == 0 { Signal::TERM } else { Signal::INT })?;
        for (id, call) in calls {
            let reply = call.finish(&id, |_| Ok(())).with_context(|| format!("round {round}"))?;
            match reply.clone().into_result() {
                Ok(result) => {
                    let length = result["content"][0]["text"].as_str().map(str::len);
                    assert_eq!(length, Some(300_000));
                }
                // It came after the signal.
                Err(_) => assert_eq!(reply.into_error()?.data["reason"], "shutting_down"),
            }
        }
        assert_eq!(gateway.process().wait_exit(EXIT)?.code(), Some(0));
    }
    Ok(())
}

#[test]
fn a_second_signal_or_the_time_limit_ends_the_waiting() -> Result<()> {
    let mut busy = Busy::start(60_000, Config::new())?;
    busy.signal(Signal::TERM)?;
    busy.gateway.wait_log(PATIENCE, |line| line["msg"] == "draining")?;
    let hurried = Instant::now();
    busy.signal(Signal::TERM)?;
    assert_eq!(busy.gateway.process().wait_exit(EXIT)?.code(), Some(0));
    assert!(hurried.elapsed() < Duration::from_secs(8), "{:?}", hurried.elapsed());
    drop(busy);

    let mut busy = Busy::start(60_000, Config::new().set("limits", "drain_timeout", json!("1s")))?;
    let stopped = Instant::now();
    busy.signal(Signal::TERM)?;
    busy.gateway.wait_log(PATIENCE, |line| line["msg"] == "not drained")?;
    assert!(stopped.elapsed() > Duration::from_millis(900), "{:?}", stopped.elapsed());
    // What was not finished is not left without a word.
    for (id, call) in std::mem::take(&mut busy.calls) {
        let error = call.finish(&id, |_| Ok(()))?.into_error()?;
        ensure!(error.code == UNAVAILABLE, "{error}");
        ensure!(error.data["retry"] == "may_have_executed", "{error}");
    }
    assert_eq!(busy.gateway.process().wait_exit(EXIT)?.code(), Some(0));
    Ok(())
}

#[test]
fn a_stop_before_anything_is_there_is_a_stop() -> Result<()> {
    let dir = TempDir::new("early")?;
    let config = Config::new().stdio("mute", &["sleep", "1000"]).http("dead", "http://127.0.0.1:1/mcp");
    let file = dir.write("gateway.yaml", &config.to_yaml())?;
    for args in [&[][..], &["--welcome"]] {
        let gateway = Gateway::spawn(&file, args, &[])?;
        gateway.wait_line(PATIENCE, |line| line.contains("\"listening\"").then_some(()))?;
        let stopped = Instant::now();
        gateway.signal(Signal::TERM)?;
        assert_eq!(gateway.wait_exit(EXIT)?.code(), Some(0), "{args:?}");
        assert!(stopped.elapsed() < Duration::from_secs(8), "{args:?}: {:?}", stopped.elapsed());
    }
    Ok(())
}

#[test]
fn upstream_sessions_are_ended_when_the_gateway_ends() -> Result<()> {
    let fake = bridge_tests::fake::Fake::legacy(|asked| bridge_tests::fake::Act::result(asked, &json!({})))?;
    let mut gateway =
        Gateway::start(&Config::new().backend(Backend::http("old", &fake.url()).era("legacy")))?;
    let _session = LegacySession::open(&gateway.url("/mcp/old"), &json!({}))?;
    gateway.process().signal(Signal::TERM)?;
    assert_eq!(gateway.process().wait_exit(EXIT)?.code(), Some(0));
    // One session of the client's and one of the catalogue's.
    let deleted = fake.asked().iter().filter(|asked| asked.http_method == "DELETE").count();
    assert_eq!(deleted, 2, "{:#?}", fake.asked());
    Ok(())
}
