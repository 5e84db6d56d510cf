//! `mcp-remote` as a client of the gateway: it is itself a server on standard streams, for a client of ours, which must see
//! what it sees when `mcp-remote` asks the server directly. Changes with the command line of `mcp-remote`.

use std::process::Command;

use anyhow::Result;
use bridge_tests::peer::Pipes;
use bridge_tests::report::assert_same;
use bridge_tests::{Config, Era, Gateway, Peer, Process, TempDir, TestServer, peers};
use serde_json::{Value, json};

/// How `mcp-remote` is told to connect.
const HTTP: [&str; 2] = ["--transport", "http-only"];
const SSE: [&str; 2] = ["--transport", "sse-only"];
const AUTO: [&str; 4] = ["--transport", "http-only", "--protocol", "auto"];

/// Tools that ask the client: of the handshake, and of 2026-07-28.
const ASKING: [&str; 2] = ["test_sampling", "test_elicitation"];
const ASKING_MODERN: [&str; 2] =
    ["test_input_required_result_sampling", "test_input_required_result_elicitation"];

#[test]
fn it_sees_the_same_over_http() -> Result<()> {
    let (through, direct) = through_and_directly(Era::Legacy, "/mcp/fixture", &HTTP, &HTTP, ASKING)?;
    assert_same(&through, &direct, "over HTTP");
    assert_right(&through);
    Ok(())
}

#[test]
fn it_sees_the_same_over_sse() -> Result<()> {
    // The server has no such stream of its own.
    let (through, direct) = through_and_directly(Era::Legacy, "/sse/fixture", &SSE, &HTTP, ASKING)?;
    assert_same(&through, &direct, "over HTTP+SSE");
    assert_right(&through);
    Ok(())
}

#[test]
fn it_falls_back_to_the_transport_that_the_endpoint_has() -> Result<()> {
    for (path, options) in
        [("/sse/fixture", ["--transport", "http-first"]), ("/mcp/fixture", ["--transport", "sse-first"])]
    {
        let (through, direct) = through_and_directly(Era::Legacy, path, &options, &HTTP, ASKING)?;
        assert_same(&through, &direct, path);
        assert_right(&through);
    }
    Ok(())
}

#[test]
fn it_sees_the_same_when_it_finds_the_new_generation() -> Result<()> {
    let (through, direct) = through_and_directly(Era::Modern, "/mcp/fixture", &AUTO, &AUTO, ASKING_MODERN)?;
    assert_same(&through, &direct, "in the new generation");
    assert_right(&through);
    Ok(())
}

#[test]
fn it_reaches_a_server_of_the_new_generation_without_translating() -> Result<()> {
    // Directly it cannot without: the server has no handshake.
    let (through, direct) = through_and_directly(Era::Modern, "/mcp/fixture", &HTTP, &AUTO, ASKING_MODERN)?;
    assert_right(&through);
    for same in ["revision", "asked", "progress"] {
        assert_same(&through[same], &direct[same], same);
    }
    for (step, list) in [("tools", "tools"), ("prompts", "prompts"), ("read", "contents")] {
        assert_same(&through[step]["result"][list], &direct[step]["result"][list], step);
    }
    // What the gateway translates and `mcp-remote` lets through: the handshake's code for a resource that is not there.
    assert_eq!(through["no such resource"]["error"]["code"], -32002);
    assert_eq!(direct["no such resource"]["error"]["code"], -32602);
    Ok(())
}

/// What it shows when told `options` and the gateway's `path`, and when told `direct` and the server.
fn through_and_directly(
    era: Era,
    path: &str,
    options: &[&str],
    direct: &[&str],
    asking: [&str; 2],
) -> Result<(Value, Value)> {
    // A server each: a run leaves its traces in the server.
    let (server, behind) = (TestServer::http(era)?, TestServer::http(era)?);
    let gateway = Gateway::start(&Config::new().http("fixture", behind.url()))?;
    gateway.wait_backends(era.as_str(), &["fixture"])?;
    let direct = use_everything(server.url(), direct, asking)?;
    Ok((use_everything(&gateway.url(path), options, asking)?, direct))
}

