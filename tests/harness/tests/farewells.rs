//! Sessions that the gateway opens at HTTP backends for clients of 2026-07-28: each ends with a DELETE, once, whatever the
//! reason that it is needed no more. Changes when such sessions are kept or ended differently.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use bridge_tests::fake::{Act, Fake, response};
use bridge_tests::process::Signal;
use bridge_tests::{Backend, Config, Gateway, ModernClient, PATIENCE};
use serde_json::{Value, json};

const EXIT: std::time::Duration = std::time::Duration::from_secs(20);

/// A legacy server that numbers its sessions. `slow` waits for a PUT, `work` does not.
fn server() -> Result<Fake> {
    let sessions = AtomicUsize::new(0);
    Fake::start(move |asked| match (asked.http_method.as_str(), asked.method()) {
        ("GET", _) => Act::reply(405, "text/plain", "no stream"),
        ("DELETE", _) => Act::reply(200, "text/plain", ""),
        (_, "initialize") => {
            let result = json!({
                "protocolVersion": "2025-11-25", "capabilities": { "tools": {}, "logging": {} },
                "serverInfo": { "name": "fake", "version": "0" },
            });
            let message = json!({ "jsonrpc": "2.0", "id": asked.message["id"], "result": result });
            let number = format!("session-{}", sessions.fetch_add(1, Ordering::SeqCst));
            let headers = [("Content-Type", "application/json"), ("Mcp-Session-Id", &*number)];
            Act::Send(response(200, &headers, &message.to_string()))
        }
        (_, "tools/list") => Act::result(asked, &json!({ "tools": [] })),
        (_, "logging/setLevel") => Act::result(asked, &json!({})),
        (_, "tools/call") if asked.message["params"]["name"] == "slow" => {
            let asked = asked.clone();
            Act::stream(move |events| {
                events.wait_asked(|asked| asked.http_method == "PUT")?;
                events.finish(&asked, &json!({ "content": [] }))
            })
        }
        (_, "tools/call") => Act::result(asked, &json!({ "content": [] })),
        _ => Act::reply(202, "text/plain", ""),
    })
}

fn before(server: &Fake) -> Result<(Gateway, Config)> {
    let config = Config::new().set("limits", "drain_timeout", json!("5s"));
    let with_server = config.clone().backend(Backend::http("fixture", &server.url()).era("legacy"));
    let gateway = Gateway::start(&with_server)?;
    gateway.wait_backends("legacy", &["fixture"])?;
    Ok((gateway, config))
}

/// Sessions of three kinds: two that calls share, and one that a call had to itself.
fn use_in_three_ways(gateway: &Gateway) -> Result<()> {
    for (capabilities, level) in
        [(json!({}), None), (json!({ "roots": {} }), None), (json!({}), Some("info"))]
    {
        let mut client = ModernClient::new(&gateway.url("/mcp/fixture"), &capabilities)?;
        if let Some(level) = level {
            client.set_meta("io.modelcontextprotocol/logLevel", level.into());
        }
        for _ in 0..2 {
            client.request("tools/call", &json!({ "name": "work" }))?.into_result()?;
        }
    }
    Ok(())
}

/// How often each session was deleted, for all that the server has opened.
fn ends(server: &Fake) -> BTreeMap<String, usize> {
    let asked = server.asked();
    let opened = asked.iter().filter(|asked| asked.method() == "initialize").count();
    let mut ends: BTreeMap<_, _> = (0..opened).map(|number| (format!("session-{number}"), 0)).collect();
    for deleted in asked.iter().filter(|asked| asked.http_method == "DELETE") {
        *ends.entry(deleted.header("mcp-session-id").unwrap_or("none").to_owned()).or_default() += 1;
    }
    ends
}

/// Waits until each session has ended, and sees that none has ended twice.
fn all_ended(server: &Fake, sessions: usize) -> Result<()> {
    for number in 0..sessions {
        let id = format!("session-{number}");
        let is_its_end = |asked: &bridge_tests::fake::Asked| {
            asked.http_method == "DELETE" && asked.header("mcp-session-id") == Some(&*id)
        };
        server.wait_asked(is_its_end).with_context(|| format!("{:?}", ends(server)))?;
    }
    let ends = ends(server);
    ensure!(ends.len() == sessions && ends.values().all(|count| *count == 1), "{ends:?}");
    Ok(())
}

#[test]
fn a_backend_that_is_configured_no_more_is_told_of_each_session() -> Result<()> {
    let server = server()?;
    let (gateway, without) = before(&server)?;
    use_in_three_ways(&gateway)?;
    ensure!(ends(&server).values().all(|count| *count == 0), "{:?}", ends(&server));
    gateway.rewrite_config(&without.to_yaml())?;
    gateway.wait_log(PATIENCE, |line| line["msg"] == "configuration loaded")?;
    // The catalogue's own is the fourth.
    all_ended(&server, 4)
}

#[test]
fn a_call_in_flight_keeps_its_session_over_a_reload_and_ends_it_then() -> Result<()> {
    let server = server()?;
    let (gateway, without) = before(&server)?;
    let slow: Value = json!({ "name": "slow" });
    let mut shared = ModernClient::new(&gateway.url("/mcp/fixture"), &json!({}))?;
    let mut own = ModernClient::new(&gateway.url("/mcp/fixture"), &json!({}))?;
    own.set_meta("io.modelcontextprotocol/logLevel", "info".into());
    let calls = [shared.start("tools/call", &slow)?, own.start("tools/call", &slow)?];
    for number in 1..=2 {
        let id = format!("session-{number}");
        server.wait_asked(|asked| {
            asked.method() == "tools/call" && asked.header("mcp-session-id") == Some(&*id)
        })?;
    }
    gateway.rewrite_config(&without.to_yaml())?;
    gateway.wait_log(PATIENCE, |line| line["msg"] == "configuration loaded")?;
    server.wait_asked(|asked| {
        asked.http_method == "DELETE" && asked.header("mcp-session-id") == Some("session-0")
    })?;
    ensure!(ends(&server).values().sum::<usize>() == 1, "{:?}", ends(&server));

    let url = bridge_tests::http::Url::parse(&server.url())?;
    bridge_tests::http::request("PUT", &url, &[], b"")?;
    for (id, exchange) in calls {
        exchange.finish(&id, |_| Ok(()))?.into_result()?;
    }
    all_ended(&server, 3)
}

#[test]
fn a_call_that_is_left_takes_the_session_that_it_had_to_itself_along() -> Result<()> {
    let server = server()?;
    let (gateway, _) = before(&server)?;
    let mut client = ModernClient::new(&gateway.url("/mcp/fixture"), &json!({}))?;
    client.set_meta("io.modelcontextprotocol/logLevel", "info".into());
    let (_, exchange) = client.start("tools/call", &json!({ "name": "slow" }))?;
    server.wait_asked(|asked| asked.method() == "tools/call")?;
    drop(exchange);
    server.wait_asked(|asked| {
        asked.http_method == "DELETE" && asked.header("mcp-session-id") == Some("session-1")
    })?;
    ensure!(ends(&server).values().sum::<usize>() == 1, "{:?}", ends(&server));
    Ok(())
}

#[test]
fn a_gateway_that_stops_ends_each_session() -> Result<()> {
    let server = server()?;
    let (mut gateway, _) = before(&server)?;
    use_in_three_ways(&gateway)?;
    gateway.process().signal(Signal::TERM)?;
    gateway.process().wait_exit(EXIT)?;
    all_ended(&server, 4)
}
