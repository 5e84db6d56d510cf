//! The binary protocol as the original's own client speaks it (dialect R): a token and a namespace in each request's
//! envelope, answers in envelopes, nothing else. Changes with the order of its events.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::binary::kind;
use bridge_tests::process::Signal;
use bridge_tests::tokens::Issuer;
use bridge_tests::{Binary, Config, Era, Gateway, PATIENCE, TestServer};
use serde_json::{Value, json};

const SECRET: &str = "a secret of thirty-two bytes, ok";

/// A gateway that wants tokens, over fixtures in the namespaces that every deployment of the original had.
fn guarded() -> Result<(TestServer, Gateway)> {
    let fixture = TestServer::http(Era::Both)?;
    let config = Config::new().set("server", "protocol", "tcp".into()).http("system", fixture.url());
    let auth = json!({ "provider": "jwt", "jwt": { "secret_key_env": "TCP_TEST_SECRET" } });
    let config = format!("{}auth: {auth}\n", config.to_yaml());
    let gateway = Gateway::start_with(&config, &[], &[("TCP_TEST_SECRET", SECRET)])?;
    gateway.wait_backends("legacy", &["system"])?;
    Ok((fixture, gateway))
}

fn echo(text: &str) -> Value {
    json!({ "name": "echo", "arguments": { "message": text } })
}

#[test]
fn the_routers_exchange_works_frame_by_frame() -> Result<()> {
    let (_fixture, gateway) = guarded()?;
    let token = Issuer::secret(SECRET).token("ann")?;
    let beside = json!({ "target_namespace": "system", "auth_token": token });
    let mut client = Binary::r(gateway.wait_listener("tcp")?)?;
    client.negotiate()?;
    let hello = json!({ "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": { "name": "c", "version": "1" } });
    let response = client.call("initialize", &hello, &beside)?;
    ensure!(response["result"]["protocolVersion"] == "2024-11-05", "{response}");
    // Its keep-alive: answering would be an error to its reader.
    client.send(kind::HEALTH, b"{}")?;
    let response = client.call("tools/list", &json!({}), &beside)?;
    let tools = response["result"]["tools"].as_array().context("tools")?;
    ensure!(tools.iter().any(|tool| tool["name"] == "echo"), "{response}");
    let notification = json!({ "mcp_payload": { "jsonrpc": "2.0", "method": "notifications/initialized" },
        "auth_token": token, "target_namespace": "system" });
    client.send(kind::REQUEST, notification.to_string().as_bytes())?;
    let response = client.call("tools/call", &echo("hallo"), &beside)?;
    ensure!(response["result"]["content"][0]["text"] == "hallo", "{response}");
    // With `Bearer` as its documentation has it.
    let beside = json!({ "target_namespace": "system", "auth_token": format!("Bearer {token}") });
    let response = client.call("ping", &json!({}), &beside)?;
    ensure!(response["result"] == json!({}), "{response}");
    Ok(())
}

#[test]
fn each_request_is_judged_by_its_own_token() -> Result<()> {
    let (_fixture, gateway) = guarded()?;
    let issuer = Issuer::secret(SECRET);
    let mut client = Binary::r(gateway.wait_listener("tcp")?)?;
    client.negotiate()?;
    let stale = issuer.token_with("ann", &json!({ "exp": 1 }))?;
    for beside in [json!({}), json!({ "auth_token": "no.token.here" }), json!({ "auth_token": stale })] {
        let response = client.call("tools/list", &json!({}), &beside)?;
        ensure!(response["error"]["code"] == -32603, "{response}");
        ensure!(response["error"]["message"].to_string().contains("Unauthorized"), "{response}");
    }
    for subject in ["ann", "bob"] {
        let beside = json!({ "auth_token": issuer.token(subject)? });
        let response = client.call("tools/call", &echo(subject), &beside)?;
        ensure!(response["result"]["content"][0]["text"] == subject, "{response}");
    }
    Ok(())
}

#[test]
fn a_thousand_concurrent_calls_keep_their_ids() -> Result<()> {
    let (_fixture, gateway) = guarded()?;
    let beside = json!({ "target_namespace": "system", "auth_token": Issuer::secret(SECRET).token("ann")? });
    let mut client = Binary::r(gateway.wait_listener("tcp")?)?;
    client.negotiate()?;
    let mut waiting = BTreeMap::new();
    for number in 0..1000 {
        let id = if number % 2 == 0 { json!(number) } else { json!(format!("req-{number}")) };
        let text = format!("text {number}");
        client.request(&id, "tools/call", &echo(&text), &beside)?;
        waiting.insert(id.to_string(), text);
    }
    for _ in 0..1000 {
        let response = client.response()?;
        let text = waiting.remove(&response["id"].to_string());
        let text = text.with_context(|| format!("answered twice, or never asked: {response}"))?;
        ensure!(response["result"]["content"][0]["text"] == *text, "{response}");
    }
    Ok(())
}

#[test]
fn a_shutdown_says_nothing_and_waits_for_calls_in_flight() -> Result<()> {
    let (_fixture, mut gateway) = guarded()?;
    let beside = json!({ "auth_token": Issuer::secret(SECRET).token("ann")? });
    let address = gateway.wait_listener("tcp")?;
    let (mut client, mut idle) = (Binary::r(address)?, Binary::r(address)?);
    client.negotiate()?;
    idle.negotiate()?;
    let slow = json!({ "name": "sleep", "arguments": { "ms": 4000 } });
    client.request(&json!(1), "tools/call", &slow, &beside)?;
    client.request(&json!(2), "tools/list", &json!({}), &beside)?;
    ensure!(client.response()?["id"] == 2);
    gateway.process().signal(Signal::TERM)?;
    idle.expect_end()?;
    client.request(&json!(3), "tools/list", &json!({}), &beside)?;
    let response = client.response()?;
    ensure!(response["id"] == 3 && response["error"]["message"] == "Server shutting down", "{response}");
    let response = client.response()?;
    ensure!(response["id"] == 1 && response.get("result").is_some(), "{response}");
    client.expect_end()?;
    ensure!(gateway.process().wait_exit(PATIENCE)?.success());
    Ok(())
}

#[test]
fn clients_of_the_original_find_tools_under_prefixes_or_all_together() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let config = Config::new().set("server", "protocol", "tcp".into());
    let gateway = Gateway::start(&config.http("k8s", fixture.url()).http("demo", fixture.url()))?;
    gateway.wait_backends("legacy", &["k8s", "demo"])?;
    let mut client = Binary::r(gateway.wait_listener("tcp")?)?;
    client.negotiate()?;
    // What the router names, whatever there is.
    let beside = json!({ "target_namespace": "system" });
    let response = client.call("tools/list", &json!({}), &beside)?;
    let text = response.to_string();
    ensure!(text.contains("k8s__echo") && text.contains("demo__echo"), "{response}");
    let merged = json!({ "name": "demo__echo", "arguments": { "message": "merged" } });
    let response = client.call("tools/call", &merged, &beside)?;
    ensure!(response["result"]["content"][0]["text"] == "merged", "{response}");
    // The text before the first dot is a namespace; the name goes on unchanged, and there is no such tool.
    let dotted = json!({ "name": "k8s.echo", "arguments": {} });
    let response = client.call("tools/call", &dotted, &beside)?;
    ensure!(response.get("error").is_some() && response.to_string().contains("k8s.echo"), "{response}");
    Ok(())
}
