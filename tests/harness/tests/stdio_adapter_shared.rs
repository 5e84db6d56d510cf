//! The adapter with one process for all: what clients share then, and what of it never reaches another. Changes when
//! clients share more, or less.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::process::{Signal, find_processes};
use bridge_tests::{Adapter, Era, Exchange, LegacySession, ModernClient, PATIENCE, TempDir, TestServer};
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};

const UPDATED: &str = "notifications/resources/updated";
const WATCHED: &str = "test://watched-resource";

fn call(tool: &str) -> Value {
    json!({ "name": tool })
}

/// The server with a mark in its command line.
fn marked(era: Era, mark: &Path) -> Result<Vec<String>> {
    let script = "\"$@\"; exit";
    let mut command: Vec<String> = ["sh", "-c", script].map(str::to_owned).into();
    command.push(mark.to_str().context("UTF-8")?.to_owned());
    command.extend(TestServer::stdio(era)?);
    Ok(command)
}

fn shared(command: &[String]) -> Result<Adapter> {
    Adapter::start(&["--session-mode=shared"], command)
}

fn pid(result: &Value) -> Result<i64> {
    result["structuredContent"]["pid"].as_i64().with_context(|| format!("whoami said {result}"))
}

fn who(session: &mut LegacySession) -> Result<i64> {
    pid(&session.request("tools/call", &call("whoami"))?.into_result()?)
}

#[test]
fn clients_of_both_generations_meet_in_one_process_whatever_it_speaks() -> Result<()> {
    for era in [Era::Legacy, Era::Modern, Era::Both] {
        let dir = TempDir::new("shared")?;
        let adapter = shared(&marked(era, dir.path())?)?;
        let mut sessions = [
            LegacySession::open(&adapter.url(), &json!({}))?,
            LegacySession::open(&adapter.url(), &json!({ "sampling": {}, "roots": {} }))?,
        ];
        let first = who(&mut sessions[0])?;
        assert_eq!(who(&mut sessions[1])?, first, "{era:?}");
        for capabilities in [json!({}), json!({ "sampling": {} })] {
            let mut client = ModernClient::new(&adapter.url(), &capabilities)?;
            client.set_meta("io.modelcontextprotocol/logLevel", "debug".into());
            let result = client.request("tools/call", &call("whoami"))?.into_result()?;
            assert_eq!(pid(&result)?, first, "{era:?}");
        }
        let mark = dir.path().to_str().context("UTF-8")?;
        let is_server = |line: &str| !line.contains("stdio-guard") && !line.contains("stdio-adapter");
        let processes = find_processes(|line| line.contains(mark) && is_server(line))?;
        assert_eq!(processes.len(), 1, "{era:?}");
        // It outlives its clients.
        sessions[0].delete()?;
        assert_eq!(who(&mut sessions[1])?, first, "{era:?}");
        assert_eq!(who(&mut LegacySession::open(&adapter.url(), &json!({}))?)?, first, "{era:?}");
    }
    Ok(())
}

#[test]
fn clients_with_the_same_ids_and_tokens_get_their_own() -> Result<()> {
    let adapter = shared(&TestServer::stdio(Era::Legacy)?)?;
    let mut sessions =
        [LegacySession::open(&adapter.url(), &json!({}))?, LegacySession::open(&adapter.url(), &json!({}))?];
    let slow = json!({ "name": "sleep", "arguments": { "ms": 60_000 }, "_meta": { "progressToken": "p" } });
    let (id, mut stream) = sessions[0].start("tools/call", &slow)?;
    let begun = stream.next_message()?.context("progress")?;
    ensure!(
        begun["method"] == "notifications/progress" && begun["params"]["progressToken"] == "p",
        "{begun}"
    );
    let short = json!({ "name": "sleep", "arguments": { "ms": 1_500 }, "_meta": { "progressToken": "p" } });
    let (same, other) = sessions[1].start("tools/call", &short)?;
    assert_eq!(id, same);
    // One cancels under an id that both use.
    sessions[0].notify("notifications/cancelled", &json!({ "requestId": id }))?;
    let reply = other.finish(&same, |_| Ok(()))?;
    assert_eq!(reply.notifications("notifications/progress").len(), 1);
    ensure!(reply.into_result()?["content"][0]["text"] == "Slept 1500 ms");
    let counted = sessions[1].request("tools/call", &call("whoami"))?.into_result()?;
    let sleeps = &counted["structuredContent"];
    assert_eq!((&sleeps["startedSleeps"], &sleeps["cancelledSleeps"]), (&json!(2), &json!(1)));
    Ok(())
}

/// Messages up to a list change, which everybody hears.
fn until_list_change(stream: &mut Exchange) -> Result<Vec<String>> {
    let mut methods = Vec::new();
    loop {
        let message = stream.next_message()?.context("the stream stays open")?;
        let method = message["method"].as_str().context("a notification")?.to_owned();
        if method == "notifications/prompts/list_changed" {
            return Ok(methods);
        }
        methods.push(method);
    }
}

