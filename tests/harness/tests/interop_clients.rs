//! Published clients through the gateway, each beside its own direct run. Changes when a published client joins or a client
//! feature is measured.

use anyhow::Result;
use bridge_tests::report::{assert_same, assert_same_steps, events};
use bridge_tests::script::{self, Client};
use bridge_tests::{Config, Era, Gateway, Published, TestServer};
use serde_json::{Value, json};

/// One test for each published client, so that a failure names it.
macro_rules! through_the_gateway_as_directly {
    ($($name:ident: $client:expr,)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            sees_the_same_through_the_gateway($client)
        }
    )*};
}

through_the_gateway_as_directly! {
    npm_v1_sees_the_same_through_the_gateway: Client::NpmV1,
    npm_v2_legacy_sees_the_same_through_the_gateway: Client::NpmV2Legacy,
    npm_v2_modern_sees_the_same_through_the_gateway: Client::NpmV2Modern,
    python_v1_sees_the_same_through_the_gateway: Client::PythonV1,
    python_v2_legacy_sees_the_same_through_the_gateway: Client::PythonV2Legacy,
    python_v2_modern_sees_the_same_through_the_gateway: Client::PythonV2Modern,
    fastmcp_legacy_sees_the_same_through_the_gateway: Client::FastMcpLegacy,
    fastmcp_modern_sees_the_same_through_the_gateway: Client::FastMcpModern,
    rmcp_legacy_sees_the_same_through_the_gateway: Client::RmcpLegacy,
    rmcp_modern_sees_the_same_through_the_gateway: Client::RmcpModern,
}

/// Runs one plan directly and through the unrenamed route. What the client's user sees must be equal, and right.
fn sees_the_same_through_the_gateway(client: Client) -> Result<()> {
    // A server each: the plan leaves its traces in the server.
    let server = TestServer::http(Era::Both)?;
    let behind = TestServer::http(Era::Both)?;
    let gateway = Gateway::start(&Config::new().http("fixture", behind.url()))?;
    gateway.wait_backends(if client.is_modern() { "modern" } else { "legacy" }, &["fixture"])?;
    let plan = full_plan(client);

    let direct = script::run(client, server.url(), &plan)?;
    let through = script::run(client, &gateway.url("/mcp/fixture"), &plan)?;

    let version = if client.is_modern() { "2026-07-28" } else { "2025-11-25" };
    assert_eq!(through["connected"]["protocolVersion"], version);
    assert_same_steps(&through, &direct, &plan, &format!("{client:?}"));
    assert_same(&events(&through).into(), &events(&direct).into(), &format!("{client:?}: events"));

    // Equality alone would also hold for two failures.
    let text = |index: usize| through["steps"][index]["result"]["content"][0]["text"].clone();
    assert_eq!(text(1), "This is a simple text response for testing.");
    assert_eq!(through["steps"][2]["result"]["isError"], true);
    assert!(text(4).as_str().is_some_and(|text| text.contains("forty-two")), "{}", through["steps"][4]);
    assert!(text(5).as_str().is_some_and(|text| text.contains("Ann")), "{}", through["steps"][5]);
    let seen = events(&through);
    for awaited in ["sampling/createMessage", "elicitation/create", "notifications/tools/list_changed"] {
        assert!(seen.iter().any(|event| event["method"] == awaited), "{awaited} is missing in {seen:?}");
    }
    let progress = seen
        .iter()
        .filter(|event| event["method"] == "notifications/progress" && event["params"]["total"] == 100.0);
    assert_eq!(progress.count(), 3);
    Ok(())
}

#[test]
fn legacy_clients_use_several_servers_through_the_merged_endpoint() -> Result<()> {
    let published = Published::new()?;
    let server = TestServer::http(Era::Legacy)?;
    let config = published.add_to(Config::new(), "legacy")?.http("fixture", server.url());
    let gateway = Gateway::start(&config)?;
    gateway.wait_backends("legacy", &["everything", "files", "memory", "time", "git", "fixture"])?;
    let files = published.files();
    let plan = json!({
        "answers": {
            "sampling": "forty-two",
            "elicitation": { "username": "Ann", "email": "ann@example.org" },
            "roots": [format!("file://{}", files.display())],
        },
        "steps": [
            { "do": "list_tools" },
            { "do": "call_tool", "name": "get-sum", "arguments": { "a": 17, "b": 25 } },
            { "do": "call_tool", "name": "read_text_file", "arguments": { "path": files.join("hello.txt") } },
            { "do": "call_tool", "name": "git_log", "arguments": { "repo_path": published.repository() } },
            { "do": "call_tool", "name": "test_sampling", "arguments": { "prompt": "the question" } },
            { "do": "call_tool", "name": "test_elicitation", "arguments": { "message": "who is there?" } },
            { "do": "get_prompt", "name": "args-prompt", "arguments": { "city": "Lisbon" } },
            { "do": "read_resource", "uri": "test://static-text" },
        ],
    });
    for client in Client::ALL.into_iter().filter(|client| !client.is_modern()) {
        let report = script::run(client, &gateway.url("/mcp"), &plan)?;
        assert_contains(
            &report,
            client,
            &[
                (0, "\"get-sum\""),
                (0, "\"write_file\""),
                (0, "\"read_graph\""),
                (0, "\"convert_time\""),
                (0, "\"git_log\""),
                (0, "\"test_sampling\""),
                (1, "42"),
                (2, "hello from a file"),
                (3, "The first commit"),
                (4, "forty-two"),
                (5, "ann@example.org"),
                (6, "Lisbon"),
                (7, "static text resource"),
            ],
        );
    }
    Ok(())
}

