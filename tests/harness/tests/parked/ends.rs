//! Parked calls that nobody answers, and backends that end before the answer. Changes when parked calls end otherwise.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::fake::Fake;
use bridge_tests::process::Signal;
use bridge_tests::{Era, Gateway, PATIENCE, Peer, TestServer, WebSocket};
use rustix::process::{Pid, kill_process};
use serde_json::json;

use crate::support::{
    Parked, SOON, Way, accept, client, quiet, sampling, says, scripted, short_lived, text, who,
};

#[test]
fn a_call_that_is_never_answered_is_cancelled_at_the_server() -> Result<()> {
    Way::each(&short_lived(), |way| {
        let mut client = way.client()?;
        let parked = Parked::call(&mut client, &sampling("never"))?;
        way.wait_server_log("question not answered")?;
        parked.refused(&mut client, &says("too late"))?;
        let other = Parked::call(&mut client, &sampling("another"))?;
        let result = other.finish(&mut client, &says("in time"))?;
        ensure!(text(&result) == "LLM response: in time", "{result}");
        Ok(())
    })
}

/// A server that does not listen to cancellations must at least be told that nobody answers.
#[test]
fn a_question_that_nobody_answers_is_answered_by_the_gateway() -> Result<()> {
    let (gateway, fake) = scripted(short_lived(), |_, events| {
        events
            .send(&json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": who() }))?;
        events.wait_closed();
        Ok(())
    })?;
    Parked::call(&mut client(&gateway)?, &json!({ "name": "work" }))?;
    let call = fake.wait_asked(|asked| asked.method() == "tools/call")?;
    let cancelled = fake.wait_asked(|asked| asked.method() == "notifications/cancelled")?;
    ensure!(cancelled.message["params"]["requestId"] == call.message["id"], "{cancelled:?}");
    let answered = fake.wait_asked(|asked| asked.message["id"] == "q")?;
    ensure!(answered.message["result"]["action"] == "cancel", "{answered:?}");
    fake.wait_abandoned(1)
}

#[test]
fn a_backend_that_is_lost_meanwhile_leaves_a_typed_error() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut client = way.client()?;
        let parked = Parked::call(&mut client, &sampling("lost"))?;
        let result = client.request("tools/call", &json!({ "name": "whoami" }))?.into_result()?;
        let pid = result["structuredContent"]["pid"].as_i64().context("pid")?;
        let port = way.server.as_ref().map(TestServer::port).transpose()?;
        match way.server.as_mut() {
            Some(server) => {
                server.process().signal(Signal::KILL)?;
                server.process().wait_exit(PATIENCE)?;
            }
            None => kill_parked_child(way, i32::try_from(pid)?)?,
        }
        let asked = Instant::now();
        let error = parked.answer(&mut client, &says("too late"))?.into_error()?;
        ensure!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
        // The server had the call: it may have done its work.
        let expected =
            json!({ "reason": "backend_lost", "retry": "may_have_executed", "backend": "fixture" });
        ensure!(error.data == expected, "{error}");
        parked.refused(&mut client, &says("and again")).context("the same answer once more")?;

        way.server = port.map(|port| TestServer::http_on(Era::Legacy, port)).transpose()?;
        let other = Parked::call(&mut client, &sampling("after"))?;
        let result = other.finish(&mut client, &says("anew"))?;
        ensure!(text(&result) == "LLM response: anew", "{result}");
        Ok(())
    })
}

/// The parked call may be in another child than the one that just said its name: all fixture children end.
fn kill_parked_child(way: &mut Way, known: i32) -> Result<()> {
    let gateway = way.gateway.process().pid();
    let children = bridge_tests::process::find_processes(|line| line.contains("mcp-test-server"))?;
    let ours = children.into_iter().filter(|pid| descends_from(*pid, gateway)).collect::<Vec<_>>();
    ensure!(ours.contains(&known), "{known} is not among {ours:?}");
    for pid in &ours {
        // A guard may have taken its child with it already.
        let _ = kill_process(Pid::from_raw(*pid).context("a process id")?, Signal::KILL);
    }
    bridge_tests::process::wait_gone(&ours, PATIENCE)
}

fn descends_from(pid: i32, ancestor: i32) -> bool {
    let mut pid = pid;
    while pid > 1 {
        if pid == ancestor {
            return true;
        }
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        let Some(parent) = parent else { return false };
        pid = parent;
    }
    false
}

