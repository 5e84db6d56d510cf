//! The harness itself, against programs that are known to be right. Changes with the harness.

use std::process::Command;

use anyhow::{Context as _, Result};
use bridge_tests::modern::encode_header;
use bridge_tests::process::{Process, Signal, find_processes, wait_gone};
use bridge_tests::{Era, LegacySession, ModernClient, PATIENCE, TempDir, TestServer, peers};
use serde_json::json;

#[test]
fn a_dropped_process_takes_its_grandchildren_along() -> Result<()> {
    let dir = TempDir::new("drop")?;
    let marker = dir.path().display().to_string();
    let mut command = Command::new("sh");
    // It waits without a child of its own, which would be called like it until it is another program.
    let script = r#"mkfifo "$0/never"; sh -c 'echo grandchild; read -r line <"$0/never"' "$0" & wait"#;
    command.args(["-c", script, &marker]);
    let process = Process::spawn("shell", &command)?;
    process.wait_line(PATIENCE, |line| (line == "grandchild").then_some(()))?;
    let family = find_processes(|line| line.contains(&marker))?;
    assert_eq!(family.len(), 2);

    drop(process);

    wait_gone(&family, PATIENCE)
}

#[test]
fn a_wait_fails_at_once_with_the_log_when_the_program_ends() -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", "echo first; echo second >&2; exit 3"]);
    let process = Process::spawn("shell", &command)?;

    let error = process.wait_line(PATIENCE, |line| (line == "third").then_some(())).err();

    let text = error.context("there is no third line")?.to_string();
    assert!(text.contains("| first") && text.contains("| second"), "{text}");
    assert_eq!(process.wait_exit(PATIENCE)?.code(), Some(3));
    Ok(())
}

#[test]
fn signals_and_standard_input_reach_the_program() -> Result<()> {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "trap 'echo asked to stop; exit 0' TERM; read -r word; echo got $word; while :; do sleep 1; done",
    ]);
    let mut process = Process::spawn("shell", &command)?;

    process.write_stdin(b"hello\n")?;
    process.wait_line(PATIENCE, |line| (line == "got hello").then_some(()))?;
    process.signal(Signal::TERM)?;

    assert!(process.wait_exit(PATIENCE)?.success());
    Ok(())
}

#[test]
fn a_legacy_session_with_a_published_server_answers_its_requests_and_sees_its_progress() -> Result<()> {
    let (_server, url) = peers::everything_http()?;
    let mut session = LegacySession::open(&url, &json!({ "sampling": {} }))?;
    session.on_server_request(|method, params| {
        assert_eq!(method, "sampling/createMessage", "{params}");
        json!({ "role": "assistant", "model": "none", "content": { "type": "text", "text": "forty-two" } })
    });

    let tools = session.request("tools/list", &json!({}))?.into_result()?;
    let names: Vec<_> =
        tools["tools"].as_array().context("tools")?.iter().map(|tool| &tool["name"]).collect();
    assert!(names.contains(&&json!("echo")), "{names:?}");

    let arguments = json!({ "prompt": "the question", "maxTokens": 10 });
    let call = json!({ "name": "trigger-sampling-request", "arguments": arguments });
    let sampled = session.request("tools/call", &call)?.into_result()?;
    assert!(sampled["content"].to_string().contains("forty-two"), "{sampled}");

    let call = json!({
        "name": "trigger-long-running-operation",
        "arguments": { "duration": 0.2, "steps": 2 },
        "_meta": { "progressToken": "p" },
    });
    let reply = session.request("tools/call", &call)?;
    let progress: Vec<_> = reply
        .notifications("notifications/progress")
        .iter()
        .map(|message| &message["params"]["progress"])
        .collect();
    assert_eq!(progress, [&json!(1), &json!(2)]);

    let unknown = session.request("no/such/method", &json!({}))?.into_error()?;
    assert_eq!(unknown.code, -32601);
    assert_eq!(session.delete()?.head.status, 200);
    assert_eq!(session.start("ping", &json!({}))?.1.head()?.status / 100, 4, "the session is over");
    Ok(())
}

#[test]
fn modern_requests_answer_input_see_changes_and_cancel_by_closing() -> Result<()> {
    let mut server = TestServer::http(Era::Modern)?;
    let mut client = ModernClient::new(server.url(), &json!({ "elicitation": { "form": {} } }))?;

    let call = json!({ "name": "test_input_required_result_elicitation" });
    let reply = client.request_with_input("tools/call", &call, |_, request| {
        assert_eq!(request["method"], "elicitation/create");
        json!({ "action": "accept", "content": { "name": "Ann" } })
    })?;
    assert_eq!(reply.into_result()?["content"][0]["text"], "Hello, Ann!");

    let (acknowledged, mut changes) = client.listen(&json!({ "toolsListChanged": true }))?;
    assert_eq!(acknowledged["params"]["notifications"]["toolsListChanged"], true);
    client.request("tools/call", &json!({ "name": "test_trigger_tool_change" }))?.into_result()?;
    let change = changes.next_message()?.context("the stream stays open")?;
    assert_eq!(change["method"], "notifications/tools/list_changed");

    client.set_meta("progressToken", json!("p"));
    let (_, call) = client.start("tools/call", &json!({ "name": "sleep", "arguments": { "ms": 60_000 } }))?;
    let says = |server: &mut TestServer, what: &str| {
        server.process().wait_line(PATIENCE, |line| line.contains(what).then_some(()))
    };
    says(&mut server, "sleep started")?;
    drop(call);
    says(&mut server, "sleep cancelled")?;
    Ok(())
}

#[test]
fn a_modern_name_is_encoded_for_its_header_only_when_it_must_be() {
    for (name, header) in [
        ("plain name", "plain name"),
        ("é", "=?base64?w6k=?="),
        (" padded", "=?base64?IHBhZGRlZA==?="),
        ("=?base64?Zm9v?=", "=?base64?PT9iYXNlNjQ/Wm05dj89?="),
    ] {
        assert_eq!(encode_header(name), header);
    }
}
