//! The server over stdio, in both generations. Changes when what a stdio client sees does.

mod common;

use common::{Server, modern, text, tool};
use serde_json::{Value, json};

fn everything() -> Value {
    json!({ "elicitation": {}, "sampling": {}, "roots": {} })
}

#[test]
fn a_legacy_client_shakes_hands_lists_and_calls() {
    let mut server = Server::stdio("both");
    let hello = server.handshake(&json!({}));
    assert_eq!(hello["protocolVersion"], "2025-11-25");
    assert_eq!(hello["serverInfo"]["name"], "mcp-test-server");
    assert!(hello["capabilities"].get("extensions").is_none(), "extensions are not legacy: {hello}");

    let list = server.ask(2, "tools/list", &json!({}));
    let names: Vec<&str> = list["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    for name in ["test_simple_text", "json_schema_2020_12_tool", "slow_compute", "echo", "crash"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    for modern_only in ["resultType", "ttlMs", "cacheScope"] {
        assert!(list["result"].get(modern_only).is_none(), "{modern_only} reached a legacy client");
    }

    let answer =
        server.ask(3, "tools/call", &json!({ "name": "echo", "arguments": { "message": "héllo\n" } }));
    assert_eq!(text(&answer), "héllo\n");
    let missing = server.ask(4, "resources/read", &json!({ "uri": "test://nothing" }));
    assert_eq!(missing["error"]["code"], -32002);
}

#[test]
fn a_modern_client_calls_without_a_handshake() {
    let mut server = Server::stdio("both");
    let answer = server.ask(1, "tools/call", &modern(tool("test_simple_text"), &json!({})));
    assert_eq!(text(&answer), "This is a simple text response for testing.");
    assert_eq!(answer["result"]["resultType"], "complete");
    let missing = server.ask(2, "resources/read", &modern(json!({ "uri": "test://nothing" }), &json!({})));
    assert_eq!(missing["error"]["code"], -32602);
    assert_eq!(missing["error"]["data"]["uri"], "test://nothing");
}

#[test]
fn legacy_input_tools_send_live_requests_all_at_once() {
    let mut server = Server::stdio("legacy");
    server.handshake(&everything());
    server.send(&json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": tool("test_input_required_result_multiple_inputs") }));
    let mut asked: Vec<Value> = (0..3).map(|_| server.receive()).collect();
    asked.sort_by_key(|request| request["method"].as_str().unwrap().to_owned());
    let methods: Vec<&str> = asked.iter().map(|request| request["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["elicitation/create", "roots/list", "sampling/createMessage"]);
    let answers = [
        json!({ "action": "accept", "content": { "name": "Ann" } }),
        json!({ "roots": [{ "uri": "file:///home/ann" }] }),
        json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "Good day," } }),
    ];
    for (request, answer) in asked.iter().zip(answers) {
        server.send(&json!({ "jsonrpc": "2.0", "id": request["id"], "result": answer }));
    }
    assert_eq!(text(&server.receive()), "Good day, Ann; roots: file:///home/ann");
}

#[test]
fn modern_input_tools_ask_in_rounds_and_keep_earlier_answers_in_their_state() {
    let mut server = Server::stdio("modern");
    let name = "test_input_required_result_multi_round";
    let first = server.ask(1, "tools/call", &modern(tool(name), &everything()));
    assert_eq!(first["result"]["resultType"], "input_required");
    assert!(first["result"]["inputRequests"].get("step1").is_some());

    let mut retry = tool(name);
    retry["requestState"] = first["result"]["requestState"].clone();
    retry["inputResponses"] = json!({ "step1": { "action": "accept", "content": { "name": "Ann" } } });
    let second = server.ask(2, "tools/call", &modern(retry, &everything()));
    assert!(second["result"]["inputRequests"].get("step2").is_some(), "{second}");

    let mut last = tool(name);
    last["requestState"] = second["result"]["requestState"].clone();
    last["inputResponses"] = json!({ "step2": { "action": "accept", "content": { "color": "blue" } } });
    let done = server.ask(3, "tools/call", &modern(last.clone(), &everything()));
    assert_eq!(text(&done), "Ann likes blue");

    last["name"] = json!("test_input_required_result_tampered_state");
    let stolen = server.ask(4, "tools/call", &modern(last, &everything()));
    assert_eq!(stolen["error"]["code"], -32602, "state of another call was accepted: {stolen}");
}

#[test]
fn undeclared_capabilities_are_never_used() {
    let mut server = Server::stdio("both");
    let modern_answer = server.ask(1, "tools/call", &modern(tool("test_missing_capability"), &json!({})));
    assert_eq!(modern_answer["error"]["code"], -32021);
    assert_eq!(modern_answer["error"]["data"]["requiredCapabilities"], json!({ "sampling": {} }));

    let mut server = Server::stdio("legacy");
    server.handshake(&json!({}));
    let legacy_answer = server.ask(2, "tools/call", &tool("test_input_required_result_sampling"));
    assert_eq!(legacy_answer["result"]["isError"], true, "{legacy_answer}");
}

