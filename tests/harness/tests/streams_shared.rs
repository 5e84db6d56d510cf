//! What many clients of 2026-07-28 see who share one backend process, and messages too large for anybody. Changes when a
//! shared wire carries something else.

use anyhow::{Context as _, Result, anyhow, ensure};
use bridge_tests::{Backend, Config, Era, Gateway, LegacySession, ModernClient, TestServer};
use serde_json::{Value, json};

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

#[test]
fn equal_ids_and_tokens_of_many_clients_on_one_wire_never_meet() -> Result<()> {
    let stdio = TestServer::stdio(Era::Modern)?;
    let gateway = Gateway::start(&Config::new().backend(Backend::stdio("child", &stdio).era("modern")))?;
    let url = gateway.url("/mcp/child");
    let live = |name: usize| -> Result<()> {
        for round in 0..6 {
            // Each new client numbers from 1 and calls its token the same.
            let mut client = ModernClient::new(&url, &json!({ "elicitation": { "form": {} } }))?;
            client.set_meta("progressToken", json!("p"));
            let reply = client.request("tools/call", &json!({ "name": "test_tool_with_progress" }))?;
            let progress = reply.notifications("notifications/progress");
            let steps: Vec<_> =
                progress.iter().filter_map(|one| one["params"]["progress"].as_f64()).collect();
            ensure!(steps == [0.0, 50.0, 100.0], "{name}/{round}: {steps:?}");
            ensure!(progress.iter().all(|one| one["params"]["progressToken"] == "p"), "{name}/{round}");
            ensure!(reply.message["id"] == 1);

            let message = format!("{name}/{round}");
            let echo = json!({ "name": "echo", "arguments": { "message": message } });
            ensure!(text(&client.request("tools/call", &echo)?.into_result()?) == message);
            let ask = json!({ "name": "test_input_required_result_elicitation" });
            let answered = client.request_with_input(
                "tools/call",
                &ask,
                |_, _| json!({ "action": "accept", "content": { "name": message } }),
            )?;
            ensure!(text(&answered.into_result()?) == format!("Hello, {message}!"));
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6).map(|name| scope.spawn(move || live(name))).collect();
        clients.into_iter().try_for_each(|client| client.join().map_err(|_| anyhow!("panic"))?)
    })
}

#[test]
fn logs_on_a_shared_wire_reach_nobody_rather_than_somebody_else() -> Result<()> {
    let stdio = TestServer::stdio(Era::Modern)?;
    let gateway = Gateway::start(&Config::new().backend(Backend::stdio("child", &stdio).era("modern")))?;
    let url = gateway.url("/mcp/child");
    let mut curious = ModernClient::new(&url, &json!({}))?;
    curious.set_meta("io.modelcontextprotocol/logLevel", json!("debug"));
    std::thread::scope(|scope| -> Result<()> {
        let logging = scope.spawn(|| -> Result<()> {
            for _ in 0..5 {
                let mut other = ModernClient::new(&url, &json!({}))?;
                other.set_meta("io.modelcontextprotocol/logLevel", json!("debug"));
                // It leaves while its tool still logs.
                drop(other.start("tools/call", &json!({ "name": "test_tool_with_logging" }))?);
            }
            Ok(())
        });
        for _ in 0..5 {
            let sleep = json!({ "name": "sleep", "arguments": { "ms": 60 } });
            let reply = curious.request("tools/call", &sleep)?;
            ensure!(reply.earlier.is_empty(), "{:?}", reply.earlier);
        }
        logging.join().map_err(|_| anyhow!("panic"))?
    })
}

#[test]
fn a_message_over_the_limit_fails_its_call_and_no_other() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let config =
        Config::new().http("web", fixture.url()).set("limits", "max_backend_message", json!(100_000));
    let gateway = Gateway::start(&config)?;
    let url = gateway.url("/mcp/web");
    let mut legacy = LegacySession::open(&url, &json!({}))?;
    let mut modern = ModernClient::new(&url, &json!({}))?;
    let big = json!({ "name": "big", "arguments": { "bytes": 200_000 } });
    let echo = json!({ "name": "echo", "arguments": { "message": "hi" } });
    for _ in 0..3 {
        for reply in [legacy.request("tools/call", &big)?, modern.request("tools/call", &big)?] {
            let error = reply.into_error()?;
            let data =
                json!({ "reason": "backend_protocol", "retry": "may_have_executed", "backend": "web" });
            assert_eq!((error.code, &error.data), (-32603, &data), "{error}");
        }
        let answers = [legacy.request("tools/call", &echo)?, modern.request("tools/call", &echo)?];
        for answer in answers {
            assert_eq!(text(&answer.into_result().context("the next call")?), "hi");
        }
    }
    Ok(())
}
