//! Servers on published Python frameworks behind the gateway: `mcp` 1.x over all its transports, `fastmcp` over its. Changes
//! when such a framework joins or gains a transport.

use std::collections::BTreeSet;

use anyhow::Result;
use bridge_tests::remote::{Transport, assert_same_behind_a_gateway, fastmcp_stdio};
use bridge_tests::report::{self, PROGRESS};
use bridge_tests::script::{self, Client};
use bridge_tests::{Backend, Config, Gateway, LegacySession, ModernClient, Remote};
use serde_json::{Value, json};

/// One test for each server, so that a failure names it.
macro_rules! asks_clients_of_both_generations {
    ($($name:ident: $remote:expr;)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            asks_clients_of_both_generations(&$remote?)
        }
    )*};
}

asks_clients_of_both_generations! {
    python_v1_asks_clients_of_both_generations_over_websocket: Remote::python_v1(Transport::WebSocket);
    python_v1_asks_clients_of_both_generations_over_sse: Remote::python_v1(Transport::Sse);
    python_v1_asks_clients_of_both_generations_over_http: Remote::python_v1(Transport::Http);
    fastmcp_asks_clients_of_both_generations_over_sse: Remote::fastmcp(Transport::Sse);
}

fn asks_clients_of_both_generations(remote: &Remote) -> Result<()> {
    let plan = plan();
    let (gateway, seen) = assert_same_behind_a_gateway(remote, &plan)?;
    assert_right(&seen);
    a_modern_client_is_asked(&gateway)
}

#[test]
fn fastmcp_serves_each_generation_in_its_own_over_http() -> Result<()> {
    let remote = Remote::fastmcp(Transport::Http)?;
    let (gateway, seen) = assert_same_behind_a_gateway(&remote, &plan())?;
    assert_right(&seen);

    // It speaks 2026-07-28, too, and has no questions there: nothing is crossed.
    gateway.wait_backends("modern", &["far"])?;
    let plan = modern_plan();
    let direct = script::run(Client::NpmV2Modern, remote.url(), &plan)?;
    let through = script::run(Client::NpmV2Modern, &gateway.url("/mcp/far"), &plan)?;
    report::assert_same_steps(&through, &direct, &plan, "modern");
    assert_eq!(report::text(&through, 1), "42");
    assert_eq!(report::count(&through, PROGRESS), 3);
    Ok(())
}

#[test]
fn fastmcp_held_to_the_handshake_asks_modern_clients_over_http() -> Result<()> {
    let remote = Remote::fastmcp(Transport::Http)?;
    let gateway = Gateway::start(&Config::new().backend(remote.backend("far").era("legacy")))?;
    gateway.wait_backends("legacy", &["far"])?;
    a_modern_client_is_asked(&gateway)
}

#[test]
fn fastmcp_serves_both_generations_on_standard_streams() -> Result<()> {
    let backend = Backend::stdio("far", &fastmcp_stdio()?);
    let gateway = Gateway::start(&Config::new().backend(backend))?;
    gateway.wait_backends("modern", &["far"])?;
    let mut client = ModernClient::new(&gateway.url("/mcp/far"), &json!({}))?;
    assert_eq!(names(&client.list("tools/list", "tools")?), names_of(&["add", "ask", "count", "fail"]));
    let sum = client.request("tools/call", &json!({ "name": "add", "arguments": { "a": 17, "b": 25 } }))?;
    assert_eq!(sum.into_result()?["structuredContent"]["result"], 42);
    let failed =
        client.request("tools/call", &json!({ "name": "fail", "arguments": { "reason": "rain" } }))?;
    let failed = failed.into_result()?;
    assert!(failed["isError"] == true && failed.to_string().contains("it failed: rain"), "{failed}");

    let mut session = LegacySession::open(&gateway.url("/mcp/far"), &json!({ "elicitation": {} }))?;
    assert_eq!(names(&session.list("tools/list", "tools")?), names_of(&["add", "ask", "count", "fail"]));
    let read = session.request("resources/read", &json!({ "uri": "notes://monday/first" }))?.into_result()?;
    assert_eq!(read["contents"][0]["text"], "nothing planned on monday");
    Ok(())
}