#[test]
fn one_legacy_tool_asks_whatever_the_client_declared_as_careless_servers_do() {
    let mut server = Server::stdio("legacy");
    server.handshake(&json!({}));
    let question = server.ask(2, "tools/call", &tool("test_missing_capability"));
    assert_eq!(question["method"], "sampling/createMessage");
    server.send(&json!({ "jsonrpc": "2.0", "id": question["id"],
        "error": { "code": -32601, "message": "no sampling here" } }));
    let answer = server.receive();
    assert_eq!(answer["result"]["isError"], true, "{answer}");
}

#[test]
fn users_are_sent_to_pages_in_either_generation() {
    let browser = json!({ "elicitation": { "form": {}, "url": {} } });
    let required = json!({ "name": "test_url_required", "arguments": { "key": "terms" } });

    let mut server = Server::stdio("legacy");
    server.handshake(&browser);
    let question = server.ask(2, "tools/call", &tool("test_elicitation_url"));
    assert_eq!(question["params"]["mode"], "url");
    assert!(question["params"]["elicitationId"].as_str().unwrap().starts_with("visit-"), "{question}");
    server.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept" } }));
    assert_eq!(text(&server.receive()), "URL elicitation: action=accept");
    let refused = server.ask(3, "tools/call", &required);
    assert_eq!(refused["error"]["code"], -32042);
    assert_eq!(refused["error"]["data"]["elicitations"][0]["mode"], "url");
    assert_eq!(text(&server.ask(4, "tools/call", &required)), "Agreed to terms");

    let mut server = Server::stdio("modern");
    let mut call = required;
    let asked = server.ask(1, "tools/call", &modern(call.clone(), &browser));
    let question = &asked["result"]["inputRequests"]["visit"];
    assert_eq!(
        (&question["method"], &question["params"]["mode"]),
        (&json!("elicitation/create"), &json!("url"))
    );
    call["inputResponses"] = json!({ "visit": { "action": "accept" } });
    assert_eq!(text(&server.ask(2, "tools/call", &modern(call, &browser))), "Agreed to terms");
    let cannot =
        server.ask(3, "tools/call", &modern(tool("test_elicitation_url"), &json!({ "elicitation": {} })));
    assert_eq!(cannot["error"]["data"]["requiredCapabilities"], json!({ "elicitation": { "url": {} } }));
}

#[test]
fn a_tool_asks_as_many_rounds_as_it_is_told() {
    let mut server = Server::stdio("modern");
    let mut call = json!({ "name": "test_rounds", "arguments": { "rounds": 12 } });
    for round in 1..=12 {
        let asked = server.ask(round, "tools/call", &modern(call.clone(), &everything()));
        let key = format!("round{round}");
        assert!(asked["result"]["inputRequests"].get(&key).is_some(), "{asked}");
        call["requestState"] = asked["result"]["requestState"].clone();
        call["inputResponses"] =
            json!({ key: { "action": "accept", "content": { "answer": round.to_string() } } });
        if round == 1 {
            assert!(call["requestState"].is_null(), "nothing to carry yet");
            call.as_object_mut().unwrap().remove("requestState");
        }
    }
    let done = server.ask(13, "tools/call", &modern(call, &everything()));
    assert_eq!(text(&done), "Answers: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12");
}

#[test]
fn a_legacy_server_refuses_modern_requests_like_an_old_one() {
    let mut server = Server::stdio("legacy");
    let discover = server.ask(1, "server/discover", &modern(json!({}), &json!({})));
    assert_eq!(discover["error"]["code"], -32601);
    let early = server.ask(2, "tools/list", &modern(json!({}), &json!({})));
    assert_eq!(early["error"]["code"], -32602);
    server.handshake(&everything());
    // Metadata of another generation is no more than unknown metadata: the tool asks live.
    server.send(&json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call",
        "params": modern(tool("test_input_required_result_elicitation"), &json!({})) }));
    assert_eq!(server.receive()["method"], "elicitation/create");
}

#[test]
fn a_modern_server_refuses_the_handshake_and_names_its_versions() {
    let mut server = Server::stdio("modern");
    let refused = server.ask(
        1,
        "initialize",
        &json!({ "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" } }),
    );
    assert_eq!(refused["error"]["code"], -32022);
    assert_eq!(refused["error"]["data"], json!({ "supported": ["2026-07-28"], "requested": "2025-11-25" }));
    let ping = server.ask(2, "ping", &json!({}));
    assert_eq!(ping["error"]["code"], -32601);
    let discover = server.ask(3, "server/discover", &modern(json!({}), &json!({})));
    assert_eq!(discover["result"]["supportedVersions"], json!(["2026-07-28"]));
    let answer = server.ask(4, "tools/call", &modern(tool("test_simple_text"), &json!({})));
    assert_eq!(answer["result"]["resultType"], "complete");
}