#[test]
fn updates_reach_those_who_watch_and_list_changes_everybody() -> Result<()> {
    let adapter = shared(&TestServer::stdio(Era::Legacy)?)?;
    let mut first = LegacySession::open(&adapter.url(), &json!({}))?;
    let mut second = LegacySession::open(&adapter.url(), &json!({}))?;
    let mut streams = [first.listen()?, second.listen()?];
    let watch = json!({ "uri": WATCHED });
    let mut heard = |session: &mut LegacySession| -> Result<[Vec<String>; 2]> {
        session.request("tools/call", &call("test_trigger_resource_update"))?.into_result()?;
        session.request("tools/call", &call("test_trigger_prompt_change"))?.into_result()?;
        let [one, two] = &mut streams;
        Ok([until_list_change(one)?, until_list_change(two)?])
    };
    let (nothing, update) = (Vec::<String>::new(), vec![UPDATED.to_owned()]);

    first.request("resources/subscribe", &watch)?.into_result()?;
    assert_eq!(heard(&mut second)?, [update.clone(), nothing.clone()]);
    // Twice is once.
    first.request("resources/subscribe", &watch)?.into_result()?;
    second.request("resources/subscribe", &watch)?.into_result()?;
    assert_eq!(heard(&mut second)?, [update.clone(), update.clone()]);
    first.request("resources/unsubscribe", &watch)?.into_result()?;
    assert_eq!(heard(&mut second)?, [nothing.clone(), update.clone()]);
    second.request("resources/unsubscribe", &watch)?.into_result()?;
    assert_eq!(heard(&mut second)?, [nothing.clone(), nothing]);
    Ok(())
}

/// A legacy server that logs in each call and asks for sampling, whoever its clients are. It gives what it is told.
const NOSY: &str = r#"
while read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case $line in
    *'"initialize"'*) result='{"protocolVersion":"2025-11-25","capabilities":{"logging":{},"tools":{}},"serverInfo":{"name":"nosy","version":"1"}}' ;;
    *'"tools/list"'*) result='{"tools":[]}' ;;
    *'"tools/call"'*)
      echo '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"private"}}'
      echo '{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}'
      read -r answer
      result='{"content":[],"structuredContent":'$answer'}' ;;
    *'"id"'*) echo '{"jsonrpc":"2.0","id":'$id',"error":{"code":-32601,"message":"unknown"}}'; continue ;;
    *) continue ;;
  esac
  echo '{"jsonrpc":"2.0","id":'$id',"result":'$result'}'
done"#;

#[test]
fn what_names_nobody_reaches_nobody() -> Result<()> {
    let adapter = shared(&["sh".to_owned(), "-c".to_owned(), NOSY.to_owned()])?;
    let mut session = LegacySession::open(&adapter.url(), &json!({ "sampling": {} }))?;
    assert_eq!(session.initialize_result()["capabilities"], json!({ "tools": {} }));
    let refused = session.request("logging/setLevel", &json!({ "level": "debug" }))?.into_error()?;
    assert_eq!(refused.code, -32601);
    // Although it is the only call of the only client.
    let reply = session.request("tools/call", &call("anything"))?;
    assert_eq!(reply.notifications("notifications/message").len(), 0);
    assert_eq!(reply.into_result()?["structuredContent"]["error"]["code"], -32601);

    let mut client = ModernClient::new(&adapter.url(), &json!({ "sampling": {} }))?;
    client.set_meta("io.modelcontextprotocol/logLevel", "debug".into());
    let reply = client.request("tools/call", &call("anything"))?;
    assert_eq!(reply.notifications("notifications/message").len(), 0);
    assert_eq!(reply.into_result()?["structuredContent"]["error"]["code"], -32601);
    Ok(())
}

#[test]
fn all_go_on_in_another_process_when_theirs_ends() -> Result<()> {
    let adapter = shared(&TestServer::stdio(Era::Legacy)?)?;
    let mut sessions =
        [LegacySession::open(&adapter.url(), &json!({}))?, LegacySession::open(&adapter.url(), &json!({}))?];
    let watch = json!({ "uri": WATCHED });
    let mut stream = sessions[0].listen()?;
    sessions[0].request("resources/subscribe", &watch)?.into_result()?;
    let before = who(&mut sessions[0])?;
    kill_process(Pid::from_raw(before.try_into()?).context("a process id")?, Signal::KILL)?;
    bridge_tests::process::wait_gone(&[before.try_into()?], PATIENCE)?;
    let mut after = Vec::new();
    for session in &mut sessions {
        // At worst the adapter has not noticed yet; then it says what became of the call.
        let _ = session.request("tools/call", &call("whoami"))?;
        after.push(who(session)?);
    }
    ensure!(after[0] == after[1] && after[0] != before, "{before} {after:?}");
    sessions[1].request("tools/call", &call("test_trigger_resource_update"))?.into_result()?;
    assert_eq!(stream.next_message()?.context("open")?["method"], UPDATED);
    Ok(())
}
