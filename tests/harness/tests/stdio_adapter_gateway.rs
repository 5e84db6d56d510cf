//! A gateway before two adapters, as in a cluster: where sessions are, what becomes of them, and what a client learns when
//! there is no place for it. Changes when places are chosen differently.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::http::{Response, Url, request};
use bridge_tests::metrics::pause;
use bridge_tests::process::Signal;
use bridge_tests::raw::ACCEPT;
use bridge_tests::{
    Adapter, Backend, Config, Era, Gateway, LegacySession, ModernClient, PATIENCE, TestServer,
};
use serde_json::{Value, json};

fn before(adapters: &[Adapter]) -> Result<Gateway> {
    let urls: Vec<_> = adapters.iter().map(Adapter::url).collect();
    let backend = Backend::http("weather", &urls[0]).config("endpoints", json!(urls[1..]));
    let gateway = Gateway::start(&Config::new().backend(backend))?;
    // The gateway has a session of its own at one of them.
    gateway.wait_backends("legacy", &["weather"])?;
    gateway.wait_backends("modern", &["weather"])?;
    Ok(gateway)
}

fn two(flags: &[&str]) -> Result<[Adapter; 2]> {
    let server = TestServer::stdio(Era::Legacy)?;
    Ok([Adapter::start(flags, &server)?, Adapter::start(flags, &server)?])
}

fn who(session: &mut LegacySession) -> Result<u64> {
    let result = session.request("tools/call", &json!({ "name": "whoami" }))?.into_result()?;
    result["structuredContent"]["pid"].as_u64().with_context(|| format!("whoami said {result}"))
}

/// An `initialize` as it is answered.
fn initialize(url: &str) -> Result<Response> {
    let params = json!({
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "one-more", "version": "1" },
    });
    let message = json!({ "jsonrpc": "2.0", "id": "first", "method": "initialize", "params": params });
    let headers = [("Content-Type", "application/json"), ("Accept", ACCEPT)];
    request("POST", &Url::parse(url)?, &headers, message.to_string().as_bytes())
}

#[test]
fn sessions_fill_both_stay_where_they_are_and_one_too_many_is_told_to_come_back() -> Result<()> {
    let adapters = two(&["--max-sessions=2"])?;
    let gateway = before(&adapters)?;
    let url = gateway.url("/mcp/weather");
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(LegacySession::open(&url, &json!({}))?);
    }
    let mut pids = Vec::new();
    for session in &mut sessions {
        pids.push(who(session)?);
    }
    assert_eq!(pids.iter().collect::<BTreeSet<_>>().len(), 3, "{pids:?}");

    let refused = initialize(&url)?;
    let answer = refused.json()?;
    assert_eq!(refused.head.status, 503, "{answer}");
    ensure!(refused.head.header("retry-after").is_some(), "{:?}", refused.head);
    let error = &answer["error"];
    assert_eq!(error["data"], json!({ "reason": "exhausted", "retry": "safe", "backend": "weather" }));
    // Full is not broken: nobody was moved, and no endpoint is avoided.
    for (session, pid) in sessions.iter_mut().zip(&pids) {
        assert_eq!(who(session)?, *pid);
    }
    let health = bridge_tests::http::get(&gateway.url("/health"))?.json()?;
    assert_eq!(health["subsystems"]["backends"]["weather"]["failing_endpoints"], 0, "{health}");
    // On the endpoint of all backends a session needs no place before it calls; then the call says so.
    let mut merged = LegacySession::open(&gateway.url("/mcp"), &json!({}))?;
    let error = merged.request("tools/call", &json!({ "name": "whoami" }))?.into_error()?;
    assert_eq!((&error.data["reason"], &error.data["retry"]), (&json!("backend_busy"), &json!("safe")));

    sessions.remove(0).delete()?;
    let deadline = Instant::now() + PATIENCE;
    while initialize(&url)?.head.status != 200 {
        ensure!(Instant::now() < deadline, "no place became free after the session had ended");
        pause(std::time::Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn sessions_of_an_adapter_that_goes_away_go_on_at_the_other() -> Result<()> {
    for signal in [Signal::TERM, Signal::KILL] {
        let mut adapters = two(&[])?;
        let gateway = before(&adapters)?;
        let url = gateway.url("/mcp/weather");
        let mut sessions = Vec::new();
        for _ in 0..4 {
            sessions.push(LegacySession::open(&url, &json!({}))?);
        }
        for session in &mut sessions {
            who(session)?;
        }
        adapters[0].process().signal(signal)?;
        adapters[0].process().wait_exit(PATIENCE)?;
        for session in &mut sessions {
            who(session).with_context(|| format!("{signal:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_server_behind_both_asks_clients_of_either_generation() -> Result<()> {
    let adapters = two(&[])?;
    let gateway = before(&adapters)?;
    let url = gateway.url("/mcp/weather");
    let answer =
        json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "forty-two" } });
    let call = json!({ "name": "test_sampling", "arguments": { "prompt": "how many?" } });

    let mut session = LegacySession::open(&url, &json!({ "sampling": {} }))?;
    let said = answer.clone();
    session.on_server_request(move |_, _| said.clone());
    let result = session.request("tools/call", &call)?.into_result()?;
    ensure!(result.to_string().contains("forty-two"), "{result}");

    let mut client = ModernClient::new(&url, &json!({ "sampling": {} }))?;
    let result = client.request_with_input("tools/call", &call, |_: &str, _: &Value| answer.clone())?;
    ensure!(format!("{result:?}").contains("forty-two"), "{result:?}");
    Ok(())
}