fn plan() -> Value {
    json!({
        "answers": { "sampling": "forty-two", "elicitation": { "name": "Ann", "value": "Ann" } },
        "steps": [
            { "do": "list_tools" },
            { "do": "call_tool", "name": "add", "arguments": { "a": 17, "b": 25 } },
            { "do": "call_tool", "name": "ask", "arguments": { "question": "who is there?" } },
            { "do": "call_tool", "name": "fail", "arguments": { "reason": "rain" } },
            { "do": "call_tool", "name": "count", "arguments": { "to": 3 } },
            { "do": "call_tool", "name": "think", "arguments": { "prompt": "the question" } },
            { "do": "call_tool", "name": "no_such_tool" },
            { "do": "list_resources" },
            { "do": "list_resource_templates" },
            { "do": "read_resource", "uri": "notes://monday/first" },
            { "do": "read_resource", "uri": "notes://nowhere" },
            { "do": "list_prompts" },
            { "do": "get_prompt", "name": "greet", "arguments": { "name": "Lisbon" } },
            { "do": "ping" },
        ],
    })
}

/// The same without questions, and without `ping`, which 2026-07-28 does not have.
fn modern_plan() -> Value {
    let mut plan = plan();
    if let Some(steps) = plan["steps"].as_array_mut() {
        steps.retain(|step| step["do"] != "ping" && step["name"] != "think");
    }
    plan
}

/// Equality alone would also hold for two failures.
fn assert_right(seen: &Value) {
    assert_eq!(report::text(seen, 1), "42");
    assert_eq!(report::text(seen, 2), "hello Ann");
    assert!(
        seen["steps"][3]["result"]["isError"] == true && report::text(seen, 3).contains("rain"),
        "{seen}"
    );
    assert_eq!(report::text(seen, 4), "counted to 3");
    // fastmcp has no sampling any more.
    let samples = seen["steps"][0].to_string().contains("think");
    assert_eq!(report::text(seen, 5) == "the model says forty-two", samples, "{}", seen["steps"][5]);
    assert_eq!(report::text(seen, 9), "nothing planned on monday");
    assert!(seen["steps"][10]["error"].is_object(), "{}", seen["steps"][10]);
    assert!(report::text(seen, 12).contains("Lisbon"), "{}", seen["steps"][12]);
    assert_eq!(report::count(seen, "elicitation/create"), 1);
    assert!(report::count(seen, PROGRESS) >= 2, "{seen}");
}

/// A server of the handshake asks a client of 2026-07-28, which is answered with `input_required`.
fn a_modern_client_is_asked(gateway: &Gateway) -> Result<()> {
    let mut client =
        ModernClient::new(&gateway.url("/mcp/far"), &json!({ "elicitation": {}, "sampling": {} }))?;
    let tools = names(&client.list("tools/list", "tools")?);
    assert!(tools.is_superset(&names_of(&["add", "ask", "count", "fail"])), "{tools:?}");

    let mut asked = Vec::new();
    let ask = json!({ "name": "ask", "arguments": { "question": "who is there?" } });
    let reply = client.request_with_input("tools/call", &ask, |_, request| {
        asked.push(request["params"]["message"].clone());
        json!({ "action": "accept", "content": { "name": "Ann", "value": "Ann" } })
    })?;
    assert_eq!(reply.into_result()?["content"][0]["text"], "hello Ann");
    assert_eq!(asked, [json!("who is there?")]);

    if tools.contains("think") {
        let think = json!({ "name": "think", "arguments": { "prompt": "the question" } });
        let reply = client.request_with_input("tools/call", &think, |_, request| {
            assert_eq!(request["method"], "sampling/createMessage");
            json!({ "role": "assistant", "model": "none", "content": { "type": "text", "text": "forty-two" } })
        })?;
        assert_eq!(reply.into_result()?["content"][0]["text"], "the model says forty-two");
    }

    client.set_meta("progressToken", json!("mine"));
    let reply = client.request("tools/call", &json!({ "name": "count", "arguments": { "to": 3 } }))?;
    let told: Vec<_> = reply.notifications(PROGRESS);
    assert_eq!(told.len(), 3, "{reply:?}");
    assert!(told.iter().all(|told| told["params"]["progressToken"] == "mine"), "{told:?}");

    let failed =
        client.request("tools/call", &json!({ "name": "fail", "arguments": { "reason": "rain" } }))?;
    let failed = failed.into_result()?;
    assert!(failed["isError"] == true && failed.to_string().contains("it failed: rain"), "{failed}");
    Ok(())
}

fn names(tools: &[Value]) -> BTreeSet<String> {
    tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect()
}

fn names_of(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}
