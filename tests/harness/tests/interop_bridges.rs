//! Published bridges behind the gateway, each before a published server of standard streams. Changes when a published bridge
//! joins.

use std::collections::BTreeSet;

use anyhow::Result;
use bridge_tests::process::{find_processes, wait_gone};
use bridge_tests::remote::{Bridge, Transport, assert_same_behind_a_gateway};
use bridge_tests::report::{self, PROGRESS};
use bridge_tests::{Config, Gateway, LegacySession, ModernClient, PATIENCE, Remote, TempDir, http, peers};
use serde_json::{Value, json};

/// A document that the server exposes.
const DOCUMENT: &str = "demo://resource/static/document/architecture.md";

/// One test for each bridge and transport, so that a failure names it.
macro_rules! serves_both_generations {
    ($($name:ident: $bridge:expr, $progress:expr;)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            serves_both_generations($bridge, $progress)
        }
    )*};
}

// Whether the bridge hands progress on when it is asked directly.
serves_both_generations! {
    supergateway_serves_both_generations_over_websocket: Bridge::Supergateway(Transport::WebSocket), true;
    supergateway_serves_both_generations_over_sse: Bridge::Supergateway(Transport::Sse), true;
    supergateway_serves_both_generations_over_http: Bridge::Supergateway(Transport::Http), true;
    supergateway_without_sessions_serves_both_generations: Bridge::SupergatewayStateless, true;
    npm_mcp_proxy_serves_both_generations_over_http: Bridge::NpmProxy(Transport::Http), true;
    npm_mcp_proxy_serves_both_generations_over_sse: Bridge::NpmProxy(Transport::Sse), true;
    python_mcp_proxy_serves_both_generations_over_http: Bridge::PythonProxy(Transport::Http), false;
    python_mcp_proxy_serves_both_generations_over_sse: Bridge::PythonProxy(Transport::Sse), true;
}

#[test]
fn supergateway_hands_questions_on_where_each_session_has_its_server() -> Result<()> {
    let remote = Remote::bridge(Bridge::Supergateway(Transport::Http), &peers::everything()?)?;
    let plan = json!({
        "answers": { "sampling": "forty-two", "roots": ["file:///srv"] },
        "steps": [
            { "do": "list_tools" },
            { "do": "call_tool", "name": "trigger-sampling-request", "arguments": { "prompt": "the question" } },
        ],
    });
    let (gateway, seen) = assert_same_behind_a_gateway(&remote, &plan)?;
    assert!(seen["steps"][1].to_string().contains("forty-two"), "{}", seen["steps"][1]);

    let mut client = ModernClient::new(&gateway.url("/mcp/far"), &json!({ "sampling": {} }))?;
    let ask = json!({ "name": "trigger-sampling-request", "arguments": { "prompt": "the question" } });
    let reply = client.request_with_input("tools/call", &ask, |_, request| {
        assert_eq!(request["method"], "sampling/createMessage");
        json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "forty-two" } })
    })?;
    let result = reply.into_result()?;
    assert!(result.to_string().contains("forty-two"), "{result}");
    Ok(())
}

#[test]
fn bridges_of_which_only_the_url_is_known_are_found_out() -> Result<()> {
    let server = peers::everything()?;
    let bridges = [
        ("supergateway-websocket", Bridge::Supergateway(Transport::WebSocket), "websocket"),
        ("supergateway-sse", Bridge::Supergateway(Transport::Sse), "sse"),
        ("supergateway-http", Bridge::Supergateway(Transport::Http), "streamable_http"),
        ("npm-sse", Bridge::NpmProxy(Transport::Sse), "sse"),
        ("npm-http", Bridge::NpmProxy(Transport::Http), "streamable_http"),
        ("python-sse", Bridge::PythonProxy(Transport::Sse), "sse"),
        ("python-http", Bridge::PythonProxy(Transport::Http), "streamable_http"),
    ];
    // One after the other: starting together they would be slow on two cores.
    for (name, bridge, protocol) in bridges {
        let remote = Remote::bridge(bridge, &server)?;
        let gateway = Gateway::start(&Config::new().backend(remote.found_out(name)))?;
        gateway.wait_backends("legacy", &[name])?;
        let health = http::get(&gateway.url("/health"))?.json()?;
        assert_eq!(health["subsystems"]["backends"][name]["protocol"], protocol, "{name}: {health}");
        let mut session = LegacySession::open(&gateway.url(&format!("/mcp/{name}")), &json!({}))?;
        let echo = json!({ "name": "echo", "arguments": { "message": name } });
        let echoed = session.request("tools/call", &echo)?.into_result()?;
        assert_eq!(echoed["content"][0]["text"], format!("Echo: {name}"));
    }
    Ok(())
}

