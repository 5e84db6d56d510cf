//! TCP clients share a process, ports and backends, and never see anything of each other. Changes with what a connection
//! holds.

use anyhow::{Context as _, Result, ensure};
use bridge_tests::binary::kind;
use bridge_tests::metrics::Metrics;
use bridge_tests::{Binary, Config, Era, Gateway, Peer, TestServer};
use serde_json::{Value, json};

fn served(config: Config) -> Result<(TestServer, Gateway)> {
    let fixture = TestServer::http(Era::Both)?;
    let gateway =
        Gateway::start(&config.set("server", "protocol", "both".into()).http("k8s", fixture.url()))?;
    gateway.wait_backends("legacy", &["k8s"])?;
    Ok((fixture, gateway))
}

fn echo(text: &str) -> Value {
    json!({ "namespace": "k8s", "name": "echo", "arguments": { "message": text } })
}

#[test]
fn equal_ids_on_two_connections_get_their_own_answers() -> Result<()> {
    let (_fixture, gateway) = served(Config::new())?;
    let address = gateway.wait_listener("tcp")?;
    let mut clients = Vec::new();
    for number in 0..8 {
        let mut client = if number % 2 == 0 { Binary::g(address)? } else { Binary::r(address)? };
        client.negotiate()?;
        clients.push(client);
    }
    let beside = json!({ "target_namespace": "k8s" });
    for round in 0..20 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.request(&json!(round), "tools/call", &echo(&format!("{number} of {round}")), &beside)?;
        }
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let mut seen: Vec<Value> = Vec::new();
        for _ in 0..20 {
            let response = client.response()?;
            let text = format!("{number} of {}", response["id"]);
            ensure!(response["result"]["content"][0]["text"] == *text, "client {number}: {response}");
            ensure!(!seen.contains(&response["id"]), "twice: {response}");
            seen.push(response["id"].clone());
        }
    }
    Ok(())
}

#[test]
fn half_a_frame_of_one_client_never_meets_another_client() -> Result<()> {
    let (_fixture, gateway) = served(Config::new())?;
    let address = gateway.wait_listener("tcp")?;
    let (mut cut, mut other) = (Binary::g(address)?, Binary::g(address)?);
    cut.negotiate()?;
    other.negotiate()?;
    let request = json!({ "jsonrpc": "2.0", "id": "cut", "method": "tools/call", "params": echo("secret") });
    let frame = cut.frame(kind::REQUEST, request.to_string().as_bytes())?;
    let half = frame.len() / 2;
    cut.send_raw(frame.get(..half).context("a half")?)?;
    let response = other.call("tools/call", &echo("mine"), &json!({}))?;
    ensure!(!response.to_string().contains("secret"), "{response}");
    cut.send_raw(frame.get(half..).context("a half")?)?;
    let response = cut.response()?;
    ensure!(response["id"] == "cut" && response["result"]["content"][0]["text"] == "secret", "{response}");
    Ok(())
}

#[test]
fn one_client_cannot_answer_a_question_to_another() -> Result<()> {
    let stdio = TestServer::stdio(Era::Both)?;
    let gateway =
        Gateway::start(&Config::new().set("server", "protocol", "both".into()).stdio("child", &stdio))?;
    gateway.wait_backends("legacy", &["child"])?;
    let address = gateway.wait_listener("tcp")?;
    let mut peers = Vec::new();
    for _ in 0..2 {
        let mut wire = Binary::g(address)?;
        wire.negotiate()?;
        let mut peer = Peer::new(wire);
        peer.initialize(&json!({ "sampling": {} }))?;
        peers.push(peer);
    }
    let [asked, thief] = peers.as_mut_slice() else { return Err(anyhow::anyhow!("two clients")) };
    let arguments = json!({ "name": "test_sampling", "arguments": { "prompt": "how?" } });
    let id = asked.start("tools/call", &arguments)?;
    let question = asked.wait(|message| message["method"] == "sampling/createMessage")?;
    let answer = |text: &str| {
        let result =
            json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": text } });
        json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })
    };
    thief.send(&answer("stolen"))?;
    // Read behind it, so the answer was taken.
    thief.call("ping", &json!({}))?;
    asked.send(&answer("own"))?;
    let answered = asked.answer(&id)?.to_string();
    ensure!(answered.contains("own") && !answered.contains("stolen"), "{answered}");
    Ok(())
}

#[test]
fn a_client_that_leaves_frees_its_place_and_its_calls() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let config =
        Config::new().set("server", "protocol", "both".into()).set("server", "max_connections", 2.into());
    let (gateway, metrics) = Metrics::start(&config.http("k8s", fixture.url()))?;
    gateway.wait_backends("legacy", &["k8s"])?;
    let address = gateway.wait_listener("tcp")?;
    let (mut one, mut two) = (Binary::g(address)?, Binary::g(address)?);
    one.negotiate()?;
    two.negotiate()?;
    let mut third = Binary::g(address)?;
    third.expect_end().context("closed without a frame")?;
    let slow = json!({ "namespace": "k8s", "name": "sleep", "arguments": { "ms": 600_000 } });
    one.request(&json!(1), "tools/call", &slow, &json!({}))?;
    one.call("ping", &json!({}), &json!({}))?;
    drop(one);
    metrics.wait("mcp_gateway_tcp_connections_active", 1)?;
    metrics.wait("mcp_gateway_sessions_active", 0)?;
    let mut third = Binary::g(address)?;
    third.negotiate()?;
    Ok(())
}
