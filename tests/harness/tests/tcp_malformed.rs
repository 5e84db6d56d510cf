//! What is not the binary protocol, or breaks it, never takes the process down and is answered as the contract says.
//! Changes with the table of events of dialect G.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::binary::kind;
use bridge_tests::{Binary, Config, Era, Gateway, TestServer};
use serde_json::json;

fn served() -> Result<(TestServer, Gateway, SocketAddr)> {
    let fixture = TestServer::http(Era::Both)?;
    let config = Config::new().set("server", "protocol", "both".into());
    let gateway = Gateway::start(&config.http("k8s", fixture.url()))?;
    gateway.wait_backends("legacy", &["k8s"])?;
    let address = gateway.wait_listener("tcp")?;
    Ok((fixture, gateway, address))
}

/// Fails unless an ordinary client is served.
fn serves(address: SocketAddr) -> Result<()> {
    let mut client = Binary::g(address)?;
    client.negotiate()?;
    let response = client.call("tools/list", &json!({ "namespace": "k8s" }), &json!({}))?;
    ensure!(response["result"]["tools"].is_array(), "{response}");
    Ok(())
}

fn header(magic: &[u8], version: u16, kind: u16, length: u32) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes
}

#[test]
fn other_protocols_and_broken_headers_are_closed_without_a_frame() -> Result<()> {
    let (_fixture, _gateway, address) = served()?;
    let cases: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"MCP\x01\x00\x01\x00\x06\x00\x00\x00\x02{}",
        &header(b"MCPB", 2, kind::NEGOTIATION, 0),
        &header(b"MCPB", 1, 0, 0),
        &header(b"MCPB", 1, 8, 0),
        &header(b"MCPB", 1, kind::REQUEST, 10 * 1024 * 1024 + 1),
        &header(b"MCPB", 1, kind::REQUEST, u32::MAX),
    ];
    for bytes in cases {
        let mut client = Binary::g(address)?;
        client.send_raw(bytes)?;
        client.expect_end().with_context(|| format!("{bytes:?}"))?;
        // The same from a client that began well.
        let mut client = Binary::g(address)?;
        client.negotiate()?;
        client.send_raw(bytes)?;
        client.expect_end().with_context(|| format!("{bytes:?} after the negotiation"))?;
    }
    serves(address)
}

#[test]
fn a_client_that_does_not_negotiate_is_told_and_closed() -> Result<()> {
    let (_fixture, _gateway, address) = served()?;
    for first in [kind::REQUEST, kind::RESPONSE, kind::CONTROL, kind::HEALTH, kind::ERROR, kind::ACK] {
        let mut client = Binary::g(address)?;
        client.send(first, b"{}")?;
        ensure!(client.expect(kind::ERROR)?.payload == b"Version negotiation required", "type {first}");
        client.expect_end()?;
    }
    let mut client = Binary::g(address)?;
    client.send(kind::NEGOTIATION, br#"{"min_version":2,"max_version":4}"#)?;
    let text = "Version negotiation failed: no compatible protocol version: client supports 2-4, server supports 1-1";
    ensure!(client.expect(kind::ERROR)?.payload == text.as_bytes());
    client.expect_end()?;
    let mut client = Binary::g(address)?;
    client.send(kind::NEGOTIATION, b"not json")?;
    client.expect_end()
}

#[test]
fn payloads_that_are_no_message_are_answered_or_closed() -> Result<()> {
    let (_fixture, _gateway, address) = served()?;
    for undecodable in [&b""[..], b"{", b"\xff\xfe", b"{}{}"] {
        let mut client = Binary::g(address)?;
        client.negotiate()?;
        client.send(kind::REQUEST, undecodable)?;
        client.expect_end().with_context(|| format!("{undecodable:?}"))?;
    }
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let cases = [
        // It took the original's process down.
        (r#"{"message":"text"}"#, json!(null)),
        ("[]", json!(null)),
        ("null", json!(null)),
        (&deep, json!(null)),
        (r#"{"jsonrpc":"2.0","method":"ping","id":1,"id":2}"#, json!(null)),
        (r#"{"jsonrpc":"2.0","method":"ping","id":""}"#, json!("")),
        (r#"{"jsonrpc":"2.0","method":7,"id":"x"}"#, json!("x")),
        (r#"{"jsonrpc":"1.0","method":"ping","id":5}"#, json!(5)),
    ];
    for (payload, id) in cases {
        let mut client = Binary::g(address)?;
        client.negotiate()?;
        client.send(kind::REQUEST, payload.as_bytes())?;
        let response = client.response().with_context(|| payload.chars().take(80).collect::<String>())?;
        ensure!(response["error"]["code"] == -32603 && response["id"] == id, "{response}");
        client.expect_end()?;
        // The router's connection carries the requests of others and stays.
        let mut router = Binary::r(address)?;
        router.negotiate()?;
        router.send(kind::REQUEST, format!(r#"{{"id":9,"mcp_payload":{payload}}}"#).as_bytes())?;
        let response = router.response()?;
        let expected = if id.is_null() { json!(9) } else { id };
        ensure!(response["error"]["code"] == -32603 && response["id"] == expected, "{response}");
        let response = router.call("ping", &json!({}), &json!({}))?;
        ensure!(response["result"] == json!({}), "{response}");
    }
    serves(address)
}

#[test]
fn notifications_and_odd_ids_do_not_close() -> Result<()> {
    let (_fixture, _gateway, address) = served()?;
    let mut client = Binary::g(address)?;
    client.negotiate()?;
    client.send(kind::REQUEST, br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)?;
    client.send(kind::REQUEST, br#"{"jsonrpc":"2.0","method":"a..b"}"#)?;
    client.send(kind::CONTROL, br#"{"command":"shutdown_ack"}"#)?;
    client.send(kind::ERROR, b"text")?;
    for id in [json!("a:b"), json!("req.1"), json!(1.0), json!(12_345_678_901_234_567_890_u64)] {
        client.request(&id, "ping", &json!({}), &json!({}))?;
        let response = client.response()?;
        ensure!(response["id"] == id && response["result"] == json!({}), "{response}");
    }
    Ok(())
}

#[test]
fn a_message_of_ten_mebibytes_passes_and_no_larger_one() -> Result<()> {
    let (_fixture, _gateway, address) = served()?;
    let mut client = Binary::g(address)?;
    client.negotiate()?;
    let frame = |size: usize| {
        let head = r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":""#;
        let tail = r#""}}"#;
        format!("{head}{}{tail}", "x".repeat(size - head.len() - tail.len()))
    };
    client.send(kind::REQUEST, frame(10 * 1024 * 1024).as_bytes())?;
    ensure!(client.response()?["result"] == json!({}));
    // Refused at its header, which may be before all of it is sent.
    drop(client.send(kind::REQUEST, frame(10 * 1024 * 1024 + 1).as_bytes()));
    client.expect_end()
}

#[test]
fn bytes_may_come_one_at_a_time() -> Result<()> {
    let (_fixture, _gateway, address) = served()?;
    let mut client = Binary::g(address)?;
    let offer = client.frame(kind::NEGOTIATION, br#"{"max_version":1}"#)?;
    let request = client.frame(kind::REQUEST, br#"{"jsonrpc":"2.0","id":"slow","method":"ping"}"#)?;
    for byte in offer.iter().chain(&request) {
        client.send_raw(&[*byte])?;
    }
    client.expect(kind::ACK)?;
    ensure!(client.response()?["id"] == "slow");
    Ok(())
}