/// Equality alone would also hold for two failures.
fn assert_right(seen: &Value) {
    let text = |step: &str| seen[step]["result"]["content"][0]["text"].as_str().unwrap_or_default();
    assert!(seen["tools"].to_string().contains("test_simple_text"), "{seen}");
    assert_eq!(text("call"), "This is a simple text response for testing.");
    assert_eq!(seen["failure"]["result"]["isError"], true, "{seen}");
    assert!(seen["no such resource"]["error"]["code"].is_number(), "{seen}");
    assert!(text("sampling").contains("forty-two"), "{seen}");
    assert!(text("elicitation").contains("Ann"), "{seen}");
    assert_eq!(seen["asked"], json!(["sampling/createMessage", "elicitation/create"]));
}

/// A session of a client that can be asked, as one document.
fn use_everything(url: &str, options: &[&str], asking: [&str; 2]) -> Result<Value> {
    let dir = TempDir::new("mcp-remote")?;
    let mut command = Command::new(peers::node()?);
    command.arg(peers::npm("mcp-remote/dist/proxy.js")?).arg(url).args(options);
    // It keeps credentials, had it any, below the user's home.
    command.env("MCP_REMOTE_CONFIG_DIR", dir.path());
    let mut peer = Peer::new(Pipes::new(Process::spawn("mcp-remote", &command)?));
    let opened = peer.initialize(&json!({ "sampling": {}, "elicitation": {} }))?;

    let mut asked = Vec::new();
    let tools = bare(peer.request("tools/list", &json!({}))?);
    let simple = call(&mut peer, "test_simple_text", &json!({}), &mut asked)?;
    let failure = call(&mut peer, "test_error_handling", &json!({}), &mut asked)?;
    let [sampling, elicitation] = asking;
    let sampling = call(&mut peer, sampling, &json!({ "prompt": "the question" }), &mut asked)?;
    let elicitation = call(&mut peer, elicitation, &json!({ "message": "who is there?" }), &mut asked)?;
    let read = bare(peer.request("resources/read", &json!({ "uri": "test://static-text" }))?);
    let no_such = bare(peer.request("resources/read", &json!({ "uri": "test://no-such" }))?);
    let prompts = bare(peer.request("prompts/list", &json!({}))?);

    let watched = json!({ "name": "test_tool_with_progress", "_meta": { "progressToken": "mine" } });
    let watched = bare(peer.request("tools/call", &watched)?);
    let mut progress = Vec::new();
    for _ in 0..3 {
        progress.push(peer.wait(|message| message["method"] == "notifications/progress")?["params"].clone());
    }
    call(&mut peer, "test_trigger_tool_change", &json!({}), &mut asked)?;
    peer.wait(|message| message["method"] == "notifications/tools/list_changed")?;

    Ok(json!({
        "revision": opened["protocolVersion"],
        "tools": tools,
        "call": simple,
        "failure": failure,
        "sampling": sampling,
        "elicitation": elicitation,
        "read": read,
        "no such resource": no_such,
        "prompts": prompts,
        "watched": watched,
        "progress": progress,
        "asked": asked,
    }))
}

/// Calls a tool, answers what it asks meanwhile and remembers the methods asked.
fn call(peer: &mut Peer<Pipes>, name: &str, arguments: &Value, asked: &mut Vec<String>) -> Result<Value> {
    let id = peer.start("tools/call", &json!({ "name": name, "arguments": arguments }))?;
    loop {
        let message = peer.wait(|message| {
            let question = message.get("method").is_some();
            if question { message.get("id").is_some() } else { message["id"] == id }
        })?;
        let Some(method) = message["method"].as_str() else { return Ok(bare(message)) };
        let result = match method {
            "sampling/createMessage" => {
                json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "forty-two" } })
            }
            "elicitation/create" => {
                json!({ "action": "accept", "content": { "username": "Ann", "email": "ann@example.org", "name": "Ann" } })
            }
            _ => json!({}),
        };
        asked.push(method.to_owned());
        peer.send(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }))?;
    }
}

/// An answer without its id.
fn bare(mut answer: Value) -> Value {
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("id");
    }
    answer
}