#[test]
fn a_server_that_ends_its_stream_without_an_answer_leaves_a_typed_error() -> Result<()> {
    let (gateway, fake) =
        scripted(quiet(), |_, events| events.ask(&json!("q"), "elicitation/create", &who()).map(drop))?;
    let mut client = client(&gateway)?;
    let parked = Parked::call(&mut client, &json!({ "name": "work" }))?;
    let error = parked.answer(&mut client, &accept(&json!({ "name": "ann" })))?.into_error()?;
    ensure!(error.data["reason"] == "backend_lost" && error.data["retry"] == "may_have_executed", "{error}");
    let calls = fake.asked().into_iter().filter(|asked| asked.method() == "tools/call").count();
    ensure!(calls == 1, "the call was sent {calls} times");
    Ok(())
}

#[test]
fn a_client_that_leaves_before_the_question_cancels_the_call() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut client = way.client()?;
        let sleep = json!({ "name": "sleep", "arguments": { "ms": 600_000 } });
        let (_, exchange) = client.start("tools/call", &sleep)?;
        way.wait_server_log("sleep started")?;
        drop(exchange);
        way.wait_server_log("sleep cancelled")
    })
}

/// A server that asks, and answers with what was said.
fn asking() -> Result<(Gateway, Fake)> {
    scripted(quiet(), |asked, events| {
        let answer = events.ask(&json!("q"), "elicitation/create", &who())?;
        let said = answer.message["result"]["action"].clone();
        events.finish(asked, &json!({ "content": [{ "type": "text", "text": said }] }))
    })
}

#[test]
fn a_gateway_that_stops_lets_parked_calls_be_continued_and_takes_no_others() -> Result<()> {
    let (mut gateway, fake) = asking()?;
    let (mut client, call) = (client(&gateway)?, json!({ "name": "work" }));
    let parked = Parked::call(&mut client, &call)?;
    gateway.process().signal(Signal::TERM)?;
    gateway.wait_log(PATIENCE, |line| line["msg"] == "draining")?;

    let error = client.request("tools/call", &call)?.into_error()?;
    ensure!(error.data == json!({ "reason": "shutting_down", "retry": "safe" }), "{error}");
    let result = parked.finish(&mut client, &accept(&json!({ "name": "ann" })))?;
    ensure!(text(&result) == "accept", "{result}");
    let calls = fake.asked().into_iter().filter(|asked| asked.method() == "tools/call").count();
    ensure!(calls == 1, "the call was sent {calls} times");
    // The only one that it had to wait for.
    gateway.wait_log(PATIENCE, |line| line["msg"] == "drained")?;
    gateway.process().wait_exit(PATIENCE).map(drop)
}

#[test]
fn a_gateway_that_stops_cancels_what_nobody_continues() -> Result<()> {
    let config = quiet().set("limits", "drain_timeout", json!("1s"));
    let (mut gateway, fake) = scripted(config, |_, events| {
        events
            .send(&json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": who() }))?;
        events.wait_closed();
        Ok(())
    })?;
    let mut client = client(&gateway)?;
    let used = Parked::call(&mut client, &json!({ "name": "work" }))?;
    gateway.process().signal(Signal::TERM)?;
    gateway.wait_log(PATIENCE, |line| line["msg"] == "draining")?;
    // Asked again at once: with no answer it goes on waiting under another state.
    let again = client.request("tools/call", &used.retry_with_nothing())?.into_result()?;
    ensure!(again["resultType"] == "input_required", "{again}");
    used.refused(&mut client, &accept(&json!({ "name": "ann" }))).context("a state is good once")?;

    let call = fake.wait_asked(|asked| asked.method() == "tools/call")?;
    let cancelled = fake.wait_asked(|asked| asked.method() == "notifications/cancelled")?;
    ensure!(cancelled.message["params"]["requestId"] == call.message["id"], "{cancelled:?}");
    let answered = fake.wait_asked(|asked| asked.message["id"] == "q")?;
    ensure!(answered.message["result"]["action"] == "cancel", "{answered:?}");
    gateway.process().wait_exit(PATIENCE).map(drop)
}

#[test]
fn a_connection_is_not_left_while_its_client_may_continue_a_call() -> Result<()> {
    let (mut gateway, _fake) = asking()?;
    let url = gateway.url("/mcp/fixture");
    let connect = || -> Result<_> { Ok(Peer::new(WebSocket::connect(&url)?)) };
    let (mut client, mut idle) = (connect()?, connect()?);
    let call = json!({ "name": "work" });
    let parked = Parked::of(&call, client.modern("tools/call", &call)?)?;
    gateway.process().signal(Signal::TERM)?;
    ensure!(idle.read()?.is_none(), "who waits for nothing is left soon");

    let result = client.modern("tools/call", &parked.retry(|_| accept(&json!({ "name": "ann" })))?)?;
    ensure!(text(&result) == "accept", "{result}");
    ensure!(client.read()?.is_none(), "and everybody in the end");
    gateway.process().wait_exit(PATIENCE).map(drop)
}