#[test]
fn a_cancelled_sleep_is_reported_and_not_answered() {
    let mut server = Server::stdio("legacy");
    server.handshake(&json!({}));
    server.send(&json!({ "jsonrpc": "2.0", "id": "s", "method": "tools/call",
        "params": { "name": "sleep", "arguments": { "ms": 600_000 } } }));
    server.stderr_line(|line| line.contains("sleep started"));
    server.send(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "s" } }),
    );
    server.stderr_line(|line| line.contains("sleep cancelled"));
    let next = server.ask(3, "tools/call", &tool("whoami"));
    assert_eq!(next["id"], 3, "the cancelled call was answered: {next}");
    assert_eq!(next["result"]["structuredContent"]["cancelledSleeps"], 1);
}

#[test]
fn a_trigger_notifies_the_session_and_changes_the_list() {
    let mut server = Server::stdio("legacy");
    server.handshake(&json!({}));
    let count = |list: &Value| list["result"]["tools"].as_array().unwrap().len();
    let before = count(&server.ask(2, "tools/list", &json!({})));
    let notified = server.ask(3, "tools/call", &tool("test_trigger_tool_change"));
    assert_eq!(notified["method"], "notifications/tools/list_changed");
    assert_eq!(server.receive()["id"], 3);
    assert_eq!(count(&server.ask(4, "tools/list", &json!({}))), before + 1);
    assert_eq!(text(&server.ask(5, "tools/call", &tool("test_extra_tool"))), "The extra tool.");
}

#[test]
fn resource_updates_reach_only_those_who_watch() {
    const WATCHED: &str = "test://watched-resource";
    let mut server = Server::stdio("legacy");
    server.handshake(&json!({}));
    let unwatched = server.ask(2, "tools/call", &tool("test_trigger_resource_update"));
    assert_eq!(unwatched["id"], 2, "an update went to a session that does not watch: {unwatched}");
    assert_eq!(server.ask(3, "resources/subscribe", &json!({ "uri": WATCHED }))["result"], json!({}));
    let update = server.ask(4, "tools/call", &tool("test_trigger_resource_update"));
    assert_eq!(
        (&update["method"], &update["params"]["uri"]),
        (&json!("notifications/resources/updated"), &json!(WATCHED))
    );
    assert_eq!(server.receive()["id"], 4);

    let mut server = Server::stdio("modern");
    let filter = json!({ "notifications": { "resourceSubscriptions": [WATCHED, "test://nothing"] } });
    let ack = server.ask(1, "subscriptions/listen", &modern(filter, &json!({})));
    assert_eq!(ack["params"]["notifications"], json!({ "resourceSubscriptions": [WATCHED] }));
    server.send(&json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": modern(tool("test_trigger_resource_update"), &json!({})) }));
    let update =
        [server.receive(), server.receive()].into_iter().find(|message| message.get("id").is_none()).unwrap();
    assert_eq!(update["params"]["uri"], WATCHED);
    assert_eq!(update["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 1);
}

#[test]
fn lists_can_be_paged() {
    let mut server = Server::start(&["--era", "legacy", "--page-size", "10"]);
    server.handshake(&json!({}));
    let mut names = Vec::new();
    let mut params = json!({});
    for id in 2.. {
        let page = server.ask(id, "tools/list", &params)["result"].clone();
        names.extend(page["tools"].as_array().unwrap().iter().map(|tool| tool["name"].clone()));
        match page.get("nextCursor") {
            Some(cursor) => params["cursor"] = cursor.clone(),
            None => break,
        }
    }
    assert!(names.len() > 30);
    let unknown = server.ask(99, "tools/list", &json!({ "cursor": "elsewhere" }));
    assert_eq!(unknown["error"]["code"], -32602);
}

#[test]
fn the_process_ends_as_it_is_told_to() {
    let mut server = Server::stdio("both");
    server.handshake(&json!({}));
    server.close_stdin();
    assert_eq!(server.exit_status().code(), Some(0), "end of input");

    let mut server = Server::stdio("both");
    server.handshake(&json!({}));
    server.terminate();
    assert_eq!(server.exit_status().code(), Some(0), "SIGTERM");

    let mut server = Server::stdio("both");
    server.handshake(&json!({}));
    server.send(&json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": tool("crash") }));
    assert_eq!(server.exit_status().code(), Some(1), "crash");
}