#[test]
fn modern_clients_use_several_servers_through_the_merged_endpoint() -> Result<()> {
    let published = Published::new()?;
    let server = TestServer::http(Era::Modern)?;
    let config = Config::new().backend(published.backend("time")?).backend(published.backend("git")?);
    let gateway = Gateway::start(&config.http("fixture", server.url()))?;
    gateway.wait_backends("modern", &["time", "git", "fixture"])?;
    let time = json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" });
    let plan = json!({
        "answers": { "sampling": "forty-two", "elicitation": { "name": "Ann" } },
        "steps": [
            { "do": "list_tools" },
            { "do": "call_tool", "name": "convert_time", "arguments": time },
            { "do": "call_tool", "name": "git_log", "arguments": { "repo_path": published.repository() } },
            { "do": "call_tool", "name": "test_input_required_result_sampling" },
            { "do": "call_tool", "name": "test_input_required_result_elicitation" },
            { "do": "get_prompt", "name": "test_prompt_with_arguments", "arguments": { "arg1": "Lisbon", "arg2": "x" } },
            { "do": "read_resource", "uri": "test://static-text" },
            { "do": "watch", "tools": true },
            { "do": "call_tool", "name": "test_trigger_tool_change" },
            { "do": "await", "method": "notifications/tools/list_changed" },
        ],
    });
    for client in Client::ALL.into_iter().filter(|client| client.is_modern()) {
        let report = script::run(client, &gateway.url("/mcp"), &plan)?;
        assert_eq!(report["connected"]["protocolVersion"], "2026-07-28", "{client:?}");
        assert_contains(
            &report,
            client,
            &[
                (0, "\"convert_time\""),
                (0, "\"git_log\""),
                (0, "\"test_simple_text\""),
                (1, "21:00"),
                (2, "The first commit"),
                (3, "forty-two"),
                (4, "Hello, Ann!"),
                (5, "Lisbon"),
                (6, "static text resource"),
                (9, "list_changed"),
            ],
        );
    }
    Ok(())
}

/// Every feature that the scripts know, with the tools that the fixture offers for it in the client's era.
fn full_plan(client: Client) -> Value {
    let (sampling, elicitation) = if client.is_modern() {
        (
            json!({ "do": "call_tool", "name": "test_input_required_result_sampling" }),
            json!({ "do": "call_tool", "name": "test_input_required_result_elicitation" }),
        )
    } else {
        (
            json!({ "do": "call_tool", "name": "test_sampling", "arguments": { "prompt": "the question" } }),
            json!({ "do": "call_tool", "name": "test_elicitation", "arguments": { "message": "who is there?" } }),
        )
    };
    let answer = if client.is_modern() {
        json!({ "name": "Ann" })
    } else {
        json!({ "username": "Ann", "email": "ann@example.org" })
    };
    let completion = json!({ "type": "ref/prompt", "name": "test_prompt_with_arguments" });
    json!({
        "answers": { "sampling": "forty-two", "elicitation": answer },
        "steps": [
            { "do": "list_tools" },
            { "do": "call_tool", "name": "test_simple_text" },
            { "do": "call_tool", "name": "test_error_handling" },
            { "do": "call_tool", "name": "test_multiple_content_types" },
            sampling,
            elicitation,
            { "do": "call_tool", "name": "test_tool_with_progress" },
            { "do": "list_resources" },
            { "do": "list_resource_templates" },
            { "do": "read_resource", "uri": "test://static-binary" },
            { "do": "read_resource", "uri": "test://template/42/data" },
            { "do": "read_resource", "uri": "test://no-such-resource" },
            { "do": "list_prompts" },
            { "do": "get_prompt", "name": "test_prompt_with_arguments", "arguments": { "arg1": "one", "arg2": "two" } },
            { "do": "complete", "ref": completion, "argument": { "name": "arg1", "value": "t" } },
            { "do": "watch", "tools": true, "resources": ["test://watched-resource"] },
            { "do": "call_tool", "name": "test_trigger_tool_change" },
            { "do": "await", "method": "notifications/tools/list_changed" },
            { "do": "call_tool", "name": "no_such_tool" },
        ],
    })
}

/// Step by step: the result's text holds what it must, and is a result.
fn assert_contains(report: &Value, client: Client, expected: &[(usize, &str)]) {
    for (index, wanted) in expected {
        let step = &report["steps"][index];
        assert!(step["error"].is_null() && step["result"]["isError"] != true, "{client:?}: {step}");
        assert!(step["result"].to_string().contains(wanted), "{client:?}: {wanted} is not in {step}");
    }
}
