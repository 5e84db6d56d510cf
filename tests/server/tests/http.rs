//! The server over Streamable HTTP, in both generations. Changes when what an HTTP client sees does.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use common::{LIMIT, Server, exchange, header, messages, modern, text, tool};
use serde_json::{Value, json};

const OLD: (&str, &str) = ("MCP-Protocol-Version", "2025-11-25");
const NEW: (&str, &str) = ("MCP-Protocol-Version", "2026-07-28");

fn request(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params })
}

fn initialize() -> Value {
    request(
        "initialize",
        &json!({ "protocolVersion": "2025-11-25", "capabilities": { "elicitation": {} },
        "clientInfo": { "name": "test", "version": "1" } }),
    )
}

/// Opens a legacy session and returns its id.
fn session(address: &str) -> String {
    let (status, head, _) = exchange(address, "POST", &[], Some(&initialize()));
    assert_eq!(status, 200);
    header(&head, "mcp-session-id").unwrap().to_owned()
}

fn modern_call(address: &str, name: &str, body: &Value) -> (u16, Vec<Value>) {
    let headers = [NEW, ("Mcp-Method", "tools/call"), ("Mcp-Name", name)];
    let (status, _, body) = exchange(address, "POST", &headers, Some(body));
    (status, messages(&body))
}

#[test]
fn one_endpoint_serves_both_generations() {
    let (_server, address) = Server::http("both");
    let call = request("tools/call", &modern(tool("test_simple_text"), &json!({})));
    let (status, answers) = modern_call(&address, "test_simple_text", &call);
    assert_eq!((status, text(&answers[0])), (200, "This is a simple text response for testing."));

    let id = session(&address);
    let call = request("tools/call", &tool("test_simple_text"));
    let (status, _, body) = exchange(&address, "POST", &[OLD, ("Mcp-Session-Id", &id)], Some(&call));
    assert_eq!((status, text(&messages(&body)[0])), (200, "This is a simple text response for testing."));
}

#[test]
fn a_cut_stream_is_resumed_with_its_last_event_id() {
    let (_server, address) = Server::http("legacy");
    let id = session(&address);
    let call = request("tools/call", &tool("test_reconnection"));
    let (_, _, cut) = exchange(&address, "POST", &[OLD, ("Mcp-Session-Id", &id)], Some(&call));
    assert_eq!(messages(&cut), Vec::<Value>::new(), "the result arrived before the stream was cut");
    assert!(cut.contains("retry:"), "no retry hint in {cut:?}");
    let event = cut.lines().find_map(|line| line.strip_prefix("id:")).unwrap().trim();

    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "GET /mcp HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\nMcp-Session-Id: {id}\r\n\
         MCP-Protocol-Version: 2025-11-25\r\nLast-Event-ID: {event}\r\n\r\n"
    )
    .unwrap();
    let answer =
        BufReader::new(stream).lines().map(Result::unwrap).find_map(|line| messages(&line).pop()).unwrap();
    assert_eq!((&answer["id"], text(&answer)), (&json!(7), "Reconnection test completed."));
}

#[test]
fn a_modern_client_cancels_by_closing_its_stream() {
    let (server, address) = Server::http("both");
    let call = request(
        "tools/call",
        &modern(json!({ "name": "sleep", "arguments": { "ms": 600_000 } }), &json!({})),
    );
    let body = call.to_string();
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(
        stream,
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n\
         Mcp-Method: tools/call\r\nMcp-Name: sleep\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    server.stderr_line(|line| line.contains("sleep started"));
    drop(stream);
    server.stderr_line(|line| line.contains("sleep cancelled"));
}

#[test]
fn foreign_hosts_and_origins_are_refused() {
    let (_server, address) = Server::http("both");
    for foreign in [("Host", "evil.example"), ("Origin", "http://evil.example")] {
        assert_eq!(exchange(&address, "POST", &[foreign], Some(&initialize())).0, 403, "{foreign:?}");
    }
    let local = ("Origin", "http://localhost:8080");
    assert_eq!(exchange(&address, "POST", &[local], Some(&initialize())).0, 200);
}

#[test]
fn a_legacy_server_refuses_modern_requests_like_an_old_one() {
    let (_server, address) = Server::http("legacy");
    let discover = request("server/discover", &modern(json!({}), &json!({})));
    let headers = [NEW, ("Mcp-Method", "server/discover")];
    let (status, _, body) = exchange(&address, "POST", &headers, Some(&discover));
    assert_eq!((status, &messages(&body)[0]["error"]["code"]), (400, &json!(-32000)));
    let (status, _, body) = exchange(&address, "POST", &[], Some(&discover));
    assert_eq!((status, &messages(&body)[0]["error"]["code"]), (400, &json!(-32000)));

    let id = session(&address);
    let (status, _, body) = exchange(&address, "POST", &[OLD, ("Mcp-Session-Id", &id)], Some(&discover));
    assert_eq!((status, &messages(&body)[0]["error"]["code"]), (200, &json!(-32601)));
}

#[test]
fn a_modern_server_refuses_the_handshake_and_keeps_no_sessions() {
    let (_server, address) = Server::http("modern");
    let (status, _, body) = exchange(&address, "POST", &[], Some(&initialize()));
    let error = messages(&body)[0]["error"].clone();
    assert_eq!((status, &error["code"]), (400, &json!(-32022)));
    assert_eq!(error["data"]["supported"], json!(["2026-07-28"]));
    for verb in ["GET", "DELETE"] {
        assert_eq!(exchange(&address, verb, &[("Mcp-Session-Id", "x")], None).0, 405, "{verb}");
    }
    let (status, _, body) = exchange(&address, "POST", &[OLD], Some(&request("tools/list", &json!({}))));
    assert_eq!((status, &messages(&body)[0]["error"]["code"]), (400, &json!(-32602)));
    let call = request("tools/call", &modern(tool("test_simple_text"), &json!({})));
    assert_eq!(modern_call(&address, "test_simple_text", &call).0, 200);
}

#[test]
fn sigterm_ends_the_process_cleanly_with_streams_open() {
    let (server, address) = Server::http("both");
    let id = session(&address);
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(
        stream,
        "GET /mcp HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\nMcp-Session-Id: {id}\r\n\
         MCP-Protocol-Version: 2025-11-25\r\n\r\n"
    )
    .unwrap();
    let mut first = String::new();
    BufReader::new(stream.try_clone().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("200"), "{first}");
    server.terminate();
    assert_eq!(server.exit_status().code(), Some(0));
}