#[test]
fn an_answer_that_a_bridge_sends_to_everybody_reaches_its_own_client_only() -> Result<()> {
    // Over HTTP+SSE it sends whatever its one server says to all that are connected.
    let remote = Remote::bridge(Bridge::Supergateway(Transport::Sse), &peers::everything()?)?;
    let gateway = Gateway::start(&Config::new().backend(remote.backend("far")))?;
    gateway.wait_backends("legacy", &["far"])?;
    let mut first = LegacySession::open(&gateway.url("/mcp/far"), &json!({}))?;
    let mut second = LegacySession::open(&gateway.url("/mcp/far"), &json!({}))?;
    let slow =
        json!({ "name": "trigger-long-running-operation", "arguments": { "duration": 2, "steps": 1 } });
    let quick = json!({ "name": "echo", "arguments": { "message": "for the second only" } });

    // Each is the first call of its session.
    let (id, waiting) = first.start("tools/call", &slow)?;
    let echoed = second.request("tools/call", &quick)?.into_result()?;
    let done = first.finish(&id, waiting)?.into_result()?;
    assert_eq!(echoed["content"][0]["text"], "Echo: for the second only");
    assert!(done["content"][0]["text"].as_str().is_some_and(|text| text.contains("completed")), "{done}");
    Ok(())
}

#[test]
fn nothing_of_a_bridge_outlives_the_value_that_holds_it() -> Result<()> {
    let dir = TempDir::new("left-behind")?;
    let server = peers::filesystem(dir.path())?;
    let remote = Remote::bridge(Bridge::Supergateway(Transport::WebSocket), &server)?;
    let mark = dir.path().display().to_string();
    let running = find_processes(|line| line.contains(&mark))?;
    // The bridge and its server, with or without a shell between them.
    assert!(running.len() >= 2, "{running:?}");
    drop(remote);
    wait_gone(&running, PATIENCE)
}

fn serves_both_generations(bridge: Bridge, progress: bool) -> Result<()> {
    let remote = Remote::bridge(bridge, &peers::everything()?)?;
    let plan = plan();
    let (gateway, seen) = assert_same_behind_a_gateway(&remote, &plan)?;

    // Equality alone would also hold for two failures.
    assert!(seen["steps"][0]["result"]["tools"].as_array().is_some_and(|tools| tools.len() >= 13), "{seen}");
    assert_eq!(report::text(&seen, 1), "The sum of 17 and 25 is 42.");
    assert_eq!(seen["steps"][3]["result"]["isError"], true, "{seen}");
    assert!(report::text(&seen, 6).starts_with('#'), "{}", seen["steps"][6]);
    assert!(seen["steps"][7]["error"]["message"].as_str().is_some_and(|text| text.contains("nowhere")));
    assert!(report::text(&seen, 9).contains("Lisbon"), "{}", seen["steps"][9]);
    assert_eq!(report::count(&seen, PROGRESS) > 0, progress, "{seen}");

    a_modern_client_uses(&gateway, progress)
}

fn plan() -> Value {
    json!({
        "answers": { "roots": ["file:///srv"] },
        "steps": [
            { "do": "list_tools" },
            { "do": "call_tool", "name": "get-sum", "arguments": { "a": 17, "b": 25 } },
            { "do": "call_tool", "name": "get-structured-content", "arguments": { "location": "Chicago" } },
            { "do": "call_tool", "name": "no-such-tool" },
            { "do": "list_resources" },
            { "do": "list_resource_templates" },
            { "do": "read_resource", "uri": DOCUMENT },
            { "do": "read_resource", "uri": "demo://nowhere" },
            { "do": "list_prompts" },
            { "do": "get_prompt", "name": "args-prompt", "arguments": { "city": "Lisbon" } },
            { "do": "call_tool", "name": "trigger-long-running-operation", "arguments": { "duration": 0.6, "steps": 3 } },
        ],
    })
}

fn a_modern_client_uses(gateway: &Gateway, progress: bool) -> Result<()> {
    let mut client = ModernClient::new(&gateway.url("/mcp/far"), &json!({}))?;
    let names: BTreeSet<_> = client
        .list("tools/list", "tools")?
        .iter()
        .filter_map(|tool| tool["name"].as_str().map(str::to_owned))
        .collect();
    assert!(names.contains("get-sum") && names.contains("get-tiny-image"), "{names:?}");

    let sum = json!({ "name": "get-sum", "arguments": { "a": 17, "b": 25 } });
    let sum = client.request("tools/call", &sum)?.into_result()?;
    assert_eq!(sum["resultType"], "complete", "{sum}");
    assert_eq!(sum["content"][0]["text"], "The sum of 17 and 25 is 42.");

    let image = client.request("tools/call", &json!({ "name": "get-tiny-image", "arguments": {} }))?;
    let image = image.into_result()?.to_string();
    assert!(image.contains(r#""type":"image""#) && image.contains("image/png"), "{image}");

    let document = client.request("resources/read", &json!({ "uri": DOCUMENT }))?.into_result()?;
    assert!(document["contents"][0]["text"].as_str().is_some_and(|text| text.starts_with('#')), "{document}");
    let missing = client.request("resources/read", &json!({ "uri": "demo://nowhere" }))?.into_error()?;
    assert_eq!(missing.code, -32602, "{missing}");

    client.set_meta("progressToken", json!("mine"));
    let slow =
        json!({ "name": "trigger-long-running-operation", "arguments": { "duration": 0.6, "steps": 3 } });
    let reply = client.request("tools/call", &slow)?;
    let told = reply.notifications(PROGRESS);
    assert_eq!(!told.is_empty(), progress, "{reply:?}");
    assert!(told.iter().all(|told| told["params"]["progressToken"] == "mine"), "{told:?}");
    assert!(
        reply.into_result()?["content"][0]["text"].as_str().is_some_and(|text| text.contains("completed"))
    );
    Ok(())
}
