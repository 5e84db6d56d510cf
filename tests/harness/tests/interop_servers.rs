//! Published servers behind one gateway: all their tools listed and called for real. Changes when a published server joins
//! or the merged endpoint lists them differently.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context as _, Result};
use bridge_tests::{
    Config, Exchange, Gateway, LegacySession, ModernClient, PATIENCE, Process, Published, Reply,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};

#[test]
fn five_published_servers_behind_one_endpoint_list_all_their_tools() -> Result<()> {
    let published = Published::new()?;
    let gateway = Gateway::start(&published.add_to(Config::new(), "legacy")?)?;
    gateway.wait_backends("legacy", &Published::NAMES)?;
    let mut merged = LegacySession::open(&gateway.url("/mcp"), &json!({}))?;

    let all = names(&merged.list("tools/list", "tools")?);

    let mut expected = BTreeSet::new();
    for (server, count, one) in [
        ("everything", 13, "echo"),
        ("files", 14, "write_file"),
        ("memory", 9, "read_graph"),
        ("time", 2, "convert_time"),
        ("git", 12, "git_log"),
    ] {
        let mut alone = LegacySession::open(&gateway.url(&format!("/mcp/{server}")), &json!({}))?;
        let tools = names(&alone.list("tools/list", "tools")?);
        assert!(tools.len() >= count && tools.contains(one), "{server} lists {tools:?}");
        expected.extend(tools);
    }
    // No two of these servers use the same name, so nothing is renamed and nothing may be missing or invented.
    assert_eq!(all, expected);
    Ok(())
}

#[test]
fn tools_of_five_published_servers_do_their_work_through_one_session() -> Result<()> {
    let published = Published::new()?;
    let gateway = Gateway::start(&published.add_to(Config::new(), "legacy")?)?;
    gateway.wait_backends("legacy", &Published::NAMES)?;
    let mut session = LegacySession::open(&gateway.url("/mcp"), &json!({}))?;

    let sum = call(&mut session, "get-sum", &json!({ "a": 17, "b": 25 }))?;
    assert!(sum.contains("42"), "{sum}");

    let note = published.files().join("note.txt");
    call(&mut session, "write_file", &json!({ "path": note, "content": "written through the gateway" }))?;
    assert_eq!(std::fs::read_to_string(&note)?, "written through the gateway");
    let read = call(&mut session, "read_text_file", &json!({ "path": published.files().join("hello.txt") }))?;
    assert!(read.contains("hello from a file"), "{read}");

    let entity = json!({ "name": "bridge", "entityType": "program", "observations": ["spans eras"] });
    call(&mut session, "create_entities", &json!({ "entities": [entity] }))?;
    let graph = call(&mut session, "read_graph", &json!({}))?;
    assert!(graph.contains("spans eras"), "{graph}");

    let time = json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" });
    let converted = call(&mut session, "convert_time", &time)?;
    assert!(converted.contains("21:00"), "{converted}");

    let log = call(&mut session, "git_log", &json!({ "repo_path": published.repository() }))?;
    assert!(log.contains("The first commit"), "{log}");
    let branch = json!({ "repo_path": published.repository(), "branch_name": "made-by-a-tool" });
    call(&mut session, "git_create_branch", &branch)?;
    let head = published.repository().join(".git/refs/heads/made-by-a-tool");
    assert!(head.is_file(), "the branch exists in the real repository");
    Ok(())
}

#[test]
fn resources_and_prompts_of_a_published_server_are_read_through_the_merged_endpoint() -> Result<()> {
    let published = Published::new()?;
    let gateway = Gateway::start(&published.add_to(Config::new(), "legacy")?)?;
    gateway.wait_backends("legacy", &Published::NAMES)?;
    let mut session = LegacySession::open(&gateway.url("/mcp"), &json!({}))?;

    let prompts = names(&session.list("prompts/list", "prompts")?);
    assert!(prompts.contains("args-prompt"), "{prompts:?}");
    let get = json!({ "name": "args-prompt", "arguments": { "city": "Lisbon" } });
    let prompt = session.request("prompts/get", &get)?.into_result()?;
    assert!(prompt["messages"].to_string().contains("Lisbon"), "{prompt}");

    let resources = session.list("resources/list", "resources")?;
    let uri = resources.first().and_then(|resource| resource["uri"].as_str()).context("a resource")?;
    let read = session.request("resources/read", &json!({ "uri": uri }))?.into_result()?;
    assert_eq!(read["contents"][0]["uri"], uri);
    assert!(read["contents"][0]["text"].as_str().is_some_and(|text| !text.is_empty()), "{read}");

    let templates = session.list("resources/templates/list", "resourceTemplates")?;
    assert!(
        json!(templates).to_string().contains("demo://resource/dynamic/text/{resourceId}"),
        "{templates:?}"
    );
    let dynamic = json!({ "uri": "demo://resource/dynamic/text/1" });
    let read = session.request("resources/read", &dynamic)?.into_result()?;
    assert!(read["contents"][0]["text"].as_str().is_some_and(|text| text.contains('1')), "{read}");
    Ok(())
}

#[test]
fn python_servers_that_speak_the_new_revision_serve_its_clients() -> Result<()> {
    let published = Published::new()?;
    // No era is configured: the gateway finds out that these two speak 2026-07-28.
    let config = Config::new().backend(published.backend("time")?).backend(published.backend("git")?);
    let gateway = Gateway::start(&config)?;
    gateway.wait_backends("modern", &["time", "git"])?;
    let mut client = ModernClient::new(&gateway.url("/mcp"), &json!({}))?;

    let tools = names(&client.list("tools/list", "tools")?);
    assert!(tools.contains("get_current_time") && tools.contains("git_status"), "{tools:?}");

    let time = json!({ "source_timezone": "UTC", "time": "06:30", "target_timezone": "Asia/Kolkata" });
    let reply = client.request("tools/call", &json!({ "name": "convert_time", "arguments": time }))?;
    let converted = text_of(reply)?;
    assert!(converted.contains("12:00"), "{converted}");

    let arguments = json!({ "repo_path": published.repository() });
    let status =
        text_of(client.request("tools/call", &json!({ "name": "git_status", "arguments": arguments }))?)?;
    assert!(status.contains("On branch main"), "{status}");
    Ok(())
}

#[test]
fn results_reach_the_client_as_the_bytes_that_the_server_wrote() -> Result<()> {
    let published = Published::new()?;
    let gateway = Gateway::start(&published.add_to(Config::new(), "legacy")?)?;
    gateway.wait_backends("legacy", &Published::NAMES)?;
    for (server, requests) in [
        (
            "everything",
            vec![
                ("tools/list", json!({})),
                call_params("get-structured-content", &json!({ "location": "Chicago" })),
            ],
        ),
        (
            "files",
            vec![
                ("tools/list", json!({})),
                call_params("list_directory", &json!({ "path": published.files() })),
            ],
        ),
        (
            "git",
            vec![
                ("tools/list", json!({})),
                call_params("git_log", &json!({ "repo_path": published.repository() })),
            ],
        ),
    ] {
        let direct = ask_directly(&published.command(server)?, &requests)?;
        let mut session = LegacySession::open(&gateway.url(&format!("/mcp/{server}")), &json!({}))?;
        for ((method, params), expected) in requests.iter().zip(direct) {
            let (_, exchange) = session.start(method, params)?;
            assert_eq!(raw_result(&answer_text(exchange)?)?, expected, "{server} {method}");
        }
    }
    Ok(())
}

fn call_params(name: &str, arguments: &Value) -> (&'static str, Value) {
    ("tools/call", json!({ "name": name, "arguments": arguments }))
}

fn names(items: &[Value]) -> BTreeSet<String> {
    items.iter().filter_map(|item| item["name"].as_str().map(str::to_owned)).collect()
}

fn call(session: &mut LegacySession, name: &str, arguments: &Value) -> Result<String> {
    text_of(session.request("tools/call", &json!({ "name": name, "arguments": arguments }))?)
}

/// All text of a tool result that is not an error.
fn text_of(reply: Reply) -> Result<String> {
    let result = reply.into_result()?;
    anyhow::ensure!(result["isError"] != true, "the tool failed: {result}");
    let content = result["content"].as_array().with_context(|| format!("content of {result}"))?;
    Ok(content.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"))
}

/// Speaks to a stdio server itself and returns the raw `result` of each answer.
fn ask_directly(command: &[String], requests: &[(&str, Value)]) -> Result<Vec<String>> {
    let (program, args) = command.split_first().context("a program")?;
    let mut server = Process::spawn("direct server", Command::new(program).args(args))?;
    let hello = json!({
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "bridge-tests", "version": "0" },
    });
    let ask = |server: &mut Process, id: usize, method: &str, params: &Value| -> Result<String> {
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        server.write_stdin(format!("{request}\n").as_bytes())?;
        let answer = server.wait_line(PATIENCE, |line| {
            let message: Value = serde_json::from_str(line).ok()?;
            (message["id"] == id && message.get("method").is_none()).then(|| line.to_owned())
        })?;
        raw_result(&answer)
    };
    ask(&mut server, 0, "initialize", &hello)?;
    server.write_stdin(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n")?;
    let mut results = Vec::new();
    for (index, (method, params)) in requests.iter().enumerate() {
        results.push(ask(&mut server, index + 1, method, params)?);
    }
    Ok(results)
}

/// The text of the answer to a request, past whatever came before it on its stream.
fn answer_text(mut exchange: Exchange) -> Result<String> {
    if !exchange.is_stream()? {
        return exchange.read_text();
    }
    while let Some(event) = exchange.next_event()? {
        if let Some(data) = event.data.filter(|data| data.contains("\"result\"")) {
            return Ok(data);
        }
    }
    anyhow::bail!("the stream ended without a result")
}

fn raw_result(message: &str) -> Result<String> {
    let members: BTreeMap<&str, &RawValue> =
        serde_json::from_str(message).with_context(|| message.to_owned())?;
    Ok(members.get("result").with_context(|| message.to_owned())?.get().to_owned())
}
